//! System calls that fail: each call, each error it can give, at several of its turns. Whatever
//! fails, the program ends with a code that tells the truth and an account that adds up, neither
//! panics nor hangs, and harms no client but the one whose call it was.
//!
//! `strace` makes the calls fail. `NETGRACE_FAULTS=full` runs the whole grid instead of a part.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{descriptors, has, pattern, receive_all, send_beside};
use crate::support::{Client, Directory, Process, checked_report, wait_for, wrapped};

/// The calls, and up to which of its turns each is sure to be made in a life.
const CALLS: [(&str, u32); 14] = [
    ("socket", 3),
    ("bind", 3),
    ("listen", 3),
    ("accept4", 20),
    ("epoll_create1", 1),
    ("epoll_ctl", 20),
    ("epoll_wait", 20),
    ("recvfrom", 20),
    ("sendto", 20),
    ("shutdown", 7),
    ("setsockopt", 7),
    ("close", 20),
    ("splice", 7),
    ("pipe2", 1),
];
const ERRORS: [&str; 11] = [
    "EINTR",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "ENOBUFS",
    "ECONNRESET",
    "EPIPE",
    "EINVAL",
    "EBADF",
    "ENOSPC",
    "EPERM",
];
const TURNS: [u32; 5] = [1, 2, 3, 7, 20];
/// Cases that run at once.
const PARALLEL: usize = 4;
/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);
/// Clients that come and go.
const VISITORS: usize = 6;
/// Clients that stay until the server is stopped.
const RESIDENTS: usize = 22;
/// Calls of `close` that the loader and the runtime make before the program begins.
const FOREIGN_CLOSES: u32 = 4;
/// Pipes that the server keeps for the next stream, and a descriptor whose `close` was kept from
/// the kernel by the very fault.
const KEPT: usize = 9;

#[derive(Clone, Copy, Debug)]
struct Case {
    call: &'static str,
    error: &'static str,
    turn: u32,
}

impl Case {
    /// Whether the fault concerns one connection only: then it harms one client at most.
    fn is_of_one_client(self) -> bool {
        match self.call {
            "accept4" => !matches!(self.error, "EINVAL" | "EBADF"),
            "epoll_wait" => self.error == "EINTR",
            _ => true,
        }
    }
}

/// The program under a fault.
struct Traced {
    process: Process,
    directory: Directory,
}

impl Traced {
    fn start(inject: &str, args: &[&str]) -> Self {
        let directory = Directory::new();
        let file = |name: &str| directory.join(name).to_str().expect("a UTF-8 path").to_owned();
        let (trace, ports, report) = (file("trace"), file("ports"), file("report"));
        let (call, _) = inject.split_once(':').expect("a call");
        let (calls, inject) = (format!("trace={call}"), format!("inject={inject}"));
        // With -D the program stays our child, and its signals reach it.
        let options = ["-D", "-f", "-qq", "-o", &trace, "-e", &calls, "-e", &inject, "--"];
        let mut all = vec!["serve", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"];
        all.extend(["--port-file", &ports, "--report", &report]);
        all.extend(["--idle-grace", "30ms", "--linger", "300ms", "--shutdown-timeout", "2s"]);
        all.extend_from_slice(args);
        let process = Process::spawn(&mut wrapped("strace", &options, &all));
        Self { process, directory }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    /// Its address; `None` when it ended without one.
    fn address(&mut self) -> Option<SocketAddr> {
        wait_for("an address or the end", || {
            let ports = self.read("ports");
            let address = ports.lines().next().and_then(|line| line.parse().ok());
            (address.is_some() || self.process.has_ended()).then_some(address)
        })
    }

    fn stop(&mut self) {
        if !self.process.has_ended() {
            self.process.signal(Signal::TERM);
        }
    }

    /// Waits for its end. Gives the exit code, stderr, the report if there is one, and how often
    /// the fault fired.
    fn finish(self) -> (i32, String, Option<Value>, usize) {
        let Self { process, directory } = self;
        let outcome = process.finish();
        let report = fs::read_to_string(directory.join("report")).ok();
        let fired = injected(&directory.join("trace"));
        let code = outcome.status.code().unwrap_or(-1);
        (code, outcome.stderr, report.as_deref().map(checked_report), fired)
    }
}

/// How often the fault fired.
fn injected(trace: &Path) -> usize {
    fs::read_to_string(trace).map_or(0, |text| text.matches("(INJECTED)").count())
}

/// Connects and plays ping-pong; an error is what was done to it.
fn play(address: SocketAddr) -> io::Result<Client> {
    let timeout = Duration::from_secs(5);
    let mut client = Client(TcpStream::connect_timeout(&address, timeout)?);
    client.0.set_read_timeout(Some(timeout))?;
    client.0.set_write_timeout(Some(timeout))?;
    for round in 0..4_u8 {
        let mut echo = [0; 64];
        client.0.write_all(&[round; 64])?;
        client.0.read_exact(&mut echo)?;
        assert_eq!(echo, [round; 64]);
    }
    Ok(client)
}

/// Sees the end of stream that it expects and nothing before it.
fn leave(mut client: Client) -> io::Result<()> {
    let (rest, end) = receive_all(&mut client.0);
    assert_eq!(rest, b"");
    end
}

/// Streams, and leaves by a half-close.
fn stream(mut client: Client, bytes: &[u8]) -> io::Result<()> {
    let sender = send_beside(&client, bytes.to_vec());
    let (received, end) = receive_all(&mut client.0);
    assert!(bytes.starts_with(&received), "other bytes came back");
    let _ = sender.join().expect("a sender");
    end?;
    if received.len() == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// All clients but those who stay; those, and what was done to the others.
fn visit(address: SocketAddr, bytes: &[u8]) -> (Vec<Client>, Vec<io::Error>) {
    let (mut residents, mut harmed) = (Vec::new(), Vec::new());
    let visitor = |number| {
        let client = play(address)?;
        if number == 0 {
            return stream(client, bytes);
        }
        client.0.shutdown(Shutdown::Write)?;
        leave(client)
    };
    thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..VISITORS).map(|number| scope.spawn(move || visitor(number))).collect();
        for _ in 0..RESIDENTS {
            match play(address) {
                Ok(client) => residents.push(client),
                Err(error) => harmed.push(error),
            }
        }
        harmed.extend(visitors.into_iter().filter_map(|it| it.join().expect("a client").err()));
    });
    (residents, harmed)
}

