//! The results as JSON, schema `netgrace-audit/1`.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::outcome::Outcome;
use super::server::Stop;
use netgrace::audit::Audit;
use netgrace::audit::Class;
use netgrace::audit::Counts;

/// Returns the whole document.
pub(crate) fn document(outcome: &Outcome) -> Value {
    let empty = Audit::default();
    let audit = outcome.audit.as_ref().unwrap_or(&empty);
    let signal = match &outcome.stop {
        Stop::Signal(signal) => Value::from(signal.to_string()),
        Stop::Command(_) => Value::Null,
    };
    let clients: Map<String, Value> = audit
        .kinds
        .iter()
        .map(|of| {
            let mut counts = counts(&of.classes);
            counts.insert("started".to_owned(), of.started.into());
            (of.kind.name().to_owned(), Value::Object(counts))
        })
        .collect();
    let mut classes = counts(&audit.classes());
    for (name, count) in [
        ("announced", audit.announced),
        ("closed_idle", audit.closed_idle),
        ("reset_idle", audit.reset_idle),
    ] {
        classes.insert(name.to_owned(), count.into());
    }
    let mut before = counts(&audit.before);
    before.remove(Class::Answered.name());
    let times = &audit.times;
    let gap = outcome.audit.as_ref().and_then(|audit| audit.stopped_at.map(|_| audit.times.gap));
    json!({
        "schema": "netgrace-audit/1",
        "version": env!("CARGO_PKG_VERSION"),
        "target": outcome.target,
        "command": outcome.command,
        "server": {
            "pid": outcome.pid,
            "exit_code": outcome.exit_code,
            "signal": signal,
            "exit_ns": nanos(times.exit),
        },
        "clients": clients,
        "classes": classes,
        "before": before,
        "lost": audit.lost(),
        "raced": audit.raced(),
        "times_ns": {
            "listener_closed": nanos(times.listener_closed),
            "last_answer": nanos(times.last_answer),
            "gap": nanos(gap),
            "exit": nanos(times.exit),
        },
        "stops": outcome.stops,
        "bound_95": outcome.bound(),
        "verdict": outcome.audit.as_ref().map(|audit| audit.verdict().name()),
        "bodies_compared": !audit.bodies_differ,
        "paused_ns": nanos(Some(audit.paused)),
        "left_out": audit.left_out,
        "outcome": {
            "exit_code": outcome.exit_status(),
            "failed_checks": outcome.failures(),
            "error": outcome.error,
        },
    })
}

fn counts(counts: &Counts) -> Map<String, Value> {
    Class::ALL
        .into_iter()
        .map(|class| (class.name().to_owned(), counts.get(class).into()))
        .collect()
}

fn nanos(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
