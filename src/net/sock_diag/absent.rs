//! The stand-in for builds and systems in which the kernel cannot be asked.

use std::net::SocketAddr;

use crate::accept::pair::{Dumped, Pair, Sought, Standing};
use crate::engine::status::Transport;

/// A kernel that cannot be asked.
#[derive(Debug, Default)]
pub(crate) struct Kernel(());

#[expect(clippy::unused_self, reason = "the same face as where the kernel can be asked")]
impl Kernel {
    /// Returns that nothing is known.
    pub(crate) fn ask(&mut self, _: SocketAddr, _: SocketAddr) -> Option<Option<Transport>> {
        None
    }

    pub(crate) fn ask_ahead(&mut self, _: impl Iterator<Item = (SocketAddr, SocketAddr)>) {}

    pub(crate) fn ask_pairs(&mut self, pairs: &mut [Pair]) {
        pairs.iter_mut().for_each(|pair| pair.standing = Standing::Unknown);
    }

    pub(crate) fn dump(&mut self, _: Sought, _: bool, _: SocketAddr, _: &mut Vec<Pair>) -> Dumped {
        Dumped::Unknown
    }

    pub(crate) fn count_listeners(&mut self, _: SocketAddr) -> Option<usize> {
        None
    }
}
