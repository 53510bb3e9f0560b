//! The listening sockets of the server, one or more for each `--listen`.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use log::{info, warn};
use netgrace::{ListenerId, Ownership, Server, Service};

use crate::cli::address::ListenAddress;
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::bind::{self, explain};
use crate::cli::serve::handover::{Handed, Label};
#[cfg(feature = "systemd")]
use crate::cli::serve::inherited::{self, Passed};
use crate::cli::serve::settings::Settings;
use crate::cli::serve::transfer::Claim;
use crate::cli::serve::unix_socket::{self, SocketFile};

/// One listening socket of the server.
#[derive(Debug)]
struct BoundListener {
    id: ListenerId,
    wanted: ListenAddress,
    /// As in the port file: `127.0.0.1:5388`, `unix:/run/x.sock`.
    name: String,
    /// For the log: where it comes from, or the length of its queue.
    note: String,
    address: Option<SocketAddr>,
    /// The file of a Unix socket, unless the service manager owns it.
    file: Option<SocketFile>,
}

impl BoundListener {
    fn is_managed(&self) -> bool {
        self.wanted == ListenAddress::Systemd
    }
}

/// The listening sockets, in the server's order. Dropping them removes the files that are ours.
#[derive(Debug)]
pub(crate) struct Listening {
    listeners: Vec<BoundListener>,
    backlog: Option<u32>,
}

impl Listening {
    /// Listens on all addresses of the settings, in their order. Sockets that a predecessor has
    /// handed over are removed from `handed` and used.
    ///
    /// # Errors
    ///
    /// If one of them cannot be listened on, with what to do about it.
    pub(crate) fn open<P: Service>(
        protocol: P,
        settings: &Settings<'_>,
        handed: &mut Vec<Handed>,
    ) -> Result<(Server<P>, Self), Failure> {
        let mut server = Server::serving(protocol, settings.config()).map_err(explain)?;
        let mut listening = Self { listeners: Vec::new(), backlog: settings.backlog };
        for wanted in &settings.listen {
            let text = wanted.to_string();
            let mut found = false;
            for handed in handed.extract_if(.., |handed| handed.label.wanted == text) {
                listening.take_over(&mut server, wanted, handed)?;
                found = true;
            }
            match wanted {
                _ if found => {}
                ListenAddress::Tcp { host, port } => {
                    listening.bind(&mut server, wanted, host, *port)?;
                }
                ListenAddress::Unix(path) => {
                    let (listener, file) = unix_socket::listen(path, settings.backlog)?;
                    let id = server.adopt(listener, Ownership::Exclusive).map_err(explain)?;
                    listening.add(id, wanted, text, of_backlog(settings.backlog), None, Some(file));
                }
                ListenAddress::Abstract(name) => {
                    let listener = unix_socket::listen_abstract(name, settings.backlog)?;
                    let id = server.adopt(listener, Ownership::Exclusive).map_err(explain)?;
                    listening.add(id, wanted, text, of_backlog(settings.backlog), None, None);
                }
                ListenAddress::Systemd => listening.inherit(&mut server, wanted)?,
            }
        }
        Ok((server, listening))
    }

    fn add(
        &mut self,
        id: ListenerId,
        wanted: &ListenAddress,
        name: String,
        note: String,
        address: Option<SocketAddr>,
        file: Option<SocketFile>,
    ) {
        self.listeners.push(BoundListener {
            id,
            wanted: wanted.clone(),
            name,
            note,
            address,
            file,
        });
    }

    /// Listens on all addresses of a name.
    fn bind<P: Service>(
        &mut self,
        server: &mut Server<P>,
        wanted: &ListenAddress,
        host: &str,
        port: u16,
    ) -> Result<(), Failure> {
        for (id, address) in bind::listen_on_all(server, wanted, host, port)? {
            let note = of_backlog(self.backlog);
            self.add(id, wanted, address.to_string(), note, Some(address), None);
        }
        Ok(())
    }

