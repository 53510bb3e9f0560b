//! What the kernel says of a connection: its state, and whether all that was written on it has
//! been acknowledged.
//!
//! Linux is asked by a sock_diag(7) message, which needs no privilege. Elsewhere, or where such
//! sockets are forbidden, the answer is unknown.

use std::net::SocketAddr;

/// A connection as the kernel knows it at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The peer's FIN has arrived.
    pub(super) is_closed: bool,
    /// Nothing that was written is unacknowledged.
    pub(super) is_acknowledged: bool,
}

pub(super) use imp::Kernel;

#[cfg(target_os = "linux")]
mod imp {
    use super::SocketAddr;
    use super::Standing;
    use rustix::fd::OwnedFd;
    use rustix::net::AddressFamily;
    use rustix::net::RecvFlags;
    use rustix::net::SendFlags;
    use rustix::net::SocketFlags;
    use rustix::net::SocketType;
    use rustix::net::{netlink, recv, send, socket_with};
    use std::net::IpAddr;

    /// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`: sock_diag(7), netlink(7).
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    /// The length of a header and a `struct inet_diag_req_v2`.
    const REQUEST_BYTES: u32 = 72;
    /// Where the fields of a reply lie: `nlmsg_type`, `nlmsg_seq`, and behind the header the
    /// `idiag_state` and `idiag_wqueue` of a `struct inet_diag_msg`.
    const REPLY_TYPE: usize = 4;
    const REPLY_NUMBER: usize = 8;
    const STATE: usize = 16 + 1;
    const WRITE_QUEUE: usize = 16 + 60;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;

    /// A netlink socket for questions about connections.
    #[derive(Debug)]
    pub(in crate::audit) struct Kernel {
        socket: Option<OwnedFd>,
        number: u32,
    }

    impl Kernel {
        pub(in crate::audit) fn new() -> Self {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let protocol = Some(netlink::SOCK_DIAG);
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol);
            Self { socket: socket.ok(), number: 0 }
        }

        /// Returns what the kernel says of a connection; `None`: it knows no such connection, or
        /// cannot be asked.
        pub(in crate::audit) fn ask(
            &mut self,
            local: SocketAddr,
            peer: SocketAddr,
        ) -> Option<Standing> {
            let socket = self.socket.as_ref()?;
            self.number = self.number.wrapping_add(1);
            let request = request(local, peer, self.number)?;
            send(socket, &request, SendFlags::empty()).ok()?;
            // The kernel replies within the call above. A reply to an earlier question, whose
            // reading was interrupted, is passed over.
            for _ in 0..8 {
                let mut reply = [0_u8; 512];
                let (_, length) = recv(socket, &mut reply, RecvFlags::empty()).ok()?;
                let reply = reply.get(..length)?;
                let number = reply.get(REPLY_NUMBER..)?.first_chunk().copied();
                if number.map(u32::from_ne_bytes) == Some(self.number) {
                    return standing(reply);
                }
            }
            None
        }
    }

    fn standing(reply: &[u8]) -> Option<Standing> {
        let kind = reply.get(REPLY_TYPE..)?.first_chunk().copied().map(u16::from_ne_bytes)?;
        let state = *reply.get(STATE)?;
        let queue = reply.get(WRITE_QUEUE..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
        let is_closed = matches!(state, CLOSE_WAIT | LAST_ACK);
        (kind == BY_FAMILY).then_some(Standing { is_closed, is_acknowledged: queue == 0 })
    }

    fn request(local: SocketAddr, peer: SocketAddr, number: u32) -> Option<Vec<u8>> {
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut bytes = Vec::with_capacity(usize::try_from(REQUEST_BYTES).ok()?);
        bytes.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
        bytes.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        bytes.extend_from_slice(&REQUEST.to_ne_bytes());
        bytes.extend_from_slice(&number.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[u8::try_from(family).ok()?, TCP, 0, 0]);
        // Any state.
        bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
        bytes.extend_from_slice(&local.port().to_be_bytes());
        bytes.extend_from_slice(&peer.port().to_be_bytes());
        bytes.extend_from_slice(&octets(local.ip()));
        bytes.extend_from_slice(&octets(peer.ip()));
        let scope = match local {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        bytes.extend_from_slice(&scope.to_ne_bytes());
        // No cookie.
        bytes.extend_from_slice(&[u8::MAX; 8]);
        Some(bytes)
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

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::SocketAddr;
    use super::Standing;

    /// Nobody to ask.
    #[derive(Debug)]
    pub(in crate::audit) struct Kernel;

    impl Kernel {
        pub(in crate::audit) fn new() -> Self {
            Self
        }

        pub(in crate::audit) fn ask(&mut self, _: SocketAddr, _: SocketAddr) -> Option<Standing> {
            None
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::net::TcpStream;

    #[test]
    fn the_kernel_tells_a_fin_and_an_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let (local, peer) = (ours.local_addr().unwrap(), ours.peer_addr().unwrap());
        let mut kernel = Kernel::new();
        ours.write_all(b"request").unwrap();
        let until = |kernel: &mut Kernel, wanted: Standing| {
            let found = (0..5_000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                kernel.ask(local, peer) == Some(wanted)
            });
            assert!(found, "{:?}", kernel.ask(local, peer));
        };
        until(&mut kernel, Standing { is_closed: false, is_acknowledged: true });
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        until(&mut kernel, Standing { is_closed: true, is_acknowledged: true });
        drop(ours);
        drop(theirs);
        drop(listener);
        assert_eq!(kernel.ask(peer, "127.0.0.1:1".parse().unwrap()), None);
    }
}
