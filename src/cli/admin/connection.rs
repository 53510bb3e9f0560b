//! One client of the admin listener: one request, one response, and an end in order.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::cli::admin::request::{self, Answer, HEAD_BYTES_MAX};

/// The time that a client has for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read after the response before the connection is cut.
const REST_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The request is not here as a whole.
    Reading,
    /// It is, and is to be answered.
    Asking(Answer),
    Writing,
    /// Our end of stream is sent; the client's is still to come. To close before would take the
    /// response away from a client that is still sending.
    Lingering {
        rest: usize,
    },
    Done,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    state: State,
    /// The request, then the response.
    bytes: Vec<u8>,
    sent: usize,
    since: Instant,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, now: Instant) -> Self {
        Self { stream, state: State::Reading, bytes: Vec::new(), sent: 0, since: now }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// When it has had its time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.checked_add(PATIENCE)
    }

    /// What it asks for, if it does.
    pub(crate) fn asks(&self) -> Option<Answer> {
        match self.state {
            State::Asking(answer) => Some(answer),
            State::Reading | State::Writing | State::Lingering { .. } | State::Done => None,
        }
    }

    /// The response to what it asks for.
    pub(crate) fn answer(&mut self, response: Vec<u8>) {
        self.bytes = response;
        self.state = State::Writing;
        self.drive();
    }

    /// Goes as far as the socket lets it.
    pub(crate) fn drive(&mut self) {
        loop {
            let before = self.state;
            let step = match before {
                State::Reading => self.read(),
                State::Writing => self.write(),
                State::Lingering { rest } => self.discard(rest),
                State::Asking(_) | State::Done => return,
            };
            match step {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A client that is gone needs no answer.
                Err(_) => self.state = State::Done,
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 1024];
        let room = HEAD_BYTES_MAX.saturating_sub(self.bytes.len()).min(chunk.len());
        let count = self.stream.read(chunk.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(answer) = request::parse(&self.bytes) {
            self.state = State::Asking(answer);
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        if rest.is_empty() {
            self.stream.shutdown(Shutdown::Write)?;
            self.state = State::Lingering { rest: REST_BYTES_MAX };
            return Ok(());
        }
        let count = self.stream.write(rest)?;
        self.sent = self.sent.saturating_add(count);
        Ok(())
    }

    fn discard(&mut self, rest: usize) -> io::Result<()> {
        let count = self.stream.read(&mut [0; 1024])?;
        let rest = rest.saturating_sub(count);
        self.state = if count == 0 || rest == 0 { State::Done } else { State::Lingering { rest } };
        Ok(())
    }
}
