//! The life of one connection: echo, then our FIN, then the peer's. It decides by results of
//! reads and writes only, and says what its owner is to do next.

use super::call::{Fault, read, reason_of};
use super::deadline::Tick;
use super::echo::{Flow, Input, Ledger, Open, Place, Work};
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason};
use super::status::Status;
use super::stream::Stream;
use crate::token::Readiness;

/// Unread input that a forced close discards at most, so that its FIN does not become a reset.
const FORCED_DISCARD: usize = 256 << 10;

#[derive(Debug)]
enum State<P> {
    /// Echoing.
    Open(Open<P>),
    /// Our FIN is sent; input is read and discarded until the peer's.
    Lingering { late: Count, reason: CloseReason, ended: bool },
    /// Over; the slot is freed at the end of the turn.
    Closed,
}

/// A number of 64 bits that asks for no alignment, without which a state would take 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Count([u8; 8]);

impl Count {
    fn get(self) -> u64 {
        u64::from_ne_bytes(self.0)
    }

    fn add(&mut self, more: u64) {
        self.0 = self.get().saturating_add(more).to_ne_bytes();
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<S: Stream> {
    stream: S,
    /// Whose share of connections it is part of.
    owner: u32,
    ledger: Ledger,
    state: State<S::Pipe>,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, number: u32, owner: u32, active: Tick, place: Place) -> Self {
        let ledger = Ledger { read: 0, active, number };
        Self { stream, owner, ledger, state: State::Open(Open::new(place)) }
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

    /// When the last byte moved, or our FIN was sent.
    pub(crate) fn active(&self) -> Tick {
        self.ledger.active
    }

    /// The list that it belongs on.
    pub(crate) fn place(&self) -> Place {
        match &self.state {
            State::Open(open) => open.place,
            State::Lingering { .. } => Place::Lingering,
            State::Closed => Place::Closed,
        }
    }

    /// Chooses the list of an open connection.
    pub(crate) fn set_place(&mut self, to: Place) {
        if let State::Open(open) = &mut self.state {
            open.place = to;
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.paused)
    }

    pub(crate) fn set_paused(&mut self, to: bool) {
        if let State::Open(open) = &mut self.state {
            open.paused = to;
        }
    }

    /// Why it will close, once our FIN is sent.
    pub(crate) fn lingers_for(&self) -> Option<CloseReason> {
        match self.state {
            State::Lingering { reason, .. } => Some(reason),
            State::Open(_) | State::Closed => None,
        }
    }

    /// Whether it is open and nothing is owed to the peer.
    pub(crate) fn owes_nothing(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.owed() == 0)
    }

    /// Whether nothing is owed and the receive queue was read dry.
    pub(crate) fn is_dry(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.owed() == 0 && open.input == Input::Dry)
    }

    /// Does what an event, or `probe` in its absence, gives reason for.
    pub(crate) fn pump(
        &mut self,
        ready: Readiness,
        probe: bool,
        work: &mut Work<'_, S::Pipe>,
    ) -> Flow {
        match &mut self.state {
            State::Open(open) => open.pump(&mut self.stream, &mut self.ledger, ready, probe, work),
            State::Lingering { .. } => self.discard(work),
            State::Closed => Flow::Wait,
        }
    }

    /// Sends our FIN; what comes after it is discarded. Does nothing while something is owed.
    pub(crate) fn finish(&mut self, reason: CloseReason, work: &mut Work<'_, S::Pipe>) -> Flow {
        if !self.owes_nothing() {
            return Flow::Wait;
        }
        let dry = self.is_dry();
        match self.stream.shutdown_write() {
            Ok(()) => {
                self.linger(reason, work);
                self.ledger.active = work.mark;
                // Of a dry queue an event will tell; of another one perhaps not.
                if dry { Flow::Wait } else { self.discard(work) }
            }
            Err(error) => Flow::Close(reason_of(&error)),
        }
    }

    fn linger(&mut self, reason: CloseReason, work: &mut Work<'_, S::Pipe>) {
        if let State::Open(open) = &mut self.state {
            open.let_go(work.pipes);
        }
        self.state = State::Lingering { late: Count::default(), reason, ended: false };
    }

    /// Reads and discards until the queue is dry or a bound is reached.
    fn discard(&mut self, work: &mut Work<'_, S::Pipe>) -> Flow {
        loop {
            if work.budget == 0 {
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
                    late.add(count as u64);
                    work.bytes.late = work.bytes.late.saturating_add(count as u64);
                    // The linger time runs from our FIN, whatever comes after it.
                    let active = self.ledger.active;
                    self.ledger.on_read(count, work);
                    self.ledger.active = active;
                }
                Err(Fault::WouldBlock) => return Flow::Wait,
                Err(Fault::Later) => return Flow::Again,
                Err(Fault::Broken(reason)) => return Flow::Close(reason),
            }
        }
    }

    /// The end of patience: one last write, and the reason that it leads to.
    pub(crate) fn force(&mut self, work: &mut Work<'_, S::Pipe>) -> CloseReason {
        if let State::Open(open) = &mut self.state {
            if let Err(Flow::Close(reason)) = open.flush(&mut self.stream, &mut self.ledger, work) {
                return reason;
            }
            if open.owed() > 0 {
                return CloseReason::ForcedLossy;
            }
            self.linger(CloseReason::ForcedClean, work);
        }
        work.budget = FORCED_DISCARD;
        match self.discard(work) {
            Flow::Close(reason) => reason,
            Flow::Wait | Flow::Again | Flow::Pause => CloseReason::ForcedClean,
        }
    }

    /// Ends it. Answers its account and, if `ask`, whether the peer is known to have everything.
    pub(crate) fn close(
        &mut self,
        reason: CloseReason,
        ask: bool,
        bytes: &mut ByteCounts,
        pipes: &mut Pipes<S::Pipe>,
        kernel: &mut S::Kernel,
    ) -> Closing {
        let (left, late, ended) = match &mut self.state {
            State::Open(open) => {
                let left = (open.owed() as u64).saturating_add(u64::from(open.refused));
                open.let_go(pipes);
                (left, 0, open.input == Input::Ended)
            }
            State::Lingering { late, ended, .. } => (0, late.get(), *ended),
            State::Closed => (0, 0, true),
        };
        let aborted = matches!(reason, CloseReason::IoError | CloseReason::ResetByPeer);
        if reason == CloseReason::ForcedLossy || left > 0 {
            // Whoever is at fault: an orderly end would tell the peer that this was all.
            self.stream.reset_on_close();
        }
        let (unsent, peer_aborted) = if aborted { (0, left) } else { (left, 0) };
        bytes.unsent = bytes.unsent.saturating_add(unsent);
        bytes.peer_aborted = bytes.peer_aborted.saturating_add(peer_aborted);
        let read = self.ledger.read;
        let written = read.saturating_sub(late).saturating_sub(left);
        let confirmed = ask && !aborted && left == 0 && (ended || self.is_acknowledged(kernel));
        self.state = State::Closed;
        Closing { bytes: ByteCounts { read, written, late, unsent, peer_aborted }, confirmed }
    }
}

impl<S: Stream> Connection<S> {
    /// Whether the kernel says that the peer has acknowledged everything.
    fn is_acknowledged(&mut self, kernel: &mut S::Kernel) -> bool {
        match self.stream.status(kernel) {
            Status::Acknowledged => true,
            Status::Alive(transport) => transport.unacknowledged == 0,
            Status::Unknown | Status::Broken(_) => false,
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
