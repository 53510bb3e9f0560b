//! The audit of a stop: what it costs the clients of any HTTP/1, line or echo server.
//!
//! A [`Plan`] says who talks to whom, a [`Subject`] knows how the server is stopped, [`run`] loads
//! the server with clients of several [`Kind`]s, has it stopped under that load, and returns an
//! [`Audit`], in which every request that was unfinished at the stop or started after it is in
//! exactly one [`Class`].
//!
//! All clients are on one event loop in the calling thread. A class is decided in one place, by
//! the evidence that the client's kernel has: whether the server's kernel acknowledged the request
//! when the end of the connection was read. What cannot be told apart is counted where it looks
//! worse for the tool's own claim.
//!
//! Invariants: the failure of a connection is data, never an error; `started` is the sum of the
//! classes, for every kind; the clock stands still while the audit does, and what clients failed
//! to do meanwhile is not counted; the server's process is touched by the [`Subject`] alone.

mod answer;
mod chunked;
mod class;
mod client;
mod clock;
mod connection;
mod course;
mod crew;
mod error;
mod exchange;
mod expected;
mod gap;
mod kernel;
mod kind;
mod learn;
mod plan;
mod request;
mod response;
mod results;
mod run;
mod subject;
mod tally;
mod target;
mod timers;

pub use self::class::Class;
pub use self::error::Error;
pub use self::error::ErrorKind;
pub use self::kind::Kind;
pub use self::plan::CLIENTS_MAX;
pub use self::plan::Plan;
pub use self::results::Audit;
pub use self::results::Counts;
pub use self::results::KindCounts;
pub use self::results::Mark;
pub use self::results::STEP;
pub use self::results::Times;
pub use self::results::Verdict;
pub use self::run::run;
pub use self::subject::Flow;
pub use self::subject::Progress;
pub use self::subject::Stage;
pub use self::subject::Subject;
pub use self::target::Protocol;
pub use self::target::Target;
