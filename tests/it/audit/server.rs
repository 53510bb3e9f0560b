//! The servers under audit: this test binary, started as a command. Without a [`WAY`] it is a
//! correct server with a thread per connection; with one it does that thing wrong once it has
//! been told to stop.

use std::env;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use socket2::SockFilter;
use socket2::SockRef;

pub const WAY: &str = "NETGRACE_TEST_SERVER_WAY";
pub const PORT: &str = "NETGRACE_TEST_SERVER_PORT";
pub const SCHEME: &str = "NETGRACE_TEST_SERVER_SCHEME";

/// The server sees a request to stop, and looks for bytes, this often.
const TICK: Duration = Duration::from_millis(5);

/// A connection is closed when nothing came on it for so long, so that every idle client has been
/// told before.
const QUIET: Duration = Duration::from_millis(600);

const BODY: &str = "hello, world\n";

/// A quarter of a second's worth for a slow client.
const SLOW_BODY: usize = 16 * 1024;

static STOPPING: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);

fn is_stopping() -> bool {
    STOPPING.load(SeqCst)
}

/// A way to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Well,
    /// Closes the listener over a queue that is not empty.
    ResetQueue,
    /// Reads a request and closes without an answer.
    Swallow,
    /// Ends an answer in the middle, by FIN.
    Truncate,
    /// Ends an answer in the middle, by a reset.
    Cut,
    Wrong,
    Hang,
    Decline,
    /// Closes connections unannounced: what is sent meanwhile does not arrive, as if it was on
    /// the way.
    Race,
    /// Leaves SYNs without an answer.
    Unreachable,
    /// Exits two seconds late.
    Late,
    /// Ends without having been asked to.
    Die,
    /// Answers each request with another body.
    Vary,
    /// Starts a daemon of its own that outlives it.
    Daemon,
}

impl Way {
    fn read() -> Self {
        match env::var(WAY).unwrap_or_default().as_str() {
            "" | "well" => Self::Well,
            "reset_queue" => Self::ResetQueue,
            "swallow" => Self::Swallow,
            "truncate" => Self::Truncate,
            "cut" => Self::Cut,
            "wrong" => Self::Wrong,
            "hang" => Self::Hang,
            "decline" => Self::Decline,
            "race" => Self::Race,
            "unreachable" => Self::Unreachable,
            "late" => Self::Late,
            "die" => Self::Die,
            "vary" => Self::Vary,
            "daemon" => Self::Daemon,
            other => panic!("{other} is not a way to stop"),
        }
    }
}

/// Not a test: the server, when the audit starts this binary.
#[test]
#[ignore = "no test but a server: cargo test --test it audit:: runs it"]
fn serve() {
    let Ok(port) = env::var(PORT) else { return };
    let way = Way::read();
    let stopping = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stopping))
        .expect("a signal handler");
    let listener = TcpListener::bind(("127.0.0.1", port.parse().expect("a port"))).expect("bound");
    listener.set_nonblocking(true).expect("an option");
    if way == Way::Daemon {
        let mut command = std::process::Command::new("setsid");
        command.args(["sleep", "60"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        drop(command.spawn().expect("a daemon"));
    }
    let start = Instant::now();
    while !stopping.load(SeqCst) {
        if !accept(&listener, way) {
            thread::sleep(Duration::from_millis(1));
        }
        if way == Way::Die && start.elapsed() > Duration::from_millis(300) {
            return;
        }
    }
    // Not by a macro, whose output the harness would keep to itself.
    std::io::stderr().write_all(b"server: stopping\n").expect("stderr");
    if way == Way::ResetQueue {
        drop(listener);
        STOPPING.store(true, SeqCst);
    } else {
        STOPPING.store(true, SeqCst);
        close_well(listener, way);
    }
    while OPEN.load(SeqCst) > 0 {
        thread::sleep(TICK);
    }
    if way == Way::Late {
        thread::sleep(Duration::from_secs(2));
    }
}

/// Lets nobody in any more, serves who is in the queue, closes.
fn close_well(listener: TcpListener, way: Way) {
    refuse_syns(&listener);
    for _ in 0..3 {
        while accept(&listener, way) {}
        thread::sleep(TICK);
    }
    if way == Way::Unreachable {
        thread::sleep(Duration::from_secs(3));
    }
    drop(listener);
}

/// Drops segments that ask for a connection.
fn refuse_syns(listener: &TcpListener) {
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter).expect("a filter");
}

