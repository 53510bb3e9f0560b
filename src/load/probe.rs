//! New clients at the moment of a stop and after it: served, reset or refused.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use slab::Slab;

use super::audit::QueueCounts;
use super::clock::Clock;
use super::payload::PayloadBlock;
use super::stream::{Dial, Stream};
use super::target::Target;

/// Bytes that a probe sends and wants back.
const MESSAGE: usize = 64;

/// A client that holds back its last ACK sends so much later, in nanoseconds; the kernel holds an
/// ACK at least 40 ms.
const HOLD: u64 = 30_000_000;

/// The most probes of one audit.
const PROBES_MAX: u64 = 2_000;

/// Probes follow each other closely at first, to see when the listener closes.
const DENSE_FOR: u64 = 50_000_000;
const DENSE_GAP: u64 = 1_000_000;
const GAP: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    /// Connected; has sent nothing yet, so that its last ACK may be on hold, too.
    Held,
    /// Connected, has sent its message and has so many bytes of it back.
    Waiting(usize),
    /// Has its whole echo and has half-closed.
    Echoed,
}

#[derive(Debug)]
struct Probe {
    stream: Stream,
    state: State,
    at: u64,
    /// When it may send, in nanoseconds since the start of the run.
    write_at: u64,
}

/// The probes of one audit.
#[derive(Debug)]
pub(super) struct Probes {
    poll: Poll,
    events: Events,
    probes: Slab<Probe>,
    target: Target,
    /// The number of the target's address that the load has connected to.
    address: usize,
    block: Arc<PayloadBlock>,
    clock: Clock,
    number: u64,
    next_at: u64,
    pub(super) counts: QueueCounts,
    /// When a connect was first refused, in nanoseconds since the start of the run.
    pub(super) refused_at: Option<u64>,
}

enum Outcome {
    Pending,
    /// It was not connected.
    Failed(io::Error),
    Reset,
    Lost,
    Served,
}

