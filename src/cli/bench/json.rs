//! The results as JSON. Keys never vanish: what is unknown is `null`.

use std::time::Duration;

use netgrace::load::{Audit, Close, Interval, Latency, Plan, Results, StepResults};
use serde_json::{Map, Value, json};

use super::host::unix_nanos;
use super::outcome::{Context, Outcome};
use super::settings::{BenchSettings, Stop, Subject};
use super::value::Percentile;
use super::verdict::{self, Finding};

/// The version of the format.
pub(crate) const SCHEMA: &str = "netgrace-bench/1";

/// Everything.
pub(crate) fn document(outcome: &Outcome, findings: &[Finding]) -> Value {
    let results = &outcome.results;
    let list = &outcome.context.settings.args.percentiles;
    let mut document = start(&outcome.context);
    let rest = [
        ("outcome", outcome_of(outcome, findings)),
        ("connect", connect(results)),
        ("load", load(outcome)),
        ("latency_from", json!(if results.service.is_some() { "schedule" } else { "send" })),
        ("latency_ns", latency(&results.latency, list)),
        ("service_ns", results.service.as_ref().map_or(Value::Null, |all| latency(all, list))),
        ("errors", errors(results)),
        ("server", server(outcome)),
        ("generator", generator(outcome)),
        ("shutdown", shutdown(outcome)),
        ("steps", results.steps.iter().map(|step| step_of(step, list)).collect()),
        ("worker", worker(outcome)),
        ("merged", merged(outcome)),
        ("intervals", intervals(outcome)),
    ];
    for (key, value) in rest {
        document.insert(key.to_owned(), value);
    }
    for (key, value) in outcome.merged.iter().flat_map(|merged| &merged.copied) {
        document.insert((*key).to_owned(), value.clone());
    }
    Value::Object(document)
}

