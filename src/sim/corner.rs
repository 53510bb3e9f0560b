//! What the lives must have in them between them, or a law holds for want of trying.

use super::host::Host;
use super::inside;
use super::line::{Fate, Line};
use super::network::Network;
use super::peer::Saw;
use super::speech::Speech;
use crate::config::Drain;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::Phase;
use crate::engine::report::{CloseReason, Grade};
use crate::engine::status::Locality;

/// Everything that some life must reach.
pub(super) const ALL: [&str; 57] = [
    "a reset destroyed a send queue",
    "accepted in lame duck",
    "answered with a reset",
    "behind a closed window at the stop",
    "behind a network",
    "broke in the queue",
    "closed drained",
    "closed forced clean",
    "closed forced lossy",
    "closed idle timeout",
    "closed io error",
    "closed peer closed",
    "closed reset by peer",
    "closed unacknowledged",
    "dropped with connections",
    "fin under flush",
    "fin under idle",
    "forced without a drain",
    "full",
    "grade complete",
    "grade confirmed",
    "grade lossless",
    "grade lossy",
    "handshake completed in the stop",
    "handshake severed",
    "held",
    "helped out of want",
    "interrupted",
    "interrupted and forced with events",
    "interrupted with events",
    "kept for a sleeping reader",
    "kept for a slow reader",
    "late bytes",
    "left to its owner",
    "let go at the end",
    "let go for want of a poll",
    "lingering",
    "lost with a listener",
    "many ready",
    "on its way at the stop",
    "paused",
    "peer aborted",
    "piped",
    "ready",
    "refused",
    "reused a slot",
    "saw a reset",
    "spoofed",
    "swept",
    "through a Unix socket",
    "timed out by our kernel",
    "unknown to the kernel",
    "vanished",
    "wanting",
    "wanting in a sweep",
    "window closed",
    "woke past the budget",
];

impl<P: Speaks> Host<P> {
    /// Notes what a turn left behind.
    pub(super) fn note_turn(&mut self) {
        let Some(engine) = self.engine() else { return };
        let network = self.network.lock();
        let phase = engine.phase();
        let mut found = inside::situations(engine).to_vec();
        found.extend([
            (phase == Phase::LameDuck && self.taken > 0, "accepted in lame duck"),
            (phase == Phase::Draining && self.taken > 0, "swept"),
            (network.exhausted > 0, "wanting"),
            (network.exhausted > 0 && self.taken > 0, "helped out of want"),
            (network.wanting && phase == Phase::Draining, "wanting in a sweep"),
            (engine.report().bytes.held() > 0, "held"),
            (network.pipes > 0, "piped"),
            (network.numbers.len() > engine.slots() && engine.open() > 0, "reused a slot"),
            (self.interrupted && !network.ready.is_empty(), "interrupted with events"),
            (
                self.interrupted && !network.ready.is_empty() && self.forced == Some(self.now),
                "interrupted and forced with events",
            ),
            (
                self.budget_end().is_some_and(|end| self.now > end.saturating_add(100_000))
                    && network.forced_at == Some(self.now),
                "woke past the budget",
            ),
        ]);
        for (reached, corner) in found {
            if reached {
                self.corners.insert(corner);
            }
        }
    }

