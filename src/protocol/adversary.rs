//! A protocol that decides by dice: it answers too much or nothing, late or never, and breaks off.
//! It notices when its own calls come in a wrong order.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{ConnectionId, Context, Input, Next, Output, Protocol};
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;

/// Dice that fall alike for alike seeds (splitmix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        usize::try_from(bits % bound.max(1) as u64).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// What stands at a place of every connection's output.
pub(crate) fn text(place: usize) -> u8 {
    u8::try_from(place.wrapping_mul(31).wrapping_add(7) % 251).unwrap_or(0)
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// It keeps to the contract.
    Lawful,
    /// It does not: it consumes too much, asks for nothing, never becomes idle.
    Lawless,
}

/// What it did on one connection, as it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) produced: usize,
    pub(crate) consumed: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// It has broken the contract.
    pub(crate) is_at_fault: bool,
    pub(crate) has_aborted: bool,
    pub(crate) said_farewell: bool,
}

/// The protocol.
#[derive(Debug)]
pub(crate) struct Adversary {
    dice: Dice,
    manners: Manners,
    wakes: VecDeque<ConnectionId>,
    /// Connections whose state was given back.
    pub(crate) closed: Vec<(ConnectionId, Record, CloseReason)>,
    pub(crate) opened: usize,
}

/// What it knows of one connection.
#[derive(Debug)]
pub(crate) struct AdversaryState {
    connection: ConnectionId,
    record: Record,
    /// The verdict that was returned last.
    next: Next,
    due: Option<Instant>,
    /// Input that was left over.
    rest: Vec<u8>,
    has_greeted: bool,
    has_drained: bool,
    has_ended: bool,
}

impl Adversary {
    pub(crate) fn new(seed: u64, manners: Manners) -> Self {
        Self {
            dice: Dice::new(seed),
            manners,
            wakes: VecDeque::new(),
            closed: Vec::new(),
            opened: 0,
        }
    }

    /// Puts what the dice say. Returns how many bytes.
    fn say(&mut self, state: &mut AdversaryState, output: &mut Output<'_>) -> usize {
        let most = match self.dice.below(8) {
            0..=2 => 0,
            3..=5 => self.dice.below(64),
            6 => self.dice.below(4096),
            _ => output.room(),
        };
        let begins = self.dice.one_in(4);
        if begins {
            output.begin_request();
            state.record.begun += 1;
        }
        let from = state.record.produced;
        let bytes: Vec<u8> = (from..from + most).map(text).collect();
        let count = output.put_some(&bytes);
        state.record.produced += count;
        for _ in 0..self.dice.below(3) {
            output.end_answer();
            state.record.ended += 1;
        }
        count
    }

    /// Chooses a verdict. `may_go_on`: something was moved, so that `Continue` is lawful.
    fn choose(&mut self, state: &mut AdversaryState, now: Instant, may_go_on: bool) -> Next {
        let next = match self.dice.below(40) {
            0..=19 => Next::Idle,
            20..=25 => Next::Receive,
            26..=29 => Next::Busy,
            30..=33 => Next::Wait,
            34..=37 if may_go_on => Next::Continue,
            38 if self.dice.one_in(8) => Next::Finish,
            39 if self.dice.one_in(8) => Next::Abort,
            _ => Next::Idle,
        };
        state.due = None;
        if matches!(next, Next::Busy | Next::Wait) || self.dice.one_in(16) {
            match self.dice.below(4) {
                0 => self.wakes.push_back(state.connection),
                1 if self.manners == Manners::Lawless => {}
                2 if self.manners == Manners::Lawless => state.due = Some(now),
                _ => {
                    let wait = Duration::from_millis(1 + self.dice.below(50) as u64);
                    state.due = Some(now + wait);
                }
            }
        }
        next
    }

    /// Notes a verdict as the engine will see it.
    fn note(state: &mut AdversaryState, next: Next, before: Record) -> Next {
        if next == Next::Abort {
            state.record = Record { consumed: state.record.consumed, ..before };
            state.record.has_aborted = true;
        }
        state.next = if state.has_ended && matches!(next, Next::Idle | Next::Receive) {
            Next::Finish
        } else {
            next
        };
        next
    }

    /// Whether to break the contract now.
    fn is_lawless_now(&mut self) -> bool {
        self.manners == Manners::Lawless && self.dice.one_in(64)
    }
}

/// What must hold at every call that may put something.
fn check(state: &AdversaryState, output: &Output<'_>) {
    assert!(output.room() >= Output::MIN_ROOM, "only {} bytes of room", output.room());
    assert!(!state.record.is_at_fault, "a call after a fault");
    assert!(!matches!(state.next, Next::Finish | Next::Abort), "a call after {:?}", state.next);
}

