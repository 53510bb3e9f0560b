//! What peers do to a server: it echoes every byte, holds little, and lets none harm another.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use crate::host::{
    connect_with_receive_buffer, descriptors, fill, pattern, raise_open_files, receive_all, reset,
    resident, send_beside,
};
use crate::support::{Client, Server, wait_for};

/// Pipes that the server keeps for the next stream: two descriptors each.
const KEPT: usize = 8;

#[test]
fn a_half_close_is_answered_to_the_last_byte() {
    let server = Server::start(&["--report", "-"]);
    let bytes = pattern(32 << 20);
    let mut client = connect_with_receive_buffer(server.address(), 4096);
    let sender = send_beside(&client, bytes.clone());
    // Slow at first, so that the server comes to hold what nobody takes.
    let mut first = Vec::new();
    for _ in 0..20 {
        let mut buffer = [0; 512];
        let count = client.0.read(&mut buffer).expect("bytes");
        first.extend_from_slice(&buffer[..count]);
        thread::sleep(Duration::from_millis(1));
    }
    let (rest, end) = receive_all(&mut client.0);
    end.expect("an end of stream, not a reset");
    assert_eq!(sender.join().expect("a sender"), bytes.len());
    first.extend(rest);
    assert_eq!(first.len(), bytes.len());
    assert!(first == bytes, "other bytes came back");
    let report = server.stop().exits(0).report();
    assert_eq!(report["bytes"]["written"], bytes.len());
    assert_eq!(report["connections"]["peer_closed"], 1);
    assert_eq!(report["grade"], "complete");
}

#[test]
fn a_client_that_only_writes_costs_no_memory() {
    const COUNT: usize = 64 << 20;
    let server = Server::start(&["--report", "-"]);
    let pid = server.process.pid();
    server.connect().echo(b"warm");
    let before = resident(pid);
    let bytes = Arc::new(pattern(COUNT));
    let mut client = server.connect();
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = {
        let (bytes, sent) = (Arc::clone(&bytes), Arc::clone(&sent));
        let mut stream = client.0.try_clone().expect("a descriptor");
        thread::spawn(move || {
            for chunk in bytes.chunks(65_536) {
                stream.write_all(chunk).expect("bytes sent");
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        })
    };
    let mut last = (0, Instant::now());
    let stalled_at = wait_for("back-pressure", || {
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(300)).then_some(now)
    });
    assert!(stalled_at < COUNT, "nothing held the writer back");
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    let mut received = vec![0; COUNT];
    client.0.read_exact(&mut received).expect("all of it");
    sender.join().expect("a sender");
    assert!(received == *bytes, "other bytes came back");
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    drop(client);
    server.stop().exits(0);
}

#[test]
fn data_and_end_in_one_event_are_both_seen() {
    raise_open_files();
    let mut server = Server::start(&["--report", "-"]);
    let sizes = [1, 65_535, 65_536, 65_537];
    let bytes = pattern(65_537);
    for _ in 0..2 {
        // Stopped, the server finds everything there at once when it goes on.
        server.process.signal(Signal::STOP);
        let clients: Vec<(Client, usize)> = (0..500)
            .map(|number| {
                let size = sizes[number % sizes.len()];
                let mut client = server.connect();
                client.send(&bytes[..size]);
                client.0.shutdown(Shutdown::Write).expect("a half-close");
                (client, size)
            })
            .collect();
        server.process.signal(Signal::CONT);
        for (mut client, size) in clients {
            assert!(client.receive_to_end() == bytes[..size], "{size}");
        }
    }
    let report = server.stop().exits(0).report();
    assert_eq!(report["connections"]["peer_closed"], 1000);
}

#[test]
fn an_urgent_byte_stalls_nothing_and_moves_nothing() {
    let mut server = Server::start(&["--report", "-"]);
    for urgent in 0..50 {
        let mut client = server.connect();
        // Whether the mark is met within one read or between two.
        if urgent % 2 == 0 {
            server.process.signal(Signal::STOP);
        }
        client.send(b"before");
        SockRef::from(&client.0).send_out_of_band(b"!").expect("an urgent byte");
        client.send(b"after");
        server.process.signal(Signal::CONT);
        assert_eq!(client.receive(11), b"beforeafter");
        client.0.shutdown(Shutdown::Write).expect("a half-close");
        assert_eq!(client.receive_to_end(), b"");
    }
    let report = server.stop().exits(0).report();
    assert_eq!(report["connections"]["peer_closed"], 50);
    assert_eq!(report["bytes"]["written"], 550);
}

