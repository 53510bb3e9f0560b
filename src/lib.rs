//! A TCP server core on one mio event loop that stops without losing a byte, and proves it.
//!
//! A stop accepts the clients that wait in the accept queue, serves what was sent, closes each
//! connection in an orderly way, and never takes longer than its budget. The account of it is a
//! [`Report`] that covers every connection and every byte, with a [`Grade`] that says what the
//! report proves. It serves the echo, or any protocol of yours: see [`protocol`].
//!
//! There are three ways to run it: on a loop of its own, on a mio loop of yours, or as one
//! descriptor in any other reactor.
//!
//! # A loop of its own
//!
//! ```
//! use netgrace::{Config, EventLoop, Grade, Server};
//! # use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
//! let address = server.local_addr().ok_or("no address")?;
//! let mut event_loop = EventLoop::new(server)?;
//! let handle = event_loop.shutdown_handle(); // for any thread, at any time
//!
//! let client = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
//!     let mut stream = std::net::TcpStream::connect(address)?;
//!     stream.write_all(b"hello")?;
//!     handle.begin_shutdown(); // before the answer has come
//!     let mut answer = Vec::new();
//!     stream.read_to_end(&mut answer)?;
//!     Ok(answer)
//! });
//!
//! let report = event_loop.run(); // no error to handle: nothing fails after the start
//! assert_eq!(client.join().unwrap()?, b"hello");
//! assert!(report.grade() >= Some(Grade::Lossless));
//! assert_eq!(report.bytes.read, report.bytes.written);
//! # Ok(())
//! # }
//! ```
//!
//! Stop signals are an event source of that loop: see `Signals` (feature `signals`).
//!
//! # On a mio loop of yours
//!
//! Four calls: [`register`](Server::register), then in the loop [`end_turn`](Server::end_turn),
//! [`next_deadline`](Server::next_deadline) and [`handle_event`](Server::handle_event).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use mio::{Events, Poll, Token, Waker};
//! use netgrace::{Config, Server};
//! # use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut poll = Poll::new()?; // yours, as is its one waker
//! let waker = Arc::new(Waker::new(poll.registry(), Token(0))?);
//! let mut events = Events::with_capacity(1024);
//!
//! let mut server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
//! server.register(poll.registry(), 1000..1500)?; // the tokens that it may use
//! let handle = server.shutdown_handle(Arc::clone(&waker));
//! # let address = server.local_addr().ok_or("no address")?;
//! # let client = std::thread::spawn(move || -> std::io::Result<()> {
//! #     let mut stream = std::net::TcpStream::connect(address)?;
//! #     stream.write_all(b"hello")?;
//! #     stream.read_exact(&mut [0; 5])?;
//! #     handle.begin_shutdown();
//! #     Ok(())
//! # });
//!
//! loop {
//!     server.end_turn(poll.registry(), Instant::now());
//!     if server.is_finished() {
//!         break; // or go on without it
//!     }
//!     let deadline = server.next_deadline(); // or one of your own, if that is earlier
//!     let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
//!     poll.poll(&mut events, timeout)?;
//!     let now = Instant::now();
//!     for event in &events {
//!         if !server.handle_event(event, now) {
//!             // One of yours: your waker, your sockets, another server.
//!         }
//!     }
//! }
//! assert_eq!(server.report().connections.accepted, 1);
//! # client.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! The host owns the poll, its waker, the clock and the tokens, and may call late, twice or not at
//! all: [`Server`] says what each call does and when it may be made. The waker only ends a sleep;
//! the next `end_turn` sees a request, whatever ended the sleep. Any number of servers may share a
//! poll; each stops independently of the others.
//!
//! # One descriptor in any reactor
//!
//! A whole [`EventLoop`] can be watched as one descriptor by another epoll, poll(2), an `AsyncFd`
//! or the main loop of a GUI. Its documentation says what differs between level-triggered and
//! edge-triggered watches.
//!
//! ```
//! use std::time::{Duration, Instant};
//! # use netgrace::{Config, EventLoop, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut event_loop = EventLoop::new(Server::bind("127.0.0.1:0".parse()?, Config::new())?)?;
//! # event_loop.shutdown_handle().begin_shutdown();
//! // Whenever the descriptor is readable or `next_deadline` has come:
//! loop {
//!     let events = event_loop.turn(Some(Duration::ZERO)); // never sleeps
//!     let is_due = event_loop.next_deadline().is_some_and(|at| at <= Instant::now());
//!     if events == 0 && !is_due {
//!         break; // only a host with a level-triggered watch may leave earlier
//!     }
//! }
//! # assert!(event_loop.is_finished());
//! # Ok(())
//! # }
//! ```
//!
//! The package has an example of each way that leaves the loop to the host: `mio_host`,
//! `line_count` and `async_fd`, and two with a protocol of their own: `chat` and `worker`, started
//! by `cargo run --example NAME`.
//!
//! # Watching a server
//!
//! An [`Observer`] sees the begin and the end of each connection, with the reason and the bytes,
//! and each [`Phase`] of a stop; it may refuse a client. [`Server::stats`] are counters to be
//! read at any time; the `log` crate gets a line for each phase at `info`, failures of accept at
//! `warn`, and each connection at `debug`.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | accept queue, backlog | established connections that accept(2) has not returned yet |
//! | half-open handshake | a SYN was answered, the final ACK has not arrived (SYN_RECV) |
//! | gate | what keeps new handshakes from starting while the accept queue is emptied |
//! | sweep | accepting the rest of the queue before the listener is closed |
//! | turn | one pass of the loop: a batch of events, then `end_turn` |
//! | slot, token | a connection's place in the slab; its mio `Token` |
//! | pending output | bytes that the peer is owed and that are still in the process |
//! | drain | the phase of a stop in which each connection is closed as soon as it is done |
//! | linger | the wait for the peer's FIN after ours |
//! | budget | the time that a stop may take, from the first request to the last close |
//! | lame duck | the time after the request in which the server goes on as before |
//! | late bytes | input that was read and discarded after our FIN |
//! | grade | what a report proves: lossy < lossless < confirmed < complete |
//!
//! # Features
//!
//! | feature | adds | packages |
//! |---|---|---|
//! | none | all of the above | `mio` `slab` `log` `socket2` `libc` |
//! | `signals` | `Signals`: stop signals as an event source of an [`EventLoop`] | `signal-hook` |
//! | `diagnosis` | a stop asks the kernel what is unacknowledged (Linux) | `rustix` |
//! | `splice` | streams move as pages (Linux, where SIGPIPE is ignored) | `rustix` |
//! | `bench` | `load`, the load generator | `hdrhistogram` `rustix` |
//! | `cli` | the `netgrace` program; nothing for a library | `clap` and more |
//! | `systemd` | inherited sockets, readiness notification (program) | `listenfd` `sd-notify` |
//!
//! All are on by default; an embedder turns them off with `default-features = false`. Without
//! `diagnosis` a stop is at most [`Grade::Lossless`] where a peer stays silent.
//!
//! # Platforms
//!
//! Linux first. The BSDs and macOS build and keep every promise that their kernels allow: there a
//! handshake that completes between the last accept and the close of a listener is reset,
//! [`user_timeout`](Config::user_timeout) has no effect, and an adopted socket is not checked to
//! be listening where the system cannot be asked. Windows is not supported.
//!
//! Sockets are closed on exec. The library never raises SIGPIPE, whatever its disposition is. In a
//! process that was started without descriptors 0 to 2, sockets get these numbers and its output
//! would reach a client: Rust programs open them at their start, a host in another language has
//! to. After `fork` without `exec` the child shares the poll and must not use the server.
//!
//! # Invariants
//!
//! Each is the absence of something:
//!
//! - No `Poll`, `Waker`, thread or clock of a [`Server`]'s own, no sleep, and no logger, signal
//!   handler or panic hook: those belong to the host. [`EventLoop`] is one such host; it uses the
//!   public calls of [`Server`], except that it names the cause of a stop.
//! - No error and no panic after [`register`](Server::register): what fails then is in the report.
//! - No state change by an event: readiness is a hint, and only results of system calls count.
//! - No token that changes its connection within a batch: only `end_turn` frees slots.
//! - No close except through one function, with one reason and one account.
//! - No loop without a bound, and no scan of all connections in a turn.
//! - No request that is lost: it is a flag that never weakens, read by every `end_turn`.
//! - No `unsafe` code.
//!
//! # Map of the code
//!
//! Each file uses only what stands above it.
//!
//! ```text
//! error                  Error of the set-up
//! config                 Config, Drain, their ranges
//! token                  TokenRange, Readiness
//! engine                 all decisions: no socket, no clock, no registry
//!   deadline list          points in time, lists through slots
//!   phase report           the stop and the account of it
//!   status stream          the kernel's state of a connection, the trait of its stream
//!   pipe buffer            kernel pipes, pending output
//!   observer quota         Observer, ConnectionId; connections by address
//!   call dialogue          reads and writes; what the engine asks of the open half
//!   echo requests speaker  the echo; any protocol, as what the engine runs
//!   connection closing     the life of one connection, and its end
//!   table settings timer   all connections, the one function that closes; limits, deadlines
//!   core drive done        what may be asked at any time; events; when one is done
//!   stop due resume        the stop of each; what is due without an event, in slices
//! pair                   connections known by their addresses alone
//! diagnosis pipe socket  sock_diag, splice, a connection's socket as a stream
//! gate                   what keeps new handshakes out of a queue
//! intake                 Ownership; failures of accept, when to call it again
//! handshake orphan       what a stop waits for that has no socket here
//! pressure               signs of full queues
//! listener               binding and adopting sockets
//! acceptor               accepting clients, the sweep of a stop
//! handle                 ShutdownHandle, HostWaker
//! driver                 engine, acceptor and requests on any poll, real or simulated
//! signals                Signals: signals as an event source
//! server                 Server: the driver on a caller's registry
//! turn event_loop        EventLoop and its builder: poll, waker, signals and server
//! load                   the load generator; it uses none of the above
//! audit                  what a stop costs the clients of any server; nor does this
//! bench_internals        for the benches of this package
//! manual                 recipes, as documentation
//! main.rs, cli           the program; it uses the public API alone
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod accept;
#[cfg(feature = "bench")]
#[cfg_attr(docsrs, doc(cfg(feature = "bench")))]
pub mod audit;
#[cfg(feature = "_internals")]
#[doc(hidden)]
pub mod bench_internals;
mod config;
mod engine;
mod error;
mod event_loop;
#[cfg(feature = "bench")]
#[cfg_attr(docsrs, doc(cfg(feature = "bench")))]
pub mod load;
#[cfg(doc)]
pub mod manual;
mod net;
pub mod protocol;
mod server;
#[cfg(test)]
mod sim;
mod token;

pub use accept::queue::Ownership;
pub use config::{Config, Drain};
pub use engine::observer::{Closed, ConnectionId, Observer};
pub use engine::phase::{Cause, Phase, PhaseTimes};
pub use engine::report::{
    ByteCounts, CloseReason, ConnectionCounts, Grade, HalfOpen, Report, RequestCounts, Stats,
};
pub use error::{Error, ErrorKind};
#[cfg(feature = "signals")]
pub use event_loop::signals::Signals;
pub use event_loop::turn_times::TurnTimes;
pub use event_loop::{EventLoop, EventLoopBuilder};
pub use net::listener::ListenSocket;
pub use server::handle::{HostWaker, ShutdownHandle};
pub use server::{ListenerId, Server, Service};
pub use token::{Readiness, TokenRange};

/// The code of the README compiles too.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
struct Readme;
