//! Replacement under load: SIGUSR2 starts the program anew, and nobody notices.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::crowd::{Crowd, Target};
use crate::host::{copy_program, descriptors};
use crate::support::{DEADLINE, Directory, Process, netgrace, wait_for};

/// A copy of the program that a test may replace, and what it leaves behind.
pub struct Installed {
    pub directory: Directory,
    program: PathBuf,
}

impl Installed {
    pub fn new() -> Self {
        let directory = Directory::new();
        let program = directory.join("netgrace");
        copy_program(&program);
        Self { directory, program }
    }

    /// Puts a script in the program's place, as an upgrade would: by a rename.
    pub fn replace_by(&self, script: &str) {
        let path = self.directory.join("new");
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
        fs::rename(&path, &self.program).expect("a replacement");
    }

    /// Its log goes to a file, which its successors share.
    pub fn start(&self, args: &[&str]) -> Process {
        Process::spawn_as_is(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.log_path());
        let mut command = Command::new(&self.program);
        command.args(args).env_remove("RUST_LOG").env_remove("NETGRACE_LISTEN");
        command.stderr(log.expect("a log")).stdout(std::process::Stdio::null());
        command.stdin(std::process::Stdio::null());
        command
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_for_log(&self, part: &str, times: usize) {
        let seen = || (self.log().matches(part).count() >= times).then_some(());
        wait_for(&format!("{part:?} in the log {times} times\n{}", self.log()), seen);
    }

    /// The process that was started last to carry on.
    #[track_caller]
    pub fn successor(&self) -> Pid {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("started process ")).expect("one");
        let number = line.split("started process ").nth(1).expect("a number");
        let number = number.split(' ').next().expect("a number").parse().expect("a number");
        Pid::from_raw(number).expect("a process")
    }
}

