//! A client as a state machine.

use super::connection::Connection;
use super::exchange::Exchange;
use super::kind::Kind;

/// What a client is doing.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing any more.
    Ended,
    /// It has no connection and makes one then; `is_wanting`: it was turned away.
    Waiting { until: u64, is_wanting: bool },
    /// It has a request, whose connection is on its way.
    Connecting(Box<Exchange>),
    /// Its request is on its way.
    Asking(Box<Exchange>),
    /// It has a connection without a request; the next one is due then, if at all.
    Resting { connection: Connection, until: Until },
    /// It has its answer and waits a moment for the FIN.
    Leaving { connection: Connection, until: u64 },
}

/// How long a client rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Then it makes its next request.
    Request(u64),
    /// Then it leaves.
    Leave(u64),
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) kind: Kind,
    pub(super) state: State,
    /// It counts as one who wants an answer.
    pub(super) is_wanting: bool,
}

impl State {
    /// Returns the request that is on its way.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::Connecting(exchange) | Self::Asking(exchange) => Some(exchange),
            _ => None,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Returns whether the client waits for an answer, and not because of its own slowness.
    pub(super) fn is_wanting(&self, kind: Kind) -> bool {
        match self {
            Self::Waiting { is_wanting, .. } => *is_wanting,
            Self::Connecting(_) => true,
            Self::Asking(exchange) if kind == Kind::Slow => !exchange.was_begun(),
            Self::Asking(exchange) => exchange.held_until.is_none(),
            Self::Ended | Self::Resting { .. } | Self::Leaving { .. } => false,
        }
    }

    /// Returns when the client has something to do without an event, where `settle` is its
    /// patience.
    pub(super) fn due(&self, settle: u64) -> Option<u64> {
        match self {
            Self::Ended => None,
            Self::Waiting { until, .. } | Self::Leaving { until, .. } => Some(*until),
            Self::Connecting(exchange) => Some(exchange.moved_at.saturating_add(settle)),
            Self::Asking(exchange) => {
                let silent = match exchange.held_until {
                    Some(until) => until,
                    None => exchange.moved_at.saturating_add(settle),
                };
                let others = [exchange.check_at(), exchange.reads_at];
                others.into_iter().flatten().chain([silent]).min()
            }
            Self::Resting { until: Until::Request(at) | Until::Leave(at), .. } => Some(*at),
        }
    }
}
