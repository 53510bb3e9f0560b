//! The example `tls`: protocols within TLS, and what a stop says to their clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netgrace::protocol::{Http, Line, Protocol, Repeat};
use netgrace::{Config, Report, ShutdownHandle};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use self::example::{Counts, Tls};
use super::support::{BEST, DEADLINE, loopback, quick};
use crate::host::has;

#[path = "../../examples/tls.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

/// The record of an alert, and that of a close_notify without encryption.
const ALERT: u8 = 21;
const CLOSE_NOTIFY: &[u8] = &[ALERT, 3, 3, 0, 2, 1, 0];

/// A server in its thread.
struct Served {
    address: SocketAddr,
    handle: ShutdownHandle,
    certificate: CertificateDer<'static>,
    thread: JoinHandle<(Report, Counts)>,
}

impl Served {
    fn start<P: Protocol + Send + 'static>(inner: P, config: Config) -> Self {
        let identity = example::identity().unwrap();
        let certificate = identity.0.clone();
        let (sender, started) = channel();
        let thread = thread::spawn(move || {
            let server = example::server(inner, identity, config).unwrap();
            let tell = |address, handle| sender.send((address, handle)).unwrap();
            example::serve(server, loopback(), tell).unwrap()
        });
        let (address, handle) = started.recv_timeout(DEADLINE).unwrap();
        Self { address, handle, certificate, thread }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address, &self.certificate)
    }

    fn stop(self) -> (Report, Counts) {
        self.handle.begin_shutdown();
        self.thread.join().unwrap()
    }
}

fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn client(certificate: &CertificateDer<'static>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn connect(address: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        let mut client = Self(StreamOwned::new(client(certificate), plain(address)));
        // Returns when the client's part of the handshake is on its way.
        client.0.flush().unwrap();
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    #[track_caller]
    fn hear(&mut self, wanted: &[u8]) {
        let mut bytes = vec![0; wanted.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert!(bytes == wanted, "{} other bytes", bytes.len());
    }

    /// Everything up to the close_notify, which rustls insists on, and the FIN behind it.
    #[track_caller]
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(self.0.sock.read(&mut [0; 100]).unwrap(), 0, "a FIN");
        rest
    }

    fn send_close_notify(&mut self) {
        self.0.conn.send_close_notify();
        while self.0.conn.wants_write() {
            self.0.conn.write_tls(&mut self.0.sock).unwrap();
        }
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251 + seed) % 256).unwrap()).collect()
}

#[test]
fn an_echo_and_a_line_within_tls_answer_as_they_would_alone() {
    let served = Served::start(Repeat, quick());
    let mut client = served.connect();
    for (seed, len) in [1, 300, 16_384, 16_385, 100_000].into_iter().enumerate() {
        let bytes = pattern(len, seed);
        client.say(&bytes);
        client.hear(&bytes);
    }
    client.send_close_notify();
    assert_eq!(client.rest(), b"");
    let (report, counts) = served.stop();
    assert_eq!((report.connections.peer_closed, report.grade()), (1, Some(BEST)), "{report}");
    assert_eq!(counts, Counts::default());

    let served = Served::start(Line::new().with_delay(Duration::from_millis(5)), quick());
    let mut client = served.connect();
    client.say(b"one\ntwo\n");
    client.say(&[b'x'; 40_000]);
    client.hear(b"one\ntwo\n");
    client.say(b"\nrest");
    client.send_close_notify();
    assert_eq!(client.rest(), [&[b'x'; 40_000][..], b"\n"].concat());
    let (report, _) = served.stop();
    assert_eq!(report.requests.unwrap().answered, 3, "{report}");
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| window == &needle).count()
}

#[test]
fn a_stop_answers_whole_whoever_had_sent_and_tells_everybody() {
    let served = Served::start(Http::new(), quick().shutdown_timeout(DEADLINE));
    let mut busy: Vec<_> = (0..20).map(|_| served.connect()).collect();
    let idle = served.connect();
    let mut used = served.connect();
    used.say(get("/").as_bytes());
    let mut head = [0; 15];
    used.0.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let unspoken = plain(served.address);
    for client in &mut busy {
        client.say(get("/bytes/20000").repeat(25).as_bytes());
    }
    served.handle.begin_shutdown();
    for client in busy {
        let rest = client.rest();
        assert_eq!(count(&rest, b"HTTP/1.1 200 OK\r\n"), 25);
        assert!(rest.len() > 25 * 20_000, "{} bytes", rest.len());
    }
    assert_eq!(idle.rest(), b"");
    let _page = used.rest();
    let mut rest = Vec::new();
    (&unspoken).read_to_end(&mut rest).unwrap();
    assert_eq!(rest, CLOSE_NOTIFY);
    drop(unspoken);
    let (report, counts) = served.stop();
    let requests = report.requests.unwrap();
    assert_eq!((requests.answered, requests.unanswered), (501, 0), "{report}");
    assert_eq!((report.connections.accepted, report.bytes.unsent), (23, 0), "{report}");
    assert_eq!(counts, Counts::default());
}

#[test]
fn a_stop_returns_every_byte_of_an_echo_before_its_close_notify() {
    let served = Served::start(Repeat, quick().shutdown_timeout(DEADLINE));
    let mut clients: Vec<_> = (0..20).map(|_| served.connect()).collect();
    for (seed, client) in clients.iter_mut().enumerate() {
        client.say(&pattern(60_000, seed));
    }
    served.handle.begin_shutdown();
    for (seed, client) in clients.into_iter().enumerate() {
        assert!(client.rest() == pattern(60_000, seed));
    }
    let (report, _) = served.stop();
    assert_eq!((report.connections.drained, report.grade()), (20, Some(BEST)), "{report}");
}

