//! Hosts that come late, skip, repeat, reorder and invent: nothing is lost.

use std::time::{Duration, Instant};

use mio::{Token, event::Event};
use netgrace::{Config, Readiness, TokenRange};

use super::support::{Client, Host, quick, server};

const STALL: Duration = Duration::from_millis(500);

fn stall() {
    std::thread::sleep(STALL);
}

#[test]
fn a_host_that_stalls_closes_nobody_who_spoke_in_time() {
    // The batches are small, so that deadlines come due before all events were told.
    let mut host = Host::new(4);
    let config = quick().idle_timeout(Duration::from_millis(200));
    host.add(server(config), TokenRange::new(0..200));
    let mut clients: Vec<_> = (0..100).map(|_| host.connect()).collect();
    host.until_open(100);
    clients.iter_mut().for_each(|client| client.send(b"in time"));
    stall();
    for client in &mut clients {
        host.receive(client, b"in time");
    }
    let report = host.server().report().clone();
    assert_eq!((report.bytes.late, report.bytes.written), (0, 700));
}

#[test]
fn a_host_that_stalls_in_a_stop_loses_nothing_that_came_in_time() {
    let mut host = Host::new(4);
    // The stall is longer than the grace and shorter than the patience, five times the grace.
    let config = Config::new().idle_grace(Duration::from_millis(300));
    host.add(server(config), TokenRange::new(0..200));
    let mut clients: Vec<_> = (0..100).map(|_| host.connect()).collect();
    host.until_open(100);
    let registry = host.poll.registry().try_clone().unwrap();
    clients.iter_mut().for_each(|client| host.echo(client, b"fresh"));
    host.server().begin_shutdown(&registry, Instant::now());
    host.turn(Duration::ZERO);
    // Not all are done yet; what they say now waits in the queues of the kernel.
    clients.iter_mut().for_each(Client::receive);
    let talking: Vec<_> = clients.iter_mut().filter(|client| !client.ended).collect();
    assert!(!talking.is_empty());
    talking.into_iter().for_each(|client| client.send(b"in time"));
    stall();
    let mut clients: Vec<_> = clients.iter_mut().collect();
    let report = host.finish(&mut clients);
    assert_eq!((report.bytes.late, report.bytes.unsent), (0, 0));
    for client in clients {
        assert!(client.error.is_none());
        assert!(client.received.is_empty() || client.received == b"in time");
    }
}

#[test]
fn every_turn_may_be_late() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    let text = vec![b'x'; 100_000];
    for part in text.chunks(25_000) {
        client.send(part);
        stall();
        host.turn(Duration::ZERO);
    }
    host.receive(&mut client, &text);
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().begin_shutdown(&registry, Instant::now());
    // A pause in which nobody read counts for a client, but not without end.
    for _ in 0..160 {
        if host.server().is_finished() {
            break;
        }
        client.leave_at_the_end();
        std::thread::sleep(Duration::from_millis(30));
        host.turn(Duration::ZERO);
    }
    assert!(host.server().is_finished());
    assert_eq!(host.server().report().connections.drained, 1);
}

#[test]
fn skipped_ends_of_turns_delay_and_lose_nothing() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    host.echo(&mut client, b"in");
    let mut late = host.connect();
    late.send(b"waits for the end of a turn");
    // More than a turn reads, so that some of it waits for the end of the turn too.
    let text = vec![b'y'; 400_000];
    let mut sent = 0;
    for _ in 0..50 {
        if sent < text.len() {
            let end = text.len().min(sent + 20_000);
            client.send(&text[sent..end]);
            sent = end;
        }
        host.poll.poll(&mut host.events, Some(Duration::from_millis(1))).unwrap();
        host.dispatch();
        client.receive();
    }
    assert_eq!(host.server().stats().accepted, 1);
    host.end_turn();
    host.receive(&mut late, b"waits for the end of a turn");
    host.receive(&mut client, &text);
    client.send_end();
    host.receive_end(&mut client);
}

#[test]
fn repeated_and_reordered_events_change_nothing() {
    let mut host = Host::of(quick());
    let mut clients: Vec<_> = (0..8).map(|_| host.connect()).collect();
    host.until_open(8);
    for round in 0..20_u8 {
        for (number, client) in (0..).zip(&mut clients) {
            client.send(&[round, number]);
        }
        host.wait(Duration::from_millis(100));
        let batch: Vec<_> =
            host.events.iter().map(|event: &Event| (event.token(), event.into())).collect();
        let now = Instant::now();
        for (token, readiness) in batch.iter().rev().chain(&batch).chain(batch.iter().rev()) {
            assert!(host.servers[0].handle_ready(*token, *readiness, now));
        }
        host.end_turn();
        host.end_turn();
        for (number, client) in (0..).zip(&mut clients) {
            host.receive(client, &[round, number]);
        }
    }
    let mut clients: Vec<_> = clients.iter_mut().collect();
    assert_eq!(host.stop(&mut clients).connections.drained, 8);
}