/// Runs one case. Answers whether the fault fired, or what went wrong.
fn run(case: Case, bytes: &[u8]) -> Result<bool, String> {
    let Case { call, error, turn } = case;
    let start = Instant::now();
    let turn = if call == "close" { turn + FOREIGN_CLOSES } else { turn };
    let mut traced = Traced::start(&format!("{call}:error={error}:when={turn}"), &[]);
    let pid = traced.process.pid();
    let (mut residents, mut harmed) = (Vec::new(), Vec::new());
    let address = traced.address();
    if let Some(address) = address {
        let base = descriptors(pid);
        (residents, harmed) = visit(address, bytes);
        let most = base + residents.len() + KEPT;
        wait_for("descriptors back to base", || {
            (traced.process.has_ended() || descriptors(pid) <= most).then_some(())
        });
    }
    traced.stop();
    harmed.extend(residents.into_iter().filter_map(|client| leave(client).err()));
    let (code, stderr, report, fired) = traced.finish();
    let complain = |what: &str| Err(format!("{what}: exit {code}, harmed {harmed:?}\n{stderr}"));
    match (address, &report) {
        (None, _) if code != 1 || !stderr.contains("error: ") => {
            return complain("no start and no reason");
        }
        (Some(_), None) => return complain("no report"),
        (Some(_), Some(report)) if report["exit_code"] != code => return complain("two codes"),
        _ => {}
    }
    if start.elapsed() > PATIENCE {
        return complain("too slow");
    }
    if ![0, 1, 3].contains(&code) || (fired == 0 && code != 0) {
        return complain("a wrong exit code");
    }
    if harmed.len() > usize::from(fired > 0) && case.is_of_one_client() {
        return complain("others harmed");
    }
    Ok(fired > 0)
}

fn grid() -> Vec<Case> {
    let full = std::env::var_os("NETGRACE_FAULTS").is_some_and(|value| value == "full");
    let mut cases = vec![Case { call: "splice", error: "EAGAIN", turn: 1 }];
    for (row, (call, most)) in CALLS.into_iter().enumerate() {
        let sure = TURNS.iter().filter(|turn| **turn <= most).count();
        for (column, error) in ERRORS.into_iter().enumerate() {
            for (layer, turn) in TURNS.into_iter().enumerate() {
                // A part that has every call with every error, and every call at every turn.
                if full || (row + column) % sure == layer {
                    cases.push(Case { call, error, turn });
                }
            }
        }
    }
    cases
}

