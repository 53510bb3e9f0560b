//! One request and its answer, step by step.

use std::time::{Duration, Instant};

use super::chunk::{Decoder, Piece};
use super::head::{Framing, Refusal};
use super::reply::{self, Length, Persistence, Status};
use crate::protocol::context::Context;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// After an answer that announced the end, a client is given so much time to close before we do.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// What a connection of [`Http`](super::Http) is at.
#[derive(Debug)]
pub struct HttpState {
    pub(super) stage: Stage,
    pub(super) answer: Answer,
}

/// Where in a request or an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Before or in a head, of which `scanned` bytes hold no end. At `ends`, if the end of the
    /// connection was announced, it comes.
    Head { scanned: usize, ends: Option<Instant> },
    /// In a body that the answer does not depend on.
    Skip(Body),
    /// A request waits until `due`; `None` is for ever.
    Delay { due: Option<Instant> },
    /// In a body that is answered with itself.
    Copy(Body),
    /// In an answer's body.
    Send { size: u64, left: u64 },
    /// After the last answer.
    Over,
}

/// Where in a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    Sized {
        left: u64,
    },
    /// `is_first` until the first chunk, with which the head of the answer goes out.
    Chunked {
        decoder: Decoder,
        is_first: bool,
    },
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sized(left) => Self::Sized { left },
            Framing::Chunked => Self::Chunked { decoder: Decoder::new(), is_first: true },
        }
    }
}

/// What a request is answered with, once it is its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Page { size: u64, with_body: bool },
    Missing { with_body: bool },
    Itself(Framing),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) what: What,
    pub(super) is_old: bool,
    pub(super) closes: bool,
    /// The next request is here, as far as its head.
    pub(super) is_followed: bool,
    /// The end was announced in it, and not at the client's wish.
    pub(super) is_announced: bool,
}

impl HttpState {
    pub(super) fn next(&self) -> Next {
        match self.stage {
            Stage::Head { .. } => Next::Idle,
            Stage::Skip(_) | Stage::Copy(_) => Next::Receive,
            Stage::Delay { .. } => Next::Wait,
            Stage::Send { .. } => Next::Continue,
            Stage::Over => Next::Finish,
        }
    }

    /// Returns with a refusal, which ends the connection.
    pub(super) fn refuse(&mut self, refusal: Refusal, output: &mut Output<'_>) {
        let Refusal { status, with_body } = refusal;
        reply::put_status(output, status, Persistence::Close, with_body);
        output.end_answer();
        self.stage = Stage::Over;
    }

    /// Ends an answer.
    fn end(&mut self, output: &mut Output<'_>, now: Instant) {
        output.end_answer();
        let ends = self.answer.is_announced.then(|| now.checked_add(ANNOUNCED)).flatten();
        self.stage =
            if self.answer.closes { Stage::Over } else { Stage::Head { scanned: 0, ends } };
    }

    /// Says what becomes of the connection after this answer.
    fn persistence(&mut self, context: Context) -> Persistence {
        let is_last = !self.answer.closes && !self.answer.is_followed;
        self.answer.is_announced = context.is_stopping() && is_last;
        if self.answer.closes || self.answer.is_announced {
            Persistence::Close
        } else if self.answer.is_old {
            Persistence::KeepAlive
        } else {
            Persistence::Stays
        }
    }

    /// Begins the answer to a request.
    pub(super) fn begin(&mut self, output: &mut Output<'_>, context: Context) {
        match self.answer.what {
            What::Page { size, with_body } => {
                reply::put_head(output, Length::Sized(size), self.persistence(context));
                self.stage = Stage::Send { size, left: if with_body { size } else { 0 } };
                self.send(output, context.now);
            }
            What::Missing { with_body } => {
                let persistence = self.persistence(context);
                reply::put_status(output, Status::NotFound, persistence, with_body);
                self.end(output, context.now);
            }
            What::Itself(Framing::Sized(left)) => {
                reply::put_head(output, Length::Sized(left), self.persistence(context));
                self.stage = Stage::Copy(Body::Sized { left });
                if left == 0 {
                    self.end(output, context.now);
                }
            }
            // What comes before the first chunk may have to be refused.
            What::Itself(framing @ Framing::Chunked) => {
                self.stage = Stage::Copy(Body::new(framing))
            }
        }
    }

    /// Goes on with the body of an answer.
    pub(super) fn send(&mut self, output: &mut Output<'_>, now: Instant) {
        if let Stage::Send { size, left } = self.stage {
            let left = reply::put_page(output, size, left);
            self.stage = Stage::Send { size, left };
            if left == 0 {
                self.end(output, now);
            }
        }
    }

    /// Goes on with a body that is passed over.
    pub(super) fn skip(
        &mut self,
        body: Body,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
    ) -> Option<Body> {
        match body {
            Body::Sized { left } => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                input.consume(count);
                let left = left.saturating_sub(count as u64);
                (left > 0).then_some(Body::Sized { left })
            }
            Body::Chunked { mut decoder, .. } => match decoder.next(input.bytes(), usize::MAX) {
                Ok((count, piece)) => {
                    input.consume(count);
                    let is_first = false;
                    (piece != Piece::End).then_some(Body::Chunked { decoder, is_first })
                }
                Err(status) => {
                    let with_body =
                        !matches!(self.answer.what, What::Page { with_body: false, .. });
                    self.refuse(Refusal { status, with_body }, output);
                    None
                }
            },
        }
    }

    /// Goes on with a body that is answered with itself.
    pub(super) fn copy(
        &mut self,
        body: Body,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) {
        match body {
            Body::Sized { left } => {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let bytes = input.bytes();
                let count = output.put_some(bytes.get(..most).unwrap_or(bytes));
                input.consume(count);
                let left = left.saturating_sub(count as u64);
                self.stage = Stage::Copy(Body::Sized { left });
                if left == 0 {
                    self.end(output, context.now);
                }
            }
            Body::Chunked { decoder, is_first } => {
                self.copy_piece(decoder, is_first, input, output, context);
            }
        }
    }

    /// Goes on with a body in chunks: each is answered with one of the same size.
    fn copy_piece(
        &mut self,
        mut decoder: Decoder,
        mut is_first: bool,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) {
        let (count, piece) = match decoder.next(input.bytes(), output.room()) {
            Ok(next) => next,
            Err(status) if is_first => return self.refuse(status.into(), output),
            Err(_) => {
                // Without the last chunk the client sees that something was wrong.
                output.end_answer();
                self.stage = Stage::Over;
                return;
            }
        };
        input.consume(count);
        if matches!(piece, Piece::Size(_)) && std::mem::replace(&mut is_first, false) {
            reply::put_head(output, Length::Chunked, self.persistence(context));
        }
        self.stage = Stage::Copy(Body::Chunked { decoder, is_first });
        match piece {
            Piece::Size(0) | Piece::Nothing | Piece::Trailer => {}
            Piece::Size(size) => reply::put_chunk_size(output, size),
            Piece::Data(bytes) => reply::put_all(output, bytes),
            Piece::ChunkEnd => reply::put_all(output, b"\r\n"),
            Piece::End => {
                reply::put_all(output, b"0\r\n\r\n");
                self.end(output, context.now);
            }
        }
    }
}
