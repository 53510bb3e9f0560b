//! A queue of which only the kernel's replies about connections are simulated, as scripted.

use mio::Token;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::Listen;
use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Standing, Visibility};
use crate::net::sock_diag::Kernel;
use crate::net::socket::Socket;

/// The replies of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Slices of dumps in the order in which they are asked for: the ports of peers, and whether
    /// more follows. Without any, a dump finds nobody.
    pub(crate) dumps: VecDeque<(Vec<u16>, Dumped)>,
    /// By the port of the peer; those that are not here are half open.
    pub(crate) standings: HashMap<u16, Standing>,
    /// Everything that was asked, as text.
    pub(crate) asked: Vec<String>,
}

pub(crate) type Shared = Rc<RefCell<Script>>;

/// The peer with a port.
pub(crate) fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A queue on which accept is never called.
pub(crate) enum Played {}

impl Listen for Played {
    type Stream = Socket;
    type Poll = ();
    type Endpoint = Shared;

    fn name(&self) -> &str {
        match *self {}
    }

    fn accept(&mut self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match *self {}
    }

    fn shut_gate(&mut self) -> bool {
        match *self {}
    }

    fn visibility(&mut self, _: &mut Kernel) -> Visibility {
        match *self {}
    }

    fn pressure(&mut self) -> Option<Pressure> {
        match *self {}
    }

    fn endpoint(&self) -> Option<Shared> {
        match *self {}
    }

    fn dump(
        script: &Shared,
        _: Sought,
        restart: bool,
        _: &mut Kernel,
        found: &mut Vec<Pair>,
    ) -> Dumped {
        let mut script = script.borrow_mut();
        script.asked.push(if restart { "dump" } else { "more" }.to_owned());
        let (ports, dumped) = script.dumps.pop_front().unwrap_or((Vec::new(), Dumped::Wholly));
        let half_open = Standing::HalfOpen { repetitions: 0 };
        found.extend(ports.into_iter().map(|port| Pair {
            local: SocketAddr::from(([192, 0, 2, 2], 7)),
            peer: peer(port),
            standing: script.standings.get(&port).copied().unwrap_or(half_open),
        }));
        dumped
    }

    fn ask(script: &Shared, _: &mut Kernel, pairs: &mut [Pair]) {
        let mut script = script.borrow_mut();
        script.asked.push(format!("ask {}", pairs.len()));
        for pair in pairs {
            let half_open = Standing::HalfOpen { repetitions: 0 };
            let standing = script.standings.get(&pair.peer.port()).copied();
            pair.standing = standing.unwrap_or(half_open);
        }
    }

    fn register(&mut self, (): &(), _: Token) -> io::Result<()> {
        match *self {}
    }

    fn deregister(&mut self, (): &()) -> io::Result<()> {
        match *self {}
    }

    fn register_stream(_: &mut Socket, (): &(), _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister_stream(_: &mut Socket, (): &()) -> io::Result<()> {
        Ok(())
    }
}
