//! The report as JSON, schema `netgrace-report/1`.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::{Grade, HalfOpen, Report, RequestCounts};

/// Text as a JSON string.
struct Quoted<T>(T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.to_string().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A value, or null where it is not known.
struct Known<T>(Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// Nanoseconds, as far as 64 bits hold them: 584 years.
fn nanos(duration: Duration) -> Known<u64> {
    Known(u64::try_from(duration.as_nanos()).ok())
}

impl Display for Known<HalfOpen> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(HalfOpen { seen, completed, stale, left }) = self.0 else {
            return f.write_str("null");
        };
        write!(f, r#"{{"seen":{seen},"completed":{completed},"stale":{stale},"left":{left}}}"#)
    }
}

impl Display for Known<RequestCounts> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(RequestCounts { taken, answered, unanswered, aborted }) = self.0 else {
            return f.write_str("null");
        };
        write!(f, r#"{{"taken":{taken},"answered":{answered},"#)?;
        write!(f, r#""unanswered":{unanswered},"aborted":{aborted}}}"#)
    }
}

/// Writes the one object.
pub(super) fn write(report: &Report, least: Grade, f: &mut impl Write) -> fmt::Result {
    let Report { phases, connections: counts, bytes, .. } = report;
    let grade = report.grade();
    write!(
        f,
        r#"{{"schema":"netgrace-report/1","protocol":{},"phase":{},"grade":{},"exit_code":{},"#,
        Quoted(report.protocol),
        Quoted(report.phase),
        Known(grade.map(Quoted)),
        Known(grade.map(|_| report.exit_code(least))),
    )?;
    write!(
        f,
        r#""cause":{},"uptime_ns":{},"stop_ns":{},"#,
        Known(report.cause.as_ref().map(Quoted)),
        nanos(report.uptime),
        Known(report.stop.map(nanos)),
    )?;
    write!(
        f,
        r#""phases":{{"lame_duck_ns":{},"draining_ns":{},"forcing_ns":{}}},"#,
        nanos(phases.lame_duck),
        nanos(phases.draining),
        nanos(phases.forcing),
    )?;
    write!(
        f,
        r#""open":{},"connections":{{"accepted":{},"open_at_stop":{},"swept":{},"#,
        counts.accepted.saturating_sub(counts.closed()),
        counts.accepted,
        counts.open_at_stop,
        counts.swept,
    )?;
    let reasons = [
        ("drained", counts.drained),
        ("peer_closed", counts.peer_closed),
        ("protocol_closed", counts.protocol_closed),
        ("reset_by_peer", counts.reset_by_peer),
        ("host_closed", counts.host_closed),
        ("idle_timeout", counts.idle_timeout),
        ("io_error", counts.io_error),
        ("forced_clean", counts.forced_clean),
        ("forced_lossy", counts.forced_lossy),
    ];
    reasons.iter().try_for_each(|(name, count)| write!(f, r#""{name}":{count},"#))?;
    write!(
        f,
        r#""unconfirmed":{},"half_open":{},"backlog_left":{}}},"gated":{},"#,
        report.unconfirmed,
        Known(counts.half_open),
        Known(counts.backlog_left),
        Known(report.gated),
    )?;
    write!(
        f,
        r#""bytes":{{"read":{},"written":{},"late":{},"unsent":{},"peer_aborted":{},"#,
        bytes.read, bytes.written, bytes.late, bytes.unsent, bytes.peer_aborted,
    )?;
    // The echo serves and produces every byte at once.
    let split = |count: u64| Known(report.requests.map(|_| count));
    write!(
        f,
        r#""served":{},"produced":{},"unserved":{},"incomplete":{}}},"requests":{}}}"#,
        split(bytes.served),
        split(bytes.produced),
        split(bytes.unserved),
        split(bytes.incomplete),
        Known(report.requests),
    )
}
