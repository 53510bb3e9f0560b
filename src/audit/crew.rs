//! All clients on one event loop.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use mio::Events;
use mio::Poll;
use mio::Token;

use super::answer::Answer;
use super::client::Client;
use super::client::State;
use super::clock::Clock;
use super::clock::nanos;
use super::expected::Expected;
use super::kernel::Kernel;
use super::kind::Kind;
use super::plan::Plan;
use super::request::Form;
use super::request::Requests;
use super::response::Response;
use super::tally::Tally;
use super::target::Protocol;
use super::timers::Timers;

/// The longest sleep of the loop.
const SLEEP_MAX: Duration = Duration::from_millis(10);

/// The second half of a half-sent request follows the stop after this.
pub(super) const HALF_AFTER: u64 = 50_000_000;

/// Never, for a half that waits for the stop.
const NEVER: u64 = u64::MAX;

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// All clients, and everything that they share.
#[derive(Debug)]
pub(super) struct Crew<'p> {
    pub(super) plan: &'p Plan,
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) kernel: Kernel,
    pub(super) tally: Tally,
    pub(super) requests: Requests,
    /// The right answers, by form of request.
    pub(super) expected: [Option<Expected>; Form::ALL.len()],
    pub(super) buffer: Vec<u8>,
    pub(super) settle: u64,
    pub(super) think: u64,
    /// No client begins anything new.
    pub(super) is_closing: bool,
    pub(super) poll: Poll,
    events: Events,
    clients: Vec<Client>,
    timers: Timers,
    due: Vec<usize>,
    /// Clients that want an answer.
    wanting: usize,
}