#[test]
fn every_call_may_fail() {
    if !has("strace") {
        return;
    }
    let (cases, bytes) = (grid(), pattern(3 << 20));
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(|| run(*case, &bytes));
                    let outcome = outcome.unwrap_or_else(|_| Err("a panic of the test".to_owned()));
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((*case, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("unpoisoned");
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    for (case, outcome) in &failed {
        eprintln!("{case:?}: {}", outcome.as_ref().expect_err("a failure"));
    }
    for (call, most) in CALLS {
        let of_call = outcomes.iter().filter(|(case, _)| case.call == call);
        let fired = of_call.clone().filter(|(_, outcome)| *outcome == Ok(true)).count();
        println!("{call}: {fired} of {} faults fired", of_call.clone().count());
        let silent = of_call.filter(|(case, outcome)| case.turn <= most && *outcome == Ok(false));
        let silent: Vec<_> = silent.map(|(case, _)| case).collect();
        assert!(silent.is_empty(), "did not fire: {silent:?}");
    }
    assert!(failed.is_empty(), "{} of {} cases failed", failed.len(), cases.len());
}

#[test]
fn a_stop_signal_may_come_at_any_moment() {
    if !has("strace") {
        return;
    }
    let early = ["socket", "bind", "listen", "epoll_create1", "eventfd2", "getsockname"];
    for call in early {
        let traced = Traced::start(&format!("{call}:signal=SIGTERM:when=1"), &[]);
        let (code, stderr, report, _) = traced.finish();
        assert_eq!(code, 0, "{call}: {stderr}");
        let report = report.expect("a report");
        assert_eq!(report["connections"]["accepted"], 0, "{call}");
        assert_eq!(report["grade"], "complete", "{call}");
    }
    for turn in [1, 2, 3, 4, 5, 6, 8, 11, 15, 20] {
        let mut traced = Traced::start(&format!("epoll_wait:signal=SIGTERM:when={turn}"), &[]);
        let address = traced.address().expect("an address");
        let mut connected = 0;
        // Those whom it takes in are served and see an end.
        while let Ok(stream) = TcpStream::connect(address) {
            connected += 1;
            let mut client = Client(stream);
            client.0.set_read_timeout(Some(PATIENCE)).expect("an option");
            client.echo(b"whenever");
            client.0.shutdown(Shutdown::Write).expect("a half-close");
            assert_eq!(client.receive_to_end(), b"", "turn {turn}");
        }
        let (code, stderr, report, _) = traced.finish();
        assert_eq!(code, 0, "turn {turn}: {stderr}");
        assert_eq!(report.expect("a report")["connections"]["accepted"], connected, "turn {turn}");
    }
}

#[test]
fn a_storm_of_accept_errors_is_told_with_its_count_and_waited_out() {
    if !has("strace") {
        return;
    }
    for (error, when) in [("EMFILE", "2..5"), ("ENOMEM", "2..5"), ("ECONNABORTED", "2..300")] {
        let mut traced = Traced::start(&format!("accept4:error={error}:when={when}"), &[]);
        let address = traced.address().expect("an address");
        let mut client = Client::connect(address);
        client.echo(b"taken in by the first accept");
        let mut late = Client::connect(address);
        client.echo(b"nobody is neglected");
        late.echo(b"and nobody is forgotten");
        drop((client, late));
        traced.stop();
        let (code, stderr, report, fired) = traced.finish();
        assert_eq!(code, 0, "{error}: {stderr}");
        assert!(fired >= 4, "{error}: {fired}");
        assert_eq!(report.expect("a report")["connections"]["accepted"], 2, "{error}");
        assert_eq!(stderr.matches("accept on").count(), 1, "{error}: {stderr}");
    }
}

#[test]
fn an_accept_that_never_works_again_costs_little_and_stops_in_time() {
    if !has("strace") {
        return;
    }
    let mut traced = Traced::start("accept4:error=ECONNABORTED:when=2+", &[]);
    let address = traced.address().expect("an address");
    let mut client = Client::connect(address);
    client.echo(b"before");
    let _never = Client::connect(address);
    thread::sleep(Duration::from_secs(1));
    client.echo(b"while it goes on");
    let fired = injected(&traced.directory.join("trace"));
    // 128 in a row are taken for a shortage, which is looked at again a few times a second.
    assert!(fired < 2000, "{fired} calls in a second");
    traced.stop();
    let (code, stderr, report, _) = traced.finish();
    assert_eq!(code, 3, "{stderr}");
    let report = report.expect("a report");
    assert_eq!(report["connections"]["backlog_left"], Value::Null);
    assert_eq!(stderr.matches("accept on").count(), 1, "{stderr}");
}
