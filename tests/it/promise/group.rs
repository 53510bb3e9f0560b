//! Several servers on one port (SO_REUSEPORT), replaced one after another under a storm of
//! connects: nobody is reset, nobody is refused, and their reports add up.
//!
//! `NETGRACE_REPEAT=20 cargo test --test it group` for 20 replacements of each kind.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::host::has;
use crate::promise::client::{End, Seen};
use crate::promise::distant::{FAR, rounds};
use crate::promise::network::{Network, SERVER};
use crate::promise::storm::{Stay, Stormed, storm_while};
use crate::replace::{Installed, first_line, wait_for_end};
use crate::storm::Unprivileged;
use crate::support::{Directory, Outcome, Process, Server, netgrace, run, wait_for};

const SERVERS: usize = 2;

/// A storm that is ended from another thread.
struct Weather {
    is_over: AtomicBool,
    /// Those that are not connected, once it is over.
    pending: AtomicUsize,
}

impl Weather {
    fn new() -> Self {
        Self { is_over: AtomicBool::new(false), pending: AtomicUsize::new(usize::MAX) }
    }

    /// One connect each millisecond.
    fn rage(&self, address: SocketAddr) -> Stormed {
        storm_while(address, Duration::from_millis(1), Stay::ForAWord, |pending| {
            let is_over = self.is_over.load(Ordering::Relaxed);
            if is_over {
                self.pending.store(pending, Ordering::Relaxed);
            }
            !is_over
        })
    }

    /// Ends it, and waits until all are connected: a SYN that was dropped is repeated after 1 s.
    #[track_caller]
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let is_calm = || (self.pending.load(Ordering::Relaxed) == 0).then_some(());
        wait_for("all to be connected", is_calm);
    }
}

/// Servers on one port, each started by `start`.
struct Group<F> {
    start: F,
    address: SocketAddr,
    servers: Vec<Server>,
    /// How those that were stopped have ended.
    outcomes: Vec<Outcome>,
}

impl<F: Fn(&[&str]) -> Server> Group<F> {
    #[track_caller]
    fn new(first: &str, start: F) -> Self {
        let server = join(&start, first);
        let address = server.address();
        let mut group = Self { start, address, servers: vec![server], outcomes: Vec::new() };
        while group.servers.len() < SERVERS {
            group.grow();
        }
        group
    }

    #[track_caller]
    fn grow(&mut self) {
        self.servers.push(join(&self.start, &self.address.to_string()));
    }

    /// Stops the oldest one.
    #[track_caller]
    fn shrink(&mut self) {
        self.outcomes.push(self.servers.remove(0).stop());
    }
}

#[track_caller]
fn join(start: &impl Fn(&[&str]) -> Server, address: &str) -> Server {
    start(&["-l", address, "--reuse-port", "--report", "-", "--shutdown-timeout", "60s"])
}

/// Replaces servers, the new one first, under a storm that `rage` runs; then stops all.
#[track_caller]
fn replace<F: Fn(&[&str]) -> Server>(
    mut group: Group<F>,
    rage: impl FnOnce(&Weather, SocketAddr) -> Stormed + Send,
) {
    let (weather, address) = (Weather::new(), group.address);
    let stormed = thread::scope(|scope| {
        let storm = scope.spawn(|| rage(&weather, address));
        for _ in 0..rounds() {
            thread::sleep(Duration::from_millis(100));
            group.grow();
            group.shrink();
        }
        weather.end();
        while !group.servers.is_empty() {
            group.shrink();
        }
        storm.join().expect("a storm")
    });
    let Stormed { seen, refused, slowest } = stormed;
    let is_short = |seen: &&Seen| seen.end != End::Fin || seen.is_short() || !seen.is_intact;
    let (lost, all) = (seen.iter().filter(is_short).count(), seen.len());
    println!("{} replaced, {all} connected, {lost} lost, slowest {slowest:?}", rounds());
    assert!(all > 50 * rounds(), "only {all} were connected");
    assert_eq!((lost, refused), (0, 0), "of {all}");
    let merged = merge(group.outcomes);
    assert_eq!(merged["reports"], rounds() + SERVERS);
    assert_eq!(merged["connections"]["accepted"], all);
    let received: usize = seen.iter().map(|seen| seen.received).sum();
    assert_eq!(merged["bytes"]["written"], received);
    assert!(merged["connections"]["half_open"].is_null(), "unknown beside others");
}

