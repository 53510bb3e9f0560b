//! The time series: puts the workers' steps together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::{NEVER, nanos};
use super::control::Step;
use super::counts::Slice;
use super::results::Interval;

/// A last step shorter than this part of the others is added to the one before it.
const SHORTEST_PART: u64 = 50;

#[derive(Debug)]
struct Partial {
    parts: usize,
    interval: Interval,
}

/// Collects steps, and the totals of the measured time.
#[derive(Debug)]
pub(super) struct Series {
    length: u64,
    workers: usize,
    start: Option<u64>,
    end: u64,
    signal: Option<u64>,
    partial: BTreeMap<u64, Partial>,
    totals: Slice,
}

impl Series {
    pub(super) fn new(length: Duration, workers: usize, with_service: bool) -> Self {
        Self {
            length: nanos(length).max(1),
            workers,
            start: None,
            end: NEVER,
            signal: None,
            partial: BTreeMap::new(),
            totals: Slice::new(with_service),
        }
    }

    /// The measured time began at `now`.
    pub(super) fn begin(&mut self, now: u64) {
        self.start = Some(now);
    }

    /// The load ended at `now`; a later call is ignored.
    pub(super) fn end(&mut self, now: u64) {
        self.end = self.end.min(now);
    }

    /// The server was told to stop at `now`.
    pub(super) fn stopped(&mut self, now: u64) {
        self.signal = Some(now);
    }

    pub(super) fn start(&self) -> Option<u64> {
        self.start
    }

    pub(super) fn signal(&self) -> Option<u64> {
        self.signal
    }

    pub(super) fn take_totals(&mut self) -> Slice {
        std::mem::replace(&mut self.totals, Slice::new(false))
    }

    /// Adds a worker's step; returns the interval that it completes.
    pub(super) fn add(&mut self, step: Step) -> Option<Interval> {
        self.totals.merge(&step.measured);
        if step.index == NEVER {
            return None;
        }
        let partial = self
            .partial
            .entry(step.index)
            .or_insert_with(|| Partial { parts: 0, interval: Interval::default() });
        partial.parts = partial.parts.saturating_add(1);
        let interval = &mut partial.interval;
        for slice in [&step.measured, &step.after] {
            interval.messages = interval.messages.saturating_add(slice.messages);
            interval.bytes = interval.bytes.saturating_add(slice.bytes);
            interval.latency.merge(&slice.latency);
        }
        interval.connections = interval.connections.saturating_add(step.open);
        interval.opened = interval.opened.saturating_add(step.opened);
        interval.errors = interval.errors.saturating_add(step.lost);
        interval.paused |= step.is_paused;
        if partial.parts < self.workers {
            return None;
        }
        let mut interval = self.partial.remove(&step.index)?.interval;
        let began = step.index.saturating_mul(self.length);
        let end = self.end.saturating_sub(self.start?);
        let at = began.saturating_add(self.length).min(end);
        let length = at.saturating_sub(began);
        if length < self.length.checked_div(SHORTEST_PART)? {
            return None;
        }
        interval.at = Duration::from_nanos(at);
        interval.length = Duration::from_nanos(length);
        interval.stopping =
            self.signal.is_some_and(|signal| signal.saturating_sub(self.start.unwrap_or(0)) < at);
        Some(interval)
    }
}