#[test]
fn half_a_handshake_does_not_outlive_the_budget() {
    let budget = Duration::from_secs(3);
    let served = Served::start(Repeat, quick().shutdown_timeout(budget));
    let mut hello = Vec::new();
    client(&served.certificate).write_tls(&mut hello).unwrap();
    let (half, _) = hello.split_at(hello.len() / 2);
    let (mut cut, mut silent) = (plain(served.address), plain(served.address));
    cut.write_all(half).unwrap();
    silent.write_all(&hello).unwrap();
    let mut first = [0; 1];
    silent.read_exact(&mut first).unwrap();
    assert_eq!(first, [22], "the server's part of the handshake");
    let start = Instant::now();
    let clients = thread::spawn(move || {
        for mut stream in [cut, silent] {
            // It is of no interest how it ends.
            let _end = stream.read_to_end(&mut Vec::new());
        }
    });
    let (report, _) = served.stop();
    assert!(start.elapsed() < budget + Duration::from_secs(1), "{:?}", start.elapsed());
    clients.join().unwrap();
    assert_eq!((report.connections.accepted, report.connections.forced_lossy), (2, 0), "{report}");
}

#[test]
fn garbage_ends_with_an_alert_and_alone() {
    let served = Served::start(Repeat, quick());
    let mut client = served.connect();
    for garbage in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[22, 3, 1, 255, 255, 1], &[0; 99]] {
        let mut stream = plain(served.address);
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(matches!(answer[..], [ALERT, 3, _, 0, 2, 2, _]), "{garbage:?}: {answer:?}");
    }
    // Within a connection, too: a record that is none.
    let mut other = served.connect();
    other.say(b"x");
    other.hear(b"x");
    other.0.sock.write_all(&[23, 3, 3, 0, 30]).unwrap();
    other.0.sock.write_all(&[7; 30]).unwrap();
    let error = other.0.read(&mut [0; 9]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    client.say(b"still here");
    client.hear(b"still here");
    let clients = thread::spawn(move || client.rest());
    let (report, counts) = served.stop();
    assert_eq!(clients.join().unwrap(), b"");
    assert_eq!(
        (counts, report.connections.protocol_closed),
        (Counts { failed: 4, truncated: 0 }, 4)
    );
}

#[test]
fn a_truncation_is_told_apart_from_an_end() {
    let served = Served::start(Line::new(), quick());
    for says_so in [true, false] {
        let mut client = served.connect();
        client.say(b"whole\nhalf");
        if says_so {
            client.send_close_notify();
        }
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"whole\n");
    }
    let (report, counts) = served.stop();
    assert_eq!(counts, Counts { truncated: 1, failed: 0 });
    assert_eq!(report.requests.unwrap().answered, 2, "{report}");
}

#[test]
fn a_slow_reader_costs_no_memory() {
    let identity = example::identity().unwrap();
    let certificate = identity.0.clone();
    let mut server: netgrace::Server<Tls<Http>> =
        example::server(Http::new(), identity, quick()).unwrap();
    server.listen(loopback()).unwrap();
    let address = server.local_addr().unwrap();
    let mut event_loop = netgrace::EventLoop::new(server).unwrap();
    let handle = event_loop.shutdown_handle();
    let size = 16 << 20;
    let client = thread::spawn(move || {
        let mut client = Client::connect(address, &certificate);
        client.say(get(&format!("/bytes/{size}")).as_bytes());
        let mut sum = 0;
        let mut buffer = [0; 8192];
        while sum < size {
            sum += client.0.read(&mut buffer).unwrap();
            if sum % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        handle.begin_shutdown();
    });
    let mut most = 0;
    while !event_loop.is_finished() {
        event_loop.turn(Some(Duration::from_millis(20)));
        most = most.max(event_loop.server().stats().held);
    }
    client.join().unwrap();
    assert!((1..=128 << 10).contains(&most), "{most} bytes held");
}

/// Runs a program with an input that stays open, and returns what it says, line by line.
fn spawn(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    (child, BufReader::new(output))
}

#[test]
fn openssl_is_served_and_told_the_end() {
    if !has("openssl") {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let served = Served::start(Repeat, quick());
        let address = served.address.to_string();
        let (mut openssl, mut output) = spawn(
            Command::new("openssl")
                .args(["s_client", "-quiet", version, "-servername", "localhost"])
                .args(["-connect", &address])
                .stderr(Stdio::null()),
        );
        openssl.stdin.as_mut().unwrap().write_all(b"by openssl\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "by openssl\n");
        let (report, _) = served.stop();
        // Without a close_notify it would say "unexpected eof" and exit with 1.
        assert!(openssl.wait().unwrap().success(), "{version}");
        assert_eq!(report.connections.drained, 1, "{report}");
    }
}

#[test]
fn curl_gets_pages() {
    if !has("curl") {
        return;
    }
    let served = Served::start(Http::new(), quick());
    for version in ["1.2", "1.3"] {
        let url = format!("https://{}/bytes/300000", served.address);
        let (mut curl, mut output) = spawn(Command::new("curl").args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--tls-max",
            version,
            &url,
        ]));
        let mut page = Vec::new();
        output.read_to_end(&mut page).unwrap();
        assert!(curl.wait().unwrap().success());
        assert_eq!(page.len(), 300_000, "{version}");
    }
    let (report, counts) = served.stop();
    assert_eq!(report.requests.unwrap().answered, 2, "{report}");
    assert_eq!(counts.failed, 0);
}
