//! The report as lines of text.

use std::fmt;
use std::time::Duration;

use super::{Cause, Report};

/// A number with its noun.
struct Counted(u64, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {noun}{plural}")
    }
}

/// A duration in three digits, a space and a unit, such as `3.14 ms`.
struct Approximate(Duration);

impl fmt::Display for Approximate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            _ if seconds < 1e-6 => (seconds * 1e9, "ns"),
            _ if seconds < 1e-3 => (seconds * 1e6, "us"),
            _ if seconds < 1.0 => (seconds * 1e3, "ms"),
            _ => (seconds, "s"),
        };
        match value {
            _ if value < 10.0 => write!(f, "{value:.2} {unit}"),
            _ if value < 100.0 => write!(f, "{value:.1} {unit}"),
            _ => write!(f, "{value:.0} {unit}"),
        }
    }
}

pub(super) fn write_connections(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counts = &report.connections;
    write!(
        f,
        "connections: {} accepted, {} open when the stop began",
        counts.accepted, counts.open_at_stop
    )?;
    let others = [
        (counts.half_open.map_or(0, |handshakes| handshakes.seen), "half open then"),
        (counts.swept, "taken from the queue"),
        (counts.drained, "drained"),
        (counts.peer_closed, "closed by the peer"),
        (counts.protocol_closed, "closed by the protocol"),
        (counts.reset_by_peer, "reset by the peer"),
        (counts.host_closed, "closed by the host"),
        (counts.idle_timeout, "closed as idle"),
        (counts.io_error, "ended by an error"),
        (counts.forced_clean, "closed by force with nothing owed"),
        (counts.forced_lossy, "cut"),
        (report.unconfirmed, "not known to have received everything"),
    ];
    let mut others = others.iter().filter(|(count, _)| *count > 0);
    others.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
}

pub(super) fn write_bytes(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bytes = &report.bytes;
    if let Some(requests) = &report.requests {
        write!(
            f,
            "bytes: {} read = {} served + {} too late + {} unserved + {} incomplete; {} produced \
             = {} written + {} unsent + {} given up by the peer\nrequests: {} taken = {} answered \
             + {} unanswered + {} aborted",
            bytes.read,
            bytes.served,
            bytes.late,
            bytes.unserved,
            bytes.incomplete,
            bytes.produced,
            bytes.written,
            bytes.unsent,
            bytes.peer_aborted,
            requests.taken,
            requests.answered,
            requests.unanswered,
            requests.aborted,
        )?;
        return Ok(());
    }
    write!(
        f,
        "bytes: {} read = {} echoed + {} too late + {} unsent + {} given up by the peer",
        bytes.read, bytes.written, bytes.late, bytes.unsent, bytes.peer_aborted
    )
}

pub(super) fn write_verdict(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(grade) = report.grade() else {
        return write!(f, "{}: the end of the stop decides the grade", report.phase);
    };
    match &report.cause {
        Some(cause @ (Cause::Requested | Cause::Signal(_))) => write!(f, "stopped by {cause}")?,
        Some(cause) => write!(f, "stopped, {cause},")?,
        None => write!(f, "stopped")?,
    }
    match report.stop {
        Some(Duration::ZERO) => write!(f, " at once")?,
        Some(time) => write!(f, " after {}", Approximate(time))?,
        None => {}
    }
    let (counts, bytes) = (&report.connections, &report.bytes);
    write!(
        f,
        ": {} drained, {} cut, ",
        Counted(counts.drained, "connection"),
        counts.forced_lossy
    )?;
    match &report.requests {
        None => write!(f, "{} echoed, {} lost", Counted(bytes.written, "byte"), bytes.unsent)?,
        Some(requests) => write!(
            f,
            "{} answered, {} lost",
            Counted(requests.answered, "request"),
            requests.unanswered
        )?,
    }
    match counts.backlog_left {
        Some(0) => {}
        Some(left) => write!(f, ", {} left in the queue", Counted(left, "client"))?,
        None => write!(f, ", clients left in the queue: unknown")?,
    }
    let half_open = counts.half_open.map_or(0, |handshakes| handshakes.left);
    if half_open > 0 {
        write!(f, ", {} reset", Counted(half_open, "half-open handshake"))?;
    }
    write!(f, "; grade {grade}")
}
