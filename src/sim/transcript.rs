//! What was said on one connection: every call of its protocol and every byte, and what must hold
//! between them.

use std::collections::VecDeque;

use super::oracle::{Oracle, Said};
use super::source::Source;
use super::speech::Speech;
use crate::engine::phase::Phase;
use crate::protocol::{Input, Next};

/// The most input that is held for one connection.
pub(super) const FULL: u64 = Input::MAX as u64;

/// Which call of a protocol it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Greet,
    Input,
    Resume,
    Drain,
    End,
    Farewell,
}

/// One call, and what it did.
#[derive(Debug)]
pub(super) struct Called<'a> {
    pub(super) call: Call,
    /// The input that it was shown, what of it was consumed, and whether more than that.
    pub(super) shown: &'a [u8],
    pub(super) consumed: u64,
    pub(super) is_overdrawn: bool,
    pub(super) put: &'a [u8],
    /// Where in that answers end, and how many.
    pub(super) ends: Vec<(u64, u64)>,
    pub(super) begun: u64,
    /// `None`: the verdict stays.
    pub(super) next: Option<Next>,
    pub(super) phase: Phase,
    pub(super) now: u64,
}

impl Called<'_> {
    fn moved(&self) -> bool {
        self.consumed > 0 || !self.put.is_empty()
    }

    /// Whether no protocol may do this.
    fn is_fault(&self) -> bool {
        let goes_on = self.next == Some(Next::Continue);
        let waits = matches!(self.next, Some(Next::Idle | Next::Receive));
        self.is_overdrawn
            || goes_on && !self.moved() && matches!(self.call, Call::Input | Call::Resume)
            || waits && !self.moved() && self.call == Call::Input && self.shown.len() as u64 >= FULL
    }
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// By the verdict of the protocol.
    Finish,
    Abort,
    /// By a fault of the protocol.
    Fault,
    /// By the engine, which sends its FIN.
    Parted,
}

/// What input that was not consumed counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOver {
    Late,
    Unserved,
    Incomplete,
    /// It depends on what the engine had in mind, which nobody can see.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Transcript {
    oracle: Oracle,
    source: Source,
    /// Put and not taken by the kernel, and whether that was tried.
    owed: VecDeque<u8>,
    pub(super) is_pending: bool,
    pub(super) produced: u64,
    pub(super) consumed: u64,
    /// Bytes read before the FIN.
    pub(super) read: u64,
    verdict: Next,
    pub(super) over: Option<Over>,
    has_greeted: bool,
    pub(super) has_drained: bool,
    pub(super) has_told_end: bool,
    /// Input was not shown since it, or the state, changed.
    is_fresh: bool,
    /// Somebody asked for a resume.
    pub(super) is_named: bool,
    pub(super) deadline: Option<u64>,
    /// When it was last called, by the engine's clock.
    last_call: u64,
    /// Requests taken, answered to the last byte, and begun without an end.
    pub(super) taken: u64,
    pub(super) answered: u64,
    pub(super) outstanding: u64,
    /// Ends of answers that the kernel has not taken, by their place.
    marks: VecDeque<(u64, u64)>,
    /// What the held input was when the engine sent its FIN.
    parted_with: Option<LeftOver>,
    /// Input that was given up when the protocol ended the conversation.
    pub(super) given_up: u64,
    /// Output of the last words was pending.
    pub(super) parts_slowly: bool,
    /// The most answers that one write ended.
    pub(super) most_ends: u64,
}

impl Transcript {
    pub(super) fn new(speech: Speech, source: Source, now: u64) -> Self {
        Self {
            oracle: Oracle::new(speech, now),
            source,
            owed: VecDeque::new(),
            is_pending: false,
            produced: 0,
            consumed: 0,
            read: 0,
            verdict: Next::Idle,
            over: None,
            has_greeted: false,
            has_drained: false,
            has_told_end: false,
            is_fresh: false,
            is_named: false,
            deadline: None,
            last_call: 0,
            taken: 0,
            answered: 0,
            outstanding: 0,
            marks: VecDeque::new(),
            parted_with: None,
            given_up: 0,
            parts_slowly: false,
            most_ends: 0,
        }
    }

    /// Bytes put and not taken by the kernel.
    pub(super) fn owed(&self) -> u64 {
        self.owed.len() as u64
    }

