//! The configurations and small programs of the servers under audit: each answers `/` with 13
//! bytes and `/slow` with a long body. What stands in braces is filled in.

/// The answer to `/`, without its line end.
pub const BODY: &str = "hello, world";

pub const NGINX: &str = "\
worker_processes 2;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {}
http {
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server { listen 127.0.0.1:{port}; root {dir}/root; }
}
";

pub const HAPROXY: &str = "\
defaults
  mode http
  timeout client 10s
  timeout connect 1s
  timeout server 10s
frontend all
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string \"{body}\"
";

pub const APACHE: &str = "\
ServerName localhost
ServerRoot {dir}
DefaultRuntimeDir {dir}
PidFile {dir}/apache.pid
Listen 127.0.0.1:{port}
ErrorLog {dir}/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
User www-data
Group www-data
DocumentRoot {dir}/root
<Directory {dir}/root>
Require all granted
</Directory>
";

pub const LIGHTTPD: &str = "\
server.bind = \"127.0.0.1\"
server.port = {port}
server.document-root = \"{dir}/root\"
index-file.names = ( \"index.html\" )
";

pub const LIGHTTPD_GRACEFUL: &str = "\
server.bind = \"127.0.0.1\"
server.port = {port}
server.document-root = \"{dir}/root\"
index-file.names = ( \"index.html\" )
server.feature-flags += ( \"server.graceful-shutdown-timeout\" => 10 )
";

pub const CADDY: &str = "\
{
  admin off
  auto_https off
}
http://127.0.0.1:{port} {
  root * {dir}/root
  file_server
}
";

pub const GO: &str = "\
package main

import (
\t\"context\"
\t\"fmt\"
\t\"net/http\"
\t\"os\"
\t\"os/signal\"
\t\"strings\"
\t\"syscall\"
)

func main() {
\tslow := strings.Repeat(\"x\", {slow_bytes})
\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) {
\t\tif r.URL.Path == \"/slow\" {
\t\t\tfmt.Fprint(w, slow)
\t\t} else {
\t\t\tfmt.Fprintln(w, \"{body}\")
\t\t}
\t})
\tserver := &http.Server{Addr: \"127.0.0.1:\" + os.Args[1]}
\tif os.Args[2] == \"plain\" {
\t\tserver.ListenAndServe()
\t\treturn
\t}
\tdone := make(chan struct{})
\tgo func() {
\t\tsignals := make(chan os.Signal, 1)
\t\tsignal.Notify(signals, syscall.SIGTERM)
\t\t<-signals
\t\tserver.Shutdown(context.Background())
\t\tclose(done)
\t}()
\tserver.ListenAndServe()
\t<-done
}
";

pub const NODE: &str = "\
const http = require('http');
const slow = 'x'.repeat({slow_bytes});
const server = http.createServer((request, response) => {
  response.end(request.url === '/slow' ? slow : '{body}\\n');
});
server.listen({port}, '127.0.0.1');
const how = process.argv[2];
if (how !== 'plain') {
  process.on('SIGTERM', () => {
    server.close();
    if (how === 'idle') {
      // Answers announce the end from now on.
      server.prependListener('request', (request, response) => {
        response.setHeader('Connection', 'close');
      });
    }
  });
}
";

pub const WSGI: &str = "\
SLOW = b'x' * {slow_bytes}


def app(environ, start_response):
    body = SLOW if environ['PATH_INFO'] == '/slow' else b'{body}\\n'
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

pub const ASGI: &str = "\
SLOW = b'x' * {slow_bytes}


async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    body = SLOW if scope['path'] == '/slow' else b'{body}\\n'
    headers = [(b'content-length', str(len(body)).encode())]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})
";

pub const RACK: &str = "\
slow = 'x' * {slow_bytes}
run lambda { |env|
  body = env['PATH_INFO'] == '/slow' ? slow : \"{body}\\n\"
  [200, { 'Content-Length' => body.bytesize.to_s }, [body]]
}
";

pub const PUMA: &str = "\
bind 'tcp://127.0.0.1:{port}'
threads 5, 5
rackup '{dir}/config.ru'
";

pub const PUMA_DRAIN: &str = "\
bind 'tcp://127.0.0.1:{port}'
threads 5, 5
rackup '{dir}/config.ru'
drain_on_shutdown
";

pub const AXUM_TOML: &str = "\
[package]
name = \"stop-axum\"
version = \"0.1.0\"
edition = \"2021\"
[dependencies]
axum = \"0.8\"
tokio = { version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\", \"signal\"] }
[workspace]
";

pub const AXUM: &str = "\
use tokio::signal::unix::{signal, SignalKind};

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let slow = \"x\".repeat({slow_bytes});
    let app = axum::Router::new()
        .route(\"/\", axum::routing::get(|| async { \"{body}\\n\" }))
        .route(\"/slow\", axum::routing::get(move || async move { slow }));
    let listener = tokio::net::TcpListener::bind(format!(\"127.0.0.1:{}\", port)).await.unwrap();
    let stop = async {
        signal(SignalKind::terminate()).unwrap().recv().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await.unwrap();
}
";

pub const ACTIX_TOML: &str = "\
[package]
name = \"stop-actix\"
version = \"0.1.0\"
edition = \"2021\"
[dependencies]
actix-web = { version = \"4\", default-features = false, features = [\"macros\"] }
[workspace]
";

pub const ACTIX: &str = "\
use actix_web::{web, App, HttpServer};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap();
    let app = || {
        App::new()
            .route(\"/\", web::get().to(|| async { \"{body}\\n\" }))
            .route(\"/slow\", web::get().to(|| async { \"x\".repeat({slow_bytes}) }))
    };
    HttpServer::new(app).bind(format!(\"127.0.0.1:{}\", port))?.run().await
}
";

pub const HYPER_TOML: &str = "\
[package]
name = \"stop-hyper\"
version = \"0.1.0\"
edition = \"2021\"
[dependencies]
http-body-util = \"0.1\"
hyper = { version = \"1\", features = [\"http1\", \"server\"] }
tokio = { version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\", \"signal\"] }
[dependencies.hyper-util]
version = \"0.1\"
features = [\"http1\", \"server\", \"server-graceful\", \"tokio\"]
[workspace]
";

pub const HYPER: &str = "\
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{signal, SignalKind};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let slow = request.uri().path() == \"/slow\";
    let body = if slow { \"x\".repeat({slow_bytes}) } else { \"{body}\\n\".to_owned() };
    Ok(Response::new(Full::new(Bytes::from(body))))
}

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let listener = tokio::net::TcpListener::bind(format!(\"127.0.0.1:{}\", port)).await.unwrap();
    let mut stop = signal(SignalKind::terminate()).unwrap();
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let http = hyper::server::conn::http1::Builder::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let service = hyper::service::service_fn(answer);
                let connection = http.serve_connection(TokioIo::new(stream), service);
                let connection = graceful.watch(connection);
                tokio::spawn(async move { drop(connection.await) });
            }
            _ = stop.recv() => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}
";
