//! The wrapper: a protocol whose wire is TLS, around any other one.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netgrace::CloseReason;
use netgrace::protocol::{
    ConnectionId, Context, Input, Next, Output, OutputBuffer, Protocol, Session, Status, Want,
};
use rustls::{ServerConfig, ServerConnection};

use super::connection::{Stage, TlsState};

/// Plaintext that is encrypted at once: two records, or one call's output behind a full record.
const PLAIN: usize = 2 * Output::MIN_ROOM;
/// What encryption adds to the last words, and close_notify.
const ADDED: usize = 512;
/// Memory for input that an idle connection keeps.
const KEPT: usize = 1 << 10;
/// The time that a client has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A protocol within TLS.
pub(crate) struct Tls<P> {
    inner: P,
    config: Arc<ServerConfig>,
    /// What the inner protocol puts, for one batch of calls of one connection.
    plain: OutputBuffer,
    /// Connections whose peer sent its FIN without close_notify.
    truncated: u64,
}

impl<P: Protocol> Tls<P> {
    /// # Errors
    ///
    /// The configuration is not one that a connection can be made from.
    pub(crate) fn new(inner: P, config: ServerConfig) -> Result<Self, rustls::Error> {
        let config = Arc::new(config);
        ServerConnection::new(Arc::clone(&config))?;
        Ok(Self { inner, config, plain: OutputBuffer::new(PLAIN), truncated: 0 })
    }

    /// Returns how many connections ended with a FIN and no close_notify before it.
    pub(crate) fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Does all that can be done without I/O. While something that is encrypted is pending, nothing
    /// is decrypted and the inner protocol is not called.
    fn pump(
        &mut self,
        state: &mut TlsState<P>,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let room = output.room();
        state.next = loop {
            if !state.flush(output) {
                break Next::Continue;
            }
            let want = match state.stage {
                Stage::Failed => Want::Finish,
                Stage::Handshake { .. } => Want::Input,
                Stage::Open => self.advance(state, output, context),
            };
            match want {
                _ if state.has_records() => {}
                Want::More => {}
                Want::Input if state.receive(input) => {}
                // Discards what was put in the same call: that goes out first.
                Want::Abort | Want::Fail(_) if output.room() < room => break Next::Continue,
                _ => break state.verdict(),
            }
        };
        state.next
    }

    /// Makes the inner protocol's calls, one batch, and encrypts what it puts.
    fn advance(
        &mut self,
        state: &mut TlsState<P>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Want {
        let TlsState { session, input, .. } = state;
        let advance = session.advance(&mut self.inner, input, &mut self.plain, PLAIN, context);
        input.drain(..advance.consumed);
        if input.is_empty() {
            input.shrink_to(KEPT);
        }
        for _ in 0..advance.requests {
            output.begin_request();
        }
        self.encrypt(state);
        advance.want
    }

    fn encrypt(&mut self, state: &mut TlsState<P>) {
        if state.tls.writer().write_all(self.plain.bytes()).is_err() {
            state.stage = Stage::Failed; // never: nothing was pending, so that there is room
        }
        state.answers += self.plain.answers();
        self.plain.clear();
    }
}

impl<P: Protocol> Protocol for Tls<P> {
    type State = TlsState<P>;

    fn name(&self) -> &'static str {
        "tls"
    }

    fn open(&mut self, peer: Option<SocketAddr>, context: Context) -> TlsState<P> {
        #[expect(clippy::expect_used, reason = "`new` made one from the same configuration")]
        let tls = ServerConnection::new(Arc::clone(&self.config)).expect("a valid configuration");
        let until = context.now.checked_add(HANDSHAKE);
        TlsState {
            stage: Stage::Handshake { has_begun: false, until },
            tls: Box::new(tls),
            session: Session::new(&mut self.inner, peer, context),
            input: Vec::new(),
            answers: 0,
            is_notified: false,
            next: Next::Idle,
        }
    }

    fn input(
        &mut self,
        state: &mut TlsState<P>,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        self.pump(state, input, output, context)
    }

    fn resume(
        &mut self,
        state: &mut TlsState<P>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        // After `Continue` it is ours; any other is meant for the inner protocol.
        if state.next != Next::Continue {
            state.session.wake();
        }
        if let Stage::Handshake { until: Some(until), .. } = state.stage
            && context.now >= until
        {
            state.stage = Stage::Failed;
        }
        self.pump(state, &mut Input::new(&[]), output, context)
    }

    fn deadline(&self, state: &TlsState<P>) -> Option<Instant> {
        match state.stage {
            Stage::Handshake { until, .. } => until,
            Stage::Open => state.session.deadline(&self.inner),
            Stage::Failed => None,
        }
    }

    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        self.inner.poll_resume(now)
    }

    /// After close_notify the inner protocol knows of the end. Without it the input may have been
    /// cut off by anybody: a request that is incomplete is no request, and the inner protocol is
    /// not told of an end.
    fn end(
        &mut self,
        state: &mut TlsState<P>,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        if state.stage != Stage::Open {
            return Next::Finish;
        }
        if state.is_notified {
            return self.pump(state, &mut Input::new(&[]), output, context);
        }
        self.truncated += 1;
        let is_between = rest.is_empty() && state.session.status(state.input.len()) == Status::Idle;
        if is_between { Next::Finish } else { Next::Abort }
    }

    fn drain(
        &mut self,
        state: &mut TlsState<P>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        state.session.on_drain();
        Some(self.pump(state, &mut Input::new(&[]), output, context))
    }

    fn farewell(&mut self, state: &mut TlsState<P>, output: &mut Output<'_>, context: Context) {
        if state.stage == Stage::Open {
            let room = output.room().saturating_sub(ADDED).min(PLAIN);
            state.session.farewell(&mut self.inner, &mut self.plain, room, context);
            self.encrypt(state);
        }
        if state.stage != Stage::Failed {
            state.tls.send_close_notify();
        }
        state.flush(output);
    }

    fn close(&mut self, state: TlsState<P>, connection: ConnectionId, reason: CloseReason) {
        state.session.close(&mut self.inner, connection, reason);
    }
}
