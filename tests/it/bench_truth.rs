//! The load generator against servers that lie: it finds out, says so, and counts right.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use super::liar::{self, Liar};
use super::schema;
use super::support::{Directory, Outcome, netgrace, run};

/// Runs bench with these arguments; returns what it printed and its JSON.
#[track_caller]
pub fn bench(args: &[&str]) -> (Outcome, Value) {
    let directory = Directory::new();
    let path = directory.join("result.json");
    let mut all = vec!["bench", "--no-progress", "--json", path.to_str().expect("UTF-8")];
    all.extend(args);
    let outcome = run(&mut netgrace(&all));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("no JSON: {error}\n{outcome:#?}"));
    let result: Value = serde_json::from_str(&text).expect("valid JSON");
    let code = result.pointer("/outcome/exit_code").and_then(Value::as_i64);
    assert_eq!(code, outcome.status.code().map(i64::from), "{outcome:#?}");
    schema::check(&result);
    sums(&result);
    (outcome, result)
}

/// What holds for every run.
#[track_caller]
fn sums(result: &Value) {
    let load = |name: &str| number(result, &format!("/load/{name}"));
    let back = load("returned_bytes") - load("extra_bytes");
    let verified = result.pointer("/load/verified_bytes").expect("the key is there").as_u64();
    let wrong = result.pointer("/load/wrong_bytes").expect("the key is there").as_u64();
    let verified = verified.unwrap_or(back);
    assert_eq!(load("sent_bytes"), verified + load("missing_bytes"), "sent = verified + missing");
    assert_eq!(back, verified + wrong.unwrap_or(0), "returned = verified + wrong + extra");
    assert_eq!(load("messages"), number(result, "/latency_ns/count"));
    let histogram = result.pointer("/latency_ns/histogram").and_then(Value::as_array);
    let count = histogram.expect("a histogram").iter().map(|bucket| bucket[1].as_u64().unwrap());
    assert_eq!(count.sum::<u64>(), load("messages"));
}

#[track_caller]
pub fn number(result: &Value, path: &str) -> u64 {
    let value = result.pointer(path).unwrap_or_else(|| panic!("no {path} in {result}"));
    value.as_u64().unwrap_or_else(|| panic!("{path} is {value}"))
}

/// A short run of ten connections against a liar.
#[track_caller]
fn short(liar: &Liar, args: &[&str]) -> (Outcome, Value) {
    let target = liar.target();
    let mut all = vec!["-c", "10", "-d", "700ms", "--warmup", "100ms", "--settle", "300ms"];
    all.extend(args);
    all.push(&target);
    bench(&all)
}

