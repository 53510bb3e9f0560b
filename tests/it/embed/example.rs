//! The examples as programs: started, used and stopped as their first lines say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::support::DEADLINE;

/// Where cargo puts the examples that it builds with this test. `None` when it was told to build
/// this test alone.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let path = test.parent()?.parent()?.join("examples").join(name);
    if !path.exists() {
        eprintln!("skipped: {} was not built", path.display());
        return None;
    }
    Some(path)
}

/// Ends the program when a test fails.
pub(super) struct Guard(pub(super) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Runs an example, has it echo, ends its input, and returns the rest of what it prints.
fn run(name: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program(name)?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut child = Guard(child);
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("echo on ").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(input);
    assert_eq!(stream.read(&mut echo).unwrap(), 0, "a FIN");
    drop(stream);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let status = child.0.wait().unwrap();
    assert!(status.success(), "{status}: {rest}");
    Some(rest)
}

#[test]
fn each_example_serves_and_stops_at_the_end_of_its_input() {
    let any = "127.0.0.1:0";
    for (name, args) in
        [("mio_host", &[any][..]), ("async_fd", &[any]), ("line_count", &[any, any])]
    {
        if let Some(rest) = run(name, args) {
            assert!(rest.contains("1 connection drained, 0 cut, 5 bytes echoed"), "{name}: {rest}");
        }
    }
}
