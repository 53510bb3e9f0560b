//! Handshakes that are half open when a stop begins: those behind them are served.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::support::{Client, DEADLINE, Server, wait_for};

const REPORT: [&str; 4] = ["--report", "-", "--idle-grace", "20ms"];

/// A client whose connect has returned while its final ACK is held back for 200 ms, or until it
/// sends.
fn connect_half(address: SocketAddr) -> Client {
    let socket = socket(address);
    socket.set_tcp_quickack(false).expect("an option");
    socket.connect(&address.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    Client(stream)
}

/// A client that hears nothing, so that its handshake stays half open.
fn connect_deaf(address: SocketAddr) -> Socket {
    const RETURN: u16 = 0x06;
    let socket = socket(address);
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).expect("a filter");
    socket.set_nonblocking(true).expect("an option");
    let error = socket.connect(&address.into()).expect_err("under way");
    assert_eq!(error.raw_os_error(), Some(115), "{error}");
    socket
}

fn socket(address: SocketAddr) -> Socket {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).expect("a socket")
}

#[test]
fn nobody_whose_last_ack_is_on_its_way_is_reset() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if std::net::TcpListener::bind(address).is_err() {
            continue;
        }
        let mut server = Server::start(&[&REPORT[..], &["-l", address]].concat());
        let mut clients: Vec<_> = (0..100).map(|_| connect_half(server.address())).collect();
        server.process.signal(Signal::TERM);
        server.process.wait_for_stderr("draining at");
        // The ACKs of these come with what they send.
        for client in clients.iter_mut().step_by(2) {
            client.send(b"after the signal");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let expected: &[u8] = if number % 2 == 0 { b"after the signal" } else { b"" };
            assert_eq!(client.receive_to_end(), expected, "{number}");
        }
        drop(clients);
        let outcome = server.finish().exits(0);
        let report = outcome.report();
        let connections = &report["connections"];
        // On a busy machine the ACKs of some are there before the signal.
        let half_open = &connections["half_open"];
        assert!(half_open["seen"].as_u64() > Some(0), "{report:#}");
        assert_eq!(half_open["completed"], half_open["seen"], "{report:#}");
        assert_eq!((&report["gated"], &report["grade"]), (&json!(true), &json!("complete")));
        assert_eq!(connections["accepted"], 100);
        assert!(outcome.took < Duration::from_millis(1500), "{:?}", outcome.took);
    }
}

#[test]
fn one_that_hears_a_repetition_only_is_waited_for() {
    let mut server = Server::start(&REPORT);
    let deaf = connect_deaf(server.address());
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining at");
    thread::sleep(Duration::from_millis(300));
    // The next SYN-ACK comes one second after the first.
    deaf.detach_filter().expect("no filter");
    let error = loop {
        match deaf.take_error().expect("an error or none") {
            None if deaf.peer_addr().is_ok() => break None,
            None => thread::sleep(Duration::from_millis(2)),
            error => break error,
        }
    };
    assert!(error.is_none(), "{error:?}");
    deaf.set_nonblocking(false).expect("an option");
    let mut client = Client(deaf.into());
    assert_eq!(client.receive_to_end(), b"");
    drop(client);
    let report = server.finish().exits(0).report();
    let half_open = json!({"seen": 1, "completed": 1, "stale": 0, "left": 0});
    assert_eq!(report["connections"]["half_open"], half_open, "{report:#}");
    assert_eq!(report["grade"], "complete");
}

#[test]
fn one_that_hears_nothing_holds_a_stop_for_the_grace_and_is_said_to_be_stale() {
    let mut server = Server::start(&REPORT);
    let deaf = connect_deaf(server.address());
    server.process.signal(Signal::TERM);
    let outcome = server.finish().exits(0);
    let report = outcome.report();
    let half_open = json!({"seen": 1, "completed": 0, "stale": 1, "left": 0});
    assert_eq!(report["connections"]["half_open"], half_open, "{report:#}");
    assert_eq!(report["grade"], "lossless", "nothing proves that nobody is behind it");
    assert!(outcome.took >= Duration::from_millis(1500), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_millis(3000), "{:?}", outcome.took);
    drop(deaf);
}

/// A stop whose end comes before a handshake has had its second SYN-ACK says that it reset it.
#[test]
fn one_that_is_not_waited_for_is_lost() {
    for end in [["--handshake-grace", "0s"], ["--shutdown-timeout", "200ms"]] {
        let mut server = Server::start(&[&REPORT[..], &end].concat());
        let deaf = connect_deaf(server.address());
        server.process.signal(Signal::TERM);
        let outcome = server.finish().exits(3);
        let report = outcome.report();
        let half_open = json!({"seen": 1, "completed": 0, "stale": 0, "left": 1});
        assert_eq!(report["connections"]["half_open"], half_open, "{report:#}");
        assert_eq!(report["grade"], "lossy");
        assert!(outcome.took < Duration::from_millis(1000), "{:?}", outcome.took);
        deaf.detach_filter().expect("no filter");
    }
}

#[test]
fn behind_the_gate_new_clients_are_kept_out_and_a_quiet_server_leaves_soon() {
    let mut server = Server::start(&REPORT);
    let address = server.address();
    let deaf = connect_deaf(address);
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining at");
    // The line is written right before the gate is shut.
    wait_for("the gate", || {
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(200)).err()?;
        let kinds = [ErrorKind::ConnectionRefused, ErrorKind::TimedOut, ErrorKind::WouldBlock];
        assert!(kinds.contains(&error.kind()), "{error}");
        Some(())
    });
    assert!(!server.process.has_ended(), "the one that is half open is waited for");
    drop(deaf);
    server.finish().exits(0);
    let quiet = Server::start(&["--report", "-"]);
    let report = quiet.stop().exits(0).report();
    assert!(report["stop_ns"].as_u64().expect("a number") < 60_000_000, "{report:#}");
    assert_eq!(report["grade"], "complete");
}
