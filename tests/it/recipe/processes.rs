//! Many processes on one port: the template unit, and the script that starts, replaces and stops
//! them.

use std::fs;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};

use super::script::{Bench, run};
use super::{start_of, unit, verify};
use crate::crowd::{Crowd, Target};
use crate::support::checked_report;

const PAGE: &str = "processes.md";

#[test]
fn the_template_unit_is_sound_and_hardened() {
    let service = unit(PAGE, "# netgrace@.service");
    let setting = start_of(&service);
    assert_eq!(setting("reuse-port"), "on");
    // Processes of different users cannot share a port.
    assert!(service.contains("\nUser="), "{service}");
    verify([("netgrace@.service", service)]);
}

/// Whatever a failed test left running.
struct Left<'a>(&'a Bench);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let names = fs::read_dir(self.0.place("state")).into_iter().flatten().flatten();
        for path in names.map(|entry| entry.path()) {
            let is_pid = path.extension().is_some_and(|extension| extension == "pid");
            let text = fs::read_to_string(&path).ok().filter(|_| is_pid);
            if let Some(pid) = text.and_then(|text| Pid::from_raw(text.trim().parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

#[test]
fn the_script_replaces_all_servers_under_load_and_adds_their_reports() {
    let bench = Bench::new();
    let left = Left(&bench);
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let act = |what: &str| {
        let mut command = bench.script(PAGE, "servers.sh", &[what]);
        command.env("N", "2").env("ADDRESS", address.to_string());
        run(command.env("DIR", bench.place("state"))).exits(0)
    };
    act("start");
    let crowd = Crowd::gather(&Target::Tcp(address));
    crowd.wait_for_served(20);
    act("replace");
    crowd.wait_for_served(20);
    let served = crowd.send_home();
    let merged = checked_report(&act("stop").stdout);
    assert_eq!((&merged["reports"], &merged["exit_code"]), (&4.into(), &0.into()));
    assert!(merged["connections"]["accepted"].as_u64() >= Some(served), "{served}: {merged:#}");
    drop(left);
}
