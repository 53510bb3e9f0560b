//! The harness: the program as a child process, clients that cannot hang, reports that must add up.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything takes, even on a busy machine: only a hang gets there.
pub const DEADLINE: Duration = Duration::from_secs(20);

#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A directory of its own for each use, removed at the end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("netgrace-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(&self.0).expect("a readable directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = listing.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, in an environment that does not depend on ours.
pub fn netgrace(args: &[&str]) -> Command {
    if let Some(command) = crate::naive::instead(args) {
        return command;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_netgrace"));
    command.args(args).env_remove("RUST_LOG").env_remove("NETGRACE_LISTEN").stdin(Stdio::null());
    command
}

/// The program started by a shell line in which `"$@"` is the program and its arguments.
pub fn netgrace_in_shell(line: &str, args: &[&str]) -> Command {
    wrapped("sh", &["-c", line, "sh"], args)
}

/// The program started by another one, whose last arguments are the program and its own.
pub fn wrapped(wrapper: &str, options: &[&str], args: &[&str]) -> Command {
    let inner = netgrace(args);
    let mut command = Command::new(wrapper);
    command.args(options).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    Process::spawn(command).finish()
}

/// A child whose output is collected while it runs, and which is killed when dropped.
pub struct Process {
    child: Child,
    stdout: Option<Collector>,
    stderr: Option<Collector>,
    started: Instant,
    signalled: Option<Instant>,
    is_done: bool,
}

impl Process {
    /// Spawns it with stdout and stderr collected.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn_as_is(command)
    }

    /// Spawns it with the stdout and stderr that the command has been given.
    #[track_caller]
    pub fn spawn_as_is(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().map(Collector::new);
        let stderr = child.stderr.take().map(Collector::new);
        let started = Instant::now();
        Self { child, stdout, stderr, started, signalled: None, is_done: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&mut self, signal: Signal) {
        self.signalled.get_or_insert_with(Instant::now);
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal to a child that runs");
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.as_ref().map(Collector::text).unwrap_or_default()
    }

    /// Waits until stderr has `part`.
    #[track_caller]
    pub fn wait_for_stderr(&self, part: &str) {
        wait_for(&format!("{part:?} on stderr"), || self.stderr().contains(part).then_some(()));
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end, and checks what must hold at every end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let status = wait_for("the end of the program", || self.child.try_wait().expect("a child"));
        self.is_done = true;
        let now = Instant::now();
        let outcome = Outcome {
            status,
            stdout: self.stdout.take().map(Collector::finish).unwrap_or_default(),
            stderr: self.stderr.take().map(Collector::finish).unwrap_or_default(),
            took: now.duration_since(self.signalled.unwrap_or(self.started)),
        };
        outcome.check();
        outcome
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = self.child.kill();
            let _ = self.child.wait();
            if thread::panicking() {
                let stderr = self.stderr.take().map(Collector::finish).unwrap_or_default();
                eprintln!("--- stderr of the program\n{stderr}---");
            }
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Since the first signal that was sent, or else since the start.
    pub took: Duration,
}

impl Outcome {
    #[track_caller]
    fn check(&self) {
        let code = self.status.code();
        let is_crash = matches!(code, Some(101 | 134 | 139 | 141));
        let is_killed = matches!(self.status.signal(), Some(4 | 6 | 7 | 8 | 11 | 13));
        assert!(!is_crash && !is_killed, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }

    /// Checks the exit code and gives the outcome back.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// The one JSON object on stdout, its sums checked.
    #[track_caller]
    pub fn report(&self) -> Value {
        checked_report(&self.stdout)
    }
}

/// Parses a stop report and checks that everything in it adds up.
#[track_caller]
pub fn checked_report(text: &str) -> Value {
    let report: Value = serde_json::from_str(text).expect("one JSON object");
    let number = |path: &str| {
        let found = report.pointer(path).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no number {path} in {report:#}"))
    };
    assert_eq!(report["schema"], "netgrace-report/1");
    let sum = |prefix: &str, names: &str| -> u64 {
        names.split_whitespace().map(|name| number(&format!("/{prefix}/{name}"))).sum()
    };
    if report["requests"].is_null() {
        let bytes = sum("bytes", "written late unsent peer_aborted");
        assert_eq!(number("/bytes/read"), bytes, "{report:#}");
    } else {
        let input = sum("bytes", "served late unserved incomplete");
        assert_eq!(number("/bytes/read"), input, "{report:#}");
        let output = sum("bytes", "written unsent peer_aborted");
        assert_eq!(number("/bytes/produced"), output, "{report:#}");
        let requests = sum("requests", "answered unanswered aborted");
        assert_eq!(number("/requests/taken"), requests, "{report:#}");
    }
    let closed = "drained peer_closed protocol_closed reset_by_peer host_closed idle_timeout \
                  io_error forced_clean forced_lossy";
    let closed = sum("connections", closed);
    assert_eq!(number("/connections/accepted"), closed, "{report:#}");
    if report["stop_ns"].is_u64() {
        let phases = ["lame_duck_ns", "draining_ns", "forcing_ns"];
        let phases: u64 = phases.iter().map(|name| number(&format!("/phases/{name}"))).sum();
        assert!(phases <= number("/stop_ns"), "{report:#}");
        assert!(number("/stop_ns") <= number("/uptime_ns"), "{report:#}");
    }
    report
}

/// Reads a pipe to its end beside the test.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Collector {
    fn new(mut source: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = source.read(&mut buffer) {
                if count == 0 {
                    break;
                }
                sink.lock().expect("unpoisoned").extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("unpoisoned")).into_owned()
    }

    fn finish(self) -> String {
        self.thread.join().expect("a reader");
        String::from_utf8(self.bytes.lock().expect("unpoisoned").clone()).expect("UTF-8 only")
    }
}

/// A server that listens on a free port.
pub struct Server {
    pub process: Process,
    addresses: Vec<SocketAddr>,
    _directory: Directory,
}

impl Server {
    /// Starts `netgrace -l 127.0.0.1:0` with these arguments and waits until it listens.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::start_as(args, netgrace, Process::spawn)
    }

    /// The same, from a command of the caller's and with its stdout and stderr.
    #[track_caller]
    pub fn start_as(
        args: &[&str],
        command: impl FnOnce(&[&str]) -> Command,
        spawn: impl FnOnce(&mut Command) -> Process,
    ) -> Self {
        let directory = Directory::new();
        let port_file = directory.join("addresses");
        let path = port_file.to_str().expect("a UTF-8 path");
        let mut all = args.to_vec();
        if !args.iter().any(|arg| matches!(*arg, "-l" | "--listen" | "serve")) {
            all.extend(["-l", "127.0.0.1:0"]);
        }
        all.extend(["--port-file", path]);
        let mut process = spawn(&mut command(&all));
        let addresses = wait_for("the port file", || {
            if process.has_ended() {
                panic!("ended before it listened:\n{}", process.stderr());
            }
            addresses(&port_file)
        });
        Self { process, addresses, _directory: directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// Asks it to stop and waits for its end.
    #[track_caller]
    pub fn stop(mut self) -> Outcome {
        self.process.signal(Signal::TERM);
        self.finish()
    }

    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.process.finish()
    }
}

fn addresses(port_file: &Path) -> Option<Vec<SocketAddr>> {
    let text = fs::read_to_string(port_file).ok()?;
    assert!(text.ends_with('\n'), "a port file in part: {text:?}");
    Some(text.lines().map(|line| line.parse().expect("an address")).collect())
}

/// A client whose every wait has an end.
pub struct Client(pub TcpStream);

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream.set_write_timeout(Some(DEADLINE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self(stream)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("bytes sent");
    }

    #[track_caller]
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("bytes received");
        bytes
    }

    /// Sends, and checks that the same comes back.
    #[track_caller]
    pub fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert!(self.receive(bytes.len()) == bytes, "other bytes came back");
    }

    /// What comes until the server closes its side in an orderly way.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("an end of stream, not a reset");
        bytes
    }

    /// Waits beside the test for an orderly end, then closes; gives what came before that.
    pub fn leave_at_the_end(mut self) -> JoinHandle<Vec<u8>> {
        thread::spawn(move || self.receive_to_end())
    }
}
