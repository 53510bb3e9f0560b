//! The load generator: the client side of an echo, for any server.
//!
//! A [`Plan`] says what to do, [`run`] does it, [`Results`] say what came of it. Every byte that
//! comes back is compared; latency counts from the scheduled time where a rate is given; and a
//! run may end with an audit of the server's stop.
//!
//! ```no_run
//! use netgrace::load::{self, Plan, Target};
//!
//! let mut plan = Plan::new(Target::parse("127.0.0.1:5388")?);
//! plan.connections = 50;
//! let results = load::run(plan, &mut ())?;
//! assert!(results.load.is_exact());
//! assert!(results.load.messages_per_second() > 1000.0);
//! # Ok::<(), netgrace::Error>(())
//! ```
//!
//! One coordinator, the calling thread, leads `plan.threads` workers through the [`Phase`]s; each
//! worker is a poll loop over its own connections. A connection takes less than 200 bytes and
//! what is in flight: nothing sent is kept, since every stream is a known part of one shared
//! random block.
//!
//! A run on many machines is a [`Plan`] that each of them [splits](Plan::split): connections,
//! rates, messages and source addresses add up, and times of day take the place of a coordinator.
//!
//! Invariants: this module knows nothing of the server or its engine; a message costs one write,
//! one read and one clock call; the failure of a connection is data, never an error;
//! `sent = verified + missing` holds for every run.

mod audit;
mod clock;
mod connection;
mod control;
mod counts;
mod latency;
mod observer;
mod payload;
mod plan;
mod pool;
mod probe;
mod random;
mod results;
mod run;
mod series;
mod source;
mod stream;
mod target;
#[cfg(feature = "_internals")]
pub(crate) mod verification;
mod worker;

pub use self::audit::{Audit, QueueCounts};
pub use self::control::{Phase, Progress};
pub use self::latency::Latency;
pub use self::observer::{Flow, Observer};
pub use self::plan::{Close, Part, Plan};
pub use self::results::{
    ConnectResults, ErrorCounts, Interval, LoadResults, NO_LOCAL_PORT, NO_SOURCE_PORT, Pauses,
    Results, StepResults,
};
pub use self::run::run;
pub use self::source::Source;
pub use self::target::Target;
