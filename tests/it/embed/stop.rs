//! Stops in a shared poll: one server's end is nobody else's.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netgrace::{Config, Grade, Phase, TokenRange};

use super::support::{BEST, Client, Host, check, quick, server};

fn two_guests(first: Config, second: Config) -> Host {
    let mut host = Host::new(8);
    host.add(server(first), TokenRange::new(1..51));
    host.add(server(second), TokenRange::new(51..101));
    host
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn a_stop_of_one_server_does_not_disturb_the_other() {
    let mut host = two_guests(quick(), quick());
    let addresses = [host.servers[0].local_addr().unwrap(), host.servers[1].local_addr().unwrap()];
    let mut leaving: Vec<_> = (0..10).map(|_| Client::connect(addresses[0])).collect();
    let mut staying: Vec<_> = (0..10).map(|_| Client::connect(addresses[1])).collect();
    leaving.iter_mut().chain(&mut staying).for_each(|client| host.echo(client, b"both"));
    host.servers[0].begin_shutdown(host.poll.registry(), Instant::now());
    assert!(refuses(addresses[0]));
    for round in 0..5 {
        for client in &mut staying {
            host.echo(client, &[round; 1000]);
        }
    }
    let mut leaving: Vec<_> = leaving.iter_mut().collect();
    let report = host.finish(&mut leaving);
    assert_eq!((report.grade(), report.connections.drained), (Some(BEST), 10));
    let mut late = Client::connect(addresses[1]);
    staying.iter_mut().for_each(|client| host.echo(client, b"alone"));
    host.echo(&mut late, b"and new ones");
    let stats = host.servers[1].stats();
    assert_eq!((stats.phase, stats.open, stats.closed), (Phase::Running, 11, 0));
    assert!(host.foreign.is_empty(), "{:?}", host.foreign);
}

#[test]
fn both_may_stop_at_once_each_in_its_own_way() {
    let mut host = two_guests(quick(), Config::new().idle_grace(Duration::from_secs(60)));
    let addresses = [host.servers[0].local_addr().unwrap(), host.servers[1].local_addr().unwrap()];
    let mut first = Client::connect(addresses[0]);
    let mut second = Client::connect(addresses[1]);
    host.echo(&mut first, b"first");
    host.echo(&mut second, b"second");
    let (registry, now) = (host.poll.registry().try_clone().unwrap(), Instant::now());
    host.servers[1].force_shutdown(&registry, now);
    host.servers[0].begin_shutdown(&registry, now);
    let report = host.finish(&mut [&mut first]);
    assert_eq!(report.connections.drained, 1);
    // A force sends a FIN only to who has been silent for a moment.
    host.until("the other end", |host| host.servers[1].is_finished().then_some(()));
    check(host.servers[1].report());
    assert_eq!(host.servers[1].report().connections.forced_clean, 1);
    host.receive_end(&mut second);
}

#[test]
fn a_stop_in_the_middle_of_a_batch_takes_in_who_is_waiting() {
    let mut host = Host::of(quick());
    let mut first = host.connect();
    host.echo(&mut first, b"open");
    first.send(b"in this batch");
    let mut second = host.connect();
    second.send(b"in the queue");
    host.wait(Duration::from_secs(1));
    let registry = host.poll.registry().try_clone().unwrap();
    host.servers[0].begin_shutdown(&registry, Instant::now());
    host.dispatch();
    host.servers[0].begin_shutdown(&registry, Instant::now());
    host.end_turn();
    host.receive(&mut first, b"in this batch");
    host.receive(&mut second, b"in the queue");
    let report = host.finish(&mut [&mut first, &mut second]);
    assert_eq!((report.connections.drained, report.connections.swept), (2, 1));
    assert_eq!(report.grade(), Some(BEST));
}

#[test]
fn the_deadline_alone_carries_a_stop_to_its_end() {
    // Nobody answers our FIN: no event comes, only deadlines.
    let mut host = Host::of(quick().linger(Duration::from_millis(50)));
    let mut silent = host.connect();
    host.echo(&mut silent, b"then silence");
    let registry = host.poll.registry().try_clone().unwrap();
    host.servers[0].begin_shutdown(&registry, Instant::now());
    let mut turns = 0;
    while !host.server().is_finished() {
        assert!(host.server().next_deadline().is_some(), "it would sleep for ever");
        host.turn(super::support::DEADLINE);
        turns += 1;
        assert!(turns < 100, "it spins");
    }
    let report = host.server().report();
    assert_eq!((report.connections.drained, report.bytes.late), (1, 0));
    assert!(report.grade() >= Some(Grade::Lossless));
    assert!(report.stop.unwrap() < Duration::from_secs(5));
}

#[test]
fn an_idle_server_has_no_deadline() {
    let mut host = Host::of(Config::new());
    assert_eq!(host.server().next_deadline(), None);
    let mut client = host.connect();
    host.echo(&mut client, b"and then nothing");
    host.turn(Duration::ZERO);
    assert_eq!(host.server().next_deadline(), None);
}

#[test]
fn an_inherited_listener_goes_on_elsewhere() {
    let listener = std::net::TcpListener::bind(super::support::loopback()).unwrap();
    let ours = listener.try_clone().unwrap();
    let mut host = Host::new(8);
    let mut server = netgrace::Server::new(quick()).unwrap();
    server.adopt(ours, netgrace::Ownership::Shared).unwrap();
    let address = server.local_addr().unwrap();
    host.add(server, TokenRange::new(0..10));
    let mut client = Client::connect(address);
    host.echo(&mut client, b"by the server");
    let report = host.stop(&mut [&mut client]);
    assert_eq!((report.connections.accepted, report.connections.backlog_left), (1, Some(0)));
    let mut next = Client::connect(address);
    next.send(b"by the successor");
    listener.set_nonblocking(false).unwrap();
    assert_eq!(listener.accept().unwrap().1, next.address());
}
