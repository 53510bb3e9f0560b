//! The state of listeners that are being closed.

use std::time::Instant;

use crate::accept::handshake::Wait;
use crate::engine::report::HalfOpen;

/// The state of the listeners that a stop closes.
#[derive(Debug)]
pub(super) struct Closing<E> {
    /// By token, for each listener whose queue only this server owns, once it is gated.
    pub(super) waits: Vec<Option<Wait>>,
    /// When to call accept on queues whose ownership is undecided.
    pub(super) undecided: Option<Instant>,
    /// The sum over the listeners closed so far; `None` where one is not known.
    pub(super) half_open: Option<HalfOpen>,
    /// The endpoints on which closed sockets may be found.
    pub(super) endpoints: Vec<E>,
    /// Some endpoints are shared with other processes (SO_REUSEPORT).
    pub(super) shared: bool,
}
