//! One connection with all that the simulated world knows of it.

use std::net::IpAddr;
use std::time::Duration;

use super::duplex::Duplex;
use super::peer::Peer;
use super::plan::Client;
use crate::config::{Config, Drain};
use crate::engine::observer::Closed;

/// Where a client is with regard to the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has not come, or nobody listened.
    Outside,
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
}

/// One connection and all that is known of it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) duplex: Duplex,
    pub(super) peer: Peer,
    /// Where its streams start.
    pub(super) start: u64,
    pub(super) slot: Option<u32>,
    /// The poll knows it.
    pub(super) on_poll: bool,
    pub(super) address: IpAddr,
    /// The listener that it comes to.
    pub(super) door: usize,
    pub(super) fate: Fate,
    /// It has come to the listener.
    pub(super) has_knocked: bool,
    pub(super) is_open: bool,
    pub(super) closed: Option<Closed>,
    /// It was closed while the stop drained or forced.
    pub(super) in_stop: bool,
    /// When the last byte moved at the server's end.
    pub(super) last_byte: u64,
    /// When the server's FIN was sent.
    pub(super) fin_at: Option<u64>,
    /// Bytes read after the server's FIN.
    pub(super) late: u64,
    /// Bytes that had come when the drain began.
    pub(super) owed_at_stop: Option<u64>,
    /// When it was accounted for, its peer was known to have everything.
    pub(super) proved: bool,
    /// Bytes not read when the connection was accounted for.
    pub(super) unread: u64,
    /// In the list of what the poll has to report.
    pub(super) queued: bool,
    /// The error that a call reported.
    pub(super) broke: Option<i32>,
    pub(super) wake: Option<u64>,
    /// The last call went wrong for no fault of the peer's.
    pub(super) hiccuped: bool,
    pub(super) interrupts: u32,
    pub(super) hiccups_left: u32,
    pub(super) epoch: u64,
    pub(super) epoch_bytes: u64,
    pub(super) epoch_failures: u32,
    pub(super) epoch_calls: u32,
}

impl Line {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            duplex: Duplex::new(client.sizes),
            peer: Peer::new(client.script.clone()),
            start: client.start,
            slot: None,
            on_poll: false,
            address: client.address,
            door: client.door,
            fate: Fate::Outside,
            has_knocked: false,
            is_open: false,
            closed: None,
            in_stop: false,
            last_byte: 0,
            fin_at: None,
            late: 0,
            owed_at_stop: None,
            proved: false,
            unread: 0,
            queued: false,
            broke: None,
            wake: None,
            hiccuped: false,
            interrupts: 0,
            hiccups_left: client.hiccups,
            epoch: 0,
            epoch_bytes: 0,
            epoch_failures: 0,
            epoch_calls: 0,
        }
    }

    /// What the server read and has not echoed.
    pub(super) fn held(&self) -> u64 {
        if self.fin_at.is_some() { 0 } else { self.duplex.read - self.duplex.written }
    }
}

/// Durations of a configuration, in microseconds; `None`: never.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) grace: u64,
    pub(super) linger: u64,
    pub(super) idle_timeout: Option<u64>,
    pub(super) drain: Drain,
}

impl Times {
    pub(super) fn new(config: &Config) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            grace: micros(config.idle_grace),
            linger: micros(config.linger),
            idle_timeout: config.idle_timeout.map(micros).filter(|micros| *micros > 0),
            drain: config.drain,
        }
    }
}
