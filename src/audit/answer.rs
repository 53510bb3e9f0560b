//! An answer on its way, in the protocol of the target.

use super::class::Ending;
use super::expected::Expected;
use super::response::Reading;
use super::response::Response;

/// An answer on its way.
#[derive(Debug)]
pub(super) enum Answer {
    Http(Response),
    /// The request itself comes back; so many bytes of it have.
    Echo {
        got: usize,
    },
}

/// What the bytes or the end of a connection meant for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    More,
    /// The answer is whole: judged, and whether the connection can carry another request.
    Whole {
        ending: Ending,
        persists: bool,
    },
}

impl Answer {
    /// Takes bytes. `expected` is what the target's right answer is, for HTTP; `request` what was
    /// sent.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        request: &[u8],
        expected: &mut Option<Expected>,
        may_learn: bool,
    ) -> Meaning {
        let wrong = Meaning::Whole { ending: Ending::Wrong, persists: false };
        match self {
            Self::Echo { got } => {
                let end = got.saturating_add(bytes.len());
                if request.get(*got..end) != Some(bytes) {
                    return wrong;
                }
                *got = end;
                let is_whole = end == request.len();
                let whole = Meaning::Whole { ending: Ending::Right, persists: true };
                if is_whole { whole } else { Meaning::More }
            }
            Self::Http(response) => {
                match response.feed(bytes, expected.as_ref()) {
                    Reading::More => Meaning::More,
                    Reading::Complete(0) => judge(response, expected, may_learn),
                    // More than was asked for: what follows cannot be told from the next answer.
                    Reading::Complete(_) | Reading::Broken => wrong,
                }
            }
        }
    }

    /// Takes the FIN, which is the end of some answers.
    pub(super) fn feed_fin(&mut self, expected: &mut Option<Expected>, may_learn: bool) -> Meaning {
        let Self::Http(response) = self else { return Meaning::More };
        if !response.feed_fin(expected.as_ref()) {
            return Meaning::More;
        }
        judge(response, expected, may_learn)
    }

    /// Returns whether the answer said that the connection will be closed.
    pub(super) fn announces_close(&self) -> bool {
        matches!(self, Self::Http(response) if response.announces_close())
    }
}

fn judge(response: &Response, expected: &mut Option<Expected>, may_learn: bool) -> Meaning {
    let found = response.found();
    let ending = expected.as_mut().map_or(Ending::Wrong, |right| right.judge(&found, may_learn));
    Meaning::Whole { ending, persists: response.persists() }
}
