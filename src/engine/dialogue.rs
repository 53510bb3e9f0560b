//! The open half of a connection, whatever its protocol: what the engine asks of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::deadline::Tick;
use super::lists::Place;
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason, RequestCounts};
use super::stream::Stream;
use crate::protocol::{ConnectionId, Context};
use crate::token::Readiness;

/// With less room than this nothing is read, to avoid many tiny reads near the limit.
pub(crate) const LEAST_ROOM: usize = 16 << 10;

/// No segment that is full has fewer bytes (RFC 9293, 3.7.1).
const LEAST_SEGMENT: usize = 536;

/// What the owner of a connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Wait for the next event.
    Wait,
    /// Come again without one: a bound cut the work short.
    Again,
    /// Come again once other connections hold less.
    Pause,
    /// The peer's end of stream was read, and nothing is pending for it.
    Ended,
    /// Send our FIN: the protocol ended the connection, and everything it put is written.
    Finish(CloseReason),
    /// Close it: the connection broke, or we have to break it.
    Close(CloseReason),
}

/// What one call may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoLimits {
    /// Bytes that it may read.
    pub(crate) budget: usize,
    /// Bytes that may be held in addition, over all connections.
    pub(crate) room: usize,
    /// The size of a full segment of the peer's; zero: unknown.
    pub(crate) segment: u16,
}

/// What a connection needs to read and write, for one call.
#[derive(Debug)]
pub(crate) struct IoContext<'a, N, P: Speaks> {
    /// The one read buffer, shared by all.
    pub(crate) buffer: &'a mut [u8],
    /// The pipes for those that stream.
    pub(crate) pipes: &'a mut Pipes<N>,
    /// Bytes that this call may read.
    pub(crate) budget: usize,
    /// Bytes that may be held in addition, over all connections.
    pub(crate) room: usize,
    /// The size of a full segment of the peer's; zero: unknown.
    pub(crate) segment: u16,
    /// The instant of this call, to remember.
    pub(crate) mark: Tick,
    /// The sums over all connections.
    pub(crate) bytes: &'a mut ByteCounts,
    /// The requests of all connections; `None` where there are none.
    pub(crate) requests: &'a mut Option<RequestCounts>,
    /// What all connections share.
    pub(crate) shared: &'a mut Shared<P>,
}

/// What all connections of a server share beside the read buffer.
#[derive(Debug)]
pub(crate) struct Shared<P: Speaks> {
    pub(crate) protocol: P,
    /// The memory for output.
    pub(crate) scratch: P::Scratch,
    /// The circumstances of the present call; kept only for protocols that are told.
    pub(crate) context: Option<Context>,
}

impl<P: Speaks> Shared<P> {
    pub(crate) fn new(protocol: P) -> Self {
        Self { protocol, scratch: P::scratch(), context: None }
    }

    /// Sets the circumstances of the calls that follow.
    pub(crate) fn enter(&mut self, context: Option<Context>) {
        if P::HAS_CALLS {
            self.context = context;
        }
    }
}

/// What is known of the receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A read may give something.
    Ready,
    /// The last read found nothing more; an event will come.
    Dry,
    /// The peer's end of stream was read.
    Ended,
}

/// Independent facts about an open connection, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits(u8);

impl Traits {
    /// It waits among the paused, not among the ready.
    pub(super) const PAUSED: Self = Self(1);
    /// Its peer is known to be on this host.
    pub(super) const NEAR: Self = Self(2);
    /// What it read last ended in what may be a full segment.
    pub(super) const FULL_SEGMENT: Self = Self(4);
    /// Reading was held back lately, by pending output or a pause.
    pub(super) const HELD_BACK: Self = Self(8);

    /// Those of a new connection.
    pub(super) fn of_new(near: bool) -> Self {
        let mut traits = Self(0);
        traits.set(Self::NEAR, near);
        traits
    }

    pub(super) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    pub(super) fn set(&mut self, one: Self, to: bool) {
        self.0 = if to { self.0 | one.0 } else { self.0 & !one.0 };
    }

    /// Notes whether a read may have ended in a full segment, so that there may be more behind it.
    pub(super) fn note_segment(&mut self, count: usize, segment: u16) {
        let full = count >= LEAST_SEGMENT
            && count.checked_rem(usize::from(segment)).is_none_or(|rest| rest == 0);
        self.set(Self::FULL_SEGMENT, full);
    }
}

/// What one connection counts for itself.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(super) read: u64,
    /// When the last byte moved, or our FIN was sent.
    pub(super) active: Tick,
    /// The low half of its number in the order of acceptance.
    pub(super) number: u32,
}

