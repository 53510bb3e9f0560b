//! What is served: the echo, lines or HTTP, and what a client asks and gets.

/// A protocol that netgrace and its peers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Echo,
    Line,
    Http,
}

/// Bytes of a line with its end.
const LINE: usize = 64;
/// Bytes of the body of an answer of HTTP.
const BODY: usize = 13;

impl Service {
    /// How netgrace is told to serve it.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Echo => &[],
            Self::Line => &["--protocol", "line"],
            Self::Http => &["--protocol", "http"],
        }
    }

    /// What a client sends.
    pub fn request(self) -> Vec<u8> {
        match self {
            Self::Echo | Self::Line => {
                let mut line: Vec<u8> = (b'!'..).take(LINE - 1).collect();
                line.push(b'\n');
                line
            }
            Self::Http => {
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
                    .to_vec()
            }
        }
    }

    /// Returns the length of the first answer, once it is there as a whole.
    ///
    /// # Errors
    ///
    /// When it is not the right one.
    pub fn length(self, received: &[u8]) -> Result<Option<usize>, String> {
        match self {
            Self::Echo | Self::Line => {
                let request = self.request();
                let length = request.len().min(received.len());
                if received[..length] != request[..length] {
                    return Err("a line came back changed".to_owned());
                }
                Ok(Some(request.len()).filter(|_| length == request.len()))
            }
            Self::Http => {
                let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return Ok(None);
                };
                let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
                let length = format!("\r\ncontent-length: {BODY}");
                if !text.starts_with("http/1.1 200 ") || !text.contains(&length) {
                    return Err(format!("not the right answer: {text}"));
                }
                Ok(Some(head + 4 + BODY).filter(|length| *length <= received.len()))
            }
        }
    }

    /// Returns whether an answer is that of the first request but for its date, which has the same
    /// length at any time.
    pub fn is_same(self, answer: &[u8], first: &[u8]) -> bool {
        match self {
            Self::Echo | Self::Line => answer == first,
            Self::Http => {
                let body = first.len() - BODY;
                answer.len() == first.len()
                    && answer.starts_with(b"HTTP/1.1 200 ")
                    && answer[body..] == first[body..]
            }
        }
    }
}