#[test]
fn an_honest_server_passes() {
    let liar = liar::honest();
    let (outcome, result) = short(&liar, &["-s", "1B..8K", "-p", "3"]);
    let outcome = outcome.exits(0);
    assert!(outcome.stdout.contains("Connected  10 of 10 "), "{}", outcome.stdout);
    assert!(outcome.stdout.ends_with("Result     PASS\n"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("stalls are under-counted; use --rate"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/load/missing_bytes"), 0);
    assert!(number(&result, "/load/messages") > 0);
}

#[test]
fn one_flipped_byte_in_a_mebibyte_is_found() {
    let liar = liar::flips();
    let (outcome, result) = short(&liar, &["-s", "16K"]);
    outcome.exits(3);
    let wrong = number(&result, "/load/wrong_bytes");
    assert!(wrong > 0 && wrong <= number(&result, "/load/sent_bytes") >> 20, "{wrong}");
    assert_eq!(number(&result, "/load/missing_bytes"), wrong);
    assert_eq!(number(&result, "/load/extra_bytes"), 0);
    assert_eq!(number(&result, "/load/foreign_bytes"), 0);
}

#[test]
fn dropped_bytes_are_missing() {
    let liar = liar::drops();
    let (outcome, result) = short(&liar, &["-s", "4K", "-p", "8"]);
    outcome.exits(3);
    let missing = number(&result, "/load/missing_bytes");
    assert!(missing > 0 && missing < number(&result, "/load/sent_bytes") / 1000, "{missing}");
    assert_eq!(number(&result, "/load/extra_bytes"), 0);
}

#[test]
fn repeated_bytes_are_extra() {
    let liar = liar::repeats();
    let (outcome, result) = short(&liar, &["-s", "4K", "-p", "8"]);
    outcome.exits(3);
    let extra = number(&result, "/load/extra_bytes");
    assert!(extra > 0, "{result}");
    assert!(extra <= 20 * (1 + (number(&result, "/load/sent_bytes") >> 20)), "{extra}");
    assert_eq!(number(&result, "/load/wrong_bytes"), 0);
}

#[test]
fn swapped_connections_are_told_from_noise() {
    let liar = liar::swaps();
    let target = liar.target();
    let args = ["-c", "2", "-d", "500ms", "--warmup", "0s", "--settle", "300ms", &target];
    let (outcome, result) = bench(&args);
    outcome.exits(3);
    let wrong = number(&result, "/load/wrong_bytes");
    assert!(wrong > 0, "{result}");
    assert!(number(&result, "/load/foreign_bytes") * 10 >= wrong * 9, "{result}");
}

#[test]
fn bytes_that_nobody_sent_are_extra() {
    let liar = liar::invents();
    let (outcome, result) = short(&liar, &[]);
    outcome.exits(3);
    assert_eq!(number(&result, "/load/extra_bytes"), 1000);
}

#[test]
fn a_server_that_leaves_early_loses_a_connection() {
    let liar = liar::leaves_early();
    let (outcome, result) = short(&liar, &[]);
    outcome.exits(3);
    let ended = number(&result, "/errors/eof_early") + number(&result, "/errors/reset");
    assert_eq!(ended, 1, "{result}");
}

#[test]
fn a_reset_is_counted_as_such() {
    let liar = liar::resets();
    let (outcome, result) = short(&liar, &[]);
    outcome.exits(3);
    assert_eq!(number(&result, "/errors/reset"), 1);
    assert_eq!(number(&result, "/errors/eof_early"), 0);
}

#[test]
fn a_stall_shows_in_p99_and_max_under_a_rate() {
    // 1000 messages of 100 bytes a second: the stall begins 0.4 s into the measured time.
    let liar = liar::stalls(50_000, Duration::from_secs(2));
    let target = liar.target();
    let args = ["-c", "10", "-r", "1k", "-s", "100B", "-d", "4s", "--warmup", "100ms"];
    let (outcome, result) = bench(&[&args[..], &[target.as_str()]].concat());
    outcome.exits(0);
    assert_eq!(result["latency_from"], "schedule");
    let max = number(&result, "/latency_ns/max");
    assert!(max >= 1_900_000_000, "max {max}");
    let of = |place: &str, percent: u64| {
        let list = result.pointer(place).and_then(Value::as_array).expect("percentiles");
        let found = list.iter().find(|entry| entry[0] == percent).expect("the percentile");
        found[1].as_u64().expect("a value")
    };
    let p99 = of("/latency_ns/percentiles", 99);
    assert!(p99 >= 1_800_000_000, "p99 {p99}");
    // Half of the messages were due while the server stood still; from send few were late.
    let p90 = of("/latency_ns/percentiles", 90);
    assert!(p90 >= 1_000_000_000, "p90 {p90}");
    assert!(of("/service_ns/percentiles", 90) < 500_000_000, "{result}");
}

#[test]
fn fewer_connections_than_asked_have_their_own_exit_code() {
    let liar = liar::accepts(3);
    let target = liar.target();
    // Slowly, so that the listener is closed before the fourth client comes.
    let args = ["-c", "6", "--connect-rate", "10", "-d", "500ms", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    let outcome = outcome.exits(5);
    assert!(outcome.stdout.contains("Connected  3 of 6 "), "{}", outcome.stdout);
    assert_eq!(number(&result, "/connect/established"), 3);
    assert_eq!(number(&result, "/errors/connect_refused"), 3);
    assert_eq!(number(&result, "/connect/retried"), 9);
}

#[test]
fn a_refusal_is_no_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let (outcome, result) = bench(&["-c", "3", "-d", "1s", &target]);
    let outcome = outcome.exits(1);
    assert!(outcome.stdout.contains("no connection to"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/errors/connect_refused"), 3);
    assert!(result["outcome"]["error"].is_string(), "{result}");
}

#[test]
fn an_echo_that_never_comes_times_out() {
    let liar = liar::swallows();
    let (outcome, result) = short(&liar, &["--timeout", "200ms"]);
    outcome.exits(3);
    assert_eq!(number(&result, "/errors/timeout"), 10);
    assert_eq!(number(&result, "/load/missing_bytes"), 10 * 512);
    assert_eq!(number(&result, "/load/messages"), 0);
}

#[test]
fn without_verification_the_report_says_so() {
    let liar = liar::flips();
    let (outcome, result) = short(&liar, &["--no-verify", "-s", "16K"]);
    let outcome = outcome.exits(0);
    assert!(outcome.stdout.contains("NOT VERIFIED"), "{}", outcome.stdout);
    assert_eq!(result["config"]["verify"], false);
    assert!(result["load"]["wrong_bytes"].is_null(), "{result}");
}
