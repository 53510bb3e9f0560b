//! The end of the budget, and a force on demand: a look before the cut, and an account of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::promise::client::{Buffers, End, Pace, Peer, Seen, all};
use crate::promise::kernel;
use crate::promise::law::Stop;
use crate::support::{Server, wait_for};

const MIB: usize = 1 << 20;

/// Row 7. The process itself holds nothing, its kernel holds megabytes.
#[test]
fn a_cut_of_a_slow_reader_that_goes_on_sending_is_reported() {
    let args = ["--report", "-", "--shutdown-timeout", "900ms"];
    let mut server = Server::start(&args);
    let mut client = Peer::with(server.address(), Buffers::SMALL);
    let handed = client.hand_over(7 * MIB / 2);
    assert!(handed >= MIB, "only {handed} bytes could be handed over");
    let talks = Arc::new(AtomicBool::new(true));
    let talker = client.talk(100, Duration::from_millis(20), &talks);
    server.process.signal(Signal::TERM);
    let seen = client.read_to_end(Pace::per_second(200_000)).0;
    talker.join().expect("a talker");
    let stop = Stop::of(server, vec![seen.clone()]);
    stop.obeys();
    assert_eq!(seen.end, End::Reset, "{seen:?}");
    assert_eq!(stop.number("/connections/forced_lossy"), 1, "{:#}", stop.report);
    assert_eq!(stop.outcome.status.code(), Some(3));
}

/// Clients that have handed over 10 000 bytes each to a server that is stopped.
#[track_caller]
fn hand_over_to_a_stopped(server: &mut Server) -> Vec<Peer> {
    let mut clients: Vec<_> = (0..20).map(|_| Peer::connect(server.address())).collect();
    for client in &mut clients {
        client.echo(1);
    }
    server.process.signal(Signal::STOP);
    for client in &mut clients {
        client.hand_over(10_001);
    }
    clients
}

#[track_caller]
fn read_all(clients: Vec<Peer>) -> Vec<Seen> {
    all(clients.into_iter().map(|client| client.read_beside(Pace::FAST)).collect())
}

/// Row 10, by a signal that forces in the same instant.
#[test]
fn a_force_looks_before_it_cuts() {
    for _ in 0..8 {
        let mut server = Server::start(&["--report", "-"]);
        let clients = hand_over_to_a_stopped(&mut server);
        server.process.signal(Signal::QUIT);
        server.process.signal(Signal::CONT);
        let clients = read_all(clients);
        Stop::of(server, clients).keeps();
    }
}

/// Row 10, by a budget that is over as soon as it begins.
#[test]
fn a_budget_of_nothing_begins_with_a_look() {
    for _ in 0..3 {
        let mut server = Server::start(&["--report", "-", "--shutdown-timeout", "1us"]);
        let clients = hand_over_to_a_stopped(&mut server);
        server.process.signal(Signal::TERM);
        server.process.signal(Signal::CONT);
        let clients = read_all(clients);
        Stop::of(server, clients).keeps();
    }
}

/// A stop during which the process does not run for a while, and gets one more signal before it
/// goes on.
#[track_caller]
fn sleep_through_a_stop(sleep: Duration, more: Option<Signal>) {
    let args = ["--report", "-", "--drain", "peer", "--shutdown-timeout", "1s"];
    let mut server = Server::start(&args);
    let mut clients: Vec<_> = (0..20).map(|_| Peer::connect(server.address())).collect();
    for client in &mut clients {
        client.echo(1);
    }
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining at");
    server.process.signal(Signal::STOP);
    for client in &mut clients {
        client.hand_over(10_001);
    }
    thread::sleep(sleep);
    if let Some(signal) = more {
        server.process.signal(signal);
    }
    server.process.signal(Signal::CONT);
    let clients = read_all(clients);
    Stop::of(server, clients).keeps();
}

/// The same eight times at once, with the one or the other signal more.
#[track_caller]
fn sleep_through_stops(sleep: Duration, more: [Option<Signal>; 2]) {
    thread::scope(|scope| {
        let stop = |at: usize| scope.spawn(move || sleep_through_a_stop(sleep, more[at % 2]));
        let stops: Vec<_> = (0..8).map(stop).collect();
        let failed = stops.into_iter().filter_map(|stop| stop.join().err()).count();
        assert_eq!(failed, 0, "of eight stops {failed} did not look");
    });
}

