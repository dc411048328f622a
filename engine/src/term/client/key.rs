//! The key that detaches, in every way a terminal may send it.

use std::fmt;

use crate::error::{Error, Result};

/// The longest sequence that a key comes as.
const SEQUENCE_BYTES_MAX: usize = 24;

/// A control key: `ctrl-\`, `ctrl-q`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetachKey {
    key: char,
}

impl Default for DetachKey {
    fn default() -> DetachKey {
        DetachKey { key: '\\' }
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctrl-{}", self.key)
    }
}

impl std::str::FromStr for DetachKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<DetachKey> {
        let wrong = || Error::usage("write ctrl- and a letter or one of \\ ] ^ _, for example ctrl-q; the default is ctrl-\\");
        let lower = text.to_ascii_lowercase();
        let key = ["ctrl-", "ctrl+", "c-", "^"].iter().find_map(|p| lower.strip_prefix(p)).ok_or_else(wrong)?;
        let mut chars = key.chars();
        match (chars.next(), chars.next()) {
            // Ctrl-i, -j and -m are Tab, Enter and Return; Ctrl-[ is Escape: they would detach while one types.
            (Some(key @ ('a'..='z' | '\\' | ']' | '^' | '_')), None) if !matches!(key, 'i' | 'j' | 'm') => Ok(DetachKey { key }),
            _ => Err(wrong()),
        }
    }
}

impl DetachKey {
    /// Where in what was typed the key stands.
    pub(super) fn find(self, typed: &[u8]) -> Option<usize> {
        let control = self.key as u8 & 0x1f;
        (0..typed.len()).find(|i| typed[*i] == control || self.is_sequence(&typed[*i..]))
    }

    /// `CSI 92;5u` (kitty; lock keys and event types may be in it) or `CSI 27;5;92~` (xterm).
    fn is_sequence(self, typed: &[u8]) -> bool {
        let [0x1b, b'[', rest @ ..] = typed else { return false };
        let Some(end) = rest.iter().take(SEQUENCE_BYTES_MAX).position(|b| (0x40..0x7f).contains(b)) else { return false };
        let parts: Vec<Vec<u32>> = rest[..end]
            .split(|b| *b == b';')
            .map(|p| p.split(|b| *b == b':').map(|n| std::str::from_utf8(n).ok().and_then(|n| n.parse().ok()).unwrap_or(0)).collect())
            .collect();
        let first = |i: usize| parts.get(i).and_then(|p| p.first()).copied().unwrap_or(0);
        // Modifiers count from 1; Ctrl is 4, the lock keys 64 and 128.
        let control_only = |modifiers: u32| modifiers > 0 && (modifiers - 1) & !(64 | 128) == 4;
        match rest[end] {
            b'u' => first(0) == self.key as u32 && control_only(first(1)) && parts.get(1).is_none_or(|p| p.get(1) != Some(&3)),
            b'~' => first(0) == 27 && control_only(first(1)) && first(2) == self.key as u32,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_every_encoding() {
        let key = DetachKey::default();
        for typed in [&b"\x1c"[..], b"\x1b[92;5u", b"\x1b[27;5;92~", b"\x1b[92;133u", b"\x1b[92;5:1u", b"\x1b[92::124;5u"] {
            assert_eq!(key.find(typed), Some(0), "{typed:?}");
            assert_eq!(key.find(&[b"abc", typed].concat()), Some(3));
        }
        for typed in [&b"\\"[..], b"\x1b[92;6u", b"\x1b[92u", b"\x1b[27;5;93~", b"\x1b[92;5:3u", b"\x1b[", b"\x1b[A"] {
            assert_eq!(key.find(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn keys_are_named_as_people_write_them() {
        for (text, shown, byte) in [("ctrl-q", "Ctrl-q", 0x11), ("C-]", "Ctrl-]", 0x1d), ("^\\", "Ctrl-\\", 0x1c)] {
            let key: DetachKey = text.parse().unwrap();
            assert_eq!((key.to_string().as_str(), key.find(&[byte])), (shown, Some(0)));
        }
        for text in ["", "q", "ctrl-", "ctrl-qq", "ctrl-m", "ctrl-[", "alt-x", "ctrl-1"] {
            let error = text.parse::<DetachKey>().unwrap_err();
            assert_eq!(error.kind, crate::error::Kind::Usage, "{text}");
        }
    }
}
