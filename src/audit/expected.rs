//! The right answer of a target, as it was learned before the stop.

use super::class::Ending;

/// Bodies beyond this are compared by their length alone.
pub(super) const BODY_MAX: usize = 8 * 1024 * 1024;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length; no body is a body of length 0.
    Length,
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// Whether the body is the expected one; `true` where none is expected.
    pub(super) is_same: bool,
}

/// The body that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// These bytes and no others.
    Bytes(Vec<u8>),
    /// It differs from request to request.
    Any,
}

/// What is known of the right answer to one form of request.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) statuses: Vec<u16>,
    pub(super) framings: Vec<Framing>,
    pub(super) body: Body,
}

impl Expected {
    /// Learns from a first answer.
    pub(super) fn new(found: &Found, body: Option<Vec<u8>>) -> Self {
        let body = body.map_or(Body::Any, Body::Bytes);
        Self { statuses: vec![found.status], framings: vec![found.framing], body }
    }

    /// Learns from a further answer, whose body is not compared if it differs.
    pub(super) fn add(&mut self, found: &Found) {
        if !self.statuses.contains(&found.status) {
            self.statuses.push(found.status);
        }
        if !self.framings.contains(&found.framing) {
            self.framings.push(found.framing);
        }
        if !found.is_same {
            self.body = Body::Any;
        }
    }

    /// Judges a whole answer. Before the stop another body is no mistake: it is learned that the
    /// body differs.
    pub(super) fn judge(&mut self, found: &Found, may_learn: bool) -> Ending {
        if !self.statuses.contains(&found.status) {
            let declines = matches!(found.status, 429 | 503);
            return if declines { Ending::Declined } else { Ending::Wrong };
        }
        if may_learn {
            self.add(found);
        }
        match self.body {
            Body::Bytes(_) if found.is_same => Ending::Right,
            Body::Bytes(_) => Ending::Wrong,
            // That a body is whole can be known only where its end is marked.
            Body::Any if found.framing == Framing::Close => {
                let is_known = self.framings.contains(&Framing::Close);
                if is_known { Ending::Right } else { Ending::Wrong }
            }
            Body::Any => Ending::Right,
        }
    }

    /// Returns the body to compare with.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Bytes(bytes) => Some(bytes),
            Body::Any => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Found = Found { status: 200, framing: Framing::Length, is_same: true };

    #[test]
    fn another_body_is_wrong_unless_bodies_differ() {
        let mut expected = Expected::new(&GOOD, Some(b"x".to_vec()));
        let other = Found { is_same: false, ..GOOD };
        assert_eq!(expected.judge(&other, false), Ending::Wrong);
        assert_eq!(expected.judge(&other, true), Ending::Right);
        assert_eq!(expected.judge(&other, false), Ending::Right);
        let unmarked = Found { framing: Framing::Close, ..GOOD };
        assert_eq!(expected.judge(&unmarked, false), Ending::Wrong);
    }

    #[test]
    fn a_status_that_was_not_learned_is_wrong_or_declined() {
        let mut expected = Expected::new(&GOOD, Some(Vec::new()));
        for (status, ending) in [
            (200, Ending::Right),
            (503, Ending::Declined),
            (429, Ending::Declined),
            (500, Ending::Wrong),
        ] {
            assert_eq!(expected.judge(&Found { status, ..GOOD }, true), ending);
        }
        expected.add(&Found { status: 503, ..GOOD });
        assert_eq!(expected.judge(&Found { status: 503, ..GOOD }, false), Ending::Right);
    }
}
