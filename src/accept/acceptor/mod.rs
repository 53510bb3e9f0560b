//! Accepting clients from the listeners' queues into the engine.

mod close;
mod closing;

use log::{debug, error, warn};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::closing::Closing;
use crate::accept::pressure::Gauge;
use crate::accept::queue::{AcceptQueue, Accepted, Listen, Ownership};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::deadline::{after, earlier, is_due};
use crate::engine::dialogue::Speaks;
use crate::engine::observer::ConnectionId;
use crate::token::TokenRange;

/// Clients accepted from one queue in one turn, at most.
const ACCEPTS: u32 = 256;
/// Failures of accept are logged at most once in this time, with the number of the others.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Limits how often one log line is written.
#[derive(Debug, Default)]
struct Throttle {
    quiet_until: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// The number of lines suppressed since the last, if one may be written now.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.quiet_until.is_some() && !is_due(self.quiet_until, now) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.quiet_until = after(now, Some(LOG_PAUSE));
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The arguments of one turn of a server.
#[derive(Debug)]
pub(crate) struct Turn<'a, Q: Listen> {
    pub(crate) poll: &'a Q::Poll,
    /// The tokens that the server is registered with; `None` while it is not registered.
    pub(crate) tokens: Option<TokenRange>,
    pub(crate) now: Instant,
}

impl<Q: Listen> Clone for Turn<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: Listen> Copy for Turn<'_, Q> {}

/// How a batch of accepts from one queue ended.
#[derive(Debug)]
enum BatchEnd {
    /// The queue is empty.
    Empty,
    /// There may be more: no slot, descriptor or memory was free, or the bound was reached.
    More,
    /// The listener failed for good.
    Dead(io::Error),
}

/// The listeners of a server and what is counted of them.
pub(crate) struct Acceptor<Q: Listen> {
    /// By token; `None` once closed.
    listeners: Vec<Option<AcceptQueue<Q>>>,
    /// `Some` once a stop has begun to close them.
    closing: Option<Closing<Q::Endpoint>>,
    handshake_grace: Duration,
    gauge: Gauge,
    /// The peers that accept returned while the listeners are being closed.
    taken: Vec<SocketAddr>,
    /// A listener failed for good: how many clients were in its queue is unknown.
    listener_failed: bool,
    errors: u64,
    over_quota: u64,
    /// Clients that were reset because the poll refused to register them.
    cut_off: u64,
    failures: Throttle,
    full: Throttle,
}

