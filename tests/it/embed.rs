//! The server as a guest: everything that a host may do, and much that it should not.

mod async_fd;
mod dropping;
mod handle;
mod line_count;
mod misbehaviour;
mod nested;
mod observer;
mod registration;
mod stop;
pub mod support;
mod tokens;
