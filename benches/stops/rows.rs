//! The servers: how each is installed, started and stopped.

use super::sources;

/// A server, started and stopped in one way.
pub struct Row {
    pub name: &'static str,
    /// How it is stopped, for the table.
    pub how: &'static str,
    /// Where its own manual recommends to stop it gracefully in this way.
    pub manual: Option<&'static str>,
    /// What must be there.
    pub program: &'static str,
    /// The line that installs it.
    pub install: &'static str,
    pub version: &'static [&'static str],
    pub files: &'static [(&'static str, &'static str)],
    pub builds: Option<&'static [&'static str]>,
    pub command: &'static [&'static str],
    pub signal: &'static str,
    pub slow_path: &'static str,
    /// It starts within a second or so.
    pub is_quick: bool,
}

impl Row {
    /// Returns the name, marked where the manual recommends this.
    pub fn title(&self) -> String {
        let mark = if self.manual.is_some() { " \u{2605}" } else { "" };
        format!("{}{mark}", self.name)
    }
}

const BASE: Row = Row {
    name: "",
    how: "SIGTERM",
    manual: None,
    program: "",
    install: "",
    version: &[],
    files: &[],
    builds: None,
    command: &[],
    signal: "TERM",
    slow_path: "/slow",
    is_quick: false,
};

const NETGRACE: Row = Row {
    name: "netgrace",
    program: "{netgrace}",
    version: &["{netgrace}", "--version"],
    command: &["{netgrace}", "serve", "-q", "--protocol", "http", "-l", "127.0.0.1:{port}"],
    slow_path: "/bytes/196608",
    manual: Some("README, \"What a stop promises\""),
    is_quick: true,
    ..BASE
};

const NGINX: Row = Row {
    name: "nginx",
    program: "nginx",
    install: "apt-get install nginx-light",
    version: &["nginx", "-v"],
    files: &[("nginx.conf", sources::NGINX)],
    command: &["nginx", "-e", "{dir}/error.log", "-c", "{dir}/nginx.conf"],
    is_quick: true,
    ..BASE
};

const HAPROXY: Row = Row {
    name: "HAProxy",
    program: "haproxy",
    install: "apt-get install haproxy",
    version: &["haproxy", "-v"],
    files: &[("haproxy.cfg", sources::HAPROXY)],
    command: &["haproxy", "-db", "-f", "{dir}/haproxy.cfg"],
    slow_path: "/",
    is_quick: true,
    ..BASE
};

const APACHE: Row = Row {
    name: "Apache httpd (event)",
    program: "apache2",
    install: "apt-get install apache2",
    version: &["apache2", "-v"],
    files: &[("apache.conf", sources::APACHE)],
    command: &["apache2", "-DFOREGROUND", "-f", "{dir}/apache.conf"],
    ..BASE
};

const LIGHTTPD: Row = Row {
    name: "lighttpd",
    program: "lighttpd",
    install: "apt-get install lighttpd",
    version: &["lighttpd", "-v"],
    files: &[("lighttpd.conf", sources::LIGHTTPD)],
    command: &["lighttpd", "-D", "-f", "{dir}/lighttpd.conf"],
    ..BASE
};

const GO: Row = Row {
    name: "Go net/http",
    program: "go",
    install: "apt-get install golang-go",
    version: &["go", "version"],
    files: &[("server.go", sources::GO)],
    builds: Some(&["go", "build", "-o", "{dir}/server", "server.go"]),
    command: &["{dir}/server", "{port}", "plain"],
    how: "SIGTERM, not handled",
    ..BASE
};

const NODE: Row = Row {
    name: "Node http",
    program: "node",
    install: "apt-get install nodejs",
    version: &["node", "--version"],
    files: &[("server.js", sources::NODE)],
    command: &["node", "{dir}/server.js", "plain"],
    how: "SIGTERM, not handled",
    ..BASE
};

const GUNICORN: Row = Row {
    name: "gunicorn sync",
    manual: Some("docs.gunicorn.org, \"Signal Handling\""),
    program: "gunicorn",
    install: "pip install gunicorn uvicorn",
    version: &["gunicorn", "--version"],
    files: &[("wsgi.py", sources::WSGI), ("asgi.py", sources::ASGI)],
    command: &["gunicorn", "-b", "127.0.0.1:{port}", "-w", "2", "wsgi:app"],
    ..BASE
};

const PUMA: Row = Row {
    name: "Puma",
    program: "puma",
    install: "apt-get install puma",
    version: &["puma", "--version"],
    files: &[("config.ru", sources::RACK), ("puma.rb", sources::PUMA)],
    command: &["puma", "-C", "{dir}/puma.rb"],
    ..BASE
};

