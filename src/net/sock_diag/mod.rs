//! The state of connections as reported by the kernel of Linux through sock_diag(7), which needs
//! no privilege. On other systems, or where netlink sockets are forbidden, everything is unknown.

#[cfg(not(all(feature = "diagnosis", target_os = "linux")))]
mod absent;
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod kernel;
pub(crate) mod pressure;
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod question;
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod reply;

use mio::net::TcpStream;
use std::io;

use crate::engine::call::reason_of;
use crate::engine::status::{Status, Transport};

#[cfg(not(all(feature = "diagnosis", target_os = "linux")))]
pub(crate) use self::absent::Kernel;
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
pub(crate) use self::kernel::Kernel;

/// The state of a connection in the kernel.
pub(crate) fn status(stream: &TcpStream, kernel: &mut Kernel) -> Status {
    let peer = match stream.peer_addr() {
        Ok(peer) => peer,
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return over(stream),
        // A Unix socket has no network in between: what was written is in the peer's queue.
        Err(_) if is_unix(stream) => return Status::Alive(Transport::default()),
        Err(_) => return over(stream),
    };
    let Ok(local) = stream.local_addr() else { return over(stream) };
    match kernel.ask(local, peer) {
        Some(Some(transport)) => Status::Alive(transport),
        Some(None) => over(stream),
        None => Status::Unknown,
    }
}

/// Asks about some connections at once, for the next [`status`] of each.
pub(crate) fn ask_ahead<'s>(streams: impl Iterator<Item = &'s TcpStream>, kernel: &mut Kernel) {
    kernel.ask_ahead(streams.filter_map(|stream| {
        let peer = stream.peer_addr().ok()?;
        Some((stream.local_addr().ok()?, peer))
    }));
}

pub(crate) fn is_unix(stream: &TcpStream) -> bool {
    let address = socket2::SockRef::from(stream).local_addr();
    address.is_ok_and(|address| address.is_unix())
}

/// The state of a connection that the kernel no longer knows: it has an error, or each side has
/// acknowledged the FIN of the other.
fn over(stream: &TcpStream) -> Status {
    match stream.take_error() {
        Ok(None) => Status::Acknowledged,
        Ok(Some(error)) | Err(error) => Status::Broken(reason_of(&error)),
    }
}

#[cfg(test)]
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod tests;
