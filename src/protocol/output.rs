//! The output of a call: bounded, and marked where answers end.

use std::collections::VecDeque;
use std::io;

/// Where answers end in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes before the end.
    pub(crate) end: u32,
    /// Returns that end there.
    pub(crate) count: u32,
}

/// Memory for output, used again and again.
///
/// A server has one for all its connections. A protocol that wraps another one has its own, to see
/// what the inner one says before it passes it on.
#[derive(Debug)]
pub struct OutputBuffer {
    bytes: Vec<u8>,
    capacity: usize,
    marks: Vec<Mark>,
    requests: u64,
    answers: u64,
}

impl OutputBuffer {
    /// The most answers that may end in one buffer.
    pub const MAX_ANSWERS: usize = 1024;

    /// A buffer of `capacity` bytes, at least [`Output::MIN_ROOM`] and less than 4 GiB.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(Output::MIN_ROOM, u32::MAX as usize);
        let marks = Vec::with_capacity(Self::MAX_ANSWERS);
        Self { bytes: Vec::with_capacity(capacity), capacity, marks, requests: 0, answers: 0 }
    }

    /// Returns an output that appends to what is in the buffer.
    pub fn output(&mut self) -> Output<'_> {
        self.output_within(self.capacity)
    }

    /// Returns an output that appends to what is in the buffer, up to `limit` bytes in all.
    pub fn output_within(&mut self, limit: usize) -> Output<'_> {
        let limit = limit.min(self.capacity);
        Output { buffer: self, limit }
    }

    /// Returns what was put.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many requests were begun; see [`Output::begin_request`].
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns how many answers ended; see [`Output::end_answer`].
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.marks.clear();
        self.requests = 0;
        self.answers = 0;
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Remembers the present content.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            bytes: self.bytes.len(),
            marks: self.marks.len(),
            last: self.marks.last().copied(),
            requests: self.requests,
            answers: self.answers,
        }
    }

    /// Forgets what was put since `checkpoint`.
    pub(crate) fn roll_back(&mut self, checkpoint: Checkpoint) {
        self.bytes.truncate(checkpoint.bytes);
        self.marks.truncate(checkpoint.marks);
        if let (Some(mark), Some(last)) = (self.marks.last_mut(), checkpoint.last) {
            *mark = last;
        }
        self.requests = checkpoint.requests;
        self.answers = checkpoint.answers;
    }
}

/// The content of a buffer at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) bytes: usize,
    marks: usize,
    last: Option<Mark>,
    pub(crate) requests: u64,
    pub(crate) answers: u64,
}

/// Where a call puts what the peer is to be sent.
///
/// It is bounded and takes nothing beyond: look at [`room`](Self::room), or let
/// [`put_some`](Self::put_some) take what fits and go on in a later call. As [`io::Write`] it takes
/// what fits as well, so that `write!` fails where room is lacking, having put a part.
#[derive(Debug)]
pub struct Output<'a> {
    buffer: &'a mut OutputBuffer,
    limit: usize,
}

