//! The example `mio_host`: a plain mio loop with a source of its own and a server.

use std::net::UdpSocket;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use super::support::{BEST, Client, DEADLINE, loopback};

#[path = "../../examples/mio_host.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

#[test]
fn a_plain_mio_host_serves_both_its_own_source_and_the_server() {
    let (sender, receiver) = channel();
    let host = thread::spawn(move || {
        let served = example::serve(loopback(), |started| sender.send(started).unwrap());
        served.map_err(|error| error.to_string())
    });
    let started = receiver.recv_timeout(DEADLINE).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(started.echo)).collect();
    let start = Instant::now();
    for client in &mut clients {
        client.send(b"by a plain host");
        while client.received.len() < 15 {
            assert!(start.elapsed() < DEADLINE && !client.ended);
            client.receive();
            thread::yield_now();
        }
        assert_eq!(client.received, b"by a plain host");
    }
    let asker = UdpSocket::bind(loopback()).unwrap();
    asker.set_read_timeout(Some(DEADLINE)).unwrap();
    asker.send_to(b"?", started.count).unwrap();
    let mut answer = [0; 16];
    let (len, _) = asker.recv_from(&mut answer).unwrap();
    assert_eq!(&answer[..len], b"3");
    started.handle.begin_shutdown();
    while !host.is_finished() {
        assert!(start.elapsed() < DEADLINE);
        clients.iter_mut().for_each(Client::leave_at_the_end);
        thread::yield_now();
    }
    let report = host.join().unwrap().unwrap();
    assert_eq!((report.grade(), report.connections.drained), (Some(BEST), 3));
}
