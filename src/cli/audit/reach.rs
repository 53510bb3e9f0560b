//! Where a target is, and whether somebody accepts connections there.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use crate::cli::failure::Failure;
use netgrace::audit::Target;

/// Returns all addresses of a target.
pub(crate) fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Failure> {
    let place = target.authority();
    let addresses = target.addresses().map_err(|error| {
        Failure::unable(format!("cannot resolve {place}: {error}; is the name right?"))
    })?;
    if addresses.is_empty() {
        return Err(Failure::unable(format!("{place} has no address")));
    }
    Ok(addresses)
}

/// Returns the first address at which somebody accepts connections.
pub(crate) fn accepting(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let accepts = |address: &&SocketAddr| {
        TcpStream::connect_timeout(address, Duration::from_secs(1))
            .is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok())
    };
    addresses.iter().find(accepts).copied()
}
