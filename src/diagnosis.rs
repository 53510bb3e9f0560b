//! What the kernel says of connections, asked of Linux by sock_diag(7) messages, which need no
//! privilege. Elsewhere, or where this family of sockets is forbidden, everything is unknown.

use mio::net::TcpStream;

use crate::engine::call::reason_of;
use crate::engine::status::{Status, Transport};

pub(crate) use self::kernel::Kernel;

/// The state of a connection in the kernel.
pub(crate) fn status(stream: &TcpStream, kernel: &mut Kernel) -> Status {
    let (local, peer) = match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => (local, peer),
        // A Unix socket has no way in between: what was written lies with the peer.
        _ if is_unix(stream) => return Status::Alive(Transport::default()),
        _ => return over(stream),
    };
    match kernel.ask(local, peer) {
        Some(Some(transport)) => Status::Alive(transport),
        Some(None) => over(stream),
        None => Status::Unknown,
    }
}

pub(crate) fn is_unix(stream: &TcpStream) -> bool {
    let address = socket2::SockRef::from(stream).local_addr();
    address.is_ok_and(|address| address.is_unix())
}

/// The state of a connection that the kernel does not know any more: it has an error, or both
/// sides have acknowledged the other's FIN.
fn over(stream: &TcpStream) -> Status {
    match stream.take_error() {
        Ok(None) => Status::Acknowledged,
        Ok(Some(error)) | Err(error) => Status::Broken(reason_of(&error)),
    }
}

#[cfg(all(feature = "diagnosis", target_os = "linux"))]
mod kernel {
    use rustix::fd::OwnedFd;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use crate::engine::status::{Timing, Transport};

    /// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`: sock_diag(7), netlink(7).
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const TCP: u8 = 6;
    /// `1 << (INET_DIAG_INFO - 1)`, and the attribute itself.
    const WANT_INFO: u8 = 2;
    const INFO: u16 = 2;
    /// Of a header and a `struct inet_diag_req_v2`.
    const REQUEST_BYTES: u32 = 72;
    const HEADER: usize = 16;
    /// Of a `struct inet_diag_msg`.
    const MESSAGE: usize = 72;
    /// Where its `idiag_retrans` and `idiag_wqueue` lie.
    const RETRANSMITS: usize = 3;
    const WRITE_QUEUE: usize = 60;
    /// Where fields of a `struct tcp_info` lie.
    const RCV_MSS: usize = 20;
    const LAST_DATA_SENT: usize = 44;
    const LAST_ACK_RECV: usize = 56;
    const RTT: usize = 68;
    const RTT_VAR: usize = 72;

    /// The netlink socket through which the kernel is asked, opened at the first question.
    #[derive(Debug, Default)]
    pub(crate) struct Kernel {
        socket: Option<OwnedFd>,
    }

    impl Kernel {
        /// What is known of the connection between two addresses: `None`, the kernel cannot be
        /// asked; `Some(None)`, it knows no such connection.
        pub(crate) fn ask(
            &mut self,
            local: SocketAddr,
            peer: SocketAddr,
        ) -> Option<Option<Transport>> {
            let request = request(local, peer)?;
            let socket = self.socket()?;
            send(socket, &request, SendFlags::empty()).ok()?;
            // The kernel replies within the call above.
            let mut reply = [0_u8; 1024];
            let (_, length) = recv(socket, &mut reply, RecvFlags::empty()).ok()?;
            let reply = reply.get(..length)?;
            match u16_at(reply, 4)? {
                BY_FAMILY => transport(reply.get(HEADER..)?).map(Some),
                ERROR if i32_at(reply, HEADER)? == libc::ENOENT.wrapping_neg() => Some(None),
                _ => None,
            }
        }

        fn socket(&mut self) -> Option<&OwnedFd> {
            if self.socket.is_none() {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let protocol = Some(netlink::SOCK_DIAG);
                let family = AddressFamily::NETLINK;
                self.socket = socket_with(family, SocketType::RAW, flags, protocol).ok();
            }
            self.socket.as_ref()
        }
    }

    fn transport(message: &[u8]) -> Option<Transport> {
        let info = attribute(message.get(MESSAGE..)?, INFO);
        Some(Transport {
            unacknowledged: u32_at(message, WRITE_QUEUE)?,
            repetitions: *message.get(RETRANSMITS)?,
            timing: info.and_then(timing),
        })
    }

    fn timing(info: &[u8]) -> Option<Timing> {
        let micros = |at| Some(Duration::from_micros(u64::from(u32_at(info, at)?)));
        let millis = |at| Some(Duration::from_millis(u64::from(u32_at(info, at)?)));
        Some(Timing {
            round_trip: micros(RTT)?,
            variation: micros(RTT_VAR)?,
            segment: u32_at(info, RCV_MSS)?,
            since_ack: millis(LAST_ACK_RECV)?,
            since_sent: millis(LAST_DATA_SENT)?,
        })
    }

    /// The payload of the first attribute of a type; netlink(7), `struct nlattr`.
    fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
        loop {
            let length = usize::from(u16_at(rest, 0)?);
            if u16_at(rest, 2)? == wanted {
                return rest.get(4..length);
            }
            rest = rest.get(length.max(4).next_multiple_of(4)..)?;
        }
    }

    fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
        bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
    }

    fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
        bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
    }

    fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
        bytes.get(at..)?.first_chunk().copied().map(i32::from_ne_bytes)
    }
    fn request(local: SocketAddr, peer: SocketAddr) -> Option<Vec<u8>> {
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut bytes = Vec::with_capacity(usize::try_from(REQUEST_BYTES).ok()?);
        bytes.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
        bytes.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        bytes.extend_from_slice(&REQUEST.to_ne_bytes());
        // Sequence number and sender's port; one question is asked at a time.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[u8::try_from(family).ok()?, TCP, WANT_INFO, 0]);
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
    use std::net::SocketAddr;

    use crate::engine::status::Transport;

    /// There is nothing to ask.
    #[derive(Debug, Default)]
    pub(crate) struct Kernel;

    impl Kernel {
        /// Nothing is known.
        pub(crate) fn ask(&mut self, _: SocketAddr, _: SocketAddr) -> Option<Option<Transport>> {
            None
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "diagnosis", target_os = "linux"))]
#[expect(clippy::arithmetic_side_effects, reason = "an instant of a test does not overflow")]
mod tests {
    use super::*;
    use crate::engine::report::CloseReason;
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
        let mut kernel = Kernel::default();
        loop {
            match status(&ours, &mut kernel) {
                Status::Alive(Transport { unacknowledged: 0, timing: Some(timing), .. }) => {
                    assert!(timing.round_trip > Duration::ZERO, "{timing:?}");
                    break;
                }
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
            std::thread::yield_now();
        }
        drop(peer);
        while status(&ours, &mut kernel) != Status::Acknowledged {
            assert!(Instant::now() < deadline, "{:?}", status(&ours, &mut kernel));
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
        let mut kernel = Kernel::default();
        let Status::Alive(transport) = status(&ours, &mut kernel) else { panic!("not alive") };
        assert!(transport.unacknowledged > 0, "{transport:?}");
        drop(peer);
        // The peer's close with unread bytes is a reset.
        let deadline = Instant::now() + Duration::from_secs(5);
        while status(&ours, &mut kernel) != Status::Broken(CloseReason::ResetByPeer) {
            assert!(Instant::now() < deadline);
        }
    }
}
