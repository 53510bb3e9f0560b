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
    /// Repetitions or window probes in a row that the peer left unanswered (`idiag_retrans`).
    pub(crate) repetitions: u8,
    /// `None` where the kernel reports no `tcp_info`.
    pub(crate) timing: Option<Timing>,
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
