//! Where a server is prepared and audited: a directory of its own with its files.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use super::finding::Finding;
use super::rows::Row;
use super::sources;

/// Bytes of the answer that slow clients ask for: three seconds' worth.
const SLOW_BYTES: usize = 196_608;

/// A server that can be started.
pub struct Place {
    directory: PathBuf,
    port: u16,
}

impl Place {
    /// Writes the files of a server and builds it, where that is to be done.
    pub fn prepare(row: &Row) -> Result<Self, String> {
        let program = row.builds.map_or(row.program, |builds| builds[0]);
        if find(program).is_none() {
            return Err(format!("there is no {program}; {}", row.install));
        }
        let name = format!("netgrace-stops-{}", std::process::id());
        let directory = env::temp_dir().join(name);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let place = Self { directory, port };
        place.write(row).map_err(|error| format!("its files cannot be written: {error}"))?;
        if let Some(builds) = row.builds {
            place.build(builds)?;
        }
        Ok(place)
    }

    fn write(&self, row: &Row) -> std::io::Result<()> {
        let root = self.directory.join("root");
        fs::create_dir_all(&root)?;
        fs::write(root.join("index.html"), "hello, world\n")?;
        fs::write(root.join("slow"), "x".repeat(SLOW_BYTES))?;
        for (name, text) in row.files {
            let path = self.directory.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, self.fill(text))?;
        }
        Ok(())
    }

    fn build(&self, builds: &[&str]) -> Result<(), String> {
        let mut command = Command::new(builds[0]);
        command.args(builds[1..].iter().map(|arg| self.fill(arg))).current_dir(&self.directory);
        // What is built stays for the next time.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stops");
        command.env("CARGO_TARGET_DIR", &target).env("GO111MODULE", "off");
        command.stdout(Stdio::null());
        let status = command.status().map_err(|error| format!("{}: {error}", builds[0]))?;
        if !status.success() {
            return Err(format!("'{}' failed", builds.join(" ")));
        }
        Ok(())
    }

    /// Fills in what differs from one run to the next.
    fn fill(&self, text: &str) -> String {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stops");
        text.replace("{port}", &self.port.to_string())
            .replace("{dir}", &self.directory.display().to_string())
            .replace("{target}", &target.display().to_string())
            .replace("{netgrace}", env!("CARGO_BIN_EXE_netgrace"))
            .replace("{body}", sources::BODY)
            .replace("{slow_bytes}", &SLOW_BYTES.to_string())
    }

    /// Audits so many stops of the server.
    pub fn audit(&self, row: &Row, repeat: u64, more: &[&str]) -> Result<Finding, String> {
        let target = format!("http://127.0.0.1:{}/", self.port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_netgrace"));
        command.args(["audit", "-q", "--json", "-", "--signal", row.signal]);
        command.args(["--repeat", &repeat.to_string()]).args(more);
        command.args(["--slow-path", row.slow_path, &target, "--"]);
        let words: Vec<String> = row.command.iter().map(|word| self.fill(word)).collect();
        command.args(&words).current_dir(&self.directory);
        let output = command.output().map_err(|error| format!("netgrace: {error}"))?;
        let document: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("no result: {}", last_line(&stderr))
        })?;
        if let Some(error) = document["outcome"]["error"].as_str() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{error} ({})", last_line(&stderr)));
        }
        Ok(Finding::new(row, self.version(row), words.join(" "), document))
    }

    /// Asks the server for its version: the first word with a digit and a dot.
    fn version(&self, row: &Row) -> String {
        let Some((program, args)) = row.version.split_first() else { return String::new() };
        let mut command = Command::new(self.fill(program));
        let output = command.args(args.iter().map(|arg| self.fill(arg))).output();
        let Ok(output) = output else { return String::new() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_version =
            |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
        let word = text.split([' ', '\n', '/', ',', '(', ')', '@']).find(is_version);
        word.unwrap_or_default().trim_start_matches(['v', 'g', 'o']).to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Finds a program.
fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('{') {
        return Some(PathBuf::from(program));
    }
    let directories = env::var_os("PATH")?;
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut all = env::split_paths(&directories).chain(system);
    all.find_map(|directory| Some(directory.join(program)).filter(|path| path.is_file()))
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing on stderr")
}