fn accept(listener: &TcpListener, way: Way) -> bool {
    let Ok((stream, _)) = listener.accept() else { return false };
    stream.set_nonblocking(false).expect("an option");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(TICK)).expect("an option");
    OPEN.fetch_add(1, SeqCst);
    thread::spawn(move || {
        Connection { stream, way, answered: 0, input: Vec::new() }.serve();
        OPEN.fetch_sub(1, SeqCst);
    });
    true
}

struct Connection {
    stream: TcpStream,
    way: Way,
    answered: u64,
    input: Vec<u8>,
}

impl Connection {
    fn serve(&mut self) {
        let http = env::var(SCHEME).is_ok_and(|scheme| scheme == "http");
        let mut heard = Instant::now();
        let mut stopped: Option<Instant> = None;
        let mut buffer = [0; 64 * 1024];
        loop {
            if is_stopping() {
                stopped.get_or_insert_with(Instant::now);
                if self.way == Way::Race && self.answered > 0 && self.input.is_empty() {
                    return self.race();
                }
            }
            let quiet = stopped.is_some_and(|at| at.elapsed().min(heard.elapsed()) > QUIET);
            if quiet && self.input.is_empty() {
                return self.goodbye();
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        continue;
                    }
                    _ => return,
                },
            }
            heard = Instant::now();
            let goes_on = if http { self.requests() } else { self.echo() };
            if !goes_on {
                return;
            }
        }
    }

    /// Answers all requests that are complete; returns whether the connection goes on.
    fn requests(&mut self) -> bool {
        while let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = self.input.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            if !self.answer(&head) {
                return false;
            }
            self.answered += 1;
        }
        true
    }

    /// Answers one request; returns whether the connection goes on.
    fn answer(&mut self, head: &str) -> bool {
        let announces = is_stopping() && self.way != Way::Race;
        let closes = announces || head.contains("Connection: close");
        let mut body =
            if head.starts_with("GET /slow ") { "x".repeat(SLOW_BODY) } else { BODY.to_owned() };
        let mut status = "200 OK";
        if self.way == Way::Vary {
            body = format!("{:?}\n", Instant::now());
        }
        // What goes wrong does so on some requests, as it would: on those of keep-alive clients.
        let is_at_stop = is_stopping() && !head.contains("Connection: close");
        match self.way {
            Way::Wrong if is_at_stop => body = body.to_uppercase(),
            Way::Decline if is_at_stop => status = "503 Service Unavailable",
            Way::Hang if is_at_stop => {
                thread::sleep(Duration::from_secs(3));
                return false;
            }
            // Not by its first request, which would be in another class.
            Way::Swallow if is_at_stop && self.answered > 0 => {
                thread::sleep(Duration::from_millis(20));
                return false;
            }
            _ => {}
        }
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{connection}\r\n{body}");
        let mut bytes = text.as_bytes();
        if matches!(self.way, Way::Truncate | Way::Cut) && is_at_stop {
            bytes = &bytes[..bytes.len() - 5];
        }
        if self.stream.write_all(bytes).is_err() {
            return false;
        }
        if self.way == Way::Cut && is_at_stop {
            // The client reads what there is before the reset makes the rest unreadable.
            thread::sleep(Duration::from_millis(50));
            SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
            return false;
        }
        if closes {
            self.goodbye();
        }
        !closes
    }

    fn echo(&mut self) -> bool {
        let bytes = std::mem::take(&mut self.input);
        if self.stream.write_all(&bytes).is_err() {
            return false;
        }
        self.answered += 1;
        true
    }

    /// Keeps out what the client sends, then closes.
    fn race(&mut self) {
        let nothing = [SockFilter::new(0x06, 0, 0, 0)];
        SockRef::from(&self.stream).attach_filter(&nothing).expect("a filter");
        let mut buffer = [0; 4096];
        if let Ok(count) = self.stream.read(&mut buffer) {
            // It had arrived before, and is answered: the next one is not.
            self.input.extend_from_slice(&buffer[..count]);
            self.requests();
        }
        thread::sleep(Duration::from_millis(150));
    }

    /// Sends the FIN, then reads until the client's.
    fn goodbye(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let since = Instant::now();
        let mut buffer = [0; 4096];
        while since.elapsed() < Duration::from_secs(1) {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    }
}
