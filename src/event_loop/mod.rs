//! A loop of the server's own: the poll, its waker, the signals and the clock.

mod builder;
#[cfg(feature = "signals")]
pub(crate) mod signals;
mod spin;
pub(crate) mod turn_times;

use mio::event::Event;
use mio::{Events, Poll, Registry, Token, Waker};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{MAX_CONNECTIONS, within};
use crate::engine::phase::Cause;
use crate::engine::report::Report;
use crate::error::{Error, ErrorKind};
#[cfg(feature = "signals")]
use crate::event_loop::signals::Signals;
use crate::event_loop::spin::Spin;
use crate::event_loop::turn_times::TurnTimes;
use crate::protocol::Echo;
use crate::server::handle::ShutdownHandle;
#[cfg(feature = "signals")]
use crate::server::handle::StopRequest;
use crate::server::{Server, Service};
use crate::token::TokenRange;

pub use self::builder::EventLoopBuilder;

const WAKER: Token = Token(usize::MAX);
#[cfg(feature = "signals")]
const SIGNALS: Token = Token(usize::MAX - 1);

/// Connections of a loop whose configuration sets no maximum.
const DEFAULT_CONNECTIONS: usize = 1 << 20;
const MAX_EVENTS: usize = 65_536;

/// A poll loop that runs one [`Server`].
///
/// [`run`](Self::run) turns until the stop is over:
///
/// ```
/// use netgrace::{Config, EventLoop, Grade, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut event_loop = EventLoop::new(Server::bind("127.0.0.1:0".parse()?, Config::new())?)?;
/// event_loop.shutdown_handle().begin_shutdown();
/// assert!(event_loop.run().grade() >= Some(Grade::Lossless));
/// # Ok(())
/// # }
/// ```
///
/// Any other reactor can nest the loop: the host watches its descriptor ([`AsFd`], [`AsRawFd`])
/// and calls [`turn`](Self::turn) with a timeout of zero whenever the descriptor is readable or
/// [`next_deadline`](Self::next_deadline) has come. The outer watch should be level-triggered: one
/// turn takes a bounded number of events ([`events_capacity`](EventLoopBuilder::events_capacity)),
/// and those that are left raise no new edge. Where the reactor reports edges only, as a mio `Poll`
/// or a `tokio::io::unix::AsyncFd` does, call `turn` on each edge until it returns 0 and the
/// deadline lies in the future. Stop requests make the descriptor readable too.
///
/// A loop may be moved to another thread, and dropped at any time: see [`Server`].
pub struct EventLoop<P: Service = Echo> {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    server: Server<P>,
    #[cfg(feature = "signals")]
    signals: Option<Signals>,
    spin: Spin,
    /// Polling failed: only the end is left.
    broken: bool,
    /// A signal cut the last poll short.
    interrupted: bool,
    turn_times: Option<TurnTimes>,
}

impl EventLoopBuilder {
    /// Makes a poll and a waker, registers the server, and ends a first turn, which accepts the
    /// clients that wait. The server gets the tokens from 0 on, as many as its listeners and
    /// [`max_connections`](crate::Config::max_connections) need; without that setting there may
    /// be 2²⁰ connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a value out of its range, [`ErrorKind::Poll`] if the system
    /// refuses a poll or a waker, and the errors of [`Server::register`].
    pub fn build<P: Service>(self, mut server: Server<P>) -> Result<EventLoop<P>, Error> {
        within("events_capacity", Some(self.events_capacity), 1, MAX_EVENTS)?;
        let fail = |attempt: &str, error| Error::io(ErrorKind::Poll, attempt, error);
        let poll = Poll::new().map_err(|error| fail("create the poll", error))?;
        let waker = Waker::new(poll.registry(), WAKER)
            .map_err(|error| fail("create the waker of the poll", error))?;
        let connections = server.config().get_max_connections().unwrap_or(DEFAULT_CONNECTIONS);
        let len = connections.min(MAX_CONNECTIONS).saturating_add(server.listener_count());
        server.register(poll.registry(), TokenRange::new(0..len))?;
        server.end_turn(poll.registry(), Instant::now());
        Ok(EventLoop {
            events: Events::with_capacity(self.events_capacity),
            waker: Arc::new(waker),
            spin: Spin::new(self.busy_poll),
            poll,
            server,
            #[cfg(feature = "signals")]
            signals: None,
            broken: false,
            interrupted: false,
            turn_times: self.measures_turns.then(TurnTimes::default),
        })
    }
}

impl EventLoop {
    /// Returns the settings of a loop to be made.
    pub fn builder() -> EventLoopBuilder {
        EventLoopBuilder::new()
    }
}

impl<P: Service> EventLoop<P> {
    /// Makes a loop with the default settings: see [`EventLoopBuilder::build`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Poll`] if the system refuses a poll or a waker, and the errors of
    /// [`Server::register`].
    pub fn new(server: Server<P>) -> Result<Self, Error> {
        EventLoopBuilder::new().build(server)
    }

