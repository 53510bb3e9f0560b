//! What the network learns of the calls that a protocol gets.

use super::line::Line;
use super::network::Network;
use super::source::Source;
use super::transcript::{Call, Called, Transcript};
use crate::protocol::{ConnectionId, Context};

impl Network {
    /// The protocol opens the connection that is being inserted. Returns its line.
    pub(super) fn note_open(&mut self, context: Context) -> usize {
        let (Some(at), Some(speech)) = (self.inserting, self.speech) else {
            panic!("opened a connection that nobody inserted");
        };
        let source = Source::new(speech, self.lines[at].start);
        let wrong = u64::from(context.connection.generation()) != self.numbers.len() as u64 + 1;
        if wrong || self.lines[at].slot != Some(context.connection.slot()) {
            self.blame(at, "opened under a wrong name");
        }
        self.lines[at].talk = Some(Box::new(Transcript::new(speech, source, self.now)));
        at
    }

    /// The line of a connection that is not closed, by the name that its protocol knows.
    pub(super) fn find(&self, id: ConnectionId) -> Option<usize> {
        let number = (id.generation() as usize).checked_sub(1)?;
        let at = *self.numbers.get(number)?;
        let line = &self.lines[at];
        (line.slot == Some(id.slot()) && line.closed.is_none()).then_some(at)
    }

    /// Whether a connection has its slot still, open or not.
    pub(super) fn has_slot(&self, id: ConnectionId) -> bool {
        let number = (id.generation() as usize).checked_sub(1);
        let line = number.and_then(|number| Some(&self.lines[*self.numbers.get(number)?]));
        line.is_some_and(|line| line.slot == Some(id.slot()) && !line.duplex.dropped)
    }

    pub(super) fn note_call(&mut self, at: usize, context: Context, called: &Called<'_>) {
        self.tell(|| {
            let Called { call, consumed, next, begun, ends, put, shown, .. } = called;
            let (shown, put) = (shown.len(), put.len());
            format!("line {at}: {call:?} of {shown}: -{consumed} +{put}, {begun} {ends:?} {next:?}")
        });
        let is_known = self.inserting == Some(at) || self.find(context.connection) == Some(at);
        if !is_known {
            self.blame(at, "called under a wrong name");
        }
        if called.phase != self.phase {
            self.blame(at, "told of a phase that it is not in");
        }
        let parts = called.call == Call::Farewell && self.lines[at].over().is_none();
        if parts && let Some(wrong) = self.judge_fin(at) {
            self.blame(at, wrong);
        }
        let line = &mut self.lines[at];
        let was_busy = line.is_busy();
        let Some(talk) = &mut line.talk else { return };
        let (taken, answered) = (talk.taken, talk.answered);
        let wrong = talk.note(called);
        self.requests.taken += talk.taken - taken;
        self.requests.answered += talk.answered - answered;
        // Where little may be held it may have been paused for a part of the turn.
        if was_busy || line.is_busy() || self.is_bounded {
            line.resumed_at.set(self.now);
        }
        self.progress += 1;
        if let Some(wrong) = wrong {
            self.blame(at, wrong);
        }
        self.wake(at, self.now + 1);
    }

    pub(super) fn note_deadline(&mut self, at: usize, deadline: Option<u64>) {
        if let Some(talk) = &mut self.lines[at].talk {
            talk.deadline = deadline;
        }
    }

    /// A connection is named that is to be resumed. Returns whether there is one.
    pub(super) fn note_name(&mut self, id: ConnectionId) -> bool {
        self.tell(|| format!("host: {id} is to be resumed"));
        self.progress += 1;
        let Some(at) = self.find(id) else {
            let holds = |line: &Line| line.slot == Some(id.slot()) && line.closed.is_none();
            let known = (id.generation() as usize) <= self.numbers.len() && id.generation() > 0;
            let successor = known && self.lines.iter().any(|line| line.is_open && holds(line));
            self.seen.extend(known.then_some("resumed when gone"));
            self.seen.extend(successor.then_some("resumed with a successor in its slot"));
            return false;
        };
        if let Some(talk) = &mut self.lines[at].talk {
            let again = std::mem::replace(&mut talk.is_named, true);
            self.seen.extend(again.then_some("named again before it was called"));
        }
        true
    }

    /// The protocol gives the state of a connection up.
    pub(super) fn note_close(&mut self, at: usize, connection: ConnectionId) {
        if self.find(connection) != Some(at) {
            self.blame(at, "closed under a wrong name, or twice");
        }
    }
}
