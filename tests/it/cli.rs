//! The command line: what it refuses, what it prints.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::support::{
    Client, Directory, Outcome, Process, Server, netgrace, netgrace_in_shell, run, wrapped,
};

/// A refusal: the exit code, nothing on stdout, and a first line on stderr with all the parts.
#[track_caller]
fn refused(outcome: Outcome, code: i32, parts: &[&str]) {
    let outcome = outcome.exits(code);
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    let error = outcome.stderr.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("no error line: {outcome:#?}"));
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    assert!(!outcome.stderr.contains(|c: char| c.is_control() && c != '\n'), "{outcome:#?}");
}

#[test]
fn nonsense_is_a_usage_error_that_names_the_flag_and_the_reason() {
    for (args, parts) in [
        (&["--frobnicate"][..], &["--frobnicate"][..]),
        (&["srve"], &["srve"]),
        (&["--idle-timeout", "10"], &["--idle-timeout", "did you mean 10s?"]),
        (&["--idle-timeout=-1s"], &["--idle-timeout", "-1s"]),
        (&["--idle-timeout", "NaN"], &["--idle-timeout", "NaN"]),
        (&["--shutdown-timeout", "1e300"], &["--shutdown-timeout", "1e300"]),
        (&["--shutdown-timeout", "584542046090y"], &["--shutdown-timeout", "unit"]),
        (&["--shutdown-timeout", "18446744073709551616s"], &["too large"]),
        (&["--shutdown-timeout", "off"], &["infinity"]),
        (&["--shutdown-timeout", "2s", "--lame-duck", "2s"], &["--lame-duck 2s", "2s"]),
        (&["--rcvbuf", "64k"], &["--rcvbuf", "64K"]),
        (&["--rcvbuf", "0"], &["--rcvbuf"]),
        (&["--sndbuf", "1000G"], &["--sndbuf"]),
        (&["--user-timeout", "1us"], &["--user-timeout"]),
        (&["--backlog", "0"], &["--backlog"]),
        (&["--backlog", "3000M"], &["--backlog"]),
        (&["--max-per-ip", "0"], &["--max-per-ip", "at least 1"]),
        (&["--max-held", "1K"], &["--max-held 1024", "65536"]),
        (&["--keepalive", "5ms"], &["--keepalive 5ms"]),
        (&["--admin", "unix:/x"], &["--admin", "the port must be"]),
        (&["--admin", "99999"], &["--admin", "65535"]),
        (&["-l", "unix:"], &["--listen", "needs a path"]),
        (&["--max-conns", "0"], &["--max-conns", "at least 1"]),
        (&["--max-conns", "1.5"], &["--max-conns", "whole number"]),
        (&["--nofile", "lots"], &["--nofile"]),
        (&["--drain", "never"], &["--drain", "never"]),
        (&["--listen", "127.0.0.1"], &["--listen", "did you mean 127.0.0.1:5388?"]),
        (&["--listen", "::1:80"], &["--listen", "[::1]:5388"]),
        (&["--listen", ":80"], &["--listen", "127.0.0.1:80"]),
        (&["--listen", "x\ny\u{1b}[31m:1"], &["--listen", "x\\ny\\u{1b}[31m:1"]),
        (&["--\u{1b}[31m\nx"], &["\\u{1b}[31m\\nx"]),
        (&["serve", "localhost:99999"], &["localhost:99999", "65535"]),
        (&["completions", "tcsh"], &["tcsh"]),
    ] {
        refused(run(&mut netgrace(args)), 2, parts);
    }
    let environment = [("\u{1b}[31m\nx", "\\u{1b}[31m"), ("127.0.0.1:0 :7", "NETGRACE_LISTEN")];
    for (value, part) in environment {
        refused(run(netgrace(&[]).env("NETGRACE_LISTEN", value)), 2, &[part]);
    }
}

#[test]
fn a_mistyped_subcommand_or_flag_gets_a_suggestion() {
    for (args, tip) in [("srve", "'serve'"), ("bnech", "'bench'"), ("--lingr", "'--linger'")] {
        let outcome = run(&mut netgrace(&[args])).exits(2);
        assert!(outcome.stderr.contains("tip:") && outcome.stderr.contains(tip), "{outcome:#?}");
    }
}

#[test]
fn what_cannot_be_done_is_one_line_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    // A label is 63 letters at most, which the resolver knows without asking anybody.
    let impossible = format!("{}:1", "x".repeat(64));
    for (args, parts) in [
        (&["-l", &address][..], &["cannot", &address, "in use", "port 0"][..]),
        (&["-l", "127.0.0.1:0", "-l", &address], &["cannot", &address]),
        (&["-l", "192.0.2.1:0"], &["192.0.2.1:0", "no interface"]),
        (&["-l", &impossible], &["cannot resolve xxx"]),
        (&["--nofile", "100000M"], &["100000000000", "hard limit"]),
        (&["--max-conns", "100000M"], &["cannot hold 100000000000", "--max-conns to"]),
        (&["--report", "/nonexistent/r"], &["--report", "/nonexistent/r", "No such file"]),
        (&["--report", "/"], &["--report", "directory"]),
        (&["--report", "/nonexistent/\n\u{1b}[1m"], &["\\n\\u{1b}[1m"]),
        (&["--port-file", "/proc/x"], &["--port-file", "/proc/x"]),
    ] {
        let mut args = args.to_vec();
        if !args.contains(&"-l") {
            args.extend(["-l", "127.0.0.1:0"]);
        }
        let outcome = run(&mut netgrace(&args));
        assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{outcome:#?}");
        refused(outcome, 1, parts);
    }
}

