//! The chunked transfer coding, decoded piece by piece.

/// The longest line of a chunk's size or of a trailer.
const LINE_MAX: usize = 16 * 1024;

/// How far a chunked body has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Within the line that gives the size of the next chunk.
    Size(Vec<u8>),
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// Within the line end behind a chunk.
    DataEnd(Vec<u8>),
    /// Within a line of the trailer section.
    Trailer(Vec<u8>),
    /// The empty line at the end was read.
    Complete,
    /// This is no chunked body.
    Broken,
}

/// What the first bytes of a piece turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes of body.
    Body(usize),
    /// So many bytes that are not body.
    Frame(usize),
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// Takes some of the bytes, at least one unless there is none or the body has ended.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Complete | Self::Broken => Step::Frame(0),
            Self::Data(left) => {
                let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*left);
                *left = left.saturating_sub(have);
                if *left == 0 {
                    *self = Self::DataEnd(Vec::new());
                }
                Step::Body(usize::try_from(have).unwrap_or(0))
            }
            Self::Size(line) | Self::DataEnd(line) | Self::Trailer(line) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let taken = end.map_or(bytes.len(), |end| end.saturating_add(1));
                line.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                if end.is_some() {
                    self.end_line();
                } else if line.len() > LINE_MAX {
                    *self = Self::Broken;
                }
                Step::Frame(taken)
            }
        }
    }

    fn end_line(&mut self) {
        *self = match self {
            Self::Size(line) => match httparse::parse_chunk_size(line) {
                Ok(httparse::Status::Complete((_, 0))) => Self::Trailer(Vec::new()),
                Ok(httparse::Status::Complete((_, size))) => Self::Data(size),
                _ => Self::Broken,
            },
            Self::DataEnd(line) if line == b"\r\n" => Self::new(),
            Self::Trailer(line) if line == b"\r\n" => Self::Complete,
            Self::Trailer(_) => Self::Trailer(Vec::new()),
            _ => Self::Broken,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8], piece: usize) -> (Vec<u8>, Chunked, usize) {
        let (mut body, mut chunked, mut taken) = (Vec::new(), Chunked::new(), 0);
        while !bytes.is_empty() && !matches!(chunked, Chunked::Complete | Chunked::Broken) {
            let part = &bytes[..piece.min(bytes.len())];
            let count = match chunked.step(part) {
                Step::Body(count) => {
                    body.extend_from_slice(&part[..count]);
                    count
                }
                Step::Frame(count) => count,
            };
            bytes = &bytes[count..];
            taken = usize::saturating_add(taken, count);
        }
        (body, chunked, taken)
    }

    #[test]
    fn pieces_of_any_size_give_the_same_body() {
        let text = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\nrest";
        for piece in 1..text.len() {
            let (body, chunked, taken) = decode(text, piece);
            assert_eq!((body.as_slice(), chunked), (&b"hello!"[..], Chunked::Complete));
            assert_eq!(&text[taken..], b"rest");
        }
    }

    #[test]
    fn what_is_no_chunk_is_found_out() {
        for text in [&b"x\r\n"[..], b"1\r\nab\r\n", b"-1\r\n"] {
            assert_eq!(decode(text, 3).1, Chunked::Broken);
        }
        assert_ne!(decode(b"5\r\nhello\r\n0\r\n", 4).1, Chunked::Complete);
    }
}
