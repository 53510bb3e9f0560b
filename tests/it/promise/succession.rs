//! A stop that reaches a process and its successor in the middle of the handover.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::raise_open_files;
use crate::promise::client::{End, Pace, Peer, Seen};
use crate::promise::storm::storm;
use crate::support::{Outcome, Server, wait_for};

/// A process that a failed test must not leave behind.
struct Successor(Pid);

impl Successor {
    /// Asks for one, and waits until it is started.
    #[track_caller]
    fn start(server: &mut Server) -> Self {
        server.process.signal(Signal::USR2);
        Self(wait_for("a successor", || {
            let log = server.process.stderr();
            let (_, rest) = log.split_once("started process ")?;
            Pid::from_raw(rest.split_once(' ')?.0.parse().expect("a number"))
        }))
    }

    fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process(self.0, signal);
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if thread::panicking() {
            self.signal(Signal::KILL);
        }
    }
}

/// Checks that nobody was reset, or at least that the verdicts of both processes say it.
#[track_caller]
fn check(outcome: &Outcome, clients: &[Seen]) {
    let log = &outcome.stderr;
    let grades: Vec<_> = log.lines().filter_map(|line| line.rsplit_once("; grade ")).collect();
    assert_eq!(grades.len(), 2, "two accounts:\n{log}");
    let grades = [grades[0].1, grades[1].1];
    let is_lost = |seen: &&Seen| seen.end != End::Fin || seen.is_short() || !seen.is_intact;
    let (lost, all) = (clients.iter().filter(is_lost).count(), clients.len());
    assert_eq!(lost, 0, "{lost} of {all} clients were not served, grades {grades:?}\n{log}");
    assert_eq!(outcome.status.code(), Some(0), "{log}");
}

/// Row 16. The successor is ready, and the old process, which is stopped, does not know it yet.
#[test]
fn a_queue_has_an_owner_when_both_processes_are_stopped_at_once() {
    raise_open_files();
    for old_comes_first in [true, false, true, false] {
        let mut server = Server::start(&[]);
        let successor = Successor::start(&mut server);
        server.process.signal(Signal::STOP);
        let is_ready = || server.process.stderr().matches("] ready").count() == 2;
        wait_for("a successor that is ready", || is_ready().then_some(()));
        successor.signal(Signal::STOP);
        let clients: Vec<_> = (0..400)
            .map(|_| {
                let mut client = Peer::connect(server.address());
                client.hand_over(8);
                client
            })
            .collect();
        server.process.signal(Signal::INT);
        successor.signal(Signal::INT);
        if old_comes_first {
            server.process.signal(Signal::CONT);
            successor.signal(Signal::CONT);
        } else {
            successor.signal(Signal::CONT);
            server.process.signal(Signal::CONT);
        }
        let clients: Vec<_> =
            clients.into_iter().map(|client| client.read_to_end(Pace::FAST).0).collect();
        check(&server.finish(), &clients);
    }
}

/// Row 16, as it happens: both are running, and clients keep coming.
#[test]
fn a_queue_has_an_owner_at_every_instant_of_a_handover() {
    raise_open_files();
    for delay in [0, 2, 4, 6, 8, 10, 12, 15, 20, 30] {
        let mut server = Server::start(&[]);
        let address = server.address();
        let every = Duration::from_micros(500);
        let callers = thread::scope(|scope| {
            let storm = scope.spawn(|| storm(address, every, Duration::from_millis(300)));
            thread::sleep(Duration::from_millis(100));
            let successor = Successor::start(&mut server);
            thread::sleep(Duration::from_millis(delay));
            server.process.signal(Signal::INT);
            successor.signal(Signal::INT);
            storm.join().expect("a storm")
        });
        let outcome = server.finish();
        let is_short = |seen: &&Seen| seen.end != End::Fin || seen.is_short();
        let (lost, all) = (callers.iter().filter(is_short).count(), callers.len());
        assert_eq!(lost, 0, "{lost} of {all} after {delay} ms\n{}", outcome.stderr);
    }
}
