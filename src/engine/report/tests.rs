//! Grades, and both forms of a report.

use super::*;

#[test]
fn reasons_and_grades_have_names() {
    assert_eq!(CloseReason::ForcedLossy.to_string(), "forced, lossy");
    assert_eq!(CloseReason::PeerClosed.to_string(), "peer closed");
    assert_eq!(Grade::Confirmed.to_string(), "confirmed");
}

fn finished() -> Report {
    let cause = Some(Cause::Requested);
    Report { phase: Phase::Finished, protocol: "echo", cause, ..Report::default() }
}

#[test]
fn each_grade_implies_the_one_before() {
    let mut report = finished();
    assert_eq!(report.grade(), Some(Grade::Lossy), "an unknown queue is not a lossless stop");
    report.connections.backlog_left = Some(0);
    assert_eq!(report.grade(), Some(Grade::Lossless), "an open gate confirms nothing");
    report.gated = Some(true);
    assert_eq!(report.grade(), Some(Grade::Lossless), "unknown handshakes confirm nothing");
    report.connections.half_open = Some(HalfOpen::default());
    assert_eq!((report.grade(), report.exit_code(Grade::Complete)), (Some(Grade::Complete), 0));
    report.bytes = ByteCounts { late: 1, incomplete: 1, ..ByteCounts::default() };
    assert_eq!(report.grade(), Some(Grade::Complete), "before the stop, or judged as nothing");
    report.judge(true, &ByteCounts::default(), 1);
    let graded = (report.grade(), report.exit_code(Grade::Complete));
    assert_eq!(graded, (Some(Grade::Confirmed), 3));
    assert_eq!(report.exit_code(Grade::Confirmed), 0);
    report.judge(false, &ByteCounts::default(), 0);
    assert_eq!((report.grade(), report.exit_code(Grade::Lossless)), (Some(Grade::Lossless), 0));
    report.bytes.unsent = 1;
    assert_eq!((report.grade(), report.exit_code(Grade::Lossless)), (Some(Grade::Lossy), 3));
    report.cause = Some(Cause::PollFailed("gone".to_owned()));
    assert_eq!(report.exit_code(Grade::Lossless), 1);
}

#[test]
fn handshakes_and_cuts_bound_the_grade() {
    let handshakes = |stale, left| {
        let mut report = finished();
        report.connections.backlog_left = Some(0);
        report.gated = Some(true);
        report.connections.half_open =
            Some(HalfOpen { seen: 3, completed: 3 - stale - left, stale, left });
        report
    };
    assert_eq!(handshakes(0, 0).grade(), Some(Grade::Complete));
    assert_eq!(handshakes(1, 0).grade(), Some(Grade::Lossless));
    assert_eq!(handshakes(1, 1).grade(), Some(Grade::Lossy));
    let mut cut = handshakes(0, 0);
    cut.connections.forced_lossy = 1;
    assert_eq!(cut.grade(), Some(Grade::Lossy));
    let mut open = handshakes(0, 0);
    open.gated = Some(false);
    assert_eq!(open.grade(), Some(Grade::Lossless));
}

