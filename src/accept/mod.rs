//! How clients come in: accept queues, when to look into them, and what a stop does about them.
//! Generic over the listening sockets and their poll.

pub(crate) mod acceptor;
pub(crate) mod handshake;
pub(crate) mod orphan;
pub(crate) mod pair;
pub(crate) mod pressure;
pub(crate) mod queue;