/// What is known before the run: the first object of the line format.
pub(crate) fn start(context: &Context) -> Map<String, Value> {
    let settings = &context.settings;
    let labels = settings.args.label.iter().map(|label| (label.0.clone(), json!(label.1)));
    let mut document = Map::new();
    let parts = [
        ("schema", json!(SCHEMA)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("started_at", json!(context.started_at)),
        ("labels", Value::Object(labels.collect())),
        ("config", config(context)),
        ("host", host(context)),
    ];
    for (key, value) in parts {
        document.insert(key.to_owned(), value);
    }
    document
}

fn config(context: &Context) -> Value {
    plan_of(&context.settings, &context.settings.plan)
}

fn plan_of(settings: &BenchSettings, plan: &Plan) -> Value {
    let targets: Vec<_> = plan.targets.iter().map(ToString::to_string).collect();
    json!({
        "targets": targets,
        "subject": match settings.subject {
            Subject::Own => "own",
            Subject::Command(_) => "command",
            Subject::Process(_) => "process",
            Subject::Unknown => "unknown",
        },
        "connections": plan.connections,
        "active": plan.active_connections(),
        "rate_per_s": plan.rate.map(number),
        "messages": plan.messages,
        "size_bytes": [plan.size.0, plan.size.1],
        "duration_ns": nanos(plan.stop_after.unwrap_or(plan.duration)),
        "warmup_ns": nanos(plan.warmup),
        "settle_ns": nanos(plan.settle),
        "timeout_ns": nanos(plan.timeout),
        "interval_ns": nanos(plan.interval),
        "pipeline": plan.pipeline,
        "churn_per_s": number(plan.churn),
        "threads": plan.threads,
        "connect_inflight": plan.connect_inflight,
        "connect_rate_per_s": plan.connect_rate.map(number),
        "connect_timeout_ns": nanos(plan.connect_timeout),
        "busy_poll_ns": nanos(plan.busy_poll),
        "close": match plan.close { Close::Fin => "fin", Close::Rst => "rst" },
        "shutdown_after_ns": plan.stop_after.map(nanos),
        "exit_within_ns": nanos(plan.exit_within),
        "leave_after_ns": plan.leave_after.map(nanos),
        "period_ns": plan.period.map(nanos),
        "ramp": (!plan.steps.is_empty()).then_some(&plan.steps),
        "reconnect_at_ns": plan.reconnect_after.map(nanos),
        "start_at_ns": plan.start_at.map(unix_nanos),
        "shutdown_at_ns": plan.stop_at.map(unix_nanos),
        "stop_with": settings.args.stop_with,
        "metrics": settings.args.metrics.as_ref().map(ToString::to_string),
        "verify": plan.verify,
        "seed": plan.seed,
    })
}

fn host(context: &Context) -> Value {
    let (host, files) = (&context.host, &context.files);
    json!({
        "cpus": host.cpus,
        "kernel": host.kernel,
        "nofile": {
            "before": files.limit.before, "after": files.limit.soft, "hard": files.limit.hard,
        },
        "somaxconn": host.somaxconn,
        "port_range": host.port_range.map(|(low, high)| [low, high]),
    })
}

fn outcome_of(outcome: &Outcome, findings: &[Finding]) -> Value {
    let failed: Vec<_> = findings
        .iter()
        .map(|finding| json!({"exit_code": finding.code, "text": finding.text}))
        .collect();
    let code = verdict::exit_code(findings);
    let error = findings.iter().find(|finding| matches!(finding.code, 1 | 2));
    json!({
        "exit_code": code,
        "pass": code == 0,
        "interrupted": outcome.results.interrupted,
        "error": error.map(|finding| finding.text.clone()),
        "failed_checks": failed,
    })
}

fn connect(results: &Results) -> Value {
    let connect = &results.connect;
    let latency = &connect.latency;
    json!({
        "requested": connect.requested,
        "established": connect.established,
        "failed": connect.failed,
        "retried": connect.retried,
        "churned": connect.churned,
        "reconnect_ns": connect.reconnect_elapsed.map(nanos),
        "elapsed_ns": nanos(connect.elapsed),
        "latency_ns": {
            "count": latency.count(),
            "p50": latency.percentile(50.0),
            "p99": latency.percentile(99.0),
            "max": latency.max(),
            "histogram": histogram(latency),
        },
    })
}

fn load(outcome: &Outcome) -> Value {
    let load = &outcome.results.load;
    let checked = |count: u64| outcome.context.settings.plan.verify.then_some(count);
    json!({
        "elapsed_ns": nanos(load.elapsed),
        "messages": load.messages,
        "messages_per_s": load.messages_per_second(),
        "rate_reached": outcome.rate_reached(),
        "message_bytes": load.message_bytes,
        "bytes_per_s": load.bytes_per_second(),
        "unsent_messages": load.unsent_messages,
        "sent_bytes": load.sent_bytes,
        "returned_bytes": load.verified_bytes
            .saturating_add(load.wrong_bytes)
            .saturating_add(load.extra_bytes),
        "verified_bytes": checked(load.verified_bytes),
        "wrong_bytes": checked(load.wrong_bytes),
        "missing_bytes": load.missing_bytes,
        "missing_in_audit_bytes": load.audit_bytes,
        "extra_bytes": load.extra_bytes,
        "foreign_bytes": checked(load.foreign_bytes),
    })
}

/// A distribution, with the percentiles of the list.
pub(crate) fn latency(latency: &Latency, list: &[Percentile]) -> Value {
    let percentiles = list.iter().map(|percentile| {
        let known = latency.percentile(percentile.percent);
        json!([number(percentile.percent), known])
    });
    json!({
        "count": latency.count(),
        "min": latency.min(),
        "mean": latency.mean().map(f64::round).map(whole),
        "stdev": latency.stdev().map(f64::round).map(whole),
        "max": latency.max(),
        "percentiles": percentiles.collect::<Vec<_>>(),
        "histogram": histogram(latency),
    })
}

/// Value and count of every bucket: histograms of several runs add up.
fn histogram(latency: &Latency) -> Value {
    latency.buckets().map(|(nanos, count)| json!([nanos, count])).collect()
}

fn errors(results: &Results) -> Value {
    let errors = &results.errors;
    json!({
        "connect_refused": errors.connect_refused,
        "connect_timeout": errors.connect_timeout,
        "connect_other": errors.connect_other,
        "reset": errors.reset,
        "eof_early": errors.eof_early,
        "timeout": errors.timeout,
        "flood": errors.flood,
        "unended": errors.unended,
        "other": errors.other,
    })
}

fn server(outcome: &Outcome) -> Value {
    let usage = &outcome.usage;
    json!({
        "cpu_us_per_message": usage.cpu_us_per_message,
        "cpu_share": usage.cpu_share,
        "rss_bytes_per_connection": usage.rss_bytes_per_connection,
        "rss_bytes": usage.rss_bytes,
        "report": outcome.report,
    })
}

fn generator(outcome: &Outcome) -> Value {
    let usage = &outcome.own_usage;
    let pauses = &outcome.results.pauses;
    json!({
        "cpu_us_per_message": usage.cpu_us_per_message,
        "cpu_share": usage.cpu_share,
        "pauses": pauses.count,
        "paused_ns": nanos(pauses.total),
        "longest_pause_ns": nanos(pauses.longest),
    })
}

fn shutdown(outcome: &Outcome) -> Value {
    let unknown = Audit::default();
    let audited = outcome.results.audit.is_some();
    let audit = outcome.results.audit.as_ref().unwrap_or(&unknown);
    let queue = &audit.queue;
    let known = |count: u64| audited.then_some(count);
    json!({
        "signal": audited.then(|| outcome.context.settings.signal_name()).flatten(),
        "connections": known(audit.connections),
        "clean": known(audit.clean),
        "lost": known(audit.lost),
        "reset": known(audit.reset),
        "cut": known(audit.cut),
        "lost_bytes": known(audit.lost_bytes),
        "late_bytes": known(audit.late_bytes),
        "queue_connected": known(queue.connected),
        "queue_served": known(queue.served),
        "queue_reset": known(queue.reset),
        "queue_lost": known(queue.lost),
        "queue_waiting": known(queue.waiting),
        "queue_echoed_bytes": known(queue.echoed_bytes),
        "refused_after": known(queue.refused),
        "listener_closed_ns": audit.listener_closed.map(nanos),
        "last_byte_ns": audit.last_byte.map(nanos),
        "last_close_ns": audit.last_close.map(nanos),
        "exit_ns": audit.exit.map(nanos),
        "exit_status": outcome.exit_code.filter(|_| audit.exit.is_some()),
        "stop_error": audit.stop_error,
    })
}

fn intervals(outcome: &Outcome) -> Value {
    let with_histograms = outcome.context.settings.plan.keep_histograms;
    let intervals = outcome.results.intervals.iter();
    intervals.map(|one| interval(one, with_histograms)).collect()
}

/// One step of a ramp.
fn step_of(step: &StepResults, list: &[Percentile]) -> Value {
    json!({
        "requested": step.requested,
        "connections": step.connections,
        "connect_ns": nanos(step.connect_elapsed),
        "elapsed_ns": nanos(step.elapsed),
        "messages": step.messages,
        "messages_per_s": step.messages_per_second(),
        "bytes": step.bytes,
        "latency_ns": latency(&step.latency, list),
    })
}

/// Which worker this is of which run, and when it did what, in nanoseconds since 1970.
fn worker(outcome: &Outcome) -> Value {
    let settings = &outcome.context.settings;
    let Some(worker) = settings.worker.filter(|_| outcome.merged.is_none()) else {
        return Value::Null;
    };
    let results = &outcome.results;
    let began = results.measured_from;
    let audit = results.audit.as_ref();
    json!({
        "index": worker.index,
        "of": worker.of,
        "began_at_ns": began.map(unix_nanos),
        "ended_at_ns": began.and_then(|at| at.checked_add(results.load.elapsed)).map(unix_nanos),
        "marked_at_ns": audit.and_then(|audit| audit.marked_at).map(unix_nanos),
        "stopped_at_ns": audit
            .filter(|_| !matches!(settings.stop, Stop::MarkOnly))
            .and_then(|audit| audit.signalled_at)
            .map(unix_nanos),
        "run": whole_run(settings),
    })
}

/// What must be the same for all workers of a run.
fn whole_run(settings: &BenchSettings) -> Value {
    let mut run = plan_of(settings, &settings.whole);
    if let Some(run) = run.as_object_mut() {
        for key in ["subject", "threads", "stop_with", "metrics", "busy_poll_ns", "leave_after_ns"]
        {
            run.remove(key);
        }
        // One name can have other addresses elsewhere; a seed that was drawn is no difference.
        run.insert("targets".to_owned(), json!(settings.args.targets));
        run.insert("seed".to_owned(), json!(settings.args.seed));
    }
    run
}

fn merged(outcome: &Outcome) -> Value {
    let Some(merged) = &outcome.merged else {
        return Value::Null;
    };
    json!({
        "files": merged.files,
        "workers": merged.workers.as_ref().map(|(_, present)| present),
        "of": merged.workers.as_ref().map(|(of, _)| of),
        "skew_ns": merged.skew.map(nanos),
        "mark_skew_ns": merged.mark_skew.map(nanos),
        "incomplete": merged.incomplete,
    })
}

/// One step of the time series.
pub(crate) fn interval(interval: &Interval, with_histogram: bool) -> Value {
    json!({
        "t_ns": nanos(interval.at),
        "length_ns": nanos(interval.length),
        "connections": interval.connections,
        "opened": interval.opened,
        "messages": interval.messages,
        "bytes": interval.bytes,
        "p50_ns": interval.latency.percentile(50.0),
        "p99_ns": interval.latency.percentile(99.0),
        "max_ns": interval.latency.max(),
        "errors": interval.errors,
        "stopping": interval.stopping,
        "paused": interval.paused,
        "histogram": with_histogram.then(|| histogram(&interval.latency)),
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A percentile as an integer where it is one.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(whole(value)) } else { json!(value) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the values are not negative"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}
