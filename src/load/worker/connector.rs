//! Which slots are to be connected, and when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::load::clock::{NEVER, whole};
use crate::load::plan::Plan;
use crate::load::worker::part::WorkerPlan;

/// The longest delay of paced connects that is made up for, in nanoseconds.
const CATCH_UP: u64 = 10_000_000;

/// The slots that are to be connected, and when.
#[derive(Debug)]
pub(super) struct Connector {
    queue: VecDeque<usize>,
    /// Slots that are to be tried again: when, and which.
    retries: BinaryHeap<Reverse<(u64, usize)>>,
    inflight: usize,
    inflight_max: usize,
    /// Nanoseconds between two connects, and when the next one may be made.
    gap: u64,
    next_at: u64,
    /// The number of the next connect among those of all workers.
    number: u64,
    stride: u64,
}

impl Connector {
    pub(super) fn new(plan: &Plan, worker_plan: &WorkerPlan) -> Self {
        let threads = worker_plan.threads.max(1);
        let inflight_max = plan.connect_inflight.checked_div(threads).unwrap_or(1).max(1);
        let gap = plan.connect_rate.map_or(0.0, |rate| 1e9 / rate * threads as f64);
        Self {
            queue: VecDeque::with_capacity(worker_plan.slots),
            retries: BinaryHeap::new(),
            inflight: 0,
            inflight_max,
            gap: whole(gap),
            next_at: 0,
            number: u64::try_from(worker_plan.id).unwrap_or(0),
            stride: u64::try_from(threads).unwrap_or(1),
        }
    }

    pub(super) fn enqueue(&mut self, key: usize) {
        self.queue.push_back(key);
    }

    pub(super) fn retry(&mut self, key: usize, at: u64) {
        self.retries.push(Reverse((at, key)));
    }

    /// Returns whether no slot is being connected or waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.inflight == 0 && self.queue.is_empty() && self.retries.is_empty()
    }

    pub(super) fn next_due(&self) -> u64 {
        if self.inflight >= self.inflight_max {
            return NEVER;
        }
        if !self.queue.is_empty() {
            return self.next_at;
        }
        self.retries.peek().map_or(NEVER, |Reverse((at, _))| (*at).max(self.next_at))
    }

    /// The next slot to connect, if one may be now.
    pub(super) fn take_due(&mut self, now: u64) -> Option<usize> {
        if self.next_due() > now {
            return None;
        }
        let key = self.queue.pop_front().or_else(|| {
            let Reverse((_, key)) = self.retries.pop()?;
            Some(key)
        })?;
        // What the coarse sleep of the poll delayed is made up for, a longer pause is not.
        let earliest = now.saturating_sub(self.gap.max(CATCH_UP));
        self.next_at = self.next_at.max(earliest).saturating_add(self.gap);
        self.inflight = self.inflight.saturating_add(1);
        Some(key)
    }

    pub(super) fn release(&mut self) {
        self.inflight = self.inflight.saturating_sub(1);
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.retries.clear();
    }

    /// The number of the next connect among those of all threads.
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.number;
        self.number = number.saturating_add(self.stride);
        number
    }
}
