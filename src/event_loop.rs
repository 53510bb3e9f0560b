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
use crate::turn::TurnTimes;

const WAKER: Token = Token(usize::MAX);
#[cfg(feature = "signals")]
const SIGNALS: Token = Token(usize::MAX - 1);
/// Connections of a loop whose configuration names no number.
const DEFAULT_CONNECTIONS: usize = 1 << 20;

/// A poll loop that runs one [`Server`].
///
/// [`run`](Self::run) runs it to its end:
///
/// ```
/// use netgrace::{Config, EventLoop, Grade, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut event_loop = EventLoop::new(Server::bind("127.0.0.1:0".parse()?, Config::new())?)?;
/// event_loop.shutdown_handle().shutdown();
/// assert_eq!(event_loop.run().grade(), Grade::Complete);
/// # Ok(())
/// # }
/// ```
///
/// A host with a reactor of its own, of whatever make, nests it: it watches the loop's descriptor
/// ([`AsFd`], [`AsRawFd`]) and calls [`turn`](Self::turn) with a timeout of zero as often as the
/// descriptor is readable or [`next_deadline`](Self::next_deadline) has come. The outer watch
/// must be level-triggered: one turn takes a bounded number of events
/// ([`events_capacity`](crate::Config::events_capacity)), and those that it leaves give no new
/// edge. Where there are only edges, as in a mio `Poll` or a `tokio::io::unix::AsyncFd`, each of
/// them is worth turns until one answers 0 and the deadline is not past. Stop requests arrive by
/// the descriptor too.
///
/// It may be moved to another thread, and dropped at any time: see [`Server`].
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
    /// A signal cut the last poll short.
    interrupted: bool,
    turn_times: Option<TurnTimes>,
}

impl EventLoop {
    /// Makes a poll and a waker, registers the server, and has it take in who is waiting. The
    /// server gets the tokens from 0 on, as many as its listeners and
    /// [`max_connections`](crate::Config::max_connections) need; without that there may be 2²⁰
    /// connections.
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
            interrupted: false,
            turn_times: None,
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

    /// The server, for what does not need the loop, such as
    /// [`observe`](crate::Server::observe). It is to stay registered.
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

    /// Measures how long turns take from now on, at the price of a look at the clock in each.
    pub fn measure_turns(&mut self) {
        self.turn_times.get_or_insert_default();
    }

    /// How long turns took, since they are measured.
    #[must_use]
    pub fn turn_times(&self) -> Option<TurnTimes> {
        self.turn_times
    }

    /// Starts the graceful stop now; a handle does it from elsewhere. See
    /// [`Server::begin_shutdown`].
    pub fn begin_shutdown(&mut self) {
        self.server.begin_shutdown(self.poll.registry(), Instant::now());
    }

    /// Cuts the stop short now; a handle does it from elsewhere. See
    /// [`Server::force_shutdown`].
    pub fn force_shutdown(&mut self) {
        self.server.force_shutdown(self.poll.registry(), Instant::now());
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

    /// One turn: waits for events, handles them, and ends the batch. Answers how many there were.
    ///
    /// Waits at most for `timeout` (`None`: as long as it takes; zero: not at all), and never
    /// beyond [`next_deadline`](Self::next_deadline). Never fails: if polling does, the stop is
    /// forced, and the cause is in the report. After the end it does nothing and answers 0.
    pub fn turn(&mut self, timeout: Option<Duration>) -> usize {
        self.turn_with(timeout, &mut |_, _| ())
    }

    /// As [`turn`](Self::turn); events of other tokens than the loop's, which are those of
    /// sources that the host registered with [`registry`](Self::registry), go to `on_event`.
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
        // A handler may have failed to tell of its signal, for want of memory: so look.
        #[cfg(feature = "signals")]
        let mut signalled = std::mem::take(&mut self.interrupted);
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
        if let Some(times) = &mut self.turn_times {
            times.add(now.elapsed());
        }
        count
    }

    /// Turns until a stop is over, and gives the account of it; a stop that was asked for before
    /// counts. Never fails: see [`Report::cause`]. Further calls answer the same.
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
                self.interrupted = true;
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
