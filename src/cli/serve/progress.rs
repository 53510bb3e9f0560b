//! The progress of a long stop: a line each second.

use std::time::{Duration, Instant};

use netgrace::{Phase, Stats};

/// The time between two lines; a stop that takes less has none.
const EVERY: Duration = Duration::from_secs(1);

/// What is remembered of a stop that has begun to drain.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    /// Connections that were closed before.
    closed: u64,
    due: Option<Instant>,
}

/// The progress of a stop.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: Option<Begun>,
}

impl Progress {
    /// Returns whether a server in this phase has progress to be logged.
    pub(crate) fn is_watched(phase: Phase) -> bool {
        matches!(phase, Phase::Draining | Phase::Forcing)
    }

    /// Returns when [`line`](Self::line) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.begun.and_then(|begun| begun.due)
    }

    /// Returns the line to log, if it is time for one.
    pub(crate) fn line(&mut self, stats: &Stats, now: Instant) -> Option<String> {
        if !Self::is_watched(stats.phase) {
            return None;
        }
        let due = now.checked_add(EVERY);
        let begin = || Begun { at: now, closed: stats.closed, due };
        let begun = self.begun.get_or_insert_with(begin);
        if begun.due.is_none_or(|due| due > now) {
            return None;
        }
        begun.due = due;
        let all = grouped(stats.accepted.saturating_sub(begun.closed));
        let done = grouped(stats.closed.saturating_sub(begun.closed));
        let seconds = now.saturating_duration_since(begun.at).as_secs();
        Some(format!("{} for {seconds} s: {done} of {all} connections closed", stats.phase))
    }
}

/// Returns a number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_each_second_of_a_drain_and_not_before() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut progress = Progress::default();
        let mut stats = Stats::default();
        (stats.accepted, stats.closed) = (1_000_007, 7);
        assert_eq!(progress.line(&stats, start), None);
        stats.phase = Phase::Draining;
        assert_eq!(progress.line(&stats, at(5_000)), None, "a drain that has just begun");
        assert_eq!(progress.next_deadline(), Some(at(6_000)));
        stats.closed = 400_007;
        assert_eq!(progress.line(&stats, at(5_999)), None);
        let line = progress.line(&stats, at(7_100)).expect("a line");
        assert_eq!(line, "draining for 2 s: 400 000 of 1 000 000 connections closed");
        assert_eq!(progress.line(&stats, at(8_000)), None);
        stats.phase = Phase::Forcing;
        let line = progress.line(&stats, at(8_100)).expect("a line");
        assert!(line.starts_with("forcing for 3 s: "), "{line}");
    }

    #[test]
    fn digits_stand_in_groups_of_three() {
        let groups = [0, 12, 999, 1_000, 45_678, 1_000_000].map(grouped);
        assert_eq!(groups, ["0", "12", "999", "1 000", "45 678", "1 000 000"]);
    }
}
