//! What the engine tells of connections, against what happened to them.

use std::net::SocketAddr;

use super::check::PATIENCE;
use super::duplex::LEAST_SEGMENT;
use super::line::{Fate, Line, ROUNDING, Times};
use super::network::Network;
use super::shared::Shared;
use super::tally;
use super::transcript::Over;
use crate::config::Drain;
use crate::engine::observer::{Closed, ConnectionId, Observer};
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;

/// Bytes that a force reads at least before it cuts, if they have come.
const LOOK: u64 = 60 << 10;

impl Observer for Shared {
    fn on_open(&mut self, connection: ConnectionId, _: Option<SocketAddr>) {
        let mut network = self.lock();
        let now = network.now;
        let Some(at) = network.inserting.take() else {
            return network.blame(usize::MAX, "a connection that nobody inserted");
        };
        network.numbers.push(at);
        if network.numbers.len() as u64 != connection.number() {
            network.blame(at, "a connection with a wrong number");
        }
        let line = &mut network.lines[at];
        line.is_open = true;
        line.fate = Fate::Open;
        line.last_byte = now;
        let (ip, most) = (line.ip(), network.most_per_ip.unwrap_or(usize::MAX));
        let share = network.shares.entry(ip).or_default();
        *share += 1;
        if ip.is_some() && *share > most {
            network.blame(at, "more connections than its address may have");
        }
    }

    fn on_close(&mut self, closed: Closed) {
        let mut network = self.lock();
        let number = (closed.connection.number() as usize).wrapping_sub(1);
        let Some(at) = network.numbers.get(number).copied() else {
            return network.blame(usize::MAX, "a close of an unknown number");
        };
        network.tell(|| format!("line {at}: {closed:?}"));
        network.closed_count += 1;
        network.progress += 1;
        let wrong = network.judge(at, &closed).or_else(|| network.add_requests(at, &closed));
        if let Some(wrong) = wrong {
            network.blame(at, wrong);
        }
        let (phase, asks) = (network.phase, network.asks);
        let line = &mut network.lines[at];
        let unsent = line.duplex.down.written.saturating_sub(closed.bytes.written);
        line.closed = Some(closed);
        line.closed_in = Some(phase);
        let cut = closed.bytes.unsent + closed.bytes.peer_aborted > 0 || line.duplex.reset_asked;
        // A reset that comes after everything was acknowledged destroys nothing.
        let whole = line.duplex.down.fin_acked;
        let aborted = is_aborted(&closed) && !whole;
        let known = asks || line.duplex.link.is_unix();
        line.unacknowledged = line.duplex.down.unacknowledged();
        line.proved = known && !cut && !aborted && line.unacknowledged == 0;
        line.unread = line.duplex.up.unread();
        line.in_stop = phase > Phase::Running;
        let ip = line.ip();
        network.corrected += unsent;
        network.shares.entry(ip).and_modify(|share| *share -= 1);
    }

    fn on_phase(&mut self, phase: Phase) {
        let mut network = self.lock();
        network.tell(|| format!("phase {phase}"));
        network.progress += 1;
        if phase <= network.phase {
            network.blame(usize::MAX, "a phase that goes back");
        }
        let now = network.now;
        if network.phase == Phase::Running {
            let live = network.lines.iter().filter(|line| line.is_open && line.closed.is_none());
            network.open_at_stop = live.count() as u64;
            network.requested_at = Some(now);
            for line in &mut network.lines {
                line.promised = line.duplex.up.written;
                line.read_at_stop = line.duplex.up.read;
                (line.busy_at_stop, line.half_at_stop) = (line.is_busy(), line.is_receiving());
                line.last_before = line.last_byte;
                line.arrived_at_stop = line.duplex.up.arrived;
            }
        }
        network.phase = phase;
        if phase >= Phase::Draining && network.draining_since.is_none() {
            network.draining_since = Some(now);
        }
        if phase >= Phase::Forcing && network.forced_at.is_none() {
            network.forced_at = Some(now);
            for line in &mut network.lines {
                line.arrived_at_force = Some((line.duplex.up.arrived, line.duplex.up.read));
                line.produced_at_force = line.talk.as_ref().map(|talk| talk.produced);
            }
        }
        if phase == Phase::Finished {
            for line in &mut network.lines {
                line.received_at_end = line.received();
            }
        }
    }
}

/// Whether a connection ended by the peer or the network.
pub(super) fn is_aborted(closed: &Closed) -> bool {
    matches!(closed.reason, CloseReason::ResetByPeer | CloseReason::IoError)
}

