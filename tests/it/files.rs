//! The files that the server writes: the bound addresses and the report.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Client, Directory, Process, Server, checked_report, netgrace, run, wait_for};

#[test]
fn the_port_file_appears_whole_and_alone() {
    for _ in 0..10 {
        let directory = Directory::new();
        let path = directory.join("ports");
        let mut command = netgrace(&["-l", "127.0.0.1:0", "-l", "127.0.0.1:0", "--port-file"]);
        let mut process = Process::spawn(command.arg(&path));
        let text = wait_for("the port file", || fs::read_to_string(&path).ok());
        let addresses: Vec<_> = text.lines().map(|line| line.parse().expect("address")).collect();
        assert!(addresses.len() == 2 && text.ends_with('\n'), "{text:?}");
        // All are listening already.
        addresses.into_iter().for_each(|address| Client::connect(address).echo(b"now"));
        assert_eq!(directory.names(), ["ports"]);
        process.signal(Signal::TERM);
        process.finish().exits(0);
        assert_eq!(directory.names(), ["ports"]);
    }
}

#[test]
fn a_start_that_fails_leaves_no_file_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let directory = Directory::new();
    let ports = directory.join("ports");
    let report = directory.join("report");
    let mut command = netgrace(&["-l", "127.0.0.1:0", "-l", &address]);
    run(command.arg("--port-file").arg(ports).arg("--report").arg(report)).exits(1);
    assert!(directory.names().is_empty(), "{:?}", directory.names());
}

#[test]
fn the_report_is_written_whole_to_its_file() {
    let directory = Directory::new();
    let path = directory.join("report.json");
    fs::write(&path, "before").expect("a file");
    let server = Server::start(&["--report", path.to_str().expect("UTF-8"), "--strict"]);
    let mut client = server.connect();
    client.echo(&[1; 100_000]);
    assert_eq!(fs::read(&path).expect("a file"), b"before");
    let client = client.leave_at_the_end();
    let outcome = server.stop().exits(0);
    assert_eq!(client.join().expect("a client"), b"");
    assert_eq!(outcome.stdout, "");
    assert_eq!(directory.names(), ["report.json"]);
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text:?}");
    let report = checked_report(&text);
    assert_eq!(report["grade"], "complete");
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["bytes"]["written"], 100_000);
    assert_eq!(report["connections"]["open_at_stop"], 1);
    assert_eq!(report["connections"]["backlog_left"], 0);
}

#[test]
fn a_report_that_cannot_be_written_at_the_end_is_told_and_no_success() {
    let directory = Directory::new();
    let inner = directory.join("inner");
    fs::create_dir(&inner).expect("a directory");
    let path = inner.join("report");
    let server = Server::start(&["--report", path.to_str().expect("UTF-8")]);
    server.connect().echo(b"x");
    fs::remove_dir(&inner).expect("an empty directory");
    let outcome = server.stop().exits(1);
    assert!(outcome.stderr.contains("cannot write the report: "), "{outcome:#?}");
    assert!(outcome.stderr.contains("grade complete"), "{outcome:#?}");
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let spawn =
        |command: &mut Command| Process::spawn_as_is(command.stdout(full).stderr(Stdio::piped()));
    let outcome = Server::start_as(&["--report", "-"], netgrace, spawn).stop().exits(1);
    assert!(outcome.stderr.contains("cannot write the report: "), "{outcome:#?}");
}
