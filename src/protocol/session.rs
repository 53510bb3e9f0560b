//! The order of a protocol's calls on one connection: everything of it that needs no I/O.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::engine::observer::ConnectionId;
use crate::engine::report::CloseReason;
use crate::protocol::context::Context;
use crate::protocol::contract::Protocol;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::{Checkpoint, Output, OutputBuffer};

/// Calls that are made in one batch at most.
const CALLS: u32 = 1024;

/// What a protocol did that no protocol may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It consumed more than there was.
    Overdrawn,
    /// It asked to be resumed at once, but it had put nothing, or consumed nothing, in that call.
    EmptyContinue,
    /// It left full input as it was, and is not busy.
    InputFull,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overdrawn => "the protocol consumed more input than there was",
            Self::EmptyContinue => "the protocol asked to be resumed at once, but put nothing",
            Self::InputFull => "the protocol needs more input than may be held",
        })
    }
}

/// Returns how many bytes of input are held for one connection at most.
pub(crate) fn input_limit<P: Protocol>() -> usize {
    P::MAX_INPUT.clamp(1, Input::MAX)
}

/// What a batch of calls leads to, once its output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Want {
    /// More input, or the peer's end of stream.
    Input,
    /// Nothing but [`Session::wake`] helps.
    Resume,
    /// Another batch: the output or the number of calls had reached its bound.
    More,
    /// The last words ([`Session::farewell`]), and our FIN.
    Finish,
    /// A reset.
    Abort,
    /// A reset, because of a fault.
    Fail(Fault),
}

/// The result of a batch of calls.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Advance {
    /// Bytes of the input that were consumed.
    pub consumed: usize,
    /// Requests that were taken.
    pub requests: u64,
    /// What is needed next.
    pub want: Want,
}

/// Whether a connection can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// No request is outstanding.
    Idle,
    /// A request is being received, of which nothing was consumed.
    Held,
    /// A request is being received, of which a part was consumed and perhaps answered.
    Receiving,
    /// A request is outstanding, or a call can be made.
    Busy,
}

/// What is known of the peer's end of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerEnd {
    Open,
    /// It was read; the protocol is to be told.
    Read,
    Told,
}

/// The call to be made next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Greet,
    /// A resume because of the verdict; one that was asked for comes after it.
    Continue,
    Resume,
    Drain,
    Input,
    End,
}

/// One connection of a protocol, without its I/O: it makes the calls in the order that is promised.
///
/// The server has one for each connection. It is public for protocols that wrap another one, which
/// have one in their state, and for trying a protocol without a server: give it all input that is
/// not consumed, write what is in the buffer, then do what the result [wants](Want). While
/// output of an earlier batch is not written [`advance`](Self::advance) is not to be called.
///
/// ```
/// use netgrace::Phase;
/// use netgrace::protocol::{ConnectionId, Context, Line, OutputBuffer, Session, Want};
/// use std::time::Instant;
///
/// let mut protocol = Line::new();
/// let mut output = OutputBuffer::new(64 << 10);
/// let context = Context::new(ConnectionId::new(0, 1), Phase::Running, Instant::now());
/// let mut session = Session::new(&mut protocol, None, context);
///
/// session.on_input();
/// let advance = session.advance(&mut protocol, b"one\ntw", &mut output, 64 << 10, context);
/// assert_eq!((output.bytes(), advance.consumed), (&b"one\n"[..], 4));
/// assert_eq!((advance.requests, advance.want), (1, Want::Input)); // to be held: "tw"
/// ```
pub struct Session<P: Protocol> {
    state: P::State,
    /// Requests begun whose answers did not end.
    outstanding: u32,
    next: Next,
    peer_end: PeerEnd,
    is_new: bool,
    /// The input was not offered since it or the state changed.
    is_fresh: bool,
    is_woken: bool,
    is_drain_due: bool,
    said_farewell: bool,
}

impl<P: Protocol> Session<P> {
    /// Opens a connection. The greeting is said by the first [`advance`](Self::advance).
    pub fn new(protocol: &mut P, peer: Option<SocketAddr>, context: Context) -> Self {
        Self {
            state: protocol.open(peer, context),
            outstanding: 0,
            next: Next::Idle,
            peer_end: PeerEnd::Open,
            is_new: true,
            is_fresh: false,
            is_woken: false,
            is_drain_due: false,
            said_farewell: false,
        }
    }