impl Network {
    /// What is wrong with the account of a connection.
    fn judge(&self, at: usize, closed: &Closed) -> Option<&'static str> {
        let line = &self.lines[at];
        let wrong = miscounted(line, closed).or_else(|| tally::miscounted(line, closed));
        wrong
            .or_else(|| self.misjudged(line, closed))
            .or_else(|| self.misjudged_force(line, closed))
    }

    /// Whether the reason of a close is not what happened.
    fn misjudged(&self, line: &Line, closed: &Closed) -> Option<&'static str> {
        let (duplex, now) = (&line.duplex, self.now);
        let forced = self.phase >= Phase::Forcing || self.dropping;
        let silence = now - line.last_sign().min(now);
        let expired = self.times.idle_timeout.is_some_and(|timeout| silence >= timeout);
        let of_reset = |error| matches!(error, libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN);
        let justified = match closed.reason {
            CloseReason::PeerClosed => duplex.eof_read && line.broke.is_none(),
            CloseReason::ResetByPeer => line.broke.is_some_and(of_reset),
            CloseReason::IoError => line.broke.is_some_and(|it| !of_reset(it)) || line.is_gone(),
            CloseReason::IdleTimeout => line.fin_at.is_some() || expired,
            CloseReason::Drained => line.fin_at.is_some(),
            CloseReason::ForcedClean => forced && closed.bytes.unsent == 0,
            CloseReason::ForcedLossy => forced,
            CloseReason::ProtocolClosed => !matches!(line.over(), None | Some(Over::Parted)),
            CloseReason::HostClosed => false,
        };
        let known = self.asks || duplex.link.is_unix();
        let on_its_way = duplex.down.unacknowledged() > 0 && known && !line.is_gone();
        let acked = if known { duplex.last_progress } else { 0 };
        let lingered = line.fin_at.is_some_and(|fin| now - fin.max(acked) >= self.times.linger);
        // Whoever is full cannot know whether anybody waits.
        let taken = self.lines.iter().filter(|line| line.is_open && !line.duplex.dropped).count();
        let waits = taken >= self.capacity && self.doors.iter().any(|door| !door.closed);
        let ended =
            duplex.eof_read || duplex.is_over() || line.broke.is_some() || line.is_gone() || forced;
        let patient = lingered || waits && !on_its_way;
        let broken_off = matches!(line.over(), Some(Over::Abort | Over::Fault));
        let reset_for =
            matches!(closed.reason, CloseReason::ForcedLossy | CloseReason::IdleTimeout)
                || broken_off;
        let rules = [
            (!justified, "the reason is not what happened"),
            (
                duplex.dead
                    && duplex.eof_read
                    && closed.reason == CloseReason::PeerClosed
                    && !duplex.up.fin_arrived,
                "a reset taken for the peer's end",
            ),
            (line.fin_at.is_some() && !ended && !patient, "lingered too short"),
            (
                line.fin_at.is_some() && !forced && !duplex.dead && on_its_way,
                "closed with bytes on their way",
            ),
            (
                duplex.reset_asked && !reset_for && !is_aborted(closed) && closed.bytes.unsent == 0,
                "a reset for no reason",
            ),
            (
                closed.bytes.unsent > 0 && !duplex.reset_asked && !duplex.dead,
                "a cut without a reset",
            ),
            (
                broken_off && !(duplex.reset_asked || duplex.dead),
                "a conversation broken off without a reset",
            ),
            (
                broken_off && closed.reason != CloseReason::ProtocolClosed && !is_aborted(closed),
                "broken off for another reason",
            ),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }

    /// Whether a force did not do what it must do first.
    fn misjudged_force(&self, line: &Line, closed: &Closed) -> Option<&'static str> {
        let forced = matches!(closed.reason, CloseReason::ForcedClean | CloseReason::ForcedLossy);
        if !forced || self.dropping || line.hiccuped || line.fin_at.is_some() {
            return None;
        }
        let duplex = &line.duplex;
        let tried = duplex.starved || line.full_epoch == self.epoch;
        let untried = line.owed() > 0 && duplex.is_writable() && !tried;
        let (arrived, read) = line.arrived_at_force.unwrap_or_default();
        let unlooked = duplex.up.read < arrived.min(read + LOOK);
        let rules = [
            (untried, "cut without a last write"),
            (
                unlooked && line.may_read() && !self.is_bounded && !self.is_talkative(line),
                "cut without a look at what had come",
            ),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }

    /// Whether a protocol has said so much since the force that it was not read from.
    fn is_talkative(&self, line: &Line) -> bool {
        let before = line.produced_at_force.unwrap_or(0);
        line.talk.as_ref().is_some_and(|talk| talk.produced - before > LOOK)
    }

    /// What is wrong with sending a FIN at all.
    pub(super) fn judge_end(&self, at: usize) -> Option<&'static str> {
        let line = &self.lines[at];
        let rules = [
            (line.closed.is_some() || line.fin_at.is_some(), "a FIN after the end"),
            (line.owed() > 0, "a FIN before the last byte"),
            (self.phase == Phase::Finished, "a FIN in the wrong phase"),
            (line.talk.is_some() && line.over().is_none(), "a FIN without last words"),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }

    /// What is wrong with ending a connection by a FIN now.
    pub(super) fn judge_fin(&self, at: usize) -> Option<&'static str> {
        let (now, line) = (self.now, &self.lines[at]);
        let Times { grace, idle_timeout, drain, .. } = self.times;
        let silence = now - line.last_sign().min(now);
        let expired = idle_timeout.is_some_and(|timeout| silence >= timeout);
        let unacknowledged = line.duplex.down.unacknowledged() > 0 && self.asks;
        let draining = self.phase == Phase::Draining && drain != Drain::Peer;
        let requested = self.requested_at.unwrap_or(now);
        let patience = PATIENCE.max(grace.saturating_mul(5));
        let impatient = now + ROUNDING >= requested.saturating_add(patience);
        let was_silent = requested - line.last_before >= grace;
        let on_its_way = line.promised > line.duplex.up.arrived && !line.duplex.up.purged;
        // No server can see that a window was full which holds less than a small segment.
        let is_tiny = impatient && line.duplex.up.size < 2 * LEAST_SEGMENT;
        let on_its_way = on_its_way && !is_tiny;
        let flooded = draining && line.has_flooded();
        // The rest of a request is waited for.
        let half = draining && impatient || expired || line.duplex.eof_read;
        let rules = [
            (line.owed() > 0, "a FIN before the last byte"),
            (line.is_busy(), "a FIN to one that is busy"),
            (
                line.is_receiving() && self.phase < Phase::Forcing && !half && !self.dropping,
                "a FIN in the midst of a request",
            ),
            (
                self.phase >= Phase::Forcing && line.talk.as_ref().is_some_and(|it| it.is_midway()),
                "a FIN by force in the midst of a request",
            ),
            (
                line.unseen() > 0 && !flooded && !self.dropping,
                "a FIN before what had come was read",
            ),
            (
                self.phase < Phase::Forcing
                    && !draining
                    && !expired
                    && !line.duplex.eof_read
                    && !self.dropping,
                "a FIN for silence before the time",
            ),
            (
                self.phase < Phase::Forcing
                    && !draining
                    && unacknowledged
                    && !line.duplex.eof_read
                    && !self.dropping,
                "a FIN for silence with bytes unacknowledged",
            ),
            (
                draining
                    && drain == Drain::Idle
                    && !impatient
                    && !was_silent
                    && now - line.last_byte < grace
                    && !line.duplex.eof_read
                    && !self.dropping,
                "a FIN before the grace was over",
            ),
            (
                draining && on_its_way && !self.dropping,
                "a FIN before what was handed over in time had come",
            ),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }
}

