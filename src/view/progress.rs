//! What is under way and how far, in one line on the terminal's bottom: only where a person watches it, gone when it is done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agents::cli::out;
use indicatif::{ProgressBar, ProgressStyle};

/// How often the line moves, so that one sees that something is being waited for.
const TICK: Duration = Duration::from_millis(120);
/// More names than this say no more.
const NAMES_MAX: usize = 4;

/// The line that is shown: whatever else is written makes room for itself.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interlude(last: bool, write: &mut dyn FnMut()) {
    let bar = if last { shown().take() } else { shown().clone() };
    match bar {
        Some(bar) if last => {
            bar.finish_and_clear();
            write();
        }
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Some work of one or more parts. Ends when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    during: String,
    /// Those that are being worked on, in the order of their beginning.
    open: Mutex<Vec<String>>,
}

impl Progress {
    /// `during`: `starting`; the parts by their names.
    pub fn of(during: &str, parts: &[&str]) -> Progress {
        if !out::is_interactive() {
            return Progress { bar: ProgressBar::hidden(), during: during.into(), open: Mutex::default() };
        }
        let template = if parts.len() > 1 { "{spinner} {bar:20} {pos}/{len}  {wide_msg}" } else { "{spinner} {wide_msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new(parts.len().max(1) as u64).with_style(style.tick_chars("-\\|/ ").progress_chars("=> "));
        bar.set_message(if parts.len() == 1 { format!("{during} {}", parts[0]) } else { during.to_owned() });
        bar.enable_steady_tick(TICK);
        *shown() = Some(bar.clone());
        out::set_interlude(interlude);
        Progress { bar, during: during.into(), open: Mutex::default() }
    }

    /// One thing, said in full: `building v1.0.0`.
    pub fn of_one(what: &str) -> Progress {
        let progress = Progress::of(what, &[]);
        progress.bar.set_message(what.to_owned());
        progress
    }

    /// This part is at work.
    pub fn begins(&self, part: &str) {
        self.change(|open| open.push(part.to_owned()));
    }

    /// This part is over, however it ended.
    pub fn ended(&self, part: &str) {
        self.change(|open| open.retain(|p| p != part));
        self.bar.inc(1);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut open);
        let names: Vec<&str> = open.iter().map(String::as_str).collect();
        self.bar.set_message(format!("{} {}", self.during, some_of(&names)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *shown() = None;
        self.bar.finish_and_clear();
    }
}

/// A few names in words.
pub fn some_of(names: &[&str]) -> String {
    let (first, more) = names.split_at(names.len().min(NAMES_MAX));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(some_of(&["web"]), "web");
        assert_eq!(some_of(&["a", "b", "c", "d"]), "a, b, c, d");
        assert_eq!(some_of(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }
}
