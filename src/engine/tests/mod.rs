//! The engine against plain models and in single scenes; whole lives are in `sim`.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

mod bound;
mod connection;
mod ending;
mod model;
mod requests;
mod scene;
mod script;
mod slice;
mod stage;
mod streaming;
mod tube;
