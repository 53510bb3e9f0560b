//! What our own server prints on its standard output, read beside the run.

use std::io;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The lines that a child has printed so far.
#[derive(Debug)]
pub(crate) struct ChildStdout {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl ChildStdout {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// If no thread can be had.
    pub(crate) fn collect(stdout: process::ChildStdout) -> io::Result<Self> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::Builder::new().name("server-stdout".to_owned()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })?;
        Ok(Self { lines, reader })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first address that was printed.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.lines().iter().find_map(|line| line.parse().ok())
    }

    /// Returns the reports that were printed, after the last process that had the pipe is gone or
    /// `patience` has ended.
    pub(crate) fn finish(self, patience: Duration) -> Vec<Value> {
        let began = Instant::now();
        while !self.reader.is_finished() && began.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Value::is_object)
            .collect()
    }
}
