//! TLS around any protocol: the inner one sees plain bytes, and a stop says close_notify to every
//! client before its FIN, so that none can take a cut for the end.
//!
//! `cargo run --example tls [ADDRESS [echo | line | http]]`, then
//! `openssl s_client -quiet -connect 127.0.0.1:5388`, or `curl -k https://127.0.0.1:5388/` for
//! `http`; Enter stops it.

#![allow(clippy::arithmetic_side_effects)]

use std::error::Error;
use std::io;
use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use netgrace::protocol::{
    ConnectionId, Context, Http, Input, Line, Next, Output, OutputBuffer, Protocol, Repeat,
    Session, Want,
};
use netgrace::{CloseReason, Config, EventLoop, Grade, Report, Server, ShutdownHandle};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

/// The time that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Room that the records of an inner farewell and a close_notify need beside their content.
const OVERHEAD: usize = 256;
/// Head of a record: its type, the version, the length of the rest.
const RECORD_HEAD: usize = 5;
/// The most that may follow it (RFC 5246, 6.2.3).
const RECORD: usize = (16 << 10) + (2 << 10);

/// A protocol within TLS.
pub(crate) struct Tls<P> {
    inner: P,
    config: Arc<ServerConfig>,
    /// What the inner protocol puts, before it is encrypted.
    plain: OutputBuffer,
    pub(crate) counts: Counts,
}

/// What the wire has seen that the inner protocol has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that ended by a FIN without a close_notify before it: their input may have been
    /// cut off by anybody.
    pub(crate) truncated: u64,
    /// Connections that ended by an alert of ours.
    pub(crate) failed: u64,
}

/// One connection. All bounds are those of the inner protocol and of one record: input is decrypted
/// a record at a time, and only while the inner protocol can be shown more; it is called only while
/// no encrypted output is left.
pub(crate) struct Secured<P: Protocol> {
    tls: ServerConnection,
    session: Session<P>,
    /// Decrypted, and not consumed by the inner protocol.
    input: Vec<u8>,
    /// Answers whose last record was not passed on as a whole.
    ended: u64,
    handshake_until: Option<Instant>,
    has_begun: bool,
    has_failed: bool,
    /// The peer said close_notify.
    has_ended: bool,
    /// The last verdict was `Continue`: the next `resume` comes because of it.
    continues: bool,
}

impl<P: Protocol> Tls<P> {
    pub(crate) fn new(inner: P, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        ServerConnection::new(Arc::clone(&config))?; // so that it does not fail later
        let plain = OutputBuffer::new(Output::MIN_ROOM);
        Ok(Self { inner, config, plain, counts: Counts::default() })
    }

    /// Does what can be done with this input and this room.
    fn advance(
        &mut self,
        state: &mut Secured<P>,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let next = state.converse(&mut self.inner, &mut self.plain, input, output, context);
        if state.has_failed && next == Next::Finish {
            self.counts.failed += 1;
        }
        state.continues = next == Next::Continue;
        next
    }
}

impl<P: Protocol> Secured<P> {
    fn converse(
        &mut self,
        inner: &mut P,
        plain: &mut OutputBuffer,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        loop {
            if !self.flush(output) {
                return Next::Continue;
            }
            if self.has_failed {
                return Next::Finish;
            }
            let mut want = Want::Input;
            if !self.tls.is_handshaking() {
                if output.room() < Output::MIN_ROOM {
                    return Next::Continue;
                }
                want = self.call_inner(inner, plain, output, context);
                if !self.flush(output) {
                    return Next::Continue;
                }
            }
            match want {
                Want::More => {}
                Want::Finish => return Next::Finish,
                Want::Input if self.receive(input) => {}
                Want::Input | Want::Resume => return self.verdict(),
                _ => return Next::Abort,
            }
        }
    }

