//! As little as a process can have: no rights, no files, no other processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::host::copy_program;
use crate::support::{Client, DEADLINE, Directory, Process, wait_for};

/// Whether a tool is installed and does here what it is to do.
fn can(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = status.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: {program} {} does not work here", args.join(" "));
    }
    can
}

/// The arguments of `setpriv` that take every right away.
const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];

/// A directory that everybody may enter, with the program in it and what it needs to start.
struct Root(Directory);

impl Root {
    /// With the static program that `NETGRACE_STATIC` names; else with the one under test and
    /// its shared libraries.
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let root = Self(Directory::new());
        if let Some(program) = std::env::var_os("NETGRACE_STATIC") {
            let copied = Command::new("cp").arg(program).arg(root.0.join("netgrace")).status();
            assert!(copied.expect("cp").success());
        } else {
            copy_program(&root.0.join("netgrace"));
            for library in libraries(Path::new(env!("CARGO_BIN_EXE_netgrace"))) {
                let inside = library.to_str().expect("UTF-8").trim_start_matches('/');
                let copy = root.0.join(inside);
                fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
                fs::copy(&library, copy).expect("a copy");
            }
        }
        fs::create_dir(root.0.join("run")).expect("a directory");
        for (path, mode) in [("", 0o755), ("run", 0o777)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(root.0.join(path), permissions).expect("permissions");
        }
        root
    }

    fn path(&self) -> String {
        let path = self.0.join("");
        path.to_str().expect("UTF-8").trim_end_matches('/').to_owned()
    }

    fn ports(&self) -> PathBuf {
        self.0.join("run/ports")
    }
}

/// What the dynamic linker would load.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let Ok(listing) = Command::new("ldd").arg(program).output() else {
        return Vec::new();
    };
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let paths = listing.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

/// Serves on what the port file names, and stops as if it had all the rights of the world.
#[track_caller]
fn serves_and_stops(mut process: Process, ports: &Path, grade: &str, to: impl FnOnce(&Process)) {
    let address = wait_for("the port file", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        fs::read_to_string(ports).ok()
    });
    let address = address.lines().next().expect("a line").parse().expect("an address");
    let mut client = Client::connect(address);
    client.echo(&vec![5; 1 << 20]);
    let client = client.leave_at_the_end();
    to(&process);
    assert_eq!(client.join().expect("a client"), b"");
    wait_for("its end", || process.has_ended().then_some(()));
    let outcome = process.finish().exits(0);
    assert!(outcome.stderr.contains(&format!("grade {grade}")), "{outcome:#?}");
    assert!(DEADLINE > outcome.took);
}

fn terminate(process: &Process) {
    signal(process.pid(), Signal::TERM);
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process"), signal).expect("a signal");
}

#[test]
fn it_needs_no_rights() {
    let mut args = NOBODY.to_vec();
    args.extend(["--bounding-set=-all", "--inh-caps=-all"]);
    if !can("setpriv", &[args.as_slice(), &["true"]].concat()) {
        return;
    }
    let root = Root::new();
    let ports = root.ports();
    let socket = format!("unix:{}/run/echo.sock", root.path());
    let mut command = Command::new("setpriv");
    command.args(&args).arg(root.0.join("netgrace"));
    command.args(["-l", "127.0.0.1:0", "-l", &socket, "--admin", "0", "--strict", "--port-file"]);
    command.arg(&ports).stdin(Stdio::null());
    serves_and_stops(Process::spawn(&mut command), &ports, "complete", terminate);
    assert!(!root.0.join("run/echo.sock").exists());
}

#[test]
fn it_needs_no_files() {
    let root = Root::new();
    if !can("chroot", &["--userspec=65534:65534", &root.path(), "/netgrace", "--version"]) {
        return;
    }
    let mut command = Command::new("chroot");
    command.args(["--userspec=65534:65534", &root.path(), "/netgrace", "-l", "127.0.0.1:0"]);
    command.args(["-l", "unix:/run/echo.sock", "--admin", "0"]);
    command.args(["--port-file", "/run/ports"]).stdin(Stdio::null());
    // Without /proc nobody knows whether SYN cookies were in use.
    serves_and_stops(Process::spawn(&mut command), &root.ports(), "lossless", terminate);
    let names = fs::read_dir(root.0.join("run")).expect("a directory").count();
    assert_eq!(names, 1, "only the port file");
}

#[test]
fn without_files_too_a_successor_carries_on() {
    let root = Root::new();
    if !can("chroot", &[&root.path(), "/netgrace", "--version"]) {
        return;
    }
    let mut command = Command::new("chroot");
    command.args([&root.path(), "/netgrace", "-l", "127.0.0.1:0", "--port-file", "/run/ports"]);
    let process = Process::spawn(command.stdin(Stdio::null()));
    serves_and_stops(process, &root.ports(), "complete", |process| {
        signal(process.pid(), Signal::USR2);
        process.wait_for_stderr("has closed its copies of the sockets");
        let log = process.stderr();
        let number = log.split("started process ").nth(1).and_then(|rest| rest.split(' ').next());
        signal(number.and_then(|number| number.parse().ok()).expect("a number"), Signal::TERM);
        process.wait_for_stderr("stopped by SIGTERM");
    });
}

#[test]
fn it_may_be_the_only_process_of_its_namespace() {
    let alone = ["--pid", "--fork", "--kill-child"];
    if !can("unshare", &[&alone[..], &["true"]].concat()) {
        return;
    }
    let directory = Directory::new();
    let ports = directory.join("ports");
    let mut command = Command::new("unshare");
    command.args(alone).arg(env!("CARGO_BIN_EXE_netgrace")).args(["-l", "127.0.0.1:0"]);
    command.arg("--port-file").arg(&ports).stdin(Stdio::null());
    serves_and_stops(Process::spawn(&mut command), &ports, "complete", |process| {
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let child = fs::read_to_string(children).expect("its children");
        let child = child.trim().parse().expect("one child");
        signal(child, Signal::USR2);
        process.wait_for_stderr("this is process 1");
        signal(child, Signal::TERM);
    });
}
