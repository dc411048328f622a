//! The log on disk: a terminal's output as it came, in two segments, and beside it an index of what the bytes alone don't tell.
//!
//! The index (`.log.index`) is lines: `{file} {offset} {what} ;`, the file named by its inode, so that no order of renames and writes in
//! which a process may die leaves a wrong one. A torn or foreign line is skipped. Whatever is missing, the bytes are still readable.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::limits::LOG_SEGMENT_BYTES;
use crate::os::append::{self, Appender};
use crate::os::fs;
use crate::os::pty::Size;

/// Bytes read at once when the log is gone over.
const READ_BYTES: u64 = 256 << 10;

/// What happened between two bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// The segment begins: the size, and sequences that bring a fresh terminal to where it stood.
    Start {
        size: Size,
        state: Vec<u8>,
    },
    Resized(Size),
    /// A new program started.
    Reset,
}

/// One file of the log.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    path: PathBuf,
    pub(super) len: u64,
    pub(super) marks: Vec<(u64, Mark)>,
}

/// A stretch of the log, or what happened there.
pub(super) enum Piece<'a> {
    Bytes(&'a [u8]),
    Mark(&'a Mark),
}

/// The log, open for writing.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Appender,
    segment_bytes: u64,
    /// Why bytes are missing, if any are.
    pub(super) incomplete: Option<String>,
    shedding: bool,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Log> {
        Log::with_segments_of(path, LOG_SEGMENT_BYTES)
    }

    pub(super) fn with_segments_of(path: &Path, segment_bytes: u64) -> io::Result<Log> {
        Ok(Log { path: path.to_path_buf(), file: Appender::open(path)?, segment_bytes, incomplete: None, shedding: false })
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn older(&self) -> PathBuf {
        self.beside(".1")
    }

    fn index(&self) -> PathBuf {
        self.beside(".index")
    }

    /// Nothing was written to the newest segment yet.
    pub(super) fn is_new(&self) -> bool {
        self.file.len_bytes() == 0
    }

    /// The newest segment is as long as it should become.
    pub(super) fn is_full(&self) -> bool {
        self.file.len_bytes() >= self.segment_bytes
    }

    /// The newest segment is so long that it ends wherever it is.
    pub(super) fn is_overdue(&self) -> bool {
        self.file.len_bytes() >= self.segment_bytes + self.segment_bytes / 4
    }

    /// Adds output. What cannot be written is dropped and remembered as missing: a full disk must not stop an agent.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let result = if self.shedding { self.file.append(b"\x18\r\n") } else { Ok(()) };
        match result.and_then(|()| self.file.append(bytes)) {
            Ok(()) => self.shedding = false,
            Err(e) => self.shed(&e),
        }
    }

    fn shed(&mut self, error: &io::Error) {
        self.shedding = true;
        self.incomplete = Some(format!("log incomplete: {}: {error}", self.path.display()));
    }

    /// Notes what happens at the end of the log.
    pub(super) fn mark(&mut self, mark: &Mark) {
        let what = match mark {
            Mark::Start { size, state } => format!("start {} {} {}", size.rows, size.cols, hex(state)),
            Mark::Resized(size) => format!("size {} {}", size.rows, size.cols),
            Mark::Reset => "reset".to_owned(),
        };
        // The newline first closes what a dying process may have left without one.
        let line = format!("\n{} {} {what} ;\n", self.file.id(), self.file.len_bytes());
        if let Err(e) = fs::append(&self.index(), line.as_bytes()) {
            self.shed(&e);
        }
    }

    /// Begins a new segment; the oldest is dropped.
    pub(super) fn rotate(&mut self, start: &Mark) {
        let older = self.older();
        let kept = self.file.id();
        if let Err(e) = self.file.rotate(&self.path, &older) {
            return self.shed(&e);
        }
        let index = fs::read_if_there(&self.index()).ok().flatten().unwrap_or_default();
        let ours = |line: &&str| line.split(' ').next().and_then(|id| id.parse().ok()) == Some(kept);
        let lines: Vec<&str> = index.lines().filter(ours).collect();
        if let Err(e) = append::replace(&self.index(), (lines.join("\n") + "\n").as_bytes()) {
            self.shed(&e);
        }
        self.mark(start);
    }

    /// The segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let index = fs::read_if_there(&self.index()).ok().flatten().unwrap_or_default();
        [self.older(), self.path.clone()]
            .into_iter()
            .filter_map(|path| {
                let (id, len) = append::identify(&path)?;
                Some(Segment { marks: marks_of(&index, id, len), path, len })
            })
            .collect()
    }
}

