//! A stop that reaches a process and its successor in the middle of the handover.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{copy_program, raise_open_files};
use crate::promise::client::{End, Pace, Peer, Seen};
use crate::promise::storm::storm;
use crate::support::{Directory, Outcome, Process, Server, wait_for};

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

/// Puts a script in the program's place which waits a little before it becomes the program, so that
/// a test can stop the old process while the new one starts.
#[track_caller]
fn start_slowly(directory: &Directory, program: &Path) {
    let script = directory.join("script");
    let real = env!("CARGO_BIN_EXE_netgrace");
    let text = format!("#!/bin/sh\nsleep 0.1\nexec {real} \"$@\"\n");
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable");
    fs::rename(&script, program).expect("a replacement");
}

/// How far the handover is when both processes are asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The successor is ready, and the old process has not read it.
    Ready,
    /// The old process has let go of the queue, and the successor has not read it.
    LetGo,
}

/// Row 16. 400 clients are in the queue when both processes, which do not run, are asked to stop.
#[track_caller]
fn stop_both(step: Step, old_comes_first: bool) {
    let directory = Directory::new();
    let program = directory.join("netgrace");
    copy_program(&program);
    let command = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env_remove("RUST_LOG").env_remove("NETGRACE_LISTEN");
        command
    };
    let mut server = Server::start_as(&[], command, Process::spawn);
    start_slowly(&directory, &program);
    let successor = Successor::start(&mut server);
    server.process.signal(Signal::STOP);
    let is_ready = || server.process.stderr().matches("] ready").count() == 2;
    wait_for("a successor that is ready", || is_ready().then_some(()));
    successor.signal(Signal::STOP);
    if step == Step::LetGo {
        server.process.signal(Signal::CONT);
        // Unless it waits for a word of the successor's, which is as good.
        let start = Instant::now();
        let has_let_go = || server.process.stderr().contains("left the queue of");
        while !has_let_go() && start.elapsed() < Duration::from_millis(300) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let connect = |_| {
        let mut client = Peer::connect(server.address());
        client.hand_over(8);
        client
    };
    let clients: Vec<_> = (0..400).map(connect).collect();
    let old = Successor(Pid::from_raw(server.process.pid().cast_signed()).expect("a process"));
    let both = if old_comes_first { [&old, &successor] } else { [&successor, &old] };
    // The old one may have ended, but is not buried yet.
    for signal in [Signal::INT, Signal::CONT] {
        both.iter().for_each(|process| process.signal(signal));
    }
    let read = |client: Peer| client.read_to_end(Pace::FAST).0;
    let clients: Vec<_> = clients.into_iter().map(read).collect();
    check(&server.finish(), &clients);
}

#[test]
fn a_queue_has_an_owner_when_the_old_process_does_not_know_that_the_new_one_is_ready() {
    raise_open_files();
    stop_both(Step::Ready, true);
    stop_both(Step::Ready, false);
}

#[test]
fn a_queue_has_an_owner_when_the_new_process_does_not_know_that_the_old_one_let_go() {
    raise_open_files();
    for _ in 0..4 {
        stop_both(Step::LetGo, true);
        stop_both(Step::LetGo, false);
    }
}

/// Row 16, as it happens: both are running, and clients keep coming.
#[test]
fn a_queue_has_an_owner_at_every_instant_of_a_handover() {
    raise_open_files();
    for delay in [0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 12] {
        let mut server = Server::start(&[]);
        let address = server.address();
        let every = Duration::from_micros(250);
        let callers = thread::scope(|scope| {
            let storm = scope.spawn(|| storm(address, every, Duration::from_millis(250)));
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
