//! What a protocol must say to the input that it was given, byte for byte.

use std::collections::BTreeSet;

use super::source::Source;
use super::speech::Speech;
use crate::protocol::adversary;

/// What one call did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) put: &'a [u8],
    /// How many answers ended.
    pub(super) ended: u64,
    /// Bytes consumed by all calls, this one included, and all that it was shown.
    pub(super) consumed: u64,
    pub(super) shown: u64,
    /// The stop was asked for.
    pub(super) is_stopping: bool,
    pub(super) now: u64,
}

/// One connection of a protocol, as it must be.
#[derive(Debug)]
pub(super) struct Oracle {
    produced: u64,
    /// When the last answer began that had to wait, if answers do.
    delay: u64,
    began_at: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Discard,
    /// What comes goes back; by whole lines or as it is.
    Same {
        by_lines: bool,
    },
    Http {
        number: usize,
        expected: Vec<u8>,
        at: usize,
        is_over: bool,
    },
    /// Any bytes, of a text of its own.
    Dice,
    /// Requests whose answers are still to come.
    Worker {
        asked: u64,
        counted: u64,
        open: BTreeSet<u64>,
    },
}

impl Oracle {
    pub(super) fn new(speech: Speech, now: u64) -> Self {
        let (delay, kind) = match speech {
            Speech::Discard => (0, Kind::Discard),
            Speech::Repeat => (0, Kind::Same { by_lines: false }),
            Speech::Line { delay } => (delay, Kind::Same { by_lines: true }),
            Speech::Http { delay } => {
                (delay, Kind::Http { number: 0, expected: Vec::new(), at: 0, is_over: false })
            }
            Speech::Adversary(_) => (0, Kind::Dice),
            Speech::Worker { .. } => {
                (0, Kind::Worker { asked: 0, counted: 0, open: BTreeSet::new() })
            }
        };
        Self { produced: 0, delay, began_at: now, kind }
    }

    /// Takes note of a call. Returns what is wrong with it.
    pub(super) fn check(&mut self, said: Said<'_>, source: &Source) -> Option<&'static str> {
        let from = self.produced;
        self.produced += said.put.len() as u64;
        match self.kind {
            Kind::Dice => dice(from, said.put),
            Kind::Discard => {
                let whole = said.put.is_empty() && said.consumed == said.shown && said.ended == 0;
                (!whole).then_some("a discard that does not")
            }
            Kind::Same { by_lines } => self.same(said, source, from, by_lines),
            Kind::Http { .. } => self.http(said, source),
            Kind::Worker { .. } => self.worker(said, source),
        }
    }

    /// An answer begins.
    fn begin(&mut self, now: u64) -> Option<&'static str> {
        let soon = self.delay > 0 && now < self.began_at + self.delay;
        self.began_at = now;
        soon.then_some("an answer before its time")
    }

    fn same(
        &mut self,
        said: Said<'_>,
        source: &Source,
        from: u64,
        by_lines: bool,
    ) -> Option<&'static str> {
        let rules = [
            (!source.has(from, said.put), "not what the client sent"),
            (said.consumed != self.produced, "consumed and not answered, or twice"),
        ];
        let wrong = rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule));
        if wrong.is_some() || !by_lines || said.put.is_empty() {
            return wrong.or_else(|| (said.ended > 0).then_some("an answer out of nothing"));
        }
        let begins = from == 0 || source.has(from - 1, b"\n");
        let early = if begins { self.begin(said.now) } else { None };
        let is_whole = source.has(self.produced - 1, b"\n");
        let rest = (said.shown - self.produced) as usize;
        let rules = [
            (said.ended != source.line_feeds(from, said.put.len()), "answers are not the lines"),
            (
                !is_whole && source.line_feeds(self.produced, rest) == 0,
                "a line answered before it was whole",
            ),
        ];
        early.or_else(|| rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule)))
    }

    fn http(&mut self, said: Said<'_>, source: &Source) -> Option<&'static str> {
        let Some(requests) = source.requests() else { return Some("no requests") };
        let mut left = said.put;
        let mut ended = 0;
        loop {
            let Kind::Http { number, expected, at, is_over } = &mut self.kind else { return None };
            if *at < expected.len() {
                let count = left.len().min(expected.len() - *at);
                if left[..count] != expected[*at..*at + count] {
                    return Some("not the right answer");
                }
                (left, *at) = (&left[count..], *at + count);
                if *at < expected.len() {
                    break;
                }
                let request = requests.get(*number);
                (*number, *is_over, ended) = (*number + 1, request.is_last, ended + 1);
                if said.consumed < request.end {
                    return Some("an answer to what was not consumed");
                }
            }
            if left.is_empty() {
                break;
            }
            let request = requests.get(*number);
            if *is_over || said.consumed < request.head {
                return Some("an answer without a request");
            }
            // A stop is announced in the last answer of a batch: never before one that waits.
            let is_announced = said.is_stopping && announces(left);
            if said.is_stopping && !is_announced && said.shown < requests.get(*number + 1).head {
                return Some("the end is not announced");
            }
            (*expected, *at) = (request.answer(is_announced), 0);
            if let Some(early) = self.begin(said.now) {
                return Some(early);
            }
        }
        (ended != said.ended).then_some("answers end where they do not")
    }

    fn worker(&mut self, said: Said<'_>, source: &Source) -> Option<&'static str> {
        let Kind::Worker { asked, counted, open } = &mut self.kind else { return None };
        let lines = *asked + source.line_feeds(*counted, (said.consumed - *counted) as usize);
        open.extend(*asked..lines);
        (*asked, *counted) = (lines, said.consumed);
        let mut left = said.put;
        let mut ended = 0;
        while !left.is_empty() {
            let (number, rest) = left.split_at_checked(8)?;
            let number = u64::from_be_bytes(number.try_into().ok()?);
            if !open.remove(&number) {
                return Some("an answer that nobody waits for");
            }
            let text = answer_text(number);
            let Some(rest) = rest.strip_prefix(text.as_slice()) else {
                return Some("another answer");
            };
            (left, ended) = (rest, ended + 1);
        }
        (ended != said.ended).then_some("answers end where they do not")
    }
}

/// Whether the answer that begins here says that it is the last one of its connection.
fn announces(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let closes = b"Connection: close";
    answer[..head].windows(closes.len()).any(|line| line == closes)
}

fn dice(from: u64, put: &[u8]) -> Option<&'static str> {
    let mut places = (from as usize..).zip(put);
    let wrong = !places.all(|(place, byte)| *byte == adversary::text(place));
    wrong.then_some("not what the dice said")
}

/// What the worker says to a request behind its number.
pub(super) fn answer_text(number: u64) -> Vec<u8> {
    let len = [0, 1, 30, 400, 5_000][(number % 5) as usize];
    (0..len).map(|place| adversary::text(place + number as usize)).collect()
}
