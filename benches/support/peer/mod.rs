//! The servers that a user would write instead. Each echoes until it is killed; none stops in
//! order: that is how they come.

mod epoll;
mod threads;
mod tokio;

use std::io::{self, Write};
use std::net::TcpListener;

use rustix::process::{Signal, set_parent_process_death_signal};
use socket2::{Domain, Socket, Type};

/// Their names.
pub const NAMES: [&str; 3] = ["epoll", "tokio", "threads"];

/// As in the program under test, so that none of them loses a SYN.
const BACKLOG: i32 = 4096;

/// Is the peer of this name, and says on stdout on which port.
pub fn serve(name: &str) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket
        .bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().map_err(io::Error::other)?.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?.port())?;
    stdout.flush()?;
    match name {
        "epoll" => epoll::serve(listener),
        "tokio" => tokio::serve(listener),
        "threads" => threads::serve(&listener),
        other => Err(io::Error::other(format!("no peer is called '{other}'"))),
    }
}
