//! The accept policy: what a failed accept means, and when to call accept again.

use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Visibility};
use crate::engine::deadline::{after, is_due};
use crate::engine::stream::Stream;

/// After this many failures in a row that look like the peers' fault, back off as for our own.
const PEER_FAILURES: u32 = 128;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Which processes accept clients from the queue of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a queue has one owner, several, or this is undecided")]
pub enum Ownership {
    /// No other process holds the socket. A stop accepts every client of the queue before it
    /// closes the socket, which would reset them.
    Exclusive,
    /// Other processes hold the socket too, such as a service manager or a successor. A stop leaves
    /// the queue to them: it neither empties nor gates it.
    Shared,
    /// Whether another process takes the queue over is being decided, or one that has given it up
    /// still holds the socket. A stop goes on accepting until the ownership is set to another
    /// value; if its budget ends before that, it leaves the queue as it is.
    Undecided,
}

/// What asks the kernel about the connections of a queue.
pub(crate) type KernelOf<Q> = <<Q as Listen>::Stream as Stream>::Kernel;

/// The accept queue of a listening socket, and the poll that reports events of it and of its
/// clients.
pub(crate) trait Listen {
    type Stream: Stream;
    type Poll;
    /// The address of a queue.
    type Endpoint: Clone;

    /// What it listens on, for log lines.
    fn name(&self) -> &str;

    /// Accepts one client, as accept(2).
    fn accept(&mut self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;

    /// Keeps new handshakes from starting, so that none completes between the last accept and the
    /// close. Returns whether that was possible.
    fn shut_gate(&mut self) -> bool;

    /// Returns what can be known of its half-open handshakes.
    fn visibility(&mut self, kernel: &mut KernelOf<Self>) -> Visibility;

    /// Returns the kernel's counters, unless they cannot be read.
    fn pressure(&mut self) -> Option<Pressure>;

    /// Returns the endpoint that dumps are made for, which outlives the listener; `None` where
    /// there is nothing to dump.
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

    /// Asks the kernel for the state of connections that a dump found.
    fn ask(endpoint: &Self::Endpoint, kernel: &mut KernelOf<Self>, pairs: &mut [Pair]);

    fn register(&mut self, poll: &Self::Poll, token: Token) -> io::Result<()>;

    fn deregister(&mut self, poll: &Self::Poll) -> io::Result<()>;

    /// Registers a client's stream with the poll.
    fn register_stream(
        stream: &mut Self::Stream,
        poll: &Self::Poll,
        token: Token,
    ) -> io::Result<()>;

    /// Deregisters a client's stream from the poll.
    fn deregister_stream(stream: &mut Self::Stream, poll: &Self::Poll) -> io::Result<()>;
}

/// The result of one call of accept.
#[derive(Debug)]
pub(crate) enum Accepted<S> {
    /// A new connection, and its peer's address if that has one.
    Client(S, Option<SocketAddr>),
    /// The queue is empty.
    Empty,
    /// The new connection was broken before it was accepted: go on with the next.
    Broken(io::Error),
    /// Descriptors or memory are used up: back off, then try again.
    Exhausted(io::Error),
    /// The listener failed for good.
    Dead(io::Error),
}

/// Whether to call accept. Only an empty queue waits for an event, because an edge that was once
/// delivered does not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The queue was seen empty.
    Empty,
    /// There may be clients in it.
    Ready,
    /// There may be clients in it, but no free slot: accept after the next close.
    Full,
    /// There may be clients in it, but no descriptor or memory: accept after the next close, or at
    /// this time.
    BackingOff { until: Option<Instant>, pause: Duration },
}

/// A queue, and when to call accept on it.
#[derive(Debug)]
pub(crate) struct AcceptQueue<Q> {
    pub(crate) queue: Q,
    ownership: Ownership,
    state: State,
    peer_failures: u32,
    /// The listener failed for good.
    dead: bool,
}

impl<Q: Listen> AcceptQueue<Q> {
    pub(crate) fn new(queue: Q, owned: bool) -> Self {
        let ownership = if owned { Ownership::Exclusive } else { Ownership::Shared };
        Self { queue, ownership, state: State::Empty, peer_failures: 0, dead: false }
    }

    pub(crate) fn name(&self) -> &str {
        self.queue.name()
    }

    pub(crate) fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Sets who owns the queue, and has accept called again if that is a change.
    pub(crate) fn set_ownership(&mut self, ownership: Ownership) {
        if self.ownership != ownership {
            self.ownership = ownership;
            self.on_event();
        }
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

    /// Notes an event: there may be clients. Does not end a back-off.
    pub(crate) fn on_event(&mut self) {
        if self.state == State::Empty {
            self.state = State::Ready;
        }
    }

    /// Notes that a connection was closed, which freed a slot and a descriptor.
    pub(crate) fn on_freed(&mut self) {
        if self.state != State::Empty {
            self.state = State::Ready;
        }
    }

    /// Notes that the queue was seen empty.
    pub(crate) fn set_empty(&mut self) {
        self.state = State::Empty;
    }

    /// Returns whether clients wait for a free slot.
    pub(crate) fn is_full(&self) -> bool {
        self.state == State::Full
    }

    /// Notes that the listener failed for good.
    pub(crate) fn set_dead(&mut self) {
        self.state = State::Empty;
        self.dead = true;
    }

    /// Returns whether the listener failed for good.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Notes that there is no slot for the next client.
    pub(crate) fn set_full(&mut self) {
        self.state = State::Full;
    }

    /// Notes that a client was accepted: the next back-off is a short one again.
    pub(crate) fn set_ready(&mut self) {
        self.state = State::Ready;
    }

    /// Notes that no descriptor or memory is left for the next client: backs off, longer each time
    /// until one is accepted.
    pub(crate) fn back_off(&mut self, now: Instant) {
        let pause = match self.state {
            State::BackingOff { pause, .. } => pause.saturating_mul(2).min(BACKOFF_MAX),
            State::Empty | State::Ready | State::Full => BACKOFF_MIN,
        };
        self.state = State::BackingOff { until: after(now, Some(pause)), pause };
    }

    /// Returns whether to call accept now.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self.state {
            State::Ready => true,
            State::BackingOff { until, .. } => is_due(until, now),
            State::Empty | State::Full => false,
        }
    }

    /// Returns when to call accept without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Ready => Some(now),
            State::BackingOff { until, .. } => until,
            State::Empty | State::Full => None,
        }
    }
}

/// Classifies a failure of accept; accept(2), "Error handling".
fn classify<S>(error: io::Error) -> Accepted<S> {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Empty;
    }
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Accepted::Exhausted(error)
        }
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS) => Accepted::Dead(error),
        // On other systems this means that the peer left before it was accepted.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::EINVAL) => Accepted::Dead(error),
        _ => Accepted::Broken(error),
    }
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
