//! An HTTP/1 response, read piece by piece and compared on the way.

use super::chunked::Chunked;
use super::chunked::Step;
use super::expected::BODY_MAX;
use super::expected::Expected;
use super::expected::Found;
use super::expected::Framing;

/// The longest head of a response.
const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;

/// How far it has been read.
#[derive(Debug)]
enum Stage {
    Head(Vec<u8>),
    /// So many bytes of the body are to come.
    Length(u64),
    Chunked(Chunked),
    /// The body ends with the connection.
    ToClose,
    Complete,
    Broken,
}

/// What a piece has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    More,
    /// The answer is whole, and so many bytes of the piece are not part of it.
    Complete(usize),
    /// This is no answer.
    Broken,
}

/// A response on its way.
#[derive(Debug)]
pub(super) struct Response {
    stage: Stage,
    status: u16,
    framing: Framing,
    announces_close: bool,
    persists: bool,
    /// Bytes of the body so far.
    length: usize,
    /// Whether the body so far is how the expected one begins.
    is_same: bool,
    /// The body itself, where it is to be learned.
    body: Option<Vec<u8>>,
}

/// The parts of a head that matter here.
struct Head {
    length: usize,
    status: u16,
    stage: Stage,
    announces_close: bool,
    persists: bool,
}

impl Response {
    pub(super) fn new(is_learning: bool) -> Self {
        Self {
            stage: Stage::Head(Vec::new()),
            status: 0,
            framing: Framing::Length,
            announces_close: false,
            persists: false,
            length: 0,
            is_same: true,
            body: is_learning.then(Vec::new),
        }
    }

    /// Takes the next bytes of the connection.
    pub(super) fn feed(&mut self, bytes: &[u8], right: Option<&Expected>) -> Reading {
        let mut rest = bytes;
        loop {
            match &mut self.stage {
                Stage::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(rest);
                    match parse(head) {
                        Ok(None) if head.len() <= HEAD_MAX => return Reading::More,
                        Ok(Some(parsed)) => {
                            let from = parsed.length.saturating_sub(before);
                            rest = rest.get(from..).unwrap_or_default();
                            self.begin(parsed);
                        }
                        Ok(None) | Err(()) => self.stage = Stage::Broken,
                    }
                }
                Stage::Complete => {
                    let expected = self.expected(right);
                    self.is_same &= expected.is_none_or(|body| body.len() == self.length);
                    return Reading::Complete(rest.len());
                }
                Stage::Broken => return Reading::Broken,
                _ if rest.is_empty() => return Reading::More,
                _ => {
                    let (body, taken) = self.step(rest);
                    self.take_body(rest.get(..body).unwrap_or_default(), self.expected(right));
                    rest = rest.get(taken..).unwrap_or_default();
                }
            }
        }
    }

    /// Takes the end of the connection, which may be the end of the body.
    pub(super) fn feed_fin(&mut self, right: Option<&Expected>) -> bool {
        if !matches!(self.stage, Stage::ToClose) {
            return false;
        }
        let expected = self.expected(right);
        // Too short a beginning of the right body was cut off, not answered wrongly.
        if self.is_same && expected.is_some_and(|body| body.len() > self.length) {
            return false;
        }
        self.stage = Stage::Complete;
        self.feed(&[], right) == Reading::Complete(0)
    }

    /// Returns the body to compare with, once the status says that there is one.
    fn expected<'e>(&self, right: Option<&'e Expected>) -> Option<&'e [u8]> {
        right.filter(|right| right.statuses.contains(&self.status)).and_then(Expected::bytes)
    }

    fn begin(&mut self, head: Head) {
        self.status = head.status;
        self.announces_close = head.announces_close;
        self.persists = head.persists;
        self.framing = match head.stage {
            Stage::ToClose => Framing::Close,
            Stage::Chunked(_) => Framing::Chunked,
            _ => Framing::Length,
        };
        self.stage = head.stage;
    }

    /// Takes some bytes behind the head; returns how many of them are body, and how many it took.
    fn step(&mut self, bytes: &[u8]) -> (usize, usize) {
        match &mut self.stage {
            Stage::Length(left) => {
                let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*left);
                *left = left.saturating_sub(have);
                if *left == 0 {
                    self.stage = Stage::Complete;
                }
                let have = usize::try_from(have).unwrap_or(0);
                (have, have)
            }
            Stage::Chunked(chunked) => {
                let step = chunked.step(bytes);
                match chunked {
                    Chunked::Complete => self.stage = Stage::Complete,
                    Chunked::Broken => self.stage = Stage::Broken,
                    _ => {}
                }
                match step {
                    Step::Body(count) => (count, count),
                    Step::Frame(count) => (0, count),
                }
            }
            _ => (bytes.len(), bytes.len()),
        }
    }

    fn take_body(&mut self, bytes: &[u8], expected: Option<&[u8]>) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(expected) = expected {
            self.is_same &= expected.get(self.length..end) == Some(bytes);
        }
        self.length = end;
        if let Some(body) = &mut self.body {
            body.extend_from_slice(bytes);
            if body.len() > BODY_MAX {
                self.body = None;
            }
        }
    }

    /// Returns whether the answer said `Connection: close`.
    pub(super) fn announces_close(&self) -> bool {
        self.announces_close
    }

    /// Returns whether the connection can carry another request.
    pub(super) fn persists(&self) -> bool {
        self.persists && self.framing != Framing::Close
    }

    /// Returns what the whole answer is.
    pub(super) fn found(&self) -> Found {
        Found { status: self.status, framing: self.framing, is_same: self.is_same }
    }

    /// Takes the body that was to be learned; `None`: it is too long to be kept.
    pub(super) fn take_learned(&mut self) -> Option<Vec<u8>> {
        self.body.take()
    }
}

