//! All decisions of a server: connections, their table, the stop and its account.
//!
//! The engine knows no socket, no clock and no registry. Streams are a parameter and the time is
//! an argument, so that a whole life can be replayed in memory.

pub(crate) mod buffer;
pub(crate) mod call;
mod closing;
pub(crate) mod connection;
mod core;
pub(crate) mod deadline;
pub(crate) mod dialogue;
mod done;
mod drive;
mod due;
pub(crate) mod echo;
mod linger;
pub(crate) mod list;
pub(crate) mod lists;
pub(crate) mod observer;
pub(crate) mod phase;
pub(crate) mod pipe;
pub(crate) mod quota;
pub(crate) mod report;
mod requests;
mod resume;
pub(crate) mod settings;
mod speaker;
pub(crate) mod status;
mod stop;
pub(crate) mod stream;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod timer;
mod visit;

use log::info;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::closing::Proof;
use self::connection::Connection;
pub(crate) use self::core::Engine;
use self::core::NO_HINT;
use self::dialogue::Speaks;
use self::observer::ConnectionId;
use self::phase::{Cause, Phase};
use self::report::{CloseReason, Report, Stats};
use self::stream::Stream;
use crate::token::Readiness;

impl<S: Stream, P: Speaks> Engine<S, P> {
    /// Moves the clock to `now`. Returns that instant, or the latest one given before.
    pub(crate) fn advance_clock(&mut self, now: Instant) -> Instant {
        self.set_clock(now)
    }

    /// The owner to insert a connection from `peer` under; `None` if the observer refuses it or
    /// its address has as many connections as it may have.
    pub(crate) fn reserve_share(&mut self, peer: Option<SocketAddr>) -> Option<u32> {
        let mut observers = self.table.observer.iter_mut();
        if observers.any(|observer| !observer.accepts(peer)) {
            return None;
        }
        self.table.quota.reserve(peer.map(|peer| peer.ip()))
    }

    /// Gives an owner's share back that no connection took.
    pub(crate) fn release(&mut self, owner: u32) {
        self.table.quota.release(owner);
    }

    /// Takes a new connection into the vacant slot. Returns its number.
    pub(crate) fn insert(
        &mut self,
        stream: S,
        peer: Option<SocketAddr>,
        owner: u32,
        now: Instant,
    ) -> Option<u64> {
        self.set_clock(now);
        let lists = self.table.lists();
        let draining = self.stop.phase() >= Phase::Draining;
        let place = if draining { lists.unvisited() } else { lists.aging() };
        let at = self.table.vacant()?;
        self.visits.forget(at);
        let moment = (self.stop.phase(), self.clock.now().unwrap_or(now));
        let number = self.table.insert(stream, peer, owner, self.clock.mark(), place, moment)?;
        if P::HAS_CALLS {
            // The first words may be ours; a stop may end it only after a read.
            self.drive(at, NO_HINT, draining);
        }
        Some(number)
    }

    /// An event of the connection in a slot. Returns whether there is one.
    pub(crate) fn handle_ready(&mut self, at: u32, ready: Readiness, now: Instant) -> bool {
        self.set_clock(now);
        match self.table.get(at) {
            None => return false,
            Some(_) => self.drive(at, ready, self.stop.phase() >= Phase::Draining),
        }
        true
    }

    /// Reads what there is from a connection, and sends its FIN if no input and no pending output
    /// is left. Returns whether it did.
    pub(crate) fn close_if_clean(&mut self, id: ConnectionId, now: Instant) -> bool {
        self.set_clock(now);
        let Some(at) = self.table.find(id) else { return false };
        if self.stop.phase() >= Phase::Forcing {
            return false;
        }
        self.drive(at, NO_HINT, true);
        let clean = self.table.get(at).is_some_and(Connection::is_clean);
        if clean {
            self.send_fin(at, CloseReason::HostClosed);
        }
        clean
    }

    /// Starts the stop, once.
    pub(crate) fn request(&mut self, cause: Cause, now: Instant) {
        let now = self.set_clock(now);
        self.stop.request(cause, now);
        self.announce_phase(now);
    }

    /// Cuts the stop short.
    pub(crate) fn force(&mut self, cause: Cause, now: Instant) {
        let now = self.set_clock(now);
        self.stop.force(cause, now);
        self.announce_phase(now);
    }

