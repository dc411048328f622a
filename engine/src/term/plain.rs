//! The end of a log that needs no replay from its beginning: lines that were printed one below the other.
//!
//! Where only such lines stand, what is above the last of them has scrolled away; so a screen and any scrollback are known from a stretch
//! at the end, and as plain text without a terminal at all. Anything else in the stretch, and the whole log is replayed.

use std::io;

use unicode_width::UnicodeWidthChar;

use super::log::{Mark, Segment};
use super::modes::Modes;
use super::replay::ROWS_GIVEN_BACK;
use super::scan::{Scanner, Sequence, Sink};
use crate::os::pty::Size;

/// Reading backwards begins with so much, and takes twice as much each time.
const READ_BYTES: u64 = 64 << 10;
const READ_BYTES_MAX: u64 = 1 << 20;

/// The end of a log, from the beginning of a line.
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
    /// How many newlines are in it.
    lines: usize,
    /// No colours are on where it begins; false where that was not asked.
    pub(super) uncoloured: bool,
}

/// The stretch that tells the last `keep` rows, and if `colours` which are on where it begins; `None` where it is not to be had, or holds more than lines.
pub(super) fn tail(segments: &[Segment], size: Size, keep: usize, colours: bool) -> io::Result<Option<Tail>> {
    // Rows that stood on the screen before the stretch began may show through until they have scrolled away.
    let wanted = keep + 2 * usize::from(size.rows) + ROWS_GIVEN_BACK;
    let mut part = vec![];
    let mut lines = 0;
    let mut before = None;
    let mut at_once = READ_BYTES;
    for (nth, segment) in segments.iter().enumerate().rev() {
        let mut end = segment.len;
        while end > 0 && lines <= wanted {
            let start = end.saturating_sub(at_once);
            at_once = (at_once * 2).min(READ_BYTES_MAX);
            if changes_within(segment, start, size) {
                return Ok(None);
            }
            segment.read_into(&mut part, start, end)?;
            lines += memchr::memchr_iter(b'\n', &part).count();
            end = start;
            before = Some((nth, start));
        }
        if lines <= wanted && changes_within(segment, 0, size) {
            return Ok(None);
        }
    }
    if lines <= wanted {
        // All there is: known, if a fresh terminal is where it begins.
        let as_new = Modes::default().state();
        let fresh = segments.first().is_some_and(|s| matches!(s.marks.first(), Some((0, Mark::Start { state, .. })) if *state == as_new));
        let bytes = if fresh { read_from(segments, 0, 0)? } else { return Ok(None) };
        return Ok(is_lines(&bytes).then_some(Tail { bytes, lines, uncoloured: true }));
    }
    // The line that the stretch begins with stands in the part that was read last.
    let Some((nth, start)) = before else { return Ok(None) };
    let spare = memchr::memchr_iter(b'\n', &part).nth(lines - wanted - 1).unwrap_or(0);
    if spare == 0 || part[spare - 1] != b'\r' {
        return Ok(None);
    }
    let uncoloured = colours
        && match last_is_plain(&part[..spare]) {
            Some(plain) => plain,
            None => uncoloured_before(&segments[..=nth], start)?,
        };
    drop(part);
    let bytes = read_from(segments, nth, start + spare as u64 + 1)?;
    Ok(is_lines(&bytes).then_some(Tail { bytes, lines: wanted, uncoloured }))
}

/// All from this place in the nth segment on.
fn read_from(segments: &[Segment], nth: usize, start: u64) -> io::Result<Vec<u8>> {
    let parts = segments.iter().enumerate().skip(nth).map(|(i, s)| (s, if i == nth { start } else { 0 }));
    let mut bytes = Vec::with_capacity(parts.clone().map(|(s, from)| s.len.saturating_sub(from) as usize).sum());
    parts.into_iter().try_for_each(|(segment, from)| segment.read_onto(&mut bytes, from, segment.len))?;
    Ok(bytes)
}

fn is_lines(bytes: &[u8]) -> bool {
    let mut check = Lines { only: true };
    Scanner::new().feed(bytes, &mut check);
    check.only
}

/// Whether the last sequence in a stretch takes all colours back; `None` where there is no sequence.
fn last_is_plain(bytes: &[u8]) -> Option<bool> {
    let last = memchr::memrchr(0x1b, bytes)?;
    Some(bytes[last..].starts_with(b"\x1b[m") || bytes[last..].starts_with(b"\x1b[0m"))
}