/// Parses the first head that is not an interim response; `None`: there is more to come.
fn parse(bytes: &[u8]) -> Result<Option<Head>, ()> {
    let mut skipped = 0_usize;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let rest = bytes.get(skipped..).unwrap_or_default();
        let length = match response.parse(rest).map_err(|_| ())? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => skipped.saturating_add(length),
        };
        let status = response.code.ok_or(())?;
        if (100..200).contains(&status) && status != 101 {
            skipped = length;
            continue;
        }
        let is_http_1_1 = response.version == Some(1);
        let (announces_close, keeps_alive) = connection(response.headers);
        return Ok(Some(Head {
            length,
            status,
            stage: framing(status, response.headers)?,
            announces_close,
            persists: !announces_close && (is_http_1_1 || keeps_alive),
        }));
    }
}

/// Returns whether a `Connection` header says `close`, and whether one says `keep-alive`.
fn connection(headers: &[httparse::Header<'_>]) -> (bool, bool) {
    let says = |option: &str| {
        let mut options = values(headers, "connection").flat_map(|value| value.split(','));
        options.any(|found| found.trim().eq_ignore_ascii_case(option))
    };
    (says("close"), says("keep-alive"))
}

fn values<'h>(headers: &'h [httparse::Header<'_>], name: &'h str) -> impl Iterator<Item = &'h str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| str::from_utf8(header.value).unwrap_or("?"))
}

