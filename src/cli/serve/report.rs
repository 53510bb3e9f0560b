//! The account of a stop, and the counters of a running server, for people and for programs.

use std::time::Duration;

use log::Level;
use netgrace::{Cause, Report, Stats};
use serde_json::{Value, json};

use crate::cli::units::approximate_duration;

/// The report as one JSON object on one line. What is not known is null.
pub(crate) fn to_json(report: &Report, strict: bool) -> String {
    format!("{}\n", object(report, strict))
}

/// The same of a server that is still at work, with its phase: what the stop will prove is not
/// known yet.
pub(crate) fn snapshot(report: &Report, stats: &Stats) -> String {
    let mut object = object(report, false);
    if let Some(object) = object.as_object_mut() {
        object.insert("phase".to_owned(), stats.phase.to_string().into());
        object.insert("open".to_owned(), stats.open.into());
        for key in ["grade", "exit_code"] {
            object.insert(key.to_owned(), Value::Null);
        }
    }
    format!("{object}\n")
}

fn object(report: &Report, strict: bool) -> Value {
    let connections = &report.connections;
    let bytes = &report.bytes;
    json!({
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
            "half_open": connections.half_open.map(|handshakes| json!({
                "seen": handshakes.seen,
                "completed": handshakes.completed,
                "stale": handshakes.stale,
                "left": handshakes.left,
            })),
            "backlog_left": connections.backlog_left,
        },
        "gated": report.gated,
        "bytes": {
            "read": bytes.read,
            "written": bytes.written,
            "late": bytes.late,
            "unsent": bytes.unsent,
            "peer_aborted": bytes.peer_aborted,
        },
    })
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
    let time = match report.stop {
        Some(Duration::ZERO) => " at once".to_owned(),
        Some(time) => format!(" after {}", approximate_duration(time)),
        None => String::new(),
    };
    let queue = match report.connections.backlog_left {
        Some(0) => String::new(),
        Some(left) => format!(", {} left in the queue", counted(left, "client")),
        None => ", clients left in the queue: unknown".to_owned(),
    };
    format!(
        "{why}{time}: {} drained, {} cut, {} echoed, {} lost{queue}; grade {}",
        counted(report.connections.drained, "connection"),
        report.connections.forced_lossy,
        counted(report.bytes.written, "byte"),
        report.bytes.unsent,
        report.grade(),
    )
}

fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

fn nanos(duration: Duration) -> Value {
    // 584 years fit; beyond that the number is not known.
    u64::try_from(duration.as_nanos()).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy() -> Report {
        let mut report = Report::default();
        report.cause = Some(Cause::Signal(15));
        report.uptime = Duration::from_secs(3);
        report.stop = Some(Duration::from_micros(3_140));
        report.phases.draining = Duration::from_micros(3_000);
        report.connections.accepted = 3;
        report.connections.open_at_stop = 2;
        report.connections.drained = 1;
        report.connections.peer_closed = 1;
        report.connections.forced_lossy = 1;
        report.bytes.read = 10;
        report.bytes.written = 7;
        report.bytes.unsent = 3;
        report
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let mut report = lossy();
        let lines = to_lines(&report, false);
        assert_eq!(
            lines.last(),
            Some(&(
                Level::Warn,
                "stopped by SIGTERM after 3.14 ms: 1 connection drained, 1 cut, 7 bytes echoed, \
                 3 lost, clients left in the queue: unknown; grade lossy"
                    .to_owned()
            ))
        );
        report.connections.backlog_left = Some(1);
        report.cause = Some(Cause::PollFailed("gone".to_owned()));
        report.stop = Some(Duration::ZERO);
        let (level, line) = to_lines(&report, false).pop().expect("a last line");
        assert_eq!(level, Level::Error);
        assert!(line.starts_with("stopped, poll failed: gone, at once: "), "{line}");
        assert!(line.contains("3 lost, 1 client left in the queue; grade lossy"), "{line}");
    }

    #[test]
    fn json_has_every_key_and_null_for_what_is_not_known() {
        let text = to_json(&lossy(), false);
        let object: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "schema": "netgrace-report/1", "grade": "lossy", "exit_code": 3, "cause": "SIGTERM",
            "uptime_ns": 3_000_000_000_u64, "stop_ns": 3_140_000,
            "phases": {"lame_duck_ns": 0, "draining_ns": 3_000_000, "forcing_ns": 0},
            "connections": {
                "accepted": 3, "open_at_stop": 2, "swept": 0, "drained": 1, "peer_closed": 1,
                "reset_by_peer": 0, "idle_timeout": 0, "io_error": 0, "forced_clean": 0,
                "forced_lossy": 1, "half_open": null, "backlog_left": null,
            },
            "gated": null,
            "bytes": {"read": 10, "written": 7, "late": 0, "unsent": 3, "peer_aborted": 0},
        });
        assert_eq!(object, expected);
        let mut report = lossy();
        (report.cause, report.stop, report.uptime) = (None, None, Duration::MAX);
        let object: Value = serde_json::from_str(&to_json(&report, true)).expect("JSON");
        for key in ["cause", "stop_ns", "uptime_ns"] {
            assert_eq!(object.get(key), Some(&Value::Null), "{key}");
        }
        assert_eq!(object.get("exit_code"), Some(&json!(1)));
    }
}
