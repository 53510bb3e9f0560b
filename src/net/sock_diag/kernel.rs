//! The netlink socket of a stop: exact questions, and one dump at a time.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::SocketAddr;

use super::question;
use super::reply::{Content, Message, Socket, take_message};
use crate::accept::pair::{Dumped, Pair, Sought, Standing};
use crate::engine::status::Transport;

/// Exact questions in one send. The replies have room in the socket's receive buffer.
const BATCH: usize = 64;
/// Messages of the kernel that one slice of a dump reads; each describes up to 170 sockets.
const SLICE: u32 = 4;
/// Messages that a count of listeners reads at most.
const LISTENERS: u32 = 64;
/// The longest message of the kernel.
const BUFFER: usize = 16 << 10;

/// States of TCP sockets, as in `struct tcp_info`.
const FIN_WAIT1: u8 = 4;
const SYN_RECV: u8 = 3;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// A dump that was begun and is not complete.
#[derive(Debug)]
struct Dump {
    sequence: u32,
    /// Read, and not yet asked for.
    found: Vec<Pair>,
    end: Option<Dumped>,
}

/// The kernel's reply to an exact question.
#[derive(Debug)]
enum Answer {
    Socket(Socket),
    /// The kernel knows no such connection.
    None,
}

/// The netlink socket through which the kernel is asked, opened at the first question.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    socket: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// The number of the last question.
    sequence: u32,
    dump: Option<Dump>,
    /// What was asked for ahead and is still to be used.
    ahead: Vec<(SocketAddr, SocketAddr, Answer)>,
}

impl Kernel {
    /// Asks for the connection between two addresses. Returns `None` if the kernel cannot be
    /// asked, `Some(None)` if it knows no such connection.
    pub(crate) fn ask(&mut self, local: SocketAddr, peer: SocketAddr) -> Option<Option<Transport>> {
        let known = self.ahead.iter().position(|(one, other, _)| (*one, *other) == (local, peer));
        let mut answer = known.map(|at| self.ahead.swap_remove(at).2);
        if answer.is_none() {
            self.ask_all(&[(local, peer)], |_, said| answer = Some(said));
        }
        match answer? {
            Answer::Socket(socket) => Some(Some(socket.transport)),
            Answer::None => Some(None),
        }
    }

    /// Asks for several connections at once, each for its next [`ask`](Self::ask). Forgets those
    /// before.
    pub(crate) fn ask_ahead(&mut self, pairs: impl Iterator<Item = (SocketAddr, SocketAddr)>) {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        let pairs: Vec<_> = pairs.take(BATCH).collect();
        if pairs.len() > 1 {
            self.ask_all(&pairs, |at, answer| {
                if let Some((local, peer)) = pairs.get(at) {
                    ahead.push((*local, *peer, answer));
                }
            });
        }
        self.ahead = ahead;
    }

    /// Asks for the standing of connections.
    pub(crate) fn ask_pairs(&mut self, pairs: &mut [Pair]) {
        for batch in pairs.chunks_mut(BATCH) {
            let addresses: Vec<_> = batch.iter().map(|pair| (pair.local, pair.peer)).collect();
            batch.iter_mut().for_each(|pair| pair.standing = Standing::Unknown);
            self.ask_all(&addresses, |at, answer| {
                if let Some(pair) = batch.get_mut(at) {
                    pair.standing = match answer {
                        Answer::Socket(socket) => standing(&socket),
                        Answer::None => Standing::Gone,
                    };
                }
            });
        }
    }

    /// Goes on with a dump of connections of an address, or begins one. Appends to `found`.
    pub(crate) fn dump(
        &mut self,
        sought: Sought,
        restart: bool,
        local: SocketAddr,
        found: &mut Vec<Pair>,
    ) -> Dumped {
        let states = match sought {
            Sought::HalfOpen => 1 << SYN_RECV,
            Sought::Closed => 1 << FIN_WAIT1 | 1 << LAST_ACK | 1 << CLOSING,
        };
        if restart || self.dump.is_none() {
            self.begin_dump(local, states);
        }
        let mut slice = SLICE;
        while slice > 0 && self.dump.as_ref().is_some_and(|dump| dump.end.is_none()) {
            self.receive(|_| {});
            slice = slice.saturating_sub(1);
        }
        let Some(mut dump) = self.dump.take() else { return Dumped::Unknown };
        let is_ours = |pair: &Pair| covers(local, pair.local);
        found.extend(dump.found.drain(..).filter(is_ours));
        if let Some(end) = dump.end {
            return end;
        }
        self.dump = Some(dump);
        Dumped::Partly
    }

    /// Returns the number of listening sockets on an address.
    pub(crate) fn count_listeners(&mut self, local: SocketAddr) -> Option<usize> {
        self.begin_dump(local, 1 << LISTEN);
        for _ in 0..LISTENERS {
            self.receive(|_| {});
            if let Some(Dump { end: Some(end), .. }) = &self.dump {
                let known = *end == Dumped::Wholly;
                let dump = self.dump.take()?;
                let overlap = |pair: &&Pair| covers(local, pair.local) || covers(pair.local, local);
                return known.then(|| dump.found.iter().filter(overlap).count());
            }
        }
        None
    }

