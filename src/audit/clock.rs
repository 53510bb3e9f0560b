//! The clock of an audit, which stands still while the audit itself does.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

/// More time than this between two readings, beyond what was meant to be slept, was a pause of the
/// audit itself.
const STALL: u64 = 100_000_000;

/// Nanoseconds since the start of the audit, without its pauses. It never goes back.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// Real time of the last reading.
    last: Cell<u64>,
    /// How long may be slept until the next reading.
    sleep: Cell<u64>,
    /// All pauses.
    paused: Cell<u64>,
    /// The pauses that were taken note of.
    noted: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            last: Cell::new(0),
            sleep: Cell::new(0),
            paused: Cell::new(0),
            noted: 0,
        }
    }

    /// Returns the time of the audit.
    pub(super) fn now(&self) -> u64 {
        self.at(nanos(self.start.elapsed()))
    }

    fn at(&self, real: u64) -> u64 {
        let late = real.saturating_sub(self.last.get()).saturating_sub(self.sleep.take());
        self.last.set(real);
        if late >= STALL {
            self.paused.set(self.paused.get().saturating_add(late));
        }
        real.saturating_sub(self.paused.get())
    }

    /// Says that the audit sleeps for at most this long until the next reading.
    pub(super) fn sleep(&self, at_most: Duration) {
        self.sleep.set(nanos(at_most));
    }

    /// Lets the time since the last reading count, however long it was.
    pub(super) fn count(&self) {
        self.last.set(nanos(self.start.elapsed()));
    }

    /// Returns whether the audit has stood still since this was last asked.
    pub(super) fn take_pause(&mut self) -> bool {
        let noted = std::mem::replace(&mut self.noted, self.paused.get());
        noted != self.noted
    }

    /// Returns the sum of all pauses.
    pub(super) fn paused(&self) -> Duration {
        Duration::from_nanos(self.paused.get())
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
        assert_eq!(clock.at(15_000_000), 15_000_000);
        clock.sleep(sleep);
        assert_eq!(clock.at(120_000_000), 120_000_000);
        assert!(!clock.take_pause());
        clock.sleep(sleep);
        assert_eq!(clock.at(3_130_000_000), 130_000_000);
        assert!(clock.take_pause() && !clock.take_pause());
        // The allowance was for one sleep.
        assert_eq!(clock.at(3_240_000_000), 130_000_000);
        assert_eq!(clock.paused(), Duration::from_millis(3_110));
    }
}
