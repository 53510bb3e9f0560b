//! The connections: a slab, the lists through it, and the one function that closes.

mod ahead;
#[cfg(test)]
mod audit;

use log::debug;
use slab::Slab;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::closing::{Proof, Settlement};
use super::connection::Connection;
use super::deadline::Tick;
use super::dialogue::{Begin, Dialogue, IoContext, IoLimits, Shared, Speaks};
use super::list::{Link, List, Nodes};
use super::lists::{Life, Lists, Place};
use super::observer::{Closed, ConnectionId, Observer};
use super::phase::Phase;
use super::pipe::Pipes;
use super::quota::Quota;
use super::report::{CloseReason, Report};
use super::status::Status;
use super::stream::Stream;
use crate::protocol::{self, Context, Echo};

/// A list of slots that wait for work; most are on none.
#[derive(Debug)]
pub(crate) struct Waiting;

pub(crate) struct Slot<S: Stream, P: Speaks = Echo> {
    pub(crate) connection: Connection<S, P>,
    life: Link,
    waiting: Link,
}

impl<S: Stream, P: Speaks> Nodes<Life> for Slab<Slot<S, P>> {
    fn link(&mut self, at: u32) -> Option<&mut Link> {
        self.get_mut(at as usize).map(|slot| &mut slot.life)
    }
}

impl<S: Stream, P: Speaks> Nodes<Waiting> for Slab<Slot<S, P>> {
    fn link(&mut self, at: u32) -> Option<&mut Link> {
        self.get_mut(at as usize).map(|slot| &mut slot.waiting)
    }
}

/// Slots reserved at once; a larger table grows when it gets there.
const RESERVED: usize = 1 << 20;

/// Pipes of a table at most: each takes two descriptors, and up to 1 MiB of the kernel's.
const PIPES: usize = 64;
/// A small table leaves its descriptors to connections.
const CONNECTIONS_PER_PIPE: usize = 16;

/// A connection, with what it needs to read and write.
pub(super) type Driven<'a, S, P> =
    (&'a mut Connection<S, P>, IoContext<'a, <S as Stream>::Pipe, P>);

/// All connections of a server, and the account of them.
pub(crate) struct Table<S: Stream, P: Speaks = Echo> {
    slots: Slab<Slot<S, P>>,
    capacity: usize,
    lists: Lists,
    /// To be pumped without an event.
    ready: List<Waiting>,
    /// To be pumped once less is held.
    paused: List<Waiting>,
    pipes: Pipes<S::Pipe>,
    /// Asks about connections, for the whole of a stop.
    pub(crate) kernel: S::Kernel,
    /// Connections to be looked at next that the kernel was asked about already.
    ahead: u32,
    pub(crate) quota: Quota,
    pub(crate) report: Report,
    pub(crate) shared: Shared<P>,
    pub(crate) observer: Option<Box<dyn Observer + Send>>,
}

impl<S: Stream, P: Speaks> Table<S, P> {
    pub(crate) fn new(protocol: P, quota: Quota) -> Self {
        let report =
            Report { protocol: protocol.name(), requests: P::requests(), ..Report::default() };
        Self {
            slots: Slab::new(),
            capacity: 0,
            lists: Lists::default(),
            ready: List::default(),
            paused: List::default(),
            pipes: Pipes::new(),
            kernel: S::Kernel::default(),
            ahead: 0,
            quota,
            report,
            shared: Shared::new(protocol),
            observer: None,
        }
    }

    /// Sets how many connections there may be, and reserves their slots. None that is taken may
    /// lie beyond them.
    pub(crate) fn reserve(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.pipes.limit(capacity.checked_div(CONNECTIONS_PER_PIPE).unwrap_or(0).min(PIPES));
        if self.slots.is_empty() {
            self.slots = Slab::with_capacity(capacity.min(RESERVED));
        } else {
            // Forgets vacant slots at the end, which the new capacity may not cover.
            self.slots.shrink_to_fit();
        }
    }

    /// Connections that have a slot.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot that the next [`insert`](Self::insert) will give, unless the table is full.
    pub(crate) fn vacant(&self) -> Option<u32> {
        let full = self.slots.len() >= self.capacity;
        if full { None } else { u32::try_from(self.slots.vacant_key()).ok() }
    }

    /// One more than the highest slot that is taken.
    pub(crate) fn slots(&self) -> usize {
        self.slots.iter().next_back().map_or(0, |(at, _)| at.saturating_add(1))
    }

    /// Calls `act` for each slot's stream until it fails.
    pub(crate) fn for_each_stream(
        &mut self,
        mut act: impl FnMut(usize, &mut S) -> io::Result<()>,
    ) -> io::Result<()> {
        self.slots.iter_mut().try_for_each(|(at, slot)| act(at, slot.connection.stream_mut()))
    }

    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Connection<S, P>> {
        self.slots.get(at as usize).map(|slot| &slot.connection)
    }

