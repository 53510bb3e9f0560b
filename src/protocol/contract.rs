//! The trait that a protocol implements.

use std::net::SocketAddr;
use std::time::Instant;

use crate::engine::observer::ConnectionId;
use crate::engine::report::CloseReason;
use crate::protocol::context::Context;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// What a server says to its clients: one value for a server, one [`State`](Self::State) for each
/// connection.
///
/// The [module](crate::protocol) has an example and the order of the calls. All calls come from
/// within calls of the server, on its thread; none may block. A protocol is generic code, not a
/// boxed object: a call costs no more than a function call.
pub trait Protocol {
    /// What is remembered of one connection. It lies in the connection's slot, so that `()` costs
    /// no byte and a large state costs its size for each connection, idle ones included: box what
    /// is rare.
    type State;

    /// Bytes of unconsumed input that are held for one connection at most; more than 64 KiB, the
    /// default, counts as 64 KiB. A request that must be seen as a whole cannot be longer, but its
    /// header may be consumed first and kept in the state. Memory is used only for what is in fact
    /// left over.
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
    /// timer to arm or cancel. At the deadline the input that has come is delivered first if the
    /// verdict is `Idle`, `Receive` or `Busy`; at `Continue` and `Wait` it is not, so that `resume`
    /// proves nothing about what the peer has sent. While output is pending no deadline is
    /// honoured: against peers that do not read there is
    /// [`Config::idle_timeout`](crate::Config::idle_timeout). The resolution is a millisecond.
    fn deadline(&self, state: &Self::State) -> Option<Instant> {
        let _ = state;
        None
    }

    /// Returns a connection that has something to say although nothing happened on it: a message
    /// from another connection, an answer from another thread. `resume` is called for it as soon as
    /// nothing is pending on it. Asked in every turn until `None`, at most 256 times; the rest has
    /// its turn in the next. All are asked for before the first of them is resumed. A connection
    /// that is gone meanwhile is passed over, as its id is not given again to another one.
    ///
    /// An answer from another thread comes this way: the protocol owns the receiving end of a
    /// channel, and the thread wakes the poll of the server after it has sent. Keep the answer in
    /// something that the state shares with the thread, or by id until [`close`](Self::close).
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
    /// called before a reset. What is put is pending output like any other. There is room for half
    /// of [`Output::MIN_ROOM`] at least: what wraps the protocol may need some of it.
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
