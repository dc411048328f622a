//! What a client sends to the terminal it stands in: the program's output without its questions, and at the end what makes all whole.

use crate::term::answer::Question;
use crate::term::modes::Modes;
use crate::term::scan::{Scanner, Sequence, Sink};

/// The user's terminal, as far as the program's output has changed it.
pub(super) struct Shown {
    scanner: Scanner,
    modes: Modes,
}

impl Shown {
    pub(super) fn new() -> Shown {
        Shown { scanner: Scanner::new(), modes: Modes::default() }
    }

    /// The part of the output that is for the user's terminal: the host has answered the questions.
    pub(super) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut pass = Pass { modes: &mut self.modes, out: Vec::with_capacity(bytes.len()) };
        self.scanner.feed(bytes, &mut pass);
        pass.out
    }

    /// Another host goes on with the screen drawn anew. The keyboard modes of before are taken back: it pushes them again.
    pub(super) fn anew(&mut self) -> Vec<u8> {
        let out = self.keyboard_back();
        *self = Shown::new();
        out
    }

    fn keyboard_back(&self) -> Vec<u8> {
        match self.modes.kitty.len() {
            0 => vec![],
            n => format!("\x1b[<{n}u").into_bytes(),
        }
    }

    /// What makes the terminal whole again: nothing the program has switched on stays on, and the cursor stands below its screen.
    pub(super) fn whole(&self) -> Vec<u8> {
        let mut out = b"\x1b\\".to_vec(); // ends a string that was cut off
        out.extend(self.keyboard_back());
        if self.modes.alternate_screen {
            out.extend_from_slice(b"\x1b[?1049l");
        }
        out.extend_from_slice(SWITCHES_OFF);
        // Also after the alternate screen: the other one shows the program's output too, and its saved cursor is the program's.
        out.extend_from_slice(b"\x1b[999;1H\r\n");
        out
    }
}

/// Scroll region (the cursor stays), colours, character sets, keys, mouse, focus, paste, cursor, line wrap, the title that was there before.
const SWITCHES_OFF: &[u8] = b"\x1b7\x1b[r\x1b8\x1b[?6l\x1b[m\x1b(B\x0f\x1b[4l\x1b[?1l\x1b>\x1b[>4m\
    \x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\
    \x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?25h\x1b[0 q\x1b[?7h\x1b[23;2t";

/// Before anything else: the title is kept, and what stands on the screen scrolls out of the way instead of being drawn over.
pub(super) fn entering(rows: u16) -> Vec<u8> {
    [b"\x1b[22;2t".as_slice(), b"\x1b[999;1H", "\n".repeat(usize::from(rows)).as_bytes()].concat()
}

struct Pass<'a> {
    modes: &'a mut Modes,
    out: Vec<u8>,
}

impl Sink for Pass<'_> {
    fn text(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn sequence(&mut self, bytes: &[u8]) {
        let sequence = Sequence::of(bytes);
        self.modes.apply(sequence);
        if Question::of(sequence).is_none() {
            self.out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_do_not_reach_the_users_terminal_wherever_the_output_is_cut() {
        let output = b"a\x1b[6n\x1b[31mb\x1b[c\x1b]11;?\x1b\\\x1b]2;title\x07c\x1b[?2004$p\x1b[>q\x1bP+q544e\x1b\\d\x1b[?u";
        let expected = b"a\x1b[31mb\x1b]2;title\x07cd";
        for cut in 0..output.len() {
            let mut shown = Shown::new();
            let mut got = shown.filter(&output[..cut]);
            got.extend(shown.filter(&output[cut..]));
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected), "cut at {cut}");
        }
    }
}
