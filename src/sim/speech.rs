//! What the servers of the lives speak.

use super::random::Random;
use crate::protocol::adversary::Manners;

/// A protocol other than the engine's own echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Discard,
    /// The echo as a protocol.
    Repeat,
    /// Times are in microseconds.
    Line {
        delay: u64,
    },
    Http {
        delay: u64,
    },
    /// It decides by dice.
    Adversary(Manners),
    /// The host answers, later; one request at a time or several.
    Worker {
        waits: bool,
    },
}

/// The name of each, for the environment and for what the lives have in them.
pub(super) const NAMES: [&str; 9] = [
    "discard",
    "repeat",
    "line",
    "line-delay",
    "http",
    "http-delay",
    "adversary",
    "lawless",
    "worker",
];

impl Speech {
    /// What the life of a seed speaks; `None` is the echo, which keeps three seeds of five.
    pub(super) fn of(seed: u64, only: Option<&str>) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x1d0c_5eed);
        let name = match only {
            Some("echo") => return None,
            Some(name) => name,
            None if matches!(seed % 5, 1 | 3 | 4) => return None,
            None => match random.below(20) {
                0 => "discard",
                1 => "repeat",
                2..5 => "line",
                5..7 => "line-delay",
                7..10 => "http",
                10..12 => "http-delay",
                12..15 => "adversary",
                15..17 => "lawless",
                _ => "worker",
            },
        };
        let delay = 1_000 * random.pick(&[1, 5, 20, 300]);
        Some(match name {
            "discard" => Self::Discard,
            "repeat" => Self::Repeat,
            "line" => Self::Line { delay: 0 },
            "line-delay" => Self::Line { delay },
            "http" if cfg!(feature = "http") => Self::Http { delay: 0 },
            "http-delay" if cfg!(feature = "http") => Self::Http { delay },
            "http" | "http-delay" => Self::Line { delay: 0 },
            "adversary" => Self::Adversary(Manners::Lawful),
            "lawless" => Self::Adversary(Manners::Lawless),
            "worker" => Self::Worker { waits: random.one_in(2) },
            other => panic!("no protocol of the simulation: {other}"),
        })
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[match self {
            Self::Discard => 0,
            Self::Repeat => 1,
            Self::Line { delay: 0 } => 2,
            Self::Line { .. } => 3,
            Self::Http { delay: 0 } => 4,
            Self::Http { .. } => 5,
            Self::Adversary(Manners::Lawful) => 6,
            Self::Adversary(Manners::Lawless) => 7,
            Self::Worker { .. } => 8,
        }]
    }
}
