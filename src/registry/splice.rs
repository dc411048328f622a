//! Finds the bytes of `fleet.toml` that a change is about, and replaces those and no others.
//!
//! toml_edit says where everything stands. It is not asked to print the document: that would rewrite line endings.

use std::collections::BTreeMap;
use std::ops::Range;

use agents::cli::{Error, Result};
use toml_edit::{Document, InlineTable, Item, Table, TableLike};

use super::edit::Value;

/// What has keys.
pub(super) enum Target<'a> {
    /// By its number in the file.
    Project(usize),
    Harness(&'a str),
}

/// A table as it is written.
#[derive(Clone, Copy)]
enum Held<'a> {
    /// `[table]` and lines below it, or dotted keys that are lines of their own.
    Lines(&'a Table),
    /// `{ … }`, or dotted keys inside one.
    Braces(&'a InlineTable),
}

impl<'a> Held<'a> {
    fn of(item: &'a Item) -> Option<Held<'a>> {
        item.as_table().map(Held::Lines).or_else(|| item.as_inline_table().map(Held::Braces))
    }
    fn keys(self) -> &'a dyn TableLike {
        match self {
            Held::Lines(table) => table,
            Held::Braces(table) => table,
        }
    }
    /// Of a `[table]`, its header; of dotted keys, the first one.
    fn span(self) -> Range<usize> {
        match self {
            Held::Lines(table) => table.span(),
            Held::Braces(table) => table.span(),
        }
        .unwrap_or_default()
    }
    /// Where the last of its values ends.
    fn end(self) -> Option<usize> {
        let ends = self.keys().iter().filter_map(|(_, item)| match Held::of(item) {
            Some(held) if held.keys().is_dotted() => held.end(),
            Some(Held::Lines(_)) => None,
            _ => item.span().map(|s| s.end),
        });
        ends.max()
    }
    /// Where the name of its last key begins.
    fn last_name(self) -> Option<usize> {
        self.keys().iter().filter_map(|(key, _)| self.keys().key(key)?.span()).map(|s| s.start).max()
    }
}

/// A text, where its parts stand, and replacements that wait to be made.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    document: Document<String>,
    projects: BTreeMap<String, usize>,
    pending: Vec<(Range<usize>, String)>,
}

impl Text {
    pub fn new(text: String) -> Result<Text> {
        let document = Document::parse(text.clone()).map_err(|e| Error::failed(e.message().to_owned()))?;
        let mut text = Text { text, document, projects: BTreeMap::new(), pending: vec![] };
        let names = (0..).map_while(|n| text.table(n)).enumerate();
        let names: Vec<_> = names.filter_map(|(n, t)| Some((t.keys().get("name")?.as_str()?.to_owned(), n))).collect();
        text.projects.extend(names);
        Ok(text)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A project's number.
    pub fn project(&self, name: &str) -> Option<usize> {
        self.projects.get(name).copied()
    }

    pub fn has_harness(&self, name: &str) -> bool {
        self.harness(name).is_some()
    }

    /// Makes the pending replacements. They do not overlap; of several at one place the earlier asked for stands first.
    pub fn apply(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending.sort_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(self.text.len() + 200);
        let mut done = 0;
        for (range, new) in std::mem::take(&mut self.pending) {
            out.push_str(&self.text[done..range.start]);
            out.push_str(&new);
            done = range.end;
        }
        out.push_str(&self.text[done..]);
        *self = Text::new(out)?;
        Ok(())
    }

    /// Sets a key: its value is replaced where there is one, else it becomes the last of its table.
    pub fn set(&mut self, target: &Target<'_>, key: &str, value: &Value) {
        let held = match target {
            Target::Project(number) => self.table(*number),
            Target::Harness(name) => self.harness(name),
        };
        let Some(held) = held else { return };
        let new = written(value);
        let splice = match held.keys().get(key).and_then(Item::span) {
            Some(span) => (span, new),
            None => self.insert_key(held, key, &new),
        };
        self.pending.push(splice);
    }

    /// Takes a key of a project away.
    pub fn unset(&mut self, number: usize, key: &str) {
        let Some(held) = self.table(number) else { return };
        let span = held.keys().key(key).and_then(|k| k.span()).zip(held.keys().get(key).and_then(Item::span));
        let Some((name, value)) = span else { return };
        let range = match held {
            Held::Lines(_) => self.line_start(name.start)..self.line_end(value.end),
            Held::Braces(_) => self.without_comma(name.start..value.end),
        };
        self.pending.push((range, String::new()));
    }

    /// Adds a project after the last one, in the way in which the others are written.
    pub fn add_project(&mut self, keys: &[(&str, Value)]) {
        let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {}", written(value))).collect();
        if let Some(array) = self.document.get("project").and_then(Item::as_array) {
            let last = array.iter().last().and_then(toml_edit::Value::span);
            let open = array.span().unwrap_or_default().start;
            return self.add_element(last, open, &format!("{{ {} }}", pairs.join(", ")));
        }
        let newline = self.newline();
        let at = self.projects.len().checked_sub(1).map_or(self.text.len(), |last| self.block(last).end);
        self.insert_block(at, &format!("[[project]]{newline}{}", pairs.join(newline)));
    }

    /// Adds a harness after the last one that has lines of its own, else before the first project.
    pub fn add_harness(&mut self, name: &str, key: &str, value: &Value) {
        let pair = format!("{key} = {}", written(value));
        let all = self.document.get("harness").and_then(Held::of);
        if let Some(held @ Held::Braces(_)) = all {
            let splice = self.insert_key(held, name, &format!("{{ {pair} }}"));
            return self.pending.push(splice);
        }
        let own = all.into_iter().flat_map(|a| a.keys().iter()).filter_map(|(_, item)| Held::of(item));
        let own = own.filter(|h| matches!(h, Held::Lines(t) if !t.is_dotted() && !t.is_implicit()));
        let at = match own.map(|h| h.end().unwrap_or(0).max(h.span().end)).max() {
            Some(end) => self.line_end(end),
            None if matches!(self.table(0), Some(Held::Lines(_))) => self.block(0).start,
            None => self.text.len(),
        };
        self.insert_block(at, &format!("[harness.{name}]{}{pair}", self.newline()));
    }

    /// Removes a project: its lines, the comments directly above and below it, and blank lines that would stand doubled.
    pub fn remove_project(&mut self, number: usize) {
        let range = match self.table(number) {
            Some(Held::Lines(_)) => self.with_blanks(self.block(number)),
            Some(held) => self.element(number, held.span()),
            None => return,
        };
        self.pending.push((range, String::new()));
    }

    fn table(&self, number: usize) -> Option<Held<'_>> {
        match self.document.get("project")? {
            Item::ArrayOfTables(array) => array.get(number).map(Held::Lines),
            item => item.as_array()?.get(number)?.as_inline_table().map(Held::Braces),
        }
    }

