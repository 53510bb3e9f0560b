//! The gate before an accept queue: shut, it lets nobody in any more, and those inside stay.

use socket2::SockRef;
use std::io;

/// A classic BPF program that drops segments which ask for a connection (SYN without ACK) and
/// passes all others, final ACKs of handshakes under way among them.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn drop_handshakes(socket: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
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

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn drop_handshakes(_: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has connects to a Unix socket refused, while those in its queue can still be accepted: Linux
/// treats a listener's `shutdown` so only here. On a TCP listener it would reset the queue.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn refuse_connects(socket: &SockRef<'_>) -> io::Result<()> {
    socket.shutdown(std::net::Shutdown::Read)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn refuse_connects(_: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
