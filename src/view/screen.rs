//! A terminal's whole screen, drawn anew at each change, and as it was before however this ends.

use std::io::IsTerminal;
use std::sync::Mutex;

use agents::cli::out::{self, Text};
use agents::os::pty::{self, Raw, Size};

/// The other screen, no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";
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
        out::raw_while_heard(out::drawn(lines, &[&last.render(out::stdout_colour())], usize::from(size.rows)).as_bytes());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}
