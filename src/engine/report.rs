//! The account of a server's life: what a stop proves, as data.

use std::fmt;
use std::time::Duration;

use super::phase::{Cause, Phase, PhaseTimes};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "each reason has its own count in the report")]
pub enum CloseReason {
    /// The stop found it done and closed it.
    Drained,
    /// Still there when the budget ended, and all that was read had been echoed.
    ForcedClean,
    /// Cut with bytes unsent: the peer sees a reset.
    ForcedLossy,
    /// No byte moved either way for the idle timeout.
    IdleTimeout,
    /// Another error of the socket, such as a time-out of the network.
    IoError,
    /// The peer closed, and was sent all it was owed.
    PeerClosed,
    /// The peer reset the connection.
    ResetByPeer,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "drained",
            Self::ForcedClean => "forced, clean",
            Self::ForcedLossy => "forced, lossy",
            Self::IdleTimeout => "idle timeout",
            Self::IoError => "i/o error",
            Self::PeerClosed => "peer closed",
            Self::ResetByPeer => "reset by peer",
        })
    }
}

/// Where the bytes went. Once a connection is closed,
/// `read = written + late + unsent + peer_aborted`, for each connection and summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteCounts {
    /// Taken from peers.
    pub read: u64,
    /// Echoed: handed to the kernel for the peer.
    pub written: u64,
    /// Read and discarded after the server's FIN.
    pub late: u64,
    /// Read and never echoed, because the server cut the connection.
    pub unsent: u64,
    /// Read and never echoed, because the peer or the network broke the connection.
    pub peer_aborted: u64,
}

impl ByteCounts {
    /// What was read and has not yet gone anywhere: zero after a stop.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.read
            .saturating_sub(self.written)
            .saturating_sub(self.late)
            .saturating_sub(self.unsent)
            .saturating_sub(self.peer_aborted)
    }
}

/// How many connections there were and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Accepted, those of the sweep included.
    pub accepted: u64,
    /// Open when the stop was requested.
    pub open_at_stop: u64,
    /// Taken from the accept queue when the stop began to drain.
    pub swept: u64,
    /// Ended as [`CloseReason::Drained`].
    pub drained: u64,
    /// Ended as [`CloseReason::PeerClosed`].
    pub peer_closed: u64,
    /// Ended as [`CloseReason::ResetByPeer`].
    pub reset_by_peer: u64,
    /// Ended as [`CloseReason::IdleTimeout`].
    pub idle_timeout: u64,
    /// Ended as [`CloseReason::IoError`].
    pub io_error: u64,
    /// Ended as [`CloseReason::ForcedClean`].
    pub forced_clean: u64,
    /// Ended as [`CloseReason::ForcedLossy`].
    pub forced_lossy: u64,
    /// The half-open handshakes that the stop found; `None` while the queues are open, or where
    /// the number cannot be known.
    pub half_open: Option<HalfOpen>,
    /// Clients that were waiting in the accept queue and could not be served; `None` while the
    /// queue is open or where the number cannot be known.
    pub backlog_left: Option<u64>,
}

/// What became of the handshakes that were half open when a stop began to drain: a SYN was
/// answered, the final ACK had not arrived. `seen = completed + stale + left`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HalfOpen {
    /// How many there were.
    pub seen: u64,
    /// Completed in time, or given up by the kernel.
    pub completed: u64,
    /// At the end of the wait at least two SYN-ACKs of ours had remained unanswered: nobody who
    /// hears this host is behind them.
    pub stale: u64,
    /// Still under way when the listener was closed: these clients were reset.
    pub left: u64,
}

impl ConnectionCounts {
    /// Connections that ended, for whatever reason; equals `accepted` after a stop.
    #[must_use]
    pub fn closed(&self) -> u64 {
        [
            self.drained,
            self.peer_closed,
            self.reset_by_peer,
            self.idle_timeout,
            self.io_error,
            self.forced_clean,
            self.forced_lossy,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    pub(crate) fn on_closed(&mut self, reason: CloseReason) {
        let count = match reason {
            CloseReason::Drained => &mut self.drained,
            CloseReason::ForcedClean => &mut self.forced_clean,
            CloseReason::ForcedLossy => &mut self.forced_lossy,
            CloseReason::IdleTimeout => &mut self.idle_timeout,
            CloseReason::IoError => &mut self.io_error,
            CloseReason::PeerClosed => &mut self.peer_closed,
            CloseReason::ResetByPeer => &mut self.reset_by_peer,
        };
        *count = count.saturating_add(1);
    }
}

/// What a stop proved; each grade implies the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the grades are the contract; a host may match them")]
pub enum Grade {
    /// Bytes or queued clients were lost, or it cannot be shown that none were.
    Lossy,
    /// Every byte read was handed to the kernel for its peer, or the peer gave it up; no client
    /// was left in the queue.
    Lossless,
    /// And every connection of the stop saw the peer's end, or the kernel says that nothing of
    /// ours is unacknowledged.
    Confirmed,
    /// And no byte came too late to be echoed.
    Complete,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lossy => "lossy",
            Self::Lossless => "lossless",
            Self::Confirmed => "confirmed",
            Self::Complete => "complete",
        })
    }
}