    /// Input was added to what is held.
    pub fn on_input(&mut self) {
        self.is_fresh = true;
    }

    /// The peer's end of stream was read.
    pub fn on_peer_end(&mut self) {
        if self.peer_end == PeerEnd::Open {
            self.peer_end = PeerEnd::Read;
        }
    }

    /// Somebody asked for a `resume`, or its time has come.
    pub fn wake(&mut self) {
        self.is_woken = true;
    }

    /// Whether [`wake`](Self::wake) was called since the last `resume`.
    pub(crate) fn is_woken(&self) -> bool {
        self.is_woken
    }

    /// The stop has begun to drain. To be called once.
    pub fn on_drain(&mut self) {
        self.is_drain_due = true;
    }

    /// Returns when [`wake`](Self::wake) is to be called.
    pub fn deadline(&self, protocol: &P) -> Option<Instant> {
        if self.is_over() { None } else { protocol.deadline(&self.state) }
    }

    /// Returns the verdict of the last call.
    pub fn verdict(&self) -> Next {
        self.next
    }

    /// Whether the protocol has ended the conversation.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.next, Next::Finish | Next::Abort)
    }

    /// Returns how many requests are outstanding, by the protocol's own count.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Returns whether the connection may be ended; `held` is the input that is left over.
    #[must_use]
    pub fn status(&self, held: usize) -> Status {
        let has_call = self.is_new || self.is_woken || self.is_drain_due;
        let unseen = held > 0 && self.is_fresh;
        match self.next {
            Next::Finish | Next::Abort => Status::Idle,
            Next::Busy | Next::Wait | Next::Continue => Status::Busy,
            Next::Idle | Next::Receive if has_call || unseen => Status::Busy,
            Next::Receive => Status::Receiving,
            Next::Idle if held > 0 => Status::Held,
            Next::Idle => Status::Idle,
        }
    }

    /// Whether there is a call to be made; `input` is all that is held.
    pub(crate) fn has_call(&self, input: &[u8]) -> bool {
        self.pick(input).is_some()
    }

    /// Whether the protocol knows of the peer's end.
    pub(crate) fn has_told_end(&self) -> bool {
        self.peer_end == PeerEnd::Told
    }

    /// Makes the calls that can be made, in a batch: until one needs I/O first. `input` is all that
    /// is held, `room` the bytes that `output` may hold in all: at least [`Output::MIN_ROOM`].
    pub fn advance(
        &mut self,
        protocol: &mut P,
        input: &[u8],
        output: &mut OutputBuffer,
        room: usize,
        context: Context,
    ) -> Advance {
        let mut advance = Advance { consumed: 0, requests: 0, want: Want::More };
        for _ in 0..CALLS {
            let rest = input.get(advance.consumed..).unwrap_or_default();
            let Some(call) = self.pick(rest) else {
                advance.want = self.want();
                break;
            };
            if output.output_within(room).room() < Output::MIN_ROOM {
                break;
            }
            let before = output.checkpoint();
            let called = self.make(call, protocol, rest, &mut output.output_within(room), context);
            advance.consumed = advance.consumed.saturating_add(called.consumed);
            let moved = called.consumed > 0 || output.bytes().len() > before.bytes;
            self.is_fresh = call != Call::Input || moved;
            let is_stuck = !moved && rest.len() >= input_limit::<P>();
            if let Some(fault) = self.find_fault(called, moved, is_stuck) {
                output.roll_back(before);
                self.next = Next::Abort;
                advance.want = Want::Fail(fault);
                break;
            }
            if self.next == Next::Abort {
                output.roll_back(before);
            }
            let requests = self.count(output, before);
            advance.requests = advance.requests.saturating_add(requests);
        }
        advance
    }

    /// Says the last words before our FIN, the first time.
    pub fn farewell(
        &mut self,
        protocol: &mut P,
        output: &mut OutputBuffer,
        room: usize,
        context: Context,
    ) {
        if !std::mem::replace(&mut self.said_farewell, true) {
            protocol.farewell(&mut self.state, &mut output.output_within(room), context);
            self.next = Next::Finish;
        }
    }

    /// Gives the state back at the end of the connection.
    pub fn close(self, protocol: &mut P, connection: ConnectionId, reason: CloseReason) {
        protocol.close(self.state, connection, reason);
    }

    /// Returns the call that is to be made next, if one can be made without I/O.
    fn pick(&self, input: &[u8]) -> Option<Call> {
        match self.next {
            Next::Finish | Next::Abort => None,
            _ if self.is_new => Some(Call::Greet),
            Next::Continue => Some(Call::Continue),
            _ if self.is_woken => Some(Call::Resume),
            _ if self.is_drain_due => Some(Call::Drain),
            Next::Wait => None,
            _ if self.peer_end == PeerEnd::Told => None,
            _ if self.is_fresh && !input.is_empty() => Some(Call::Input),
            Next::Idle | Next::Receive if self.peer_end == PeerEnd::Read => Some(Call::End),
            Next::Idle | Next::Receive | Next::Busy => None,
        }
    }

    /// Returns what is needed when there is no call to be made.
    pub(crate) fn want(&self) -> Want {
        match self.next {
            Next::Finish => Want::Finish,
            Next::Abort => Want::Abort,
            Next::Wait | Next::Continue => Want::Resume,
            _ if self.peer_end != PeerEnd::Open => Want::Resume,
            Next::Idle | Next::Receive | Next::Busy => Want::Input,
        }
    }

    fn make(
        &mut self,
        call: Call,
        protocol: &mut P,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Called {
        let state = &mut self.state;
        let mut input = Input::with_limit(rest, input_limit::<P>());
        let next = match call {
            Call::Greet => {
                self.is_new = false;
                protocol.greet(state, output, context)
            }
            Call::Continue => protocol.resume(state, output, context),
            Call::Resume => {
                self.is_woken = false;
                protocol.resume(state, output, context)
            }
            Call::Drain => {
                self.is_drain_due = false;
                protocol.drain(state, output, context).unwrap_or(self.next)
            }
            Call::Input => protocol.input(state, &mut input, output, context),
            Call::End => {
                self.peer_end = PeerEnd::Told;
                protocol.end(state, rest, output, context)
            }
        };
        let is_over = self.peer_end == PeerEnd::Told;
        self.next = match next {
            Next::Idle | Next::Receive if is_over => Next::Finish,
            next => next,
        };
        Called { call, consumed: input.consumed(), is_overdrawn: input.is_overdrawn() }
    }

    /// Returns what is wrong with a call. `moved`: it consumed or put something; `is_stuck`: it did
    /// not, though there will be no more input.
    fn find_fault(&self, called: Called, moved: bool, is_stuck: bool) -> Option<Fault> {
        match (called.call, self.next) {
            _ if called.is_overdrawn => Some(Fault::Overdrawn),
            (Call::Continue | Call::Resume | Call::Input, Next::Continue) if !moved => {
                Some(Fault::EmptyContinue)
            }
            (Call::Input, Next::Idle | Next::Receive) if is_stuck => Some(Fault::InputFull),
            _ => None,
        }
    }

    /// Counts what a call began and ended. Returns how many requests were taken.
    fn count(&mut self, output: &OutputBuffer, before: Checkpoint) -> u64 {
        let begun = output.requests().saturating_sub(before.requests);
        let ended = output.answers().saturating_sub(before.answers);
        let open = u64::from(self.outstanding).saturating_add(begun);
        let unannounced = ended.saturating_sub(open);
        self.outstanding = u32::try_from(open.saturating_sub(ended)).unwrap_or(u32::MAX);
        begun.saturating_add(unannounced)
    }
}

/// A call, and what it did with the input.
#[derive(Clone, Copy, Debug)]
struct Called {
    call: Call,
    consumed: usize,
    is_overdrawn: bool,
}

impl<P: Protocol> fmt::Debug for Session<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Session");
        debug.field("verdict", &self.next).field("outstanding", &self.outstanding);
        debug.finish_non_exhaustive()
    }
}