impl Ledger {
    pub(super) fn on_read<N, P: Speaks>(&mut self, count: usize, io: &mut IoContext<'_, N, P>) {
        self.active = io.mark;
        self.read = self.read.saturating_add(count as u64);
        io.bytes.read = io.bytes.read.saturating_add(count as u64);
        io.budget = io.budget.saturating_sub(count);
    }

    pub(super) fn on_written<N, P: Speaks>(&mut self, count: usize, io: &mut IoContext<'_, N, P>) {
        self.active = io.mark;
        io.bytes.written = io.bytes.written.saturating_add(count as u64);
    }
}

/// A connection that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) place: Place,
    /// The peer is known to be on this host.
    pub(crate) near: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) reason: CloseReason,
    /// The peer or the network broke it, not we.
    pub(crate) is_broken: bool,
}

/// What one connection leaves to be accounted for when it is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    /// Output that was handed to the kernel.
    pub(crate) written: u64,
    /// Output that was not.
    pub(crate) left: u64,
    pub(crate) late: u64,
    pub(crate) served: u64,
    pub(crate) produced: u64,
    pub(crate) unserved: u64,
    pub(crate) incomplete: u64,
}

/// The end of the open half.
#[derive(Debug)]
pub(crate) struct Finished<T> {
    /// What is to be remembered until the close.
    pub(crate) tail: T,
    /// Input that the protocol gave up when it ended the connection.
    pub(crate) late: u64,
    /// Output that was not written.
    pub(crate) left: u64,
}

/// Whether a connection can be ended, as its protocol sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pursuit {
    /// No request is outstanding.
    Idle,
    /// A request is being received; nothing of it was consumed.
    Held,
    /// A request is being received; a part of it was consumed, and perhaps answered.
    Receiving,
    /// A request is outstanding.
    Busy,
}

/// What a server can run: the echo, or any protocol.
pub(crate) trait Speaks: Sized {
    /// The open half of a connection.
    type Dialogue<S: Stream>: Dialogue<S, Self>;
    /// The memory that all connections share for output.
    type Scratch: fmt::Debug;
    /// Whether connections may have something to do without an event.
    const HAS_CALLS: bool;

    fn scratch() -> Self::Scratch;
    fn name(&self) -> &'static str;
    /// The requests at the start; `None` where they are not counted.
    fn requests() -> Option<RequestCounts>;
    /// A connection that has something to say although nothing happened on it.
    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId>;
}

/// The open half of a connection's life.
pub(crate) trait Dialogue<S: Stream, P: Speaks>: fmt::Debug + Sized {
    /// What is remembered after our FIN.
    type Tail: fmt::Debug;

    fn new(begin: Begin, shared: &mut Shared<P>, context: Context) -> Self;

    fn input(&self) -> Input;
    fn place(&self) -> Place;
    fn set_place(&mut self, to: Place);
    fn traits(&self) -> Traits;
    fn traits_mut(&mut self) -> &mut Traits;

    /// Bytes that are pending for the peer.
    fn pending(&self) -> usize;
    fn pursuit(&self) -> Pursuit;
    /// Whether a request is outstanding as its protocol said last, a call to be made apart.
    fn is_outstanding(&self) -> bool;
    /// When it has something to do without an event.
    fn deadline(&self, protocol: &P) -> Option<Instant>;
    /// Somebody asked for it to be resumed, or its deadline has come. Returns whether that was so
    /// already.
    fn wake(&mut self) -> bool;
    /// The stop has begun to drain.
    fn on_drain(&mut self);

    /// Does what an event, or `probe` in its absence, gives reason for. A probing call reads until
    /// the queue is dry, whatever was known of it.
    fn pump(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        ready: Readiness,
        probe: bool,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Flow;

    /// Says and writes the last words before our FIN; an error where the peer does not take them
    /// at once. Then `pump` returns [`Flow::Finish`] with this reason when it has.
    fn say_farewell(
        &mut self,
        reason: CloseReason,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Result<(), Flow>;

    /// Ends it.
    fn finish(
        self,
        end: End,
        pipes: &mut Pipes<S::Pipe>,
        bytes: &mut ByteCounts,
    ) -> Finished<Self::Tail>;

    /// What was read after a FIN by force counts as cut off, not as late. Returns what of it counts
    /// as output that was not written.
    fn reject(tail: &mut Self::Tail, late: u64, bytes: &mut ByteCounts) -> u64;

    /// Closes the account: `read` in all, `late` of it after our FIN, `left` of the output
    /// unwritten.
    fn settle(tail: &Self::Tail, read: u64, late: u64, left: u64) -> Settled;

    /// Gives everything up at the close.
    fn close(
        tail: Self::Tail,
        connection: ConnectionId,
        end: End,
        requests: &mut Option<RequestCounts>,
        protocol: &mut P,
    );
}
