//! One run on many machines: each recipe with processes of this machine for machines.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::script::{Bench, run};
use super::{blocks, value};
use crate::host::has;
use crate::support::{Server, netgrace, wait_for};

const PAGE: &str = "distribution.md";

/// A host for each of which ssh starts a shell here.
const SSH: &str = "shift; exec sh -c \"$*\"\n";

/// Three tasks at a time, as srun starts them.
const SRUN: &str = r#"
export SLURM_NTASKS=3
for word; do
    case $word in
    --output=*) output=${word#*=}; shift ;;
    --error=*) error=${word#*=}; shift ;;
    *) break ;;
    esac
done
for task in 0 1 2; do
    to() { echo "$1" | sed "s/%t/$task/"; }
    SLURM_PROCID=$task "$@" > "$(to "$output")" 2> "$(to "$error")" &
done
wait
"#;

/// A cluster: what was applied goes to a file, the pods leave theirs, and the job is complete when
/// the test says so.
const KUBECTL: &str = r#"
case $1 in
apply) cat > applied.new; mv applied.new applied ;;
get) [ ! -e complete ] || echo 'SuccessCriteriaMet Complete' ;;
logs) cat "pod.${3##*=}" ;;
esac
"#;

/// Checks that the merged report is one of a complete run of all.
#[track_caller]
fn complete(mut command: Command, workers: usize, connections: usize) -> String {
    let outcome = run(&mut command).exits(0);
    for part in [
        format!("Workers    {workers} of {workers}, began within "),
        format!("Connected  {connections} of {connections} "),
        "Result     PASS".to_owned(),
    ] {
        assert!(outcome.stdout.contains(&part), "{part}: {outcome:#?}");
    }
    outcome.stdout
}

/// A server, and a script that loads it for half a second.
fn loaded(bench: &Bench, name: &str) -> (Server, Command) {
    let server = Server::start(&[]);
    let mut command = bench.script(PAGE, name, &[]);
    command.env("TARGET", server.address().to_string());
    command.env("LOAD", "-c 31 -r 310 -d 500ms").env("LEAD", "6");
    (server, command)
}

#[test]
fn by_ssh_each_host_has_its_share() {
    let bench = Bench::new();
    bench.install("ssh", SSH);
    let (server, mut command) = loaded(&bench, "load.sh");
    command.env("HOSTS", "one two three");
    complete(command, 3, 31);
    server.stop().exits(0);
}

#[test]
fn a_stop_under_the_load_of_all_hosts_is_audited() {
    let bench = Bench::new();
    bench.install("ssh", SSH);
    let (server, mut command) = loaded(&bench, "load.sh");
    command.env("HOSTS", "one two").env("LOAD", "-c 20 -r 400").env("AFTER", "1");
    command.env("STOP", format!("kill {}", server.process.pid()));
    let printed = complete(command, 2, 20);
    assert!(printed.contains("20 clean, 0 lost, 0 reset, 0 cut"), "{printed}");
    server.finish().exits(0);
}

#[test]
fn a_host_that_fails_makes_the_run_incomplete() {
    let bench = Bench::new();
    bench.install("ssh", &format!("[ \"$1\" != two ] || exit 255\n{SSH}"));
    let (server, mut command) = loaded(&bench, "load.sh");
    let outcome = run(command.env("HOSTS", "one two three"));
    assert!(!outcome.status.success(), "{outcome:#?}");
    assert!(outcome.stderr.contains("worker.1.json"), "{outcome:#?}");
    server.stop().exits(0);
}

#[test]
fn by_gnu_parallel_each_host_has_its_share() {
    if !has("parallel") {
        eprintln!("skipped: GNU parallel is not installed");
        return;
    }
    let bench = Bench::new();
    bench.install("ssh", SSH);
    let (server, mut command) = loaded(&bench, "parallel.sh");
    command.env("HOSTS", "one two three").env("HOME", bench.place(""));
    complete(command, 3, 31);
    server.stop().exits(0);
}

#[test]
fn by_slurm_each_task_has_its_share() {
    let bench = Bench::new();
    bench.install("srun", SRUN);
    let (server, command) = loaded(&bench, "load.sbatch");
    complete(command, 3, 31);
    server.stop().exits(0);
}

/// The pods of a job that was applied.
#[track_caller]
fn pods(bench: &Bench, server: &Server, workers: usize) -> Vec<Child> {
    let applied = wait_for("the job", || fs::read_to_string(bench.place("applied")).ok());
    let start = value(&applied, "- {name: START, value:").trim_matches(['"', '}']);
    let command: Vec<String> = serde_json::from_str(value(&applied, "command:")).expect("a list");
    let pod = |index: usize| {
        let expand = |arg: &String| match arg.as_str() {
            "$(START)" => start.to_owned(),
            "target:5388" => server.address().to_string(),
            other => other.to_owned(),
        };
        let args: Vec<String> = command.iter().skip(1).map(expand).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // The last value of a flag counts.
        let less = ["-c", "40", "-r", "400", "-d", "500ms"];
        let mut command = netgrace(&[&args[..], &less].concat());
        let log = fs::File::create(bench.place(&format!("pod.{index}"))).expect("a log");
        command.stderr(log.try_clone().expect("a clone")).stdout(log).stdin(Stdio::null());
        command.env("JOB_COMPLETION_INDEX", index.to_string()).spawn().expect("a pod")
    };
    (0..workers).map(pod).collect()
}

#[test]
fn by_an_indexed_job_each_pod_has_its_share() {
    let [job] = &blocks(PAGE, "yaml")[..] else { panic!("one job") };
    for part in ["clusterIP: None", "completionMode: Indexed", "restartPolicy: Never"] {
        assert!(job.contains(part), "{part}");
    }
    assert_eq!(value(job, "backoffLimit:"), "0");
    let workers: usize = value(job, "completions:").parse().expect("a number");
    assert_eq!(value(job, "parallelism:"), workers.to_string());
    assert!(job.contains(&format!("\"auto/{workers}\"")), "{job}");
    let bench = Bench::new();
    bench.install("kubectl", KUBECTL);
    fs::write(bench.place("load.yaml"), job).expect("a job");
    let (server, mut command) = loaded(&bench, "job.sh");
    command.env("LEAD", "8");
    thread::scope(|scope| {
        scope.spawn(|| {
            for mut pod in pods(&bench, &server, workers) {
                assert!(pod.wait().expect("a pod").success());
            }
            fs::write(bench.place("complete"), "").expect("a file");
        });
        complete(command, workers, 40);
    });
    server.stop().exits(0);
}

#[test]
fn the_flags_on_the_page_are_those_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/distribution.md");
    let page = fs::read_to_string(path).expect("a page");
    let help = run(&mut netgrace(&["bench", "--help"])).exits(0).stdout;
    let quoted = page.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let flags: Vec<&str> = quoted.filter(|text| text.starts_with("--")).collect();
    assert!(flags.len() > 10, "{flags:?}");
    for flag in flags {
        let flag = flag.split([' ', '=']).next().expect("a flag");
        let known = [format!("{flag} <"), format!("{flag}\n")];
        assert!(known.iter().any(|known| help.contains(known)), "{flag}");
    }
}
