//! One direction of a connection: the send queue of one kernel and the receive queue of the other.
//!
//! Bytes are counted, not stored: what stands at each place of a stream is known.

use super::link::{Link, Packet};
use super::random::Random;

/// Segments that a sender may have on their way before the first acknowledgement.
const FIRST_FLIGHT: u64 = 10;
/// An acknowledgement may wait so long for something to go with, in microseconds.
const DELAYED_ACK: u64 = 40_000;
/// Acknowledgements that are not delayed after a start or a silence.
const QUICK: u32 = 8;
/// The longest pause that a client's kernel was seen to make between two flights.
const GAP: u64 = 17_000;

#[derive(Debug)]
pub(super) struct Direction {
    /// Bytes that the sender's process handed over, that its kernel sent, that it knows to have
    /// arrived.
    pub(super) written: u64,
    pub(super) sent: u64,
    pub(super) acked: u64,
    /// The sender's send buffer.
    pub(super) capacity: u64,
    /// How far the receiver's window reaches, as the sender knows it.
    edge: u64,
    pub(super) segment: u64,
    /// Bytes that may be on their way.
    congestion: u64,
    nodelay: bool,
    /// The end of the stream was handed over, was sent, is known to have arrived.
    pub(super) fin: bool,
    pub(super) fin_sent: bool,
    pub(super) fin_acked: bool,
    /// A reset has destroyed the send queue.
    pub(super) purged: bool,
    /// No flight before then, and how many such pauses there may be.
    pause_until: u64,
    gaps: u32,
    /// The receiver's last word on its window was lost; when it is asked for.
    pub(super) update_lost: bool,
    pub(super) probe_at: Option<u64>,
    probes: u32,
    /// When bytes were last sent.
    pub(super) last_sent: u64,
    /// Bytes that came into the receive queue, and that the receiver's process took.
    pub(super) arrived: u64,
    pub(super) read: u64,
    /// The receive buffer.
    pub(super) size: u64,
    pub(super) fin_arrived: bool,
    /// What the receiver last said.
    told: u64,
    told_edge: u64,
    /// When the receiver acknowledges at the latest.
    pub(super) ack_due: Option<u64>,
    quick: u32,
    last_arrival: u64,
    /// What came last ended in less than a full segment.
    pub(super) is_short: bool,
    /// The largest segment that came.
    pub(super) largest: u64,
    /// A Unix socket: what is written lies in the receive queue.
    direct: bool,
}

impl Direction {
    pub(super) fn new(capacity: u64, size: u64, link: &Link) -> Self {
        let direct = link.is_unix();
        let segment = if direct { 1 } else { link.segment.min(size / 2).max(1) };
        Self {
            written: 0,
            sent: 0,
            acked: 0,
            capacity,
            edge: if direct { u64::MAX } else { size },
            segment,
            congestion: if direct { u64::MAX } else { FIRST_FLIGHT * segment },
            nodelay: direct,
            fin: false,
            fin_sent: false,
            fin_acked: false,
            purged: false,
            pause_until: 0,
            gaps: 0,
            update_lost: false,
            probe_at: None,
            probes: 0,
            last_sent: 0,
            arrived: 0,
            read: 0,
            size,
            fin_arrived: false,
            told: 0,
            told_edge: size,
            ack_due: None,
            quick: QUICK,
            last_arrival: 0,
            is_short: false,
            largest: 0,
            direct,
        }
    }

    /// How the sender's kernel behaves.
    pub(super) fn set_sender(&mut self, nodelay: bool, gaps: u32) {
        self.nodelay |= nodelay;
        self.gaps = if self.direct { 0 } else { gaps };
    }

    /// Bytes that the sender's kernel takes.
    pub(super) fn room(&self) -> u64 {
        if self.direct {
            self.size - (self.written - self.read)
        } else {
            self.capacity - (self.written - self.acked)
        }
    }

    pub(super) fn unread(&self) -> u64 {
        self.arrived - self.read
    }

