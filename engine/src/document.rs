//! Strict reading of TOML that people write: every finding at once, each with its file, line, column and the nearest known key.
//!
//! What is known is what the type's JSON Schema says, so the reader, the schema that editors use and the documentation cannot part.

use std::ops::Range;
use std::path::Path;

use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Kind, Place, Result};
use crate::os::fs;

/// Reads a whole file's text. Errors are of kind `Invalid`: all syntax errors, or else all unknown keys and the first value of a wrong type.
pub fn read<T: DeserializeOwned + JsonSchema>(file: &Path, text: &str) -> Result<T> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(all(errors.iter().map(|e| from_toml(file, text, e)).collect()));
    }
    let mut unknown = false;
    let value: std::result::Result<T, _> = serde_ignored::deserialize(toml::de::Deserializer::from(root), |_| unknown = true);
    if !unknown && let Ok(value) = value {
        return Ok(value);
    }
    // Only now, as making the schema takes longer than all the rest.
    let schema: Schema = schema_for!(T);
    let (root, _) = DeTable::parse_recoverable(text);
    let mut walk = Walk { file, text, schema: schema.as_value(), path: vec![], findings: vec![] };
    walk.table(root.get_ref(), &[schema.as_value()]);
    let mut findings = walk.findings;
    match value {
        Ok(value) if findings.is_empty() => return Ok(value),
        // Found by the walk already, with the nearest key.
        Err(e) if e.message().starts_with("unknown field") && !findings.is_empty() => {}
        Ok(_) => {}
        Err(e) => findings.push(from_toml(file, text, &e)),
    }
    Err(all(findings))
}

fn all(findings: Vec<Error>) -> Error {
    Error::all(findings).unwrap_or_else(|| Error::failed("the file could not be read"))
}

/// The place of a byte in a text.
pub fn place(file: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    Place { file: file.to_path_buf(), line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
}

/// The place of the value under these keys, or of the nearest table around it that is there.
pub fn locate(file: &Path, text: &str, keys: &[&str]) -> Place {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut table = root.get_ref();
    let mut offset = 0;
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else { break };
        match value.get_ref() {
            DeValue::Table(inner) => {
                offset = name.span().start;
                table = inner;
            }
            _ => {
                offset = value.span().start;
                break;
            }
        }
    }
    place(file, text, offset)
}

/// The names of the tables under a key, in the file's order.
pub fn names_in_order(text: &str, key: &str) -> Vec<String> {
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Table(table)) = root.get_ref().get(key).map(toml::Spanned::get_ref) else { return vec![] };
    let mut names: Vec<(usize, String)> = table.iter().map(|(name, _)| (name.span().start, name.get_ref().to_string())).collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

/// Of known words, this many are told at most.
const SUGGESTED_MAX: usize = 20;

/// A file's text; `None` where there is none. What stands in a project's folder may be anything: a pipe, a device, gigabytes. That is refused, not read.
pub fn text(file: &Path) -> Result<Option<String>> {
    let odd = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::InvalidData => Error::new(Kind::Invalid, e.to_string()).hint("expected a text file, in UTF-8"),
        _ => Error::from(e),
    };
    fs::read_text_if_there(file).map_err(odd)
}

/// The known word nearest to what was written, if it is near enough to have been meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &str| strsim::osa_distance(&written.to_lowercase(), &k.to_lowercase());
    known.into_iter().map(|k| (distance(k), k)).min().filter(|(d, k)| *d <= k.chars().count().max(3) / 3).map(|(_, k)| k)
}

/// What to do about an unknown word: the nearest one, else all there are.
pub fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => {
            let mut known: Vec<&str> = known.into_iter().collect();
            known.sort_unstable();
            let more = match known.len().saturating_sub(SUGGESTED_MAX) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            known.truncate(SUGGESTED_MAX);
            format!("known here: {}{more}", known.join(", "))
        }
    }
}

fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim().replace('\n', ", ");
    let at = place(file, text, error.span().map_or(0, |s| s.start));
    Error::invalid_at(at, message)
}

struct Walk<'a> {
    file: &'a Path,
    text: &'a str,
    /// The root, in which references are looked up.
    schema: &'a Value,
    path: Vec<String>,
    findings: Vec<Error>,
}