    /// Input that is held: not consumed, and not given up.
    pub(super) fn held(&self) -> u64 {
        match self.over {
            Some(Over::Finish | Over::Abort | Over::Fault) => 0,
            Some(Over::Parted) | None => self.read - self.consumed,
        }
    }

    /// A request is outstanding, by the verdict.
    pub(super) fn is_busy(&self) -> bool {
        self.over.is_none() && matches!(self.verdict, Next::Busy | Next::Wait | Next::Continue)
    }

    /// There is a call to be made.
    pub(super) fn is_called_for(&self) -> bool {
        let shows = self.held() > 0 && self.is_fresh && self.is_heard();
        self.over.is_none() && (self.verdict == Next::Continue || self.is_named || shows)
    }

    /// Input is shown to it as it comes.
    fn is_heard(&self) -> bool {
        let waits = matches!(self.verdict, Next::Wait | Next::Continue);
        self.over.is_none() && !waits && !self.has_told_end
    }

    /// It waits for the rest of a request.
    pub(super) fn is_receiving(&self) -> bool {
        let part = self.held() > 0 || self.verdict == Next::Receive;
        self.over.is_none() && !self.is_busy() && part
    }

    /// A part of that was consumed.
    pub(super) fn is_midway(&self) -> bool {
        self.over.is_none() && self.verdict == Next::Receive
    }

    /// More input may be read for it.
    pub(super) fn may_read(&self) -> bool {
        self.is_heard() && self.held() < FULL
    }

    /// What a client knows that counts: how much of its text is dealt with, `read` bytes of the
    /// output being there.
    pub(super) fn returned(&self, read: u64) -> u64 {
        let rests = matches!(self.verdict, Next::Idle | Next::Receive) && !self.is_fresh;
        match self.produced {
            produced if read >= produced && (rests || self.over.is_some()) => self.read,
            produced if read >= produced => self.consumed,
            produced => {
                let share = u128::from(self.consumed) * u128::from(read) / u128::from(produced);
                u64::try_from(share).unwrap_or(self.consumed)
            }
        }
    }

    /// The number of answers whose ends the kernel has not taken.
    pub(super) fn unwritten_answers(&self) -> u64 {
        self.marks.iter().map(|(_, count)| count).sum()
    }

