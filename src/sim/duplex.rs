//! One connection as two kernels see it: queues of limited size, FIN, RST, and the edges that an
//! edge-triggered poll at the server's end would report.
//!
//! Bytes are counted, not stored: what stands at each place of a stream is known.

use std::sync::OnceLock;

use super::random::Random;
use crate::token::Readiness;

/// The bytes of a stream repeat after so many, a number that no buffer is a multiple of.
const PERIOD: u64 = 64_507;

/// What stands in a stream from `start` on; at most twice the period.
pub(super) fn text(start: u64, len: usize) -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let mut random = Random::new(5388);
        let period: Vec<u8> = (0..PERIOD).map(|_| random.next() as u8).collect();
        period.iter().chain(&period).chain(&period).copied().collect()
    });
    let from = (start % PERIOD) as usize;
    &text[from..from + len]
}

/// Sizes of the three queues in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The server's receive queue.
    pub(super) recv: u64,
    /// The server's send queue.
    pub(super) send: u64,
    /// The peer's receive queue.
    pub(super) peer: u64,
}

#[derive(Debug)]
pub(super) struct Duplex {
    sizes: Sizes,
    /// Bytes that ever came into the server's receive queue, and that the server took.
    pub(super) arrived: u64,
    pub(super) read: u64,
    /// The peer's FIN came, and the server read it.
    pub(super) peer_fin: bool,
    pub(super) eof_read: bool,
    /// Urgent data stands here: a read stops.
    mark: Option<u64>,
    /// Bytes that the server ever wrote, that came to the peer's kernel, that the peer took.
    pub(super) written: u64,
    pub(super) delivered: u64,
    pub(super) received: u64,
    /// The server's FIN was sent, and came.
    pub(super) fin: bool,
    pub(super) fin_arrived: bool,
    /// The error that the next call at the server's end reports.
    pub(super) fault: Option<i32>,
    /// No packet can come or go any more.
    pub(super) dead: bool,
    /// The server's end sent an RST.
    pub(super) cut: bool,
    /// The server closed its end; it had asked for an RST.
    pub(super) dropped: bool,
    pub(super) reset_asked: bool,
    /// The peer closed both ways.
    pub(super) peer_closed: bool,
    /// A write found no room: room will be an edge.
    pub(super) starved: bool,
    /// The poll has something to report.
    pub(super) edge: bool,
}

impl Duplex {
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            arrived: 0,
            read: 0,
            peer_fin: false,
            eof_read: false,
            mark: None,
            written: 0,
            delivered: 0,
            received: 0,
            fin: false,
            fin_arrived: false,
            fault: None,
            dead: false,
            cut: false,
            dropped: false,
            reset_asked: false,
            peer_closed: false,
            starved: false,
            edge: false,
        }
    }

    pub(super) fn recv_room(&self) -> u64 {
        self.sizes.recv - (self.arrived - self.read)
    }

    pub(super) fn send_room(&self) -> u64 {
        self.sizes.send - (self.written - self.delivered)
    }

    /// Enough room that the kernel calls the socket writable.
    pub(super) fn is_writable(&self) -> bool {
        self.send_room() * 3 >= self.sizes.send || self.fin
    }

    /// Whether a read would give anything but `WouldBlock`.
    pub(super) fn has_input(&self) -> bool {
        self.arrived > self.read || (self.peer_fin && !self.eof_read) || self.fault.is_some()
    }

    /// How much one read of `size` gives.
    pub(super) fn readable(&mut self, size: u64) -> u64 {
        let mut there = (self.arrived - self.read).min(size);
        match self.mark {
            Some(mark) if mark > self.read => there = there.min(mark - self.read),
            _ => self.mark = None,
        }
        there
    }

    /// Whether a read that stopped here stopped at urgent data.
    pub(super) fn is_at_mark(&self) -> bool {
        self.mark == Some(self.read)
    }

    /// Bytes of the peer's come in. A closed end answers with an RST.
    pub(super) fn arrive(&mut self, count: u64) {
        if self.dropped {
            return self.cut_off();
        }
        self.arrived += count;
        self.edge = true;
    }

    /// The peer's urgent data comes in, at the end of what is there.
    pub(super) fn arrive_urgent(&mut self) {
        self.mark = Some(self.arrived);
        self.edge = true;
    }

    pub(super) fn arrive_fin(&mut self) {
        self.peer_fin = true;
        self.edge = true;
    }

    /// The connection breaks: an RST of the peer, or an error of the network.
    pub(super) fn fail(&mut self, error: i32) {
        if !self.dead {
            self.fault = Some(error);
            self.dead = true;
            self.edge = true;
        }
    }

    /// The peer closes its socket: with unread bytes that is an RST.
    pub(super) fn close_peer(&mut self) {
        if self.received < self.delivered {
            self.fail(libc::ECONNRESET);
        } else if !self.peer_fin {
            self.arrive_fin();
        }
        self.peer_closed = true;
    }

    /// What is in the server's send queue comes to the peer's kernel, as far as there is room.
    pub(super) fn deliver(&mut self) {
        if self.dead || self.cut {
            return;
        }
        let waiting = self.written - self.delivered;
        if self.peer_closed && waiting > 0 {
            return self.fail(libc::ECONNRESET);
        }
        self.delivered += waiting.min(self.sizes.peer - (self.delivered - self.received));
        if self.fin && self.delivered == self.written {
            self.fin_arrived = true;
        }
        if self.starved && self.is_writable() {
            self.starved = false;
            self.edge = true;
        }
    }

    /// The server's end closes: unread bytes or a wish make that an RST.
    pub(super) fn close(&mut self) {
        self.dropped = true;
        if self.reset_asked || self.arrived > self.read {
            self.cut_off();
        } else {
            self.fin = true;
        }
    }

    /// Nobody listens.
    pub(super) fn refuse(&mut self) {
        self.dropped = true;
        self.cut_off();
    }

    fn cut_off(&mut self) {
        self.cut |= !self.dead;
    }

    /// What a poll reports of the server's end now.
    pub(super) fn harvest(&mut self) -> Readiness {
        self.edge = false;
        let writable = self.is_writable();
        self.starved |= !writable;
        let mut flags = Readiness::NONE;
        for (said, flag) in [
            (self.arrived > self.read || self.peer_fin || self.dead, Readiness::READABLE),
            (self.mark.is_some(), Readiness::READABLE | Readiness::PRIORITY),
            (writable || self.dead, Readiness::WRITABLE),
            (self.peer_fin || self.dead, Readiness::CLOSED),
            (self.fault.is_some(), Readiness::ERROR),
        ] {
            if said {
                flags |= flag;
            }
        }
        flags
    }

    /// What the kernel says is not acknowledged, the FIN included.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.written - self.delivered + u64::from(self.fin && !self.fin_arrived)
    }
}
