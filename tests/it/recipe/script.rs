//! Scripts of the manual, run in a directory of their own with programs of ours on PATH.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use super::blocks;
use crate::support::{Directory, Outcome, Process};

/// Where a script runs.
pub struct Bench {
    pub directory: Directory,
}

impl Bench {
    /// A directory in which `netgrace` is the program under test.
    pub fn new() -> Self {
        let directory = Directory::new();
        fs::create_dir(directory.join("bin")).expect("a directory");
        symlink(env!("CARGO_BIN_EXE_netgrace"), directory.join("bin/netgrace")).expect("a link");
        Self { directory }
    }

    /// Puts a shell script on PATH.
    pub fn install(&self, name: &str, script: &str) {
        let path = self.directory.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    }

    /// The script of a page that has this name in its second line, with its arguments.
    #[track_caller]
    pub fn script(&self, page: &str, name: &str, args: &[&str]) -> Command {
        let path = self.place(name);
        fs::write(&path, script(page, name)).expect("a script");
        let mut paths = vec![self.directory.join("bin")];
        paths.extend(env::split_paths(&env::var_os("PATH").expect("a PATH")));
        let mut command = Command::new("sh");
        command.arg(path).args(args).current_dir(self.place("")).stdin(std::process::Stdio::null());
        command.env("PATH", env::join_paths(paths).expect("a PATH"));
        for name in ["RUST_LOG", "JOB_COMPLETION_INDEX", "SLURM_PROCID", "SLURM_NTASKS"] {
            command.env_remove(name);
        }
        command
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The script of a page that has this name in its second line.
#[track_caller]
pub fn script(page: &str, name: &str) -> String {
    let is_it = |text: &String| {
        let second = text.lines().nth(1).unwrap_or_default();
        second.starts_with(&format!("# {name}"))
    };
    blocks(page, "sh").into_iter().find(is_it).unwrap_or_else(|| panic!("no {name} on {page}"))
}

/// Runs it to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    Process::spawn(command).finish()
}
