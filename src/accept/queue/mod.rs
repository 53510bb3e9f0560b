//! The accept policy: what a failed accept means, and when a queue is worth another look.

use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Visibility};
use crate::engine::deadline::{after, is_due};
use crate::engine::stream::Stream;

/// After this many failures in a row that were the peers' fault, it is taken for ours.
const PEER_FAILURES: u32 = 128;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Who takes clients from a listening socket's accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the queue is somebody's, or this is not known yet")]
pub enum Ownership {
    /// No other process holds the socket. A stop accepts every client of the queue before it
    /// closes the socket, which would reset them.
    Exclusive,
    /// Others hold the socket too, such as a service manager or a successor. A stop leaves the
    /// queue to them: it neither empties nor gates it.
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

    /// What it listens on, for people.
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

/// What one call of accept came to.
#[derive(Debug)]
pub(crate) enum Accepted<S> {
    /// A new connection, and its peer's address if that has one.
    Client(S, Option<SocketAddr>),
    /// The queue is empty.
    Empty,
    /// The new connection was broken before it could be taken: go on with the next.
    Broken(io::Error),
    /// Descriptors or memory are used up: rest, then try again.
    Exhausted(io::Error),
    /// The listener is no more.
    Dead(io::Error),
}

/// Whether the queue is worth a look. Only an empty queue makes it wait for an event, because an
/// edge that was once delivered does not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The queue was seen empty.
    Empty,
    /// There may be clients in it.
    Ready,
    /// There may be clients in it, but no slot for them: after the next close.
    Full,
    /// There may be clients in it, but no means to take them: after the next close, or then.
    BackingOff { until: Option<Instant>, pause: Duration },
}

/// A queue, and when to look into it.
#[derive(Debug)]
pub(crate) struct AcceptQueue<Q> {
    pub(crate) queue: Q,
    ownership: Ownership,
    state: State,
    peer_failures: u32,
    /// The listener is no more.
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

    /// Sets whose queue it is. It is worth a look when that changes.
    pub(crate) fn set_ownership(&mut self, ownership: Ownership) {
        if self.ownership != ownership {
            self.ownership = ownership;
            self.on_event();
        }
    }

    /// Takes one client from the queue.
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

    /// An event said that there may be clients. Does not end a rest.
    pub(crate) fn on_event(&mut self) {
        if self.state == State::Empty {
            self.state = State::Ready;
        }
    }

    /// A connection of ours was closed, and with it a slot and a descriptor came free.
    pub(crate) fn on_freed(&mut self) {
        if self.state != State::Empty {
            self.state = State::Ready;
        }
    }

    /// The queue was seen empty.
    pub(crate) fn set_empty(&mut self) {
        self.state = State::Empty;
    }

    /// Whether a client waits for a slot.
    pub(crate) fn is_full(&self) -> bool {
        self.state == State::Full
    }

    /// The listener is no more: nothing comes of it.
    pub(crate) fn set_dead(&mut self) {
        self.state = State::Empty;
        self.dead = true;
    }

    /// Returns whether the listener is no more.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// There is no slot for the next client.
    pub(crate) fn set_full(&mut self) {
        self.state = State::Full;
    }

    /// Something was taken: the next rest is a short one again.
    pub(crate) fn set_ready(&mut self) {
        self.state = State::Ready;
    }

    /// There is no means to take the next client: rests, longer each time until one is taken.
    pub(crate) fn back_off(&mut self, now: Instant) {
        let pause = match self.state {
            State::BackingOff { pause, .. } => pause.saturating_mul(2).min(BACKOFF_MAX),
            State::Empty | State::Ready | State::Full => BACKOFF_MIN,
        };
        self.state = State::BackingOff { until: after(now, Some(pause)), pause };
    }

    /// Whether to look into the queue now.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self.state {
            State::Ready => true,
            State::BackingOff { until, .. } => is_due(until, now),
            State::Empty | State::Full => false,
        }
    }

    /// When to look into the queue without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Ready => Some(now),
            State::BackingOff { until, .. } => until,
            State::Empty | State::Full => None,
        }
    }
}

/// Says whose fault a failed accept is; accept(2), "Error handling".
fn classify<S>(error: io::Error) -> Accepted<S> {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Empty;
    }
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Accepted::Exhausted(error)
        }
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS) => Accepted::Dead(error),
        // Elsewhere this is what a peer gives that left before it was taken.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::EINVAL) => Accepted::Dead(error),
        _ => Accepted::Broken(error),
    }
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
