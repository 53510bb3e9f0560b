//! What the server's process uses: CPU time and memory, from /proc.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    cpu_ns: Option<u64>,
    rss_bytes: Option<u64>,
}

/// A share of a CPU over less than this says nothing.
const SHARE_MIN: Duration = Duration::from_millis(100);

/// What the load generator itself used of the CPUs over the measured time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnUsage {
    pub(crate) cpu_us_per_message: Option<f64>,
    /// The share of one CPU, of all threads together.
    pub(crate) cpu_share: Option<f64>,
}

impl OwnUsage {
    pub(crate) fn between(
        begin: Option<Sample>,
        end: Option<Sample>,
        results: &netgrace::load::Results,
    ) -> Self {
        let usage = Usage::between(None, begin, end, results);
        Self { cpu_us_per_message: usage.cpu_us_per_message, cpu_share: usage.cpu_share }
    }
}

/// What the server used; unknown without a process or without /proc.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_us_per_message: Option<f64>,
    /// The share of one CPU over the measured time.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) rss_bytes_per_connection: Option<f64>,
    pub(crate) rss_bytes: Option<u64>,
}

impl Sample {
    /// From a metrics page: CPU time in seconds, memory in bytes.
    pub(crate) fn from_page(cpu: Option<f64>, memory: Option<f64>) -> Self {
        Self { cpu_ns: cpu.map(|seconds| whole(seconds * 1e9)), rss_bytes: memory.map(whole) }
    }

    /// Looks at the process; `None` where that cannot be done.
    pub(crate) fn take(pid: Pid) -> Option<Self> {
        let root = format!("/proc/{}", pid.as_raw_nonzero());
        let statm = fs::read_to_string(format!("{root}/statm")).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        let mut cpu_ns = 0_u64;
        for task in fs::read_dir(format!("{root}/task")).ok()? {
            let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
                continue;
            };
            let ran: u64 = text.split_whitespace().next()?.parse().ok()?;
            cpu_ns = cpu_ns.saturating_add(ran);
        }
        Some(Self { cpu_ns: Some(cpu_ns), rss_bytes: Some(pages.saturating_mul(page)) })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the values are not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

impl Usage {
    /// From samples before the first connection, and around the measured time.
    pub(crate) fn between(
        idle: Option<Sample>,
        begin: Option<Sample>,
        end: Option<Sample>,
        results: &netgrace::load::Results,
    ) -> Self {
        let cpu = begin.zip(end).and_then(|(begin, end)| {
            // A counter that fell is of another process.
            end.cpu_ns?.checked_sub(begin.cpu_ns?)
        });
        let per = |value: f64, count: f64| (count > 0.0).then(|| value / count);
        let messages = results.load.messages as f64;
        let seconds = results.load.elapsed.as_secs_f64();
        let memory = idle
            .zip(end)
            .and_then(|(idle, end)| Some(end.rss_bytes? as f64 - idle.rss_bytes? as f64));
        let is_long = results.load.elapsed >= SHARE_MIN;
        Self {
            cpu_us_per_message: cpu.and_then(|cpu| per(cpu as f64 / 1e3, messages)),
            cpu_share: cpu.filter(|_| is_long).and_then(|cpu| per(cpu as f64 / 1e9, seconds)),
            rss_bytes_per_connection: memory
                .and_then(|memory| per(memory.max(0.0), results.connect.established as f64)),
            rss_bytes: end.and_then(|end| end.rss_bytes),
        }
    }
}
