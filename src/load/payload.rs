//! The bytes that are sent, and what is wrong with those that come back.
//!
//! All connections send from one shared random block, each from its own offset and round the
//! block for as long as it lives. So what must come back is known without keeping a copy of it,
//! and a read is verified by one comparison of slices.

use super::random::Random;

/// After so many bytes the block repeats. A prime, so that no server that loses or repeats a
/// buffer of a usual size can land on the same bytes again.
const PERIOD: usize = 262_139;
const PERIOD_U64: u64 = 262_139;

/// How far apart in the block the streams of two connections in a row start: the period divided by
/// the golden ratio, which spreads any number of them evenly (Knuth, The Art of Computer
/// Programming, volume 3, section 6.4), so that bytes of one are not taken for a repetition or an
/// omission in the other.
const STRIDE: u64 = 162_011;

/// The longest slice that [`PayloadBlock::slice`] gives.
pub(super) const SLICE_MAX: usize = 256 * 1024;

/// How many bytes must agree before a place in the block is taken for the origin of a mismatch.
const NEEDLE: usize = 16;
pub(super) const NEEDLE_MIN: usize = 4;

/// How far back a repeated byte is looked for.
const PAST: u64 = 128 * 1024;

/// The shared random block.
#[derive(Debug)]
pub(super) struct PayloadBlock {
    /// One period and its beginning again, so that every slice is in one piece.
    bytes: Box<[u8]>,
}

/// What stands at the front of bytes that are not those expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `len` bytes stand where ours were expected, `wrong` of them differ.
    Wrong { len: usize, wrong: usize },
    /// As `Wrong`, and they belong to another connection (or to a far place of this one), which is
    /// `offset` further on in the block.
    Foreign { len: usize, offset: u64 },
    /// That many bytes of ours were left out.
    Missing { len: u64 },
    /// That many bytes were repeated.
    Repeated { len: usize },
}

impl PayloadBlock {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut bytes = Vec::with_capacity(PERIOD.saturating_add(SLICE_MAX).saturating_add(8));
        while bytes.len() < PERIOD {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        bytes.truncate(PERIOD);
        bytes.extend_from_within(..);
        bytes.truncate(PERIOD.saturating_add(SLICE_MAX));
        while bytes.len() < PERIOD.saturating_add(SLICE_MAX) {
            let at = bytes.len().wrapping_sub(PERIOD);
            let byte = bytes.get(at).copied().unwrap_or(0);
            bytes.push(byte);
        }
        Self { bytes: bytes.into_boxed_slice() }
    }

    /// Where the stream of the connection with this number starts in the block.
    pub(super) fn base(seed: u64, number: u64) -> u32 {
        let first = Random::new(seed).below(PERIOD_U64);
        let steps = (number % PERIOD_U64).wrapping_mul(STRIDE);
        u32::try_from(first.wrapping_add(steps) % PERIOD_U64).unwrap_or(0)
    }

