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

#[cfg(feature = "cli")]
mod accept;
#[cfg(feature = "cli")]
mod admin;
mod api;
#[cfg(feature = "cli")]
mod audit;
#[cfg(feature = "cli")]
mod awkward;
#[cfg(feature = "cli")]
mod bare;
#[cfg(feature = "cli")]
mod bench_audit;
#[cfg(feature = "cli")]
mod bench_flags;
#[cfg(feature = "cli")]
mod bench_kinds;
#[cfg(feature = "cli")]
mod bench_load;
#[cfg(feature = "cli")]
mod bench_output;
#[cfg(feature = "cli")]
mod bench_patterns;
#[cfg(feature = "cli")]
mod bench_truth;
#[cfg(feature = "cli")]
mod bench_workers;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod clients;
#[cfg(feature = "cli")]
mod console;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod counts;
#[cfg(feature = "cli")]
mod crowd;
mod embed;
#[cfg(feature = "cli")]
mod faults;
#[cfg(feature = "cli")]
mod files;
#[cfg(feature = "cli")]
mod flood;
#[cfg(feature = "cli")]
mod handshake;
#[cfg(feature = "cli")]
mod host;
#[cfg(feature = "cli")]
mod inherited;
#[cfg(feature = "cli")]
mod liar;
mod library;
mod map;
#[cfg(feature = "cli")]
mod naive;
#[cfg(feature = "cli")]
mod output;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod promise;
#[cfg(feature = "cli")]
mod protocol;
#[cfg(feature = "cli")]
mod protocol_faults;
#[cfg(feature = "cli")]
mod recipe;
#[cfg(feature = "cli")]
mod replace;
#[cfg(feature = "cli")]
mod scarce;
#[cfg(feature = "cli")]
mod schema;
#[cfg(feature = "cli")]
mod soak;
#[cfg(feature = "cli")]
mod stop;
#[cfg(feature = "cli")]
mod storm;
#[cfg(feature = "cli")]
mod successor;
#[cfg(feature = "cli")]
mod support;
#[cfg(feature = "cli")]
mod survive;
#[cfg(feature = "systemd")]
mod systemd;
mod tidy;
#[cfg(feature = "cli")]
mod traced;
#[cfg(feature = "cli")]
mod unix;
