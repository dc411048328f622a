//! A page on a terminal, drawn over the one before.

use std::io;

use super::{Text, raw, stdout_colour};

/// With fewer rows none is left free below the page.
const FEW_ROWS: usize = 3;

/// Draws a page on the terminal that stdout is: its lines from the top, then the last one. What does not fit is counted.
pub fn page(lines: &str, last: Option<&Text>) {
    let rows = crate::os::pty::size(io::stdout()).map_or(0, |size| usize::from(size.rows));
    let last = last.map(|last| last.render(stdout_colour()));
    // Whoever ends it by Ctrl-C finds the prompt below.
    let free = (rows == 0 || rows >= FEW_ROWS).then_some("");
    let foot: Vec<&str> = last.as_deref().into_iter().chain(free).collect();
    raw(drawn(&lines.lines().collect::<Vec<_>>(), &foot, rows).as_bytes());
}

/// The lines from the top, then those of `foot`, in so many rows; 0: as many as it takes. What is longer than the terminal is wide is cut off by it.
/// Each line is erased to its end, then all below: nothing flickers. No line break after the last, so that nothing is pushed out.
pub fn drawn(lines: &[&str], foot: &[&str], rows: usize) -> String {
    let rows = if rows == 0 { usize::MAX } else { rows };
    let foot = &foot[..foot.len().min(rows)];
    let room = rows - foot.len();
    let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    let more = (shown < lines.len() && room > 0).then(|| format!("… {} more lines: a taller window shows them", lines.len() - shown));
    let all: Vec<&str> = lines[..shown].iter().copied().chain(more.as_deref()).chain(foot.iter().copied()).collect();
    // In one piece: who is ended between two pages leaves the terminal breaking its lines.
    format!("\x1b[?7l\x1b[H{}\x1b[K\x1b[J\x1b[?7h", all.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::drawn;

    #[test]
    fn a_page_is_no_longer_than_the_terminal() {
        let draw = |foot: &[&str], rows| {
            let page = drawn(&["one", "two", "three"], foot, rows);
            let text = page.strip_prefix("\x1b[?7l\x1b[H").and_then(|p| p.strip_suffix("\x1b[K\x1b[J\x1b[?7h")).unwrap();
            text.replace("\x1b[K\r\n", "/")
        };
        assert_eq!(draw(&["end", ""], 5), "one/two/three/end/");
        assert_eq!(draw(&["end"], 4), "one/two/three/end");
        assert_eq!(draw(&["end", ""], 4), "one/… 2 more lines: a taller window shows them/end/");
        assert_eq!(draw(&["end"], 2), "… 3 more lines: a taller window shows them/end");
        assert_eq!(draw(&["end"], 1), "end");
        assert_eq!(draw(&[], 1), "… 3 more lines: a taller window shows them");
        assert_eq!(draw(&["end", ""], 0), draw(&["end", ""], 50));
        for rows in 1..9 {
            assert!(draw(&["end", ""], rows).split('/').count() <= rows, "{rows}");
        }
    }
}
