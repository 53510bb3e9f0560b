//! A chat: each line goes to everybody else. Output is pushed to connections that sent nothing, and
//! a peer that does not read falls behind until it is cut off.
//!
//! `cargo run --example chat [ADDRESS]`, then some `nc 127.0.0.1 5388`; Enter stops it.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use netgrace::protocol::{ConnectionId, Context, Input, Next, Output, Protocol};
use netgrace::{CloseReason, Config, EventLoop, Grade, Report, Server, ShutdownHandle};

/// Lines that are kept for slow readers.
const LOG: usize = 1024;

/// The room: the last lines, and who is in it.
#[derive(Default)]
pub(crate) struct Chat {
    log: VecDeque<(ConnectionId, Vec<u8>)>,
    /// The number of the first line in the log.
    first: usize,
    members: BTreeMap<ConnectionId, Member>,
    /// Members to be resumed.
    behind: VecDeque<ConnectionId>,
}

struct Member {
    is_listed: bool,
}

/// What one connection has seen.
pub(crate) struct Seat {
    /// The number of the next line.
    next: usize,
    /// Bytes of it that are put.
    put: usize,
}

impl Chat {
    fn say(&mut self, speaker: ConnectionId, line: &[u8]) {
        self.log.push_back((speaker, line.to_vec()));
        if self.log.len() > LOG {
            self.log.pop_front();
            self.first += 1;
        }
        for (id, member) in &mut self.members {
            if *id != speaker && !std::mem::replace(&mut member.is_listed, true) {
                self.behind.push_back(*id);
            }
        }
    }

    /// Puts the lines that a member has not seen, as far as there is room.
    fn catch_up(&mut self, me: ConnectionId, seat: &mut Seat, output: &mut Output<'_>) -> Next {
        if let Some(member) = self.members.get_mut(&me) {
            member.is_listed = false;
        }
        if seat.next < self.first {
            return Next::Abort; // lines are gone that it should have got
        }
        while let Some((speaker, line)) = self.log.get(seat.next - self.first) {
            if *speaker != me {
                seat.put += output.put_some(line.get(seat.put..).unwrap_or_default());
                if seat.put < line.len() {
                    return Next::Continue;
                }
            }
            (seat.next, seat.put) = (seat.next + 1, 0);
        }
        Next::Idle
    }
}

impl Protocol for Chat {
    type State = Seat;

    fn open(&mut self, _: Option<SocketAddr>, context: Context) -> Seat {
        self.members.insert(context.connection, Member { is_listed: false });
        Seat { next: self.first + self.log.len(), put: 0 }
    }

    fn greet(&mut self, _: &mut Seat, output: &mut Output<'_>, _: Context) -> Next {
        let hello = format!("{} here\n", self.members.len());
        if output.put(hello.as_bytes()) { Next::Idle } else { Next::Abort }
    }

    fn input(
        &mut self,
        _: &mut Seat,
        input: &mut Input<'_>,
        _: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let bytes = input.bytes();
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                self.say(context.connection, bytes.get(..=at).unwrap_or_default());
                input.consume(at + 1);
                Next::Idle
            }
            None if input.is_full() => Next::Finish,
            None => Next::Idle,
        }
    }

    fn resume(&mut self, seat: &mut Seat, output: &mut Output<'_>, context: Context) -> Next {
        self.catch_up(context.connection, seat, output)
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        self.behind.pop_front()
    }

    fn drain(&mut self, _: &mut Seat, output: &mut Output<'_>, _: Context) -> Option<Next> {
        // Without room for it the peer is behind anyway.
        let _was_told = output.put(b"closing soon\n");
        None
    }

    fn farewell(&mut self, _: &mut Seat, output: &mut Output<'_>, _: Context) {
        let _was_told = output.put(b"bye\n");
    }

    fn close(&mut self, _: Seat, connection: ConnectionId, _: CloseReason) {
        self.members.remove(&connection);
    }
}

/// Serves until the stop is over.
pub(crate) fn serve(
    address: SocketAddr,
    on_start: impl FnOnce(SocketAddr, ShutdownHandle),
) -> Result<Report, Box<dyn Error>> {
    let mut server = Server::serving(Chat::default(), Config::new().max_connections(1000))?;
    server.listen(address)?;
    let address = server.local_addr().ok_or("no address")?;
    let mut event_loop = EventLoop::new(server)?;
    on_start(address, event_loop.shutdown_handle());
    Ok(event_loop.run())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5388".to_owned());
    let report = serve(address.parse()?, |address, handle| {
        println!("chat on {address}");
        thread::spawn(move || {
            io::stdin().read_line(&mut String::new()).ok();
            handle.begin_shutdown();
        });
    })?;
    println!("{report}");
    Ok(report.exit_code(Grade::Lossless).into())
}
