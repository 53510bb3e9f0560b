//! The promise of a stop, on real sockets: each situation in which it was once broken, the law that
//! a report agrees with what the clients received, and a network that is slow, loses or ends.
//!
//! "Before the request" is what a client's `send` had taken when the signal was sent. Everything
//! before comes back while the client reads and the budget lasts; an end of stream means that it
//! did, a reset that it did not, and the report and the exit code say the same.

mod arrival;
mod client;
mod distant;
mod force;
mod group;
mod handshake;
mod kernel;
mod law;
mod network;
mod reader;
mod speed;
mod storm;
mod succession;
