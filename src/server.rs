//! The server as a guest of somebody's poll: the engine and the listeners on a caller's registry.

use mio::event::Event;
use mio::{Registry, Token, Waker};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acceptor::Acceptor;
use crate::config::{Config, MAX_CONNECTIONS};
use crate::engine::Engine;
use crate::engine::deadline::earlier;
use crate::engine::observer::Observer;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{Report, Stats};
use crate::error::{Error, ErrorKind};
use crate::handle::{Request, RequestCell, ShutdownHandle};
use crate::listener::Listener;
use crate::socket::Socket;
use crate::token::{Readiness, TokenRange};

/// An echo server that lives in a poll of its host's.
///
/// The host owns the `Poll`, its `Waker`, the clock and the tokens. It tells the server of events
/// ([`handle_event`](Self::handle_event)), ends each batch with
/// [`end_turn`](Self::end_turn), and sleeps no longer than
/// [`next_deadline`](Self::next_deadline). After [`register`](Self::register) no call fails.
///
/// Late, repeated, reordered and stale events do no harm: only what a system call answers changes
/// anything. A skipped `end_turn` delays new clients, deadlines and the freeing of slots to the
/// next one. An instant that lies before one given earlier counts as that one.
///
/// Dropping a server with live connections does what force does, without waiting: one write, one
/// bounded discard, close. The poll may be dropped before or after it.
pub struct Server {
    engine: Engine<Socket>,
    acceptor: Acceptor,
    config: Config,
    addresses: Vec<SocketAddr>,
    tokens: Option<TokenRange>,
    requests: RequestCell,
}

impl Server {
    /// Binds an address and listens on it; port 0 takes a free one, see
    /// [`local_addr`](Self::local_addr). An IPv6 address takes IPv6 only.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a value out of its range, [`ErrorKind::Bind`] if a socket call
    /// fails: the address is in use, not of this machine, or not permitted.
    pub fn bind(address: SocketAddr, config: Config) -> Result<Self, Error> {
        let mut server = Self::unbound(config)?;
        server.listen(address)?;
        Ok(server)
    }

    /// Takes over a listening socket that others may hold too: its options stay as they are, and
    /// at a stop its queue is left to its owner.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`ErrorKind::Bind`] also for a socket that does not listen.
    pub fn from_std(listener: std::net::TcpListener, config: Config) -> Result<Self, Error> {
        let mut server = Self::unbound(config)?;
        server.adopt(listener)?;
        Ok(server)
    }