impl Probes {
    pub(super) fn new(
        target: Target,
        address: usize,
        block: Arc<PayloadBlock>,
        clock: Clock,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            probes: Slab::new(),
            target,
            address,
            block,
            clock,
            number: 0,
            next_at: 0,
            counts: QueueCounts::default(),
            refused_at: None,
        })
    }

    /// Connects one more client.
    pub(super) fn connect(&mut self) {
        self.dial(false);
    }

    /// Connects one more client whose last ACK is held back (on Linux, over TCP): its connect
    /// returns while the handshake is half open at the server.
    pub(super) fn connect_half_open(&mut self) {
        self.dial(true);
    }

    fn dial(&mut self, hold: bool) {
        self.number = self.number.saturating_add(1);
        let Some(address) = self.target.address(self.address) else {
            return;
        };
        let dialled =
            if hold { Stream::dial_holding_ack(address) } else { Stream::dial(address, None) };
        let mut stream = match dialled {
            Ok(stream) => stream,
            Err(error) => {
                self.count_failure(&error);
                return;
            }
        };
        let entry = self.probes.vacant_entry();
        if let Err(error) = stream.register(self.poll.registry(), Token(entry.key())) {
            log::debug!("probe: {error}");
            return;
        }
        // Far from where the connections of the load start.
        let at = u64::from(PayloadBlock::base(0x0050_524F_4245, self.number));
        let write_at = if hold { self.clock.now().saturating_add(HOLD) } else { 0 };
        entry.insert(Probe { stream, state: State::Connecting, at, write_at });
    }

    /// Whether some client does not know yet what became of it.
    pub(super) fn is_pending(&self) -> bool {
        !self.probes.is_empty()
    }

    /// Waits at most `patience` for events; connects the next client if it is time.
    pub(super) fn turn(&mut self, signal: u64, patience: Duration) {
        let now = self.clock.now();
        if now >= self.next_at && self.number < PROBES_MAX {
            let dense = now.saturating_sub(signal) < DENSE_FOR;
            self.next_at = now.saturating_add(if dense { DENSE_GAP } else { GAP });
            self.connect();
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        match self.poll.poll(&mut events, Some(patience)) {
            Ok(()) => {}
            Err(error) => log::debug!("probe poll: {error}"),
        }
        let now = self.clock.now();
        let is_due = |probe: &Probe| probe.state == State::Held && now >= probe.write_at;
        let held = self.probes.iter().filter(|(_, probe)| is_due(probe)).map(|(key, _)| key);
        let mut ready: Vec<usize> = held.collect();
        ready.extend(events.iter().map(|event| event.token().0));
        for key in ready {
            let Some(probe) = self.probes.get_mut(key) else {
                continue;
            };
            let before = probe.state;
            let outcome = probe.advance(&self.block, now, &mut self.counts.echoed_bytes);
            if before == State::Connecting && !matches!(outcome, Outcome::Failed(_)) {
                let connected = probe.state != State::Connecting;
                let reset = matches!(outcome, Outcome::Reset);
                let more = u64::from(connected || reset);
                self.counts.connected = self.counts.connected.saturating_add(more);
            }
            let count = match outcome {
                Outcome::Pending => continue,
                Outcome::Failed(error) => {
                    self.count_failure(&error);
                    self.probes.try_remove(key);
                    continue;
                }
                Outcome::Reset => &mut self.counts.reset,
                Outcome::Lost => &mut self.counts.lost,
                Outcome::Served => &mut self.counts.served,
            };
            *count = count.saturating_add(1);
            self.probes.try_remove(key);
        }
        self.events = events;
    }

    /// Ends the probing: those that heard nothing are waiting in somebody's queue.
    pub(super) fn finish(mut self) -> (QueueCounts, Option<u64>) {
        for (_, probe) in &self.probes {
            let count = match probe.state {
                State::Connecting => continue,
                State::Held | State::Waiting(0) => &mut self.counts.waiting,
                State::Waiting(_) => &mut self.counts.lost,
                State::Echoed => &mut self.counts.served,
            };
            *count = count.saturating_add(1);
        }
        (self.counts, self.refused_at)
    }

    /// Counts a connect that failed, if the listener is the reason: nobody is refused by a local
    /// port that cannot be had or by a network that does not answer.
    fn count_failure(&mut self, error: &io::Error) {
        // A Unix socket is refused by the absence of its file, too.
        if !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
            log::debug!("probe: {error}");
            return;
        }
        self.counts.refused = self.counts.refused.saturating_add(1);
        if self.refused_at.is_none() {
            self.refused_at = Some(self.clock.now());
        }
    }
}

impl Probe {
    /// Goes on as far as it can.
    fn advance(&mut self, block: &PayloadBlock, now: u64, echoed: &mut u64) -> Outcome {
        if self.state == State::Connecting {
            match self.stream.dialled() {
                Dial::Pending => return Outcome::Pending,
                Dial::Failed(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Outcome::Reset;
                }
                Dial::Failed(error) => return Outcome::Failed(error),
                Dial::Connected => {}
            }
            self.state = State::Held;
        }
        if self.state == State::Held && now >= self.write_at {
            self.state = State::Waiting(0);
            if self.stream.write(block.slice(self.at, MESSAGE)).is_err() {
                return Outcome::Reset;
            }
        }
        if self.state == State::Held {
            // A read would let the last ACK go.
            return Outcome::Pending;
        }
        let mut buffer = [0_u8; MESSAGE];
        loop {
            let len = match self.stream.read(&mut buffer) {
                Ok(0) if self.state == State::Echoed => return Outcome::Served,
                Ok(0) => return Outcome::Lost,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Outcome::Reset,
            };
            *echoed = echoed.saturating_add(u64::try_from(len).unwrap_or(0));
            let State::Waiting(have) = self.state else {
                return Outcome::Lost;
            };
            let at = self.at.wrapping_add(u64::try_from(have).unwrap_or(0));
            let got = buffer.get(..len).unwrap_or_default();
            if got != block.slice(at, len) {
                return Outcome::Lost;
            }
            let have = have.saturating_add(len);
            self.state = State::Waiting(have);
            if have == MESSAGE {
                self.state = State::Echoed;
                if let Err(error) = self.stream.half_close() {
                    log::debug!("probe half-close: {error}");
                }
            }
        }
    }
}
