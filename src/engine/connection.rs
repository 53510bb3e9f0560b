//! The life of one connection: its dialogue, then our FIN, then the peer's. It decides by results
//! of reads and writes only, and says what its owner is to do next.

use std::fmt;
use std::time::Instant;

use super::call::{Fault, read, reason_of};
use super::deadline::Tick;
use super::dialogue::{
    Dialogue, End, Finished, Flow, Input, IoContext, Ledger, Pursuit, Speaks, Traits,
};
use super::linger::{Count, Linger};
use super::lists::Place;
use super::report::CloseReason;
use super::status::Transport;
use super::stream::Stream;
use crate::protocol::Echo;
use crate::token::Readiness;

#[derive(Debug)]
pub(super) enum State<D, T> {
    /// Its protocol is spoken.
    Open(D),
    /// Our FIN is sent; input is read and discarded until the peer's.
    Lingering(Linger<T>),
    /// Over; the slot is freed at the end of the turn.
    Closed,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Lingering,
    Closed,
}

type DialogueOf<S, P> = <P as Speaks>::Dialogue<S>;
type TailOf<S, P> = <DialogueOf<S, P> as Dialogue<S, P>>::Tail;

/// One connection.
pub(crate) struct Connection<S: Stream, P: Speaks = Echo> {
    pub(super) stream: S,
    /// Whose share of connections it is part of.
    owner: u32,
    pub(super) ledger: Ledger,
    pub(super) state: State<DialogueOf<S, P>, TailOf<S, P>>,
}

impl<S: Stream, P: Speaks> Connection<S, P> {
    pub(crate) fn new(
        stream: S,
        number: u32,
        owner: u32,
        active: Tick,
        dialogue: P::Dialogue<S>,
    ) -> Self {
        let ledger = Ledger { read: 0, active, number };
        Self { stream, owner, ledger, state: State::Open(dialogue) }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The low half of its number in the order of acceptance.
    pub(crate) fn number(&self) -> u32 {
        self.ledger.number
    }

    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// When the last byte moved while it was open, or since when it lingers.
    pub(crate) fn active(&self) -> Tick {
        self.ledger.active
    }

    /// Counts as active now.
    pub(super) fn touch(&mut self, mark: Tick) {
        self.ledger.active = mark;
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.ledger.read
    }

    pub(super) fn stage(&self) -> Stage {
        match self.state {
            State::Open(_) => Stage::Open,
            State::Lingering(_) => Stage::Lingering,
            State::Closed => Stage::Closed,
        }
    }

    /// The list that it belongs on.
    pub(crate) fn place(&self) -> Place {
        match &self.state {
            State::Open(open) => open.place(),
            State::Lingering(linger) => linger.place,
            State::Closed => Place::CLOSED,
        }
    }

    /// Chooses the list of a connection that is not closed.
    pub(crate) fn set_place(&mut self, to: Place) {
        match &mut self.state {
            State::Open(open) => open.set_place(to),
            State::Lingering(linger) => linger.place = to,
            State::Closed => {}
        }
    }

    fn has(&self, one: Traits) -> bool {
        matches!(&self.state, State::Open(open) if open.traits().has(one))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.has(Traits::PAUSED)
    }

    pub(crate) fn set_paused(&mut self, to: bool) {
        if let State::Open(open) = &mut self.state {
            open.traits_mut().set(Traits::PAUSED, to);
            open.traits_mut().set(Traits::HELD_BACK, true);
        }
    }

    /// Whether its peer was seen to be on this host when it was accepted; unknown after our FIN.
    pub(super) fn is_near(&self) -> bool {
        self.has(Traits::NEAR)
    }

    /// Whether the network has lost its peer. Before our FIN one on this host is not lost: if it
    /// leaves repetitions unanswered, it has no memory or no time for them.
    pub(super) fn is_lost(&self, transport: Transport) -> bool {
        !self.is_near() && transport.is_lost()
    }

    /// Whether what came last ended in what may be a full segment.
    pub(super) fn ended_full(&self) -> bool {
        self.has(Traits::FULL_SEGMENT)
    }

    /// Whether reading was held back since [`forget_recent`](Self::forget_recent).
    pub(super) fn was_held_back(&self) -> bool {
        self.has(Traits::HELD_BACK)
    }

    /// Whether reading is held back now, by pending output or a pause.
    fn is_stopped(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.pending() > 0) || self.is_paused()
    }

