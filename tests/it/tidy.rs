//! The rules of the house, as far as a test can keep them: who may use whom, sizes, words,
//! dependencies, and that the README knows every flag.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every module, in the order of the map: a file may `use` only modules above its own.
const ORDER: &[&str] = &[
    "error",
    "config",
    "token",
    "engine::deadline",
    "engine::list",
    "engine::phase",
    "engine::report",
    "engine::status",
    "engine::stream",
    "engine::observer",
    "engine::call",
    "engine::quota",
    "engine::pipe",
    "engine::buffer",
    "engine::echo",
    "engine::connection",
    "engine::table",
    "engine",
    "diagnosis",
    "pipe",
    "socket",
    "gate",
    "intake",
    "listener",
    "acceptor",
    "handle",
    "driver",
    "signals",
    "server",
    "turn",
    "event_loop",
    "load::clock",
    "load::random",
    "load::latency",
    "load::payload",
    "load::target",
    "load::source",
    "load::stream",
    "load::plan",
    "load::pool",
    "load::audit",
    "load::results",
    "load::counts",
    "load::connection",
    "load::control",
    "load::observer",
    "load::series",
    "load::probe",
    "load::worker",
    "load::run",
    "load::pieces",
    "load",
    "audit",
    "bench_internals",
    "manual",
    "lib",
    "cli::failure",
    "cli::units",
    "cli::address",
    "cli::advice",
    "cli::output",
    "cli::atomic_file",
    "cli::destination",
    "cli::filter",
    "cli::logger",
    "cli::signal",
    "cli::limits",
    "cli::serve::report",
    "cli::serve::args",
    "cli::serve::settings",
    "cli::serve::unix_socket",
    "cli::serve::bind",
    "cli::serve::inherited",
    "cli::serve::handover",
    "cli::serve::listening",
    "cli::admin::request",
    "cli::admin::page",
    "cli::admin::connection",
    "cli::admin",
    "cli::serve::manager",
    "cli::serve::transfer",
    "cli::serve::predecessor",
    "cli::serve::successor",
    "cli::serve::service",
    "cli::serve",
    "cli::report",
    "cli::bench::figure",
    "cli::bench::chart",
    "cli::bench::value",
    "cli::bench::condition",
    "cli::bench::args",
    "cli::bench::limit",
    "cli::bench::host",
    "cli::bench::usage",
    "cli::bench::metrics",
    "cli::bench::settings",
    "cli::bench::outcome",
    "cli::bench::verdict",
    "cli::bench::json",
    "cli::bench::table",
    "cli::bench::text",
    "cli::bench::svg",
    "cli::bench::publish",
    "cli::bench::progress",
    "cli::bench::stdout",
    "cli::bench::server",
    "cli::bench::watch",
    "cli::bench::merge::field",
    "cli::bench::merge",
    "cli::bench",
    "cli::audit",
    "cli::args",
    "cli",
    "main",
];

/// Modules in `src` that only tests compile.
const TEST_MODULES: [&str; 2] = ["engine::sim", "engine::table::audit"];

/// Files that are longer than the rest may be, and how long: to become shorter only.
const LONG: &[(&str, usize)] = &[];

/// The whole tree of an embedder who takes no feature.
const EMBEDDED: [&str; 6] = ["libc", "log", "mio", "netgrace", "slab", "socket2"];

/// Words that must not appear in `src`, in code or comment, and why.
const BANNED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it or leave it"),
    (concat!("FIX", "ME"), "do it or leave it"),
    (concat!("XX", "X"), "do it or leave it"),
    (concat!("ut", "ils"), "a name that says nothing"),
    (concat!(".ok", "();"), "a result dropped in silence"),
    (concat!("#[al", "low("), "use expect, with a reason"),
    (concat!("println", "!"), "panics when stdout or stderr is gone"),
    (concat!("process::ex", "it"), "skips destructors; main returns the exit code"),
];

