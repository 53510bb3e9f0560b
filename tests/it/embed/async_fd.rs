//! The example `async_fd`: a whole loop as a task of tokio, beside tasks of the host's own.

use netgrace::EventLoop;
use tokio::net::{TcpListener, TcpStream};

use self::example::run;
use super::support::{BEST, DEADLINE, loopback, quick, server};

#[path = "../../examples/async_fd.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

async fn exchange(stream: &TcpStream, bytes: &[u8]) {
    let mut sent = 0;
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        if sent < bytes.len() {
            stream.writable().await.unwrap();
            sent += stream.try_write(&bytes[sent..]).unwrap_or(0);
        }
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(count) => {
                assert!(count > 0, "an end of stream too early");
                received.extend_from_slice(&buffer[..count]);
            }
            Err(_) if sent == bytes.len() => stream.readable().await.unwrap(),
            Err(_) => {}
        }
    }
    assert!(received == bytes, "other bytes came back");
}

async fn wait_for_the_end(stream: TcpStream) {
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut [0; 16]) {
            Ok(0) => return,
            Ok(_) => panic!("bytes that nobody sent"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn it_runs_as_a_task_beside_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let event_loop = EventLoop::builder().events_capacity(4).build(server(quick())).unwrap();
        let address = event_loop.server().local_addr().unwrap();
        let handle = event_loop.shutdown_handle();
        let task = tokio::spawn(run(event_loop));
        // A source of the host's own in the same runtime.
        let own = TcpListener::bind(loopback()).await.unwrap();
        let (visit, visitor) = (TcpStream::connect(own.local_addr().unwrap()), own.accept());
        let visit = tokio::spawn(visit);
        visitor.await.unwrap();
        visit.await.unwrap().unwrap();
        let clients: Vec<_> = (0..20_u8)
            .map(|number| {
                tokio::spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    for round in 1..=10_usize {
                        exchange(&stream, &vec![number; 3000 * round]).await;
                    }
                    stream
                })
            })
            .collect();
        let mut streams = Vec::new();
        for client in clients {
            streams.push(client.await.unwrap());
        }
        handle.begin_shutdown();
        let leaving: Vec<_> =
            streams.into_iter().map(|stream| tokio::spawn(wait_for_the_end(stream))).collect();
        let report = tokio::time::timeout(DEADLINE, task).await.expect("an end").unwrap().unwrap();
        for client in leaving {
            client.await.unwrap();
        }
        report
    });
    assert_eq!((report.grade(), report.connections.drained), (Some(BEST), 20));
}
