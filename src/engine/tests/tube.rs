//! An engine whose connections lead to peers in memory, and whose time is counted in milliseconds.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::{Cause, Phase};
use crate::engine::quota::UNCOUNTED;
use crate::engine::report::RequestCounts;
use crate::engine::status::{Locality, Status, Transport};
use crate::engine::stream::Stream;
use crate::token::Readiness;

/// A peer and its kernel.
#[derive(Debug, Default)]
pub(super) struct Tube {
    pub(super) queue: VecDeque<u8>,
    pub(super) ended: bool,
    pub(super) window: usize,
    pub(super) received: Vec<u8>,
    pub(super) is_full: bool,
    pub(super) is_shut: bool,
    pub(super) is_reset: bool,
    pub(super) is_gone: bool,
    pub(super) reads: usize,
    pub(super) writes: usize,
}

impl Read for Tube {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.is_gone {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.queue.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.queue.read(buffer)
    }
}

impl Write for Tube {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        assert!(!self.is_shut, "a write after the FIN");
        if self.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.window);
        self.is_full = count < bytes.len();
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.window -= count;
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Tube {
    type Pipe = ();
    type Kernel = ();
    const HAS_PIPES: bool = false;

    fn open_pipe() -> io::Result<()> {
        Ok(())
    }

    fn fill(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn drain(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn peek(&mut self) -> io::Result<usize> {
        Ok(0)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        assert!(!self.is_shut, "two FINs");
        self.is_shut = true;
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.is_reset = true;
    }

    fn locality(&self) -> Locality {
        Locality::Host
    }

    fn status(&mut self, (): &mut ()) -> Status {
        Status::Alive(Transport::default())
    }

    fn quick_ack(&mut self) {}

    fn receive_buffer(&self) -> usize {
        64 << 10
    }

    fn send_buffer(&self) -> usize {
        64 << 10
    }
}

/// An engine whose time is counted in milliseconds.
pub(super) struct Scene<P: Speaks> {
    pub(super) engine: Engine<Tube, P>,
    pub(super) start: Instant,
    pub(super) now: u64,
}

impl<P: Speaks> Scene<P> {
    pub(super) fn new(protocol: P) -> Self {
        Self::with(protocol, &Config::new())
    }

    pub(super) fn with(protocol: P, config: &Config) -> Self {
        let mut engine = Engine::serving(protocol, config);
        engine.reserve(64);
        engine.report_mut().connections.backlog_left = Some(0);
        Self { engine, start: Instant::now(), now: 0 }
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    pub(super) fn enter(&mut self, window: usize) -> u32 {
        let at = self.engine.vacant().unwrap();
        let now = self.instant();
        let tube = Tube { window, ..Tube::default() };
        self.engine.insert(tube, None, UNCOUNTED, now).unwrap();
        at
    }

    pub(super) fn tube(&mut self, at: u32) -> Option<&mut Tube> {
        self.engine.table.get_mut(at).map(|connection| connection.stream_mut())
    }

    pub(super) fn received(&mut self, at: u32) -> String {
        let tube = self.tube(at).unwrap();
        String::from_utf8_lossy(&tube.received).into_owned()
    }

    pub(super) fn send(&mut self, at: u32, bytes: &[u8]) {
        let Some(tube) = self.tube(at) else { return };
        tube.queue.extend(bytes);
        let now = self.instant();
        self.engine.handle_ready(at, Readiness::READABLE, now);
    }

    pub(super) fn send_end(&mut self, at: u32) {
        let Some(tube) = self.tube(at) else { return };
        tube.ended = true;
        let now = self.instant();
        self.engine.handle_ready(at, Readiness::READABLE | Readiness::CLOSED, now);
    }

    pub(super) fn take(&mut self, at: u32, count: usize) {
        let Some(tube) = self.tube(at) else { return };
        tube.window = tube.window.saturating_add(count);
        let was_full = std::mem::replace(&mut tube.is_full, false);
        let now = self.instant();
        if was_full {
            self.engine.handle_ready(at, Readiness::WRITABLE, now);
        }
    }

    pub(super) fn stop(&mut self) {
        let now = self.instant();
        self.engine.request(Cause::Requested, now);
    }

    /// Ends a turn so much later.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now += millis;
        let now = self.instant();
        self.engine.advance(now);
        self.engine.end_turn(now);
        self.engine.table.audit().unwrap();
        if self.engine.phase() >= Phase::Draining {
            self.engine.finish(now);
        }
    }

    /// Sleeps as a host does, until something happens to be due, for so long at most. Returns how
    /// often it woke.
    pub(super) fn sleep(&mut self, millis: u64) -> usize {
        let end = self.now + millis;
        let mut turns = 0;
        while self.now < end {
            let due = self.engine.next_deadline().map(|due| due.duration_since(self.start));
            let due =
                due.map_or(end, |due| u64::try_from(due.as_nanos().div_ceil(1_000_000)).unwrap());
            let due = due.clamp(self.now, end);
            self.pass(due - self.now);
            turns += 1;
            assert!(turns < 20_000, "the engine does not rest");
            if self.engine.phase() == Phase::Finished {
                break;
            }
        }
        turns
    }

    /// Peers close after our FIN. Runs until the stop is over.
    pub(super) fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.engine.phase() == Phase::Finished {
                return;
            }
            for at in 0..64 {
                if self.tube(at).is_some_and(|tube| tube.is_shut && !tube.ended) {
                    self.send_end(at);
                }
            }
            self.sleep(5);
        }
        let open: Vec<_> = (0..64).filter_map(|at| self.engine.table.get(at)).collect();
        panic!("the stop does not end: {open:?} {:?}", self.engine.report());
    }

    pub(super) fn requests(&self) -> RequestCounts {
        self.engine.report().requests.unwrap()
    }

    pub(super) fn check_account(&self, is_over: bool) {
        let report = self.engine.report();
        let (bytes, requests) = (report.bytes, self.requests());
        let input = bytes.served + bytes.late + bytes.unserved + bytes.incomplete;
        let output = bytes.written + bytes.unsent + bytes.peer_aborted;
        let ends = requests.answered + requests.unanswered + requests.aborted;
        assert!(input <= bytes.read && output <= bytes.produced && ends <= requests.taken);
        assert_eq!(bytes.held(), bytes.read - input + bytes.produced - output);
        if is_over {
            assert_eq!((input, output, ends), (bytes.read, bytes.produced, requests.taken));
            assert_eq!(report.connections.accepted, report.connections.closed());
        }
    }
}
