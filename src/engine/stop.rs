//! The stop of each connection, from the first visit to the close.
//!
//! *Draining*: everybody is visited once, and looked at again when the quiet time has passed; who
//! is done gets our FIN. *Lingering*: after the FIN the kernel is asked what the peer has
//! acknowledged. *Forcing*: everybody is served once more, then ended by FIN or by reset.

use super::closing::Proof;
use super::connection::{Connection, Stage};
use super::core::{CONNECTION_BUDGET, Engine, NO_HINT, SLICE};
use super::deadline::Tick;
use super::dialogue::{Flow, IoLimits, Speaks};
use super::lists::Place;
use super::phase::{Force, Phase};
use super::report::CloseReason;
use super::status::{Locality, Status, Transport};
use super::stream::Stream;
use super::visit::{RECOVERY, SILENCE, Visit};
use crate::config::Drain;

/// When the kernel is asked again about a connection that takes nothing, in milliseconds.
const HELD_CHECK: u32 = 500;
/// When the kernel is first asked what was acknowledged after our FIN: later than a delayed
/// acknowledgement. And how long it is left alone at most.
const FIN_CHECK: u32 = 50;
const LONGEST_FIN_CHECK: u32 = 200;
/// The same where both FINs are under way, and only acknowledgements are waited for.
const LONGEST_END_CHECK: u32 = 50;

/// A connection has to be silent for so long before force ends it by FIN, in milliseconds, and
/// one that talks is given so long to fall silent: gaps of 17 ms within what a client sends were
/// measured.
const FORCED_SILENCE: u32 = 40;
/// When forcing ends, counted like that: 200 ms for acknowledgements.
const FORCED_END: u32 = 240;
const FORCED_CHECK: u32 = 5;

impl<S: Stream, P: Speaks> Engine<S, P> {
    /// Visits those that the drain has not met yet, a slice of them.
    pub(super) fn drain(&mut self) {
        for _ in 0..SLICE {
            let lists = self.table.lists();
            let Some(at) = lists.front(lists.unvisited()) else {
                break;
            };
            self.table.look_ahead(at, |connection| !connection.is_near());
            self.meet(at);
        }
        self.table.forget_ahead();
        self.visit_timed();
        if self.settings.drain == Drain::Peer {
            self.expire_idle();
        }
    }

    /// Meets a connection for the first time: measures its round.
    pub(super) fn visit(&mut self, at: u32) {
        let requested = self.requested;
        let silence = self.settings.idle_grace.millis().max(SILENCE);
        let Some((connection, kernel)) = self.table.ask(at) else { return };
        let locality =
            if connection.is_near() { Locality::Host } else { connection.stream_mut().locality() };
        let timing = match locality {
            Locality::Unix | Locality::Host => None,
            Locality::Network => match connection.stream_mut().status(kernel) {
                Status::Alive(transport) => transport.timing,
                Status::Broken(reason) => return self.break_off(at, reason),
                Status::Unknown | Status::Acknowledged => None,
            },
        };
        let silent = connection.active().age(requested);
        if silent >= RECOVERY {
            connection.forget_recent();
        }
        connection.on_drain();
        if connection.is_held_back() || connection.is_receiving() {
            // It gets no answer to its last bytes, and its kernel may wait for one.
            connection.stream_mut().quick_ack();
        }
        let read = connection.read();
        let mut visit = Visit::new(locality, timing, silent >= silence, read);
        visit.hold_back(self.clock.tick());
        self.visits.set(at, visit);
        self.table.put(at, self.table.lists().aging());
        self.reschedule(at);
    }

    /// Looks at everybody on the timer wheel who is due, a slice of them.
    pub(super) fn look_at_due(&mut self) {
        let now = self.clock.tick();
        let forcing = self.stop.phase() == Phase::Forcing;
        if forcing && self.force == Force::Serve {
            return;
        }
        for _ in 0..SLICE {
            let Some(at) = self.table.due(now) else {
                break;
            };
            self.table.look_ahead(at, |it| it.stage() == Stage::Lingering && !forcing);
            match self.table.get(at).map(Connection::stage) {
                _ if forcing => self.end(at),
                Some(Stage::Open) => self.look_at_open(at),
                Some(Stage::Lingering) => self.look_at_lingering(at),
                Some(Stage::Closed) | None => break,
            }
        }
        self.table.forget_ahead();
    }

