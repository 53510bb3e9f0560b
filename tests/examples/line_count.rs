//! A host with a protocol, a listener, timers and commands of its own, and an echo server on the
//! same mio poll.
//!
//! The host's protocol: each line is answered with the number of lines so far on its connection.
//! A timer sends `tick` to every connection. Commands come from another thread by a channel and
//! the waker.
//!
//! `cargo run --example line_count [ECHO [LINES]]`, then `nc 127.0.0.1 5388` and
//! `nc 127.0.0.1 5389`; the commands are `total`, `stop` (the echo server alone) and `quit`.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use netgrace::{Config, Grade, Report, Server, ShutdownHandle, TokenRange};

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// The tokens of the host's own connections count up from here, below those of the server.
const FIRST_CONNECTION: usize = 2;
const SERVER: TokenRange = TokenRange::new(1 << 20..(1 << 20) + 1024);

pub(crate) enum Command {
    /// Returns the number of lines on all connections.
    Total(Sender<usize>),
    /// Ends the host once the server's stop is over.
    Quit,
}

struct Connection {
    stream: TcpStream,
    lines: usize,
    /// Returns that the peer has not taken yet.
    output: Vec<u8>,
}

impl Connection {
    /// Reads until the queue is dry. Returns the number of lines, `None` at the end.
    fn read(&mut self) -> Option<usize> {
        let mut buffer = [0; 1024];
        let before = self.lines;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => {
                    for _ in buffer.iter().take(count).filter(|byte| **byte == b'\n') {
                        self.lines += 1;
                        self.output.extend_from_slice(format!("{}\n", self.lines).as_bytes());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        Some(self.lines - before)
    }

    /// Writes what the peer takes. Returns whether the connection still works.
    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

struct Host {
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    accepted: usize,
    lines: usize,
    tick: Duration,
    next_tick: Instant,
    commands: Receiver<Command>,
    server: Server,
    quits: bool,
}

impl Host {
    /// The loop of the host: the lines with `server` in them are all that the server needs.
    fn run(mut self) -> io::Result<Report> {
        let mut events = Events::with_capacity(32);
        while !(self.quits && self.server.is_finished()) {
            self.server.end_turn(self.poll.registry(), Instant::now());
            let deadline = self.server.next_deadline().unwrap_or(self.next_tick);
            let deadline = deadline.min(self.next_tick);
            let timeout = deadline.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let now = Instant::now();
            for event in &events {
                if self.server.handle_event(event, now) {
                    continue;
                }
                match event.token() {
                    WAKER => self.obey(),
                    LISTENER => self.accept()?,
                    token => self.serve(token),
                }
            }
            if now >= self.next_tick {
                self.next_tick = now + self.tick;
                self.send_ticks();
            }
        }
        Ok(self.server.report().clone())
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                // Who asked may be gone by now.
                Command::Total(answer) => drop(answer.send(self.lines)),
                Command::Quit => self.quits = true,
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(FIRST_CONNECTION + self.accepted);
            self.accepted += 1;
            let interests = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, interests)?;
            self.connections.insert(token, Connection { stream, lines: 0, output: Vec::new() });
        }
        Ok(())
    }

    fn serve(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let lines = connection.read();
        self.lines += lines.unwrap_or(0);
        if !connection.write() || lines.is_none() {
            self.connections.remove(&token);
        }
    }

    fn send_ticks(&mut self) {
        self.connections.retain(|_, connection| {
            connection.output.extend_from_slice(b"tick\n");
            connection.write()
        });
    }
}

/// A host in its thread, and what others may use of it.
pub(crate) struct Running {
    pub(crate) thread: JoinHandle<io::Result<Report>>,
    /// Stops the echo server.
    pub(crate) handle: ShutdownHandle,
    pub(crate) lines: SocketAddr,
    pub(crate) echo: SocketAddr,
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Running {
    pub(crate) fn start(
        mut server: Server,
        lines: SocketAddr,
        tick: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut listener = TcpListener::bind(lines)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        server.register(poll.registry(), SERVER)?;
        let handle = server.shutdown_handle(Arc::clone(&waker));
        let echo = server.local_addr().ok_or("the server has no address")?;
        let lines = listener.local_addr()?;
        let (commands, receiver) = channel();
        let host = Host {
            poll,
            listener,
            connections: HashMap::new(),
            accepted: 0,
            lines: 0,
            tick,
            next_tick: Instant::now() + tick,
            commands: receiver,
            server,
            quits: false,
        };
        let thread = thread::spawn(move || host.run());
        Ok(Self { thread, handle, lines, echo, commands, waker })
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), Box<dyn Error>> {
        self.commands.send(command).map_err(|_| "the host has ended")?;
        Ok(self.waker.wake()?)
    }

    pub(crate) fn total(&self) -> Result<usize, Box<dyn Error>> {
        let (sender, receiver) = channel();
        self.command(Command::Total(sender))?;
        Ok(receiver.recv()?)
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut addresses = std::env::args().skip(1);
    let mut address = |default: &str| addresses.next().unwrap_or_else(|| default.to_owned());
    let server = Server::bind(address("127.0.0.1:5388").parse()?, Config::new())?;
    let lines = address("127.0.0.1:5389").parse()?;
    let running = Running::start(server, lines, Duration::from_secs(5))?;
    println!("echo on {}\nlines on {}", running.echo, running.lines);
    for line in io::stdin().lock().lines() {
        match line?.trim() {
            "total" => println!("{} lines", running.total()?),
            "stop" => running.handle.begin_shutdown(),
            "quit" => break,
            other => println!("{other:?}: expected total, stop or quit"),
        }
    }
    running.handle.begin_shutdown();
    running.command(Command::Quit)?;
    let report = running.thread.join().map_err(|_| "the host panicked")??;
    println!("{report}");
    Ok(report.exit_code(Grade::Lossless).into())
}
