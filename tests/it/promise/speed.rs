//! Stops are fast where there is nothing to wait for.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::host::raise_open_files;
use crate::promise::client::{End, Pace, Peer, all};
use crate::promise::law::Stop;
use crate::support::{Client, Server};

/// One round and a delayed acknowledgement.
const QUIET: Duration = Duration::from_millis(60);

/// On a busy machine a single stop says little: the fastest counts.
#[track_caller]
fn fastest(mut stop: impl FnMut() -> Duration) -> Duration {
    let mut times = Vec::new();
    while times.len() < 10 && times.iter().all(|time| *time > QUIET) {
        times.push(stop());
    }
    times.into_iter().min().expect("a time")
}

#[test]
fn a_server_without_clients_leaves_within_60_ms() {
    let time = fastest(|| Server::start(&[]).stop().exits(0).took);
    assert!(time <= QUIET, "{time:?}");
}

#[test]
fn a_server_with_quiet_clients_leaves_within_60_ms() {
    let time = fastest(|| {
        let mut server = Server::start(&["--report", "-"]);
        let mut clients: Vec<_> = (0..10).map(|_| Peer::connect(server.address())).collect();
        for client in &mut clients {
            client.echo(64);
        }
        // Silent for longer than the grace.
        thread::sleep(Duration::from_millis(250));
        let readers = clients.into_iter().map(|client| client.read_beside(Pace::FAST)).collect();
        server.process.signal(Signal::TERM);
        let clients = all(readers);
        let stop = Stop::of(server, clients);
        stop.keeps();
        assert_eq!(stop.grade(), "complete", "{:#}", stop.report);
        stop.outcome.took
    });
    assert!(time <= QUIET, "{time:?}");
}

#[test]
fn ten_thousand_quiet_clients_are_all_let_go_in_order() {
    raise_open_files();
    let count = 10_000;
    let mut server = Server::start(&["--report", "-"]);
    let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"x");
    }
    for client in &mut clients {
        assert_eq!(client.receive(1), b"x");
    }
    server.process.signal(Signal::TERM);
    let seen = clients.into_iter().map(|client: Client| {
        let seen = Peer::from(client.0).read_to_end(Pace::FAST).0;
        assert_eq!((seen.received, seen.end), (0, End::Fin));
    });
    seen.for_each(drop);
    let outcome = server.finish().exits(0);
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
    let report = outcome.report();
    assert_eq!(report["grade"], "complete", "{report:#}");
    assert_eq!(report["connections"]["accepted"], count);
    assert_eq!(report["connections"]["drained"], count, "{report:#}");
    assert_eq!(report["bytes"]["written"], count);
}
