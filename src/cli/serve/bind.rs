//! Listening on all addresses of a name.

use std::io;
use std::net::SocketAddr;

use log::info;
use netgrace::{Error, ErrorKind, ListenerId, Server, Service};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::address::{ListenAddress, resolve};
use crate::cli::advice::advice;
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::settings;

/// How many free ports are tried until one is free on all addresses of a name.
const PORTS_MAX: u32 = 64;

/// Listens on every address of `host`. An address that this machine lacks, or on which `server`
/// listens already, is skipped; port 0 leads to the same free port on all addresses.
///
/// # Errors
///
/// If the name is unknown, one of the addresses is refused, or this machine has none of them.
pub(crate) fn listen_on_all<P: Service>(
    server: &mut Server<P>,
    wanted: &ListenAddress,
    host: &str,
    port: u16,
) -> Result<Vec<(ListenerId, SocketAddr)>, Failure> {
    let mut addresses = find(wanted, host, port)?;
    let is_name = addresses.len() > 1;
    // Held until all listeners are bound.
    let reserved =
        if is_name && port == 0 { reserve_port(wanted, &addresses)? } else { Vec::new() };
    if let Some((_, port)) = reserved.first() {
        addresses.iter_mut().for_each(|address| address.set_port(*port));
    }
    let (mut bound, mut is_covered, mut lacking) = (Vec::new(), false, None);
    for address in addresses {
        if server.local_addrs().contains(&address) {
            info!(target: TARGET, "{wanted}: {address} is listened on already");
            is_covered = true;
            continue;
        }
        match server.listen(address) {
            Ok(id) => bound.push((id, server.local_addrs().last().copied().unwrap_or(address))),
            Err(error) if is_name && error.io_error().is_some_and(is_lacking) => {
                info!(target: TARGET, "{wanted}: {address} is skipped: {error}");
                lacking = Some((error, address));
            }
            Err(error) => return Err(explain_at(error, Some(address))),
        }
    }
    match lacking {
        Some((error, address)) if bound.is_empty() && !is_covered => {
            Err(explain_at(error, Some(address)))
        }
        _ => Ok(bound),
    }
}

/// Returns the addresses of a name; at least one.
///
/// # Errors
///
/// If the resolver does not know the name.
pub(crate) fn find(
    wanted: &ListenAddress,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Failure> {
    resolve(host, port).map_err(|error| {
        let advice = match host.split_once('%') {
            Some((_, zone)) => format!("; is there a network interface {zone:?}?"),
            None => String::new(),
        };
        Failure::unable(format!("cannot resolve {wanted}: {error}{advice}"))
    })
}

/// Whether this machine, or the address families that it allows, lack the address.
fn is_lacking(error: &io::Error) -> bool {
    let families = [libc::EAFNOSUPPORT, libc::EPFNOSUPPORT, libc::EPROTONOSUPPORT];
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| families.contains(&code))
}

/// Binds, without listening, a socket on each address, all to the same free port.
fn reserve_port(
    wanted: &ListenAddress,
    addresses: &[SocketAddr],
) -> Result<Vec<(Socket, u16)>, Failure> {
    for _ in 0..PORTS_MAX {
        match try_reserve(addresses) {
            Ok(reserved) => return Ok(reserved),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                let advice = advice(&error, None);
                return Err(Failure::unable(format!("cannot bind {wanted}: {error}{advice}")));
            }
        }
    }
    Err(Failure::unable(format!(
        "cannot bind {wanted}: no free port was found that is free on all of {addresses:?}; name \
         a port"
    )))
}

fn try_reserve(addresses: &[SocketAddr]) -> io::Result<Vec<(Socket, u16)>> {
    let mut reserved: Vec<(Socket, u16)> = Vec::new();
    for address in addresses {
        let mut address = *address;
        if let Some((_, port)) = reserved.first() {
            address.set_port(*port);
        }
        match bind_only(address) {
            Ok(socket) => reserved.push(socket),
            Err(error) if is_lacking(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reserved)
}

/// Binds a socket as the listener will be bound, so that both can be.
fn bind_only(address: SocketAddr) -> io::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, bound.port()))
}

/// Adds what the user can do to an error of the library, which says what was attempted and why
/// it failed.
pub(crate) fn explain(error: Error) -> Failure {
    explain_at(error, None)
}

fn explain_at(error: Error, address: Option<SocketAddr>) -> Failure {
    match error.kind() {
        ErrorKind::Config => Failure::usage(settings::in_flags(&error.to_string())),
        ErrorKind::TokenRange => Failure::unable(error.to_string()),
        _ => {
            let advice = error.io_error().map(|error| advice(error, address)).unwrap_or_default();
            Failure::unable(format!("cannot {error}{advice}"))
        }
    }
}
