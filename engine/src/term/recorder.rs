//! The recorder: what a host does with its terminal's output.

use std::io;
use std::path::Path;

use super::answer::Question;
use super::log::{Log, Mark, Piece};
use super::modes::Modes;
use super::plain;
use super::replay::Replay;
use super::scan::{Scanner, Sequence, Sink};
use crate::core::limits::{SCREEN_UNUSED_BYTES_MAX, TERMINAL_CELLS_MAX};
use crate::os::pty::Size;

/// Keeps a terminal's output on disk and its modes in memory; computes the screen when it is asked for.
pub struct Recorder {
    log: Log,
    size: Size,
    scanner: Scanner,
    modes: Modes,
    /// A screen that was asked for lately, kept up to date.
    screen: Option<Screen>,
    /// No program has printed anything.
    blank: bool,
}

struct Screen {
    replay: Replay,
    unused_bytes: usize,
}

impl Recorder {
    /// Opens the log at `path`, or goes on with it after the host before died; `size` is the terminal's now.
    pub fn open(path: &Path, size: Size) -> io::Result<Recorder> {
        Recorder::over(Log::open(path)?, size)
    }

    fn over(log: Log, size: Size) -> io::Result<Recorder> {
        let blank = log.is_new();
        let mut recorder = Recorder { log, size, scanner: Scanner::new(), modes: Modes::default(), screen: None, blank };
        recorder.recall()?;
        let start = recorder.log.is_new().then(|| Mark::Start { size, state: recorder.modes.state() });
        recorder.log.mark(&start.unwrap_or(Mark::Resized(size)));
        Ok(recorder)
    }

    /// Learns the modes from the log: from the last place where they were noted.
    fn recall(&mut self) -> io::Result<()> {
        let segments = self.log.segments();
        let from = segments.iter().rposition(|s| s.start().is_some()).unwrap_or(0);
        for segment in &segments[from..] {
            segment.replay(0, |piece| match piece {
                Piece::Bytes(bytes) => self.scanner.feed(bytes, &mut Learn(&mut self.modes)),
                Piece::Mark(Mark::Start { state, .. }) => self.scanner.feed(state, &mut Learn(&mut self.modes)),
                Piece::Mark(Mark::Resized(_)) => {}
                Piece::Mark(Mark::Reset) => {
                    self.scanner.reset();
                    self.modes = Modes::default();
                }
            })?;
        }
        Ok(())
    }

    /// Takes the program's output; returns what the terminal answers to the questions in it.
    pub fn output(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut watch =
            Watch { modes: &mut self.modes, size: self.size, begun: self.scanner.held().len(), seen: 0, answers: vec![], cursors: vec![] };
        self.scanner.feed(bytes, &mut watch);
        let Watch { mut answers, cursors, .. } = watch;
        let (mut drawn, mut put_in) = (0, 0);
        for (at, place, private) in cursors {
            let screen = self.screen();
            screen.feed(&bytes[drawn..at]);
            drawn = at;
            let (row, column) = screen.cursor();
            let answer = Question::Cursor { private }.answer(&self.modes, self.size, || (row, column));
            let place = place + put_in;
            put_in += answer.len();
            answers.splice(place..place, answer);
        }
        if let Some(screen) = &mut self.screen {
            screen.replay.feed(&bytes[drawn..]);
            screen.replay.slim();
            screen.unused_bytes += bytes.len();
            if screen.unused_bytes > SCREEN_UNUSED_BYTES_MAX {
                self.screen = None;
            }
        }
        self.log.append(bytes);
        self.blank = false;
        self.rotate_when_full(bytes.last() == Some(&b'\n'));
        answers
    }

    /// Segments end between two lines where that can be had, between two sequences otherwise.
    fn rotate_when_full(&mut self, at_line_end: bool) {
        if !self.log.is_full() || !(self.log.is_overdue() || (at_line_end && self.scanner.is_ground())) {
            return;
        }
        let placed = self.modes.alternate_screen || self.modes.scroll_region;
        let state = if placed { self.redraw() } else { [&self.modes.state(), self.scanner.held()].concat() };
        self.log.rotate(&Mark::Start { size: self.size, state });
    }

    /// The terminal has a new size.
    pub fn resize(&mut self, size: Size) {
        if size != self.size {
            self.size = size;
            self.screen = None; // rows come back from the scrollback, which a kept screen has not
            self.log.mark(&Mark::Resized(size));
        }
    }

    /// A new program starts in the terminal: modes and screen as new, scrollback stays.
    pub fn reset(&mut self) {
        self.scanner.reset();
        self.modes = Modes::default();
        self.screen = None;
        self.log.mark(&Mark::Reset);
    }

    /// Whether no program has printed anything, in whatever host's time.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// The modes that the program has put its terminal into.
    pub fn modes(&self) -> &Modes {
        &self.modes
    }

