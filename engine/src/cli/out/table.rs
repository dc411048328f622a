//! Rows in columns: whole where there is room or nobody's terminal is meant, wrapped inside their columns on a narrow one, one below the other on a very narrow one.

use unicode_width::UnicodeWidthChar;

use super::{Text, Tone, clean};

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this: words would be cut to pieces.
const NARROWEST: usize = 12;
/// What stands below a row's first cell is set off by this.
const INDENT: usize = 2;

/// Rows in columns, each as wide as its widest cell, two blanks between them. The last column is not padded.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: bool,
    rows: Vec<Vec<Text>>,
}

impl Table {
    /// With a head row.
    pub fn new(head: &[&str]) -> Table {
        Table { head: true, rows: vec![head.iter().map(|h| Text::of(Tone::Dim, *h)).collect()] }
    }
    /// Adds a row; a newline in a cell is shown as its picture.
    pub fn row(&mut self, cells: Vec<Text>) {
        let flat = |t: Text| Text(t.0.into_iter().map(|(tone, s)| (tone, s.replace('\n', "␤").replace('\t', " "))).collect());
        self.rows.push(cells.into_iter().map(flat).collect());
    }
    /// The lines, without the newline of the last.
    pub fn render(&self, colour: bool) -> String {
        self.in_columns(&self.natural(), colour)
    }
    /// The same for a terminal of so many columns: no line is longer, and nothing is left out.
    pub fn render_within(&self, colour: bool, width: usize) -> String {
        let width = width.max(NARROWEST);
        match narrowed(self.natural(), width) {
            Some(widths) => self.in_columns(&widths, colour),
            None => self.below_each_other(width, colour),
        }
    }

    fn natural(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns).map(|c| self.rows.iter().filter_map(|r| r.get(c)).map(Text::width).max().unwrap_or(0)).collect()
    }

    fn in_columns(&self, widths: &[usize], colour: bool) -> String {
        let mut lines = vec![];
        for row in &self.rows {
            let cells: Vec<Vec<Text>> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1).max(1);
            for i in 0..height {
                let mut line = String::new();
                for (cell, width) in cells.iter().zip(widths) {
                    let text = cell.get(i).cloned().unwrap_or_default();
                    line.push_str(&text.render(colour));
                    line.push_str(&" ".repeat(width.saturating_sub(text.width()) + GAP));
                }
                lines.push(line.trim_end().to_owned());
            }
        }
        lines.join("\n")
    }

    /// Each row's first cell, and below it what the others say, each after the name of its column.
    fn below_each_other(&self, width: usize, colour: bool) -> String {
        let head: &[Text] = if self.head { self.rows.first().map_or(&[], Vec::as_slice) } else { &[] };
        let mut lines: Vec<String> = vec![];
        for row in self.rows.iter().skip(usize::from(self.head)) {
            let Some((first, rest)) = row.split_first() else { continue };
            lines.extend(wrapped(first, width).iter().map(|t| t.render(colour)));
            let mut line = Text::new();
            for (c, cell) in rest.iter().enumerate().filter(|(_, cell)| says_something(cell)) {
                let name = head.get(c + 1).cloned().map_or_else(Text::new, |name| name.and(Tone::Plain, " "));
                let pair = name.join(cell.clone());
                if line.width() > 0 && INDENT + line.width() + GAP + pair.width() > width {
                    lines.extend(below(&line, width, colour));
                    line = Text::new();
                }
                line = if line.width() == 0 { pair } else { line.and(Tone::Plain, " ".repeat(GAP)).join(pair) };
            }
            lines.extend(below(&line, width, colour));
        }
        lines.join("\n")
    }
}

fn below(line: &Text, width: usize, colour: bool) -> Vec<String> {
    let parts = wrapped(line, width - INDENT);
    parts.iter().filter(|t| t.width() > 0).map(|t| format!("{}{}", " ".repeat(INDENT), t.render(colour)).trim_end().to_owned()).collect()
}

fn says_something(cell: &Text) -> bool {
    let text = cell.render(false);
    !matches!(text.trim(), "" | "-")
}

