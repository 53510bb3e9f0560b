//! An observer sees every connection once and the phases in order, and may use a handle.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netgrace::{
    CloseReason, Closed, Config, ConnectionId, HostWaker, Observer, Phase, ShutdownHandle,
    TokenRange,
};

use super::support::{Host, quick, server};

#[derive(Default)]
struct Record {
    opened: Vec<(ConnectionId, Option<SocketAddr>)>,
    closed: Vec<Closed>,
    phases: Vec<Phase>,
}

struct Recorder(Arc<Mutex<Record>>);

impl Observer for Recorder {
    fn on_open(&mut self, connection: ConnectionId, peer: Option<SocketAddr>) {
        self.0.lock().unwrap().opened.push((connection, peer));
    }

    fn on_close(&mut self, closed: Closed) {
        self.0.lock().unwrap().closed.push(closed);
    }

    fn on_phase(&mut self, phase: Phase) {
        self.0.lock().unwrap().phases.push(phase);
    }
}

fn observed(config: Config) -> (Host, Arc<Mutex<Record>>) {
    let mut host = Host::of(config);
    let record = Arc::new(Mutex::new(Record::default()));
    host.server().observe(Recorder(Arc::clone(&record)));
    (host, record)
}

#[test]
fn it_sees_every_connection_its_reason_and_its_bytes() {
    let (mut host, record) = observed(quick());
    let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        host.echo(client, &vec![b'x'; 100 * (number + 1)]);
    }
    clients[0].send_end();
    host.receive_end(&mut clients[0]);
    let addresses: Vec<_> = clients.iter().map(|client| Some(client.address())).collect();
    let mut others: Vec<_> = clients.iter_mut().skip(1).collect();
    let report = host.stop(&mut others);

    let record = record.lock().unwrap();
    let opened: Vec<_> = (1..).zip(addresses).collect();
    let seen: Vec<_> = record.opened.iter().map(|(id, peer)| (id.number(), *peer)).collect();
    assert_eq!(seen, opened);
    assert_eq!(record.phases, [Phase::Draining, Phase::Finished]);
    let closed: HashMap<u64, &Closed> =
        record.closed.iter().map(|closed| (closed.connection.number(), closed)).collect();
    assert_eq!((record.closed.len(), closed.len()), (4, 4));
    for number in 1..=4_u64 {
        let closed = closed[&number];
        let wanted = if number == 1 { CloseReason::PeerClosed } else { CloseReason::Drained };
        assert_eq!(closed.reason, wanted);
        assert_eq!((closed.bytes.read, closed.bytes.written), (100 * number, 100 * number));
    }
    let sum = |of: fn(&Closed) -> u64| record.closed.iter().map(of).sum::<u64>();
    assert_eq!(sum(|closed| closed.bytes.read), report.bytes.read);
    assert_eq!(sum(|closed| closed.bytes.written), report.bytes.written);
}

#[test]
fn it_sees_all_phases_in_order() {
    let config = quick().lame_duck(Duration::from_millis(10));
    let (mut host, record) = observed(config.shutdown_timeout(Duration::from_millis(30)));
    let mut talker = host.connect();
    host.until_open(1);
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().begin_shutdown(&registry, Instant::now());
    host.until("the end of the stop", |host| {
        talker.send_what_fits();
        host.server().is_finished().then_some(())
    });
    let all = [Phase::LameDuck, Phase::Draining, Phase::Forcing, Phase::Finished];
    assert_eq!(record.lock().unwrap().phases, all);
}

/// Asks for the stop from inside each callback.
struct Eager(ShutdownHandle);

impl Observer for Eager {
    fn on_open(&mut self, _: ConnectionId, _: Option<SocketAddr>) {
        self.0.begin_shutdown();
    }

    fn on_close(&mut self, _: Closed) {
        self.0.clone().begin_shutdown();
    }

    fn on_phase(&mut self, _: Phase) {
        self.0.begin_shutdown();
    }
}

#[test]
fn a_callback_may_ask_for_the_stop() {
    let mut host = Host::of(quick());
    let handle = host.server().shutdown_handle(HostWaker::none());
    host.server().observe(Eager(handle));
    let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"served all the same"));
    host.until("the stop", |host| (host.server().phase() > Phase::Running).then_some(()));
    for client in &mut clients {
        host.receive(client, b"served all the same");
    }
    let mut clients: Vec<_> = clients.iter_mut().collect();
    assert_eq!(host.finish(&mut clients).connections.drained, 3);
}

