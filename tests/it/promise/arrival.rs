//! Clients that have just connected, or wait for a slot, when the stop is requested.

use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::net::sockopt::set_tcp_quickack;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::host::raise_open_files;
use crate::promise::client::{End, Pace, Peer};
use crate::promise::kernel::{self, State};
use crate::promise::law::Stop;
use crate::support::Server;

/// Connects, and holds back the last acknowledgement of the handshake for about 40 ms: for the
/// client it is over, for the server it is half open.
fn connect_without_acknowledgement(address: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    set_tcp_quickack(&socket, false).expect("an option");
    socket.connect(&address.into()).expect("a connection");
    Peer::from(TcpStream::from(socket))
}

/// A server that is asked to stop while the handshakes of 100 clients are half open, those clients,
/// and how many there were at the least.
fn stop_amid_handshakes(args: &[&str]) -> (Server, Vec<Peer>, usize) {
    for _ in 0..10 {
        let mut server = Server::start(args);
        let address = server.address();
        let clients: Vec<_> = (0..100).map(|_| connect_without_acknowledgement(address)).collect();
        server.process.signal(Signal::TERM);
        let half_open = kernel::count(address.port(), State::HalfOpen);
        if half_open >= 50 {
            return (server, clients, half_open);
        }
        // The machine was too busy for it: the acknowledgements have gone out.
        drop(clients);
        drop(server.finish());
    }
    panic!("no stop came within 40 ms of 100 connects");
}

/// Row 1.
#[test]
fn clients_whose_last_acknowledgement_is_on_its_way_are_served() {
    let (server, clients, _) = stop_amid_handshakes(&["--report", "-"]);
    let clients = clients.into_iter().map(|client| client.read_to_end(Pace::FAST).0).collect();
    let stop = Stop::of(server, clients);
    stop.keeps();
    assert_eq!(stop.number("/connections/accepted"), 100);
}

#[test]
fn the_report_tells_of_half_open_handshakes_and_of_the_gate() {
    let (server, clients, half_open) = stop_amid_handshakes(&["--report", "-"]);
    let clients = clients.into_iter().map(|client| client.read_to_end(Pace::FAST).0).collect();
    let stop = Stop::of(server, clients);
    assert!(stop.report["gated"].is_boolean(), "{:#}", stop.report);
    // Some may have completed between the count and the dump that the server takes.
    let seen = stop.number("/connections/half_open/seen");
    assert!((1..=100).contains(&seen), "{half_open} were: {:#}", stop.report);
    assert_eq!(stop.number("/connections/half_open/completed"), seen);
    assert_eq!(stop.number("/connections/half_open/stale"), 0);
    assert_eq!(stop.number("/connections/half_open/left"), 0);
}

/// Without a grace they are reset, as before, and the report says at least that it does not know.
#[test]
fn without_a_grace_the_report_does_not_call_the_handshakes_served() {
    let args = ["--report", "-", "--handshake-grace", "0s"];
    let (server, clients, _) = stop_amid_handshakes(&args);
    let clients = clients.into_iter().map(|client| client.read_to_end(Pace::FAST).0).collect();
    let stop = Stop::of(server, clients);
    let grade = stop.grade();
    let reset = stop.count(|seen| seen.end == End::Reset);
    assert!(reset == 0 || grade == "lossy" || grade == "lossless", "{reset} reset, grade {grade}");
}

/// Row 17.
#[test]
fn lingering_connections_make_room_for_those_that_wait_for_a_slot() {
    raise_open_files();
    let args = ["--report", "-", "--max-conns", "10", "--idle-grace", "50ms"];
    let mut server = Server::start(&args);
    let mut clients: Vec<_> = (0..10).map(|_| Peer::connect(server.address())).collect();
    for client in &mut clients {
        client.echo(8);
    }
    server.process.signal(Signal::STOP);
    clients.extend((0..200).map(|_| {
        let mut client = Peer::connect(server.address());
        client.hand_over(8);
        client
    }));
    server.process.signal(Signal::TERM);
    server.process.signal(Signal::CONT);
    // Nobody closes before all have seen their end.
    let (clients, open): (Vec<_>, Vec<_>) =
        clients.into_iter().map(|client| client.read_to_end(Pace::FAST)).unzip();
    let stop = Stop::of(server, clients);
    drop(open);
    let echoed = stop.number("/bytes/written");
    assert_eq!(echoed, stop.number("/bytes/read"), "{:#}", stop.report);
    assert_eq!(stop.number("/connections/backlog_left"), 0, "{:#}", stop.report);
    assert_eq!(stop.number("/connections/accepted"), 210);
    assert_eq!(stop.count(|seen| seen.end != End::Fin), 0);
    assert_eq!(stop.count(|seen| seen.is_short()), 0);
    assert_eq!(stop.outcome.status.code(), Some(0));
}

/// They speak after the request, while the server waits for them.
#[test]
fn clients_that_connect_and_then_send_are_not_reset() {
    let (server, clients, _) = stop_amid_handshakes(&["--report", "-", "--drain", "peer"]);
    let served = clients.into_iter().map(|mut client| {
        client.hand_over(1);
        // It fails where the connection is reset already, which shows in what the client sees.
        let _ = client.stream().shutdown(Shutdown::Write);
        client.read_to_end(Pace::FAST).0
    });
    let served = served.collect();
    Stop::of(server, served).keeps();
}