    /// The log has gaps that were made before it was opened here.
    pub fn remember_incomplete(&mut self, reason: String) {
        self.log.incomplete = Some(reason);
    }

    /// Why the log has gaps, if it has: the disk was full.
    pub fn incomplete(&self) -> Option<&str> {
        self.log.incomplete.as_deref()
    }

    /// What makes a fresh terminal of this size show the screen as it is, with modes, cursor and colours.
    pub fn redraw(&mut self) -> Vec<u8> {
        let mut out = self.screen().drawn();
        out.extend(self.modes.sequences());
        out.extend_from_slice(self.scanner.held()); // the output that follows goes on in mid-sequence
        out
    }

    /// The screen's text.
    pub fn text(&mut self) -> String {
        self.screen().text()
    }

    /// The last `lines` lines of scrollback and the screen; `styled` keeps colours.
    pub fn capture(&mut self, lines: usize, styled: bool) -> Vec<u8> {
        let keep = lines + usize::from(self.size.rows);
        if !styled && let Some(text) = self.tail(keep, false).and_then(|tail| tail.text(self.size.cols, keep)) {
            return text;
        }
        self.shortest_replay(keep).into_lines(styled)
    }

    /// What makes a fresh terminal of this size have the last `lines` lines in its scrollback, and nothing on its screen that is worth keeping.
    pub fn history(&self, lines: usize) -> Vec<u8> {
        let (mut out, printed) = self.shortest_replay(lines).into_history();
        // Those still on the screen are pushed out of it, and no empty line with them.
        let left = printed.min(usize::from(self.size.rows.saturating_sub(1)));
        out.extend_from_slice(b"\x1b[999;1H");
        out.extend(std::iter::repeat_n(b'\n', left));
        out
    }

    /// The screen as it was before the output that is being taken.
    fn screen(&mut self) -> &mut Replay {
        let kept = self.screen.take();
        let replay = kept.map_or_else(
            || {
                let mut replay = self.shortest_replay(0);
                replay.slim();
                replay
            },
            |kept| kept.replay,
        );
        &mut self.screen.insert(Screen { replay, unused_bytes: 0 }).replay
    }

    /// The log's end, where it holds lines only.
    fn tail(&self, keep: usize, colours: bool) -> Option<plain::Tail> {
        let placed = self.modes.alternate_screen || self.modes.scroll_region || self.modes.origin || !self.scanner.is_ground();
        let size = self.size;
        let odd = size.rows == 0 || size.cols == 0 || size.rows.max(size.cols) > TERMINAL_CELLS_MAX;
        if placed || odd || self.log.incomplete.is_some() {
            return None;
        }
        plain::tail(&self.log.segments(), size, keep, colours).ok().flatten()
    }

    /// A terminal that shows what the log says, from as little of it as is enough.
    fn shortest_replay(&self, keep: usize) -> Replay {
        match self.tail(keep, true).filter(|tail| tail.uncoloured) {
            Some(tail) => {
                let mut replay = Replay::new(self.size, keep);
                replay.feed(&self.modes.sequences());
                replay.feed(&tail.bytes);
                replay
            }
            None => self.replay(keep),
        }
    }

    /// The whole log, played. What cannot be read is missing in it.
    fn replay(&self, keep: usize) -> Replay {
        let mut replay = Replay::new(self.size, keep);
        let mut begun = false;
        for segment in self.log.segments() {
            let _ = segment.replay(0, |piece| match piece {
                Piece::Mark(Mark::Start { .. }) if begun => {} // where the segment before has led
                piece => {
                    begun = true;
                    replay.take(piece);
                }
            });
        }
        replay
    }
}

/// Takes note of modes.
struct Learn<'a>(&'a mut Modes);

impl Sink for Learn<'_> {
    fn text(&mut self, _: &[u8]) {}
    fn sequence(&mut self, bytes: &[u8]) {
        self.0.apply(Sequence::of(bytes));
    }
}

/// Takes note of modes and answers questions; those after the cursor are put off.
struct Watch<'a> {
    modes: &'a mut Modes,
    size: Size,
    /// Bytes of a sequence that the chunks before have brought.
    begun: usize,
    seen: usize,
    answers: Vec<u8>,
    /// Where in the chunk, where in the answers, private or not.
    cursors: Vec<(usize, usize, bool)>,
}

