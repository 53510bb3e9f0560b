//! Whether the files are those of all workers of one run.

use std::time::Duration;

use serde_json::Value;

use super::Run;
use super::field::number;
use crate::cli::bench::figure;
use crate::cli::bench::outcome::MergedRuns;

/// A worker that began to measure later than this after `--start-at` was late.
const LATE: u64 = 500_000_000;

/// Checks that all workers of one run are there exactly once and measured at the same time. Runs
/// that are no workers can be merged without that.
pub(super) fn check(runs: &[Run], merged: &mut MergedRuns) {
    let workers: Vec<&Run> = runs.iter().filter(|run| run.get("/worker").is_object()).collect();
    let Some(first) = workers.first() else { return };
    for run in runs.iter().filter(|run| !run.get("/worker").is_object()) {
        merged.incomplete.push(format!("{} is of no worker", run.name()));
    }
    let of = number(first.get("/worker/of"));
    let mut present: Vec<u64> = Vec::new();
    for run in &workers {
        let index = number(run.get("/worker/index"));
        if present.contains(&index) {
            merged.incomplete.push(format!("worker {index} is there twice ({})", run.name()));
        } else {
            present.push(index);
        }
        unlike(first, run, &mut merged.incomplete);
    }
    present.sort_unstable();
    let missing: Vec<String> = (0..of)
        .filter(|index| present.binary_search(index).is_err())
        .map(|index| index.to_string())
        .collect();
    if !missing.is_empty() {
        let shown = missing.get(..missing.len().min(20)).unwrap_or_default().join(", ");
        merged.incomplete.push(format!("{} of {of} workers missing: {shown}", missing.len()));
    }
    merged.workers = Some((of, present));
    times(&workers, merged);
}

/// Names what a worker did otherwise than the first.
fn unlike(first: &Run, run: &Run, incomplete: &mut Vec<String>) {
    let name = run.name();
    for (place, what) in [("/version", "version"), ("/worker/of", "number of workers")] {
        if run.get(place) != first.get(place) {
            incomplete.push(format!("{name} has another {what} than {}", first.name()));
        }
    }
    let (Some(ours), Some(theirs)) =
        (first.get("/worker/run").as_object(), run.get("/worker/run").as_object())
    else {
        incomplete.push(format!("{name} does not say what the run is"));
        return;
    };
    let unlike: Vec<&str> = ours
        .iter()
        .filter(|(key, value)| theirs.get(*key) != Some(value))
        .map(|(key, _)| key.as_str())
        .chain(theirs.keys().filter(|key| !ours.contains_key(*key)).map(String::as_str))
        .collect();
    if !unlike.is_empty() {
        incomplete.push(format!("{name} has another {} than {}", unlike.join(", "), first.name()));
    }
}

/// Compares the times of day at which the workers began, took their marks and ended.
fn times(workers: &[&Run], merged: &mut MergedRuns) {
    let mut all = Vec::new();
    for run in workers {
        let time = |name: &str| run.get(&format!("/worker/{name}")).as_u64();
        let (Some(began), Some(ended)) = (time("began_at_ns"), time("ended_at_ns")) else {
            merged.incomplete.push(format!("{} measured nothing", run.name()));
            continue;
        };
        let planned = run.get("/worker/run/start_at_ns").as_u64();
        let late = planned.map_or(0, |planned| began.saturating_sub(planned));
        if late > LATE {
            let late = figure::latency(late);
            merged.incomplete.push(format!("{} began {late} late", run.name()));
        }
        all.push((began, ended));
    }
    let first = all.iter().map(|(began, _)| *began).min();
    let last = all.iter().map(|(began, _)| *began).max();
    let end = all.iter().map(|(_, ended)| *ended).min();
    if let (Some(first), Some(last), Some(end)) = (first, last, end) {
        merged.skew = Some(Duration::from_nanos(last.saturating_sub(first)));
        if last >= end {
            merged.incomplete.push("the workers did not measure at the same time".to_owned());
        }
    }
    marks(workers, merged);
}

/// Bytes count as handed over before the stop by each worker's own mark: it must come before.
fn marks(workers: &[&Run], merged: &mut MergedRuns) {
    let time = |run: &Run, name: &str| run.get(&format!("/worker/{name}")).as_u64();
    let marks: Vec<u64> = workers.iter().filter_map(|run| time(run, "marked_at_ns")).collect();
    let (Some(first), Some(last)) = (marks.iter().min(), marks.iter().max()) else { return };
    merged.mark_skew = Some(Duration::from_nanos(last.saturating_sub(*first)));
    for run in workers.iter().filter(|run| run.get("/worker/marked_at_ns") == &Value::Null) {
        merged.incomplete.push(format!("{} took no mark for the audit", run.name()));
    }
    let stops: Vec<u64> = workers.iter().filter_map(|run| time(run, "stopped_at_ns")).collect();
    match stops.as_slice() {
        [] => merged.incomplete.push("none of the workers stopped the server".to_owned()),
        [stop] if last > stop => {
            let after = figure::latency(last.saturating_sub(*stop));
            merged.incomplete.push(format!("a mark was taken {after} after the stop"));
        }
        [_] => {}
        _ => merged.incomplete.push("several workers stopped the server".to_owned()),
    }
}