impl Drop for Installed {
    /// Whatever a failed test left running.
    fn drop(&mut self) {
        let log = self.log();
        for line in log.lines().filter(|_| thread::panicking()) {
            let number = line.split("started process ").nth(1).and_then(|n| n.split(' ').next());
            if let Some(pid) = number.and_then(|n| n.parse().ok()).and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if thread::panicking() {
            eprintln!("--- log\n{log}---");
        }
    }
}

/// Waits until it is no more than a body: it is for somebody else to bury it, who may take a while.
#[track_caller]
pub fn wait_for_end(pid: Pid) {
    let state = format!("/proc/{}/stat", pid.as_raw_nonzero());
    wait_for("its end", || match fs::read_to_string(&state) {
        Ok(stat) => stat.contains(") Z ").then_some(()),
        Err(_) => Some(()),
    });
}

#[track_caller]
pub fn first_line(path: &Path) -> String {
    let text = wait_for("the port file", || fs::read_to_string(path).ok());
    text.lines().next().expect("a line").to_owned()
}

/// Ten replacements, while a crowd comes and goes.
#[track_caller]
fn ten_times(installed: &Installed, process: Process, target: &Target) -> Pid {
    let crowd = Crowd::gather(target);
    let mut first = Some(process);
    for round in 1..=10 {
        crowd.wait_for_served(20);
        let old = match &first {
            Some(process) => Pid::from_raw(process.pid().cast_signed()).expect("a process"),
            None => installed.successor(),
        };
        kill_process(old, Signal::USR2).expect("a signal");
        installed.wait_for_log("has closed its copies of the sockets", round);
        match first.take() {
            Some(process) => drop(process.finish().exits(0)),
            None => wait_for_end(old),
        }
    }
    crowd.wait_for_served(20);
    assert!(crowd.send_home() > 200);
    installed.successor()
}

#[track_caller]
fn check_accounts(installed: &Installed, stops: usize) {
    check_accounts_but_warnings(installed, stops);
    let log = installed.log();
    assert!(!log.contains("WARN"), "{log}");
}

#[track_caller]
pub fn check_accounts_but_warnings(installed: &Installed, stops: usize) {
    let log = installed.log();
    let ends: Vec<_> = log.lines().filter(|line| line.contains("; grade ")).collect();
    assert_eq!(ends.len(), stops, "{log}");
    for end in ends {
        assert!(end.contains(", 0 cut, ") && end.contains(", 0 lost; "), "{end}");
    }
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn ten_replacements_under_load_are_noticed_by_nobody() {
    let installed = Installed::new();
    let ports = installed.directory.join("ports");
    let process = installed.start(&[
        "-l",
        "127.0.0.1:0",
        "-l",
        "127.0.0.2:0",
        "--port-file",
        ports.to_str().expect("UTF-8"),
        "--admin",
        "0",
    ]);
    let address = first_line(&ports);
    let before = fs::read_to_string(&ports).expect("a port file");
    let opened = descriptors(process.pid());
    let last = ten_times(&installed, process, &Target::Tcp(address.parse().expect("an address")));
    assert_eq!(fs::read_to_string(&ports).expect("a port file"), before);
    let log = installed.log();
    // Nothing is passed on by mistake: ten times one would show.
    let after = descriptors(last.as_raw_nonzero().get().cast_unsigned());
    assert!(after < opened + 5, "{after} descriptors are open, at first {opened}");
    let admin: Vec<_> = log.lines().filter_map(|line| line.rsplit_once("http://")).collect();
    assert!(admin.len() == 11 && admin.iter().all(|(_, at)| *at == admin[0].1), "{admin:?}");
    let mut health = crate::support::Client::connect(admin[0].1.parse().expect("an address"));
    health.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(health.receive_to_end().starts_with(b"HTTP/1.1 200"));
    kill_process(last, Signal::TERM).expect("a signal");
    wait_for_end(last);
    check_accounts(&installed, 11);
    // The last one had the sockets, and that of --admin, to itself, and emptied their queues.
    let log = installed.log();
    assert_eq!(log.matches("left the queue of").count(), 30, "{log}");
    std::net::TcpStream::connect(&address).expect_err("nobody listens any more");
}

#[test]
fn the_load_generator_notices_nothing_either() {
    let installed = Installed::new();
    let ports = installed.directory.join("ports");
    let args = ["-l", "127.0.0.1:0", "--port-file", ports.to_str().expect("UTF-8")];
    let mut first = Some(installed.start(&args));
    let address = first_line(&ports);
    // Every connection is closed and opened anew well before a drain runs out of patience.
    let args = ["bench", &address, "-c", "8", "--churn", "200", "-d", "4s", "-s", "64", "-q"];
    let bench = Process::spawn(netgrace(&args).args(["--warmup", "0s", "--json", "-"]));
    for round in 1..=10 {
        let old = match &first {
            Some(process) => Pid::from_raw(process.pid().cast_signed()).expect("a process"),
            None => installed.successor(),
        };
        kill_process(old, Signal::USR2).expect("a signal");
        installed.wait_for_log("has closed its copies of the sockets", round);
        if let Some(process) = first.take() {
            process.finish().exits(0);
        } else {
            wait_for_end(old);
        }
    }
    let outcome = bench.finish().exits(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64);
    for path in ["/connect/failed", "/connect/retried", "/errors/connect_refused"] {
        assert_eq!(number(path), Some(0), "{path}: {report:#}");
    }
    for path in ["/errors/reset", "/errors/eof_early", "/load/missing_bytes", "/load/wrong_bytes"] {
        assert_eq!(number(path), Some(0), "{path}: {report:#}");
    }
    assert!(number("/connect/churned") > Some(100), "{report:#}");
    let last = installed.successor();
    kill_process(last, Signal::TERM).expect("a signal");
    wait_for_end(last);
    check_accounts(&installed, 11);
}

/// What a service manager is told of a replacement.
#[test]
fn the_manager_learns_whom_to_watch() {
    let installed = Installed::new();
    let socket = UnixDatagram::bind(installed.directory.join("notify")).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("an option");
    let told = || {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).expect("a notification");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut command = installed.command(&["-l", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", installed.directory.join("notify"));
    let mut process = Process::spawn_as_is(command.env("WATCHDOG_USEC", "400000"));
    assert!(told().starts_with("READY=1\n"));
    process.signal(Signal::USR2);
    installed.wait_for_log("has closed its copies of the sockets", 1);
    let main = format!("MAINPID={}\n", installed.successor().as_raw_nonzero());
    let mut before = Vec::new();
    while before.last() != Some(&main) {
        before.push(told());
    }
    assert!(before.iter().any(|lines| lines.starts_with("READY=1\n")), "{before:?}");
    assert!(process.finish().exits(0).stdout.is_empty());
    // It is fed by the new one, and nobody said that the service stops.
    while !before.last().is_some_and(|lines| lines.contains("WATCHDOG=1\n")) {
        before.push(told());
    }
    assert!(before.iter().all(|lines| !lines.contains("STOPPING=1")), "{before:?}");
    let last = installed.successor();
    kill_process(last, Signal::TERM).expect("a signal");
    while !told().contains("STOPPING=1") {}
    wait_for_end(last);
}

#[test]
fn a_unix_socket_and_its_file_go_along() {
    let installed = Installed::new();
    let path = installed.directory.join("echo.sock");
    let address = format!("unix:{}", path.display());
    let process = installed.start(&["-l", &address]);
    installed.wait_for_log("] ready", 1);
    let file = fs::symlink_metadata(&path).expect("a file").ino();
    let last = ten_times(&installed, process, &Target::Unix(path.clone()));
    assert_eq!(fs::symlink_metadata(&path).expect("the same file").ino(), file);
    kill_process(last, Signal::TERM).expect("a signal");
    wait_for_end(last);
    check_accounts(&installed, 11);
    assert!(!path.exists(), "the last one removes it");
}

/// Asks for a replacement that fails, and checks that the old one carries on.
#[track_caller]
pub fn carries_on(script: &str, rounds: usize, parts: &[&str]) {
    let installed = Installed::new();
    let ports = installed.directory.join("ports");
    let ports_text = ports.to_str().expect("UTF-8");
    let mut process = installed.start(&["-l", "127.0.0.1:0", "--port-file", ports_text]);
    let address = first_line(&ports);
    let crowd = Crowd::gather(&Target::Tcp(address.parse().expect("an address")));
    if script.is_empty() {
        fs::remove_file(&installed.program).expect("the program");
    } else {
        installed.replace_by(script);
    }
    for round in 1..=rounds {
        process.signal(Signal::USR2);
        for part in parts {
            installed.wait_for_log(part, round);
        }
        crowd.wait_for_served(20);
    }
    crowd.send_home();
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    carries_on("#!/bin/sh\nexit 7\n", 2, &["it did not get ready; carrying on", "exit status: 7"]);
}

#[test]
fn a_program_that_is_gone_changes_nothing() {
    carries_on("", 2, &["cannot start a successor: ", "carrying on"]);
}

#[test]
fn a_program_that_cannot_be_run_changes_nothing() {
    carries_on("no program at all", 2, &["cannot start a successor: ", "carrying on"]);
}

#[test]
fn a_successor_that_hangs_is_ended_and_changes_nothing() {
    // It does not heed the request to end either.
    carries_on(
        "#!/bin/sh\ntrap '' TERM\nexec sleep 60\n",
        1,
        &["it was not ready after 5s; carrying on", "signal: 9"],
    );
}

#[test]
fn a_handover_that_is_announced_and_does_not_come_is_an_error() {
    let mut command = netgrace(&["-l", "127.0.0.1:0"]);
    let outcome = crate::support::run(command.env("NETGRACE_HANDOVER", "1")).exits(1);
    assert!(outcome.stderr.contains("NETGRACE_HANDOVER"), "{outcome:#?}");
}
