//! Strict reading of TOML that people write: every finding with its file, line, column and the nearest known key.
//!
//! A file that is fine costs one pass of serde. Only when that fails is the text walked again, beside the JSON Schema of the type,
//! so that all that is wrong is said at once. Types that are read here carry `#[serde(deny_unknown_fields)]`.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Place, Result};

/// Findings that are reported of one file; after so many the rest is likely to follow from the first ones.
const FINDINGS_MAX: usize = 50;

/// Reads a document. All that is wrong with it is one error, in the order of the file.
pub fn read<T: DeserializeOwned + JsonSchema>(file: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| diagnose(file, text, &schemars::schema_for!(T).to_value(), &error))
}

/// Where a byte of the text is, for a person: both count from 1, columns are characters.
pub fn place(file: &Path, text: &str, byte_offset: usize) -> Place {
    let mut end = byte_offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    Place { file: file.to_path_buf(), line, column: before[line_start..].chars().count() + 1 }
}

/// The known word that a misspelt one probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let near = |k: &'a str| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known.into_iter().map(near).filter(|(d, _)| *d <= allowed).min().map(|(_, k)| k)
}

/// Adds the hint that helps with an unknown word: the nearest known one, else all known ones.
pub fn suggest<'a>(error: Error, word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(k) => error.hint(format!("did you mean `{k}`?")),
        None if known.is_empty() => error,
        None => error.hint(format!("known here: {}", known.join(", "))),
    }
}

fn diagnose(file: &Path, text: &str, schema: &Json, error: &toml::de::Error) -> Error {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut walk = Walk { root: schema, found: vec![] };
    if syntax.is_empty() {
        walk.table(table.get_ref(), 0, schema, &mut vec![]);
    } else {
        let found = |e: &toml::de::Error| Found::new(e.span().map_or(0, |s| s.start), format!("not TOML: {}", e.message()));
        walk.found = syntax.iter().map(found).collect();
    }
    if walk.found.is_empty() {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        walk.found.push(Found::new(error.span().map_or(0, |s| s.start), message));
    }
    walk.found.sort_by_key(|f| f.at);
    walk.found.dedup_by_key(|f| f.at);
    walk.found.truncate(FINDINGS_MAX);
    let errors =
        walk.found.into_iter().map(|f| Error { hints: f.hints, ..Error::invalid_at(place(file, text, f.at), f.message) }).collect();
    Error::all(errors).unwrap_or_else(|| Error::invalid(file, "cannot be read"))
}

/// Something wrong, at a byte of the text.
#[derive(Debug)]
struct Found {
    at: usize,
    message: String,
    hints: Vec<String>,
}

impl Found {
    fn new(at: usize, message: String) -> Found {
        Found { at, message, hints: vec![] }
    }
    fn suggest<'a>(at: usize, message: String, word: &str, known: impl IntoIterator<Item = &'a str>) -> Found {
        let hints = suggest(Error::failed(""), word, known).hints;
        Found { at, message, hints }
    }
}

/// One step of the way from the top of the document to a value.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Element,
}

/// The document beside its schema.
struct Walk<'s> {
    root: &'s Json,
    found: Vec<Found>,
}