/// The reports of all as one.
#[track_caller]
fn merge(outcomes: Vec<Outcome>) -> serde_json::Value {
    let directory = Directory::new();
    let mut args = vec!["report".to_owned(), "--merge".to_owned()];
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let path = directory.join(&format!("{index}.json"));
        fs::write(&path, outcome.exits(0).stdout).expect("written");
        args.push(path.to_str().expect("UTF-8").to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&mut netgrace(&args)).exits(0).report()
}

#[test]
fn servers_of_a_group_are_replaced_and_nobody_is_reset() {
    let group = Group::new("127.0.0.1:0", Server::start);
    replace(group, Weather::rage);
}

/// Handshakes take 40 ms: those that are half open when a listener closes would be lost with it.
#[test]
fn distant_clients_of_a_group_are_not_reset_either() {
    let Some(network) = Network::new(FAR) else { return };
    let start = |args: &[&str]| network.server.run(|| Server::start(args));
    let group = Group::new(&format!("{SERVER}:0"), start);
    let client = &network.client;
    replace(group, |weather, address| client.run(|| weather.rage(address)));
}

/// The gate that needs no privilege.
#[test]
fn servers_without_privileges_reset_nobody_either() {
    if !geteuid().is_root() || !has("setpriv") {
        return;
    }
    let Some(network) = Network::new(FAR) else { return };
    let unprivileged = Unprivileged::new();
    let command = |args: &[&str]| unprivileged.command(args);
    let start =
        |args: &[&str]| network.server.run(|| Server::start_as(args, command, Process::spawn));
    let group = Group::new(&format!("{SERVER}:0"), start);
    let client = &network.client;
    replace(group, |weather, address| client.run(|| weather.rage(address)));
}

/// A process of a group that hands over to a successor of its own.
struct Line {
    installed: Installed,
    first: Option<Process>,
    handed_over: usize,
}

impl Line {
    #[track_caller]
    fn start(network: &Network, address: &str) -> (Self, String) {
        let installed = Installed::new();
        let ports = installed.directory.join("ports");
        let path = ports.to_str().expect("UTF-8");
        let (budget, ports_to) = (["--shutdown-timeout", "60s"], ["--port-file", path]);
        let args = [&["-l", address, "--reuse-port"][..], &budget, &ports_to].concat();
        let first = Some(network.server.run(|| installed.start(&args)));
        (Self { installed, first, handed_over: 0 }, first_line(&ports))
    }

    fn pid(&self) -> Pid {
        let first = self.first.as_ref();
        let first = first.and_then(|process| Pid::from_raw(process.pid().cast_signed()));
        first.unwrap_or_else(|| self.installed.successor())
    }

    #[track_caller]
    fn hand_over(&mut self) {
        let old = self.pid();
        kill_process(old, Signal::USR2).expect("a signal");
        self.handed_over += 1;
        self.installed.wait_for_log("has closed its copies of the sockets", self.handed_over);
        match self.first.take() {
            Some(process) => drop(process.finish().exits(0)),
            None => wait_for_end(old),
        }
    }

    #[track_caller]
    fn end(self) {
        let last = self.pid();
        kill_process(last, Signal::TERM).expect("a signal");
        wait_for_end(last);
        let log = self.installed.log();
        assert_eq!(log.matches("; grade ").count(), self.handed_over + 1, "{log}");
        assert!(!log.contains("grade lossy"), "{log}");
    }
}

/// No listener is closed, so nobody has to repeat a SYN.
#[test]
fn servers_that_hand_their_sockets_over_keep_nobody_waiting() {
    let Some(network) = Network::new(FAR) else { return };
    let (first, address) = Line::start(&network, &format!("{SERVER}:0"));
    let mut lines = vec![first];
    lines.resize_with(SERVERS, || Line::start(&network, &address).0);
    let (weather, target) = (Weather::new(), address.parse().expect("an address"));
    let stormed = thread::scope(|scope| {
        let storm = scope.spawn(|| network.client.run(|| weather.rage(target)));
        for round in 0..rounds() {
            thread::sleep(Duration::from_millis(100));
            lines[round % SERVERS].hand_over();
        }
        weather.end();
        lines.into_iter().for_each(Line::end);
        storm.join().expect("a storm")
    });
    let Stormed { seen, refused, slowest } = stormed;
    let is_short = |seen: &&Seen| seen.end != End::Fin || seen.is_short() || !seen.is_intact;
    let (lost, all) = (seen.iter().filter(is_short).count(), seen.len());
    println!("{} handed over, {all} connected, {lost} lost, slowest {slowest:?}", rounds());
    assert!(all > 50 * rounds(), "only {all} were connected");
    assert_eq!((lost, refused), (0, 0), "of {all}");
    assert!(slowest < Duration::from_millis(900), "{slowest:?}: a SYN was repeated");
}
