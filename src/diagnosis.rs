//! What the kernel says of a connection: how much of what we sent is not acknowledged.
//!
//! Asked of Linux by a sock_diag(7) message, which needs no privilege; elsewhere, or where the
//! family of sockets is forbidden, the answer is unknown.

use mio::net::TcpStream;

/// Bytes of ours, FIN included, that the peer's kernel has not acknowledged; `None`: unknown.
pub(crate) fn unacknowledged(stream: &TcpStream) -> Option<u64> {
    kernel::unacknowledged(stream)
}

#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod kernel {
    use mio::net::TcpStream;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };
    use std::net::{IpAddr, SocketAddr};

    /// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`: sock_diag(7), netlink(7).
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    /// Of a header and a `struct inet_diag_req_v2`.
    const REQUEST_BYTES: u32 = 72;
    /// Where the `idiag_wqueue` of a `struct inet_diag_msg` lies behind a header.
    const WRITE_QUEUE: usize = 16 + 60;
    const REPLY_TYPE: usize = 4;

    pub(super) fn unacknowledged(stream: &TcpStream) -> Option<u64> {
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
            return is_unix(stream).then_some(0);
        };
        let request = request(local, peer)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).ok()?;
        send(&socket, &request, SendFlags::empty()).ok()?;
        // The kernel answers within the call above.
        let mut reply = [0_u8; 256];
        let (_, length) = recv(&socket, &mut reply, RecvFlags::empty()).ok()?;
        let reply = reply.get(..length)?;
        let kind = reply.get(REPLY_TYPE..)?.first_chunk().copied().map(u16::from_ne_bytes)?;
        let queue = reply.get(WRITE_QUEUE..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
        (kind == BY_FAMILY).then_some(u64::from(queue))
    }

    /// A Unix socket has no way in between: what was written lies with the peer.
    fn is_unix(stream: &TcpStream) -> bool {
        let address = socket2::SockRef::from(stream).local_addr();
        address.is_ok_and(|address| address.is_unix())
    }

    fn request(local: SocketAddr, peer: SocketAddr) -> Option<Vec<u8>> {
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut bytes = Vec::with_capacity(usize::try_from(REQUEST_BYTES).ok()?);
        bytes.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
        bytes.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        bytes.extend_from_slice(&REQUEST.to_ne_bytes());
        // Sequence number and sender's port; one question is asked on this socket.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[u8::try_from(family).ok()?, TCP, 0, 0]);
        // Any state.
        bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
        bytes.extend_from_slice(&local.port().to_be_bytes());
        bytes.extend_from_slice(&peer.port().to_be_bytes());
        bytes.extend_from_slice(&octets(local.ip()));
        bytes.extend_from_slice(&octets(peer.ip()));
        bytes.extend_from_slice(&scope(local).to_ne_bytes());
        // No cookie.
        bytes.extend_from_slice(&[u8::MAX; 8]);
        Some(bytes)
    }

    /// The interface that a link-local address belongs to.
    fn scope(address: SocketAddr) -> u32 {
        match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        }
    }

    fn octets(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V6(v6) => v6.octets(),
            IpAddr::V4(v4) => {
                let mut all = [0; 16];
                for (to, from) in all.iter_mut().zip(v4.octets()) {
                    *to = from;
                }
                all
            }
        }
    }
}

#[cfg(not(all(feature = "diagnosis", target_os = "linux")))]
mod kernel {
    use mio::net::TcpStream;

    pub(super) fn unacknowledged(_: &TcpStream) -> Option<u64> {
        None
    }
}

#[cfg(test)]
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
#[expect(clippy::arithmetic_side_effects, reason = "an instant of a test does not overflow")]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::time::{Duration, Instant};

    #[track_caller]
    fn check(address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        ours.write_all(b"netgrace").unwrap();
        let mut bytes = [0; 8];
        peer.read_exact(&mut bytes).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.read(&mut bytes).unwrap(), 0);
        let ours = TcpStream::from_std(ours);
        // The peer's kernel may take its time with the acknowledgement of a FIN.
        let deadline = Instant::now() + Duration::from_secs(5);
        while unacknowledged(&ours) != Some(0) {
            assert!(Instant::now() < deadline, "{:?} unacknowledged", unacknowledged(&ours));
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_kernel_knows_that_all_is_acknowledged() {
        check("127.0.0.1:0");
        if TcpListener::bind("[::1]:0").is_ok() {
            check("[::1]:0");
        }
    }

    #[test]
    fn the_kernel_knows_what_a_full_peer_has_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 1 << 16]).is_ok() {}
        let ours = TcpStream::from_std(ours);
        assert!(unacknowledged(&ours).is_some_and(|bytes| bytes > 0));
        drop(peer);
    }
}
