//! The integration tests: one binary, one module a theme.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::let_underscore_must_use,
    missing_docs,
    unreachable_pub
)]

mod accept;
mod admin;
mod api;
mod bench_audit;
mod bench_load;
mod bench_output;
mod bench_truth;
mod cli;
mod console;
mod crowd;
mod embed;
mod faults;
mod files;
mod flood;
mod host;
mod liar;
mod library;
mod naive;
mod replace;
mod schema;
mod soak;
mod stop;
mod storm;
mod support;
mod survive;
mod systemd;
mod tidy;
mod unix;
