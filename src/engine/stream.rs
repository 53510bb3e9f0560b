//! What the engine asks of a connection's stream.

use std::io::{self, Read, Write};

/// A non-blocking byte stream with a half-close.
///
/// `read` answers `Ok(0)` only at the peer's end of stream. `write` that takes less than it was
/// given, or answers `WouldBlock`, owes an event once there is room again.
pub(crate) trait Stream: Read + Write {
    /// Sends the end of stream (FIN); reading goes on.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Makes the coming close a reset (RST), so that a cut is never taken for an end.
    fn reset_on_close(&mut self);

    /// Bytes of ours that the peer's side has not acknowledged; `None` where it cannot be asked.
    fn unacknowledged(&mut self) -> Option<u64>;
}
