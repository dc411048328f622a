//! The one gate for all output.
//!
//! Facts go to stdout, talk to stderr. Whatever is printed passes [`clean`]: of control characters only newline and tab get through,
//! others are shown, not sent. Colour is added here, as sequences of our own, and only where the reader is a terminal that wants it.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod page;
mod table;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anstyle::{AnsiColor, Color, Style};
use unicode_width::UnicodeWidthStr;

pub use self::page::{drawn, page};
pub use self::table::Table;
use crate::error::{Error, Result};

static QUIET: AtomicBool = AtomicBool::new(false);
static COLOUR: AtomicU8 = AtomicU8::new(Colour::Auto as u8);

/// `--color`: whether colours are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// To a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// What makes room on the terminal for a line, and after the last one stays away.
pub type Interlude = fn(last: bool, write: &mut dyn FnMut());
static INTERLUDE: OnceLock<Interlude> = OnceLock::new();

/// For whoever draws on the terminal by itself: from now on every line is written through `interlude`.
pub fn set_interlude(interlude: Interlude) {
    let _ = INTERLUDE.set(interlude);
}

fn aside(last: bool, mut write: impl FnMut()) {
    match INTERLUDE.get() {
        Some(interlude) => interlude(last, &mut write),
        None => write(),
    }
}

/// From now on colours are sent as `colour` says.
pub fn set_colour(colour: Colour) {
    COLOUR.store(colour as u8, Ordering::Relaxed);
}

fn colour_for(terminal: bool) -> bool {
    match COLOUR.load(Ordering::Relaxed) {
        c if c == Colour::Always as u8 => true,
        c if c == Colour::Never as u8 => false,
        _ => terminal && !crate::os::env::no_color(),
    }
}

/// `--quiet`: from now on [`say`] is silent. Errors are not.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether a person reads stderr on a terminal and wants to see progress.
pub fn is_interactive() -> bool {
    io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed) && crate::os::env::text("TERM").as_deref() != Some("dumb")
}

/// Whether questions can be asked: stdin and stderr are terminals.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn harmless(c: char) -> bool {
    let turns_text = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || turns_text)
}

/// Control characters made visible: newline and tab stay, ESC becomes `␛`, others their picture or `\u{…}`. Also the invisible ones that
/// change the direction of text, which can make a line read as what it is not.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if harmless(c) => out.push(c),
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or('?')),
            '\x7f' => out.push('␡'),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    Cow::Owned(out)
}

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
    Strong,
    Accent,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |c: AnsiColor| Style::new().fg_color(Some(Color::Ansi(c)));
        match self {
            Tone::Plain => Style::new(),
            Tone::Good => colour(AnsiColor::Green),
            Tone::Warn => colour(AnsiColor::Yellow),
            Tone::Bad => colour(AnsiColor::Red).bold(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
            Tone::Accent => colour(AnsiColor::Cyan),
        }
    }
}

/// Text in pieces, each with its tone. Cleaned when it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<(Tone, String)>);

impl Text {
    pub fn new() -> Text {
        Text::default()
    }
    /// One piece in one tone.
    pub fn of(tone: Tone, text: impl Into<String>) -> Text {
        Text(vec![(tone, text.into())])
    }
    /// Adds a piece.
    #[must_use]
    pub fn and(mut self, tone: Tone, text: impl Into<String>) -> Text {
        self.0.push((tone, text.into()));
        self
    }
    /// Adds one character, to the last piece where that has the same tone.
    fn and_char(mut self, tone: Tone, c: char) -> Text {
        match self.0.last_mut() {
            Some((last, text)) if *last == tone => text.push(c),
            _ => self.0.push((tone, c.into())),
        }
        self
    }
    /// Adds another text's pieces.
    #[must_use]
    pub fn join(mut self, other: Text) -> Text {
        self.0.extend(other.0);
        self
    }
    /// Columns it takes on a terminal.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, t)| clean(t).width()).sum()
    }
    /// What is sent to a reader.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (tone, text) in &self.0 {
            match tone {
                Tone::Plain => out.push_str(&clean(text)),
                tone if colour => {
                    let style = tone.style();
                    out.push_str(&format!("{style}{}{style:#}", clean(text)));
                }
                _ => out.push_str(&clean(text)),
            }
        }
        out
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Text {
        Text::of(Tone::Plain, text)
    }
}

/// How many columns the terminal has that stdout is; none where it is none, or does not tell.
pub fn stdout_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    crate::os::pty::size(&stdout).ok().map(|s| usize::from(s.cols)).filter(|c| *c > 0)
}

