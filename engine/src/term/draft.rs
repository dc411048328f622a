//! Whether somebody who is attached has a line half typed: nothing may be typed into it.

/// Follows what is typed, key by key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Draft {
    chars: usize,
    held: Held,
    /// Within a bracketed paste, where Enter is a character.
    pasting: bool,
}

/// A sequence that is not complete.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Escape,
    Csi(Vec<u8>),
    /// One byte more: SS3.
    One,
    /// Until BEL or ST: a terminal's answer.
    Text,
    TextEscape,
}

impl Draft {
    /// A line was left in the input by somebody.
    pub fn left() -> Draft {
        Draft { chars: 1, ..Draft::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.chars == 0 && !self.pasting
    }

    /// Takes what is typed.
    pub fn typed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        self.held = match (std::mem::take(&mut self.held), byte) {
            (Held::Nothing | Held::Escape, 0x1b) => Held::Escape,
            (Held::Nothing, _) => {
                self.key(byte);
                Held::Nothing
            }
            (Held::Escape, b'[') => Held::Csi(vec![]),
            (Held::Escape, b'O') => Held::One,
            (Held::Escape, b']' | b'P' | b'_' | b'^') => Held::Text,
            (Held::Escape | Held::One, _) => Held::Nothing,
            (Held::Csi(parameters), b'@'..=b'~') => {
                match (parameters.as_slice(), byte) {
                    (b"200", b'~') => self.pasting = true,
                    (b"201", b'~') => self.pasting = false,
                    _ => {}
                }
                Held::Nothing
            }
            (Held::Csi(mut parameters), _) => {
                // Answers of terminals are short; what is longer is none.
                parameters.truncate(64);
                parameters.push(byte);
                Held::Csi(parameters)
            }
            (Held::Text, 0x07) => Held::Nothing,
            (Held::Text, 0x1b) => Held::TextEscape,
            (Held::Text, _) => Held::Text,
            (Held::TextEscape, _) => Held::Nothing,
        };
    }

    fn key(&mut self, byte: u8) {
        match byte {
            _ if self.pasting => self.chars += 1,
            // Enter, and what gives a line up: ^C, ^D, ^U.
            b'\r' | b'\n' | 0x03 | 0x04 | 0x15 => self.chars = 0,
            0x08 | 0x7f => self.chars = self.chars.saturating_sub(1),
            0..=0x1f | 0x80..=0xbf => {}
            _ => self.chars += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_half_typed_until_it_is_entered_or_given_up() {
        for (typed, empty) in [
            (&b""[..], true),
            (b"ls", false),
            (b"ls\r", true),
            (b"ls\x03", true),
            (b"ls\x15", true),
            (b"ls\x7f", false),
            (b"ls\x7f\x7f\x7f", true),
            (b"\xc3\xa9\x7f", true),
            (b"\x1b[A\x1b[1;5C\x1bOP\x1b[I\x1b[O\x1b[<0;3;4M", true),
            (b"\x1b]11;rgb:0000/0000/0000\x1b\\\x1b[?62;22c\x1b[3;4R", true),
            (b"\x1b[200~two\rlines\x1b[201~", false),
            (b"\x1b[200~", false),
            (b"\x1b[200~two\x1b[201~\r", true),
            (b"ls\r\x1b", true),
            (b"ls\rx", false),
        ] {
            let mut draft = Draft::default();
            draft.typed(typed);
            assert_eq!(draft.is_empty(), empty, "{:?}", String::from_utf8_lossy(typed));
            let mut slowly = Draft::default();
            typed.iter().for_each(|b| slowly.typed(&[*b]));
            assert_eq!(slowly, draft);
        }
    }
}
