//! What a worker tells the coordinator.

use super::Worker;
use crate::load::{
    control::{Note, Phase, Step},
    tally::Slice,
};

impl Worker {
    pub(super) fn tell(&self, note: Note) {
        if self.shared.notes.send((self.share.id, note)).is_err() {
            log::debug!("the coordinator of the load is gone");
        }
    }

    fn tell_once(&mut self, name: &'static str, note: Note) {
        if !self.noted.contains(&name) {
            self.noted.push(name);
            // Whoever hears the note looks at the gauges next.
            self.gauges.publish(&self.tally, self.open);
            self.tell(note);
        }
    }

    pub(super) fn tell_step(&mut self, index: u64, measured: Slice, after: Slice) {
        let step = Step {
            index,
            measured,
            after,
            open: self.open,
            opened: self.tally.opened.saturating_sub(self.step_opened),
            lost: self.tally.lost.saturating_sub(self.step_lost),
        };
        (self.step_opened, self.step_lost) = (self.tally.opened, self.tally.lost);
        self.tell(Note::Step(Box::new(step)));
    }

    /// Reports what the coordinator waits for in this phase.
    pub(super) fn tell_state(&mut self) {
        let idle = self.inflight == 0;
        match self.phase {
            Phase::Connecting => {
                if self.connector.is_idle() {
                    self.tell_once("connected", Note::Connected);
                }
            }
            Phase::Warmup | Phase::Measuring | Phase::Auditing => {
                if self.left == Some(0) && idle && self.phase == Phase::Measuring {
                    self.tell_once("spent", Note::Spent);
                }
                if self.open == 0 && self.connector.is_idle() {
                    self.tell_once("empty", Note::Empty);
                }
            }
            Phase::Settling => {
                if idle {
                    self.tell_once("settled", Note::Settled);
                }
            }
            Phase::Closing => {
                if self.open == 0 {
                    self.tell_once("empty", Note::Empty);
                }
            }
            Phase::Finished => {}
        }
    }
}
