//! What the kernel says of one connection.

use std::time::Duration;

use super::report::CloseReason;

/// Where a peer is, as far as it changes how long its bytes may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locality {
    /// At the other end of a Unix socket: what was written lies with it at once.
    Unix,
    /// On this host.
    Host,
    /// Behind a network.
    Network,
}

/// The state of a connection in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The kernel cannot be asked.
    Unknown,
    /// The connection is over, both FINs are acknowledged.
    Acknowledged,
    /// The connection broke, for this reason; no later call reports it again.
    Broken(CloseReason),
    /// It exists.
    Alive(Transport),
}

/// What sock_diag(7) reports of a connection that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Bytes of ours, sent or not, that the peer has not acknowledged; our FIN counts as one.
    pub(crate) unacknowledged: u32,
    /// Repetitions without success, or probes without an answer, in a row (`idiag_retrans`).
    pub(crate) repetitions: u8,
    /// What is repeated are bytes, not probes of a closed window: their count goes on while the
    /// peer answers without taking them (`idiag_timer` is 1).
    pub(crate) is_repeating: bool,
    /// `None` where the kernel reports no `tcp_info`.
    pub(crate) timing: Option<Timing>,
}

/// So many repetitions or probes without an answer: the network lost the peer.
const LOST: u8 = 3;

/// An answer to a repetition is on its way for so long at most, or two round trips.
const ANSWER: Duration = Duration::from_millis(100);

impl Transport {
    /// Whether the network has lost the peer. One that acknowledges is there, even if its kernel
    /// has no memory for what is repeated: then it drops the bytes, and says how far it got.
    pub(crate) fn is_lost(self) -> bool {
        let is_silent = |timing: Timing| {
            let answer = timing.round_trip.saturating_mul(2).max(ANSWER);
            timing.since_ack > timing.since_sent && timing.since_sent > answer
        };
        self.repetitions >= LOST && (!self.is_repeating || self.timing.is_none_or(is_silent))
    }
}

/// The part of `struct tcp_info` that a stop needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timing {
    /// The smoothed round-trip time (`tcpi_rtt`), and its variation (`tcpi_rttvar`).
    pub(crate) round_trip: Duration,
    pub(crate) variation: Duration,
    /// The size of a full segment of the peer's in bytes (`tcpi_rcv_mss`).
    pub(crate) segment: u32,
    /// Time since the peer last acknowledged something (`tcpi_last_ack_recv`).
    pub(crate) since_ack: Duration,
    /// Time since bytes of ours were last sent (`tcpi_last_data_sent`).
    pub(crate) since_sent: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_acknowledges_is_not_lost() {
        let told = |repetitions, since_ack, since_sent| {
            let [since_ack, since_sent] = [since_ack, since_sent].map(Duration::from_millis);
            let timing = Some(Timing { since_ack, since_sent, ..Timing::default() });
            let transport =
                Transport { unacknowledged: 1, repetitions, is_repeating: true, timing };
            assert!(Transport { is_repeating: false, ..transport }.is_lost() == (repetitions > 2));
            transport.is_lost()
        };
        assert!(told(3, 1_600, 200));
        assert!(!told(2, 1_600, 200), "two repetitions prove nothing");
        assert!(!told(3, 200, 200), "the last one was answered");
        assert!(!told(9, 199, 200), "the last one was answered");
        assert!(!told(3, 1_600, 20), "the answer may be on its way");
        assert!(Transport { repetitions: 3, ..Transport::default() }.is_lost());
    }
}
