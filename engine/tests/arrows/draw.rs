//! Which module names which, read from the sources: every path that begins with `crate`, `super` or the name of another crate of ours.
//! Tests' own modules and comments are left out. It reads text, not Rust, so a path that a macro puts together is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Module → the paths it names, such as `os::fs` or `agents::contract`; within the crate without `crate::`.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The arrows between the modules of the crate whose sources lie in `src`; `others` are further crates of ours it may name.
pub fn draw(src: &Path, others: &[&str]) -> Arrows {
    let mut arrows = Arrows::new();
    for (module, text) in sources(src) {
        let top = module.first().map_or("lib", String::as_str).to_owned();
        let named = arrows.entry(top.clone()).or_default();
        for path in paths(&code(&text), &module, others) {
            if path.split("::").next() != Some(&top) {
                named.insert(path);
            }
        }
    }
    arrows
}

/// One line for each module, with the modules it names; of another crate, with the module there.
pub fn lines(arrows: &Arrows, others: &[&str]) -> String {
    let mut out = String::new();
    for (module, paths) in arrows {
        let depth = |path: &str| if others.iter().any(|o| path.split("::").next() == Some(o)) { 2 } else { 1 };
        let short: BTreeSet<String> = paths.iter().map(|p| p.split("::").take(depth(p)).collect::<Vec<_>>().join("::")).collect();
        let short: Vec<String> = short.into_iter().collect();
        out.push_str(&format!("{module}: {}\n", short.join(" ")).replace(": \n", ":\n"));
    }
    out
}

/// Holds the drawing against the checked-in one.
pub fn compare(drawn: &str, file: &Path) {
    let kept = fs::read_to_string(file).unwrap_or_default();
    let kept: Vec<&str> = kept.lines().filter(|l| !l.starts_with('#')).collect();
    let drawn_lines: Vec<&str> = drawn.lines().collect();
    let gone: Vec<_> = kept.iter().filter(|l| !drawn_lines.contains(l)).collect();
    let new: Vec<_> = drawn_lines.iter().filter(|l| !kept.contains(l)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "the arrows between modules have changed.\n{} has: {gone:#?}\nthe sources have: {new:#?}\nIf that is meant, write it there:\n\n{drawn}",
        file.display()
    );
}

/// Every module that is no test's, with its place in the crate.
fn sources(src: &Path) -> Vec<(Vec<String>, String)> {
    let (mut files, mut found) = (vec![], vec![]);
    collect(src, &mut files);
    let text_of: Vec<(std::path::PathBuf, String)> = files.into_iter().map(|f| (f.clone(), fs::read_to_string(&f).unwrap())).collect();
    let mut tests: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, text) in &text_of {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            // Attributes may stand between.
            let Some("#[cfg(test)]") = Some(line.trim()) else { continue };
            while lines.peek().is_some_and(|l| l.trim().starts_with("#[")) {
                lines.next();
            }
            if let Some(name) = lines.peek().and_then(|l| l.trim().strip_prefix("mod ")).and_then(|l| l.strip_suffix(';')) {
                let mut module = module_of(src, file);
                module.push(name.to_owned());
                tests.insert(module);
            }
        }
    }
    for (file, text) in text_of {
        let module = module_of(src, &file);
        if !tests.iter().any(|t| module.starts_with(t)) {
            found.push((module, text));
        }
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn module_of(src: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|p| p == "mod") {
        parts.pop();
    }
    if parts == ["lib"] || parts == ["main"] {
        parts.clear();
    }
    parts
}

/// The text without comments and without inline test modules.
fn code(text: &str) -> String {
    let before_tests = match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => &text[..at],
        None => text,
    };
    before_tests.lines().map(|l| if l.trim_start().starts_with("//") { "" } else { l }).collect::<Vec<_>>().join("\n")
}

/// The paths from the crate's root that the code of `module` names.
fn paths(code: &str, module: &[String], others: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let starts: Vec<&str> = ["crate", "super"].into_iter().chain(others.iter().copied()).collect();
    for start in starts {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut rest = &code[at..];
            let mut base: Vec<String> = match start {
                "crate" => vec![],
                "super" => module.to_vec(),
                other => vec![other.to_owned()],
            };
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            rest = rest.strip_prefix(&format!("{start}::")).unwrap_or(rest);
            for tail in heads(rest) {
                let whole: Vec<String> = base.iter().cloned().chain(tail).collect();
                if !whole.is_empty() {
                    found.insert(whole.into_iter().take(4).collect::<Vec<_>>().join("::"));
                }
            }
        }
    }
    found
}

/// What a path goes on with: `a::b`, or each of `{a::b, c}`.
fn heads(rest: &str) -> Vec<Vec<String>> {
    if let Some(inner) = rest.strip_prefix('{') {
        let (mut depth, mut start, mut out) = (0, 0, vec![]);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    out.extend(heads(inner[start..at].trim()));
                    start = at + 1;
                    if c == '}' {
                        return out;
                    }
                }
                _ => {}
            }
        }
        return out;
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return vec![];
    }
    match rest[name.len()..].strip_prefix("::") {
        Some(more) => {
            let deeper = heads(more);
            let with = |tail: Vec<String>| std::iter::once(name.clone()).chain(tail).collect();
            if deeper.is_empty() { vec![vec![name]] } else { deeper.into_iter().map(with).collect() }
        }
        None => vec![vec![name]],
    }
}

/// Fails for every path that a module names although the rule says it must not; `allowed` are exceptions, each a path and all below it.
pub fn forbid(arrows: &Arrows, modules: &[&str], targets: &[&str], allowed: &[&str]) {
    let below = |path: &str, of: &str| path == of || path.strip_prefix(of).is_some_and(|rest| rest.starts_with("::"));
    for (module, paths) in arrows {
        if !modules.contains(&module.as_str()) {
            continue;
        }
        let wrong: Vec<&String> =
            paths.iter().filter(|p| targets.iter().any(|t| below(p, t)) && !allowed.iter().any(|a| below(p, a))).collect();
        assert!(wrong.is_empty(), "`{module}` names {wrong:?}: it must know nothing of {targets:?}");
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use crate::{os::fs, store};\nuse super::super::term::{self, log};\nfn f() { crate::core::limits::X; my_crate::no; }\nuse agents::os;\n";
    let module = ["cli".to_owned(), "up".to_owned()];
    let found = paths(&code(text), &module, &["agents"]);
    let expected = ["agents::os", "core::limits::X", "os::fs", "store", "term::log", "term::self"];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(paths("use super::x::Y;", &module, &[]).into_iter().collect::<Vec<_>>(), ["cli::x::Y"]);
}

#[test]
#[should_panic(expected = "must know nothing of")]
fn a_forbidden_arrow_is_caught() {
    let arrows = Arrows::from([("core".to_owned(), BTreeSet::from(["os::fs".to_owned()]))]);
    forbid(&arrows, &["core"], &["os"], &["os::pty"]);
}
