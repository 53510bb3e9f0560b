//! A TCP echo server on one mio event loop that stops without losing a byte, and proves it.
//!
//! A stop takes in who was waiting in the accept queue, echoes what was sent, says goodbye in an
//! orderly way, and never takes longer than its budget. What it did is a [`Report`] in which
//! every connection and every byte is accounted for, and a [`Grade`] that says what it proves.
//!
//! There are three ways to run it: a loop of its own, a guest in a mio loop that you have, or the
//! loop nested as one descriptor in any other reactor.
//!
//! # A loop of its own
//!
//! ```
//! use netgrace::{Config, EventLoop, Grade, Server};
//! # use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
//! let address = server.local_addr();
//! let mut event_loop = EventLoop::new(server)?;
//! let handle = event_loop.shutdown_handle(); // for any thread, at any time
//!
//! let client = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
//!     let mut stream = std::net::TcpStream::connect(address)?;
//!     stream.write_all(b"hello")?;
//!     handle.shutdown(); // in the middle of it all
//!     let mut answer = Vec::new();
//!     stream.read_to_end(&mut answer)?;
//!     Ok(answer)
//! });
//!
//! let report = event_loop.run(); // no error to handle: after the start nothing fails upward
//! assert_eq!(client.join().unwrap()?, b"hello");
//! assert!(report.grade() >= Grade::Lossless);
//! assert_eq!(report.bytes.read, report.bytes.written);
//! # Ok(())
//! # }
//! ```
//!
//! Stop signals are a source of that loop: see `Signals` (feature `signals`).
//!
//! # A guest in your loop
//!
//! Four calls: [`register`](Server::register), then in the loop [`end_turn`](Server::end_turn),
//! [`next_deadline`](Server::next_deadline) and [`handle_event`](Server::handle_event).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use mio::{Events, Poll, Token, Waker};
//! use netgrace::{Config, Server, TokenRange};
//! # use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut poll = Poll::new()?; // yours, as is its one waker
//! let waker = Arc::new(Waker::new(poll.registry(), Token(0))?);
//! let mut events = Events::with_capacity(1024);
//!
//! let mut server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
//! server.register(poll.registry(), TokenRange::new(1000, 500))?; // tokens 1000 to 1499
//! let handle = server.shutdown_handle(Some(Arc::clone(&waker)));
//! # let address = server.local_addr();
//! # let client = std::thread::spawn(move || -> std::io::Result<()> {
//! #     let mut stream = std::net::TcpStream::connect(address)?;
//! #     stream.write_all(b"hello")?;
//! #     stream.read_exact(&mut [0; 5])?;
//! #     handle.shutdown();
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
//!         if !server.handle_event(poll.registry(), event, now) {
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
//! The host owns the poll, its waker, the clock and the tokens, and may come late, repeat itself
//! or skip: [`Server`] says what each call may do and when it may be called. The waker only ends
//! a sleep; a request is seen by the next `end_turn`, however that comes about. Any number of
//! servers may share a poll; the stop of one is nobody else's business.
//!
//! # One descriptor in any reactor
//!
//! A whole [`EventLoop`] can be watched as one descriptor, by another epoll, poll(2), an
//! `AsyncFd` or a GUI's main loop. It asks for a level trigger, and says what to do where there
//! are only edges.
//!
//! ```
//! use std::time::{Duration, Instant};
//! # use netgrace::{Config, EventLoop, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut event_loop = EventLoop::new(Server::bind("127.0.0.1:0".parse()?, Config::new())?)?;
//! # event_loop.shutdown_handle().shutdown();
//! // Whenever the descriptor is readable or `next_deadline` has come:
//! loop {
//!     let events = event_loop.turn(Some(Duration::ZERO)); // never sleeps
//!     let is_due = event_loop.next_deadline().is_some_and(|at| at <= Instant::now());
//!     if events == 0 && !is_due {
//!         break; // only an outer watch with a level trigger may leave earlier
//!     }
//! }
//! # assert!(event_loop.is_finished());
//! # Ok(())
//! # }
//! ```
//!
//! # Following what happens
//!
//! An [`Observer`] is told of each connection's begin and end, with the reason and the bytes, and
//! of each [`Phase`] of a stop. Without one nothing is paid. [`Server::stats`] are counters to be
//! read at any time; the `log` crate gets a line for each phase at `info`, trouble with accept at
//! `warn`, and each connection at `debug`.
//!
//! # Features
//!
//! | feature | gives | takes |
//! |---|---|---|
//! | none | all of the above | `mio` `slab` `log` `socket2` `libc` |
//! | `signals` | `Signals`: stop signals as a source of an [`EventLoop`] | `signal-hook` |
//! | `splice` | streams move as pages (Linux, where SIGPIPE is ignored) | `rustix` |
//! | `bench` | the load generator | `hdrhistogram` `rustix` |
//! | `cli` | the `netgrace` program; nothing for a library | `clap` and more |
//! | `systemd` | inherited sockets, readiness notification (program) | `listenfd` `sd-notify` |
//!
//! All are on by default; an embedder turns them off with `default-features = false`.
//!
//! # Platforms
//!
//! Linux first. The BSDs and macOS build and keep every promise that their kernels allow: there a
//! handshake that completes between the last accept and the close of a listener is reset,
//! [`user_timeout`](Config::user_timeout) has no effect, and an adopted socket is taken for a
//! listener without being asked where it cannot be. Windows is not a target.
//!
//! Sockets are closed on exec. Nothing that the library does raises SIGPIPE, whatever the process
//! does about it. A process that was started without descriptors 0 to 2 gets sockets under these
//! numbers, and its prints would reach a client: Rust programs open them at their start, a host
//! in another language has to. After `fork` without `exec` the child shares the poll and must let
//! all of this be.
//!
//! # What is not there
//!
//! Invariants, each an absence:
//!
//! - No `Poll`, `Waker`, thread or clock of a [`Server`]'s own, no sleep, and no logger, signal
//!   handler or panic hook: those belong to the host. [`EventLoop`] is the first such host and
//!   uses no private door but for the cause of a stop.
//! - No error and no panic after [`register`](Server::register): what goes wrong is in the report.
//! - No state that an event could falsify: a readiness event is a hint, and only the result of a
//!   system call changes anything.
//! - No token that changes its connection within a batch: slots are freed by `end_turn` alone.
//! - No close but through one door, with one reason and one account.
//! - No loop without a bound, and no scan of all connections in a turn.
//! - No request that is lost: it is a word that only grows, read by every `end_turn`.
//! - No `unsafe` code.
//!
//! # Map of the code
//!
//! Each file uses only what stands above it.
//!
//! ```text
//! error                  what a caller can act on
//! config                 Config, Drain, their bounds
//! token                  TokenRange, Readiness
//! engine                 everything that decides: no sockets, no clock, no registry
//!   deadline list          points in time, lists through slots
//!   stream pipe buffer     what it asks of a stream, its pipes, bytes held for a peer
//!   phase report           the stop and the account of it
//!   observer quota         what a host can watch, connections by address
//!   call echo connection   reads and writes, the protocol, the life of one connection
//!   table settings         all connections and the one door out, what they are judged by
//!   due                    what is to be done without an event, in slices
//! protocol               Protocol, what calls come in which order, the built-in ones
//! diagnosis pipe socket  what the kernel says, splice, a connection's socket as a stream
//! gate                   what keeps new handshakes out of a queue
//! intake                 the failures of accept, when a queue is worth a look
//! listener               binding and adopting sockets
//! acceptor               clients into the engine, the sweep of a stop
//! handle                 ShutdownHandle
//! driver                 engine, acceptor and requests on any poll, real or simulated
//! signals                Signals: stop signals as an event source
//! server                 Server: the driver on a caller's registry
//! turn event_loop        EventLoop: poll, waker, signals and server
//! load                   the load generator; it knows nothing of the above
//! main.rs, cli           the program, on the public face alone
//! ```
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod acceptor;
mod config;
mod diagnosis;
mod driver;
mod engine;
mod error;
mod event_loop;
mod gate;
mod handle;
mod intake;
mod listener;
#[cfg(feature = "bench")]
pub mod load;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod pieces;
mod pipe;
pub mod protocol;
mod server;
#[cfg(feature = "signals")]
mod signals;
mod socket;
mod token;
mod turn;

pub use config::{Config, Drain};
pub use engine::observer::{Closed, Observer};
pub use engine::phase::{Cause, Phase, PhaseTimes};
pub use engine::report::{ByteCounts, CloseReason, ConnectionCounts, Grade, Report, Stats};
pub use error::{Error, ErrorKind};
pub use event_loop::EventLoop;
pub use handle::ShutdownHandle;
pub use server::Server;
#[cfg(feature = "signals")]
pub use signals::Signals;
pub use token::{Readiness, TokenRange};
pub use turn::TurnTimes;

/// The code of the README compiles too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