    fn look_at_open(&mut self, at: u32) {
        let now = self.clock.tick();
        if self.stop.phase() < Phase::Draining || self.settings.drain == Drain::Peer {
            return self.look_at_idle(at);
        }
        let Some(connection) = self.table.get(at) else { return };
        if connection.is_held_back() {
            return self.look_at_held(at);
        }
        if self.look_at(at).is_after(now) {
            return self.table.put_timed(at, self.look_at(at), now);
        }
        // What a peer sent may be in the queue, its event not told yet.
        self.drive(at, NO_HINT, true);
        self.reschedule(at);
    }

    /// Has an open connection looked at when it may be quiet.
    pub(super) fn reschedule(&mut self, at: u32) {
        let is_open = self.table.get(at).is_some_and(|it| it.stage() == Stage::Open);
        if is_open && self.settings.drain != Drain::Peer {
            self.table.put_timed(at, self.look_at(at), self.clock.tick());
        }
    }

    /// Looks at a connection that takes nothing: only an event can change that, or the network
    /// has lost the peer.
    fn look_at_held(&mut self, at: u32) {
        let now = self.clock.tick();
        let status = self.table.status(at);
        let Some(connection) = self.table.get(at) else { return };
        match status {
            Status::Alive(transport) if connection.is_lost(transport) => {
                let proof = Proof::Lost(transport.unacknowledged);
                self.close(at, CloseReason::IoError, proof);
            }
            Status::Broken(reason) => self.break_off(at, reason),
            Status::Alive(_) | Status::Unknown | Status::Acknowledged => {
                self.table.put_timed(at, now.plus(HELD_CHECK), now);
            }
        }
    }

    /// Sends the FIN of a connection that was just read dry, if it is done.
    pub(super) fn settle(&mut self, at: u32) {
        if self.is_done(at) {
            self.send_fin(at, CloseReason::Drained);
        }
    }

    /// Sends our FIN, which the peer will answer by closing.
    pub(super) fn send_fin(&mut self, at: u32, reason: CloseReason) {
        self.table.unwait(at);
        let limits = IoLimits { budget: CONNECTION_BUDGET, room: usize::MAX, segment: 0 };
        let Some((connection, mut io)) = self.io(at, limits) else { return };
        let flow = connection.finish(reason, &mut io);
        if P::HAS_CALLS {
            self.set_timer(at);
        }
        if self.table.get(at).is_some_and(|connection| connection.stage() == Stage::Lingering) {
            self.look_again(at, FIN_CHECK);
        }
        match flow {
            Flow::Wait | Flow::Pause => {}
            Flow::Again => self.table.make_ready(at),
            Flow::Ended => self.conclude(at),
            Flow::Finish(reason) => debug_assert!(false, "{reason}: its FIN is being sent"),
            Flow::Close(reason) => self.break_off(at, reason),
        }
    }

    /// Has a connection looked at after so many milliseconds. As long as a force serves everybody
    /// once more it waits for that to be over instead: it was served.
    fn look_again(&mut self, at: u32, after: u32) {
        let now = self.clock.tick();
        if self.stop.phase() == Phase::Forcing && self.force == Force::Serve {
            self.table.put(at, Place::SERVED);
        } else {
            self.table.put_timed(at, now.plus(after), now);
        }
    }

