//! One connection with all that the simulated world knows of it.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::duplex::Duplex;
use super::peer::Peer;
use super::plan::{Client, Handshake};
use super::transcript::{Over, Transcript};
use crate::config::{Config, Drain};
use crate::engine::observer::Closed;
use crate::engine::phase::Phase;
use crate::engine::status::Locality;

/// Where a client is with regard to the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has not come, or nobody listened.
    Outside,
    /// Its SYN was answered, its ACK has not come.
    HalfOpen,
    /// The kernel has given up its half-open handshake.
    Forgotten,
    /// It waits in a queue.
    Queued,
    /// Accepted, and not decided on.
    Taken,
    /// It has, or had, a slot.
    Open,
    /// Its address had its share.
    Refused,
    /// The poll did not take it.
    Unregistered,
    /// It broke while it waited.
    Broken,
    /// Let go and counted.
    Counted,
    /// In the queue that was left to its owner.
    Left,
    /// In the queue of a listener that was closed.
    Lost,
    /// Half open when the listener was closed.
    Severed,
}

/// What a client may send after the stop was asked for, beside a full receive buffer.
pub(super) const FLOOD: u64 = 64 << 20;
/// The round of a connection, and of one whose window was full, in microseconds.
const ROUND: u64 = 50_000;
const STRAINED: u64 = 250_000;
/// A tick, rounded up twice, and the rounding of the host's sleep.
pub(super) const ROUNDING: u64 = 3_000;

/// One connection and all that is known of it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) duplex: Duplex,
    pub(super) peer: Peer,
    /// What is said on it, if its protocol is not the echo.
    pub(super) talk: Option<Box<Transcript>>,
    /// The kernel can be asked about it.
    pub(super) asks: bool,
    /// Where its streams start.
    pub(super) start: u64,
    pub(super) slot: Option<u32>,
    /// The poll knows it.
    pub(super) on_poll: bool,
    pub(super) address: SocketAddr,
    /// The listener that it comes to.
    pub(super) door: usize,
    pub(super) fate: Fate,
    pub(super) handshake: Handshake,
    /// How long its last ACK is held back.
    pub(super) ack_delay: u64,
    /// It has come to the listener.
    pub(super) has_knocked: bool,
    /// When and in which phase the listener was closed under its half-open handshake.
    pub(super) severed: Option<(u64, Phase)>,
    pub(super) is_open: bool,
    pub(super) closed: Option<Closed>,
    /// It was closed while the stop drained or forced.
    pub(super) in_stop: bool,
    /// When the last byte moved at the server's end, and when the last one before the stop.
    pub(super) last_byte: u64,
    pub(super) last_before: u64,
    /// When it was accepted.
    pub(super) accepted_at: u64,
    /// When the server's FIN was sent, and how many bytes had come by then.
    pub(super) fin_at: Option<u64>,
    pub(super) arrived_at_fin: u64,
    /// When the client's FIN was read.
    pub(super) eof_at: u64,
    /// Bytes that the client had got back when the server was finished.
    pub(super) received_at_end: u64,
    /// When it was last paused, and whether it was at the end of the last turn.
    pub(super) resumed_at: Cell<u64>,
    pub(super) was_paused: Cell<bool>,
    /// When a turn last began or ended with it paused.
    pub(super) paused_at: Cell<u64>,
    /// The phase in which it was accounted for.
    pub(super) closed_in: Option<Phase>,
    /// Bytes read after the server's FIN.
    pub(super) late: u64,
    /// Bytes that the client had handed over when the stop was asked for.
    pub(super) promised: u64,
    /// Bytes that had come, and that were read, when the stop was asked for.
    pub(super) arrived_at_stop: u64,
    pub(super) read_at_stop: u64,
    /// A request was outstanding then, or a part of one had come.
    pub(super) busy_at_stop: bool,
    pub(super) half_at_stop: bool,
    /// The same when everything was to be cut.
    pub(super) arrived_at_force: Option<(u64, u64)>,
    /// Bytes that the protocol had put then.
    pub(super) produced_at_force: Option<u64>,
    /// Bytes that had come before the engine's present call.
    pub(super) settled: u64,
    /// Reading was held back until then, or a full segment or window came.
    pub(super) strained_at: Option<u64>,
    pub(super) noted: u64,
    /// When it was accounted for, everything of ours was acknowledged; the kernel said so.
    pub(super) proved: bool,
    /// Bytes of ours that were not acknowledged then.
    pub(super) unacknowledged: u64,
    /// Bytes not read when the connection was accounted for.
    pub(super) unread: u64,
    /// In the list of what the poll has to report.
    pub(super) queued: bool,
    /// The error that a call reported.
    pub(super) broke: Option<i32>,
    pub(super) wake: Option<u64>,
    /// The last call went wrong for no fault of the peer's.
    pub(super) hiccuped: bool,
    /// When one last did.
    pub(super) hiccuped_at: u64,
    pub(super) interrupts: u32,
    pub(super) hiccups_left: u32,
    pub(super) epoch: u64,
    /// The engine's call in which a write last took less than it was given.
    pub(super) full_epoch: u64,
    pub(super) epoch_bytes: u64,
    pub(super) epoch_failures: u32,
    pub(super) epoch_calls: u32,
}

