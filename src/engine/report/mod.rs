//! The account of a server's life: what a stop proves, as data.

mod json;
mod text;

use std::fmt;
use std::time::Duration;

use super::phase::{Cause, Phase, PhaseTimes};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The drain found it done and closed it.
    Drained,
    /// Still open when the stop was forced, with everything answered that was read.
    ForcedClean,
    /// Cut with bytes unsent: the peer sees a reset.
    ForcedLossy,
    /// The host closed it: see [`Server::close_if_clean`](crate::Server::close_if_clean).
    HostClosed,
    /// No byte moved either way for the idle timeout.
    IdleTimeout,
    /// Another error of the socket, such as a timeout of the network.
    IoError,
    /// The peer closed, and no pending output was left.
    PeerClosed,
    /// The protocol ended the connection.
    ProtocolClosed,
    /// The peer reset the connection.
    ResetByPeer,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "drained",
            Self::ForcedClean => "forced, clean",
            Self::ForcedLossy => "forced, lossy",
            Self::HostClosed => "closed by the host",
            Self::IdleTimeout => "idle timeout",
            Self::IoError => "i/o error",
            Self::PeerClosed => "peer closed",
            Self::ProtocolClosed => "closed by the protocol",
            Self::ResetByPeer => "reset by peer",
        })
    }
}

/// What became of the bytes. Once a connection is closed, for each connection and summed:
///
/// - echo: `read = written + late + unsent + peer_aborted`, the other counts are zero;
/// - any other protocol: `read = served + late + unserved + incomplete`, and
///   `produced = written + unsent + peer_aborted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteCounts {
    /// Received from peers.
    pub read: u64,
    /// Handed to the kernel for the peer.
    pub written: u64,
    /// Read and discarded after the server's FIN, or after the protocol ended the connection; with
    /// the input that was held when it returned `Finish`.
    pub late: u64,
    /// Owed to the peer and not sent, because the server cut the connection.
    pub unsent: u64,
    /// Owed to the peer and not sent, because the peer or the network broke the connection.
    pub peer_aborted: u64,
    /// Consumed by the protocol.
    pub served: u64,
    /// Put by the protocol.
    pub produced: u64,
    /// Read and not given to the protocol, because the server cut the connection.
    pub unserved: u64,
    /// Read and not consumed: the peer or the stop ended the connection before the rest came.
    pub incomplete: u64,
}

impl ByteCounts {
    /// Returns the bytes that are held: pending output, and input that the protocol has not
    /// consumed. Zero after a stop.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.read
            .saturating_add(self.produced)
            .saturating_sub(self.served)
            .saturating_sub(self.unserved)
            .saturating_sub(self.incomplete)
            .saturating_sub(self.written)
            .saturating_sub(self.late)
            .saturating_sub(self.unsent)
            .saturating_sub(self.peer_aborted)
    }
}

/// What became of the requests. Once all connections are closed,
/// `taken = answered + unanswered + aborted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// Taken in by the protocol.
    pub taken: u64,
    /// The last byte of the answer was handed to the kernel.
    pub answered: u64,
    /// Not answered, because the server ended the connection.
    pub unanswered: u64,
    /// Begun and not answered, because the peer broke the connection, or never sent the rest.
    pub aborted: u64,
}

/// How many connections there were and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Accepted, including those of the sweep.
    pub accepted: u64,
    /// Open when the stop was requested.
    pub open_at_stop: u64,
    /// Taken from the accept queue when the stop began to drain.
    pub swept: u64,
    /// Ended as [`CloseReason::Drained`].
    pub drained: u64,
    /// Ended as [`CloseReason::PeerClosed`].
    pub peer_closed: u64,
    /// Ended as [`CloseReason::ProtocolClosed`].
    pub protocol_closed: u64,
    /// Ended as [`CloseReason::ResetByPeer`].
    pub reset_by_peer: u64,
    /// Ended as [`CloseReason::HostClosed`].
    pub host_closed: u64,
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
    /// Clients that were waiting in the accept queue and could not be served, and those that the
    /// poll refused at any time; `None` while the queue is open or where the number cannot be
    /// known.
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
    /// Returns the connections that ended, for whatever reason; equals `accepted` after a stop.
    #[must_use]
    pub fn closed(&self) -> u64 {
        [
            self.drained,
            self.peer_closed,
            self.protocol_closed,
            self.reset_by_peer,
            self.host_closed,
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
            CloseReason::HostClosed => &mut self.host_closed,
            CloseReason::IdleTimeout => &mut self.idle_timeout,
            CloseReason::IoError => &mut self.io_error,
            CloseReason::PeerClosed => &mut self.peer_closed,
            CloseReason::ProtocolClosed => &mut self.protocol_closed,
            CloseReason::ResetByPeer => &mut self.reset_by_peer,
        };
        *count = count.saturating_add(1);
    }
}

