//! A stop, as clients of TLS see it.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netgrace::Config;
use netgrace::protocol::{Http, Line, Repeat};

use super::super::support::DEADLINE;
use super::Running;
use super::client::{End, TlsClient, connect};

const CLIENTS: usize = 12;

/// Reads as long as a stream lasts and `count` are not there. Returns whether they are.
fn receive(client: &mut TlsClient, count: usize) -> bool {
    let mut answer = vec![0; count];
    match client.0.read_exact(&mut answer) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
        Err(error) => panic!("{error}"),
    }
}

/// Has clients ask without a pause, stops the server, and checks that whoever had sent gets the
/// whole answer, then close_notify, then the FIN.
fn stop_under_load(running: Running, request: &[u8], answer: usize) {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = running.connect();
            let (is_stopping, rounds) = (Arc::clone(&is_stopping), Arc::clone(&rounds));
            let request = request.to_owned();
            thread::spawn(move || {
                loop {
                    client.send(&request);
                    // Sent before the stop: it must be answered.
                    let must = !is_stopping.load(Ordering::SeqCst);
                    let is_answered = receive(&mut client, answer);
                    assert!(is_answered || !must, "no whole answer");
                    rounds.fetch_add(1, Ordering::SeqCst);
                    if is_stopping.load(Ordering::SeqCst) || !is_answered {
                        break;
                    }
                }
                let (_, end) = client.rest();
                assert_eq!(end, End::Whole);
            })
        })
        .collect();
    let idle = running.connect();
    let start = Instant::now();
    while rounds.load(Ordering::SeqCst) < 10 * CLIENTS && start.elapsed() < DEADLINE {
        thread::sleep(Duration::from_millis(1));
    }
    is_stopping.store(true, Ordering::SeqCst);
    running.handle.begin_shutdown();
    idle.sees_the_end();
    for client in clients {
        client.join().unwrap();
    }
    let outcome = running.finish();
    assert_eq!(outcome.report.bytes.unsent, 0, "{}", outcome.report);
    assert_eq!(outcome.report.connections.forced_lossy, 0, "{}", outcome.report);
    assert_eq!(outcome.truncated, 0, "the clients that left had no reason to");
}

#[test]
fn an_echo_is_stopped_under_load() {
    let running = Running::start(Repeat);
    stop_under_load(running, &[7; 20_000], 20_000);
}

#[test]
fn http_is_stopped_under_load() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 40000\r\n\r\n";
    let running = Running::start(Http::new());
    let request = b"GET /bytes/40000 HTTP/1.1\r\nHost: x\r\n\r\n";
    stop_under_load(running, request, head.len() + 40_000);
}

#[test]
fn an_answer_that_comes_later_is_waited_for() {
    let running = Running::start(Line::new().with_delay(Duration::from_millis(300)));
    let mut client = running.connect();
    client.send(b"one\ntwo\nhalf");
    let mut slow = running.connect();
    slow.send(b"x\n");
    slow.say_end();
    thread::sleep(Duration::from_millis(50));
    running.handle.begin_shutdown();
    assert_eq!(client.rest(), (b"one\ntwo\n".to_vec(), End::Whole));
    assert_eq!(slow.rest(), (b"x\n".to_vec(), End::Whole));
    let report = running.finish().report;
    assert_eq!(report.requests.unwrap().answered, 3, "{report}");
}

#[test]
fn half_a_handshake_is_waited_for_within_the_budget() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(15));
    let running = Running::with(Repeat, config);
    let hello = || {
        let mut connection = running.trust.connection(rustls::ALL_VERSIONS);
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        (connection, bytes)
    };
    // One has sent half a ClientHello, one a whole one; one goes on during the stop.
    let mut half = connect(running.address);
    half.write_all(hello().1.get(..100).unwrap()).unwrap();
    let mut whole = connect(running.address);
    whole.write_all(&hello().1).unwrap();
    let (connection, bytes) = hello();
    let mut late = TlsClient(rustls::StreamOwned::new(connection, connect(running.address)));
    late.0.sock.write_all(&bytes).unwrap();
    // The server has seen it.
    late.0.sock.peek(&mut [0; 1]).unwrap();
    running.handle.begin_shutdown();
    thread::sleep(Duration::from_millis(150));
    late.echo(b"in time");
    late.sees_the_end();
    for stream in [&mut half, &mut whole] {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        // close_notify, in plain or encrypted.
        assert!(matches!(bytes.iter().rev().nth(6), Some(21)) || bytes.len() > 100, "{bytes:?}");
    }
    drop((half, whole));
    let report = running.finish().report;
    assert!(report.stop.unwrap() < Duration::from_secs(10), "{report}");
    assert_eq!(report.connections.forced_lossy, 0, "{report}");
}
