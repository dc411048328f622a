//! What a program's screen tells, by its backend's patterns.

use regex_lite::Regex;

use super::activity::Doing;
use super::limits::LAST_LINES;

/// A backend's patterns, compiled; `^` and `$` are a line's ends.
#[derive(Debug, Default)]
pub struct Patterns {
    ready: Option<Regex>,
    waiting: Option<Regex>,
    working: Option<Regex>,
    limited: Option<Regex>,
    unsent: Option<Regex>,
}

/// What one screen says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Says {
    /// It waits for a person, for this.
    pub waiting: Option<String>,
    /// The line that tells of its usage limit, and until when, in its words.
    pub limited: Option<(String, Option<String>)>,
    pub working: bool,
    /// It takes input; none where the backend does not say how that looks.
    pub ready: Option<bool>,
    /// The first line of what stands in its input box; empty where it shows only that something does.
    pub unsent: Option<String>,
}

impl Patterns {
    /// Of `ready`, `waiting`, `working`, `limited` and `unsent`. One that is no regular expression never matches: it was refused long before.
    pub fn new([ready, waiting, working, limited, unsent]: [Option<&str>; 5]) -> Patterns {
        let compile = |pattern: Option<&str>| pattern.and_then(|p| Regex::new(&format!("(?m){p}")).ok());
        let (ready, waiting, working) = (compile(ready), compile(waiting), compile(working));
        Patterns { ready, waiting, working, limited: compile(limited), unsent: compile(unsent) }
    }

    /// Nothing can be told from a screen.
    pub fn is_empty(&self) -> bool {
        [&self.ready, &self.waiting, &self.working, &self.limited].iter().all(|p| p.is_none())
    }

    pub fn read(&self, screen: &str) -> Says {
        let waiting = self.waiting.as_ref().and_then(|p| p.captures(screen)).map(|found| match (found.name("what"), found.get(0)) {
            (Some(what), _) => what.as_str().trim().to_owned(),
            (None, Some(all)) => line_at(screen, all.range()),
            (None, None) => String::new(),
        });
        // What stands higher up is what it worked on.
        let end = last_lines(screen, LAST_LINES);
        let limited = self.limited.as_ref().and_then(|p| p.captures_iter(end).last()).map(|found| {
            let at = found.name("at").map(|at| at.as_str().trim().to_owned());
            (found.get(0).map_or_else(String::new, |all| line_at(end, all.range())), at)
        });
        let unsent = self.unsent.as_ref().and_then(|p| p.captures(screen));
        let unsent = unsent.map(|found| found.name("text").map_or_else(String::new, |text| text.as_str().to_owned()));
        let is = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|p| p.is_match(screen));
        Says { waiting, limited, working: is(&self.working), ready: self.ready.as_ref().map(|p| p.is_match(screen)), unsent }
    }
}

/// The line in which something was found; of several the first that is not empty.
fn line_at(text: &str, at: std::ops::Range<usize>) -> String {
    let start = text[..at.start].rfind('\n').map_or(0, |n| n + 1);
    let end = text[at.end..].find('\n').map_or(text.len(), |n| at.end + n);
    text[start..end].lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().to_owned()
}