/// What a report proves; each grade implies the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Grade {
    /// Bytes, requests or waiting clients were lost, or it cannot be shown that none were.
    Lossy,
    /// Every request was answered, and every byte that a peer was owed was handed to the kernel for
    /// it, unless the peer gave it up; no client was left in the accept queue, and no half-open
    /// handshake was cut off.
    Lossless,
    /// And every connection of the stop is known to have received everything; the queues were
    /// gated, the half-open handshakes known and none of them stale.
    Confirmed,
    /// And on these connections no byte came too late to be served, and no request was left
    /// incomplete.
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
///
/// Its `Display` form are three lines: the connections, the bytes, and the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The name of the protocol: see [`Protocol::name`](crate::protocol::Protocol::name).
    pub protocol: &'static str,
    /// Where the server is in its life: the rest is final in [`Phase::Finished`].
    pub phase: Phase,
    /// Why the server stopped; `None` before a stop.
    pub cause: Option<Cause>,
    /// From the first turn to the last.
    pub uptime: Duration,
    /// From the first stop request to the last close; `None` before a stop.
    pub stop: Option<Duration>,
    /// How long each phase of the stop took.
    pub phases: PhaseTimes,
    /// The connections.
    pub connections: ConnectionCounts,
    /// The bytes.
    pub bytes: ByteCounts,
    /// The requests; `None` for the echo, which has none.
    pub requests: Option<RequestCounts>,
    /// Whether the stop kept new handshakes out of every queue that is the server's alone before
    /// it emptied them; `None` while they are open.
    pub gated: Option<bool>,
    /// Connections of the stop that were closed without proof that the peer's kernel has
    /// everything.
    pub unconfirmed: u64,
    /// What came too late to be served or was left incomplete on connections of the stop: bytes,
    /// and requests of which all that came was consumed.
    pub(crate) untimely: u64,
    /// Bytes that had been handed to the kernel and were destroyed there: they count as unsent,
    /// not as written, but counters of a running server never fall.
    pub(crate) destroyed: u64,
}

impl Report {
    /// Takes a connection of the stop into account. `is_proved`: its peer has everything;
    /// `aborted`: requests that the peer left incomplete.
    pub(crate) fn judge(&mut self, is_proved: bool, bytes: &ByteCounts, aborted: u64) {
        self.unconfirmed = self.unconfirmed.saturating_add(u64::from(!is_proved));
        let untimely = bytes.late.saturating_add(bytes.incomplete).saturating_add(aborted);
        self.untimely = self.untimely.saturating_add(untimely);
    }

    /// Returns what the stop proved; `None` until it is over.
    #[must_use]
    pub fn grade(&self) -> Option<Grade> {
        (self.phase == Phase::Finished).then(|| self.final_grade())
    }

    fn final_grade(&self) -> Grade {
        let half_open = self.connections.half_open;
        let lossy = self.bytes.unsent > 0
            || self.bytes.unserved > 0
            || self.requests.is_some_and(|requests| requests.unanswered > 0)
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
        } else if self.untimely > 0 {
            Grade::Confirmed
        } else {
            Grade::Complete
        }
    }

    /// Returns the exit status for a process that ends with this report: 0 if the server stopped
    /// on request with the grade `least` or a better one, 3 if it stopped on request with a lower
    /// one, 1 if something failed or the stop is not over.
    ///
    /// [`Grade::Lossless`] asks that nothing was lost, [`Grade::Complete`] for the proof that
    /// nothing could be.
    #[must_use]
    pub fn exit_code(&self, least: Grade) -> u8 {
        match (&self.cause, self.grade()) {
            (Some(cause), Some(grade)) if cause.is_request() => {
                if grade >= least {
                    0
                } else {
                    3
                }
            }
            _ => 1,
        }
    }

    /// Returns the report as one JSON object on one line, schema `netgrace-report/1`. What is not
    /// known, or not known yet, is null. `least` is for the key `exit_code`: see
    /// [`exit_code`](Self::exit_code).
    #[must_use]
    pub fn to_json(&self, least: Grade) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        json::write(self, least, &mut text).unwrap_or_default();
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_connections(self, f)?;
        f.write_str("\n")?;
        text::write_bytes(self, f)?;
        f.write_str("\n")?;
        text::write_verdict(self, f)
    }
}

/// Counters of a running server, taken at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The phase that the server is in.
    pub phase: Phase,
    /// Connections open now.
    pub open: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections closed so far.
    pub closed: u64,
    /// Bytes read so far.
    pub read: u64,
    /// Bytes written so far.
    pub written: u64,
    /// Pending output and unconsumed input of all connections, in bytes.
    pub held: u64,
    /// The requests so far; `None` for the echo, which has none.
    pub requests: Option<RequestCounts>,
    /// Failures of accept, the peers' and the system's.
    pub accept_errors: u64,
    /// Connections closed as soon as they were accepted: over
    /// [`max_per_ip`](crate::Config::max_per_ip), or refused by the observer.
    pub refused: u64,
    /// Turns of the loop.
    pub turns: u64,
}

#[cfg(test)]
mod tests;
