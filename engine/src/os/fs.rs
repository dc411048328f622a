//! Files. One function writes a file of record ([`write_atomic`]), and every error names its path.

mod durable;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use durable::{append_durable, sync_dir, sync_file, sync_filesystem, write_atomic, write_batch, write_batch_from, write_batch_sparing};

/// Puts the path into an error, keeping its kind.
pub fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// For what is opened to be written where a link could have been put: it is refused, not followed.
pub(super) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Removes what killed writers have left beside their files, where the name begins so. Only for whoever keeps others from writing there.
pub fn remove_half_written(folder: &Path, prefix: &str) -> io::Result<()> {
    for name in list(folder)?.iter().filter(|n| n.starts_with(prefix) && n.ends_with(".tmp")) {
        remove_file(&folder.join(name))?;
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Replaces a file as a whole, so that no reader sees half of it, but syncs nothing: for what a boot makes worthless.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    let written = create_new(&temporary, bytes, mode).and_then(|_| fs::rename(&temporary, path).map_err(|e| at(path, e)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Puts a small text in place of the one in the file, in one write and without a new file. What is left of a longer one becomes blanks, so the text must
/// be of a kind that blanks may follow. Who reads at that very moment may see some of each; who was killed has written all of it or nothing, as nothing
/// interrupts a write within one page. A text beyond that replaces the file. Nothing is synced: for what a boot makes
/// worthless, or what may be known again otherwise.
pub fn overwrite(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    const PAGE: usize = 4096;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .custom_flags(NOFOLLOW)
        .open(path)
        .map_err(|e| at(path, e))?;
    let before = file.metadata().map_err(|e| at(path, e))?.len();
    if text.len() > PAGE || before > PAGE as u64 {
        return replace(path, text, mode);
    }
    let mut padded = text.to_vec();
    padded.resize(text.len().max(before as usize), b' ');
    match rustix::io::pwrite(&file, &padded, 0).map_err(|e| at(path, e.into()))? {
        written if written == padded.len() => Ok(()),
        _ => Err(at(path, io::ErrorKind::WriteZero.into())),
    }
}

/// Creates a file that must not exist yet (`O_EXCL`): false if it does. Nothing is synced: for reservations and locks.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => file.write_all(bytes).map(|()| true).map_err(|e| at(path, e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(at(path, e)),
    }
}

/// Appends in one write, so that lines of several processes do not mix. Creates the file with mode 0600. Not synced.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(NOFOLLOW).open(path).map_err(|e| at(path, e))?;
    file.write_all(bytes).map_err(|e| at(path, e))
}

/// The whole file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|e| at(path, e))
}

/// The whole file, which must be UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|e| at(path, e))
}

/// A file that the kernel makes up as it is read, such as those in `/proc`. It has no length beforehand, so it is read in one go that is long enough as a
/// rule, instead of bit by bit.
pub(super) fn read_made_up(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(4096);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The file's text, or `None` where there is none.
pub fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(at(path, e)),
    }
}

