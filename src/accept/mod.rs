//! Accepting clients: the accept queues, when to call accept, and how a stop empties and closes
//! them. Generic over the listening sockets and their poll.

pub(crate) mod acceptor;
pub(crate) mod handshake;
pub(crate) mod orphan;
pub(crate) mod pair;
pub(crate) mod pressure;
pub(crate) mod queue;
