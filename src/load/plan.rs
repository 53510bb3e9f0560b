//! What a run does.

use std::time::Duration;

use super::source::Source;
use super::target::Target;
use crate::error::{Error, ErrorKind};

/// The longest message.
const SIZE_MAX: usize = 64 * 1024 * 1024;

/// How connections are closed at the end of a run, and by churn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Close {
    /// Half-close, then read to the server's end of stream: half-close is tested too.
    #[default]
    Fin,
    /// Reset.
    Rst,
}

/// What a run does; start from [`Plan::new`] and set what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Where to connect to, in turn. At least one.
    pub targets: Vec<Target>,
    /// Connections to hold open, at least 1. Default 100.
    pub connections: usize,
    /// How many of them send; the others stay open, idle and watched. Default: all.
    pub active: Option<usize>,
    /// The measured time. Default 10 s.
    pub duration: Duration,
    /// End the measured part after so many messages. Default: no such end.
    pub messages: Option<u64>,
    /// The shortest and the longest message in bytes, 1 byte to 64 MiB; each length between them
    /// is as likely. Default 512 both.
    pub size: (usize, usize),
    /// Messages per second, all connections together, on a constant schedule from which latency
    /// counts. Default: a closed loop, each answer releases the next message.
    pub rate: Option<f64>,
    /// Messages in flight per connection, at least 1. Default 1.
    pub pipeline: usize,
    /// Connections per second closed and opened anew during the run. Default 0.
    pub churn: f64,
    /// Generator threads, at least 1. Default 1.
    pub threads: usize,
    /// Unfinished connects allowed at a time, at least 1. Default 100.
    pub connect_inflight: usize,
    /// Connects per second at most. Default: no limit.
    pub connect_rate: Option<f64>,
    /// A connect unfinished for so long has failed. Default 5 s.
    pub connect_timeout: Duration,
    /// How often a failed connect is tried again. Default 3.
    pub connect_retries: u8,
    /// Source addresses. Default, empty: the kernel's choice, or a pool of 127.1.0.0/16 where
    /// more than 28 000 connections go to one loopback address.
    pub sources: Vec<Source>,
    /// The first and last source port used with a pool. Default 1024 to 65535.
    pub source_ports: (u16, u16),
    /// Time under load, after all are connected, that is not measured. Default 1 s.
    pub warmup: Duration,
    /// An echo later than this is an error and ends its connection. Default 10 s.
    pub timeout: Duration,
    /// After the end no new message is sent; wait so long for those in flight. Default 2 s.
    pub settle: Duration,
    /// Compare every byte. Default true.
    pub verify: bool,
    /// The seed of payload, sizes and offsets. Default 1.
    pub seed: u64,
    /// How connections are closed. Default [`Close::Fin`].
    pub close: Close,
    /// After so much measured time have the server stopped
    /// ([`Observer::stop_server`](super::Observer::stop_server)) and audit what was lost.
    /// Default: no audit.
    pub stop_after: Option<Duration>,
    /// The audit waits so long for the server to end every connection. Default 10 s.
    pub exit_within: Duration,
    /// So long after the server was told to stop the clients leave by themselves, each when its
    /// last echo is back. Default: they go on until the server ends them.
    pub leave_after: Option<Duration>,
    /// The step of the time series. Default 1 s.
    pub interval: Duration,
    /// Spin so long after the last event before sleeping. Default 0.
    pub busy_poll: Duration,
}

impl Plan {
    /// The default plan for these targets.
    #[must_use]
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            connections: 100,
            active: None,
            duration: Duration::from_secs(10),
            messages: None,
            size: (512, 512),
            rate: None,
            pipeline: 1,
            churn: 0.0,
            threads: 1,
            connect_inflight: 100,
            connect_rate: None,
            connect_timeout: Duration::from_secs(5),
            connect_retries: 3,
            sources: Vec::new(),
            source_ports: (1024, u16::MAX),
            warmup: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            verify: true,
            seed: 1,
            close: Close::Fin,
            stop_after: None,
            exit_within: Duration::from_secs(10),
            leave_after: None,
            interval: Duration::from_secs(1),
            busy_poll: Duration::ZERO,
        }
    }

    /// How many connections send.
    #[must_use]
    pub fn active_connections(&self) -> usize {
        self.active.unwrap_or(self.connections).min(self.connections)
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the field, its value and the range.
    pub fn check(&self) -> Result<(), Error> {
        let positive = |rate: f64| rate.is_finite() && rate > 0.0;
        let (shortest, longest) = self.size;
        let checks = [
            (!self.targets.is_empty(), "targets: none given, at least one is needed".to_owned()),
            (
                (1..=10_000_000).contains(&self.connections),
                format!("connections: {} is not in 1 to 10M", self.connections),
            ),
            (
                shortest >= 1 && shortest <= longest && longest <= SIZE_MAX,
                format!("size: {shortest}..{longest} is not within 1 B to 64 MiB, the lower first"),
            ),
            (
                self.rate.is_none_or(positive),
                "rate: must be more than 0 messages per second".to_owned(),
            ),
            (
                self.connect_rate.is_none_or(positive),
                "connect rate: must be more than 0 per second".to_owned(),
            ),
            (self.churn == 0.0 || positive(self.churn), "churn: must not be negative".to_owned()),
            (
                (1..=100_000).contains(&self.pipeline),
                format!("pipeline: {} is not in 1 to 100k", self.pipeline),
            ),
            (
                (1..=1024).contains(&self.threads),
                format!("threads: {} is not in 1 to 1024", self.threads),
            ),
            (self.connect_inflight >= 1, "connect inflight: must be at least 1".to_owned()),
            (!self.interval.is_zero(), "interval: must be longer than 0".to_owned()),
            (
                self.source_ports.0 >= 1 && self.source_ports.0 <= self.source_ports.1,
                "source ports: must be within 1 to 65535, the lower first".to_owned(),
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(Error::new(ErrorKind::Config, why)),
            None => Ok(()),
        }
    }
}
