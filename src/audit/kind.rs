//! The kinds of clients.

use std::fmt;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// One connection per request, back to back.
    New,
    /// Keep-alive, back to back.
    Busy,
    /// Keep-alive, a request every think time.
    Idle,
    /// Reads a long answer slowly.
    Slow,
    /// Has sent half a request when the stop comes.
    Half,
    /// Waits in the accept queue when the stop comes.
    Queued,
}

impl Kind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::New, Self::Busy, Self::Idle, Self::Slow, Self::Half, Self::Queued];

    /// Returns the name that flags and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Half => "half",
            Self::Queued => "queued",
        }
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns whether the client keeps its connection for further requests.
    pub(super) fn keeps_alive(self) -> bool {
        matches!(self, Self::Busy | Self::Idle)
    }

    /// Returns whether the client makes one request and no more.
    pub(super) fn is_single(self) -> bool {
        matches!(self, Self::Half | Self::Queued)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
