//! The contract of protocols, and the built-in ones by it.

mod contract;
mod simple;
mod whim;
