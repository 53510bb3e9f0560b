//! A server in steady state takes no memory: calls of the allocator, counted on its thread.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use allocation_counter::measure;
use mio::{Events, Poll};
use netgrace::protocol::{Line, Repeat};
use netgrace::{Config, Server, Service};

use super::support::{DEADLINE, loopback};

const ROUNDS: usize = 500;
/// Until every list and buffer has the size that it needs.
const WARM_UP: usize = 50;

/// A server and its clients on one thread.
struct Pair<P: Service> {
    server: Server<P>,
    poll: Poll,
    events: Events,
    clients: Vec<TcpStream>,
}

impl<P: Service> Pair<P> {
    fn new(mut server: Server<P>, clients: usize) -> Self {
        server.listen(loopback()).unwrap();
        let poll = Poll::new().unwrap();
        server.register(poll.registry(), 0..100).unwrap();
        let address = server.local_addr().unwrap();
        let connect = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let clients = (0..clients).map(connect).collect();
        Self { server, poll, events: Events::with_capacity(64), clients }
    }

    fn turn(&mut self) {
        self.server.end_turn(self.poll.registry(), Instant::now());
        let until = self.server.next_deadline();
        let timeout = until.map(|due| due.saturating_duration_since(Instant::now()));
        self.poll.poll(&mut self.events, timeout.or(Some(DEADLINE))).unwrap();
        for event in &self.events {
            assert!(self.server.handle_event(event, Instant::now()));
        }
    }

    /// Each client sends `request`, and gets `answer`, which ends in `end`.
    fn play(&mut self, rounds: usize, request: &[u8], answer: usize, end: &[u8]) {
        let mut buffer = [0; 4096];
        for _ in 0..rounds {
            for client in &mut self.clients {
                client.write_all(request).unwrap();
            }
            for at in 0..self.clients.len() {
                let mut count = 0;
                while count < answer {
                    match self.clients[at].read(&mut buffer[count..]) {
                        Ok(0) => panic!("the server has ended it"),
                        Ok(more) => count += more,
                        Err(_) => self.turn(),
                    }
                }
                assert!(count == answer && buffer[..count].ends_with(end), "another answer");
            }
        }
    }

    /// Returns how often memory is taken in [`ROUNDS`] rounds.
    fn count(&mut self, request: &[u8], answer: usize, end: &[u8]) -> u64 {
        self.play(WARM_UP, request, answer, end);
        measure(|| self.play(ROUNDS, request, answer, end)).count_total
    }
}

fn config() -> Config {
    Config::new().max_connections(64)
}

#[test]
fn an_echo_takes_no_memory() {
    let mut pair = Pair::new(Server::new(config()).unwrap(), 8);
    assert_eq!(pair.count(&[b'x'; 64], 64, b"x"), 0);
    let mut pair = Pair::new(Server::serving(Repeat, config()).unwrap(), 8);
    assert_eq!(pair.count(&[b'x'; 64], 64, b"x"), 0);
}

#[test]
fn lines_take_no_memory() {
    let mut pair = Pair::new(Server::serving(Line::new(), config()).unwrap(), 8);
    assert_eq!(pair.count(b"a line\n", 7, b"\n"), 0);
    assert_eq!(pair.count(&b"a line\n".repeat(50), 350, b"\n"), 0, "pipelined");
}

#[test]
#[cfg(feature = "http")]
fn requests_of_http_take_no_memory() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                          Content-Length: 13\r\n\r\nhello, world\n";
    let mut pair =
        Pair::new(Server::serving(netgrace::protocol::Http::new(), config()).unwrap(), 8);
    assert_eq!(pair.count(GET, PAGE.len(), PAGE), 0);
    assert_eq!(pair.count(&GET.repeat(30), 30 * PAGE.len(), PAGE), 0, "pipelined");
    let post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde";
    let answer = PAGE.len() - "hello, world\n".len() - "3".len() + "abcde".len();
    assert_eq!(pair.count(post, answer, b"\r\n\r\nabcde"), 0, "with a body");
}

#[test]
fn what_takes_memory_is_seen() {
    // A line that comes in two pieces is held between them.
    let mut pair = Pair::new(Server::serving(Line::new(), config()).unwrap(), 1);
    pair.play(WARM_UP, b"a line\n", 7, b"\n");
    let counted = measure(|| {
        for _ in 0..10 {
            pair.clients[0].write_all(b"half ").unwrap();
            let before = pair.server.stats().read;
            while pair.server.stats().read == before {
                pair.turn();
            }
            pair.play(1, b"a line\n", 12, b"\n");
        }
    });
    assert!(counted.count_total >= 10, "{}", counted.count_total);
}
