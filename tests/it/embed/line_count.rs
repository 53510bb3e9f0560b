//! A worked example: a host that serves a protocol of its own, with its own listener, connections,
//! timers and waker, and has an echo server as a guest on the same poll.
//!
//! The host's protocol: for each line it answers how many there were on this connection. A timer
//! of its own says `tick` to every connection. Commands come from other threads by a channel and
//! the waker.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use netgrace::{Grade, Report, Server, ShutdownHandle, TokenRange};

use super::support::{Client, DEADLINE, loopback, quick, server};

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// The host's own connections count up from here, below the guest's tokens.
const OWN: usize = 2;
const GUEST: TokenRange = TokenRange::new(1 << 20..(1 << 20) + (1 << 10));
const TICK: Duration = Duration::from_millis(30);

enum Command {
    /// To answer how many lines there were on all connections.
    Total(Sender<usize>),
    Quit,
}

struct Line {
    stream: TcpStream,
    count: usize,
}

struct Reactor {
    poll: Poll,
    listener: TcpListener,
    lines: HashMap<Token, Line>,
    next: usize,
    total: usize,
    next_tick: Instant,
    commands: Receiver<Command>,
    guest: Server,
    quit: bool,
}

impl Reactor {
    /// The loop of the host: the four lines with `guest` in them are all that the guest needs.
    fn run(mut self) -> Report {
        let mut events = Events::with_capacity(32);
        while !(self.quit && self.guest.is_finished()) {
            self.guest.end_turn(self.poll.registry(), Instant::now());
            self.poll.poll(&mut events, self.timeout()).unwrap();
            let now = Instant::now();
            for event in &events {
                if self.guest.handle_event(event, now) {
                    continue;
                }
                match event.token() {
                    WAKER => self.obey(),
                    LISTENER => self.accept(),
                    token => self.serve(token),
                }
            }
            if now >= self.next_tick {
                self.tick(now);
            }
        }
        self.guest.report().clone()
    }

    /// Until the next deadline, whosever it is.
    fn timeout(&self) -> Option<Duration> {
        let guest = self.guest.next_deadline();
        let next = guest.map_or(self.next_tick, |deadline| deadline.min(self.next_tick));
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Total(answer) => answer.send(self.total).unwrap(),
                Command::Quit => self.quit = true,
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(OWN + self.next);
            self.next += 1;
            register(self.poll.registry(), &mut stream, token);
            self.lines.insert(token, Line { stream, count: 0 });
        }
    }

    fn serve(&mut self, token: Token) {
        let Some(line) = self.lines.get_mut(&token) else { return };
        let mut buffer = [0; 1024];
        loop {
            match line.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
                    for _ in 0..lines {
                        line.count += 1;
                        self.total += 1;
                        writeln!(line.stream, "{}", line.count).unwrap();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
        self.lines.remove(&token);
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick = now + TICK;
        for line in self.lines.values_mut() {
            line.stream.write_all(b"tick\n").unwrap();
        }
    }
}

fn register(registry: &Registry, stream: &mut TcpStream, token: Token) {
    registry.register(stream, token, Interest::READABLE).unwrap();
}

/// The reactor in its thread, and what the others may use of it.
struct Running {
    thread: JoinHandle<Report>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    handle: ShutdownHandle,
    lines: SocketAddr,
    echo: SocketAddr,
}

impl Running {
    fn start() -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let mut listener = TcpListener::bind(loopback()).unwrap();
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
        let mut guest = server(quick());
        guest.register(poll.registry(), GUEST).unwrap();
        let handle = guest.shutdown_handle(Arc::clone(&waker));
        let (lines, echo) = (listener.local_addr().unwrap(), guest.local_addr().unwrap());
        let (commands, receiver) = channel();
        let next_tick = Instant::now() + TICK;
        let reactor = Reactor {
            poll,
            listener,
            lines: HashMap::new(),
            next: 0,
            total: 0,
            next_tick,
            commands: receiver,
            guest,
            quit: false,
        };
        let thread = thread::spawn(move || reactor.run());
        Self { thread, commands, waker, handle, lines, echo }
    }

    fn command(&self, command: Command) {
        self.commands.send(command).unwrap();
        self.waker.wake().unwrap();
    }

    fn total(&self) -> usize {
        let (sender, receiver) = channel();
        self.command(Command::Total(sender));
        receiver.recv_timeout(DEADLINE).unwrap()
    }
}

/// A client of the host's protocol, which reads past the ticks.
struct LineClient(BufReader<std::net::TcpStream>);

impl LineClient {
    fn connect(address: SocketAddr) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, wanted: usize) {
        self.0.get_mut().write_all(b"a line\n").unwrap();
        let wanted = wanted.to_string();
        while match self.next() {
            line if line == "tick" => true,
            line => {
                assert_eq!(line, wanted);
                false
            }
        } {}
    }

    fn wait_for_a_tick(&mut self) {
        while self.next() != "tick" {}
    }
}

fn echo(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    let start = Instant::now();
    while client.received.len() < bytes.len() {
        assert!(start.elapsed() < DEADLINE && !client.ended);
        client.receive();
        thread::yield_now();
    }
    assert_eq!(std::mem::take(&mut client.received), bytes);
}

#[test]
fn a_host_with_a_protocol_timers_and_a_waker_of_its_own_has_a_guest() {
    let running = Running::start();
    let mut lines = [LineClient::connect(running.lines), LineClient::connect(running.lines)];
    let mut echoes: Vec<_> = (0..5).map(|_| Client::connect(running.echo)).collect();
    for round in 1..=10 {
        for (number, client) in (0..).zip(&mut echoes) {
            echo(client, &vec![number; 100 * round]);
        }
        lines.iter_mut().for_each(|client| client.ask(round));
    }
    assert_eq!(running.total(), 20);
    lines.iter_mut().for_each(LineClient::wait_for_a_tick);

    // The guest stops; the host goes on as if nothing had been.
    running.handle.begin_shutdown();
    let start = Instant::now();
    while !echoes.iter().all(|client| client.ended) {
        assert!(start.elapsed() < DEADLINE);
        echoes.iter_mut().for_each(Client::leave_at_the_end);
        lines[0].wait_for_a_tick();
    }
    lines.iter_mut().for_each(|client| client.ask(11));
    assert_eq!(running.total(), 22);

    running.command(Command::Quit);
    let report = running.thread.join().unwrap();
    assert_eq!((report.grade(), report.connections.drained), (Some(Grade::Complete), 5));
    assert_eq!(report.bytes.written, 5 * 100 * (1..=10).sum::<u64>());
}