/// The text of a file that anybody may have put there, or `None` where there is none. What is no file is refused before it is read: a pipe would be waited
/// for, a device never end. So is what is larger than any text that a person writes.
pub fn read_text_if_there(path: &Path) -> io::Result<Option<String>> {
    const BYTES_MAX: u64 = 16 << 20;
    let odd = |what: String| at(path, io::Error::new(io::ErrorKind::InvalidData, what));
    let file = match OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        other => other.map_err(|e| at(path, e))?,
    };
    let metadata = file.metadata().map_err(|e| at(path, e))?;
    if !metadata.is_file() {
        return Err(odd("it is no file".into()));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(BYTES_MAX) as usize);
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| at(path, e))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(odd("it is larger than 16 MB".into()));
    }
    String::from_utf8(bytes).map(Some).map_err(|e| odd(format!("it is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// At most the last `bytes` of a file.
pub fn read_tail(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    use std::io::Seek;
    let mut file = File::open(path).map_err(|e| at(path, e))?;
    let len = file.metadata().map_err(|e| at(path, e))?.len();
    file.seek(io::SeekFrom::Start(len.saturating_sub(bytes))).map_err(|e| at(path, e))?;
    let mut out = vec![];
    file.read_to_end(&mut out).map_err(|e| at(path, e))?;
    Ok(out)
}

/// At most the first `bytes` of a file.
pub fn read_head(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut out = vec![];
    File::open(path).and_then(|f| f.take(bytes).read_to_end(&mut out)).map_err(|e| at(path, e))?;
    Ok(out)
}

/// How long a file is; an absent one has no bytes.
pub fn len_bytes(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(at(path, e)),
    }
}

/// What stands at a path, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    File { mode: u32, uid: u32, size_bytes: u64 },
    Folder { mode: u32, uid: u32 },
    Link,
    Other,
}

/// What stands at a path, links not followed; what cannot be looked at is an error.
pub fn look(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Found::Nothing),
        Err(e) => Err(at(path, e)),
        Ok(m) if m.file_type().is_symlink() => Ok(Found::Link),
        Ok(m) if m.is_dir() => Ok(Found::Folder { mode: m.mode() & 0o7777, uid: m.uid() }),
        Ok(m) if m.is_file() => Ok(Found::File { mode: m.mode() & 0o7777, uid: m.uid(), size_bytes: m.len() }),
        Ok(_) => Ok(Found::Other),
    }
}

/// When a file was last written to; none where that cannot be told.
pub fn modified(path: &Path) -> Option<jiff::Timestamp> {
    fs::symlink_metadata(path).and_then(|m| m.modified()).ok()?.try_into().ok()
}

/// Whether something stands at the path; links are followed.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Whether a folder stands at the path; links are followed.
pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// Whether a file stands at the path; links are followed.
pub fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// Whether what stands at the path, links followed, belongs to this user or to root.
pub fn is_own(path: &Path) -> io::Result<bool> {
    let owner = fs::metadata(path).map_err(|e| at(path, e))?.uid();
    Ok(owner == 0 || owner == rustix::process::geteuid().as_raw())
}

/// Whether two paths lead to the same file or folder, links followed.
pub fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let key = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).map_err(|e| at(path, e));
    Ok(key(one)? == key(other)?)
}

/// The path without links and dots; it must exist.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path).map_err(|e| at(path, e))
}

/// The names in a folder, sorted; an absent folder has none.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(_) if look(path)? == Found::Nothing => return Ok(vec![]),
        Err(e) => return Err(at(path, e)),
    };
    let mut names = vec![];
    for entry in entries {
        names.push(entry.map_err(|e| at(path, e))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Creates the folder and those above it.
pub fn create_dirs(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|e| at(path, e))
}

/// Creates one folder that must not exist yet: false if it does.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(at(path, e)),
    }
}

/// Creates a 0700 folder (those above it with the usual mode), or checks that the one there is the user's own and closed to others.
pub fn private_dir(path: &Path) -> io::Result<()> {
    if let Ok(Found::Nothing) = look(path) {
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(|e| at(above, e))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(at(path, e)),
        }
    }
    let refuse =
        |what: &str| Err(io::Error::other(format!("{}: {what}; expected a folder of mode 0700 that belongs to you", path.display())));
    match look(path)? {
        Found::Folder { uid, .. } if uid != rustix::process::geteuid().as_raw() => refuse(&format!("belongs to user {uid}")),
        Found::Folder { mode, .. } if mode & 0o077 != 0 => refuse(&format!("has mode {mode:04o}, so others may look in")),
        Found::Folder { .. } => Ok(()),
        Found::Link => refuse("is a symlink"),
        Found::Nothing | Found::File { .. } | Found::Other => refuse("is no folder"),
    }
}

/// Creates a 0700 folder, or checks that the one there is the user's own and that nobody else may write in it: for what is run from there.
pub fn closed_dir(path: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let found = match look(path)? {
        Found::Nothing => return private_dir(path),
        Found::Folder { uid, .. } if uid != me => format!("belongs to user {uid}"),
        Found::Folder { mode, .. } if mode & 0o022 != 0 => format!("has mode {mode:04o}, so others may write there"),
        Found::Folder { .. } => return Ok(()),
        Found::Link => "is a symlink".into(),
        Found::File { .. } | Found::Other => "is no folder".into(),
    };
    Err(io::Error::other(format!("{}: {found}; expected a folder that belongs to you and is closed to others", path.display())))
}

