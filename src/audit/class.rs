//! What can become of a request, and the one function that decides it.

use std::fmt;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// A whole, correct answer.
    Answered,
    /// A whole 429 or 503.
    Declined,
    /// The connection was refused.
    Refused,
    /// No answer to the SYN.
    Unreachable,
    /// A reused connection ended before a byte of the answer, and it is not shown that the server
    /// had the whole request.
    Raced,
    /// The same, but the request was acknowledged when the end arrived.
    Swallowed,
    /// The first request of a connection: never answered a byte, reset or closed.
    ResetUnanswered,
    /// Part of an answer, then FIN.
    Truncated,
    /// Part of an answer, then a reset.
    Cut,
    /// An answer that is not the right one.
    Wrong,
    /// No byte for the settle time.
    Hung,
}

impl Class {
    /// All classes, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Answered,
        Self::Declined,
        Self::Refused,
        Self::Unreachable,
        Self::Raced,
        Self::Swallowed,
        Self::ResetUnanswered,
        Self::Truncated,
        Self::Cut,
        Self::Wrong,
        Self::Hung,
    ];

    /// Returns the name that flags and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Raced => "raced",
            Self::Swallowed => "swallowed",
            Self::ResetUnanswered => "reset_unanswered",
            Self::Truncated => "truncated",
            Self::Cut => "cut",
            Self::Wrong => "wrong",
            Self::Hung => "hung",
        }
    }

    /// Returns the class of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Returns whether a request of this class was lost by the server's fault.
    #[must_use]
    pub fn is_lost(self) -> bool {
        matches!(
            self,
            Self::Swallowed
                | Self::ResetUnanswered
                | Self::Truncated
                | Self::Cut
                | Self::Wrong
                | Self::Hung
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a request ended, as the client's kernel reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A whole, correct answer.
    Right,
    /// A whole answer that asks to come back later.
    Declined,
    /// A whole answer that is not the right one, or bytes that are no answer.
    Wrong,
    /// FIN before the end of the answer.
    Fin,
    /// Reset before the end of the answer.
    Reset,
    /// The connect was refused.
    Refused,
    /// Nobody answered the SYN.
    Unreachable,
    /// No byte within the patience of the audit.
    Silent,
}

/// All that is known of a request when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) ending: Ending,
    /// The connection carried no request before.
    pub(super) is_first: bool,
    /// A byte of the answer arrived.
    pub(super) was_begun: bool,
    /// The kernel says that the server's kernel has the whole request.
    pub(super) is_acknowledged: bool,
    /// The server's FIN had arrived when the request was written.
    pub(super) was_closed_before: bool,
}

impl Evidence {
    /// Returns what is known of a request whose connect failed like this.
    pub(super) fn of_connect(ending: Ending) -> Self {
        Self {
            ending,
            is_first: true,
            was_begun: false,
            is_acknowledged: false,
            was_closed_before: false,
        }
    }

    /// Decides the class.
    pub(super) fn class(self) -> Class {
        match self.ending {
            Ending::Right => Class::Answered,
            Ending::Declined => Class::Declined,
            Ending::Wrong => Class::Wrong,
            Ending::Refused => Class::Refused,
            Ending::Unreachable => Class::Unreachable,
            Ending::Silent => Class::Hung,
            Ending::Fin if self.was_begun => Class::Truncated,
            Ending::Reset if self.was_begun => Class::Cut,
            Ending::Fin | Ending::Reset if self.is_first => Class::ResetUnanswered,
            Ending::Fin | Ending::Reset => {
                let has_it = self.is_acknowledged && !self.was_closed_before;
                if has_it { Class::Swallowed } else { Class::Raced }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REUSED: Evidence = Evidence {
        ending: Ending::Fin,
        is_first: false,
        was_begun: false,
        is_acknowledged: false,
        was_closed_before: false,
    };

    #[test]
    fn swallowed_needs_a_proof() {
        assert_eq!(REUSED.class(), Class::Raced);
        let acknowledged = Evidence { is_acknowledged: true, ..REUSED };
        assert_eq!(acknowledged.class(), Class::Swallowed);
        assert_eq!(Evidence { ending: Ending::Reset, ..acknowledged }.class(), Class::Swallowed);
        // Sent after the server had closed: its kernel has it, the server never saw it.
        assert_eq!(Evidence { was_closed_before: true, ..acknowledged }.class(), Class::Raced);
    }

    #[test]
    fn a_first_request_is_never_a_race() {
        for ending in [Ending::Fin, Ending::Reset] {
            let first = Evidence { ending, is_first: true, ..REUSED };
            assert_eq!(first.class(), Class::ResetUnanswered);
            assert_eq!(Evidence { is_acknowledged: true, ..first }.class(), Class::ResetUnanswered);
        }
    }

    #[test]
    fn half_an_answer_says_how_it_ended() {
        for is_first in [true, false] {
            let begun = Evidence { was_begun: true, is_first, ..REUSED };
            assert_eq!(begun.class(), Class::Truncated);
            assert_eq!(Evidence { ending: Ending::Reset, ..begun }.class(), Class::Cut);
            assert_eq!(Evidence { ending: Ending::Silent, ..begun }.class(), Class::Hung);
        }
    }

    #[test]
    fn names_are_unique_and_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::named(class.name()), Some(class));
        }
        assert_eq!(Class::ALL.into_iter().filter(|class| class.is_lost()).count(), 6);
    }
}