    fn harness(&self, name: &str) -> Option<Held<'_>> {
        Held::of(self.document.get("harness")?.as_table_like()?.get(name)?)
    }

    /// A new key as the last of a table.
    fn insert_key(&self, held: Held<'_>, key: &str, new: &str) -> (Range<usize>, String) {
        let (Some(name), Some(end)) = (held.last_name(), held.end()) else {
            return match held {
                Held::Lines(_) => self.insert_line(held.span().end, &format!("{key} = {new}")),
                Held::Braces(_) => (held.span().start + 1..held.span().start + 1, format!(" {key} = {new} ")),
            };
        };
        // What stands before the last key's name is repeated: the indent, or the beginning of a dotted key (`harness.own.`).
        match held {
            Held::Lines(_) => self.insert_line(end, &format!("{}{key} = {new}", &self.text[self.line_start(name)..name])),
            Held::Braces(_) => {
                let start = self.text[..name].rfind(['{', ',', '\n']).map_or(0, |n| n + 1);
                (end..end, format!(", {}{key} = {new}", self.text[start..name].trim_start()))
            }
        }
    }

    /// A line below that of `at`.
    fn insert_line(&self, at: usize, line: &str) -> (Range<usize>, String) {
        let at = self.line_end(at);
        let newline = self.newline();
        (at..at, if self.text[..at].ends_with('\n') { format!("{line}{newline}") } else { format!("{newline}{line}") })
    }

    /// Lines with a blank line before and after them, at the beginning of a line or the end of the text.
    fn insert_block(&mut self, at: usize, block: &str) {
        let newline = self.newline();
        let mut new = String::new();
        if !self.text[..at].is_empty() && !self.text[..at].ends_with('\n') {
            new.push_str(newline);
        }
        if at > 0 && !is_blank(&self.text[self.line_start(at - 1)..at]) {
            new.push_str(newline);
        }
        new.push_str(block);
        new.push_str(newline);
        if at < self.text.len() && !is_blank(&self.text[at..self.line_end(at)]) {
            new.push_str(newline);
        }
        self.pending.push((at..at, new));
    }

    /// The lines of a `[[project]]`, with the comments that stand directly above it, and those directly below it that no entry follows.
    fn block(&self, number: usize) -> Range<usize> {
        let Some(held) = self.table(number) else { return 0..0 };
        let mut end = self.line_end(held.end().unwrap_or(0).max(held.span().end));
        let mut comments = end;
        while comments < self.text.len() && is_comment(&self.text[comments..self.line_end(comments)]) {
            comments = self.line_end(comments);
        }
        if comments == self.text.len() || is_blank(&self.text[comments..self.line_end(comments)]) {
            end = comments;
        }
        self.comments_above(self.line_start(held.span().start))..end
    }

    /// Up over the comment lines directly above. Those with which the file begins are about the file.
    fn comments_above(&self, start: usize) -> usize {
        let floor = values_end_before(self.document.as_item(), start).map_or(0, |end| self.line_end(end));
        let mut above = start;
        while above > floor && is_comment(&self.text[self.line_start(above - 1)..above]) {
            above = self.line_start(above - 1);
        }
        if above == 0 { start } else { above }
    }

    /// With the blank lines after it where blank lines stand before it too, or with those before it at the end of the text.
    fn with_blanks(&self, range: Range<usize>) -> Range<usize> {
        let Range { mut start, mut end } = range;
        let blank_before = |at: usize| at > 0 && is_blank(&self.text[self.line_start(at - 1)..at]);
        if start == 0 || blank_before(start) {
            while end < self.text.len() && is_blank(&self.text[end..self.line_end(end)]) {
                end = self.line_end(end);
            }
        }
        while end == self.text.len() && blank_before(start) {
            start = self.line_start(start - 1);
        }
        start..end
    }

    /// An element of the array of projects: whole lines where it has them to itself.
    fn element(&self, number: usize, span: Range<usize>) -> Range<usize> {
        let start = self.line_start(span.start);
        let comma = self.comma_after(span.end);
        let rest = comma.unwrap_or(span.end);
        let line_end = self.line_end(span.end);
        let alone = is_blank(&self.text[start..span.start]) && rest <= line_end && is_blank_or_comment(&self.text[rest..line_end]);
        if !alone || !self.text[..line_end].ends_with('\n') {
            return self.without_comma(span);
        }
        let floor = match number.checked_sub(1).and_then(|n| self.table(n)) {
            Some(before) => self.line_end(before.span().end),
            None => self.document.get("project").and_then(Item::span).map_or(0, |s| self.line_end(s.start)),
        };
        let mut above = start;
        while above > floor && is_comment(&self.text[self.line_start(above - 1)..above]) {
            above = self.line_start(above - 1);
        }
        above..line_end
    }

    fn add_element(&mut self, last: Option<Range<usize>>, open: usize, element: &str) {
        let Some(last) = last else {
            return self.pending.push((open + 1..open + 1, element.to_owned()));
        };
        let indent = &self.text[self.line_start(last.start)..last.start];
        if !is_blank(indent) || !self.text[..last.start].contains('\n') {
            return self.pending.push((last.end..last.end, format!(", {element}")));
        }
        let newline = self.newline();
        let comma = self.comma_after(last.end);
        let rest = comma.unwrap_or(last.end);
        let line_end = self.line_end(rest);
        let line_free = is_blank_or_comment(&self.text[rest..line_end]) && self.text[..line_end].ends_with('\n');
        let (indent, end) = (indent.to_owned(), last.end);
        match (comma, line_free) {
            (Some(_), true) => self.pending.push((line_end..line_end, format!("{indent}{element},{newline}"))),
            (Some(comma), false) => self.pending.push((comma..comma, format!("{newline}{indent}{element}"))),
            (None, true) => {
                self.pending.push((end..end, ",".into()));
                self.pending.push((line_end..line_end, format!("{indent}{element}{newline}")));
            }
            (None, false) => self.pending.push((end..end, format!(",{newline}{indent}{element}"))),
        }
    }

    /// A part of a list, with the comma after it, else with the one before it.
    fn without_comma(&self, part: Range<usize>) -> Range<usize> {
        if let Some(after) = self.comma_after(part.end) {
            let blanks = self.text[after..].len() - self.text[after..].trim_start_matches([' ', '\t']).len();
            return part.start..after + blanks;
        }
        let before = self.text[..part.start].trim_end();
        // A comma in a comment is none; one that stays behind is harmless.
        if before.ends_with(',') && !before[self.line_start(before.len())..].contains('#') {
            return before.len() - 1..part.end;
        }
        part
    }

    /// Behind the comma that follows, whatever blanks and comments stand before it.
    fn comma_after(&self, at: usize) -> Option<usize> {
        let mut rest = self.text[at..].trim_start();
        while rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |n| &rest[n..]).trim_start();
        }
        rest.starts_with(',').then(|| self.text.len() - rest.len() + 1)
    }

    fn newline(&self) -> &'static str {
        if self.text.find('\n').is_some_and(|at| self.text[..at].ends_with('\r')) { "\r\n" } else { "\n" }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |n| n + 1)
    }

    /// Behind the newline that ends the line of `at`.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |n| at + n + 1)
    }
}

/// A value in TOML, without what would stand around it.
fn written(value: &Value) -> String {
    toml_edit::Value::from(value).to_string()
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn is_blank_or_comment(line: &str) -> bool {
    is_blank(line) || is_comment(line)
}

/// Where the last value, or table header, that stands before `limit` ends.
fn values_end_before(item: &Item, limit: usize) -> Option<usize> {
    let before = |end: Option<usize>| end.filter(|e| *e <= limit);
    match item {
        Item::Table(table) => table_end_before(table, limit),
        Item::ArrayOfTables(array) => array.iter().filter_map(|t| table_end_before(t, limit)).max(),
        item => before(item.span().map(|s| s.end)),
    }
}

fn table_end_before(table: &Table, limit: usize) -> Option<usize> {
    let header = table.span().map(|s| s.end).filter(|e| *e <= limit && *e > 0);
    table.iter().filter_map(|(_, item)| values_end_before(item, limit)).chain(header).max()
}
