//! What the kernel knows of the sockets of this network namespace.

use std::fs;

/// As `/proc/net/tcp` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    HalfOpen = 3,
    /// Its FIN is acknowledged.
    FinWait2 = 5,
}

/// A TCP socket.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub local: u16,
    pub remote: u16,
    pub state: u8,
    /// Bytes that the peer has not acknowledged, those not sent yet included.
    pub unacknowledged: usize,
    pub unread: usize,
}

/// The IPv4 sockets of the calling thread's network namespace.
pub fn sockets() -> Vec<Entry> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("a table");
    table.lines().skip(1).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split_whitespace().skip(1);
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let local = port(fields.next()?)?;
    let remote = port(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (unacknowledged, unread) = fields.next()?.split_once(':')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (unacknowledged, unread) = (number(unacknowledged)?, number(unread)?);
    Some(Entry { local, remote, state, unacknowledged, unread })
}

/// How many sockets with this local port are in a state.
pub fn count(local: u16, state: State) -> usize {
    let all = sockets();
    all.iter().filter(|entry| entry.local == local && entry.state == state as u8).count()
}

/// The end of a connection that has these ports.
pub fn end_of(local: u16, remote: u16) -> Option<Entry> {
    sockets().into_iter().find(|entry| entry.local == local && entry.remote == remote)
}
