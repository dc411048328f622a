//! Why an agent ended, from what can be seen of its end, and what is to be done about it.

use std::time::Duration;

use regex_lite::Regex;

use super::limits::{CONVERSATION_AFTER, LIMIT_MAX, LIMIT_PASSED, LIMIT_UNNAMED};

/// How its process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
    /// Another host had started it.
    Unseen,
}

/// Whether the kernel took its memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The kernel has killed for want of memory in its control group while it ran.
    Short,
    /// It has somewhere on this machine; whom, is not told.
    ShortSomewhere,
    Enough,
    Unknown,
}

/// What is looked for among the last lines of a program that ended with an error; regular expressions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patterns<'a> {
    /// It has hit its usage limit; the group `at` says until when.
    pub limited: Option<&'a str>,
    /// It wants a login.
    pub auth: Option<&'a str>,
    /// It cannot work as it was called.
    pub fatal: Option<&'a str>,
}

/// What is known of an end.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub ended: Ended,
    pub ran: Duration,
    pub memory: Memory,
    /// The last lines on its screen, where anything is to be looked for there.
    pub last_lines: &'a str,
    pub patterns: Patterns<'a>,
}

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// By itself, and well.
    Done,
    Crash {
        status: i32,
    },
    Signal {
        signal: i32,
        memory: Memory,
    },
    /// Killed for want of memory.
    OutOfMemory,
    /// `at`: until when, in the program's words.
    Limit {
        at: Option<String>,
        line: String,
    },
    Auth {
        line: String,
    },
    /// Its command was not found (127) or may not be run (126), as shells say it.
    NoCommand {
        status: i32,
    },
    Fatal {
        line: String,
    },
    Unseen,
}

/// What is to be done about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// As the policy says of deaths.
    Again,
    /// Nothing was wrong with it: at once, and it does not count as a death.
    AtOnce,
    /// The same, each delay doubled and none left out.
    Slower,
    /// Not before this time.
    NotBefore(Duration),
    /// Another start cannot help: the operator has to act.
    Never,
}

/// The shell's statuses for a command that it could not run (POSIX, "Exit Status for Commands").
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const KILL: i32 = 9;

impl Cause {
    /// What the evidence says. Words on the screen only explain an end with an error, as a living program may show any words.
    pub fn of(evidence: &Evidence<'_>) -> Cause {
        match evidence.ended {
            Ended::Exit(0) => Cause::Done,
            Ended::Exit(status) => told(evidence).unwrap_or(match status {
                // Later it may be the status of whatever was typed last into a shell.
                NOT_EXECUTABLE | NOT_FOUND if evidence.ran < CONVERSATION_AFTER => Cause::NoCommand { status },
                _ => Cause::Crash { status },
            }),
            Ended::Signal(KILL) if evidence.memory == Memory::Short => Cause::OutOfMemory,
            Ended::Signal(signal) => Cause::Signal { signal, memory: evidence.memory },
            Ended::Unseen if evidence.memory == Memory::Short => Cause::OutOfMemory,
            Ended::Unseen => Cause::Unseen,
        }
    }

    /// `wait`: how long the program said that its limit lasts, where that was understood.
    pub fn remedy(&self, now: Duration, wait: Option<Duration>) -> Remedy {
        match self {
            Cause::Done | Cause::Crash { .. } | Cause::Signal { .. } | Cause::Unseen => Remedy::Again,
            Cause::OutOfMemory => Remedy::Slower,
            Cause::Limit { .. } => Remedy::NotBefore(
                now + match wait {
                    None => LIMIT_UNNAMED,
                    Some(Duration::ZERO) => LIMIT_PASSED,
                    Some(wait) => wait.min(LIMIT_MAX),
                },
            ),
            Cause::Auth { .. } | Cause::NoCommand { .. } | Cause::Fatal { .. } => Remedy::Never,
        }
    }

    /// In words; `name` turns a signal's number into its name, `session` is for what to run.
    pub fn words(&self, name: impl Fn(i32) -> String, session: &str) -> String {
        let then = |what: &str| format!("{what}, then run `agents restart {session}`");
        match self {
            Cause::Done => "exited with status 0".into(),
            Cause::Crash { status } => format!("exited with status {status}"),
            Cause::Signal { signal: KILL, memory: Memory::ShortSomewhere } => {
                format!("killed by {}, maybe for want of memory: the kernel has killed for that since it was started", name(KILL))
            }
            Cause::Signal { signal: KILL, memory: Memory::Unknown } => {
                format!("killed by {}; whether for want of memory cannot be told here", name(KILL))
            }
            Cause::Signal { signal, .. } => format!("killed by {}", name(*signal)),
            Cause::OutOfMemory => "killed by the kernel for want of memory".into(),
            Cause::Limit { line, .. } => format!("at its usage limit: {line}"),
            Cause::Auth { line } => format!("it wants a login: {line}; {}", then("log in with its program by hand")),
            Cause::NoCommand { status: NOT_EXECUTABLE } => {
                format!("exited with status 126: its command may not be run; {}", then("put that right"))
            }
            Cause::NoCommand { status } => format!("exited with status {status}: its command was not found; {}", then("put that right")),
            Cause::Fatal { line } => format!("it cannot work as it was called: {line}; {}", then("put that right")),
            Cause::Unseen => "ended; its exit status is not known, as an earlier host had started it".into(),
        }
    }
}

