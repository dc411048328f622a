//! What a program says when it is asked for its version, and whether that is the one that is wanted.

/// The version in what a program printed: the first word that begins like one, else its first line.
pub fn of(said: &str) -> Option<String> {
    let begins = |w: &&str| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.');
    let word = said.split_whitespace().map(plain).find(begins);
    let line = || said.lines().map(str::trim).find(|l| !l.is_empty());
    word.or_else(line).map(|v| v.chars().filter(|c| !c.is_control()).take(LENGTH_MAX).collect())
}

/// Longer is no version but talk.
const LENGTH_MAX: usize = 60;

fn plain(word: &str) -> &str {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    word.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(word)
}

/// Whether a version is the wanted one, or one of those that it begins.
pub fn fits(wanted: &str, version: &str) -> bool {
    let rest = version.strip_prefix(plain(wanted.trim())).unwrap_or("?");
    rest.is_empty() || rest.starts_with(['.', '-', '+', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print() {
        for (said, expected) in [
            ("2.1.197 (Claude Code)\n", Some("2.1.197")),
            ("codex-cli 0.169.0\n", Some("0.169.0")),
            ("aider v0.86.2\n", Some("0.86.2")),
            ("mycli version 3.0.0-rc.1+7, built today", Some("3.0.0-rc.1+7")),
            ("\n  nightly\u{7} build \nmore", Some("nightly build")),
            (" \n", None),
        ] {
            assert_eq!(of(said).as_deref(), expected, "{said:?}");
        }
    }

    #[test]
    fn a_beginning_ends_where_a_part_ends() {
        for (wanted, version, expected) in [
            ("2.1", "2.1.197", true),
            ("2.1.197", "2.1.197", true),
            ("v2.1", "2.1.0-beta", true),
            ("2.1", "2.10.0", false),
            ("2.1.197", "2.1", false),
            ("nightly", "nightly build", true),
        ] {
            assert_eq!(fits(wanted, version), expected, "{wanted} {version}");
        }
    }
}
