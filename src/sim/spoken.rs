//! What the lives of protocols must have in them between them.

use super::line::Line;
use super::network::Network;
use super::transcript::Over;
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;

/// Everything that some life of a protocol must reach.
pub(super) const ALL: [&str; 22] = [
    "answered in the stop",
    "busy and cut",
    "busy when its peer reset",
    "closed by the protocol",
    "grew by a hundred",
    "half a request and waited for",
    "half a request by force",
    "incomplete",
    "incomplete at a reset",
    "late for a protocol",
    "last words waited",
    "named again before it was called",
    "protocol at fault",
    "protocol broke off",
    "protocol finished",
    "protocol told the end",
    "request aborted",
    "request unanswered",
    "resumed when gone",
    "resumed with a successor in its slot",
    "unserved",
    "written in one, answers in many",
];

impl Network {
    /// What the talk of one connection had in it.
    pub(super) fn spoken(&self, line: &Line) -> impl Iterator<Item = &'static str> {
        let talk = line.talk.as_deref();
        let closed = line.closed;
        let bytes = closed.map(|closed| closed.bytes).unwrap_or_default();
        let reason = closed.map(|closed| closed.reason);
        let forced = matches!(reason, Some(CloseReason::ForcedLossy));
        let busy = line.busy_at_stop && line.in_stop;
        let over = |over| talk.is_some_and(|talk| talk.over == Some(over));
        let failed = talk.map_or(0, |talk| talk.taken - talk.answered);
        let requested = self.requested_at.unwrap_or(u64::MAX);
        let waited = line.fin_at.is_some_and(|at| at > requested.saturating_add(900_000));
        let reset = reason == Some(CloseReason::ResetByPeer);
        let grown = talk.is_some_and(|talk| talk.produced > 100 * talk.read.max(1_000));
        [
            (busy && failed == 0 && line.fin_at.is_some(), "answered in the stop"),
            (busy && forced && failed > 0, "busy and cut"),
            (reset && talk.is_some_and(|talk| talk.is_busy()), "busy when its peer reset"),
            (reason == Some(CloseReason::ProtocolClosed), "closed by the protocol"),
            (grown, "grew by a hundred"),
            (line.half_at_stop && waited && bytes.incomplete > 0, "half a request and waited for"),
            (
                reason == Some(CloseReason::ForcedClean) && bytes.incomplete > 0,
                "half a request by force",
            ),
            (bytes.incomplete > 0, "incomplete"),
            (reset && bytes.incomplete > 0, "incomplete at a reset"),
            (bytes.late > line.late, "late for a protocol"),
            (talk.is_some_and(|talk| talk.parts_slowly), "last words waited"),
            (over(Over::Fault), "protocol at fault"),
            (over(Over::Abort), "protocol broke off"),
            (over(Over::Finish), "protocol finished"),
            (talk.is_some_and(|talk| talk.has_told_end), "protocol told the end"),
            (failed > 0 && reset, "request aborted"),
            (failed > 0 && forced && self.phase >= Phase::Forcing, "request unanswered"),
            (bytes.unserved > 0, "unserved"),
            (talk.is_some_and(|talk| talk.most_ends > 9), "written in one, answers in many"),
        ]
        .into_iter()
        .filter_map(|(reached, corner)| reached.then_some(corner))
    }
}
