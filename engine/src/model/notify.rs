//! Whom a project wants told of what its agents come to.

use super::file::NotifyTable;
use super::tasks::Finding;
use crate::contract::notify::{Kind, Notify};
use crate::document;

/// What can be told, in the file's words.
const KINDS: &[(&str, Kind)] = &[
    ("waiting", Kind::Waiting),
    ("failing", Kind::Failing),
    ("limited", Kind::Limited),
    ("stuck", Kind::Stuck),
    ("done", Kind::Done),
    ("storm", Kind::Storm),
];

/// From its table; what is wrong is told and left out. None: nobody is told anything.
pub(super) fn of(table: &NotifyTable, findings: &mut Vec<Finding>) -> Option<Notify> {
    let mut find = |key: &str, message: String, hint: String| findings.push((vec!["notify".into(), key.into()], message, hint));
    if table.command.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
        find("command", "`command` names no program".into(), "write command = [\"program\", \"argument\"]".into());
    }
    if table.command.iter().flatten().any(|a| a.contains('\0')) {
        find("command", "an argument has a NUL in it".into(), "no program can be given one".into());
    }
    if let Some(url) = &table.webhook
        && !is_webhook(url)
    {
        let message = "`webhook` is neither an https URL, nor an http one of this machine, nor a variable".to_owned();
        find("webhook", message, "write https://…, http://127.0.0.1:PORT/… or, to keep it out of this file, \"$NAME\"".into());
    }
    let mut on = vec![];
    for word in table.on.iter().flatten() {
        match KINDS.iter().find(|(known, _)| known == word) {
            Some((_, kind)) => on.push(*kind),
            None => find("on", format!("unknown event `{word}`"), document::suggest(word, KINDS.iter().map(|(known, _)| *known))),
        }
    }
    if table.on.is_none() {
        on = KINDS.iter().map(|(_, kind)| *kind).collect();
    }
    let anybody = table.command.is_some() || table.webhook.is_some();
    if !anybody && table.on.is_some() {
        find("on", "nobody is told".into(), "write a command or a webhook, or leave out `on`".into());
    }
    let command = table.command.clone().unwrap_or_default();
    anybody.then(|| Notify { command, webhook: table.webhook.clone(), on, folder: Default::default() })
}

/// Encrypted, or not leaving this machine; or the name of the variable that holds it.
fn is_webhook(url: &str) -> bool {
    if let Some(name) = url.strip_prefix('$') {
        return !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    }
    is_url(url)
}

/// Whether a message may be sent there.
pub(crate) fn is_url(url: &str) -> bool {
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>'));
    let local = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = if let Some(six) = host.strip_prefix('[') { six.split(']').next() } else { host.split(':').next() };
        !host.contains('@') && matches!(name, Some("127.0.0.1" | "localhost" | "::1"))
    };
    plain && (url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || url.strip_prefix("http://").is_some_and(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_secret_on_its_way_is_a_webhook() {
        for (url, expected) in [
            ("https://example.org/hook?key=1", true),
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:9/x", true),
            ("$HOOK_URL", true),
            ("http://example.org/x", false),
            ("http://127.0.0.1@example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("https://", false),
            ("https://a/\"\nurl = \"file:///etc/passwd", false),
            ("file:///etc/passwd", false),
            ("$", false),
            ("$A-B", false),
            ("", false),
        ] {
            assert_eq!(is_webhook(url), expected, "{url}");
        }
    }

    #[test]
    fn all_is_told_unless_said_otherwise() {
        let mut findings = vec![];
        let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let all = of(&NotifyTable { command: words(&["tell"]), ..NotifyTable::default() }, &mut findings).unwrap();
        assert_eq!((all.on.len(), findings.len()), (KINDS.len(), 0));
        let some =
            of(&NotifyTable { webhook: Some("$X".into()), on: words(&["failing"]), ..NotifyTable::default() }, &mut findings).unwrap();
        assert_eq!((some.on, findings.len()), (vec![Kind::Failing], 0));
        assert!(of(&NotifyTable::default(), &mut findings).is_none());
        let wrong = NotifyTable { command: words(&[""]), webhook: Some("ftp://x".into()), on: words(&["wating"]) };
        let _ = of(&wrong, &mut findings);
        assert_eq!(findings.len(), 3, "{findings:?}");
        let _ = of(&NotifyTable { on: words(&["done"]), ..NotifyTable::default() }, &mut findings);
        assert!(findings[3].1.contains("nobody is told"));
    }
}
