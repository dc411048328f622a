//! Putting values into command lines and prompts.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Place, Result};

/// The placeholders of a backend's command lines.
pub const PLACEHOLDERS: &[&str] = &["prompt", "prompt_file", "session", "worktree", "task", "resume_id", "model", "command", "unique"];

/// The first placeholder that is none of [`PLACEHOLDERS`]. Braces around anything but a plain word are text.
pub fn unknown_placeholder(argv: &[String]) -> Option<String> {
    argv.iter().flat_map(|a| words_in_braces(a)).find(|w| !PLACEHOLDERS.contains(w)).map(str::to_owned)
}

fn words_in_braces(text: &str) -> impl Iterator<Item = &str> {
    let word = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(w, _)| w)).filter(word)
}

/// The placeholder that is all of an argument, or all that stands after its `--flag=`.
fn sole(argument: &str) -> Option<&str> {
    let value = argument.split_once('=').filter(|(flag, _)| flag.starts_with("--")).map_or(argument, |(_, value)| value);
    value.strip_prefix('{')?.strip_suffix('}').filter(|w| PLACEHOLDERS.contains(w))
}

/// A command line with its values. An argument that is only a placeholder without a value is left out, together with a flag right before it;
/// so is a `--flag=` with nothing else.
pub fn argv(template: &[String], values: &BTreeMap<&str, String>, command: &[String]) -> Vec<String> {
    let mut out: Vec<String> = vec![];
    for (n, argument) in template.iter().enumerate() {
        // What stands before it in the template, so that nothing else goes when that was left out too.
        let flag = n > 1 && template[n - 1].starts_with('-') && !template[n - 1].contains('{');
        match sole(argument) {
            Some("command") if argument == "{command}" => out.extend(command.iter().cloned()),
            Some(word) if values.contains_key(word) => out.push(filled(argument, values)),
            Some(_) if flag && !argument.starts_with('-') => drop(out.pop()),
            Some(_) => {}
            None => out.push(filled(argument, values)),
        }
    }
    out
}

/// A text with those placeholders replaced that have a value; all else stays as it is.
pub fn text(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        rest = match after.split_once('}').and_then(|(word, tail)| Some((values.get(word)?, tail))) {
            Some((value, tail)) => {
                out.push_str(value);
                tail
            }
            None => {
                out.push('{');
                after
            }
        };
    }
    out + rest
}

/// One pass, so that a value that looks like a placeholder stays as it is.
fn filled(argument: &str, values: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    let mut rest = argument;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        match after.split_once('}') {
            Some((word, tail)) if PLACEHOLDERS.contains(&word) => {
                out.push_str(values.get(word).map_or("", String::as_str));
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A prompt file's text with its values. A value that is not there is an error with its line.
pub fn prompt(file: &Path, text: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.render_str(text, values).map_err(|e| {
        let place = Place { file: file.to_path_buf(), line: e.line().unwrap_or(1), column: 1 };
        let message = e.detail().map_or_else(|| e.kind().to_string(), |d| format!("{}: {d}", e.kind()));
        let known: Vec<&str> = values.keys().copied().collect();
        Error::invalid_at(place, message).hint(format!("a prompt may use: {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn an_absent_value_takes_its_flag_along() {
        let values = BTreeMap::from([("prompt", "do {model} it".to_owned()), ("session", "int-1".to_owned())]);
        let template = strings(&["claude", "--model", "{model}", "--name={session}", "{prompt}"]);
        assert_eq!(argv(&template, &values, &[]), ["claude", "--name=int-1", "do {model} it"]);
        assert_eq!(argv(&strings(&["{command}"]), &values, &strings(&["sh", "-c", "{x}"])), ["sh", "-c", "{x}"]);
        assert_eq!(argv(&strings(&["{prompt}"]), &BTreeMap::new(), &[]), Vec::<String>::new());
        let codex = strings(&["codex", "--no-daemon", "--model", "{model}", "{prompt}"]);
        assert_eq!(argv(&codex, &BTreeMap::new(), &[]), ["codex", "--no-daemon"], "only its own flag goes");
        let joined = strings(&["gemini", "-d", "--prompt={prompt}", "--", "{model}"]);
        assert_eq!(argv(&joined, &BTreeMap::new(), &[]), ["gemini", "-d"], "a joined flag goes alone");
        assert_eq!(argv(&joined, &values, &[]), ["gemini", "-d", "--prompt=do {model} it"]);
    }

    #[test]
    fn unknown_placeholders_are_found_and_other_braces_left() {
        assert_eq!(unknown_placeholder(&strings(&["a", "{promt}"])), Some("promt".into()));
        assert_eq!(unknown_placeholder(&strings(&["sh", "-c", "echo ${HOME} {1..3} {}"])), None);
    }

    #[test]
    fn a_text_keeps_what_nothing_is_known_of() {
        let values = BTreeMap::from([("unique", "0-int-1".to_owned())]);
        assert_eq!(text("a-{unique}.db {b} {{unique} {", &values), "a-0-int-1.db {b} {0-int-1 {");
    }

    #[test]
    fn a_prompt_says_what_it_lacks() {
        let values = BTreeMap::from([("project", "web".to_owned())]);
        assert_eq!(prompt(Path::new("p.md"), "You look after {{ project }}.", &values).unwrap(), "You look after web.");
        let error = prompt(Path::new("p.md"), "one\n{{ projct }}", &values).unwrap_err();
        assert_eq!(error.place.unwrap().line, 2);
    }
}
