//! Which conversation a session's agent has, where the program names it itself. Written by the session's host alone; `up` copies it into the metadata.

use crate::contract::layout::Layout;
use crate::contract::records::Conversation;
use crate::error::{Error, Result};
use crate::os::fs;

/// The one that this backend's agent was found to have. Nothing where none was; where it cannot be read, an error: another one must not be begun.
pub(crate) fn read(layout: &Layout, session: &str, backend: &str) -> Result<Option<String>> {
    let path = layout.conversation(session);
    if !fs::exists(&path) {
        return Ok(None);
    }
    let found: Conversation = serde_json::from_str(&fs::read_to_string(&path)?).map_err(|e| {
        Error::failed(format!("{}: does not say which conversation the agent had: {e}", path.display()))
            .hint("put it right, or remove it: the agent then begins a new conversation")
    })?;
    Ok((found.backend == backend).then_some(found.id))
}

/// Writes it durably.
pub(crate) fn write(layout: &Layout, session: &str, found: &Conversation) -> Result<()> {
    let json = serde_json::to_vec(found).map_err(|e| Error::failed(format!("session {session}: {e}")))?;
    Ok(fs::write_atomic(&layout.conversation(session), &json, 0o600)?)
}

/// The agent is to begin a new one.
pub(crate) fn forget(layout: &Layout, session: &str) -> Result<()> {
    let path = layout.conversation(session);
    if fs::exists(&path) { Ok(fs::remove_file(&path)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_belongs_to_one_backend_and_damage_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { instance: "i".into(), hash: "h".into(), data: folder.path().into(), runtime: folder.path().into() };
        fs::create_dirs(layout.launch("int-1").parent().unwrap()).unwrap();
        assert_eq!(read(&layout, "int-1", "codex").unwrap(), None);
        write(&layout, "int-1", &Conversation { backend: "codex".into(), id: "01a1".into() }).unwrap();
        assert_eq!(read(&layout, "int-1", "codex").unwrap(), Some("01a1".into()));
        assert_eq!(read(&layout, "int-1", "claude").unwrap(), None, "another program knows nothing of it");
        forget(&layout, "int-1").unwrap();
        forget(&layout, "int-1").unwrap();
        assert_eq!(read(&layout, "int-1", "codex").unwrap(), None);
        fs::write_atomic(&layout.conversation("int-1"), b"{", 0o600).unwrap();
        assert!(read(&layout, "int-1", "codex").unwrap_err().message.contains("int-1.conversation"));
    }
}
