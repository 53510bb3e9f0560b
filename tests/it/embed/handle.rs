//! The handle: from any thread, at any time, any number of times.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Token, Waker};
use netgrace::{Config, EventLoop, HostWaker, Phase, Report, ShutdownHandle, TokenRange};

use super::support::{BEST, Client, DEADLINE, Host, check, loopback, quick, server};

const THREADS: usize = 16;

type Ask = fn(&ShutdownHandle);
const ASKS: [Ask; 2] = [ShutdownHandle::begin_shutdown, ShutdownHandle::force_shutdown];

/// Has sixteen threads ask a thousand times each, and runs `meanwhile` while they do.
fn storm<T>(handle: &ShutdownHandle, ask: Ask, meanwhile: impl FnOnce() -> T) -> T {
    let started = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (handle, started) = (handle.clone(), &started);
            scope.spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                for _ in 0..1000 {
                    ask(&handle);
                }
            });
        }
        while started.load(Ordering::SeqCst) < THREADS {
            thread::yield_now();
        }
        meanwhile()
    })
}

fn event_loop(config: Config) -> EventLoop {
    EventLoop::new(server(config)).unwrap()
}

#[test]
fn requests_before_during_and_after_a_run_and_after_its_drop() {
    let mut event_loop = event_loop(quick());
    let handle = event_loop.shutdown_handle();
    let address = event_loop.server().local_addr().unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send(b"whatever happens"));
    let report = storm(&handle, ShutdownHandle::begin_shutdown, || event_loop.run());
    check(&report);
    assert_eq!(report.connections.accepted, 20);
    for client in &mut clients {
        let start = Instant::now();
        while !client.ended && start.elapsed() < DEADLINE {
            client.receive();
        }
        assert_eq!((client.received.as_slice(), client.error), (&b"whatever happens"[..], None));
    }
    for ask in ASKS {
        storm(&handle, ask, || {
            assert!(event_loop.is_finished());
            assert_eq!(event_loop.turn(None), 0);
            assert_eq!(event_loop.run().connections, report.connections);
        });
    }
    let phases = report.phases;
    assert_eq!(event_loop.server().report().phases, phases);
    storm(&handle, ShutdownHandle::force_shutdown, || drop(event_loop));
    storm(&handle, ShutdownHandle::begin_shutdown, || ());
}

#[test]
fn a_storm_of_force_ends_a_run_and_its_account_adds_up() {
    let mut event_loop = event_loop(Config::new().shutdown_timeout(None));
    let handle = event_loop.shutdown_handle();
    let address = event_loop.server().local_addr().unwrap();
    let clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
    while event_loop.server().stats().open < 20 {
        event_loop.turn(Some(Duration::from_millis(20)));
    }
    let report = storm(&handle, ShutdownHandle::force_shutdown, || event_loop.run());
    check(&report);
    assert_eq!((report.connections.forced_clean, report.connections.backlog_left), (20, Some(0)));
    drop(clients);
}

#[test]
fn a_request_before_the_run_makes_it_return_at_once() {
    let mut event_loop = event_loop(Config::new());
    event_loop.shutdown_handle().begin_shutdown();
    let start = Instant::now();
    let report: Report = event_loop.run();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((report.grade(), report.exit_code(BEST)), (Some(BEST), 0));
}

#[test]
fn a_request_wakes_a_loop_that_sleeps() {
    let mut event_loop = event_loop(Config::new());
    let handle = event_loop.shutdown_handle();
    let asleep = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asleep);
    let run = thread::spawn(move || {
        flag.store(true, Ordering::SeqCst);
        event_loop.run()
    });
    while !asleep.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    handle.begin_shutdown();
    assert_eq!(run.join().unwrap().grade(), Some(BEST));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_waker_of_the_host_brings_the_request_in() {
    let mut host = Host::of(quick());
    let waker = Arc::new(Waker::new(host.poll.registry(), Token(7)).unwrap());
    let handle = host.server().shutdown_handle(Arc::clone(&waker));
    let asks = thread::spawn(move || handle.begin_shutdown());
    // Nothing else can end this sleep.
    host.turn(DEADLINE);
    asks.join().unwrap();
    assert_eq!(host.foreign, [Token(7)], "the waker is the host's");
    assert!(host.server().phase() > Phase::Running);
    let report = host.finish(&mut []);
    assert_eq!(report.grade(), Some(BEST));
}

#[test]
fn a_waker_event_that_the_host_swallows_loses_no_request() {
    let mut host = Host::of(quick());
    let waker = Arc::new(Waker::new(host.poll.registry(), Token(7)).unwrap());
    let handle = host.server().shutdown_handle(waker);
    handle.begin_shutdown();
    host.wait(DEADLINE);
    host.events.clear();
    assert_eq!(host.server().phase(), Phase::Running);
    assert!(host.server().next_deadline().is_some_and(|deadline| deadline <= Instant::now()));
    host.end_turn();
    assert_eq!(host.finish(&mut []).grade(), Some(BEST));
}

#[test]
fn without_a_waker_the_next_end_of_a_turn_sees_the_request() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    host.echo(&mut client, b"here");
    let handle = host.server().shutdown_handle(HostWaker::none());
    thread::spawn(move || handle.begin_shutdown()).join().unwrap();
    assert_eq!(host.server().phase(), Phase::Running);
    host.end_turn();
    assert_eq!(host.server().phase(), Phase::Draining);
    assert_eq!(host.finish(&mut [&mut client]).connections.drained, 1);
}

#[test]
fn force_after_shutdown_cuts_the_stop_short() {
    let config = Config::new().idle_grace(Duration::from_secs(3600)).shutdown_timeout(None);
    let mut host = Host::of(config);
    let mut client = host.connect();
    host.echo(&mut client, b"stays");
    let handle = host.server().shutdown_handle(HostWaker::none());
    handle.begin_shutdown();
    host.end_turn();
    assert_eq!(host.server().phase(), Phase::Draining);
    handle.force_shutdown();
    handle.begin_shutdown();
    let report = host.finish(&mut [&mut client]);
    assert_eq!((report.connections.forced_clean, report.bytes.unsent), (1, 0));
}

#[test]
fn a_handle_outlives_server_and_poll_in_any_order() {
    for order in 0..6 {
        let host = Host::new(4);
        let mut server = server(quick());
        server.register(host.poll.registry(), TokenRange::new(1..10)).unwrap();
        let waker = Arc::new(Waker::new(host.poll.registry(), Token(0)).unwrap());
        let handle = server.shutdown_handle(waker);
        let (mut poll, mut server, mut handle) = (Some(host.poll), Some(server), Some(handle));
        let steps = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for step in steps[order] {
            match step {
                0 => drop(poll.take()),
                1 => drop(server.take()),
                _ => drop(handle.take()),
            }
            if let Some(handle) = &handle {
                storm(handle, ASKS[order % 2], || ());
            }
        }
    }
}

#[test]
fn a_handle_of_a_dropped_server_has_no_effect_on_another() {
    let mut host = Host::of(Config::new());
    let handle = server(Config::new()).shutdown_handle(HostWaker::none());
    handle.force_shutdown();
    let mut client = Client::connect(host.server().local_addr().unwrap());
    host.echo(&mut client, b"not mine");
    assert_eq!(host.server().phase(), Phase::Running);
    assert_eq!(host.server().local_addr().unwrap().ip(), loopback().ip());
}
