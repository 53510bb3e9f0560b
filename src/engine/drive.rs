//! How a connection is driven: by an event, or without one when a bound cut the work short.

use super::connection::{Connection, Stage};
use super::core::{CONNECTION_BUDGET, Engine, NO_HINT, SLICE, SLOTS};
use super::dialogue::{Flow, IoLimits, LEAST_ROOM, Pursuit, Speaks};
use super::phase::Phase;
use super::stream::Stream;
use crate::config::Drain;
use crate::token::Readiness;

/// Connections pumped without an event in one turn.
const READY_SLICE: u32 = 1024;

impl<S: Stream, P: Speaks> Engine<S, P> {
    /// Bytes that may be held in addition.
    pub(super) fn room(&self) -> usize {
        let held = usize::try_from(self.table.report.bytes.held()).unwrap_or(usize::MAX);
        self.settings.max_held.saturating_sub(held)
    }

    /// Runs one connection and does what comes of it.
    pub(super) fn drive(&mut self, at: u32, ready: Readiness, probe: bool) {
        self.run(at, ready, probe);
        if P::HAS_CALLS {
            self.set_timer(at);
        }
    }

    fn run(&mut self, at: u32, ready: Readiness, probe: bool) {
        let phase = self.stop.phase();
        if phase == Phase::Draining && self.is_unvisited(at) {
            self.visit(at);
        }
        let room = self.room();
        let mark = self.clock.mark();
        let segment = self.visits.get(at).segment();
        let limits = IoLimits { budget: CONNECTION_BUDGET, room, segment };
        let Some((connection, mut io)) = self.io(at, limits) else { return };
        let before = connection.active();
        let was_held_back = phase > Phase::Running && connection.is_held_back();
        // With a call to be made it may have been receiving.
        let was_receiving = phase > Phase::Running && connection.pursuit() != Pursuit::Idle;
        let flow = connection.pump(ready, probe, &mut io);
        let released = was_held_back && !connection.is_held_back();
        let is_calm = (was_held_back || was_receiving)
            && !connection.is_held_back()
            && !connection.is_receiving();
        if released {
            connection.touch(mark);
        }
        let active = connection.active();
        if phase >= Phase::Draining
            && (was_held_back || connection.is_held_back())
            && let Some(visit) = self.visits.get_mut(at)
        {
            visit.hold_back(self.clock.tick());
        }
        match flow {
            Flow::Wait => {}
            Flow::Again => self.table.make_ready(at),
            Flow::Pause => self.table.pause(at),
            Flow::Ended => return self.conclude(at),
            Flow::Finish(reason) => return self.send_fin(at, reason),
            Flow::Close(reason) => return self.break_off(at, reason),
        }
        // After our FIN nothing counts as a sign of life.
        let is_ordered = phase < Phase::Draining
            || (phase == Phase::Draining && self.settings.drain == Drain::Peer);
        if is_ordered && !before.same_span(active, self.settings.span_bits) {
            self.table.put(at, self.table.lists().aging());
        }
        if phase == Phase::Draining {
            self.settle(at);
            if released || is_calm {
                self.reschedule(at);
            }
        }
    }

    fn is_unvisited(&self, at: u32) -> bool {
        let is_open = self.table.get(at).is_some_and(|it| it.stage() == Stage::Open);
        is_open && !self.visits.get(at).is_visited()
    }

    /// Visits an open connection, and reads from it. One that was read dry before is left alone
    /// until its quiet time has passed: it is read then in any case, and what comes until then is
    /// an event.
    pub(super) fn meet(&mut self, at: u32) {
        if !P::HAS_CALLS && self.table.get(at).is_some_and(Connection::is_dry) {
            self.visit(at);
            let now = self.clock.tick();
            let is_timed = self.table.get(at).is_some_and(|it| it.place().is_timed());
            if is_timed && self.look_at(at).is_after(now) {
                return;
            }
        }
        self.drive(at, NO_HINT, true);
    }

    /// Visits those that wait on the timer wheel for the end of their idle time, which may lie far
    /// beyond their end.
    pub(super) fn visit_timed(&mut self) {
        let end = u32::try_from(self.table.slots()).unwrap_or(u32::MAX);
        let (mut visited, last) = (0, end.min(self.drained.saturating_add(SLOTS)));
        while self.drained < last && visited < SLICE {
            let at = self.drained;
            self.drained = at.saturating_add(1);
            let Some(connection) = self.table.get(at) else { continue };
            let waits = connection.place() != self.table.lists().unvisited();
            let is_open = connection.stage() == Stage::Open;
            if waits && is_open && !self.visits.get(at).is_visited() {
                self.drive(at, NO_HINT, true);
                visited = visited.saturating_add(1);
            }
        }
    }

    /// Whether the drain has not passed every slot yet.
    pub(super) fn has_unseen(&self) -> bool {
        (self.drained as usize) < self.table.slots()
    }

    /// Ends pauses as far as there is room, the longest first.
    pub(super) fn end_pauses(&mut self) {
        for _ in 0..SLICE {
            if self.room() < LEAST_ROOM {
                return;
            }
            let Some(at) = self.table.resume(self.clock.mark()) else { return };
            if let Some(visit) = self.visits.get_mut(at) {
                visit.hold_back(self.clock.tick());
            }
            if self.stop.phase() == Phase::Draining {
                self.reschedule(at);
            }
        }
    }

    /// Drives those whose work a bound cut short.
    pub(super) fn pump_ready(&mut self) {
        for _ in 0..self.table.ready_len().min(READY_SLICE) {
            let Some(at) = self.table.pop_ready() else {
                return;
            };
            self.drive(at, NO_HINT, true);
        }
    }
}
