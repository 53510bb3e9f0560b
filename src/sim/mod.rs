//! Whole lives of a server, replayed in memory from one number.
//!
//! The production core, with acceptor and engine, runs over a simulated network, driven by a
//! simulated host (`host`, `act`) by a plan (`plan`, drawn by `draw`). `duplex` is two kernels'
//! view of one connection: two `direction`s, each a send queue and a receive queue, and a `link`
//! with a round trip between them; `exchange` is what the kernels do by themselves. `peer` is the
//! client, `line` all that is known of a connection, `door` a listener's queues, `network` all of
//! them with their time and chance. `kernel`, `accept` and `end` are the system calls. `account`,
//! `check` and `verdict` compare what the server says with what happened, `corner` what there was
//! to compare; `inside` is all that they look at within the engine.
//!
//! No data segment is lost: what packet loss delays beyond the quiet time is not promised. Window
//! updates are lost where a probe for them comes in time.
//!
//! `NETGRACE_SEED=n cargo test --lib sim -- --nocapture` replays one life and prints it;
//! `NETGRACE_SEEDS=n` sets how many are tried; `NETGRACE_SURVEY=1` goes on after a failure and says
//! how many lives broke which law.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a simulation stops at the first overflow, and that is what it is for"
)]

mod accept;
mod account;
mod act;
mod check;
mod corner;
mod direction;
mod door;
mod draw;
mod duplex;
mod end;
mod exchange;
mod host;
mod inside;
mod kernel;
mod line;
mod link;
mod network;
mod peer;
mod plan;
mod random;
mod shared;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::host::Host;

/// Lives tried by default.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Lives once. Returns what was in it.
fn live(seed: u64, trace: bool) -> Result<BTreeSet<&'static str>, String> {
    let life = AssertUnwindSafe(|| {
        let mut host = Host::new(seed, trace);
        host.run().map(|()| host.corners)
    });
    catch_unwind(life).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

fn report(seed: u64, wrong: &str) -> ! {
    panic!(
        "seed {seed}: {wrong}\nreplay: NETGRACE_SEED={seed} cargo test --lib sim -- \
         --nocapture"
    )
}

/// What the lives of all seeds came to.
#[derive(Debug, Default)]
struct Outcome {
    /// The first life that broke each law, how, and all that did.
    failures: BTreeMap<String, (u64, String, Vec<u64>)>,
    corners: BTreeMap<&'static str, u64>,
}

impl Outcome {
    fn add_failure(&mut self, seed: u64, wrong: String) {
        let is_word = |c: char| c.is_alphabetic() || c == ',' || c == ' ';
        let law: String =
            wrong.lines().next().unwrap_or("").chars().filter(|c| is_word(*c)).collect();
        let entry = self.failures.entry(law);
        let (first, how, all) = entry.or_insert_with(|| (seed, wrong.clone(), Vec::new()));
        all.push(seed);
        if seed < *first {
            (*first, *how) = (seed, wrong);
        }
    }
}

/// Lives once for each of the first `seeds` numbers; goes on after a failure if `all`.
fn live_all(seeds: u64, all: bool) -> Outcome {
    let next = AtomicU64::new(number("NETGRACE_FIRST").unwrap_or(0));
    let outcome = Mutex::new(Outcome::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || !all && !outcome.lock().unwrap().failures.is_empty() {
                        return;
                    }
                    let life = live(seed, false);
                    let mut outcome = outcome.lock().unwrap();
                    match life {
                        Err(wrong) => outcome.add_failure(seed, wrong),
                        Ok(corners) => {
                            for corner in corners {
                                *outcome.corners.entry(corner).or_default() += 1;
                            }
                        }
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap()
}

#[test]
fn every_life_keeps_every_law() {
    if let Some(seed) = number("NETGRACE_SEED") {
        if let Err(wrong) = live(seed, true) {
            report(seed, &wrong);
        }
        return;
    }
    let seeds = number("NETGRACE_SEEDS").unwrap_or(SEEDS);
    let survey = number("NETGRACE_SURVEY").is_some();
    let outcome = live_all(seeds, survey);
    if survey {
        for (law, (_, _, seeds)) in &outcome.failures {
            let first = &seeds[..seeds.len().min(8)];
            println!("{:>6} lives, {first:?}: {law}", seeds.len());
        }
    }
    if let Some((seed, wrong, _)) = outcome.failures.values().min_by_key(|(seed, ..)| *seed) {
        report(*seed, wrong);
    }
    println!("{seeds} lives had {:#?}", outcome.corners);
    for corner in corner::ALL {
        let count = outcome.corners.get(corner).copied().unwrap_or(0);
        assert!(count > 0 || seeds < SEEDS, "no life had this in it: {corner}");
    }
}
