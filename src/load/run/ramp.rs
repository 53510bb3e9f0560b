//! The steps of a ramp: more connections, then a plateau.

use std::time::Duration;

use super::Run;
use crate::load::clock::nanos;
use crate::load::control::Milestone;
use crate::load::results::StepResults;

impl Run<'_> {
    /// Climbs all steps; returns when the last plateau ended.
    pub(super) fn climb(&mut self) -> u64 {
        let clock = self.control.clock;
        let steps = self.plan.steps.clone();
        let mut end = clock.now();
        for (number, requested) in (0_u64..).zip(steps) {
            let mut connect_elapsed = self.results.connect.elapsed;
            if number > 0 {
                connect_elapsed = self.open_more(number);
            }
            let requested = u64::try_from(requested).unwrap_or(u64::MAX);
            self.results.steps.push(StepResults { requested, ..StepResults::default() });
            let began = clock.now();
            self.set_ramp(number.saturating_mul(2).saturating_add(1));
            let deadline = began.saturating_add(nanos(self.plan.duration));
            end = self.wait_until(deadline, &[Milestone::Empty]);
            let connections = self.progress().open;
            if let Some(step) = self.results.steps.last_mut() {
                step.connections = connections;
                step.connect_elapsed = connect_elapsed;
                step.elapsed = Duration::from_nanos(end.saturating_sub(began));
            }
            if self.results.interrupted || connections == 0 {
                break;
            }
        }
        // The workers hand in the last plateau when they are asked to climb on.
        let position = self.control.ramp().saturating_add(1);
        self.set_ramp(position);
        end
    }

    /// Has the workers open the connections of this step; returns how long that took.
    fn open_more(&mut self, step: u64) -> Duration {
        let began = self.control.clock.now();
        for reached in &mut self.reached {
            reached.remove(Milestone::Connected);
        }
        self.set_ramp(step.saturating_mul(2));
        let end = self.wait_until(u64::MAX, &[Milestone::Connected, Milestone::Empty]);
        Duration::from_nanos(end.saturating_sub(began))
    }

    fn set_ramp(&mut self, position: u64) {
        self.control.set_ramp(position);
        self.wake();
    }
}
