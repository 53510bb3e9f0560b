//! An echo server on a plain mio loop that also has a source and a timer of its own.
//!
//! `cargo run --example mio_host [ADDRESS]`, then `nc 127.0.0.1 5388`; Enter stops it.

#![allow(clippy::arithmetic_side_effects)]

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use netgrace::{Config, Grade, Report, Server, ShutdownHandle};

const WAKER: Token = Token(0);
const COUNT: Token = Token(1);
/// How often the host logs the counters.
const INTERVAL: Duration = Duration::from_secs(10);

/// What the outside can reach once the host runs.
pub(crate) struct Started {
    pub(crate) echo: SocketAddr,
    /// A UDP service of the host's own: answers each datagram with the number of connections.
    pub(crate) count: SocketAddr,
    pub(crate) handle: ShutdownHandle,
}

/// Serves until the stop is over.
pub(crate) fn serve(
    address: SocketAddr,
    on_start: impl FnOnce(Started),
) -> Result<Report, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let mut count = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    poll.registry().register(&mut count, COUNT, Interest::READABLE)?;

    let mut server = Server::bind(address, Config::new().max_connections(1000))?;
    server.register(poll.registry(), 1000..2001)?; // one listener, 1000 connections
    on_start(Started {
        echo: server.local_addr().ok_or("no address")?,
        count: count.local_addr()?,
        handle: server.shutdown_handle(waker),
    });

    let mut next_log = Instant::now() + INTERVAL;
    loop {
        server.end_turn(poll.registry(), Instant::now());
        if server.is_finished() {
            return Ok(server.report().clone());
        }
        // The earlier one of the server's deadline and the host's.
        let deadline = server.next_deadline().map_or(next_log, |at| at.min(next_log));
        let timeout = deadline.saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        let now = Instant::now();
        for event in &events {
            if server.handle_event(event, now) {
                continue;
            }
            if event.token() == COUNT {
                answer(&count, server.stats().open);
            }
            // The waker's event has no work of its own: it ended the sleep.
        }
        if now >= next_log {
            next_log = now + INTERVAL;
            eprintln!("{:?}", server.stats());
        }
    }
}

fn answer(socket: &UdpSocket, open: u64) {
    let mut request = [0; 16];
    while let Ok((_, peer)) = socket.recv_from(&mut request) {
        if let Err(error) = socket.send_to(open.to_string().as_bytes(), peer) {
            eprintln!("answer {peer}: {error}");
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5388".to_owned());
    let report = serve(address.parse()?, |started| {
        println!("echo on {}", started.echo);
        println!("number of connections on UDP {}; Enter stops", started.count);
        thread::spawn(move || {
            // An error is an end of the input too.
            let _read = io::stdin().read_line(&mut String::new());
            started.handle.begin_shutdown();
        });
    })?;
    println!("{report}");
    Ok(report.exit_code(Grade::Lossless).into())
}
