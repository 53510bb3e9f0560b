//! Servers that lie, on plain threads: each does one thing wrong and nothing else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// An echo server with a thread per connection. Dropped, it stops accepting; its connections end
/// with their clients.
pub struct Liar {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Liar {
    /// Serves each connection, numbered from 0, with `serve`.
    pub fn start(serve: impl Fn(u64, TcpStream) + Send + Sync + 'static) -> Self {
        Self::accepting(u64::MAX, serve)
    }

    /// The same for the first `limit` connections; then the listener is closed.
    pub fn accepting(limit: u64, serve: impl Fn(u64, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let serve = Arc::new(serve);
        let acceptor = thread::spawn(move || {
            for number in 0..limit {
                let Ok((stream, _)) = listener.accept() else { return };
                if over.load(Ordering::Relaxed) {
                    return;
                }
                stream.set_nodelay(true).expect("a TCP stream");
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(number, stream));
            }
        });
        Self { address, is_over, acceptor: Some(acceptor) }
    }

    /// Passes what comes on every connection through `change`, which is told how many bytes came
    /// before on all of them together.
    pub fn changing(change: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        let total = AtomicU64::new(0);
        Self::start(move |_, stream| {
            relay(&stream, &stream, |bytes| {
                let before = total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                change(before, bytes);
            });
        })
    }

    pub fn target(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Writes to one stream what comes from another, until that ends.
pub fn relay(mut from: &TcpStream, mut to: &TcpStream, mut change: impl FnMut(&mut Vec<u8>)) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(len) = from.read(&mut buffer) else { return };
        if len == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let mut bytes = buffer[..len].to_vec();
        change(&mut bytes);
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Flips a bit of one byte in every mebibyte.
pub fn flips() -> Liar {
    Liar::changing(|before, bytes| {
        if let Some(byte) = touched(before, bytes.len(), 1 << 20) {
            bytes[byte] ^= 0x10;
        }
    })
}

/// Leaves three bytes out of every mebibyte.
pub fn drops() -> Liar {
    Liar::changing(|before, bytes| {
        if let Some(byte) = touched(before, bytes.len(), 1 << 20) {
            bytes.drain(byte..(byte + 3).min(bytes.len()));
        }
    })
}

/// Repeats twenty bytes of every mebibyte.
pub fn repeats() -> Liar {
    Liar::changing(|before, bytes| {
        if let Some(byte) = touched(before, bytes.len(), 1 << 20) {
            let end = (byte + 20).min(bytes.len());
            let again = bytes[byte..end].to_vec();
            bytes.splice(byte..byte, again);
        }
    })
}

/// Where in `len` bytes after `before` others a multiple of `period` falls.
fn touched(before: u64, len: usize, period: u64) -> Option<usize> {
    let next = before.div_ceil(period).max(1) * period;
    usize::try_from(next - before).ok().filter(|at| *at < len)
}

/// Gives each connection the bytes of its neighbour, from the fiftieth buffer on.
pub fn swaps() -> Liar {
    let streams: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
    let both = Condvar::new();
    Liar::start(move |number, stream| {
        let mut known = streams.lock().expect("unpoisoned");
        let index = usize::try_from(number).expect("small");
        while known.len() < index {
            known = both.wait(known).expect("unpoisoned");
        }
        known.push(stream.try_clone().expect("a second handle"));
        both.notify_all();
        let other = index ^ 1;
        while known.len() <= other {
            known = both.wait(known).expect("unpoisoned");
        }
        let neighbour = known[other].try_clone().expect("a second handle");
        drop(known);
        let mut buffer = vec![0; 64 * 1024];
        let mut rounds = 0;
        let (mut from, mut own, mut other) = (&stream, &stream, &neighbour);
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            rounds += 1;
            let to = if rounds < 50 { &mut own } else { &mut other };
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// Ends the connection with number 0 in order once it has echoed so many bytes.
pub fn leaves_early() -> Liar {
    ends_after(64 * 1024, |stream| drop(stream.shutdown(Shutdown::Both)))
}

/// Resets the connection with number 0 once it has echoed so many bytes.
pub fn resets() -> Liar {
    ends_after(64 * 1024, |stream| {
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP stream");
    })
}

fn ends_after(limit: usize, end: impl Fn(&TcpStream) + Send + Sync + 'static) -> Liar {
    Liar::start(move |number, stream| {
        if number > 0 {
            return relay(&stream, &stream, |_| {});
        }
        let (mut from, mut to) = (&stream, &stream);
        let mut buffer = vec![0; 4 * 1024];
        let mut echoed = 0;
        while echoed < limit {
            let Ok(len @ 1..) = from.read(&mut buffer) else { return };
            if to.write_all(&buffer[..len]).is_err() {
                return;
            }
            echoed += len;
        }
        end(&stream);
    })
}

/// Echoes, but all connections stand still for `pause` once `after` bytes have come.
pub fn stalls(after: u64, pause: Duration) -> Liar {
    let gate = Mutex::new(false);
    Liar::changing(move |before, _| {
        let mut has_stalled = gate.lock().expect("unpoisoned");
        if before >= after && !*has_stalled {
            *has_stalled = true;
            thread::sleep(pause);
        }
    })
}

/// Serves only so many clients; the others are refused.
pub fn accepts(limit: u64) -> Liar {
    Liar::accepting(limit, |_, stream| relay(&stream, &stream, |_| {}))
}

/// Accepts, reads and never answers.
pub fn swallows() -> Liar {
    Liar::start(|_, mut stream| {
        let mut buffer = vec![0; 64 * 1024];
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    })
}

/// Sends bytes that nobody sent first.
pub fn invents() -> Liar {
    Liar::start(|_, mut stream| {
        if stream.write_all(&[0x55; 100]).is_ok() {
            relay(&stream, &stream, |_| {});
        }
    })
}

/// Does nothing wrong.
pub fn honest() -> Liar {
    Liar::start(|_, stream| relay(&stream, &stream, |_| {}))
}
