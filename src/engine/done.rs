//! When a connection is done: quiet for long enough, or past the patience that a client has.

use super::connection::Connection;
use super::core::Engine;
use super::deadline::Tick;
use super::dialogue::Speaks;
use super::stream::Stream;
use crate::config::Drain;

/// The least patience with a client that goes on sending, in milliseconds.
const PATIENCE: u32 = 1_000;
const PATIENCE_GRACES: u32 = 5;
const PATIENCE_ROUNDS: u32 = 10;
/// Bytes beyond its receive buffer after which a client has sent more than it can have handed over
/// before the request.
const HANDED_OVER: u64 = 64 << 20;

impl<S: Stream, P: Speaks> Engine<S, P> {
    /// The tick at which an open connection will have been quiet for long enough.
    pub(super) fn quiet_at(&self, at: u32) -> Tick {
        let Some(connection) = self.table.get(at) else { return self.requested };
        let round = self.round(at, connection);
        let silent = !connection.active().is_after(self.requested);
        let quiet = match self.settings.drain {
            Drain::Idle if !(silent && self.visits.get(at).was_silent()) => {
                round.max(self.settings.idle_grace.millis())
            }
            Drain::Idle | Drain::Flush | Drain::Peer => round,
        };
        connection.active().later(self.requested).later(self.awake).plus(quiet)
    }

    fn round(&self, at: u32, connection: &Connection<S, P>) -> u32 {
        let silent = !connection.active().is_after(self.requested);
        let recovering = connection.ended_full() || connection.was_held_back();
        self.visits.get(at).round(silent, recovering)
    }

    /// Whether a connection that was just read dry is done.
    pub(super) fn is_done(&self, at: u32) -> bool {
        let Some(connection) = self.table.get(at) else { return false };
        if !connection.is_flushed() || connection.is_paused() || connection.is_busy() {
            return false;
        }
        match self.settings.drain {
            Drain::Peer => false,
            Drain::Idle | Drain::Flush => {
                let quiet = !self.quiet_at(at).is_after(self.clock.tick());
                let rests = quiet && connection.is_dry();
                let may_rest = !connection.is_receiving() || self.is_patience_over(at);
                (rests && may_rest) || self.is_past_patience(at, connection)
            }
        }
    }

    /// The time for which a client is waited for.
    fn patience(&self, at: u32) -> u32 {
        let graces = self.settings.idle_grace.millis().saturating_mul(PATIENCE_GRACES);
        let rounds = self.visits.get(at).plain_round().saturating_mul(PATIENCE_ROUNDS);
        graces.max(PATIENCE).max(rounds)
    }

    /// The tick from which on the patience counts: the request to stop, or the last byte of a
    /// request that is being served while it comes, whose end the protocol knows.
    fn patient_since(&self, at: u32) -> Tick {
        match self.table.get(at) {
            Some(connection) if connection.is_midway() => connection.active().later(self.requested),
            Some(_) | None => self.requested,
        }
    }

    fn is_patience_over(&self, at: u32) -> bool {
        self.patient_since(at).age(self.clock.tick()) >= self.patience(at)
    }

    /// The tick at which an open connection may be done without another event.
    pub(super) fn look_at(&self, at: u32) -> Tick {
        let quiet = self.quiet_at(at);
        if self.table.get(at).is_some_and(Connection::is_receiving) {
            quiet.later(self.patient_since(at).plus(self.patience(at)))
        } else {
            quiet
        }
    }

    /// Whether a connection that never falls quiet has had its time, and what it sends now cannot
    /// have been handed over before the request.
    fn is_past_patience(&self, at: u32, connection: &Connection<S, P>) -> bool {
        let (now, visit) = (self.clock.tick(), self.visits.get(at));
        if !self.is_patience_over(at) {
            return false;
        }
        let round = self.round(at, connection);
        let read_freely = visit.since_held_back(now) >= round
            && (!self.awake.is_after(self.requested) || self.awake.age(now) >= round);
        let emptied = visit.is_near() || !connection.ended_full();
        if connection.is_dry() && read_freely && emptied {
            return true;
        }
        let sent = visit.read_since(connection.read());
        sent > HANDED_OVER && sent > HANDED_OVER.saturating_add(connection.receive_buffer() as u64)
    }
}
