//! Examples on help pages: one table a program, so that one sees at a glance which command has none, and a test can read them all.

use clap::Command;

/// A command's words after the program's name, and lines as one would type them.
pub type Table<'a> = &'a [(&'a str, &'a [&'a str])];

const OWN: Table<'static> = &[
    ("", &["agents up", "agents status", "agents attach orchestrator"]),
    ("up", &["agents up", "agents up tester", "agents up --wanted"]),
    ("down", &["agents down", "agents down tester int-4"]),
    ("restart", &["agents restart orchestrator"]),
    ("upgrade", &["agents upgrade"]),
    ("status", &["agents status", "agents status --watch", "agents status --json"]),
    ("spawn", &["agents spawn --issue 42 --prompt 'make the login page faster'", "agents spawn --agent tester --no-worktree"]),
    ("orchestrate", &["agents orchestrate --prompt 'see that all issues of the milestone get done'"]),
    ("list", &["agents list", "agents list --archived"]),
    ("attach", &["agents attach int-1", "agents attach orchestrator --read-only"]),
    ("send", &["agents send int-1 'run the tests again'", "agents send orchestrator --wait=10m - < notes.md"]),
    ("mail", &["agents mail int-1", "agents mail int-1 --drop 7"]),
    ("capture", &["agents capture int-1 --lines 200"]),
    ("logs", &["agents logs int-1 --follow", "agents logs int-1 --lines 50"]),
    ("why", &["agents why int-1", "agents why orchestrator --events 40"]),
    ("kill", &["agents kill int-4"]),
    ("restore", &["agents restore int-4"]),
    ("clean", &["agents clean --dry-run", "agents clean int-4"]),
    ("check", &["agents check", "agents check --json"]),
    ("info", &["agents info --json"]),
    ("service install", &["agents service install"]),
    ("service uninstall", &["agents service uninstall"]),
    ("service status", &["agents service status"]),
    ("schema", &["agents schema > agents.schema.json", "agents schema status"]),
    ("completions", &["agents completions bash > ~/.local/share/bash-completion/completions/agents"]),
    ("man", &["agents man ~/.local/share/man/man1"]),
];

/// This program's command line with its examples.
pub(super) fn own(command: Command) -> Command {
    with(command, OWN)
}

/// A command line whose help pages end with these examples.
pub fn with(command: Command, table: Table<'_>) -> Command {
    below(command, "", table)
}

fn below(mut command: Command, path: &str, table: Table<'_>) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |c| below(c, path.trim_start(), table));
    }
    let Some((_, lines)) = table.iter().find(|(of, _)| *of == path) else { return command };
    let head = if lines.len() == 1 { "Example:" } else { "Examples:" };
    let mut text = lines.iter().fold(head.to_owned(), |text, line| format!("{text}\n  {line}"));
    if let Some(more) = command.get_after_help() {
        text = format!("{text}\n\n{more}");
    }
    command.after_help(text)
}

/// The words of a line as a shell would split it, as far as examples go: quotes, a comment, and what the command is not told (`> file`, `| other`).
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#' | '>' | '<' | '|' | '&' | ';') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What is wrong with a program's help pages: commands that are said to do the same, or without an example, and examples that the program would not take.
pub fn findings(command: &Command) -> Vec<String> {
    let mut found = alike(command);
    let program = command.get_name().to_owned();
    look(command, &program, &mut |path, page| {
        let page = page.map(ToString::to_string).unwrap_or_default();
        if !page.contains("Example") {
            found.push(format!("`{path}` has no example"));
        }
        for line in page.lines().map(|l| l.trim().trim_start_matches("Example: ")) {
            for part in line.split(" && ").filter(|p| p.starts_with(&format!("{program} "))) {
                found.extend(misread(command, part));
            }
        }
    });
    found
}

fn alike(command: &Command) -> Vec<String> {
    let mut seen: Vec<String> = vec![];
    let mut found = vec![];
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        if about.is_empty() || seen.contains(&about) {
            found.push(format!("`{} {}` says of itself {about:?}, as another does", command.get_name(), sub.get_name()));
        }
        seen.push(about);
        found.extend(alike(sub));
    }
    found
}

/// Why the program does not take this line; asking for help is fine.
pub fn misread(command: &Command, line: &str) -> Option<String> {
    use clap::error::ErrorKind;
    match command.clone().try_get_matches_from(words(line)) {
        Err(e) if !matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Some(format!("`{line}`: {e}")),
        Ok(_) | Err(_) => None,
    }
}

fn look(command: &Command, path: &str, see: &mut impl FnMut(&str, Option<&clap::builder::StyledStr>)) {
    let mut leaf = true;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        leaf = false;
        look(sub, &format!("{path} {}", sub.get_name()), see);
    }
    if leaf || !path.contains(' ') {
        see(path, command.get_after_help());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_that_it_takes() {
        assert_eq!(findings(&super::super::command()), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_example_is_found() {
        let (a, b) = (Command::new("a").about("the same"), Command::new("b").about("the same").after_help("Example: x b --no-such"));
        let found = findings(&Command::new("x").subcommand(a).subcommand(b)).join("\n");
        for wrong in ["`x b` says of itself \"the same\"", "`x a` has no example", "x b --no-such"] {
            assert!(found.contains(wrong), "{wrong}: {found}");
        }
    }

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        assert_eq!(words("a 'b c' \"d\" e'f g' # h"), ["a", "b c", "d", "ef g"]);
        assert_eq!(words("a > b"), ["a"]);
        assert_eq!(words("a ''"), ["a", ""]);
    }
}
