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
    /// Still open when the stop was forced, with everything echoed that was read.
    ForcedClean,
    /// Cut with bytes unsent: the peer sees a reset.
    ForcedLossy,
    /// No byte moved either way for the idle timeout.
    IdleTimeout,
    /// Another error of the socket, such as a timeout of the network.
    IoError,
    /// The peer closed, and no pending output was left.
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

/// What became of the bytes. Once a connection is closed,
/// `read = written + late + unsent + peer_aborted`, for each connection and summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteCounts {
    /// Received from peers.
    pub read: u64,
    /// Echoed: handed to the kernel for the peer.
    pub written: u64,
    /// Read and discarded after the server's FIN.
    pub late: u64,
    /// Read and not echoed, because the server cut the connection.
    pub unsent: u64,
    /// Read and not echoed, because the peer or the network broke the connection.
    pub peer_aborted: u64,
}

impl ByteCounts {
    /// Returns the pending output: what was read and not yet accounted for. Zero after a stop.
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
    /// Returns the connections that ended, for whatever reason; equals `accepted` after a stop.
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

/// What a report proves; each grade implies the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Grade {
    /// Bytes or waiting clients were lost, or it cannot be shown that none were.
    Lossy,
    /// Every byte that was read was handed to the kernel for its peer, or the peer gave it up; no
    /// client was left in the accept queue, and no half-open handshake was cut off.
    Lossless,
    /// And every connection of the stop is known to have received everything; the queues were
    /// gated, the half-open handshakes known and none of them stale.
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
///
/// Its `Display` form are three lines: the connections, the bytes, and the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
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
    /// Whether the stop kept new handshakes out of every queue that is the server's alone before
    /// it emptied them; `None` while they are open.
    pub gated: Option<bool>,
    /// Connections of the stop of which it is not known that the peer received everything.
    pub unconfirmed: u64,
}

impl Report {
    /// Returns what the stop proved; `None` until it is over.
    #[must_use]
    pub fn grade(&self) -> Option<Grade> {
        (self.phase == Phase::Finished).then(|| self.final_grade())
    }