impl Output<'_> {
    /// Room that each call finds at least: 16 KiB.
    pub const MIN_ROOM: usize = 16 << 10;

    /// Returns how many bytes fit. None do once [`OutputBuffer::MAX_ANSWERS`] answers have ended.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.buffer.marks.len() < OutputBuffer::MAX_ANSWERS {
            self.limit.saturating_sub(self.buffer.bytes.len())
        } else {
            0
        }
    }

    /// Returns what was put by this call and by those before it.
    #[cfg(test)]
    pub(crate) fn buffer(&self) -> &OutputBuffer {
        self.buffer
    }

    /// Puts all of `bytes`, or nothing of them. Returns whether they were put.
    #[must_use = "without room nothing is put"]
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.room();
        if fits {
            self.buffer.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// Puts as many of `bytes` as fit. Returns how many.
    #[must_use = "perhaps not all of them fit"]
    pub fn put_some(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.buffer.bytes.extend_from_slice(bytes.get(..count).unwrap_or_default());
        count
    }

    /// Counts a request whose answer comes later. It is outstanding until
    /// [`end_answer`](Self::end_answer), and unanswered if the connection is cut before.
    pub fn begin_request(&mut self) {
        self.buffer.requests = self.buffer.requests.saturating_add(1);
    }

    /// Marks the end of an answer: the request counts as answered once everything that was put
    /// before was handed to the kernel. Where no request is outstanding one is counted as well.
    /// An answer may be empty.
    pub fn end_answer(&mut self) {
        let OutputBuffer { bytes, marks, answers, .. } = &mut *self.buffer;
        *answers = answers.saturating_add(1);
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        match marks.last_mut() {
            Some(mark) if mark.end == end => mark.count = mark.count.saturating_add(1),
            _ => marks.push(Mark { end, count: 1 }),
        }
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.put_some(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns how many answers have ended within the first `count` bytes.
pub(crate) fn answers_within(marks: &[Mark], count: usize) -> u64 {
    let ended = marks.iter().take_while(|mark| mark.end as usize <= count);
    ended.fold(0, |sum, mark| sum.saturating_add(u64::from(mark.count)))
}

/// Output that the kernel has not taken yet: the only copy that is made of it.
#[derive(Debug)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    taken: usize,
    /// The ends of answers in `bytes`, those that are gone left out.
    marks: VecDeque<Mark>,
}

impl Pending {
    /// A copy of what follows the first `taken` bytes; `None` when there is no memory for it.
    pub(crate) fn copy_of(output: &OutputBuffer, taken: usize) -> Option<Self> {
        let rest = output.bytes().get(taken..).unwrap_or_default();
        let ends = output.marks().iter().filter(|mark| mark.end as usize > taken);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(rest.len()).ok()?;
        bytes.extend_from_slice(rest);
        let mut marks = VecDeque::new();
        marks.try_reserve_exact(ends.clone().count()).ok()?;
        let gone = u32::try_from(taken).unwrap_or(u32::MAX);
        marks.extend(ends.map(|mark| Mark { end: mark.end.saturating_sub(gone), ..*mark }));
        Some(Self { bytes, taken: 0, marks })
    }

    /// Returns what is still to be written.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Forgets the first `count` bytes, which are written. Returns how many answers ended in them.
    pub(crate) fn on_written(&mut self, count: usize) -> u64 {
        self.taken = self.taken.saturating_add(count);
        let mut answers: u64 = 0;
        while let Some(mark) = self.marks.front()
            && mark.end as usize <= self.taken
        {
            answers = answers.saturating_add(u64::from(mark.count));
            self.marks.pop_front();
        }
        answers
    }

    /// Returns how many answers have not been written to their ends.
    pub(crate) fn answers(&self) -> u64 {
        self.marks.iter().fold(0, |sum, mark| sum.saturating_add(u64::from(mark.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn nothing_is_put_beyond_the_limit() {
        let mut buffer = OutputBuffer::new(0);
        let mut output = buffer.output_within(5);
        assert!(output.put(b"abc"));
        assert!(!output.put(b"def"));
        assert_eq!((output.put_some(b"def"), output.room()), (2, 0));
        assert!(output.write_all(b"x").is_err());
        assert_eq!(buffer.bytes(), b"abcde");
    }

    #[test]
    fn memory_is_never_added() {
        let mut buffer = OutputBuffer::new(Output::MIN_ROOM);
        let (bytes, marks) = (buffer.bytes.as_ptr(), buffer.marks.as_ptr());
        for _ in 0..3 {
            let mut output = buffer.output();
            while output.put(b"x") {
                output.end_answer();
                output.end_answer();
            }
            assert_eq!(output.put_some(b"xyz"), 0);
            output.end_answer();
            assert_eq!(buffer.marks.len(), OutputBuffer::MAX_ANSWERS);
            let all = 2 * OutputBuffer::MAX_ANSWERS as u64 + 1;
            assert_eq!((buffer.answers(), answers_within(&buffer.marks, usize::MAX)), (all, all));
            buffer.clear();
        }
        assert_eq!((bytes, marks), (buffer.bytes.as_ptr(), buffer.marks.as_ptr()));
    }

    #[test]
    fn answers_count_when_their_last_byte_is_gone() {
        let mut buffer = OutputBuffer::new(0);
        let mut output = buffer.output();
        output.end_answer();
        for answer in [&b"ab"[..], b"", b"cde"] {
            assert!(output.put(answer));
            output.end_answer();
        }
        assert!(output.put(b"half"));
        let ended: Vec<u64> = (0..7).map(|n| answers_within(&buffer.marks, n)).collect();
        assert_eq!(ended, [1, 1, 3, 3, 3, 4, 4]);
    }

    #[test]
    fn pending_output_keeps_its_answers() {
        let mut buffer = OutputBuffer::new(0);
        let mut output = buffer.output();
        for answer in [&b"ab"[..], b"cde", b"f"] {
            assert!(output.put(answer));
            output.end_answer();
        }
        for taken in 0..=6 {
            let mut pending = Pending::copy_of(&buffer, taken).unwrap();
            assert_eq!(pending.bytes(), &b"abcdef"[taken..]);
            let mut answered = answers_within(buffer.marks(), taken);
            assert_eq!(answered + pending.answers(), 3);
            for written in taken + 1..=6 {
                answered += pending.on_written(1);
                assert_eq!(answered, answers_within(buffer.marks(), written));
            }
            assert_eq!((pending.bytes(), pending.answers(), answered), (&b""[..], 0, 3));
        }
    }

    #[test]
    fn a_roll_back_restores_everything() {
        let mut buffer = OutputBuffer::new(0);
        let mut output = buffer.output();
        assert!(output.put(b"ab"));
        output.end_answer();
        let before = format!("{buffer:?}");
        let checkpoint = buffer.checkpoint();
        let mut output = buffer.output();
        output.end_answer();
        output.begin_request();
        assert!(output.put(b"cd"));
        output.end_answer();
        buffer.roll_back(checkpoint);
        assert_eq!(format!("{buffer:?}"), before);
    }
}
