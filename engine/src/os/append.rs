//! Files that only grow, and are exchanged for a new one when they are long. Nothing here is synced: a log may lose its end with the power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::fs::{NOFOLLOW, at};

/// A file that is appended to.
#[derive(Debug)]
pub struct Appender {
    file: File,
    len: u64,
    id: u64,
}

impl Appender {
    /// Opens the file at `path`, or creates it with mode 0600.
    pub fn open(path: &Path) -> io::Result<Appender> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(NOFOLLOW).open(path).map_err(|e| at(path, e))?;
        let metadata = file.metadata().map_err(|e| at(path, e))?;
        Ok(Appender { len: metadata.len(), id: metadata.ino(), file })
    }

    /// How long the file is.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// What tells this file from others of its filesystem, whatever its name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Adds `bytes`; after an error, some of them.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.len += written as u64;
                    bytes = &bytes[written..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The file at `path`, which this is, becomes the one at `older`; a new one takes its place. After an error all is as before.
    pub fn rotate(&mut self, path: &Path, older: &Path) -> io::Result<()> {
        fs::rename(path, older).map_err(|e| at(path, e))?;
        match Appender::open(path) {
            Ok(new) => *self = new,
            Err(e) => {
                let _ = fs::rename(older, path);
                return Err(e);
            }
        }
        Ok(())
    }
}

/// A file's id (see [`Appender::id`]) and length; `None` where there is none.
pub fn identify(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.ino(), m.len()))
}

/// Adds the bytes `from..to` of a file to `out`, fewer where it is shorter.
pub fn read_part(path: &Path, from: u64, to: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(path).map_err(|e| at(path, e))?;
    file.seek(SeekFrom::Start(from)).map_err(|e| at(path, e))?;
    out.reserve(to.saturating_sub(from) as usize);
    file.take(to.saturating_sub(from)).read_to_end(out).map(drop).map_err(|e| at(path, e))
}

/// Replaces a small file as a whole. Whoever reads sees the old or the new one; after a power loss it may be gone.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| at(path, e))
}
