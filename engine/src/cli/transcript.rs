//! Raw terminal output as a person reads it afterwards: plain lines, each as it last stood.
//!
//! Only what happens within a line is played out (overwriting, erasing). Where the cursor leaves its row, the line ends: a log has no screen.

use unicode_width::UnicodeWidthChar;
use vte::{Params, Parser, Perform};

/// A line longer than this is cut there: a program may print gigabytes without a newline.
const LINE_CHARS_MAX: usize = 64 << 10;
/// Programs move the cursor to a far column to learn the width; nothing is padded further than this.
const COLUMN_MAX: usize = 1000;

/// Turns bytes into lines, however the bytes are cut into pieces.
#[derive(Default)]
pub(super) struct Transcript {
    parser: Parser,
    lines: Lines,
    /// The begin of a character whose rest has not come: the parser loses what follows where it is given halves that do not fit.
    begun: Vec<u8>,
}

/// How many bytes at the end begin a character of UTF-8 that is not whole.
fn begun_bytes(bytes: &[u8]) -> usize {
    let is_lead_of = |byte: u8, more_than: usize| match byte {
        0xc2..=0xdf => more_than < 2,
        0xe0..=0xef => more_than < 3,
        0xf0..=0xf4 => more_than < 4,
        _ => false,
    };
    (1..=bytes.len().min(3)).find(|n| is_lead_of(bytes[bytes.len() - n], *n)).unwrap_or(0)
}

#[derive(Default)]
struct Lines {
    /// A wide character takes its cell and leaves the next one empty.
    cells: Vec<Option<char>>,
    column: usize,
    done: String,
}

impl Transcript {
    /// The lines that were finished by these bytes, each with its newline.
    pub(super) fn add(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        self.begun = all.split_off(all.len() - begun_bytes(&all));
        self.parser.advance(&mut self.lines, &all);
        std::mem::take(&mut self.lines.done)
    }

    /// The line that was not finished, with a newline; nothing where it is empty.
    pub(super) fn rest(&mut self) -> String {
        if !self.lines.cells.is_empty() {
            self.lines.finish();
        }
        std::mem::take(&mut self.lines.done)
    }
}

/// All of it at once.
pub(super) fn plain(bytes: &[u8]) -> String {
    let mut transcript = Transcript::default();
    let mut text = transcript.add(bytes);
    text.push_str(&transcript.rest());
    text
}

impl Lines {
    fn finish(&mut self) {
        let line: String = self.cells.drain(..).flatten().collect();
        self.done.push_str(line.trim_end());
        self.done.push('\n');
        self.column = 0;
    }

    /// The cursor goes to another row.
    fn leave(&mut self) {
        if self.cells.iter().flatten().any(|c| *c != ' ') {
            self.finish();
        } else {
            self.cells.clear();
        }
    }

    fn erase(&mut self, from: usize, to: usize) {
        let end = to.min(self.cells.len());
        if to >= self.cells.len() {
            self.cells.truncate(from);
        } else if from < end {
            self.cells[from..end].fill(Some(' '));
        }
    }
}

impl Perform for Lines {
    fn print(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if width == 0 || self.column >= LINE_CHARS_MAX {
            return;
        }
        if self.cells.len() < self.column + width {
            self.cells.resize(self.column + width, Some(' '));
        }
        self.cells[self.column] = Some(c);
        for cell in &mut self.cells[self.column + 1..self.column + width] {
            *cell = None;
        }
        self.column += width;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | 0x0b | 0x0c => self.finish(),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = (self.column / 8 + 1) * 8,
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _intermediates: &[u8], _ignore: bool, action: char) {
        let first = params.iter().next().and_then(|p| p.first().copied()).unwrap_or(0);
        let count = usize::from(first.max(1));
        match action {
            'C' | 'a' => self.column = (self.column + count).min(COLUMN_MAX.max(self.column)),
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.column = (count - 1).min(COLUMN_MAX),
            'K' => match first {
                1 => self.erase(0, self.column + 1),
                2 => self.erase(0, usize::MAX),
                _ => self.erase(self.column, usize::MAX),
            },
            'X' => self.erase(self.column, self.column + count),
            'A' | 'B' | 'E' | 'F' | 'H' | 'f' | 'd' | 'J' | 'S' | 'T' => {
                self.leave();
                self.column = 0;
            }
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, _intermediates: &[u8], _ignore: bool, byte: u8) {
        // Index, next line, reverse index, reset.
        if matches!(byte, b'D' | b'E' | b'M' | b'c') {
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_stand_as_they_last_stood() {
        for (raw, expected) in [
            ("one\r\ntwo\r\n", "one\ntwo\n"),
            ("\x1b[31mred\x1b[0m plain", "red plain\n"),
            (" 10%\r 50%\r100%\r\n", "100%\n"),
            ("long line\rshort\x1b[K\r\n", "short\n"),
            ("abc\x08\x08X\r\n", "aXc\n"),
            ("a\tb\n", "a       b\n"),
            ("\x1b]0;title\x07text\n", "text\n"),
            ("日本\rX\n", "X本\n"),
            ("top\x1b[2;1Hbelow", "top\nbelow\n"),
            ("\x1b[2J\x1b[H", ""),
            ("\n\nx", "\n\nx\n"),
            ("col\x1b[10Gten\n", "col      ten\n"),
        ] {
            assert_eq!(plain(raw.as_bytes()), expected, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_read_as_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let mut transcript = Transcript::default();
            let pieces = transcript.add(a) + &transcript.add(b) + &transcript.rest();
            prop_assert_eq!(pieces, plain(&bytes));
        }

        #[test]
        fn no_control_character_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(plain(&bytes).chars().all(|c| c == '\n' || !c.is_control()));
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        assert!(plain(&vec![b'x'; 1 << 20]).len() <= LINE_CHARS_MAX + 1);
    }
}
