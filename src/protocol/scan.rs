//! Searching bytes.

/// Bytes that are compared at a time.
const BLOCK: usize = 32;

/// Returns the place of the first `wanted` in `bytes`.
pub(super) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let blocks = bytes.chunks_exact(BLOCK);
    // Without an early end inside a block the compiler compares all of it at once.
    let holds = |block: &[u8]| block.iter().fold(false, |found, byte| found | (*byte == wanted));
    let skipped = blocks.take_while(|block| !holds(block)).count().saturating_mul(BLOCK);
    let rest = bytes.get(skipped..).unwrap_or_default();
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
        for len in 0..100 {
            let mut bytes = vec![b'x'; len];
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
