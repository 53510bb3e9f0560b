//! The way in: what a kernel does with a listening socket's queue, and what may go wrong with
//! taking clients from it.

use mio::Token;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::end::End;
use super::line::Fate;
use super::network::Network;
use super::plan::REPETITIONS;
use super::shared::Shared;
use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Standing, Visibility};
use crate::accept::queue::{Listen, Ownership};
use crate::engine::phase::Phase;

/// Calls of accept that one turn of a running server may make on one queue.
const CALLS: u32 = 257;
/// The shortest rest after descriptors or memory were used up, less the host's rounding.
const REST: u64 = 99_000;
/// Connections that a slice of a dump gives.
const DUMP: usize = 40;

impl Network {
    fn accept(&mut self, door: usize) -> io::Result<usize> {
        let (epoch, phase) = (self.epoch, self.phase);
        let it = &mut self.doors[door];
        if it.epoch != epoch {
            (it.epoch, it.calls) = (epoch, 0);
        }
        it.calls += 1;
        if it.make.ownership == Ownership::Shared && phase >= Phase::Draining {
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
            self.lines[at].duplex.refuse(self.now);
            self.wake(at, self.now + 1);
            let errno = self.random.pick(&[libc::ECONNABORTED, libc::EPERM, libc::EPROTO]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.lines[at].fate = Fate::Taken;
        self.lines[at].accepted_at = self.now;
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

    /// The server closes a listening socket: what a kernel does with those who wait in its queue
    /// and with those who are about to.
    fn close_door(&mut self, door: usize) {
        let now = self.now;
        let it = &self.doors[door];
        let ours = it.make.is_owned() && !it.is_dead(now) && !self.dropping;
        if it.registered && !self.dropping {
            self.blame(usize::MAX, "a listener closed while the poll knows it");
        } else if ours && it.make.has_gate && !it.gate_shut {
            self.blame(usize::MAX, "a listener closed with its gate open");
        }
        let it = &mut self.doors[door];
        it.closed = true;
        it.ungated = ours && !it.gate_shut;
        let owned = it.make.is_owned();
        self.countless |= it.make.ownership == Ownership::Undecided;
        let it = &mut self.doors[door];
        let (left, half_open) =
            (std::mem::take(&mut it.backlog), std::mem::take(&mut it.half_open));
        self.tell(|| {
            format!("door {door}: closed, {left:?} in its queue, {half_open:?} half open")
        });
        self.progress += 1;
        for at in left {
            self.lines[at].fate = if owned { Fate::Lost } else { Fate::Left };
            self.lines[at].duplex.refuse(now);
            self.wake(at, now + 1);
        }
        for at in half_open {
            self.lines[at].severed = Some((now, self.phase));
            self.lines[at].fate = if owned { Fate::Severed } else { Fate::Left };
            self.lines[at].duplex.refuse(now);
            self.wake(at, now + 1);
        }
    }

    /// From now on the queues are somebody's else, or not.
    pub(super) fn set_ownership(&mut self, to: Ownership) {
        self.doors.iter_mut().for_each(|door| door.make.ownership = to);
    }

    /// Repetitions of a line's SYN-ACK up to now.
    pub(super) fn syn_ack_repetitions(&self, at: usize) -> u8 {
        let since = self.now.saturating_sub(self.lines[at].handshake.syn);
        REPETITIONS.iter().filter(|time| **time <= since).count() as u8
    }

    /// What the kernel knows of a connection by its number.
    fn standing(&self, at: usize) -> Standing {
        let Some(line) = self.lines.get(at) else { return Standing::Gone };
        let duplex = &line.duplex;
        match line.fate {
            _ if !self.asks => Standing::Unknown,
            Fate::HalfOpen => Standing::HalfOpen { repetitions: self.syn_ack_repetitions(at) },
            Fate::Outside | Fate::Forgotten | Fate::Severed => Standing::Gone,
            _ if duplex.dead || duplex.cut || duplex.is_over() => Standing::Gone,
            _ => Standing::Known {
                unacknowledged: duplex.down.unacknowledged() as u32,
                repetitions: duplex.repetitions,
            },
        }
    }

    fn pair(&self, at: usize) -> Pair {
        let line = &self.lines[at];
        Pair { local: local(line.door), peer: line.address, standing: self.standing(at) }
    }

    /// Connections that a dump of a listener's address finds.
    fn sought(&self, door: usize, sought: Sought) -> Vec<usize> {
        if sought == Sought::HalfOpen {
            return self.doors[door].half_open.clone();
        }
        let lines = self.lines.iter().enumerate().filter(|(_, line)| {
            let duplex = &line.duplex;
            let closed = line.door == door && duplex.dropped && duplex.established;
            closed && duplex.down.unacknowledged() > 0 && !duplex.dead && !duplex.cut
        });
        lines.map(|(at, _)| at).collect()
    }

    fn dump(&mut self, door: usize, sought: Sought, restart: bool) -> (Dumped, Vec<Pair>) {
        if !self.asks || self.random.one_in(200) {
            self.doors[door].dump = None;
            self.doors[door].hidden = true;
            return (Dumped::Unknown, Vec::new());
        }
        let under_way = self.doors[door].dump.take().filter(|_| !restart);
        let mut rest = under_way.unwrap_or_else(|| self.sought(door, sought));
        let slice: Vec<_> = rest.drain(..rest.len().min(DUMP)).collect();
        let found = slice.into_iter().map(|at| self.pair(at)).collect();
        if rest.is_empty() {
            return (Dumped::Wholly, found);
        }
        self.doors[door].dump = Some(rest);
        (Dumped::Partly, found)
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

    /// A client that was accepted but got no slot is closed.
    pub(super) fn refuse(&mut self, at: usize) {
        let line = &self.lines[at];
        let share = self.shares.get(&line.ip()).copied().unwrap_or(0);
        self.lines[at].fate = match line.fate {
            Fate::Unregistered if self.phase < Phase::Draining => Fate::Unregistered,
            Fate::Unregistered => Fate::Counted,
            _ if self.phase >= Phase::Forcing => Fate::Counted,
            _ if line.ip().is_some() && self.most_per_ip.is_some_and(|most| share >= most) => {
                self.refused += 1;
                Fate::Refused
            }
            _ => {
                self.blame(at, "a client closed for no reason");
                Fate::Refused
            }
        };
    }
}

/// The address of a listener.
fn local(door: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7 + door as u16).into()
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
        let network = self.network.lock();
        let line = &network.lines[at];
        let address = (!line.duplex.link.is_unix()).then_some(line.address);
        drop(network);
        Ok((End::new(&self.network, at), address))
    }

    fn shut_gate(&mut self) -> bool {
        let mut network = self.network.lock();
        let door = &mut network.doors[self.door];
        door.gate_shut = door.make.has_gate;
        door.gate_shut
    }

    fn visibility(&mut self, (): &mut ()) -> Visibility {
        self.network.lock().doors[self.door].make.visibility
    }

    fn pressure(&mut self) -> Option<Pressure> {
        self.network.lock().pressure
    }

    fn endpoint(&self) -> Option<(Shared, usize)> {
        Some((self.network.clone(), self.door))
    }

    fn dump(
        (network, door): &(Shared, usize),
        sought: Sought,
        restart: bool,
        (): &mut (),
        found: &mut Vec<Pair>,
    ) -> Dumped {
        let (dumped, pairs) = network.lock().dump(*door, sought, restart);
        found.extend(pairs);
        dumped
    }

    fn ask((network, _): &(Shared, usize), (): &mut (), pairs: &mut [Pair]) {
        let network = network.lock();
        for pair in pairs {
            pair.standing = network.standing(usize::from(pair.peer.port()).wrapping_sub(1024));
        }
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
