//! A loop of the server's own: the poll, its waker, the signals and the one clock.

use mio::event::Event;
use mio::{Events, Poll, Registry, Token, Waker};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::MAX_CONNECTIONS;
use crate::engine::phase::Cause;
use crate::engine::report::Report;
use crate::error::{Error, ErrorKind};
use crate::handle::ShutdownHandle;
use crate::server::Server;
#[cfg(feature = "signals")]
use crate::signals::{Signals, Wish};
use crate::token::TokenRange;

const WAKER: Token = Token(usize::MAX);
#[cfg(feature = "signals")]
const SIGNALS: Token = Token(usize::MAX - 1);
/// Connections of a loop whose configuration names no number.
const DEFAULT_CONNECTIONS: usize = 1 << 20;

/// A poll loop that runs one [`Server`].
///
/// [`run`](Self::run) runs it to its end. A host with a loop of its own above it drives it by
/// [`turn`](Self::turn), as often as the loop's descriptor ([`AsFd`]) is readable or
/// [`next_deadline`](Self::next_deadline) has come. The descriptor must be watched
/// level-triggered: one turn takes a bounded number of events, and what it leaves gives no new
/// edge. A host that can only watch edges calls `turn(Some(Duration::ZERO))` until
/// [`turn`](Self::turn) answers 0 events.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    server: Server,
    #[cfg(feature = "signals")]
    signals: Option<Signals>,
    busy_poll: Option<Duration>,
    /// When the last event came, if busy polling is on.
    last_event: Option<Instant>,
    /// Polling failed: only the end is left.
    broken: bool,
}

impl EventLoop {
    /// Makes a poll and a waker, and registers the server with them.
    ///
    /// # Errors
    /// [`ErrorKind::Poll`] if the system refuses a poll or a waker, and what
    /// [`Server::register`] answers.
    pub fn new(mut server: Server) -> Result<Self, Error> {
        let fail = |attempt: &str, error| Error::io(ErrorKind::Poll, attempt, error);
        let poll = Poll::new().map_err(|error| fail("create the poll", error))?;
        let waker = Waker::new(poll.registry(), WAKER)
            .map_err(|error| fail("create the waker of the poll", error))?;
        let connections = server.max_connections().unwrap_or(DEFAULT_CONNECTIONS);
        let len = connections.min(MAX_CONNECTIONS).saturating_add(server.listener_count());
        server.register(poll.registry(), TokenRange::new(0, len))?;
        server.end_turn(poll.registry(), Instant::now());
        Ok(Self {
            events: Events::with_capacity(server.events_capacity()),
            waker: Arc::new(waker),
            busy_poll: server.busy_poll(),
            poll,
            server,
            #[cfg(feature = "signals")]
            signals: None,
            last_event: None,
            broken: false,
        })
    }