/// The account of a server: live while it runs, final when it is finished.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Why it stopped; `None` before a stop.
    pub cause: Option<Cause>,
    /// From the first turn to the last.
    pub uptime: Duration,
    /// From the first stop request to the last close; `None` before a stop.
    pub stop: Option<Duration>,
    /// The stop's phases.
    pub phases: PhaseTimes,
    /// The connections.
    pub connections: ConnectionCounts,
    /// The bytes.
    pub bytes: ByteCounts,
    /// Whether the stop kept new handshakes out of every queue that is the server's alone before
    /// it emptied them; `None` while they are open.
    pub gated: Option<bool>,
    /// Connections of the stop that were closed without proof that the peer's kernel has
    /// everything.
    pub(crate) unconfirmed: u64,
    /// Bytes that had been handed to the kernel and were destroyed there: they count as unsent,
    /// not as written, but counters of a running server never fall.
    pub(crate) destroyed: u64,
}

impl Report {
    /// What the stop proved.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let half_open = self.connections.half_open;
        let lossy = self.bytes.unsent > 0
            || self.connections.forced_lossy > 0
            || self.connections.backlog_left != Some(0)
            || half_open.is_some_and(|handshakes| handshakes.left > 0);
        let confirmed = self.unconfirmed == 0
            && self.gated == Some(true)
            && half_open.is_some_and(|handshakes| handshakes.stale == 0);
        if lossy {
            Grade::Lossy
        } else if !confirmed {
            Grade::Lossless
        } else if self.bytes.late > 0 {
            Grade::Confirmed
        } else {
            Grade::Complete
        }
    }

    /// The exit status that tells the truth of this stop: 0 stopped on request and lossless,
    /// 1 something failed, 3 stopped on request but bytes or queued clients were lost. With
    /// `strict`, 3 for every grade below [`Grade::Complete`].
    #[must_use]
    pub fn exit_code(&self, strict: bool) -> u8 {
        let wanted = if strict { Grade::Complete } else { Grade::Lossless };
        match &self.cause {
            Some(cause) if cause.is_request() => {
                if self.grade() >= wanted {
                    0
                } else {
                    3
                }
            }
            _ => 1,
        }
    }
}

/// Counters of a running server, taken at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Where it is in its life.
    pub phase: Phase,
    /// Connections open now.
    pub open: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections closed so far.
    pub closed: u64,
    /// Bytes read so far.
    pub read: u64,
    /// Bytes echoed so far.
    pub written: u64,
    /// Bytes held for peers that do not take them.
    pub held: u64,
    /// Failures of accept, by whosever fault.
    pub accept_errors: u64,
    /// Connections closed at once because their address had its share.
    pub refused: u64,
    /// Turns of the loop.
    pub turns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_grades_have_names() {
        assert_eq!(CloseReason::ForcedLossy.to_string(), "forced, lossy");
        assert_eq!(CloseReason::PeerClosed.to_string(), "peer closed");
        assert_eq!(Grade::Confirmed.to_string(), "confirmed");
    }

    #[test]
    fn each_grade_implies_the_one_before() {
        let mut report = Report { cause: Some(Cause::Requested), ..Report::default() };
        assert_eq!(report.grade(), Grade::Lossy, "an unknown queue is not a lossless stop");
        report.connections.backlog_left = Some(0);
        assert_eq!(report.grade(), Grade::Lossless, "an open gate confirms nothing");
        report.gated = Some(true);
        report.connections.half_open = Some(HalfOpen::default());
        assert_eq!((report.grade(), report.exit_code(true)), (Grade::Complete, 0));
        report.bytes.late = 1;
        assert_eq!((report.grade(), report.exit_code(true)), (Grade::Confirmed, 3));
        report.unconfirmed = 1;
        assert_eq!((report.grade(), report.exit_code(false)), (Grade::Lossless, 0));
        report.bytes.unsent = 1;
        assert_eq!((report.grade(), report.exit_code(false)), (Grade::Lossy, 3));
        report.cause = Some(Cause::PollFailed("gone".to_owned()));
        assert_eq!(report.exit_code(false), 1);
    }
}
