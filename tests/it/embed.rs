//! The server as a guest: everything that a host may do, and much that it should not.

mod misbehaviour;
mod registration;
mod support;
mod tokens;
