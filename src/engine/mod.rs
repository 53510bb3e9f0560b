//! Everything that decides: connections, their table, the stop and the account of it.
//!
//! The engine knows no socket, no clock and no registry. Streams are a parameter and the time is
//! an argument, so that a whole life can be replayed in memory.

pub(crate) mod buffer;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod deadline;
mod due;
pub(crate) mod echo;
pub(crate) mod list;
pub(crate) mod observer;
pub(crate) mod phase;
pub(crate) mod pipe;
pub(crate) mod quota;
pub(crate) mod report;
mod settings;
#[cfg(test)]
mod sim;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use log::info;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::deadline::Clock;
use self::echo::{Flow, LEAST_ROOM};
use self::observer::Observer;
use self::phase::{Cause, Phase, Stop, StopLimits};
use self::quota::Quota;
use self::report::{CloseReason, Report, Stats};
use self::settings::Settings;
use self::stream::Stream;
use self::table::{Lent, Table};
use crate::config::{Config, Drain};
use crate::token::Readiness;

/// The one read buffer.
const BUFFER: usize = 64 << 10;
/// Bytes that one connection may read in one turn.
const CONNECTION_BUDGET: usize = 256 << 10;
/// What a pump without an event goes by: try everything, trust no short read.
const UNTOLD: Readiness = Readiness::NONE;
/// Spans of quiet time that a talking peer is given under `idle` and `flush`.
const PATIENCE_SPANS: u32 = 5;

/// A server's decisions.
pub(crate) struct Engine<S: Stream> {
    table: Table<S>,
    stop: Stop,
    settings: Settings,
    clock: Clock,
    buffer: Box<[u8]>,
    /// The phase that was last told to the log and the observer.
    told: Phase,
    /// The drain has asked the talkative a second time.
    hurried: bool,
    turns: u64,
}

impl<S: Stream> Engine<S> {
    pub(crate) fn new(config: &Config) -> Self {
        let patience = match config.drain {
            Drain::Idle | Drain::Flush => Some(config.idle_grace.saturating_mul(PATIENCE_SPANS)),
            Drain::Peer => None,
        };
        let limits =
            StopLimits { budget: config.shutdown_timeout, lame_duck: config.lame_duck, patience };
        Self {
            table: Table::new(Quota::new(config.max_per_ip)),
            stop: Stop::new(limits),
            settings: Settings::new(config),
            clock: Clock::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            told: Phase::Running,
            hurried: false,
            turns: 0,
        }
    }

    /// Sets how many connections there may be.
    pub(crate) fn reserve(&mut self, capacity: usize) {
        self.table.reserve(capacity);
    }

    pub(crate) fn observe(&mut self, observer: Box<dyn Observer + Send>) {
        self.table.observer = Some(observer);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.stop.phase()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.table.report
    }

    pub(crate) fn report_mut(&mut self) -> &mut Report {
        &mut self.table.report
    }

    pub(crate) fn open(&self) -> usize {
        self.table.len()
    }

    /// One more than the highest slot that is taken.
    pub(crate) fn slots(&self) -> usize {
        self.table.slots()
    }

    /// Calls `act` for each slot's stream until it fails.
    pub(crate) fn for_each_stream(
        &mut self,
        act: impl FnMut(usize, &mut S) -> io::Result<()>,
    ) -> io::Result<()> {
        self.table.for_each_stream(act)
    }

    /// Tells the time. Answers it, or the latest instant told before.
    pub(crate) fn tell_time(&mut self, now: Instant) -> Instant {
        self.clock.set(now)
    }

