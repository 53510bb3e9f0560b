//! Searching bytes.

/// Bytes that are compared at a time.
const WORD: usize = size_of::<u64>();
/// A one in each byte of a word, and the highest bit of each.
const ONES: u64 = u64::from_le_bytes([1; WORD]);
const HIGHS: u64 = u64::from_le_bytes([0x80; WORD]);

/// Returns the place of the first `wanted` in `bytes`.
///
/// A word is searched as a whole: the highest bits of `(x - ONES) & !x` show where `x` has a zero
/// byte, the lowest of them exactly (Mycroft's test, Hacker's Delight 6-1).
pub(super) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let pattern = u64::from_le_bytes([wanted; WORD]);
    let (words, rest) = bytes.as_chunks::<WORD>();
    for (number, word) in words.iter().enumerate() {
        let differing = u64::from_le_bytes(*word) ^ pattern;
        let found = differing.wrapping_sub(ONES) & !differing & HIGHS;
        if found != 0 {
            let at = found.trailing_zeros() as usize >> 3;
            return Some(number.saturating_mul(WORD).saturating_add(at));
        }
    }
    let skipped = bytes.len().saturating_sub(rest.len());
    rest.iter().position(|byte| *byte == wanted).map(|at| skipped.saturating_add(at))
}

/// Returns the place of the first line feed at or after `from`.
pub(super) fn find_line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..).unwrap_or_default();
    find(rest, b'\n').map(|at| from.saturating_add(at))
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
}
