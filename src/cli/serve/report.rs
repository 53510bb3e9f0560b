//! The report of a stop, and the counters of a running server, as lines of the log.

use log::Level;
use netgrace::{Grade, Report, Stats};

/// Returns the last log lines of a stop, the verdict being the last of them. The verdict has the
/// level that belongs to the exit code for the grade `least`.
pub(crate) fn to_lines(report: &Report, least: Grade) -> Vec<(Level, String)> {
    let text = report.to_string();
    let mut lines: Vec<(Level, String)> =
        text.lines().map(|line| (Level::Info, line.to_owned())).collect();
    if let Some((level, _)) = lines.last_mut() {
        *level = match report.exit_code(least) {
            0 => Level::Info,
            3 => Level::Warn,
            _ => Level::Error,
        };
    }
    lines
}

/// Returns the counters on one line; `resident` is the memory in use, if it is known.
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
    if let Some(requests) = &stats.requests {
        line.push_str(&format!("; {} requests, {} answered", requests.taken, requests.answered));
    }
    if stats.accept_errors > 0 {
        line.push_str(&format!("; {} accept errors", stats.accept_errors));
    }
    if let Some(bytes) = resident {
        line.push_str(&format!("; {} KiB resident", bytes / 1024));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use netgrace::{Cause, Phase};
    use serde_json::Value;

    fn lossy() -> Report {
        let mut report = Report::default();
        report.phase = Phase::Finished;
        report.cause = Some(Cause::Signal(15));
        report.bytes.read = 10;
        report.bytes.written = 7;
        report.bytes.unsent = 3;
        report
    }

    #[test]
    fn the_level_of_the_verdict_is_that_of_the_exit_code() {
        let mut report = lossy();
        let levels = |report: &Report| -> Vec<Level> {
            to_lines(report, Grade::Lossless).into_iter().map(|(level, _)| level).collect()
        };
        assert_eq!(levels(&report), [Level::Info, Level::Info, Level::Warn]);
        report.cause = Some(Cause::PollFailed("gone".to_owned()));
        assert_eq!(levels(&report), [Level::Info, Level::Info, Level::Error]);
    }

    #[test]
    fn the_json_of_the_library_is_json() {
        let mut report = lossy();
        report.cause = Some(Cause::ListenerFailed("a \"b\\c\"\n\u{1}\u{e9}".to_owned()));
        let object: Value = serde_json::from_str(&report.to_json(Grade::Lossy)).expect("JSON");
        assert_eq!(object["cause"], "listener failed: a \"b\\c\"\n\u{1}\u{e9}");
        assert_eq!(object["bytes"]["unsent"], 3);
        assert_eq!(object["connections"]["half_open"], Value::Null);
    }
}