/// What its last lines say.
fn told(evidence: &Evidence<'_>) -> Option<Cause> {
    let Patterns { limited, auth, fatal } = evidence.patterns;
    let find = |pattern: Option<&str>| {
        let pattern = Regex::new(pattern?).ok()?;
        let found = pattern.captures_iter(evidence.last_lines).last()?;
        let whole = found.get(0)?;
        let before = evidence.last_lines[..whole.start()].rfind('\n').map_or(0, |at| at + 1);
        let after = evidence.last_lines[whole.end()..].find('\n').map_or(evidence.last_lines.len(), |at| whole.end() + at);
        let words: Vec<&str> = evidence.last_lines[before..after].split_whitespace().collect();
        Some((words.join(" "), found.name("at").map(|at| at.as_str().trim().to_owned())))
    };
    find(limited)
        .map(|(line, at)| Cause::Limit { at, line })
        .or_else(|| find(auth).map(|(line, _)| Cause::Auth { line }))
        .or_else(|| find(fatal).map(|(line, _)| Cause::Fatal { line }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: Patterns<'_> = Patterns {
        limited: Some(r"limit reached.*resets at (?<at>.+)"),
        auth: Some(r"(?i)please run /login"),
        fatal: Some(r"unknown option"),
    };

    fn of(ended: Ended, ran: u64, memory: Memory, last_lines: &str) -> Cause {
        Cause::of(&Evidence { ended, ran: Duration::from_secs(ran), memory, last_lines, patterns: PATTERNS })
    }

    #[test]
    fn every_cause_with_its_remedy() {
        let now = Duration::from_secs(100);
        let limit = "some\nUsage limit reached,  resets at 3pm \nbye";
        let line = "Usage limit reached, resets at 3pm".to_owned();
        let enough = Memory::Enough;
        for (cause, expected, remedy) in [
            (of(Ended::Exit(0), 1, enough, limit), Cause::Done, Remedy::Again),
            (of(Ended::Exit(1), 1, enough, "oops"), Cause::Crash { status: 1 }, Remedy::Again),
            (of(Ended::Exit(1), 1, enough, limit), Cause::Limit { at: Some("3pm".into()), line }, Remedy::NotBefore(now + LIMIT_UNNAMED)),
            (of(Ended::Exit(1), 1, enough, "| Please run /login |"), Cause::Auth { line: "| Please run /login |".into() }, Remedy::Never),
            (of(Ended::Exit(2), 1, enough, "unknown option -z"), Cause::Fatal { line: "unknown option -z".into() }, Remedy::Never),
            (of(Ended::Exit(127), 1, enough, ""), Cause::NoCommand { status: 127 }, Remedy::Never),
            (of(Ended::Exit(127), 3600, enough, ""), Cause::Crash { status: 127 }, Remedy::Again),
            (of(Ended::Signal(9), 1, enough, limit), Cause::Signal { signal: 9, memory: enough }, Remedy::Again),
            (of(Ended::Signal(9), 1, Memory::Short, ""), Cause::OutOfMemory, Remedy::Slower),
            (of(Ended::Signal(11), 1, Memory::Short, ""), Cause::Signal { signal: 11, memory: Memory::Short }, Remedy::Again),
            (of(Ended::Unseen, 1, Memory::Short, ""), Cause::OutOfMemory, Remedy::Slower),
            (of(Ended::Unseen, 1, Memory::Unknown, limit), Cause::Unseen, Remedy::Again),
        ] {
            assert_eq!(cause, expected);
            assert_eq!(cause.remedy(now, None), remedy, "{cause:?}");
        }
    }

    #[test]
    fn a_limit_lasts_as_long_as_was_said_but_not_for_ever() {
        let limit = Cause::Limit { at: None, line: "x".into() };
        let after = |wait| limit.remedy(Duration::ZERO, wait);
        assert_eq!(after(Some(Duration::from_secs(60))), Remedy::NotBefore(Duration::from_secs(60)));
        assert_eq!(after(Some(Duration::MAX)), Remedy::NotBefore(LIMIT_MAX));
        assert_eq!(after(Some(Duration::ZERO)), Remedy::NotBefore(LIMIT_PASSED), "no start after the other");
    }

    #[test]
    fn words_say_what_to_do_and_never_more_than_is_known() {
        let words = |cause: Cause| cause.words(|n| format!("SIG{n}"), "int-1");
        insta::assert_snapshot!(
            [
                words(Cause::Auth { line: "no key".into() }),
                words(Cause::NoCommand { status: 127 }),
                words(Cause::NoCommand { status: 126 }),
                words(Cause::Fatal { line: "unknown option".into() }),
                words(Cause::Signal { signal: 9, memory: Memory::Enough }),
                words(Cause::Signal { signal: 9, memory: Memory::ShortSomewhere }),
                words(Cause::Signal { signal: 9, memory: Memory::Unknown }),
                words(Cause::Signal { signal: 15, memory: Memory::Unknown }),
            ]
            .join("\n"),
            @"
        it wants a login: no key; log in with its program by hand, then run `agents restart int-1`
        exited with status 127: its command was not found; put that right, then run `agents restart int-1`
        exited with status 126: its command may not be run; put that right, then run `agents restart int-1`
        it cannot work as it was called: unknown option; put that right, then run `agents restart int-1`
        killed by SIG9
        killed by SIG9, maybe for want of memory: the kernel has killed for that since it was started
        killed by SIG9; whether for want of memory cannot be told here
        killed by SIG15
        "
        );
    }
}
