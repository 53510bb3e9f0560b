//! One connection as two kernels see it: two directions, the packets between them, FIN, RST, and
//! the edges that an edge-triggered poll at the server's end would report.

use std::sync::OnceLock;

use super::direction::Direction;
use super::link::{Link, Wire};
use super::random::Random;
use crate::engine::status::Locality;
use crate::token::Readiness;

/// The bytes of a stream repeat after so many, a number that no buffer is a multiple of.
const PERIOD: u64 = 64_507;

/// The smallest full segment that a server takes for one.
pub(super) const LEAST_SEGMENT: u64 = 536;

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

/// Sizes of the four queues in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The server's receive and send queue.
    pub(super) recv: u64,
    pub(super) send: u64,
    /// The client's receive and send queue.
    pub(super) peer: u64,
    pub(super) peer_send: u64,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// A network that loses a peer: repetitions that our kernel makes, and the error after them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vanishing {
    pub(super) repetitions: u8,
    pub(super) error: i32,
}

#[derive(Debug)]
pub(super) struct Duplex {
    pub(super) link: Link,
    pub(super) random: Random,
    /// From the client to the server, and back.
    pub(super) up: Direction,
    pub(super) down: Direction,
    pub(super) to_server: Wire,
    pub(super) to_client: Wire,
    /// The client's connect() has returned; its ACK has come.
    pub(super) connected: bool,
    pub(super) established: bool,
    /// The server read the client's FIN.
    pub(super) eof_read: bool,
    /// Urgent data was sent up to here; it stands here: a read stops.
    pub(super) urgent: Option<u64>,
    pub(super) mark: Option<u64>,
    /// The error that the next call at the server's end reports.
    pub(super) fault: Option<i32>,
    /// The connection is broken at the server's end.
    pub(super) dead: bool,
    /// The server's end sent an RST.
    pub(super) cut: bool,
    /// The server closed its end; it had asked for an RST.
    pub(super) dropped: bool,
    pub(super) reset_asked: bool,
    /// The client closed both ways, or reset.
    pub(super) peer_closed: bool,
    pub(super) peer_reset: bool,
    /// An RST came to the client.
    pub(super) reset_seen: bool,
    /// The network has lost the client.
    pub(super) vanished: Option<Vanishing>,
    pub(super) repetitions: u8,
    pub(super) repeat_at: Option<u64>,
    /// Our own kernel gives up after so long (TCP_USER_TIMEOUT), and did.
    pub(super) user_timeout: Option<u64>,
    pub(super) stuck_since: Option<u64>,
    pub(super) timed_out: bool,
    /// When a packet of the client's last came, and when one last acknowledged something new.
    pub(super) last_ack: u64,
    pub(super) last_progress: u64,
    /// A write found no room: room will be an edge.
    pub(super) starved: bool,
    /// The poll has something to report.
    pub(super) edge: bool,
}

impl Duplex {
    pub(super) fn new(sizes: Sizes, link: Link, seed: u64) -> Self {
        let mut up = Direction::new(sizes.peer_send, sizes.recv, &link);
        let mut down = Direction::new(sizes.send, sizes.peer, &link);
        up.set_sender(link.nodelay, link.gaps);
        down.set_sender(true, 0);
        Self {
            link,
            random: Random::new(seed),
            up,
            down,
            to_server: Wire::default(),
            to_client: Wire::default(),
            connected: false,
            established: false,
            eof_read: false,
            urgent: None,
            mark: None,
            fault: None,
            dead: false,
            cut: false,
            dropped: false,
            reset_asked: false,
            peer_closed: false,
            peer_reset: false,
            reset_seen: false,
            vanished: None,
            repetitions: 0,
            repeat_at: None,
            user_timeout: None,
            stuck_since: None,
            timed_out: false,
            last_ack: 0,
            last_progress: 0,
            starved: false,
            edge: false,
        }
    }

    /// Enough room that the kernel calls the socket writable.
    pub(super) fn is_writable(&self) -> bool {
        let size = if self.link.is_unix() { self.down.size } else { self.down.capacity };
        self.down.room() * 3 >= size || self.down.fin
    }

    /// Whether a read would give anything but `WouldBlock`.
    pub(super) fn has_input(&self) -> bool {
        let end = self.up.fin_arrived && !self.eof_read;
        self.up.unread() > 0 || end || self.fault.is_some()
    }

