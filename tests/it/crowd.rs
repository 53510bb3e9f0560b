//! Clients that come and go all the time, and to whom nothing may go wrong.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{DEADLINE, wait_for};

/// Where they connect.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(target: &Target) -> io::Result<Self> {
        let stream = match target {
            Target::Tcp(address) => Self::Tcp(TcpStream::connect_timeout(address, DEADLINE)?),
            Target::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        };
        match &stream {
            Self::Tcp(stream) => stream.set_read_timeout(Some(DEADLINE))?,
            Self::Unix(stream) => stream.set_read_timeout(Some(DEADLINE))?,
        }
        Ok(stream)
    }

    fn as_dyn(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// What was read before the orderly end, at most `count` bytes.
fn read_up_to(stream: &mut dyn ReadWrite, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Connects, is echoed, says that it is done, and sees the orderly end.
fn visit(target: &Target) -> Result<(), String> {
    let fail = |step: &str, error: io::Error| format!("{step} {target:?}: {error}");
    let mut stream = Stream::connect(target).map_err(|error| fail("connect to", error))?;
    stream.as_dyn().write_all(&[7; 64]).map_err(|error| fail("write to", error))?;
    stream.finish().map_err(|error| fail("finish with", error))?;
    let back = read_up_to(stream.as_dyn(), 65).map_err(|error| fail("read from", error))?;
    if back == [7; 64] { Ok(()) } else { Err(format!("{} bytes back", back.len())) }
}

/// Stays as long as it is let, ten round trips at most; an orderly end in between is no fault.
fn stay(target: &Target) -> Result<(), String> {
    let fail = |step: &str, error: io::Error| format!("{step} {target:?}: {error}");
    let mut stream = Stream::connect(target).map_err(|error| fail("connect to", error))?;
    for round in 0..10 {
        stream.as_dyn().write_all(&[round; 64]).map_err(|error| fail("write on to", error))?;
        let back = read_up_to(stream.as_dyn(), 64).map_err(|error| fail("read on from", error))?;
        match (round, back.as_slice()) {
            (0, []) => return Err("not even the first bytes came back".to_owned()),
            (_, []) => return Ok(()),
            (_, back) if back == [round; 64] => {}
            _ => return Err(format!("{} bytes back in round {round}", back.len())),
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A crowd at work until it is sent home.
pub struct Crowd {
    over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Crowd {
    /// Starts two that visit and two that stay.
    pub fn gather(target: &Target) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let threads = [visit, visit, stay, stay].into_iter().map(|act| {
            let (over, served, target) = (Arc::clone(&over), Arc::clone(&served), target.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    act(&target)?;
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let threads = threads.collect();
        Self { over, served, threads }
    }

    /// Waits until `more` have been served, or one was not.
    #[track_caller]
    pub fn wait_for_served(&self, more: u64) {
        let enough = self.served.load(Ordering::Relaxed) + more;
        wait_for("the crowd is served", || {
            let failed = self.threads.iter().any(JoinHandle::is_finished);
            (failed || self.served.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Ends it, and checks that everybody was served.
    #[track_caller]
    pub fn send_home(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let mut faults = Vec::new();
        for thread in self.threads {
            faults.extend(thread.join().expect("a client").err());
        }
        assert!(faults.is_empty(), "{faults:#?}");
        self.served.load(Ordering::Relaxed)
    }
}
