//! What a server says to its clients: the [`Protocol`] trait, and the protocols that are built in.
//!
//! A protocol is *sans-IO*: it is given bytes and the time, and returns bytes and a verdict. It
//! never sees a socket, never blocks and never waits; the engine reads, writes, holds what is left
//! over, closes, and keeps the account. Therefore everything that a stop promises for the echo
//! holds for every protocol: no client in the accept queue is lost, requests that are in flight are
//! answered within the budget, and the report says what was not.
//!
//! # A protocol in twenty lines
//!
//! Each request is a line that is answered with its length:
//!
//! ```
//! use std::io::Write;
//! use std::net::SocketAddr;
//! use netgrace::protocol::{Context, Input, Next, Output, Protocol};
//!
//! struct Length;
//!
//! impl Protocol for Length {
//!     type State = (); // nothing to remember of a connection
//!
//!     fn open(&mut self, _: Option<SocketAddr>, _: Context) {}
//!
//!     fn input(
//!         &mut self, _: &mut (), input: &mut Input<'_>, output: &mut Output<'_>, _: Context,
//!     ) -> Next {
//!         match input.bytes().iter().position(|byte| *byte == b'\n') {
//!             Some(length) => {
//!                 let _written = writeln!(output, "{length}"); // 16 KiB of room at least
//!                 output.end_answer(); // counts a request and its answer
//!                 input.consume(length + 1);
//!                 Next::Idle // called again at once if there is more
//!             }
//!             None if input.is_full() => Next::Finish, // a line of more than 64 KiB
//!             None => Next::Idle, // the rest of the line is still to come
//!         }
//!     }
//! }
//!
//! // It can be tried without any server.
//! use netgrace::protocol::OutputBuffer;
//! use netgrace::{Phase, protocol::ConnectionId};
//! use std::time::Instant;
//!
//! let context = Context::new(ConnectionId::new(0, 1), Phase::Running, Instant::now());
//! let mut input = Input::new(b"hello\nwor");
//! let mut buffer = OutputBuffer::new(64 << 10);
//! let next = Length.input(&mut (), &mut input, &mut buffer.output(), context);
//! assert_eq!((next, buffer.bytes(), input.bytes()), (Next::Idle, &b"5\n"[..], &b"wor"[..]));
//! ```
//!
//! # When each call comes
//!
//! | call | when | default |
//! |---|---|---|
//! | [`open`] | a connection was accepted | – |
//! | [`greet`] | right after; the first words may be the server's | says nothing |
//! | [`input`] | there is input, and the verdict is `Idle`, `Receive` or `Busy` | – |
//! | [`resume`] | after `Continue`; at the [`deadline`]; if it was asked for | `Idle` |
//! | [`end`] | the peer sent its FIN, and nothing is outstanding | `Finish` |
//! | [`drain`] | once, when a stop begins to drain | nothing |
//! | [`farewell`] | once, right before the server's FIN | nothing |
//! | [`close`] | the connection is over | drops the state |
//!
//! [`open`]: Protocol::open
//! [`greet`]: Protocol::greet
//! [`input`]: Protocol::input
//! [`resume`]: Protocol::resume
//! [`deadline`]: Protocol::deadline
//! [`end`]: Protocol::end
//! [`drain`]: Protocol::drain
//! [`farewell`]: Protocol::farewell
//! [`close`]: Protocol::close
//!
//! No call comes while output of the connection is pending, that is, put earlier and not yet taken
//! by the kernel, except `close`. So a protocol never sees "would block", one that reads slowly is
//! simply called seldom, and at most one call's output and one incomplete request is held for each
//! connection. Calls that need no I/O in between are made in a batch, whose output is written with
//! one system call.
//!
//! # What a stop does
//!
//! From `Phase::LameDuck` on [`Context::is_stopping`] holds: answers should say that the end is
//! near. When draining begins, each connection gets one call of `drain`. It is served further, and
//! it gets its FIN once it is *done*: nothing is pending, it was quiet for a while, and
//!
//! - its verdict is [`Next::Idle`] and no input is left over; or
//! - it is in the midst of *receiving* a request (`Idle` with input left over, or
//!   [`Next::Receive`]) and the patience of the stop is over.
//!
//! A connection whose verdict is `Busy`, `Wait` or `Continue` is waited for until the budget of
//! the stop ends. Then it is reset, and its requests count as unanswered.
//!
//! # What a protocol does wrong
//!
//! A connection is reset, the fault is logged, and it counts as closed by its protocol when a call
//! consumes more than it was given; when `resume` returns `Continue` without having put a byte;
//! when the held input is [full](Input::is_full) and is not consumed. What the call in question
//! has put is discarded. A deadline in the past is honoured once a millisecond. A panic passes
//! through to the caller of the server.

#[cfg(test)]
pub(crate) mod adversary;
mod context;
mod discard;
mod echo;
#[cfg(feature = "http")]
mod http;
mod input;
mod line;
#[cfg(test)]
pub(crate) mod loopback;
mod next;
pub(crate) mod output;
mod scan;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Instant;

