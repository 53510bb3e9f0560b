//! A server without its sockets: the engine, the way in and the requests, on any poll.

use mio::Token;
use std::io;
use std::time::Instant;

use crate::acceptor::Acceptor;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::deadline::earlier;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::Stats;
use crate::handle::{StopFlag, StopRequest};
use crate::intake::Queue;
use crate::token::{Readiness, TokenRange};

/// What a server does, whatever its listeners and its poll are.
pub(crate) struct Driver<Q: Queue> {
    pub(crate) engine: Engine<Q::Stream>,
    pub(crate) acceptor: Acceptor<Q>,
    pub(crate) requests: StopFlag,
    /// What it is registered with; `None` while it is not.
    tokens: Option<TokenRange>,
}

impl<Q: Queue> Driver<Q> {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            engine: Engine::new(config),
            acceptor: Acceptor::new(),
            requests: StopFlag::default(),
            tokens: None,
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

    /// An event. Answers whether its token is one of the server's.
    pub(crate) fn handle_ready(&mut self, token: Token, ready: Readiness, now: Instant) -> bool {
        let Some(index) = self.tokens.and_then(|tokens| tokens.index(token)) else {
            return false;
        };
        if self.acceptor.on_event(index) {
            self.engine.tell_time(now);
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
        let now = self.engine.tell_time(now);
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
        if self.acceptor.is_closed() {
            self.engine.finish(now);
        }
    }

    /// New clients, and everything that is due. Answers how many slots came free.
    fn serve(&mut self, poll: &Q::Poll, now: Instant) -> usize {
        if self.engine.phase() < Phase::Draining
            && let Some(tokens) = self.tokens
            && let Some(how) = self.acceptor.accept(&mut self.engine, poll, tokens, now)
        {
            self.engine.request(Cause::ListenerFailed(how), now);
        }
        self.close_listeners(poll, now);
        self.engine.end_turn(now)
    }

    /// When to end a turn without an event; in the past: now.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let now = self.engine.now()?;
        let phase = self.engine.phase();
        let asked = match self.requests.get() {
            None => false,
            Some(StopRequest::Graceful) => phase == Phase::Running,
            Some(StopRequest::Forced) => phase < Phase::Finished,
        };
        if asked {
            return Some(now);
        }
        if self.is_away() {
            return self.engine.stop_deadline();
        }
        let stopping = phase >= Phase::Draining && phase < Phase::Finished;
        if stopping && self.engine.open() == 0 && self.acceptor.is_closed() {
            return Some(now);
        }
        earlier(self.engine.next_deadline(), self.acceptor.next_deadline(now))
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
        let now = self.engine.tell_time(now);
        self.engine.request(cause, now);
        self.close_listeners(poll, now);
    }

    /// Cuts the stop short.
    pub(crate) fn force(&mut self, cause: Cause, poll: &Q::Poll, now: Instant) {
        let now = self.engine.tell_time(now);
        self.engine.force(cause, now);
        self.close_listeners(poll, now);
    }

    fn close_listeners(&mut self, poll: &Q::Poll, now: Instant) {
        let due = self.engine.phase() >= Phase::Draining && !self.is_away();
        if due && !self.acceptor.is_closed() {
            self.acceptor.close(&mut self.engine, poll, self.tokens, now);
        }
    }
}
