//! A session's mailbox: one file a message, named by its id and by what has become of it.
//!
//! Senders agree on ids under a lock; everything else is one rename, so that whoever is killed leaves a message in one state or the other.
//! `last` holds the highest id that was given away, so that none comes twice, also when every message is long gone.

use std::path::PathBuf;

use crate::contract::layout::Layout;
use crate::contract::mail::{Head, Origin, Standing, Typing, Waiting};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::{clock, fs};

const LAST: &str = "last";
/// Taken by whoever gives an id away.
const LOCK: &str = "lock";
/// How much of a message's first line is shown.
const BEGINS_CHARS: usize = 80;

fn suffix(standing: Standing) -> &'static str {
    match standing {
        Standing::Queued => "new",
        Standing::Typing => "typing",
        Standing::Taken => "taken",
        Standing::Dropped => "dropped",
    }
}

/// The file of a message in that state.
pub(crate) fn name(id: u64, standing: Standing) -> String {
    format!("{id:010}.{}", suffix(standing))
}

fn parse(name: &str) -> Option<(u64, Standing)> {
    let (id, kind) = name.split_once('.')?;
    let standing = [Standing::Queued, Standing::Typing, Standing::Taken, Standing::Dropped].into_iter().find(|s| suffix(*s) == kind)?;
    id.parse().ok().map(|id| (id, standing))
}

fn path(layout: &Layout, session: &str, id: u64, standing: Standing) -> PathBuf {
    layout.mail(session).join(name(id, standing))
}

/// All messages that are known, by their ids.
fn all(layout: &Layout, session: &str) -> Result<Vec<(u64, Standing)>> {
    let mut found: Vec<_> = fs::list(&layout.mail(session))?.iter().filter_map(|n| parse(n)).collect();
    found.sort_by_key(|(id, standing)| (*id, *standing == Standing::Queued));
    found.dedup_by_key(|(id, _)| *id);
    Ok(found)
}

/// The messages that are not taken yet, in their order.
pub(crate) fn waiting(layout: &Layout, session: &str) -> Result<Vec<(u64, Standing)>> {
    let open = |(_, standing): &(u64, Standing)| matches!(standing, Standing::Queued | Standing::Typing);
    Ok(all(layout, session)?.into_iter().filter(open).collect())
}

/// Keeps a message; when this returns it is durable. Its id is higher than any before it. Waits for other senders.
pub(crate) fn put(layout: &Layout, session: &str, origin: Origin, text: &str) -> Result<u64> {
    let lock = Lock::wait_moments(&lock_path(layout, session)?)?;
    put_holding(layout, &lock, session, origin, text)
}

/// [`put`] for whoever must not wait for a sender. False: one holds the lock, and nothing was done.
pub(crate) fn try_put(layout: &Layout, session: &str, origin: Origin, text: &str) -> Result<bool> {
    match Lock::try_take(&lock_path(layout, session)?)? {
        Some(lock) => put_holding(layout, &lock, session, origin, text).map(|_| true),
        None => Ok(false),
    }
}

/// The lock of whoever puts something there.
pub(crate) fn lock_path(layout: &Layout, session: &str) -> Result<PathBuf> {
    let folder = layout.mail(session);
    fs::private_dir(&folder)?;
    Ok(folder.join(LOCK))
}

