//! The end of the listeners: gate, wait for half-open handshakes, sweep, close.

use log::{debug, info, warn};
use std::time::{Duration, Instant};

use super::closing::Closing;
use super::{Acceptor, BatchEnd, Turn};
use crate::accept::handshake::Wait;
use crate::accept::pair::Visibility;
use crate::accept::queue::{AcceptQueue, Accepted, Listen, Ownership};
use crate::engine::Engine;
use crate::engine::deadline::{after, earlier};
use crate::engine::dialogue::Speaks;
use crate::engine::phase::Phase;
use crate::engine::report::HalfOpen;

/// Clients that a sweep takes at most: more than any queue holds.
const SWEEP: u32 = 1 << 20;

/// How often accept is called on a queue whose ownership is undecided.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(5);

impl<Q: Listen> Acceptor<Q> {
    /// Closes the listeners: deregisters them, shuts the gate, accepts until no half-open handshake
    /// is left, and closes them; another call goes on with what is not done yet. Under force the
    /// clients in the queue are counted and closed. Without tokens the listeners are not
    /// registered, and only force may close them.
    pub(crate) fn close<P: Speaks>(
        &mut self,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) {
        if self.closing.is_none() {
            self.begin_close(engine, turn);
        }
        let hurry = engine.phase() >= Phase::Forcing;
        let due = self.closing.as_mut().and_then(|closing| closing.undecided.take());
        let undecided_due = due.filter(|due| *due > turn.now);
        for index in 0..self.listeners.len() {
            let Some(mut listener) = self.listeners.get_mut(index).and_then(Option::take) else {
                continue;
            };
            let may_close = match listener.ownership() {
                Ownership::Exclusive => self.close_one(index, &mut listener, engine, turn),
                Ownership::Undecided if hurry => {
                    warn!("left the queue of {}: nobody has taken it over", listener.name());
                    engine.report_mut().connections.backlog_left = None;
                    true
                }
                Ownership::Undecided => {
                    if undecided_due.is_none() {
                        listener.on_event();
                    }
                    self.empty(index, &mut listener, engine, turn);
                    if let Some(closing) = &mut self.closing {
                        closing.undecided =
                            undecided_due.or_else(|| after(turn.now, Some(UNDECIDED_PAUSE)));
                    }
                    false
                }
                Ownership::Shared => {
                    info!("left the queue of {} to its owner", listener.name());
                    true
                }
            };
            if may_close {
                self.account(index, &mut listener, turn.now);
                let name = listener.name().to_owned();
                drop(listener);
                debug!("closed the listener on {name}");
            } else if let Some(slot) = self.listeners.get_mut(index) {
                *slot = Some(listener);
            }
        }
        if self.is_closed()
            && let Some(closing) = &self.closing
        {
            let half_open = closing.half_open.filter(|_| !self.listener_failed);
            engine.report_mut().connections.half_open = half_open;
        }
    }

    fn begin_close<P: Speaks>(&mut self, engine: &mut Engine<Q::Stream, P>, turn: Turn<'_, Q>) {
        let left = (!self.listener_failed).then_some(self.cut_off);
        engine.report_mut().connections.backlog_left = left;
        engine.report_mut().gated = Some(true);
        if let Some(listener) = self.listeners.iter_mut().flatten().next() {
            let pressure = listener.queue.pressure();
            self.gauge.add(pressure, turn.now);
        }
        let mut closing = Closing {
            waits: Vec::new(),
            undecided: None,
            half_open: Some(HalfOpen::default()),
            endpoints: Vec::new(),
            shared: false,
        };
        closing.waits.resize_with(self.listeners.len(), || None);
        for listener in self.listeners.iter_mut().flatten() {
            if listener.queue.visibility(engine.kernel()) == Visibility::Shared {
                closing.shared = true;
            } else {
                closing.endpoints.extend(listener.queue.endpoint());
            }
            if turn.tokens.is_some() {
                super::deregister(listener, turn.poll);
            }
            listener.set_ready();
        }
        self.closing = Some(closing);
    }

    /// Gates a queue that only this server owns, and begins to wait for half-open handshakes.
    fn gate<P: Speaks>(
        &mut self,
        index: usize,
        listener: &mut AcceptQueue<Q>,
        engine: &mut Engine<Q::Stream, P>,
        now: Instant,
    ) {
        let visibility = listener.queue.visibility(engine.kernel());
        let gated = listener.queue.shut_gate();
        let all = &mut engine.report_mut().gated;
        *all = all.map(|all| all && gated);
        listener.set_ready();
        let cookies = self.gauge.has_cookies(now);
        let wait = Wait::new(visibility, cookies, self.handshake_grace, now);
        if let Some(slot) = self.closing.as_mut().and_then(|it| it.waits.get_mut(index)) {
            *slot = Some(wait);
        }
    }