impl Segment {
    /// How the segment begins, where that was noted.
    pub(super) fn start(&self) -> Option<&Mark> {
        self.marks.first().map(|(_, m)| m).filter(|m| matches!(m, Mark::Start { .. }))
    }

    /// The bytes `from..to`.
    pub(super) fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        self.read_into(&mut bytes, from, to)?;
        Ok(bytes)
    }

    /// The same in place of what is in `bytes`, whose memory is used again.
    pub(super) fn read_into(&self, bytes: &mut Vec<u8>, from: u64, to: u64) -> io::Result<()> {
        bytes.clear();
        self.read_onto(bytes, from, to)
    }

    /// The same after what is in `bytes`.
    pub(super) fn read_onto(&self, bytes: &mut Vec<u8>, from: u64, to: u64) -> io::Result<()> {
        append::read_part(&self.path, from, to, bytes)
    }

    /// Goes over bytes and marks in order, beginning at `from`; marks before it are left out.
    pub(super) fn replay(&self, from: u64, mut take: impl FnMut(Piece<'_>)) -> io::Result<()> {
        let mut at = from;
        let bytes = |at: &mut u64, to: u64, take: &mut dyn FnMut(Piece<'_>)| -> io::Result<()> {
            while *at < to {
                let part = self.read(*at, to.min(*at + READ_BYTES))?;
                if part.is_empty() {
                    break;
                }
                *at += part.len() as u64;
                take(Piece::Bytes(&part));
            }
            Ok(())
        };
        for (offset, mark) in self.marks.iter().filter(|(offset, _)| *offset >= from) {
            bytes(&mut at, *offset, &mut take)?;
            take(Piece::Mark(mark));
        }
        bytes(&mut at, self.len, &mut take)
    }
}

fn marks_of(index: &str, id: u64, len: u64) -> Vec<(u64, Mark)> {
    let mut marks = vec![];
    for line in index.lines() {
        let Some(line) = line.strip_suffix(" ;") else { continue };
        let mut words = line.split(' ');
        if words.next().and_then(|w| w.parse().ok()) != Some(id) {
            continue;
        }
        let Some(offset) = words.next().and_then(|w| w.parse::<u64>().ok()).filter(|o| *o <= len) else { continue };
        let size =
            |words: &mut std::str::Split<'_, char>| Some(Size { rows: words.next()?.parse().ok()?, cols: words.next()?.parse().ok()? });
        let mark = match words.next() {
            Some("start") => size(&mut words).zip(words.next().and_then(unhex)).map(|(size, state)| Mark::Start { size, state }),
            Some("size") => size(&mut words).map(Mark::Resized),
            Some("reset") => Some(Mark::Reset),
            _ => None,
        };
        if let Some(mark) = mark {
            if matches!(mark, Mark::Start { .. }) {
                marks.clear(); // an inode used again: what came before was another file's
            }
            marks.push((offset, mark));
        }
    }
    marks.sort_by_key(|(offset, _)| *offset);
    marks
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2 + 1);
    out.push('x'); // so that an empty one is a word too
    for b in bytes {
        out.extend([b >> 4, b & 15].map(|n| char::from_digit(n.into(), 16).unwrap_or('0')));
    }
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.strip_prefix('x')?.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
}
