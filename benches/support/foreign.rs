//! The servers of other makers and in other languages: C sources of this package, and nginx.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::service::Service;

/// Where servers are built and have their files.
const PLACE: &str = env!("CARGO_TARGET_TMPDIR");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/peer");

/// One process without a master, so that its CPU time is that of the worker; nothing is logged.
const NGINX: &str = "\
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {
    listen 127.0.0.1:{port} backlog=4096;
    default_type text/plain;
    location / { return 200 \"Hello, world\\n\"; }
  }
}
";

/// Returns the command of the C server for a service, compiled if that is to be done.
///
/// # Errors
///
/// When there is no C compiler.
pub fn c(service: Service, port: u16) -> io::Result<Command> {
    let name = match service {
        Service::Echo => "echo",
        Service::Line => "line",
        Service::Http => "http",
    };
    let sources = Path::new(SOURCES);
    let (source, program) = (sources.join(name).with_extension("c"), Path::new(PLACE).join(name));
    let newest = [source.clone(), sources.join("epoll.h")].iter().map(|file| changed(file)).max();
    if changed(&program) < newest.flatten() {
        // Renamed when it is whole: several processes may come here at once.
        let part = program.with_extension(std::process::id().to_string());
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-o"]).arg(&part).arg(&source);
        let status = compiler.status().map_err(|error| {
            io::Error::other(format!("no C compiler: cc: {error}; apt-get install gcc"))
        })?;
        if !status.success() {
            return Err(io::Error::other(format!("cc failed for {}", source.display())));
        }
        fs::rename(part, &program)?;
    }
    let mut command = mortal(program);
    command.arg(port.to_string());
    Ok(command)
}

fn changed(file: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(file).and_then(|about| about.modified()).ok()
}

/// Returns a command whose process does not outlive this one, where the tool for that is there.
pub fn mortal(program: impl AsRef<OsStr>) -> Command {
    let Some(setpriv) = find("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Returns whether there is a C compiler.
pub fn has_c() -> bool {
    find("cc").is_some()
}

/// Returns nginx as one process with a fixed answer.
///
/// # Errors
///
/// When it is not installed.
pub fn nginx(port: u16) -> io::Result<Command> {
    let missing = || io::Error::other("there is no nginx; apt-get install nginx-light");
    let program = find("nginx").ok_or_else(missing)?;
    let directory = Path::new(PLACE).join(format!("peers-{}-nginx", std::process::id()));
    fs::create_dir_all(&directory)?;
    let path = directory.join("nginx.conf");
    let text = NGINX.replace("{port}", &port.to_string());
    fs::write(&path, text.replace("{dir}", &directory.display().to_string()))?;
    let mut command = mortal(program);
    command.arg("-e").arg(directory.join("error.log")).arg("-c").arg(path);
    command.stderr(Stdio::null());
    Ok(command)
}

/// Removes what nginx has written.
pub fn clean() {
    let directory = Path::new(PLACE).join(format!("peers-{}-nginx", std::process::id()));
    drop(fs::remove_dir_all(directory));
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut all = env::split_paths(&path).chain(system);
    all.find_map(|directory| Some(directory.join(program)).filter(|path| path.is_file()))
}
