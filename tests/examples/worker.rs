//! Answers that come from another thread: a request is a line with a number, and a worker that may
//! take its time finds out whether it is prime. A stop waits for the answers that are due.
//!
//! `cargo run --example worker [ADDRESS]`, then `nc 127.0.0.1 5388`; Enter stops it.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;
use netgrace::protocol::{ConnectionId, Context, Input, Next, Output, Protocol};
use netgrace::{CloseReason, Config, EventLoop, Grade, Report, Server, ShutdownHandle};

/// The time that an answer takes.
const WORK: Duration = Duration::from_millis(20);

/// The server's end of two channels.
pub(crate) struct Primes {
    questions: Sender<(ConnectionId, String)>,
    answers: Receiver<(ConnectionId, String)>,
    /// Received for connections that have been named and are to be resumed.
    received: BTreeMap<ConnectionId, String>,
    /// Those that are gone take no answer.
    open: BTreeSet<ConnectionId>,
}

/// Whether a connection waits for the worker.
#[derive(Default)]
pub(crate) struct Asked(bool);

impl Asked {
    fn next(&self) -> Next {
        if self.0 { Next::Wait } else { Next::Idle }
    }
}

impl Protocol for Primes {
    type State = Asked;

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> Asked {
        self.open.insert(context.connection);
        Asked::default()
    }

    fn input(
        &mut self,
        asked: &mut Asked,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let bytes = input.bytes();
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if input.is_full() { Next::Finish } else { Next::Idle };
        };
        let question = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()).into_owned();
        input.consume(at + 1);
        output.begin_request();
        if self.questions.send((context.connection, question)).is_err() {
            return Next::Abort; // the worker is gone
        }
        asked.0 = true;
        asked.next()
    }

    fn resume(&mut self, asked: &mut Asked, output: &mut Output<'_>, context: Context) -> Next {
        if let Some(answer) = self.received.remove(&context.connection) {
            // One line always fits.
            let _is_put = output.put(answer.as_bytes());
            output.end_answer();
            asked.0 = false;
        }
        asked.next()
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        // One request of a connection is outstanding at most, and so is one answer.
        let (id, answer) = self.answers.try_recv().ok()?;
        if self.open.contains(&id) {
            self.received.insert(id, answer);
        }
        Some(id)
    }

    fn close(&mut self, _: Asked, connection: ConnectionId, _: CloseReason) {
        self.open.remove(&connection);
        self.received.remove(&connection);
    }
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|least| least * least <= number)
            .all(|least| !number.is_multiple_of(least))
}

fn work(
    questions: &Receiver<(ConnectionId, String)>,
    answers: &Sender<(ConnectionId, String)>,
    waker: &Waker,
) {
    for (id, question) in questions {
        thread::sleep(WORK);
        let answer = match question.trim().parse() {
            Ok(number) if is_prime(number) => "yes\n",
            Ok(_) => "no\n",
            Err(_) => "not a number\n",
        };
        if answers.send((id, answer.to_owned())).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// Serves until the stop is over.
pub(crate) fn serve(
    address: SocketAddr,
    on_start: impl FnOnce(SocketAddr, ShutdownHandle),
) -> Result<Report, Box<dyn Error>> {
    let (questions, to_work) = channel();
    let (from_work, answers) = channel();
    let protocol = Primes { questions, answers, received: BTreeMap::new(), open: BTreeSet::new() };
    let mut server = Server::serving(protocol, Config::new().max_connections(1000))?;
    server.listen(address)?;
    let address = server.local_addr().ok_or("no address")?;
    let mut event_loop = EventLoop::new(server)?;
    let waker: Arc<Waker> = event_loop.waker();
    let worker = thread::spawn(move || work(&to_work, &from_work, &waker));
    on_start(address, event_loop.shutdown_handle());
    let report = event_loop.run();
    drop(event_loop); // and with it the worker's questions
    worker.join().map_err(|_| "the worker panicked")?;
    Ok(report)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5388".to_owned());
    let report = serve(address.parse()?, |address, handle| {
        println!("primes on {address}");
        thread::spawn(move || {
            io::stdin().read_line(&mut String::new()).ok();
            handle.begin_shutdown();
        });
    })?;
    println!("{report}");
    Ok(report.exit_code(Grade::Lossless).into())
}
