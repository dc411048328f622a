//! A session's metadata: `sessions/{id}`, one `key=value` a line. What the operator wants of it, and what must be known to bring it back.
//!
//! `wanted` is written last: a file that was cut short anywhere lacks it, and is refused instead of half believed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::model::name::is_name;
use crate::os::fs;

/// Whether the operator wants the session to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Up,
    Down,
}

impl Wanted {
    fn word(self) -> &'static str {
        match self {
            Wanted::Up => "up",
            Wanted::Down => "down",
        }
    }
}

/// Set before a session's agent is first started: from then on its conversation is resumed, also after a boot.
pub(crate) const STARTED_AT: &str = "startedAt";

/// One session's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// `{prefix}-{n}`: the file's name, not a key in it.
    pub session: String,
    pub agent: String,
    pub backend: String,
    pub project: String,
    pub runtime: String,
    pub wanted: Wanted,
    /// Empty, `failing` or `exited`: an end that outlives a boot and a host.
    pub status: String,
    /// Why it is `failing` or `exited`.
    pub reason: String,
    pub created_at: Timestamp,
    /// By what the backend finds the conversation again.
    pub resume_id: Option<String>,
    /// Keys that are not known here, kept as they are.
    pub other: BTreeMap<String, String>,
}

impl Meta {
    /// Whether an agent was ever started here.
    pub fn has_started(&self) -> bool {
        self.other.contains_key(STARTED_AT)
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '=' => out.push_str("\\="),
            c => out.push(c),
        }
    }
}

/// What a line says; none where it is not `key=value`. A bare `=` in a value is fine, so that people may write one.
fn pair(line: &str) -> Option<(String, String)> {
    let (mut key, mut text) = (None, String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                c @ ('\\' | '=') => c,
                _ => return None,
            }),
            '=' if key.is_none() => key = Some(std::mem::take(&mut text)),
            c => text.push(c),
        }
    }
    Some((key?, text))
}

