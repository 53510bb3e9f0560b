//! What a run does.

use std::time::{Duration, SystemTime};

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

/// Which part of a larger run a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of this part, from 0 on.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Part {
    /// Returns this part of `whole`; all parts add up to it.
    fn of_whole(self, whole: u64) -> u64 {
        let (index, of) = (to_u64(self.index), to_u64(self.of));
        let each = whole.checked_div(of).unwrap_or(whole);
        let rest = whole.checked_rem(of).unwrap_or(0);
        each.saturating_add(u64::from(index < rest))
    }
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
    /// The first and last source port. Default: 1024 and 65535 where there are source addresses,
    /// else the kernel's choice.
    pub source_ports: Option<(u16, u16)>,
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
    /// As [`stop_after`](Self::stop_after), at this time of day. Default: none.
    pub stop_at: Option<SystemTime>,
    /// Begin measuring at this time of day; connecting begins at once, and what is not connected
    /// by then does not count as established. Default: as soon as all are connected.
    pub start_at: Option<SystemTime>,
    /// Each active connection sends one message in this time, spread evenly: a
    /// [`rate`](Self::rate) that follows from the number of connections. Default: none.
    pub period: Option<Duration>,
    /// Numbers of connections, ascending, the last one being `connections`: each is opened,
    /// loaded for `duration` and has a row of the results. Default, empty: one step.
    pub steps: Vec<usize>,
    /// After so much measured time close all connections and open them anew. Default: never.
    pub reconnect_after: Option<Duration>,
    /// Which part of a larger run this is; see [`split`](Self::split). Default: all of it.
    pub part: Part,
    /// Keep the latencies of every step of the time series, so that several runs can be merged.
    /// Default false.
    pub keep_histograms: bool,
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
            source_ports: None,
            warmup: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            verify: true,
            seed: 1,
            close: Close::Fin,
            stop_after: None,
            exit_within: Duration::from_secs(10),
            leave_after: None,
            stop_at: None,
            start_at: None,
            period: None,
            steps: Vec::new(),
            reconnect_after: None,
            part: Part::default(),
            keep_histograms: false,
            interval: Duration::from_secs(1),
            busy_poll: Duration::ZERO,
        }
    }

    /// How many connections send.
    #[must_use]
    pub fn active_connections(&self) -> usize {
        self.active.unwrap_or(self.connections).min(self.connections)
    }

    /// Whether the run has the server stopped and audits that.
    #[must_use]
    pub fn has_audit(&self) -> bool {
        self.stop_after.is_some() || self.stop_at.is_some()
    }

    /// How many of the first `connections` connections send.
    pub(super) fn active_of(&self, connections: usize) -> usize {
        self.active_connections().min(connections)
    }

    /// Returns the messages per second of so many active connections, if they have a schedule.
    #[must_use]
    pub fn rate_of(&self, active: usize) -> Option<f64> {
        match self.period {
            Some(period) if !period.is_zero() => Some(active as f64 / period.as_secs_f64()),
            _ => self.rate,
        }
    }

    /// Returns the part `index` of `of` parts: its share of the connections, rates, messages and
    /// source addresses, which with those of the other parts add up to the whole.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) where there is not enough for every part.
    pub fn split(mut self, index: usize, of: usize) -> Result<Self, Error> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Config, why));
        if index >= of {
            return refuse(format!("worker: {index} of {of} is not one of 0 to N-1"));
        }
        let part = Part { index, of };
        self.part = part;
        let (all, workers) = (to_u64(of), of);
        let steps = self.steps.iter().copied();
        let fewest = steps.chain([self.connections]).min().unwrap_or(0);
        if fewest < of {
            return refuse(format!("connections: {fewest} are too few for {workers} workers"));
        }
        if self.messages.is_some_and(|messages| messages < all) {
            return refuse(format!("messages: too few for {workers} workers"));
        }
        if self.rate.is_some_and(|rate| rate < of as f64) {
            return refuse(format!("rate: less than one message per second for each of {workers}"));
        }
        let share = |count: usize| usize::try_from(part.of_whole(to_u64(count))).unwrap_or(count);
        self.active = self.active.map(|_| share(self.active_connections()));
        self.connections = share(self.connections);
        self.steps.iter_mut().for_each(|step| *step = share(*step));
        self.messages = self.messages.map(|messages| part.of_whole(messages));
        self.rate = self.rate.map(|rate| share_of_rate(part, rate));
        self.churn = share_of_rate(part, self.churn);
        self.connect_rate = self.connect_rate.map(|rate| share_of_rate(part, rate).max(1.0));
        Ok(self)
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
                self.period.is_none_or(|period| !period.is_zero() && self.rate.is_none()),
                "period: must be longer than 0, and excludes a rate".to_owned(),
            ),
            (
                self.steps.is_sorted_by(|one, next| one < next)
                    && self.steps.last().is_none_or(|last| *last == self.connections)
                    && self.steps.first().is_none_or(|first| *first > 0),
                "ramp: each step must have more connections than the one before".to_owned(),
            ),
            (
                self.steps.is_empty() || (self.messages.is_none() && !self.has_audit()),
                "ramp: excludes a number of messages and an audit".to_owned(),
            ),
            (self.family_mismatch().is_none(), self.family_mismatch().unwrap_or_default()),
            (
                self.source_ports.is_none_or(|(low, high)| (1..=high).contains(&low)),
                "source ports: must be within 1 to 65535, the lower first".to_owned(),
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(Error::new(ErrorKind::Config, why)),
            None => Ok(()),
        }
    }
    /// Says where a source address cannot be used for any target.
    fn family_mismatch(&self) -> Option<String> {
        let addresses = || self.targets.iter().flat_map(Target::tcp_addresses);
        let usable = |source: &Source| addresses().any(|addr| addr.is_ipv6() == source.is_ipv6());
        let any = self.sources.iter().any(usable);
        let mut useless = self.sources.iter().filter(|source| !usable(source));
        let useless = useless.find(|source| !any || !source.is_local())?;
        let family = if useless.is_ipv6() { "IPv6" } else { "IPv4" };
        Some(format!("source: an {family} address, and no target is reached over {family}"))
    }
}

