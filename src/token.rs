//! The tokens of a server's sockets in a poll, and the readiness that a poll reports for one.

use mio::Token;
use mio::event::Event;
use std::fmt;
use std::ops::{BitOr, BitOrAssign, Range};

/// The tokens that a host lends to a server: consecutive numbers, made from a `Range<usize>`.
///
/// A server takes one token for each listener and one for each connection, only from this
/// range, and leaves events with any other token alone.
///
/// ```
/// use netgrace::TokenRange;
///
/// const SERVER: TokenRange = TokenRange::new(1000..1500);
/// assert_eq!(SERVER.len(), 500);
/// assert_eq!(SERVER, TokenRange::from(1000..1500));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenRange {
    first: usize,
    len: usize,
}

impl TokenRange {
    /// Makes a range from the numbers of its tokens. A range whose end lies before its start is
    /// empty.
    #[must_use]
    pub const fn new(numbers: Range<usize>) -> Self {
        Self { first: numbers.start, len: numbers.end.saturating_sub(numbers.start) }
    }

    /// Returns the number of the first token.
    #[must_use]
    pub const fn first(self) -> usize {
        self.first
    }

    /// Returns the number after that of the last token.
    #[must_use]
    pub const fn end(self) -> usize {
        self.first.saturating_add(self.len)
    }

    /// Returns how many tokens there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Returns whether there is no token.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Returns whether `token` lies in the range.
    #[must_use]
    pub const fn contains(self, token: Token) -> bool {
        self.index(token).is_some()
    }

    /// Returns the index of `token` in the range.
    pub(crate) const fn index(self, token: Token) -> Option<usize> {
        match token.0.checked_sub(self.first) {
            Some(index) if index < self.len => Some(index),
            _ => None,
        }
    }

    /// Returns the token at an index.
    pub(crate) fn token(self, index: usize) -> Option<Token> {
        if index < self.len { self.first.checked_add(index).map(Token) } else { None }
    }
}

impl From<Range<usize>> for TokenRange {
    fn from(numbers: Range<usize>) -> Self {
        Self::new(numbers)
    }
}

impl fmt::Display for TokenRange {
    /// `1000..1500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.end())
    }
}

/// The readiness that a poll reports for a socket: hints, each of which may be wrong.
///
/// A flag too many costs a system call that moves nothing; a flag too few loses an edge. A host
/// that makes a readiness from another source of events therefore passes on hang-ups, errors and
/// urgent data as well as readability, or else [`ALL`](Self::ALL).
///
/// ```
/// use netgrace::Readiness;
///
/// let mut readiness = Readiness::READABLE;
/// readiness |= Readiness::CLOSED;
/// assert!(readiness.contains(Readiness::CLOSED));
/// assert_eq!(format!("{readiness:?}"), "Readiness(READABLE | CLOSED)");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// No flag: a spurious event.
    pub const NONE: Self = Self(0);
    /// A read may return bytes.
    pub const READABLE: Self = Self(1);
    /// A write may take bytes.
    pub const WRITABLE: Self = Self(2);
    /// The peer closed its side, or both sides are closed.
    pub const CLOSED: Self = Self(4);
    /// The socket has an error.
    pub const ERROR: Self = Self(8);
    /// Urgent data is there.
    pub const PRIORITY: Self = Self(16);
    /// Every flag, for a host that does not know which were reported. Costs at most two system
    /// calls that move nothing.
    pub const ALL: Self = Self(31);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::READABLE, "READABLE"),
        (Self::WRITABLE, "WRITABLE"),
        (Self::CLOSED, "CLOSED"),
        (Self::ERROR, "ERROR"),
        (Self::PRIORITY, "PRIORITY"),
    ];

    /// Returns whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether any flag of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether a read is worth a try.
    pub(crate) const fn may_read(self) -> bool {
        self.intersects(Self(Self::READABLE.0 | Self::CLOSED.0 | Self::ERROR.0 | Self::PRIORITY.0))
    }

    /// Returns whether a write is worth a try.
    pub(crate) const fn may_write(self) -> bool {
        self.intersects(Self(Self::WRITABLE.0 | Self::CLOSED.0 | Self::ERROR.0))
    }

    /// Returns whether a read shorter than its buffer may be taken for the last one. Not with a
    /// close or an error, which raise no further edge, nor with urgent data, at whose mark a read
    /// stops.
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

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Readiness {
    /// The names of the flags: `Readiness(READABLE | CLOSED)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness(")?;
        let mut names = Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        f.write_str(names.next().map_or("NONE", |(_, name)| name))?;
        names.try_for_each(|(_, name)| write!(f, " | {name}"))?;
        f.write_str(")")
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let mut readiness = Self::NONE;
        let closed = event.is_read_closed() || event.is_write_closed();
        for (reported, flag) in [
            (event.is_readable(), Self::READABLE),
            (event.is_writable(), Self::WRITABLE),
            (closed, Self::CLOSED),
            (event.is_error(), Self::ERROR),
            (event.is_priority(), Self::PRIORITY),
        ] {
            if reported {
                readiness |= flag;
            }
        }
        readiness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversed_range_is_empty_and_the_last_number_of_a_range_is_its_own() {
        let (start, end) = (9, 7);
        assert!(TokenRange::new(start..end).is_empty());
        let range = TokenRange::new(usize::MAX - 2..usize::MAX);
        assert_eq!(range.token(1), Some(Token(usize::MAX - 1)));
        assert_eq!(range.token(2), None);
        assert!(!range.contains(Token(usize::MAX)));
        assert_eq!(TokenRange::new(3..5).to_string(), "3..5");
    }

    #[test]
    fn readiness_is_printed_by_the_names_of_its_flags() {
        assert_eq!(format!("{:?}", Readiness::NONE), "Readiness(NONE)");
        let all = "Readiness(READABLE | WRITABLE | CLOSED | ERROR | PRIORITY)";
        assert_eq!(format!("{:?}", Readiness::ALL), all);
    }
}
