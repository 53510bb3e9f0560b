//! What is compared.

use std::time::Duration;

use netgrace::load::{Plan, Target};

use super::requests::Requests;
use super::server::Server;
use super::service::Service;

/// Connections of the largest cases.
pub const CROWD: usize = 10_000;
/// Connections opened anew in a second by the churn.
const CHURN: f64 = 4000.0;
/// A server's connections have been silent for so long when it is told to stop.
const QUIET: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The server's CPU time for a message, in microseconds.
    CpuPerMessage,
    /// The server's CPU time for a request of a protocol, in microseconds.
    CpuPerRequest,
    /// The server's CPU time for a MiB echoed, in microseconds.
    CpuPerMib,
    /// The server's CPU time for a connection's whole life, in microseconds.
    CpuPerConnection,
    /// Resident bytes for a connection.
    Memory,
    /// Connections opened in a second.
    Opened,
    /// Milliseconds from SIGTERM to the end of the process.
    Stop,
    /// The median round trip in microseconds.
    RoundTrip,
}

impl Figure {
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuPerMessage => "us CPU/message",
            Self::CpuPerRequest => "us CPU/request",
            Self::CpuPerMib => "us CPU/MiB",
            Self::CpuPerConnection => "us CPU/conn",
            Self::Memory => "bytes/conn",
            Self::Opened => "conns/s",
            Self::Stop => "ms",
            Self::RoundTrip => "us p50",
        }
    }

    pub fn better(self) -> &'static str {
        if self == Self::Opened { "higher" } else { "lower" }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    pub figure: Figure,
    connections: usize,
    size: usize,
    pipeline: usize,
    /// What is served.
    pub service: Service,
    /// How netgrace is started for it, beside what the service needs.
    pub args: &'static [&'static str],
}

const fn case(
    name: &'static str,
    what: &'static str,
    figure: Figure,
    (connections, size, pipeline): (usize, usize, usize),
) -> Case {
    let service = Service::Echo;
    Case { name, what, figure, connections, size, pipeline, service, args: &[] }
}

/// Requests of a protocol: connections, and how many of them are sent in one write.
const fn asking(
    service: Service,
    name: &'static str,
    what: &'static str,
    (connections, pipeline): (usize, usize),
) -> Case {
    Case { service, ..case(name, what, Figure::CpuPerRequest, (connections, 0, pipeline)) }
}

const BUSY: Case = Case {
    args: &["--busy-poll", "1ms"],
    ..case("p50-busy-poll", "1 connection, 64 B, --busy-poll 1ms", Figure::RoundTrip, (1, 64, 1))
};

pub const CASES: [Case; 20] = [
    case("msg-1", "1 connection, 64 B", Figure::CpuPerMessage, (1, 64, 1)),
    case("msg-50", "50 connections, 64 B", Figure::CpuPerMessage, (50, 64, 1)),
    case("msg-1000", "1 000 connections, 64 B", Figure::CpuPerMessage, (1000, 64, 1)),
    case("msg-10000", "10 000 connections, 64 B", Figure::CpuPerMessage, (CROWD, 64, 1)),
    case("msg-50-16k", "50 connections, 16 KiB", Figure::CpuPerMessage, (50, 16 << 10, 1)),
    case("msg-100-16", "100 connections, 64 B, depth 16", Figure::CpuPerMessage, (100, 64, 16)),
    case("stream", "1 connection, 256 KiB, depth 8", Figure::CpuPerMib, (1, 256 << 10, 8)),
    case("stream-8", "8 connections, 256 KiB, depth 8", Figure::CpuPerMib, (8, 256 << 10, 8)),
    case("churn", "connect, echo 64 B, close", Figure::CpuPerConnection, (100, 64, 1)),
    case("memory", "10 000 idle connections", Figure::Memory, (CROWD, 64, 1)),
    case("open", "opening 10 000 connections", Figure::Opened, (CROWD, 64, 1)),
    case("stop", "SIGTERM, 10 000 idle connections", Figure::Stop, (CROWD, 64, 1)),
    case("p50", "1 connection, 64 B", Figure::RoundTrip, (1, 64, 1)),
    BUSY,
    asking(Service::Line, "line-50", "lines of 64 B, 50 connections", (50, 1)),
    asking(Service::Line, "line-1000", "lines of 64 B, 1 000 connections", (1000, 1)),
    asking(Service::Line, "line-50-16", "lines of 64 B, 50 connections, depth 16", (50, 16)),
    asking(Service::Http, "http-50", "GET of 13 B, 50 connections", (50, 1)),
    asking(Service::Http, "http-1000", "GET of 13 B, 1 000 connections", (1000, 1)),
    asking(Service::Http, "http-50-16", "GET of 13 B, 50 connections, depth 16", (50, 16)),
];

/// How large and how long the figures are.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Connections at most.
    pub connections: usize,
    /// The measured time of a figure.
    pub time: Duration,
    /// Instead of the time, where it is messages that are measured: so many of them.
    pub messages: Option<u64>,
}

impl Case {
    pub fn connections(&self, scale: Scale) -> usize {
        self.connections.min(scale.connections)
    }

    /// The load for one figure of a protocol with requests.
    pub fn requests(&self, scale: Scale) -> Requests {
        Requests {
            service: self.service,
            connections: self.connections(scale),
            depth: self.pipeline,
            warmup: scale.time / 5,
            time: scale.time,
            answers: scale.messages,
        }
    }

    /// The load for one figure.
    pub fn plan(&self, server: &Server, scale: Scale) -> Plan {
        let mut plan = Plan::new(vec![Target::from(server.addr)]);
        plan.connections = self.connections(scale);
        plan.size = (self.size, self.size);
        plan.pipeline = self.pipeline;
        plan.duration = scale.time;
        plan.warmup = scale.time / 5;
        plan.connect_inflight = 1000;
        plan.settle = plan.timeout;
        if scale.messages.is_some() {
            (plan.messages, plan.duration) = (scale.messages, plan.timeout);
        }
        match self.figure {
            Figure::CpuPerMessage
            | Figure::CpuPerRequest
            | Figure::CpuPerMib
            | Figure::RoundTrip => {}
            Figure::CpuPerConnection => {
                (plan.churn, plan.rate) = (CHURN, Some(CHURN));
                plan.warmup = Duration::ZERO;
            }
            // One message each, so that all have shown what they keep.
            Figure::Memory | Figure::Opened => {
                plan.messages = Some(plan.connections as u64);
                plan.warmup = Duration::ZERO;
                plan.duration = plan.timeout;
            }
            Figure::Stop => {
                plan.active = Some(0);
                plan.warmup = Duration::ZERO;
                plan.stop_after = Some(QUIET.min(scale.time));
            }
        }
        plan
    }
}