    /// What the sender's kernel says is not acknowledged, the FIN included.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.written - self.acked + u64::from(self.fin && !self.fin_acked)
    }

    /// Bytes that may be sent now.
    fn sendable(&self) -> u64 {
        let limit = self.written.min(self.edge).min(self.acked.saturating_add(self.congestion));
        let there = limit.saturating_sub(self.sent);
        let whole = there / self.segment * self.segment;
        let last = self.sent + there == self.written;
        let alone = self.sent == self.acked && whole == 0;
        if last && (self.nodelay || self.fin || alone) { there } else { whole }
    }

    /// Whether bytes wait for the receiver's window only.
    pub(super) fn is_blocked(&self) -> bool {
        !self.purged && self.sent == self.acked && self.written > self.sent && self.sendable() == 0
    }

    /// Sends what may be sent. Returns whether there was something.
    pub(super) fn advance(&mut self, now: u64, random: &mut Random) -> bool {
        if self.purged || self.fin_sent || now < self.pause_until {
            return false;
        }
        let count = self.sendable();
        self.sent += count;
        let end = self.fin && self.sent == self.written;
        self.fin_sent = end;
        if count > 0 && self.gaps > 0 && random.one_in(3) {
            self.gaps -= 1;
            self.pause_until = now + random.size(GAP);
        }
        if count > 0 || end {
            self.last_sent = now;
        }
        count > 0 || end
    }

    /// When a pause between two flights ends, if something waits for that.
    pub(super) fn next_flight(&self, now: u64) -> Option<u64> {
        let waits = !self.purged && !self.fin_sent && (self.sendable() > 0 || self.fin);
        (waits && self.pause_until > now).then_some(self.pause_until)
    }

    /// A packet of the receiver's comes. Returns whether it acknowledges anything new.
    pub(super) fn acknowledge(&mut self, packet: &Packet) -> bool {
        let new = packet.ack.saturating_sub(self.acked);
        let fin = packet.fin_ack && !self.fin_acked;
        self.acked += new;
        self.fin_acked |= packet.fin_ack;
        self.congestion = self.congestion.saturating_add(new);
        if packet.edge > self.edge {
            self.edge = packet.edge;
            (self.update_lost, self.probe_at, self.probes) = (false, None, 0);
        }
        new > 0 || fin
    }

    /// Bytes or the end of the stream come.
    pub(super) fn arrive(&mut self, packet: &Packet, now: u64, random: &mut Random) {
        let new = packet.sent - self.arrived;
        if new > 0 {
            self.is_short = !new.is_multiple_of(self.segment);
            self.largest = self.largest.max(new.min(self.segment));
        }
        self.arrived = packet.sent;
        self.fin_arrived |= packet.fin;
        if now - self.last_arrival > DELAYED_ACK * 5 {
            self.quick = QUICK;
        }
        self.last_arrival = now;
        let soon = packet.fin || self.arrived - self.told >= 2 * self.segment || self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        let due = if soon || self.direct { now } else { now + random.between(4_000, DELAYED_ACK) };
        self.ack_due = Some(self.ack_due.map_or(due, |before| before.min(due)));
    }

    /// The next acknowledgements are not delayed, and one that is due goes now.
    pub(super) fn quick_ack(&mut self, now: u64) {
        self.quick = QUICK;
        self.ack_due = self.ack_due.map(|_| now);
    }

    /// The receiver's process takes bytes. Returns whether the sender is to be told.
    pub(super) fn take(&mut self, count: u64) -> bool {
        self.read += count;
        let grown = self.read + self.size - self.told_edge;
        !self.direct && grown >= (2 * self.segment).min(self.size / 2).max(1)
    }

    /// What the receiver says in a packet.
    pub(super) fn tell(&mut self) -> (u64, bool, u64) {
        self.told = self.arrived;
        self.told_edge = self.told_edge.max(self.read.saturating_add(self.size));
        self.ack_due = None;
        (self.told, self.fin_arrived, if self.direct { u64::MAX } else { self.told_edge })
    }

    /// Whether a packet would say nothing new but how far the window reaches.
    pub(super) fn is_update(&self) -> bool {
        self.told == self.arrived && self.ack_due.is_none()
    }

    /// Asks the receiver for its window, if it is time for that. Returns whether it is.
    pub(super) fn probe(&mut self, now: u64, timeout: u64) -> bool {
        if !self.update_lost || !self.is_blocked() {
            return false;
        }
        let due = self.probe_at.is_some_and(|at| at <= now);
        if due || self.probe_at.is_none() {
            self.probe_at = Some(now + (timeout << self.probes.min(6)));
            self.probes += u32::from(due);
        }
        due
    }
}
