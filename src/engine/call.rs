//! Reads and writes of a stream, and what their failures mean.

use std::io;

use super::report::CloseReason;
use super::stream::Stream;

/// How often an interrupted system call is tried again before the connection yields.
const INTERRUPTS: usize = 8;

/// Why a call moved nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// An event will tell when to try again.
    WouldBlock,
    /// Nothing is wrong with the connection: try again without an event.
    Later,
    /// The connection is over.
    Broken(CloseReason),
}

/// Reads once; zero is the peer's end.
pub(super) fn read(stream: &mut impl Stream, buffer: &mut [u8]) -> Result<usize, Fault> {
    retry(|| stream.read(buffer))
}

/// Writes once; zero bytes taken is a fault.
pub(super) fn write(stream: &mut impl Stream, bytes: &[u8]) -> Result<usize, Fault> {
    match retry(|| stream.write(bytes)) {
        Ok(0) => Err(Fault::Broken(CloseReason::IoError)),
        other => other,
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, Fault> {
    for _ in 0..INTERRUPTS {
        match call() {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fault_of(&error)),
        }
    }
    Err(Fault::Later)
}

fn fault_of(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Fault::WouldBlock;
    }
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => Fault::Later,
        _ => Fault::Broken(reason_of(error)),
    }
}

/// How a connection ends by an error of its socket.
pub(super) fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => CloseReason::ResetByPeer,
        _ => CloseReason::IoError,
    }
}
