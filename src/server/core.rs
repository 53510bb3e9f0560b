//! A server on any poll, real or simulated: the engine, the acceptor and the stop requests.

use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::accept::acceptor::{Acceptor, Turn};
use crate::accept::orphan::Orphans;
use crate::accept::queue::{Accepted, Listen};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::deadline::{after, earlier, is_due};
use crate::engine::dialogue::Speaks;
use crate::engine::observer::ConnectionId;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::Stats;
use crate::protocol::Echo;
use crate::server::handle::{StopFlag, StopRequest};
use crate::token::{Readiness, TokenRange};

/// Lingering connections that make room for clients in one turn.
const SLOTS: usize = 256;
/// How often to look whether one may be closed by now.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// What a server does, whatever its listeners and its poll are.
pub(crate) struct ServerCore<Q: Listen, P: Speaks = Echo> {
    pub(crate) engine: Engine<Q::Stream, P>,
    pub(crate) acceptor: Acceptor<Q>,
    pub(crate) requests: StopFlag,
    /// What it is registered with; `None` while it is not.
    tokens: Option<TokenRange>,
    /// What is waited for once every connection is closed.
    orphans: Option<Orphans<Q::Endpoint>>,
    /// While a queue waits for a slot: not to look for room before.
    room_due: Option<Instant>,
}

impl<Q: Listen, P: Speaks> ServerCore<Q, P> {
    pub(crate) fn serving(protocol: P, config: &Config) -> Self {
        Self {
            engine: Engine::serving(protocol, config),
            acceptor: Acceptor::new(config),
            requests: StopFlag::default(),
            tokens: None,
            orphans: None,
            room_due: None,
        }
    }

    pub(crate) fn tokens(&self) -> Option<TokenRange> {
        self.tokens
    }

    /// Puts every socket on a poll, with room for so many connections. After an error none is.
    pub(crate) fn register(
        &mut self,
        poll: &Q::Poll,
        tokens: TokenRange,
        connections: usize,
    ) -> io::Result<()> {
        if let Err(error) = self.attach(poll, tokens) {
            if let Err(error) = self.detach(poll) {
                log::debug!("take back a registration that failed: {error}");
            }
            return Err(error);
        }
        self.engine.reserve(connections);
        self.tokens = Some(tokens);
        Ok(())
    }

    /// Takes every socket off the poll. Fails only if it is on another, and stays there.
    pub(crate) fn deregister(&mut self, poll: &Q::Poll) -> io::Result<()> {
        if self.tokens.is_some() {
            self.detach(poll)?;
            self.tokens = None;
        }
        Ok(())
    }

    fn attach(&mut self, poll: &Q::Poll, tokens: TokenRange) -> io::Result<()> {
        let token = |index: usize| {
            tokens.token(index).ok_or_else(|| io::Error::other("no token is left in the range"))
        };
        let first = self.acceptor.tokens();
        self.acceptor.for_each_registered(|index, queue| queue.register(poll, token(index)?))?;
        self.engine.for_each_stream(|at, stream| {
            Q::register_stream(stream, poll, token(first.saturating_add(at))?)
        })
    }

    /// Fails only if the first socket is not on this poll; then it has changed nothing.
    fn detach(&mut self, poll: &Q::Poll) -> io::Result<()> {
        let mut begun = false;
        let mut judge = |result: io::Result<()>| match result {
            Err(error) if !begun => Err(error),
            other => {
                begun = true;
                if let Err(error) = other {
                    log::debug!("deregister a socket: {error}");
                }
                Ok(())
            }
        };
        self.acceptor.for_each_registered(|_, queue| judge(queue.deregister(poll)))?;
        self.engine.for_each_stream(|_, stream| judge(Q::deregister_stream(stream, poll)))
    }

    /// An event. Returns whether its token is one of the server's.
    pub(crate) fn handle_ready(&mut self, token: Token, ready: Readiness, now: Instant) -> bool {
        let Some(index) = self.tokens.and_then(|tokens| tokens.index(token)) else {
            return false;
        };
        if self.acceptor.on_event(index) {
            self.engine.advance_clock(now);
            return true;
        }
        if let Ok(at) = u32::try_from(index.saturating_sub(self.acceptor.tokens())) {
            // An event of a connection that is gone is ours all the same.
            let _known = self.engine.handle_ready(at, ready, now);
        }
        true
    }

    /// Ends a batch of events: the requests, new clients, what is due, and the freeing of slots.
    pub(crate) fn end_turn(&mut self, poll: &Q::Poll, now: Instant) {
        let now = self.engine.advance_clock(now);
        match self.requests.get() {
            None => {}
            Some(StopRequest::Graceful) => self.shut_down(Cause::Requested, poll, now),
            Some(StopRequest::Forced) => self.force(Cause::Requested, poll, now),
        }
        self.engine.advance(now);
        let freed = if self.is_away() { self.engine.reap() } else { self.serve(poll, now) };
        if freed > 0 {
            self.acceptor.on_freed();
        }
        if self.is_done() && self.wait_for_orphans(now) {
            self.engine.finish(now);
        }
    }

