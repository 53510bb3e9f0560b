//! What an audit found, read from its JSON.

use serde_json::Value;
use serde_json::json;

use super::rows::Row;

/// The classes that are lost, as the table names them.
const LOST: [&str; 6] = ["swallowed", "reset_unanswered", "truncated", "cut", "wrong", "hung"];

/// One line of the table.
#[derive(Debug)]
pub struct Finding {
    name: String,
    version: String,
    how: &'static str,
    command: String,
    document: Value,
}

impl Finding {
    pub fn new(row: &Row, version: String, command: String, document: Value) -> Self {
        Self { name: row.title(), version, how: row.how, command, document }
    }

    /// Checks that every request is in exactly one class.
    pub fn check(&self) -> Result<(), String> {
        let clients = self.document["clients"].as_object().ok_or("no clients")?;
        for (kind, of) in clients {
            let of = of.as_object().ok_or("no counts")?;
            let count = |name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
            let names = of.keys().filter(|name| *name != "started");
            let sum: u64 = names.map(|name| count(name)).sum();
            if sum != count("started") {
                return Err(format!("{kind}: {sum} of {} requests", count("started")));
            }
        }
        Ok(())
    }

    /// Returns the line of the table.
    pub fn line(&self) -> String {
        let class = |name: &str| self.document["classes"][name].as_u64().unwrap_or(0);
        let clients = self.document["clients"].as_object();
        let started = |of: &Value| of["started"].as_u64().unwrap_or(0);
        let requests: u64 = clients.iter().flat_map(|of| of.values()).map(started).sum();
        let lost: Vec<String> = LOST
            .iter()
            .filter(|name| class(name) > 0)
            .map(|name| format!("{} {name}", class(name)))
            .collect();
        let lost = if lost.is_empty() { "0".to_owned() } else { lost.join(", ") };
        let verdict = self.document["verdict"].as_str().unwrap_or("?").to_uppercase();
        let time = |name: &str| milliseconds(&self.document["times_ns"][name]);
        let bound = self.document["bound_95"].as_f64();
        let bound = bound.map_or_else(String::new, |b| format!(" (\u{2264} {:.0} %)", b * 100.0));
        format!(
            "| {} {} | {} | {requests} | {lost} | {} | {} | {} | {verdict}{bound} |",
            self.name,
            self.version,
            self.how,
            class("raced"),
            time("gap"),
            time("exit"),
        )
    }

    /// Returns everything as JSON.
    pub fn document(&self) -> Value {
        json!({
            "server": self.name,
            "version": self.version,
            "stop": self.how,
            "started_by": self.command,
            "audit": self.document,
        })
    }
}

fn milliseconds(nanos: &Value) -> String {
    match nanos.as_u64() {
        None => "> 10 s".to_owned(),
        Some(nanos) if nanos < 10_000_000_000 => format!("{} ms", (nanos + 500_000) / 1_000_000),
        Some(nanos) => format!("{:.1} s", nanos as f64 / 1e9),
    }
}
