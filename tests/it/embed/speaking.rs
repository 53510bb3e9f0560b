//! The examples with a protocol of their own, and connections that the host accepts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netgrace::protocol::Line;
use netgrace::{Config, EventLoop, Report, Server, ShutdownHandle};

use super::support::DEADLINE;

#[path = "../../examples/chat.rs"]
#[expect(dead_code, reason = "its main")]
pub(super) mod chat;
#[path = "../../examples/worker.rs"]
#[expect(dead_code, reason = "its main")]
mod worker;

type Started = (SocketAddr, ShutdownHandle);

fn start(
    serve: impl FnOnce(Box<dyn FnOnce(SocketAddr, ShutdownHandle)>) -> Report + Send + 'static,
) -> (Started, JoinHandle<Report>) {
    let (sender, started) = channel();
    let thread = thread::spawn(move || {
        serve(Box::new(move |address, handle| sender.send((address, handle)).unwrap()))
    });
    (started.recv_timeout(DEADLINE).unwrap(), thread)
}

struct Talker(BufReader<TcpStream>);

impl Talker {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

#[test]
fn a_chat_pushes_to_those_who_said_nothing_and_says_farewell() {
    let address = "127.0.0.1:0".parse().unwrap();
    let ((address, handle), thread) = start(move |tell| chat::serve(address, tell).unwrap());
    let mut anne = Talker::connect(address);
    assert_eq!(anne.line(), "1 here\n");
    let mut ben = Talker::connect(address);
    assert_eq!(ben.line(), "2 here\n");
    anne.say("hello\nhow are");
    assert_eq!(ben.line(), "hello\n");
    anne.say(" you?\n");
    assert_eq!(ben.line(), "how are you?\n");
    ben.say("fine\n");
    assert_eq!(anne.line(), "fine\n");
    handle.begin_shutdown();
    assert_eq!(ben.line(), "closing soon\n");
    anne.say("so long\n");
    assert_eq!(ben.rest(), "so long\nbye\n");
    assert_eq!(anne.rest(), "closing soon\nbye\n");
    let report = thread.join().unwrap();
    assert_eq!((report.connections.drained, report.bytes.unsent), (2, 0), "{report}");
}

#[test]
fn answers_of_another_thread_are_waited_for_by_a_stop() {
    let address = "127.0.0.1:0".parse().unwrap();
    let ((address, handle), thread) = start(move |tell| worker::serve(address, tell).unwrap());
    let mut clients: Vec<_> = (0..5).map(|_| Talker::connect(address)).collect();
    for client in &mut clients {
        client.say("7919\n7917\nseven\n");
    }
    // It is gone before its answer comes.
    let mut gone = Talker::connect(address);
    gone.say("2\n");
    drop(gone);
    handle.begin_shutdown();
    for client in clients {
        assert_eq!(client.rest(), "yes\nno\nnot a number\n");
    }
    let report = thread.join().unwrap();
    let requests = report.requests.unwrap();
    assert!(requests.answered >= 15 && requests.unanswered == 0, "{report}");
}

#[test]
fn a_connection_that_the_host_accepted_is_served_and_stopped_as_any_other() {
    let mut server = Server::serving(Line::new(), Config::new().max_connections(1)).unwrap();
    let doors = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = || {
        let talker = Talker::connect(doors.local_addr().unwrap());
        (talker, doors.accept().unwrap().0)
    };
    let mut poll = mio::Poll::new().unwrap();
    let mut events = mio::Events::with_capacity(8);
    let registry = poll.registry().try_clone().unwrap();
    let (_, stream) = accept();
    server.admit(stream, &registry, Instant::now()).expect_err("it is not registered");
    server.register(&registry, 0..100).unwrap();
    let (mut talker, stream) = accept();
    let id = server.admit(stream, &registry, Instant::now()).unwrap();
    assert_eq!((id.number(), server.stats().open), (1, 1));
    let (refused, stream) = accept();
    server.admit(stream, &registry, Instant::now()).expect_err("it is full");
    assert_eq!(refused.rest(), "");
    talker.say("one\n");
    server.begin_shutdown(&registry, Instant::now());
    let client = thread::spawn(move || talker.rest());
    while !server.is_finished() {
        let until = server.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
        poll.poll(&mut events, until.or(Some(Duration::from_millis(100)))).unwrap();
        for event in &events {
            assert!(server.handle_event(event, Instant::now()));
        }
        server.end_turn(&registry, Instant::now());
    }
    assert_eq!(client.join().unwrap(), "one\n");
    assert_eq!(server.report().requests.unwrap().answered, 1);
    let (_, stream) = accept();
    server.admit(stream, &registry, Instant::now()).expect_err("it has stopped");
}

#[test]
fn a_resume_of_an_echo_does_nothing() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Config::new()).unwrap();
    let mut event_loop = EventLoop::new(server).unwrap();
    let id = netgrace::protocol::ConnectionId::new(0, 1);
    assert!(!event_loop.server_mut().resume(id, Instant::now()));
    assert_eq!(event_loop.server().report().protocol, "echo");
}
