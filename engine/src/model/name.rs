//! Names: the grammar of ids, the prefix of a project's sessions.

/// Whether this is a name for an agent, a backend or a prefix: `[a-z0-9][a-z0-9._-]{0,63}`.
pub fn is_name(text: &str) -> bool {
    crate::contract::layout::is_name(text)
}

/// Whether git takes this as a branch's name, and no option or range hides in it. Stricter than git where that costs nothing.
pub fn is_branch(text: &str) -> bool {
    let part = |p: &str| !p.is_empty() && !p.starts_with(['.', '-']) && !p.ends_with('.') && !p.to_ascii_lowercase().ends_with(".lock");
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    plain && text.len() <= 200 && text != "HEAD" && text != "@" && !text.contains("..") && !text.contains("@{") && text.split('/').all(part)
}

/// The prefix of a project's session ids, from its name: up to four letters, itself; CamelCase, its capitals; of several words, the initials; else
/// the first three letters. Always lower case.
pub fn prefix(project: &str) -> String {
    let whole = project.to_ascii_lowercase();
    if whole.len() <= 4 && is_name(&whole) {
        return whole;
    }
    let words: Vec<&str> = project.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let plain: String = words.concat();
    let capitals: String = plain.chars().filter(char::is_ascii_uppercase).collect();
    let derived = if plain.len() <= 4 {
        plain
    } else if words.len() > 1 {
        words.iter().filter_map(|w| w.chars().next()).collect()
    } else if capitals.len() > 1 && capitals.len() < plain.len() {
        capitals
    } else {
        plain.chars().take(3).collect()
    };
    let derived = derived.to_ascii_lowercase();
    if derived.is_empty() { "s".into() } else { derived.chars().take(16).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches() {
        for good in ["main", "feat/INT-12", "session/int-1", "feat/#12", "a.b/c_d"] {
            assert!(is_branch(good), "{good}");
        }
        let long = "x".repeat(201);
        for bad in [
            "", "-x", "a/-x", "a..b", "a b", "a\n", "a~1", "x.lock", "x.lock/y", "/a", "a/", "a//b", ".a", "a/.b", "a.", "@", "HEAD",
            "a@{1}", &long,
        ] {
            assert!(!is_branch(bad), "{bad:?}");
        }
    }

    #[test]
    fn prefixes() {
        for (project, expected) in [
            ("web", "web"),
            ("api2", "api2"),
            ("API", "api"),
            ("x", "x"),
            ("integrator", "int"),
            ("ComposioIntegrator", "ci"),
            ("Composio Integrator", "ci"),
            ("agent-orchestrator", "ao"),
            ("my_cool_app", "mca"),
            ("a-b", "a-b"),
            ("A b", "ab"),
            ("a_b-c", "abc"),
            ("UPPERCASE", "upp"),
            ("", "s"),
            ("é", "s"),
            ("../../etc/passwd", "ep"),
        ] {
            assert_eq!(prefix(project), expected, "{project:?}");
        }
    }
}
