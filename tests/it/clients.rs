//! Clients and proxies that others wrote: under load, and with a stop in the midst of it.
//!
//! All of them see right answers, the announced end, and refusals afterwards. What they count is
//! what the report says.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{cpu, has, pattern};
use crate::support::{Directory, Outcome, Process, Server, wait_for};

/// Python's `http.client`: eight connections that persist, at a port or a Unix socket. It ends
/// when it is refused, or by a signal.
const PYTHON: &str = r#"
import collections, http.client, json, random, signal, socket, sys, threading
where = sys.argv[1]
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
lock = threading.Lock()
counts = collections.Counter()

class Connection(http.client.HTTPConnection):
    def connect(self):
        if not where.startswith('/'):
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(where)

def exchange(connection, dice):
    size = dice.choice([0, 1, 100, 5000, 100000])
    kind = dice.choice(['GET', 'HEAD', 'POST', 'chunks'])
    body = dice.randbytes(size)
    if kind == 'POST':
        connection.request('POST', '/', body)
    elif kind == 'chunks':
        connection.request('POST', '/', iter([body[:size // 2], body[size // 2:]]),
                           {'Transfer-Encoding': 'chunked'}, encode_chunked=True)
    else:
        connection.request(kind, f'/bytes/{size}')
    page = (b'hello, world\n' * (size // 13 + 1))[:size]
    expected = {'GET': page, 'HEAD': b''}.get(kind, body)
    answer = connection.getresponse()
    is_right = answer.read() == expected and answer.status == 200
    return 'right' if is_right else f'{answer.status} to {kind} of {size}'

def client(number):
    host = 'localhost' if where.startswith('/') else where
    connection, dice = Connection(host, timeout=10), random.Random(number)
    while not over.is_set():
        try:
            what = exchange(connection, dice)
        except ConnectionRefusedError:
            return
        except (OSError, http.client.HTTPException) as error:
            what = repr(error)
            connection.close()
        with lock:
            counts[what] += 1
            if sum(counts.values()) == 100:
                print('under load', file=sys.stderr, flush=True)

clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
for thread in clients:
    thread.start()
for thread in clients:
    while thread.is_alive():
        thread.join(0.02)
print(json.dumps(counts))
"#;

/// Node's `http.Agent` with `keepAlive`.
const NODE: &str = r#"
const http = require('http');
const [host, port] = process.argv[1].split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const counts = {};
let all = 0, left = 8;
const count = (what) => {
  counts[what] = (counts[what] || 0) + 1;
  if (++all == 100) console.error('under load');
};
const exchange = (number) => {
  const size = [1, 100, 5000, 100000][number % 4], isPost = number % 3 == 0;
  const next = (what) => { count(what); setImmediate(exchange, number + 13); };
  const path = isPost ? '/' : `/bytes/${size}`, method = isPost ? 'POST' : 'GET';
  const request = http.request({ host, port, agent, path, method }, (answer) => {
    const pieces = [];
    answer.on('data', (piece) => pieces.push(piece));
    answer.on('error', (error) => next(`in an answer: ${error.code}`));
    answer.on('end', () => {
      const body = Buffer.concat(pieces).toString();
      const expected = (isPost ? 'x' : 'hello, world\n').repeat(size).slice(0, size);
      next(answer.statusCode == 200 && body == expected ? 'right' : `${answer.statusCode}`);
    });
  });
  request.on('error', (error) => {
    if (error.code != 'ECONNREFUSED') return next(`${error.code} on ${request.reusedSocket}`);
    if (--left == 0) { console.log(JSON.stringify(counts)); process.exit(0); }
  });
  if (isPost) request.write('x'.repeat(size - (size >> 1)));
  request.end(isPost ? 'x'.repeat(size >> 1) : undefined);
};
for (let number = 0; number < 8; number++) exchange(number);
"#;

fn start(args: &[&str]) -> Server {
    Server::start(&[&["--report", "-", "--protocol", "http"], args].concat())
}

fn spawn(program: &str, args: &[&str]) -> Process {
    Process::spawn(Command::new(program).args(args))
}

fn answered(outcome: &Outcome) -> u64 {
    outcome.report()["requests"]["answered"].as_u64().expect("a number")
}

/// The number of right answers that a client counted. There was nothing else.
#[track_caller]
fn right(outcome: &Outcome) -> u64 {
    let counts: Value = serde_json::from_str(&outcome.stdout).expect("one JSON object");
    let right = counts["right"].as_u64().unwrap_or(0);
    assert_eq!(counts, serde_json::json!({ "right": right }));
    right
}

/// A client that asks until it is refused, and a stop meanwhile.
#[track_caller]
fn check_stop(server: Server, client: Process) {
    client.wait_for_stderr("under load");
    let outcome = server.stop().exits(0);
    assert_eq!(right(&client.finish()), answered(&outcome), "{outcome:#?}");
}

#[test]
fn connections_of_python_lose_nothing() {
    if has("python3") {
        let server = start(&[]);
        let client = spawn("python3", &["-c", PYTHON, &server.address().to_string()]);
        check_stop(server, client);
    }
}

#[test]
fn an_agent_of_node_loses_nothing() {
    if has("node") {
        let server = start(&[]);
        let client = spawn("node", &["-e", NODE, &server.address().to_string()]);
        check_stop(server, client);
    }
}

/// The number that stands before or behind `part` in a text.
fn number(text: &str, before: &str, behind: &str) -> Option<u64> {
    let rest = text.split_once(before)?.1;
    rest.split_once(behind)?.0.trim().parse().ok()
}

/// Waits until a server has worked for a while.
fn wait_for_load(server: &Server) {
    let pid = server.process.pid();
    wait_for("load", || (cpu(pid) >= Duration::from_millis(100)).then_some(()));
}

/// A pipelining client reads no answer after the one that announces the end.
#[test]
fn pipelines_of_wrk_are_answered_to_the_last_request() {
    if !has("wrk") {
        return;
    }
    let directory = Directory::new();
    let script = directory.join("pipeline.lua");
    let pipeline = "function init()\nlocal all = {}\nfor i = 1, 16 do\n\
                    all[i] = wrk.format('GET', '/bytes/' .. i * 10)\nend\n\
                    text = table.concat(all)\nend\nfunction request() return text end\n";
    fs::write(&script, pipeline).expect("a file");
    let server = start(&[]);
    let url = format!("http://{}/", server.address());
    let script = script.to_str().expect("UTF-8");
    let client = spawn("wrk", &["-t1", "-c10", "-d2s", "-s", script, &url]);
    wait_for_load(&server);
    let outcome = server.stop().exits(0);
    let text = client.finish().stdout;
    // Its refused connections are errors to it; answers that broke off are errors of reading.
    assert_eq!(number(&text, ", read ", ","), Some(0), "{text}");
    assert!(!text.contains("Non-2xx"), "{text}");
    assert!(text.contains(&format!(" {} requests in ", answered(&outcome))), "{text} {outcome:#?}");
}

/// HTTP/1.0 with `Connection: keep-alive`. A refusal ends `ab`, so that it is left to its end.
#[test]
fn connections_of_the_old_version_persist() {
    if !has("ab") {
        return;
    }
    let server = start(&[]);
    let url = format!("http://{}/", server.address());
    let text = spawn("ab", &["-q", "-k", "-n3000", "-c8", &url]).finish().exits(0).stdout;
    let counted = |name| number(&text, &format!("\n{name} requests:"), "\n");
    let counts = ["Complete", "Keep-Alive", "Failed"].map(counted);
    assert_eq!(counts, [Some(3000), Some(3000), Some(0)], "{text}");
    let outcome = server.stop().exits(0);
    let accepted = &outcome.report()["connections"]["accepted"];
    assert_eq!((answered(&outcome), accepted), (3000, &8.into()));
}

/// An upload is served while it comes; a stop waits for its rest, however long that takes.
#[test]
fn an_upload_of_curl_is_waited_for() {
    if !has("curl") {
        return;
    }
    let directory = Directory::new();
    let (sent, received) = (directory.join("sent"), directory.join("received"));
    let bytes = pattern(6 << 20);
    fs::write(&sent, &bytes).expect("a file");
    let server = start(&[]);
    let url = format!("http://{}/", server.address());
    let data = format!("@{}", sent.display());
    let output = received.to_str().expect("UTF-8");
    let args = ["-sS", "--limit-rate", "3M", "--data-binary", &data, "-o", output, &url];
    let client = spawn("curl", &args);
    let has_begun = || fs::metadata(&received).is_ok_and(|found| found.len() > 500_000);
    wait_for("an upload", || has_begun().then_some(()));
    let outcome = server.stop().exits(0);
    client.finish().exits(0);
    assert!(fs::read(&received).expect("a file") == bytes, "other bytes came back");
    // Longer than anything is waited for that does not go on.
    assert!(outcome.took > Duration::from_millis(1200), "{outcome:#?}");
    assert_eq!(answered(&outcome), 1);
}

/// A server that is replaced beside itself, behind a proxy whose clients see nothing of it.
#[track_caller]
fn check_replacement(proxy: &str, config: impl FnOnce(&Directory, &str, &str) -> String) {
    if !has(proxy) || !has("python3") {
        return;
    }
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let (front, file) = (path("front"), path("config"));
    let server = start(&["--reuse-port"]);
    let address = server.address().to_string();
    fs::write(&file, config(&directory, &front, &address)).expect("a file");
    let args: &[&str] = match proxy {
        "nginx" => &["-e", "stderr", "-c", &file],
        _ => &["-db", "-f", &file],
    };
    let _proxy = spawn(proxy, args);
    wait_for("the proxy", || UnixStream::connect(&front).ok());
    let mut client = spawn("python3", &["-c", PYTHON, &front]);
    client.wait_for_stderr("under load");
    let successor = start(&["--reuse-port", "-l", &address]);
    let first = server.stop().exits(0);
    wait_for_load(&successor);
    client.signal(Signal::TERM);
    let right = right(&client.finish());
    let second = successor.stop().exits(0);
    assert_eq!(right, answered(&first) + answered(&second), "{first:#?} {second:#?}");
}

#[test]
fn clients_of_haproxy_see_nothing_of_a_replacement() {
    check_replacement("haproxy", |_, front, address| {
        format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  \
             timeout server 10s\nfrontend front\n  bind {front}\n  default_backend back\n\
             backend back\n  http-reuse always\n  server one {address}\n"
        )
    });
}

#[test]
fn clients_of_nginx_see_nothing_of_a_replacement() {
    check_replacement("nginx", |directory, front, address| {
        let path = |name: &str| directory.join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\n\
             events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{temporary}\
             upstream back {{ server {address} max_fails=0; keepalive 8; }}\n\
             server {{ listen unix:{front};\nlocation / {{ proxy_pass http://back;\n\
             proxy_http_version 1.1;\nproxy_set_header Connection ''; }} }} }}\n",
            path("pid")
        )
    });
}
