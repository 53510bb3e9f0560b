//! Echo over edge-triggered epoll, one thread: about the least that readiness I/O can cost.
//!
//! One 64 KiB buffer for all; a connection owns memory only while a write is short. A short read
//! is taken as the last one unless an end or an error is flagged.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with, sockopt};

const BUFFER: usize = 64 << 10;
const EVENTS: usize = 1024;
/// Full reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 16;
const ACCEPTS_PER_TURN: usize = 256;

struct Connection {
    stream: OwnedFd,
    rest: Option<Box<Rest>>,
}

/// What a read gave and the peer has not taken.
struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

enum Next {
    /// The next event carries on.
    Wait,
    /// Another turn without an event.
    Again,
    Close,
}

/// By their descriptors.
type Connections = Vec<Option<Connection>>;

pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, key(&listener), EventFlags::IN)?;
    let mut connections = Connections::new();
    let mut events = Vec::<Event>::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER];
    loop {
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (flags, data) = (event.flags, event.data);
            if data.u64() == key(&listener).u64() {
                accept(&poll, &listener, &mut connections);
                continue;
            }
            let slot = &mut connections[data.u64() as usize];
            let Some(connection) = slot else { continue };
            match connection.echo(flags, &mut buffer) {
                Next::Wait => {}
                // Armed again, it is told at once if there is still something.
                Next::Again => epoll::modify(&poll, &connection.stream, data, edges())?,
                Next::Close => *slot = None,
            }
        }
    }
}

fn key(fd: &impl AsRawFd) -> EventData {
    EventData::new_u64(fd.as_raw_fd() as u64)
}

fn edges() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
}

fn accept(poll: &OwnedFd, listener: &TcpListener, connections: &mut Connections) {
    for _ in 0..ACCEPTS_PER_TURN {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let Ok(stream) = accept_with(listener, flags) else { return };
        let ready = sockopt::set_tcp_nodelay(&stream, true)
            .and_then(|()| epoll::add(poll, &stream, key(&stream), edges()));
        if ready.is_err() {
            continue;
        }
        let at = stream.as_raw_fd() as usize;
        if connections.len() <= at {
            connections.resize_with(at + 1, || None);
        }
        connections[at] = Some(Connection { stream, rest: None });
    }
}

impl Connection {
    fn echo(&mut self, flags: EventFlags, buffer: &mut [u8]) -> Next {
        if let Some(next) = self.flush() {
            return next;
        }
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        let trusts_short_read = !flags.intersects(ends);
        for _ in 0..READS_PER_TURN {
            let len = match read(&self.stream, &mut *buffer) {
                Ok(0) => return Next::Close,
                Ok(len) => len,
                Err(Errno::AGAIN) => return Next::Wait,
                Err(_) => return Next::Close,
            };
            let written = match write(&self.stream, &buffer[..len]) {
                Ok(written) => written,
                Err(Errno::AGAIN) => 0,
                Err(_) => return Next::Close,
            };
            if written < len {
                let bytes = buffer[written..len].to_vec();
                self.rest = Some(Box::new(Rest { bytes, taken: 0 }));
                return Next::Wait;
            }
            if len < buffer.len() && trusts_short_read {
                return Next::Wait;
            }
        }
        Next::Again
    }

    /// Writes what is owed; answers what is next unless all of it is gone.
    fn flush(&mut self) -> Option<Next> {
        while let Some(rest) = &mut self.rest {
            match write(&self.stream, &rest.bytes[rest.taken..]) {
                Ok(len) => rest.taken += len,
                Err(Errno::AGAIN) => return Some(Next::Wait),
                Err(_) => return Some(Next::Close),
            }
            if rest.taken == rest.bytes.len() {
                self.rest = None;
            }
        }
        None
    }
}
