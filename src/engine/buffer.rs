//! The bytes that a connection owes its peer.

/// The rest of a read that the peer could not take at once.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    taken: usize,
}

impl Held {
    /// A copy of `rest`; `None` when there is no memory for it.
    pub(crate) fn copy_of(rest: &[u8]) -> Option<Box<Self>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(rest.len()).ok()?;
        bytes.extend_from_slice(rest);
        Some(Box::new(Self { bytes, taken: 0 }))
    }

    /// What is still owed.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// How many bytes are still owed.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.taken)
    }

    /// The peer took `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_byte_once() {
        let mut held = Held::copy_of(b"netgrace").unwrap();
        let mut seen = Vec::new();
        for step in [3, 0, 1, 4] {
            seen.extend_from_slice(&held.rest()[..step]);
            held.advance(step);
        }
        assert_eq!(seen, b"netgrace");
        assert_eq!((held.len(), held.rest()), (0, &b""[..]));
        held.advance(usize::MAX);
        assert_eq!(held.rest(), b"");
    }
}
