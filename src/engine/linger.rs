//! What is known of a connection after our FIN.

use super::lists::Place;
use super::report::CloseReason;

/// A connection whose FIN is sent.
#[derive(Debug)]
pub(super) struct Linger<T> {
    /// Bytes read and discarded since then.
    pub(super) late: Count,
    /// Why it will close.
    pub(super) reason: CloseReason,
    pub(super) place: Place,
    /// The peer's end of stream was read.
    pub(super) ended: bool,
    /// Everything of ours was acknowledged, our FIN included.
    pub(super) acknowledged: bool,
    /// How often the kernel was asked about that.
    pub(super) asked: u8,
    /// What the protocol leaves to be remembered.
    pub(super) tail: T,
}

/// A number of 64 bits that asks for no alignment, without which a state would take 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count([u8; 8]);

impl Count {
    pub(super) fn get(self) -> u64 {
        u64::from_ne_bytes(self.0)
    }

    pub(super) fn add(&mut self, more: u64) {
        self.0 = self.get().saturating_add(more).to_ne_bytes();
    }
}
