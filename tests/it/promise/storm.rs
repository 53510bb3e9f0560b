//! Callers that connect one after another without waiting, and each say something at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::promise::client::{End, Seen};

const MESSAGE: [u8; 16] = *b"said on arrival\n";

/// How long the last callers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It never was connected.
    Refused,
    Ended(End),
}

#[derive(Debug)]
struct Caller {
    stream: Option<TcpStream>,
    /// Whether its message is on its way.
    is_connected: bool,
    since: Instant,
    /// The time that its connect took.
    waited: Option<Duration>,
    received: Vec<u8>,
    fate: Option<Fate>,
}

impl Caller {
    fn call(address: SocketAddr, poll: &Poll, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, token, both)?;
        let received = Vec::new();
        Ok(Self {
            stream: Some(stream),
            is_connected: false,
            since: Instant::now(),
            waited: None,
            received,
            fate: None,
        })
    }

    /// Does what can be done now, and closes at the end.
    fn go_on(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let stepped = step(stream, &mut self.is_connected, &mut self.received);
        if self.is_connected {
            self.waited.get_or_insert_with(|| self.since.elapsed());
        }
        match stepped {
            Ok(true) => self.fate = Some(Fate::Ended(End::Fin)),
            Ok(false) => return,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return,
            Err(_) if self.is_connected => self.fate = Some(Fate::Ended(End::Reset)),
            Err(_) => self.fate = Some(Fate::Refused),
        }
        self.stream = None;
    }

    fn is_pending(&self) -> bool {
        !self.is_connected && self.fate.is_none()
    }

    fn seen(&self) -> Option<Seen> {
        let end = match self.fate {
            Some(Fate::Ended(end)) => end,
            None if self.is_connected => End::Hung,
            Some(Fate::Refused) | None => return None,
        };
        let (handed, received) = (MESSAGE.len(), self.received.len());
        let is_intact = MESSAGE.starts_with(&self.received);
        Some(Seen { handed, sent: handed, received, is_intact, end })
    }
}

/// Whether the stream has come to its end.
fn step(
    stream: &mut TcpStream,
    is_connected: &mut bool,
    received: &mut Vec<u8>,
) -> io::Result<bool> {
    if !*is_connected {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => *is_connected = true,
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        stream.set_nodelay(true)?;
        stream.write_all(&MESSAGE)?;
    }
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(true),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
}

/// One connect each `every` for as long as it `lasts`, then until each has seen its end. Returns
/// what those saw who were connected; what they said counts as handed over, whenever they did.
#[track_caller]
pub fn storm(address: SocketAddr, every: Duration, lasts: Duration) -> Vec<Seen> {
    let start = Instant::now();
    storm_while(address, every, Stay::ToTheEnd, |_| start.elapsed() < lasts).seen
}

/// How long a caller stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until the server ends the connection.
    ToTheEnd,
    /// Until what it said has come back: then it ends the connection itself.
    ForAWord,
}

/// What a storm has done.
#[derive(Debug)]
pub struct Stormed {
    /// What those saw who were connected.
    pub seen: Vec<Seen>,
    /// Those that were refused, or never connected.
    pub refused: usize,
    /// The longest time that a connect took.
    pub slowest: Duration,
}

/// The same for as long as a condition holds, given the number of those not connected yet.
#[track_caller]
pub fn storm_while(
    address: SocketAddr,
    every: Duration,
    stay: Stay,
    mut rages: impl FnMut(usize) -> bool,
) -> Stormed {
    let mut poll = Poll::new().expect("a poll");
    let mut events = Events::with_capacity(1024);
    let mut callers: Vec<Caller> = Vec::new();
    let mut pending = 0;
    let mut next = Instant::now();
    let mut deadline = next + PATIENCE;
    loop {
        let now = Instant::now();
        let is_raging = rages(pending);
        if is_raging {
            deadline = now + PATIENCE;
        }
        while is_raging && next <= now {
            let token = Token(callers.len());
            callers.push(Caller::call(address, &poll, token).expect("a socket"));
            pending += 1;
            next += every;
        }
        if now > deadline || !is_raging && callers.iter().all(|caller| caller.fate.is_some()) {
            let seen: Vec<Seen> = callers.iter().filter_map(Caller::seen).collect();
            let slowest = callers.iter().filter_map(|caller| caller.waited).max();
            let refused = callers.len() - seen.len();
            return Stormed { seen, refused, slowest: slowest.unwrap_or_default() };
        }
        let wait = if is_raging { every } else { Duration::from_millis(20) };
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("a poll"),
        }
        for event in &events {
            let caller = &mut callers[event.token().0];
            let was_pending = caller.is_pending();
            caller.go_on();
            if stay == Stay::ForAWord && caller.received == MESSAGE && caller.stream.is_some() {
                caller.fate = Some(Fate::Ended(End::Fin));
                caller.stream = None;
            }
            pending -= usize::from(was_pending && !caller.is_pending());
        }
    }
}
