//! `--admin`: health, figures and the account over HTTP, on the loop of the server.
//!
//! Everything is bounded: the clients, the size of a request, the time for one. Nothing here can
//! hold the echo up.

pub(crate) mod connection;
pub(crate) mod page;
pub(crate) mod request;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};

use crate::cli::address::{ListenAddress, resolve};
use crate::cli::admin::connection::Connection;
use crate::cli::admin::page::Facts;
use crate::cli::advice::advice;
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::handover::{Handed, Label};
use crate::cli::serve::settings::ADMIN_SOCKETS;

/// Clients at one time; with the listener as many as [`ADMIN_SOCKETS`] says.
const CONNECTIONS_MAX: usize = 64;
const _: () = assert!(CONNECTIONS_MAX as u64 + 1 == ADMIN_SOCKETS);

/// When there is no room, the oldest client that has had this long makes some.
const GRACE: Duration = Duration::from_millis(250);

/// Before the next try when descriptors are used up.
const REST: Duration = Duration::from_millis(200);

/// The admin listener and its clients.
#[derive(Debug)]
pub(crate) struct Admin {
    wanted: String,
    name: String,
    listener: Option<TcpListener>,
    first: Token,
    /// There may be clients in the queue.
    ready: bool,
    /// Not before then is one taken.
    resting: Option<Instant>,
    /// The reason for the rest was logged.
    complained: bool,
    connections: Vec<Option<Connection>>,
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
        let found = found.map(|at| std::net::TcpListener::from(handed.swap_remove(at).socket));
        let opened = found.map_or_else(|| bind(wanted), Ok).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, TcpListener::from_std(listener)))
        });
        let (address, listener) = opened.map_err(|error| {
            let port = if let ListenAddress::Tcp { port, .. } = wanted { *port } else { 0 };
            let advice = advice(&error, Some(SocketAddr::from(([0; 4], port))));
            Failure::unable(format!("cannot listen on --admin {wanted}: {error}{advice}"))
        })?;
        info!(target: TARGET, "health, metrics and report on http://{address}");
        if address.ip().is_unspecified() {
            warn!(target: TARGET, "--admin {address} is open to every network of this machine");
        }
        Ok(Self {
            wanted: text,
            name: address.to_string(),
            listener: Some(listener),
            first: Token(0),
            ready: true,
            resting: None,
            complained: false,
            connections: std::iter::repeat_with(|| None).take(CONNECTIONS_MAX).collect(),
        })
    }

    /// Watches the listener; the tokens from `first` on are for the clients.
    ///
    /// # Errors
    ///
    /// When the poll refuses.
    pub(crate) fn register(&mut self, registry: &Registry, first: Token) -> io::Result<()> {
        self.first = first;
        match &mut self.listener {
            Some(listener) => registry.register(listener, first, Interest::READABLE),
            None => Ok(()),
        }
    }

    /// The listener, for a successor.
    pub(crate) fn to_hand_over(&self) -> Option<(Label, BorrowedFd<'_>)> {
        let label = Label {
            wanted: self.wanted.clone(),
            name: self.name.clone(),
            is_unix: false,
            file: None,
        };
        Some((label, self.listener.as_ref()?.as_fd()))
    }

    /// Leaves the listener to a successor, and finishes with the clients that are here.
    pub(crate) fn let_go(&mut self, registry: &Registry) {
        if let Some(mut listener) = self.listener.take()
            && let Err(error) = registry.deregister(&mut listener)
        {
            warn!(target: TARGET, "deregister --admin {}: {error}", self.name);
        }
    }

    /// Whether there is anything that takes time.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_accepting() || self.connections.iter().any(Option::is_some)
    }

    fn is_accepting(&self) -> bool {
        self.ready && self.listener.is_some()
    }

    /// An event, if it is one of ours.
    pub(crate) fn on_event(&mut self, event: &Event) {
        let Some(index) = event.token().0.checked_sub(self.first.0) else { return };
        match index.checked_sub(1) {
            None => self.ready = true,
            Some(at) => {
                if let Some(Some(connection)) = self.connections.get_mut(at) {
                    connection.drive();
                }
            }
        }
    }

    /// Takes clients in, answers what they ask, and lets go of those that are done.
    pub(crate) fn end_turn(&mut self, registry: &Registry, facts: &Facts<'_>, now: Instant) {
        self.reap(now);
        self.accept(registry, now);
        for connection in self.connections.iter_mut().flatten() {
            if let Some(answer) = connection.asks() {
                connection.answer(page::respond(answer, facts));
            }
        }
        self.reap(now);
    }

    fn reap(&mut self, now: Instant) {
        for slot in &mut self.connections {
            let is_over = |connection: &mut Connection| {
                connection.is_done() || connection.deadline().is_some_and(|due| due <= now)
            };
            // Closing takes a socket off the poll: nobody else holds it.
            drop(slot.take_if(is_over));
        }
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        if self.resting.is_some_and(|until| now < until) {
            return;
        }
        self.resting = None;
        // Each round takes a client or ends the loop, so the bound is only for a flood.
        for _ in 0..CONNECTIONS_MAX {
            let Some(listener) = self.listener.as_ref().filter(|_| self.ready) else { return };
            let Some(at) = room(&self.connections, now) else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    self.complained = false;
                    self.insert(at, Connection::new(stream, now), registry);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        warn!(target: TARGET, "accept on --admin {}: {error}", self.name);
                    }
                    self.resting = now.checked_add(REST);
                    return;
                }
            }
        }
    }

    fn insert(&mut self, at: usize, mut connection: Connection, registry: &Registry) {
        let token = self.first.0.checked_add(1).and_then(|first| first.checked_add(at));
        let (Some(token), Some(slot)) = (token, self.connections.get_mut(at)) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        match registry.register(connection.stream_mut(), Token(token), interest) {
            Ok(()) => {
                connection.drive();
                *slot = Some(connection);
            }
            Err(error) => warn!(target: TARGET, "serve a client of --admin: {error}"),
        }
    }

    /// When [`end_turn`](Self::end_turn) has something to do without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let over = self.connections.iter().flatten().filter_map(Connection::deadline).min();
        let accept = if !self.is_accepting() {
            None
        } else if self.resting.is_some() {
            self.resting
        } else if room(&self.connections, now).is_some() {
            Some(now)
        } else {
            let oldest = self.connections.iter().flatten().map(Connection::since).min();
            oldest.and_then(|since| since.checked_add(GRACE))
        };
        [over, accept].into_iter().flatten().min()
    }
}

/// A place for the next client: a free one, or that of the oldest if it has had its grace.
fn room(connections: &[Option<Connection>], now: Instant) -> Option<usize> {
    let free = connections.iter().position(Option::is_none);
    free.or_else(|| {
        let all = connections.iter().enumerate();
        let since = all.filter_map(|(at, slot)| Some((slot.as_ref()?.since(), at)));
        let (since, at) = since.min()?;
        (now.saturating_duration_since(since) >= GRACE).then_some(at)
    })
}

fn bind(wanted: &ListenAddress) -> io::Result<std::net::TcpListener> {
    let ListenAddress::Tcp { host, port } = wanted else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let addresses: Vec<SocketAddr> = resolve(host, *port)?;
    std::net::TcpListener::bind(addresses.as_slice())
}

/// Whether the next client may still be taken.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    )
}