    /// Whether it waits for something else than input: to write, for room, or for an answer.
    pub(super) fn is_held_back(&self) -> bool {
        let is_outstanding = matches!(&self.state, State::Open(open) if open.is_outstanding());
        self.is_stopped() || is_outstanding
    }

    /// Whether its protocol can be left as it is.
    pub(super) fn pursuit(&self) -> Pursuit {
        match &self.state {
            State::Open(open) => open.pursuit(),
            State::Lingering(_) | State::Closed => Pursuit::Idle,
        }
    }

    /// Whether a request is outstanding.
    pub(super) fn is_busy(&self) -> bool {
        self.pursuit() == Pursuit::Busy
    }

    /// Whether a request is being received of which a part was consumed.
    pub(super) fn is_midway(&self) -> bool {
        self.pursuit() == Pursuit::Receiving
    }

    /// Whether a request is being received.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(self.pursuit(), Pursuit::Held | Pursuit::Receiving)
    }

    /// When it has something to do without an event.
    pub(super) fn deadline(&self, protocol: &P) -> Option<Instant> {
        match &self.state {
            State::Open(open) => open.deadline(protocol),
            State::Lingering(_) | State::Closed => None,
        }
    }

    /// Somebody asked for it to be resumed, or its deadline has come. Returns whether that was so
    /// already, or no longer matters.
    pub(super) fn wake(&mut self) -> bool {
        match &mut self.state {
            State::Open(open) => open.wake(),
            State::Lingering(_) | State::Closed => true,
        }
    }

    /// The stop has begun to drain.
    pub(super) fn on_drain(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.on_drain();
        }
    }

    /// What it did last lies too far back to matter.
    pub(super) fn forget_recent(&mut self) {
        let held_back = self.is_stopped();
        if let State::Open(open) = &mut self.state {
            open.traits_mut().set(Traits::FULL_SEGMENT, false);
            open.traits_mut().set(Traits::HELD_BACK, held_back);
        }
    }

    /// Why it will close, once our FIN is sent.
    pub(crate) fn lingers_for(&self) -> Option<CloseReason> {
        match self.state {
            State::Lingering(Linger { reason, .. }) => Some(reason),
            State::Open(_) | State::Closed => None,
        }
    }

    /// Whether our FIN is sent and the peer's end of stream was read.
    pub(super) fn has_ended(&self) -> bool {
        matches!(&self.state, State::Lingering(linger) if linger.ended)
    }

    /// Whether our FIN is sent, and acknowledged with everything before it.
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(&self.state, State::Lingering(linger) if linger.acknowledged)
    }

    /// Our FIN is acknowledged: the linger time runs from now on.
    pub(super) fn acknowledge(&mut self, mark: Tick) {
        if let State::Lingering(linger) = &mut self.state {
            linger.acknowledged = true;
            self.ledger.active = mark;
        }
    }

    /// How often this was called before on the connection since our FIN.
    pub(super) fn count_question(&mut self) -> u8 {
        match &mut self.state {
            State::Lingering(linger) => {
                let before = linger.asked;
                linger.asked = before.saturating_add(1);
                before
            }
            State::Open(_) | State::Closed => 0,
        }
    }

    /// Whether it is open and nothing is pending for the peer.
    pub(crate) fn is_flushed(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.pending() == 0)
    }

    /// The size of its receive buffer.
    pub(super) fn receive_buffer(&self) -> usize {
        self.stream.receive_buffer()
    }

    /// Bytes that are pending for the peer.
    pub(super) fn pending(&self) -> usize {
        match &self.state {
            State::Open(open) => open.pending(),
            State::Lingering(_) | State::Closed => 0,
        }
    }

    /// Whether nothing is pending and the receive queue was read dry.
    pub(crate) fn is_dry(&self) -> bool {
        let State::Open(open) = &self.state else { return false };
        open.pending() == 0 && open.input() == Input::Dry
    }

    /// Whether it is dry and no request is outstanding or being received.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_dry() && self.pursuit() == Pursuit::Idle
    }

    /// Whether a FIN at this moment would be understood: nothing is pending or was left unread, and
    /// no answer has begun.
    pub(crate) fn may_end(&self) -> bool {
        self.is_dry() && matches!(self.pursuit(), Pursuit::Idle | Pursuit::Held)
    }

    /// Does what an event, or `probe` in its absence, gives reason for.
    pub(crate) fn pump(
        &mut self,
        ready: Readiness,
        probe: bool,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Flow {
        match &mut self.state {
            State::Open(open) => open.pump(&mut self.stream, &mut self.ledger, ready, probe, io),
            // Our FIN makes the poll report that a write may take bytes: that brings no input.
            State::Lingering(_) if ready == Readiness::WRITABLE => Flow::Wait,
            State::Lingering(_) => self.discard(io),
            State::Closed => Flow::Wait,
        }
    }

    /// Sends our FIN; what comes after it is discarded. Does nothing while something is pending.
    pub(crate) fn finish(
        &mut self,
        reason: CloseReason,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Flow {
        let State::Open(open) = &mut self.state else { return Flow::Wait };
        if open.pending() > 0 {
            return Flow::Wait;
        }
        if let Err(flow) = open.say_farewell(reason, &mut self.stream, &mut self.ledger, io) {
            return flow;
        }
        let (input, place) = (open.input(), open.place());
        if let Err(error) = self.stream.shutdown_write() {
            return Flow::Close(reason_of(&error));
        }
        let State::Open(open) = std::mem::replace(&mut self.state, State::Closed) else {
            return Flow::Wait;
        };
        let end = End { reason, is_broken: false };
        let Finished { tail, late: given_up, .. } = open.finish(end, io.pipes, io.bytes);
        let mut late = Count::default();
        late.add(given_up);
        let (ended, acknowledged, asked) = (input == Input::Ended, false, 0);
        let linger = Linger { late, reason, place, ended, acknowledged, asked, tail };
        self.state = State::Lingering(linger);
        self.ledger.active = io.mark;
        match input {
            // The next byte, or the peer's end, is an event.
            Input::Dry | Input::Ended => Flow::Wait,
            Input::Ready => self.discard(io),
        }
    }

    /// Reads and discards until the queue is dry or a bound is reached.
    fn discard(&mut self, io: &mut IoContext<'_, S::Pipe, P>) -> Flow {
        loop {
            if io.budget == 0 {
                return Flow::Again;
            }
            let State::Lingering(linger) = &mut self.state else {
                return Flow::Wait;
            };
            match read(&mut self.stream, io.buffer) {
                Ok(0) => {
                    linger.ended = true;
                    return Flow::Ended;
                }
                Ok(count) => {
                    // The linger time runs from our FIN, whatever comes after it.
                    let active = self.ledger.active;
                    self.ledger.on_read(count, io);
                    self.ledger.active = active;
                    linger.late.add(count as u64);
                    if linger.reason == CloseReason::ForcedClean {
                        // The peer was not done when we ended it.
                        return Flow::Close(CloseReason::ForcedLossy);
                    }
                    io.bytes.late = io.bytes.late.saturating_add(count as u64);
                }
                Err(Fault::WouldBlock) => return Flow::Wait,
                Err(Fault::Later) => return Flow::Again,
                Err(Fault::Broken(reason)) => return Flow::Close(reason),
            }
        }
    }
}

impl<S: Stream, P: Speaks> fmt::Debug for Connection<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("ledger", &self.ledger)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
