//! `--admin`: health, figures and the account over HTTP: a second server on the loop of the first.
//!
//! Everything is bounded: the clients, the size of a request, the time for one. Nothing here can
//! hold the service up.

pub(crate) mod page;
mod pages;
mod process;
pub(crate) mod request;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::event::Event;
use mio::{Registry, Token};
use netgrace::{Config, Drain, Error, EventLoop, ListenerId, Ownership, Server};

use crate::cli::address::{ListenAddress, resolve};
use crate::cli::admin::page::Facts;
use crate::cli::admin::pages::Pages;
use crate::cli::advice::advice;
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::bind::explain;
use crate::cli::serve::handover::{Handed, Label};
use crate::cli::serve::settings::ADMIN_SOCKETS;

/// Clients at one time; with the listener as many as [`ADMIN_SOCKETS`] says.
const CONNECTIONS_MAX: usize = 64;
const _: () = assert!(CONNECTIONS_MAX as u64 + 1 == ADMIN_SOCKETS);

/// The time that its own stop may take after that of the service.
const BUDGET: Duration = Duration::from_secs(1);
/// How long a client is waited for after its response.
const LINGER: Duration = Duration::from_millis(500);

/// The admin server.
#[derive(Debug)]
pub(crate) struct Admin {
    wanted: String,
    name: String,
    server: Server<Pages>,
    listener: ListenerId,
}

impl Admin {
    /// Listens where `--admin` says, unless a predecessor's socket for it was handed over.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub(crate) fn open(wanted: &ListenAddress, handed: &mut Vec<Handed>) -> Result<Self, Failure> {
        let text = format!("admin {wanted}");
        let found = handed.iter().position(|handed| handed.label.wanted == text);
        let found = found.map(|at| TcpListener::from(handed.swap_remove(at).socket));
        let opened = found.map_or_else(|| bind(wanted), Ok).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((address, listener))
        });
        let (address, listener) = opened.map_err(|error| {
            let port = if let ListenAddress::Tcp { port, .. } = wanted { *port } else { 0 };
            let advice = advice(&error, Some(SocketAddr::from(([0; 4], port))));
            Failure::unable(format!("cannot listen on --admin {wanted}: {error}{advice}"))
        })?;
        let config = Config::new()
            .max_connections(CONNECTIONS_MAX)
            .drain(Drain::Flush)
            .handshake_grace(Duration::ZERO)
            .linger(LINGER)
            .shutdown_timeout(BUDGET);
        let mut server = Server::serving(Pages::new(CONNECTIONS_MAX), config).map_err(explain)?;
        let listener = server.adopt(listener, Ownership::Exclusive).map_err(explain)?;
        info!(target: TARGET, "health, metrics and report on http://{address}");
        if address.ip().is_unspecified() {
            warn!(target: TARGET, "--admin {address} is open to every network of this machine");
        }
        Ok(Self { wanted: text, name: address.to_string(), server, listener })
    }

    /// Serves on a poll; the tokens from `first` on are for it.
    ///
    /// # Errors
    ///
    /// When the poll refuses.
    pub(crate) fn register(&mut self, registry: &Registry, first: Token) -> Result<(), Error> {
        let end = first.0.saturating_add(CONNECTIONS_MAX).saturating_add(1);
        self.server.register(registry, first.0..end)?;
        self.server.end_turn(registry, Instant::now());
        Ok(())
    }

    /// The listener, for a successor.
    pub(crate) fn to_hand_over(&self) -> Option<(Label, BorrowedFd<'_>)> {
        let label = Label {
            wanted: self.wanted.clone(),
            name: self.name.clone(),
            is_unix: false,
            file: None,
        };
        self.server.listeners().next().map(|(_, fd)| (label, fd))
    }

    /// Leaves the listener to a successor, and ends once its own clients have their answers.
    pub(crate) fn hand_over(&mut self, registry: &Registry, now: Instant) {
        self.server.set_ownership(self.listener, Ownership::Shared);
        self.server.begin_shutdown(registry, now);
    }

    /// An event. Returns whether it is one of ours.
    pub(crate) fn on_event(&mut self, event: &Event, now: Instant) -> bool {
        self.server.handle_event(event, now)
    }

    /// Accepts clients, answers their requests, and does what is due.
    pub(crate) fn end_turn(&mut self, registry: &Registry, facts: &Facts<'_>, now: Instant) {
        self.server.end_turn(registry, now);
        answer(&mut self.server, facts, now);
    }

    /// When [`end_turn`](Self::end_turn) has something to do without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let room = self.server.protocol().room_deadline();
        [self.server.next_deadline(), room].into_iter().flatten().min()
    }

    /// Serves the requests that have arrived, and ends. `is_shared`: a successor accepts the
    /// clients in the queue.
    pub(crate) fn finish(mut self, registry: &Registry, facts: &Facts<'_>, is_shared: bool) {
        if is_shared {
            self.server.set_ownership(self.listener, Ownership::Shared);
        }
        let moved = self.server.deregister(registry).and_then(|()| EventLoop::new(self.server));
        let mut event_loop = match moved {
            Ok(event_loop) => event_loop,
            Err(error) => return warn!(target: TARGET, "end --admin: {error}"),
        };
        event_loop.begin_shutdown();
        while !event_loop.is_finished() {
            event_loop.turn(None);
            answer(event_loop.server_mut(), facts, Instant::now());
        }
    }
}

fn answer(server: &mut Server<Pages>, facts: &Facts<'_>, now: Instant) {
    for (connection, asked) in server.protocol_mut().take_asked() {
        server.protocol_mut().answer(connection, page::respond(asked, facts));
        server.resume(connection, now);
    }
}

fn bind(wanted: &ListenAddress) -> io::Result<TcpListener> {
    let ListenAddress::Tcp { host, port } = wanted else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let addresses: Vec<SocketAddr> = resolve(host, *port)?;
    TcpListener::bind(addresses.as_slice())
}