    /// Has the signals act on the server: see [`Signals`].
    ///
    /// # Errors
    /// [`ErrorKind::Signal`] if the poll refuses them.
    #[cfg(feature = "signals")]
    pub fn watch_signals(&mut self, mut signals: Signals) -> Result<(), Error> {
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, mio::Interest::READABLE)
            .map_err(|error| Error::io(ErrorKind::Signal, "watch the signals", error))?;
        signals.disarm();
        self.signals = Some(signals);
        Ok(())
    }

    /// Whether SIGUSR1 came since the last call.
    #[cfg(feature = "signals")]
    pub fn take_stats_request(&mut self) -> bool {
        self.signals.as_ref().is_some_and(|signals| signals.take_other(libc::SIGUSR1))
    }

    /// Whether SIGUSR2 came since the last call.
    #[cfg(feature = "signals")]
    pub fn take_upgrade_request(&mut self) -> bool {
        self.signals.as_ref().is_some_and(|signals| signals.take_other(libc::SIGUSR2))
    }

    /// A handle to stop the loop with, from any thread; a request wakes the loop.
    #[must_use]
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        self.server.shutdown_handle(Some(Arc::clone(&self.waker)))
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server, for what does not need the loop.
    pub fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// The registry of the loop's poll, for sources of the host's own. Their tokens must be at
    /// least [`first_free_token`](Self::first_free_token) and below `usize::MAX - 1`; their
    /// events go to [`turn_with`](Self::turn_with).
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The smallest token that is not the server's.
    #[must_use]
    pub fn first_free_token(&self) -> usize {
        self.server.tokens().map_or(0, |tokens| tokens.first().saturating_add(tokens.len()))
    }

    /// Starts the graceful stop now; a handle does it from elsewhere.
    pub fn begin_shutdown(&mut self) {
        self.server.begin_shutdown(self.poll.registry(), Instant::now());
    }

    /// When the next turn has something to do without an event; in the past: now. `None`: only an
    /// event brings work. May change with every turn and every request.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.server.next_deadline()
    }

    /// Whether the stop is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.server.is_finished()
    }

    /// One turn: waits for events, at most for `timeout` (`None`: as long as it takes) and no
    /// longer than there is nothing to do, handles them, and ends the batch. Answers how many
    /// events there were. Never fails: if polling does, the stop is forced, and the cause is in
    /// the report. After the end it does nothing.
    pub fn turn(&mut self, timeout: Option<Duration>) -> usize {
        self.turn_with(timeout, &mut |_, _| ())
    }

    /// As [`turn`](Self::turn); events of other tokens than the loop's go to `on_event`.
    pub fn turn_with(
        &mut self,
        timeout: Option<Duration>,
        on_event: &mut dyn FnMut(&Registry, &Event),
    ) -> usize {
        if self.is_finished() {
            return 0;
        }
        if !self.broken
            && let Err(error) = self.wait(timeout)
        {
            self.broken = true;
            let cause = Cause::PollFailed(error.to_string());
            self.server.force(cause, self.poll.registry(), Instant::now());
        }
        let now = Instant::now();
        let registry = self.poll.registry();
        let mut count: usize = 0;
        #[cfg(feature = "signals")]
        let mut signalled = false;
        for event in &self.events {
            count = count.saturating_add(1);
            match event.token() {
                WAKER => {}
                #[cfg(feature = "signals")]
                SIGNALS => signalled = true,
                _ if self.server.handle_event(registry, event, now) => {}
                _ => on_event(registry, event),
            }
        }
        #[cfg(feature = "signals")]
        if signalled && let Some(signals) = &mut self.signals {
            match signals.take_wish(now) {
                Some(Wish::Shutdown(signal)) => {
                    self.server.shut_down(Cause::Signal(signal), registry, now);
                }
                Some(Wish::Force(signal)) => {
                    self.server.force(Cause::Signal(signal), registry, now);
                }
                None => {}
            }
        }
        self.server.end_turn(registry, now);
        if self.busy_poll.is_some() && count > 0 {
            self.last_event = Some(now);
        }
        count
    }

    /// Runs to the end of a stop, and gives the account of it. To be called once; further calls
    /// answer the same.
    pub fn run(&mut self) -> Report {
        while !self.is_finished() {
            self.turn(None);
        }
        self.server.report().clone()
    }

    /// Fills `events`, after at most `timeout` or at the next deadline.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout != Some(Duration::ZERO)
            && let (Some(time), Some(last)) = (self.busy_poll, self.last_event)
        {
            loop {
                self.poll_once(Some(Duration::ZERO))?;
                let now = Instant::now();
                let due = self.next_deadline().is_some_and(|deadline| deadline <= now);
                let spent = now.saturating_duration_since(last);
                if !self.events.is_empty() || due || timeout.is_some_and(|most| spent >= most) {
                    return Ok(());
                }
                if spent >= time {
                    self.last_event = None;
                    break;
                }
            }
        }
        let until =
            self.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match (timeout, until) {
            (Some(timeout), Some(until)) => Some(timeout.min(until)),
            (one, None) | (None, one) => one,
        };
        self.poll_once(timeout)
    }

    fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }
}

impl AsFd for EventLoop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl AsRawFd for EventLoop {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("server", &self.server).finish_non_exhaustive()
    }
}
