//! The protocol of the admin listener: one request, one response, and the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netgrace::CloseReason;
use netgrace::protocol::{ConnectionId, Context, Input, Next, Output, Protocol};

use crate::cli::admin::request::{self, Answer, HEAD_BYTES_MAX};

/// The time that a client has for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// When there is no room, the oldest client that has had this long makes some.
const GRACE: Duration = Duration::from_millis(250);

/// Requests wait here for their answers, which only the host can give.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Clients at one time.
    most: usize,
    asked: Vec<(ConnectionId, Answer)>,
    answered: Vec<(ConnectionId, Vec<u8>)>,
    /// Clients since when, the oldest first; some may have ended.
    clients: VecDeque<(ConnectionId, Instant)>,
    open: usize,
}

#[derive(Debug)]
enum Stage {
    /// The request is not here as a whole.
    Reading,
    /// It is, and waits for its answer.
    Asking,
    Writing {
        response: Vec<u8>,
        sent: usize,
    },
    Over,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    stage: Stage,
    since: Instant,
}

impl Client {
    fn next(&self) -> Next {
        match self.stage {
            Stage::Reading => Next::Idle,
            Stage::Asking => Next::Wait,
            Stage::Writing { .. } => Next::Continue,
            Stage::Over => Next::Finish,
        }
    }

    fn write(&mut self, output: &mut Output<'_>) {
        let Stage::Writing { response, sent } = &mut self.stage else { return };
        let count = output.put_some(response.get(*sent..).unwrap_or_default());
        *sent = sent.saturating_add(count);
        if *sent >= response.len() {
            output.end_answer();
            self.stage = Stage::Over;
        }
    }
}

impl Pages {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, asked: Vec::new(), answered: Vec::new(), clients: VecDeque::new(), open: 0 }
    }

    /// The requests that came since the last call.
    pub(crate) fn take_asked(&mut self) -> Vec<(ConnectionId, Answer)> {
        std::mem::take(&mut self.asked)
    }

    /// Gives the answer to a request; the connection is to be resumed.
    pub(crate) fn answer(&mut self, connection: ConnectionId, response: Vec<u8>) {
        self.answered.push((connection, response));
    }

    /// Returns when a client has to make room for others, if one ever does.
    pub(crate) fn room_deadline(&self) -> Option<Instant> {
        let (_, since) = self.clients.front().filter(|_| self.open >= self.most)?;
        since.checked_add(GRACE)
    }

    fn is_over(&self, client: &Client, now: Instant) -> bool {
        let limit = if self.open >= self.most { GRACE } else { PATIENCE };
        now.saturating_duration_since(client.since) >= limit
    }
}

impl Protocol for Pages {
    type State = Client;

    const MAX_INPUT: usize = HEAD_BYTES_MAX;

    fn name(&self) -> &'static str {
        "admin"
    }

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> Client {
        self.open = self.open.saturating_add(1);
        self.clients.push_back((context.connection, context.now));
        Client { stage: Stage::Reading, since: context.now }
    }

    fn input(
        &mut self,
        client: &mut Client,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        if let (Stage::Reading, Some(answer)) = (&client.stage, request::parse(input.bytes())) {
            // What comes after it is not read as a request.
            input.consume(input.len());
            output.begin_request();
            self.asked.push((context.connection, answer));
            client.stage = Stage::Asking;
        }
        client.next()
    }

    fn resume(&mut self, client: &mut Client, output: &mut Output<'_>, context: Context) -> Next {
        let found = self.answered.iter().position(|(id, _)| *id == context.connection);
        if let Some(at) = found {
            let (_, response) = self.answered.swap_remove(at);
            client.stage = Stage::Writing { response, sent: 0 };
        }
        if matches!(client.stage, Stage::Reading) && self.is_over(client, context.now) {
            client.stage = Stage::Over;
        }
        client.write(output);
        client.next()
    }

    fn deadline(&self, client: &Client) -> Option<Instant> {
        match client.stage {
            Stage::Reading => client.since.checked_add(PATIENCE),
            Stage::Asking | Stage::Writing { .. } | Stage::Over => None,
        }
    }

    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        self.room_deadline().filter(|due| *due <= now)?;
        self.clients.pop_front().map(|(id, _)| id)
    }

    fn close(&mut self, _: Client, connection: ConnectionId, _: CloseReason) {
        self.open = self.open.saturating_sub(1);
        self.clients.retain(|(id, _)| *id != connection);
        self.answered.retain(|(id, _)| *id != connection);
        self.asked.retain(|(id, _)| *id != connection);
    }
}
