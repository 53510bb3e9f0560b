//! The map in `lib.rs` is the law of the imports: a file uses only what stands above it, so that
//! there is no circle, in the simulator and the program too.

use std::collections::BTreeSet;
use std::fs;

use crate::tidy::{Source, none, root, sources};

/// Every module in the order of the map. A module with children stands behind them, unless the
/// word `mod` among them says where.
fn order() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let start = text.find("# Map of the code").expect("a map");
    let block = text[start..].split("//! ```").nth(1).expect("a block");
    parse(block.trim_start_matches("text"))
}

fn parse(block: &str) -> Vec<String> {
    let mut order = Vec::new();
    // The modules that are open, each with whether its own place was named.
    let mut open: Vec<(String, bool)> = Vec::new();
    let mut lines = block.lines().filter_map(|line| line.strip_prefix("//! ")).peekable();
    while let Some(line) = lines.next() {
        let depth = indentation(line);
        close(&mut open, depth, &mut order);
        let names = line.trim_start().split("  ").next().expect("a column").split(' ');
        let names: Vec<&str> = names.collect();
        let has_children = lines.peek().is_some_and(|next| indentation(next) > depth);
        for (at, name) in names.iter().enumerate() {
            let parent = open.last().map(|(name, _)| name.clone());
            if *name == "mod" {
                let last = open.last_mut().expect("a parent");
                last.1 = true;
                order.push(last.0.clone());
                continue;
            }
            let path =
                parent.map_or_else(|| (*name).to_owned(), |parent| format!("{parent}::{name}"));
            if has_children && at + 1 == names.len() {
                open.push((path, false));
            } else {
                order.push(path);
            }
        }
    }
    close(&mut open, 0, &mut order);
    order
}

fn indentation(line: &str) -> usize {
    (line.len() - line.trim_start().len()) / 2
}

fn close(open: &mut Vec<(String, bool)>, depth: usize, order: &mut Vec<String>) {
    while open.len() > depth {
        let (name, named) = open.pop().expect("one more");
        if !named {
            order.push(name);
        }
    }
}

/// The place of the module that a name lies in: the longest that the name begins with.
fn place(order: &[String], path: &str) -> Option<usize> {
    let begins = |name: &String| path == name || path.starts_with(&format!("{name}::"));
    let found = order.iter().filter(|name| begins(name)).max_by_key(|name| name.len())?;
    order.iter().position(|name| name == found)
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`; up to the end of the path or the list.
pub fn expand(text: &str) -> Vec<String> {
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
pub fn named(source: &Source) -> BTreeSet<String> {
    let code = absolute(source.code(), &source.module()).join(" ");
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace("{ ", "{");
    let mut names = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            names.extend(expand(&code[at + prefix.len()..]));
        }
    }
    names
}

/// The lines of a file without comments, and with paths that begin at the root of the crate.
fn absolute(code: &str, module: &str) -> Vec<String> {
    // The modules within the file that are open, each with the line that closes it.
    let mut inner: Vec<(&str, String)> = Vec::new();
    let mut lines = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        if inner.last().is_some_and(|(_, end)| line == end) {
            inner.pop();
        }
        let mut path: Vec<&str> = module.split("::").chain(inner.iter().map(|it| it.0)).collect();
        let mut replaced = hide_visibility(line).replace("self::", &root_path(&path));
        let chain = "super::";
        for ups in (1..=path.len()).rev() {
            path = module.split("::").chain(inner.iter().map(|it| it.0)).collect();
            path.truncate(path.len() - ups);
            replaced = replaced.replace(&chain.repeat(ups), &root_path(&path));
        }
        lines.push(replaced);
        let head = line.strip_suffix(" {").unwrap_or_default();
        if let Some((before, name)) = head.rsplit_once("mod ")
            && (before.trim().is_empty() || before.trim_start().starts_with("pub"))
        {
            let indent = &line[..line.len() - line.trim_start().len()];
            inner.push((name, format!("{indent}}}")));
        }
    }
    lines
}

/// `crate::a::b::` of a path.
fn root_path(path: &[&str]) -> String {
    path.iter().fold("crate::".to_owned(), |text, part| text + part + "::")
}

/// `pub(in a::b)` says who may use an item, and uses nothing.
fn hide_visibility(line: &str) -> String {
    match line.split_once("pub(in ").and_then(|(a, rest)| Some((a, rest.split_once(')')?.1))) {
        Some((before, after)) => format!("{before}pub{after}"),
        None => line.to_owned(),
    }
}

/// What a file names that stands below it.
fn violations(order: &[String], source: &Source) -> Vec<String> {
    let module = source.module();
    if module == "lib" || module == "main" {
        return Vec::new();
    }
    let Some(own) = order.iter().position(|name| *name == module) else {
        return vec![format!("{}: not on the map", source.path.display())];
    };
    let is_above = |name: &String| match place(order, name) {
        Some(used) => used <= own,
        // A name of the crate's root.
        None => !name.contains("::"),
    };
    let below = named(source).into_iter().filter(|name| !is_above(name));
    below.map(|name| format!("{}: uses {name}", source.path.display())).collect()
}

#[test]
fn a_file_uses_only_what_is_above_it() {
    let order = order();
    let all = sources(&["src"]);
    let checked = all.iter().filter(|source| !source.is_test());
    none(checked.flat_map(|source| violations(&order, source)).collect());
}

#[test]
fn the_map_names_nothing_that_is_not_there() {
    let modules: BTreeSet<String> = sources(&["src"]).iter().map(Source::module).collect();
    let order = order();
    let strange = order.iter().filter(|name| !modules.contains(*name) && *name != "manual");
    none(strange.map(|name| format!("{name}: on the map, and no file")).collect());
    let once: BTreeSet<&String> = order.iter().collect();
    assert_eq!(once.len(), order.len(), "a module stands on the map twice");
}

#[test]
fn the_load_generator_and_the_audit_never_see_the_server() {
    let is_core = |name: &String| {
        ["engine", "accept", "net", "server", "event_loop", "protocol"]
            .iter()
            .any(|room| name == room || name.starts_with(&format!("{room}::")))
    };
    let load = sources(&["src"]).into_iter().filter(|source| {
        let module = source.module();
        !source.is_test() && (module.starts_with("load") || module.starts_with("audit"))
    });
    let complaints = load.flat_map(|source| {
        let strange = named(&source).into_iter().filter(is_core);
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

#[test]
fn the_map_is_read_as_it_is_meant() {
    let block = "\n//! error      Error\n//! engine     decisions\n//!   list mod table  lists\n\
                 //!     audit     within\n//! server       Server\n//!   core    its parts\n";
    let order = parse(block);
    let expected = ["error", "engine::list", "engine", "engine::table::audit", "engine::table"];
    assert_eq!(order[..5], expected);
    assert_eq!(order[5..], ["server::core", "server"]);
    assert!(place(&order, "engine::list::List") < place(&order, "engine::Engine"));
}