/// The end of a text, with so many lines that are not empty.
pub fn last_lines(text: &str, lines: usize) -> &str {
    let (mut start, mut left) = (text.len(), lines);
    for line in text.split_inclusive('\n').rev() {
        if !line.trim().is_empty() {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        start -= line.len();
    }
    &text[start..]
}

impl Says {
    /// What the agent does, as far as its screen tells. A question hides all else; what works may show its input line too.
    pub fn doing(&self) -> Option<Doing> {
        if let Some(what) = &self.waiting {
            return Some(Doing::Waiting { what: what.clone() });
        }
        if self.working {
            return Some(Doing::Working);
        }
        (self.ready == Some(true)).then_some(Doing::Idle)
    }

    /// Whether this text stands in the input box, as far as that shows: what a program suggests there is not taken for it. Programs fold lines, so blanks do
    /// not count.
    pub fn holds(&self, text: &str) -> bool {
        let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        self.unsent.as_ref().is_some_and(|shown| bare(text).contains(&bare(shown)))
    }
}

/// The time that the last lines of a screen promise by `WAITING-UNTIL: TIME`, in their words.
pub fn promise(last_lines: &str) -> Option<&str> {
    let (_, after) = last_lines.rsplit_once(PROMISE)?;
    let words = after.lines().next()?.trim().trim_matches(['`', '*', '"']).trim_end_matches('.');
    (!words.is_empty()).then_some(words)
}

/// What an agent ends its turn with when it waits for a time.
pub const PROMISE: &str = "WAITING-UNTIL:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_hides_all_else_and_work_hides_the_input_line() {
        let patterns = Patterns::new([Some("^> $"), Some(r"\(y/n\)"), Some("esc to stop"), Some(r"limit: resets at (?<at>\S+)"), None]);
        let waiting = |what: &str| Some(Doing::Waiting { what: what.into() });
        for (screen, doing, limited) in [
            ("", None, None),
            ("hello\n> ", Some(Doing::Idle), None),
            ("* 3s, esc to stop\n> ", Some(Doing::Working), None),
            ("esc to stop\n  Run rm? (y/n)  \n> ", waiting("Run rm? (y/n)"), None),
            ("limit: resets at 3pm\nlimit: resets at 5pm \n> ", Some(Doing::Idle), Some(("limit: resets at 5pm", "5pm"))),
        ] {
            let says = patterns.read(screen);
            assert_eq!(says.doing(), doing, "{screen:?}");
            assert_eq!(says.limited, limited.map(|(line, at)| (line.to_owned(), Some(at.to_owned()))), "{screen:?}");
        }
        let above = format!("limit: resets at 3pm\n{}> ", "line\n\n".repeat(20));
        assert_eq!(patterns.read(&above).limited, None, "that is what it works on");
        let named = Patterns::new([None, Some(r"(?<what>Delete [^\n?]*)\?"), None, None, None]);
        assert_eq!(named.read("  Delete it all? [1]").doing(), waiting("Delete it all"));
        assert!(Patterns::new([None; 5]).is_empty() && Patterns::new([None; 5]).read("> ").doing().is_none());
    }

    #[test]
    fn only_the_text_itself_counts_as_standing_in_the_box() {
        let patterns = Patterns::new([None, None, None, None, Some(r"^> (?:\[Pasted [^\n]*|(?<text>\S[^\n]*))")]);
        let holds = |screen: &str| patterns.read(screen).holds("run the  tests\nand say\twhat failed");
        assert!(holds("> run the tests\n  and say") && holds("> and say   what failed  ") && holds("> [Pasted text #1 +1 lines]"));
        assert!(!holds("> ") && !holds("> Try \"fix lint errors\"") && !holds("run the tests"));
        assert!(!Says::default().holds(""));
    }

    #[test]
    fn the_last_promise_counts() {
        for (lines, expected) in [
            ("WAITING-UNTIL: 15:30", Some("15:30")),
            ("* WAITING-UNTIL: 1h\nmore\n**WAITING-UNTIL: 2h**\n> ", Some("2h")),
            ("WAITING-UNTIL: 1h\nsay `WAITING-UNTIL: <time>` at the end", Some("<time>` at the end")),
            ("WAITING-UNTIL:\n", None),
            ("waiting until 3pm", None),
        ] {
            assert_eq!(promise(lines), expected, "{lines:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_screen_makes_it_panic(screen in proptest::prelude::any::<String>()) {
            let patterns = Patterns::new([Some("."), Some("(?s)a.*b"), Some("$"), Some("(?<at>.)"), Some("(?<text>.*)")]);
            let _ = (patterns.read(&screen).doing(), promise(&screen));
        }
    }
}