impl Sink for Watch<'_> {
    fn text(&mut self, bytes: &[u8]) {
        self.seen += bytes.len();
    }

    fn sequence(&mut self, bytes: &[u8]) {
        self.seen += bytes.len();
        let sequence = Sequence::of(bytes);
        self.modes.apply(sequence);
        match Question::of(sequence) {
            Some(Question::Cursor { private }) => self.cursors.push((self.seen - self.begun, self.answers.len(), private)),
            Some(question) => self.answers.extend(question.answer(self.modes, self.size, || (1, 1))),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use proptest::prelude::*;

    const SIZE: Size = Size { rows: 6, cols: 20 };

    fn recorder(folder: &tempfile::TempDir) -> Recorder {
        Recorder::open(&folder.path().join("int-1.log"), SIZE).unwrap()
    }

    fn text(recorder: &mut Recorder, lines: usize) -> String {
        String::from_utf8(recorder.capture(lines, false)).unwrap()
    }

    #[test]
    fn what_was_printed_is_captured_with_its_scrollback() {
        let folder = tempfile::tempdir().unwrap();
        let mut r = recorder(&folder);
        for i in 0..20 {
            r.output(format!("line {i}\r\n").as_bytes());
        }
        r.output(b"\x1b[31mred\x1b[m $ ");
        assert_eq!(text(&mut r, 2), "line 13\nline 14\nline 15\nline 16\nline 17\nline 18\nline 19\nred $\n");
        assert_eq!(String::from_utf8(r.capture(0, true)).unwrap().lines().last().unwrap(), "\x1b[31mred\x1b[m $ \x1b[m");
    }

    #[test]
    fn questions_are_answered_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut r = recorder(&folder);
        let answers = r.output(b"ab\r\ncd\x1b[6n\x1b[?2004h\x1b[?2004$pxy\x1b[5n\x1b[6n\x1b[>1u\x1b[?u\x1b[c\x1b]11;?\x07");
        let expected = "\x1b[2;3R\x1b[?2004;1$y\x1b[0n\x1b[2;5R\x1b[?1u\x1b[?62;22c\x1b]11;rgb:0000/0000/0000\x1b\\";
        assert_eq!(String::from_utf8(answers).unwrap(), expected);
        assert!(r.modes().bracketed_paste);
    }

    #[test]
    fn a_new_program_finds_a_fresh_terminal_and_the_old_ones_words_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut r = recorder(&folder);
        r.output(b"old words\r\n\x1b[?2004h\x1b[?1049h\x1b[2Jfull screen");
        r.reset();
        assert_eq!(r.modes(), &Modes::default());
        r.output(b"new");
        assert_eq!(text(&mut r, 10), "old words\nnew\n");
        assert_eq!(r.output(b"\x1b[6n"), b"\x1b[1;4R");
    }

    fn small(folder: &tempfile::TempDir, segment_bytes: u64) -> Recorder {
        let path = folder.path().join("int-1.log");
        Recorder::over(Log::with_segments_of(&path, segment_bytes).unwrap(), SIZE).unwrap()
    }

    fn slowly(recorder: &Recorder, keep: usize) -> String {
        String::from_utf8(recorder.replay(keep).into_lines(false)).unwrap()
    }

    /// `cargo test --release -p agents --lib measure -- --ignored --nocapture`
    #[test]
    #[ignore = "prints how long things take"]
    #[allow(clippy::disallowed_macros)]
    fn measure() {
        let folder = tempfile::tempdir().unwrap();
        let size = Size { rows: 50, cols: 80 };
        let mut r = Recorder::open(&folder.path().join("int-1.log"), size).unwrap();
        let timed = |what: &str, work: &mut dyn FnMut() -> usize| {
            let begun = std::time::Instant::now();
            let bytes = work();
            println!("{what}: {:?} ({bytes} bytes)", begun.elapsed());
        };
        let line = format!("{}\r\n", "a line of seventy characters ".repeat(3).get(..70).unwrap());
        let chunk = line.repeat(4096 / line.len());
        timed("output of 100 MB", &mut || (0..100_000_000 / chunk.len()).map(|_| r.output(chunk.as_bytes()).len()).sum());
        timed("capture of 2,000 lines", &mut || r.capture(2000, false).len());
        timed("capture of 50,000 lines", &mut || r.capture(50_000, false).len());
        timed("capture of 2,000 lines, styled", &mut || r.capture(2000, true).len());
        timed("redraw", &mut || r.redraw().len());
        timed("redraw again", &mut || r.redraw().len());
        timed("open", &mut || Recorder::open(&folder.path().join("int-1.log"), size).map_or(0, |_| 0));
    }

    fn pieces() -> impl Strategy<Value = String> {
        prop_oneof![
            60 => "[a-z ]{0,30}\r\n",
            4 => Just("\x1b[31m".to_owned()),
            4 => Just("\x1b[m".to_owned()),
            4 => Just("\tx".to_owned()),
            4 => Just("\u{65e5}\u{672c}".to_owned()),
            4 => "[a-z\u{e9}\u{65e5}]{0,30}",
            1 => prop_oneof![Just("e\u{301}".to_owned()), Just("over\rwritten".to_owned()), Just("\t\t\tend".to_owned())],
        ]
    }

    fn screens() -> impl Strategy<Value = String> {
        prop_oneof![
            pieces(),
            Just("\x1b[2J\x1b[H".to_owned()),
            Just("\x1b[3;5H".to_owned()),
            Just("\x1b[?1049h".to_owned()),
            Just("\x1b[?1049l".to_owned()),
            Just("\x1b[?2004h".to_owned()),
            Just("\x1b[2;4r".to_owned()),
            Just("\x1b]2;a title\x07".to_owned()),
            Just("\x1b[6n".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn lines_read_from_the_end_are_what_a_replay_shows(parts in proptest::collection::vec(pieces(), 600..650), lines in 0usize..40) {
            let folder = tempfile::tempdir().unwrap();
            let mut r = small(&folder, 6000 + 100 * lines as u64);
            for part in &parts {
                r.output(part.as_bytes());
            }
            prop_assert!(r.tail(lines + 6, true).is_some());
            let slow = slowly(&r, lines + 6);
            prop_assert_eq!(text(&mut r, lines), slow);
            let styled = r.replay(lines + 6).into_lines(true);
            prop_assert_eq!(r.capture(lines, true), styled);
            let drawn = r.replay(0).drawn();
            prop_assert_eq!(r.screen().drawn(), drawn);
        }

        #[test]
        fn all_lines_from_a_fresh_terminal_on_are_what_a_replay_shows(parts in proptest::collection::vec(pieces(), 0..60)) {
            let folder = tempfile::tempdir().unwrap();
            let mut r = recorder(&folder);
            for part in &parts {
                r.output(part.as_bytes());
            }
            prop_assert!(r.tail(1006, true).is_some());
            let slow = slowly(&r, 1006);
            prop_assert_eq!(text(&mut r, 1000), slow);
            let styled = r.replay(1006).into_lines(true);
            prop_assert_eq!(r.capture(1000, true), styled);
            let drawn = r.replay(0).drawn();
            prop_assert_eq!(r.screen().drawn(), drawn);
        }

        #[test]
        fn where_the_output_is_cut_and_who_records_it_makes_no_difference(
            parts in proptest::collection::vec(screens(), 0..60), cut in any::<prop::sample::Index>(),
        ) {
            let whole = parts.concat().into_bytes();
            let at = cut.index(whole.len() + 1);
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut a = recorder(&one);
            let all = a.output(&whole);
            let mut b = recorder(&two);
            let mut answers = b.output(&whole[..at]);
            let mut b = recorder(&two); // the one before was killed
            answers.extend(b.output(&whole[at..]));
            prop_assert_eq!(all, answers);
            prop_assert_eq!(a.modes(), b.modes());
            prop_assert_eq!(a.redraw(), b.redraw());
            prop_assert_eq!(a.capture(20, true), b.capture(20, true));
        }

        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let folder = tempfile::tempdir().unwrap();
            let mut r = recorder(&folder);
            r.output(&bytes);
            r.redraw();
            r.resize(Size { rows: 1, cols: 1 });
            r.output(&bytes);
            r.redraw();
            r.capture(100, true);
        }
    }

    #[test]
    fn the_last_lines_outlive_every_change_of_segment() {
        let folder = tempfile::tempdir().unwrap();
        let mut r = small(&folder, 1000);
        for i in 0..1000 {
            r.output(format!("line {i}\r\n").as_bytes());
            assert!(text(&mut r, 10).ends_with(&format!("line {i}\n")), "after {i}");
        }
        let expected: String = (945..1000).map(|i| format!("line {i}\n")).collect();
        assert_eq!(text(&mut r, 50), expected);
        assert!(std::fs::read_to_string(folder.path().join("int-1.log.index")).unwrap().len() < 2000);
    }

    #[test]
    fn a_torn_or_missing_index_costs_nothing_but_what_stood_in_it() {
        let folder = tempfile::tempdir().unwrap();
        recorder(&folder).output(b"before\r\n");
        let index = folder.path().join("int-1.log.index");
        let text_of = std::fs::read(&index).unwrap();
        for len in 0..text_of.len() {
            std::fs::write(&index, &text_of[..len]).unwrap();
            assert_eq!(text(&mut recorder(&folder), 5), "before\n", "index cut at {len}");
        }
    }

    #[test]
    fn a_line_without_end_keeps_memory_and_log_flat() {
        let folder = tempfile::tempdir().unwrap();
        let mut r = small(&folder, 10_000);
        r.output(b"\x1b]52;c;");
        for _ in 0..1000 {
            r.output(&[b'A'; 1000]);
        }
        assert!(r.scanner.held().is_empty());
        for suffix in ["", ".1"] {
            assert!(std::fs::metadata(folder.path().join(format!("int-1.log{suffix}"))).unwrap().len() < 14_000);
        }
    }
}