    /// Has stop signals stop the server: see [`Signals`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Signal`] if the poll refuses them.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn watch_signals(&mut self, mut signals: Signals) -> Result<(), Error> {
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, mio::Interest::READABLE)
            .map_err(|error| Error::io(ErrorKind::Signal, "watch the signals", error))?;
        signals.disarm();
        self.signals = Some(signals);
        Ok(())
    }

    /// Returns the signals that the loop watches, to [`take`](Signals::take) those that are the
    /// host's.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    #[must_use]
    pub fn signals(&self) -> Option<&Signals> {
        self.signals.as_ref()
    }

    /// Makes a handle that stops the server, from any thread; a request wakes the loop.
    #[must_use]
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        self.server.shutdown_handle(Arc::clone(&self.waker))
    }

    /// Returns what wakes the loop from any thread: for one that has an answer ready, which
    /// the protocol fetches in [`poll_resume`](crate::protocol::Protocol::poll_resume).
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Returns the server.
    #[must_use]
    pub fn server(&self) -> &Server<P> {
        &self.server
    }

    /// Returns the server, for calls that do not need the loop, such as
    /// [`observe`](crate::Server::observe). It must stay registered.
    pub fn server_mut(&mut self) -> &mut Server<P> {
        &mut self.server
    }

    /// Deregisters the server and returns it, to be registered with another poll. Its listeners
    /// and connections stay open. A loop that watched [`Signals`] drops them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Register`] if the server was registered with another poll through
    /// [`server_mut`](Self::server_mut); it is dropped then.
    pub fn into_server(mut self) -> Result<Server<P>, Error> {
        self.server.deregister(self.poll.registry())?;
        Ok(self.server)
    }

    /// Returns the registry of the loop's poll, for sources of the host's own. Their tokens must be
    /// at least [`first_free_token`](Self::first_free_token) and below `usize::MAX - 1`; their
    /// events go to [`turn_with`](Self::turn_with).
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Returns the smallest token that is not the server's.
    #[must_use]
    pub fn first_free_token(&self) -> Token {
        Token(self.server.tokens().map_or(0, TokenRange::end))
    }

    /// Returns how long turns took; `None` unless
    /// [`measure_turns`](EventLoopBuilder::measure_turns) is set.
    #[must_use]
    pub fn turn_times(&self) -> Option<TurnTimes> {
        self.turn_times
    }

    /// Starts the graceful stop at once; a handle asks for it from elsewhere. See
    /// [`Server::begin_shutdown`].
    pub fn begin_shutdown(&mut self) {
        self.server.begin_shutdown(self.poll.registry(), Instant::now());
    }

    /// Ends the stop now; a handle asks for it from elsewhere. See
    /// [`Server::force_shutdown`].
    pub fn force_shutdown(&mut self) {
        self.server.force_shutdown(self.poll.registry(), Instant::now());
    }

    /// Returns when the next turn has something to do without an event. An instant in the past
    /// means now; `None` means that only an event brings work. May change with every turn and
    /// every request.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.server.next_deadline()
    }

    /// Returns whether the stop is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.server.is_finished()
    }

    /// Runs one turn: waits for events, handles them, and ends the batch. Returns the number of
    /// events.
    ///
    /// Waits at most for `timeout` (`None`: without limit; zero: not at all), and never
    /// beyond [`next_deadline`](Self::next_deadline). Never fails: if polling does, the stop is
    /// forced, and the report has the cause. After the end of the stop it does nothing and
    /// returns 0.
    pub fn turn(&mut self, timeout: Option<Duration>) -> usize {
        self.turn_with(timeout, &mut |_, _| ())
    }

    /// Does the same as [`turn`](Self::turn). Events of the sources that the host registered with
    /// [`registry`](Self::registry) go to `on_event`.
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
        // A handler whose socket was full could not report its signal: so look.
        #[cfg(feature = "signals")]
        let mut signalled = std::mem::take(&mut self.interrupted);
        for event in &self.events {
            count = count.saturating_add(1);
            match event.token() {
                WAKER => {}
                #[cfg(feature = "signals")]
                SIGNALS => signalled = true,
                _ if self.server.handle_event(event, now) => {}
                _ => on_event(registry, event),
            }
        }
        #[cfg(feature = "signals")]
        if signalled && let Some(signals) = &mut self.signals {
            match signals.take_request(now) {
                Some((StopRequest::Graceful, signal)) => {
                    self.server.shut_down(Cause::Signal(signal), registry, now);
                }
                Some((StopRequest::Forced, signal)) => {
                    self.server.force(Cause::Signal(signal), registry, now);
                }
                None => {}
            }
        }
        self.server.end_turn(registry, now);
        if count > 0 {
            self.spin.on_event(now);
        }
        if let Some(times) = &mut self.turn_times {
            times.add(now.elapsed());
        }
        count
    }

    /// Turns until a stop is over, and returns the account of it; a stop that was requested before
    /// counts. Never fails: see [`Report::cause`]. Further calls return the same.
    pub fn run(&mut self) -> Report {
        while !self.is_finished() {
            self.turn(None);
        }
        self.server.report().clone()
    }

    /// Fills `events`, after at most `timeout` or at the next deadline.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout != Some(Duration::ZERO) && self.spin(timeout)? {
            return Ok(());
        }
        let until =
            self.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match (timeout, until) {
            (Some(timeout), Some(until)) => Some(timeout.min(until)),
            (one, None) | (None, one) => one,
        };
        self.poll_once(timeout)
    }

    /// Polls without sleeping for some time after the last event. Returns whether that is all:
    /// there is something to do, or `timeout` has passed.
    fn spin(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let phase = self.server.phase();
        let Some((last, time)) = self.spin.begin(phase) else { return Ok(false) };
        let begun = Instant::now();
        loop {
            self.poll_once(Some(Duration::ZERO))?;
            let now = Instant::now();
            let due = self.next_deadline().is_some_and(|deadline| deadline <= now);
            let since = now.saturating_duration_since(last);
            let done = !self.events.is_empty() || due || timeout.is_some_and(|most| since >= most);
            if done || since >= time {
                self.spin.end(now.saturating_duration_since(begun), phase, !done);
                return Ok(done);
            }
        }
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

impl<P: Service> AsFd for EventLoop<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl<P: Service> AsRawFd for EventLoop<P> {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl<P: Service> fmt::Debug for EventLoop<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("server", &self.server).finish_non_exhaustive()
    }
}
