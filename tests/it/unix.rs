//! Unix sockets: the echo, the stop, and whose file it is.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::process::Signal;

use crate::support::{DEADLINE, Directory, Outcome, Process, netgrace, run, wait_for};

/// The program listening on `path`, ready.
#[track_caller]
fn start(path: &Path, args: &[&str]) -> Process {
    let ports = path.with_extension("ports");
    let address = format!("unix:{}", path.display());
    let mut command = netgrace(&["-l", &address]);
    let mut process = Process::spawn(command.args(args).arg("--port-file").arg(&ports));
    let text = wait_for("the port file", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        fs::read_to_string(&ports).ok()
    });
    assert_eq!(text, format!("{address}\n"));
    fs::remove_file(&ports).expect("a port file");
    process
}

#[track_caller]
fn stop(mut process: Process) -> Outcome {
    process.signal(Signal::TERM);
    process.finish().exits(0)
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let address = format!("unix:{}", path.display());
    let outcome = run(&mut netgrace(&["-l", &address])).exits(1);
    let error = outcome.stderr.lines().find(|line| line.starts_with("error: ")).expect("an error");
    for part in parts.iter().chain(&["cannot listen on unix:"]) {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[track_caller]
fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    stream.set_write_timeout(Some(DEADLINE)).expect("an option");
    stream
}

#[track_caller]
fn echo(stream: &mut UnixStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("bytes sent");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("bytes received");
    assert!(back == bytes, "other bytes came back");
}

#[test]
fn a_unix_socket_echoes_drains_and_leaves_no_file() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    let mut process = start(&path, &["--report", "-", "--strict"]);
    process.wait_for_stderr(&format!("listening on unix:{} (backlog", path.display()));
    let found = fs::symlink_metadata(&path).expect("a file");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(directory.names(), ["echo.sock"]);
    let mut client = connect(&path);
    echo(&mut client, b"hello");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut writer = client.try_clone().expect("a clone");
    let sent = large.clone();
    let writer = std::thread::spawn(move || writer.write_all(&sent));
    let mut back = vec![0; large.len()];
    client.read_exact(&mut back).expect("bytes received");
    writer.join().expect("a writer").expect("bytes sent");
    assert!(back == large);
    process.signal(Signal::TERM);
    assert_eq!(client.read_to_end(&mut Vec::new()).expect("an end of stream"), 0);
    drop(client);
    let report = process.finish().exits(0).report();
    assert_eq!(report["connections"]["drained"], 1);
    assert_eq!(report["bytes"]["written"], 3_000_005);
    assert!(directory.names().is_empty());
}

#[test]
fn clients_that_wait_in_the_queue_are_served_by_the_stop() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    let mut process = start(&path, &["--report", "-", "--strict"]);
    process.signal(Signal::STOP);
    let mut clients: Vec<UnixStream> = (0..300).map(|_| connect(&path)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"waiting").expect("bytes sent"));
    process.signal(Signal::TERM);
    process.signal(Signal::CONT);
    for client in &mut clients {
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("an end of stream, not a reset");
        assert_eq!(back, b"waiting");
    }
    drop(clients);
    let report = process.finish().exits(0).report();
    assert_eq!(report["connections"]["accepted"], 300);
    assert_eq!(report["connections"]["backlog_left"], 0);
    assert_eq!(report["grade"], "complete");
}

#[test]
fn a_client_is_served_or_refused_at_a_stop_never_cut() {
    for _ in 0..10 {
        let directory = Directory::new();
        let path = directory.join("echo.sock");
        let mut process = start(&path, &["--strict"]);
        let address = path.clone();
        let storm = std::thread::spawn(move || {
            let mut served = 0;
            // Until it is refused, or the file is gone.
            while let Ok(mut stream) = UnixStream::connect(&address) {
                stream.set_read_timeout(Some(DEADLINE)).expect("an option");
                stream.write_all(b"x").expect("a served client can send");
                stream.shutdown(std::net::Shutdown::Write).expect("a connection");
                let mut back = Vec::new();
                stream.read_to_end(&mut back).expect("a served client sees an orderly end");
                assert_eq!(back, b"x");
                served += 1;
            }
            served
        });
        // Something has been served, and the storm goes on.
        connect(&path).shutdown(std::net::Shutdown::Both).expect("a connection");
        process.signal(Signal::TERM);
        process.finish().exits(0);
        let _served: u32 = storm.join().expect("no client was cut");
    }
}

#[test]
fn a_file_left_by_a_killed_server_is_replaced() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    let mut killed = start(&path, &[]);
    killed.signal(Signal::KILL);
    wait_for("its end", || killed.has_ended().then_some(()));
    let stale = fs::symlink_metadata(&path).expect("a file left behind");
    let process = start(&path, &[]);
    let fresh = fs::symlink_metadata(&path).expect("a file");
    assert_ne!((stale.ino(), stale.mtime_nsec()), (fresh.ino(), fresh.mtime_nsec()));
    assert_eq!(directory.names(), ["echo.sock"]);
    echo(&mut connect(&path), b"again");
    stop(process);
    assert!(directory.names().is_empty());
}