    /// What is wrong with a read of so many bytes, into `buffer`.
    pub(super) fn on_read(&mut self, buffer: &mut [u8]) -> Option<&'static str> {
        let rules = [
            (!self.owed.is_empty(), "a read while output is pending"),
            (!self.is_heard(), "a read while no input is wanted"),
            (self.held() + buffer.len() as u64 > FULL, "more read than may be held"),
        ];
        self.source.copy(self.read, buffer);
        self.read += buffer.len() as u64;
        self.is_fresh = true;
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }

    /// Whether these are the bytes that are owed, all of them.
    pub(super) fn owes(&self, bytes: &[u8]) -> bool {
        let (one, other) = self.owed.as_slices();
        bytes.len() == self.owed.len()
            && bytes.starts_with(one)
            && bytes.get(one.len()..) == Some(other)
    }

    /// A write was tried, of which the kernel took so many bytes. Returns how many answers ended.
    pub(super) fn on_written(&mut self, count: u64) -> u64 {
        self.owed.drain(..count as usize);
        self.is_pending = !self.owed.is_empty();
        self.parts_slowly |= self.is_pending && self.over.is_some();
        self.end_answers()
    }

    /// Counts the answers whose last bytes the kernel has taken. Returns how many are new.
    fn end_answers(&mut self) -> u64 {
        let written = self.produced - self.owed.len() as u64;
        let mut answered = 0;
        while let Some((place, count)) = self.marks.front().copied()
            && place <= written
        {
            answered += count;
            self.marks.pop_front();
        }
        self.answered += answered;
        self.most_ends = self.most_ends.max(answered);
        answered
    }

    /// Takes note of a call. Returns what is wrong with it.
    pub(super) fn note(&mut self, called: &Called<'_>) -> Option<&'static str> {
        let wrong = self.misplaced(called);
        self.last_call = called.now;
        match called.call {
            Call::Greet => self.has_greeted = true,
            Call::Drain => self.has_drained = true,
            Call::End => self.has_told_end = true,
            Call::Resume if self.verdict != Next::Continue => self.is_named = false,
            Call::Farewell if self.over.is_none() => {
                self.parted_with = Some(self.left_over(false));
                self.over = Some(Over::Parted);
            }
            Call::Input | Call::Resume | Call::Farewell => {}
        }
        self.consumed += called.consumed;
        self.is_fresh = called.call != Call::Input || called.moved();
        self.verdict = match called.next.unwrap_or(self.verdict) {
            Next::Idle | Next::Receive if self.has_told_end => Next::Finish,
            next => next,
        };
        let over = match self.verdict {
            _ if called.is_fault() => Some(Over::Fault),
            Next::Abort => Some(Over::Abort),
            Next::Finish => Some(Over::Finish),
            _ => None,
        };
        if self.over.is_none() && over.is_some() {
            self.given_up = self.read - self.consumed;
            self.over = over;
        }
        if over == Some(Over::Fault) {
            self.verdict = Next::Abort;
        }
        if matches!(over, Some(Over::Fault | Over::Abort)) && called.call != Call::Farewell {
            return wrong;
        }
        wrong.or_else(|| self.add(called))
    }

    /// Adds what a call has put. Returns what is wrong with it.
    fn add(&mut self, called: &Called<'_>) -> Option<&'static str> {
        let ended = called.ends.iter().map(|(_, count)| count).sum();
        let from = self.produced;
        self.owed.extend(called.put);
        self.produced += called.put.len() as u64;
        self.marks.extend(called.ends.iter().map(|(place, count)| (from + place, *count)));
        // An empty answer may need no write.
        self.end_answers();
        let open = self.outstanding + called.begun;
        self.taken += called.begun + u64::saturating_sub(ended, open);
        self.outstanding = open.saturating_sub(ended);
        let said = Said {
            put: called.put,
            ended,
            consumed: self.consumed,
            shown: self.read,
            is_stopping: called.phase > Phase::Running,
            now: called.now,
        };
        self.oracle.check(said, &self.source)
    }

    /// What is wrong with a call at this point.
    fn misplaced(&self, called: &Called<'_>) -> Option<&'static str> {
        let (call, verdict) = (called.call, self.verdict);
        let over = match call {
            Call::Farewell => !matches!(self.over, None | Some(Over::Finish)),
            _ => self.over.is_some(),
        };
        let due = self.deadline.is_some_and(|deadline| deadline <= called.now);
        let reason = verdict == Next::Continue || self.is_named || due;
        let waits = matches!(verdict, Next::Wait | Next::Continue);
        let rests = matches!(verdict, Next::Idle | Next::Receive);
        let held = self.read - self.consumed;
        let whole =
            called.shown.len() as u64 == held && self.source.has(self.consumed, called.shown);
        let shown = matches!(call, Call::Input | Call::End);
        let rules = [
            (self.is_pending, "a call while output is pending"),
            (over, "a call after the end of the conversation"),
            (called.now < self.last_call, "the time goes back"),
            (self.has_greeted == (call == Call::Greet), "greeted twice or too late"),
            (call == Call::Resume && !reason, "resumed for no reason"),
            (call != Call::Resume && verdict == Next::Continue, "a call between two pieces"),
            (call == Call::Input && (waits || self.has_told_end), "input that is not wanted"),
            (call == Call::Input && called.shown.is_empty(), "no input"),
            (call == Call::Input && !self.is_fresh, "the same input again"),
            (shown && !whole, "not all input, or another one"),
            (call == Call::End && (!rests || self.has_told_end), "the end, at the wrong time"),
            (call == Call::Drain && self.has_drained, "told of the drain twice"),
            (call == Call::Drain && called.phase < Phase::Draining, "a drain before its time"),
            (call == Call::Farewell && self.is_busy(), "farewell to one that is busy"),
        ];
        rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
    }

    /// What the held input counts as. `is_broken`: by the peer or the network.
    pub(super) fn left_over(&self, is_broken: bool) -> LeftOver {
        if let Some(known) = self.parted_with {
            return known;
        }
        match self.verdict {
            _ if is_broken || self.has_told_end => LeftOver::Incomplete,
            Next::Finish | Next::Abort => LeftOver::Late,
            Next::Busy | Next::Wait | Next::Continue => LeftOver::Unserved,
            _ if self.held() > 0 && self.is_fresh || self.is_named => LeftOver::Unserved,
            _ if !self.has_greeted || !self.has_drained || self.deadline.is_some() => {
                LeftOver::Unknown
            }
            _ => LeftOver::Incomplete,
        }
    }
}
