//! A server on a caller's registry: the engine and the listeners in a poll that the host owns.

pub(crate) mod core;
pub(crate) mod handle;
mod registration;

use mio::event::Event;
use mio::{Registry, Token};
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::accept::queue::{AcceptQueue, Ownership};
use crate::config::Config;
use crate::engine::dialogue::Speaks;
use crate::engine::observer::{ConnectionId, Observer};
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{Report, Stats};
use crate::error::{Error, ErrorKind};
use crate::net::listener::{ListenSocket, Listener};
use crate::net::socket::Socket;
use crate::protocol::Echo;
use crate::server::core::ServerCore;
use crate::server::handle::{HostWaker, ShutdownHandle};
use crate::token::Readiness;

/// Identifies a listener of one server: what [`Server::listen`] and [`Server::adopt`] return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(usize);

/// A server driven by a `mio::Poll` that its host owns: of the echo, or of any
/// [`Protocol`](crate::protocol::Protocol).
///
/// The host owns the `Poll`, its `Waker`, the clock and the tokens. Its loop ends a turn
/// ([`end_turn`](Self::end_turn)), sleeps no longer than until
/// [`next_deadline`](Self::next_deadline), and passes on each event
/// ([`handle_event`](Self::handle_event)); the front page of the crate shows such a loop. After
/// [`register`](Self::register) no call fails.
///
/// Every call that takes a registry takes that of `register`, or a clone of it; with another one
/// the events of new clients would not reach the server. Every call that takes `now` takes the
/// time. An instant that lies before one given earlier counts as the earlier one.
///
/// Late, repeated, reordered, stale and invented events do no harm: only the result of a system
/// call changes state. A skipped `end_turn` delays new clients, deadlines, requests and the
/// freeing of slots to the next one, and loses nothing. No deadline closes a connection before
/// the server has read what the peer sent meanwhile, however late the host calls.
///
/// Dropping a server with open connections does what [`force_shutdown`](Self::force_shutdown)
/// does, without waiting: for each, one write, one bounded read, then close or reset. It never
/// blocks and leaves no descriptor open. The poll, the handles and the server may be dropped in
/// any order.
///
/// A server owns one read buffer of 64 KiB, and for each connection a slot of 56 bytes (on 64-bit
/// systems) and its pending output, at most 64 KiB. With a protocol there are a buffer for output,
/// and for each connection its state, some 60 bytes more, and unconsumed input, at most 64 KiB.
pub struct Server<P: Service = Echo> {
    core: ServerCore<Listener, P>,
    config: Config,
    addresses: Vec<SocketAddr>,
}

/// What a [`Server`] can serve: [`Echo`], or any [`Protocol`](crate::protocol::Protocol).
///
/// It cannot be implemented otherwise: implement [`Protocol`](crate::protocol::Protocol).
#[expect(private_bounds, reason = "it is sealed by a trait of the engine")]
pub trait Service: Speaks {}

impl<P: Speaks> Service for P {}

impl Server {
    /// Binds an address and listens on it; port 0 takes a free one, see
    /// [`local_addr`](Self::local_addr). An IPv6 address takes IPv6 only.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a value out of its range,
    /// [`Bind`](crate::ErrorKind::Bind) if a socket call fails: the address is in use, not of this
    /// machine, or not permitted.
    pub fn bind(address: SocketAddr, config: Config) -> Result<Self, Error> {
        let mut server = Self::new(config)?;
        server.listen(address)?;
        Ok(server)
    }

    /// Makes an echo server without a listener; [`listen`](Self::listen) and
    /// [`adopt`](Self::adopt) add some.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a value out of its range.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::serving(Echo, config)
    }
}

impl<P: Service> Server<P> {
    /// Makes a server of a protocol, without a listener; [`listen`](Self::listen) and
    /// [`adopt`](Self::adopt) add some.
    ///
    /// ```
    /// use netgrace::protocol::Line;
    /// use netgrace::{Config, EventLoop, Server};
    /// # use std::io::{Read, Write};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut server = Server::serving(Line::new(), Config::new())?;
    /// server.listen("127.0.0.1:0".parse()?)?;
    /// let address = server.local_addr().ok_or("no address")?;
    /// let mut event_loop = EventLoop::new(server)?;
    /// let handle = event_loop.shutdown_handle();
    /// let client = std::thread::spawn(move || -> std::io::Result<String> {
    ///     let mut stream = std::net::TcpStream::connect(address)?;
    ///     stream.write_all(b"hello\n")?;
    ///     handle.begin_shutdown(); // before the answer has come
    ///     let mut answer = String::new();
    ///     stream.read_to_string(&mut answer)?;
    ///     Ok(answer)
    /// });
    /// let report = event_loop.run();
    /// assert_eq!(client.join().unwrap()?, "hello\n");
    /// assert_eq!(report.requests.map(|requests| requests.answered), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a value out of its range.
    pub fn serving(protocol: P, config: Config) -> Result<Self, Error> {
        config.check()?;
        let core = ServerCore::serving(protocol, &config);
        Ok(Self { core, config, addresses: Vec::new() })
    }

