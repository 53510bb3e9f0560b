//! The heads of answers, and their bodies.

use std::io::Write;

use crate::protocol::output::Output;

/// Room that a head and the framing of a piece of a body take at most.
pub(super) const HEAD_ROOM: usize = 1 << 10;

/// Length of the answer to GET unless another one is chosen.
pub(super) const PAGE: u64 = 13;

/// How it is told: formatting a number costs more than all other lines.
const PAGE_LENGTH: &str = "Content-Length: 13\r\n";

/// What bodies are made of, over and over: 13 bytes.
const TEXT: &[u8; 13] = b"hello, world\n";

/// Repetitions of it, which are copied at once.
const BLOCK: &[u8] = {
    const SIXTEEN: [[u8; 13]; 16] = [*TEXT; 16];
    const ALL: [[[u8; 13]; 16]; 20] = [SIXTEEN; 20];
    ALL.as_flattened().as_flattened()
};

/// A status other than 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    BadRequest,
    NotFound,
    BodyTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    NotImplemented,
    VersionNotSupported,
}

impl Status {
    /// Its number and name, as a line.
    fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request\n",
            Self::NotFound => "404 Not Found\n",
            Self::BodyTooLarge => "413 Content Too Large\n",
            Self::ExpectationFailed => "417 Expectation Failed\n",
            Self::HeadTooLarge => "431 Request Header Fields Too Large\n",
            Self::NotImplemented => "501 Not Implemented\n",
            Self::VersionNotSupported => "505 HTTP Version Not Supported\n",
        }
    }
}

/// How the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Sized(u64),
    Chunked,
}

/// What an answer says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: HTTP/1.1 stays.
    Stays,
    /// It stays, other than HTTP/1.0 would.
    KeepAlive,
    /// The last answer.
    Close,
}

impl Persistence {
    fn header(self) -> &'static str {
        match self {
            Self::Stays => "",
            Self::KeepAlive => "Connection: keep-alive\r\n",
            Self::Close => "Connection: close\r\n",
        }
    }
}

/// Puts the head of a 200.
pub(super) fn put_head(output: &mut Output<'_>, length: Length, persistence: Persistence) {
    const START: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    put_all(output, START.as_bytes());
    match length {
        Length::Sized(PAGE) => put_all(output, PAGE_LENGTH.as_bytes()),
        Length::Sized(size) => {
            let written = write!(output, "Content-Length: {size}\r\n");
            debug_assert!(written.is_ok(), "there is room for a head");
        }
        Length::Chunked => put_all(output, b"Transfer-Encoding: chunked\r\n"),
    }
    put_all(output, persistence.header().as_bytes());
    put_all(output, b"\r\n");
}

/// Puts a whole answer of another status.
pub(super) fn put_status(
    output: &mut Output<'_>,
    status: Status,
    persistence: Persistence,
    with_body: bool,
) {
    let line = status.line();
    let (name, length, connection) = (line.trim_end(), line.len(), persistence.header());
    let body = if with_body { line } else { "" };
    let written = write!(
        output,
        "HTTP/1.1 {name}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         {connection}\r\n{body}"
    );
    debug_assert!(written.is_ok(), "there is room for an answer");
}

/// Has the client send the body that it announced.
pub(super) fn put_continue(output: &mut Output<'_>) {
    put_all(output, b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Puts the line before a chunk.
pub(super) fn put_chunk_size(output: &mut Output<'_>, size: u64) {
    let written = write!(output, "{size:x}\r\n");
    debug_assert!(written.is_ok(), "there is room for a line");
}

/// Puts what fits of a body of `size` bytes of which `left` are left. Returns how many then are.
pub(super) fn put_page(output: &mut Output<'_>, size: u64, mut left: u64) -> u64 {
    while left > 0 && output.room() > 0 {
        // The text goes on where it was, in blocks that begin where the text does.
        let at = size.saturating_sub(left).checked_rem(TEXT.len() as u64).unwrap_or(0);
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let block = BLOCK.get(usize::try_from(at).unwrap_or(0)..).unwrap_or_default();
        let put = output.put_some(block.get(..most).unwrap_or(block));
        left = left.saturating_sub(put as u64);
    }
    left
}

/// Puts bytes for which there is room.
pub(super) fn put_all(output: &mut Output<'_>, bytes: &[u8]) {
    let fits = output.put(bytes);
    debug_assert!(fits, "there is room for {} bytes", bytes.len());
}