/// Row 10, by a deadline that passes while the process is stopped.
#[test]
fn a_process_that_slept_past_its_deadline_looks_before_it_cuts() {
    sleep_through_stops(Duration::from_millis(1200), [None, Some(Signal::USR1)]);
}

/// Row 10, by a second request while the process is stopped.
#[test]
fn a_second_request_looks_before_it_cuts() {
    sleep_through_stops(Duration::from_millis(600), [Some(Signal::TERM), Some(Signal::INT)]);
}

/// Row 11. Closed loops of messages of 1 MiB; the budget ends while all of one message of each is
/// in the server's kernel as far as it fits, which is made certain by stopping the process.
#[test]
fn a_budget_that_ends_within_messages_makes_no_clean_ends() {
    let args = ["--report", "-", "--drain", "peer", "--shutdown-timeout", "1s"];
    let mut server = Server::start(&args);
    let mut clients: Vec<_> = (0..20).map(|_| Peer::connect(server.address())).collect();
    for client in &mut clients {
        // The window grows with what is read.
        for _ in 0..32 {
            client.echo(65_536);
        }
    }
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining at");
    server.process.signal(Signal::STOP);
    let port = server.address().port();
    for client in &mut clients {
        let message = client.sent() + MIB;
        assert_eq!(client.hand_over(message), message);
        assert!(kernel::end_of(port, client.local_port()).expect("a connection").unread > 0);
    }
    thread::sleep(Duration::from_millis(1100));
    server.process.signal(Signal::CONT);
    let clients = read_all(clients);
    Stop::of(server, clients).obeys();
}

/// Row 11, as it happens: whoever sees an end within a message is accounted for as late.
#[test]
fn closed_loops_at_the_end_of_the_budget_are_accounted_for() {
    let args = ["--report", "-", "--drain", "peer", "--shutdown-timeout", "500ms"];
    let mut server = Server::start(&args);
    let talks = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (0..4).map(|_| Peer::connect(server.address())).collect();
    let talkers: Vec<_> =
        clients.iter().map(|client| client.talk(65_536, Duration::ZERO, &talks)).collect();
    let readers: Vec<_> =
        clients.into_iter().map(|client| client.read_beside(Pace::FAST)).collect();
    server.process.signal(Signal::TERM);
    let clients = all(readers);
    for talker in talkers {
        talker.join().expect("a talker");
    }
    let stop = Stop::of(server, clients);
    stop.obeys();
    let short = stop.count(|seen| seen.end == End::Fin && seen.received < seen.sent);
    let late = stop.number("/bytes/late");
    assert!(short == 0 || late > 0, "{short} ends within a message: {:#}", stop.report);
}

/// Row 15.
#[test]
fn what_a_cut_destroys_was_not_written() {
    let args = ["--report", "-", "--shutdown-timeout", "500ms"];
    let mut server = Server::start(&args);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Peer::with(server.address(), Buffers::SMALL);
            client.hand_over(8 * MIB);
            client
        })
        .collect();
    server.process.signal(Signal::TERM);
    wait_for("the end", || server.process.has_ended().then_some(()));
    let clients = read_all(clients);
    let stop = Stop::of(server, clients);
    stop.obeys();
    assert_eq!(stop.number("/connections/forced_lossy"), 4);
    assert_eq!(stop.count(|seen| seen.end == End::Reset), 4);
    assert_eq!(stop.outcome.status.code(), Some(3));
}

/// A force takes a quarter of a second and its slices, not another budget.
#[test]
fn a_force_is_short() {
    let args = ["--report", "-", "--shutdown-timeout", "500ms"];
    let mut server = Server::start(&args);
    let mut client = Peer::with(server.address(), Buffers::SMALL);
    client.hand_over(8 * MIB);
    server.process.signal(Signal::TERM);
    let outcome = server.finish().exits(3);
    assert!(outcome.took < Duration::from_millis(1500), "{:?}", outcome.took);
    let forcing = outcome.report()["phases"]["forcing_ns"].as_u64().expect("a number");
    assert!(forcing < 500_000_000, "{forcing} ns");
    Stop::from(outcome, vec![client.read_to_end(Pace::FAST).0]).obeys();
}
