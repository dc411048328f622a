//! The programs that play agents, as data: each file here has the shape of a `[backend.NAME]` table.

use std::collections::BTreeMap;

use crate::contract::records::{Endings, LiveRecord, Version};
use crate::model::file::{BackendTable, RecordTable};

/// The built-in ones.
pub const NAMES: &[&str] = &["claude", "codex", "opencode", "gemini", "aider", "shell"];

/// Escape: what most of these programs are interrupted with.
const INTERRUPT: &str = "\u{1b}";

/// A program that plays agents.
#[derive(Debug, Clone)]
pub struct Backend {
    pub name: String,
    pub start: Vec<String>,
    pub resume: Option<Vec<String>>,
    /// Does one piece of work and ends.
    pub task: Option<Vec<String>>,
    /// Its prompt then is the task's own words, without how to report.
    pub task_bare: bool,
    /// The first prompt goes in as an argument.
    pub prompt_in_argv: bool,
    /// It is pasted once the program takes input.
    pub prompt_as_paste: bool,
    /// Patterns on the screen.
    pub ready: Option<String>,
    pub waiting: Option<String>,
    pub limited: Option<String>,
    pub working: Option<String>,
    pub unsent: Option<String>,
    /// What it is told when its usage limit has ended.
    pub go_on: Option<String>,
    /// Where the program writes down what it does.
    pub record: Option<LiveRecord>,
    /// The key that ends what it does.
    pub interrupt: String,
    /// The conversation's id is made here.
    pub mints_id: bool,
    /// Arguments after the program's name, and environment, by which it trusts its folder unasked.
    pub trust: (Vec<String>, BTreeMap<String, String>),
    /// A pattern for the path of the file that tells the conversation's id.
    pub id_file: Option<String>,
    pub env: BTreeMap<String, String>,
    /// What its last lines say about its end.
    pub endings: Endings,
    /// How its version is told, where it is asked for.
    pub version: Option<Version>,
}

impl Backend {
    /// From a table that has been checked.
    pub fn from_table(name: &str, table: &BackendTable) -> Backend {
        Backend {
            name: name.to_owned(),
            start: table.start.clone(),
            resume: table.resume.clone(),
            task: table.task.clone(),
            task_bare: table.task_prompt.as_deref() == Some("bare"),
            prompt_in_argv: table.deliver.as_deref().is_none_or(|d| d == "argv"),
            prompt_as_paste: table.deliver.as_deref() == Some("paste"),
            ready: table.ready.clone(),
            waiting: table.waiting.clone(),
            limited: table.limited.clone(),
            working: table.working.clone(),
            unsent: table.unsent.clone(),
            go_on: table.go_on.clone(),
            record: table.record.as_ref().map(live_record),
            interrupt: table.interrupt.clone().unwrap_or_else(|| INTERRUPT.to_owned()),
            mints_id: table.id.as_deref() == Some("mint"),
            trust: (table.trust.clone(), table.trust_env.clone()),
            id_file: table.id_file.clone(),
            env: table.env.clone(),
            endings: Endings { limited: table.limited.clone(), auth: table.auth.clone(), fatal: table.fatal.clone() },
            version: version(table),
        }
    }
}

fn live_record(table: &RecordTable) -> LiveRecord {
    LiveRecord {
        file: table.file.clone(),
        key: table.key.clone(),
        what: table.what.clone(),
        start: table.start.clone(),
        working: table.working.clone(),
        waiting: table.waiting.clone(),
        idle: table.idle.clone(),
    }
}

/// A version that is wanted is asked for even where nothing says how: nearly every program knows `--version`.
fn version(table: &BackendTable) -> Option<Version> {
    let program = table.start.first().filter(|p| !p.contains('{'));
    let usual = || table.version.as_ref().and(program).map(|p| vec![p.clone(), "--version".to_owned()]);
    let command = table.version_command.clone().or_else(usual)?;
    Some(Version { command, wanted: table.version.clone() })
}

/// The built-in backend of that name.
pub fn built_in(name: &str) -> Option<Backend> {
    Some(Backend::from_table(name, &table(name)?))
}

