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
//!                 if writeln!(output, "{length}").is_err() { // there is room for 16 KiB at least
//!                     return Next::Abort;
//!                 }
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
//!   [`Next::Receive`]) and the patience of the stop is over: five times
//!   [`idle_grace`](crate::Config::idle_grace), one second or ten rounds, whichever is longest,
//!   since the request to stop, or since the last byte at `Receive`.
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
mod contract;
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

pub use self::context::Context;
pub use self::contract::Protocol;
pub use self::discard::Discard;
pub use self::echo::{Echo, Repeat};
#[cfg(feature = "http")]
pub use self::http::{Http, HttpState};
pub use self::input::Input;
pub use self::line::{Line, LineState};
pub use self::next::Next;
pub use self::output::{Output, OutputBuffer};
pub use self::session::{Advance, Fault, Session, Status, Want};
pub use crate::engine::observer::ConnectionId;