    /// Makes the calls of the inner protocol that can be made, and encrypts what they put.
    fn call_inner(
        &mut self,
        inner: &mut P,
        plain: &mut OutputBuffer,
        output: &mut Output<'_>,
        context: Context,
    ) -> Want {
        let offered = self.input.get(..limit::<P>()).unwrap_or(&self.input);
        let is_all = offered.len() == self.input.len();
        let advance = self.session.advance(inner, offered, plain, Output::MIN_ROOM, context);
        self.input.drain(..advance.consumed);
        self.encrypt(plain, output);
        if !is_all && advance.consumed > 0 && !self.session.is_over() {
            self.session.on_input();
            return Want::More;
        }
        advance.want
    }

    /// Takes what the inner protocol has put.
    fn encrypt(&mut self, plain: &mut OutputBuffer, output: &mut Output<'_>) {
        // Nothing encrypted is left over, and so it takes everything.
        let taken = io::Write::write_all(&mut self.tls.writer(), plain.bytes());
        self.has_failed |= taken.is_err();
        for _ in 0..plain.requests() {
            output.begin_request();
        }
        self.ended += plain.answers();
        plain.clear();
    }

    /// Passes on what is encrypted. Returns whether there was room for all of it.
    fn flush(&mut self, output: &mut Output<'_>) -> bool {
        while self.tls.wants_write() && output.room() > 0 {
            if self.tls.write_tls(output).is_err() {
                break;
            }
        }
        if self.tls.wants_write() {
            return false;
        }
        for _ in 0..std::mem::take(&mut self.ended) {
            output.end_answer();
        }
        true
    }

    /// Decrypts one record. Returns whether there was one.
    fn receive(&mut self, input: &mut Input<'_>) -> bool {
        let record = first_record(input.bytes());
        if record.is_empty() || self.input.len() >= limit::<P>() {
            return false;
        }
        input.consume(record.len());
        self.has_begun = true;
        // An alert that says why waits in `tls` to be sent.
        self.has_failed |= self.decrypt(record).is_err();
        true
    }

    fn decrypt(&mut self, mut record: &[u8]) -> Result<(), Box<dyn Error>> {
        while !record.is_empty() && self.tls.read_tls(&mut record)? > 0 {
            let io = self.tls.process_new_packets()?;
            let before = self.input.len();
            self.input.resize(before + io.plaintext_bytes_to_read(), 0);
            let (_, fresh) = self.input.split_at_mut(before);
            self.tls.reader().read_exact(fresh)?;
            if !fresh.is_empty() {
                self.session.on_input();
            }
            if io.peer_has_closed() {
                self.has_ended = true;
                self.session.on_peer_end();
            }
        }
        Ok(())
    }

    fn verdict(&self) -> Next {
        match self.session.verdict() {
            _ if self.tls.is_handshaking() && self.has_begun => Next::Receive,
            _ if self.tls.is_handshaking() => Next::Idle,
            // The server does not see what is held here.
            Next::Idle if !self.input.is_empty() => Next::Receive,
            Next::Busy if self.input.len() >= limit::<P>() => Next::Wait,
            next => next,
        }
    }
}

/// Returns how much input the inner protocol can be shown.
fn limit<P: Protocol>() -> usize {
    P::MAX_INPUT.clamp(1, Input::MAX)
}

/// Returns the first record, nothing if it is not here as a whole: what is left with the server
/// counts as a part of a request there. What is no record is returned as well, to be refused.
fn first_record(input: &[u8]) -> &[u8] {
    match *input {
        [20..=24, _, _, high, low, ..] => {
            let rest = usize::from(u16::from_be_bytes([high, low]));
            let size = if rest > RECORD { input.len() } else { RECORD_HEAD + rest };
            input.get(..size).unwrap_or_default()
        }
        [] | [20..=24, ..] => &[],
        _ => input,
    }
}

impl<P: Protocol> Protocol for Tls<P> {
    type State = Box<Secured<P>>;

