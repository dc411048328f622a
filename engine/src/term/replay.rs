//! The log played into a terminal that exists in memory only.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use vt100::capture::{BasicFormattedCaptureState, RowContents, basic_formatted_to_plain};

use super::log::{Mark, Piece};
use super::scan::{Scanner, Sequence, Sink};
use crate::os::pty::Size;

/// A terminal that grows takes rows back from its scrollback: so many at most. Rows beyond them are text.
pub(super) const ROWS_GIVEN_BACK: usize = 256;

/// Rows that have left the screen, the newest `keep` of them.
#[derive(Debug, Default)]
struct Rows {
    keep: usize,
    rows: VecDeque<Box<str>>,
    alternate_too: bool,
}

impl vt100::Callbacks for Rows {
    fn on_scroll(&mut self, row: RowContents<'_>, alternate: bool) {
        if self.keep == 0 || (alternate && !self.alternate_too) {
            return;
        }
        if self.rows.len() == self.keep {
            self.rows.pop_front();
        }
        let mut text = String::new();
        if row.write_formatted_basic(&mut text, &mut BasicFormattedCaptureState::new()).is_ok() {
            self.rows.push_back(text.into_boxed_str());
        }
    }
}

/// A terminal in memory.
pub(super) struct Replay {
    terminal: vt100::Parser<Rows>,
    scanner: Scanner,
}

impl Replay {
    /// A fresh terminal that keeps the last `keep` rows that leave its screen.
    pub(super) fn new(size: Size, keep: usize) -> Replay {
        let (rows, cols) = dimensions(size);
        let terminal = vt100::Parser::new_with_callbacks(rows, cols, ROWS_GIVEN_BACK, Rows { keep, ..Rows::default() });
        Replay { terminal, scanner: Scanner::new() }
    }

    /// Takes the next piece of a log.
    pub(super) fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => self.feed(bytes),
            Piece::Mark(Mark::Start { size, state }) => {
                self.resize(*size);
                self.feed(state);
            }
            Piece::Mark(Mark::Resized(size)) => self.resize(*size),
            Piece::Mark(Mark::Reset) => self.reset(),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, &mut self.terminal);
    }

    pub(super) fn resize(&mut self, size: Size) {
        let (rows, cols) = dimensions(size);
        self.terminal.set_size(rows, cols);
    }

    /// A new program: what the old one left on the main screen scrolls away, all modes are a fresh terminal's.
    pub(super) fn reset(&mut self) {
        self.scanner.reset();
        self.terminal.process(b"\x18\x1b[?1049l\x1b[?47l\x1b[r\x1b[m");
        let screen = self.terminal.screen();
        let cols = screen.size().1.get();
        let used = screen.rows(0, cols).enumerate().filter(|(_, row)| !row.trim().is_empty()).map(|(i, _)| i + 1).last().unwrap_or(0);
        if used > 0 {
            self.terminal.process(format!("\x1b[{used}S").as_bytes());
        }
        self.terminal.process(b"\x1b[?1;6;9;1000;1002;1003;1005;1006;2004l\x1b[?25h\x1b>\x1b[0 q\x1b[H\x1b7");
    }

    /// Row and column of the cursor, from 1.
    pub(super) fn cursor(&self) -> (u16, u16) {
        let screen = self.terminal.screen();
        let (row, column) = screen.cursor_position();
        (row + 1, (column + 1).min(screen.size().1.get()))
    }

    /// The screen's rows, without what is empty at their ends.
    pub(super) fn text(&self) -> String {
        let screen = self.terminal.screen();
        let cols = screen.size().1.get();
        screen.rows(0, cols).map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// What draws this screen on a terminal, cursor and colours included.
    pub(super) fn drawn(&self) -> Vec<u8> {
        let screen = self.terminal.screen();
        let mut out = if screen.alternate_screen() { "\x1b[?1049h" } else { "\x1b[?1049l" }.as_bytes().to_vec();
        out.extend_from_slice(b"\x1b[r\x1b[?6l");
        out.extend_from_slice(screen.state_formatted().as_bytes());
        out
    }

    /// Forgets rows that are no longer on the screen, to be small.
    pub(super) fn slim(&mut self) {
        self.terminal.screen_mut().clear_scrollback();
    }

    /// The rows that have left the main screen, and how many they are, as a terminal prints them. This is the end of the replay.
    pub(super) fn into_history(mut self) -> (Vec<u8>, usize) {
        self.terminal.process(b"\x18\x1b[?47l\x1b[3J");
        let rows = &self.terminal.callbacks().rows;
        let mut out = vec![];
        for row in rows {
            out.extend_from_slice(row.as_bytes());
            out.extend_from_slice(if row.contains('\x1b') { b"\x1b[m\r\n" } else { b"\r\n" });
        }
        (out, rows.len())
    }

    /// The rows kept and the screen's, from the top, without the empty ones at the end. This is the end of the replay.
    pub(super) fn into_lines(mut self, styled: bool) -> Vec<u8> {
        let alternate = self.terminal.screen().alternate_screen();
        let rows = self.terminal.screen().size().0.get();
        self.terminal.process(b"\x18\x1b[?47l\x1b[3J");
        if alternate {
            self.terminal.callbacks_mut().alternate_too = true;
            self.terminal.process(b"\x1b[?47h");
        }
        self.terminal.process(format!("\x1b[r\x1b[{rows}S").as_bytes());
        self.terminal.process(b"\x1b[3J");
        let lines = &self.terminal.callbacks().rows;
        let mut out = vec![];
        let mut end = 0;
        for line in lines {
            let plain: String = basic_formatted_to_plain(line).collect();
            if !styled {
                out.extend_from_slice(plain.trim_end_matches(' ').as_bytes());
            } else {
                out.extend_from_slice(line.as_bytes());
                if line.contains('\x1b') {
                    out.extend_from_slice(b"\x1b[m");
                }
            }
            out.push(b'\n');
            if !plain.trim_end_matches(' ').is_empty() {
                end = out.len();
            }
        }
        out.truncate(end);
        out
    }
}

impl Sink for vt100::Parser<Rows> {
    fn text(&mut self, bytes: &[u8]) {
        self.process(bytes);
    }

    fn sequence(&mut self, bytes: &[u8]) {
        match Sequence::of(bytes) {
            // Index and next line, which the terminal does not know by these names.
            Sequence::Escape { intermediates: [], last: b'D' } => self.process(b"\n"),
            Sequence::Escape { intermediates: [], last: b'E' } => self.process(b"\r\n"),
            Sequence::Csi { private: 0, parameters: b"3", intermediates: [], last: b'J' } => {
                if !self.screen().alternate_screen() {
                    self.screen_mut().clear_scrollback();
                    self.callbacks_mut().rows.clear();
                }
            }
            _ => self.process(bytes),
        }
    }
}

fn dimensions(size: Size) -> (NonZeroU16, NonZeroU16) {
    let believed = |n: u16| NonZeroU16::new(n.min(crate::core::limits::TERMINAL_CELLS_MAX)).unwrap_or(NonZeroU16::MIN);
    (believed(size.rows), believed(size.cols))
}
