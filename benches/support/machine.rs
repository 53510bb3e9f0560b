//! The machine and the checkout that the figures are from.

use std::io;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::uname;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Descriptors that are not connections.
const RESERVE: usize = 500;

#[derive(Debug)]
pub struct Machine {
    pub cpus: usize,
    pub model: String,
    pub kernel: String,
    /// The core of the server and that of the load, where there are two.
    pub cores: Option<(usize, usize)>,
    /// Connections that this process may have.
    pub connections: usize,
    /// What was measured; `-dirty`: with changes that are in no commit.
    pub commit: Option<String>,
}

impl Machine {
    pub fn look() -> Self {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let cores = match cpus[..] {
            [server, load, ..] => Some((server, load)),
            _ => None,
        };
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.unwrap_or("unknown").trim_matches([' ', '\t', ':']).to_owned();
        let kernel = uname().release().to_string_lossy().into_owned();
        let connections = raise_descriptors().saturating_sub(RESERVE);
        Self { cpus: cpus.len(), model, kernel, cores, connections, commit: commit() }
    }
}

/// Raises the limit of descriptors as far as it goes, for the children too; answers it.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit of descriptors cannot be raised: {error}");
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR"));
    git.args(["describe", "--always", "--dirty", "--exclude=*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
