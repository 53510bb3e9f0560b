//! Clients that know how many bytes they have handed over and how many came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_send_buffer_size_force;
use socket2::{Domain, Socket, Type};

use crate::host::pattern;
use crate::support::DEADLINE;

/// The period of [`pattern`], a prime number.
const PERIOD: usize = 65_521;
const CHUNK: usize = 65_536;

/// The bytes that every client sends from `offset` on, [`CHUNK`] of them.
fn bytes_at(offset: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let start = offset % PERIOD;
    &BYTES.get_or_init(|| pattern(PERIOD + CHUNK))[start..start + CHUNK]
}

/// How a connection ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// No byte and no end within [`DEADLINE`].
    Hung,
}

/// What a client saw of its connection.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Bytes that its `send` had taken when the stop was requested.
    pub handed: usize,
    /// Bytes that its `send` took in all.
    pub sent: usize,
    pub received: usize,
    /// Whether the bytes received were the first ones sent, in order.
    pub is_intact: bool,
    pub end: End,
}

impl Seen {
    /// Whether something is missing of what was handed over before the request.
    pub fn is_short(&self) -> bool {
        self.received < self.handed
    }
}

/// The sizes of a client's socket buffers, `None` as the system has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    pub receive: Option<usize>,
    pub send: Option<usize>,
}

impl Buffers {
    /// A receive buffer of 16 KiB, so that nearly all that comes back waits in the server's kernel.
    pub const SMALL: Self = Self { receive: Some(16 << 10), send: None };
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// It does not read before this time has passed.
    pub after: Duration,
    pub bytes: usize,
    pub every: Duration,
}

impl Pace {
    pub const FAST: Self = Self { after: Duration::ZERO, bytes: CHUNK, every: Duration::ZERO };

    /// So many bytes a second.
    pub fn per_second(bytes: usize) -> Self {
        Self { after: Duration::ZERO, bytes: bytes / 100, every: Duration::from_millis(10) }
    }

    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// A connected client.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    sent: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    handed: usize,
    received: usize,
}

impl Peer {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::with(address, Buffers::default())
    }

    /// Connects a socket whose buffers are set before.
    #[track_caller]
    pub fn with(address: SocketAddr, buffers: Buffers) -> Self {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
        if let Some(bytes) = buffers.receive {
            socket.set_recv_buffer_size(bytes).expect("an option");
        }
        if let Some(bytes) = buffers.send
            && set_socket_send_buffer_size_force(&socket, bytes).is_err()
        {
            socket.set_send_buffer_size(bytes).expect("an option");
        }
        socket.connect(&address.into()).expect("a connection");
        Self::from(TcpStream::from(socket))
    }

    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("an address").port()
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Acquire)
    }

    /// How many bytes its `send` has taken so far, for who looks while it reads.
    pub fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.sent)
    }

    /// Sends until `limit` bytes are handed over in all, or until the kernel has taken none for a
    /// fifth of a second. Returns how many are.
    #[track_caller]
    pub fn hand_over(&mut self, limit: usize) -> usize {
        let pause = Some(Duration::from_millis(200));
        self.stream.set_write_timeout(pause).expect("an option");
        while self.sent() < limit {
            let at = self.sent();
            match self.stream.write(&bytes_at(at)[..CHUNK.min(limit - at)]) {
                Ok(count) => self.sent.fetch_add(count, Ordering::Release),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending after {at} bytes: {error}"),
            };
        }
        self.stream.set_write_timeout(Some(DEADLINE)).expect("an option");
        self.mark()
    }

    /// Sends `count` bytes, at most [`CHUNK`], and waits until they are back.
    #[track_caller]
    pub fn echo(&mut self, count: usize) {
        let at = self.sent();
        self.stream.write_all(&bytes_at(at)[..count]).expect("bytes sent");
        let mut back = vec![0; count];
        self.stream.read_exact(&mut back).expect("bytes received");
        assert!(back == bytes_at(at)[..count], "other bytes came back");
        self.sent.fetch_add(count, Ordering::Release);
        self.received += count;
        self.mark();
    }

    /// Notes that the request comes now: what is sent so far is handed over before.
    pub fn mark(&mut self) -> usize {
        self.handed = self.sent();
        self.handed
    }

    /// Sends `count` bytes every so often, from now until the connection ends or `talks` is false.
    pub fn talk(&self, count: usize, every: Duration, talks: &Arc<AtomicBool>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a descriptor");
        let (sent, is_over) = (Arc::clone(&self.sent), Arc::clone(&self.is_over));
        let talks = Arc::clone(talks);
        thread::spawn(move || {
            while talks.load(Ordering::Relaxed) && !is_over.load(Ordering::Relaxed) {
                let at = sent.load(Ordering::Acquire);
                match stream.write(&bytes_at(at)[..count]) {
                    Ok(count) => sent.fetch_add(count, Ordering::Release),
                    Err(_) => return,
                };
                thread::sleep(every);
            }
        })
    }

    /// Reads beside the test until the connection ends, then closes.
    pub fn read_beside(self, pace: Pace) -> JoinHandle<Seen> {
        thread::spawn(move || self.read_to_end(pace).0)
    }

    /// Reads until the connection ends, and returns the socket, which is still open.
    pub fn read_to_end(mut self, pace: Pace) -> (Seen, TcpStream) {
        thread::sleep(pace.after);
        let start = Instant::now();
        let (mut received, mut is_intact) = (self.received, true);
        let mut buffer = vec![0; pace.bytes.min(CHUNK)];
        let mut due = start;
        let end = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break End::Fin,
                Ok(count) => {
                    is_intact &= buffer[..count] == bytes_at(received)[..count];
                    received += count;
                    let share = u32::try_from(count * 1000 / pace.bytes).expect("a share");
                    due += pace.every * share / 1000;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break End::Hung,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break End::Reset,
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
        };
        self.is_over.store(true, Ordering::Relaxed);
        let seen = Seen { handed: self.handed, sent: self.sent(), received, is_intact, end };
        (seen, self.stream)
    }
}

impl From<TcpStream> for Peer {
    fn from(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream.set_write_timeout(Some(DEADLINE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self { stream, sent: Arc::default(), is_over: Arc::default(), handed: 0, received: 0 }
    }
}

/// What all of them saw.
#[track_caller]
pub fn all(readers: Vec<JoinHandle<Seen>>) -> Vec<Seen> {
    readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
}