    fn name(&self) -> &'static str {
        "tls"
    }

    #[expect(clippy::expect_used, reason = "`new` has made a connection of this configuration")]
    fn open(&mut self, peer: Option<SocketAddr>, context: Context) -> Self::State {
        Box::new(Secured {
            tls: ServerConnection::new(Arc::clone(&self.config)).expect("the same as before"),
            session: Session::new(&mut self.inner, peer, context),
            input: Vec::new(),
            ended: 0,
            handshake_until: context.now.checked_add(HANDSHAKE),
            has_begun: false,
            has_failed: false,
            has_ended: false,
            continues: false,
        })
    }

    fn input(
        &mut self,
        state: &mut Self::State,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        self.advance(state, input, output, context)
    }

    fn resume(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        if state.tls.is_handshaking() && state.handshake_until.is_some_and(|at| context.now >= at) {
            return Next::Finish;
        }
        if !state.continues {
            state.session.wake();
        }
        self.advance(state, &mut Input::new(&[]), output, context)
    }

    fn deadline(&self, state: &Self::State) -> Option<Instant> {
        if state.tls.is_handshaking() {
            state.handshake_until
        } else {
            state.session.deadline(&self.inner)
        }
    }

    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        self.inner.poll_resume(now)
    }

    /// Without a close_notify the inner protocol is not told that this is the end: what it has got
    /// may be a part of what was sent. It has answered all that was whole.
    fn end(
        &mut self,
        state: &mut Self::State,
        _: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        if state.has_ended {
            return self.advance(state, &mut Input::new(&[]), output, context);
        }
        self.counts.truncated += u64::from(state.has_begun);
        Next::Finish
    }

    fn drain(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        state.session.on_drain();
        Some(self.advance(state, &mut Input::new(&[]), output, context))
    }

    fn farewell(&mut self, state: &mut Self::State, output: &mut Output<'_>, context: Context) {
        if !state.has_failed && !state.tls.is_handshaking() {
            let room = output.room().saturating_sub(OVERHEAD).min(Output::MIN_ROOM);
            state.session.farewell(&mut self.inner, &mut self.plain, room, context);
            state.encrypt(&mut self.plain, output);
        }
        state.tls.send_close_notify(); // nothing after an alert
        state.flush(output);
    }

    fn close(&mut self, state: Self::State, connection: ConnectionId, reason: CloseReason) {
        state.session.close(&mut self.inner, connection, reason);
    }
}

/// A certificate for `localhost` that nobody has signed, and its key.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

pub(crate) fn identity() -> Result<Identity, rcgen::Error> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    Ok((signed.cert.der().clone(), key.into()))
}

pub(crate) fn server<P: Protocol>(
    inner: P,
    (certificate, key): Identity,
    config: Config,
) -> Result<Server<Tls<P>>, Box<dyn Error>> {
    let builder = ServerConfig::builder().with_no_client_auth();
    let tls = Arc::new(builder.with_single_cert(vec![certificate], key)?);
    Ok(Server::serving(Tls::new(inner, tls)?, config)?)
}

/// Serves until the stop is over. Returns the account, and what TLS counts beside it.
pub(crate) fn serve<P: Protocol>(
    mut server: Server<Tls<P>>,
    address: SocketAddr,
    on_start: impl FnOnce(SocketAddr, ShutdownHandle),
) -> Result<(Report, Counts), Box<dyn Error>> {
    server.listen(address)?;
    let address = server.local_addr().ok_or("no address")?;
    let mut event_loop = EventLoop::new(server)?;
    on_start(address, event_loop.shutdown_handle());
    let report = event_loop.run();
    Ok((report, event_loop.server().protocol().counts))
}

fn run<P: Protocol>(inner: P, address: SocketAddr) -> Result<ExitCode, Box<dyn Error>> {
    let server = server(inner, identity()?, Config::new().max_connections(1000))?;
    let (report, counts) = serve(server, address, |address, handle| {
        println!("tls on {address}");
        thread::spawn(move || {
            io::stdin().read_line(&mut String::new()).ok();
            handle.begin_shutdown();
        });
    })?;
    println!("{report}\n{counts:?}");
    Ok(report.exit_code(Grade::Lossless).into())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5388".to_owned()).parse()?;
    match args.next().as_deref() {
        None | Some("echo") => run(Repeat, address),
        Some("line") => run(Line::new(), address),
        Some("http") => run(Http::new(), address),
        Some(other) => Err(format!("{other:?}: expected echo, line or http").into()),
    }
}