impl<'s> Walk<'s> {
    /// Follows `$ref`, which schemars writes as `#/$defs/NAME`.
    fn resolve(&self, mut schema: &'s Json) -> &'s Json {
        while let Some(pointer) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
            match self.root.pointer(pointer) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The shapes that a value may have, where there are several; shapes within shapes are laid flat.
    fn options(&self, schema: &'s Json) -> Option<Vec<&'s Json>> {
        let several = ["anyOf", "oneOf"].iter().find_map(|k| schema[*k].as_array())?;
        let flat = several.iter().map(|s| self.resolve(s)).flat_map(|s| self.options(s).unwrap_or_else(|| vec![s]));
        Some(flat.filter(|s| s["type"] != "null").collect())
    }

    fn table(&mut self, table: &DeTable<'_>, at: usize, schema: &'s Json, path: &mut Vec<Step>) {
        let properties = schema["properties"].as_object();
        let known = || properties.into_iter().flatten().map(|(k, _)| k.as_str());
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let rest = &schema["additionalProperties"];
            let of_pattern = || schema["patternProperties"].as_object().and_then(|p| p.values().next());
            if let Some(property) = properties.and_then(|p| p.get(name)) {
                path.push(Step::Key(name.to_owned()));
                self.value(value, property, path);
                path.pop();
            } else if let Some(property) = of_pattern().or(rest.is_object().then_some(rest)) {
                path.push(Step::Key(name.to_owned()));
                self.value(value, property, path);
                path.pop();
            } else if *rest == Json::Bool(false) {
                let message = format!("unknown key `{}` {}", shown(name), inside(path));
                self.found.push(Found::suggest(key.span().start, message, name, known()));
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(name) {
                self.found.push(Found::new(at, format!("key `{name}` is missing {}", inside(path))));
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'s Json, path: &mut Vec<Step>) {
        let schema = self.resolve(schema);
        if let Some(options) = self.options(schema) {
            return self.one_of(value, &options, path);
        }
        let start = value.span().start;
        let expected = expected(schema);
        let right = |kind: &str| expected.is_empty() || expected.iter().any(|e| e == kind);
        let kind = kind(value.get_ref());
        if !right(kind) && !(kind == "integer" && right("number")) {
            let message = format!("{} is {}, expected {}", of(path), article(kind), either(&expected));
            return self.found.push(Found::new(start, message));
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, start, schema, path),
            DeValue::Array(array) if schema["items"].is_object() => {
                path.push(Step::Element);
                for element in array.iter() {
                    self.value(element, &schema["items"], path);
                }
                path.pop();
            }
            DeValue::String(text) => self.word(text, start, &words(schema), path),
            DeValue::Integer(number) => self.integer(number, start, schema, path),
            _ => {}
        }
    }

    fn word(&mut self, text: &str, at: usize, words: &[&str], path: &[Step]) {
        if !words.is_empty() && !words.contains(&text) {
            let quoted: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
            let message = format!("{} is {text:?}, expected {}", of(path), either(&quoted));
            self.found.push(Found {
                hints: nearest(text, words.iter().copied()).map(|w| format!("did you mean {w:?}?")).into_iter().collect(),
                ..Found::new(at, message)
            });
        }
    }

    fn integer(&mut self, number: &toml::de::DeInteger<'_>, at: usize, schema: &Json, path: &[Step]) {
        let least = schema["minimum"].as_f64();
        let most = schema["maximum"].as_f64().or(match schema["format"].as_str() {
            Some("uint8") => Some(f64::from(u8::MAX)),
            Some("uint16") => Some(f64::from(u16::MAX)),
            Some("uint32") => Some(f64::from(u32::MAX)),
            _ => None,
        });
        let Ok(value) = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) else { return };
        if least.is_some_and(|l| (value as f64) < l) || most.is_some_and(|m| value as f64 > m) {
            let range = match (least, most) {
                (Some(l), Some(m)) => format!("{l} to {m}"),
                (Some(l), None) => format!("{l} or more"),
                (None, Some(m)) => format!("{m} or less"),
                (None, None) => return,
            };
            self.found.push(Found::new(at, format!("{} is {value}, expected {range}", of(path))));
        }
    }

    /// A value of several possible shapes: fine if it has one of them, else told by the one that is of its type.
    fn one_of(&mut self, value: &Spanned<DeValue<'_>>, options: &[&'s Json], path: &mut Vec<Step>) {
        let kind = kind(value.get_ref());
        let mut nearest: Option<Vec<Found>> = None;
        let mut all_words = vec![];
        for option in options {
            all_words.extend(words(option));
            let mut inner = Walk { root: self.root, found: vec![] };
            inner.value(value, option, path);
            if inner.found.is_empty() {
                return;
            }
            if expected(option).iter().any(|e| e == kind) && words(option).is_empty() {
                nearest.get_or_insert(inner.found);
            }
        }
        let start = value.span().start;
        match (nearest, value.get_ref()) {
            (Some(found), _) => self.found.extend(found),
            (None, DeValue::String(text)) if !all_words.is_empty() => self.word(text, start, &all_words, path),
            (None, _) => {
                let mut kinds: Vec<String> = options.iter().flat_map(|o| expected(o)).collect();
                kinds.dedup();
                self.found.push(Found::new(start, format!("{} is {}, expected {}", of(path), article(kind), either(&kinds))));
            }
        }
    }
}

/// A value's type in the words of JSON Schema.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// The types that a schema takes; empty: any. TOML has no null, so it is not named.
fn expected(schema: &Json) -> Vec<String> {
    let named = match &schema["type"] {
        Json::String(one) => vec![one.as_str()],
        Json::Array(many) => many.iter().filter_map(Json::as_str).collect(),
        _ if !words(schema).is_empty() => vec!["string"],
        _ => vec![],
    };
    let several = named.len() > 1;
    named.into_iter().filter(|t| *t != "null" || !several).map(str::to_owned).collect()
}

/// The words that a schema's `enum` or `const` takes.
fn words(schema: &Json) -> Vec<&str> {
    schema["enum"].as_array().into_iter().flatten().chain(std::iter::once(&schema["const"])).filter_map(Json::as_str).collect()
}

fn article(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "date" => "a date",
        "array" => "an array",
        "object" => "a table",
        other => other,
    }
}

fn either(kinds: &[String]) -> String {
    let shown: Vec<&str> = kinds.iter().filter(|k| *k != "null").map(|k| article(k)).collect();
    match shown.split_last() {
        None => "something else".into(),
        Some((one, [])) => (*one).into(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// A key as it would be written.
fn shown(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { key.to_owned() } else { format!("{key:?}") }
}

/// The table that a path leads to, as its header: `[agent.web]`, `[[project]]`.
fn header(path: &[Step]) -> String {
    let keys: Vec<String> = path.iter().filter_map(|s| if let Step::Key(k) = s { Some(shown(k)) } else { None }).collect();
    let name = keys.join(".");
    if matches!(path.last(), Some(Step::Element)) { format!("[[{name}]]") } else { format!("[{name}]") }
}

fn inside(path: &[Step]) -> String {
    if path.is_empty() { "at the top of the file".into() } else { format!("in {}", header(path)) }
}

/// The value that a path leads to: `` `burst` in [agent.web.restart] ``.
fn of(path: &[Step]) -> String {
    match path.iter().rposition(|s| matches!(s, Step::Key(_))) {
        Some(last) => {
            let Step::Key(key) = &path[last] else { return inside(path) };
            let element = if last + 1 < path.len() { "an element of " } else { "" };
            format!("{element}`{}` {}", shown(key), inside(&path[..last]))
        }
        None => "the file".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Document {
        #[serde(default)]
        agent: BTreeMap<String, Agent>,
        #[serde(default)]
        project: Vec<Project>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Agent {
        #[schemars(with = "Option<String>")]
        prompt: Option<Spanned<String>>,
        watch: Option<Watch>,
        burst: Option<u32>,
        #[serde(default)]
        argv: Vec<String>,
        many: Option<Many>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Watch {
        None,
        /// Documented variants have a schema of another form.
        Heal,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Many {
        One(String),
        All(Vec<String>),
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Project {
        name: String,
        enabled: Option<bool>,
    }

    fn wrong(text: &str) -> String {
        read::<Document>(Path::new("x.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_is_read() {
        let text = "[agent.web]\nprompt = 'p'\nwatch = 'heal'\nburst = 3\nmany = ['a']\n[[project]]\nname = 'x'\n";
        let document: Document = read(Path::new("x.toml"), text).unwrap();
        assert_eq!(document.agent["web"].prompt.as_ref().unwrap().span(), 21..24);
        assert_eq!(document.project.len(), 1);
    }

    #[test]
    fn all_unknown_keys_are_named_with_the_nearest_known_one() {
        assert_snapshot!(wrong("[agent.web]\npromt = 'p'\n\n[agents.web]\nx = 1\n[[project]]\nname = 'a'\nzzz = 1\n"), @r#"
        x.toml:2:1: unknown key `promt` in [agent.web]
        hint: did you mean `prompt`?
        error: x.toml:4:2: unknown key `agents` at the top of the file
        hint: did you mean `agent`?
        error: x.toml:8:1: unknown key `zzz` in [[project]]
        hint: known here: enabled, name
        "#);
    }

    #[test]
    fn all_wrong_types_are_named() {
        assert_snapshot!(wrong("project = 3\n[agent.'a b']\nprompt = 1\nburst = 'x'\nargv = ['é', 2]\nmany = 3\n"), @r#"
        x.toml:1:11: `project` at the top of the file is an integer, expected an array
        error: x.toml:3:10: `prompt` in [agent."a b"] is an integer, expected a string
        error: x.toml:4:9: `burst` in [agent."a b"] is a string, expected an integer
        error: x.toml:5:14: an element of `argv` in [agent."a b"] is an integer, expected a string
        error: x.toml:6:8: `many` in [agent."a b"] is an integer, expected a string or an array
        "#);
        assert_snapshot!(wrong("agent.web = [1]\n[[project]]\nname = true\nenabled = 1979-05-27\n"), @r#"
        x.toml:1:13: `web` in [agent] is an array, expected a table
        error: x.toml:3:8: `name` in [[project]] is true or false, expected a string
        error: x.toml:4:11: `enabled` in [[project]] is a date, expected true or false
        "#);
    }

    #[test]
    fn wrong_values_are_told_what_is_expected() {
        assert_snapshot!(wrong("[agent.a]\nwatch = 'heel'\n[agent.b]\nwatch = 'often'\nburst = -1\n[agent.c]\nburst = 99999999999\n"), @r#"
        x.toml:2:9: `watch` in [agent.a] is "heel", expected "none" or "heal"
        hint: did you mean "heal"?
        error: x.toml:4:9: `watch` in [agent.b] is "often", expected "none" or "heal"
        error: x.toml:5:9: `burst` in [agent.b] is -1, expected 0 to 4294967295
        error: x.toml:7:9: `burst` in [agent.c] is 99999999999, expected 0 to 4294967295
        "#);
    }

    #[test]
    fn a_missing_key_is_named_where_its_table_stands() {
        assert_snapshot!(wrong("[[project]]\nname = 'a'\n\n[[project]]\nenabled = true\n"), @r#"x.toml:4:1: key `name` is missing in [[project]]"#);
    }

    #[test]
    fn what_is_no_toml_is_told_by_line_and_column() {
        assert_snapshot!(wrong("[agent.a]\nprompt = 'x\nburst = \n"), @r#"
        x.toml:2:12: not TOML: invalid literal string, expected `'`
        error: x.toml:3:9: not TOML: string values must be quoted, expected literal string
        "#);
        assert_snapshot!(wrong("[agent.a]\nburst = 1\nburst = 2\n"), @r#"x.toml:3:1: not TOML: duplicate key"#);
        assert_snapshot!(wrong("[agent.a\n"), @r#"x.toml:1:9: not TOML: unclosed table, expected `]`"#);
    }

    #[test]
    fn columns_are_characters() {
        let text = "a = 'é' # ü\nb = '日本' x";
        assert_eq!(place(Path::new("f"), text, text.len()).to_string(), "f:2:11");
        assert_eq!(place(Path::new("f"), text, 6).to_string(), "f:1:6", "inside a character is its start");
        assert_eq!(place(Path::new("f"), "", 99).to_string(), "f:1:1");
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(text in any::<String>()) {
            let _ = read::<Document>(Path::new("f"), &text);
        }

        #[test]
        fn nothing_like_toml_panics(text in r"(\[{0,2}(agent|project|x)(\.[a-z]+)?\]{0,2}\n|(prompt|watch|burst|argv|many|name|é) ?= ?('[a-zé]*'|-?[0-9]{1,22}|\[[^\n]{0,5}\]?|\{a=1\}|true)\n?){0,8}") {
            let _ = read::<Document>(Path::new("f"), &text);
        }
    }
}
