//! What the server listens on: each `--listen` made a socket.

use std::io;
use std::net::SocketAddr;

use log::{info, warn};
use netgrace::{Error, ErrorKind, Server};

use crate::cli::address::{ListenAddress, resolve};
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::settings::{self, Settings};
use crate::cli::unix_socket::{self, SocketFile};

/// One listening socket of the server, in the server's order.
#[derive(Debug)]
struct Place {
    /// As in the port file: `127.0.0.1:5388`, `unix:/run/x.sock`.
    name: String,
    /// For the log: where it comes from, or how long its queue is.
    note: String,
    address: Option<SocketAddr>,
    file: Option<SocketFile>,
}

/// The listening sockets of the server. Dropping it removes the files of those that have one.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    places: Vec<Place>,
}

impl Listening {
    /// Listens on all addresses of the settings, in their order.
    ///
    /// # Errors
    ///
    /// What kept it from listening on one of them, and what to do about it.
    pub(crate) fn open(settings: &Settings<'_>) -> Result<(Server, Self), Failure> {
        let mut server = Server::unbound(settings.config()).map_err(explain)?;
        let mut listening = Self::default();
        for wanted in &settings.listen {
            match wanted {
                ListenAddress::Tcp { host, port } => {
                    listening.bind(&mut server, wanted, host, *port, settings.backlog)?;
                }
                ListenAddress::Unix(path) => {
                    let (listener, file) = unix_socket::listen(path, settings.backlog)?;
                    server.adopt_unix(listener, true).map_err(explain)?;
                    let (name, note) = (wanted.to_string(), of_backlog(settings.backlog));
                    listening.places.push(Place { name, note, address: None, file: Some(file) });
                }
            }
        }
        Ok((server, listening))
    }

    /// Each name's first address that can be had.
    fn bind(
        &mut self,
        server: &mut Server,
        wanted: &ListenAddress,
        host: &str,
        port: u16,
        backlog: Option<u32>,
    ) -> Result<(), Failure> {
        let mut failed = None;
        for candidate in find(wanted, host, port)? {
            failed = server.listen(candidate).err();
            if failed.is_none() {
                break;
            }
        }
        match failed {
            Some(error) => Err(explain(error)),
            None => {
                let address = server.local_addrs().last().copied();
                let name = address.map_or_else(|| wanted.to_string(), |bound| bound.to_string());
                self.places.push(Place { name, note: of_backlog(backlog), address, file: None });
                Ok(())
            }
        }
    }

    /// The names, in the order in which they were asked for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.name.as_str())
    }

    /// Tells the log.
    pub(crate) fn announce(&self, settings: &Settings<'_>) {
        for Place { name, note, address, .. } in &self.places {
            info!(target: TARGET, "listening on {name}{note}");
            if address.is_some_and(|address| address.ip().is_unspecified()) {
                warn!(target: TARGET, "{name} is open to every network of this machine");
            }
        }
        if settings.is_backlog_capped() {
            warn!(target: TARGET, "the system caps the backlog: raise net.core.somaxconn for more");
        }
    }
}

/// Checks that the addresses can be found, without listening on them.
///
/// # Errors
///
/// When the resolver does not know one.
pub(crate) fn check(settings: &Settings<'_>) -> Result<(), Failure> {
    for wanted in &settings.listen {
        match wanted {
            ListenAddress::Tcp { host, port } => drop(find(wanted, host, *port)?),
            ListenAddress::Unix(_) => {}
        }
    }
    Ok(())
}

fn find(wanted: &ListenAddress, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    resolve(host, port)
        .map_err(|error| Failure::unable(format!("cannot resolve {wanted}: {error}")))
}

fn of_backlog(backlog: Option<u32>) -> String {
    backlog.map_or_else(String::new, |backlog| format!(" (backlog {backlog})"))
}

/// What was attempted and why it failed come from the library; what to do about it from here.
pub(crate) fn explain(error: Error) -> Failure {
    if error.kind() == ErrorKind::Config {
        return Failure::usage(settings::in_flags(&error.to_string()));
    }
    let message = match error.kind() {
        ErrorKind::TokenRange => error.to_string(),
        _ => format!("cannot {error}"),
    };
    let advice = match io::Error::from(error).kind() {
        io::ErrorKind::AddrInUse => "; choose another port, or port 0 for any free one",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges, such as CAP_NET_BIND_SERVICE"
        }
        _ => "",
    };
    Failure::unable(format!("{message}{advice}"))
}