    /// The latest instant that the engine was told.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.clock.now()
    }

    /// The slot that the next [`insert`](Self::insert) fills, unless all are taken.
    pub(crate) fn vacant(&self) -> Option<u32> {
        self.table.vacant()
    }

    /// The owner to insert a connection from `address` under; `None`: it has its share.
    pub(crate) fn admit(&mut self, address: Option<IpAddr>) -> Option<u32> {
        self.table.quota.admit(address)
    }

    /// Gives an owner's share back that no connection took.
    pub(crate) fn release(&mut self, owner: u32) {
        self.table.quota.release(owner);
    }

    /// Takes a new connection into the vacant slot. Answers its number.
    pub(crate) fn insert(
        &mut self,
        stream: S,
        peer: Option<SocketAddr>,
        owner: u32,
        now: Instant,
    ) -> Option<u64> {
        self.clock.set(now);
        let lists = self.table.lists();
        let draining = self.stop.phase() >= Phase::Draining;
        let place = if draining { lists.unvisited() } else { lists.aging() };
        self.table.insert(stream, peer, owner, self.clock.mark(), place)
    }

    /// An event of the connection in a slot. Answers whether there is one.
    pub(crate) fn handle_ready(&mut self, at: u32, ready: Readiness, now: Instant) -> bool {
        self.clock.set(now);
        match self.table.get(at) {
            None => return false,
            Some(_) if self.stop.phase() >= Phase::Forcing => self.force_one(at),
            Some(_) => self.drive(at, ready, self.stop.phase() == Phase::Draining),
        }
        true
    }

    /// Starts the stop, once.
    pub(crate) fn request(&mut self, cause: Cause, now: Instant) {
        let now = self.clock.set(now);
        self.stop.request(cause, now);
        self.tell_phase(now);
    }

    /// Cuts the stop short.
    pub(crate) fn force(&mut self, cause: Cause, now: Instant) {
        let now = self.clock.set(now);
        self.stop.force(cause, now);
        self.tell_phase(now);
    }

    /// Moves the stop on by time; to be called before [`end_turn`](Self::end_turn).
    pub(crate) fn advance(&mut self, now: Instant) {
        let now = self.clock.set(now);
        while self.stop.advance(now) {
            self.tell_phase(now);
        }
    }

    /// Everything that is due without an event, each in slices. Answers how many slots it freed.
    pub(crate) fn end_turn(&mut self, now: Instant) -> usize {
        let now = self.clock.set(now);
        self.turns = self.turns.saturating_add(1);
        match self.stop.phase() {
            Phase::Running | Phase::LameDuck => self.expire_idle(),
            Phase::Draining => self.drain(now),
            Phase::Forcing => self.force_slice(),
            Phase::Finished => {}
        }
        self.expire_linger();
        self.resume();
        self.pump_ready();
        self.table.report.uptime = self.clock.elapsed();
        self.reap()
    }

    /// Frees the slots that were closed in this turn. Answers how many.
    pub(crate) fn reap(&mut self) -> usize {
        self.table.reap()
    }

    /// Finishes the stop if no connection is left.
    pub(crate) fn finish(&mut self, now: Instant) {
        let now = self.clock.set(now);
        if self.table.len() == 0 {
            self.stop.finish(now);
            self.tell_phase(now);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let Report { connections, bytes, .. } = self.table.report;
        Stats {
            phase: self.stop.phase(),
            open: self.table.len() as u64,
            accepted: connections.accepted,
            closed: connections.closed(),
            read: bytes.read,
            written: bytes.written,
            held: bytes.held(),
            turns: self.turns,
            ..Stats::default()
        }
    }

    /// Bytes that may be held in addition.
    fn room(&self) -> usize {
        let held = usize::try_from(self.table.report.bytes.held()).unwrap_or(usize::MAX);
        self.settings.max_held.saturating_sub(held)
    }

    /// Runs one connection and does what comes of it.
    fn drive(&mut self, at: u32, ready: Readiness, probe: bool) {
        let room = self.room();
        let mark = self.clock.mark();
        let lent = Lent { buffer: &mut self.buffer, budget: CONNECTION_BUDGET, room, mark };
        let Some((connection, mut work)) = self.table.work(at, lent) else { return };
        let before = connection.active();
        let flow = connection.pump(ready, probe, &mut work);
        let active = connection.active();
        match flow {
            Flow::Wait => {}
            Flow::Again => self.table.make_ready(at),
            Flow::Pause => self.table.pause(at),
            Flow::Close(reason) => return self.close(at, reason),
        }
        // After our FIN nothing counts as a sign of life.
        if !before.same_span(active, self.settings.span_bits) {
            self.table.put(at, self.table.lists().aging());
        }
        if self.stop.phase() == Phase::Draining {
            self.settle(at);
        }
    }

    /// Sends the FIN of a connection that the drain finds done.
    fn settle(&mut self, at: u32) {
        let impatient = self.clock.now().is_some_and(|now| self.stop.is_impatient(now));
        let Some(connection) = self.table.get(at) else { return };
        let quiet = || self.clock.is_past(connection.active(), self.settings.idle_grace);
        let done = match self.settings.drain {
            Drain::Peer => false,
            // One that we paused is not talking: what waits for us there has its turn first.
            Drain::Idle | Drain::Flush if impatient => {
                connection.owes_nothing() && !connection.is_paused()
            }
            Drain::Flush => connection.is_dry(),
            Drain::Idle => connection.is_dry() && quiet(),
        };
        if done {
            self.say_goodbye(at, CloseReason::Drained);
        }
    }

    /// Sends our FIN; the peer's will close the connection.
    fn say_goodbye(&mut self, at: u32, reason: CloseReason) {
        self.table.unwait(at);
        let mark = self.clock.mark();
        let buffer = &mut self.buffer;
        let lent = Lent { buffer, budget: CONNECTION_BUDGET, room: usize::MAX, mark };
        let Some((connection, mut work)) = self.table.work(at, lent) else { return };
        let from = connection.place();
        let flow = connection.finish(reason, &mut work);
        self.table.follow(at, from);
        match flow {
            Flow::Wait | Flow::Pause => {}
            Flow::Again => self.table.make_ready(at),
            Flow::Close(reason) => self.close(at, reason),
        }
    }

    /// One last write, one bounded discard, and the end.
    fn force_one(&mut self, at: u32) {
        self.table.unwait(at);
        let mark = self.clock.mark();
        let lent = Lent { buffer: &mut self.buffer, budget: 0, room: usize::MAX, mark };
        let Some((connection, mut work)) = self.table.work(at, lent) else { return };
        let from = connection.place();
        let reason = connection.force(&mut work);
        self.table.follow(at, from);
        self.close(at, reason);
    }

    fn close(&mut self, at: u32, reason: CloseReason) {
        self.table.close(at, reason, self.stop.phase() >= Phase::Draining);
    }

    /// Tells the log and the observer of a phase that was entered, and begins the drain.
    fn tell_phase(&mut self, now: Instant) {
        let phase = self.stop.phase();
        if phase == self.told {
            return;
        }
        if self.told == Phase::Running {
            let counts = &mut self.table.report.connections;
            counts.open_at_stop = counts.accepted.saturating_sub(counts.closed());
            self.table.report.cause = self.stop.cause().cloned();
        }
        if phase == Phase::Draining {
            self.table.unvisit_all();
        }
        self.told = phase;
        self.table.report.phase = phase;
        self.table.report.phases = self.stop.times();
        self.table.report.stop = self.stop.elapsed(now);
        let spent = self.table.report.stop.unwrap_or(Duration::ZERO);
        info!("{phase} at +{spent:.1?}, {} connections open", self.table.len());
        if let Some(observer) = &mut self.table.observer {
            observer.on_phase(phase);
        }
    }
}

impl<S: Stream> Drop for Engine<S> {
    /// What force does, without waiting.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may be the observer that panicked; once more would end the process.
            self.table.observer = None;
        }
        loop {
            self.force_slice();
            if self.table.reap() == 0 {
                return;
            }
        }
    }
}