impl Meta {
    pub(super) fn to_text(&self) -> String {
        let created = self.created_at.to_string();
        let mut pairs: Vec<(&str, &str)> = vec![
            ("project", &self.project),
            ("agent", &self.agent),
            ("backend", &self.backend),
            ("runtime", &self.runtime),
            ("createdAt", &created),
        ];
        let optional = [("status", self.status.as_str()), ("reason", &self.reason), ("resumeId", self.resume_id.as_deref().unwrap_or(""))];
        pairs.extend(optional.into_iter().filter(|(_, value)| !value.is_empty()));
        pairs.extend(self.other.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        pairs.push(("wanted", self.wanted.word()));
        let mut text = String::new();
        for (key, value) in pairs {
            escape(key, &mut text);
            text.push('=');
            escape(value, &mut text);
            text.push('\n');
        }
        text
    }

    /// The error is a sentence without the file's name.
    pub(super) fn parse(session: &str, text: &str) -> Result<Meta, String> {
        let Some(body) = text.strip_suffix('\n') else { return Err("the last line is cut short".into()) };
        let mut pairs = BTreeMap::new();
        for (n, line) in body.split('\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let (key, value) = pair(line).ok_or_else(|| format!("line {}: expected key=value", n + 1))?;
            if pairs.insert(key.clone(), value).is_some() {
                return Err(format!("line {}: `{key}` stands there twice", n + 1));
            }
        }
        let mut take = |key: &str| pairs.remove(key).ok_or_else(|| format!("`{key}` is missing"));
        let wanted = match take("wanted")?.as_str() {
            "up" => Wanted::Up,
            "down" => Wanted::Down,
            found => return Err(format!("`wanted` is {found:?}; expected up or down")),
        };
        let created = take("createdAt")?;
        let created_at = created.parse().map_err(|e| format!("`createdAt` is {created:?}: {e}"))?;
        let (agent, backend, project, runtime) = (take("agent")?, take("backend")?, take("project")?, take("runtime")?);
        Ok(Meta {
            session: session.into(),
            agent,
            backend,
            project,
            runtime,
            wanted,
            status: pairs.remove("status").unwrap_or_default(),
            reason: pairs.remove("reason").unwrap_or_default(),
            created_at,
            resume_id: pairs.remove("resumeId").filter(|id| !id.is_empty()),
            other: pairs,
        })
    }
}

fn damaged(layout: &Layout, id: &str, what: &str) -> Error {
    Error::failed(format!("{}: not a session's metadata: {what}", layout.session(id).display()))
        .hint(format!("put the file right, or move it out of {}", layout.sessions().display()))
}

/// One session's metadata.
pub(crate) fn read(layout: &Layout, id: &str) -> Result<Meta> {
    if !is_name(id) {
        return Err(Error::failed(format!("{id:?} is no session's id")).hint("ids look like int-1; `agents status` lists them"));
    }
    match read_reserved(layout, id)? {
        Some(meta) => Ok(meta),
        None => Err(damaged(layout, id, "it is empty: whoever made it was ended before it was written")),
    }
}

/// `None`: the id is taken, but its maker died before it wrote a word.
fn read_reserved(layout: &Layout, id: &str) -> Result<Option<Meta>> {
    let bytes = fs::read(&layout.session(id))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(&bytes).map_err(|e| damaged(layout, id, &format!("byte {} is not UTF-8", e.valid_up_to())))?;
    Meta::parse(id, text).map(Some).map_err(|what| damaged(layout, id, &what))
}

/// Writes it durably.
pub(crate) fn write(layout: &Layout, meta: &Meta) -> Result<()> {
    write_many(layout, std::slice::from_ref(meta))
}

/// Writes them all durably, at about the price of one.
pub(crate) fn write_many(layout: &Layout, metas: &[Meta]) -> Result<()> {
    super::write(layout, &[], metas)
}

pub(super) fn file(layout: &Layout, meta: &Meta) -> (PathBuf, Vec<u8>) {
    (layout.session(&meta.session), meta.to_text().into_bytes())
}

/// All sessions' metadata, by id as people count (`int-2` before `int-10`); without those that cannot be read, see [`survey`].
pub(crate) fn list(layout: &Layout) -> Result<Vec<Meta>> {
    survey(layout).map(|(metas, _)| metas)
}

/// A file that could not be read: its name and why.
pub(crate) type Damaged = (String, Error);

/// [`list`], and for each file that could not be read its name and an error.
pub(crate) fn survey(layout: &Layout) -> Result<(Vec<Meta>, Vec<Damaged>)> {
    let (mut metas, mut errors) = (vec![], vec![]);
    for name in fs::list(&layout.sessions())?.iter().filter(|name| !name.starts_with('.')) {
        if !is_name(name) {
            errors.push((name.clone(), damaged(layout, name, "its name is no session's id")));
            continue;
        }
        match read_reserved(layout, name) {
            Ok(meta) => metas.extend(meta),
            Err(error) => errors.push((name.clone(), error)),
        }
    }
    metas.sort_by_cached_key(|meta| numbered(&meta.session));
    Ok((metas, errors))
}

/// `int-12` as (`int`, 12), which sorts as people count.
fn numbered(id: &str) -> (String, u64) {
    match id.rsplit_once('-').map(|(prefix, n)| (prefix, n.parse())) {
        Some((prefix, Ok(n))) => (prefix.into(), n),
        _ => (id.into(), 0),
    }
}

/// The numbers of this prefix that live and archived sessions have.
pub(super) fn taken(layout: &Layout, prefix: &str) -> Result<BTreeSet<u64>> {
    let number = |name: &str| -> Option<u64> { name.strip_prefix(prefix)?.strip_prefix('-')?.split('_').next()?.parse().ok() };
    // Sessions move to the archive, so one that moves meanwhile is seen in at least one of them.
    let mut names = fs::list(&layout.sessions())?;
    names.extend(fs::list(&layout.archive())?);
    Ok(names.iter().filter_map(|name| number(name)).collect())
}

/// Takes the next free id `{prefix}-{n}` for a session that is as `fresh` says; ids of archived sessions are not given out again.
/// Not yet durable: the caller goes on to [`write`] it.
pub(crate) fn reserve(layout: &Layout, prefix: &str, fresh: Meta) -> Result<Meta> {
    let mut n = taken(layout, prefix)?.last().copied().unwrap_or(0) + 1;
    loop {
        let meta = Meta { session: format!("{prefix}-{n}"), ..fresh.clone() };
        if !is_name(&meta.session) {
            return Err(Error::failed(format!("{:?} is no session's id", meta.session))
                .hint("`session_prefix` takes lower-case letters, digits, dots, dashes and underscores"));
        }
        if fs::create_new(&layout.session(&meta.session), meta.to_text().as_bytes(), 0o600)? {
            return Ok(meta);
        }
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { instance: "i".into(), hash: "h".into(), data: folder.path().into(), runtime: folder.path().into() };
        fs::create_dirs(&layout.sessions()).unwrap();
        fs::create_dirs(&layout.archive()).unwrap();
        (folder, layout)
    }

    fn meta() -> Meta {
        Meta {
            session: "int-1".into(),
            agent: "orchestrator".into(),
            backend: "claude".into(),
            project: "web".into(),
            runtime: "pty".into(),
            wanted: Wanted::Up,
            status: String::new(),
            reason: String::new(),
            created_at: "2026-02-17T10:30:00Z".parse().unwrap(),
            resume_id: Some("0194-ab".into()),
            other: BTreeMap::new(),
        }
    }

    proptest! {
        #[test]
        fn any_words_come_back_as_they_were(values in proptest::collection::vec(any::<String>(), 6), key in any::<String>(), up in any::<bool>()) {
            let known = ["project", "agent", "backend", "runtime", "createdAt", "status", "reason", "resumeId", "wanted"];
            let other = [(key, values[5].clone())].into_iter().filter(|(k, _)| !known.contains(&k.as_str())).collect();
            let before = Meta {
                agent: values[0].clone(), backend: values[1].clone(), project: values[2].clone(), status: values[3].clone(), reason: values[4].clone(),
                wanted: if up { Wanted::Up } else { Wanted::Down }, other, ..meta()
            };
            let text = before.to_text();
            prop_assert_eq!(Meta::parse("int-1", &text), Ok(before.clone()));
            let optional = [&before.status, &before.reason].iter().filter(|value| !value.is_empty()).count();
            prop_assert_eq!(text.lines().count(), 7 + optional + before.other.len(), "one line is one pair");
        }

        #[test]
        fn no_text_at_all_upsets_the_reader(text in any::<String>()) {
            let _ = Meta::parse("int-1", &text);
        }
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        let text = Meta { status: "failing".into(), other: [("pr".into(), "12".into())].into(), ..meta() }.to_text();
        for end in 0..text.len() {
            assert!(Meta::parse("int-1", &text[..end]).is_err(), "cut at {end}: {:?}", &text[..end]);
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, expected) in [
            ("agent", "the last line is cut short"),
            ("agent\n", "line 1: expected key=value"),
            ("agent=\\x\n", "line 1: expected key=value"),
            ("a=1\na=2\n", "line 2: `a` stands there twice"),
            ("agent=a\n", "`wanted` is missing"),
            ("wanted=maybe\n", "`wanted` is \"maybe\"; expected up or down"),
        ] {
            assert_eq!(Meta::parse("int-1", text).unwrap_err(), expected);
        }
    }

    #[test]
    fn unknown_keys_survive_a_rewrite() {
        let (_folder, layout) = place();
        let before = Meta { other: [("pr".into(), "https://example.org/?a=b".into()), ("né=w".into(), "\n".into())].into(), ..meta() };
        write(&layout, &before).unwrap();
        let mut after = read(&layout, "int-1").unwrap();
        assert_eq!(after, before);
        after.wanted = Wanted::Down;
        write(&layout, &after).unwrap();
        assert_eq!(read(&layout, "int-1").unwrap().other, before.other);
        assert!(matches!(fs::look(&layout.session("int-1")).unwrap(), fs::Found::File { mode: 0o600, .. }));
    }

    #[test]
    fn a_damaged_file_is_named_and_the_others_work() {
        let (_folder, layout) = place();
        for id in ["int-10", "int-2"] {
            write(&layout, &Meta { session: id.into(), ..meta() }).unwrap();
        }
        fs::write_atomic(&layout.session("int-3"), b"agent=x\n", 0o600).unwrap();
        fs::write_atomic(&layout.session("int-4"), b"\xff\n", 0o600).unwrap();
        fs::write_atomic(&layout.session("Not An Id"), b"", 0o600).unwrap();
        fs::write_atomic(&layout.session("int-5"), b"", 0o600).unwrap();
        let (metas, errors) = survey(&layout).unwrap();
        assert_eq!(metas.iter().map(|m| m.session.as_str()).collect::<Vec<_>>(), ["int-2", "int-10"]);
        assert_eq!(errors.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Not An Id", "int-3", "int-4"]);
        assert!(errors.iter().all(|(name, error)| error.message.contains(name)), "{errors:?}");
    }

    #[test]
    fn what_is_no_id_is_never_looked_for() {
        let (_folder, layout) = place();
        assert!(read(&layout, "../../etc/passwd").unwrap_err().message.contains("no session's id"));
    }

    #[test]
    fn a_thousand_at_once_get_a_thousand_ids() {
        let (_folder, layout) = place();
        let ids: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| scope.spawn(|| (0..50).map(|_| reserve(&layout, "int", meta()).unwrap().session).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1000);
        assert_eq!(list(&layout).unwrap().len(), 1000);
    }

    #[test]
    fn an_archived_number_is_not_given_out_again() {
        let (_folder, layout) = place();
        assert_eq!(reserve(&layout, "int", meta()).unwrap().session, "int-1");
        fs::create_dirs(&layout.archive().join("int-7_2026-02-17T10-30-00")).unwrap();
        fs::create_dirs(&layout.archive().join("int-orchestrator-9_2026-02-17T10-30-00")).unwrap();
        assert_eq!(reserve(&layout, "int", meta()).unwrap().session, "int-8");
        assert_eq!(reserve(&layout, "int-orchestrator", meta()).unwrap().session, "int-orchestrator-10");
        assert!(reserve(&layout, "In/t", meta()).unwrap_err().message.contains("no session's id"));
    }
}