    /// The peer's FIN was read, and nothing is pending: closes the connection once its kernel has
    /// everything.
    pub(super) fn conclude(&mut self, at: u32) {
        let Some(connection) = self.table.get(at) else { return };
        let lingers_for = connection.lingers_for();
        if self.stop.phase() == Phase::Running && lingers_for.is_none() {
            // No byte of the peer can come any more: its kernel is sent the rest after the close.
            self.orphans = true;
            return self.close(at, CloseReason::PeerClosed, Proof::None);
        }
        let reason = lingers_for.unwrap_or(CloseReason::PeerClosed);
        match self.table.status(at) {
            Status::Acknowledged | Status::Alive(Transport { unacknowledged: 0, .. }) => {
                self.close(at, reason, Proof::Acknowledged);
            }
            Status::Alive(_) => {
                if lingers_for.is_none() {
                    self.send_fin(at, reason);
                }
                self.look_again(at, 1);
            }
            Status::Unknown => {
                self.orphans = true;
                self.close(at, reason, Proof::None);
            }
            Status::Broken(reason) => self.break_off(at, reason),
        }
    }

    /// Asks what was acknowledged after our FIN.
    fn look_at_lingering(&mut self, at: u32) {
        let (status, mark, now) = (self.table.status(at), self.clock.mark(), self.clock.tick());
        let Some(connection) = self.table.get_mut(at) else { return };
        let Some(reason) = connection.lingers_for() else { return };
        let ended = connection.has_ended();
        let longest = if ended { LONGEST_END_CHECK } else { LONGEST_FIN_CHECK };
        match status {
            Status::Acknowledged => self.close(at, reason, Proof::Acknowledged),
            Status::Alive(Transport { unacknowledged: 0, .. }) if ended => {
                self.close(at, reason, Proof::Acknowledged);
            }
            Status::Alive(Transport { unacknowledged: 0, .. }) => {
                connection.acknowledge(mark);
                self.table.put(at, Place::LINGERING);
            }
            Status::Alive(transport) if connection.is_lost(transport) => {
                let unacknowledged = transport.unacknowledged;
                // One is our FIN.
                let reason = if unacknowledged > 1 { CloseReason::IoError } else { reason };
                self.close(at, reason, Proof::Lost(unacknowledged));
            }
            Status::Alive(_) => {
                let asked = u32::from(connection.count_question());
                let first = if ended { 1 } else { FIN_CHECK };
                let pause = first.checked_shl(asked.min(8)).unwrap_or(longest).min(longest);
                self.table.put_timed(at, now.plus(pause), now);
            }
            Status::Unknown if ended => self.close(at, reason, Proof::None),
            // Nothing better is known than the time since our FIN.
            Status::Unknown => self.table.put(at, Place::LINGERING),
            Status::Broken(reason) => self.break_off(at, reason),
        }
    }

    /// Closes those whose peers have everything and had their time to close.
    pub(super) fn expire_linger(&mut self) {
        for _ in 0..SLICE {
            let front = self.table.lists().front(Place::LINGERING);
            let due = front.filter(|at| {
                self.table.get(*at).is_some_and(|connection| {
                    self.clock.is_past(connection.active(), self.settings.linger)
                })
            });
            let Some(at) = due else {
                return;
            };
            self.close_lingering_at(at);
        }
    }

    /// Closes up to `most` connections whose peers have everything and did not close yet, the
    /// oldest first, because others wait for their slots. Returns how many.
    pub(crate) fn close_lingering(&mut self, most: usize) -> usize {
        let mut closed: usize = 0;
        while closed < most.min(SLICE) {
            let front = self.table.lists().front(Place::LINGERING);
            let known = |at: &u32| self.table.get(*at).is_some_and(Connection::is_acknowledged);
            let Some(at) = front.filter(known) else {
                break;
            };
            self.close_lingering_at(at);
            closed = closed.saturating_add(1);
        }
        closed
    }

    /// Whether a connection that our FIN has ended may make room for another one before long.
    pub(crate) fn has_lingering(&self) -> bool {
        let lists = self.table.lists();
        lists.front(Place::LINGERING).is_some() || lists.any_timed().is_some()
    }

    fn close_lingering_at(&mut self, at: u32) {
        // The peer's end may be in the queue, its event not told yet.
        self.drive(at, NO_HINT, true);
        let Some(connection) = self.table.get(at) else { return };
        let Some(reason) = connection.lingers_for() else { return };
        let known = connection.is_acknowledged();
        self.close(at, reason, if known { Proof::Acknowledged } else { Proof::None });
    }

