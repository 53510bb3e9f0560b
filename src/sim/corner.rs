//! What the lives must have in them between them, or a law holds for want of trying.

use super::host::Host;
use super::line::Fate;
use super::peer::Saw;
use crate::config::Drain;
use crate::engine::lists::Place;
use crate::engine::phase::Phase;
use crate::engine::report::{CloseReason, Grade};

/// Everything that some life must reach.
pub(super) const ALL: [&str; 38] = [
    "accepted in lame duck",
    "broke in the queue",
    "closed drained",
    "closed forced clean",
    "closed forced lossy",
    "closed idle timeout",
    "closed io error",
    "closed peer closed",
    "closed reset by peer",
    "dropped with connections",
    "fin under flush",
    "fin under idle",
    "forced without a drain",
    "full",
    "grade complete",
    "grade confirmed",
    "grade lossless",
    "grade lossy",
    "held",
    "helped out of want",
    "interrupted",
    "late bytes",
    "left to its owner",
    "let go at the end",
    "let go for want of a poll",
    "lost with a listener",
    "lingering",
    "many ready",
    "paused",
    "peer aborted",
    "piped",
    "ready",
    "refused",
    "reused a slot",
    "saw a reset",
    "swept",
    "wanting",
    "wanting in a sweep",
];

impl Host {
    /// Notes what a turn left behind.
    pub(super) fn note_turn(&mut self) {
        let Some(engine) = self.engine() else { return };
        let network = self.network.lock();
        let lists = engine.table.lists();
        let phase = engine.phase();
        for (reached, corner) in [
            (phase == Phase::LameDuck && self.taken > 0, "accepted in lame duck"),
            (phase == Phase::Draining && self.taken > 0, "swept"),
            (network.exhausted > 0, "wanting"),
            (network.exhausted > 0 && self.taken > 0, "helped out of want"),
            (network.wanting && phase == Phase::Draining, "wanting in a sweep"),
            (engine.table.vacant().is_none(), "full"),
            (engine.report().bytes.held() > 0, "held"),
            (lists.front(Place::LINGERING).is_some(), "lingering"),
            (engine.table.ready_len() > 0, "ready"),
            (engine.table.ready_len() > 2, "many ready"),
            (engine.table.has_paused(), "paused"),
            (network.pipes > 0, "piped"),
            (network.numbers.len() > engine.table.slots() && engine.open() > 0, "reused a slot"),
        ] {
            if reached {
                self.corners.insert(corner);
            }
        }
    }

    /// Notes what a life came to.
    pub(super) fn note_end(&mut self, grade: Option<Grade>) {
        let network = self.network.lock();
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
                Fate::Outside | Fate::Queued | Fate::Taken | Fate::Open => None,
            });
            let Some(closed) = line.closed else { continue };
            self.corners.insert(match closed.reason {
                CloseReason::Drained => "closed drained",
                CloseReason::ForcedClean => "closed forced clean",
                CloseReason::ForcedLossy => "closed forced lossy",
                CloseReason::HostClosed => "closed by the host",
                CloseReason::IdleTimeout => "closed idle timeout",
                CloseReason::IoError => "closed io error",
                CloseReason::PeerClosed => "closed peer closed",
                CloseReason::ProtocolClosed => "closed by the protocol",
                CloseReason::ResetByPeer => "closed reset by peer",
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
