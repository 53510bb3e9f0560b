//! The accept policy: what a failed accept means, and when to accept again.

use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::engine::deadline::{after, is_due};
use crate::engine::stream::Stream;
use crate::pair::{Dumped, Pair, Pressure, Sought, Visibility};

/// After this many failures in a row that are the peers', they count as the system's.
const PEER_FAILURES: u32 = 128;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Who takes clients from a listening socket's accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the queue is the server's alone, or it is not")]
pub enum Ownership {
    /// No other process holds the socket. A stop accepts every client of the queue before it
    /// closes the socket, which would reset them.
    Exclusive,
    /// Others hold the socket too, such as a service manager or a successor. A stop leaves the
    /// queue to them: it neither empties nor gates it.
    Shared,
}

/// The handle by which the kernel is asked about the connections of a queue.
pub(crate) type KernelOf<Q> = <<Q as Listen>::Stream as Stream>::Kernel;

/// The accept queue of a listening socket, and the poll that reports events of it and of its
/// clients.
pub(crate) trait Listen {
    type Stream: Stream;
    type Poll;
    /// The address of a queue.
    type Endpoint: Clone;

    /// Returns what it listens on, for messages.
    fn name(&self) -> &str;

    /// Takes the client that has waited longest, as accept(2).
    fn accept(&mut self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;

    /// Lets no new handshake begin, so that none completes between the last accept and the close.
    /// Returns whether that was possible: otherwise a handshake may fall in between.
    fn shut_gate(&mut self) -> bool;

    /// Returns what can be known of its half-open handshakes.
    fn visibility(&mut self, kernel: &mut KernelOf<Self>) -> Visibility;

    /// Returns the kernel's counters, unless they cannot be read.
    fn pressure(&mut self) -> Option<Pressure>;

    /// Returns what dumps need to know of it, which outlives it; `None` where there is nothing to
    /// dump.
    fn endpoint(&self) -> Option<Self::Endpoint>;

    /// Begins a dump of the connections of an endpoint, or goes on with the one that was begun,
    /// and appends what this slice of it found. Only one dump is under way at a time; `restart`
    /// gives up one that is not complete.
    fn dump(
        endpoint: &Self::Endpoint,
        sought: Sought,
        restart: bool,
        kernel: &mut KernelOf<Self>,
        found: &mut Vec<Pair>,
    ) -> Dumped;

    /// Asks the kernel for the standing of connections that a dump found.
    fn ask(endpoint: &Self::Endpoint, kernel: &mut KernelOf<Self>, pairs: &mut [Pair]);

    fn register(&mut self, poll: &Self::Poll, token: Token) -> io::Result<()>;

    fn deregister(&mut self, poll: &Self::Poll) -> io::Result<()>;

    /// Puts a client's stream on the poll.
    fn register_stream(
        stream: &mut Self::Stream,
        poll: &Self::Poll,
        token: Token,
    ) -> io::Result<()>;

    /// Takes a client's stream off the poll.
    fn deregister_stream(stream: &mut Self::Stream, poll: &Self::Poll) -> io::Result<()>;
}

/// The result of one accept call.
#[derive(Debug)]
pub(crate) enum Accepted<S> {
    /// A new connection, and its peer's address if that has one.
    Client(S, Option<SocketAddr>),
    /// The queue is empty.
    Empty,
    /// The new connection was broken before it was accepted: continue with the next.
    Broken(io::Error),
    /// Descriptors or memory are used up: back off, then try again.
    Exhausted(io::Error),
    /// The listener does not work any more.
    Dead(io::Error),
}

/// Whether to accept. Only an empty queue waits for an event, because an edge that was delivered
/// does not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// accept(2) found the queue empty: after the next event.
    Empty,
    /// There may be clients in the queue.
    Ready,
    /// There may be clients in the queue, but there is no slot for them: after the next close.
    Full,
    /// There may be clients in the queue, but accept(2) failed for want of descriptors or memory:
    /// after the next close, or at the end of the pause.
    Backoff { until: Option<Instant>, pause: Duration },
}

/// A listener, and when to accept from its queue.
#[derive(Debug)]
pub(crate) struct AcceptQueue<Q> {
    pub(crate) queue: Q,
    /// No other process holds the socket: a stop empties its queue.
    owned: bool,
    state: State,
    peer_failures: u32,
}

impl<Q: Listen> AcceptQueue<Q> {
    pub(crate) fn new(queue: Q, owned: bool) -> Self {
        Self { queue, owned, state: State::Empty, peer_failures: 0 }
    }

    pub(crate) fn name(&self) -> &str {
        self.queue.name()
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owned
    }

    pub(crate) fn set_owned(&mut self, is_owned: bool) {
        self.owned = is_owned;
    }

    /// Accepts one client.
    pub(crate) fn accept(&mut self) -> Accepted<Q::Stream> {
        let accepted = match self.queue.accept() {
            Ok((stream, peer)) => Accepted::Client(stream, peer),
            Err(error) => classify(error),
        };
        match (accepted, self.peer_failures) {
            (Accepted::Broken(error), PEER_FAILURES..) => {
                self.peer_failures = 0;
                Accepted::Exhausted(error)
            }
            (Accepted::Broken(error), failures) => {
                self.peer_failures = failures.saturating_add(1);
                Accepted::Broken(error)
            }
            (other, _) => {
                self.peer_failures = 0;
                other
            }
        }
    }

    /// Handles an event of the listener. Does not end a back-off.
    pub(crate) fn on_event(&mut self) {
        if self.state == State::Empty {
            self.state = State::Ready;
        }
    }

    /// A connection was closed: a slot and a descriptor are free.
    pub(crate) fn on_freed(&mut self) {
        if self.state != State::Empty {
            self.state = State::Ready;
        }
    }

    /// accept(2) found the queue empty.
    pub(crate) fn set_empty(&mut self) {
        self.state = State::Empty;
    }

    /// Returns whether a client may be waiting for a slot.
    pub(crate) fn is_full(&self) -> bool {
        self.state == State::Full
    }

    /// There is no slot for the next client.
    pub(crate) fn set_full(&mut self) {
        self.state = State::Full;
    }

    /// A client was accepted: the next back-off begins with the shortest pause.
    pub(crate) fn set_ready(&mut self) {
        self.state = State::Ready;
    }

    /// accept(2) failed for want of descriptors or memory: pauses, twice as long each time until a
    /// client is accepted.
    pub(crate) fn back_off(&mut self, now: Instant) {
        let pause = match self.state {
            State::Backoff { pause, .. } => pause.saturating_mul(2).min(BACKOFF_MAX),
            State::Empty | State::Ready | State::Full => BACKOFF_MIN,
        };
        self.state = State::Backoff { until: after(now, Some(pause)), pause };
    }

    /// Returns whether to accept now.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self.state {
            State::Ready => true,
            State::Backoff { until, .. } => is_due(until, now),
            State::Empty | State::Full => false,
        }
    }

    /// Returns when to accept without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Ready => Some(now),
            State::Backoff { until, .. } => until,
            State::Empty | State::Full => None,
        }
    }
}

/// Classifies a failed accept by its cause: see accept(2), "Error handling".
fn classify<S>(error: io::Error) -> Accepted<S> {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Empty;
    }
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Accepted::Exhausted(error)
        }
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS) => Accepted::Dead(error),
        // Other systems return this for a peer that left before it was accepted.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::EINVAL) => Accepted::Dead(error),
        _ => Accepted::Broken(error),
    }
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
