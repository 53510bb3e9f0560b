//! What a client says: a text without end, whose every byte is known by its place.

use std::sync::{Arc, OnceLock};

use super::random::Random;
use super::request::Requests;
use super::speech::Speech;

/// A period of text that no buffer is a multiple of.
const PERIOD: usize = 64_507;
/// Texts to choose from, of each kind.
const TEXTS: u64 = 6;

/// A text that repeats itself.
#[derive(Clone, Debug)]
pub(super) struct Source {
    text: Arc<Text>,
    start: u64,
}

pub(super) struct Text {
    bytes: Vec<u8>,
    /// The requests in it, if it is made of such.
    pub(super) requests: Option<Requests>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a text of {} bytes", self.bytes.len())
    }
}

impl Source {
    /// The text of a client by its number.
    pub(super) fn new(speech: Speech, seed: u64) -> Self {
        static LINES: OnceLock<Vec<Arc<Text>>> = OnceLock::new();
        static REQUESTS: OnceLock<Vec<Arc<Text>>> = OnceLock::new();
        let mut random = Random::new(seed ^ 0x50_12ce);
        let number = random.below(TEXTS) as usize;
        if matches!(speech, Speech::Http { .. }) {
            let texts = REQUESTS.get_or_init(|| (0..TEXTS).map(requests).map(Arc::new).collect());
            return Self { text: Arc::clone(&texts[number]), start: 0 };
        }
        let texts = LINES.get_or_init(|| (0..TEXTS).map(lines).map(Arc::new).collect());
        Self { text: Arc::clone(&texts[number]), start: random.below(1 << 32) }
    }

    pub(super) fn requests(&self) -> Option<&Requests> {
        self.text.requests.as_ref()
    }

    /// The text from a place on, in pieces.
    fn pieces(&self, place: u64, len: usize) -> impl Iterator<Item = &[u8]> {
        let bytes = &self.text.bytes;
        let mut from = ((self.start + place) % bytes.len() as u64) as usize;
        let mut left = len;
        std::iter::from_fn(move || {
            let count = left.min(bytes.len() - from);
            let piece = &bytes[from..from + count];
            (from, left) = (0, left - count);
            (count > 0).then_some(piece)
        })
    }

    /// Fills `buffer` with what stands from `place` on.
    pub(super) fn copy(&self, place: u64, buffer: &mut [u8]) {
        let mut at = 0;
        for piece in self.pieces(place, buffer.len()) {
            buffer[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }

    /// Whether `bytes` stand at `place`.
    pub(super) fn has(&self, place: u64, bytes: &[u8]) -> bool {
        let mut at = 0;
        self.pieces(place, bytes.len()).all(|piece| {
            at += piece.len();
            bytes[at - piece.len()..at] == *piece
        })
    }

    /// Counts line feeds from `place` on.
    pub(super) fn line_feeds(&self, place: u64, len: usize) -> u64 {
        let feeds = |piece: &[u8]| piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.pieces(place, len).map(feeds).sum()
    }
}

/// Lines of a length that depends on the number of the text.
fn lines(number: u64) -> Text {
    let mut random = Random::new(5389 + number);
    let most = [4, 40, 600, 9_000, 70_000, 600][number as usize];
    let mut bytes = Vec::new();
    while bytes.len() < PERIOD * (1 + most / PERIOD) {
        for _ in 1..random.size(most as u64 + 1) {
            bytes.push((random.next() as u8).max(b'\n' + 1));
        }
        bytes.push(b'\n');
    }
    Text { bytes, requests: None }
}

fn requests(number: u64) -> Text {
    let (bytes, requests) = Requests::new(number);
    Text { bytes, requests: Some(requests) }
}