pub use self::context::{ConnectionId, Context};
pub use self::discard::Discard;
pub use self::echo::{Echo, Repeat};
#[cfg(feature = "http")]
pub use self::http::{Http, HttpState};
pub use self::input::Input;
pub use self::line::{Line, LineState};
pub use self::next::Next;
pub use self::output::{Output, OutputBuffer};
pub use self::session::{Advance, Fault, Session, Status, Want};
use crate::engine::report::CloseReason;

/// What a server says to its clients: one value for a server, one [`State`](Self::State) for each
/// connection.
///
/// The [module](self) has an example and the order of the calls. All calls come from within calls
/// of the server, on its thread; none may block. A protocol is generic code, not a boxed object:
/// a call costs no more than a function call.
pub trait Protocol {
    /// What is remembered of one connection. It lies in the connection's slot, so that `()` costs
    /// no byte and a large state costs its size for each connection, idle ones included: box what
    /// is rare.
    type State;

    /// Bytes of unconsumed input that are held for one connection at most; more than 64 KiB, the
    /// default, counts as 64 KiB. A request that must be seen as a whole cannot be longer. Memory
    /// is used only for what is in fact left over.
    const MAX_INPUT: usize = Input::MAX;

    /// Returns the name under which reports show the protocol. Default: that of the type.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Returns the state of a new connection. `peer` is its address, `None` for a Unix socket; a
    /// protocol that needs it later keeps it in the state.
    fn open(&mut self, peer: Option<SocketAddr>, context: Context) -> Self::State;

    /// Says the first words, before any input. A connection that is not wanted may be ended here.
    fn greet(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let _ = (state, output, context);
        Next::Idle
    }

    /// Takes input. `input` holds everything that was received and not consumed, in one piece.
    ///
    /// One call may serve one request, several, or a part of one. Without consuming or putting
    /// anything it says that it needs more input, and is called again when there is more; what it
    /// left over stands in front again, unchanged. Otherwise it is called again at once if input
    /// is left over. Output has room for at least [`Output::MIN_ROOM`] bytes; what needs more goes
    /// out in pieces, from further calls or from [`resume`](Self::resume).
    fn input(
        &mut self,
        state: &mut Self::State,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next;

    /// Goes on without input: puts the next piece of an answer, an answer that has become ready, or
    /// a message that the peer did not ask for.
    ///
    /// It is called after [`Next::Continue`], when the [`deadline`](Self::deadline) has come, and
    /// for connections that [`poll_resume`](Self::poll_resume) or `Server::resume` named, at any
    /// verdict but `Finish` and `Abort`. A connection that was named several times is resumed once,
    /// and the reason may no longer hold: decide by the state, not by the cause.
    ///
    /// The server also calls it for a protocol that never asked for it if the host names one of its
    /// connections. The default returns `Idle`.
    fn resume(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let _ = (state, output, context);
        Next::Idle
    }

    /// Returns the instant at which [`resume`](Self::resume) is to be called though nothing else
    /// happens; `None` for never. Asked after each call of this connection, so that there is no
    /// timer to arm or cancel. At the deadline the input that has come is delivered first. The
    /// resolution is a millisecond.
    fn deadline(&self, state: &Self::State) -> Option<Instant> {
        let _ = state;
        None
    }

    /// Returns a connection that has something to say although nothing happened on it: a message
    /// from another connection, an answer from another thread. `resume` is called for it as soon as
    /// nothing is pending on it. Asked in every turn until `None`, at most 256 times; the rest has
    /// its turn in the next. A connection that is gone meanwhile is passed over, as its id is not
    /// given again to another one.
    ///
    /// An answer from another thread comes this way: the protocol owns the receiving end of a
    /// channel, and the thread wakes the poll of the server after it has sent.
    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        let _ = now;
        None
    }

    /// The peer has sent its FIN: no more input will come, but it still reads. `rest` is what it
    /// left of a request. Called once, when all input was delivered and the verdict is `Idle` or
    /// `Receive`; a request that is outstanding is answered first. After it `Idle` and `Receive`
    /// mean `Finish`.
    fn end(
        &mut self,
        state: &mut Self::State,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let _ = (state, rest, output, context);
        Next::Finish
    }

    /// The server stops and begins to drain: for protocols that can tell an idle peer so (SMTP's
    /// 421, HTTP/2's GOAWAY, a close frame of WebSocket). Called once for each connection, in the
    /// turns that follow, not between the pieces of an answer (`Continue`); for connections that
    /// are accepted later right after `greet`. `None`: the verdict stays as it is.
    ///
    /// Returning [`Next::Finish`] ends the connection without reading what the peer has sent
    /// meanwhile. The engine ends an idle connection by itself, once it has been quiet.
    fn drain(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        let _ = (state, output, context);
        None
    }

    /// Says the last words: the server's FIN follows, whatever the reason (TLS's close_notify). Not
    /// called before a reset. What is put is pending output like any other.
    fn farewell(&mut self, state: &mut Self::State, output: &mut Output<'_>, context: Context) {
        let _ = (state, output, context);
    }

    /// The connection is over; from now on its id means nothing. Called once for each state that
    /// [`open`](Self::open) returned, also when the server is dropped, but not when the thread
    /// panics.
    fn close(&mut self, state: Self::State, connection: ConnectionId, reason: CloseReason) {
        let _ = (state, connection, reason);
    }
}