    fn begin_dump(&mut self, local: SocketAddr, states: u32) {
        if self.dump.as_ref().is_some_and(|dump| dump.end.is_none()) {
            // The kernel runs one dump a socket, and ends it with the socket.
            self.socket = None;
        }
        let sequence = self.next_sequence();
        let mut question = Vec::new();
        question::dump(sequence, local, states, &mut question);
        let sent = self.send(&question);
        let end = if sent.is_some() { None } else { Some(Dumped::Unknown) };
        self.dump = Some(Dump { sequence, found: Vec::new(), end });
    }

    /// Asks at most [`BATCH`] exact questions and calls `tell` with the place of each question
    /// that is answered, and the answer.
    fn ask_all(
        &mut self,
        addresses: &[(SocketAddr, SocketAddr)],
        mut tell: impl FnMut(usize, Answer),
    ) {
        let mut questions = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for (local, peer) in addresses {
            question::exact(self.next_sequence(), *local, *peer, &mut questions);
        }
        if self.send(&questions).is_none() {
            return;
        }
        let mut missing = addresses.len();
        while missing > 0 {
            // The kernel replies within the call of send, so nothing to read is the end. What
            // was read before belongs to a dump, which goes on with each call.
            let is_open = self.receive(|Message { sequence, content }| {
                let place = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if place >= addresses.len() {
                    return;
                }
                missing = missing.saturating_sub(1);
                match content {
                    // Without such a connection the listener is found.
                    Content::Socket(socket) if socket.state == LISTEN => tell(place, Answer::None),
                    Content::Socket(socket) => tell(place, Answer::Socket(socket)),
                    Content::Error(libc::ENOENT) => tell(place, Answer::None),
                    Content::Error(_) | Content::Done | Content::Strange => {}
                }
            });
            if !is_open {
                return;
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, questions: &[u8]) -> Option<()> {
        if self.socket.is_none() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let protocol = Some(netlink::SOCK_DIAG);
            let opened = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol);
            let opened = opened.inspect_err(|error| log::debug!("open a netlink socket: {error}"));
            let opened = opened.ok()?;
            self.buffer.try_reserve_exact(BUFFER).ok()?;
            self.buffer.resize(BUFFER, 0);
            self.socket = Some(opened);
        }
        let sent = send(self.socket.as_ref()?, questions, SendFlags::empty()).ok()?;
        (sent == questions.len()).then_some(())
    }

    /// Reads what the kernel sends next: what belongs to the dump is kept, all else is passed on.
    /// Returns whether there was something.
    fn receive(&mut self, mut tell: impl FnMut(Message)) -> bool {
        let Self { socket: Some(socket), buffer, dump, .. } = self else { return false };
        let received = recv(&*socket, buffer.as_mut_slice(), RecvFlags::TRUNC);
        let mut rest = match received {
            Ok((_, length)) => buffer.get(..length).unwrap_or_default(),
            Err(Errno::INTR) => return true,
            Err(error) => {
                if let Some(dump) = dump.as_mut().filter(|dump| dump.end.is_none()) {
                    log::debug!("read what the kernel knows of connections: {error}");
                    dump.end = Some(Dumped::Unknown);
                }
                return false;
            }
        };
        let mut any = false;
        while let Some(message) = take_message(&mut rest) {
            any = true;
            match dump {
                Some(dump) if dump.sequence == message.sequence => dump.take(message.content),
                _ => tell(message),
            }
        }
        if !any && let Some(dump) = dump {
            // A message that is longer than the buffer is lost.
            dump.end = Some(Dumped::Unknown);
        }
        any
    }
}

impl Dump {
    fn take(&mut self, content: Content) {
        match content {
            Content::Socket(socket) => {
                let is_closed = matches!(socket.state, FIN_WAIT1 | LAST_ACK | CLOSING);
                if !is_closed || socket.is_orphan {
                    let standing = standing(&socket);
                    self.found.push(Pair { local: socket.local, peer: socket.peer, standing });
                }
            }
            Content::Done => self.end = Some(self.end.unwrap_or(Dumped::Wholly)),
            Content::Error(_) | Content::Strange => self.end = Some(Dumped::Unknown),
        }
    }
}

fn standing(socket: &Socket) -> Standing {
    let Transport { unacknowledged, repetitions, .. } = socket.transport;
    if socket.state == SYN_RECV {
        Standing::HalfOpen { repetitions }
    } else {
        Standing::Known { unacknowledged, repetitions }
    }
}

/// Returns whether a connection to `local` reaches a listener on `listener`, on the same port.
fn covers(listener: SocketAddr, local: SocketAddr) -> bool {
    let (listener, local) = (listener.ip().to_canonical(), local.ip().to_canonical());
    listener.is_unspecified() || listener == local
}
