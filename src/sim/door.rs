//! Listening sockets of the simulated world, and what may go wrong with taking clients in.

use mio::Token;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::Shared;
use super::end::End;
use super::line::Fate;
use super::network::Network;
use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Standing, Visibility};
use crate::accept::queue::Listen;
use crate::engine::phase::Phase;

/// Calls of accept that one turn of a running server may make on one queue.
const CALLS: u32 = 257;
/// The shortest rest after descriptors or memory were used up, less the host's rounding.
const REST: u64 = 99_000;

/// What there is too little of, and how often.
#[derive(Clone, Debug)]
pub(super) struct Scarcity {
    /// Connections for which there are descriptors.
    pub(super) descriptors: usize,
    /// Times, from and to, in which accept gives an error.
    pub(super) droughts: Vec<(u64, u64, i32)>,
    /// One call of accept in so many fails for the client's fault or nobody's; 0: none.
    pub(super) failure_rate: u64,
    /// One connection in so many cannot be put on the poll; 0: none.
    pub(super) register_rate: u64,
}

/// What kind of listening socket it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Make {
    /// Its queue is the server's alone.
    pub(super) owned: bool,
    /// The kernel can keep handshakes out before the close.
    pub(super) has_gate: bool,
    /// From then on every call gives this error.
    pub(super) dies: Option<(u64, i32)>,
}

/// One listening socket, as the kernel knows it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) make: Make,
    pub(super) backlog: VecDeque<usize>,
    pub(super) registered: bool,
    /// The poll has something to report of it.
    pub(super) edge: bool,
    pub(super) gate_shut: bool,
    /// The server has closed it.
    pub(super) closed: bool,
    epoch: u64,
    calls: u32,
    /// When it last failed for want of something, and how many slots had come free.
    exhausted: Option<(u64, u64)>,
}

impl Door {
    pub(super) fn new(make: Make) -> Self {
        Self {
            make,
            backlog: VecDeque::new(),
            registered: false,
            edge: false,
            gate_shut: false,
            closed: false,
            epoch: 0,
            calls: 0,
            exhausted: None,
        }
    }

    pub(super) fn is_dead(&self, now: u64) -> bool {
        self.make.dies.is_some_and(|(at, _)| at <= now)
    }
}

impl Network {
    /// A client's handshake is complete, if there is somebody to shake hands with.
    pub(super) fn knock(&mut self, at: usize) {
        let door = &mut self.doors[self.lines[at].door];
        if door.closed || door.gate_shut || door.is_dead(self.now) {
            self.lines[at].duplex.refuse();
            return;
        }
        door.backlog.push_back(at);
        door.edge = door.registered;
        self.lines[at].fate = Fate::Queued;
        self.tell(|| format!("line {at}: connects, {:?}", self.lines[at].peer.script));
    }

