//! A reactor to be a server in, clients that never block, and a process of one's own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use netgrace::{Config, Grade, Report, Server, TokenRange};

/// The grade of a stop that lost nothing: where the kernel cannot be asked about half-open
/// handshakes, none above lossless can be shown.
pub const BEST: Grade = if cfg!(all(feature = "diagnosis", target_os = "linux")) {
    Grade::Complete
} else {
    Grade::Lossless
};

/// Longer than anything takes, even on a busy machine: only a hang gets there.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition is looked at that nothing in the poll announces.
const LOOK: Duration = Duration::from_millis(5);

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn server(config: Config) -> Server {
    Server::bind(loopback(), config).unwrap()
}

/// Quick settings: a stop that waits for nobody longer than needed.
pub fn quick() -> Config {
    Config::new().idle_grace(Duration::from_millis(20))
}

/// A host with any number of servers on its one poll.
pub struct Host {
    pub poll: Poll,
    pub events: Events,
    pub servers: Vec<Server>,
    /// Tokens of events that no server took.
    pub foreign: Vec<Token>,
}

impl Host {
    pub fn new(capacity: usize) -> Self {
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(capacity),
            servers: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// A host with one server on tokens 100 to 1099.
    pub fn of(config: Config) -> Self {
        let mut host = Self::new(64);
        host.add(server(config), TokenRange::new(100..1100));
        host
    }

    pub fn add(&mut self, mut server: Server, tokens: TokenRange) {
        server.register(self.poll.registry(), tokens).unwrap();
        server.end_turn(self.poll.registry(), Instant::now());
        self.servers.push(server);
    }

    pub fn server(&mut self) -> &mut Server {
        &mut self.servers[0]
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.servers[0].local_addr().unwrap())
    }

    /// Waits for events, no longer than `timeout` or than a server has nothing to do.
    pub fn wait(&mut self, timeout: Duration) {
        let now = Instant::now();
        let deadlines = self.servers.iter().filter_map(Server::next_deadline);
        let until = deadlines.map(|deadline| deadline.saturating_duration_since(now)).min();
        let timeout = until.map_or(timeout, |until| until.min(timeout));
        self.poll.poll(&mut self.events, Some(timeout)).unwrap();
    }

    /// Tells the servers of the batch.
    pub fn dispatch(&mut self) {
        let now = Instant::now();
        for event in &self.events {
            let mut servers = self.servers.iter_mut();
            if !servers.any(|server| server.handle_event(event, now)) {
                self.foreign.push(event.token());
            }
        }
    }

    pub fn end_turn(&mut self) {
        let (registry, now) = (self.poll.registry(), Instant::now());
        self.servers.iter_mut().for_each(|server| server.end_turn(registry, now));
    }

    pub fn turn(&mut self, timeout: Duration) {
        self.wait(timeout);
        self.dispatch();
        self.end_turn();
    }

    /// Turns until `condition` gives something.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = condition(self) {
                return found;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
            self.turn(LOOK);
        }
    }

    #[track_caller]
    pub fn until_open(&mut self, count: u64) {
        self.until("connections open", |host| (host.server().stats().open == count).then_some(()));
    }

    /// Has a client get back what it sends.
    #[track_caller]
    pub fn echo(&mut self, client: &mut Client, bytes: &[u8]) {
        client.send(bytes);
        self.receive(client, bytes);
    }

    /// Turns until a client has got exactly these bytes more.
    #[track_caller]
    pub fn receive(&mut self, client: &mut Client, bytes: &[u8]) {
        let got = self.until("an echo", |_| {
            client.receive();
            (client.ended || client.received.len() >= bytes.len())
                .then(|| std::mem::take(&mut client.received))
        });
        assert!(got == bytes, "{} bytes instead of {}", got.len(), bytes.len());
    }

    /// Turns until a client has seen the server's end of stream.
    #[track_caller]
    pub fn receive_end(&mut self, client: &mut Client) {
        self.until("the server's end of stream", |_| {
            client.receive();
            client.ended.then_some(())
        });
        assert!(client.error.is_none(), "{:?}", client.error);
    }

    /// Stops the first server, its clients leaving when it says goodbye, and gives its report.
    #[track_caller]
    pub fn stop(&mut self, clients: &mut [&mut Client]) -> Report {
        let registry = self.poll.registry();
        self.servers[0].begin_shutdown(registry, Instant::now());
        self.finish(clients)
    }

    /// Turns until the first server is finished, and checks its account.
    #[track_caller]
    pub fn finish(&mut self, clients: &mut [&mut Client]) -> Report {
        self.until("the end of the stop", |host| {
            clients.iter_mut().for_each(|client| client.leave_at_the_end());
            host.server().is_finished().then_some(())
        });
        let report = self.server().report().clone();
        check(&report);
        report
    }
}

/// Checks that everything in the report of a finished stop adds up.
#[track_caller]
pub fn check(report: &Report) {
    assert_eq!(report.connections.accepted, report.connections.closed(), "{report:#?}");
    assert_eq!(report.bytes.held(), 0, "{report:#?}");
    assert!(report.cause.is_some(), "{report:#?}");
}

/// A client that never blocks.
pub struct Client {
    stream: TcpStream,
    pub sent: u64,
    /// What came and was not taken yet.
    pub received: Vec<u8>,
    /// The server's end of stream, or an error, came.
    pub ended: bool,
    pub error: Option<ErrorKind>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sent: 0, received: Vec::new(), ended: false, error: None }
    }

    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends what fits into the buffers of the kernel: tens of kilobytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
    }

    /// Sends until the buffers of the kernel are full. Returns whether they were not.
    pub fn send_what_fits(&mut self) -> bool {
        let mut any = false;
        while self.send_some(&[b'z'; 4096]) > 0 {
            any = true;
        }
        any
    }

    /// Sends as much of it as fits. Returns how much.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        let count = self.stream.write(bytes).unwrap_or(0);
        self.sent += count as u64;
        count
    }

    pub fn send_end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Takes what has come.
    pub fn receive(&mut self) {
        let mut buffer = [0; 16 << 10];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error.kind());
                }
            }
        }
    }

    /// As a client does that is told goodbye.
    pub fn leave_at_the_end(&mut self) {
        let before = self.ended;
        self.receive();
        if self.ended && !before && self.error.is_none() {
            self.send_end();
        }
    }
}

/// Set in the process of a test that runs alone.
const ALONE: &str = "NETGRACE_TEST_ALONE";

/// Whether this process runs one test only; if not, runs this test, `name`, in a process that
/// does, and gives what that wrote to stdout and stderr.
#[track_caller]
pub fn is_alone(module: &str, name: &str) -> Result<(), (String, String)> {
    if std::env::var_os(ALONE).is_some() {
        return Ok(());
    }
    let path = module.split_once("::").map_or(module, |(_, path)| path);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{path}::{name}"), "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("1 passed"), "{stdout}");
    Err((stdout, stderr))
}

/// The descriptors that are open, by what they are.
#[cfg(target_os = "linux")]
pub fn descriptors() -> Vec<String> {
    let listing = std::fs::read_dir("/proc/self/fd").unwrap();
    let paths = listing.map(|entry| entry.unwrap().path());
    // The descriptor of the listing itself is gone by the time it is asked for.
    let mut found: Vec<_> = paths
        .filter_map(|path| {
            let target = std::fs::read_link(&path).ok()?;
            Some(format!("{} {}", path.display(), target.display()))
        })
        .collect();
    found.sort();
    found.retain(|name| !name.contains("/proc/"));
    found
}