    /// Goes on with the close of one listener. Returns whether it may be closed: no handshake is
    /// waited for, and after that its queue was seen empty.
    fn close_one<P: Speaks>(
        &mut self,
        index: usize,
        listener: &mut AcceptQueue<Q>,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> bool {
        if self.wait(index).is_none() {
            self.gate(index, listener, engine, turn.now);
        }
        let hurry = engine.phase() >= Phase::Forcing;
        let is_due = self.wait(index).is_some_and(|wait| wait.is_due(turn.now));
        if is_due || hurry {
            // A deregistered listener raises no event.
            listener.on_event();
        }
        let mut emptied = self.empty(index, listener, engine, turn);
        let mut waits = self.closing.iter().flat_map(|closing| &closing.waits).enumerate();
        let others_dump =
            waits.any(|(at, wait)| at != index && wait.as_ref().is_some_and(Wait::is_dumping));
        let Some(wait) = self.wait(index) else { return emptied };
        if listener.is_dead() {
            // It will not return another client.
            return true;
        }
        if !others_dump {
            let endpoint = listener.queue.endpoint();
            if wait.step::<Q>(endpoint.as_ref(), engine.kernel(), turn.now, hurry) {
                // A handshake that completed before the last dump is in the queue now.
                listener.on_event();
                emptied = self.empty(index, listener, engine, turn);
            }
        }
        emptied && self.wait(index).is_some_and(|wait| wait.is_over())
    }

    fn wait(&mut self, index: usize) -> Option<&mut Wait> {
        self.closing.as_mut()?.waits.get_mut(index)?.as_mut()
    }

    /// Adds up what became of the half-open handshakes of a listener.
    fn account(&mut self, index: usize, listener: &mut AcceptQueue<Q>, now: Instant) {
        self.gauge.add(listener.queue.pressure(), now);
        let (overflowed, cookies) = (self.gauge.has_overflows(now), self.gauge.has_cookies(now));
        let Some(closing) = &mut self.closing else { return };
        // A queue that was left to other processes does not count.
        let Some(Some(wait)) = closing.waits.get_mut(index) else { return };
        let outcome = wait.outcome(overflowed, cookies);
        closing.half_open = closing.half_open.zip(outcome).map(|(sum, one)| HalfOpen {
            seen: sum.seen.saturating_add(one.seen),
            completed: sum.completed.saturating_add(one.completed),
            stale: sum.stale.saturating_add(one.stale),
            left: sum.left.saturating_add(one.left),
        });
    }

    /// Returns when [`close`](Self::close) is to be called though there is no event.
    pub(super) fn close_deadline(&self) -> Option<Instant> {
        let closing = self.closing.as_ref()?;
        let own = closing.waits.iter().zip(&self.listeners).filter(|(_, listener)| {
            // Where others may take the queue nobody waits for handshakes.
            let ownership = listener.as_ref().map(AcceptQueue::ownership);
            ownership == Some(Ownership::Exclusive)
        });
        let waits = own.filter_map(|(wait, _)| wait.as_ref());
        waits.fold(closing.undecided, |next, wait| earlier(next, wait.next_deadline()))
    }

    /// Accepts the clients in the queue, or closes them under force. Returns whether the queue was
    /// seen empty.
    fn empty<P: Speaks>(
        &mut self,
        index: usize,
        listener: &mut AcceptQueue<Q>,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> bool {
        let emptied = if engine.phase() >= Phase::Forcing {
            self.abandon(listener, engine)
        } else {
            listener.is_ready(turn.now) && self.sweep(listener, engine, turn)
        };
        let mut taken = std::mem::take(&mut self.taken);
        if let Some(wait) = self.wait(index) {
            taken.iter().for_each(|peer| wait.on_accepted(*peer));
        }
        taken.clear();
        self.taken = taken;
        emptied
    }

    fn sweep<P: Speaks>(
        &mut self,
        listener: &mut AcceptQueue<Q>,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> bool {
        let (before, cut_off) = (engine.report().connections.accepted, self.cut_off);
        let look = self.accept_batch(listener, SWEEP, engine, turn);
        let counts = &mut engine.report_mut().connections;
        let taken = counts.accepted.saturating_sub(before);
        counts.swept = counts.swept.saturating_add(taken);
        let lost = self.cut_off.saturating_sub(cut_off);
        counts.backlog_left = counts.backlog_left.map(|left| left.saturating_add(lost));
        match look {
            BatchEnd::Empty => true,
            BatchEnd::More => false,
            BatchEnd::Dead(error) => {
                warn!("sweep the queue of {}: {error}", listener.name());
                counts.backlog_left = None;
                self.listener_failed = true;
                listener.set_dead();
                true
            }
        }
    }

    /// Closes the connections in the queue, and counts them. Returns whether nothing more can be
    /// done: without a free descriptor it is tried again as long as connections are open.
    fn abandon<P: Speaks>(
        &mut self,
        listener: &mut AcceptQueue<Q>,
        engine: &mut Engine<Q::Stream, P>,
    ) -> bool {
        let open = engine.open();
        let left = &mut engine.report_mut().connections.backlog_left;
        for _ in 0..SWEEP {
            match listener.accept() {
                Accepted::Client(_, peer) => {
                    self.taken.extend(peer);
                    *left = left.map(|left| left.saturating_add(1));
                }
                Accepted::Empty => return true,
                Accepted::Broken(_) => {}
                Accepted::Exhausted(_) if open > 0 => {
                    // Until a connection is closed.
                    listener.set_full();
                    return false;
                }
                Accepted::Exhausted(error) | Accepted::Dead(error) => {
                    warn!("count the queue of {}: {error}", listener.name());
                    *left = None;
                    return true;
                }
            }
        }
        true
    }
}
