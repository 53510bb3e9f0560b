//! The network of one life, shared by all that act in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network::Network;

/// The network as the engine's streams, its observer and the host hold it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Network>>);

impl Shared {
    pub(super) fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    /// Whether both are of the same poll.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
