//! The gate before an accept queue: once it is shut, no new handshake starts. TCP handshakes that
//! are under way complete, so that none completes between the last accept and the close.
//!
//! There are two mechanisms for TCP on Linux. Binding the listener to an interface that its
//! clients do not use needs no privilege, and refuses new clients at once; but there must be such
//! an interface. A filter that drops SYN segments works for all clients and needs a privilege;
//! a client is refused only when its kernel repeats the SYN.
//!
//! Where siblings listen on the same port (SO_REUSEPORT) the kernel goes on choosing the gated
//! listener for its share of the clients, and both mechanisms drop their SYNs: for the first one
//! there is no route for the answer. The clients' kernels repeat them, and reach a sibling once the
//! listener is closed.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kernel {
    use socket2::{SockFilter, SockRef};
    use std::io;
    use std::net::{Shutdown, SocketAddr};

    /// Interfaces that are tried at most.
    const INTERFACES: usize = 8;

    /// Shuts the gate before a listener on `address`. Where the kernel allows no complete one, a
    /// handshake may still fall in between.
    pub(crate) fn refuse_handshakes(
        socket: &SockRef<'_>,
        address: Option<SocketAddr>,
    ) -> io::Result<()> {
        if address.is_some_and(|address| address.ip().to_canonical().is_loopback()) {
            // All clients are on this machine and come through one interface.
            refuse_beyond(socket, |name| name != "lo").or_else(|_| drop_handshakes(socket))
        } else {
            drop_handshakes(socket).or_else(|_| refuse_beyond(socket, |name| name == "lo"))
        }
    }

    /// Binds the listener to the first interface of those `chosen` that can be used. Handshakes
    /// under way are found by their addresses, whatever the interface, and complete.
    fn refuse_beyond(socket: &SockRef<'_>, chosen: impl Fn(&str) -> bool) -> io::Result<()> {
        let table = std::fs::read_to_string("/proc/net/dev")?;
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "no other interface"));
        let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        for name in names.filter(|name| chosen(name)).take(INTERFACES) {
            outcome = socket.bind_device(Some(name.as_bytes()));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// A classic BPF program that drops segments which ask for a connection (SYN without ACK) and
    /// passes all others, final ACKs of handshakes under way among them.
    fn drop_handshakes(socket: &SockRef<'_>) -> io::Result<()> {
        const FLAGS_OFFSET: u32 = 13;
        const SYN: u32 = 0x02;
        const SYN_AND_ACK: u32 = 0x12;
        const LOAD_BYTE: u16 = 0x30;
        const AND: u16 = 0x54;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        socket.attach_filter(&[
            SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
            SockFilter::new(AND, 0, 0, SYN_AND_ACK),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
            SockFilter::new(RETURN, 0, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ])
    }

    /// Refuses connects to a Unix socket, while those in its queue can still be accepted: Linux
    /// treats `shutdown` of a listener in this way for Unix sockets only. On a TCP listener it
    /// would reset the queue.
    pub(crate) fn refuse_connects(socket: &SockRef<'_>) -> io::Result<()> {
        socket.shutdown(Shutdown::Read)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::{Read, Write};
        use std::net::{TcpListener, TcpStream};

        #[test]
        fn behind_the_gate_the_queue_is_served_and_nobody_joins_it() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).unwrap();
            let Ok(()) = refuse_beyond(&SockRef::from(&listener), |name| name != "lo") else {
                // A namespace with nothing but a loopback interface.
                return;
            };
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let (mut stream, _) = listener.accept().unwrap();
            client.write_all(b"in time").unwrap();
            let mut bytes = [0; 7];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"in time");
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kernel {
    use socket2::SockRef;
    use std::io;
    use std::net::SocketAddr;

    /// This system has no gate.
    pub(crate) fn refuse_handshakes(_: &SockRef<'_>, _: Option<SocketAddr>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// This system has no gate.
    pub(crate) fn refuse_connects(_: &SockRef<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) use kernel::{refuse_connects, refuse_handshakes};
