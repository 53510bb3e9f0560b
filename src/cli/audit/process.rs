//! Processes as /proc shows them: who descends from whom, and who stands still.

use std::collections::HashMap;
use std::fs;

use rustix::process::Pid;
use rustix::process::test_kill_process;

/// A line of /proc.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: Pid,
    parent: i32,
    state: char,
}

/// Returns all processes that descend from this one, parents before children.
pub(crate) fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<Pid>> = HashMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = children.remove(&of.as_raw_nonzero().get()).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        found.extend(children.remove(&pid.as_raw_nonzero().get()).unwrap_or_default());
        at = at.saturating_add(1);
    }
    found
}

/// Returns whether the process is stopped by a signal, or gone.
pub(crate) fn is_still(pid: Pid) -> bool {
    let process = read(&pid.as_raw_nonzero().to_string());
    process.is_none_or(|process| matches!(process.state, 'T' | 't' | 'Z' | 'X'))
}

/// Returns whether the process has ended, even if its parent has not taken note of that.
pub(crate) fn is_over(pid: Pid) -> bool {
    if !cfg!(target_os = "linux") {
        return test_kill_process(pid).is_err();
    }
    let process = read(&pid.as_raw_nonzero().to_string());
    process.is_none_or(|process| matches!(process.state, 'Z' | 'X'))
}

fn all() -> Vec<Process> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    let names = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).filter_map(|n| read(&n)).collect()
}

fn read(name: &str) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
    // The name of the program stands in parentheses and may contain some itself.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid: Pid::from_raw(name.parse().ok()?)?, parent, state })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_descends_from_its_parent() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        assert!(descendants(rustix::process::getpid()).contains(&pid));
        assert!(!is_still(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_still(pid) && descendants(pid).is_empty());
    }
}
