//! Signs of full queues in the kernel's counters, sampled when clients are accepted, at most once
//! a second.

use std::time::{Duration, Instant};

use crate::accept::pair::Pressure;

/// Samples are taken at most once in this time while the server runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time within which a client may answer a SYN cookie.
const COOKIES: Duration = Duration::from_secs(2);
/// The time for which a client whose final ACK was dropped may take itself for connected.
const OVERFLOWS: Duration = Duration::from_secs(10);

/// What the kernel's counters show of the time before a stop.
///
/// An increase between two samples is dated by the later one, because its exact time is unknown.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    sample: Option<(Instant, Pressure)>,
    cookies: Option<Instant>,
    overflows: Option<Instant>,
    /// The counters could not be read.
    is_blind: bool,
}

impl Gauge {
    /// Returns whether a sample is wanted.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let age = self.sample.map(|(at, _)| now.saturating_duration_since(at));
        !self.is_blind && age.is_none_or(|age| age >= INTERVAL)
    }

    /// Takes a sample.
    pub(crate) fn add(&mut self, pressure: Option<Pressure>, now: Instant) {
        let Some(pressure) = pressure else {
            self.is_blind = true;
            return;
        };
        if let Some((_, before)) = self.sample.replace((now, pressure)) {
            if pressure.cookies != before.cookies {
                self.cookies = Some(now);
            }
            if pressure.overflows != before.overflows {
                self.overflows = Some(now);
            }
        }
    }

    /// Returns whether clients may have SYN cookies that they have not answered.
    pub(crate) fn has_cookies(&self, now: Instant) -> bool {
        self.is_blind || is_recent(self.cookies, now, COOKIES)
    }

    /// Returns whether the final ACK of a handshake may have been dropped.
    pub(crate) fn has_overflows(&self, now: Instant) -> bool {
        self.is_blind || is_recent(self.overflows, now, OVERFLOWS)
    }
}

fn is_recent(event: Option<Instant>, now: Instant, window: Duration) -> bool {
    event.is_some_and(|at| now.saturating_duration_since(at) < window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_remembered_for_its_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let counted = |cookies, overflows| Some(Pressure { cookies, overflows });
        let mut gauge = Gauge::default();
        assert!(gauge.is_due(start));
        gauge.add(counted(5, 5), start);
        assert!(!gauge.is_due(at(999)) && gauge.is_due(at(1000)));
        assert!(!gauge.has_cookies(start) && !gauge.has_overflows(start), "from before our time");
        gauge.add(counted(6, 5), at(1000));
        assert!(gauge.has_cookies(at(2999)) && !gauge.has_cookies(at(3000)));
        assert!(!gauge.has_overflows(at(1000)));
        gauge.add(counted(6, 6), at(5000));
        assert!(gauge.has_overflows(at(14_999)) && !gauge.has_overflows(at(15_000)));
        assert!(!gauge.has_cookies(at(5000)));
        gauge.add(None, at(20_000));
        assert!(gauge.has_cookies(at(90_000)) && gauge.has_overflows(at(90_000)));
        assert!(!gauge.is_due(at(90_000)), "what cannot be read is not tried again and again");
    }
}
