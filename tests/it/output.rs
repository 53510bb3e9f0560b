//! Where flags write: files, descriptors that are open already, pipes, and what none of that may
//! do to a server.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Directory, Process, Server, checked_report, netgrace, netgrace_in_shell, run, wait_for, wrapped,
};

fn text(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether this machine lets a test have a namespace of its own.
fn can_mount() -> bool {
    let status = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    let can = status.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: no mount namespace");
    }
    can
}

#[test]
fn a_limit_of_file_sizes_ends_nothing() {
    let directory = Directory::new();
    let log = directory.join("log");
    let line = format!("ulimit -f 1; exec \"$@\" 2>{}", log.display());
    let spawn = |command: &mut Command| Process::spawn_as_is(command.stdout(Stdio::null()));
    // The port file is written within the limit.
    let server = Server::start_as(&["-vv"], |args| netgrace_in_shell(&line, args), spawn);
    for _ in 0..50 {
        server.connect().echo(b"far more lines than the file may have");
    }
    server.stop().exits(0);
    let log = fs::metadata(&log).expect("a log").len();
    assert!((400..=1024).contains(&log), "{log} bytes");

    let report = directory.join("report");
    fs::write(&report, "older").expect("writable");
    let line = "ulimit -f 0; exec \"$@\"";
    let args = ["-l", "127.0.0.1:0", "--report", report.to_str().expect("UTF-8")];
    let mut process = Process::spawn(&mut netgrace_in_shell(line, &args));
    process.wait_for_stderr("] ready");
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(1);
    assert!(outcome.stderr.contains("cannot write the report: File too large"), "{outcome:#?}");
    assert!(outcome.stderr.contains("grade complete"), "{outcome:#?}");
    assert_eq!(text(&report), "older");
}

#[test]
fn what_names_an_open_descriptor_is_written_to() {
    let names = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr", "/dev/fd/3", "-"];
    for name in names {
        let directory = Directory::new();
        let log = directory.join("log");
        fs::write(&log, "earlier\n").expect("writable");
        let inode = fs::metadata(&log).expect("there").ino();
        let line = format!("exec 3>>{0}; exec \"$@\" >>{0} 2>>{0}", log.display());
        let mut server = Process::spawn_as_is(&mut netgrace_in_shell(
            &line,
            &["-l", "127.0.0.1:0", "--report", name, "--port-file", name],
        ));
        wait_for("the log", || text(&log).contains("] ready").then_some(()));
        server.signal(Signal::TERM);
        server.finish().exits(0);
        let text = text(&log);
        assert_eq!(fs::metadata(&log).expect("there").ino(), inode, "{name}: replaced");
        assert!(text.starts_with("earlier\n"), "{name}: {text}");
        assert!(text.contains("\n127.0.0.1:"), "{name}: no port: {text}");
        let report = text.lines().find(|line| line.starts_with('{')).expect("a report");
        checked_report(report);
    }
}

#[test]
fn a_port_file_may_be_stdout() {
    let directory = Directory::new();
    let out = directory.join("out");
    let stdout = File::create(&out).expect("a file");
    let mut command = netgrace(&["-l", "127.0.0.1:0", "-l", "127.0.0.1:0", "--port-file", "-"]);
    let command = command.args(["--report", "-"]).current_dir(directory.join("."));
    let mut process = Process::spawn_as_is(command.stdout(stdout).stderr(Stdio::null()));
    let ports = wait_for("two lines", || Some(text(&out)).filter(|t| t.lines().count() == 2));
    for line in ports.lines() {
        crate::support::Client::connect(line.parse().expect("an address")).echo(b"here");
    }
    process.signal(Signal::TERM);
    process.finish().exits(0);
    assert_eq!(directory.names(), ["out"], "no file named -");
    assert_eq!(checked_report(text(&out).lines().nth(2).expect("a report"))["grade"], "complete");
}

