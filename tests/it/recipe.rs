//! The recipes of the manual, `src/manual`: that they work.

mod distribution;
mod machine;
mod processes;
mod script;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Directory, netgrace, run};

/// The blocks of this language on a page, at least one.
#[track_caller]
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual").join(page);
    let text = fs::read_to_string(path).expect("a page of the manual");
    let start = format!("```{language}\n");
    let blocks = text.split(&start).skip(1);
    let blocks: Vec<String> =
        blocks.map(|rest| rest.split("\n```").next().expect("an end").to_owned()).collect();
    assert!(!blocks.is_empty(), "{page} has no {language} block");
    blocks
}

/// The one unit of a page that begins with this line.
#[track_caller]
fn unit(page: &str, first: &str) -> String {
    let mut units = blocks(page, "ini").into_iter();
    units.find(|unit| unit.lines().next() == Some(first)).expect("a unit")
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.trim().strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key} in {text}")).trim()
}

/// What `--dry-run` says of these arguments, as a whole and for one name.
#[track_caller]
fn settings(args: &[String]) -> impl Fn(&str) -> String + use<> {
    let outcome = run(netgrace(&[]).args(args).arg("--dry-run")).exits(0);
    move |name| {
        let line = outcome.stdout.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name}"))
            .split_once(' ')
            .expect("a value")
            .1
            .trim()
            .into()
    }
}

#[track_caller]
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').and_then(|text| text.parse().ok()).expect("whole seconds")
}

#[test]
fn the_readme_is_read_to_its_end_and_its_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    assert!(readme.lines().count() <= 220, "{} lines", readme.lines().count());
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links: Vec<&str> = links.collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(root.join(link).exists(), "{link}");
    }
}

#[test]
fn the_units_are_sound_and_hardened() {
    let page = "systemd.md";
    let (service, socket) = (unit(page, "# netgrace.service"), unit(page, "# netgrace.socket"));
    let setting = start_of(&service);
    assert_eq!(setting("listen"), "systemd");
    verify([("netgrace.service", service), ("netgrace.socket", socket)]);
}

/// The settings with which a service starts the program.
#[track_caller]
fn start_of(service: &str) -> impl Fn(&str) -> String + use<> {
    let start = value(service, "ExecStart=");
    let args: Vec<String> = start.split(' ').skip(1).map(str::to_owned).collect();
    let setting = settings(&args);
    assert!(seconds(&setting("shutdown-timeout")) < seconds(value(service, "TimeoutStopSec=")));
    setting
}

/// Has systemd check units, the first of which is a service, where it is installed.
#[track_caller]
fn verify<const UNITS: usize>(units: [(&str, String); UNITS]) {
    let directory = Directory::new();
    let paths = units.map(|(name, text)| {
        let path = directory.join(name);
        let text = text.replace("/usr/bin/netgrace", env!("CARGO_BIN_EXE_netgrace"));
        fs::write(&path, text).expect("a unit");
        path
    });
    let analyze = |args: &[&str], paths: &[std::path::PathBuf]| {
        Command::new("systemd-analyze").args(args).args(paths).output()
    };
    let Ok(version) = analyze(&["--version"], &[]) else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    assert!(version.status.success());
    let verified = analyze(&["verify", "--man=no"], &paths).expect("systemd-analyze");
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && complaints.is_empty(), "{complaints}");
    let args = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let secure = analyze(&args, &paths[..1]).expect("systemd-analyze");
    assert!(secure.status.success(), "{}", String::from_utf8_lossy(&secure.stdout));
}

#[test]
fn the_container_starts_it_without_a_shell() {
    let [file] = &blocks("container.md", "dockerfile")[..] else { panic!("one Dockerfile") };
    let list = |key| -> Vec<String> { serde_json::from_str(value(file, key)).expect("a list") };
    assert_eq!(list("ENTRYPOINT"), ["/netgrace"]);
    let setting = settings(&list("CMD"));
    assert_eq!(setting("listen"), "0.0.0.0:5388");
    // What a container engine waits before it kills.
    assert!(seconds(&setting("shutdown-timeout")) < 10);
    assert_eq!(value(file, "STOPSIGNAL"), "SIGTERM");
}

#[test]
fn the_pod_has_the_time_that_a_stop_takes() {
    let [pod] = &blocks("kubernetes.md", "yaml")[..] else { panic!("one pod") };
    let args: Vec<String> = serde_json::from_str(value(pod, "args:")).expect("a list");
    let setting = settings(&args);
    let budget = seconds(&setting("shutdown-timeout"));
    let grace: u64 = value(pod, "terminationGracePeriodSeconds:").parse().expect("a number");
    assert!(budget < grace);
    let period: u64 = value(pod, "periodSeconds:").parse().expect("a number");
    assert!(seconds(&setting("lame-duck")) > 2 * period);
    let port = setting("admin").rsplit(':').next().expect("a port").to_owned();
    assert_eq!(pod.matches(&format!("port: {port}}}")).count(), 2);
}

#[test]
fn the_limits_for_ten_thousand_suffice() {
    let line = "ulimit -n 10240 2>/dev/null || exit 0; exec \"$@\"";
    let args = ["--dry-run", "-m", "10k", "--admin", "9090"];
    run(&mut crate::support::netgrace_in_shell(line, &args)).exits(0);
}
