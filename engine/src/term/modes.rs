//! The modes a program has put its terminal into.

use super::scan::{Sequence, numbers};

/// Titles longer than this are cut: they are shown in one line.
const TITLE_BYTES_MAX: usize = 256;
/// The kitty keyboard protocol asks for a bounded stack.
const KITTY_DEPTH_MAX: usize = 8;

/// What a program has switched on; the default is a fresh terminal's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes {
    pub bracketed_paste: bool,
    pub alternate_screen: bool,
    pub application_cursor: bool,
    pub application_keypad: bool,
    pub cursor_visible: bool,
    /// The number of the mouse mode (9, 1000, 1002, 1003); 0 is off.
    pub mouse: u16,
    /// The number of the mouse encoding (1005, 1006, 1015, 1016); 0 is the oldest.
    pub mouse_encoding: u16,
    /// Focus is reported.
    pub focus: bool,
    /// Flags of the kitty keyboard protocol, the last in force.
    pub kitty: Vec<u8>,
    /// xterm's modifyOtherKeys.
    pub modify_other_keys: u16,
    /// DECSCUSR's number.
    pub cursor_style: u16,
    pub title: String,
    /// Rows scroll in a part of the screen only.
    pub scroll_region: bool,
    /// Rows are counted from the scroll region's top.
    pub origin: bool,
}

impl Default for Modes {
    fn default() -> Modes {
        Modes {
            bracketed_paste: false,
            alternate_screen: false,
            application_cursor: false,
            application_keypad: false,
            cursor_visible: true,
            mouse: 0,
            mouse_encoding: 0,
            focus: false,
            kitty: vec![],
            modify_other_keys: 0,
            cursor_style: 0,
            title: String::new(),
            scroll_region: false,
            origin: false,
        }
    }
}

impl Modes {
    /// The kitty keyboard flags in force.
    pub fn kitty_flags(&self) -> u8 {
        self.kitty.last().copied().unwrap_or(0)
    }

    /// Takes note of one control sequence.
    pub(super) fn apply(&mut self, sequence: Sequence<'_>) {
        match sequence {
            Sequence::Csi { private, parameters, intermediates, last } => self.csi(private, parameters, intermediates, last),
            Sequence::Escape { intermediates: [], last } => match last {
                b'=' => self.application_keypad = true,
                b'>' => self.application_keypad = false,
                b'c' => *self = Modes::default(),
                _ => {}
            },
            Sequence::Osc([b'0' | b'2', b';', title @ ..]) => {
                let title = String::from_utf8_lossy(&title[..title.len().min(TITLE_BYTES_MAX)]);
                self.title = title.chars().filter(|c| !c.is_control()).collect();
            }
            _ => {}
        }
    }

    fn csi(&mut self, private: u8, parameters: &[u8], intermediates: &[u8], last: u8) {
        let first = || numbers(parameters).next().flatten();
        match (private, intermediates, last) {
            (b'?', [], b'h' | b'l') => numbers(parameters).flatten().for_each(|n| self.switch(n, last == b'h')),
            (0, [], b'r') => self.scroll_region = numbers(parameters).flatten().any(|n| n > 1) || numbers(parameters).flatten().count() > 1,
            (0, [b'!'], b'p') => {
                let kept = std::mem::take(self);
                *self = Modes { title: kept.title, alternate_screen: kept.alternate_screen, ..Modes::default() };
            }
            (0, [b' '], b'q') => self.cursor_style = first().unwrap_or(0).min(6),
            (b'>', [], b'm') => {
                let mut all = numbers(parameters);
                match (all.next().flatten(), all.next().flatten()) {
                    (Some(4), level) => self.modify_other_keys = level.unwrap_or(0).min(3),
                    (None, _) => self.modify_other_keys = 0,
                    _ => {}
                }
            }
            (b'>', [], b'u') => {
                if self.kitty.len() == KITTY_DEPTH_MAX {
                    self.kitty.remove(0);
                }
                self.kitty.push(first().unwrap_or(0) as u8 & 31);
            }
            (b'<', [], b'u') => {
                let left = self.kitty.len().saturating_sub(usize::from(first().unwrap_or(1).max(1)));
                self.kitty.truncate(left);
            }
            (b'=', [], b'u') => {
                let mut all = numbers(parameters);
                let flags = all.next().flatten().unwrap_or(0) as u8 & 31;
                let new = match all.next().flatten() {
                    Some(2) => self.kitty_flags() | flags,
                    Some(3) => self.kitty_flags() & !flags,
                    _ => flags,
                };
                self.kitty.pop();
                self.kitty.push(new);
            }
            _ => {}
        }
    }

    fn switch(&mut self, mode: u16, on: bool) {
        match mode {
            1 => self.application_cursor = on,
            6 => self.origin = on,
            25 => self.cursor_visible = on,
            47 | 1047 | 1049 => self.alternate_screen = on,
            9 | 1000 | 1002 | 1003 => self.mouse = if on { mode } else { 0 },
            1004 => self.focus = on,
            1005 | 1006 | 1015 | 1016 => self.mouse_encoding = if on { mode } else { 0 },
            2004 => self.bracketed_paste = on,
            _ => {}
        }
    }

    /// DECRQM's answer for a private mode: 1 set, 2 reset, 0 not known here.
    pub(super) fn report(&self, mode: u16) -> u8 {
        let on = match mode {
            1 => self.application_cursor,
            6 => self.origin,
            7 => true,
            25 => self.cursor_visible,
            47 | 1047 | 1049 => self.alternate_screen,
            9 | 1000 | 1002 | 1003 => self.mouse == mode,
            1004 => self.focus,
            1005 | 1006 | 1015 | 1016 => self.mouse_encoding == mode,
            2004 => self.bracketed_paste,
            _ => return 0,
        };
        if on { 1 } else { 2 }
    }

    /// [`Modes::sequences`], and the screen that is shown.
    pub(super) fn state(&self) -> Vec<u8> {
        let mut out = if self.alternate_screen { b"\x1b[?1049h".to_vec() } else { vec![] };
        out.extend(self.sequences());
        out
    }

    /// What puts a fresh terminal's input and cursor into these modes. The screen it shows is not changed.
    pub(super) fn sequences(&self) -> Vec<u8> {
        use std::fmt::Write;
        let mut out = String::new();
        let mut switch = |mode: u16, on: bool| {
            let _ = write!(out, "\x1b[?{mode}{}", if on { 'h' } else { 'l' });
        };
        switch(1, self.application_cursor);
        switch(2004, self.bracketed_paste);
        switch(1004, self.focus);
        switch(1000, false);
        switch(1006, false);
        for mode in [self.mouse, self.mouse_encoding] {
            if mode > 0 {
                switch(mode, true);
            }
        }
        switch(25, self.cursor_visible);
        out.push_str(if self.application_keypad { "\x1b=" } else { "\x1b>" });
        let _ = write!(out, "\x1b[{} q\x1b[>4;{}m", self.cursor_style, self.modify_other_keys);
        for flags in &self.kitty {
            let _ = write!(out, "\x1b[>{flags}u");
        }
        if !self.title.is_empty() {
            let _ = write!(out, "\x1b]2;{}\x07", self.title);
        }
        out.into_bytes()
    }
}
