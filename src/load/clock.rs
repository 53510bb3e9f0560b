//! Time as nanoseconds since the start of the run, so that a point in time takes 8 bytes.

use std::time::{Duration, Instant, SystemTime};

/// The start of the run; `Copy`, shared by all threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

/// No point in time: later than all others.
pub(super) const NEVER: u64 = u64::MAX;

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns what [`now`](Self::now) is at this time of day; 0 if that was before the start.
    pub(super) fn at(self, time: SystemTime) -> u64 {
        match time.duration_since(SystemTime::now()) {
            Ok(ahead) => self.now().saturating_add(nanos(ahead)),
            Err(behind) => self.now().saturating_sub(nanos(behind.duration())),
        }
    }

    /// Nanoseconds since the start; one clock call.
    pub(super) fn now(self) -> u64 {
        nanos(self.0.elapsed())
    }
}

/// A duration in nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// A non-negative number of nanoseconds, fractions dropped.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is the bound wanted here"
)]
pub(super) fn whole(nanos: f64) -> u64 {
    nanos as u64
}
