//! The bytes that a connection owes its peer: a copy, or in a pipe.

use super::call::{Fault, drain, write};
use super::stream::Stream;

/// What a connection holds between a read and the write that the peer could not take at once.
#[derive(Debug)]
pub(crate) enum Held<P> {
    /// A copy of the rest of a read.
    Bytes { bytes: Vec<u8>, taken: usize },
    /// The connection streams: bytes pass through a pipe, `len` of them are in it.
    Piped { pipe: P, len: usize },
}

impl<P> Held<P> {
    /// A copy of `rest`; `None` when there is no memory for it.
    pub(crate) fn copy_of(rest: &[u8]) -> Option<Box<Self>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(rest.len()).ok()?;
        bytes.extend_from_slice(rest);
        Some(Box::new(Self::Bytes { bytes, taken: 0 }))
    }

    /// How many bytes are owed.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, taken } => bytes.len().saturating_sub(*taken),
            Self::Piped { len, .. } => *len,
        }
    }

    /// Gives the peer what it takes of what is owed. Returns how much.
    pub(crate) fn write_to<S: Stream<Pipe = P>>(&mut self, stream: &mut S) -> Result<usize, Fault> {
        match self {
            Self::Bytes { bytes, taken } => {
                let count = write(stream, bytes.get(*taken..).unwrap_or_default())?;
                *taken = taken.saturating_add(count);
                Ok(count)
            }
            Self::Piped { pipe, len } => {
                let count = drain(stream, pipe, *len)?;
                *len = len.saturating_sub(count);
                Ok(count)
            }
        }
    }
}
