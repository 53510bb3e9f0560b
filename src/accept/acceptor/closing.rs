//! What is known of listeners that are being closed.

use std::time::Instant;

use crate::accept::handshake::Wait;
use crate::engine::report::HalfOpen;

/// What a stop knows of the listeners that it closes.
#[derive(Debug)]
pub(super) struct Closing<E> {
    /// By token, for each listener whose queue is the server's alone, once it is gated.
    pub(super) waits: Vec<Option<Wait>>,
    /// When to look at the queues of which it is not decided who takes them.
    pub(super) undecided: Option<Instant>,
    /// The sum over the listeners closed so far; `None` where one is not known.
    pub(super) half_open: Option<HalfOpen>,
    /// Where closed sockets may be found.
    pub(super) endpoints: Vec<E>,
    /// Some of them cannot be told from those of siblings.
    pub(super) shared: bool,
}
