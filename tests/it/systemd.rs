//! A service manager: the sockets that it passes in, and what it is told.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::{Crowd, Target};
use crate::support::{
    Client, DEADLINE, Directory, Process, netgrace, netgrace_in_shell, run, wait_for,
};

/// The program with what comes as its standard input and output passed in as descriptors 3 and 4.
fn activated(sockets: Vec<OwnedFd>, args: &[&str]) -> Command {
    let line = match sockets.len() {
        0 => "LISTEN_PID=$$ LISTEN_FDS=0 exec \"$@\"",
        1 => "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"",
        _ => "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"",
    };
    let mut command = netgrace_in_shell(line, args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut sockets = sockets.into_iter();
    if let Some(socket) = sockets.next() {
        command.stdin(socket);
    }
    if let Some(socket) = sockets.next() {
        command.stdout(socket);
    }
    command
}

#[track_caller]
fn refused(command: &mut Command, code: i32, parts: &[&str]) {
    let outcome = Process::spawn_as_is(command).finish().exits(code);
    let error = outcome.stderr.lines().find(|line| line.starts_with("error: ")).expect("an error");
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn every_socket_that_is_passed_in_is_served_under_its_name() {
    let directory = Directory::new();
    let (path, ports) = (directory.join("echo.sock"), directory.join("ports"));
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let unix = UnixListener::bind(&path).expect("a socket");
    let address = tcp.local_addr().expect("an address");
    let sockets =
        vec![tcp.try_clone().expect("a clone").into(), unix.try_clone().expect("ok").into()];
    let mut command = activated(sockets, &["-l", "systemd", "-l", "127.0.0.1:0", "--port-file"]);
    command.arg(&ports).env("LISTEN_FDNAMES", "web:local");
    let mut process = Process::spawn_as_is(&mut command);
    process.wait_for_stderr("] ready");
    let log = process.stderr();
    assert!(log.contains(&format!("listening on {address} (systemd socket \"web\")")), "{log}");
    let local = format!("listening on unix:{} (systemd socket \"local\")", path.display());
    assert!(log.contains(&local), "{log}");
    let ports = fs::read_to_string(&ports).expect("a port file");
    let ports: Vec<&str> = ports.lines().collect();
    assert_eq!(ports[..2], [address.to_string(), format!("unix:{}", path.display())]);
    let own = ports[2].parse().expect("an address");
    for address in [address, own] {
        Client::connect(address).echo(b"by TCP");
    }
    let mut client = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
    client.write_all(b"x").expect("bytes sent");
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(0);
    assert!(outcome.stderr.contains(&format!("left the queue of {address}")), "{outcome:#?}");
    // What is the manager's stays: its file and its queue.
    assert!(path.exists());
    std::net::TcpStream::connect(address).expect("the queue is open");
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason() {
    let args = ["-l", "systemd"];
    refused(netgrace(&args).stderr(Stdio::piped()).stdout(Stdio::null()), 1, &["no socket"]);
    refused(&mut activated(Vec::new(), &args), 1, &["no socket was passed in"]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    refused(&mut activated(vec![udp.into()], &args), 1, &["socket 0", "no TCP or Unix stream"]);
    let file = fs::File::open("/dev/null").expect("a file");
    refused(&mut activated(vec![file.into()], &args), 1, &["socket 0", "no TCP or Unix stream"]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    refused(&mut activated(vec![socket.into()], &args), 1, &["\"unknown\"", "not listening"]);
    let mut many = netgrace(&args);
    many.env("LISTEN_FDS", "99999999999").stderr(Stdio::piped()).stdout(Stdio::null());
    refused(&mut many, 1, &["99999999999", "at most"]);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let twice = ["-l", "systemd", "-l", "systemd"];
    refused(&mut activated(vec![tcp.into()], &twice), 2, &["systemd", "once"]);
    let other = netgrace(&["-l", "systemd", "--dry-run"]);
    assert!(run(&mut { other }).exits(0).stdout.contains("systemd"));
}

#[test]
fn ten_restarts_under_load_refuse_nobody() {
    let manager = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = manager.local_addr().expect("an address");
    let start = || {
        let socket = manager.try_clone().expect("a clone");
        Process::spawn_as_is(&mut activated(vec![socket.into()], &["-l", "systemd", "--strict"]))
    };
    let mut process = start();
    let crowd = Crowd::gather(&Target::Tcp(address));
    for _ in 0..10 {
        crowd.wait_for_served(20);
        process.signal(Signal::TERM);
        wait_for("its end", || process.has_ended().then_some(()));
        let stopped = std::mem::replace(&mut process, start());
        let status = stopped.finish();
        assert!(matches!(status.status.code(), Some(0 | 3)), "{status:#?}");
        assert!(status.stderr.contains(", 0 cut, ") && status.stderr.contains(" 0 lost;"));
    }
    crowd.wait_for_served(20);
    crowd.send_home();
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

/// The manager's end of the notifications.
struct Notifications {
    socket: UnixDatagram,
    lines: Vec<String>,
    directory: Directory,
}

impl Notifications {
    fn new() -> Self {
        let directory = Directory::new();
        let socket = UnixDatagram::bind(directory.join("notify")).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        Self { socket, lines: Vec::new(), directory }
    }

    fn notified(&self, args: &[&str]) -> Command {
        let mut command = netgrace(args);
        command.args(["-l", "127.0.0.1:0"]).env("NOTIFY_SOCKET", self.directory.join("notify"));
        command
    }

    /// Reads on until a line begins like this.
    #[track_caller]
    fn wait_for(&mut self, start: &str) -> String {
        loop {
            if let Some(at) = self.lines.iter().position(|line| line.starts_with(start)) {
                return self.lines.drain(..=at).next_back().expect("a line");
            }
            let mut bytes = [0; 4096];
            let count = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
                panic!("no {start} came: {error}; before: {:?}", self.lines)
            });
            let text = std::str::from_utf8(&bytes[..count]).expect("UTF-8");
            self.lines.extend(text.lines().map(str::to_owned));
        }
    }
}

#[test]
fn the_manager_hears_of_the_start_the_clients_and_the_stop() {
    let mut manager = Notifications::new();
    let ports = manager.directory.join("ports");
    let args = ["--drain", "peer", "--shutdown-timeout", "infinity"];
    let mut process = Process::spawn(manager.notified(&args).arg("--port-file").arg(&ports));
    manager.wait_for("READY=1");
    assert_eq!(manager.wait_for("STATUS="), "STATUS=running: 0 connections open");
    let address = fs::read_to_string(&ports).expect("listening when it says so");
    let mut client = Client::connect(address.trim().parse().expect("an address"));
    client.echo(b"hello");
    assert_eq!(manager.wait_for("STATUS="), "STATUS=running: 1 connection open");
    process.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    for _ in 0..2 {
        assert_eq!(manager.wait_for("STATUS="), "STATUS=draining: 1 connection open");
        let more = manager.wait_for("EXTEND_TIMEOUT_USEC=");
        let micros: u64 = more.split_once('=').expect("a value").1.parse().expect("a number");
        assert!(micros >= 2_000_000, "at least until the next time: {micros}");
    }
    drop(client);
    process.finish().exits(0);
}

#[test]
fn the_watchdog_hears_from_a_loop_that_turns_and_from_no_other() {
    let mut manager = Notifications::new();
    let mut command = manager.notified(&[]);
    let mut process = Process::spawn(command.env("WATCHDOG_USEC", "200000"));
    manager.wait_for("READY=1");
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    process.signal(Signal::STOP);
    wait_for("it stands still", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).ok()?;
        stat.contains(") T ").then_some(())
    });
    manager.socket.set_nonblocking(true).expect("an option");
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    manager.socket.set_nonblocking(false).expect("an option");
    manager.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
    assert!(manager.socket.recv(&mut [0; 4096]).is_err(), "a loop that stands still spoke");
    process.signal(Signal::CONT);
    manager.socket.set_read_timeout(Some(DEADLINE)).expect("an option");
    manager.wait_for("WATCHDOG=1");
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let mut manager = Notifications::new();
    let mut command = manager.notified(&[]);
    command.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let mut process = Process::spawn(&mut command);
    manager.wait_for("READY=1");
    manager.lines.clear();
    manager.socket.set_read_timeout(Some(Duration::from_millis(400))).expect("an option");
    assert!(manager.socket.recv(&mut [0; 4096]).is_err());
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

#[test]
fn a_manager_that_is_gone_or_deaf_holds_nothing_up() {
    let directory = Directory::new();
    let path = directory.join("notify");
    for gone in [true, false] {
        // Nobody reads: the queue is full after a few.
        let deaf = (!gone).then(|| UnixDatagram::bind(&path).expect("a socket"));
        let mut command = netgrace(&["-l", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000");
        let mut process = Process::spawn(&mut command);
        process.wait_for_stderr("cannot notify the service manager");
        process.signal(Signal::TERM);
        let outcome = process.finish().exits(0);
        assert_eq!(outcome.stderr.matches("cannot notify").count(), 1, "{outcome:#?}");
        drop(deaf);
    }
    let mut command = netgrace(&["-l", "127.0.0.1:0"]);
    let mut process = Process::spawn(command.env("NOTIFY_SOCKET", "nonsense"));
    process.wait_for_stderr("neither a path nor @name");
    process.wait_for_stderr("] ready");
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

/// The number would be given to the next descriptor that the program opens itself.
#[test]
fn a_socket_that_is_announced_and_closed_is_an_error() {
    let mut command =
        netgrace_in_shell("exec 3<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", &["-l", "systemd"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    refused(&mut command, 1, &["LISTEN_FDS announces 1", "descriptor 3 is closed"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_that_is_passed_in_keeps_its_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("netgrace-it passed in {}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let unix = UnixListener::bind_addr(&address).expect("a socket");
    let mut command = activated(vec![unix.into()], &["-l", "systemd"]);
    let mut process = Process::spawn_as_is(&mut command);
    process.wait_for_stderr(&format!("listening on unix:@{name} (systemd socket"));
    process.wait_for_stderr("] ready");
    process.signal(Signal::TERM);
    process.finish().exits(0);
}
