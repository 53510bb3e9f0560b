//! The clock of an audit, which stands still while the audit itself does.

use std::time::Duration;
use std::time::Instant;

/// A turn that takes so much longer than it was meant to was a pause of the audit itself.
const STALL: u64 = 100_000_000;

/// Nanoseconds since the start of the audit, without its pauses.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// Real time at the end of the last turn.
    last: u64,
    /// All pauses.
    paused: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), last: 0, paused: 0 }
    }

    /// Returns the time of the audit.
    pub(super) fn now(&self) -> u64 {
        nanos(self.start.elapsed()).saturating_sub(self.paused)
    }

    /// Ends a turn that was meant to sleep for at most `sleep`; returns how long the audit stood
    /// still, zero if it did not.
    pub(super) fn end_turn(&mut self, sleep: Duration) -> u64 {
        let now = nanos(self.start.elapsed());
        self.turn_ended_at(now, sleep)
    }

    fn turn_ended_at(&mut self, now: u64, sleep: Duration) -> u64 {
        let late = now.saturating_sub(self.last).saturating_sub(nanos(sleep));
        self.last = now;
        if late < STALL {
            return 0;
        }
        self.paused = self.paused.saturating_add(late);
        late
    }

    /// Starts a turn afresh: what went before was not a turn.
    pub(super) fn skip(&mut self) {
        self.last = nanos(self.start.elapsed());
    }

    /// Returns the sum of all pauses.
    pub(super) fn paused(&self) -> Duration {
        Duration::from_nanos(self.paused)
    }
}

/// A duration in nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stall_is_a_pause() {
        let mut clock = Clock::start();
        let sleep = Duration::from_millis(10);
        assert_eq!(clock.turn_ended_at(15_000_000, sleep), 0);
        assert_eq!(clock.turn_ended_at(100_000_000, sleep), 0);
        assert_eq!(clock.turn_ended_at(3_110_000_000, sleep), 3_000_000_000);
        assert_eq!(clock.paused(), Duration::from_secs(3));
    }
}
