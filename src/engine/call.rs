//! Reads and writes of a stream, and what their failures mean.

use std::io;

use super::report::CloseReason;
use super::stream::Stream;

/// How often an interrupted system call is tried again before the connection yields.
const INTERRUPTS: usize = 8;

/// Why a call moved nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Try again after the next event.
    WouldBlock,
    /// Nothing is wrong with the connection: try again without an event.
    Later,
    /// The connection is over.
    Broken(CloseReason),
}

/// Reads once; zero is the peer's end.
pub(crate) fn read(stream: &mut impl Stream, buffer: &mut [u8]) -> Result<usize, Fault> {
    retry(|| stream.read(buffer))
}

/// Looks once whether a read would give something; zero is the peer's end.
pub(crate) fn peek(stream: &mut impl Stream) -> Result<usize, Fault> {
    retry(|| stream.peek())
}

/// Writes once; zero bytes taken is a fault.
pub(crate) fn write(stream: &mut impl Stream, bytes: &[u8]) -> Result<usize, Fault> {
    not_zero(retry(|| stream.write(bytes)))
}

/// Moves bytes out of a pipe once; zero bytes taken is a fault.
pub(crate) fn drain<S: Stream>(
    stream: &mut S,
    pipe: &mut S::Pipe,
    most: usize,
) -> Result<usize, Fault> {
    not_zero(retry(|| stream.drain(pipe, most)))
}

/// Moves bytes into an empty pipe once. `Ok(0)` carries no information: a peek or a read shows
/// whether the stream ended, is empty, or broke.
pub(crate) fn fill<S: Stream>(
    stream: &mut S,
    pipe: &mut S::Pipe,
    most: usize,
) -> Result<usize, CloseReason> {
    stream.fill(pipe, most).or_else(|error| match error.raw_os_error() {
        // Of the call, not of the connection.
        None
        | Some(
            libc::EAGAIN
            | libc::EINTR
            | libc::EINVAL
            | libc::EBADF
            | libc::ESPIPE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::ENOSYS
            | libc::EPERM,
        ) => Ok(0),
        // A connection's error is told once: a read after it would give an end that never came.
        Some(_) => Err(reason_of(&error)),
    })
}

fn not_zero(taken: Result<usize, Fault>) -> Result<usize, Fault> {
    match taken {
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
pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => CloseReason::ResetByPeer,
        _ => CloseReason::IoError,
    }
}