#[test]
fn a_later_observer_takes_the_place_of_an_earlier_one() {
    let (mut host, earlier) = observed(quick());
    let mut client = host.connect();
    host.until_open(1);
    let later = Arc::new(Mutex::new(Record::default()));
    host.server().observe(Recorder(Arc::clone(&later)));
    assert_eq!(Arc::strong_count(&earlier), 1, "the earlier one is dropped");
    host.stop(&mut [&mut client]);
    assert_eq!(earlier.lock().unwrap().closed.len(), 0);
    assert_eq!(later.lock().unwrap().closed[0].connection.number(), 1);
}

/// Serves only clients of some ports.
struct AllowList(Vec<u16>, Arc<Mutex<Record>>);

impl Observer for AllowList {
    fn accepts(&mut self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| self.0.contains(&peer.port()))
    }

    fn on_open(&mut self, connection: ConnectionId, peer: Option<SocketAddr>) {
        self.1.lock().unwrap().opened.push((connection, peer));
    }
}

#[test]
fn it_can_refuse_a_client() {
    let mut host = Host::of(quick());
    let [mut allowed, mut stranger] = [host.connect(), host.connect()];
    let record = Arc::new(Mutex::new(Record::default()));
    host.server().observe(AllowList(vec![allowed.address().port()], Arc::clone(&record)));
    host.echo(&mut allowed, b"on the list");
    host.until("the end of the stranger", |_| {
        stranger.receive();
        stranger.ended.then_some(())
    });
    assert_eq!((host.server().stats().accepted, host.server().stats().refused), (1, 1));
    assert_eq!(record.lock().unwrap().opened.len(), 1);
    assert_eq!(host.stop(&mut [&mut allowed]).connections.accepted, 1);
}

#[test]
fn a_host_closes_a_connection_only_if_nothing_is_lost() {
    let (mut host, record) = observed(quick().linger(super::support::DEADLINE));
    let [mut reader, mut writer] = [host.connect(), host.connect()];
    host.until_open(2);
    let ids: Vec<_> = record.lock().unwrap().opened.iter().map(|(id, _)| *id).collect();
    // What it reads first is echoed before the FIN.
    reader.send(b"not handled yet");
    assert!(host.server().close_if_clean(ids[0], Instant::now()));
    assert!(!host.server().close_if_clean(ids[0], Instant::now()), "once");
    host.until("the echo and the FIN", |_| {
        reader.receive();
        reader.ended.then_some(())
    });
    assert_eq!((&reader.received[..], reader.error), (&b"not handled yet"[..], None));
    // Pending output that the peer does not take: not clean.
    host.until("pending output", |host| {
        writer.send_what_fits();
        (host.server().stats().held > 0).then_some(())
    });
    assert!(!host.server().close_if_clean(ids[1], Instant::now()));
    assert_eq!(host.server().stats().open, 2, "the reader has not sent its FIN");
    reader.send_end();
    host.until("the end of the reader", |host| (host.server().stats().open == 1).then_some(()));
    assert_eq!(record.lock().unwrap().closed[0].reason, CloseReason::HostClosed);
    // Its slot is free, and later another connection's: the identity is not.
    let mut other = host.connect();
    host.echo(&mut other, b"in the same slot");
    assert!(!host.server().close_if_clean(ids[0], Instant::now()));
    assert_eq!(host.server().stats().open, 2);
    assert_eq!(host.server().report().connections.host_closed, 1);
}

struct Bomb;

impl Observer for Bomb {
    fn on_open(&mut self, _: ConnectionId, _: Option<SocketAddr>) {
        panic!("the observer's own fault");
    }

    fn on_close(&mut self, _: Closed) {
        panic!("and once more");
    }
}

#[test]
fn a_panic_of_a_callback_reaches_the_host_and_the_server_can_be_dropped() {
    let mut host = Host::new(8);
    host.add(server(quick()), TokenRange::new(0..9));
    host.server().observe(Bomb);
    let _client = host.connect();
    let mut server = host.servers.remove(0);
    let poll = &mut host.poll;
    let events = &mut host.events;
    let result = catch_unwind(AssertUnwindSafe(move || {
        loop {
            poll.poll(events, Some(Duration::from_millis(50))).unwrap();
            for event in events.iter() {
                server.handle_event(event, Instant::now());
            }
            server.end_turn(poll.registry(), Instant::now());
        }
    }));
    // The server was dropped while the panic unwound: had the observer been told of that, the
    // process would have been aborted.
    let cause = result.unwrap_err();
    assert_eq!(cause.downcast_ref(), Some(&"the observer's own fault"));
}
