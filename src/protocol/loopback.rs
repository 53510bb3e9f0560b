//! A connection in memory that keeps the contract of [`Protocol`] to the letter.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::output::{Pending, answers_within};
use super::session::{Fault, Session, Status, Want, input_limit};
use super::{ConnectionId, Context, OutputBuffer, Protocol};
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;

/// Bytes of one read, as the engine has them.
const READ: usize = 64 << 10;
/// Rounds without rest after which something goes in circles.
const ROUNDS: usize = 1 << 16;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Our FIN, with everything before it.
    Fin,
    Reset,
    Fault(Fault),
}

/// What became of the bytes and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) served: usize,
    pub(crate) late: usize,
    pub(crate) produced: usize,
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// Writes that the kernel took something of.
    pub(crate) writes: usize,
    /// The most input that was held.
    pub(crate) most_held: usize,
    /// The most output that was pending.
    pub(crate) most_pending: usize,
}

/// One connection of a protocol, its kernel and its peer.
pub(crate) struct Loopback<P: Protocol> {
    pub(crate) protocol: P,
    session: Option<Session<P>>,
    output: OutputBuffer,
    held: Vec<u8>,
    pending: Option<Pending>,
    /// Sent by the peer and not read.
    queue: VecDeque<u8>,
    peer_end: bool,
    told_end: bool,
    /// Bytes that the kernel will take.
    window: usize,
    pub(crate) received: Vec<u8>,
    pub(crate) account: Account,
    pub(crate) end: Option<End>,
    pub(crate) context: Context,
    /// Bytes of one read.
    pub(crate) read: usize,
    is_drained: bool,
}

impl<P: Protocol> Loopback<P> {
    /// A new connection to a peer that takes everything.
    pub(crate) fn new(mut protocol: P) -> Self {
        let context = Context::new(ConnectionId::new(0, 1), Phase::Running, Instant::now());
        let session = Session::new(&mut protocol, None, context);
        let mut loopback = Self {
            protocol,
            session: Some(session),
            output: OutputBuffer::new(READ),
            held: Vec::new(),
            pending: None,
            queue: VecDeque::new(),
            peer_end: false,
            told_end: false,
            window: usize::MAX,
            received: Vec::new(),
            account: Account::default(),
            end: None,
            context,
            read: READ,
            is_drained: false,
        };
        loopback.run();
        loopback
    }

    /// The same to a peer that takes `window` bytes, and then what [`take`](Self::take) says.
    pub(crate) fn with_window(protocol: P, window: usize) -> Self {
        let mut loopback = Self::new(protocol);
        loopback.window = window;
        loopback
    }

    /// The peer sends.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
        self.run();
    }

    /// The peer sends its FIN.
    pub(crate) fn send_end(&mut self) {
        self.peer_end = true;
        self.run();
    }

    /// The peer takes so many bytes more.
    pub(crate) fn take(&mut self, count: usize) {
        self.window = self.window.saturating_add(count);
        self.run();
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.context.now += time;
        self.run();
        let now = self.context.now;
        if self.deadline().is_some_and(|due| due <= now)
            && let Some(session) = &mut self.session
        {
            session.wake();
            self.run();
        }
    }

    /// The host asks for a resume.
    pub(crate) fn wake(&mut self) {
        self.session.iter_mut().for_each(Session::wake);
        self.run();
    }

    /// Asks the protocol whom to resume.
    pub(crate) fn poll_resume(&mut self) {
        for _ in 0..256 {
            match self.protocol.poll_resume(self.context.now) {
                Some(id) if id == self.context.connection => self.wake(),
                Some(_) => {}
                None => return,
            }
        }
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.context.phase = phase;
        if phase == Phase::Draining && !std::mem::replace(&mut self.is_drained, true) {
            self.session.iter_mut().for_each(Session::on_drain);
        }
        self.run();
    }

    /// Our FIN, as the engine sends it to those that are done.
    pub(crate) fn finish(&mut self) {
        assert_eq!(self.pending(), 0);
        self.say_farewell(CloseReason::Drained);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.as_ref().and_then(|session| session.deadline(&self.protocol))
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.session.as_ref().map(|session| session.status(self.held.len()))
    }

    pub(crate) fn outstanding(&self) -> Option<u32> {
        self.session.as_ref().map(Session::outstanding)
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn unread(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes().len())
    }

    /// Goes on until something from outside is needed.
    fn run(&mut self) {
        for _ in 0..ROUNDS {
            if !self.round() {
                return;
            }
        }
        panic!("a connection goes in circles: {:?}", self.account);
    }

    /// Returns whether to go on.
    fn round(&mut self) -> bool {
        self.flush();
        let Some(session) = &mut self.session else { return self.discard() };
        if self.pending.is_some() {
            return false;
        }
        let (held, context) = (&self.held, self.context);
        let advance = session.advance(&mut self.protocol, held, &mut self.output, READ, context);
        self.held.drain(..advance.consumed);
        self.account.served += advance.consumed;
        self.account.requests += advance.requests;
        let is_pending = self.write();
        match advance.want {
            Want::Abort => self.close(End::Reset, CloseReason::ForcedLossy),
            Want::Fail(fault) => self.close(End::Fault(fault), CloseReason::ForcedLossy),
            _ if is_pending => return false,
            Want::Finish => self.say_farewell(CloseReason::PeerClosed),
            Want::More => {}
            Want::Resume => return false,
            Want::Input => return self.read(),
        }
        true
    }

    fn read(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        let count = (input_limit::<P>() - self.held.len()).min(self.read).min(self.queue.len());
        if count > 0 {
            self.held.extend(self.queue.drain(..count));
            self.account.most_held = self.account.most_held.max(self.held.len());
            session.on_input();
            true
        } else if self.peer_end && self.queue.is_empty() {
            session.on_peer_end();
            !std::mem::replace(&mut self.told_end, true)
        } else {
            false
        }
    }

    /// Writes the output of a batch. Returns whether a part of it is pending.
    fn write(&mut self) -> bool {
        let bytes = self.output.bytes();
        self.account.produced += bytes.len();
        let count = bytes.len().min(self.window);
        self.window -= if self.window == usize::MAX { 0 } else { count };
        self.received.extend_from_slice(&bytes[..count]);
        self.account.writes += usize::from(count > 0);
        self.account.answered += answers_within(self.output.marks(), count);
        if count < bytes.len() {
            self.pending = Pending::copy_of(&self.output, count);
        }
        self.output.clear();
        self.account.most_pending = self.account.most_pending.max(self.pending());
        self.pending.is_some()
    }

    fn flush(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let count = pending.bytes().len().min(self.window);
        self.window -= if self.window == usize::MAX { 0 } else { count };
        self.received.extend_from_slice(&pending.bytes()[..count]);
        self.account.writes += usize::from(count > 0);
        self.account.answered += pending.on_written(count);
        if pending.bytes().is_empty() {
            self.pending = None;
        }
    }

    fn say_farewell(&mut self, reason: CloseReason) {
        let Some(session) = &mut self.session else { return };
        session.farewell(&mut self.protocol, &mut self.output, READ, self.context);
        self.write();
        self.close(End::Fin, reason);
    }

    fn close(&mut self, end: End, reason: CloseReason) {
        let Some(session) = self.session.take() else { return };
        session.close(&mut self.protocol, self.context.connection, reason);
        self.end = Some(end);
        self.account.late += self.held.len();
        self.held.clear();
    }

    /// After the end input is read and discarded.
    fn discard(&mut self) -> bool {
        self.account.late += self.queue.len();
        self.queue.clear();
        false
    }
}
