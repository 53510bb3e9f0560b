//! The life of one connection: echo, then our FIN, then the peer's. It decides by results of
//! reads and writes only, and says what its owner is to do next.

use super::buffer::Held;
use super::call::{Fault, read, reason_of, write};
use super::deadline::Tick;
use super::report::{ByteCounts, CloseReason};
use super::stream::Stream;
use crate::token::Readiness;

/// Unread input that a forced close discards at most, so that its FIN does not become a reset.
const FORCED_DISCARD: usize = 256 << 10;

/// What the owner of a connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Wait for the next event.
    Wait,
    /// Come again without one: a bound cut the work short.
    Again,
    /// Come again once other connections hold less.
    Pause,
    /// Close it.
    Close(CloseReason),
}

/// What a connection works with, lent for one call.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// The one read buffer, shared by all.
    pub(crate) buffer: &'a mut [u8],
    /// Bytes that this call may read.
    pub(crate) budget: usize,
    /// Bytes that may be held in addition, over all connections.
    pub(crate) room: usize,
    /// The instant of this call, to remember.
    pub(crate) mark: Tick,
    /// The sums over all connections.
    pub(crate) bytes: &'a mut ByteCounts,
}

/// The list that a connection stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Open, on one of two lists that take turns: one is in the order of the last byte, the other
    /// waits for a visit by the drain. Changing their roles moves every connection at once.
    Even,
    /// Open, on the other of the two.
    Odd,
    /// Open and quiet for long enough, but not done: only an event can change that.
    Stuck,
    /// Our FIN is sent; in the order of sending.
    Lingering,
    /// Closed in this turn.
    Closed,
}

/// What is known of the receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// A read may give something.
    Ready,
    /// The last read found nothing more; an event will come.
    Dry,
    /// The peer's end of stream was read.
    Ended,
}