/// The same for all that comes before `end` in the last of these segments.
fn uncoloured_before(segments: &[Segment], mut end: u64) -> io::Result<bool> {
    for segment in segments.iter().rev() {
        end = end.min(segment.len);
        while end > 0 {
            let start = end.saturating_sub(READ_BYTES_MAX);
            if let Some(plain) = last_is_plain(&segment.read(start, end)?) {
                return Ok(plain);
            }
            end = start;
        }
        end = u64::MAX;
    }
    Ok(true)
}

/// Whether the terminal was not always of this size, with the same program, since `from`.
fn changes_within(segment: &Segment, from: u64, size: Size) -> bool {
    segment.marks.iter().any(|(at, mark)| match mark {
        Mark::Resized(new) | Mark::Start { size: new, .. } => *at >= from && *new != size,
        Mark::Reset => *at >= from,
    }) || segment.marks.iter().rev().find_map(|(at, mark)| match mark {
        Mark::Resized(new) | Mark::Start { size: new, .. } if *at <= from => Some(*new != size),
        _ => None,
    }) == Some(true)
}

/// Whether nothing but lines and colours is in a stretch.
struct Lines {
    only: bool,
}

impl Sink for Lines {
    fn text(&mut self, bytes: &[u8]) {
        // Without a way out in its middle, a loop of many bytes at once.
        self.only &= bytes.iter().fold(true, |only, b| only & (matches!(b, b'\n' | b'\r' | b'\t') | ((*b >= 0x20) & (*b != 0x7f))));
    }

    fn sequence(&mut self, bytes: &[u8]) {
        self.only &= matches!(Sequence::of(bytes), Sequence::Csi { private: 0, intermediates: [], last: b'm', .. });
    }
}

impl Tail {
    /// The last `keep` rows as plain text, without the empty ones at the end; `None` where a line needs a terminal to tell what it shows.
    pub(super) fn text(&self, cols: u16, keep: usize) -> Option<Vec<u8>> {
        let mut page = Page { cols: usize::from(cols), out: Vec::with_capacity(self.bytes.len()), starts: vec![0], column: 0, gap: 0 };
        let text = std::str::from_utf8(&self.bytes).ok()?;
        // A line takes a row at least, so those before the last `keep` show nothing.
        let unseen = self.lines.saturating_sub(keep.saturating_sub(1));
        let mut ends = memchr::memchr_iter(b'\n', text.as_bytes());
        let mut begin = 0;
        if unseen > 0 {
            let last = ends.nth(unseen - 1)?;
            // Otherwise the next line does not begin at the left.
            text[..last].strip_suffix('\r')?;
            begin = last + 1;
        }
        for end in ends {
            page.line(text[begin..end].strip_suffix('\r')?.trim_end_matches('\r'))?;
            page.next_row();
            begin = end + 1;
        }
        page.line(&text[begin..])?;
        let first = page.starts.len().saturating_sub(keep);
        let mut out = page.out;
        out.push(b'\n');
        out.drain(..page.starts[first]);
        while out.ends_with(b"\n\n") || out == b"\n" {
            out.pop();
        }
        Some(out)
    }
}

/// Rows as they fill.
struct Page {
    cols: usize,
    out: Vec<u8>,
    starts: Vec<usize>,
    column: usize,
    /// Blanks that are only there if something follows them.
    gap: usize,
}

impl Page {
    fn next_row(&mut self) {
        self.out.push(b'\n');
        self.starts.push(self.out.len());
        (self.column, self.gap) = (0, 0);
    }

    fn line(&mut self, line: &str) -> Option<()> {
        if line.len() <= self.cols && line.bytes().fold(true, |plain, b| plain & (b' '..=b'~').contains(&b)) {
            // The common case: one row of plain letters.
            let shown = line.trim_end_matches(' ');
            self.out.extend_from_slice(shown.as_bytes());
            (self.column, self.gap) = (line.len(), line.len() - shown.len());
            return Some(());
        }
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => while chars.next()? != 'm' {},
                '\t' => {
                    let to = (self.column / 8 + 1) * 8;
                    if to >= self.cols {
                        return None;
                    }
                    self.gap += to - self.column;
                    self.column = to;
                }
                ' ' => self.put(1, None),
                '\r' | '\u{80}'..='\u{9f}' | '\u{fffd}' => return None,
                ' '..='~' => self.put(1, Some(c)),
                c => match c.width() {
                    Some(width @ 1..=2) if width <= self.cols => self.put(width, Some(c)),
                    _ => return None,
                },
            }
        }
        Some(())
    }

    fn put(&mut self, width: usize, c: Option<char>) {
        if self.column + width > self.cols {
            self.next_row();
        }
        self.column += width;
        match c {
            None => self.gap += 1,
            Some(c) => {
                self.out.resize(self.out.len() + std::mem::take(&mut self.gap), b' ');
                self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}