impl Protocol for Adversary {
    type State = AdversaryState;

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> AdversaryState {
        self.opened += 1;
        AdversaryState {
            connection: context.connection,
            record: Record::default(),
            next: Next::Idle,
            due: None,
            rest: Vec::new(),
            has_greeted: false,
            has_drained: false,
            has_ended: false,
        }
    }

    fn greet(
        &mut self,
        state: &mut AdversaryState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        check(state, output);
        assert!(!std::mem::replace(&mut state.has_greeted, true), "greeted twice");
        let before = state.record;
        if !self.dice.one_in(4) {
            return Next::Idle;
        }
        let put = self.say(state, output);
        let next = self.choose(state, context.now, put > 0);
        Self::note(state, next, before)
    }

    fn input(
        &mut self,
        state: &mut AdversaryState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        check(state, output);
        assert!(state.has_greeted && !state.has_ended && !input.is_empty());
        assert!(matches!(state.next, Next::Idle | Next::Receive | Next::Busy), "{:?}", state.next);
        assert!(input.bytes().starts_with(&state.rest), "what was left over has changed");
        let before = state.record;
        if self.is_lawless_now() {
            state.record.is_at_fault = true;
            if self.dice.one_in(2) {
                state.record.consumed += input.len();
                input.consume(input.len() + 1);
                return Next::Idle;
            }
            return Next::Continue;
        }
        let count = match self.dice.below(4) {
            0 => 0,
            1 => self.dice.below(input.len() + 1),
            _ => input.len(),
        };
        let is_full = input.is_full();
        let put = self.say(state, output);
        let moved = count > 0 || put > 0;
        let mut next = self.choose(state, context.now, moved);
        let waits = matches!(next, Next::Idle | Next::Receive);
        if is_full && !moved && waits {
            match self.manners {
                Manners::Lawful => next = Next::Finish,
                Manners::Lawless => state.record.is_at_fault = true,
            }
        }
        input.consume(count);
        state.record.consumed += count;
        state.rest = input.bytes().to_vec();
        if state.record.is_at_fault {
            state.record = Record { is_at_fault: true, consumed: before.consumed, ..before };
        }
        Self::note(state, next, before)
    }

    fn resume(
        &mut self,
        state: &mut AdversaryState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        check(state, output);
        assert!(state.has_greeted);
        let before = state.record;
        if self.is_lawless_now() {
            state.record.is_at_fault = true;
            return Next::Continue;
        }
        let put = self.say(state, output);
        let next = self.choose(state, context.now, put > 0);
        Self::note(state, next, before)
    }

    fn deadline(&self, state: &AdversaryState) -> Option<Instant> {
        state.due
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        if self.is_lawless_now() {
            return Some(ConnectionId::new(u32::MAX, 0));
        }
        self.wakes.pop_front()
    }

    fn end(
        &mut self,
        state: &mut AdversaryState,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        check(state, output);
        assert!(!std::mem::replace(&mut state.has_ended, true), "ended twice");
        assert!(matches!(state.next, Next::Idle | Next::Receive), "{:?}", state.next);
        assert_eq!(rest, state.rest);
        let before = state.record;
        let put = self.say(state, output);
        let next = self.choose(state, context.now, put > 0);
        Self::note(state, next, before)
    }

    fn drain(
        &mut self,
        state: &mut AdversaryState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        check(state, output);
        assert!(context.phase >= Phase::Draining && state.has_greeted);
        assert_ne!(state.next, Next::Continue);
        assert!(!std::mem::replace(&mut state.has_drained, true), "drained twice");
        if self.dice.one_in(2) {
            return None;
        }
        let before = state.record;
        let put = self.say(state, output);
        let next = self.choose(state, context.now, put > 0);
        Some(Self::note(state, next, before))
    }

    fn farewell(&mut self, state: &mut AdversaryState, output: &mut Output<'_>, _: Context) {
        assert!(!state.record.is_at_fault && !state.record.has_aborted);
        assert!(!std::mem::replace(&mut state.record.said_farewell, true), "farewell twice");
        if self.dice.one_in(2) {
            let put = output.put(&[text(state.record.produced)]);
            state.record.produced += usize::from(put);
        }
    }

    fn close(&mut self, state: AdversaryState, connection: ConnectionId, reason: CloseReason) {
        assert_eq!(state.connection, connection);
        self.closed.push((connection, state.record, reason));
    }
}
