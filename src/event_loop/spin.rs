//! How long a loop polls without sleeping after an event.

use std::time::{Duration, Instant};

use crate::engine::phase::Phase;

/// While draining: the peers' FINs come one by one, and each would wake a loop that sleeps, which
/// costs the sender of the FIN more than the FIN itself.
const DRAINING: Duration = Duration::from_millis(1);
/// What a stop may spend on that in all.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// Polling without sleep.
#[derive(Debug)]
pub(super) struct Spin {
    /// As configured, for the whole life of the loop.
    always: Option<Duration>,
    /// What is left of the allowance of the stop.
    allowance: Duration,
    /// When the last event came, until the time after it is over.
    last_event: Option<Instant>,
}

impl Spin {
    pub(super) fn new(always: Option<Duration>) -> Self {
        let always = always.filter(|time| !time.is_zero());
        Self { always, allowance: ALLOWANCE, last_event: None }
    }

    /// Notes a turn with events.
    pub(super) fn on_event(&mut self, now: Instant) {
        self.last_event = Some(now);
    }

    /// Returns the last event and the time after it in which the loop is not to sleep.
    pub(super) fn begin(&self, phase: Phase) -> Option<(Instant, Duration)> {
        let extra = (phase == Phase::Draining).then_some(DRAINING.min(self.allowance));
        let time = self.always.max(extra).filter(|time| !time.is_zero());
        Some((self.last_event?, time?))
    }

    /// Notes that the loop polled for so long; `over`: it is to sleep now.
    pub(super) fn end(&mut self, spent: Duration, phase: Phase, over: bool) {
        if phase == Phase::Draining && self.always < Some(DRAINING) {
            self.allowance = self.allowance.saturating_sub(spent);
        }
        if over {
            self.last_event = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_drain_polls_unasked_and_only_for_its_allowance() {
        let now = Instant::now();
        let mut spin = Spin::new(Some(Duration::ZERO));
        assert_eq!(spin.begin(Phase::Draining), None, "there was no event");
        spin.on_event(now);
        for phase in [Phase::Running, Phase::LameDuck, Phase::Forcing] {
            assert_eq!(spin.begin(phase), None);
        }
        let mut spent = Duration::ZERO;
        while let Some((last, time)) = spin.begin(Phase::Draining) {
            assert_eq!(last, now);
            assert!(time <= DRAINING);
            spin.end(time, Phase::Draining, true);
            assert_eq!(spin.begin(Phase::Draining), None, "it was over");
            spin.on_event(now);
            spent += time;
        }
        assert_eq!(spent, ALLOWANCE);
    }

    #[test]
    fn what_is_configured_has_no_end() {
        let mut spin = Spin::new(Some(Duration::from_secs(1)));
        spin.on_event(Instant::now());
        for phase in [Phase::Running, Phase::Draining] {
            spin.end(Duration::from_secs(1), phase, false);
            assert_eq!(spin.begin(phase).map(|(_, time)| time), Some(Duration::from_secs(1)));
        }
    }
}