#[test]
fn a_live_report_has_no_grade() {
    for phase in [Phase::Running, Phase::LameDuck, Phase::Draining, Phase::Forcing] {
        let report = Report { phase, ..finished() };
        assert_eq!((report.grade(), report.exit_code(Grade::Lossy)), (None, 1));
        assert!(report.to_json(Grade::Lossy).contains(r#""grade":null,"exit_code":null"#));
        let text = report.to_string();
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(last, format!("{phase}: the end of the stop decides the grade"));
    }
}

fn lossy() -> Report {
    let mut report = finished();
    report.cause = Some(Cause::Signal(15));
    report.uptime = Duration::from_secs(3);
    report.stop = Some(Duration::from_micros(3_140));
    report.phases.draining = Duration::from_micros(3_000);
    report.connections.accepted = 3;
    report.connections.open_at_stop = 2;
    report.connections.drained = 1;
    report.connections.peer_closed = 1;
    report.connections.forced_lossy = 1;
    report.protocol = "echo";
    report.bytes.read = 10;
    report.bytes.written = 7;
    report.bytes.unsent = 3;
    report
}

#[test]
fn the_last_line_is_the_verdict() {
    let mut report = lossy();
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "connections: 3 accepted, 2 open when the stop began, 1 drained, \
             1 closed by the peer, 1 cut",
            "bytes: 10 read = 7 echoed + 0 too late + 3 unsent + 0 given up by the peer",
            "stopped by SIGTERM after 3.14 ms: 1 connection drained, 1 cut, 7 bytes echoed, \
             3 lost, clients left in the queue: unknown; grade lossy",
        ]
    );
    report.connections.backlog_left = Some(1);
    report.connections.half_open = Some(HalfOpen { seen: 1, left: 1, ..HalfOpen::default() });
    report.cause = Some(Cause::PollFailed("gone".to_owned()));
    report.stop = Some(Duration::ZERO);
    let text = report.to_string();
    assert!(text.contains("2 open when the stop began, 1 half open then, "), "{text}");
    assert!(text.contains("\nstopped, poll failed: gone, at once: "), "{text}");
    let end = "3 lost, 1 client left in the queue, 1 half-open handshake reset; grade lossy";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn requests_are_accounted_for_beside_the_bytes() {
    let mut report = lossy();
    (report.protocol, report.bytes.unsent) = ("http", 0);
    report.bytes.served = 8;
    report.bytes.incomplete = 2;
    report.bytes.produced = 7;
    report.requests = Some(RequestCounts { taken: 5, answered: 3, unanswered: 0, aborted: 1 });
    report.connections.forced_lossy = 0;
    report.connections.backlog_left = Some(0);
    let json = report.to_json(Grade::Lossless);
    for part in [
        r#"{"schema":"netgrace-report/1","protocol":"http","#,
        r#""served":8,"produced":7,"unserved":0,"incomplete":2},"#,
        r#""requests":{"taken":5,"answered":3,"unanswered":0,"aborted":1}}"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    assert_eq!(report.grade(), Some(Grade::Lossless));
    report.bytes.unserved = 1;
    assert_eq!(report.grade(), Some(Grade::Lossy));
    report.bytes.unserved = 0;
    report.requests = Some(RequestCounts { unanswered: 1, ..RequestCounts::default() });
    assert_eq!(report.grade(), Some(Grade::Lossy));
    let text = report.to_string();
    assert!(text.contains("\nrequests: 0 taken = 0 answered + 1 unanswered + 0 aborted"), "{text}");
}

#[test]
fn json_has_every_key_and_null_for_what_is_not_known() {
    assert_eq!(
        lossy().to_json(Grade::Lossless),
        r#"{"schema":"netgrace-report/1","protocol":"echo","phase":"finished","grade":"lossy","#
            .to_owned()
            + r#""exit_code":3,"cause":"SIGTERM","uptime_ns":3000000000,"stop_ns":3140000,"#
            + r#""phases":{"lame_duck_ns":0,"draining_ns":3000000,"forcing_ns":0},"open":0,"#
            + r#""connections":{"accepted":3,"open_at_stop":2,"swept":0,"drained":1,"#
            + r#""peer_closed":1,"protocol_closed":0,"reset_by_peer":0,"host_closed":0,"#
            + r#""idle_timeout":0,"io_error":0,"forced_clean":0,"forced_lossy":1,"#
            + r#""unconfirmed":0,"half_open":null,"#
            + r#""backlog_left":null},"gated":null,"bytes":{"read":10,"written":7,"late":0,"#
            + r#""unsent":3,"peer_aborted":0,"served":null,"produced":null,"unserved":null,"#
            + r#""incomplete":null},"requests":null}"#
    );
    let mut report = lossy();
    (report.stop, report.uptime, report.gated) = (None, Duration::MAX, Some(false));
    report.cause = Some(Cause::ListenerFailed("a \"b\\c\"\n".to_owned()));
    report.connections.half_open = Some(HalfOpen { seen: 6, completed: 3, stale: 2, left: 1 });
    let json = report.to_json(Grade::Complete);
    for part in [
        r#""uptime_ns":null,"stop_ns":null"#,
        r#""cause":"listener failed: a \"b\\c\"\u000a""#,
        r#""half_open":{"seen":6,"completed":3,"stale":2,"left":1}"#,
        r#""exit_code":1"#,
        r#""gated":false"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    report.cause = None;
    assert!(report.to_json(Grade::Lossy).contains(r#""exit_code":1,"cause":null"#));
}