struct Source {
    /// From the package's root.
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/engine/list.rs` is `engine::list`, `src/engine/mod.rs` is `engine`.
    fn module(&self) -> String {
        let path = self.path.with_extension("");
        let parts: Vec<_> = path.iter().skip(1).map(|part| part.to_string_lossy()).collect();
        let parts = parts.strip_suffix(&["mod".into()]).unwrap_or(&parts);
        parts.join("::")
    }

    fn is_test(&self) -> bool {
        let name = self.module();
        let listed = TEST_MODULES.iter().any(|module| name.starts_with(module));
        listed || name.split("::").any(|part| part == "tests")
    }

    /// The code without its tests at the end.
    fn code(&self) -> &str {
        let mut marks = self.text.match_indices("#[cfg(test)]");
        let begins = |at: usize| {
            let mut lines = self.text[at..].lines().map(str::trim_start);
            lines.find(|line| !line.starts_with("#[")).is_some_and(|line| line == "mod tests {")
        };
        marks.find(|(at, _)| begins(*at)).map_or(&self.text, |(at, _)| &self.text[..at])
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = directories.iter().map(|name| root().join(name)).collect();
    while let Some(directory) = open.pop() {
        let Ok(listing) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in listing {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(root()).expect("within the package").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty());
    found
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The place of the listed module that `path` lies in: the longest that it begins with.
fn place(path: &str) -> Option<usize> {
    let begins = |name: &str| path == name || path.starts_with(&format!("{name}::"));
    let found = ORDER.iter().filter(|name| begins(name)).max_by_key(|name| name.len())?;
    ORDER.iter().position(|name| name == found)
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`; up to the end of the path or the list.
fn expand(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (path, rest) = text.split_at(end.unwrap_or(text.len()));
    let Some(list) = rest.strip_prefix('{') else {
        return vec![path.trim_end_matches(':').to_owned()];
    };
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    items.push(item);
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(expand).map(|item| format!("{path}{item}")).collect()
}

/// The modules of this crate that a file names, from `crate::`, `super::` and `self::` alike.
fn named(source: &Source) -> BTreeSet<String> {
    let module = source.module();
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let code: Vec<&str> =
        source.code().lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join(" ");
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace("{ ", "{");
    let mut names = BTreeSet::new();
    for (prefix, base) in [("crate::", ""), ("super::", parent), ("self::", &module)] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            for name in expand(&code[at + prefix.len()..]) {
                let name = if base.is_empty() { name } else { format!("{base}::{name}") };
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn a_file_uses_only_what_is_above_it() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let Some(own) = place(&module) else {
            complaints.push(format!("{}: not in the order", source.path.display()));
            continue;
        };
        if module == "lib" || module == "main" {
            continue;
        }
        for name in named(source) {
            match place(&name) {
                Some(used) if used <= own => {}
                // A name of the crate's root or of the parent, such as a type that it defines.
                None if !name.contains("::") && name.starts_with(char::is_uppercase) => {}
                _ => complaints.push(format!("{}: uses {name}", source.path.display())),
            }
        }
    }
    none(complaints);
}

#[test]
fn the_load_generator_never_sees_the_server() {
    let position = |name: &str| ORDER.iter().position(|listed| *listed == name);
    let server = position("engine::deadline")..position("load::clock");
    let load = sources(&["src"]).into_iter().filter(|source| source.module().starts_with("load"));
    let complaints = load.flat_map(|source| {
        let strange = named(&source).into_iter().filter(|name| server.contains(&place(name)));
        strange.map(|name| format!("{}: uses {name}", source.path.display())).collect::<Vec<_>>()
    });
    none(complaints.collect());
}

#[test]
fn the_program_uses_the_public_face_only() {
    let cli = |source: &Source| source.module() == "main" || source.module().starts_with("cli");
    let complaints = sources(&["src"]).into_iter().filter(cli).flat_map(|source| {
        let names = named(&source).into_iter();
        let strange = names.filter(|name| !name.starts_with("cli") && !name.is_empty());
        strange.map(|name| format!("{}: uses {name}", source.path.display())).collect::<Vec<_>>()
    });
    none(complaints.collect());
}

/// All slots are gone through when a server joins or leaves a poll, and in no turn.
#[test]
fn no_turn_scans_the_slots() {
    let all = sources(&["src"]);
    let users = |what: &str| -> Vec<String> {
        let users = all.iter().filter(|source| !source.is_test() && source.code().contains(what));
        users.map(Source::module).collect::<BTreeSet<_>>().into_iter().collect()
    };
    assert_eq!(users("slots.iter"), ["engine::table"]);
    assert_eq!(users(".for_each_stream("), ["driver", "engine"]);
    assert_eq!(users(".slots()"), ["bench_internals", "engine", "server::registration"]);
    let table = all.iter().find(|source| source.module() == "engine::table").expect("the table");
    assert_eq!(table.code().matches("slots.iter").count(), 2, "slots() and for_each_stream()");
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut complaints = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let path = source.path.display();
        let lines: Vec<&str> = source.text.lines().collect();
        let length = source.code().lines().count();
        let long = LONG.iter().find(|(name, _)| source.path == Path::new(name));
        if length >= long.map_or(400, |(_, length)| *length) {
            complaints.push(format!("{path}: {length} lines"));
        }
        for (at, line) in lines.iter().enumerate() {
            let number = at + 1;
            if line.chars().count() > 100 {
                complaints.push(format!("{path}:{number}: over 100 columns"));
            }
            let length = function_length(&lines[at..]);
            if length >= 70 {
                complaints.push(format!("{path}:{number}: a function of {length} lines"));
            }
        }
    }
    none(complaints);
}

