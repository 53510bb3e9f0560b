//! The server as a guest of somebody's poll: the engine and the listeners on a caller's registry.

mod registration;

use mio::event::Event;
use mio::{Registry, Token, Waker};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::driver::Driver;
use crate::engine::observer::Observer;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{Report, Stats};
use crate::error::Error;
use crate::handle::ShutdownHandle;
use crate::intake::Intake;
use crate::listener::Listener;
use crate::token::Readiness;

/// An echo server that lives in a poll of its host's.
///
/// The host owns the `Poll`, its `Waker`, the clock and the tokens. Its loop ends a turn
/// ([`end_turn`](Self::end_turn)), sleeps no longer than until
/// [`next_deadline`](Self::next_deadline), and tells of each event
/// ([`handle_event`](Self::handle_event)); the front page of the crate shows one. After
/// [`register`](Self::register) no call of it fails.
///
/// Every call takes the registry of `register`, or a clone of it, and the time as `now`. With
/// another registry clients would be put where their events do not reach the server. An instant
/// that lies before one given earlier counts as that one.
///
/// Late, repeated, reordered, stale and invented events do no harm: only what a system call
/// answers changes anything. A skipped `end_turn` delays new clients, deadlines, requests and the
/// freeing of slots to the next one, and loses nothing. No deadline closes a connection without a
/// look at what its peer sent meanwhile, however late the host comes.
///
/// Dropping a server with live connections does what force does, without waiting: for each, one
/// write, one bounded discard, close or reset. It never blocks and leaves no descriptor. The poll,
/// the handles and the server may be dropped in any order.
///
/// It owns one read buffer of 64 KiB, and for each connection a slot of 56 bytes (on 64-bit
/// systems) and what its peer does not take of the echo, at most 64 KiB.
pub struct Server {
    driver: Driver<Listener>,
    config: Config,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Binds an address and listens on it; port 0 takes a free one, see
    /// [`local_addr`](Self::local_addr). An IPv6 address takes IPv6 only.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for a value out of its range,
    /// [`Bind`](crate::ErrorKind::Bind) if a socket call fails: the address is in use, not of this
    /// machine, or not permitted.
    pub fn bind(address: SocketAddr, config: Config) -> Result<Self, Error> {
        let mut server = Self::unbound(config)?;
        server.listen(address)?;
        Ok(server)
    }

    /// Takes over a listening socket that others may hold too: it becomes non-blocking and closed
    /// on exec, its other options stay as they are, and at a stop its queue is left to its owner.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`Bind`](crate::ErrorKind::Bind) also for a socket that does not
    /// listen.
    pub fn from_std(listener: std::net::TcpListener, config: Config) -> Result<Self, Error> {
        let mut server = Self::unbound(config)?;
        server.adopt(listener)?;
        Ok(server)
    }

