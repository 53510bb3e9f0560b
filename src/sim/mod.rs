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
//! Three lives of five echo. The others speak a protocol (`speech`): a `recorder` passes each call
//! on to it, or to the `worker`, which the host answers for by way of a `desk`; `talk` and
//! `transcript` write down what was said and judge the order of the calls; an `oracle` knows what
//! must be said to the text of a client (`source`, made of HTTP's by `request`), byte for byte;
//! `tally` judges the account, `spoken` what there was to judge.
//!
//! No data segment is lost: what packet loss delays beyond the quiet time is not promised. Window
//! updates are lost where a probe for them comes in time.
//!
//! `NETGRACE_SEED=n cargo test --lib sim -- --nocapture` replays one life and prints it;
//! `NETGRACE_SEEDS=n` sets how many are tried; `NETGRACE_SURVEY=1` goes on after a failure and says
//! how many lives broke which law; `NETGRACE_PROTOCOL=name` has all of them speak one protocol.
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
mod desk;
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
mod oracle;
mod peer;
mod plan;
mod random;
mod recorder;
mod request;
mod shared;
mod source;
mod speech;
mod spoken;
mod talk;
mod tally;
mod transcript;
mod verdict;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::host::Host;
use self::plan::Plan;
use self::recorder::Recorder;
use self::shared::Shared;
use self::speech::Speech;
use crate::protocol::Echo;

/// Lives tried by default.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Lives once; `only`: with a protocol of this name. Returns what was in it.
fn live(seed: u64, only: Option<&str>, trace: bool) -> Result<BTreeSet<&'static str>, String> {
    let life = AssertUnwindSafe(|| {
        let Some(speech) = Speech::of(seed, only) else {
            return Host::new(seed, None, trace, |_, _| Echo).live();
        };
        let serve = |network: &Shared, plan: &Plan| Recorder::new(speech, network, plan, seed);
        Host::new(seed, Some(speech), trace, serve).live()
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
fn live_all(seeds: u64, only: Option<&str>, all: bool) -> Outcome {
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
                    let life = live(seed, only, false);
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
        let only = std::env::var("NETGRACE_PROTOCOL").ok();
        if let Err(wrong) = live(seed, only.as_deref(), true) {
            report(seed, &wrong);
        }
        return;
    }
    let seeds = number("NETGRACE_SEEDS").unwrap_or(SEEDS);
    let survey = number("NETGRACE_SURVEY").is_some();
    let only = std::env::var("NETGRACE_PROTOCOL").ok();
    let outcome = live_all(seeds, only.as_deref(), survey);
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
    for corner in corner::ALL.iter().chain(&spoken::ALL).chain(&speech::NAMES) {
        let count = outcome.corners.get(corner).copied().unwrap_or(0);
        let possible = cfg!(feature = "http") || !corner.starts_with("http");
        let expected = possible && only.is_none() && seeds >= SEEDS;
        assert!(count > 0 || !expected, "no life had this in it: {corner}");
    }
}
