//! Constant schedules: when messages are due, and when connections are opened anew.

use crate::load::clock::whole;
use crate::load::worker::part::WorkerPlan;

const SECOND: f64 = 1_000_000_000.0;

/// When this worker's messages are due. They go to its active slots in turn, so the time of a
/// slot's n-th message follows from the two numbers and is not stored.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: f64,
    /// Nanoseconds between two messages of this worker.
    gap: f64,
    active: u64,
    next: u64,
}

impl Schedule {
    /// `rate` messages per second for the first `active` slots, the first of them `stagger`
    /// seconds after `start`.
    pub(super) fn new(rate: f64, stagger: f64, active: usize, start: u64) -> Self {
        let active = u64::try_from(active).unwrap_or(1).max(1);
        Self { start: start as f64 + SECOND * stagger, gap: SECOND / rate, active, next: 0 }
    }

    fn time(&self, index: u64) -> u64 {
        whole(self.start + self.gap * index as f64)
    }

    pub(super) fn next_due(&self) -> u64 {
        self.time(self.next)
    }

    /// Takes the next message if it is due by `now` and before `end`; returns the slot that is to
    /// send it.
    pub(super) fn take_due(&mut self, now: u64, end: u64) -> Option<usize> {
        if self.next_due() > now || self.next_due() >= end {
            return None;
        }
        let slot = self.next.checked_rem(self.active)?;
        self.next = self.next.saturating_add(1);
        usize::try_from(slot).ok()
    }

    /// When the slot's message number `ordinal` is due.
    pub(super) fn time_of(&self, slot: usize, ordinal: u64) -> u64 {
        let slot = u64::try_from(slot).unwrap_or(0);
        self.time(ordinal.saturating_mul(self.active).saturating_add(slot))
    }
}

/// When connections are closed and opened anew.
#[derive(Clone, Debug)]
pub(super) struct Churn {
    start: f64,
    gap: f64,
    next: u64,
    /// The slot to look at first.
    cursor: usize,
}

impl Churn {
    pub(super) fn new(rate: f64, worker_plan: &WorkerPlan, start: u64) -> Self {
        Self {
            start: start as f64,
            gap: SECOND / rate * worker_plan.threads as f64,
            next: 1,
            cursor: 0,
        }
    }

    pub(super) fn next_due(&self) -> u64 {
        whole(self.start + self.gap * self.next as f64)
    }

    /// Takes the next turn if it is due; returns the slot to look at first.
    pub(super) fn take_due(&mut self, now: u64) -> Option<usize> {
        if self.next_due() > now {
            return None;
        }
        self.next = self.next.saturating_add(1);
        Some(self.cursor)
    }

    pub(super) fn advance(&mut self, cursor: usize) {
        self.cursor = cursor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::clock::NEVER;

    #[test]
    fn two_workers_share_one_rate() {
        let mut first = Schedule::new(500.0, 0.0, 3, 5_000_000);
        let second = Schedule::new(500.0, 0.001, 3, 5_000_000);
        assert_eq!((first.next_due(), second.next_due()), (5_000_000, 6_000_000));
        assert_eq!(first.take_due(4_999_999, NEVER), None);
        assert_eq!(first.take_due(5_000_000, 5_000_000), None, "due at the very end");
        assert_eq!(first.take_due(5_000_000, NEVER), Some(0));
        assert_eq!(first.next_due(), 7_000_000);
        assert_eq!(first.take_due(7_000_000, NEVER), Some(1));
    }

    #[test]
    fn the_time_of_a_slots_message_follows_from_its_number() {
        let mut schedule = Schedule::new(500.0, 0.0, 3, 0);
        let mut ordinals = [0_u64; 3];
        for _ in 0..10 {
            let due = schedule.next_due();
            let slot = schedule.take_due(due, NEVER).unwrap();
            assert_eq!(schedule.time_of(slot, ordinals[slot]), due);
            ordinals[slot] += 1;
        }
    }
}