impl<'p> Crew<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        address: SocketAddr,
        requests: Requests,
        expected: [Option<Expected>; Form::ALL.len()],
    ) -> io::Result<Self> {
        Ok(Self {
            plan,
            address,
            clock: Clock::start(),
            kernel: Kernel::new(),
            tally: Tally::new(),
            requests,
            expected,
            buffer: vec![0; READ],
            settle: nanos(plan.settle),
            think: nanos(plan.think),
            is_closing: false,
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            clients: Vec::new(),
            timers: Timers::default(),
            due: Vec::new(),
            wanting: 0,
        })
    }

    /// Adds the clients of a kind, each of which begins at once.
    pub(super) fn add(&mut self, kind: Kind) {
        for _ in 0..self.plan.count(kind) {
            let state = State::Waiting { until: 0, is_wanting: false };
            let id = self.clients.len();
            self.clients.push(Client { kind, state, is_wanting: false });
            self.call(id);
        }
    }

    /// Sleeps until something happens or `until` comes, and sees to every client that it concerns.
    ///
    /// # Errors
    ///
    /// When the poll fails.
    pub(super) fn turn(&mut self, until: u64) -> io::Result<()> {
        let now = self.clock.now();
        let wake_at = self.timers.next().map_or(until, |next| next.min(until));
        let sleep = Duration::from_nanos(wake_at.saturating_sub(now)).min(SLEEP_MAX);
        self.clock.sleep(sleep);
        match self.poll.poll(&mut self.events, Some(sleep)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // A pause shows at this reading, or showed at one since the last turn.
        self.clock.now();
        if self.clock.take_pause() {
            self.excuse();
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(1));
        for event in &events {
            self.call(event.token().0);
        }
        self.events = events;
        let mut due = mem::take(&mut self.due);
        self.timers.take_due(self.clock.now(), &mut due);
        for id in due.drain(..) {
            self.call(id);
        }
        self.due = due;
        Ok(())
    }

    /// The audit stood still: what clients failed to do meanwhile is not the server's fault.
    fn excuse(&mut self) {
        for client in &mut self.clients {
            let kind = client.kind;
            if let Some(exchange) = client.state.exchange()
                && (kind == Kind::Slow || !exchange.is_written())
            {
                exchange.is_excused = true;
            }
        }
    }

    /// Sees to one client.
    fn call(&mut self, id: usize) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let (kind, was_wanting) = (client.kind, client.is_wanting);
        let state = mem::replace(&mut client.state, State::Ended);
        let state = self.advance(id, kind, state);
        let is_wanting = state.is_wanting(kind);
        self.timers.set(id, state.due(self.settle));
        if let Some(client) = self.clients.get_mut(id) {
            client.state = state;
            client.is_wanting = is_wanting;
        }
        match (was_wanting, is_wanting) {
            (false, true) => self.wanting = self.wanting.saturating_add(1),
            (true, false) => self.wanting = self.wanting.saturating_sub(1),
            _ => return,
        }
        if self.is_stopped() {
            self.tally.gap.wanted(self.wanting > 0, self.clock.now());
        }
    }

    /// Returns whether the server has been told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.tally.stopped_at.is_some()
    }

    /// Returns the token of a client's connection.
    pub(super) fn token(id: usize) -> Token {
        Token(id)
    }

    /// Returns the empty answer to a request.
    pub(super) fn answer(&self) -> Answer {
        match self.plan.target.protocol() {
            Protocol::Http => Answer::Http(Response::new(false)),
            Protocol::Line | Protocol::Echo => Answer::Echo { got: 0 },
        }
    }

    /// Returns until when the second half of a request is held back.
    pub(super) fn half_until(&self, kind: Kind) -> Option<u64> {
        let stop = self.tally.stopped_at.map(|stop| stop.saturating_add(HALF_AFTER));
        (kind == Kind::Half).then(|| stop.unwrap_or(NEVER))
    }

    /// Marks the instant of the stop: from now on every request counts, and those in flight do.
    pub(super) fn mark_stop(&mut self) {
        let now = self.clock.now();
        self.tally.stopped_at = Some(now);
        let half_until = now.saturating_add(HALF_AFTER);
        for (id, client) in self.clients.iter_mut().enumerate() {
            if let Some(exchange) = client.state.exchange() {
                exchange.is_counted = true;
                if exchange.held_until.is_some() {
                    exchange.held_until = Some(half_until);
                }
                self.tally.start(client.kind);
            }
            self.timers.set(id, client.state.due(self.settle));
        }
        self.tally.gap.wanted(self.wanting > 0, now);
    }

    /// Takes out the clients of a kind that have not handed over all that they have to.
    pub(super) fn drop_unready(&mut self, kind: Kind) {
        for (id, client) in self.clients.iter_mut().enumerate() {
            if client.kind != kind || is_ready(&mut client.state) {
                continue;
            }
            client.state = State::Ended;
            self.timers.set(id, None);
            if mem::take(&mut client.is_wanting) {
                self.wanting = self.wanting.saturating_sub(1);
            }
        }
    }

    /// Returns whether all clients of a kind have handed over all that they can.
    pub(super) fn are_ready(&mut self, kind: Kind) -> bool {
        let mut of_kind = self.clients.iter_mut().filter(|client| client.kind == kind);
        of_kind.all(|client| is_ready(&mut client.state))
    }

    /// Ends everything that is not a request in flight, and begins nothing new.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        for id in 0..self.clients.len() {
            self.call(id);
        }
    }

    /// Returns the number of requests in flight.
    pub(super) fn in_flight(&mut self) -> usize {
        let states = self.clients.iter_mut().map(|client| &mut client.state);
        states.filter_map(State::exchange).count()
    }

    /// Returns whether no client has anything left to do.
    pub(super) fn is_over(&self) -> bool {
        self.clients.iter().all(|client| client.state.is_ended())
    }

    /// Returns whether no client waits to try again since it was turned away.
    pub(super) fn is_served(&self) -> bool {
        let mut states = self.clients.iter().map(|client| &client.state);
        !states.any(|state| matches!(state, State::Waiting { is_wanting: true, .. }))
    }

    /// Takes back the requests in flight, of which nothing can be said.
    pub(super) fn withdraw(&mut self) {
        for client in &mut self.clients {
            if client.state.exchange().is_some_and(|exchange| exchange.is_counted) {
                self.tally.withdraw(client.kind);
            }
            client.state = State::Ended;
        }
    }
}

/// Returns whether a client's request was handed over, or its first half where that is all; one
/// that has ended is not waited for.
fn is_ready(state: &mut State) -> bool {
    match state {
        State::Asking(exchange) => exchange.is_written() || exchange.held_until.is_some(),
        State::Ended | State::Resting { .. } | State::Leaving { .. } => true,
        State::Waiting { .. } | State::Connecting(_) => false,
    }
}
