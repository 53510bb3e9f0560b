//! The way between two kernels: how long a packet takes, and what a packet says.

use std::collections::VecDeque;

use super::random::Random;
use crate::engine::status::Locality;

/// The shortest retransmission timeout, less the round trip.
pub(super) const RETRANSMISSION: u64 = 200_000;

/// A way between two kernels. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) locality: Locality,
    /// The shortest time of one packet one way, and what may come on top.
    pub(super) delay: u64,
    pub(super) jitter: u64,
    /// The size of a full segment.
    pub(super) segment: u64,
    /// Window updates that are lost at most.
    pub(super) losses: u32,
    /// Pauses that the client's kernel makes between two flights at most.
    pub(super) gaps: u32,
    /// The client's kernel sends small segments at once (TCP_NODELAY).
    pub(super) nodelay: bool,
}

impl Link {
    /// The round trip and its variation as a kernel measures them.
    pub(super) fn timing(&self) -> (u64, u64) {
        (2 * self.delay + self.jitter, self.jitter.div_ceil(2))
    }

    pub(super) fn is_unix(&self) -> bool {
        self.locality == Locality::Unix
    }

    pub(super) fn retransmission(&self) -> u64 {
        RETRANSMISSION + self.timing().0
    }
}

/// What a packet says: how far its sender had come with both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) at: u64,
    /// Its stream up to here, and whether the end is there.
    pub(super) sent: u64,
    pub(super) fin: bool,
    /// What it has received, and how far its window reaches.
    pub(super) ack: u64,
    pub(super) fin_ack: bool,
    pub(super) edge: u64,
    pub(super) reset: bool,
    /// Asks for an acknowledgement.
    pub(super) probe: bool,
}

/// The packets of one direction on their way, in order.
#[derive(Debug, Default)]
pub(super) struct Wire {
    packets: VecDeque<Packet>,
    last: u64,
}

impl Wire {
    pub(super) fn push(&mut self, mut packet: Packet, link: &Link, random: &mut Random) {
        let jitter = if link.jitter > 0 { random.below(link.jitter + 1) } else { 0 };
        packet.at = self.last.max(packet.at + link.delay + jitter);
        self.last = packet.at;
        self.packets.push_back(packet);
    }

    /// The next packet that has come by `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<Packet> {
        let come = self.next().is_some_and(|at| at <= now);
        if come { self.packets.pop_front() } else { None }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.packets.front().map(|packet| packet.at)
    }

    /// Has the next packet come now.
    pub(super) fn hurry(&mut self, now: u64) {
        if let Some(packet) = self.packets.front_mut() {
            packet.at = packet.at.min(now);
        }
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
    }
}