/// The widest columns made narrower until all fit; none where that would cut words to pieces.
fn narrowed(mut widths: Vec<usize>, width: usize) -> Option<Vec<usize>> {
    let mut over = (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(width);
    while over > 0 {
        let widest = widths.iter_mut().max()?;
        if *widest <= NARROWEST {
            return None;
        }
        *widest -= 1;
        over -= 1;
    }
    Some(widths)
}

/// A text in lines of at most so many columns, between words where there are any; at least one line.
fn wrapped(text: &Text, width: usize) -> Vec<Text> {
    if text.width() <= width {
        return vec![text.clone()];
    }
    let chars: Vec<(Tone, char)> = text.0.iter().flat_map(|(tone, s)| clean(s).chars().map(|c| (*tone, c)).collect::<Vec<_>>()).collect();
    let (mut lines, mut rest) = (vec![], chars.as_slice());
    while !rest.is_empty() {
        let (mut used, mut end, mut blank) = (0, 0, None);
        for (i, (_, c)) in rest.iter().enumerate() {
            used += c.width().unwrap_or(0);
            if used > width {
                break;
            }
            end = i + 1;
            blank = if *c == ' ' && i > 0 { Some(i) } else { blank };
        }
        let (cut, next) = match (rest.get(end), blank) {
            (None, _) => (end, end),
            (Some((_, ' ')), _) => (end, end + 1),
            (Some(_), Some(blank)) => (blank, blank + 1),
            // A word longer than the line, or a character wider than it.
            (Some(_), None) => (end.max(1), end.max(1)),
        };
        lines.push(rest[..cut].iter().fold(Text::new(), |line, (tone, c)| line.and_char(*tone, *c)));
        rest = &rest[next..];
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn tables_line_up_whatever_is_in_them() {
        let mut t = Table::new(&["NAME", "STATE"]);
        t.row(vec!["w\u{1b}[31meb".into(), Text::of(Tone::Good, "up")]);
        t.row(vec!["日本".into(), "down".into()]);
        assert_eq!(t.render(false), "NAME      STATE\nw␛[31meb  up\n日本      down");
    }

    fn example() -> Table {
        let mut t = Table::new(&["PROJECT", "STATE", "AGENTS", "PIN", "NOTE"]);
        t.row(vec!["web".into(), Text::of(Tone::Good, "up"), "2/2 up".into(), "v0.1.0".into(), Text::new()]);
        let note = "agent lead: its command `claude` was not found on PATH";
        t.row(vec!["api-of-the-shop".into(), Text::of(Tone::Bad, "failing"), "0/1 up".into(), "v0.1.0 ≠ v0.2.0".into(), note.into()]);
        t.row(vec!["old".into(), "down".into(), "-".into(), "v0.1.0".into(), "disabled".into()]);
        t
    }

    #[test]
    fn a_narrow_terminal_wraps_notes_and_a_very_narrow_one_everything() {
        insta::assert_snapshot!(example().render_within(false, 200), @r"
        PROJECT          STATE    AGENTS  PIN              NOTE
        web              up       2/2 up  v0.1.0
        api-of-the-shop  failing  0/1 up  v0.1.0 ≠ v0.2.0  agent lead: its command `claude` was not found on PATH
        old              down     -       v0.1.0           disabled
        ");
        insta::assert_snapshot!(example().render_within(false, 80), @r"
        PROJECT          STATE    AGENTS  PIN              NOTE
        web              up       2/2 up  v0.1.0
        api-of-the-shop  failing  0/1 up  v0.1.0 ≠ v0.2.0  agent lead: its command
                                                           `claude` was not found on
                                                           PATH
        old              down     -       v0.1.0           disabled
        ");
        insta::assert_snapshot!(example().render_within(false, 40), @r"
        web
          STATE up  AGENTS 2/2 up  PIN v0.1.0
        api-of-the-shop
          STATE failing  AGENTS 0/1 up
          PIN v0.1.0 ≠ v0.2.0
          NOTE agent lead: its command `claude`
          was not found on PATH
        old
          STATE down  PIN v0.1.0  NOTE disabled
        ");
    }

    #[test]
    fn colour_changes_no_width() {
        let plain = example().render_within(false, 60);
        assert_eq!(without_colour(&example().render_within(true, 60)), plain);
    }

    fn without_colour(text: &str) -> String {
        let mut out = String::new();
        let mut parts = text.split('\u{1b}');
        out.push_str(parts.next().unwrap_or_default());
        parts.for_each(|p| out.push_str(p.split_once('m').map_or("", |(_, rest)| rest)));
        out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[a-zé日 ␛\u{1b}/-]{0,14}", 1 => "[a-z]{0,6}( [a-zé日本]{1,12}){0,20}", 1 => "[a-z/]{30,90}"]
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_the_terminal_and_nothing_is_lost(
            rows in prop::collection::vec(prop::collection::vec(cell(), 1..10), 1..6),
            head in any::<bool>(),
            width in 40usize..200,
        ) {
            let columns = rows.iter().map(Vec::len).max().unwrap();
            let names: Vec<String> = (0..columns).map(|c| format!("COLUMN{c}")).collect();
            let mut t = if head { Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>()) } else { Table::default() };
            for row in &rows {
                t.row(row.iter().map(|c| Text::from(c.as_str())).collect());
            }
            let shown = t.render_within(false, width);
            for line in shown.lines() {
                prop_assert!(line.width() <= width, "{} > {width}: {line:?}", line.width());
            }
            // Whole where it fits.
            if t.render(false).lines().all(|l| l.width() <= width) && t.natural().iter().sum::<usize>() + 2 * (columns - 1) <= width {
                prop_assert_eq!(&shown, &t.render(false));
            }
            let letters = |text: &str| { let mut all: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect(); all.sort_unstable(); all };
            let said: String = rows.iter().flatten().map(|c| clean(c).into_owned()).collect();
            let mut found = letters(&shown);
            for c in letters(&said) {
                let at = found.binary_search(&c);
                prop_assert!(at.is_ok(), "{c:?} is lost in {shown:?}");
                found.remove(at.unwrap());
            }
        }
    }
}