#[test]
fn a_limit_that_is_too_low_is_named_with_what_would_do() {
    let small = |args: &[&str]| run(&mut netgrace_in_shell("ulimit -n 64; exec \"$@\"", args));
    refused(small(&["-m", "60"]), 1, &["hold 60", "limit is 64", "--max-conns to", "LimitNOFILE"]);
    refused(small(&["--nofile", "65"]), 1, &["65", "hard limit is 64"]);
    let soft = "ulimit -S -n 64; exec \"$@\"";
    let args = ["-m", "60", "--nofile", "keep", "--dry-run"];
    refused(run(&mut netgrace_in_shell(soft, &args)), 1, &["--nofile max"]);
    let outcome = small(&["--dry-run"]).exits(0);
    let line = outcome.stdout.lines().find(|line| line.starts_with("max-conns")).expect("a line");
    let fits: u32 = line.split_whitespace().nth(1).expect("a value").parse().expect("a number");
    assert!((16..56).contains(&fits), "{line}");
}

#[test]
fn a_dry_run_prints_the_settings_and_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let directory = Directory::new();
    let ports = directory.join("ports");
    let ports = ports.to_str().expect("a UTF-8 path");
    let args = ["serve", &address, "-l", "[::1]:0", "--idle-timeout", "90s", "--dry-run"];
    let outcome = run(netgrace(&args).args(["--port-file", ports, "-m", "10"])).exits(0);
    assert_eq!(outcome.stderr, "");
    let find = |name: &str| {
        let line = outcome.stdout.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(' ')).map_or("", |(_, value)| value.trim()).to_owned()
    };
    assert_eq!(find("listen"), address);
    assert_eq!(find("idle-timeout"), "1m30s");
    assert_eq!(find("shutdown-timeout"), "8s");
    assert_eq!(find("drain"), "idle");
    assert_eq!(find("max-conns"), "10");
    assert_eq!(find("max-per-ip"), "off");
    let args = ["--dry-run", "--max-per-ip", "3", "--max-held", "1M", "--keepalive", "30s"];
    let more = run(netgrace(&args).args(["--admin", "9"])).exits(0).stdout;
    let values: Vec<(&str, &str)> =
        more.lines().filter_map(|line| line.split_once(' ')).map(|(n, v)| (n, v.trim())).collect();
    let expected =
        [("max-per-ip", "3"), ("max-held", "1MiB"), ("keepalive", "30s"), ("admin", "127.0.0.1:9")];
    for line in expected {
        assert!(values.contains(&line), "{line:?}: {more}");
    }
    assert!(directory.names().is_empty());
    refused(run(&mut netgrace(&["--dry-run", "--user-timeout", "1us"])), 2, &["--user-timeout"]);
    refused(run(&mut netgrace(&["--dry-run", "--report", "/"])), 1, &["--report"]);
}

