//! stdout and stderr: what is logged, and that no state of either can hurt the server.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Process, Server, netgrace, netgrace_in_shell};

#[test]
fn the_log_tells_the_start_and_the_end() {
    let server = Server::start(&["--backlog", "16"]);
    let address = server.address();
    let mut client = server.connect();
    client.echo(b"hello");
    let client = client.leave_at_the_end();
    let outcome = server.stop().exits(0);
    assert_eq!(client.join().expect("a client"), b"");
    assert_eq!(outcome.stdout, "");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let place = |part: &str| {
        let found = lines.iter().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no {part:?} in {outcome:#?}"))
    };
    let listening = place(&format!("listening on {address} (backlog 16)"));
    assert!(listening < place("open files: ") && place("open files: ") < place("] ready"));
    let last = lines.last().expect("a last line");
    for part in ["stopped by SIGTERM after ", ": 1 connection drained, 0 cut, 5 bytes echoed, 0"] {
        assert!(last.contains(part), "{last}");
    }
    assert!(last.ends_with("0 lost; grade complete"), "{last}");
}

#[test]
fn each_stop_signal_is_named_and_ends_with_zero() {
    for (signal, name) in
        [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")]
    {
        let mut server = Server::start(&["--report", "-"]);
        server.process.signal(signal);
        let outcome = server.finish().exits(0);
        assert_eq!(outcome.report()["cause"], name);
        assert!(outcome.stderr.contains(&format!("stopped by {name}")), "{outcome:#?}");
    }
}

#[test]
fn a_cut_is_told_and_exits_with_three() {
    let server =
        Server::start(&["--shutdown-timeout", "200ms", "--drain", "peer", "--report", "-"]);
    let mut client = server.connect();
    client.0.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
    // Never reads: the server ends up holding what nobody takes.
    while client.0.write(&[1; 65_536]).is_ok() {}
    let outcome = server.stop().exits(3);
    let report = outcome.report();
    assert_eq!((&report["grade"], &report["exit_code"]), (&"lossy".into(), &3.into()));
    assert_eq!(report["connections"]["forced_lossy"], 1);
    let unsent = report["bytes"]["unsent"].as_u64().expect("a number");
    assert!(unsent > 0);
    let last = outcome.stderr.lines().last().expect("a last line");
    assert!(last.contains("WARN") && last.contains(" 1 cut, "), "{last}");
    assert!(last.ends_with(&format!("{unsent} lost; grade lossy")), "{last}");
}

#[test]
fn strict_accepts_nothing_below_complete() {
    let patient = ["--report", "-", "--linger", "30s", "--shutdown-timeout", "1m"];
    for (strict, code) in [(&["--strict"][..], 3), (&[], 0)] {
        let mut server = Server::start(&[&patient[..], strict].concat());
        let mut client = server.connect();
        client.echo(b"in time");
        server.process.signal(Signal::TERM);
        assert_eq!(client.receive_to_end(), b"");
        client.send(b"too late");
        drop(client);
        let outcome = server.finish().exits(code);
        let report = outcome.report();
        assert_eq!((&report["grade"], &report["exit_code"]), (&"confirmed".into(), &code.into()));
        assert_eq!(report["bytes"]["late"], 8);
        assert_eq!(outcome.stderr.lines().last().expect("a line").contains("WARN"), code == 3);
    }
}

#[test]
fn levels_come_from_flags_or_else_from_the_environment() {
    let stderr = |args: &[&str], rust_log: &str| {
        let with_environment = |args: &[&str]| {
            let mut command = netgrace(args);
            command.env("RUST_LOG", rust_log);
            command
        };
        let server = Server::start_as(args, with_environment, Process::spawn);
        server.connect().echo(b"x");
        server.stop().exits(0).stderr
    };
    assert!(stderr(&[], "").contains("] ready"));
    assert_eq!(stderr(&["-qqq"], "trace"), "");
    assert_eq!(stderr(&[], "warn"), "");
    assert_eq!(stderr(&["-q"], "trace,nonsense"), "");
    assert!(stderr(&["-v"], "off").contains("DEBUG"));
    assert!(stderr(&[], "netgrace=debug").contains("DEBUG"));
    let odd = stderr(&[], "debgu,\u{1b}[1m=debug=x,info");
    assert_eq!(odd.matches("RUST_LOG: ").count(), 2, "{odd}");
    assert!(odd.contains("\"debgu\"") && odd.contains("\\u{1b}") && odd.contains("] ready"));
    assert!(stderr(&["-vv"], "").lines().all(|line| !line.contains("[mio")));
}

#[test]
fn sigusr1_and_stats_log_the_counters() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.echo(&[7; 1000]);
    server.process.signal(Signal::USR1);
    server.process.wait_for_stderr("running: 1 open, 1 accepted, 0 closed; 1000 bytes read, 1000");
    client.echo(b"still there");
    drop(client);
    server.stop().exits(0);

    let server = Server::start(&["--stats", "5ms"]);
    server.process.wait_for_stderr("running: 0 open, 0 accepted");
    server.connect().echo(b"x");
    server.process.wait_for_stderr("1 accepted");
    server.stop().exits(0);
}

#[test]
fn output_that_was_asked_for_may_be_cut_short_but_not_lost_in_silence() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    for args in [&["--help"][..], &["--dry-run"], &["man"]] {
        let mut command = netgrace(args);
        command.stdout(full.try_clone().expect("a clone")).stderr(Stdio::piped());
        let outcome = Process::spawn_as_is(&mut command).finish().exits(1);
        assert!(outcome.stderr.starts_with("error: cannot write to stdout: "), "{outcome:#?}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = netgrace(args);
        command.stdout(writer).stderr(Stdio::piped());
        assert_eq!(Process::spawn_as_is(&mut command).finish().exits(0).stderr, "");
    }
}

/// Echoes and stops, all the while logging much. A report that is lost is exit code 1.
#[track_caller]
fn serves_and_stops(server: Server, code: i32) {
    for _ in 0..50 {
        server.connect().echo(b"as if nothing was");
    }
    let mut open = server.connect();
    open.echo(b"open");
    let open = open.leave_at_the_end();
    let outcome = server.stop().exits(code);
    assert_eq!(open.join().expect("a client"), b"");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:#?}");
}

#[test]
fn stdout_and_stderr_may_be_closed() {
    for line in ["exec \"$@\" >&- 2>&-", "exec \"$@\" <&- >&- 2>&-"] {
        let spawn = |command: &mut Command| Process::spawn_as_is(command);
        let args = ["-vv", "--report", "-"];
        let server = Server::start_as(&args, |args| netgrace_in_shell(line, args), spawn);
        serves_and_stops(server, 0);
    }
}

#[test]
fn stdout_and_stderr_may_be_full() {
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let spawn = |command: &mut Command| Process::spawn_as_is(command.stdout(full()).stderr(full()));
    serves_and_stops(Server::start_as(&["-vv", "--report", "-"], netgrace, spawn), 1);
}

#[test]
fn stdout_and_stderr_may_be_broken_pipes() {
    let spawn = |command: &mut Command| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let other = writer.try_clone().expect("a clone");
        Process::spawn_as_is(command.stdout(writer).stderr(other))
    };
    serves_and_stops(Server::start_as(&["-vv", "--report", "-"], netgrace, spawn), 1);
}