    /// Adopts a socket of the predecessor, which shares it until it has closed its copy.
    fn take_over<P: Service>(
        &mut self,
        server: &mut Server<P>,
        wanted: &ListenAddress,
        handed: Handed,
    ) -> Result<(), Failure> {
        let Handed { label, socket } = handed;
        let note = " (taken over)".to_owned();
        let file = match (wanted, label.file) {
            (ListenAddress::Unix(path), Some(identity)) => {
                Some(SocketFile::of_another(path, identity))
            }
            _ => None,
        };
        let (id, address) = if label.is_unix {
            let listener = UnixListener::from(socket);
            (server.adopt(listener, Ownership::Shared).map_err(explain)?, None)
        } else {
            let listener = TcpListener::from(socket);
            let id = server.adopt(listener, Ownership::Shared).map_err(explain)?;
            (id, server.local_addrs().last().copied())
        };
        self.add(id, wanted, label.name, note, address, file);
        Ok(())
    }

    /// Adopts all sockets that the service manager passes in.
    #[cfg(feature = "systemd")]
    fn inherit<P: Service>(
        &mut self,
        server: &mut Server<P>,
        wanted: &ListenAddress,
    ) -> Result<(), Failure> {
        for (passed, unit) in inherited::take()? {
            let failed = |error: netgrace::Error| {
                Failure::unable(format!("cannot listen on the socket {unit:?} of systemd: {error}"))
            };
            let note = format!(" (systemd socket {unit:?})");
            match passed {
                Passed::Tcp(listener) => {
                    let id = server.adopt(listener, Ownership::Shared).map_err(failed)?;
                    let address = server.local_addrs().last().copied();
                    let name = address.map_or_else(String::new, |address| address.to_string());
                    self.add(id, wanted, name, note, address, None);
                }
                Passed::Unix(listener) => {
                    let name = unix_socket::name(&listener);
                    let id = server.adopt(listener, Ownership::Shared).map_err(failed)?;
                    self.add(id, wanted, name, note, None, None);
                }
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "systemd"))]
    fn inherit<P: Service>(
        &mut self,
        _: &mut Server<P>,
        wanted: &ListenAddress,
    ) -> Result<(), Failure> {
        Err(Failure::unable(format!(
            "cannot listen on {wanted}: this build has no systemd feature"
        )))
    }

    /// Returns a label for each, from which a successor takes its use, in the server's order.
    pub(crate) fn labels(&self) -> Vec<Label> {
        let label = |listener: &BoundListener| Label {
            wanted: listener.wanted.to_string(),
            name: listener.name.clone(),
            is_unix: listener.address.is_none(),
            file: listener.file.as_ref().map(SocketFile::identity),
        };
        self.listeners.iter().map(label).collect()
    }

    /// Sets who owns the queues, except those of the service manager.
    pub(crate) fn set_claim<P: Service>(&mut self, claim: Claim, server: &mut Server<P>) {
        for listener in &mut self.listeners {
            let ownership = match claim {
                _ if listener.is_managed() => Ownership::Shared,
                Claim::Sole => Ownership::Exclusive,
                Claim::Waits => Ownership::Undecided,
                Claim::None => Ownership::Shared,
            };
            server.set_ownership(listener.id, ownership);
            if let Some(file) = &mut listener.file {
                file.set_ours(claim != Claim::None);
            }
        }
    }

    /// Returns the names, in the order of the settings.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(|listener| listener.name.as_str())
    }

    /// Logs the addresses.
    pub(crate) fn announce(&self, settings: &Settings<'_>) {
        for BoundListener { wanted, name, note, address, .. } in &self.listeners {
            info!(target: TARGET, "listening on {name}{note}");
            if address.is_some_and(|address| address.ip().is_unspecified()) {
                warn!(target: TARGET, "{name} is open to every network of this machine");
            }
            if matches!(wanted, ListenAddress::Abstract(_)) {
                warn!(target: TARGET, "{name} is open to every user of this machine");
            }
        }
        if settings.is_backlog_capped() {
            warn!(target: TARGET, "the system caps the backlog: raise net.core.somaxconn for more");
        }
    }
}

/// Checks that the addresses can be resolved, without listening on them.
///
/// # Errors
///
/// If the resolver does not know one.
pub(crate) fn check(settings: &Settings<'_>) -> Result<(), Failure> {
    for wanted in &settings.listen {
        match wanted {
            ListenAddress::Tcp { host, port } => drop(bind::find(wanted, host, *port)?),
            ListenAddress::Unix(_) | ListenAddress::Abstract(_) | ListenAddress::Systemd => {}
        }
    }
    Ok(())
}

fn of_backlog(backlog: Option<u32>) -> String {
    backlog.map_or_else(String::new, |backlog| format!(" (backlog {backlog})"))
}