    /// Returns the protocol.
    #[must_use]
    pub fn protocol(&self) -> &P {
        self.core.engine.protocol()
    }

    /// Returns the protocol, to give it something that connections wait for;
    /// [`resume`](Self::resume) has them say it.
    pub fn protocol_mut(&mut self) -> &mut P {
        self.core.engine.protocol_mut()
    }

    /// Has the protocol resume a connection: its answer is ready, or there is something to push to
    /// its peer. The call is made at once, unless output is pending; then as soon as it is written.
    /// Returns whether there is such a connection: the id of one that has ended means nothing. Does
    /// nothing for the echo. Changes [`next_deadline`](Self::next_deadline).
    pub fn resume(&mut self, connection: ConnectionId, now: Instant) -> bool {
        self.core.engine.resume(connection, now)
    }

    /// Binds and listens on a further address. To be called before
    /// [`register`](Self::register).
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`Register`](crate::ErrorKind::Register) after `register`.
    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        self.check_unregistered("listen on a further address")?;
        Ok(self.add(Listener::bind(address, &self.config)?, Ownership::Exclusive))
    }

    /// Takes a listening socket that was made elsewhere: a TCP or Unix listener of `std` or mio.
    /// The socket becomes non-blocking and closed on exec; its other options stay as they are.
    /// The path of a Unix socket is the caller's to remove. To be called before
    /// [`register`](Self::register).
    ///
    /// `ownership` says whether the accept queue is this server's alone. Declaring a socket
    /// [`Exclusive`](Ownership::Exclusive) that another process holds takes clients from it at a
    /// stop; declaring one [`Shared`](Ownership::Shared) that nobody else holds resets the clients
    /// that wait in its queue then.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use netgrace::{Config, Ownership, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let inherited = TcpListener::bind("127.0.0.1:0")?;
    /// let mut server = Server::new(Config::new())?;
    /// let id = server.adopt(inherited, Ownership::Shared)?;
    /// server.set_ownership(id, Ownership::Exclusive); // the process that shared it has ended
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Bind`](crate::ErrorKind::Bind) for a socket that does not listen;
    /// [`Register`](crate::ErrorKind::Register) after `register`.
    pub fn adopt(
        &mut self,
        listener: impl Into<ListenSocket>,
        ownership: Ownership,
    ) -> Result<ListenerId, Error> {
        self.check_unregistered("adopt a listener")?;
        Ok(self.add(Listener::adopt(listener.into(), &self.config)?, ownership))
    }

    fn add(&mut self, listener: Listener, ownership: Ownership) -> ListenerId {
        let id = ListenerId(self.core.acceptor.tokens());
        self.addresses.extend(listener.address());
        let mut queue = AcceptQueue::new(listener, ownership == Ownership::Exclusive);
        queue.set_ownership(ownership);
        self.core.acceptor.add(queue);
        id
    }

    /// Returns the first internet address that the server listens on, port 0 resolved; `None` if
    /// it has only Unix listeners or none. Stays known after the stop.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Returns all internet addresses that the server listens on, in the order in which the
    /// listeners were added.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the number of listeners that were added, closed ones included: as many tokens of
    /// its range are not for connections.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        self.core.acceptor.tokens()
    }

    /// Iterates over the listeners that are open, with their descriptors: for handing them to a
    /// successor.
    pub fn listeners(&self) -> impl Iterator<Item = (ListenerId, BorrowedFd<'_>)> {
        let open = self.core.acceptor.iter_numbered();
        open.map(|(index, queue)| (ListenerId(index), queue.queue.as_fd()))
    }

    /// Declares who takes clients from a listener's accept queue from now on. At any time; it
    /// counts when a stop closes the listener. Does nothing after that.
    pub fn set_ownership(&mut self, listener: ListenerId, ownership: Ownership) {
        self.core.acceptor.set_ownership(listener.0, ownership);
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has an observer follow the server from now on, in place of one given earlier. At any time;
    /// of connections that are open already it sees the end.
    pub fn observe(&mut self, observer: impl Observer + Send + 'static) {
        self.core.engine.observe(Box::new(observer));
    }

    /// Handles an event. Returns `false`, without any effect, if its token is none of the
    /// server's or the server is not registered: the event belongs to another source.
    ///
    /// To be called for each event of a batch, in any order. Reads and writes at most 256 KiB, in
    /// system calls that do not block; what this bound cuts short continues in `end_turn`. Accepts
    /// no client and frees no slot. May change [`next_deadline`](Self::next_deadline).
    pub fn handle_event(&mut self, event: &Event, now: Instant) -> bool {
        self.handle_ready(event.token(), Readiness::from(event), now)
    }

    /// Does the same as [`handle_event`](Self::handle_event), for a host that wraps mio's events or
    /// makes its own. It must pass on everything that was reported of the socket, or else
    /// [`Readiness::ALL`].
    pub fn handle_ready(&mut self, token: Token, ready: Readiness, now: Instant) -> bool {
        self.core.handle_ready(token, ready, now)
    }

    /// Takes in a connection that the host accepted or was handed, as if the server had accepted
    /// it: it counts, is limited and is stopped as any other. The socket becomes non-blocking; its
    /// other options stay as they are. At any time after [`register`](Self::register) and before
    /// the stop forces. Changes [`next_deadline`](Self::next_deadline).
    ///
    /// # Errors
    ///
    /// [`Register`](crate::ErrorKind::Register) if the server is not registered, has as many
    /// connections as it may have, or has stopped; if the address of the peer has its share or the
    /// observer refuses it; if the poll refuses. The connection is closed then.
    pub fn admit(
        &mut self,
        stream: TcpStream,
        registry: &Registry,
        now: Instant,
    ) -> Result<ConnectionId, Error> {
        let admitted = stream.peer_addr().and_then(|peer| {
            stream.set_nonblocking(true)?;
            let socket = Socket::new(mio::net::TcpStream::from_std(stream));
            self.core.admit(socket, Some(peer), registry, now)
        });
        admitted.map_err(|error| Error::io(ErrorKind::Register, "take in a connection", error))
    }

    /// Closes a connection if nothing can be lost by it: reads what there is, and if then no input,
    /// pending output or outstanding request is left, sends the FIN and waits for the peer's, as a
    /// drain does. Returns whether it did; `false` also for a connection that has ended. It counts
    /// as [`HostClosed`](crate::CloseReason::HostClosed) once it is over, unless the peer breaks it
    /// off before. Changes [`next_deadline`](Self::next_deadline).
    pub fn close_if_clean(&mut self, connection: ConnectionId, now: Instant) -> bool {
        self.core.engine.close_if_clean(connection, now)
    }

    /// Ends a batch of events: obeys the requests of the handles, accepts new clients, does what
    /// is due, continues where a bound cut work short, and frees the slots of closed connections.
    ///
    /// To be called after each batch, once before the first sleep, and when
    /// [`next_deadline`](Self::next_deadline) has come; further calls do no harm. Only it accepts
    /// clients (but for the sweep of a stop), frees slots, so that no token changes its connection
    /// within a batch, and finishes a stop: ask [`is_finished`](Self::is_finished) after it, before
    /// the next sleep. Everything is done in slices, at most 256 clients of each listener and 1024
    /// connections a turn; if work is left, `next_deadline` is past. Changes `next_deadline`.
    pub fn end_turn(&mut self, registry: &Registry, now: Instant) {
        self.core.end_turn(registry, now);
    }

    /// Returns when [`end_turn`](Self::end_turn) has something to do without an event. An instant
    /// in the past means now: do not sleep. `None` means that only an event or a request brings
    /// work; before the first `end_turn`, which is due before the first sleep, it is `None` too.
    ///
    /// May change with every call that takes `now`, and with a request on a handle: to be called
    /// right before each sleep. Costs no system call, and no more with more connections.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.core.next_deadline()
    }

    /// Starts the graceful stop at once; [`ShutdownHandle::begin_shutdown`] asks for it from
    /// elsewhere. At any time, between the events of a batch too; further calls do nothing. Unless
    /// there is a lame-duck time the drain begins, and with it the sweep of the accept queues.
    /// Changes [`next_deadline`](Self::next_deadline).
    pub fn begin_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.shut_down(Cause::Requested, registry, now);
    }

    /// Ends the stop now, or stops without a drain; [`ShutdownHandle::force_shutdown`] asks for it
    /// from elsewhere. At any time; further calls do nothing. The next turns close the
    /// connections, 256 each. Changes [`next_deadline`](Self::next_deadline).
    pub fn force_shutdown(&mut self, registry: &Registry, now: Instant) {
        self.force(Cause::Requested, registry, now);
    }

    pub(crate) fn shut_down(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.core.shut_down(cause, registry, now);
    }

    pub(crate) fn force(&mut self, cause: Cause, registry: &Registry, now: Instant) {
        self.core.force(cause, registry, now);
    }

    /// Makes a handle that stops the server, from any thread; any number of them. `waker` wakes
    /// the host's reactor: an `Arc<mio::Waker>`, a [`std::task::Waker`] or a function, see
    /// [`HostWaker`]. A host that is woken need only end a turn. With [`HostWaker::none`] the next
    /// [`end_turn`](Self::end_turn) sees a request.
    #[must_use]
    pub fn shutdown_handle(&self, waker: impl Into<HostWaker>) -> ShutdownHandle {
        ShutdownHandle::new(self.core.requests.clone(), waker.into())
    }

    /// Returns whether the stop is over: every connection and listener is closed. From then on no
    /// call has any effect; the range of tokens stays the server's until it is dropped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.core.engine.phase() == Phase::Finished
    }

    /// Returns the phase that the server is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.core.engine.phase()
    }

    /// Returns the account: live until [`is_finished`](Self::is_finished), then final.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.core.engine.report()
    }

    /// Returns the counters as of now; costs no system call.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl<P: Service> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("phase", &self.phase())
            .field("open", &self.core.engine.open())
            .finish_non_exhaustive()
    }
}