    /// Whether both ends have acknowledged the other's FIN.
    pub(super) fn is_over(&self) -> bool {
        self.down.fin_acked && self.up.fin_arrived
    }

    /// How much one read of `size` gives.
    pub(super) fn readable(&mut self, size: u64) -> u64 {
        let mut there = self.up.unread().min(size);
        match self.mark {
            Some(mark) if mark > self.up.read => there = there.min(mark - self.up.read),
            _ => self.mark = None,
        }
        there
    }

    /// Whether a read that stopped here stopped at urgent data.
    pub(super) fn is_at_mark(&self) -> bool {
        self.mark == Some(self.up.read)
    }

    /// The process at one end takes what came.
    pub(super) fn take(&mut self, side: Side, count: u64, now: u64) {
        let pipe = match side {
            Side::Server => &mut self.up,
            Side::Client => &mut self.down,
        };
        if !pipe.take(count) {
            return;
        }
        // That a window of less than a small segment was full no server can see.
        let is_seen = side == Side::Client || pipe.size >= 2 * LEAST_SEGMENT;
        if self.link.losses > 0 && is_seen && pipe.is_update() && self.random.one_in(3) {
            self.link.losses -= 1;
            pipe.update_lost = true;
            pipe.tell();
            return;
        }
        self.emit(side, now, false, false);
        if side == Side::Server && self.link.locality == Locality::Host {
            // On one host the read that opens a window brings what waited for it.
            self.to_client.hurry(now);
            self.run(now);
            self.to_server.hurry(now);
            self.run(now);
        }
    }

    /// The client's urgent data is sent, at the end of what was handed over.
    pub(super) fn send_urgent(&mut self) {
        self.urgent = Some(self.up.written);
    }

    /// The connection breaks at the server's end.
    pub(super) fn fail(&mut self, error: i32) {
        if !self.dead && !self.cut {
            self.fault = Some(error);
            self.dead = true;
            self.edge = true;
            self.down.purged = true;
        }
    }

    /// The network loses the client.
    pub(super) fn vanish(&mut self, how: Vanishing) {
        self.vanished = Some(how);
        self.up.purged = true;
        self.to_client.clear();
        self.to_server.clear();
    }

    /// The client resets the connection.
    pub(super) fn reset_by_peer(&mut self, now: u64) {
        if !self.peer_reset {
            self.peer_reset = true;
            self.up.purged = true;
            self.emit(Side::Client, now, true, false);
        }
    }

    /// The client closes its socket: with unread bytes that is an RST.
    pub(super) fn close_peer(&mut self, now: u64) {
        self.peer_closed = true;
        if self.down.unread() > 0 {
            self.reset_by_peer(now);
        } else {
            self.up.fin = true;
        }
    }

    /// The server's end closes: unread bytes or a wish make that an RST.
    pub(super) fn close(&mut self, now: u64) {
        self.dropped = true;
        if self.reset_asked || self.up.unread() > 0 {
            self.cut_off(now);
        } else {
            self.down.fin = true;
        }
    }

    /// Nobody listens, or nobody does any more.
    pub(super) fn refuse(&mut self, now: u64) {
        self.dropped = true;
        self.cut_off(now);
    }

    pub(super) fn cut_off(&mut self, now: u64) {
        if !self.dead && !self.cut {
            self.cut = true;
            self.down.purged = true;
            self.emit(Side::Server, now, true, false);
        }
    }

    /// What a poll reports of the server's end now.
    pub(super) fn harvest(&mut self) -> Readiness {
        self.edge = false;
        let writable = self.is_writable();
        self.starved |= !writable;
        let mut flags = Readiness::NONE;
        for (said, flag) in [
            (self.up.unread() > 0 || self.up.fin_arrived || self.dead, Readiness::READABLE),
            (self.mark.is_some(), Readiness::READABLE | Readiness::PRIORITY),
            (writable || self.dead, Readiness::WRITABLE),
            (self.up.fin_arrived || self.dead, Readiness::CLOSED),
            (self.fault.is_some(), Readiness::ERROR),
        ] {
            if said {
                flags |= flag;
            }
        }
        flags
    }

    /// Has a packet for the server come earlier than it would.
    pub(super) fn hurry(&mut self, now: u64) {
        self.to_server.hurry(now);
    }
}
