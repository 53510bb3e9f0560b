//! System calls that fail: each call, each error it can give, at several of its turns. Whatever
//! fails, the program ends with a code that tells the truth and an account that adds up, neither
//! panics nor hangs, and harms no client but the one whose call it was.
//!
//! `strace` makes the calls fail. `NETGRACE_FAULTS=full` runs the whole grid instead of a part.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{descriptors, has, pattern};
use crate::support::wait_for;
use crate::traced::{Traced, leave, visit};

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
pub const ERRORS: [&str; 11] = [
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
pub const TURNS: [u32; 5] = [1, 2, 3, 7, 20];
/// Cases that run at once.
const PARALLEL: usize = 4;
/// A case that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Calls of `close` that the loader and the runtime make before the program begins.
const FOREIGN_CLOSES: u32 = 4;
/// Pipes that the server keeps for the next stream, and a descriptor whose `close` was kept from
/// the kernel by the very fault.
pub const KEPT: usize = 9;

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub call: &'static str,
    pub error: &'static str,
    pub turn: u32,
}

impl Case {
    /// What `strace` is to do.
    pub fn injection(self) -> String {
        let Self { call, error, turn } = self;
        let turn = if call == "close" { turn + FOREIGN_CLOSES } else { turn };
        format!("{call}:error={error}:when={turn}")
    }

    /// Whether the fault concerns one connection only: then it harms one client at most.
    pub fn is_of_one_client(self) -> bool {
        match self.call {
            "accept4" => !matches!(self.error, "EINVAL" | "EBADF"),
            "epoll_wait" => self.error == "EINTR",
            _ => true,
        }
    }
}

/// Runs one case. Returns whether the fault fired, or what went wrong.
fn run(case: Case, bytes: &[u8]) -> Result<bool, String> {
    let start = Instant::now();
    let mut traced = Traced::start(&case.injection(), &[]);
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

/// Whether the whole grid is asked for.
pub fn is_full() -> bool {
    std::env::var_os("NETGRACE_FAULTS").is_some_and(|value| value == "full")
}

fn grid() -> Vec<Case> {
    let full = is_full();
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

/// Runs all cases, some at once. Panics where one fails, or where a fault does not fire in a turn
/// up to which its call is sure to be made.
pub fn run_all(
    cases: &[Case],
    calls: &[(&str, u32)],
    run: impl Fn(Case) -> Result<bool, String> + Sync + std::panic::RefUnwindSafe,
) {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(|| run(*case));
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
    for (call, most) in calls {
        let of_call = outcomes.iter().filter(|(case, _)| case.call == *call);
        let fired = of_call.clone().filter(|(_, outcome)| *outcome == Ok(true)).count();
        println!("{call}: {fired} of {} faults fired", of_call.clone().count());
        let silent = of_call.filter(|(case, outcome)| case.turn <= *most && *outcome == Ok(false));
        let silent: Vec<_> = silent.map(|(case, _)| case).collect();
        assert!(silent.is_empty(), "did not fire: {silent:?}");
    }
    assert!(failed.is_empty(), "{} of {} cases failed", failed.len(), cases.len());
}

#[test]
fn every_call_may_fail() {
    if !has("strace") {
        return;
    }
    let bytes = pattern(3 << 20);
    run_all(&grid(), &CALLS, |case| run(case, &bytes));
}
