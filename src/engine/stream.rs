//! What the engine asks of a connection's stream.

use std::io::{self, Read, Write};

use super::status::{Locality, Status};

/// A non-blocking byte stream with a half-close.
///
/// `read` answers `Ok(0)` only at the peer's end of stream. `write` that takes less than it was
/// given, or answers `WouldBlock`, owes an event once there is room again.
pub(crate) trait Stream: Read + Write {
    /// Something that takes bytes from one end of a stream and gives them to the other without
    /// copying them; empty when new.
    type Pipe: std::fmt::Debug;

    /// Whether there are pipes at all.
    const HAS_PIPES: bool;

    /// A new pipe.
    fn open_pipe() -> io::Result<Self::Pipe>;

    /// Moves at most `most` bytes into an empty pipe. `Ok(0)` carries no information, nor does
    /// `WouldBlock`: a kernel may give it although bytes are queued. A `peek` or a `read` shows
    /// whether the queue is empty, the stream ended, or it broke. But an error of the connection
    /// may be reported here and never again.
    fn fill(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Moves at most `most` bytes out of a pipe; otherwise as `write`.
    fn drain(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// What a `read` into a buffer of one byte would return, without taking the byte. An error of
    /// the connection is reported here and never again.
    fn peek(&mut self) -> io::Result<usize>;

    /// Sends the end of stream (FIN); reading goes on.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Makes the coming close a reset (RST), so that a cut is never taken for an end.
    fn reset_on_close(&mut self);

    /// What asks the kernel about connections; one for all of a server.
    type Kernel: Default;

    /// Where the peer is.
    fn locality(&self) -> Locality;

    /// What the kernel says of the connection.
    fn status(&mut self, kernel: &mut Self::Kernel) -> Status;

    /// Asks the kernel about some connections at once: the next `status` of each has the reply.
    /// Replies that were not used are forgotten.
    fn ask_ahead<'s>(_streams: impl Iterator<Item = &'s Self>, _kernel: &mut Self::Kernel)
    where
        Self: 's,
    {
    }

    /// Has what was received acknowledged at once (TCP_QUICKACK), so that a peer's Nagle delay
    /// ends.
    fn quick_ack(&mut self);

    /// The size of the receive buffer in bytes.
    fn receive_buffer(&self) -> usize;

    /// The size of the send buffer in bytes.
    fn send_buffer(&self) -> usize;
}
