//! On a poll, off it, on another: defined at every step.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use netgrace::{Config, ErrorKind, HostWaker, Ownership, Phase, Readiness, TokenRange};

use super::support::{Client, Host, loopback, quick, server};

const RANGE: TokenRange = TokenRange::new(100..1100);

#[test]
fn a_second_registration_is_refused_and_changes_nothing() {
    let mut host = Host::of(Config::new());
    let other = Poll::new().unwrap();
    let registry = host.poll.registry().try_clone().unwrap();
    for registry in [&registry, other.registry()] {
        let error = host.server().register(registry, TokenRange::new(5000..5010)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Register, "{error}");
    }
    assert_eq!(host.server().tokens(), Some(RANGE));
    let mut client = host.connect();
    host.echo(&mut client, b"still served");
}

#[test]
fn listeners_are_given_before_the_registration() {
    let mut host = Host::of(Config::new());
    assert_eq!(host.server().listen(loopback()).unwrap_err().kind(), ErrorKind::Register);
    let listener = std::net::TcpListener::bind(loopback()).unwrap();
    assert_eq!(
        host.server().adopt(listener, Ownership::Shared).unwrap_err().kind(),
        ErrorKind::Register
    );
}

#[test]
fn deregistering_from_another_poll_is_an_error_and_changes_nothing() {
    let mut host = Host::of(Config::new());
    let mut client = host.connect();
    host.echo(&mut client, b"before");
    let other = Poll::new().unwrap();
    let error = host.server().deregister(other.registry()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Register);
    assert_eq!(host.server().tokens(), Some(RANGE));
    host.echo(&mut client, b"after");
}

#[test]
fn who_waits_for_a_slot_gets_the_one_that_came_free_while_the_server_was_away() {
    let mut host = Host::of(Config::new().max_connections(1));
    let mut first = host.connect();
    host.echo(&mut first, b"has the only slot");
    let mut second = host.connect();
    second.send(b"waits for it");
    // Until the queue was looked into: full.
    host.turn(Duration::from_secs(1));
    let registry = host.poll.registry().try_clone().unwrap();
    drop(first);
    host.until("the close", |host| {
        host.wait(Duration::from_millis(10));
        host.dispatch();
        (host.server().stats().closed == 1).then_some(())
    });
    host.server().deregister(&registry).unwrap();
    host.end_turn();
    host.server().register(&registry, RANGE).unwrap();
    host.receive(&mut second, b"waits for it");
}

#[test]
fn open_connections_move_to_another_poll_and_lose_nothing() {
    let mut host = Host::of(quick());
    let mut early = host.connect();
    host.echo(&mut early, b"on the first poll");
    let block = vec![7; 30_000];
    early.send(&block);
    host.wait(Duration::from_secs(1));
    host.dispatch();
    early.send(b"and more");

    let registry = host.poll.registry().try_clone().unwrap();
    let mut server = host.servers.remove(0);
    server.deregister(&registry).unwrap();
    server.deregister(&registry).unwrap();
    assert_eq!(server.tokens(), None);
    assert!(!server.handle_ready(Token(101), Readiness::ALL, Instant::now()));
    let mut waiting = Client::connect(server.local_addr().unwrap());
    waiting.send(b"in the queue");
    server.end_turn(&registry, Instant::now());
    assert_eq!((server.stats().open, server.next_deadline()), (1, None));

    let mut second = Host::new(16);
    second.add(server, TokenRange::new(0..3));
    second.receive(&mut early, &[block, b"and more".to_vec()].concat());
    second.receive(&mut waiting, b"in the queue");
    drop(host);
    second.echo(&mut early, b"on the second poll");
    let report = second.stop(&mut [&mut early, &mut waiting]);
    assert_eq!(report.connections.drained, 2);
}

#[test]
fn a_smaller_range_after_a_larger_one_leaves_no_slot_beyond_it() {
    let mut host = Host::of(Config::new());
    let mut first = host.connect();
    host.echo(&mut first, b"1");
    let others: Vec<_> = (0..20).map(|_| host.connect()).collect();
    host.until_open(21);
    drop(others);
    host.until_open(1);
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().deregister(&registry).unwrap();
    host.server().register(&registry, TokenRange::new(50..53)).unwrap();
    let mut second = host.connect();
    host.echo(&mut second, b"2");
    host.echo(&mut first, b"3");
    assert_eq!(host.server().stats().accept_errors, 0);
}

