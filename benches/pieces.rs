//! The parts alone, in memory: what a turn, a list, a held rest or a verified message costs.
#![allow(clippy::arithmetic_side_effects, missing_docs)]

use std::env;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use netgrace::bench_internals::{MESSAGE, Ring, Turns, Verification, hold};
use netgrace::load::Latency;
use netgrace::{Config, Grade};

const CROWDS: [usize; 3] = [1, 100, 10_000];
/// Connections that one turn visits.
const SLICE: usize = 256;

fn lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    for slots in [100, 10_000] {
        let mut ring = Ring::new(slots as usize);
        assert!((0..slots).all(|at| ring.touch(at)));
        for (name, step) in [("rotate", 1), ("touch", 7_919)] {
            let mut at = 0;
            group.bench_function(BenchmarkId::new(name, slots), |b| {
                b.iter(|| {
                    let done = ring.touch(black_box(at));
                    at = (at + step) % slots;
                    done
                });
            });
        }
    }
}

fn held(c: &mut Criterion) {
    let mut group = c.benchmark_group("held");
    for size in [MESSAGE.len(), 16 << 10, 64 << 10] {
        let rest = vec![b'r'; size];
        assert_eq!(hold(&rest), size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("copy_and_write", size), &rest, |b, rest| {
            b.iter(|| hold(black_box(rest)));
        });
    }
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn");
    for connections in CROWDS {
        let mut turns = Turns::new(connections, &Config::new());
        let once = (connections * MESSAGE.len()) as u64;
        assert_eq!(turns.echo().bytes.written, once);
        assert_eq!(turns.echo().bytes.written, once * 2);
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::new("echo", connections), |b| {
            b.iter(|| turns.echo().bytes.written)
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("nothing_due", connections), |b| {
            b.iter(|| turns.end_turn(Duration::ZERO).uptime);
        });
    }
}

/// What it takes to look at connections one by one, as the idle timeout and the drain do.
fn visits(c: &mut Criterion) {
    let limit = Duration::from_secs(1);
    let config = Config::new().idle_timeout(limit);
    for (name, is_stop) in [("idle_expiry", false), ("drain", true)] {
        let fresh = |connections| {
            let mut turns = Turns::new(connections, &config);
            if is_stop {
                turns.end_turn(limit / 2);
                turns.stop();
            }
            turns
        };
        // One round later those that were silent before the stop are quiet.
        let later = if is_stop { Duration::from_millis(15) } else { limit * 2 };
        let visit = |mut turns: Turns, connections: usize| {
            turns.end_turn(later);
            (1..connections / SLICE).for_each(|_| _ = turns.end_turn(Duration::ZERO));
            turns
        };
        // All have had our end of stream, which the peers never answer. Once the kernel was asked
        // what they acknowledged, their linger time runs.
        let mut visited = visit(fresh(2 * SLICE), 2 * SLICE);
        let asked = limit / 10;
        assert_eq!(visited.end_turn(asked).connections.closed(), 0, "{name}");
        assert_eq!(visited.end_turn(Duration::ZERO).connections.closed(), 0, "{name}");
        assert_eq!(visited.end_turn(limit * 4).connections.closed(), SLICE as u64, "{name}");
        assert_eq!(visited.end_turn(Duration::ZERO).connections.closed(), 2 * SLICE as u64);
        let mut group = c.benchmark_group(name);
        for connections in [SLICE, 40 * SLICE] {
            group.throughput(Throughput::Elements(connections as u64));
            group.bench_function(BenchmarkId::new("visit", connections), |b| {
                let visit = |turns| visit(turns, connections);
                b.iter_batched(|| fresh(connections), visit, BatchSize::PerIteration);
            });
        }
    }
}

fn verification(c: &mut Criterion) {
    let mut group = c.benchmark_group("verification");
    for size in [MESSAGE.len(), 16 << 10, 256 << 10] {
        let mut echo = Verification::new(size);
        assert_eq!((echo.verify(), echo.verify()), (size as u64, 2 * size as u64));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| echo.verify()));
    }
}

fn reports(c: &mut Criterion) {
    let mut group = c.benchmark_group("report");
    let mut turns = Turns::new(100, &Config::new());
    let report = turns.echo();
    group
        .bench_function("server", |b| b.iter(|| (report.clone(), report.to_json(Grade::Lossless))));
    let mut latency = Latency::new();
    (0..100_000_u64).for_each(|n| latency.record(1_000 + n * n % 9_999_991));
    group.bench_function("latency_record", |b| b.iter(|| latency.record(black_box(23_456))));
    let percents = [50.0, 90.0, 99.0, 99.9, 100.0];
    group.bench_function("latency_merge_and_percentiles", |b| {
        b.iter(|| {
            let mut all = Latency::new();
            all.merge(&latency);
            percents.map(|percent| all.percentile(percent))
        });
    });
}

criterion_group!(pieces, lists, held, turn, visits, verification, reports);

/// Flags of the test harness, such as `--test-threads`, mean nothing here: without `--bench` all
/// else is dropped.
fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let known = |arg: &String| !arg.starts_with('-') || arg == "--test" || arg == "--list";
    if has("--bench") || has("--list") || args.iter().all(known) {
        pieces();
        Criterion::default().configure_from_args().final_summary();
        return ExitCode::SUCCESS;
    }
    let status = env::current_exe().and_then(|this| Command::new(this).arg("--test").status());
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
