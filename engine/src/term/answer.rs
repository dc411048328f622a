//! Questions that programs ask their terminal, and the answers of this one.
//!
//! The host answers them all, so that a program runs the same whether somebody watches or not; a client keeps them from the terminal
//! it shows the program on, which would answer a second time.

use super::modes::Modes;
use super::scan::{Sequence, numbers};
use crate::os::pty::Size;

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question<'a> {
    /// DA1, DA2, DA3: what are you.
    Primary,
    Secondary,
    Tertiary,
    /// Are you there.
    Status,
    /// Where is the cursor; `private` is DECXCPR.
    Cursor {
        private: bool,
    },
    /// Is this mode on.
    Mode {
        private: bool,
        mode: u16,
    },
    Version,
    KittyFlags,
    ModifyOtherKeys,
    /// 18: size in characters; others are not answered.
    Window(u16),
    /// OSC 10, 11, 12: default colours.
    Colour(u16),
    /// DECRQSS and XTGETTCAP, by their intermediate.
    Setting(u8),
    /// Asked, and left without an answer: what is asked is private, or not known here.
    Unanswered(&'a [u8]),
}

impl<'a> Question<'a> {
    /// The question that a sequence asks, if it asks one.
    pub(super) fn of(sequence: Sequence<'a>) -> Option<Question<'a>> {
        match sequence {
            Sequence::Csi { private, parameters, intermediates, last } => csi(private, parameters, intermediates, last),
            Sequence::Escape { intermediates: [], last: b'Z' } => Some(Question::Primary),
            Sequence::Osc(text) => osc(text),
            Sequence::Dcs([i @ (b'$' | b'+'), b'q', ..]) => Some(Question::Setting(*i)),
            _ => None,
        }
    }

    /// The answer; empty when there is none. `cursor` gives row and column from 1, and is costly.
    pub(super) fn answer(self, modes: &Modes, size: Size, cursor: impl FnOnce() -> (u16, u16)) -> Vec<u8> {
        let text = match self {
            Question::Primary => "\x1b[?62;22c".to_owned(),
            Question::Secondary => "\x1b[>1;10;0c".to_owned(),
            Question::Tertiary => "\x1bP!|00000000\x1b\\".to_owned(),
            Question::Status => "\x1b[0n".to_owned(),
            Question::Cursor { private } => {
                let (row, column) = cursor();
                format!("\x1b[{}{row};{column}R", if private { "?" } else { "" })
            }
            Question::Mode { private: true, mode } => format!("\x1b[?{mode};{}$y", modes.report(mode)),
            Question::Mode { private: false, mode } => format!("\x1b[{mode};0$y"),
            Question::Version => concat!("\x1bP>|agents ", env!("CARGO_PKG_VERSION"), "\x1b\\").to_owned(),
            Question::KittyFlags => format!("\x1b[?{}u", modes.kitty_flags()),
            Question::ModifyOtherKeys => format!("\x1b[>4;{}m", modes.modify_other_keys),
            Question::Window(18) => format!("\x1b[8;{};{}t", size.rows, size.cols),
            Question::Colour(11) => "\x1b]11;rgb:0000/0000/0000\x1b\\".to_owned(),
            Question::Colour(which) => format!("\x1b]{which};rgb:d8d8/d8d8/d8d8\x1b\\"),
            Question::Setting(which) => format!("\x1bP0{}r\x1b\\", char::from(which)),
            Question::Window(_) | Question::Unanswered(_) => String::new(),
        };
        text.into_bytes()
    }
}

fn csi<'a>(private: u8, parameters: &'a [u8], intermediates: &[u8], last: u8) -> Option<Question<'a>> {
    let first = numbers(parameters).next().flatten();
    Some(match (private, intermediates, last) {
        (0, [], b'c') if first.unwrap_or(0) == 0 => Question::Primary,
        (b'>', [], b'c') if first.unwrap_or(0) == 0 => Question::Secondary,
        (b'=', [], b'c') if first.unwrap_or(0) == 0 => Question::Tertiary,
        (0, [], b'n') if first == Some(5) => Question::Status,
        (0, [], b'n') if first == Some(6) => Question::Cursor { private: false },
        (b'?', [], b'n') if first == Some(6) => Question::Cursor { private: true },
        (0 | b'?', [], b'n') => Question::Unanswered(parameters),
        (0 | b'?', [b'$'], b'p') => Question::Mode { private: private == b'?', mode: first.unwrap_or(0) },
        (b'>', [], b'q') => Question::Version,
        (b'?', [], b'u') => Question::KittyFlags,
        (b'?', [], b'm') => Question::ModifyOtherKeys,
        (0, [], b't') if first.is_some_and(|n| (11..=21).contains(&n)) => Question::Window(first.unwrap_or(0)),
        (0, [], b'x') | (b'?', [], b'S') | (0, [b'*'], b'y') | (0, [b'$'], b'w') => Question::Unanswered(parameters),
        _ => return None,
    })
}

fn osc(text: &[u8]) -> Option<Question<'_>> {
    let asks = text.ends_with(b";?") || text == b"?";
    match text {
        [b'1', n @ b'0'..=b'2', b';', b'?'] => Some(Question::Colour(10 + u16::from(n - b'0'))),
        // The clipboard is the operator's own: nobody reads it from inside.
        _ if asks => Some(Question::Unanswered(text)),
        _ => None,
    }
}