/// [`put`] with the lock.
pub(crate) fn put_holding(layout: &Layout, _lock: &Lock, session: &str, origin: Origin, text: &str) -> Result<u64> {
    let folder = layout.mail(session);
    let known = all(layout, session)?;
    let open = known.iter().filter(|(_, s)| matches!(s, Standing::Queued | Standing::Typing)).count();
    if open >= limits::MAIL_WAITING_MAX {
        return Err(Error::busy(format!("{open} messages wait for {session} already")).hint(format!("agents mail {session}")));
    }
    let last = fs::read_if_there(&folder.join(LAST))?.and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    let id = known.iter().map(|(id, _)| *id).fold(last, u64::max) + 1;
    let head = serde_json::to_vec(&Head { at: clock::now(), origin }).map_err(|e| Error::failed(e.to_string()))?;
    let message = [head.as_slice(), b"\n", text.as_bytes()].concat();
    // The number first: what is lost in between is a number. After a power cut the message may be there and its number not: then the messages that are
    // kept tell it. All numbers are of one length, so the file never grows.
    fs::overwrite(&folder.join(LAST), format!("{id:010}\n").as_bytes(), 0o600)?;
    fs::write_atomic(&folder.join(name(id, Standing::Queued)), &message, 0o600)?;
    Ok(id)
}

/// Whether a message of that origin is not taken yet.
pub(crate) fn waits(layout: &Layout, session: &str, origin: Origin) -> Result<bool> {
    let is = |(id, standing)| read(layout, session, id, standing).is_ok_and(|(head, _)| head.origin == origin);
    Ok(waiting(layout, session)?.into_iter().any(is))
}

/// Where a message that was taken came from; none where nothing is kept of it.
pub(crate) fn origin(layout: &Layout, session: &str, id: u64) -> Option<Origin> {
    read(layout, session, id, Standing::Taken).ok().map(|(head, _)| head.origin)
}

/// A message's head and text.
pub(crate) fn read(layout: &Layout, session: &str, id: u64, standing: Standing) -> Result<(Head, String)> {
    let path = path(layout, session, id, standing);
    let text = fs::read_to_string(&path)?;
    let damaged =
        |why: String| Error::failed(format!("{}: not a message: {why}", path.display())).hint(format!("agents mail {session} --drop {id}"));
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("it has no head".into()))?;
    Ok((serde_json::from_str(head).map_err(|e| damaged(e.to_string()))?, body.to_owned()))
}

/// Changes what has become of a message. False: it was not in that state any more. What settles it is durable; that it is being typed need not be, as a boot
/// ends every terminal and the message waits again.
pub(crate) fn turn(layout: &Layout, session: &str, id: u64, from: Standing, to: Standing) -> Result<bool> {
    let turned = fs::rename_if_there(&path(layout, session, id, from), &path(layout, session, id, to))?;
    if turned && matches!(to, Standing::Taken | Standing::Dropped) {
        fs::sync_dir(&layout.mail(session))?;
        forget_old(layout, session);
    }
    Ok(turned)
}

/// What was settled long ago: whoever waited to hear of it has heard.
fn forget_old(layout: &Layout, session: &str) {
    let settled = |(_, s): &(u64, Standing)| matches!(s, Standing::Taken | Standing::Dropped);
    let Ok(known) = all(layout, session) else { return };
    let old: Vec<_> = known.into_iter().filter(settled).collect();
    let many = old.len().saturating_sub(limits::MAIL_SETTLED_KEPT);
    for (id, standing) in &old[..many] {
        let _ = fs::remove_file(&path(layout, session, *id, *standing));
    }
}

/// What has become of a message; none: it was settled so long ago that nothing is kept of it.
pub(crate) fn standing(layout: &Layout, session: &str, id: u64) -> Result<Option<Standing>> {
    // Asked for by name: a list that is read while a file is renamed may miss it.
    for _ in 0..2 {
        for standing in [Standing::Queued, Standing::Typing, Standing::Taken, Standing::Dropped] {
            if fs::exists(&path(layout, session, id, standing)) {
                return Ok(Some(standing));
            }
        }
    }
    Ok(None)
}

/// The messages that wait, as they are shown.
pub(crate) fn show(layout: &Layout, session: &str) -> Result<Vec<Waiting>> {
    let mut shown = vec![];
    for (id, standing) in waiting(layout, session)? {
        let (head, text) = match read(layout, session, id, standing) {
            Ok(message) => message,
            // Taken since.
            Err(_) if !fs::exists(&path(layout, session, id, standing)) => continue,
            Err(e) => return Err(e),
        };
        let begins = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().chars().take(BEGINS_CHARS).collect();
        shown.push(Waiting { id, standing, at: head.at, origin: head.origin, size_bytes: text.len() as u64, begins });
    }
    Ok(shown)
}