impl<'a> Walk<'a> {
    /// The object schemas that a schema may mean: references followed, alternatives side by side.
    fn objects(&self, schema: &'a Value, out: &mut Vec<&'a Value>) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next())
            && let Some(target) = self.schema.get("$defs").and_then(|d| d.get(name))
        {
            self.objects(target, out);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            for alternative in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
                self.objects(alternative, out);
            }
        }
        if schema.get("properties").is_some() || schema.get("additionalProperties").is_some_and(Value::is_object) {
            out.push(schema);
        }
    }

    fn table(&mut self, table: &DeTable<'_>, schemas: &[&'a Value]) {
        let mut objects = vec![];
        for schema in schemas {
            self.objects(schema, &mut objects);
        }
        if objects.is_empty() {
            return; // not an object at all: the type error says so
        }
        for (key, value) in table {
            let name: &str = key.get_ref();
            let mut inner: Vec<&'a Value> = objects.iter().filter_map(|o| o.get("properties")?.get(name)).collect();
            inner.extend(objects.iter().filter_map(|o| o.get("additionalProperties")).filter(|a| a.is_object()));
            if inner.is_empty() {
                self.unknown(name, key.span(), &objects);
                continue;
            }
            self.path.push(name.to_owned());
            self.value(value.get_ref(), &inner);
            self.path.pop();
        }
    }

    fn value(&mut self, value: &DeValue<'_>, schemas: &[&'a Value]) {
        match value {
            DeValue::Table(table) => self.table(table, schemas),
            DeValue::Array(items) => {
                let inner: Vec<&'a Value> = schemas.iter().filter_map(|s| s.get("items")).collect();
                for item in items {
                    self.value(item.get_ref(), &inner);
                }
            }
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn unknown(&mut self, name: &str, span: Range<usize>, objects: &[&'a Value]) {
        let known: Vec<&str> =
            objects.iter().filter_map(|o| o.get("properties")?.as_object()).flat_map(|p| p.keys().map(String::as_str)).collect();
        let of = if self.path.is_empty() { "at the top".to_owned() } else { format!("in [{}]", self.path.join(".")) };
        let error = Error::invalid_at(place(self.file, self.text, span.start), format!("unknown key `{name}` {of}"));
        self.findings.push(error.hint(suggest(name, known)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct File {
        #[allow(dead_code)]
        project: Option<Project>,
        #[serde(default)]
        #[allow(dead_code)]
        agent: BTreeMap<String, Agent>,
    }
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Project {
        #[allow(dead_code)]
        name: Option<String>,
    }
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Agent {
        #[allow(dead_code)]
        prompt: Option<String>,
        #[allow(dead_code)]
        burst: Option<u32>,
    }

    fn refused(text: &str) -> String {
        read::<File>(Path::new("agents.toml"), text).expect_err("it was taken").to_string()
    }

    #[test]
    fn unknown_keys_are_all_told_with_the_nearest() {
        insta::assert_snapshot!(refused("[agent.one]\npromt = \"x\"\n[agent.two]\nzzz = 1\n[projct]\n"), @r"
        agents.toml:2:1: unknown key `promt` in [agent.one]
        hint: did you mean `prompt`?
        error: agents.toml:4:1: unknown key `zzz` in [agent.two]
        hint: known here: burst, prompt
        error: agents.toml:5:2: unknown key `projct` at the top
        hint: did you mean `project`?
        ");
    }

    #[test]
    fn wrong_types_and_wrong_syntax_are_placed() {
        insta::assert_snapshot!(refused("[agent.one]\nburst = \"five\"\n"), @r#"agents.toml:2:9: invalid type: string "five", expected u32"#);
        assert!(refused("[agent.one\nburst = 5\n").starts_with("agents.toml:1:"), "{}", refused("[agent.one\nburst = 5\n"));
    }

    #[test]
    fn columns_count_characters() {
        let text = "a = 'é' # é\nb = 1\n";
        assert_eq!(
            (place(Path::new("f"), text, text.find("# ").unwrap()).column, place(Path::new("f"), text, text.find('b').unwrap()).line),
            (9, 2)
        );
        assert_eq!(locate(Path::new("f"), "[agent.one]\nprompt = 'x'\n", &["agent", "one", "prompt"]).line, 2);
        assert_eq!(names_in_order("[agent.b]\n[agent.a]\n", "agent"), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ a-z\\[\\]=\"'\n#.,{}0-9é]{0,80}") {
            let _ = read::<File>(Path::new("f"), &text);
        }
    }
}