/// A table as it is sent to stdout: as wide as the terminal allows; whole lines where nobody's terminal is meant.
pub fn laid_out(table: &Table) -> String {
    match stdout_width() {
        Some(width) => table.render_within(stdout_colour(), width),
        None => table.render(stdout_colour()),
    }
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdout gets colours: `--color`, else a terminal, and NO_COLOR unset.
pub fn stdout_colour() -> bool {
    colour_for(io::stdout().is_terminal())
}

fn stderr_colour() -> bool {
    colour_for(io::stderr().is_terminal())
}

/// Why stdout takes nothing any more, once that is so.
static LOST: OnceLock<io::Error> = OnceLock::new();
static ONLY_SHOWS: AtomicBool = AtomicBool::new(false);

/// From now on the program does nothing but show what comes, and would go on for ever: it ends when nobody hears it any more.
pub fn only_shows() {
    ONLY_SHOWS.store(true, Ordering::Relaxed);
    end_unheard();
}

fn end_unheard() {
    if !ONLY_SHOWS.load(Ordering::Relaxed) || LOST.get().is_none() {
        return;
    }
    let code = whole().map_or_else(
        |e| {
            error(&e);
            e.kind.exit_code()
        },
        |()| 0,
    );
    std::process::exit(code.into());
}

/// Whether stdout took all that was said: to be asked at the end. Who closes the pipe has heard enough, as of any filter.
pub fn whole() -> Result<()> {
    match LOST.get() {
        Some(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("standard output: {e}")).hint("all else was done; only what should have been printed is lost"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A command that changes something goes on when nobody hears it: what it was asked to do does not end with the pipe.
fn written(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
    if LOST.get().is_some() {
        return;
    }
    let mut stdout = io::stdout().lock();
    if let Err(e) = write(&mut stdout).and_then(|()| stdout.flush()) {
        let _ = LOST.set(e);
        end_unheard();
    }
}

/// A fact, on stdout, with a newline.
pub fn fact(text: impl Into<Text>) {
    let line = text.into().render(stdout_colour());
    aside(false, || written(|out| writeln!(out, "{line}")));
}

/// Many lines at once, on stdout, made harmless as any fact; newlines at their end count as one.
pub fn lines(bytes: &[u8]) {
    let end = bytes.iter().rposition(|b| *b != b'\n').map_or(0, |last| last + 1);
    let plain = bytes[..end].iter().fold(true, |plain, b| plain & (matches!(b, b'\n' | b'\t') | (b' '..=b'~').contains(b)));
    match bytes.get(..=end).filter(|_| plain) {
        Some(whole) => raw(whole),
        None => fact(String::from_utf8_lossy(&bytes[..end])),
    }
}

/// A table of facts, on stdout.
pub fn table(table: &Table) {
    let text = laid_out(table);
    aside(false, || written(|out| writeln!(out, "{text}")));
}

/// A fact for a program: JSON, indented on a terminal, one line elsewhere.
pub fn json(value: &impl serde::Serialize) {
    let terminal = io::stdout().is_terminal();
    let text = if terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    written(|out| writeln!(out, "{}", escaped(&text.unwrap_or_default())));
}

/// JSON with whatever [`clean`] would show as escapes of JSON's own: the value stays the same, and no reader's terminal obeys it.
fn escaped(json: &str) -> Cow<'_, str> {
    if json.chars().all(harmless) {
        return Cow::Borrowed(json);
    }
    Cow::Owned(json.chars().fold(String::with_capacity(json.len() + 8), |mut out, c| {
        if harmless(c) {
            out.push(c)
        } else {
            out.push_str(&format!("\\u{:04x}", c as u32))
        }
        out
    }))
}

/// Talk, on stderr, with a newline; silent under `--quiet`.
pub fn say(text: impl Into<Text>) {
    if !QUIET.load(Ordering::Relaxed) {
        let line = text.into().render(stderr_colour());
        aside(false, || drop(writeln!(io::stderr().lock(), "{line}")));
    }
}

/// The state of what goes on, on stderr, in place of the one before; an empty one takes it away. Only where a person looks on.
pub fn progress(text: &str) {
    if is_interactive() {
        // Cut off by the terminal: a line that goes on in the next row could not be taken away again.
        let line = clean(text).replace('\n', " ");
        let _ = write!(io::stderr().lock(), "\r\x1b[?7l{line}\x1b[K\x1b[?7h");
    }
}

/// Something odd that does not stop the work: `warning: …` on stderr.
pub fn warn(text: &str) {
    let line = Text::of(Tone::Warn, "warning: ").and(Tone::Plain, text).render(stderr_colour());
    aside(false, || drop(writeln!(io::stderr().lock(), "{line}")));
}

/// An error as text, `error: …` first.
pub fn render_error(error: &Error, colour: bool) -> String {
    let mut out = vec![];
    for line in format!("error: {error}").lines() {
        let text = match (line.strip_prefix("error: "), line.strip_prefix("hint: ")) {
            (Some(rest), _) => Text::of(Tone::Bad, "error: ").and(Tone::Plain, rest),
            (_, Some(rest)) => Text::of(Tone::Accent, "hint: ").and(Tone::Plain, rest),
            _ => Text::from(line),
        };
        out.push(text.render(colour));
    }
    out.join("\n")
}

/// Shows an error on stderr: the last that a command says.
pub fn error(error: &Error) {
    let text = render_error(error, stderr_colour());
    aside(true, || drop(writeln!(io::stderr().lock(), "{text}")));
}

/// Bytes as they are, on stdout: an attached terminal, a log asked for raw, a generated page. The caller answers for what is in them.
pub fn raw(bytes: &[u8]) {
    written(|out| out.write_all(bytes));
}

/// [`raw`] for a program that has to tidy up whoever listens: a closed pipe does not end it.
pub fn raw_while_heard(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_newline_and_tab_get_through(text in any::<String>()) {
            let cleaned = clean(&text);
            prop_assert!(cleaned.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }

        #[test]
        fn json_says_the_same_without_control_characters(text in "[\\x00-\\x20\\x7f-\\x9f\\u{61c}\\u{2028}-\\u{202e}a\"\\\\]{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let sent = escaped(&json);
            prop_assert!(sent.chars().all(|c| harmless(c) && !c.is_control()), "{sent:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&sent).unwrap(), text);
        }
    }
}