    /// Takes in a connection that was accepted elsewhere.
    ///
    /// # Errors
    ///
    /// When the server is on no poll, is full or at its end, or does not want this peer.
    pub(crate) fn admit(
        &mut self,
        stream: Q::Stream,
        peer: Option<SocketAddr>,
        poll: &Q::Poll,
        now: Instant,
    ) -> io::Result<ConnectionId> {
        let now = self.engine.advance_clock(now);
        if self.tokens.is_none() {
            return Err(io::Error::other("the server is not registered"));
        }
        if self.engine.phase() >= Phase::Forcing {
            return Err(io::Error::other("the server has stopped"));
        }
        let turn = Turn { poll, tokens: self.tokens, now };
        self.acceptor.admit(stream, peer, &mut self.engine, turn).map_err(|kept| match kept {
            Accepted::Exhausted(error) => error,
            _ => io::Error::other("its address has its share, or the observer refuses it"),
        })
    }

    /// New clients, and everything that is due. Returns how many slots came free.
    fn serve(&mut self, poll: &Q::Poll, now: Instant) -> usize {
        if self.engine.phase() < Phase::Draining && self.tokens.is_some() {
            let turn = Turn { poll, tokens: self.tokens, now };
            if let Some(how) = self.acceptor.accept(&mut self.engine, turn) {
                self.engine.request(Cause::ListenerFailed(how), now);
            }
        }
        self.close_listeners(poll, now);
        self.make_room(now);
        self.engine.end_turn(now)
    }

    /// While a queue waits for a slot, closes lingering connections whose peers have everything.
    fn make_room(&mut self, now: Instant) {
        if !self.acceptor.is_full() || self.engine.phase() >= Phase::Forcing {
            self.room_due = None;
        } else if self.room_due.is_none() || is_due(self.room_due, now) {
            self.engine.close_lingering(SLOTS);
            self.room_due = after(now, Some(ROOM_PAUSE));
        }
    }

    /// Returns when a stop looks for room again without an event.
    fn room_deadline(&self) -> Option<Instant> {
        let is_stopping = self.engine.phase() == Phase::Draining;
        self.room_due.filter(|_| is_stopping && self.engine.has_lingering())
    }

    /// Returns whether a stop has nothing left to serve.
    fn is_done(&self) -> bool {
        let phase = self.engine.phase();
        let is_stopping = phase >= Phase::Draining && phase < Phase::Finished;
        is_stopping && self.engine.open() == 0 && self.acceptor.is_closed()
    }

    /// Waits for closed sockets whose bytes are on their way, if there may be some. Returns
    /// whether none is waited for any more.
    fn wait_for_orphans(&mut self, now: Instant) -> bool {
        if !self.engine.may_have_orphans() {
            return true;
        }
        let hurry = self.engine.phase() >= Phase::Forcing;
        if self.orphans.is_none() {
            let (endpoints, complete) = self.acceptor.take_endpoints();
            let unseen = u64::from(!complete);
            self.orphans = Some(Orphans::new(endpoints, unseen));
        }
        let Some(orphans) = &mut self.orphans else { return true };
        let over = orphans.step::<Q>(self.engine.kernel(), now, hurry);
        if over {
            let lost = orphans.lost();
            let unconfirmed = &mut self.engine.report_mut().unconfirmed;
            *unconfirmed = unconfirmed.saturating_add(lost);
        }
        over
    }

    /// When to end a turn without an event; in the past: now.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let now = self.engine.now()?;
        let phase = self.engine.phase();
        let asked = match self.requests.get() {
            None => false,
            Some(StopRequest::Graceful) => phase == Phase::Running,
            Some(StopRequest::Forced) => phase < Phase::Forcing,
        };
        if asked {
            return Some(now);
        }
        if self.is_away() {
            return self.engine.stop_deadline();
        }
        if self.is_done() {
            let orphans = self.orphans.as_ref().map(Orphans::next_deadline);
            return orphans.map_or(Some(now), |due| earlier(due, self.engine.stop_deadline()));
        }
        let due = earlier(self.engine.next_deadline(), self.acceptor.next_deadline(now));
        earlier(due, self.room_deadline())
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.engine.stats();
        stats.accept_errors = self.acceptor.errors();
        stats.refused = self.acceptor.refused();
        stats
    }

    /// Whether there is something to serve, but no poll to serve it by, and the stop still cares.
    fn is_away(&self) -> bool {
        let done = self.engine.open() == 0 && self.acceptor.is_closed();
        self.tokens.is_none() && self.engine.phase() < Phase::Forcing && !done
    }

    /// Starts the stop, once.
    pub(crate) fn shut_down(&mut self, cause: Cause, poll: &Q::Poll, now: Instant) {
        let now = self.engine.advance_clock(now);
        self.engine.request(cause, now);
        self.close_listeners(poll, now);
    }

    /// Cuts the stop short.
    pub(crate) fn force(&mut self, cause: Cause, poll: &Q::Poll, now: Instant) {
        let now = self.engine.advance_clock(now);
        self.engine.force(cause, now);
        self.close_listeners(poll, now);
    }

    fn close_listeners(&mut self, poll: &Q::Poll, now: Instant) {
        let due = self.engine.phase() >= Phase::Draining && !self.is_away();
        if due && !self.acceptor.is_closed() {
            let turn = Turn { poll, tokens: self.tokens, now };
            self.acceptor.close(&mut self.engine, turn);
        }
    }
}
