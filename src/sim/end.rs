//! The server's end of a simulated connection, as the engine's stream.

use std::io::{self, Read, Write};

use super::shared::Shared;
use crate::engine::status::{Locality, Status};
use crate::engine::stream::Stream;

#[derive(Debug)]
pub(super) struct End {
    network: Shared,
    at: usize,
}

impl End {
    pub(super) fn new(network: &Shared, at: usize) -> Self {
        Self { network: network.clone(), at }
    }

    pub(super) fn network(&self) -> &Shared {
        &self.network
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }
}

/// A pipe: where in a stream its bytes stand, and how many they are.
#[derive(Debug, Default)]
pub(super) struct Tube {
    from: u64,
    len: u64,
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.network.lock().read(self.at, buffer)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.network.lock().write(self.at, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    type Pipe = Tube;

    const HAS_PIPES: bool = true;

    fn open_pipe() -> io::Result<Tube> {
        Ok(Tube::default())
    }

    fn fill(&mut self, pipe: &mut Tube, most: usize) -> io::Result<usize> {
        let mut network = self.network.lock();
        if pipe.len > 0 {
            network.blame(self.at, "a pipe filled before it was empty");
        }
        let (count, from) = network.fill(self.at, most)?;
        network.pipes += 1;
        *pipe = Tube { from, len: count };
        Ok(count as usize)
    }

    fn drain(&mut self, pipe: &mut Tube, most: usize) -> io::Result<usize> {
        let mut network = self.network.lock();
        let count = network.drain(self.at, pipe.len.min(most as u64), pipe.from)?;
        *pipe = Tube { from: pipe.from + count, len: pipe.len - count };
        Ok(count as usize)
    }

    fn peek(&mut self) -> io::Result<usize> {
        self.network.lock().peek(self.at)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.network.lock().shut(self.at)
    }

    fn reset_on_close(&mut self) {
        self.network.lock().lines[self.at].duplex.reset_asked = true;
    }

    type Kernel = ();

    fn locality(&self) -> Locality {
        self.network.lock().lines[self.at].duplex.link.locality
    }

    fn status(&mut self, (): &mut ()) -> Status {
        self.network.lock().status(self.at)
    }

    fn quick_ack(&mut self) {
        self.network.lock().quick_ack(self.at);
    }

    fn receive_buffer(&self) -> usize {
        self.network.lock().lines[self.at].duplex.up.size as usize
    }

    fn send_buffer(&self) -> usize {
        self.network.lock().lines[self.at].duplex.down.capacity as usize
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.network.lock().drop_end(self.at);
    }
}