    /// A server without a listener yet; give it some with [`listen`](Self::listen),
    /// [`adopt`](Self::adopt) or [`adopt_unix`](Self::adopt_unix).
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for a value out of its range.
    pub fn unbound(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { driver: Driver::new(&config), config, addresses: Vec::new() })
    }

    /// Binds and listens on a further address. To be called before
    /// [`register`](Self::register).
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`Register`](crate::ErrorKind::Register) after `register`.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), Error> {
        self.check_unregistered("listen on a further address")?;
        self.add(Listener::bind(address, &self.config)?, true);
        Ok(())
    }

    /// Takes over a further listening socket, as [`from_std`](Self::from_std). To be called
    /// before [`register`](Self::register).
    ///
    /// # Errors
    /// As `from_std`; [`Register`](crate::ErrorKind::Register) after `register`.
    pub fn adopt(&mut self, listener: std::net::TcpListener) -> Result<(), Error> {
        self.check_unregistered("adopt a listener")?;
        self.add(Listener::adopt(listener, &self.config)?, false);
        Ok(())
    }

    /// Takes a listening Unix socket. With `owned` nobody else holds it, and its queue is emptied
    /// at a stop. Its path is the caller's to remove. To be called before
    /// [`register`](Self::register).
    ///
    /// # Errors
    /// [`Bind`](crate::ErrorKind::Bind) for a socket that does not listen;
    /// [`Register`](crate::ErrorKind::Register) after `register`.
    pub fn adopt_unix(&mut self, listener: UnixListener, owned: bool) -> Result<(), Error> {
        self.check_unregistered("adopt a listener")?;
        self.add(Listener::unix(listener)?, owned);
        Ok(())
    }

    fn add(&mut self, listener: Listener, owned: bool) {
        self.addresses.extend(listener.address());
        self.driver.acceptor.add(Intake::new(listener, owned));
    }

    /// The first internet address it listens on, port 0 resolved; the unspecified address with
    /// port 0 if there is none. Stays known after the stop.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.addresses.first().copied().unwrap_or(none)
    }

    /// All internet addresses it listens on, in the order in which they were given.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// The descriptors of the listeners that are open: for handing them to a successor.
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.driver.acceptor.iter().map(|intake| intake.queue.as_fd())
    }

    /// From now on the listeners' queues belong to a successor: a stop leaves them alone.
    pub fn disown_listeners(&mut self) {
        self.driver.acceptor.disown();
    }

    /// From now on nobody else holds the listener that was given as number `index`, from 0: a stop
    /// empties its queue. What [`disown_listeners`](Self::disown_listeners) takes back.
    pub fn own_listener(&mut self, index: usize) {
        self.driver.acceptor.own(index);
    }

    /// Has an observer follow the server's life from now on, in place of one given earlier. At
    /// any time; connections that are open already are told of when they close.
    pub fn observe(&mut self, observer: impl Observer + Send + 'static) {
        self.driver.engine.observe(Box::new(observer));
    }

    /// Takes an event. Answers `false`, having touched nothing, when its token is none of the
    /// server's, or the server is not registered; the event then is somebody else's.
    ///
    /// For each event of a batch, in any order. Reads and writes at most 256 KiB, in system calls
    /// that do not block; what that cuts short goes on in `end_turn`. Accepts nobody and frees no
    /// slot. May change [`next_deadline`](Self::next_deadline).
    pub fn handle_event(&mut self, _registry: &Registry, event: &Event, now: Instant) -> bool {
        self.handle_ready(event.token(), Readiness::from(event), now)
    }

    /// The same as [`handle_event`](Self::handle_event), for a host that wraps mio's events or
    /// makes its own. It must pass on all that was said of the socket, or else
    /// [`Readiness::ALL`].
    pub fn handle_ready(&mut self, token: Token, ready: Readiness, now: Instant) -> bool {
        self.driver.handle_ready(token, ready, now)
    }

    /// Ends a batch of events: sees what the handles ask for, takes new clients in, does what is
    /// due, goes on where a bound cut work short, and frees what was closed.
    ///
    /// To be called after each batch, once before the first sleep, and when
    /// [`next_deadline`](Self::next_deadline) has come; further calls do no harm. The only call
    /// that accepts (besides the sweep of a stop), the only one that frees slots, so that no token
    /// changes its connection within a batch, and the only one that finishes a stop. Everything
    /// is done in slices, at most 256 clients of each listener and 1024 connections a turn; the
    /// rest makes `next_deadline` lie in the past. Changes `next_deadline`.
    pub fn end_turn(&mut self, registry: &Registry, now: Instant) {
        self.driver.end_turn(registry, now);
    }

    /// When [`end_turn`](Self::end_turn) has something to do without an event; in the past: now,
    /// do not sleep. `None`: only an event or a request brings work, and before the first
    /// `end_turn`, which comes before the first sleep.
    ///
    /// May change with every call that takes `now`, and with a request on a handle: to be asked
    /// for right before each sleep. Costs no system call and does not grow with connections.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.driver.next_deadline()
    }

    /// Starts the graceful stop: what [`ShutdownHandle::shutdown`] asks for, at once. At any time,
    /// between the events of a batch too; further calls do nothing. Unless there is a lame-duck
    /// time it closes the listeners, having taken in who was waiting. Changes
    /// [`next_deadline`](Self::next_deadline).
    pub fn begin_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.shut_down(Cause::Requested, registry, now);
    }

    /// Cuts the stop short, or stops at once: what [`ShutdownHandle::force`] asks for. At any
    /// time; further calls do nothing. Connections are cut by the turns to come, 256 each. Changes
    /// [`next_deadline`](Self::next_deadline).
    pub fn force_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.force(Cause::Requested, registry, now);
    }

    pub(crate) fn shut_down(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.driver.shut_down(cause, registry, now);
    }

    pub(crate) fn force(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.driver.force(cause, registry, now);
    }

    /// A handle to stop it with, from any thread; any number of them. With the host's waker a
    /// request wakes the poll, and the event of the waker is the host's, who need only end a turn;
    /// without one it is seen by the next [`end_turn`](Self::end_turn).
    #[must_use]
    pub fn shutdown_handle(&self, waker: Option<Arc<Waker>>) -> ShutdownHandle {
        ShutdownHandle::new(self.driver.requests.clone(), waker)
    }

    /// Whether the stop is over: every connection and listener is closed. From then on no call
    /// does anything but answer; the range of tokens is the server's until it is dropped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.driver.engine.phase() == Phase::Finished
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.driver.engine.phase()
    }

    /// The account: live until [`is_finished`](Self::is_finished), then final.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.driver.engine.report()
    }

    /// Counters as of now; costs no system call.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.driver.stats()
    }

    pub(crate) fn listener_count(&self) -> usize {
        self.driver.acceptor.tokens()
    }

    pub(crate) fn max_connections(&self) -> Option<usize> {
        self.config.max_connections
    }

    pub(crate) fn busy_poll(&self) -> Option<Duration> {
        self.config.busy_poll.filter(|time| !time.is_zero())
    }

    pub(crate) fn events_capacity(&self) -> usize {
        self.config.events_capacity
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("phase", &self.phase())
            .field("open", &self.driver.engine.open())
            .finish_non_exhaustive()
    }
}