impl Line {
    pub(super) fn new(at: usize, client: &Client, asks: bool) -> Self {
        Self {
            duplex: Duplex::new(client.sizes, client.link, client.seed),
            peer: Peer::new(client.script.clone()),
            talk: None,
            asks: asks || client.link.is_unix(),
            start: client.start,
            slot: None,
            on_poll: false,
            address: (client.address, 1024 + at as u16).into(),
            door: client.door,
            fate: Fate::Outside,
            handshake: client.handshake(),
            ack_delay: client.ack_delay,
            has_knocked: false,
            severed: None,
            is_open: false,
            closed: None,
            in_stop: false,
            last_byte: 0,
            last_before: 0,
            accepted_at: 0,
            fin_at: None,
            arrived_at_fin: 0,
            eof_at: 0,
            resumed_at: Cell::new(0),
            was_paused: Cell::new(false),
            paused_at: Cell::new(0),
            received_at_end: 0,
            closed_in: None,
            late: 0,
            promised: 0,
            arrived_at_stop: 0,
            read_at_stop: 0,
            busy_at_stop: false,
            half_at_stop: false,
            arrived_at_force: None,
            produced_at_force: None,
            settled: 0,
            strained_at: None,
            noted: 0,
            proved: false,
            unacknowledged: 0,
            unread: 0,
            queued: false,
            broke: None,
            wake: None,
            hiccuped: false,
            hiccuped_at: 0,
            interrupts: 0,
            hiccups_left: client.hiccups,
            epoch: 0,
            full_epoch: 0,
            epoch_bytes: 0,
            epoch_failures: 0,
            epoch_calls: 0,
        }
    }

    /// The address that its share of connections counts by.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        (!self.duplex.link.is_unix()).then(|| self.address.ip())
    }

    /// What the server owes to the client.
    pub(super) fn owed(&self) -> u64 {
        match &self.talk {
            _ if self.fin_at.is_some() => 0,
            Some(talk) => talk.owed(),
            None => self.duplex.up.read - self.duplex.down.written,
        }
    }

    /// The same, and input that was not consumed.
    pub(super) fn held(&self) -> u64 {
        let talk = self.talk.as_ref().filter(|_| self.fin_at.is_none());
        self.owed() + talk.map_or(0, |talk| talk.held())
    }

    /// Whether a request is outstanding.
    pub(super) fn is_busy(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.is_busy() || talk.is_called_for())
    }

    /// Whether a part of a request has come.
    pub(super) fn is_receiving(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.is_receiving())
    }

    /// Whether a part of the request that is being received was consumed.
    pub(super) fn is_midway(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.is_midway())
    }

    /// Whether the server is to read.
    pub(super) fn may_read(&self) -> bool {
        self.owed() == 0 && self.talk.as_ref().is_none_or(|talk| talk.may_read())
    }

    /// Whether the protocol has ended the conversation.
    pub(super) fn over(&self) -> Option<Over> {
        self.talk.as_ref().and_then(|talk| talk.over)
    }

    /// Bytes that the client's kernel has got back.
    pub(super) fn received(&self) -> u64 {
        self.duplex.down.arrived
    }

    /// When the last byte was read, written or, as far as the server can know, acknowledged.
    pub(super) fn last_sign(&self) -> u64 {
        // When bytes were last sent the kernel says, when they were acknowledged it does not.
        let acked = self.duplex.last_progress.min(self.duplex.down.last_sent);
        if self.asks { self.last_byte.max(acked) } else { self.last_byte }
    }

    /// Bytes that had come before the engine's present call and were not read.
    pub(super) fn unseen(&self) -> u64 {
        self.settled.saturating_sub(self.duplex.up.read)
    }

    /// Whether the network has lost the client, and the kernel noticed.
    pub(super) fn is_gone(&self) -> bool {
        self.duplex.vanished.is_some() && self.duplex.repetitions >= 3
    }

    /// Whether so much came since the stop was asked for that it may be cut short.
    pub(super) fn has_flooded(&self) -> bool {
        self.duplex.up.read - self.read_at_stop > self.duplex.up.size + FLOOD
    }

    /// The longest time that the bytes of a quiet client may be on their way, as the server is
    /// to take it.
    pub(super) fn longest_round(&self, requested: u64) -> u64 {
        let link = &self.duplex.link;
        if link.is_unix() {
            return 0;
        }
        let strained = self.strained_at.max(Some(self.resumed_at.get()).filter(|at| *at > 0));
        let strained = strained.is_some_and(|at| at + STRAINED + ROUNDING >= requested);
        let least = if strained || !self.asks { STRAINED } else { ROUND };
        let (round_trip, variation) = link.timing();
        match link.locality {
            Locality::Network => least.max(2 * (round_trip + 4 * variation)),
            Locality::Host | Locality::Unix => least,
        }
    }
}

/// Durations of a configuration, in microseconds; `None`: never.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) grace: u64,
    pub(super) linger: u64,
    pub(super) idle_timeout: Option<u64>,
    pub(super) drain: Drain,
    pub(super) handshake: u64,
}

impl Times {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            grace: micros(config.idle_grace),
            linger: micros(config.linger),
            idle_timeout: config.idle_timeout.map(micros).filter(|micros| *micros > 0),
            drain: config.drain,
            handshake: micros(config.handshake_grace),
        }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
