//! Pieces of the inside, driven over streams in memory: for `benches/` alone, no part of the API.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::buffer::Held;
use crate::engine::list::{Link, List, Nodes};
use crate::engine::phase::Cause;
use crate::engine::report::Report;
use crate::engine::stream::Stream;
use crate::token::Readiness;

pub use crate::load::pieces::Verification;

/// A message.
pub const MESSAGE: [u8; 64] = [b'm'; 64];

/// A stream whose peer has sent so many messages: a read gives the next, a write takes all.
#[derive(Debug, Default)]
struct Line(Rc<Cell<u64>>, u64);

impl Read for Line {
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        if self.1 == self.0.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.1 = self.0.get();
        buffer.write(&MESSAGE)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    type Pipe = ();
    const HAS_PIPES: bool = false;

    fn open_pipe() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn fill(&mut self, (): &mut (), _most: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn drain(&mut self, (): &mut (), _most: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn unacknowledged(&mut self) -> Option<u64> {
        Some(0)
    }
}

/// An engine with connections in memory.
#[expect(missing_debug_implementations, reason = "nobody prints a bench")]
pub struct Turns {
    engine: Engine<Line>,
    slots: Vec<u32>,
    sent: Rc<Cell<u64>>,
    now: Instant,
}

impl Turns {
    /// An engine that has taken in so many connections.
    #[must_use]
    pub fn new(connections: usize, config: &Config) -> Self {
        let (mut engine, sent, now) = (Engine::new(config), Rc::default(), Instant::now());
        engine.reserve(connections);
        let mut slots = Vec::with_capacity(connections);
        while let (Some(at), Some(owner)) = (engine.vacant(), engine.admit(None)) {
            engine.insert(Line(Rc::clone(&sent), 0), None, owner, now);
            slots.push(at);
        }
        Self { engine, slots, sent, now }
    }

    /// One turn in which a message comes in on every connection. Answers the bytes echoed so far.
    pub fn echo(&mut self) -> u64 {
        self.sent.set(self.sent.get().saturating_add(1));
        for at in &self.slots {
            self.engine.handle_ready(*at, Readiness::READABLE, self.now);
        }
        self.end_turn();
        self.engine.report().bytes.written
    }

    /// What is due without an event. Answers how many connections are left.
    pub fn end_turn(&mut self) -> usize {
        self.engine.advance(self.now);
        self.engine.end_turn(self.now);
        self.engine.open()
    }

    /// Lets time pass.
    pub fn elapse(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap_or(self.now);
    }

    /// Starts the stop.
    pub fn stop(&mut self) {
        self.engine.request(Cause::Requested, self.now);
    }

    /// The account so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.engine.report().clone()
    }
}

/// Copies what a peer could not take, then writes it. Answers how much.
#[must_use]
pub fn hold(rest: &[u8]) -> usize {
    let held = Held::<()>::copy_of(rest);
    held.and_then(|mut held| held.write_to(&mut Line::default()).ok()).unwrap_or(0)
}

impl Nodes<()> for Vec<Link> {
    fn link(&mut self, at: u32) -> Option<&mut Link> {
        self.get_mut(usize::try_from(at).ok()?)
    }
}

/// A list of slots.
#[derive(Debug)]
pub struct Ring(Vec<Link>, List<()>);

impl Ring {
    /// So many slots that can be on the list.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self(vec![Link::default(); slots], List::default())
    }

    /// Moves a slot to the end, as a connection that talked. Answers whether there is one.
    pub fn touch(&mut self, at: u32) -> bool {
        self.1.remove(&mut self.0, at);
        self.1.push_back(&mut self.0, at)
    }
}