    /// `len` bytes (at most [`SLICE_MAX`]) of the stream from `at` on.
    pub(super) fn slice(&self, at: u64, len: usize) -> &[u8] {
        let start = usize::try_from(at % PERIOD_U64).unwrap_or(0);
        let end = start.saturating_add(len.min(SLICE_MAX));
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Says what happened where `got` and the stream at `at` part (their first bytes differ).
    /// `owed` bytes are outstanding from `at` on, `past` bytes of this stream lie before it.
    pub(super) fn diagnose(&self, at: u64, got: &[u8], owed: u64, past: u64) -> Fault {
        let len = got.len().min(usize::try_from(owed).unwrap_or(usize::MAX)).min(64);
        let expected = self.slice(at, len);
        let wrong = got.iter().zip(expected).filter(|(a, b)| a != b).count();
        let in_place = Fault::Wrong { len: len.max(1), wrong: wrong.max(1) };
        if len < NEEDLE_MIN || wrong.saturating_mul(2) <= len {
            return in_place;
        }
        let needle = got.get(..NEEDLE.min(got.len())).unwrap_or_default();
        if let Some(skip) = self.skip(at, needle, owed) {
            return Fault::Missing { len: skip };
        }
        if let Some(len) = self.repeat(at, got, needle, past) {
            return Fault::Repeated { len };
        }
        let Some(found) = self.bytes.windows(needle.len()).position(|window| window == needle)
        else {
            return in_place;
        };
        let found = u64::try_from(found).unwrap_or(0);
        let offset = found.saturating_add(PERIOD_U64).wrapping_sub(at % PERIOD_U64) % PERIOD_U64;
        let len = self.agreement(at.wrapping_add(offset), got, owed);
        Fault::Foreign { len: len.max(1), offset }
    }

    /// How many bytes of `got`, of those that are `owed`, are as the stream at `at`.
    pub(super) fn agreement(&self, at: u64, got: &[u8], owed: u64) -> usize {
        let len = got.len().min(usize::try_from(owed).unwrap_or(usize::MAX));
        got.iter().zip(self.slice(at, len)).take_while(|(a, b)| a == b).count()
    }

    /// As [`diagnose`](Self::diagnose), without looking for the origin.
    pub(super) fn compare(&self, at: u64, got: &[u8], owed: u64) -> Fault {
        let len = got.len().min(usize::try_from(owed).unwrap_or(usize::MAX));
        let wrong = got.iter().zip(self.slice(at, len)).filter(|(a, b)| a != b).count();
        Fault::Wrong { len: len.max(1), wrong: wrong.max(1) }
    }

    /// How many outstanding bytes were left out if `needle` is what follows them.
    fn skip(&self, at: u64, needle: &[u8], owed: u64) -> Option<u64> {
        let len = usize::try_from(owed).unwrap_or(usize::MAX).min(SLICE_MAX);
        let outstanding = self.slice(at, len);
        let found = outstanding.windows(needle.len()).position(|window| window == needle)?;
        u64::try_from(found).ok()
    }

    /// How many bytes at the front of `got` came before.
    fn repeat(&self, at: u64, got: &[u8], needle: &[u8], past: u64) -> Option<usize> {
        let back = past.min(PAST);
        let reach = usize::try_from(back).ok()?.saturating_add(needle.len());
        let before = self.slice(at.wrapping_sub(back), reach);
        let found = before.windows(needle.len()).rposition(|window| window == needle)?;
        let distance = usize::try_from(back).ok()?.saturating_sub(found);
        let stream = before.get(found..).unwrap_or_default();
        let same = got.iter().zip(stream).take_while(|(a, b)| a == b).count();
        Some(same.min(distance).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWED: u64 = 4096;

    fn check(got: &[u8], expected: &Fault) {
        let block = PayloadBlock::new(7);
        assert_eq!(&block.diagnose(1000, got, OWED, 500), expected);
    }

    fn stream(at: u64, len: usize) -> Vec<u8> {
        PayloadBlock::new(7).slice(at, len).to_vec()
    }

    #[test]
    fn the_block_repeats_after_a_period() {
        let block = PayloadBlock::new(1);
        assert_eq!(block.slice(5, SLICE_MAX), block.slice(5 + PERIOD_U64, SLICE_MAX));
        assert_eq!(block.slice(PERIOD_U64 - 1, SLICE_MAX).len(), SLICE_MAX);
        assert_eq!(block.slice(PERIOD_U64 - 1, 9).get(1..), Some(block.slice(0, 8)));
    }

    #[test]
    fn the_first_connections_start_far_from_each_other() {
        for seed in 0..100 {
            let mut bases: Vec<_> = (0..8).map(|number| PayloadBlock::base(seed, number)).collect();
            bases.sort_unstable();
            let wrapped = bases[0] + u32::try_from(PERIOD).unwrap();
            bases.push(wrapped);
            for pair in bases.windows(2) {
                assert!(pair[1] - pair[0] > 20_000, "seed {seed}: {bases:?}");
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_wrong_in_place() {
        let mut got = stream(1000, 200);
        got[0] ^= 1;
        check(&got, &Fault::Wrong { len: 64, wrong: 1 });
    }

    #[test]
    fn left_out_bytes_are_missing() {
        check(&stream(1003, 200), &Fault::Missing { len: 3 });
    }

    #[test]
    fn bytes_that_came_before_are_repeated() {
        let mut got = stream(980, 20);
        got.extend(stream(1000, 50));
        check(&got, &Fault::Repeated { len: 20 });
    }

    #[test]
    fn bytes_of_another_place_are_foreign() {
        check(&stream(100_000, 200), &Fault::Foreign { len: 200, offset: 99_000 });
    }

    #[test]
    fn bytes_of_nowhere_are_wrong() {
        check(&[0; 10], &Fault::Wrong { len: 10, wrong: 10 });
    }
}
