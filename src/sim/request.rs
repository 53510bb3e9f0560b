//! Requests of HTTP/1.1 with the answers that are right for them, told independently of the
//! server's code.

use super::random::Random;

/// What a page is made of.
const PAGE: &[u8; 13] = b"hello, world\n";

/// One request of a text.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Where its head ends, and where it ends itself.
    pub(super) head: u64,
    pub(super) end: u64,
    answer: Answer,
    /// It is the last one of its connection.
    pub(super) is_last: bool,
}

#[derive(Clone, Debug)]
enum Answer {
    Page { size: usize, with_body: bool },
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    Status(&'static str),
}

/// The requests of a text.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    all: Vec<Request>,
    len: u64,
}

impl Requests {
    /// Draws a text and its requests.
    pub(super) fn new(number: u64) -> (Vec<u8>, Self) {
        let mut random = Random::new(7_541 + number);
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        let most = [200, 2_000, 20_000, 300_000, 200, 2_000][number as usize];
        while all.len() < 60 {
            let (head, body, answer, is_last) = draw(&mut random, most, number >= 4);
            bytes.extend_from_slice(head.as_bytes());
            let head = bytes.len() as u64;
            bytes.extend_from_slice(&body);
            all.push(Request { head, end: bytes.len() as u64, answer, is_last });
        }
        let len = bytes.len() as u64;
        (bytes, Self { all, len })
    }

    /// The request of a number, with its places in the stream.
    pub(super) fn get(&self, number: usize) -> Request {
        let count = self.all.len();
        let request = &self.all[number % count];
        let before = (number / count) as u64 * self.len;
        Request { head: before + request.head, end: before + request.end, ..request.clone() }
    }
}

impl Request {
    /// The right answer. `is_announced`: the server stops.
    pub(super) fn answer(&self, is_announced: bool) -> Vec<u8> {
        let closes = is_announced || self.is_last;
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let start = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n");
        let sized = |status, len: usize, body: &[u8]| {
            let head = format!("{}Content-Length: {len}\r\n{connection}\r\n", start(status));
            [head.as_bytes(), body].concat()
        };
        match &self.answer {
            Answer::Page { size, with_body: false } => sized("200 OK", *size, b""),
            Answer::Page { size, .. } => {
                let body: Vec<u8> = PAGE.iter().copied().cycle().take(*size).collect();
                sized("200 OK", *size, &body)
            }
            Answer::Sized(body) => sized("200 OK", body.len(), body),
            Answer::Status(status) => {
                let body = format!("{status}\n");
                sized(status, body.len(), body.as_bytes())
            }
            Answer::Chunked(chunks) => {
                let head =
                    format!("{}Transfer-Encoding: chunked\r\n{connection}\r\n", start("200 OK"));
                let mut answer = head.into_bytes();
                for chunk in chunks {
                    answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    answer.extend_from_slice(chunk);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\n\r\n");
                answer
            }
        }
    }
}

/// A head, a body, the answer, and whether the connection ends with it.
fn draw(random: &mut Random, most: u64, may_end: bool) -> (String, Vec<u8>, Answer, bool) {
    let host = "Host: a\r\n";
    let text = |random: &mut Random, most| -> Vec<u8> {
        (0..random.size(most)).map(|_| random.next() as u8).collect()
    };
    match random.below(if may_end { 48 } else { 45 }) {
        0..15 => {
            let answer = Answer::Page { size: 13, with_body: true };
            (format!("GET / HTTP/1.1\r\n{host}\r\n"), Vec::new(), answer, false)
        }
        15..22 => {
            let size = random.size(most) as usize;
            let answer = Answer::Page { size, with_body: true };
            (format!("GET /bytes/{size} HTTP/1.1\r\n{host}\r\n"), Vec::new(), answer, false)
        }
        22..26 => {
            let answer = Answer::Page { size: 77, with_body: false };
            (format!("HEAD /bytes/77 HTTP/1.1\r\n{host}\r\n"), Vec::new(), answer, false)
        }
        26..29 => {
            let answer = Answer::Status("404 Not Found");
            (format!("GET /bytes/x HTTP/1.1\r\n{host}\r\n"), Vec::new(), answer, false)
        }
        29..37 => {
            let body = text(random, most);
            let length = body.len();
            let head = format!("POST / HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n");
            (head, body.clone(), Answer::Sized(body), false)
        }
        37..45 => {
            let chunks: Vec<_> = (0..random.below(5)).map(|_| text(random, most / 4 + 1)).collect();
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\nTrailer: t\r\n\r\n");
            let head = format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n");
            (head, body, Answer::Chunked(chunks), false)
        }
        45 => {
            let answer = Answer::Page { size: 13, with_body: true };
            let head = format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
            (head, Vec::new(), answer, true)
        }
        46 => {
            let answer = Answer::Status("501 Not Implemented");
            (format!("BREW / HTTP/1.1\r\n{host}\r\n"), Vec::new(), answer, true)
        }
        _ => {
            let answer = Answer::Status("400 Bad Request");
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Vec::new(), answer, true)
        }
    }
}