    /// Returns the slot of a connection, unless its slot has another one by now.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<u32> {
        let connection = self.get(id.slot())?;
        (connection.number() == low_half(id.number())).then_some(id.slot())
    }

    /// Returns the slot of a connection as its protocol knows it.
    pub(crate) fn find_spoken(&self, id: protocol::ConnectionId) -> Option<u32> {
        let connection = self.get(id.slot())?;
        (connection.number() == id.generation()).then_some(id.slot())
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Connection<S, P>> {
        self.slots.get_mut(at as usize).map(|slot| &mut slot.connection)
    }

    /// The connection in a slot, and what asks the kernel about it.
    pub(super) fn ask(&mut self, at: u32) -> Option<(&mut Connection<S, P>, &mut S::Kernel)> {
        let slot = self.slots.get_mut(at as usize)?;
        Some((&mut slot.connection, &mut self.kernel))
    }

    /// What the kernel says of the connection in a slot.
    pub(super) fn status(&mut self, at: u32) -> Status {
        self.ask(at)
            .map_or(Status::Unknown, |(connection, kernel)| connection.stream_mut().status(kernel))
    }

    /// The connection in a slot, with what it needs to read and write within bounds.
    pub(super) fn io<'a>(
        &'a mut self,
        at: u32,
        buffer: &'a mut [u8],
        limits: IoLimits,
        mark: Tick,
    ) -> Option<Driven<'a, S, P>> {
        let connection = self.slots.get_mut(at as usize).map(|slot| &mut slot.connection)?;
        let IoLimits { budget, room, segment } = limits;
        let Report { bytes, requests, .. } = &mut self.report;
        let (pipes, shared) = (&mut self.pipes, &mut self.shared);
        let io = IoContext { buffer, pipes, budget, room, segment, mark, bytes, requests, shared };
        Some((connection, io))
    }

    /// Takes a new connection in. Returns its number, from 1 upward.
    pub(crate) fn insert(
        &mut self,
        stream: S,
        peer: Option<SocketAddr>,
        owner: u32,
        active: Tick,
        place: Place,
        (phase, now): (Phase, Instant),
    ) -> Option<u64> {
        let at = self.vacant()?;
        let counts = &mut self.report.connections;
        counts.accepted = counts.accepted.saturating_add(1);
        let number = counts.accepted;
        let near = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let id = protocol::ConnectionId::new(at, low_half(number));
        let context = Context::new(id, phase, now);
        let dialogue = Dialogue::new(Begin { peer, place, near }, &mut self.shared, context);
        let connection = Connection::new(stream, low_half(number), owner, active, dialogue);
        self.slots.insert(Slot { connection, life: Link::default(), waiting: Link::default() });
        self.lists.insert(&mut self.slots, place, at);
        if let Some(observer) = &mut self.observer {
            observer.on_open(ConnectionId::new(number, at), peer);
        }
        Some(number)
    }

    /// Makes every aging connection an unvisited one.
    pub(crate) fn unvisit_all(&mut self) {
        self.lists.unvisit_all();
    }

    /// A connection on the timer wheel that is due; whoever asks has to move it elsewhere.
    pub(crate) fn due(&mut self, now: Tick) -> Option<u32> {
        self.lists.due(now)
    }

    /// Has a connection looked at when it is `due`, or somewhat earlier.
    pub(crate) fn put_timed(&mut self, at: u32, due: Tick, now: Tick) {
        let place = self.lists.timed(due, now);
        self.put(at, place);
    }

    /// Moves a connection that is not closed to the end of a list.
    pub(crate) fn put(&mut self, at: u32, to: Place) {
        let Some(connection) = self.get_mut(at) else { return };
        let from = connection.place();
        connection.set_place(to);
        self.follow(at, from);
    }

    /// Takes a connection whose place was `from` to the end of the list of its present place.
    pub(crate) fn follow(&mut self, at: u32, from: Place) {
        let Some(connection) = self.get(at) else { return };
        let to = connection.place();
        self.lists.remove(&mut self.slots, from, at);
        self.lists.insert(&mut self.slots, to, at);
    }

    /// The one way to close a connection: accounts for it and marks its slot for the end of the
    /// turn. `judged`: it is one of the stop, whose peer should have everything.
    pub(super) fn close(&mut self, at: u32, reason: CloseReason, proof: Proof, judged: bool) {
        let Some(from) = self.get(at).map(Connection::place) else { return };
        if from == Place::CLOSED {
            return;
        }
        self.unwait(at);
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        let connection = &mut slot.connection;
        let report = &mut self.report;
        let aborted = |report: &Report| report.requests.map_or(0, |requests| requests.aborted);
        let aborted_before = aborted(report);
        let settlement = Settlement {
            bytes: &mut report.bytes,
            requests: &mut report.requests,
            shared: &mut self.shared,
            pipes: &mut self.pipes,
            kernel: &mut self.kernel,
        };
        let closing = connection.close(at, reason, proof, settlement);
        report.destroyed = report.destroyed.saturating_add(closing.destroyed);
        let number = widen_number(connection.number(), report.connections.accepted);
        self.quota.release(connection.owner());
        report.connections.on_closed(reason);
        if judged {
            let aborted = aborted(report).saturating_sub(aborted_before);
            report.judge(proof == Proof::Acknowledged, &closing.bytes, aborted);
        }
        self.follow(at, from);
        debug!("closed #{number}: {reason}, {} bytes written", closing.bytes.written);
        if let Some(observer) = &mut self.observer {
            let connection = ConnectionId::new(number, at);
            observer.on_close(Closed { connection, reason, bytes: closing.bytes });
        }
    }

    /// Has a slot pumped in a turn to come, without an event. Ends a pause: an event got through.
    pub(crate) fn make_ready(&mut self, at: u32) {
        if self.get(at).is_some_and(Connection::is_paused) {
            self.unwait(at);
        }
        self.ready.push_back(&mut self.slots, at);
    }

    /// Has an open connection pumped once less is held.
    pub(crate) fn pause(&mut self, at: u32) {
        if self.paused.push_back(&mut self.slots, at)
            && let Some(connection) = self.get_mut(at)
        {
            connection.set_paused(true);
        }
    }

    /// Makes the longest pause end. Returns whose it was, if there was one.
    pub(crate) fn resume(&mut self, mark: Tick) -> Option<u32> {
        let at = self.paused.front()?;
        if let Some(connection) = self.get_mut(at) {
            connection.touch(mark);
        }
        if self.get(at).map(Connection::place) == Some(self.lists.aging()) {
            // It has the youngest byte now.
            self.put(at, self.lists.aging());
        }
        self.unwait(at);
        self.make_ready(at);
        Some(at)
    }

    /// Takes a slot off the list of those that wait for work, to be done before its connection
    /// ceases to be open.
    pub(crate) fn unwait(&mut self, at: u32) {
        let Some(connection) = self.get_mut(at) else { return };
        if connection.is_paused() {
            connection.set_paused(false);
            self.paused.remove(&mut self.slots, at);
        } else {
            self.ready.remove(&mut self.slots, at);
        }
    }

    pub(crate) fn ready_len(&self) -> u32 {
        self.ready.len()
    }

    pub(crate) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    pub(crate) fn pop_ready(&mut self) -> Option<u32> {
        self.ready.pop_front(&mut self.slots)
    }

    /// Frees the slots that were closed in this turn, and with them the streams. Returns how
    /// many.
    pub(crate) fn reap(&mut self) -> usize {
        let mut freed: usize = 0;
        while let Some(at) = self.lists.front(Place::CLOSED) {
            self.lists.remove(&mut self.slots, Place::CLOSED, at);
            drop(self.slots.try_remove(at as usize));
            freed = freed.saturating_add(1);
        }
        freed
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

/// The number of which `low` is the low half: the largest one up to `newest`.
fn widen_number(low: u32, newest: u64) -> u64 {
    newest.saturating_sub(u64::from(low_half(newest).wrapping_sub(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_by_its_low_half() {
        let newest = (7 << 32) + 5;
        assert_eq!(widen_number(5, newest), newest);
        assert_eq!(widen_number(1, newest), newest - 4);
        assert_eq!(widen_number(u32::MAX, newest), (7 << 32) - 1);
    }

    #[test]
    fn slots_are_reserved_once() {
        use crate::engine::quota::Quota;
        use crate::net::socket::Socket;
        let mut table = Table::<Socket>::new(Echo, Quota::new(None));
        table.reserve(1000);
        assert!((1000..2000).contains(&table.slots.capacity()), "{}", table.slots.capacity());
    }

    /// In debug builds mio's sockets carry what it checks its callers by.
    #[test]
    #[cfg(all(not(debug_assertions), target_pointer_width = "64"))]
    fn a_slot_takes_56_bytes() {
        use crate::net::socket::Socket;
        assert_eq!((size_of::<Connection<Socket>>(), size_of::<Slot<Socket>>()), (40, 56));
        // The slab marks vacancy within the slot.
        assert_eq!(size_of::<Option<Slot<Socket>>>(), 56);
    }
}
