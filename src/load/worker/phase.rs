//! What a worker does when the run enters a phase, or a step of a ramp.

use super::schedule::{Churn, Schedule};
use super::{Milestones, Worker};
use crate::load::clock::{NEVER, nanos};
use crate::load::control::{Phase, WorkerMessage};

impl Worker {
    pub(super) fn enter(&mut self, phase: Phase, now: u64) {
        let since = self.shared.control.since();
        self.phase = phase;
        self.milestones = Milestones::default();
        match phase {
            Phase::Connecting => {}
            Phase::Warmup => self.begin_load(since, now),
            Phase::Measuring => {
                // An exact number of messages is counted from where this worker begins to count.
                self.counts.measure_from = if self.left.is_some() { now } else { since };
                self.counts.measure_to = self.shared.control.planned_end();
                let reconnect = self.shared.plan.reconnect_after.map(nanos);
                self.reconnect_at = reconnect.map_or(NEVER, |after| since.saturating_add(after));
                self.step_at = since.saturating_add(nanos(self.shared.plan.interval));
                (self.step_opened, self.step_lost) = (self.counts.opened, self.counts.lost);
                // The schedule begins anew: so many messages are due in the measured time as the
                // rate says, wherever in a gap the warm-up ended, and none from before it.
                if self.schedule.take().is_some() {
                    self.forget_due();
                }
                self.begin_load(since, now);
            }
            Phase::Auditing => {
                self.end_measuring(since);
                self.connector.clear();
                self.mark_all();
                let leave = self.shared.plan.leave_after.map(nanos);
                self.leave_at = leave.map_or(NEVER, |leave| since.saturating_add(leave));
            }
            Phase::Settling => self.end_load(since, now),
            Phase::Closing => {
                self.end_load(since, now);
                self.close_all(now);
            }
            Phase::Finished => {
                self.end_load(since, now);
                self.abandon_all(now);
            }
        }
    }

    /// The load begins, unless it has already.
    fn begin_load(&mut self, since: u64, now: u64) {
        if self.schedule.is_none() {
            self.schedule = self.schedule_from(since);
        }
        if self.shared.plan.churn > 0.0 {
            let churn = self.shared.plan.churn;
            self.churn.get_or_insert_with(|| Churn::new(churn, &self.worker_plan, since));
        }
        for key in 0..self.active {
            self.feed(key, now);
        }
    }

    /// The measured time ends, unless it already has.
    fn end_measuring(&mut self, since: u64) {
        if std::mem::replace(&mut self.is_measured, true) {
            return;
        }
        self.counts.measure_to = self.counts.measure_to.min(since);
        self.reconnect_at = NEVER;
        self.count_unsent();
    }

    /// The load ends, unless it already has: no new message, no new connection.
    fn end_load(&mut self, since: u64, now: u64) {
        self.end_measuring(since);
        if self.step_at != NEVER {
            self.steps_due(since);
            self.step_at = NEVER;
            let (measured, after) = self.counts.take_slices();
            self.send_step(self.step, measured, after);
        }
        self.drop_unconnected(now);
    }

    /// Returns the schedule of the connections that send now, beginning at `since`.
    fn schedule_from(&self, since: u64) -> Option<Schedule> {
        let plan = &self.shared.plan;
        let all = match self.worker_plan.steps.is_empty() {
            true => plan.connections,
            false => plan.steps.get(self.ramp_step()).copied().unwrap_or(plan.connections),
        };
        let active = plan.active_of(all);
        let rate = plan.rate_of(active)?;
        // Every connection sends as often as the others, on whatever thread it is.
        let own = rate * self.active as f64 / active.max(1) as f64;
        let part = plan.part.index as f64 / plan.part.of as f64;
        let stagger = (self.worker_plan.id as f64 + part) / rate;
        (own > 0.0).then(|| Schedule::new(own, stagger, self.active, since))
    }

    /// The step of the ramp that has begun.
    fn ramp_step(&self) -> usize {
        usize::try_from(self.ramp / 2).unwrap_or(usize::MAX)
    }

    /// Follows the coordinator to the next position of the ramp.
    pub(super) fn climb(&mut self, now: u64) {
        let ramp = self.shared.control.ramp();
        if ramp == self.ramp {
            return;
        }
        if let Some(slice) = self.counts.end_plateau() {
            self.send(WorkerMessage::Plateau(self.ramp_step(), Box::new(slice)));
        }
        self.ramp = ramp;
        if ramp % 2 == 1 {
            self.counts.begin_plateau(now);
            return;
        }
        let step = self.ramp_step();
        let opened = self.worker_plan.steps.get(step).copied().unwrap_or(self.opened_slots);
        for key in self.opened_slots..opened {
            self.connector.enqueue(key);
        }
        self.opened_slots = self.opened_slots.max(opened);
        self.active = self.worker_plan.active.min(self.opened_slots);
        self.milestones = Milestones::default();
        self.renew_schedule(now);
    }

    /// Has the connections that send now share the rate.
    fn renew_schedule(&mut self, now: u64) {
        if self.schedule.is_none() {
            return;
        }
        self.count_unsent();
        self.forget_due();
        self.schedule = self.schedule_from(now);
    }

    fn count_unsent(&mut self) {
        for (_, slot) in &self.slots {
            let unsent = slot.due.saturating_sub(slot.taken);
            self.counts.unsent_messages = self.counts.unsent_messages.saturating_add(unsent);
        }
    }

    /// Drops what is due and was not begun.
    fn forget_due(&mut self) {
        for (_, slot) in &mut self.slots {
            (slot.due, slot.taken) = (0, 0);
        }
    }

    /// The audit begins: what has been handed over by now must come back.
    fn mark_all(&mut self) {
        for key in 0..self.worker_plan.slots {
            self.mark(key);
        }
    }

    /// Marks a connection, unless that has been done: first thing when it writes or ends, since
    /// the server may have been told to stop in the middle of our turn.
    pub(super) fn mark(&mut self, key: usize) {
        if self.shared.control.phase() != Phase::Auditing {
            return;
        }
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.is_connected() && slot.mark.is_none() {
            slot.mark = Some(slot.sent);
            slot.skipped = 0;
            self.counts.audit.connections = self.counts.audit.connections.saturating_add(1);
        }
    }
}
