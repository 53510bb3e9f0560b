//! Clients that ask the same thing again and again, each over a connection that stays open.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::service::Service;

/// A server that answers nobody for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one read.
const READ: usize = 1 << 16;

/// What so many clients do.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    pub service: Service,
    pub connections: usize,
    /// Requests that a client sends in one write, before it waits for their answers.
    pub depth: usize,
    /// The load before the measured time.
    pub warmup: Duration,
    pub time: Duration,
    /// Instead of the time: so many answers.
    pub answers: Option<u64>,
}

/// A connection and what has come of the answers that it waits for.
struct Client {
    stream: mio::net::TcpStream,
    received: Vec<u8>,
}

/// Everything that the clients share.
struct Load {
    requests: Requests,
    batch: Vec<u8>,
    first: Vec<u8>,
    buffer: Vec<u8>,
    answers: u64,
}

impl Requests {
    /// Loads a server, and calls `mark` when the measured time begins and when it ends. Returns
    /// the answers between the two.
    pub fn run(
        &self,
        server: SocketAddr,
        mut mark: impl FnMut() -> io::Result<()>,
    ) -> Result<u64, String> {
        let first = self.first(server)?;
        let batch = self.service.request().repeat(self.depth);
        let mut load = Load { requests: *self, batch, first, buffer: vec![0; READ], answers: 0 };
        let told = |error: io::Error| error.to_string();
        let mut poll = Poll::new().map_err(told)?;
        let mut clients = Vec::with_capacity(self.connections);
        for token in 0..self.connections {
            clients.push(self.connect(server, &poll, token).map_err(told)?);
        }
        for client in &mut clients {
            load.ask(client)?;
        }
        load.turns(&mut poll, &mut clients, self.warmup, None)?;
        mark().map_err(told)?;
        load.answers = 0;
        load.turns(&mut poll, &mut clients, self.time, self.answers)?;
        mark().map_err(told)?;
        Ok(load.answers)
    }

    /// The first answer, which all others are compared with.
    fn first(&self, server: SocketAddr) -> Result<Vec<u8>, String> {
        let told = |error: io::Error| format!("the first request: {error}");
        let mut stream = TcpStream::connect(server).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        stream.write_all(&self.service.request()).map_err(told)?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(length) = self.service.length(&received)? {
                received.truncate(length);
                return Ok(received);
            }
            match stream.read(&mut buffer).map_err(told)? {
                0 => return Err("the first request was not answered".to_owned()),
                count => received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn connect(&self, server: SocketAddr, poll: &Poll, token: usize) -> io::Result<Client> {
        let stream = TcpStream::connect(server)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
        Ok(Client { stream, received: Vec::new() })
    }
}

impl Load {
    /// Serves the clients for a time, or until so many answers have come.
    fn turns(
        &mut self,
        poll: &mut Poll,
        clients: &mut [Client],
        time: Duration,
        answers: Option<u64>,
    ) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let began = Instant::now();
        let mut heard = began;
        loop {
            let now = Instant::now();
            if answers.map_or(now - began >= time, |most| self.answers >= most) {
                return Ok(());
            }
            if now - heard > PATIENCE {
                return Err(format!("no answer for {PATIENCE:?}"));
            }
            match poll.poll(&mut events, Some(Duration::from_millis(10))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.to_string());
                }
                _ => {}
            }
            for event in &events {
                heard = now;
                self.hear(&mut clients[event.token().0])?;
            }
        }
    }

    /// Sends the requests of one batch, which a socket with nothing else in it takes as a whole.
    fn ask(&self, client: &mut Client) -> Result<(), String> {
        match client.stream.write(&self.batch) {
            Ok(count) if count == self.batch.len() => Ok(()),
            Ok(count) => Err(format!("{count} of {} bytes could be sent", self.batch.len())),
            Err(error) => Err(format!("a request cannot be sent: {error}")),
        }
    }

    fn hear(&mut self, client: &mut Client) -> Result<(), String> {
        loop {
            let count = match client.stream.read(&mut self.buffer) {
                Ok(0) => return Err("a connection was closed".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("no answer can be read: {error}")),
            };
            let length = self.first.len();
            let batch = length * self.requests.depth;
            client.received.extend_from_slice(&self.buffer[..count]);
            if client.received.len() > batch {
                return Err("more came than was asked for".to_owned());
            }
            if client.received.len() == batch {
                let service = self.requests.service;
                if !client.received.chunks(length).all(|one| service.is_same(one, &self.first)) {
                    return Err("a wrong answer".to_owned());
                }
                client.received.clear();
                self.answers += self.requests.depth as u64;
                self.ask(client)?;
            }
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }
}
