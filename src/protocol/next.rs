//! What a protocol wants next for a connection.

/// The verdict of a [`Protocol`](super::Protocol) on one of its connections: what it waits for, and
/// whether a request is outstanding. It holds until the next call for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub enum Next {
    /// No request is outstanding. Input that is left over is the beginning of the next one. The
    /// connection may be ended at any time.
    Idle,
    /// A request has begun: a part of it was consumed, and more input is needed to go on. What was
    /// put so far is not a whole answer. The call that consumes the first part is to say
    /// [`begin_request`](super::Output::begin_request): a request that never gets complete is in no
    /// count otherwise, and the grade cannot tell.
    Receive,
    /// A request is outstanding, its answer comes by [`resume`](super::Protocol::resume). Input is
    /// delivered meanwhile. A stop waits for it.
    Busy,
    /// As `Busy`, but no input is delivered or read until `resume` was called.
    Wait,
    /// There is more to put: `resume` is to be called as soon as there is room. No input is
    /// delivered. To be returned only with output that has been put, or input that was consumed.
    Continue,
    /// The conversation is over. What was put is written, then the server sends its FIN; input that
    /// comes is discarded, so that the last answer is not destroyed by a reset. Requests that were
    /// begun and got no answer count as unanswered, and the grade is `Lossy`: to refuse one, end
    /// an answer, which may be empty, in the same call.
    Finish,
    /// The connection is cut off by a reset, so that the peer never takes what it has for complete.
    /// What this very call has put is discarded.
    Abort,
}
