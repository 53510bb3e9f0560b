//! One connection within TLS: records in, plaintext out, and what it may tell the engine.

use std::io::BufRead;
use std::time::Instant;

use netgrace::protocol::{Input, Next, Output, Protocol, Session};
use rustls::ServerConnection;

/// A record's type, version and length (RFC 8446, 5.1).
const HEADER: usize = 5;
/// The longest content of a record that any version allows (RFC 5246, 6.2.3).
const LONGEST: usize = (16 << 10) + 2048;
/// The types of records: change_cipher_spec, alert, handshake, application_data, heartbeat.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// One connection. Its buffers are bounded: rustls has one record and one encrypted batch, and
/// here lies what the inner protocol may hold.
pub(crate) struct TlsState<P: Protocol> {
    pub(super) stage: Stage,
    pub(super) tls: Box<ServerConnection>,
    pub(super) session: Session<P>,
    /// Decrypted, and not consumed by the inner protocol.
    pub(super) input: Vec<u8>,
    /// Answers whose last record is not put as a whole.
    pub(super) answers: u64,
    /// The peer has sent close_notify.
    pub(super) is_notified: bool,
    /// The last verdict.
    pub(super) next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The inner protocol is not spoken before the end of the handshake.
    Handshake {
        has_begun: bool,
        until: Option<Instant>,
    },
    Open,
    /// The peer broke the rules of TLS, or took too long: nothing but an alert follows.
    Failed,
}

/// What lies in front of the input.
enum Record {
    /// The first so many bytes are one, or are none: rustls tells what is wrong with them.
    Whole(usize),
    /// Its rest is still to come, and is held by the engine.
    Part,
}

impl Record {
    fn first_of(bytes: &[u8]) -> Self {
        let Some(&[kind, major, _, high, low]) = bytes.first_chunk::<HEADER>() else {
            return Self::Part;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !TYPES.contains(&kind) || major != 3 || length > LONGEST {
            return Self::Whole(bytes.len());
        }
        let whole = HEADER + length;
        if bytes.len() < whole { Self::Part } else { Self::Whole(whole) }
    }
}

impl<P: Protocol> TlsState<P> {
    /// Puts what is encrypted. Returns whether that was all of it.
    pub(super) fn flush(&mut self, output: &mut Output<'_>) -> bool {
        while self.tls.wants_write() && output.room() > 0 {
            if self.tls.write_tls(output).is_err() {
                return false; // never: an output takes what fits
            }
        }
        if self.tls.wants_write() {
            return false;
        }
        for _ in 0..std::mem::take(&mut self.answers) {
            output.end_answer();
        }
        true
    }

    /// Whether something is encrypted and not put.
    pub(super) fn has_records(&self) -> bool {
        self.tls.wants_write() || self.answers > 0
    }

    /// Decrypts more input for the inner protocol, or for the handshake: one record at most.
    /// Returns whether there was anything.
    pub(super) fn receive(&mut self, input: &mut Input<'_>) -> bool {
        if self.take_plain() {
            return true;
        }
        if self.is_notified {
            input.consume(input.len()); // it means nothing (RFC 8446, 6.1)
            return false;
        }
        let is_full = self.input.len() >= input_limit::<P>();
        let Record::Whole(count) = Record::first_of(input.bytes()) else { return false };
        if is_full {
            return false;
        }
        let mut record = input.bytes().get(..count).unwrap_or_default();
        input.consume(count);
        if let Stage::Handshake { has_begun, .. } = &mut self.stage {
            *has_begun = true;
        }
        while !record.is_empty() && self.stage != Stage::Failed && !self.is_notified {
            let read = self.tls.read_tls(&mut record);
            match self.tls.process_new_packets() {
                Ok(state) if read.is_ok() => self.is_notified = state.peer_has_closed(),
                Ok(_) | Err(_) => self.stage = Stage::Failed,
            }
        }
        if matches!(self.stage, Stage::Handshake { .. }) && !self.tls.is_handshaking() {
            self.stage = Stage::Open;
        }
        self.take_plain();
        true
    }

    /// Takes what is decrypted, as far as the inner protocol may hold it. Returns whether that was
    /// anything.
    fn take_plain(&mut self) -> bool {
        let mut taken = 0;
        let mut reader = self.tls.reader();
        while let Ok(bytes) = reader.fill_buf()
            && !bytes.is_empty()
            && self.input.len() < input_limit::<P>()
        {
            let count = bytes.len().min(input_limit::<P>() - self.input.len());
            self.input.extend_from_slice(bytes.get(..count).unwrap_or_default());
            reader.consume(count);
            taken += count;
        }
        if taken > 0 {
            self.session.on_input();
        }
        if self.is_notified && matches!(reader.fill_buf(), Ok([])) {
            self.session.on_peer_end();
        }
        taken > 0
    }

    /// The verdict when nothing more can be done without I/O.
    pub(super) fn verdict(&self) -> Next {
        match (self.stage, self.session.verdict()) {
            (Stage::Failed, _) => Next::Finish,
            (Stage::Handshake { .. }, _) if self.is_notified => Next::Finish,
            // The client's half of a handshake is waited for as the rest of a request is.
            (Stage::Handshake { has_begun: true, .. }, _) => Next::Receive,
            (Stage::Handshake { .. }, _) => Next::Idle,
            // The engine does not see what is held here.
            (Stage::Open, Next::Idle) if !self.input.is_empty() => Next::Receive,
            (Stage::Open, next) => next,
        }
    }
}

fn input_limit<P: Protocol>() -> usize {
    P::MAX_INPUT.clamp(1, Input::MAX)
}