/// The lines of the function that begins in the first line, 0 if none does. The formatter puts
/// its closing brace right below its first letter.
fn function_length(lines: &[&str]) -> usize {
    let first = lines.first().copied().unwrap_or_default();
    let code = first.trim_start();
    let head = code.split('(').next().unwrap_or_default();
    let is_function = head.split_whitespace().any(|word| word == "fn") && !code.starts_with("//");
    if !is_function || first.ends_with('}') || first.ends_with(';') {
        return 0;
    }
    let close = format!("{}}}", " ".repeat(first.len() - code.len()));
    lines.iter().position(|line| *line == close).map_or(0, |at| at + 1)
}

#[test]
fn banned_words_stay_out() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        for (number, line) in source.text.lines().enumerate() {
            for (word, why) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                complaints.push(format!("{}:{}: {word}: {why}", source.path.display(), number + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn an_embedder_gets_five_packages() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--no-default-features", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{errors}");
    let tree = String::from_utf8(tree.stdout).expect("UTF-8");
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, BTreeSet::from(EMBEDDED));
}

#[test]
#[cfg(feature = "cli")]
fn the_readme_names_every_flag_of_serve() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        return;
    };
    let help = crate::support::run(&mut crate::support::netgrace(&["serve", "--help"])).exits(0);
    let words = help.stdout.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags: BTreeSet<&str> = words.filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 20, "{flags:?}");
    let missing = flags.iter().filter(|flag| !readme.contains(**flag));
    none(missing.map(|flag| format!("README.md does not name {flag}")).collect());
}

#[test]
fn the_rules_see_what_they_should() {
    let expanded = expand("a::{b, c::{d, e}, self}; more");
    assert_eq!(expanded, ["a::b", "a::c::d", "a::c::e", "a::self"]);
    assert_eq!(expand("a::b(1)"), ["a::b"]);
    assert_eq!(place("engine::list::List"), ORDER.iter().position(|name| *name == "engine::list"));
    assert_eq!(place("engine::Engine"), ORDER.iter().position(|name| *name == "engine"));
    assert_eq!(place("nothing"), None);
    assert_eq!(function_length(&["    fn a() {", "        b();", "    }", "}"]), 3);
    assert_eq!(function_length(&["    fn a();", "    }"]), 0);
    let text = "use crate::{a, b::{C, D}};\nuse super::e;\nlet _ = crate::f::g();\n// crate::h\n";
    let source = Source { path: "src/x/y.rs".into(), text: text.to_owned() };
    let names: Vec<String> = named(&source).into_iter().collect();
    assert_eq!(names, ["a", "b::C", "b::D", "f::g", "x::e"]);
}
