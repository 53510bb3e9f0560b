//! The virtual machine for a million connections: its scripts.
//!
//! `NETGRACE_GUEST=DIR cargo test --test it a_guest -- --nocapture` runs one with 2000 connections;
//! DIR has the package of a kernel, and MACHINE, PROGRAM and the like are passed on.

use std::env;
use std::fs;
use std::process::Command;

use super::blocks;
use super::script::script;
use crate::host::has;
use crate::support::{Directory, checked_report, netgrace, run};

const PAGE: &str = "limits.md";

#[test]
fn the_scripts_of_the_manual_are_sound() {
    if !has("bash") {
        return;
    }
    let directory = Directory::new();
    let path = directory.join("script");
    for page in ["limits.md", "processes.md", "distribution.md", "container.md"] {
        for text in blocks(page, "sh") {
            fs::write(&path, &text).expect("a script");
            let checked = Command::new("bash").arg("-n").arg(&path).output().expect("a shell");
            let complaints = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success() && complaints.is_empty(), "{complaints}\n{text}");
        }
    }
}

#[test]
fn the_guest_starts_both_programs_with_flags_that_exist() {
    let init = script(PAGE, "init:").replace("\\\n", " ");
    let lines = init.lines().filter(|line| line.starts_with("netgrace "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 2, "{init}");
    let directory = Directory::new();
    for line in lines {
        let pid = std::process::id().to_string();
        let given = [("$N", "100"), ("$PERIOD", "1m"), ("$AFTER", "1m"), ("$SERVER", &pid)];
        let end = line.find(['>', '&']).unwrap_or(line.len());
        let mut line = line[..end].replace('"', "");
        for (name, value) in given {
            line = line.replace(name, value);
        }
        let line = line.replace(" /report.json", " report.json");
        let args: Vec<&str> = line.split_whitespace().skip(1).chain(["--dry-run"]).collect();
        run(netgrace(&args).current_dir(directory.join(""))).exits(0);
    }
}

#[test]
fn a_guest_runs_where_one_is_asked_for() {
    let Some(kernel) = env::var_os("NETGRACE_GUEST") else { return };
    let directory = Directory::new();
    for entry in fs::read_dir(kernel).expect("a directory").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            fs::copy(entry.path(), directory.join(&entry.file_name().to_string_lossy()))
                .expect("a copy");
        }
    }
    for name in ["guest.sh", "init:"] {
        let path = directory.join(name.trim_end_matches(':'));
        fs::write(path, script(PAGE, name)).expect("a script");
    }
    let mut command = Command::new("sh");
    command.arg("guest.sh").current_dir(directory.join(""));
    command.env("N", "2000").env("MEMORY", "1G").env("PERIOD", "5s").env("AFTER", "5s");
    let output = command.output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    println!("{text}");
    assert!(text.contains("bench: exit code 0") && text.contains("serve: exit code 0"), "{text}");
    let report = text.lines().find(|line| line.starts_with("{\"schema\"")).expect("a report");
    assert_eq!(checked_report(report)["connections"]["open_at_stop"], 2000);
}
