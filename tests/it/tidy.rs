//! The rules of the house, as far as a test can keep them: who may use whom, sizes, words,
//! dependencies, and that the README knows every flag.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules in `src` that only tests compile.
const TEST_MODULES: [&str; 2] = ["engine::table::audit", "accept::queue::script"];

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

/// Names and turns of phrase that were given up for standard terms, whole words only.
const RETIRED: &[&str] = &[
    "Intake",
    "intake",
    "Driver",
    "bereft",
    "disown",
    "say_goodbye",
    "let_go",
    "tell_phase",
    "UNTOLD",
    "Lent",
    "mod pieces",
    "pieces::",
    "Answers whether",
    "Answers what",
    "Answers how",
    "Answers the",
    "Lets go",
];

pub struct Source {
    /// From the package's root.
    pub path: PathBuf,
    text: String,
}

impl Source {
    /// `src/engine/list.rs` is `engine::list`, `src/engine/mod.rs` is `engine`.
    pub fn module(&self) -> String {
        let path = self.path.with_extension("");
        let parts: Vec<_> = path.iter().skip(1).map(|part| part.to_string_lossy()).collect();
        let parts = parts.strip_suffix(&["mod".into()]).unwrap_or(&parts);
        parts.join("::")
    }

    pub fn is_test(&self) -> bool {
        let name = self.module();
        let listed = TEST_MODULES.iter().any(|module| name.starts_with(module));
        listed || name.split("::").any(|part| part == "tests")
    }

    /// The code without its tests at the end.
    pub fn code(&self) -> &str {
        let mut marks = self.text.match_indices("#[cfg(test)]");
        let begins = |at: usize| {
            let mut lines = self.text[at..].lines().map(str::trim_start);
            lines.find(|line| !line.starts_with("#[")).is_some_and(|line| line == "mod tests {")
        };
        marks.find(|(at, _)| begins(*at)).map_or(&self.text, |(at, _)| &self.text[..at])
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn sources(directories: &[&str]) -> Vec<Source> {
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
pub fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// All slots are gone through when a server joins or leaves a poll, and in no turn: the drain
/// visits them in slices.
#[test]
fn no_turn_scans_the_slots() {
    let all = sources(&["src"]);
    let users = |what: &str| -> Vec<String> {
        let users = all.iter().filter(|source| {
            let is_simulated = source.module().starts_with("sim");
            !source.is_test() && !is_simulated && source.code().contains(what)
        });
        users.map(Source::module).collect::<BTreeSet<_>>().into_iter().collect()
    };
    assert_eq!(users("slots.iter"), ["engine::table"]);
    assert_eq!(users(".for_each_stream("), ["engine::core", "server::core"]);
    assert_eq!(
        users(".slots()"),
        ["bench_internals", "engine", "engine::core", "engine::drive", "server::registration"]
    );
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
    let mut ends = lines.iter().map(|line| line.chars().next_back());
    let has_body = ends.find(|end| matches!(end, Some('{' | ';'))) == Some(Some('{'));
    if !is_function || first.ends_with('}') || !has_body {
        return 0;
    }
    let close = format!("{}}}", " ".repeat(first.len() - code.len()));
    lines.iter().position(|line| *line == close).map_or(0, |at| at + 1)
}

#[test]
fn banned_words_stay_out() {
    let mut complaints = Vec::new();
    let is_checked = |source: &&Source| !source.is_test() && !source.module().starts_with("sim");
    for source in sources(&["src"]).iter().filter(is_checked) {
        for (number, line) in source.text.lines().enumerate() {
            for (word, why) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                complaints.push(format!("{}:{}: {word}: {why}", source.path.display(), number + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn retired_names_stay_out() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.text.lines().enumerate() {
            for name in RETIRED.iter().filter(|name| has_words(line, name)) {
                complaints.push(format!("{}:{}: {name}", source.path.display(), number + 1));
            }
        }
    }
    none(complaints);
}

/// Whether `line` contains `words` that do not go on into another name at either end.
fn has_words(line: &str, words: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(words).any(|(at, _)| {
        let after = &line[at + words.len()..];
        let is_path = words.ends_with(':');
        !goes_on(line[..at].chars().next_back()) && (is_path || !goes_on(after.chars().next()))
    })
}

/// One convention each for imports and for the files of modules with children.
#[test]
fn imports_are_flat_and_module_files_are_mod_rs() {
    let mut complaints = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let path = source.path.display();
        if source.text.lines().any(|line| line.trim_start().starts_with("use std::{")) {
            complaints.push(format!("{path}: import from std one module a line"));
        }
        let is_root = ["main.rs", "lib.rs"].iter().any(|name| source.path.ends_with(name));
        if source.path.starts_with("src") && !is_root {
            let folder = root().join(source.path.with_extension(""));
            if folder.is_dir() {
                complaints.push(format!("{path}: move it to {}/mod.rs", folder.display()));
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
    let expanded = crate::map::expand("a::{b, c::{d, e}, self}; more");
    assert_eq!(expanded, ["a::b", "a::c::d", "a::c::e", "a::self"]);
    assert_eq!(crate::map::expand("a::b(1)"), ["a::b"]);
    assert_eq!(function_length(&["    fn a() {", "        b();", "    }", "}"]), 3);
    assert_eq!(function_length(&["    fn a();", "    }"]), 0);
    assert_eq!(function_length(&["    fn a(", "        b: u8,", "    );", "    }"]), 0);
    assert!(has_words("an Intake of", "Intake") && has_words("use pieces::A", "pieces::"));
    assert!(!has_words("Intakes", "Intake") && !has_words("let_goes", "let_go"));
    let text = "use crate::{a, b::{C, D}};\nuse super::e;\nlet _ = crate::f::g();\n// crate::h\n";
    let source = Source { path: "src/x/y.rs".into(), text: text.to_owned() };
    let names: Vec<String> = crate::map::named(&source).into_iter().collect();
    assert_eq!(names, ["a", "b::C", "b::D", "f::g", "x::e"]);
    let text = "mod z {\n    use super::a;\n    use super::super::b;\n    pub(in crate::c) d();\n\
                }\nuse self::e::F;\nuse super::g;\n";
    let source = Source { path: "src/x/y.rs".into(), text: text.to_owned() };
    let names: Vec<String> = crate::map::named(&source).into_iter().collect();
    assert_eq!(names, ["x::b", "x::g", "x::y::a", "x::y::e::F"]);
}
