//! The account of a stop, and the counters of a running server, for people and for programs.

use std::time::Duration;

use log::Level;
use netgrace::{Cause, Report, Stats};
use serde_json::{Value, json};

use crate::cli::units::approximate_duration;

/// The report as one JSON object on one line. What is not known is null.
pub(crate) fn to_json(report: &Report, strict: bool) -> String {
    let connections = &report.connections;
    let bytes = &report.bytes;
    let object = json!({
        "schema": "netgrace-report/1",
        "grade": report.grade().to_string(),
        "exit_code": report.exit_code(strict),
        "cause": report.cause.as_ref().map(ToString::to_string),
        "uptime_ns": nanos(report.uptime),
        "stop_ns": report.stop.map_or(Value::Null, nanos),
        "phases": {
            "lame_duck_ns": nanos(report.phases.lame_duck),
            "draining_ns": nanos(report.phases.draining),
            "forcing_ns": nanos(report.phases.forcing),
        },
        "connections": {
            "accepted": connections.accepted,
            "open_at_stop": connections.open_at_stop,
            "swept": connections.swept,
            "drained": connections.drained,
            "peer_closed": connections.peer_closed,
            "reset_by_peer": connections.reset_by_peer,
            "idle_timeout": connections.idle_timeout,
            "io_error": connections.io_error,
            "forced_clean": connections.forced_clean,
            "forced_lossy": connections.forced_lossy,
            "backlog_left": connections.backlog_left,
        },
        "bytes": {
            "read": bytes.read,
            "written": bytes.written,
            "late": bytes.late,
            "unsent": bytes.unsent,
            "peer_aborted": bytes.peer_aborted,
        },
    });
    format!("{object}\n")
}

/// The last lines of a stop, the verdict being the last of them.
pub(crate) fn to_lines(report: &Report, strict: bool) -> Vec<(Level, String)> {
    let level = match report.exit_code(strict) {
        0 => Level::Info,
        3 => Level::Warn,
        _ => Level::Error,
    };
    vec![(Level::Info, connections(report)), (Level::Info, bytes(report)), (level, verdict(report))]
}

/// The counters on one line; `resident` is the memory in use where that is known.
pub(crate) fn to_line(stats: &Stats, resident: Option<u64>) -> String {
    let mut line = format!(
        "{}: {} open, {} accepted, {} closed; {} bytes read, {} written, {} held",
        stats.phase,
        stats.open,
        stats.accepted,
        stats.closed,
        stats.read,
        stats.written,
        stats.held
    );
    if stats.accept_errors > 0 {
        line.push_str(&format!("; {} accept errors", stats.accept_errors));
    }
    if let Some(bytes) = resident {
        line.push_str(&format!("; {} KiB resident", bytes / 1024));
    }
    line
}

fn connections(report: &Report) -> String {
    let counts = &report.connections;
    let mut line = format!(
        "connections: {} accepted, {} open when the stop began",
        counts.accepted, counts.open_at_stop
    );
    let closed = [
        (counts.swept, "taken from the queue"),
        (counts.drained, "drained"),
        (counts.peer_closed, "closed by the peer"),
        (counts.reset_by_peer, "reset by the peer"),
        (counts.idle_timeout, "closed as idle"),
        (counts.io_error, "ended by an error"),
        (counts.forced_clean, "closed by force with nothing owed"),
        (counts.forced_lossy, "cut"),
    ];
    for (count, what) in closed {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line
}

fn bytes(report: &Report) -> String {
    let bytes = &report.bytes;
    format!(
        "bytes: {} read = {} echoed + {} too late + {} unsent + {} given up by the peer",
        bytes.read, bytes.written, bytes.late, bytes.unsent, bytes.peer_aborted
    )
}

fn verdict(report: &Report) -> String {
    let why = match &report.cause {
        Some(cause @ (Cause::Requested | Cause::Signal(_))) => format!("stopped by {cause}"),
        Some(cause) => format!("stopped, {cause},"),
        None => "stopped".to_owned(),
    };
    let time = report.stop.map_or_else(String::new, |time| {
        let within = approximate_duration(time);
        format!(" after {within}")
    });
    let queue = match report.connections.backlog_left {
        Some(0) => String::new(),
        Some(left) => format!(", {left} clients left in the queue"),
        None => ", clients left in the queue: unknown".to_owned(),
    };
    format!(
        "{why}{time}: {} connections drained, {} cut, {} bytes echoed, {} lost{queue}; grade {}",
        report.connections.drained,
        report.connections.forced_lossy,
        report.bytes.written,
        report.bytes.unsent,
        report.grade(),
    )
}

fn nanos(duration: Duration) -> Value {
    // 584 years fit; beyond that the number is not known.
    u64::try_from(duration.as_nanos()).map_or(Value::Null, Value::from)
}