#[test]
fn invented_events_of_every_kind_change_nothing() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    host.echo(&mut client, b"before");
    let kinds = [
        Readiness::NONE,
        Readiness::READABLE,
        Readiness::WRITABLE,
        Readiness::CLOSED,
        Readiness::ERROR,
        Readiness::PRIORITY,
        Readiness::ALL,
    ];
    for one in kinds {
        for other in kinds {
            for token in [100, 101, 102, 600, 1099] {
                host.servers[0].handle_ready(Token(token), one | other, Instant::now());
            }
        }
        host.end_turn();
        host.echo(&mut client, b"still here");
    }
    let stats = host.server().stats();
    assert_eq!((stats.open, stats.closed), (1, 0));
}

#[test]
fn stale_events_do_not_reach_the_next_connection_of_a_slot() {
    let mut host = Host::new(16);
    host.add(server(quick()), TokenRange::new(0..2));
    let mut first = host.connect();
    host.echo(&mut first, b"the first");
    let mut second = host.connect();
    second.send(b"the second");
    drop(first);
    // The end of the first comes with a batch, and is told again after its slot has a new owner.
    host.until("the slot's next owner", |host| (host.server().stats().accepted == 2).then_some(()));
    let gone = Readiness::READABLE | Readiness::CLOSED | Readiness::ERROR;
    for _ in 0..3 {
        assert!(host.server().handle_ready(Token(1), gone, Instant::now()));
        host.end_turn();
    }
    host.receive(&mut second, b"the second");
    host.echo(&mut second, b"lives");
    assert_eq!(host.stop(&mut [&mut second]).connections.peer_closed, 1);
}

#[test]
fn a_batch_that_outlives_the_stop_does_nothing() {
    let mut host = Host::of(quick());
    let mut clients: Vec<_> = (0..5).map(|_| host.connect()).collect();
    host.until_open(5);
    clients.iter_mut().for_each(|client| client.send(b"x"));
    host.wait(Duration::from_millis(100));
    let batch: Vec<_> =
        host.events.iter().map(|event: &Event| (event.token(), event.into())).collect();
    assert!(!batch.is_empty());
    let registry = host.poll.registry().try_clone().unwrap();
    host.server().force_shutdown(&registry, Instant::now());
    let mut batches_after = 0;
    host.until("the end, and what comes after it", |host| {
        batches_after += u32::from(host.server().is_finished());
        for (token, readiness) in &batch {
            assert!(host.server().handle_ready(*token, *readiness, Instant::now()));
        }
        (batches_after > 2).then_some(())
    });
    super::support::check(host.server().report());
    assert_eq!(host.server().next_deadline(), None);
}

#[test]
fn a_batch_that_outlives_a_server_is_nobodys() {
    let mut host = Host::new(64);
    host.add(server(quick()), TokenRange::new(0..20));
    host.add(server(quick()), TokenRange::new(20..40));
    let mut gone: Vec<_> = (0..5).map(|_| host.connect()).collect();
    let mut kept = Client::connect(host.servers[1].local_addr().unwrap());
    host.until_open(5);
    host.echo(&mut kept, b"before");
    gone.iter_mut().for_each(|client| client.send(b"x"));
    kept.send(b"in one batch with the dead");
    host.wait(Duration::from_millis(100));
    drop(host.servers.remove(0));
    host.dispatch();
    host.end_turn();
    assert!(host.foreign.iter().all(|token| token.0 < 20), "{:?}", host.foreign);
    host.receive(&mut kept, b"in one batch with the dead");
    // The tokens may serve the next one.
    host.add(server(quick()), TokenRange::new(0..20));
    let mut new = Client::connect(host.servers[1].local_addr().unwrap());
    host.echo(&mut new, b"after");
    host.echo(&mut kept, b"after");
}

#[test]
fn time_that_goes_backward_stands_still() {
    let mut host = Host::of(quick().idle_timeout(Duration::from_secs(1)));
    let past = Instant::now();
    let mut client = host.connect();
    host.echo(&mut client, b"now");
    let registry = host.poll.registry().try_clone().unwrap();
    client.send(b"then");
    host.wait(Duration::from_millis(100));
    for event in &host.events {
        host.servers[0].handle_event(event, past);
    }
    host.server().end_turn(&registry, past);
    host.receive(&mut client, b"then");
    host.server().begin_shutdown(&registry, past);
    assert_eq!(host.finish(&mut [&mut client]).connections.drained, 1);
}