#[test]
fn help_tells_every_flag_the_units_and_the_exit_codes() {
    for args in [&["--help"][..], &["serve", "--help"]] {
        let outcome = run(&mut netgrace(args)).exits(0);
        assert_eq!(outcome.stderr, "");
        for part in ["--listen", "--shutdown-timeout", "Exit codes:", "Units:", "Examples:"] {
            assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
        }
        assert!(outcome.stdout.lines().all(|line| line.len() <= 100), "{}", outcome.stdout);
    }
    let version = run(&mut netgrace(&["--version"])).exits(0).stdout;
    assert_eq!(version, format!("netgrace {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_manual_and_the_completions_come_from_the_same_definition() {
    for args in [&["man"][..], &["man", "serve"], &["man", "bench"]] {
        let page = run(&mut netgrace(args)).exits(0).stdout;
        assert!(page.contains(".TH"), "{page}");
    }
    let page = run(&mut netgrace(&["man"])).exits(0).stdout;
    assert!(page.contains("idle\\-grace") && page.contains("Exit codes"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut netgrace(&["completions", shell])).exits(0).stdout;
        assert!(script.contains("shutdown-timeout") && script.contains("bench"), "{script}");
        let directory = Directory::new();
        let path = directory.join("script");
        fs::write(&path, script).expect("a file");
        // A shell that is not installed cannot be asked.
        if let Ok(status) = Command::new(shell).arg("-n").arg(&path).status() {
            assert!(status.success(), "{shell} does not read its script");
        }
    }
}

#[test]
fn every_address_listens_in_the_order_given() {
    let mut args = vec!["serve", "127.0.0.2:0", "127.0.0.1:0", "-l", "127.0.0.3:0"];
    if TcpListener::bind("[::1]:0").is_ok() {
        args.extend(["-l", "[::1]:0"]);
    }
    let server = Server::start(&args);
    let hosts: Vec<String> = server.addresses().iter().map(|a| a.ip().to_string()).collect();
    let expected = ["127.0.0.2", "127.0.0.1", "127.0.0.3", "::1"];
    assert_eq!(hosts[..], expected[..hosts.len()]);
    for address in server.addresses() {
        Client::connect(*address).echo(b"here");
    }
    server.stop().exits(0);
}

#[test]
fn the_environment_gives_addresses_when_no_flag_does() {
    let with_environment = |args: &[&str]| {
        let mut command = netgrace(&args[2..]);
        command.env("NETGRACE_LISTEN", "127.0.0.1:0 127.0.0.2:0");
        command
    };
    // The first two arguments are the harness's own --listen.
    let server = Server::start_as(&["-l", "127.0.0.3:0"], with_environment, Process::spawn);
    assert_eq!(server.addresses().len(), 2);
    server.stop().exits(0);
    let server = Server::start_as(
        &["-l", "127.0.0.3:0"],
        |args| {
            let mut command = netgrace(args);
            command.env("NETGRACE_LISTEN", "nonsense");
            command
        },
        Process::spawn,
    );
    assert_eq!(server.address().ip().to_string(), "127.0.0.3");
    server.stop().exits(0);
}

#[test]
fn a_wildcard_address_is_warned_about() {
    let server = Server::start(&["-l", "0.0.0.0:0"]);
    server.process.wait_for_stderr("WARN");
    let outcome = server.stop().exits(0);
    assert!(outcome.stderr.contains("open to every network"), "{outcome:#?}");
    let server = Server::start(&[]);
    assert!(!server.stop().exits(0).stderr.contains("WARN"));
}

#[test]
fn the_last_of_repeated_flags_wins() {
    let args = ["--idle-grace", "5s", "--strict", "--drain", "peer", "-m", "3"];
    let again = ["--idle-grace", "50ms", "--strict", "--drain", "flush", "-m", "4"];
    let listen = ["-l", "127.0.0.1:1", "-l", "127.0.0.1:2", "--dry-run", "--dry-run"];
    for word in [&["serve"][..], &[]] {
        let args = [word, &args, &again, &listen].concat();
        let outcome = run(&mut netgrace(&args)).exits(0);
        for line in
            ["idle-grace        50ms\n", "drain             flush\n", "max-conns         4\n"]
        {
            assert!(outcome.stdout.contains(line), "{outcome:#?}");
        }
        for line in ["listen            127.0.0.1:1\n", "listen            127.0.0.1:2\n"] {
            assert!(outcome.stdout.contains(line), "{outcome:#?}");
        }
    }
    let args = ["bench", "-c", "5", "-c", "7", "--dry-run", "127.0.0.1:1", "-q", "-q"];
    let outcome = run(&mut netgrace(&args)).exits(0);
    assert!(outcome.stdout.contains(" 7\n"), "{outcome:#?}");
}

#[test]
fn a_name_is_all_its_addresses() {
    let server = Server::start_as(&["-l", "localhost:0"], netgrace, Process::spawn);
    let addresses = server.addresses().to_vec();
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(addresses.len(), 1 + usize::from(has_v6), "{addresses:?}");
    for address in &addresses {
        assert_eq!(address.port(), addresses[0].port());
        Client::connect(*address).echo(b"here");
    }
    let outcome = server.stop().exits(0);
    assert_eq!(outcome.stderr.contains("is skipped"), !has_v6, "{outcome:#?}");
    // One that is listened on already is no error.
    let port = addresses[0].port();
    let (name, literal) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    for args in [["-l", &name, "-l", &literal], ["-l", &literal, "-l", &name]] {
        let server = Server::start(&args);
        assert_eq!(server.addresses().len(), addresses.len());
        let outcome = server.stop().exits(0);
        assert!(outcome.stderr.contains("is listened on already"), "{outcome:#?}");
    }
}

#[test]
fn an_address_family_that_is_lacking_is_skipped() {
    let disable = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; ";
    let probe = Command::new("unshare").args(["-n", "sh", "-c", disable]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no network namespace");
        return;
    }
    let line = format!("{disable} exec \"$@\"");
    let args = ["-l", "localhost:0"];
    let command = |args: &[&str]| wrapped("unshare", &["-n", "sh", "-c", &line, "sh"], args);
    let server = Server::start_as(&args, command, Process::spawn);
    assert_eq!(server.addresses().len(), 1, "{:?}", server.addresses());
    assert!(server.address().is_ipv4());
    let outcome = server.stop().exits(0);
    assert!(outcome.stderr.contains("[::1]:") && outcome.stderr.contains("is skipped"));
    let outcome = run(&mut command(&["-l", "[::1]:0"])).exits(1);
    assert!(outcome.stderr.contains("cannot bind [::1]:0"), "{outcome:#?}");
}