/// What is wrong with the numbers of a connection's account.
fn miscounted(line: &Line, closed: &Closed) -> Option<&'static str> {
    let (bytes, duplex) = (closed.bytes, &line.duplex);
    let sum = bytes.written + bytes.late + bytes.unsent + bytes.peer_aborted;
    let echoes = line.talk.is_none();
    let written = duplex.down.written;
    // What comes after the FIN of a force was not served, and its connection is cut for that.
    let cut = closed.reason == CloseReason::ForcedLossy && bytes.unsent >= line.late;
    // Its error is that of the network's, or of our limit: nobody can tell.
    let limited = duplex.user_timeout.is_some() && closed.reason == CloseReason::IoError;
    // That it broke before our reset a kernel that cannot be asked does not tell.
    let unbroken = !duplex.dead || !line.asks;
    // One that is not read from may be found broken when it is cut.
    let found = !echoes && closed.reason == CloseReason::ForcedLossy;
    let ours =
        limited || duplex.reset_asked && (unbroken || found) || duplex.timed_out || line.is_gone();
    let unknown = limited || duplex.timed_out || found && duplex.dead;
    let acked = if unknown { 0 } else { duplex.down.acked };
    let rules = [
        (line.closed.is_some(), "closed twice"),
        (echoes && bytes.read != sum, "the identity of the bytes does not hold"),
        (bytes.read != duplex.up.read, "the bytes read are not those of the account"),
        (
            bytes.written > written || (!ours && bytes.written != written),
            "the bytes written are not those of the account",
        ),
        (bytes.written < acked && line.asks, "bytes that were acknowledged count as unsent"),
        (duplex.timed_out && bytes.peer_aborted > 0, "a limit of ours counts as the peer's doing"),
        (
            echoes && line.fin_at.is_some() && bytes.late != line.late && !(cut && bytes.late == 0),
            "late bytes are miscounted",
        ),
        (echoes && line.fin_at.is_none() && bytes.late > 0, "late bytes before our FIN"),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}