/// A share of a whole number per second; of a fraction, an equal part.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number that is not negative"
)]
fn share_of_rate(part: Part, rate: f64) -> f64 {
    if rate.fract() == 0.0 && rate < 1e15 {
        part.of_whole(rate as u64) as f64
    } else {
        rate / part.of as f64
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_plan_add_up_to_it() {
        let mut plan = Plan::new(Target::parse("127.0.0.1:9").unwrap());
        (plan.connections, plan.active, plan.messages) = (1001, Some(17), Some(1234));
        (plan.rate, plan.churn) = (Some(1000.0), 2.0);
        let parts: Vec<Plan> = (0..7).map(|index| plan.clone().split(index, 7).unwrap()).collect();
        let sum = |of: fn(&Plan) -> f64| parts.iter().map(of).sum::<f64>();
        assert_eq!(sum(|part| part.connections as f64), 1001.0);
        assert_eq!(sum(|part| part.active_connections() as f64), 17.0);
        assert_eq!(sum(|part| part.messages.unwrap() as f64), 1234.0);
        assert_eq!((sum(|part| part.rate.unwrap()), sum(|part| part.churn)), (1000.0, 2.0));
        assert!(plan.clone().split(7, 7).is_err() && plan.split(0, 2000).is_err());
    }

    #[test]
    fn a_source_of_the_wrong_family_is_refused() {
        let mut plan = Plan::new(Target::parse("127.0.0.1:9").unwrap());
        plan.sources = vec!["::1".parse().unwrap()];
        assert!(plan.check().unwrap_err().to_string().contains("over IPv6"));
        plan.sources = vec!["::ffff:127.0.0.1".parse().unwrap()];
        assert!(plan.check().is_ok());
    }
}
