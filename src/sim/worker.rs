//! A protocol whose answers come later, from the host: what both share is in the network.

use std::net::SocketAddr;
use std::time::Instant;

use super::oracle::answer_text;
use super::random::Random;
use super::shared::Shared;
use crate::protocol::{ConnectionId, Context, Input, Next, Output, Protocol};

/// Bytes of an answer at most.
const ANSWER: usize = 8 << 10;

/// Each line is a request.
#[derive(Debug)]
pub(super) struct Worker {
    network: Shared,
    random: Random,
    /// One request at a time.
    waits: bool,
    span: u64,
}

#[derive(Debug)]
pub(super) struct WorkerState {
    connection: ConnectionId,
    asked: u64,
    answered: u64,
}

impl Worker {
    pub(super) fn new(network: &Shared, waits: bool, span: u64) -> Self {
        Self { network: network.clone(), random: Random::new(span), waits, span }
    }

    fn next(&self, state: &WorkerState) -> Next {
        match state.asked > state.answered {
            true if self.waits => Next::Wait,
            true => Next::Busy,
            false => Next::Idle,
        }
    }
}

impl Protocol for Worker {
    type State = WorkerState;

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> WorkerState {
        WorkerState { connection: context.connection, asked: 0, answered: 0 }
    }

    fn input(
        &mut self,
        state: &mut WorkerState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        let mut network = self.network.lock();
        while let Some(at) = input.bytes().iter().position(|byte| *byte == b'\n') {
            input.consume(at + 1);
            output.begin_request();
            // Some are never answered.
            if !self.random.one_in(30) {
                let due = network.now + self.random.size(self.span);
                network.desk.add(due, state.connection, state.asked);
            }
            state.asked += 1;
            if self.waits {
                break;
            }
        }
        if input.is_full() && state.asked == state.answered {
            return Next::Finish;
        }
        self.next(state)
    }

    fn resume(&mut self, state: &mut WorkerState, output: &mut Output<'_>, _: Context) -> Next {
        let mut network = self.network.lock();
        let Some(done) = network.desk.done.get_mut(&state.connection) else {
            return self.next(state);
        };
        while output.room() >= ANSWER
            && let Some(request) = done.pop_front()
        {
            let text = [&request.to_be_bytes()[..], &answer_text(request)].concat();
            assert!(output.put(&text));
            output.end_answer();
            state.answered += 1;
        }
        if done.is_empty() { self.next(state) } else { Next::Continue }
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        self.network.lock().desk.named.pop_front()
    }
}