/// Refuses what stands in place of the user's own folder: a link, a folder of another user's (root's is fine), no folder. Nothing there is fine.
pub fn own_dir_if_there(path: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let found = match look(path)? {
        Found::Nothing => return Ok(()),
        Found::Folder { uid, .. } if uid == me || uid == 0 => return Ok(()),
        Found::Folder { uid, .. } => format!("belongs to user {uid}"),
        Found::Link => "is a symlink".into(),
        Found::File { .. } | Found::Other => "is no folder".into(),
    };
    Err(io::Error::other(format!("{}: {found}; expected a folder that belongs to you", path.display())))
}

/// [`own_dir_if_there`], links followed, and closed to everybody's writing: for what others must not exchange. Where nobody may remove what is another's
/// (the sticky bit), nothing there can be exchanged.
pub fn unspoiled_dir_if_there(path: &Path) -> io::Result<()> {
    let Ok(path) = fs::canonicalize(path) else { return Ok(()) };
    own_dir_if_there(&path)?;
    match look(&path)? {
        Found::Folder { mode, .. } if mode & 0o1002 == 0o002 => Err(io::Error::other(format!(
            "{}: has mode {mode:04o}, so everybody may exchange what lies there; expected a folder that belongs to you",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Renames and makes it durable.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|e| at(from, e))?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Renames without making it durable; false where there is nothing to rename.
pub fn rename_if_there(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(false),
        Err(e) => Err(at(from, e)),
    }
}

/// Removes a file; an absent one is fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path, e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all below it, links not followed; an absent one is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || look(path)? != Found::Nothing => {
            Err(at(path, e))
        }
        _ => Ok(()),
    }
}

/// Removes an empty folder; an absent or used one stays.
pub fn remove_dir_if_empty(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// Copies a file with its mode, through the filesystem's own sharing where it can.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| at(to, e))
}

/// The same file under a second name, or a copy where the filesystem cannot link. The new name may exist already: then nothing is done.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => copy(from, to),
    }
}

/// Makes a link lead there, whatever it led to before. Nothing is done where it does already.
pub fn relink(target: &Path, path: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let beside = path.with_extension(std::process::id().to_string());
    std::os::unix::fs::symlink(target, &beside).and_then(|()| fs::rename(&beside, path)).map_err(|e| at(path, e))
}

/// Where a link leads; none where there is none.
pub fn read_link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

/// What tells a folder from every other one that was ever made on its filesystem, whatever it is called: its number and when it was made. None: the
/// filesystem does not say.
pub fn birth(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    let made = metadata.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.ino(), made.as_nanos()))
}

/// A symlink at `path` that says `target`.
pub fn symlink(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path).map_err(|e| at(path, e))
}

/// Writes a file that nothing else reads yet; not atomic, not synced: for what is made aside and renamed as a whole.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match create_new(path, bytes, mode)? {
        true => Ok(()),
        false => Err(at(path, io::ErrorKind::AlreadyExists.into())),
    }
}

/// Room on the disk that holds `path`, as far as this user may fill it.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path).map_err(|e| at(path, e.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Sets a file's mode bits.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| at(path, e))
}

/// What tells a file from another one that takes its place, or from itself once it has been written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

/// The file's stamp now; links are followed.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let m = fs::metadata(path).map_err(|e| at(path, e))?;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    Ok(Stamp {
        device: m.dev(),
        inode: m.ino(),
        size_bytes: m.size(),
        modified_ns: ns(m.mtime(), m.mtime_nsec()),
        changed_ns: ns(m.ctime(), m.ctime_nsec()),
    })
}

/// Whether this user may run the file.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Where a program of this name would be found: as it stands if it has a slash (relative to `folder`), else along `search` (`$PATH`).
pub fn find_program(name: &str, folder: &Path, search: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(folder.join(name)).filter(|p| is_executable(p));
    }
    search.split(':').filter(|d| !d.is_empty()).map(|d| Path::new(d).join(name)).find(|p| is_executable(p))
}