/// A pipe takes nothing at the mark of urgent data, although bytes are queued behind it.
#[test]
fn an_urgent_byte_within_a_stream_stalls_nothing() {
    const PART: usize = 256 << 10;
    let mut server = Server::start(&["--report", "-"]);
    let mut client = server.connect();
    let bytes: Vec<u8> =
        (0..PART).map(|place| u8::try_from(place % 251).expect("a byte")).collect();
    for urgent in 0..50 {
        // The server meets the mark with everything queued, and while it keeps up.
        if urgent % 2 == 0 {
            server.process.signal(Signal::STOP);
        }
        let mut sender = Client(client.0.try_clone().expect("a second handle"));
        let sent = bytes.clone();
        let sends = thread::spawn(move || {
            sender.send(&sent);
            SockRef::from(&sender.0).send_out_of_band(b"!").expect("an urgent byte");
            sender.send(&sent[..7]);
        });
        server.process.signal(Signal::CONT);
        assert!(client.receive(PART) == bytes, "{urgent}");
        assert_eq!(client.receive(7), bytes[..7], "{urgent}");
        sends.join().expect("the sender");
    }
    client.0.shutdown(Shutdown::Write).expect("a half-close");
    assert_eq!(client.receive_to_end(), b"");
    let report = server.stop().exits(0).report();
    assert_eq!(report["bytes"]["written"], 50 * (PART + 7));
}

#[test]
fn resets_at_every_moment_harm_nobody_else() {
    raise_open_files();
    let mut server = Server::start(&["--report", "-"]);
    let pid = server.process.pid();
    let mut healthy = server.connect();
    healthy.echo(b"hello");
    let base = descriptors(pid);
    for round in 0_u8..4 {
        // Before it is accepted.
        server.process.signal(Signal::STOP);
        for _ in 0..100 {
            reset(server.connect());
        }
        server.process.signal(Signal::CONT);
        healthy.echo(&[round; 100]);
        // While it is read from and while it is written to.
        for number in 0..50 {
            let mut client = server.connect();
            if number % 2 == 0 {
                client.send(&[1; 100_000]);
            } else {
                fill(&mut client, Duration::from_millis(5));
            }
            reset(client);
        }
        healthy.echo(&[round; 100]);
    }
    // Connected, used or not, and left in one of three ways.
    for number in 0..3000 {
        let mut client = server.connect();
        match number % 3 {
            0 => reset(client),
            1 => client.echo(b"x"),
            _ => {
                client.0.shutdown(Shutdown::Write).expect("a half-close");
                assert_eq!(client.receive_to_end(), b"");
            }
        }
    }
    healthy.echo(b"still here");
    wait_for("descriptors back to base", || (descriptors(pid) <= base + KEPT).then_some(()));
    let healthy = healthy.leave_at_the_end();
    let report = server.stop().exits(0).report();
    assert_eq!(healthy.join().expect("a client"), b"");
    assert_eq!(report["connections"]["accepted"], 1 + 4 * 150 + 3000);
    assert_eq!(report["bytes"]["unsent"], 0);
}

/// Ten clients write ten lines each, and the server is stopped while they are at it.
#[test]
fn lines_written_before_a_stop_all_come_back() {
    let mut server = Server::start(&["--report", "-"]);
    let start = Instant::now();
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let mut client = server.connect();
            thread::spawn(move || {
                for count in 0..10 {
                    let line = format!("client #{number}, count {count}\n");
                    client.echo(line.as_bytes());
                    thread::sleep(Duration::from_millis(100));
                }
                assert_eq!(client.receive_to_end(), b"");
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(2).saturating_sub(start.elapsed()));
    server.process.signal(Signal::TERM);
    for client in clients {
        client.join().expect("every line came back");
    }
    let report = server.finish().exits(0).report();
    assert_eq!(report["connections"]["accepted"], 10);
    assert_eq!(report["bytes"]["written"], 10 * 10 * "client #0, count 0\n".len());
    assert_eq!(report["grade"], "complete");
}

/// Ten writers share one connection; the order is theirs to settle, every line is the server's.
#[test]
fn lines_of_many_writers_on_one_connection_all_come_back() {
    let mut server = Server::start(&["--report", "-"]);
    let mut client = server.connect();
    let start = Instant::now();
    let writers: Vec<_> = (0..10)
        .map(|number| {
            let mut stream: TcpStream = client.0.try_clone().expect("a descriptor");
            thread::spawn(move || {
                for count in 0..10 {
                    let line = format!("client #{number}, count {count}\n");
                    stream.write_all(line.as_bytes()).expect("a line sent");
                    thread::sleep(Duration::from_millis(100));
                }
            })
        })
        .collect();
    let reader = thread::spawn(move || client.receive_to_end());
    for writer in writers {
        writer.join().expect("a writer");
    }
    thread::sleep(Duration::from_secs(2).saturating_sub(start.elapsed()));
    server.process.signal(Signal::TERM);
    let text = String::from_utf8(reader.join().expect("a reader")).expect("text");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..10)
        .flat_map(|number| (0..10).map(move |count| format!("client #{number}, count {count}")))
        .collect();
    assert_eq!(lines, expected);
    assert_eq!(server.finish().exits(0).report()["grade"], "complete");
}
