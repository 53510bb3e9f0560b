//! The head that came last, so that the same one need not be parsed again.

use std::fmt;

use super::head::Head;

/// A longer head is parsed each time.
const LENGTH_MAX: usize = 512;

/// The last head of all connections, and what it asks for.
///
/// Load tools, health checks and proxies send the same head again and again. What a head asks for
/// depends on its bytes alone, and no head is the beginning of another one.
#[derive(Clone, Copy)]
pub(super) struct LastHead {
    bytes: [u8; LENGTH_MAX],
    length: usize,
    /// `None` until the first head.
    head: Option<Head>,
}

impl LastHead {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LENGTH_MAX], length: 0, head: None }
    }

    /// Returns the length and the meaning of the head with which `input` begins, if it is the last
    /// one.
    pub(super) fn recall(&self, input: &[u8]) -> Option<(usize, Head)> {
        let head = self.head?;
        input.starts_with(self.bytes.get(..self.length)?).then_some((self.length, head))
    }

    /// Keeps a head; one that is too long changes nothing.
    pub(super) fn keep(&mut self, bytes: &[u8], head: Head) {
        if let Some(place) = self.bytes.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            (self.length, self.head) = (bytes.len(), Some(head));
        }
    }
}

impl fmt::Debug for LastHead {
    /// Without the bytes, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastHead").field("length", &self.length).finish_non_exhaustive()
    }
}