#[derive(Debug)]
enum State {
    /// Echoing.
    Open {
        held: Option<Box<Held>>,
        /// Bytes of a read that a failed write left behind.
        refused: u32,
        input: Input,
        place: Place,
        /// It waits among the paused, not among the ready.
        paused: bool,
    },
    /// Our FIN is sent; input is read and discarded until the peer's.
    Lingering { late: u64, reason: CloseReason, ended: bool },
    /// Over; the slot is freed at the end of the turn.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    /// The low half of its number in the order of acceptance.
    pub(crate) number: u32,
    /// Whose share of connections it is part of.
    pub(crate) owner: u32,
    /// When the last byte moved, or our FIN was sent.
    active: Tick,
    read: u64,
    state: State,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, number: u32, owner: u32, active: Tick, place: Place) -> Self {
        let state = State::Open { held: None, refused: 0, input: Input::Dry, place, paused: false };
        Self { stream, number, owner, active, read: 0, state }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(crate) fn active(&self) -> Tick {
        self.active
    }

    /// The list that it belongs on.
    pub(crate) fn place(&self) -> Place {
        match self.state {
            State::Open { place, .. } => place,
            State::Lingering { .. } => Place::Lingering,
            State::Closed => Place::Closed,
        }
    }

    /// Chooses the list of an open connection.
    pub(crate) fn set_place(&mut self, to: Place) {
        if let State::Open { place, .. } = &mut self.state {
            *place = to;
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.state, State::Open { paused: true, .. })
    }

    pub(crate) fn set_paused(&mut self, to: bool) {
        if let State::Open { paused, .. } = &mut self.state {
            *paused = to;
        }
    }

    /// Why it will close, once our FIN is sent.
    pub(crate) fn lingers_for(&self) -> Option<CloseReason> {
        match self.state {
            State::Lingering { reason, .. } => Some(reason),
            State::Open { .. } | State::Closed => None,
        }
    }

    /// Whether nothing is owed to the peer.
    pub(crate) fn owes_nothing(&self) -> bool {
        matches!(self.state, State::Open { held: None, .. })
    }

    /// Whether nothing is owed and the receive queue was read dry.
    pub(crate) fn is_dry(&self) -> bool {
        matches!(self.state, State::Open { held: None, input: Input::Dry, .. })
    }

    /// Does what an event, or `probe` in its absence, gives reason for. A probing call reads until
    /// the queue is dry, whatever was known of it.
    pub(crate) fn pump(&mut self, ready: Readiness, probe: bool, work: &mut Work<'_>) -> Flow {
        match self.state {
            State::Open { .. } => self.pump_open(ready, probe, work),
            State::Lingering { .. } => self.discard(work),
            State::Closed => Flow::Wait,
        }
    }

    fn pump_open(&mut self, ready: Readiness, probe: bool, work: &mut Work<'_>) -> Flow {
        let State::Open { held, input, .. } = &mut self.state else {
            return Flow::Wait;
        };
        let fresh = *input == Input::Dry;
        if fresh && (probe || ready.may_read()) {
            *input = Input::Ready;
        }
        // A read shorter than its buffer ends the queue only if this very event announced it.
        let trust = fresh && !probe && held.is_none() && ready.trusts_short_read();
        if held.is_some() {
            if !probe && !ready.may_write() {
                return Flow::Wait;
            }
            if let Err(flow) = self.flush(work) {
                return flow;
            }
        }
        self.echo(trust, work)
    }

    /// Writes what is held; an error where that is not all of it.
    fn flush(&mut self, work: &mut Work<'_>) -> Result<(), Flow> {
        let State::Open { held: slot, refused, .. } = &mut self.state else {
            return Ok(());
        };
        let Some(held) = slot else { return Ok(()) };
        match write(&mut self.stream, held.rest()) {
            Ok(count) => {
                held.advance(count);
                self.active = work.mark;
                work.bytes.written = work.bytes.written.saturating_add(count as u64);
                work.room = work.room.saturating_add(count);
                if held.len() > 0 {
                    return Err(Flow::Wait);
                }
                *slot = None;
                Ok(())
            }
            Err(Fault::WouldBlock) => Err(Flow::Wait),
            Err(Fault::Later) => Err(Flow::Again),
            Err(Fault::Broken(reason)) => {
                *refused = u32::try_from(held.len()).unwrap_or(u32::MAX);
                *slot = None;
                Err(Flow::Close(reason))
            }
        }
    }

    /// Reads and answers until the queue is dry, a rest must be held, or a bound is reached.
    fn echo(&mut self, trust: bool, work: &mut Work<'_>) -> Flow {
        let State::Open { held, refused, input, .. } = &mut self.state else {
            return Flow::Wait;
        };
        let mut budget = work.budget;
        while *input == Input::Ready {
            if budget == 0 {
                return Flow::Again;
            }
            let size = work.buffer.len().min(work.room);
            if size == 0 {
                return Flow::Pause;
            }
            let Some(buffer) = work.buffer.get_mut(..size) else {
                return Flow::Again;
            };
            let count = match read(&mut self.stream, buffer) {
                Ok(0) => {
                    *input = Input::Ended;
                    break;
                }
                Ok(count) => count,
                Err(Fault::WouldBlock) => {
                    *input = Input::Dry;
                    break;
                }
                Err(Fault::Later) => return Flow::Again,
                Err(Fault::Broken(reason)) => return Flow::Close(reason),
            };
            if count < size && trust {
                *input = Input::Dry;
            }
            budget = budget.saturating_sub(count);
            self.active = work.mark;
            self.read = self.read.saturating_add(count as u64);
            work.bytes.read = work.bytes.read.saturating_add(count as u64);
            let answer = answer(buffer.get(..count).unwrap_or_default());
            let (taken, fault) = match write(&mut self.stream, answer) {
                Ok(taken) => (taken, Fault::WouldBlock),
                Err(fault) => (0, fault),
            };
            work.bytes.written = work.bytes.written.saturating_add(taken as u64);
            let rest = answer.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                continue;
            }
            let owed = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            if let Fault::Broken(reason) = fault {
                *refused = owed;
                return Flow::Close(reason);
            }
            work.room = work.room.saturating_sub(rest.len());
            *held = Held::copy_of(rest);
            if held.is_none() {
                // No memory for it: a cut by us, and it must look like one.
                *refused = owed;
                return Flow::Close(CloseReason::ForcedLossy);
            }
            return if matches!(fault, Fault::Later) { Flow::Again } else { Flow::Wait };
        }
        if *input == Input::Ended { Flow::Close(CloseReason::PeerClosed) } else { Flow::Wait }
    }

    /// Sends our FIN; what comes after it is discarded.
    pub(crate) fn finish(&mut self, reason: CloseReason, work: &mut Work<'_>) -> Flow {
        if !self.owes_nothing() {
            return Flow::Wait;
        }
        let dry = self.is_dry();
        match self.stream.shutdown_write() {
            Ok(()) => {
                self.state = State::Lingering { late: 0, reason, ended: false };
                self.active = work.mark;
                // Of a dry queue an event will tell; of another one perhaps not.
                if dry { Flow::Wait } else { self.discard(work) }
            }
            Err(error) => Flow::Close(reason_of(&error)),
        }
    }

    /// Reads and discards until the queue is dry or a bound is reached.
    fn discard(&mut self, work: &mut Work<'_>) -> Flow {
        let mut budget = work.budget;
        loop {
            if budget == 0 {
                return Flow::Again;
            }
            let State::Lingering { late, reason, ended } = &mut self.state else {
                return Flow::Wait;
            };
            match read(&mut self.stream, work.buffer) {
                Ok(0) => {
                    *ended = true;
                    return Flow::Close(*reason);
                }
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    *late = late.saturating_add(count as u64);
                    self.read = self.read.saturating_add(count as u64);
                    work.bytes.read = work.bytes.read.saturating_add(count as u64);
                    work.bytes.late = work.bytes.late.saturating_add(count as u64);
                }
                Err(Fault::WouldBlock) => return Flow::Wait,
                Err(Fault::Later) => return Flow::Again,
                Err(Fault::Broken(reason)) => return Flow::Close(reason),
            }
        }
    }

    /// The end of patience: one last write, and the reason that it leads to.
    pub(crate) fn force(&mut self, work: &mut Work<'_>) -> CloseReason {
        if let State::Open { .. } = self.state {
            if let Err(Flow::Close(reason)) = self.flush(work) {
                return reason;
            }
            if !self.owes_nothing() {
                return CloseReason::ForcedLossy;
            }
            self.state =
                State::Lingering { late: 0, reason: CloseReason::ForcedClean, ended: false };
        }
        work.budget = FORCED_DISCARD;
        match self.discard(work) {
            Flow::Close(reason) => reason,
            Flow::Wait | Flow::Again | Flow::Pause => CloseReason::ForcedClean,
        }
    }

    /// Ends it. Answers its account and, if `ask`, whether the peer is known to have everything.
    pub(crate) fn close(&mut self, reason: CloseReason, ask: bool) -> Closing {
        let (left, late, ended) = match &self.state {
            State::Open { held, refused, input, .. } => {
                let held = held.as_ref().map_or(0, |held| held.len() as u64);
                let left = held.saturating_add(u64::from(*refused));
                (left, 0, *input == Input::Ended)
            }
            State::Lingering { late, ended, .. } => (0, *late, *ended),
            State::Closed => (0, 0, true),
        };
        let aborted = matches!(reason, CloseReason::IoError | CloseReason::ResetByPeer);
        if reason == CloseReason::ForcedLossy || (left > 0 && !aborted) {
            self.stream.reset_on_close();
        }
        let (unsent, peer_aborted) = if aborted { (0, left) } else { (left, 0) };
        let written = self.read.saturating_sub(late).saturating_sub(left);
        let confirmed =
            ask && !aborted && left == 0 && (ended || self.stream.unacknowledged() == Some(0));
        self.state = State::Closed;
        Closing {
            bytes: ByteCounts { read: self.read, written, late, unsent, peer_aborted },
            confirmed,
        }
    }
}

/// How one connection ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) bytes: ByteCounts,
    /// It saw the peer's end, or nothing of ours is unacknowledged.
    pub(crate) confirmed: bool,
}

/// The protocol: what a peer is sent for what it sent. Another one would plug in here.
fn answer(input: &[u8]) -> &[u8] {
    input
}
