//! A server as one writes it at first, to see the tests fail: `NETGRACE_NAIVE=drop cargo test`
//! runs it instead of netgrace, and so does `NETGRACE_NAIVE=hoard`.
//!
//! Both trust a short read, unwrap what goes wrong, stop by leaving, and know no report. `drop`
//! forgets what a short write leaves and closes at the peer's end of stream; `hoard` keeps it,
//! however much it becomes.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const PORT_FILE: &str = "NETGRACE_NAIVE_PORT_FILE";
const LISTENER: Token = Token(0);

/// The naive server instead of netgrace with these arguments, if the environment asks for it.
pub fn instead(args: &[&str]) -> Option<Command> {
    env::var_os("NETGRACE_NAIVE")?;
    let flag = args.iter().position(|arg| *arg == "--port-file")?;
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "naive::serve", "--ignored", "--nocapture"]);
    command.env(PORT_FILE, args[flag + 1]);
    Some(command)
}

struct Client {
    stream: TcpStream,
    owed: Vec<u8>,
    ended: bool,
}

#[test]
#[ignore = "no test but a server: NETGRACE_NAIVE=drop cargo test --test it runs it"]
fn serve() {
    let Some(port_file) = env::var_os(PORT_FILE) else { return };
    let hoards = env::var_os("NETGRACE_NAIVE").is_some_and(|kind| kind == "hoard");
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).unwrap();
    }
    let mut poll = Poll::new().unwrap();
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    fs::write(port_file, format!("{}\n", listener.local_addr().unwrap())).unwrap();
    let mut events = Events::with_capacity(1024);
    let mut clients = HashMap::new();
    let mut next = 1;
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.unwrap(),
        }
        for event in &events {
            if event.token() == LISTENER {
                loop {
                    let mut stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => {
                            eprintln!("accept: {error}");
                            break;
                        }
                    };
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(next), both).unwrap();
                    let client = Client { stream, owed: Vec::new(), ended: false };
                    clients.insert(next, client);
                    next += 1;
                }
            } else if let Some(client) = clients.get_mut(&event.token().0)
                && !echo(client, hoards)
            {
                clients.remove(&event.token().0);
            }
        }
    }
}

fn echo(client: &mut Client, hoards: bool) -> bool {
    let mut buffer = [0; 16_384];
    while !client.ended {
        match client.stream.read(&mut buffer) {
            Ok(0) => client.ended = true,
            Ok(count) => {
                client.owed.extend_from_slice(&buffer[..count]);
                if count < buffer.len() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    while !client.owed.is_empty() {
        match client.stream.write(&client.owed) {
            Ok(count) => drop(client.owed.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    if !hoards {
        client.owed.clear();
    }
    !(client.ended && client.owed.is_empty())
}
