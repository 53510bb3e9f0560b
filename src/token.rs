//! The numbers that tell sockets apart in a poll, and what a poll says of one.

use mio::Token;
use mio::event::Event;
use std::ops::BitOr;

use crate::error::{Error, ErrorKind};

/// The tokens that a host lends to a server: `len` consecutive numbers from `first`.
///
/// A server takes one token for each listener and one for each connection, only from this
/// range, and leaves events with any other token alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenRange {
    first: usize,
    len: usize,
}

impl TokenRange {
    /// The tokens `first`, `first + 1`, … `first + len - 1`. A range that goes beyond
    /// `usize::MAX` is refused by `register`.
    #[must_use]
    pub const fn new(first: usize, len: usize) -> Self {
        Self { first, len }
    }

    /// The first token's number.
    #[must_use]
    pub const fn first(self) -> usize {
        self.first
    }

    /// How many tokens there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether there is no token.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether `token` is one of them.
    #[must_use]
    pub const fn contains(self, token: Token) -> bool {
        self.index(token).is_some()
    }

    /// The place of `token` in the range.
    pub(crate) const fn index(self, token: Token) -> Option<usize> {
        match token.0.checked_sub(self.first) {
            Some(index) if index < self.len => Some(index),
            _ => None,
        }
    }

    /// The token at a place in the range.
    pub(crate) fn token(self, index: usize) -> Option<Token> {
        if index < self.len { self.first.checked_add(index).map(Token) } else { None }
    }

    /// Refuses a range whose last number does not exist.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.first.checked_add(self.len.saturating_sub(1)) {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorKind::TokenRange,
                format!("token range {} + {}: goes beyond usize::MAX", self.first, self.len),
            )),
        }
    }
}

/// What a poll said of a socket: hints, each of which may be wrong.
///
/// What is said too much costs a system call. What is left out is lost: a host that makes its own
/// from another source of events passes on closes, errors and urgent data as well as
/// readability, or else [`ALL`](Self::ALL).
///
/// ```
/// use netgrace::Readiness;
///
/// let readiness = Readiness::READABLE | Readiness::CLOSED;
/// assert!(readiness.contains(Readiness::CLOSED));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing: a spurious event.
    pub const NONE: Self = Self(0);
    /// A read may give bytes.
    pub const READABLE: Self = Self(1);
    /// A write may take bytes.
    pub const WRITABLE: Self = Self(2);
    /// The peer closed its side, or both sides are closed.
    pub const CLOSED: Self = Self(4);
    /// The socket has an error.
    pub const ERROR: Self = Self(8);
    /// Urgent data is there.
    pub const PRIORITY: Self = Self(16);
    /// Everything: for a host that cannot tell what was said. Costs at most two system calls that
    /// move nothing.
    pub const ALL: Self = Self(31);

    /// Whether all of `other` is said.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is said.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a read is worth a try.
    pub(crate) const fn may_read(self) -> bool {
        self.intersects(Self(Self::READABLE.0 | Self::CLOSED.0 | Self::ERROR.0 | Self::PRIORITY.0))
    }

    /// Whether a write is worth a try.
    pub(crate) const fn may_write(self) -> bool {
        self.intersects(Self(Self::WRITABLE.0 | Self::CLOSED.0 | Self::ERROR.0))
    }

    /// Whether a read shorter than its buffer may be taken for the last one. Not with a close
    /// or an error, which give no further edge, nor with urgent data, at whose mark a read stops.
    pub(crate) const fn trusts_short_read(self) -> bool {
        !self.intersects(Self(Self::CLOSED.0 | Self::ERROR.0 | Self::PRIORITY.0))
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let mut readiness = Self::NONE;
        let closed = event.is_read_closed() || event.is_write_closed();
        for (said, flag) in [
            (event.is_readable(), Self::READABLE),
            (event.is_writable(), Self::WRITABLE),
            (closed, Self::CLOSED),
            (event.is_error(), Self::ERROR),
            (event.is_priority(), Self::PRIORITY),
        ] {
            if said {
                readiness = readiness | flag;
            }
        }
        readiness
    }
}
