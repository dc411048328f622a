//! The grammars of what the registry holds. Each answers with what was expected.

/// Names of projects, harnesses and tags: safe as a path component, an argument and a word on a screen.
pub fn name(text: &str) -> Result<(), &'static str> {
    if agents::contract::layout::is_name(text) {
        return Ok(());
    }
    Err(
        "expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end",
    )
}

/// A tag or branch: what `git check-ref-format --allow-onelevel` takes, and no leading dash.
pub fn reference(text: &str) -> Result<(), &'static str> {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with(".lock");
    let fine = !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(bad)
        && text.split('/').all(part);
    if fine { Ok(()) } else { Err("expected the name of a tag or branch") }
}

/// A full commit id.
pub fn commit(text: &str) -> Result<(), &'static str> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex && matches!(text.len(), 40 | 64) { Ok(()) } else { Err("expected a full commit id: 40 (or 64) lower case hex digits") }
}

/// A path that stays inside the folder it starts from.
pub fn inside(text: &str) -> Result<(), &'static str> {
    let part = |p: &str| !matches!(p, "" | "." | "..");
    let fine = text.split('/').all(part) && !text.contains(|c: char| c.is_control()) && !text.starts_with(['-', '~']);
    if fine { Ok(()) } else { Err("expected a path inside the project, without `..`") }
}

/// Argv of a command.
pub fn argv(words: &[String]) -> Result<(), &'static str> {
    match words.first() {
        Some(program) if !program.is_empty() && words.iter().all(|w| !w.contains('\0')) => Ok(()),
        _ => Err("expected a command as a list of words, the program first"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{name, reference};

    /// Pieces that git, a shell, a path or a terminal reads as something else.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("-"),
            Just("."),
            Just(".."),
            Just("/"),
            Just(".lock"),
            Just("@{"),
            Just("@"),
            Just("~"),
            Just("^"),
            Just(":"),
            Just("\\"),
            Just("?"),
            Just("*"),
            Just("["),
            Just(" "),
            Just("\n"),
            Just("\0"),
            Just("\u{7f}"),
            Just("\u{9b}"),
            Just("\u{202e}"),
            Just("a"),
            Just("v1"),
            Just("refs/heads/"),
            Just("ext::"),
            Just("%0a"),
            Just("LOCK"),
            Just("é"),
            Just("_"),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn git_takes(text: &str) -> bool {
        gix::refs::FullName::try_from(format!("refs/heads/{text}")).is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_passes_is_a_name_to_git_and_no_option_or_path(text in hostile()) {
            if name(&text).is_ok() {
                prop_assert!(git_takes(&text), "{text:?}");
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'/') && !text.starts_with(['-', '.']), "{text:?}");
            }
            if reference(&text).is_ok() {
                prop_assert!(git_takes(&text) && !text.starts_with('-') && !text.contains("..") && !text.chars().any(char::is_control), "{text:?}");
            }
        }
    }
}
