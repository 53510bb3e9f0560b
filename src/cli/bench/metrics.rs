//! The server's figures from its metrics page, where its process cannot be watched.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::usage::Sample;
use super::value::Url;

/// The page is asked for and read within this.
const WITHIN: Duration = Duration::from_secs(2);

/// The longest page that is read.
const PAGE_MAX: u64 = 4 << 20;

/// What exporters call the CPU time in seconds, the best known first; the last one is the time
/// that the loop of netgrace was at work.
const CPU: [&str; 3] =
    ["process_cpu_seconds_total", "netgrace_cpu_seconds_total", "netgrace_turn_seconds_sum"];

const MEMORY: [&str; 2] = ["process_resident_memory_bytes", "netgrace_resident_memory_bytes"];

/// Reads the page and takes CPU time and memory from it.
///
/// # Errors
///
/// If the page cannot be read, or has neither.
pub(crate) fn sample(url: &Url) -> io::Result<Sample> {
    let page = get(url)?;
    let cpu = CPU.iter().find_map(|name| value(&page, name));
    let memory = MEMORY.iter().find_map(|name| value(&page, name));
    if cpu.is_none() && memory.is_none() {
        let wanted = format!("it has neither {} nor {}", CPU.join(", "), MEMORY.join(", "));
        return Err(io::Error::new(io::ErrorKind::InvalidData, wanted));
    }
    Ok(Sample::from_page(cpu, memory))
}

/// The value of a metric without labels.
fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(value)
    })
}

fn get(url: &Url) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in url.host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => return request(stream, url),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn request(mut stream: TcpStream, url: &Url) -> io::Result<String> {
    let began = Instant::now();
    stream.set_write_timeout(Some(WITHIN))?;
    let Url { host, path } = url;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut limited = stream.try_clone()?.take(PAGE_MAX);
    let mut buffer = [0; 4096];
    loop {
        let left = WITHIN.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match limited.read(&mut buffer)? {
            0 => break,
            len => answer.extend_from_slice(buffer.get(..len).unwrap_or_default()),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(io::Error::other(format!("status {}", status.unwrap_or("none")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# HELP a\nprocess_cpu_seconds_total_x 1\nprocess_cpu_seconds_total 2.5 17\n";
        assert_eq!(value(page, CPU[0]), Some(2.5));
        assert_eq!(value(page, MEMORY[0]), None);
    }
}
