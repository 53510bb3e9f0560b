//! The results of several runs as those of one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use netgrace::load::{Audit, Interval, Latency, Results, StepResults, Target};
use serde_json::Value;

use super::Run;
use super::field::{duration, nanos, number, size, text};
use crate::cli::failure::Failure;

/// Merges the results.
pub(super) fn results(runs: &[Run]) -> Result<Results, Failure> {
    let mut results = Results::default();
    for run in runs {
        connect(run, &mut results)?;
        load(run, &mut results);
        errors(run, &mut results);
        results.latency.merge(&distribution(run, "/latency_ns")?);
        if run.get("/service_ns").is_object() {
            let part = distribution(run, "/service_ns")?;
            results.service.get_or_insert_with(Latency::new).merge(&part);
        }
        results.interrupted |= run.get("/outcome/interrupted") == &Value::Bool(true);
        let pauses = &mut results.pauses;
        add(&mut pauses.count, run, "/generator/pauses");
        pauses.total = pauses.total.saturating_add(nanos(run.get("/generator/paused_ns")));
        pauses.longest = pauses.longest.max(nanos(run.get("/generator/longest_pause_ns")));
        if run.get("/shutdown/connections").is_number() {
            audit(run, results.audit.get_or_insert_with(Audit::default));
        }
        intervals(run, &mut results.intervals)?;
        steps(run, &mut results.steps)?;
    }
    let reconnects = runs.iter().map(|run| duration(run.get("/connect/reconnect_ns")));
    let reconnects = reconnects.collect::<Option<Vec<_>>>();
    results.connect.reconnect_elapsed = reconnects.and_then(|all| all.into_iter().max());
    Ok(results)
}

fn add(sum: &mut u64, run: &Run, place: &str) {
    *sum = sum.saturating_add(number(run.get(place)));
}

fn longest(longest: &mut Duration, run: &Run, place: &str) {
    *longest = (*longest).max(nanos(run.get(place)));
}

fn connect(run: &Run, results: &mut Results) -> Result<(), Failure> {
    let connect = &mut results.connect;
    add(&mut connect.requested, run, "/connect/requested");
    add(&mut connect.established, run, "/connect/established");
    add(&mut connect.failed, run, "/connect/failed");
    add(&mut connect.retried, run, "/connect/retried");
    add(&mut connect.churned, run, "/connect/churned");
    longest(&mut connect.elapsed, run, "/connect/elapsed_ns");
    connect.latency.merge(&distribution(run, "/connect/latency_ns")?);
    Ok(())
}

fn load(run: &Run, results: &mut Results) {
    let load = &mut results.load;
    longest(&mut load.elapsed, run, "/load/elapsed_ns");
    add(&mut load.messages, run, "/load/messages");
    add(&mut load.message_bytes, run, "/load/message_bytes");
    add(&mut load.unsent_messages, run, "/load/unsent_messages");
    add(&mut load.sent_bytes, run, "/load/sent_bytes");
    add(&mut load.wrong_bytes, run, "/load/wrong_bytes");
    add(&mut load.missing_bytes, run, "/load/missing_bytes");
    add(&mut load.audit_bytes, run, "/load/missing_in_audit_bytes");
    add(&mut load.extra_bytes, run, "/load/extra_bytes");
    add(&mut load.foreign_bytes, run, "/load/foreign_bytes");
    // By the sums that hold for every run.
    load.verified_bytes = load.sent_bytes.saturating_sub(load.missing_bytes);
}

fn errors(run: &Run, results: &mut Results) {
    let errors = &mut results.errors;
    add(&mut errors.connect_refused, run, "/errors/connect_refused");
    add(&mut errors.connect_timeout, run, "/errors/connect_timeout");
    add(&mut errors.reset, run, "/errors/reset");
    add(&mut errors.eof_early, run, "/errors/eof_early");
    add(&mut errors.timeout, run, "/errors/timeout");
    add(&mut errors.flood, run, "/errors/flood");
    add(&mut errors.unended, run, "/errors/unended");
    add_named(&mut errors.connect_other, run.get("/errors/connect_other"));
    add_named(&mut errors.other, run.get("/errors/other"));
}

fn add_named(sums: &mut BTreeMap<String, u64>, counts: &Value) {
    for (name, count) in counts.as_object().into_iter().flatten() {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(number(count));
    }
}

