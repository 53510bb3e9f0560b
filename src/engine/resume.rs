//! Connections that have something to do without an event: at an instant, or because somebody
//! asked.

use std::time::{Duration, Instant};

use super::core::{Engine, NO_HINT, SLICE};
use super::dialogue::Speaks;
use super::phase::Phase;
use super::stream::Stream;
use crate::protocol::ConnectionId;

/// A deadline in the past comes so much after the call that set it.
const LEAST_WAIT: Duration = Duration::from_millis(1);

impl<S: Stream, P: Speaks> Engine<S, P> {
    pub(crate) fn protocol(&self) -> &P {
        &self.table.shared.protocol
    }

    pub(crate) fn protocol_mut(&mut self) -> &mut P {
        &mut self.table.shared.protocol
    }

    /// Has the protocol resume a connection. Returns whether there is such a connection.
    pub(crate) fn resume(&mut self, id: ConnectionId, now: Instant) -> bool {
        self.set_clock(now);
        let Some(at) = self.table.find_spoken(id) else { return false };
        if self.stop.phase() == Phase::Finished {
            return false;
        }
        self.wake(at);
        true
    }

    fn wake(&mut self, at: u32) {
        if let Some(connection) = self.table.get_mut(at) {
            connection.wake();
            // A stop may end it only after a read.
            self.drive(at, NO_HINT, self.stop.phase() >= Phase::Draining);
        }
    }

    /// Keeps when the connection in a slot has something to do.
    pub(super) fn set_timer(&mut self, at: u32) {
        let protocol = &self.table.shared.protocol;
        let due = self.table.get(at).and_then(|connection| connection.deadline(protocol));
        let soonest = self.clock.now().and_then(|now| now.checked_add(LEAST_WAIT));
        let is_past = |due: &Instant| self.clock.now().is_some_and(|now| *due <= now);
        let due = if due.as_ref().is_some_and(is_past) { soonest } else { due };
        self.timers.set(at, due);
    }

    /// Resumes those whose deadlines have come, and those that the protocol names.
    pub(super) fn resume_due(&mut self) {
        let Some(now) = self.clock.now() else { return };
        for _ in 0..SLICE {
            let Some(at) = self.timers.pop_due(now) else { break };
            // What came before the deadline is delivered before.
            self.drive(at, NO_HINT, true);
            let protocol = &self.table.shared.protocol;
            let due = self.table.get(at).and_then(|connection| connection.deadline(protocol));
            if due.is_some_and(|due| due <= now) {
                self.wake(at);
            }
        }
        self.resume_named(now);
    }

    /// Resumes those that the protocol names: once, however often each is named.
    fn resume_named(&mut self, now: Instant) {
        let mut first = self.table.shared.protocol.poll_resume(now);
        self.more_resumes = first.is_some();
        if !self.more_resumes {
            return;
        }
        let mut named = [None; SLICE];
        for place in &mut named {
            let protocol = &mut self.table.shared.protocol;
            let Some(id) = first.take().or_else(|| protocol.poll_resume(now)) else {
                self.more_resumes = false;
                break;
            };
            let at = self.table.find_spoken(id).filter(|_| self.stop.phase() < Phase::Finished);
            let connection = at.and_then(|at| self.table.get_mut(at));
            let is_new = connection.is_some_and(|connection| !connection.wake());
            *place = at.filter(|_| is_new);
        }
        for at in named.into_iter().flatten() {
            self.drive(at, NO_HINT, self.stop.phase() >= Phase::Draining);
        }
    }
}
