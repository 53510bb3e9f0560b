//! The input of a connection, lent for one call.

/// Everything that a peer sent and its protocol has not consumed yet, in one piece.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    consumed: usize,
    limit: usize,
    overdrawn: bool,
}

impl<'a> Input<'a> {
    /// The most that is ever held: 64 KiB.
    pub const MAX: usize = 64 << 10;

    /// Input of these bytes; for a protocol that wraps another one, and for tests.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self::with_limit(bytes, Self::MAX)
    }

    /// Input that is full with `limit` bytes.
    #[must_use]
    pub const fn with_limit(bytes: &'a [u8], limit: usize) -> Self {
        Self { bytes, consumed: 0, limit, overdrawn: false }
    }

    /// Returns what is not consumed. The slice outlives `consume`.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.get(self.consumed..).unwrap_or_default()
    }

    /// Returns how many bytes are not consumed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.consumed)
    }

    /// Whether everything is consumed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether so much is left over that no more will be added: a request that is still incomplete
    /// is too long to be seen as a whole. Who leaves full input as it is loses the connection.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Gives up the first `count` bytes: they are served, and are not seen again. More than there
    /// are is a fault of the protocol, which costs the connection.
    pub const fn consume(&mut self, count: usize) {
        if count > self.len() {
            self.overdrawn = true;
            self.consumed = self.bytes.len();
        } else {
            self.consumed = self.consumed.saturating_add(count);
        }
    }

    /// Returns how many bytes were consumed since this value was made.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.consumed
    }

    /// Whether more was consumed than there was.
    pub(crate) const fn is_overdrawn(&self) -> bool {
        self.overdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_gone_and_the_rest_stays() {
        let mut input = Input::with_limit(b"abcdef", 6);
        assert!(input.is_full());
        let all = input.bytes();
        input.consume(2);
        assert_eq!((all, input.bytes(), input.len()), (&b"abcdef"[..], &b"cdef"[..], 4));
        assert!(!input.is_full() && !input.is_empty() && !input.is_overdrawn());
        input.consume(4);
        assert!(input.is_empty() && !input.is_overdrawn());
        assert_eq!(input.consumed(), 6);
    }

    #[test]
    fn to_consume_too_much_is_noticed() {
        let mut input = Input::new(b"ab");
        input.consume(usize::MAX);
        assert_eq!((input.consumed(), input.bytes()), (2, &b""[..]));
        assert!(input.is_overdrawn());
    }
}