    fn accept(&mut self, door: usize) -> io::Result<usize> {
        let (epoch, phase) = (self.epoch, self.phase);
        let it = &mut self.doors[door];
        if it.epoch != epoch {
            (it.epoch, it.calls) = (epoch, 0);
        }
        it.calls += 1;
        if !it.make.owned && phase >= Phase::Draining {
            self.blame(usize::MAX, "reaches into the queue of somebody else");
        }
        let it = &self.doors[door];
        if it.calls > CALLS && phase < Phase::Draining {
            self.blame(usize::MAX, "more accepts than a turn may make");
        }
        let forcing = phase >= Phase::Forcing;
        if let Some(errno) = self.obstacle(door) {
            self.accept_errors +=
                u64::from(!forcing && !matches!(errno, libc::EBADF | libc::EINVAL));
            self.tell(|| format!("door {door}: accept: error {errno}"));
            return Err(io::Error::from_raw_os_error(errno));
        }
        let Some(at) = self.doors[door].backlog.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.progress += 1;
        if self.scarcity.failure_rate > 0 && self.random.one_in(self.scarcity.failure_rate) {
            // A client that left while it waited, or that a filter turns away.
            self.accept_errors += u64::from(!forcing);
            self.lines[at].fate = Fate::Broken;
            self.lines[at].duplex.refuse();
            self.wake(at, self.now + 1);
            let errno = self.random.pick(&[libc::ECONNABORTED, libc::EPERM, libc::EPROTO]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.lines[at].fate = Fate::Taken;
        self.wanting = false;
        self.descriptors += 1;
        Ok(at)
    }

    /// Why accept gives nobody, whoever waits.
    fn obstacle(&mut self, door: usize) -> Option<i32> {
        let now = self.now;
        if let Some((_, errno)) = self.doors[door].make.dies.filter(|(at, _)| *at <= now) {
            self.countless = true;
            self.listener_failed = true;
            return Some(errno);
        }
        // The kernel takes the descriptor first, and so says this of an empty queue too.
        let full = (self.descriptors >= self.scarcity.descriptors).then_some(libc::EMFILE);
        let drought =
            self.scarcity.droughts.iter().find(|(from, to, _)| (*from..*to).contains(&now));
        if let Some(errno) = full.or_else(|| drought.map(|(_, _, errno)| *errno)) {
            self.note_exhaustion(door);
            self.countless |= self.phase >= Phase::Forcing && self.descriptors == 0;
            return Some(errno);
        }
        if self.scarcity.failure_rate > 0 && self.random.one_in(4 * self.scarcity.failure_rate) {
            self.progress += 1;
            return Some(self.random.pick(&[libc::EINTR, libc::ENETDOWN, libc::ETIMEDOUT]));
        }
        None
    }

    /// Nothing can be had: it is asked for again after a close, or after a while.
    fn note_exhaustion(&mut self, door: usize) {
        self.exhausted += 1;
        self.wanting = true;
        let (now, freed) = (self.now, self.freed_count);
        let before = self.doors[door].exhausted.replace((now, freed));
        let soon = before.is_some_and(|(at, count)| now < at + REST && count == freed);
        if soon && self.phase < Phase::Draining {
            self.blame(usize::MAX, "asks again too soon for what there is not");
        }
        self.progress += u64::from(!soon);
    }

    fn register_line(&mut self, at: usize, slot: u32) -> io::Result<()> {
        let is_new = self.lines[at].fate == Fate::Taken;
        if is_new
            && self.scarcity.register_rate > 0
            && self.random.one_in(self.scarcity.register_rate)
        {
            self.accept_errors += 1;
            self.lines[at].fate = Fate::Unregistered;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.register(at, slot);
        Ok(())
    }

    /// The server closes a listening socket: what a kernel does with those who wait in its queue.
    fn close_door(&mut self, door: usize) {
        if self.doors[door].registered && !self.dropping {
            self.blame(usize::MAX, "a listener closed while the poll knows it");
        }
        let it = &mut self.doors[door];
        it.closed = true;
        let (owned, left) = (it.make.owned, std::mem::take(&mut it.backlog));
        self.tell(|| format!("door {door}: closed, {} in its queue", left.len()));
        self.progress += 1;
        for at in left {
            self.lines[at].fate = if owned { Fate::Lost } else { Fate::Left };
            self.lines[at].duplex.refuse();
            self.wake(at, self.now + 1);
        }
    }

    /// A socket is off the poll; that it is may be told as an error, but not of the first one.
    fn depart(&mut self) -> io::Result<()> {
        self.departed += 1;
        if self.departed > 1 && self.random.one_in(4) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    /// Sees whether a server that left its poll left something there.
    pub(super) fn note_departure(&mut self) {
        let doors = self.doors.iter().any(|door| door.registered && !door.closed);
        if doors || self.lines.iter().any(|line| line.on_poll && !line.duplex.dropped) {
            self.blame(usize::MAX, "left something on the poll");
        }
    }

    /// A client that was accepted and not taken in is let go.
    pub(super) fn let_go(&mut self, at: usize) {
        let line = &self.lines[at];
        let share = self.shares.get(&line.address).copied().unwrap_or(0);
        self.lines[at].fate = match line.fate {
            Fate::Unregistered if self.phase < Phase::Draining => Fate::Unregistered,
            Fate::Unregistered => Fate::Counted,
            _ if self.phase >= Phase::Forcing => Fate::Counted,
            _ if self.most_per_ip.is_some_and(|most| share >= most) => {
                self.refused += 1;
                Fate::Refused
            }
            _ => {
                self.blame(at, "a client let go for no reason");
                Fate::Refused
            }
        };
    }
}

fn check_poll(own: &Shared, poll: &Shared) -> io::Result<()> {
    if own.is(poll) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The server's hold of a listening socket.
#[derive(Debug)]
pub(super) struct Tap {
    network: Shared,
    door: usize,
}

impl Tap {
    pub(super) fn new(network: &Shared, door: usize) -> Self {
        Self { network: network.clone(), door }
    }
}

impl Listen for Tap {
    type Stream = End;
    type Poll = Shared;
    type Endpoint = (Shared, usize);

    fn name(&self) -> &str {
        "a door"
    }

    fn accept(&mut self) -> io::Result<(End, Option<SocketAddr>)> {
        let at = self.network.lock().accept(self.door)?;
        let address = self.network.lock().lines[at].address;
        Ok((End::new(&self.network, at), Some((address, 7).into())))
    }

    fn shut_gate(&mut self) -> bool {
        let mut network = self.network.lock();
        let door = &mut network.doors[self.door];
        door.gate_shut = door.make.has_gate;
        door.gate_shut
    }

    fn visibility(&mut self, (): &mut ()) -> Visibility {
        Visibility::NoHandshakes
    }

    fn pressure(&mut self) -> Option<Pressure> {
        Some(Pressure::default())
    }

    fn endpoint(&self) -> Option<(Shared, usize)> {
        Some((self.network.clone(), self.door))
    }

    fn dump(_: &(Shared, usize), _: Sought, _: bool, (): &mut (), _: &mut Vec<Pair>) -> Dumped {
        Dumped::Wholly
    }

    fn ask(_: &(Shared, usize), (): &mut (), pairs: &mut [Pair]) {
        pairs.iter_mut().for_each(|pair| pair.standing = Standing::Gone);
    }

    fn register(&mut self, network: &Shared, token: Token) -> io::Result<()> {
        let mut network = network.lock();
        if network.tokens.index(token) != Some(self.door) {
            network.blame(usize::MAX, "a listener under a wrong token");
        }
        let door = &mut network.doors[self.door];
        (door.registered, door.edge) = (true, !door.backlog.is_empty());
        Ok(())
    }

    fn deregister(&mut self, poll: &Shared) -> io::Result<()> {
        check_poll(&self.network, poll)?;
        let mut network = self.network.lock();
        let door = &mut network.doors[self.door];
        (door.registered, door.edge) = (false, false);
        network.depart()
    }

    fn register_stream(stream: &mut End, network: &Shared, token: Token) -> io::Result<()> {
        let mut network = network.lock();
        let index = network.tokens.index(token);
        let slot = index.and_then(|index| index.checked_sub(network.doors.len()));
        let Some(slot) = slot else {
            network.blame(stream.at(), "a client under a wrong token");
            return Ok(());
        };
        network.register_line(stream.at(), slot as u32)
    }

    fn deregister_stream(stream: &mut End, network: &Shared) -> io::Result<()> {
        check_poll(stream.network(), network)?;
        let mut network = network.lock();
        network.lines[stream.at()].on_poll = false;
        network.depart()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.network.lock().close_door(self.door);
    }
}
