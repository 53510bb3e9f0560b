//! Whole lives of a server, replayed in memory from one number.
//!
//! The production core, with acceptor and engine, runs over a simulated network (`duplex`: two
//! kernels' view of one connection; `peer`: the client; `line`: both; `door`: a listener's queue;
//! `network`: all of them, their time and chance; `kernel`: the system calls; `end`: the engine's
//! stream), driven by a simulated host (`host`) by a plan (`plan`). `account` and `check` compare
//! what the server says with what happened.
//!
//! `NETGRACE_SEED=n cargo test --lib sim -- --nocapture` replays one life and prints it;
//! `NETGRACE_SEEDS=n` sets how many are tried.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a simulation stops at the first overflow, and that is what it is for"
)]

mod account;
mod check;
mod corner;
mod door;
mod duplex;
mod end;
mod host;
mod kernel;
mod line;
mod network;
mod peer;
mod plan;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::host::Host;
use self::network::Network;

/// Lives tried by default.
const SEEDS: u64 = 10_000;

/// The network as the engine's streams, its observer and the host hold it.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Network>>);

impl Shared {
    fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    /// Whether both are of the same poll.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    failure: Option<(u64, String)>,
    corners: BTreeMap<&'static str, u64>,
}

fn live_all(seeds: u64) -> Outcome {
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || outcome.lock().unwrap().failure.is_some() {
                        return;
                    }
                    let life = live(seed, false);
                    let mut outcome = outcome.lock().unwrap();
                    match life {
                        Err(wrong) => outcome.failure = Some((seed, wrong)),
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
    let outcome = live_all(seeds);
    if let Some((seed, wrong)) = outcome.failure {
        report(seed, &wrong);
    }
    println!("{seeds} lives had {:#?}", outcome.corners);
    for corner in corner::ALL {
        let count = outcome.corners.get(corner).copied().unwrap_or(0);
        assert!(count > 0 || seeds < SEEDS, "no life had this in it: {corner}");
    }
}