impl<Q: Listen> Acceptor<Q> {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            listeners: Vec::new(),
            closing: None,
            handshake_grace: config.handshake_grace,
            gauge: Gauge::default(),
            taken: Vec::new(),
            listener_failed: false,
            errors: 0,
            over_quota: 0,
            cut_off: 0,
            failures: Throttle::default(),
            full: Throttle::default(),
        }
    }

    pub(crate) fn add(&mut self, listener: AcceptQueue<Q>) {
        self.listeners.push(Some(listener));
    }

    /// Returns the number of tokens that the listeners use.
    pub(crate) fn tokens(&self) -> usize {
        self.listeners.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AcceptQueue<Q>> {
        self.listeners.iter().flatten()
    }

    /// Iterates over the open listeners with their indexes.
    pub(crate) fn iter_numbered(&self) -> impl Iterator<Item = (usize, &AcceptQueue<Q>)> {
        let slots = self.listeners.iter().enumerate();
        slots.filter_map(|(index, listener)| Some((index, listener.as_ref()?)))
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut AcceptQueue<Q>> {
        self.listeners.iter_mut().flatten()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.listeners.iter().all(Option::is_none)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    pub(crate) fn refused(&self) -> u64 {
        self.over_quota
    }

    pub(crate) fn set_ownership(&mut self, index: usize, ownership: Ownership) {
        if let Some(Some(listener)) = self.listeners.get_mut(index) {
            listener.set_ownership(ownership);
        }
    }

    /// Calls `act` for each listener that is to be registered, until it fails: for none once a stop
    /// closes them.
    pub(crate) fn for_each_registered(
        &mut self,
        mut act: impl FnMut(usize, &mut Q) -> io::Result<()>,
    ) -> io::Result<()> {
        let listeners =
            if self.closing.is_some() { &mut [] } else { self.listeners.as_mut_slice() };
        let mut found = listeners.iter_mut().enumerate();
        found.try_for_each(|(at, listener)| {
            listener.as_mut().map_or(Ok(()), |it| act(at, &mut it.queue))
        })
    }

    /// An event of the listener at `index`. Returns whether there is such a token.
    pub(crate) fn on_event(&mut self, index: usize) -> bool {
        match self.listeners.get_mut(index) {
            None => false,
            Some(listener) => {
                listener.iter_mut().for_each(AcceptQueue::on_event);
                true
            }
        }
    }

    /// Slots and descriptors came free.
    pub(crate) fn on_freed(&mut self) {
        self.iter_mut().for_each(AcceptQueue::on_freed);
    }

    /// Returns whether a queue waits for a slot.
    pub(crate) fn is_full(&self) -> bool {
        self.iter().any(AcceptQueue::is_full)
    }

    /// Returns the endpoints on which closed sockets of the server may be found, once the listeners
    /// are closed, and whether these are all of them.
    pub(crate) fn take_endpoints(&mut self) -> (Vec<Q::Endpoint>, bool) {
        self.closing.as_mut().map_or((Vec::new(), true), |closing| {
            (std::mem::take(&mut closing.endpoints), !closing.shared)
        })
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let first = self.close_deadline();
        self.iter().fold(first, |next, listener| earlier(next, listener.next_deadline(now)))
    }

    /// Accepts clients while the server runs. Returns how a listener failed for good, if one did.
    pub(crate) fn accept<P: Speaks>(
        &mut self,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> Option<String> {
        let mut died = None;
        let now = turn.now;
        if self.gauge.is_due(now)
            && let Some(listener) = self.listeners.iter_mut().flatten().find(|it| it.is_ready(now))
        {
            let pressure = listener.queue.pressure();
            self.gauge.add(pressure, now);
        }
        for index in 0..self.listeners.len() {
            let Some(mut listener) = self.listeners.get_mut(index).and_then(Option::take) else {
                continue;
            };
            if listener.is_ready(now) {
                match self.accept_batch(&mut listener, ACCEPTS, engine, turn) {
                    BatchEnd::Empty | BatchEnd::More => {}
                    BatchEnd::Dead(error) => {
                        self.listener_failed = true;
                        died = Some(format!("{}: {error}", listener.name()));
                        error!("the listener on {} failed: {error}", listener.name());
                        deregister(&mut listener, turn.poll);
                        continue;
                    }
                }
            }
            if let Some(slot) = self.listeners.get_mut(index) {
                *slot = Some(listener);
            }
        }
        died
    }

    fn accept_batch<P: Speaks>(
        &mut self,
        listener: &mut AcceptQueue<Q>,
        most: u32,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> BatchEnd {
        for _ in 0..most {
            if engine.vacant().is_none() {
                if let Some(suppressed) = self.full.allow(turn.now) {
                    let open = engine.open();
                    warn!(
                        "{open} connections open, as many as there may be: clients wait in the \
                         queue of {} ({suppressed} similar messages suppressed)",
                        listener.name()
                    );
                }
                listener.set_full();
                return BatchEnd::More;
            }
            let mut consequence = "clients wait in its queue";
            let accepted = match listener.accept() {
                Accepted::Client(stream, peer) => {
                    if self.closing.is_some() {
                        self.taken.extend(peer);
                    }
                    let admitted = self.admit(stream, peer, engine, turn);
                    if let Err(Accepted::Exhausted(_)) = &admitted {
                        self.cut_off = self.cut_off.saturating_add(1);
                        consequence = "this client is reset, others wait in the queue";
                    }
                    admitted
                }
                other => Err(other),
            };
            match accepted {
                Ok(_) => listener.set_ready(),
                Err(Accepted::Client(..)) => self.over_quota = self.over_quota.saturating_add(1),
                Err(Accepted::Empty) => {
                    listener.set_empty();
                    return BatchEnd::Empty;
                }
                Err(Accepted::Broken(error)) => {
                    self.note(listener, "a client that left", &error, turn.now)
                }
                Err(Accepted::Exhausted(error)) => {
                    listener.back_off(turn.now);
                    self.note(listener, consequence, &error, turn.now);
                    return BatchEnd::More;
                }
                Err(Accepted::Dead(error)) => return BatchEnd::Dead(error),
            }
        }
        BatchEnd::More
    }

    /// Gives a client a slot. An error returns why it got none.
    pub(crate) fn admit<P: Speaks>(
        &mut self,
        mut stream: Q::Stream,
        peer: Option<SocketAddr>,
        engine: &mut Engine<Q::Stream, P>,
        turn: Turn<'_, Q>,
    ) -> Result<ConnectionId, Accepted<Q::Stream>> {
        let Some(owner) = engine.reserve_share(peer) else {
            return Err(Accepted::Client(stream, peer));
        };
        let place = engine.vacant().and_then(|at| {
            let index = self.listeners.len().checked_add(usize::try_from(at).ok()?)?;
            Some((at, turn.tokens?.token(index)?))
        });
        let Some((at, token)) = place else {
            engine.release(owner);
            return Err(Accepted::Exhausted(io::Error::other("no token is left")));
        };
        if let Err(error) = Q::register_stream(&mut stream, turn.poll, token) {
            engine.release(owner);
            return Err(Accepted::Exhausted(error));
        }
        let number = engine.insert(stream, peer, owner, turn.now).unwrap_or_default();
        match peer {
            Some(peer) => debug!("accepted #{number} {peer}"),
            None => debug!("accepted #{number}"),
        }
        Ok(ConnectionId::new(number, at))
    }

    fn note(&mut self, listener: &AcceptQueue<Q>, what: &str, error: &io::Error, now: Instant) {
        self.errors = self.errors.saturating_add(1);
        if let Some(suppressed) = self.failures.allow(now) {
            warn!(
                "accept on {}: {error}; {what} ({suppressed} failures not logged)",
                listener.name()
            );
        }
    }
}

fn deregister<Q: Listen>(listener: &mut AcceptQueue<Q>, poll: &Q::Poll) {
    if let Err(error) = listener.queue.deregister(poll) {
        warn!("deregister the listener on {}: {error}", listener.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_logged_once_and_counted() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.allow(now), Some(0));
        assert_eq!(throttle.allow(now), None);
        assert_eq!(throttle.allow(now + LOG_PAUSE / 2), None);
        assert_eq!(throttle.allow(now + LOG_PAUSE), Some(2));
        assert_eq!(throttle.allow(now + LOG_PAUSE), None);
    }
}
