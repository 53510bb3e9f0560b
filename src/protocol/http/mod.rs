//! HTTP/1.1: a small server that load tools and scanners can be pointed at.

mod chunk;
mod head;
mod reply;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::chunk::{Decoder, Piece};
use self::head::{Framing, Head, Method, Refusal, Target};
use self::reply::{HEAD_ROOM, Length, Persistence, Status};
use super::{Context, Input, Next, Output, Protocol};

/// Length of the answer to GET unless another one is chosen.
const PAGE: u64 = 13;
/// After an answer that announced the end, a client is given so much time to close before we do.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// An HTTP/1.1 server without files.
///
/// GET and HEAD are answered with a page of a chosen size, for every path; `/bytes/N` has N bytes,
/// up to 1 TiB. POST is answered with its body, in the framing in which it comes, while it comes.
/// Connections persist, requests may be pipelined. From the beginning of a stop on, answers say
/// `Connection: close`; requests that come all the same are answered.
///
/// What cannot be understood in one way only is refused with 400: other ends of line than CRLF,
/// folded fields, spaces before a colon, two lengths. Further refusals: 404 for `/bytes/` without a
/// number, 413 for a body of more than 1 GiB, 417, 431 for a head of more than 64 KiB or 128
/// fields, 501 for other methods and codings, 505. All but 404 end the connection. A body that
/// turns out to be bad when a part of it has been answered ends the connection without the end of
/// the answer.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    page: u64,
    delay: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A server that answers GET at once, with 13 bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { page: PAGE, delay: Duration::ZERO }
    }

    /// Has GET answered with so many bytes.
    #[must_use]
    pub const fn with_body_len(mut self, bytes: u64) -> Self {
        self.page = bytes;
        self
    }

    /// Has each answer begin only after this time; requests behind it wait for their turn.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What a connection of [`Http`] is at.
#[derive(Debug)]
pub struct HttpState {
    stage: Stage,
    answer: Answer,
}

/// Where in a request or an answer.
#[derive(Clone, Copy, Debug)]
enum Stage {
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
enum Body {
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
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sized(left) => Self::Sized { left },
            Framing::Chunked => Self::Chunked { decoder: Decoder::new(), is_first: true },
        }
    }
}

/// What a request is answered with, once it is its time.
#[derive(Clone, Copy, Debug)]
enum What {
    Page { size: u64, with_body: bool },
    Missing { with_body: bool },
    Itself(Framing),
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    what: What,
    is_old: bool,
    closes: bool,
    /// The end was announced in it, and not at the client's wish.
    is_announced: bool,
}

/// Whether the next step can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    NeedsInput,
}

impl HttpState {
    fn next(&self) -> Next {
        match self.stage {
            Stage::Head { .. } => Next::Idle,
            Stage::Skip(_) | Stage::Copy(_) => Next::Receive,
            Stage::Delay { .. } => Next::Wait,
            Stage::Send { .. } => Next::Continue,
            Stage::Over => Next::Finish,
        }
    }

    /// Answers with a refusal, which ends the connection.
    fn refuse(&mut self, refusal: Refusal, output: &mut Output<'_>) {
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
        self.answer.is_announced = context.is_stopping() && !self.answer.closes;
        if self.answer.closes || self.answer.is_announced {
            Persistence::Close
        } else if self.answer.is_old {
            Persistence::KeepAlive
        } else {
            Persistence::Stays
        }
    }