    /// A slice of forcing.
    pub(super) fn force_slice(&mut self) {
        for _ in 0..SLICE {
            let lists = self.table.lists();
            let places = [lists.unvisited(), lists.aging(), Place::LINGERING];
            let at = match self.force {
                Force::Serve => {
                    places.into_iter().find_map(|at| lists.front(at)).or_else(|| lists.any_timed())
                }
                Force::End(_) => lists.front(Place::SERVED),
            };
            match (at, self.force) {
                (Some(at), Force::Serve) => {
                    self.table.put(at, Place::SERVED);
                    self.drive(at, NO_HINT, true);
                }
                (None, Force::Serve) => self.force = Force::End(self.clock.tick()),
                (Some(at), Force::End(_)) => self.end(at),
                (None, Force::End(_)) => return,
            }
        }
    }

    /// Ends a connection by force: by FIN, and the close once that is acknowledged, where nothing
    /// is left to do for it; by reset otherwise.
    fn end(&mut self, at: u32) {
        self.drive(at, NO_HINT, true);
        let Some(connection) = self.table.get(at) else { return };
        match connection.stage() {
            Stage::Open => self.end_open(at),
            Stage::Lingering => self.end_lingering(at),
            Stage::Closed => {}
        }
    }

    fn end_open(&mut self, at: u32) {
        let now = self.clock.tick();
        let Some(connection) = self.table.get(at) else { return };
        let silent = connection.active().plus(FORCED_SILENCE);
        if !connection.may_end() || connection.is_paused() {
            self.close(at, CloseReason::ForcedLossy, Proof::Reset);
        } else if !silent.is_after(now) || self.visits.get(at).is_unix() {
            self.send_fin(at, CloseReason::ForcedClean);
            if self.table.get(at).is_some_and(|connection| connection.lingers_for().is_some()) {
                self.table.put_timed(at, now.plus(1), now);
            }
        } else if self.forced_for(now) >= FORCED_SILENCE {
            self.close(at, CloseReason::ForcedLossy, Proof::Reset);
        } else {
            self.table.put_timed(at, silent, now);
        }
    }

    fn end_lingering(&mut self, at: u32) {
        let now = self.clock.tick();
        let Some(connection) = self.table.get(at) else { return };
        let over = self.forced_for(now) >= FORCED_END;
        let ended = connection.has_ended();
        let reason = connection.lingers_for().filter(|_| connection.has_ended());
        let reason = reason.unwrap_or(CloseReason::ForcedClean);
        if connection.is_acknowledged() {
            return self.close(at, reason, Proof::Acknowledged);
        }
        match self.table.status(at) {
            Status::Acknowledged | Status::Alive(Transport { unacknowledged: 0, .. }) => {
                self.close(at, reason, Proof::Acknowledged);
            }
            Status::Alive(_) if over => {
                self.close(at, CloseReason::ForcedLossy, Proof::Reset);
            }
            Status::Unknown if over || ended => self.close(at, reason, Proof::None),
            Status::Alive(_) | Status::Unknown => {
                self.table.put_timed(at, now.plus(FORCED_CHECK), now);
            }
            Status::Broken(reason) => self.break_off(at, reason),
        }
    }

    fn forced_for(&self, now: Tick) -> u32 {
        match self.force {
            Force::Serve => 0,
            Force::End(since) => since.age(now),
        }
    }

    /// Closes a connection that broke, or that we break: our reset destroys what the kernel holds.
    pub(super) fn break_off(&mut self, at: u32, reason: CloseReason) {
        let proof = match reason {
            CloseReason::ForcedLossy | CloseReason::ProtocolClosed => Proof::Reset,
            _ if self.table.get(at).is_some_and(Connection::is_acknowledged) => Proof::Acknowledged,
            CloseReason::IoError if self.settings.user_timeout => Proof::TimedOut,
            _ => Proof::None,
        };
        self.close(at, reason, proof);
    }
}