/// Times count from the signal, which all workers place at the same time of day.
fn audit(run: &Run, audit: &mut Audit) {
    add(&mut audit.connections, run, "/shutdown/connections");
    add(&mut audit.clean, run, "/shutdown/clean");
    add(&mut audit.lost, run, "/shutdown/lost");
    add(&mut audit.reset, run, "/shutdown/reset");
    add(&mut audit.cut, run, "/shutdown/cut");
    add(&mut audit.lost_bytes, run, "/shutdown/lost_bytes");
    add(&mut audit.late_bytes, run, "/shutdown/late_bytes");
    add(&mut audit.queue.connected, run, "/shutdown/queue_connected");
    add(&mut audit.queue.served, run, "/shutdown/queue_served");
    add(&mut audit.queue.reset, run, "/shutdown/queue_reset");
    add(&mut audit.queue.lost, run, "/shutdown/queue_lost");
    add(&mut audit.queue.waiting, run, "/shutdown/queue_waiting");
    add(&mut audit.queue.echoed_bytes, run, "/shutdown/queue_echoed_bytes");
    add(&mut audit.queue.refused, run, "/shutdown/refused_after");
    let time = |name: &str| duration(run.get(&format!("/shutdown/{name}")));
    let closed = [audit.listener_closed, time("listener_closed_ns")];
    audit.listener_closed = closed.into_iter().flatten().min();
    audit.last_byte = audit.last_byte.max(time("last_byte_ns"));
    audit.last_close = audit.last_close.max(time("last_close_ns"));
    audit.exit = audit.exit.max(time("exit_ns"));
    if audit.stop_error.is_none() {
        audit.stop_error = text(run.get("/shutdown/stop_error"));
    }
}

/// Adds the time series, step by step.
fn intervals(run: &Run, intervals: &mut Vec<Interval>) -> Result<(), Failure> {
    let parts = run.get("/intervals").as_array();
    for (at, part) in parts.into_iter().flatten().enumerate() {
        if intervals.len() <= at {
            intervals.push(Interval::default());
        }
        let Some(interval) = intervals.get_mut(at) else { break };
        let field = |name: &str| part.get(name).unwrap_or(&Value::Null);
        let add = |sum: &mut u64, name: &str| *sum = sum.saturating_add(number(field(name)));
        interval.at = interval.at.max(nanos(field("t_ns")));
        interval.length = interval.length.max(nanos(field("length_ns")));
        add(&mut interval.connections, "connections");
        add(&mut interval.opened, "opened");
        add(&mut interval.messages, "messages");
        add(&mut interval.bytes, "bytes");
        add(&mut interval.errors, "errors");
        interval.stopping |= field("stopping") == &Value::Bool(true);
        interval.paused |= field("paused") == &Value::Bool(true);
        record(&mut interval.latency, field("histogram"), run)?;
    }
    Ok(())
}

fn steps(run: &Run, steps: &mut Vec<StepResults>) -> Result<(), Failure> {
    let parts = run.get("/steps").as_array();
    for (at, part) in parts.into_iter().flatten().enumerate() {
        if steps.len() <= at {
            steps.push(StepResults::default());
        }
        let Some(step) = steps.get_mut(at) else { break };
        let field = |place: &str| part.pointer(place).unwrap_or(&Value::Null);
        let add = |sum: &mut u64, place: &str| *sum = sum.saturating_add(number(field(place)));
        add(&mut step.requested, "/requested");
        add(&mut step.connections, "/connections");
        add(&mut step.messages, "/messages");
        add(&mut step.bytes, "/bytes");
        step.connect_elapsed = step.connect_elapsed.max(nanos(field("/connect_ns")));
        step.elapsed = step.elapsed.max(nanos(field("/elapsed_ns")));
        record(&mut step.latency, field("/latency_ns/histogram"), run)?;
    }
    Ok(())
}

/// The connections of each step, all runs together.
pub(super) fn ramp(runs: &[Run]) -> Vec<usize> {
    let mut steps: Vec<usize> = Vec::new();
    for run in runs {
        let ramp = run.get("/config/ramp").as_array();
        for (at, step) in ramp.into_iter().flatten().enumerate() {
            match steps.get_mut(at) {
                Some(sum) => *sum = sum.saturating_add(size(number(step))),
                None => steps.push(size(number(step))),
            }
        }
    }
    steps
}

/// The target with this name; names are not looked up here.
pub(super) fn target(shown: &str) -> Option<Target> {
    if let Some(path) = shown.strip_prefix("unix:") {
        return Some(Target::Unix(path.into()));
    }
    let address = shown.parse::<SocketAddr>().map(Target::Tcp);
    Some(address.unwrap_or_else(|_| Target::Name(shown.to_owned(), Vec::new())))
}

fn distribution(run: &Run, place: &str) -> Result<Latency, Failure> {
    let mut latency = Latency::new();
    record(&mut latency, run.get(&format!("{place}/histogram")), run)?;
    Ok(latency)
}

fn record(latency: &mut Latency, histogram: &Value, run: &Run) -> Result<(), Failure> {
    for bucket in histogram.as_array().into_iter().flatten() {
        let value = |at: usize| bucket.get(at).and_then(Value::as_u64);
        let (Some(nanos), Some(count)) = (value(0), value(1)) else {
            let why = format!("cannot merge {}: a bucket is not [ns, count]", run.name());
            return Err(Failure::unable(why));
        };
        latency.record_n(nanos, count);
    }
    Ok(())
}
