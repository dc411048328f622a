//! A terminal's whole screen, drawn anew at each change, and as it was before however this ends.

use std::io::IsTerminal;
use std::sync::Mutex;

use agents::cli::out::{self, Text};
use agents::os::pty::{self, Raw, Size};

/// The other screen, no cursor, long lines cut off by the terminal.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Where the terminal does not tell its size.
const SIZE: Size = Size { rows: 24, cols: 80 };

/// How the keyboard was before; here the panic hook finds it too, as `panic = "abort"` runs no destructors.
static BEFORE: Mutex<Option<Option<Raw>>> = Mutex::new(None);

fn leave() {
    let before = BEFORE.lock().map_or_else(|poisoned| poisoned.into_inner().take(), |mut before| before.take());
    if before.is_some() {
        out::raw_while_heard(LEAVE);
    }
}

/// The screen while it is ours.
#[derive(Debug)]
pub struct Screen(());

impl Screen {
    /// Takes the terminal; what is typed is read by the caller, key by key.
    pub fn enter() -> std::io::Result<Screen> {
        let stdin = std::io::stdin();
        let raw = if stdin.is_terminal() { Some(Raw::enter(&stdin)?) } else { None };
        *BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(raw);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            before(info);
        }));
        out::raw_while_heard(ENTER);
        Ok(Screen(()))
    }

    /// Draws these lines from the top, with `last` as the lowest; what does not fit is counted.
    pub fn draw(&self, lines: &[&str], last: &Text) {
        let size = pty::size(std::io::stdout()).ok().filter(|s| s.rows > 0).unwrap_or(SIZE);
        out::raw_while_heard(page(lines, &last.render(out::stdout_colour()), usize::from(size.rows)).as_bytes());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// From the top, each line erased to its end, then all below: nothing flickers.
fn page(lines: &[&str], last: &str, rows: usize) -> String {
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut page = String::from("\x1b[H");
    for line in &lines[..shown] {
        page.push_str(line);
        page.push_str("\x1b[K\r\n");
    }
    if shown < lines.len() {
        page.push_str(&format!("… {} more lines: a taller window or fewer projects show them\x1b[K\r\n", lines.len() - shown));
    }
    page.push_str(last);
    page.push_str("\x1b[K\x1b[J");
    page
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = ["one", "two", "three"];
        assert_eq!(page(&lines, "end", 4), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[K\r\nend\x1b[K\x1b[J");
        let cut = page(&lines, "end", 3);
        assert!(cut.starts_with("\x1b[Hone\x1b[K\r\n… 2 more lines") && cut.ends_with("end\x1b[K\x1b[J"), "{cut:?}");
    }
}
