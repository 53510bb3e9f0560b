//! The server on a host's poll: everything that a host may do, and much that it should not.

mod allocations;
mod async_fd;
mod dropping;
mod example;
mod handle;
mod line_count;
mod mio_host;
mod misbehaviour;
mod nested;
mod observer;
mod registration;
mod speaking;
mod stop;
pub mod support;
#[cfg(feature = "http")]
mod tls;
mod tokens;
