//! The course of one client: what it does next, and what became of its request.

use super::answer::Meaning;
use super::class::Class;
use super::class::Ending;
use super::class::Evidence;
use super::client::State;
use super::client::Until;
use super::connection::Connection;
use super::connection::Dial;
use super::connection::Input;
use super::connection::Obstacle;
use super::crew::Crew;
use super::exchange::Exchange;
use super::kind::Kind;
use super::request::Form;
use super::target::Protocol;

/// Steps that one client takes in a turn before it is another's.
const STEPS_MAX: usize = 32;

/// A client that was turned away tries again after this.
const RETRY: u64 = 10_000_000;

/// A client with its answer waits so long for the server's FIN.
const LEAVE: u64 = 100_000_000;

/// A slow client reads so many bytes every so often: 64 KiB a second.
const SIP: usize = 6_554;
const SIP_EVERY: u64 = 100_000_000;

/// Where a step leads.
enum Next {
    /// There is more to do at once.
    Go(State),
    /// It is the turn of an event or of the clock.
    Wait(State),
}

impl Crew<'_> {
    /// Takes a client as far as it gets.
    pub(super) fn advance(&mut self, id: usize, kind: Kind, mut state: State) -> State {
        for _ in 0..STEPS_MAX {
            let next = match state {
                State::Ended => return state,
                State::Waiting { until, .. } => self.wait(id, kind, until, state),
                State::Connecting(exchange) => self.connect(kind, exchange),
                State::Asking(exchange) => self.ask(kind, exchange),
                State::Resting { connection, until } => self.rest(kind, connection, until),
                State::Leaving { connection, until } => self.leave(kind, connection, until),
            };
            state = match next {
                Next::Go(state) => state,
                Next::Wait(state) => return state,
            };
        }
        // Whoever has more to do without an event says so by a deadline that has come.
        match &mut state {
            State::Asking(exchange) => exchange.reads_at = Some(self.clock.now()),
            State::Resting { until: Until::Request(at) | Until::Leave(at), .. } => {
                *at = (*at).min(self.clock.now());
            }
            _ => {}
        }
        state
    }

    fn wait(&mut self, id: usize, kind: Kind, until: u64, state: State) -> Next {
        if self.is_closing {
            return Next::Wait(State::Ended);
        }
        let now = self.clock.now();
        if until > now {
            return Next::Wait(state);
        }
        let is_counted = self.is_stopped();
        let dialled = Connection::dial(
            self.address,
            kind == Kind::Slow,
            self.poll.registry(),
            Self::token(id),
        );
        let connection = match dialled {
            Ok(connection) => connection,
            Err(obstacle) => return Next::Wait(self.obstructed(kind, obstacle, is_counted, true)),
        };
        let mut exchange = self.exchange(kind, connection);
        exchange.held_until = self.half_until(kind);
        Next::Go(State::Connecting(Box::new(exchange)))
    }

    /// Makes the next request of a client on this connection.
    fn exchange(&mut self, kind: Kind, connection: Connection) -> Exchange {
        let now = self.clock.now();
        let request = self.requests.next(Form::of(kind));
        let mut exchange = Exchange::new(connection, request, self.answer(), now);
        exchange.is_counted = self.is_stopped();
        if exchange.is_counted {
            self.tally.start(kind);
        }
        if kind == Kind::Slow {
            exchange.reads_at = Some(now.saturating_add(SIP_EVERY));
        }
        exchange
    }

    fn connect(&mut self, kind: Kind, mut exchange: Box<Exchange>) -> Next {
        match exchange.connection.dialled() {
            Dial::Connected => {
                exchange.moved_at = self.clock.now();
                Next::Go(State::Asking(exchange))
            }
            Dial::Pending if exchange.moved_at.saturating_add(self.settle) <= self.clock.now() => {
                let obstacle = Obstacle::Unreachable;
                Next::Wait(self.obstructed(kind, obstacle, exchange.is_counted, false))
            }
            Dial::Pending => Next::Wait(State::Connecting(exchange)),
            Dial::Failed(Obstacle::Reset) => self.end(kind, exchange, Ending::Reset, false),
            Dial::Failed(obstacle) => {
                Next::Wait(self.obstructed(kind, obstacle, exchange.is_counted, false))
            }
        }
    }

    /// Sees to a client that got no connection; `is_new`: its request has not been counted yet.
    fn obstructed(
        &mut self,
        kind: Kind,
        obstacle: Obstacle,
        is_counted: bool,
        is_new: bool,
    ) -> State {
        let now = self.clock.now();
        let ending = match obstacle {
            Obstacle::Refused => Ending::Refused,
            Obstacle::Reset => Ending::Reset,
            Obstacle::Unreachable => Ending::Unreachable,
            Obstacle::Own => {
                if is_counted && !is_new {
                    self.tally.withdraw(kind);
                }
                return State::Waiting { until: now.saturating_add(RETRY), is_wanting: false };
            }
        };
        if is_counted && is_new {
            self.tally.start(kind);
        }
        let class = Evidence::of_connect(ending).class();
        self.tally.end(kind, class, is_counted, now);
        self.after(kind, class, is_counted)
    }

    fn ask(&mut self, kind: Kind, mut exchange: Box<Exchange>) -> Next {
        let now = self.clock.now();
        if exchange.held_until.is_some_and(|until| until <= now) {
            exchange.held_until = None;
            exchange.moved_at = now;
        }
        exchange.write(&mut self.kernel, now);
        exchange.check(&mut self.kernel, now);
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.read(kind, &mut exchange, &mut buffer, now);
        self.buffer = buffer;
        match end {
            Some((ending, persists)) => self.end(kind, exchange, ending, persists),
            None => Next::Wait(State::Asking(exchange)),
        }
    }

    /// Reads what there is; returns how the request ended, if it did.
    fn read(
        &mut self,
        kind: Kind,
        exchange: &mut Exchange,
        buffer: &mut [u8],
        now: u64,
    ) -> Option<(Ending, bool)> {
        let is_slow = kind == Kind::Slow;
        // Until the answer begins, a slow client is as attentive as the others.
        let is_sipping = is_slow && exchange.was_begun();
        if is_sipping && exchange.reads_at.is_some_and(|at| at > now) {
            return self.silence(exchange, now);
        }
        exchange.reads_at = is_slow.then(|| now.saturating_add(SIP_EVERY));
        let buffer = if is_slow { buffer.get_mut(..SIP)? } else { buffer };
        let may_learn = !exchange.is_counted;
        for _ in 0..STEPS_MAX {
            let form = Form::of(kind) as usize;
            let input = exchange.connection.read(buffer);
            let expected = self.expected.get_mut(form)?;
            let meaning = match input {
                Input::Bytes(count) => {
                    exchange.received(now);
                    let bytes = buffer.get(..count)?;
                    exchange.answer.feed(bytes, &exchange.request, expected, may_learn)
                }
                Input::Nothing => return self.silence(exchange, now),
                Input::Fin => {
                    exchange.ask_at_the_end(&mut self.kernel);
                    let meaning = exchange.answer.feed_fin(expected, may_learn);
                    if meaning == Meaning::More {
                        return Some((Ending::Fin, false));
                    }
                    meaning
                }
                Input::Reset => {
                    exchange.ask_at_the_end(&mut self.kernel);
                    return Some((Ending::Reset, false));
                }
                Input::TimedOut => return Some((Ending::Silent, false)),
            };
            if let Meaning::Whole { ending, persists } = meaning {
                return Some((ending, persists));
            }
            if is_slow {
                return None;
            }
        }
        exchange.reads_at = Some(now);
        None
    }

    /// Ends a request when no byte has moved for the settle time.
    fn silence(&self, exchange: &Exchange, now: u64) -> Option<(Ending, bool)> {
        let is_held = exchange.held_until.is_some();
        let is_over = exchange.moved_at.saturating_add(self.settle) <= now;
        (is_over && !is_held).then_some((Ending::Silent, false))
    }

    /// Counts what became of a request, and sends the client on its way.
    fn end(
        &mut self,
        kind: Kind,
        mut exchange: Box<Exchange>,
        ending: Ending,
        persists: bool,
    ) -> Next {
        let now = self.clock.now();
        let class = exchange.evidence(ending).class();
        let is_failed = class.is_lost() || class == Class::Raced;
        if exchange.is_excused && exchange.is_counted && is_failed {
            self.tally.leave_out(kind);
            return Next::Go(self.after(kind, class, true));
        }
        self.tally.end(kind, class, exchange.is_counted, now);
        if matches!(class, Class::Answered | Class::Declined) {
            let announces = exchange.answer.announces_close();
            if kind.keeps_alive() && announces && self.is_stopped() {
                self.tally.announced = self.tally.announced.saturating_add(1);
            }
            exchange.connection.requests = exchange.connection.requests.saturating_add(1);
            if kind.keeps_alive() && persists {
                let until = self.next_request(kind, now);
                return Next::Go(State::Resting { connection: exchange.connection, until });
            }
            if self.plan.target.protocol() != Protocol::Http {
                exchange.connection.half_close();
            }
            let until = now.saturating_add(LEAVE);
            return Next::Go(State::Leaving { connection: exchange.connection, until });
        }
        Next::Go(self.after(kind, class, exchange.is_counted))
    }

    /// Returns when a client with a connection makes its next request.
    fn next_request(&self, kind: Kind, now: u64) -> Until {
        // Nobody can tell the clients of these protocols that the end is near.
        if self.is_stopped() && self.plan.target.protocol() != Protocol::Http {
            return Until::Leave(now.saturating_add(self.settle));
        }
        Until::Request(if kind == Kind::Idle { now.saturating_add(self.think) } else { now })
    }

    /// Returns what a client without a connection does next, after a request of this class.
    fn after(&mut self, kind: Kind, class: Class, is_counted: bool) -> State {
        let now = self.clock.now();
        let turned_away = matches!(class, Class::Refused | Class::Unreachable);
        let gives_up = turned_away && is_counted && !self.plan.restart;
        if kind.is_single() || self.is_closing || gives_up {
            return State::Ended;
        }
        let until = match class {
            Class::Answered | Class::Declined if kind == Kind::Idle => {
                now.saturating_add(self.think)
            }
            Class::Answered | Class::Raced => now,
            _ => now.saturating_add(RETRY),
        };
        State::Waiting { until, is_wanting: turned_away }
    }

    fn rest(&mut self, kind: Kind, mut connection: Connection, until: Until) -> Next {
        let now = self.clock.now();
        let input = connection.read(&mut self.buffer);
        if input != Input::Nothing {
            if self.is_stopped() {
                let is_reset = matches!(input, Input::Reset | Input::TimedOut);
                let count =
                    if is_reset { &mut self.tally.reset_idle } else { &mut self.tally.closed_idle };
                *count = count.saturating_add(1);
            }
            if self.is_closing {
                return Next::Wait(State::Ended);
            }
            let until = match until {
                Until::Request(at) if kind == Kind::Idle => at,
                _ => now,
            };
            return Next::Go(State::Waiting { until, is_wanting: false });
        }
        if self.is_closing {
            return Next::Wait(State::Ended);
        }
        match until {
            Until::Request(at) if at <= now => {
                let leaves = self.next_request(kind, now);
                if let Until::Leave(_) = leaves {
                    return Next::Wait(State::Resting { connection, until: leaves });
                }
                Next::Go(State::Asking(Box::new(self.exchange(kind, connection))))
            }
            Until::Leave(at) if at <= now => Next::Wait(State::Ended),
            _ => Next::Wait(State::Resting { connection, until }),
        }
    }

    fn leave(&mut self, kind: Kind, mut connection: Connection, until: u64) -> Next {
        for _ in 0..STEPS_MAX {
            match connection.read(&mut self.buffer) {
                Input::Bytes(_) => {}
                Input::Nothing if until > self.clock.now() && !self.is_closing => {
                    return Next::Wait(State::Leaving { connection, until });
                }
                _ => break,
            }
        }
        Next::Go(self.after(kind, Class::Answered, self.is_stopped()))
    }
}