    /// A server without a listener yet; give it some with [`listen`](Self::listen),
    /// [`adopt`](Self::adopt) or [`adopt_unix`](Self::adopt_unix).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a value out of its range.
    pub fn unbound(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            engine: Engine::new(&config),
            acceptor: Acceptor::default(),
            config,
            addresses: Vec::new(),
            tokens: None,
            requests: RequestCell::default(),
        })
    }

    /// Binds and listens on a further address. To be called before
    /// [`register`](Self::register).
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`ErrorKind::Register`] after `register`.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), Error> {
        self.check_unregistered("listen on a further address")?;
        self.add(Listener::bind(address, &self.config)?);
        Ok(())
    }

    /// Takes over a further listening socket, as [`from_std`](Self::from_std). To be called
    /// before [`register`](Self::register).
    ///
    /// # Errors
    /// As `from_std`; [`ErrorKind::Register`] after `register`.
    pub fn adopt(&mut self, listener: std::net::TcpListener) -> Result<(), Error> {
        self.check_unregistered("adopt a listener")?;
        self.add(Listener::adopt(listener, &self.config)?);
        Ok(())
    }

    /// Takes a listening Unix socket. With `owned` nobody else holds it, and its queue is emptied
    /// at a stop. Its path is the caller's to remove. To be called before
    /// [`register`](Self::register).
    ///
    /// # Errors
    /// [`ErrorKind::Bind`] for a socket that does not listen; [`ErrorKind::Register`] after
    /// `register`.
    pub fn adopt_unix(&mut self, listener: UnixListener, owned: bool) -> Result<(), Error> {
        self.check_unregistered("adopt a listener")?;
        self.add(Listener::unix(listener, owned)?);
        Ok(())
    }

    fn add(&mut self, listener: Listener) {
        self.addresses.extend(listener.address());
        self.acceptor.add(listener);
    }

    fn check_unregistered(&self, attempt: &str) -> Result<(), Error> {
        match self.tokens {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Register, format!("{attempt}: already registered")))
            }
        }
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
        self.acceptor.iter().map(AsFd::as_fd)
    }

    /// From now on the listeners' queues belong to a successor: a stop leaves them alone.
    pub fn disown_listeners(&mut self) {
        self.acceptor.disown();
    }

    /// Follows the server's life from now on.
    pub fn observe(&mut self, observer: impl Observer + Send + 'static) {
        self.engine.observe(Box::new(observer));
    }

    /// Registers the listeners with a poll. `tokens` is what the server may take: one for each
    /// listener, the rest for connections, of which there are then no more than that. Reserves
    /// the slots, 56 bytes each on 64-bit systems, whose memory is used only as they fill.
    ///
    /// # Errors
    /// [`ErrorKind::TokenRange`] if the range is too small for the listeners and one connection,
    /// for `max_connections`, or for the connections that are already open;
    /// [`ErrorKind::Register`] if it is registered already or the poll refuses.
    pub fn register(&mut self, registry: &Registry, tokens: TokenRange) -> Result<(), Error> {
        self.check_unregistered("register the server")?;
        tokens.check()?;
        let room = tokens.len().saturating_sub(self.acceptor.tokens());
        let wanted = self.config.max_connections.unwrap_or_else(|| room.min(MAX_CONNECTIONS));
        if wanted == 0 || wanted > room || self.engine.slots() > wanted {
            return Err(Error::new(
                ErrorKind::TokenRange,
                format!(
                    "token range of {}: {} listeners and {} connections do not fit",
                    tokens.len(),
                    self.acceptor.tokens(),
                    wanted.max(self.engine.slots()).max(1)
                ),
            ));
        }
        let fail = |error| Error::io(ErrorKind::Register, "register with the poll", error);
        self.engine.reserve(wanted);
        self.acceptor.register(registry, tokens).map_err(fail)?;
        let first = self.acceptor.tokens();
        self.engine
            .for_each_stream(|at, socket| match tokens.token(first.saturating_add(at)) {
                Some(token) => socket.register(registry, token),
                None => Ok(()),
            })
            .map_err(fail)?;
        self.tokens = Some(tokens);
        Ok(())
    }

    /// Takes every socket of the server off the poll, so that it can be
    /// [`register`](Self::register)ed with another one, or with other tokens. Connections stay
    /// open; nothing is served in between. Does nothing when it is not registered.
    pub fn deregister(&mut self, registry: &Registry) {
        if self.tokens.take().is_none() {
            return;
        }
        self.acceptor.deregister(registry);
        let result = self.engine.for_each_stream(|_, socket| {
            if let Err(error) = socket.deregister(registry) {
                log::debug!("deregister a connection: {error}");
            }
            Ok(())
        });
        debug_assert!(result.is_ok());
    }

    /// Takes an event. Answers `false`, having touched nothing, when its token is none of the
    /// server's. Reads and writes at most 256 KiB; may change
    /// [`next_deadline`](Self::next_deadline).
    pub fn handle_event(&mut self, _registry: &Registry, event: &Event, now: Instant) -> bool {
        self.handle_ready(event.token(), Readiness::from(event), now)
    }

    /// The same as [`handle_event`](Self::handle_event), for a host that wraps mio's events or
    /// makes its own.
    pub fn handle_ready(&mut self, token: Token, ready: Readiness, now: Instant) -> bool {
        let Some(index) = self.tokens.and_then(|tokens| tokens.index(token)) else {
            return false;
        };
        if self.acceptor.on_event(index) {
            return true;
        }
        if let Ok(at) = u32::try_from(index.saturating_sub(self.acceptor.tokens())) {
            // An event of a connection that is gone is ours all the same.
            let _known = self.engine.handle_ready(at, ready, now);
        }
        true
    }

    /// Ends a batch of events: takes new clients in, does what is due, frees what was closed, and
    /// sees what the handles ask for. To be called after each batch, and when
    /// [`next_deadline`](Self::next_deadline) has come; further calls do no harm.
    pub fn end_turn(&mut self, registry: &Registry, now: Instant) {
        match self.requests.get() {
            Request::Nothing => {}
            Request::Shutdown => self.shut_down(Cause::Requested, registry, now),
            Request::Force => self.force(Cause::Requested, registry, now),
        }
        self.engine.advance(now);
        if self.engine.phase() < Phase::Draining
            && let Some(tokens) = self.tokens
            && let Some(how) = self.acceptor.accept(&mut self.engine, registry, tokens, now)
        {
            self.engine.request(Cause::ListenerFailed(how), now);
        }
        self.close_listeners(registry, now);
        if self.engine.end_turn(now) > 0 {
            self.acceptor.on_freed();
        }
        if self.acceptor.is_closed() {
            self.engine.finish(now);
        }
    }

    /// When [`end_turn`](Self::end_turn) has something to do without an event; in the past: now,
    /// do not sleep. `None`: only an event brings work. May change with every other call.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let now = self.engine.now()?;
        let pending = match self.requests.get() {
            Request::Nothing => false,
            Request::Shutdown => self.engine.phase() == Phase::Running,
            Request::Force => self.engine.phase() < Phase::Forcing,
        };
        let done = self.engine.phase() >= Phase::Draining
            && self.engine.phase() < Phase::Finished
            && self.engine.open() == 0
            && self.acceptor.is_closed();
        if pending || done {
            return Some(now);
        }
        earlier(self.engine.next_deadline(), self.acceptor.next_deadline(now))
    }

    /// Starts the graceful stop: what [`ShutdownHandle::shutdown`] asks for, at once.
    pub fn begin_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.shut_down(Cause::Requested, registry, now);
    }

    /// Cuts the stop short, or stops at once: what [`ShutdownHandle::force`] asks for.
    pub fn force_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.force(Cause::Requested, registry, now);
    }

    pub(crate) fn shut_down(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.engine.request(cause, now);
        self.close_listeners(registry, now);
    }

    pub(crate) fn force(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.engine.force(cause, now);
        self.close_listeners(registry, now);
    }

    fn close_listeners(&mut self, registry: &Registry, now: Instant) {
        if self.engine.phase() >= Phase::Draining && !self.acceptor.is_closed() {
            let tokens = self.tokens.unwrap_or(TokenRange::new(0, 0));
            self.acceptor.close(&mut self.engine, registry, tokens, now);
        }
    }

    /// A handle to stop it with, from any thread. With the host's waker a request wakes the poll;
    /// without one it is seen by the next [`end_turn`](Self::end_turn).
    #[must_use]
    pub fn shutdown_handle(&self, waker: Option<Arc<Waker>>) -> ShutdownHandle {
        ShutdownHandle::new(self.requests.clone(), waker)
    }

    /// Whether the stop is over: every connection and listener is closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.engine.phase() == Phase::Finished
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.engine.phase()
    }

    /// The account: live until [`is_finished`](Self::is_finished), then final.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.engine.report()
    }

    /// Counters as of now; costs nothing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.engine.stats();
        stats.accept_errors = self.acceptor.errors();
        stats.refused = self.acceptor.refused();
        stats
    }

    /// The tokens that it was registered with.
    #[must_use]
    pub fn tokens(&self) -> Option<TokenRange> {
        self.tokens
    }

    pub(crate) fn listener_count(&self) -> usize {
        self.acceptor.tokens()
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
            .field("open", &self.engine.open())
            .finish_non_exhaustive()
    }
}