#[test]
fn a_second_instance_is_refused_and_harms_nothing() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    let process = start(&path, &[]);
    let mut client = connect(&path);
    refused(&path, &["in use", "another path"]);
    echo(&mut client, b"still here");
    echo(&mut connect(&path), b"and for others");
    drop(client);
    stop(process);
    // Somebody who is not netgrace, and whose queue is full.
    let other = UnixListener::bind(&path).expect("a socket");
    refused(&path, &["in use"]);
    drop(other);
}

#[test]
fn of_many_that_start_at_once_one_gets_the_path() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    drop(UnixListener::bind(&path).expect("a stale file"));
    let address = format!("unix:{}", path.display());
    let all: Vec<Process> =
        (0..6).map(|_| Process::spawn(&mut netgrace(&["-l", &address]))).collect();
    let mut serving = Vec::new();
    for mut process in all {
        let ready = wait_for("it serves or ends", || {
            let ended = process.has_ended();
            (ended || process.stderr().contains("] ready")).then_some(!ended)
        });
        if ready {
            serving.push(process);
        } else {
            assert!(process.finish().exits(1).stderr.contains("in use"));
        }
    }
    assert_eq!(serving.len(), 1);
    echo(&mut connect(&path), b"the one");
    serving.into_iter().for_each(|process| drop(stop(process)));
    assert!(directory.names().is_empty());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let directory = Directory::new();
    let path = directory.join("here");
    fs::write(&path, "precious").expect("a file");
    refused(&path, &["no socket"]);
    assert_eq!(fs::read(&path).expect("a file"), b"precious");
    fs::remove_file(&path).expect("a file");
    fs::create_dir(&path).expect("a directory");
    refused(&path, &["a directory"]);
    refused(&directory.join("missing/echo.sock"), &["its directory must exist"]);
    refused(&directory.join(&"x".repeat(120)), &["shorter path"]);
    assert_eq!(directory.names(), ["here"]);
}

#[test]
fn a_symbolic_link_at_the_path_is_neither_followed_nor_removed() {
    let directory = Directory::new();
    let (path, target) = (directory.join("link"), directory.join("target"));
    symlink(&target, &path).expect("a link");
    refused(&path, &["symbolic link"]);
    drop(UnixListener::bind(&target).expect("a stale socket"));
    refused(&path, &["symbolic link"]);
    assert_eq!(directory.names(), ["link", "target"]);
}

#[test]
fn a_file_that_is_somebody_elses_by_now_stays() {
    let directory = Directory::new();
    let path = directory.join("echo.sock");
    let process = start(&path, &[]);
    fs::remove_file(&path).expect("the file of the server");
    let successor = start(&path, &[]);
    stop(process);
    assert_eq!(directory.names(), ["echo.sock"]);
    echo(&mut connect(&path), b"the successor");
    stop(successor);
    assert!(directory.names().is_empty());
}

#[cfg(target_os = "linux")]
mod without_a_file {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    fn name(test: &str) -> String {
        format!("netgrace-it {test} {}", std::process::id())
    }

    #[track_caller]
    fn connect(name: &str) -> UnixStream {
        let address = SocketAddr::from_abstract_name(name).expect("an address");
        let stream = UnixStream::connect_addr(&address).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream
    }

    #[test]
    fn an_abstract_socket_is_served_and_stopped() {
        let (directory, name) = (Directory::new(), name("served"));
        let (ports, address) = (directory.join("ports"), format!("unix:@{name}"));
        let mut command = netgrace(&["-l", &address, "--port-file"]);
        let command = command.arg(&ports).current_dir(directory.join("."));
        let mut process = Process::spawn(command);
        let text = wait_for("the port file", || fs::read_to_string(&ports).ok());
        assert_eq!(text, format!("{address}\n"));
        process.wait_for_stderr(&format!("listening on {address}"));
        process.wait_for_stderr("open to every user");
        assert_eq!(directory.names(), ["ports"], "no file");
        let mut client = connect(&name);
        echo(&mut client, b"over no file");
        let second = run(&mut netgrace(&["-l", &address])).exits(1);
        assert!(second.stderr.contains("a server listens there"), "{second:#?}");
        let mut waiting = connect(&name);
        waiting.write_all(b"in the queue").expect("sent");
        process.signal(Signal::TERM);
        let mut back = Vec::new();
        waiting.read_to_end(&mut back).expect("an end");
        assert_eq!(back, b"in the queue");
        let outcome = process.finish().exits(0);
        assert!(outcome.stderr.contains("grade complete"), "{outcome:#?}");
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let address = format!("unix:@{}", "n".repeat(108));
        let outcome = run(&mut netgrace(&["-l", &address])).exits(1);
        assert!(outcome.stderr.contains("choose a shorter name"), "{outcome:#?}");
    }
}