#[test]
fn a_range_too_small_for_the_open_connections_is_refused() {
    let mut host = Host::of(Config::new());
    let mut clients = [host.connect(), host.connect()];
    host.until_open(2);
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().deregister(&registry).unwrap();
    let error = host.server().register(&registry, TokenRange::new(0..2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenRange, "{error}");
    host.server().register(&registry, TokenRange::new(0..3)).unwrap();
    clients.iter_mut().for_each(|client| host.echo(client, b"both are there"));
}

#[test]
fn a_registration_that_fails_half_way_is_taken_back() {
    let mut host = Host::new(16);
    let mut server = server(quick());
    let own = std::net::TcpListener::bind(loopback()).unwrap();
    let taken = std::net::TcpListener::bind(loopback()).unwrap();
    let raw = taken.as_raw_fd();
    host.poll.registry().register(&mut SourceFd(&raw), Token(77), Interest::READABLE).unwrap();
    server.adopt(own, Ownership::Shared).unwrap();
    server.adopt(taken, Ownership::Shared).unwrap();
    let error = server.register(host.poll.registry(), TokenRange::new(0..20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Register, "{error}");
    assert_eq!(server.tokens(), None);
    assert!(!server.handle_ready(Token(0), Readiness::ALL, Instant::now()));
    host.add(server, TokenRange::new(0..20));
    for address in host.server().local_addrs().to_vec() {
        let mut client = Client::connect(address);
        host.echo(&mut client, b"each listener");
    }
}

#[test]
fn a_stop_between_two_registrations_waits_for_the_second() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    host.echo(&mut client, b"before");
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().deregister(&registry).unwrap();
    let mut waiting = host.connect();
    waiting.send(b"from the queue");
    client.send(b"meanwhile");
    host.server().begin_shutdown(&registry, Instant::now());
    host.turn(Duration::from_millis(100));
    assert_eq!(host.server().phase(), Phase::Draining);
    assert!(host.server().next_deadline().is_some_and(|deadline| deadline > Instant::now()));
    host.server().register(&registry, TokenRange::new(3..7)).unwrap();
    host.end_turn();
    host.receive(&mut client, b"meanwhile");
    host.receive(&mut waiting, b"from the queue");
    let report = host.finish(&mut [&mut client, &mut waiting]);
    assert_eq!((report.connections.drained, report.connections.swept), (2, 1));
    assert_eq!(report.connections.backlog_left, Some(0));
    assert_eq!(report.bytes.late, 0);
}

#[test]
fn a_stop_of_a_server_that_is_never_registered_ends_with_its_budget() {
    let poll = Poll::new().unwrap();
    let mut server = server(Config::new().shutdown_timeout(Duration::from_secs(3600)));
    let _waiting = Client::connect(server.local_addr().unwrap());
    let start = Instant::now();
    server.shutdown_handle(HostWaker::none()).begin_shutdown();
    server.end_turn(poll.registry(), start);
    assert_eq!(server.phase(), Phase::Draining);
    let end = server.next_deadline();
    assert!(end.is_some_and(|end| end <= start + Duration::from_secs(3600)), "{end:?}");
    server.end_turn(poll.registry(), start + Duration::from_secs(3600));
    assert!(server.is_finished());
    assert_eq!(server.report().connections.backlog_left, Some(1));
}

#[test]
fn a_stop_asked_for_before_the_registration_serves_who_is_waiting() {
    let server = server(quick());
    server.shutdown_handle(HostWaker::none()).begin_shutdown();
    let mut client = Client::connect(server.local_addr().unwrap());
    client.send(b"early bird");
    let mut host = Host::new(16);
    host.add(server, TokenRange::new(0..9));
    host.receive(&mut client, b"early bird");
    let report = host.finish(&mut [&mut client]);
    assert_eq!((report.connections.swept, report.connections.drained), (1, 1));
}

#[test]
fn a_server_moves_in_the_middle_of_its_stop() {
    let mut host = Host::of(Config::new().idle_grace(Duration::from_millis(300)));
    let mut client = host.connect();
    host.echo(&mut client, b"before");
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().begin_shutdown(&registry, Instant::now());
    host.echo(&mut client, b"while it drains");
    let mut server = host.servers.remove(0);
    server.deregister(&registry).unwrap();
    let mut second = Host::new(16);
    second.add(server, TokenRange::new(70..75));
    second.echo(&mut client, b"elsewhere");
    let report = second.finish(&mut [&mut client]);
    assert_eq!((report.connections.drained, report.bytes.late), (1, 0));
}

#[test]
fn a_server_without_listeners_stops_at_once() {
    let mut host = Host::new(16);
    host.add(netgrace::Server::new(Config::new()).unwrap(), TokenRange::new(0..1));
    assert_eq!(host.server().local_addr(), None);
    assert_eq!(host.stop(&mut []).connections.accepted, 0);
}

#[test]
fn listeners_of_std_and_mio_are_adopted_and_only_an_exclusive_queue_is_emptied() {
    let bind = || std::net::TcpListener::bind(loopback()).unwrap();
    let mut server = netgrace::Server::new(quick()).unwrap();
    let shared = bind();
    let kept = shared.try_clone().unwrap();
    let (of_std, of_mio) = (bind(), mio::net::TcpListener::bind(loopback()));
    let path = std::env::temp_dir().join(format!("netgrace-adopt-{}", std::process::id()));
    let _stale = std::fs::remove_file(&path);
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let ids = [
        server.adopt(of_std, Ownership::Exclusive).unwrap(),
        server.adopt(of_mio.unwrap(), Ownership::Shared).unwrap(),
        server.adopt(shared, Ownership::Exclusive).unwrap(),
        server.adopt(unix, Ownership::Exclusive).unwrap(),
    ];
    let addresses = server.local_addrs().to_vec();
    assert_eq!((addresses.len(), server.listener_count()), (3, 4));
    assert!(server.listeners().map(|(id, _)| id).eq(ids));
    // The second is ours after all, the third is another's.
    server.set_ownership(ids[1], Ownership::Exclusive);
    server.set_ownership(ids[2], Ownership::Shared);
    let mut host = Host::new(8);
    host.add(server, TokenRange::new(0..20));
    let mut clients: Vec<_> = addresses.iter().map(|address| Client::connect(*address)).collect();
    let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().begin_shutdown(&registry, Instant::now());
    assert_eq!(host.server().report().connections.swept, 3);
    drop(waiting);
    let (mut taken, _) = kept.accept().unwrap();
    std::io::Write::write_all(&mut taken, b"by the other owner").unwrap();
    drop(taken);
    let mut clients: Vec<_> = clients.iter_mut().collect();
    let report = host.finish(&mut clients);
    assert_eq!((report.connections.accepted, report.connections.backlog_left), (3, Some(0)));
    assert_eq!(clients[2].received, b"by the other owner");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_server_leaves_its_loop_for_the_poll_of_a_host() {
    let mut event_loop = netgrace::EventLoop::new(server(quick())).unwrap();
    assert_eq!(event_loop.first_free_token(), Token((1 << 20) + 1));
    let mut client = Client::connect(event_loop.server().local_addr().unwrap());
    while event_loop.server().stats().open == 0 {
        event_loop.turn(Some(Duration::from_millis(20)));
    }
    let mut host = Host::new(8);
    host.add(event_loop.into_server().unwrap(), TokenRange::new(5..10));
    host.echo(&mut client, b"in another poll");
    assert_eq!(host.stop(&mut [&mut client]).connections.drained, 1);
}

#[test]
fn the_settings_of_a_server_can_be_read_compared_and_checked() {
    let config = Config::new().max_connections(7).drain(netgrace::Drain::Peer);
    assert_eq!(config.get_max_connections(), Some(7));
    assert_eq!((config.get_drain(), config.get_max_per_ip()), (netgrace::Drain::Peer, None));
    assert_ne!(config, Config::new());
    assert_eq!(config, config.clone());
    config.check().unwrap();
    let error = config.max_held(1).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let server = netgrace::Server::new(Config::new().max_per_ip(3)).unwrap();
    assert_eq!(server.config().get_max_per_ip(), Some(3));
    let error = netgrace::EventLoop::builder().events_capacity(0).build(server).unwrap_err();
    assert!(error.to_string().contains("events_capacity 0"), "{error}");
}
