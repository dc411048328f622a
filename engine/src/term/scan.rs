//! One cheap pass over terminal data: text is handed on as it came, control sequences whole, however the stream is cut.

/// Longer sequences (images, clipboards) are handed on as text: nothing in them is asked of us, and memory stays flat.
const SEQUENCE_BYTES_MAX: usize = 4096;

const ESC: u8 = 0x1b;

/// Who wants to know what is in the stream.
pub(super) trait Sink {
    /// Anything but control sequences, in pieces of any length.
    fn text(&mut self, bytes: &[u8]);
    /// A whole control sequence, from its ESC to its last byte.
    fn sequence(&mut self, bytes: &[u8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC, and after its intermediates.
    Escape,
    Csi,
    /// OSC, DCS, APC, PM, SOS: until ST; OSC also until BEL.
    String {
        osc: bool,
    },
    /// After an ESC inside a string.
    StringEscape {
        osc: bool,
    },
    /// As the two above, for a string that grew too long to be kept.
    Long {
        osc: bool,
        escape: bool,
    },
}

/// Where in the stream we are.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    held: Vec<u8>,
}

impl Scanner {
    pub(super) fn new() -> Scanner {
        Scanner { state: State::Ground, held: vec![] }
    }

    /// Between two sequences.
    pub(super) fn is_ground(&self) -> bool {
        self.state == State::Ground
    }

    /// The start of a sequence whose end has not come.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Forgets a sequence that was begun.
    pub(super) fn reset(&mut self) {
        *self = Scanner::new();
    }

    /// Goes over the next bytes of the stream.
    pub(super) fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Ground => self.ground(bytes, sink),
                State::Long { .. } => self.long(bytes, sink),
                _ => {
                    self.step(bytes[0], sink);
                    1
                }
            };
            bytes = &bytes[used..];
        }
        if self.held.is_empty() {
            self.held = Vec::new(); // an idle terminal keeps no buffer
        }
    }

    fn ground(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let end = memchr::memchr(ESC, bytes);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        if !text.is_empty() {
            sink.text(text);
        }
        if end.is_none() {
            return bytes.len();
        }
        let rest = &bytes[text.len()..];
        // The common case, a short CSI that is all here, is handed on without being copied.
        if let [_, b'[', parameters @ ..] = rest
            && let Some(last) = parameters.iter().take(64).position(|b| !(0x20..0x40).contains(b))
            && (0x40..0x7f).contains(&parameters[last])
        {
            sink.sequence(&rest[..last + 3]);
            return text.len() + last + 3;
        }
        self.held.push(ESC);
        self.state = State::Escape;
        text.len() + 1
    }

    fn long(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let State::Long { osc, mut escape } = self.state else { return 0 };
        let mut used = 0;
        let mut ended = false;
        for b in bytes {
            used += 1;
            match b {
                0x18 | 0x1a => ended = true,
                0x07 if osc => ended = true,
                b'\\' if escape => ended = true,
                _ => escape = *b == ESC,
            }
            if ended {
                break;
            }
        }
        sink.text(&bytes[..used]);
        self.state = if ended { State::Ground } else { State::Long { osc, escape } };
        used
    }

    fn step(&mut self, b: u8, sink: &mut impl Sink) {
        match (self.state, b) {
            (_, 0x18 | 0x1a) => return self.abandon(b, sink),
            (State::String { osc }, ESC) => self.state = State::StringEscape { osc },
            (State::StringEscape { .. }, b'\\') | (State::String { osc: true }, 0x07) => return self.finish(b, sink),
            (State::String { .. }, _) => {}
            // An ESC that does not end the string: the string is given up, a new sequence begins.
            (State::StringEscape { .. }, _) => {
                self.held.pop();
                sink.text(&self.held);
                self.held.clear();
                self.held.push(ESC);
                self.state = State::Escape;
                return self.step(b, sink);
            }
            (State::Escape | State::Csi, ESC) => {
                sink.text(&self.held);
                self.held.clear();
                self.state = State::Escape;
            }
            (State::Escape, b'[') if self.held.len() == 1 => self.state = State::Csi,
            (State::Escape, b']') if self.held.len() == 1 => self.state = State::String { osc: true },
            (State::Escape, b'P' | b'_' | b'^' | b'X') if self.held.len() == 1 => self.state = State::String { osc: false },
            (State::Escape, 0x30..=0x7e) | (State::Csi, 0x40..=0x7e) => return self.finish(b, sink),
            // Controls inside a sequence are carried out at once by a terminal; they are no part of it.
            (State::Escape | State::Csi, 0..=0x1f) => return sink.text(&[b]),
            _ => {}
        }
        self.held.push(b);
        if self.held.len() > SEQUENCE_BYTES_MAX {
            sink.text(&self.held);
            self.held.clear();
            self.state = match self.state {
                State::String { osc } => State::Long { osc, escape: false },
                State::StringEscape { osc } => State::Long { osc, escape: true },
                _ => State::Ground,
            };
        }
    }

    fn finish(&mut self, b: u8, sink: &mut impl Sink) {
        self.held.push(b);
        self.state = State::Ground;
        let whole = std::mem::take(&mut self.held);
        sink.sequence(&whole);
    }

    fn abandon(&mut self, b: u8, sink: &mut impl Sink) {
        self.held.push(b);
        sink.text(&self.held);
        self.reset();
    }
}

/// A control sequence, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence<'a> {
    /// `ESC`, intermediates, a last byte.
    Escape {
        intermediates: &'a [u8],
        last: u8,
    },
    /// `CSI`: private marker (`?`, `>`, `=`, `<` or 0), parameters as they stand, intermediates, a last byte.
    Csi {
        private: u8,
        parameters: &'a [u8],
        intermediates: &'a [u8],
        last: u8,
    },
    /// What stands between `ESC ]` and its end.
    Osc(&'a [u8]),
    /// What stands between `ESC P` and its end.
    Dcs(&'a [u8]),
    Other,
}

impl Sequence<'_> {
    /// Takes apart what a [`Sink`] got as a sequence.
    pub(super) fn of(bytes: &[u8]) -> Sequence<'_> {
        let body = |bytes: &'_ [u8]| -> usize { if bytes.ends_with(b"\x1b\\") { bytes.len() - 2 } else { bytes.len() - 1 } };
        match bytes {
            [ESC, b'[', inner @ .., last] => {
                let (private, inner) = match inner {
                    [p @ 0x3c..=0x3f, rest @ ..] => (*p, rest),
                    _ => (0, inner),
                };
                let cut = inner.iter().position(|b| (0x20..0x30).contains(b)).unwrap_or(inner.len());
                Sequence::Csi { private, parameters: &inner[..cut], intermediates: &inner[cut..], last: *last }
            }
            [ESC, b']', _, ..] => Sequence::Osc(&bytes[2..body(bytes)]),
            [ESC, b'P', _, ..] => Sequence::Dcs(&bytes[2..body(bytes)]),
            [ESC, b'_' | b'^' | b'X', _, ..] => Sequence::Other,
            [ESC, intermediates @ .., last] => Sequence::Escape { intermediates, last: *last },
            _ => Sequence::Other,
        }
    }
}

/// The numbers in a CSI's parameters; an absent one is `None`, sub-parameters after a colon are left out.
pub(super) fn numbers(parameters: &[u8]) -> impl Iterator<Item = Option<u16>> + '_ {
    parameters.split(|b| *b == b';').map(|p| {
        let p = p.split(|b| *b == b':').next().unwrap_or_default();
        std::str::from_utf8(p).ok().and_then(|p| p.parse().ok())
    })
}
