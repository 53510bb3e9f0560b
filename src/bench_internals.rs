//! Internal parts on streams in memory: for `benches/` alone, not part of the API.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::{
    Engine,
    buffer::Held,
    list::{Link, List, Nodes},
    phase::Cause,
    report::Report,
    status::{Locality, Status, Transport},
    stream::Stream,
};
use crate::token::Readiness;

#[cfg(feature = "bench")]
pub use crate::load::verification::Verification;

/// A message.
pub const MESSAGE: [u8; 64] = [b'm'; 64];

/// A stream whose peer has sent so many messages, and how many were read.
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

    fn peek(&mut self) -> io::Result<usize> {
        if self.1 == self.0.get() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(1) }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    type Kernel = ();

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

/// An engine with connections in memory.
#[expect(missing_debug_implementations, reason = "benches do not print it")]
pub struct Turns {
    engine: Engine<Line>,
    sent: Rc<Cell<u64>>,
    now: Instant,
}

impl Turns {
    /// An engine that has taken in so many connections.
    #[must_use]
    pub fn new(connections: usize, config: &Config) -> Self {
        let (mut engine, sent, now) = (Engine::new(config), Rc::default(), Instant::now());
        engine.reserve(connections);
        while let (Some(_), Some(owner)) = (engine.vacant(), engine.reserve_share(None)) {
            engine.insert(Line(Rc::clone(&sent), 0), None, owner, now);
        }
        Self { engine, sent, now }
    }

    /// One turn in which a message comes in on every connection.
    pub fn echo(&mut self) -> &Report {
        self.sent.set(self.sent.get().saturating_add(1));
        for at in 0..u32::try_from(self.engine.slots()).unwrap_or(u32::MAX) {
            self.engine.handle_ready(at, Readiness::READABLE, self.now);
        }
        self.end_turn(Duration::ZERO)
    }

    /// What is due without an event so much later.
    pub fn end_turn(&mut self, later: Duration) -> &Report {
        self.now = self.now.checked_add(later).unwrap_or(self.now);
        self.engine.advance(self.now);
        self.engine.end_turn(self.now);
        self.engine.report()
    }

    /// Starts the stop.
    pub fn stop(&mut self) {
        self.engine.request(Cause::Requested, self.now);
    }
}

/// Copies pending output, then writes it. Returns the number of bytes.
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

    /// Moves a slot to the end, as after a read. Returns whether there is one.
    pub fn touch(&mut self, at: u32) -> bool {
        self.1.remove(&mut self.0, at);
        self.1.push_back(&mut self.0, at)
    }
}