/// As single files of a container are.
#[test]
fn a_mount_point_is_written_in_place() {
    if !can_mount() {
        return;
    }
    let directory = Directory::new();
    let (report, source) = (directory.join("report"), directory.join("source"));
    fs::write(&report, "").expect("writable");
    fs::write(&source, "older and longer ".repeat(1000)).expect("writable");
    let line = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let [from, to] = [&source, &report].map(|path| path.to_str().expect("UTF-8"));
    let options = ["-m", "sh", "-c", line, from, to];
    let args = ["-l", "127.0.0.1:0", "--report", to];
    let mut process = Process::spawn(&mut wrapped("unshare", &options, &args));
    process.wait_for_stderr("] ready");
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(0);
    assert!(!outcome.stderr.contains("cannot write"), "{outcome:#?}");
    checked_report(&text(&source));
    assert_eq!(directory.names(), ["report", "source"]);
}

#[test]
fn the_report_needs_no_further_descriptor() {
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let directory = Directory::new();
    let report = directory.join("report");
    fs::write(&report, "older").expect("writable");
    let args = ["--report", report.to_str().expect("UTF-8"), "--shutdown-timeout", "1s"];
    let mut server = Server::start(&args);
    server.connect().echo(b"counted");
    let pid = server.process.pid().to_string();
    let limit = Command::new("prlimit").args(["--pid", &pid, "--nofile=4"]).status();
    assert!(limit.expect("prlimit").success());
    server.process.signal(Signal::TERM);
    let outcome = server.finish();
    assert!(!outcome.stderr.contains("cannot write"), "{outcome:#?}");
    assert_eq!(checked_report(&text(&report))["bytes"]["read"], 7);
    assert_eq!(directory.names(), ["report"]);
}

/// A file that others read while it is written, and the name that is left when it is not.
#[test]
fn a_killed_server_leaves_no_file_behind() {
    let directory = Directory::new();
    let report = directory.join("report");
    let mut server = Server::start(&["--report", report.to_str().expect("UTF-8")]);
    server.process.signal(Signal::KILL);
    server.finish();
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn output_waits_for_its_reader() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a small pipe");
    let mut command = netgrace(&["serve", "--help"]);
    let process = Process::spawn_as_is(command.stdout(writer).stderr(Stdio::piped()));
    drop(command);
    // Longer than anything that gives up takes.
    std::thread::sleep(Duration::from_millis(600));
    let mut found = String::new();
    reader.read_to_string(&mut found).expect("UTF-8");
    process.finish().exits(0);
    assert_eq!(found, run(&mut netgrace(&["serve", "--help"])).stdout);
    assert!(found.len() > 4096 && found.ends_with('\n'), "{} bytes", found.len());
}

#[test]
fn a_report_goes_into_a_fifo() {
    let directory = Directory::new();
    let fifo = directory.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let path = fifo.to_str().expect("UTF-8");
    // Nobody reads it: that is known at the end only.
    let mut server = Server::start(&["--report", path]);
    server.process.signal(Signal::TERM);
    let outcome = server.finish().exits(1);
    assert!(outcome.stderr.contains("nobody reads this FIFO"), "{outcome:#?}");
    let server = Server::start(&["--report", path]);
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read_to_string(fifo)
    });
    server.connect().echo(b"x");
    server.stop().exits(0);
    checked_report(&reader.join().expect("a reader").expect("UTF-8"));
    assert!(fs::metadata(&fifo).expect("there").file_type().is_fifo());
}

/// A datagram socket shows where each write ends.
#[test]
fn a_line_of_the_log_is_one_write() {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    ours.set_nonblocking(true).expect("an option");
    let spawn = |command: &mut Command| Process::spawn_as_is(command.stderr(OwnedFd::from(theirs)));
    let server = Server::start_as(&["-v"], netgrace, spawn);
    server.connect().echo(b"to be logged");
    server.stop().exits(0);
    let (mut count, mut bytes) = (0, [0; 8192]);
    while let Ok(length) = ours.recv(&mut bytes) {
        let line = std::str::from_utf8(&bytes[..length]).expect("UTF-8");
        if length == 0 {
            break;
        }
        assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
        assert_eq!((&line[4..5], &line[23..25]), ("-", "Z "), "{line:?}");
        count += 1;
    }
    assert!(count > 5, "{count} lines");
}
