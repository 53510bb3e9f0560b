//! What the engine tells of connections, against what happened to them.

use std::net::SocketAddr;

use super::Shared;
use super::line::{Fate, Times};
use super::network::Network;
use crate::config::Drain;
use crate::engine::observer::{Closed, ConnectionId, Observer};
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;

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
        let draining = network.draining_since.is_some();
        let line = &mut network.lines[at];
        line.is_open = true;
        line.fate = Fate::Open;
        line.last_byte = now;
        line.owed_at_stop = draining.then_some(line.duplex.arrived);
        let (address, most) = (line.address, network.most_per_ip.unwrap_or(usize::MAX));
        let share = network.shares.entry(address).or_default();
        *share += 1;
        if *share > most {
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
        if let Some(wrong) = network.judge(at, &closed) {
            network.blame(at, wrong);
        }
        let address = network.lines[at].address;
        network.shares.entry(address).and_modify(|share| *share -= 1);
        let in_stop = network.phase >= Phase::Draining;
        let line = &mut network.lines[at];
        line.closed = Some(closed);
        let cut = closed.bytes.unsent + closed.bytes.peer_aborted > 0;
        let aborted = matches!(closed.reason, CloseReason::ResetByPeer | CloseReason::IoError);
        let arrived = line.duplex.eof_read || line.duplex.unacknowledged() == 0;
        line.proved = !cut && !aborted && arrived;
        line.unread = line.duplex.arrived - line.duplex.read;
        line.in_stop = in_stop;
    }

    fn on_phase(&mut self, phase: Phase) {
        let mut network = self.lock();
        network.tell(|| format!("phase {phase}"));
        network.progress += 1;
        if phase <= network.phase {
            network.blame(usize::MAX, "a phase that goes back");
        }
        if network.phase == Phase::Running {
            let live = network.lines.iter().filter(|line| line.is_open && line.closed.is_none());
            network.open_at_stop = live.count() as u64;
        }
        network.phase = phase;
        if phase >= Phase::Draining && network.draining_since.is_none() {
            network.draining_since = Some(network.now);
            for line in &mut network.lines {
                line.owed_at_stop = line.is_open.then_some(line.duplex.arrived);
            }
        }
    }
}

impl Network {
    /// What is wrong with the account of a connection.
    fn judge(&self, at: usize, closed: &Closed) -> Option<&'static str> {
        let line = &self.lines[at];
        let bytes = closed.bytes;
        let silence = self.now - line.last_byte;
        let sum = bytes.written + bytes.late + bytes.unsent + bytes.peer_aborted;
        let forced = self.phase >= Phase::Forcing || self.dropping;
        let expired = self.times.idle_timeout.is_some_and(|timeout| silence >= timeout);
        let of_reset = |error| matches!(error, libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN);
        let justified = match closed.reason {
            CloseReason::PeerClosed => line.duplex.eof_read && line.broke.is_none(),
            CloseReason::ResetByPeer => line.broke.is_some_and(of_reset),
            CloseReason::IoError => line.broke.is_some_and(|error| !of_reset(error)),
            CloseReason::IdleTimeout => line.fin_at.is_some() || expired,
            CloseReason::Drained => line.fin_at.is_some(),
            CloseReason::HostClosed | CloseReason::ProtocolClosed => false,
            CloseReason::ForcedClean => forced && bytes.unsent == 0,
            CloseReason::ForcedLossy => forced && bytes.unsent > 0,
        };
        let lingered = line.fin_at.is_some_and(|fin| self.now - fin >= self.times.linger);
        let ended = line.duplex.eof_read || line.broke.is_some() || forced;
        let untried = line.duplex.is_writable() && !line.duplex.starved && !line.hiccuped;
        let rules = [
            (line.closed.is_some(), "closed twice"),
            (closed.reason == CloseReason::ForcedLossy && untried, "cut without a last write"),
            (bytes.read != sum, "the identity of the bytes does not hold"),
            (bytes.read != line.duplex.read, "the bytes read are not those of the account"),
            (
                bytes.written != line.duplex.written,
                "the bytes written are not those of the account",
            ),
            (line.fin_at.is_some() && bytes.late != line.late, "late bytes are miscounted"),
            (line.fin_at.is_none() && bytes.late > 0 && !forced, "late bytes before our FIN"),
            (!justified, "the reason is not what happened"),
            (
                line.duplex.dead
                    && line.duplex.eof_read
                    && closed.reason == CloseReason::PeerClosed
                    && !line.duplex.peer_fin,
                "a reset taken for the peer's end",
            ),
            (
                (bytes.unsent + bytes.peer_aborted > 0) != line.duplex.reset_asked,
                "a cut without a reset, or the reverse",
            ),
            (line.fin_at.is_some() && !ended && !lingered, "lingered too short"),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }
    /// What is wrong with sending a FIN now.
    pub(super) fn judge_fin(&self, at: usize) -> Option<&'static str> {
        let now = self.now;
        let line = &self.lines[at];
        let silence = now - line.last_byte;
        let Times { grace, idle_timeout, drain, .. } = self.times;
        let impatient = self
            .draining_since
            .is_some_and(|since| now >= since.saturating_add(grace.saturating_mul(5)));
        let expired = idle_timeout.is_some_and(|timeout| silence >= timeout);
        let promised = line.owed_at_stop.is_none_or(|owed| line.duplex.read >= owed);
        if line.closed.is_some() || line.fin_at.is_some() {
            Some("a FIN after the end")
        } else if line.duplex.read != line.duplex.written {
            Some("a FIN before the last byte")
        } else {
            match (self.phase, drain) {
                (Phase::Running | Phase::LameDuck, _) | (Phase::Draining, Drain::Peer) => {
                    (!expired).then_some("a FIN for silence before the time")
                }
                (Phase::Draining, _) if impatient => {
                    let unheard = !promised && line.duplex.read == 0 && !line.hiccuped;
                    unheard.then_some("a FIN before the first read")
                }
                (Phase::Draining, _) if !promised => Some("a FIN before the queue was read"),
                (Phase::Draining, Drain::Idle) if silence < grace => {
                    Some("a FIN before the grace was over")
                }
                (Phase::Draining, _) => None,
                (Phase::Forcing | Phase::Finished, _) => Some("a FIN in the wrong phase"),
            }
        }
    }
}
