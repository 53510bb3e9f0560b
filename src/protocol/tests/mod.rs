//! The contract of protocols, and the built-in ones by it.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

mod contract;
mod simple;
mod whim;
mod wrap;
