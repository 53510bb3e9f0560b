//! The account of a connection of a protocol, against what was said on it.

use super::line::Line;
use super::network::Network;
use super::transcript::{LeftOver, Over, Transcript};
use crate::engine::observer::Closed;
use crate::engine::report::CloseReason;

/// Whether the peer or the network broke a connection; `None` where nobody can tell.
fn is_broken(line: &Line, closed: &Closed) -> Option<bool> {
    match closed.reason {
        CloseReason::ResetByPeer => Some(true),
        CloseReason::IoError if line.duplex.user_timeout.is_some() => None,
        CloseReason::IoError => Some(true),
        _ => Some(false),
    }
}

/// What is wrong with the numbers of a connection's account.
pub(super) fn miscounted(line: &Line, closed: &Closed) -> Option<&'static str> {
    let talk = line.talk.as_ref()?;
    let bytes = closed.bytes;
    let output = bytes.written + bytes.unsent + bytes.peer_aborted;
    let input = bytes.served + bytes.late + bytes.unserved + bytes.incomplete;
    let left = (bytes.late, bytes.unserved, bytes.incomplete);
    let known = is_broken(line, closed);
    let all = [Some(true), Some(false)].into_iter().filter(|it| known.is_none() || known == *it);
    let mut possible = all.flat_map(|broken| expected(line, talk, closed, broken == Some(true)));
    let rules = [
        (bytes.read != input, "the identity of the input does not hold"),
        (bytes.produced != output, "the identity of the output does not hold"),
        (bytes.served != talk.consumed, "what was consumed is not what was served"),
        (bytes.produced != talk.produced, "what was put is not what was produced"),
        (!possible.any(|it| it == left), "the rest of the input is miscounted"),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}

/// What may be late, unserved and incomplete.
fn expected(
    line: &Line,
    talk: &Transcript,
    closed: &Closed,
    broken: bool,
) -> impl Iterator<Item = (u64, u64, u64)> {
    let held = match talk.over {
        Some(Over::Finish | Over::Abort | Over::Fault) => 0,
        Some(Over::Parted) | None => talk.read - talk.consumed,
    };
    let given_up = if talk.has_told_end { (0, 0, talk.given_up) } else { (talk.given_up, 0, 0) };
    let (late, unserved, incomplete) = (given_up.0 + line.late, given_up.1, given_up.2);
    let class = talk.left_over(broken);
    let of = move |class| match class {
        LeftOver::Late => (late + held, unserved, incomplete),
        LeftOver::Unserved => (late, unserved + held, incomplete),
        LeftOver::Incomplete | LeftOver::Unknown => (late, unserved, incomplete + held),
    };
    // What comes after the FIN of a force was not served, and its connection is cut for that.
    let cut = closed.reason == CloseReason::ForcedLossy && line.fin_at.is_some();
    let other = (class == LeftOver::Unknown).then(|| of(LeftOver::Unserved));
    let all = [Some(of(class)), other].into_iter().flatten();
    all.flat_map(move |(late, unserved, incomplete)| {
        let rejected = cut.then_some((0, unserved + late, incomplete));
        [Some((late, unserved, incomplete)), rejected].into_iter().flatten()
    })
}

impl Network {
    /// Adds the requests of a connection that is over. Returns what is wrong with them.
    pub(super) fn add_requests(&mut self, at: usize, closed: &Closed) -> Option<&'static str> {
        let line = &self.lines[at];
        let talk = line.talk.as_ref()?;
        let rest = talk.taken - talk.answered;
        let (open, unwritten) = (talk.outstanding, talk.unwritten_answers());
        let (unanswered, aborted) = match is_broken(line, closed) {
            None => (0, 0),
            Some(true) => (0, rest),
            Some(false) => match talk.left_over(false) {
                LeftOver::Incomplete => (unwritten, open),
                LeftOver::Unknown => (unwritten, 0),
                LeftOver::Late | LeftOver::Unserved => (rest, 0),
            },
        };
        let requests = &mut self.requests;
        requests.failed += rest;
        requests.unanswered += unanswered;
        requests.aborted += aborted;
        (rest != open + unwritten).then_some("requests that are neither answered nor open")
    }
}
