//! A TCP server core on one mio event loop that stops without losing a byte, and proves it.
//!
//! A stop accepts the clients that wait in the accept queue, serves what was sent, closes each
//! connection in an orderly way, and never takes longer than its budget. The account of it is a
//! [`Report`] that covers every connection and every byte, with a [`Grade`] that says what the
//! report proves.
//!
//! [`Server::bind`] serves the echo; [`Server::serving`] serves any [`protocol`], one of the
//! built-in ones or your own.
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
//! use std::io::ErrorKind;
//! use std::sync::Arc;
//! use std::time::Instant;
//! use mio::{Events, Poll, Token, Waker}; // mio 1
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
//!     match poll.poll(&mut events, timeout) {
//!         Err(error) if error.kind() == ErrorKind::Interrupted => continue,
//!         other => other?,
//!     }
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
//! all: [`Server`] says what each call does and when it may be made. A signal handler of the
//! process, even that of signal-hook, makes `poll` return `Interrupted`, and the loop goes on. For
//! a stop signal watch a pipe of signal-hook as a source of your own, and call
//! [`begin_shutdown`](ShutdownHandle::begin_shutdown). The waker only ends a sleep;
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
//! # while !event_loop.is_finished() {
//! // Whenever the descriptor is readable or `next_deadline` has come:
//! loop {
//!     let events = event_loop.turn(Some(Duration::ZERO)); // never sleeps
//!     let is_due = event_loop.next_deadline().is_some_and(|at| at <= Instant::now());
//!     if events == 0 && !is_due {
//!         break; // only a host with a level-triggered watch may leave earlier
//!     }
//! }
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! The package has an example of each way that leaves the loop to the host (`mio_host`,
//! `line_count`, `async_fd`) and of protocols (`chat`, `worker`), started by
//! `cargo run --example NAME`.
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
//! | busy, idle connection | a request is outstanding, none is |
//! | drain | the phase of a stop in which each connection is closed as soon as it is done |
//! | round | two round-trip times of a connection with their variation, or a floor |
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
//! | `http` | `protocol::Http`, HTTP/1.1 | `httparse` |
//! | `bench` | `load`, a load generator; `audit` | `hdrhistogram` `httparse` `rustix` |
//! | `cli` | the `netgrace` program; nothing for a library | `clap` and more |
//! | `systemd` | inherited sockets, readiness notification (program) | `listenfd` `sd-notify` |
//!
//! All are on by default; an embedder turns them off with `default-features = false`. Without
//! `diagnosis` nobody knows about half-open handshakes of a TCP listener (`half_open` is `None`)
//! and what peers have acknowledged, and the grade is at most [`Grade::Lossless`].
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
//! Each file uses only what stands above it. A module stands below its children, or where `mod`
//! stands among them.
//!
//! ```text
//! error                    Error of the set-up
//! config                   Config, Drain, their ranges
//! token                    TokenRange, Readiness
//! engine::deadline         points in time
//! engine::phase            the phases of a stop, its causes and times
//! engine::report           the account of bytes, connections and requests
//!   mod text json            the same for people and for programs
//! engine::observer         Observer, ConnectionId
//! protocol                 what a server says to its clients
//!   context input next output  arguments and result of a call
//!   contract                 the trait Protocol
//!   scan                     searching bytes
//!   echo discard line        the protocols with simple requests
//!   http                     HTTP/1.1
//!     reply head last chunk exchange
//!   session                  the order of the calls on one connection
//!   mod adversary loopback   for tests
//! engine                   the life of connections: no socket, no clock, no registry
//!   status stream            the kernel's state of a connection, the trait of its stream
//!   list lists               lists through slots
//!   call pipe buffer         reads and writes, kernel pipes, pending output
//!   dialogue linger          what a protocol needs of a connection; after our FIN
//!   connection closing       the life of one connection, and its end
//!   echo                     the echo
//!     transfer                 its bytes into a pipe and out of what is held
//!   requests speaker         all other protocols
//!   quota settings           connections by address; limits
//!   table                    all connections, and the one function that closes
//!     mod ahead                asking the kernel about many at once
//!   timer visit core         deadlines of protocols; the visits of a stop; what an engine has
//!   drive resume             on an event; on demand of a protocol
//!   done stop due            when a connection is done; the stop; what is due by time
//! accept                   accepting clients; the end of the listeners
//!   pair queue               connections by address; AcceptQueue, Ownership
//!   handshake pressure       half-open handshakes; signs of full queues
//!   acceptor                 accepting in turns
//!     closing mod close        the gate, the sweep and the close of a stop
//!   orphan                   closed sockets with unacknowledged bytes
//! net                      all that talks to the kernel about sockets
//!   gate splice              keeping new handshakes out; moving pages
//!   sock_diag                the kernel's state of connections
//!     question reply kernel absent mod pressure
//!   socket listener          a connection's socket; binding and adopting listeners
//! server                   Server: the server on a caller's registry
//!   handle                   ShutdownHandle, HostWaker
//!   core                     engine, acceptor and requests on any poll, real or simulated
//!   mod registration         joining and leaving a poll
//! event_loop               EventLoop: poll, waker, signals and server
//!   turn_times signals spin builder
//! sim                      whole lives of a server, simulated (tests)
//!   random link direction duplex speech request source oracle transcript peer plan door desk line
//!   draw network shared end accept kernel talk worker recorder exchange host inside check tally
//!   account act verdict spoken corner
//! load                     the load generator; it uses none of the above but the error
//!   clock random latency audit results counts
//!   payload target stream connection verification
//!   control series observer source plan pool
//!   worker                   one thread
//!     part timer connector schedule mod connect finish message phase traffic
//!   probe run                clients at a stop; the run from its start to its report
//!     team mod gather ramp stop
//! audit                    what a stop costs the clients of any server
//!   class error kind target plan results clock gap tally
//!   request expected chunked response answer connection
//!   subject timers learn kernel exchange client crew run course
//! bench_internals          for the benches of this package
//! manual                   recipes, as documentation
//! cli                      the program; it uses the public API alone
//!   failure output units filter logger  how the program ends, prints, reads values and logs
//!   address advice limits    addresses, what to do about errors, open files
//!   atomic_file destination  files that are replaced as a whole; where output goes
//!   signal report            inherited signals; netgrace report
//!   serve::unix_socket serve::transfer serve::handover serve::args serve::settings serve::bind
//!   admin                    serve --admin
//!     request process page pages
//!   serve                    netgrace serve
//!     inherited listening      sockets of a service manager; all listening sockets
//!     predecessor successor    replacement by a new process
//!     manager report progress service  the service manager, the log, the running server
//!   bench                    netgrace bench
//!     condition value args host limit interface settings usage
//!     outcome figure chart progress stdout server verdict
//!     json metrics text svg table publish watch
//!     merge                      netgrace bench --merge
//!       field mod part worker
//!   audit                    netgrace audit
//!     condition value args process family reach progress server
//!     outcome limit advice report document picture
//!   args
//! main                     its entry
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
