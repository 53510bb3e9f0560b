//! Echo over the standard library: a thread and a 16 KiB buffer for each connection.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Enough for the buffer and the calls under it.
const STACK: usize = 64 << 10;

pub fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // Without a thread for it the connection is closed.
        let thread = thread::Builder::new().stack_size(STACK).spawn(|| echo(stream));
        if let Err(error) = thread {
            eprintln!("threads: {error}");
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}
