//! The chunks of a body.

use super::head::{BODY_MAX, is_token};
use super::reply::Status;
use crate::protocol::scan::find;

/// The longest line that tells a chunk's size, its extensions included.
const SIZE_LINE_MAX: usize = 4 << 10;
/// The longest line after the last chunk, and all of them together.
const TRAILER_MAX: usize = 16 << 10;
/// Digits of a size at most.
const DIGITS_MAX: usize = 16;

/// The next piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// More input is needed.
    Nothing,
    /// A chunk of this size begins.
    Size(u64),
    /// Bytes of it.
    Data(&'a [u8]),
    /// It ends.
    ChunkEnd,
    /// A line after the last chunk, which says nothing.
    Trailer,
    /// The body ends.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Size,
    Data(u64),
    ChunkEnd,
    Trailer,
}

/// Takes a body in chunks apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder {
    part: Part,
    /// Bytes of the body that were announced.
    total: u64,
    /// Bytes of the lines after the last chunk.
    trailer: usize,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { part: Part::Size, total: 0, trailer: 0 }
    }

    /// Returns the next piece, of at most `most` bytes of data, and the length of what tells it.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        most: usize,
    ) -> Result<(usize, Piece<'a>), Status> {
        match self.part {
            Part::Size => {
                let Some(line) = line(bytes, SIZE_LINE_MAX, Status::BadRequest)? else {
                    return Ok((0, Piece::Nothing));
                };
                let size = parse_size(line)?;
                self.total = self.total.saturating_add(size);
                if self.total > BODY_MAX {
                    return Err(Status::BodyTooLarge);
                }
                self.part = if size == 0 { Part::Trailer } else { Part::Data(size) };
                Ok((line.len().saturating_add(2), Piece::Size(size)))
            }
            Part::Data(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(most).min(bytes.len());
                if count == 0 {
                    return Ok((0, Piece::Nothing));
                }
                let left = left.saturating_sub(count as u64);
                self.part = if left == 0 { Part::ChunkEnd } else { Part::Data(left) };
                Ok((count, Piece::Data(bytes.get(..count).unwrap_or_default())))
            }
            Part::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.part = Part::Size;
                    Ok((2, Piece::ChunkEnd))
                }
                [] | [b'\r'] => Ok((0, Piece::Nothing)),
                _ => Err(Status::BadRequest),
            },
            Part::Trailer => {
                let most = TRAILER_MAX.saturating_sub(self.trailer);
                let Some(line) = line(bytes, most, Status::HeadTooLarge)? else {
                    return Ok((0, Piece::Nothing));
                };
                let length = line.len().saturating_add(2);
                self.trailer = self.trailer.saturating_add(length);
                match line {
                    [] => Ok((length, Piece::End)),
                    line if is_field(line) => Ok((length, Piece::Trailer)),
                    _ => Err(Status::BadRequest),
                }
            }
        }
    }
}

/// Returns the first line without its end, `None` while that is missing. One that has more than
/// `most` bytes is an error of this status.
fn line(bytes: &[u8], most: usize, too_long: Status) -> Result<Option<&[u8]>, Status> {
    let window = bytes.get(..most).unwrap_or(bytes);
    match find(window, b'\n') {
        Some(at) => {
            let line = bytes.get(..at).unwrap_or_default().strip_suffix(b"\r");
            let is_clean = |line: &&[u8]| line.iter().all(|byte| is_text(*byte));
            line.filter(is_clean).map(Some).ok_or(Status::BadRequest)
        }
        None if window.len() < most => Ok(None),
        None => Err(too_long),
    }
}

/// Parses the line before a chunk; extensions are passed over.
fn parse_size(line: &[u8]) -> Result<u64, Status> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at_checked(digits).unwrap_or_default();
    let is_extension = extensions.is_empty() || extensions.trim_ascii_start().starts_with(b";");
    if digits.len() > DIGITS_MAX || !is_extension {
        return Err(Status::BadRequest);
    }
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| Status::BadRequest)
}

/// Whether a line is a header field.
fn is_field(line: &[u8]) -> bool {
    let name = line.iter().take_while(|byte| is_token(**byte)).count();
    name > 0 && line.get(name) == Some(&b':')
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