    /// Begins the answer to a request.
    fn begin(&mut self, output: &mut Output<'_>, context: Context) {
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
    fn send(&mut self, output: &mut Output<'_>, now: Instant) {
        if let Stage::Send { size, left } = self.stage {
            let left = reply::put_page(output, size, left);
            self.stage = Stage::Send { size, left };
            if left == 0 {
                self.end(output, now);
            }
        }
    }

    /// Goes on with a body that is passed over.
    fn skip(&mut self, body: Body, input: &mut Input<'_>, output: &mut Output<'_>) -> Option<Body> {
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
    fn copy(
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
                // Without its last chunk the answer is not complete, as the client can see.
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

impl Http {
    /// Goes on with a head.
    fn head(
        &self,
        state: &mut HttpState,
        scanned: usize,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Step {
        if input.bytes().starts_with(b"\r\n") {
            // An empty line too many after the body of the last request.
            input.consume(2);
            state.stage = Stage::Head { scanned: 0, ends: None };
            return Step::Done;
        }
        let end = match head::find_end(input.bytes(), scanned) {
            _ if !head::can_begin(input.bytes()) => Err(Status::BadRequest),
            Ok(None) if input.is_full() => Err(Status::HeadTooLarge),
            other => other,
        };
        let parsed = match end {
            Ok(Some(end)) => {
                let bytes = input.bytes().get(..end).unwrap_or_default();
                input.consume(end);
                head::parse(bytes)
            }
            Ok(None) => {
                if let Stage::Head { scanned, .. } = &mut state.stage {
                    *scanned = input.len();
                }
                return Step::NeedsInput;
            }
            Err(status) => Err(status.into()),
        };
        match parsed {
            Ok(head) => self.take(state, head, output, context),
            Err(refusal) => state.refuse(refusal, output),
        }
        Step::Done
    }

    /// Takes a request whose head is here.
    fn take(&self, state: &mut HttpState, head: Head, output: &mut Output<'_>, context: Context) {
        let with_body = head.method == Method::Get;
        let what = match (head.method, head.target) {
            (Method::Post, _) => What::Itself(head.framing),
            (_, Target::Page) => What::Page { size: self.page, with_body },
            (_, Target::Bytes(size)) => What::Page { size, with_body },
            (_, Target::Missing) => What::Missing { with_body },
        };
        let Head { is_old, closes, .. } = head;
        state.answer = Answer { what, is_old, closes, is_announced: false };
        let has_body = head.framing != Framing::Sized(0);
        if has_body && head.expects_continue {
            reply::put_continue(output);
        }
        if has_body && head.method != Method::Post {
            state.stage = Stage::Skip(Body::new(head.framing));
        } else {
            if !has_body {
                output.begin_request();
            }
            self.delay(state, output, context);
        }
    }

    /// Begins the answer to a request when it is its time.
    fn delay(&self, state: &mut HttpState, output: &mut Output<'_>, context: Context) {
        if self.delay.is_zero() {
            state.begin(output, context);
        } else {
            state.stage = Stage::Delay { due: context.now.checked_add(self.delay) };
        }
    }
}

impl Protocol for Http {
    type State = HttpState;

    fn open(&mut self, _: Option<SocketAddr>, _: Context) -> HttpState {
        let what = What::Missing { with_body: true };
        let answer = Answer { what, is_old: false, closes: false, is_announced: false };
        HttpState { stage: Stage::Head { scanned: 0, ends: None }, answer }
    }

    fn input(
        &mut self,
        state: &mut HttpState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        while !input.is_empty() && output.room() >= HEAD_ROOM {
            let before = input.len();
            match state.stage {
                Stage::Head { scanned, .. } => {
                    if self.head(state, scanned, input, output, context) == Step::NeedsInput {
                        break;
                    }
                }
                Stage::Skip(body) => match state.skip(body, input, output) {
                    Some(body) => state.stage = Stage::Skip(body),
                    None if matches!(state.stage, Stage::Over) => {}
                    None => {
                        output.begin_request();
                        self.delay(state, output, context);
                    }
                },
                Stage::Copy(body) => state.copy(body, input, output, context),
                Stage::Delay { .. } | Stage::Send { .. } | Stage::Over => break,
            }
            if matches!(state.stage, Stage::Skip(_) | Stage::Copy(_)) && input.len() == before {
                break;
            }
        }
        state.next()
    }

    fn resume(&mut self, state: &mut HttpState, output: &mut Output<'_>, context: Context) -> Next {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| context.now >= due);
        match state.stage {
            Stage::Delay { due } if is_due(due) => state.begin(output, context),
            Stage::Send { .. } => state.send(output, context.now),
            // A part of a request is waited for, however slowly it comes.
            Stage::Head { scanned: 0, ends } if is_due(ends) => state.stage = Stage::Over,
            _ => {}
        }
        state.next()
    }

    fn deadline(&self, state: &HttpState) -> Option<Instant> {
        match state.stage {
            Stage::Delay { due } => due,
            Stage::Head { scanned: 0, ends } => ends,
            _ => None,
        }
    }
}