    /// Notes what a life came to.
    pub(super) fn note_end(&mut self, grade: Option<Grade>) {
        let network = self.network.lock();
        self.corners.extend(&network.seen);
        self.corners.extend(self.plan.speech.map(Speech::name));
        let drain = self.plan.config.drain;
        self.corners.extend(match grade {
            Some(Grade::Lossy) => Some("grade lossy"),
            Some(Grade::Lossless) => Some("grade lossless"),
            Some(Grade::Confirmed) => Some("grade confirmed"),
            Some(Grade::Complete) => Some("grade complete"),
            None => None,
        });
        for line in &network.lines {
            self.corners.extend(match line.fate {
                Fate::Refused => Some("refused"),
                Fate::Unregistered => Some("let go for want of a poll"),
                Fate::Broken => Some("broke in the queue"),
                Fate::Counted => Some("let go at the end"),
                Fate::Left => Some("left to its owner"),
                Fate::Lost => Some("lost with a listener"),
                Fate::Severed => Some("handshake severed"),
                Fate::HalfOpen if line.handshake.connects.is_none() => Some("stale handshake"),
                Fate::Outside
                | Fate::HalfOpen
                | Fate::Forgotten
                | Fate::Queued
                | Fate::Taken
                | Fate::Open => None,
            });
            self.corners.extend(network.situations(line));
            self.corners.extend(network.spoken(line));
            let Some(closed) = line.closed else { continue };
            self.corners.insert(match closed.reason {
                CloseReason::Drained => "closed drained",
                CloseReason::ForcedClean => "closed forced clean",
                CloseReason::ForcedLossy => "closed forced lossy",
                CloseReason::IdleTimeout => "closed idle timeout",
                CloseReason::IoError => "closed io error",
                CloseReason::PeerClosed => "closed peer closed",
                CloseReason::ProtocolClosed => "closed by the protocol",
                CloseReason::ResetByPeer => "closed reset by peer",
                CloseReason::HostClosed => "closed by the host",
            });
            let drained = closed.reason == CloseReason::Drained;
            let forced = network.phase >= Phase::Forcing && network.visited_at.is_none();
            for (reached, corner) in [
                (drained && drain == Drain::Idle, "fin under idle"),
                (drained && drain == Drain::Flush, "fin under flush"),
                (forced && line.in_stop, "forced without a drain"),
                (closed.bytes.late > 0, "late bytes"),
                (closed.bytes.peer_aborted > 0, "peer aborted"),
                (line.peer.saw == Some(Saw::Reset), "saw a reset"),
                (line.hiccuped, "interrupted"),
                (
                    network.phase < Phase::Forcing
                        && !line.in_stop
                        && network.dropping
                        && grade.is_none(),
                    "dropped with connections",
                ),
            ] {
                if reached {
                    self.corners.insert(corner);
                }
            }
        }
    }
}

impl Network {
    /// What the world of one connection had in it.
    fn situations(&self, line: &Line) -> impl Iterator<Item = &'static str> {
        let duplex = &line.duplex;
        let since = self.draining_since.unwrap_or(u64::MAX);
        let stopped = self.requested_at.is_some() && line.is_open;
        let back = line.promised > 0 && line.received() >= line.promised;
        let slow = line.peer.script.gulp > 0 && line.peer.script.gulp < line.promised / 4;
        let kept = stopped && back && line.in_stop && line.closed_in != Some(Phase::Forcing);
        let asleep = line.peer.script.asleep.is_some_and(|(from, to)| from <= since && to > since);
        let shaken = line.handshake;
        [
            (stopped && line.promised > line.arrived_at_stop, "on its way at the stop"),
            (
                stopped && line.promised > line.arrived_at_stop + duplex.up.size,
                "behind a closed window at the stop",
            ),
            (kept && slow, "kept for a slow reader"),
            (kept && asleep, "kept for a sleeping reader"),
            (
                line.is_open && shaken.syn <= since && shaken.completes > since,
                "handshake completed in the stop",
            ),
            (shaken.connects.is_none() && line.has_knocked, "spoofed"),
            (duplex.link.locality == Locality::Network && line.is_open, "behind a network"),
            (duplex.link.is_unix() && line.is_open, "through a Unix socket"),
            (!line.asks && line.in_stop, "unknown to the kernel"),
            (line.unacknowledged > 0 && line.in_stop, "closed unacknowledged"),
            (
                duplex.cut && duplex.down.sent < duplex.down.written,
                "a reset destroyed a send queue",
            ),
            (duplex.peer_reset && duplex.peer_closed, "answered with a reset"),
            (line.is_gone(), "vanished"),
            (duplex.timed_out, "timed out by our kernel"),
            (line.strained_at.is_some(), "window closed"),
            (line.is_open && line.late > 0 && line.has_flooded(), "flooded"),
        ]
        .into_iter()
        .filter_map(|(reached, corner)| reached.then_some(corner))
    }
}
