//! What goes through TLS while a server runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netgrace::Config;
use netgrace::protocol::{Http, Repeat};

use super::super::example::{Guard, program};
use super::super::speaking::chat::Chat;
use super::Running;
use super::client::{End, TlsClient, connect};

fn pattern(count: usize) -> Vec<u8> {
    (0_u32..).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).take(count).collect()
}

#[test]
fn an_echo_comes_back_in_each_version_and_size() {
    let running = Running::start(Repeat);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = TlsClient::connect_with(running.address, &running.trust, &[version]);
        assert_eq!(client.0.conn.protocol_version(), Some(version.version));
        for size in [1, 2, 1000, 16_383, 16_384, 16_385, 40_000, 100_000] {
            client.echo(&pattern(size));
        }
        client.say_end();
        client.sees_the_end();
    }
    let outcome = running.stop();
    // TLS has ended them, as the peers' close_notify asked for.
    assert_eq!((outcome.truncated, outcome.report.connections.protocol_closed), (0, 2));
}

#[test]
fn a_peer_that_reads_later_gets_all_and_is_waited_for() {
    const SIZE: usize = 8 << 20;
    let config = Config::new().send_buffer(32 << 10).max_held(256 << 10);
    let running = Running::with(Repeat, config);
    let client = running.connect();
    let (conn, sock) = (client.0.conn, client.0.sock);
    let mut writer = sock.try_clone().unwrap();
    // What it sends is encrypted beforehand, so that one thread writes while none reads.
    let mut client = TlsClient(rustls::StreamOwned::new(conn, sock));
    let mut records = Vec::new();
    client.0.conn.set_buffer_limit(None);
    client.0.conn.writer().write_all(&pattern(SIZE)).unwrap();
    while client.0.conn.wants_write() {
        client.0.conn.write_tls(&mut records).unwrap();
    }
    let sender = thread::spawn(move || writer.write_all(&records).unwrap());
    // The kernels' buffers are full long before: what is held is bounded, or the server resets it.
    thread::sleep(Duration::from_millis(200));
    assert!(!sender.is_finished(), "nothing holds the sender back");
    assert!(client.receive(SIZE) == pattern(SIZE), "other bytes came back");
    sender.join().unwrap();
    client.say_end();
    client.sees_the_end();
    let report = running.stop().report;
    assert_eq!(report.bytes.unsent, 0, "{report}");
}

#[test]
fn http_is_served_and_each_request_counted() {
    let running = Running::start(Http::new());
    let mut client = running.connect();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send([get("/"), get("/bytes/100000"), get("/bytes/1")].concat().as_bytes());
    client.say_end();
    let (answers, end) = client.rest();
    assert_eq!(end, End::Whole);
    let heads = answers.windows(15).filter(|part| part == b"HTTP/1.1 200 OK");
    assert_eq!(heads.count(), 3);
    assert!(answers.len() > 100_014, "{}", answers.len());
    let report = running.stop().report;
    let requests = report.requests.unwrap();
    assert_eq!((requests.taken, requests.answered), (3, 3), "{report}");
}

#[test]
fn a_chat_pushes_through_tls_and_says_its_words_at_the_stop() {
    let running = Running::start(Chat::default());
    let mut anne = running.connect();
    assert_eq!(anne.receive(7), b"1 here\n");
    let mut ben = running.connect();
    assert_eq!(ben.receive(7), b"2 here\n");
    ben.send(b"hello\n");
    assert_eq!(anne.receive(6), b"hello\n");
    running.handle.begin_shutdown();
    for client in [anne, ben] {
        assert_eq!(client.rest(), (b"closing soon\nbye\n".to_vec(), End::Whole));
    }
    let report = running.finish().report;
    assert_eq!(report.connections.drained, 2, "{report}");
}

#[test]
fn garbage_costs_its_own_connection_an_alert() {
    let running = Running::start(Repeat);
    let mut good = running.connect();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 4, 1, 0, 0, 0], &[0xff; 90_000]]
    {
        let mut stream = connect(running.address);
        stream.write_all(garbage).unwrap();
        let mut alert = Vec::new();
        stream.read_to_end(&mut alert).unwrap();
        assert!(matches!(alert.as_slice(), [21, 3, _, 0, 2, 2, _]), "{alert:?}");
        good.echo(b"still here");
    }
    // An error for which rustls has no alert is not an orderly end either.
    let mut stream = connect(running.address);
    stream.write_all(&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    // A record that was tampered with, in the midst of a conversation.
    let mut other = running.connect();
    other.echo(b"fine");
    other.0.sock.write_all(&[23, 3, 3, 0, 20].repeat(5)).unwrap();
    let error = other.0.read(&mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    good.echo(b"still here");
    drop(good);
    let report = running.stop().report;
    assert_eq!(report.connections.protocol_closed, 5, "{report}");
}

#[test]
fn a_fin_without_close_notify_is_a_truncation() {
    let running = Running::start(Http::new());
    let half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab";
    // Between two requests nothing is lost by it.
    let mut idle = running.connect();
    idle.send(b"GET /bytes/0 HTTP/1.1\r\nHost: x\r\n\r\n");
    while !idle.receive(1).is_empty() && !idle.0.conn.wants_read() {}
    idle.0.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(idle.rest().1, End::Whole);
    // Within one the peer must not take anything for complete.
    let mut cut = running.connect();
    cut.send(half);
    cut.0.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.rest().1, End::Reset);
    // A close_notify says that it was meant.
    let mut meant = running.connect();
    meant.send(half);
    meant.say_end();
    assert_ne!(meant.rest().1, End::Reset);
    let outcome = running.stop();
    assert_eq!(outcome.truncated, 2, "{}", outcome.report);
}

#[test]
fn the_program_serves_openssl_and_curl() {
    let Some(program) = program("tls") else { return };
    let start = |inner: &str| {
        let child = Command::new(&program)
            .args(["127.0.0.1:0", inner])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = Guard(child.unwrap());
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        (child, output, address)
    };
    let finish = |(mut child, mut output, _): (Guard, BufReader<_>, String)| {
        drop(child.0.stdin.take());
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.0.wait().unwrap().success(), "{rest}");
    };
    let echo = start("echo");
    let client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &echo.2])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(child) = client {
        let mut child = Guard(child);
        let mut input = child.0.stdin.take().unwrap();
        input.write_all(b"hello\n").unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
        finish(echo); // while it is connected
        assert_eq!(output.read_line(&mut line).unwrap(), 0);
    } else {
        eprintln!("skipped: there is no openssl");
    }
    let http = start("http");
    let url = format!("https://{}/bytes/70000", http.2);
    let client = Command::new("curl").args(["-ksS", "--max-time", "20", &url, &url]).output();
    match client {
        Ok(output) => assert_eq!(output.stdout.len(), 140_000, "{output:?}"),
        Err(_) => eprintln!("skipped: there is no curl"),
    }
    finish(http);
}
