//! netgrace
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod acceptor;
mod config;
mod diagnosis;
mod engine;
mod error;
mod event_loop;
mod handle;
mod listener;
#[cfg(feature = "bench")]
pub mod load;
mod pipe;
mod server;
#[cfg(feature = "signals")]
mod signals;
mod socket;
mod token;

pub use config::{Config, Drain};
pub use engine::observer::{Closed, Observer};
pub use engine::phase::{Cause, Phase, PhaseTimes};
pub use engine::report::{ByteCounts, CloseReason, ConnectionCounts, Grade, Report, Stats};
pub use error::{Error, ErrorKind};
pub use event_loop::EventLoop;
pub use handle::ShutdownHandle;
pub use server::Server;
#[cfg(feature = "signals")]
pub use signals::Signals;
pub use token::{Readiness, TokenRange};
