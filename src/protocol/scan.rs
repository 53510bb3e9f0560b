//! Searching bytes.

/// Bytes that are compared at a time.
const WORD: usize = size_of::<u64>();
/// All bits but the highest of each byte of a word.
const LOWS: u64 = u64::from_le_bytes([0x7f; WORD]);

/// Returns the place of the first `wanted` in `bytes`.
#[cfg(any(test, feature = "http"))]
pub(super) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    Places::new(bytes, wanted, 0).next()
}

/// Returns the place of the first line feed at or after `from`.
pub(super) fn find_line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    line_feeds(bytes, from).next()
}

/// Iterates over the places of line feeds at or after `from`.
pub(super) fn line_feeds(bytes: &[u8], from: usize) -> Places<'_> {
    Places::new(bytes.get(from..).unwrap_or_default(), b'\n', from)
}

/// The places at which a byte stands. A word is searched as a whole, all of its bytes at once.
#[derive(Debug)]
pub(super) struct Places<'a> {
    words: std::slice::Iter<'a, [u8; WORD]>,
    /// What is too short for a word; empty once it was searched.
    rest: &'a [u8],
    /// The wanted byte, all over.
    pattern: u64,
    /// The highest bit of each byte of the present word that is a place not returned yet.
    found: u64,
    /// The place of the present word, and of the one after it.
    place: usize,
    next: usize,
}

impl<'a> Places<'a> {
    fn new(bytes: &'a [u8], wanted: u8, from: usize) -> Self {
        let (words, rest) = bytes.as_chunks();
        let pattern = u64::from_le_bytes([wanted; WORD]);
        Self { words: words.iter(), rest, pattern, found: 0, place: from, next: from }
    }

    /// Marks the bytes of a word that are the wanted one, each exactly (Hacker's Delight, 6-1).
    fn mark(&self, word: u64) -> u64 {
        let differing = word ^ self.pattern;
        !((differing & LOWS).wrapping_add(LOWS) | differing | LOWS)
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.place = self.next;
            self.next = self.next.wrapping_add(WORD);
            if let Some(word) = self.words.next() {
                self.found = self.mark(u64::from_le_bytes(*word));
            } else if self.rest.is_empty() {
                return None;
            } else {
                // Filled up with bytes that are not wanted.
                let rest = std::mem::take(&mut self.rest).iter().rev();
                let word = rest.fold(!self.pattern, |word, byte| word << 8 | u64::from(*byte));
                self.found = self.mark(word);
            }
        }
        let at = self.found.trailing_zeros() as usize >> 3;
        self.found &= self.found.wrapping_sub(1);
        Some(self.place.wrapping_add(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found() {
        // 0x0b differs from a line feed by one, which is where a borrow would show.
        for (len, other) in (0..100).flat_map(|len| [(len, b'x'), (len, 0x0b), (len, 0x8a)]) {
            let mut bytes = vec![other; len];
            assert_eq!(find(&bytes, b'\n'), None);
            for at in (0..len).rev() {
                bytes[at] = b'\n';
                assert_eq!(find(&bytes, b'\n'), Some(at));
                assert_eq!(find_line_feed(&bytes, at), Some(at));
                assert_eq!(find_line_feed(&bytes, at + 1), (at + 1 < len).then_some(at + 1));
            }
        }
        assert_eq!(find_line_feed(b"a", 7), None);
    }

    #[test]
    fn all_places_are_found_in_order() {
        for len in 0..40 {
            for step in 1..12 {
                // Bytes that differ from a line feed by the highest bit or by one stand between.
                let other = |at: usize| if at.is_multiple_of(2) { 0x8a } else { 0x0b };
                let byte = |at: usize| if at.is_multiple_of(step) { b'\n' } else { other(at) };
                let bytes: Vec<u8> = (0..len).map(byte).collect();
                for from in 0..=len {
                    let expected: Vec<_> =
                        (from..len).filter(|at| at.is_multiple_of(step)).collect();
                    assert_eq!(line_feeds(&bytes, from).collect::<Vec<_>>(), expected);
                }
            }
        }
        for len in 0..20 {
            assert_eq!(find(&vec![1; len], 0), None, "the filling is no zero");
            assert_eq!(find(&vec![0; len], u8::MAX), None);
        }
    }
}
