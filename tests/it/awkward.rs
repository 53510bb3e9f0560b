//! Signals at awkward moments, and calls that fail again and again.

use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::host::{has, pattern};
use crate::support::{Client, DEADLINE};
use crate::traced::{RESIDENTS, Traced, VISITORS, injected, leave, visit};

#[test]
fn a_stop_signal_may_come_at_any_moment() {
    if !has("strace") {
        return;
    }
    let early = ["socket", "bind", "listen", "epoll_create1", "eventfd2", "getsockname"];
    for call in early {
        let traced = Traced::start(&format!("{call}:signal=SIGTERM:when=1"), &[]);
        let (code, stderr, report, _) = traced.finish();
        assert_eq!(code, 0, "{call}: {stderr}");
        let report = report.expect("a report");
        assert_eq!(report["connections"]["accepted"], 0, "{call}");
        assert_eq!(report["grade"], "complete", "{call}");
    }
    for turn in [1, 2, 3, 4, 5, 6, 8, 11, 15, 20] {
        let mut traced = Traced::start(&format!("epoll_wait:signal=SIGTERM:when={turn}"), &[]);
        let address = traced.address().expect("an address");
        let mut connected = 0;
        // Those whom it takes in are served and see an end.
        while let Ok(stream) = TcpStream::connect(address) {
            connected += 1;
            let mut client = Client(stream);
            client.0.set_read_timeout(Some(DEADLINE)).expect("an option");
            client.echo(b"whenever");
            client.0.shutdown(Shutdown::Write).expect("a half-close");
            assert_eq!(client.receive_to_end(), b"", "turn {turn}");
        }
        let (code, stderr, report, _) = traced.finish();
        assert_eq!(code, 0, "turn {turn}: {stderr}");
        assert_eq!(report.expect("a report")["connections"]["accepted"], connected, "turn {turn}");
    }
}

#[test]
fn a_storm_of_accept_errors_is_told_with_its_count_and_waited_out() {
    if !has("strace") {
        return;
    }
    for (error, when) in [("EMFILE", "2..5"), ("ENOMEM", "2..5"), ("ECONNABORTED", "2..300")] {
        let mut traced = Traced::start(&format!("accept4:error={error}:when={when}"), &[]);
        let address = traced.address().expect("an address");
        let mut client = Client::connect(address);
        client.echo(b"taken in by the first accept");
        let mut late = Client::connect(address);
        client.echo(b"nobody is neglected");
        late.echo(b"and nobody is forgotten");
        drop((client, late));
        traced.stop();
        let (code, stderr, report, fired) = traced.finish();
        assert_eq!(code, 0, "{error}: {stderr}");
        assert!(fired >= 4, "{error}: {fired}");
        assert_eq!(report.expect("a report")["connections"]["accepted"], 2, "{error}");
        assert_eq!(stderr.matches("accept on").count(), 1, "{error}: {stderr}");
    }
}

#[test]
fn an_accept_that_never_works_again_costs_little_and_stops_in_time() {
    if !has("strace") {
        return;
    }
    let mut traced = Traced::start("accept4:error=ECONNABORTED:when=2+", &[]);
    let address = traced.address().expect("an address");
    let mut client = Client::connect(address);
    client.echo(b"before");
    let _never = Client::connect(address);
    thread::sleep(Duration::from_secs(1));
    client.echo(b"while it goes on");
    let fired = injected(&traced.directory.join("trace"));
    // 128 in a row are taken for a shortage, which is looked at again a few times a second.
    assert!(fired < 2000, "{fired} calls in a second");
    traced.stop();
    let (code, stderr, report, _) = traced.finish();
    assert_eq!(code, 3, "{stderr}");
    let report = report.expect("a report");
    assert_eq!(report["connections"]["backlog_left"], Value::Null);
    assert_eq!(stderr.matches("accept on").count(), 1, "{stderr}");
}

#[test]
fn a_signal_is_seen_though_its_handler_cannot_tell_of_it() {
    if !has("strace") {
        return;
    }
    // The first few sends try the pipe out, for each of the signals; all after them fail, that of
    // the handler and then those that ask the kernel about the listeners.
    let mut traced = Traced::start("sendto:error=ENOBUFS:when=7+", &[]);
    traced.address().expect("an address");
    traced.process.wait_for_stderr("ready");
    traced.stop();
    let (code, stderr, _, fired) = traced.finish();
    assert!(code == 0 && fired >= 1, "{code}, {fired}: {stderr}");
}

/// Faults that come again and again.
#[test]
fn calls_that_fail_often_delay_and_do_not_harm() {
    if !has("strace") {
        return;
    }
    let bytes = pattern(3 << 20);
    for inject in [
        "recvfrom:error=EINTR:when=1+2",
        "recvfrom:error=ENOMEM:when=2+3",
        "sendto:error=EINTR:when=8..60",
        "sendto:error=ENOBUFS:when=8..60",
        "epoll_wait:error=EINTR:when=1+2",
        "accept4:error=EPERM:when=1+2",
        "shutdown:error=ENOTCONN:when=1+2",
        "setsockopt:error=EPERM:when=7+",
        "splice:error=EINVAL:when=1+",
        "splice:error=ENOMEM:when=2+3",
        "pipe2:error=EMFILE:when=1+",
        "ppoll:error=EINTR:when=1+",
    ] {
        let mut traced = Traced::start(inject, &[]);
        let address = traced.address().expect("an address");
        let (residents, mut harmed) = visit(address, &bytes);
        traced.stop();
        harmed.extend(residents.into_iter().filter_map(|client| leave(client).err()));
        let (code, stderr, report, fired) = traced.finish();
        assert!(fired > 1 && harmed.is_empty(), "{inject}: {fired} {harmed:?}");
        assert_eq!(code, 0, "{inject}: {stderr}");
        let report = report.expect("a report");
        assert_eq!(report["connections"]["accepted"], VISITORS + RESIDENTS, "{inject}");
    }
}
