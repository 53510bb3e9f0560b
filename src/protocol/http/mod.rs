//! HTTP/1.1: a small server that load tools and scanners can be pointed at.

mod chunk;
mod exchange;
mod head;
mod reply;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use self::exchange::HttpState;
use self::exchange::{Answer, Body, Stage, What};
use self::head::{Framing, Head, Method, Target};
use self::reply::{HEAD_ROOM, PAGE, Status};
use crate::protocol::context::Context;
use crate::protocol::contract::Protocol;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// An HTTP/1.1 server without files.
///
/// GET and HEAD are answered with a page of a chosen size, for every path; `/bytes/N` has N bytes,
/// up to 1 TiB. POST is answered with its body, in the framing in which it comes, while it comes.
/// Connections persist, requests may be pipelined. From the beginning of a stop on, an answer says
/// `Connection: close` unless the next request is here already: after these words a client reads
/// no further answer. Requests that come all the same are answered.
///
/// What cannot be understood in one way only is refused with 400: other ends of line than CRLF,
/// folded fields, spaces before a colon, two lengths. Further refusals: 404 for `/bytes/` without a
/// number, 413 for a body of more than 1 GiB, 417, 431 for a head of more than 64 KiB or 128
/// fields, 501 for other methods and codings, 505. All but 404 end the connection. A body that
/// turns out to be bad when a part of it has been answered ends the connection without the end of
/// the answer's body, and this is the answer.
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

/// Whether the next step can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    NeedsInput,
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
            if let Stage::Head { scanned, .. } = &mut state.stage {
                *scanned = 0;
            }
            return Step::Done;
        }
        let end = match head::find_end(input.bytes(), scanned) {
            _ if !head::can_begin(input.bytes()) => Err(Status::BadRequest),
            Ok(None) if input.is_full() => Err(Status::HeadTooLarge),
            other => other,
        };
        let (parsed, rest) = match end {
            Ok(Some(end)) => {
                let (bytes, rest) = input.bytes().split_at_checked(end).unwrap_or_default();
                input.consume(end);
                (head::parse(bytes), rest)
            }
            Ok(None) => {
                if let Stage::Head { scanned, .. } = &mut state.stage {
                    *scanned = input.len();
                }
                return Step::NeedsInput;
            }
            Err(status) => (Err(status.into()), &[][..]),
        };
        match parsed {
            Ok(head) => self.take(state, head, rest, output, context),
            Err(refusal) => state.refuse(refusal, output),
        }
        Step::Done
    }

    /// Takes a request whose head is here; `rest` is what came behind that.
    fn take(
        &self,
        state: &mut HttpState,
        head: Head,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) {
        let with_body = head.method == Method::Get;
        let what = match (head.method, head.target) {
            (Method::Post, _) => What::Itself(head.framing),
            (_, Target::Page) => What::Page { size: self.page, with_body },
            (_, Target::Bytes(size)) => What::Page { size, with_body },
            (_, Target::Missing) => What::Missing { with_body },
        };
        let Head { is_old, closes, .. } = head;
        // Asked for only where it matters.
        let may_end = context.is_stopping() || !self.delay.is_zero();
        let is_followed = may_end && head::is_followed(head.framing, rest);
        state.answer = Answer { what, is_old, closes, is_followed, is_announced: false };
        let has_body = head.framing != Framing::Sized(0);
        if has_body && head.expects_continue {
            reply::put_continue(output);
        }
        // Also where a body is to come: what never comes in full is given up by the client.
        output.begin_request();
        if has_body && head.method != Method::Post {
            state.stage = Stage::Skip(Body::new(head.framing));
        } else {
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

    fn name(&self) -> &'static str {
        "http"
    }

    fn open(&mut self, _: Option<SocketAddr>, _: Context) -> HttpState {
        let what = What::Missing { with_body: true };
        let answer =
            Answer { what, is_old: false, closes: false, is_followed: false, is_announced: false };
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
                    None => self.delay(state, output, context),
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
