//! The protocol by which the queues of the listening sockets pass from a process to its successor,
//! without its sockets, processes and clocks.
//!
//! Both hold copies of the sockets and accept. The predecessor owns the queues until the successor
//! has accepted its offer; from then on the successor owns them. The owner closes its copies last,
//! after having emptied the queues, so that no client in a queue is reset: a queue is not lost
//! while another process has a copy of the socket.
//!
//! The channel carries, in this order: from the successor, that it serves (ready); from the
//! predecessor, an offer, or else a withdrawal, after which there is no offer; from the successor,
//! after an offer and unless it stops, its acceptance. A process closes its end when its copies
//! are closed. A process that ends, for whatever reason, closes both.

/// Which process owns the queues, as seen by one of them when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// This process, and no other process holds copies.
    Sole,
    /// This process, now or later, or it is undecided; another process holds copies.
    Waits,
    /// The other process.
    None,
}

/// An event at the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GiverInput {
    /// The successor serves.
    Ready,
    /// The successor has accepted the offer.
    Accepted,
    /// The successor has closed its end of the channel, or sent something else.
    Closed,
    /// This process stops.
    Stop,
    /// The successor has taken too long.
    Late,
}

/// An action of the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GiverAction {
    /// Send the offer.
    Offer,
    /// Send the withdrawal.
    Withdraw,
    /// Stop, unless this process stops already; its copies of the sockets are closed at once.
    Release,
    /// Send the successor SIGTERM, and SIGKILL if that does not end it.
    Terminate,
    /// Send the successor SIGKILL.
    Kill,
}

/// The predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Giver {
    /// The successor does not serve yet.
    Starting,
    /// The successor is not to take over. If it has served, it closes its copies by itself.
    Withdrawn { has_served: bool },
    /// The successor may take over, and decides whether it does.
    Offered,
    /// It has taken over.
    Given,
    /// It has no copies any more.
    Alone,
}

impl Giver {
    pub(crate) fn claim(self) -> Claim {
        match self {
            Self::Starting | Self::Withdrawn { .. } | Self::Offered => Claim::Waits,
            Self::Given => Claim::None,
            Self::Alone => Claim::Sole,
        }
    }

    /// Handles an event, and returns the action.
    pub(crate) fn on(&mut self, input: GiverInput) -> Option<GiverAction> {
        let (next, action) = match (*self, input) {
            (Self::Starting, GiverInput::Ready) => (Self::Offered, Some(GiverAction::Offer)),
            // It never served, or has ended: SIGTERM does no harm.
            (Self::Starting, GiverInput::Closed) => (Self::Alone, Some(GiverAction::Terminate)),
            (Self::Starting, GiverInput::Stop | GiverInput::Late | GiverInput::Accepted) => {
                (Self::Withdrawn { has_served: false }, Some(GiverAction::Withdraw))
            }
            (Self::Withdrawn { .. }, GiverInput::Ready) => {
                (Self::Withdrawn { has_served: true }, None)
            }
            (state @ Self::Withdrawn { has_served: false }, GiverInput::Late) => {
                (state, Some(GiverAction::Terminate))
            }
            (Self::Offered, GiverInput::Accepted) => (Self::Given, Some(GiverAction::Release)),
            // Only its end of the channel shows what it has decided.
            (Self::Offered, GiverInput::Late) => (Self::Offered, Some(GiverAction::Kill)),
            // A process that has served ends by itself: a signal of ours might be its second.
            (Self::Withdrawn { .. } | Self::Offered | Self::Given, GiverInput::Closed) => {
                (Self::Alone, None)
            }
            (state, _) => (state, None),
        };
        *self = next;
        action
    }
}

/// An event at the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TakerInput {
    Offer,
    Withdrawal,
    /// The predecessor has closed its copies of the sockets, or has ended.
    Closed,
    /// This process stops.
    Stop,
}

/// An action of the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TakerAction {
    /// Send the acceptance.
    Accept,
    /// Stop, unless this process stops already.
    Stop,
}

/// The successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taker {
    /// There is no offer yet.
    Waiting,
    /// It has accepted; the predecessor still holds copies.
    Taken,
    /// It stops instead.
    Declined,
    /// The predecessor has no copies any more.
    Alone,
}

impl Taker {
    pub(crate) fn claim(self) -> Claim {
        match self {
            // Without an offer its stop leaves the queues to the predecessor.
            Self::Waiting | Self::Declined => Claim::None,
            Self::Taken => Claim::Waits,
            Self::Alone => Claim::Sole,
        }
    }

    /// Handles an event, and returns the action. A stop of this process comes before what was
    /// received in the same turn, because its copies may be closed already.
    pub(crate) fn on(&mut self, input: TakerInput) -> Option<TakerAction> {
        let (next, action) = match (*self, input) {
            (Self::Waiting, TakerInput::Offer) => (Self::Taken, Some(TakerAction::Accept)),
            (Self::Waiting, TakerInput::Withdrawal) => (Self::Declined, Some(TakerAction::Stop)),
            (Self::Waiting, TakerInput::Stop) => (Self::Declined, None),
            (_, TakerInput::Closed) => (Self::Alone, None),
            (state, _) => (state, None),
        };
        *self = next;
        action
    }
}

#[cfg(test)]
mod tests;
