//! The protocol by which the queues of the listening sockets pass from a process to its successor,
//! without its sockets, processes and clocks.
//!
//! Both hold copies of the sockets and accept. The predecessor owns the queues until the successor
//! has accepted its offer; from then on the successor owns them. Whoever owns them closes its
//! copies last, after having emptied the queues, so nobody who waits in one is reset: a queue is
//! not lost while another process has a copy of the socket.
//!
//! The channel carries, in this order: from the successor, that it serves (ready); from the
//! predecessor, an offer, or else a withdrawal, after which there is no offer; from the successor,
//! after an offer and unless it stops, its acceptance. A process closes its end when its copies
//! are closed. A process that ends, for whatever reason, closes both.

/// Whose the queues are, as a process is to see it when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// They are its own, and nobody else holds copies.
    Sole,
    /// They are its own or will be, or this is not decided; another process holds copies.
    Waits,
    /// They are the other process's.
    None,
}

/// What reaches the predecessor.
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

/// What the predecessor is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GiverAction {
    /// Send the offer.
    Offer,
    /// Send the withdrawal.
    Withdraw,
    /// Stop, unless this process stops already; its copies of the sockets are closed at once.
    LetGo,
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
    /// The successor may take over: whether it does, it decides.
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

    /// Moves on, and returns what is to be done.
    pub(crate) fn on(&mut self, input: GiverInput) -> Option<GiverAction> {
        let (next, action) = match (*self, input) {
            (Self::Starting, GiverInput::Ready) => (Self::Offered, Some(GiverAction::Offer)),
            // It never served, or ended: to be told to end does no harm.
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
            (Self::Offered, GiverInput::Accepted) => (Self::Given, Some(GiverAction::LetGo)),
            // What it has decided cannot be known otherwise.
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

/// What reaches the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TakerInput {
    Offer,
    Withdrawal,
    /// The predecessor has closed its copies of the sockets, or has ended.
    Closed,
    /// This process stops.
    Stop,
}

/// What the successor is to do.
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

    /// Moves on, and returns what is to be done. That this process stops comes before what was
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
