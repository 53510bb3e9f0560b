//! What is due without an event: when, and each kind of it in slices.

use std::time::{Duration, Instant};

use super::closing::Proof;
use super::connection::Stage;
use super::core::{Engine, NO_HINT, SLICE};
use super::deadline::{Limit, earlier};
use super::dialogue::{LEAST_ROOM, Speaks};
use super::lists::Place;
use super::phase::{Force, Phase};
use super::report::CloseReason;
use super::status::{Status, Timing, Transport};
use super::stream::Stream;
use crate::config::Drain;

impl<S: Stream, P: Speaks> Engine<S, P> {
    /// When [`end_turn`](Self::end_turn) has something to do; not later than the latest `now`
    /// when it has so already.
    #[inline(always)] // asked in every turn
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let now = self.clock.now()?;
        if self.has_work() {
            return Some(now);
        }
        let lists = self.table.lists();
        let of_front = |place, limit| {
            let connection = self.table.get(lists.front(place)?)?;
            self.clock.deadline(connection.active(), limit)
        };
        let idle = match (self.stop.phase(), self.settings.drain) {
            (Phase::Running | Phase::LameDuck, _) | (Phase::Draining, Drain::Peer) => {
                of_front(lists.aging(), self.settings.idle_timeout)
            }
            (Phase::Draining, Drain::Idle | Drain::Flush)
            | (Phase::Forcing | Phase::Finished, _) => None,
        };
        let linger = of_front(Place::LINGERING, self.settings.linger);
        let idle = if P::HAS_CALLS { earlier(idle, self.timers.next()) } else { idle };
        let timed = lists.next_due().and_then(|tick| self.clock.instant(tick));
        earlier(earlier(idle, linger), earlier(timed, self.stop_deadline()))
    }

    /// When time alone moves the stop on.
    pub(crate) fn stop_deadline(&self) -> Option<Instant> {
        self.stop.next_deadline()
    }

    fn has_work(&self) -> bool {
        let lists = self.table.lists();
        let resumable = self.table.has_paused() && self.room() >= LEAST_ROOM;
        let due = match (self.stop.phase(), self.force) {
            (Phase::Running | Phase::LameDuck | Phase::Finished, _) => false,
            (Phase::Draining, _) => lists.front(lists.unvisited()).is_some() || self.has_unseen(),
            (Phase::Forcing, Force::Serve) => true,
            (Phase::Forcing, Force::End(_)) => lists.front(Place::SERVED).is_some(),
        };
        due || resumable
            || (P::HAS_CALLS && self.more_resumes && self.stop.phase() < Phase::Finished)
            || self.table.ready_len() > 0
            || lists.front(Place::CLOSED).is_some()
    }

    /// The open connection that has been silent longest, if for `limit`.
    fn silent_for(&self, limit: Limit) -> Option<u32> {
        let lists = self.table.lists();
        let at = lists.front(lists.aging())?;
        let connection = self.table.get(at)?;
        self.clock.is_past(connection.active(), limit).then_some(at)
    }

    /// Ends connections on which no byte was read, written or acknowledged for the idle timeout: by
    /// FIN if the peer has everything, else by reset.
    pub(super) fn expire_idle(&mut self) {
        let limit = self.settings.idle_timeout;
        for _ in 0..SLICE {
            let Some(at) = self.silent_for(limit) else {
                return;
            };
            // What a peer sent may be in the queue, its event not told yet.
            self.drive(at, NO_HINT, true);
            if self.silent_for(limit) == Some(at) {
                self.expire(at);
            }
        }
    }

    /// Looks again at a connection whose peer acknowledged something after the last byte.
    pub(super) fn look_at_idle(&mut self, at: u32) {
        self.drive(at, NO_HINT, true);
        let Some(connection) = self.table.get(at) else { return };
        if connection.stage() != Stage::Open {
            return;
        }
        let active = connection.active();
        if self.clock.is_past(active, self.settings.idle_timeout) {
            self.expire(at);
        } else {
            // Where others aged meanwhile it is not the youngest: the timer keeps its time.
            let now = self.clock.tick();
            let due = active.plus(self.settings.idle_timeout.millis());
            self.table.put_timed(at, due, now);
        }
    }

    /// Ends a connection that is idle. Idle time runs from the last acknowledgement too, but for
    /// two more idle times at most: the kernel tells those of our bytes and of probes not apart.
    /// Bytes that it sent later than that were acknowledged later still.
    fn expire(&mut self, at: u32) {
        let limit = self.settings.idle_timeout;
        let Some(connection) = self.table.get(at) else { return };
        let silence = connection.active().age(self.clock.tick());
        let may_wait = silence < limit.millis().saturating_mul(2);
        let dry = connection.is_dry();
        let (pending, paused) = (connection.pending() > 0, connection.is_paused());
        let busy = connection.is_busy();
        match self.table.status(at) {
            Status::Alive(transport) if pending || transport.unacknowledged > 0 => {
                let still = |timing: Timing| timing.since_ack.max(timing.since_sent);
                self.wait_on(at, transport.timing.map(still)).unwrap_or_else(|| {
                    self.close(at, CloseReason::IdleTimeout, Proof::Reset);
                });
            }
            Status::Unknown if pending => self.close(at, CloseReason::IdleTimeout, Proof::Reset),
            // We do not read from it: that is no silence of the peer's.
            Status::Alive(_) | Status::Unknown if paused => self.keep(at),
            // It waits for us.
            Status::Alive(_) | Status::Unknown if busy => self.keep(at),
            // A read found that there may be more, and did not get it.
            Status::Alive(_) | Status::Acknowledged | Status::Unknown if !dry => {
                let now = self.clock.tick();
                self.table.put_timed(at, now.plus(1), now);
            }
            Status::Alive(Transport { timing: Some(timing), .. }) => {
                let since = if may_wait { timing.since_ack } else { timing.since_sent };
                self.wait_on(at, Some(since)).unwrap_or_else(|| {
                    self.send_fin(at, CloseReason::IdleTimeout);
                });
            }
            Status::Alive(_) | Status::Acknowledged | Status::Unknown => {
                self.send_fin(at, CloseReason::IdleTimeout);
            }
            Status::Broken(reason) => self.break_off(at, reason),
        }
    }

    /// Has a connection looked at again when something lies back for the idle timeout. `None` if
    /// it does already, or nothing is known of it.
    fn wait_on(&mut self, at: u32, since: Option<Duration>) -> Option<()> {
        let since = u32::try_from(since?.as_millis()).ok()?;
        let rest = self.settings.idle_timeout.millis().checked_sub(since).filter(|it| *it > 0)?;
        let now = self.clock.tick();
        self.table.put_timed(at, now.plus(rest), now);
        Some(())
    }

    /// Lets the idle time of a connection begin anew.
    fn keep(&mut self, at: u32) {
        let mark = self.clock.mark();
        if let Some(connection) = self.table.get_mut(at) {
            connection.touch(mark);
        }
        self.table.put(at, self.table.lists().aging());
    }
}