/// Its table.
pub fn table(name: &str) -> Option<BackendTable> {
    let text = match name {
        "claude" => include_str!("claude.toml"),
        "codex" => include_str!("codex.toml"),
        "opencode" => include_str!("opencode.toml"),
        "gemini" => include_str!("gemini.toml"),
        "aider" => include_str!("aider.toml"),
        "shell" => include_str!("shell.toml"),
        _ => return None,
    };
    // A test reads every one of them.
    toml::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use crate::core::activity::Doing;
    use crate::core::screen::Patterns;

    #[test]
    fn every_built_in_is_a_table_of_known_keys() {
        for name in NAMES {
            let file = format!("src/backend/{name}.toml");
            let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
            let table: BackendTable = crate::document::read(std::path::Path::new(&file), &text).unwrap();
            assert!(crate::model::template::unknown_placeholder(&table.start).is_none(), "{name}");
            assert!(built_in(name).is_some(), "{name}");
            let screen = [&table.ready, &table.waiting, &table.working, &table.limited, &table.unsent, &table.auth, &table.fatal];
            for pattern in screen.into_iter().chain([&table.id_file]).flatten() {
                assert!(regex_lite::Regex::new(pattern).is_ok(), "{name}: {pattern}");
            }
        }
    }

    #[test]
    fn no_prompt_is_taken_for_a_flag() {
        let prompt = "--yolo\n\"it's\" $HOME; {model}";
        let values = BTreeMap::from([("prompt", prompt.to_owned()), ("resume_id", "0-1".to_owned())]);
        for name in NAMES.iter().filter(|n| **n != "shell") {
            let text = std::fs::read_to_string(format!("{}/src/backend/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let table: BackendTable = toml::from_str(&text).unwrap();
            let task = table.task.unwrap();
            for template in [&table.start, &task] {
                let argv = crate::model::template::argv(template, &values, &[]);
                let Some(at) = argv.iter().position(|a| a.contains(prompt)) else {
                    assert_eq!((*name, template), ("aider", &table.start), "it is only pasted there");
                    continue;
                };
                let joined = argv[at].strip_suffix(prompt).is_some_and(|flag| flag.starts_with("--") && flag.ends_with('='));
                let after_all_flags = argv[at] == prompt && argv[at - 1] == "--" && at + 1 == argv.len();
                assert!(joined || after_all_flags, "{name}: {argv:?}");
                assert!(!argv.iter().any(|a| a == "--model"), "{name}: a flag without its value: {argv:?}");
            }
        }
    }

    #[test]
    fn the_screens_that_were_seen_tell_what_the_program_does() {
        let waiting = |what: &str| Some(Doing::Waiting { what: what.into() });
        let claude_line = "─".repeat(40);
        let claude = |above: &str, below: &str| format!("{above}\n\n{claude_line}\n❯\u{a0}\n{claude_line}\n  {below} · ← for agents");
        let codex = |above: &str| format!("{above}\n\n\n› Ask Codex to do anything\n\n  tide-1 default · /srv/web\n");
        for (name, screen, expected) in [
            ("claude", claude("● The tide is at nine.\n\n✻ Brewed for 6s", "? for shortcuts"), Some(Doing::Idle)),
            ("claude", claude("❯ hello\n\n✽ Sublimating…", "esc to interrupt"), Some(Doing::Working)),
            (
                "claude",
                format!("● Bash(touch made)\n  ⎿  Waiting…\n\n{claude_line}\n Bash command\n\n   touch made\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel · Tab to amend"),
                waiting("Do you want to proceed?"),
            ),
            ("codex", codex("• The tide is at nine."), Some(Doing::Idle)),
            ("codex", codex("• Working (3s • esc to interrupt)"), Some(Doing::Working)),
            ("codex", codex("• Working (1m 03s • esc to interrupt)"), Some(Doing::Working)),
            (
                "codex",
                "• Running touch made\n\n  Would you like to run the following command?\n\n  $ touch made\n\n› 1. Yes, proceed (y)\n  2. No (esc)\n\n  Press enter to confirm or esc to cancel".into(),
                waiting("Would you like to run the following command?"),
            ),
        ] {
            let backend = built_in(name).unwrap();
            let patterns = [&backend.ready, &backend.waiting, &backend.working, &backend.limited, &backend.unsent].map(|p| p.as_deref());
            assert_eq!(Patterns::new(patterns).read(&screen).doing(), expected, "{name}:\n{screen}");
        }
    }

    #[test]
    fn the_patterns_tell_the_screens_that_were_seen() {
        let read = |name: &str| -> BackendTable {
            toml::from_str(&std::fs::read_to_string(format!("{}/src/backend/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap()).unwrap()
        };
        let is = |pattern: &Option<String>, screen: &str| regex_lite::Regex::new(pattern.as_ref().unwrap()).unwrap().is_match(screen);
        let (claude, codex) = (read("claude"), read("codex"));
        let trust = " Quick safety check: Is this a project you created or one you trust?\n ❯ 1. Yes, I trust this folder\n   2. No, exit\n Enter to confirm · Esc to cancel\n";
        assert!(is(&claude.waiting, trust) && !is(&claude.ready, trust));
        assert!(is(&claude.ready, "● Hello.\n────\n❯\u{a0}\n────\n  ? for shortcuts"));
        assert!(!is(&claude.ready, "────\n❯ half a line\n────"), "somebody is typing");
        assert!(is(&codex.ready, "• Hello.\n› Ask Codex to do anything\n  model · ~/w"));
        let file = "/home/me/.codex/sessions/2026/11/21/rollout-2026-11-21T09-33-21-01a1fd74-069a-7963-9c8d-117b31bbd381.jsonl";
        let found = regex_lite::Regex::new(codex.id_file.as_ref().unwrap()).unwrap();
        assert_eq!(&found.captures(file).unwrap()["id"], "01a1fd74-069a-7963-9c8d-117b31bbd381");
    }

    /// Screens of the programs themselves, run against a stand-in for the model.
    #[test]
    fn screens_of_the_others_that_were_seen() {
        let is = |pattern: &Option<String>, screen: &str| regex_lite::Regex::new(pattern.as_ref().unwrap()).unwrap().is_match(screen);
        let (opencode, gemini, aider) = (table("opencode").unwrap(), table("gemini").unwrap(), table("aider").unwrap());
        let box_of = |below: &str| format!("  ┃  When is the \"tide\"?\n  ┃\n  ┃  Build · tide-1 tide\n  ╹▀▀▀▀▀▀▀▀\n{below}");
        assert!(is(&opencode.ready, &box_of("   /srv/web                              2  ctrl+p commands")));
        assert!(!is(&opencode.ready, &box_of("   ■■■■⬝⬝⬝⬝  esc interrupt             tab agents  ctrl+p commands")), "it works");
        assert!(
            is(&opencode.ready, &box_of("                               tab agents  ctrl+p commands\n\n  ~/p:master    1.18.33")),
            "not asked yet"
        );
        let input = "✦ The tide is at nine.\n────\n Shift+Tab to accept edits\n";
        assert!(is(&gemini.ready, &format!("{input} >   Type your message or @path/to/file")));
        assert!(!is(&gemini.ready, &format!("{input} > half a line")));
        let thinks = " ⠏ Thinking... (esc to cancel, 1m 2s)                    ? for shortcuts\n";
        assert!(is(&gemini.working, thinks) && !is(&gemini.working, input));
        let trust = " │ Do you trust the files in this folder?      │\n │ ● 1. Trust folder (w)    │\n │   2. Trust parent folder │";
        assert!(is(&gemini.waiting, trust) && !is(&gemini.ready, trust));
        let asks = "Add .aider* to .gitignore (recommended)? (Y)es/(N)o [Yes]:";
        assert!(is(&aider.waiting, asks) && !is(&aider.ready, asks));
        assert!(is(&aider.ready, "Tokens: 644 sent, 6 received.\n────\nReadonly: ../p.md\n>") && !is(&aider.ready, "> half a line"));
    }

    /// What stands in the input box, and what was sent from it.
    #[test]
    fn a_text_in_the_input_box_is_told_from_one_that_was_sent() {
        let rule = "─".repeat(40);
        let (top, bottom) = ("▄".repeat(40), "▀".repeat(40));
        let claude = |above: &str, inside: &str| format!("● Hello.\n\n{above}\n\n{rule}\n❯\u{a0}{inside}\n{rule}\n  ? for shortcuts");
        let codex =
            |above: &str, inside: &str| format!("• Hello.\n\n{above}\n\n\n› {inside}\n\n  tide-1 default · ~/p\n  ← for agents\n\n");
        let opencode = |above: &str, inside: &str| {
            format!(
                "  ┃\n{above}\n  ┃\n\n     ▣  Build\n\n  ┃\n{inside}\n  ┃\n  ┃  Build · tide-1 tide\n  ╹▀▀▀▀\n   ~/p     2  ctrl+p commands"
            )
        };
        let gemini = |above: &str, inside: &str| {
            format!(
                "{top}\n > {above}\n{bottom}\n✦ Hello.\n\n\n{rule}\n Shift+Tab to accept edits\n{top}\n > {inside}\n{bottom}\n workspace"
            )
        };
        let text = "When is\nthe tide?";
        for (name, in_box, sent) in [
            (
                "claude",
                [claude("❯ x", "When is\n  the tide?"), claude("", "[Pasted text #1 +1 lines]")],
                claude("❯\u{a0}When is\n  the tide?", ""),
            ),
            (
                "codex",
                [codex("› x", "When is\n  the tide?"), codex("", "[Pasted Content 1200 chars]")],
                codex("› When is\n  the tide?", "Ask Codex to do anything"),
            ),
            (
                "opencode",
                [opencode("  ┃  x", "  ┃  When is\n  ┃  the tide?"), opencode("", "  ┃  [Pasted ~2 lines]")],
                opencode("  ┃  When is\n  ┃  the tide?", "  ┃"),
            ),
            (
                "gemini",
                [gemini("x", "When is\n   the tide?"), gemini("", "[Pasted Text: 12 lines]")],
                gemini("When is\n   the tide?", "  Type your message or @path/to/file"),
            ),
        ] {
            let unsent = built_in(name).unwrap().unsent;
            let patterns = Patterns::new([None, None, None, None, unsent.as_deref()]);
            for screen in in_box {
                assert!(patterns.read(&screen).holds(text), "{name}:\n{screen}");
                assert!(!patterns.read(&screen).holds("another") || screen.contains("[Pasted"), "{name}: not its text");
            }
            assert!(!patterns.read(&sent).holds(text), "{name}:\n{sent}");
        }
    }

    /// As the programs' own texts put them together.
    #[test]
    fn limits_say_until_when() {
        for (name, said, at) in [
            ("claude", "  ⎿  You've hit your session limit · resets 3pm (Europe/Berlin)\n     /upgrade", Some("3pm (Europe/Berlin)")),
            ("claude", "You've hit your weekly limit · resets Nov 23, 5am (UTC)", Some("Nov 23, 5am (UTC)")),
            ("claude", "You've hit your monthly spend limit.", None),
            (
                "codex",
                "■ You've hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com to purchase more\n  credits or try again at Nov 23rd, 2026 3:05 PM.",
                Some("Nov 23rd, 2026 3:05 PM"),
            ),
            ("codex", "■ You've hit your usage limit. Try again later.", None),
            ("gemini", "│ Usage limit reached for gemini-2.5-pro.\n│ Access resets at 3:05 PM GMT+1.", Some("3:05 PM GMT+1")),
            ("gemini", "Usage limit reached for all Pro models.", None),
        ] {
            let pattern = regex_lite::Regex::new(&table(name).unwrap().limited.unwrap()).unwrap();
            let found = pattern.captures(said).unwrap_or_else(|| panic!("{name}: {said}"));
            assert_eq!(found.name("at").map(|m| m.as_str().trim()), at, "{name}: {said}");
        }
    }
}