/// How far a message had been typed.
pub(crate) fn typing(layout: &Layout, session: &str) -> Option<Typing> {
    serde_json::from_str(&fs::read_to_string(&layout.typing(session)).ok()?).ok()
}

/// Before a piece of it is typed.
pub(crate) fn write_typing(layout: &Layout, session: &str, typing: &Typing) -> std::io::Result<()> {
    fs::overwrite(&layout.typing(session), &serde_json::to_vec(typing)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &tempfile::TempDir) -> Layout {
        let layout = Layout::from_folders(&folder.path().join("data"), &folder.path().join("run"));
        fs::create_dirs(&layout.runtime).unwrap();
        layout
    }

    #[test]
    fn ids_only_grow_also_when_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        let ids: Vec<u64> = (0..3).map(|n| put(&layout, "int-1", Origin::Sent, &format!("text {n}")).unwrap()).collect();
        assert_eq!(ids, [1, 2, 3]);
        for id in ids {
            assert!(turn(&layout, "int-1", id, Standing::Queued, Standing::Typing).unwrap());
            assert!(turn(&layout, "int-1", id, Standing::Typing, Standing::Taken).unwrap());
            fs::remove_file(&path(&layout, "int-1", id, Standing::Taken)).unwrap();
        }
        assert_eq!(put(&layout, "int-1", Origin::Sent, "next").unwrap(), 4);
        fs::remove_file(&layout.mail("int-1").join(LAST)).unwrap();
        assert_eq!(put(&layout, "int-1", Origin::Sent, "next").unwrap(), 5);
    }

    #[test]
    fn many_senders_at_once_get_an_id_each() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10).for_each(|_| assert!(put(&layout, "int-1", Origin::Sent, "x").unwrap() > 0)));
            }
        });
        let ids: Vec<u64> = waiting(&layout, "int-1").unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, (1..=80).collect::<Vec<u64>>());
    }

    #[test]
    fn a_message_is_turned_by_one_only_and_the_settled_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        for _ in 0..limits::MAIL_SETTLED_KEPT + 5 {
            let id = put(&layout, "int-1", Origin::Sent, "x\ny").unwrap();
            assert!(turn(&layout, "int-1", id, Standing::Queued, Standing::Dropped).unwrap());
            assert!(!turn(&layout, "int-1", id, Standing::Queued, Standing::Typing).unwrap());
            assert_eq!(standing(&layout, "int-1", id).unwrap(), Some(Standing::Dropped));
        }
        assert_eq!(all(&layout, "int-1").unwrap().len(), limits::MAIL_SETTLED_KEPT);
        assert_eq!(standing(&layout, "int-1", 1).unwrap(), None);
    }

    #[test]
    fn a_message_is_known_by_its_origin_and_shown_by_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        assert!(!waits(&layout, "int-1", Origin::Prompt).unwrap());
        assert!(try_put(&layout, "int-1", Origin::Prompt, "go\non").unwrap());
        let held = Lock::try_take(&lock_path(&layout, "int-1").unwrap()).unwrap().unwrap();
        assert!(!try_put(&layout, "int-1", Origin::Prompt, "go\non").unwrap());
        drop(held);
        assert!(waits(&layout, "int-1", Origin::Prompt).unwrap() && !waits(&layout, "int-1", Origin::Wake).unwrap());
        let shown = show(&layout, "int-1").unwrap();
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].begins.as_str(), shown[0].size_bytes), ("go", 5));
        fs::write_atomic(&path(&layout, "int-1", 7, Standing::Queued), b"no head", 0o600).unwrap();
        assert!(show(&layout, "int-1").unwrap_err().to_string().contains("not a message"));
    }
}
