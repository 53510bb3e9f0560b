//! Tokens: only those of the range, and the range is the cap.

use std::time::{Duration, Instant};

use mio::{Interest, Token, Waker};
use netgrace::{Config, ErrorKind, Readiness, TokenRange};

use super::support::{Client, Host, quick, server};

#[test]
fn events_of_other_tokens_are_answered_no_and_change_nothing() {
    let mut host = Host::of(Config::new());
    let mut client = host.connect();
    host.echo(&mut client, b"before");
    let (stats, deadline) = (host.server().stats(), host.server().next_deadline());
    for token in [0, 1, 99, 1100, 1101, usize::MAX - 1, usize::MAX] {
        let mine = host.server().handle_ready(Token(token), Readiness::ALL, Instant::now());
        assert!(!mine, "{token}");
    }
    assert_eq!(host.server().stats(), stats);
    assert_eq!(host.server().next_deadline(), deadline);
    for token in [100, 101, 500, 1099] {
        assert!(
            host.server().handle_ready(Token(token), Readiness::ALL, Instant::now()),
            "{token}"
        );
    }
    host.echo(&mut client, b"after");
    assert!(host.foreign.is_empty(), "{:?}", host.foreign);
}

#[test]
fn a_host_keeps_its_own_sources_waker_and_servers_apart() {
    let mut host = Host::new(16);
    let waker = Waker::new(host.poll.registry(), Token(usize::MAX)).unwrap();
    let address = super::support::loopback();
    let mut own = [0, 99, 200].map(|token| {
        let mut listener = mio::net::TcpListener::bind(address).unwrap();
        let registry = host.poll.registry();
        registry.register(&mut listener, Token(token), Interest::READABLE).unwrap();
        listener
    });
    host.add(server(Config::new()), TokenRange::new(100..200));
    host.add(server(Config::new()), TokenRange::new(201..301));
    let mut clients =
        [0, 1].map(|server: usize| Client::connect(host.servers[server].local_addr().unwrap()));
    for (number, client) in clients.iter_mut().enumerate() {
        host.echo(client, format!("hello {number}").as_bytes());
    }
    waker.wake().unwrap();
    let visitors: Vec<_> =
        own.iter().map(|own| Client::connect(own.local_addr().unwrap())).collect();
    host.until("the host's own events", |host| {
        let wanted = [0, 99, 200, usize::MAX];
        wanted.iter().all(|token| host.foreign.contains(&Token(*token))).then_some(())
    });
    for server in &host.servers {
        assert_eq!(server.stats().accepted, 1);
    }
    for (listener, visitor) in own.iter_mut().zip(&visitors) {
        assert_eq!(listener.accept().unwrap().1, visitor.address());
    }
}

#[test]
fn the_last_token_there_is_can_be_used() {
    let mut host = Host::new(16);
    host.add(server(quick()), TokenRange::new(usize::MAX - 2..usize::MAX));
    let mut client = host.connect();
    host.echo(&mut client, b"at the edge");
    assert_eq!(host.stop(&mut [&mut client]).connections.drained, 1);
}

#[test]
fn a_range_that_does_not_fit_is_a_clear_error() {
    let host = Host::new(16);
    let refused = |config: Config, tokens| {
        let mut server = server(config);
        let error = server.register(host.poll.registry(), tokens).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenRange, "{error}");
        assert_eq!(server.tokens(), None);
        server.register(host.poll.registry(), TokenRange::new(0..101)).unwrap();
        error.to_string()
    };
    let text = refused(Config::new().max_connections(100), TokenRange::new(7..107));
    assert!(text.contains("max_connections") && text.contains("100") && text.contains("99"));
    refused(Config::new(), TokenRange::new(7..7));
    refused(Config::new(), TokenRange::new(7..8));
    let text = refused(Config::new(), TokenRange::new(usize::MAX..usize::MAX));
    assert!(text.contains(&usize::MAX.to_string()), "{text}");
}

#[test]
fn a_full_range_parks_clients_and_forgets_none() {
    let mut host = Host::new(16);
    host.add(server(quick()), TokenRange::new(10..13));
    let mut clients: Vec<_> = (0..6).map(|_| host.connect()).collect();
    for (number, client) in (0..).zip(&mut clients) {
        client.send(&[number; 10]);
    }
    for number in 0..6_u8 {
        let open = host.server().stats().open;
        assert!(open <= 2, "{open}");
        let mut client = clients.remove(0);
        host.receive(&mut client, &[number; 10]);
        client.send_end();
        host.receive_end(&mut client);
    }
    assert_eq!(host.server().stats().accepted, 6);
    assert_eq!(host.stop(&mut []).connections.peer_closed, 6);
}

#[test]
fn a_full_server_does_not_spin() {
    let mut host = Host::new(16);
    host.add(server(Config::new()), TokenRange::new(10..12));
    let mut first = host.connect();
    host.echo(&mut first, b"in");
    let _second = host.connect();
    host.turn(Duration::from_millis(50));
    host.turn(Duration::from_millis(5));
    assert_eq!(host.server().next_deadline(), None);
    assert_eq!(host.server().stats().open, 1);
}