    fn final_grade(&self) -> Grade {
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
    /// Bytes echoed so far.
    pub written: u64,
    /// Pending output of all connections, in bytes.
    pub held: u64,
    /// Failures of accept, the peers' and the system's.
    pub accept_errors: u64,
    /// Connections closed as soon as they were accepted: over
    /// [`max_per_ip`](crate::Config::max_per_ip), or refused by the observer.
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

    fn finished() -> Report {
        let cause = Some(Cause::Requested);
        Report { phase: Phase::Finished, cause, ..Report::default() }
    }

    #[test]
    fn each_grade_implies_the_one_before() {
        let mut report = finished();
        assert_eq!(report.grade(), Some(Grade::Lossy), "an unknown queue is not a lossless stop");
        report.connections.backlog_left = Some(0);
        assert_eq!(report.grade(), Some(Grade::Lossless), "an open gate confirms nothing");
        report.gated = Some(true);
        assert_eq!(report.grade(), Some(Grade::Lossless), "unknown handshakes confirm nothing");
        report.connections.half_open = Some(HalfOpen::default());
        assert_eq!((report.grade(), report.exit_code(Grade::Complete)), (Some(Grade::Complete), 0));
        report.bytes.late = 1;
        let graded = (report.grade(), report.exit_code(Grade::Complete));
        assert_eq!(graded, (Some(Grade::Confirmed), 3));
        assert_eq!(report.exit_code(Grade::Confirmed), 0);
        report.unconfirmed = 1;
        assert_eq!((report.grade(), report.exit_code(Grade::Lossless)), (Some(Grade::Lossless), 0));
        report.bytes.unsent = 1;
        assert_eq!((report.grade(), report.exit_code(Grade::Lossless)), (Some(Grade::Lossy), 3));
        report.cause = Some(Cause::PollFailed("gone".to_owned()));
        assert_eq!(report.exit_code(Grade::Lossless), 1);
    }

    #[test]
    fn handshakes_and_cuts_bound_the_grade() {
        let handshakes = |stale, left| {
            let mut report = finished();
            report.connections.backlog_left = Some(0);
            report.gated = Some(true);
            report.connections.half_open =
                Some(HalfOpen { seen: 3, completed: 3 - stale - left, stale, left });
            report
        };
        assert_eq!(handshakes(0, 0).grade(), Some(Grade::Complete));
        assert_eq!(handshakes(1, 0).grade(), Some(Grade::Lossless));
        assert_eq!(handshakes(1, 1).grade(), Some(Grade::Lossy));
        let mut cut = handshakes(0, 0);
        cut.connections.forced_lossy = 1;
        assert_eq!(cut.grade(), Some(Grade::Lossy));
        let mut open = handshakes(0, 0);
        open.gated = Some(false);
        assert_eq!(open.grade(), Some(Grade::Lossless));
    }

    #[test]
    fn a_live_report_has_no_grade() {
        for phase in [Phase::Running, Phase::LameDuck, Phase::Draining, Phase::Forcing] {
            let report = Report { phase, ..finished() };
            assert_eq!((report.grade(), report.exit_code(Grade::Lossy)), (None, 1));
            assert!(report.to_json(Grade::Lossy).contains(r#""grade":null,"exit_code":null"#));
            let text = report.to_string();
            let last = text.lines().last().unwrap_or_default();
            assert_eq!(last, format!("{phase}: the end of the stop decides the grade"));
        }
    }

    fn lossy() -> Report {
        let mut report = finished();
        report.cause = Some(Cause::Signal(15));
        report.uptime = Duration::from_secs(3);
        report.stop = Some(Duration::from_micros(3_140));
        report.phases.draining = Duration::from_micros(3_000);
        report.connections.accepted = 3;
        report.connections.open_at_stop = 2;
        report.connections.drained = 1;
        report.connections.peer_closed = 1;
        report.connections.forced_lossy = 1;
        report.bytes.read = 10;
        report.bytes.written = 7;
        report.bytes.unsent = 3;
        report
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let mut report = lossy();
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "connections: 3 accepted, 2 open when the stop began, 1 drained, \
                 1 closed by the peer, 1 cut",
                "bytes: 10 read = 7 echoed + 0 too late + 3 unsent + 0 given up by the peer",
                "stopped by SIGTERM after 3.14 ms: 1 connection drained, 1 cut, 7 bytes echoed, \
                 3 lost, clients left in the queue: unknown; grade lossy",
            ]
        );
        report.connections.backlog_left = Some(1);
        report.connections.half_open = Some(HalfOpen { seen: 1, left: 1, ..HalfOpen::default() });
        report.cause = Some(Cause::PollFailed("gone".to_owned()));
        report.stop = Some(Duration::ZERO);
        let text = report.to_string();
        assert!(text.contains("2 open when the stop began, 1 half open then, "), "{text}");
        assert!(text.contains("\nstopped, poll failed: gone, at once: "), "{text}");
        let end = "3 lost, 1 client left in the queue, 1 half-open handshake reset; grade lossy";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn json_has_every_key_and_null_for_what_is_not_known() {
        assert_eq!(
            lossy().to_json(Grade::Lossless),
            r#"{"schema":"netgrace-report/1","phase":"finished","grade":"lossy","exit_code":3,"#
                .to_owned()
                + r#""cause":"SIGTERM","uptime_ns":3000000000,"stop_ns":3140000,"#
                + r#""phases":{"lame_duck_ns":0,"draining_ns":3000000,"forcing_ns":0},"open":0,"#
                + r#""connections":{"accepted":3,"open_at_stop":2,"swept":0,"drained":1,"#
                + r#""peer_closed":1,"reset_by_peer":0,"idle_timeout":0,"io_error":0,"#
                + r#""forced_clean":0,"forced_lossy":1,"unconfirmed":0,"half_open":null,"#
                + r#""backlog_left":null},"gated":null,"bytes":{"read":10,"written":7,"late":0,"#
                + r#""unsent":3,"peer_aborted":0}}"#
        );
        let mut report = lossy();
        (report.stop, report.uptime, report.gated) = (None, Duration::MAX, Some(false));
        report.cause = Some(Cause::ListenerFailed("a \"b\\c\"\n".to_owned()));
        report.connections.half_open = Some(HalfOpen { seen: 6, completed: 3, stale: 2, left: 1 });
        let json = report.to_json(Grade::Complete);
        for part in [
            r#""uptime_ns":null,"stop_ns":null"#,
            r#""cause":"listener failed: a \"b\\c\"\u000a""#,
            r#""half_open":{"seen":6,"completed":3,"stale":2,"left":1}"#,
            r#""exit_code":1"#,
            r#""gated":false"#,
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        report.cause = None;
        assert!(report.to_json(Grade::Lossy).contains(r#""exit_code":1,"cause":null"#));
    }
}
