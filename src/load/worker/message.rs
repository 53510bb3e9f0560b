//! What a worker sends to the coordinator.

use super::Worker;
use crate::load::control::{Milestone, Phase, Step, WorkerMessage};
use crate::load::counts::Slice;

impl Worker {
    pub(super) fn send(&self, message: WorkerMessage) {
        if self.shared.coordinator.send((self.worker_plan.id, message)).is_err() {
            log::debug!("the coordinator of the load is gone");
        }
    }

    pub(super) fn reach(&mut self, milestone: Milestone) {
        if self.milestones.insert(milestone) {
            // The coordinator reads the gauges when it receives the message.
            self.gauges.publish(&self.counts, self.open);
            self.send(WorkerMessage::Reached(milestone));
        }
    }

    pub(super) fn send_step(&mut self, index: u64, measured: Slice, after: Slice) {
        let step = Step {
            index,
            measured,
            after,
            open: self.open,
            opened: self.counts.opened.saturating_sub(self.step_opened),
            lost: self.counts.lost.saturating_sub(self.step_lost),
            is_paused: std::mem::take(&mut self.step_paused),
        };
        (self.step_opened, self.step_lost) = (self.counts.opened, self.counts.lost);
        self.send(WorkerMessage::Step(Box::new(step)));
    }

    /// Reports what the coordinator waits for in this phase.
    pub(super) fn report_milestones(&mut self) {
        let idle = self.inflight == 0;
        match self.phase {
            Phase::Connecting => {
                if self.connector.is_idle() {
                    self.reach(Milestone::Connected);
                }
            }
            Phase::Warmup | Phase::Measuring | Phase::Auditing => {
                if self.ramp > 0 && self.ramp.is_multiple_of(2) && self.connector.is_idle() {
                    self.reach(Milestone::Connected);
                }
                if self.left == Some(0) && idle && self.phase == Phase::Measuring {
                    self.reach(Milestone::Spent);
                }
                if self.open == 0 && self.connector.is_idle() {
                    self.reach(Milestone::Empty);
                }
            }
            Phase::Settling => {
                if idle {
                    self.reach(Milestone::Settled);
                }
            }
            Phase::Closing => {
                if self.open == 0 {
                    self.reach(Milestone::Empty);
                }
            }
            Phase::Finished => {}
        }
    }
}