    /// Moves the stop on by time; to be called before [`end_turn`](Self::end_turn).
    pub(crate) fn advance(&mut self, now: Instant) {
        let now = self.set_clock(now);
        while self.stop.advance(now) {
            self.announce_phase(now);
        }
    }

    /// Everything that is due without an event, each in slices. Returns how many slots it freed.
    pub(crate) fn end_turn(&mut self, now: Instant) -> usize {
        self.set_clock(now);
        self.turns = self.turns.saturating_add(1);
        match self.stop.phase() {
            Phase::Running | Phase::LameDuck => self.expire_idle(),
            Phase::Draining => self.drain(),
            Phase::Forcing => self.force_slice(),
            Phase::Finished => {}
        }
        if P::HAS_CALLS {
            self.resume_due();
        }
        self.look_at_due();
        self.expire_linger();
        self.end_pauses();
        self.pump_ready();
        self.table.report.uptime = self.clock.elapsed();
        self.reap()
    }

    /// Frees the slots that were closed in this turn. Returns how many.
    pub(crate) fn reap(&mut self) -> usize {
        self.table.reap()
    }

    /// Finishes the stop if no connection is left.
    pub(crate) fn finish(&mut self, now: Instant) {
        let now = self.set_clock(now);
        if self.table.len() == 0 {
            self.stop.finish(now);
            self.announce_phase(now);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let Report { connections, bytes, .. } = self.table.report;
        Stats {
            phase: self.stop.phase(),
            open: self.table.len() as u64,
            accepted: connections.accepted,
            closed: connections.closed(),
            read: bytes.read,
            written: bytes.written.saturating_add(self.table.report.destroyed),
            held: bytes.held(),
            requests: self.table.report.requests,
            turns: self.turns,
            ..Stats::default()
        }
    }

    /// Ends a connection at once: what is not pending goes out by the kernel, with our FIN.
    fn abandon(&mut self, at: u32) {
        self.drive(at, NO_HINT, true);
        let may_end = |it: &Connection<S, P>| it.may_end() || it.lingers_for().is_some();
        if P::HAS_CALLS && self.table.get(at).is_some_and(may_end) {
            // The last words are said before a FIN of the kernel's, too. They may not fit.
            self.send_fin(at, CloseReason::ForcedClean);
        }
        if self.table.get(at).is_some_and(may_end) {
            self.close(at, CloseReason::ForcedClean, Proof::None);
        } else {
            self.close(at, CloseReason::ForcedLossy, Proof::Reset);
        }
    }

    /// Reports a phase that was entered to the log and the observer, and begins the drain.
    fn announce_phase(&mut self, now: Instant) {
        let phase = self.stop.phase();
        if phase == self.announced {
            return;
        }
        if self.announced == Phase::Running {
            self.requested = self.clock.tick();
            self.awake = self.requested;
            let counts = &mut self.table.report.connections;
            counts.open_at_stop = counts.accepted.saturating_sub(counts.closed());
            self.table.report.cause = self.stop.cause().cloned();
        }
        if phase == Phase::Draining {
            self.visits.reserve(self.table.slots());
            self.table.unvisit_all();
        }
        if phase == Phase::Finished {
            self.visits.clear();
        }
        self.announced = phase;
        self.table.report.phase = phase;
        self.table.report.phases = self.stop.times();
        self.table.report.stop = self.stop.elapsed(now);
        let spent = self.table.report.stop.unwrap_or(Duration::ZERO);
        let whose = if P::HAS_CALLS { self.protocol().name() } else { "" };
        let mark = if P::HAS_CALLS { ": " } else { "" };
        info!("{whose}{mark}{phase} at +{spent:.1?}, {} connections open", self.table.len());
        if let Some(observer) = &mut self.table.observer {
            observer.on_phase(phase);
        }
    }
}

impl<S: Stream, P: Speaks> Drop for Engine<S, P> {
    /// Ends every connection without waiting.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may be the observer that panicked; once more would end the process.
            self.table.observer = None;
        }
        for at in 0..u32::try_from(self.table.slots()).unwrap_or(u32::MAX) {
            self.abandon(at);
        }
        self.table.reap();
    }
}
