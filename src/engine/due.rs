//! What is due without an event: when, and each kind of it in slices.

use std::time::Instant;

use super::connection::Connection;
use super::deadline::{Limit, earlier};
use super::echo::Place;
use super::phase::Phase;
use super::report::CloseReason;
use super::stream::Stream;
use super::{Engine, LEAST_ROOM, UNTOLD};
use crate::config::Drain;

/// Connections that a drain visits, a deadline closes or force cuts in one turn.
const SLICE: usize = 256;
/// Connections pumped without an event in one turn.
const READY_SLICE: u32 = 1024;

impl<S: Stream> Engine<S> {
    /// When [`end_turn`](Self::end_turn) has something to do; not later than the latest `now`
    /// when it has so already.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let now = self.clock.now()?;
        if self.has_work(now) {
            return Some(now);
        }
        let lists = self.table.lists();
        let of_front = |place, limit| {
            let connection = self.table.get(lists.of(place).front()?)?;
            self.clock.deadline(connection.active(), limit)
        };
        let quiet = match (self.stop.phase(), self.settings.drain) {
            (Phase::Running | Phase::LameDuck, _) | (Phase::Draining, Drain::Peer) => {
                self.settings.idle_timeout
            }
            (Phase::Draining, Drain::Idle) => self.settings.idle_grace,
            (Phase::Draining, Drain::Flush) | (Phase::Forcing | Phase::Finished, _) => {
                Limit::new(None)
            }
        };
        let fronts = earlier(
            of_front(lists.aging(), quiet),
            of_front(Place::Lingering, self.settings.linger),
        );
        earlier(fronts, self.stop_deadline())
    }

    /// When time alone moves the stop on.
    pub(crate) fn stop_deadline(&self) -> Option<Instant> {
        self.stop.next_deadline(self.clock.now()?)
    }

    fn has_work(&self, now: Instant) -> bool {
        let lists = self.table.lists();
        let resumable = self.table.has_paused() && self.room() >= LEAST_ROOM;
        let due = match self.stop.phase() {
            Phase::Running | Phase::LameDuck | Phase::Finished => false,
            Phase::Draining => {
                !lists.of(lists.unvisited()).is_empty()
                    || (self.stop.is_impatient(now) && !self.hurried)
            }
            Phase::Forcing => true,
        };
        due || resumable || self.table.ready_len() > 0 || !lists.of(Place::Closed).is_empty()
    }

    /// The open connection that has been silent longest, if for `limit`.
    fn silent_for(&self, limit: Limit) -> Option<u32> {
        let lists = self.table.lists();
        let at = lists.of(lists.aging()).front()?;
        let connection = self.table.get(at)?;
        self.clock.is_past(connection.active(), limit).then_some(at)
    }

    /// Does `act` to connections that have been silent for `limit`. Looks before it judges: what
    /// a peer sent may be in the queue, its event not told yet.
    fn expire(&mut self, limit: Limit, act: fn(&mut Self, u32)) {
        for _ in 0..SLICE {
            let Some(at) = self.silent_for(limit) else {
                return;
            };
            self.drive(at, UNTOLD, true);
            if self.silent_for(limit) == Some(at) {
                act(self, at);
            }
        }
    }

    pub(super) fn expire_idle(&mut self) {
        self.expire(self.settings.idle_timeout, |engine, at| {
            if engine.table.get(at).is_some_and(Connection::owes_nothing) {
                engine.say_goodbye(at, CloseReason::IdleTimeout);
            } else {
                engine.close(at, CloseReason::IdleTimeout);
            }
        });
    }

    pub(super) fn drain(&mut self, now: Instant) {
        if self.stop.is_impatient(now) && !self.hurried {
            self.hurried = self.table.unvisit_all();
        }
        for _ in 0..SLICE {
            let lists = self.table.lists();
            let Some(at) = lists.of(lists.unvisited()).front() else {
                break;
            };
            self.table.put(at, lists.aging());
            self.drive(at, UNTOLD, true);
        }
        match self.settings.drain {
            Drain::Peer => self.expire_idle(),
            Drain::Flush => {}
            // The look closes those that are done; of the others only an event can say more.
            Drain::Idle => self.expire(self.settings.idle_grace, |engine, at| {
                engine.table.put(at, Place::Stuck);
            }),
        }
    }

    pub(super) fn expire_linger(&mut self) {
        for _ in 0..SLICE {
            let front = self.table.lists().of(Place::Lingering).front();
            let due = front.and_then(|at| {
                let connection = self.table.get(at)?;
                let past = self.clock.is_past(connection.active(), self.settings.linger);
                past.then_some((at, connection.lingers_for()?))
            });
            let Some((at, reason)) = due else {
                return;
            };
            // The peer's end may be in the queue, its event not told yet.
            self.drive(at, UNTOLD, true);
            self.close(at, reason);
        }
    }

    pub(super) fn force_slice(&mut self) {
        for _ in 0..SLICE {
            let lists = self.table.lists();
            let places = [lists.unvisited(), lists.aging(), Place::Stuck, Place::Lingering];
            let Some(at) = places.into_iter().find_map(|place| lists.of(place).front()) else {
                return;
            };
            self.force_one(at);
        }
    }

    pub(super) fn resume(&mut self) {
        for _ in 0..SLICE {
            if self.room() < LEAST_ROOM || !self.table.resume() {
                return;
            }
        }
    }

    pub(super) fn pump_ready(&mut self) {
        for _ in 0..self.table.ready_len().min(READY_SLICE) {
            let Some(at) = self.table.pop_ready() else {
                return;
            };
            self.drive(at, UNTOLD, true);
        }
    }
}
