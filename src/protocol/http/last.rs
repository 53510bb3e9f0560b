//! The head that came last, so that the same one need not be parsed again.

use std::fmt;

use super::head::Head;

/// A longer head is parsed each time.
const LENGTH_MAX: usize = 512;

/// The last head of all connections, and what it asks for.
///
/// Load tools, health checks and proxies send the same head again and again. What a head asks for
/// depends on its bytes alone, and no head is the beginning of another one.
#[derive(Clone)]
pub(super) struct LastHead {
    /// At most [`LENGTH_MAX`].
    bytes: Vec<u8>,
    /// `None` until the first head.
    head: Option<Head>,
}

impl LastHead {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), head: None }
    }

    /// Returns the length and the meaning of the head with which `input` begins, if it is the last
    /// one.
    pub(super) fn recall(&self, input: &[u8]) -> Option<(usize, Head)> {
        let head = self.head?;
        input.starts_with(&self.bytes).then_some((self.bytes.len(), head))
    }

    /// Keeps a head; one that is too long changes nothing.
    pub(super) fn keep(&mut self, bytes: &[u8], head: Head) {
        if bytes.len() <= LENGTH_MAX {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.head = Some(head);
        }
    }
}

impl fmt::Debug for LastHead {
    /// Without the bytes, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastHead").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}
