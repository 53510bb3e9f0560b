//! A protocol of one's own with a timer for each connection, beside an echo server: two servers on
//! the poll of a host that has commands of its own.
//!
//! Each line is answered with the number of lines so far on its connection, and a connection gets a
//! `tick` at a steady pace. Commands come from another thread by a channel and the waker.
//!
//! `cargo run --example line_count [ECHO [LINES]]`, then `nc 127.0.0.1 5388` and
//! `nc 127.0.0.1 5389`; the commands are `total`, `stop` (the echo server alone) and `quit`.

#![allow(clippy::arithmetic_side_effects)]

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use netgrace::protocol::{Context, Input, Next, Output, Protocol};
use netgrace::{Config, Grade, Report, Server, ShutdownHandle, TokenRange};

const WAKER: Token = Token(0);
const LINES: TokenRange = TokenRange::new(1 << 16..(1 << 16) + 1024);
const ECHO: TokenRange = TokenRange::new(1 << 20..(1 << 20) + 1024);

/// The protocol: what all connections share.
pub(crate) struct LineCount {
    /// Lines on all connections.
    lines: usize,
    tick: Duration,
}

/// What is remembered of one connection.
pub(crate) struct Count {
    lines: usize,
    next_tick: Option<Instant>,
}

impl Protocol for LineCount {
    type State = Count;

    fn name(&self) -> &'static str {
        "line_count"
    }

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> Count {
        Count { lines: 0, next_tick: context.now.checked_add(self.tick) }
    }

    fn input(
        &mut self,
        count: &mut Count,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        match input.bytes().iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                input.consume(at + 1);
                count.lines += 1;
                self.lines += 1;
                if writeln!(output, "{}", count.lines).is_err() {
                    return Next::Abort; // never: there is room for 16 KiB at least
                }
                output.end_answer();
                Next::Idle
            }
            None if input.is_full() => Next::Finish, // a line of more than 64 KiB
            None => Next::Idle,
        }
    }

    fn resume(&mut self, count: &mut Count, output: &mut Output<'_>, context: Context) -> Next {
        if count.next_tick.is_some_and(|due| context.now >= due) {
            let _is_put = output.put(b"tick\n");
            count.next_tick = context.now.checked_add(self.tick);
        }
        Next::Idle
    }

    fn deadline(&self, count: &Count) -> Option<Instant> {
        count.next_tick
    }

    fn drain(&mut self, count: &mut Count, _: &mut Output<'_>, _: Context) -> Option<Next> {
        count.next_tick = None; // a connection is done when it is quiet
        None
    }
}

pub(crate) enum Command {
    /// Returns the number of lines on all connections.
    Total(Sender<usize>),
    /// Stops the line server, and ends the host once both stops are over.
    Quit,
}

struct Host {
    poll: Poll,
    echo: Server,
    lines: Server<LineCount>,
    commands: Receiver<Command>,
    quits: bool,
}

impl Host {
    /// The loop of the host: the lines with `echo` or `lines` in them are all that a server needs.
    fn run(mut self) -> io::Result<[Report; 2]> {
        let mut events = Events::with_capacity(32);
        loop {
            self.echo.end_turn(self.poll.registry(), Instant::now());
            self.lines.end_turn(self.poll.registry(), Instant::now());
            if self.quits && self.echo.is_finished() && self.lines.is_finished() {
                return Ok([self.echo.report().clone(), self.lines.report().clone()]);
            }
            let deadlines = [self.echo.next_deadline(), self.lines.next_deadline()];
            let deadline = deadlines.into_iter().flatten().min();
            let timeout = deadline.map(|due| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let now = Instant::now();
            for event in &events {
                if !self.echo.handle_event(event, now)
                    && !self.lines.handle_event(event, now)
                    && event.token() == WAKER
                {
                    self.obey();
                }
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                // Who asked may be gone by now.
                Command::Total(answer) => drop(answer.send(self.lines.protocol().lines)),
                Command::Quit => {
                    self.quits = true;
                    self.lines.begin_shutdown(self.poll.registry(), Instant::now());
                }
            }
        }
    }
}

/// A host in its thread, and what others may use of it.
pub(crate) struct Running {
    /// Returns the reports of the echo server and of the line server.
    pub(crate) thread: JoinHandle<io::Result<[Report; 2]>>,
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
        config: Config,
        tick: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut line_server = Server::serving(LineCount { lines: 0, tick }, config)?;
        line_server.listen(lines)?;
        line_server.register(poll.registry(), LINES)?;
        server.register(poll.registry(), ECHO)?;
        let handle = server.shutdown_handle(Arc::clone(&waker));
        let echo = server.local_addr().ok_or("the server has no address")?;
        let lines = line_server.local_addr().ok_or("the line server has no address")?;
        let (commands, receiver) = channel();
        let host =
            Host { poll, echo: server, lines: line_server, commands: receiver, quits: false };
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
    let config = Config::new().max_connections(1000);
    let server = Server::bind(address("127.0.0.1:5388").parse()?, config.clone())?;
    let lines = address("127.0.0.1:5389").parse()?;
    let running = Running::start(server, lines, config, Duration::from_secs(5))?;
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
    let reports = running.thread.join().map_err(|_| "the host panicked")??;
    let codes = reports.iter().map(|report| report.exit_code(Grade::Lossless));
    let code = codes.max().unwrap_or(0);
    for report in &reports {
        println!("{report}");
    }
    Ok(code.into())
}