#[test]
fn stdout_and_stderr_may_be_pipes_that_nobody_reads() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let spawn = |command: &mut Command| {
        let other = writer.try_clone().expect("a clone");
        Process::spawn_as_is(command.stdout(writer).stderr(other))
    };
    let server = Server::start_as(&["-vv", "--report", "-"], netgrace, spawn);
    // Far more lines than the 64 KiB of a pipe take.
    for _ in 0..1_000 {
        server.connect().echo(b"nobody reads");
    }
    serves_and_stops(server, 1);
    let mut log = Vec::new();
    reader.read_to_end(&mut log).expect("what was logged");
    let log = String::from_utf8(log).expect("UTF-8");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn lines_that_were_dropped_are_counted_once_there_is_room() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let spawn = |command: &mut Command| Process::spawn_as_is(command.stderr(writer));
    let mut server = Server::start_as(&["-vv"], netgrace, spawn);
    for _ in 0..1_000 {
        server.connect().echo(b"nobody reads");
    }
    let collector = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    for _ in 0..10 {
        server.connect().echo(b"somebody reads");
    }
    server.process.signal(Signal::TERM);
    server.finish().exits(0);
    let log = collector.join().expect("a reader").expect("UTF-8");
    assert!(log.contains(" log lines dropped: "), "{log}");
    let last = log.lines().last().expect("a last line");
    assert!(last.contains("stopped by SIGTERM") && last.ends_with("grade complete"), "{last}");
}