fn framing(status: u16, headers: &[httparse::Header<'_>]) -> Result<Stage, ()> {
    if matches!(status, 204 | 304) {
        return Ok(Stage::Complete);
    }
    let codings = values(headers, "transfer-encoding").flat_map(|value| value.split(','));
    if let Some(coding) = codings.last() {
        let is_chunked = coding.trim().eq_ignore_ascii_case("chunked");
        return Ok(if is_chunked { Stage::Chunked(Chunked::new()) } else { Stage::ToClose });
    }
    let mut lengths = values(headers, "content-length").flat_map(|value| value.split(','));
    let Some(length) = lengths.next() else { return Ok(Stage::ToClose) };
    if lengths.any(|other| other.trim() != length.trim()) {
        return Err(());
    }
    match length.trim().parse::<u64>() {
        Ok(0) => Ok(Stage::Complete),
        Ok(length) => Ok(Stage::Length(length)),
        Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(body: &[u8]) -> Expected {
        let found = Found { status: 200, framing: Framing::Length, is_same: true };
        Expected::new(&found, Some(body.to_vec()))
    }

    /// Feeds a text in pieces; returns the reading of the last piece and the response.
    fn read(text: &str, piece: usize, expected: Option<&[u8]>) -> (Reading, Response) {
        let right = expected.map(right);
        let right = right.as_ref();
        let mut response = Response::new(true);
        let mut last = Reading::More;
        for part in text.as_bytes().chunks(piece) {
            last = response.feed(part, right);
            if last != Reading::More {
                break;
            }
        }
        (last, response)
    }

    #[test]
    fn a_length_ends_the_body() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for piece in 1..=text.len() {
            let (reading, mut response) = read(text, piece, Some(b"hello"));
            assert_eq!(reading, Reading::Complete(0));
            let found = Found { status: 200, framing: Framing::Length, is_same: true };
            assert_eq!(response.found(), found);
            assert!(response.persists() && !response.announces_close());
            assert_eq!(response.take_learned().as_deref(), Some(&b"hello"[..]));
        }
        let (reading, _) = read(&format!("{text}more"), 1000, None);
        assert_eq!(reading, Reading::Complete(4));
    }

    #[test]
    fn chunks_interim_responses_and_empty_answers_are_read() {
        let text = "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x, Close\r\n\r\n\
            3\r\nabc\r\n0\r\n\r\n";
        for piece in [1, 7, 1000] {
            let (reading, response) = read(text, piece, Some(b"abc"));
            assert_eq!(reading, Reading::Complete(0));
            assert!(response.found().is_same && response.announces_close());
            assert_eq!(response.found().framing, Framing::Chunked);
        }
        for text in ["HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] {
            assert_eq!(read(text, 1000, None).0, Reading::Complete(0));
        }
    }

    #[test]
    fn the_end_of_the_connection_ends_a_body_without_a_length() {
        let text = "HTTP/1.0 200 OK\r\n\r\nhello";
        let (reading, mut response) = read(text, 3, Some(b"hello"));
        assert_eq!(reading, Reading::More);
        assert!(response.feed_fin(Some(&right(b"hello"))));
        assert!(response.found().is_same && !response.persists());
        let (_, mut response) = read(text, 3, Some(b"hello, world"));
        assert!(!response.feed_fin(Some(&right(b"hello, world"))), "cut off");
        let (_, mut response) = read(text, 3, Some(b"HELLO"));
        assert!(response.feed_fin(Some(&right(b"HELLO"))) && !response.found().is_same);
    }

    #[test]
    fn a_short_answer_of_another_status_is_not_cut_off() {
        let (_, mut response) = read("HTTP/1.1 503 Busy\r\n\r\nhel", 9, Some(b"hello"));
        assert!(response.feed_fin(Some(&right(b"hello"))));
    }

    #[test]
    fn other_bytes_are_no_answer() {
        for text in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert_eq!(read(text, 1000, None).0, Reading::Broken);
        }
        let twice = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
        assert_eq!(read(twice, 1000, None).0, Reading::Broken);
        let (reading, response) =
            read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO", 9, Some(b"hello"));
        assert!(reading == Reading::Complete(0) && !response.found().is_same);
    }

    #[test]
    fn http_1_0_persists_only_when_it_says_so() {
        let text = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert!(!read(text, 1000, None).1.persists());
        let text = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
        assert!(read(text, 1000, None).1.persists());
    }
}