const PYTHON: Row = Row {
    name: "Python http.server",
    program: "python3",
    install: "apt-get install python3",
    version: &["python3", "--version"],
    command: &["python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "{dir}/root", "{port}"],
    ..BASE
};

const BUILT: Row = Row {
    manual: Some("docs.rs, the example of its graceful shutdown"),
    program: "cargo",
    install: "rustup or apt-get install cargo; it is built with crates from the registry",
    builds: Some(&["cargo", "build", "--release", "--quiet"]),
    ..BASE
};

pub const ROWS: &[Row] = &[
    NETGRACE,
    NGINX,
    Row {
        how: "SIGQUIT",
        signal: "QUIT",
        manual: Some("nginx.org, \"Controlling nginx\""),
        ..NGINX
    },
    HAPROXY,
    Row { how: "SIGUSR1", signal: "USR1", manual: Some("haproxy(1), \"SIGNALS\""), ..HAPROXY },
    APACHE,
    Row {
        how: "SIGWINCH",
        signal: "WINCH",
        manual: Some("httpd.apache.org, \"Stopping and Restarting\""),
        ..APACHE
    },
    LIGHTTPD,
    Row {
        how: "SIGINT, graceful-shutdown-timeout",
        signal: "INT",
        manual: Some("redmine.lighttpd.net, \"Server Feature Flags\""),
        files: &[("lighttpd.conf", sources::LIGHTTPD_GRACEFUL)],
        ..LIGHTTPD
    },
    Row {
        name: "Caddy",
        manual: Some("caddyserver.com, \"Command Line\", \"Signals\""),
        program: "caddy",
        install: "apt-get install caddy",
        version: &["caddy", "version"],
        files: &[("Caddyfile", sources::CADDY)],
        command: &["caddy", "run", "--adapter", "caddyfile", "--config", "{dir}/Caddyfile"],
        ..BASE
    },
    GO,
    Row {
        how: "SIGTERM: Server.Shutdown",
        manual: Some("pkg.go.dev/net/http, \"Server.Shutdown\""),
        command: &["{dir}/server", "{port}", "shutdown"],
        ..GO
    },
    NODE,
    Row {
        how: "SIGTERM: server.close()",
        manual: Some("nodejs.org, \"HTTP\", \"server.close()\""),
        command: &["node", "{dir}/server.js", "close"],
        ..NODE
    },
    Row {
        how: "SIGTERM: close() and Connection: close",
        command: &["node", "{dir}/server.js", "idle"],
        ..NODE
    },
    GUNICORN,
    Row {
        name: "gunicorn gthread",
        command: &[
            "gunicorn",
            "-b",
            "127.0.0.1:{port}",
            "-w",
            "2",
            "-k",
            "gthread",
            "--threads",
            "40",
            "wsgi:app",
        ],
        ..GUNICORN
    },
    Row {
        name: "gunicorn uvicorn worker",
        command: &[
            "gunicorn",
            "-b",
            "127.0.0.1:{port}",
            "-w",
            "2",
            "-k",
            "uvicorn.workers.UvicornWorker",
            "asgi:app",
        ],
        ..GUNICORN
    },
    Row {
        name: "uvicorn",
        program: "uvicorn",
        manual: Some("uvicorn.dev, \"Server Behavior\", \"Graceful Process Shutdown\""),
        version: &["uvicorn", "--version"],
        command: &["uvicorn", "--log-level", "error", "--port", "{port}", "asgi:app"],
        ..GUNICORN
    },
    PUMA,
    Row {
        how: "SIGTERM, drain_on_shutdown",
        manual: Some("puma.io, \"Puma::DSL\", \"drain_on_shutdown\""),
        files: &[("config.ru", sources::RACK), ("puma.rb", sources::PUMA_DRAIN)],
        ..PUMA
    },
    PYTHON,
    Row { how: "SIGINT", signal: "INT", ..PYTHON },
    Row {
        name: "hyper-util GracefulShutdown",
        version: &["cargo", "pkgid", "--manifest-path", "{dir}/Cargo.toml", "hyper-util"],
        files: &[("Cargo.toml", sources::HYPER_TOML), ("src/main.rs", sources::HYPER)],
        command: &["{target}/release/stop-hyper", "{port}"],
        ..BUILT
    },
    Row {
        name: "axum with_graceful_shutdown",
        version: &["cargo", "pkgid", "--manifest-path", "{dir}/Cargo.toml", "axum"],
        files: &[("Cargo.toml", sources::AXUM_TOML), ("src/main.rs", sources::AXUM)],
        command: &["{target}/release/stop-axum", "{port}"],
        ..BUILT
    },
    Row {
        name: "actix-web",
        version: &["cargo", "pkgid", "--manifest-path", "{dir}/Cargo.toml", "actix-web"],
        files: &[("Cargo.toml", sources::ACTIX_TOML), ("src/main.rs", sources::ACTIX)],
        command: &["{target}/release/stop-actix", "{port}"],
        ..BUILT
    },
];
