//! The end of a connection, and the account of it.

use super::connection::{Connection, State};
use super::dialogue::{Dialogue, End, Finished, Settled, Shared, Speaks};
use super::linger::Linger;
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason, RequestCounts};
use super::status::Status;
use super::stream::Stream;
use crate::protocol::ConnectionId;

/// What the kernel may hold of ours beyond its send buffer, where it cannot be asked.
const UNKNOWN_QUEUE: u64 = 64 << 10;

/// What is known of the bytes of ours that the kernel holds when a connection is closed, and so
/// how it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The peer's kernel has acknowledged everything.
    Acknowledged,
    /// Nothing; the close leaves them to the kernel, or the peer's reset has destroyed them.
    None,
    /// Our reset destroys them.
    Reset,
    /// A time limit of ours destroyed them.
    TimedOut,
    /// The network lost the peer with so many unacknowledged, our FIN included.
    Lost(u32),
}

/// What a close has to settle with.
pub(super) struct Settlement<'a, S: Stream, P: Speaks> {
    pub(super) bytes: &'a mut ByteCounts,
    pub(super) requests: &'a mut Option<RequestCounts>,
    pub(super) shared: &'a mut Shared<P>,
    pub(super) pipes: &'a mut Pipes<S::Pipe>,
    pub(super) kernel: &'a mut S::Kernel,
}

impl<S: Stream, P: Speaks> Connection<S, P> {
    /// Ends it. Returns its account.
    pub(super) fn close(
        &mut self,
        at: u32,
        reason: CloseReason,
        proof: Proof,
        settlement: Settlement<'_, S, P>,
    ) -> Closing {
        let Settlement { bytes, requests, shared, pipes, kernel } = settlement;
        let read = self.ledger.read;
        let ours = match proof {
            Proof::Reset | Proof::TimedOut => true,
            Proof::Lost(_) => false,
            Proof::Acknowledged | Proof::None => {
                !matches!(reason, CloseReason::IoError | CloseReason::ResetByPeer)
            }
        };
        let end = End { reason, is_broken: !ours };
        let (finished, fin) = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(open) => (open.finish(end, pipes, bytes), 0),
            State::Lingering(linger) => {
                let Linger { mut tail, late, reason: first, .. } = linger;
                let mut late = late.get();
                let mut left = 0;
                if reason == CloseReason::ForcedLossy && first == CloseReason::ForcedClean {
                    left = <P::Dialogue<S>>::reject(&mut tail, late, bytes);
                    late = 0;
                }
                (Finished { tail, late, left }, 1)
            }
            State::Closed => return Closing::default(),
        };
        let Finished { tail, late, left } = finished;
        let settled = <P::Dialogue<S>>::settle(&tail, read, late, left);
        let destroyed = match proof {
            Proof::Acknowledged | Proof::None => 0,
            Proof::Reset => self.in_kernel(fin, kernel),
            Proof::TimedOut => self.in_kernel_at_most(),
            Proof::Lost(unacknowledged) => u64::from(unacknowledged.saturating_sub(fin)),
        };
        let destroyed = destroyed.min(settled.written);
        if proof == Proof::Reset || settled.left > 0 {
            // Whoever is at fault: an orderly end would tell the peer that this was all.
            self.stream.reset_on_close();
        }
        let gone = settled.left.saturating_add(destroyed);
        let (unsent, peer_aborted) = if ours { (gone, 0) } else { (0, gone) };
        bytes.unsent = bytes.unsent.saturating_add(unsent);
        bytes.peer_aborted = bytes.peer_aborted.saturating_add(peer_aborted);
        bytes.written = bytes.written.saturating_sub(destroyed);
        let id = ConnectionId::new(at, self.ledger.number);
        <P::Dialogue<S>>::close(tail, id, end, requests, &mut shared.protocol);
        let Settled { served, produced, unserved, incomplete, late, .. } = settled;
        let written = settled.written.saturating_sub(destroyed);
        let bytes = ByteCounts {
            read,
            written,
            late,
            unsent,
            peer_aborted,
            served,
            produced,
            unserved,
            incomplete,
        };
        Closing { bytes, destroyed }
    }

    /// Bytes of ours in the kernel's send queue; our FIN counts as one there.
    fn in_kernel(&mut self, fin: u32, kernel: &mut S::Kernel) -> u64 {
        match self.stream.status(kernel) {
            Status::Alive(transport) => u64::from(transport.unacknowledged.saturating_sub(fin)),
            // What a peer's reset destroyed was handed over.
            Status::Acknowledged | Status::Broken(CloseReason::ResetByPeer) => 0,
            Status::Unknown | Status::Broken(_) => self.in_kernel_at_most(),
        }
    }

    fn in_kernel_at_most(&self) -> u64 {
        (self.stream.send_buffer() as u64).saturating_add(UNKNOWN_QUEUE)
    }
}

/// How one connection ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closing {
    pub(super) bytes: ByteCounts,
    /// Bytes that had been counted as written and were destroyed in the kernel's send queue.
    pub(super) destroyed: u64,
}
