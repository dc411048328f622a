//! Ctrl-C, TERM and HUP in a command that changes something: one line says what it was in and what becomes of that, then it ends with 128 and the signal's
//! number. What is left is what SIGKILL leaves, except that git and its hooks are ended too.

use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use super::out;
use crate::error::Error;
use crate::os::interrupt::{Signals, stand_still_if_ending, watch as signals};

/// git removes its own lock files within moments; a hook that takes longer is not waited for.
const GRACE: Duration = Duration::from_secs(2);

/// What is under way, outermost first, and what was the last to be done.
#[derive(Default)]
struct Deeds {
    open: Vec<(u64, String)>,
    begun: u64,
    done: Option<String>,
}

static DEEDS: Mutex<Deeds> = Mutex::new(Deeds { open: vec![], begun: 0, done: None });

fn deeds() -> std::sync::MutexGuard<'static, Deeds> {
    DEEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that an interruption would cut short; done when dropped.
#[derive(Debug)]
#[must_use]
pub struct Doing(u64);

/// From now on an interruption is told. `what` reads after "interrupted while", `then` says what becomes of it and what the operator may do.
pub fn doing(what: &str, then: &str) -> Doing {
    watch();
    let mut deeds = deeds();
    deeds.begun += 1;
    let number = deeds.begun;
    deeds.open.push((number, format!("interrupted while {what}: {then}")));
    Doing(number)
}

impl Drop for Doing {
    fn drop(&mut self) {
        // Else what is told of it would not be true any more.
        stand_still_if_ending();
        let mut deeds = deeds();
        if let Some(at) = deeds.open.iter().position(|(number, _)| *number == self.0) {
            let (_, line) = deeds.open.remove(at);
            deeds.done = line.split_once(": ").map(|(what, _)| what.replacen("while", "after", 1));
        }
    }
}

/// The same before anything is changed: what the command starts is ended with it.
pub fn watch() {
    static ONCE: Once = Once::new();
    // Without signals of its own it ends as any other program.
    ONCE.call_once(|| {
        if let Ok(signals) = signals() {
            let _ = std::thread::Builder::new().name("signals".into()).spawn(move || listen(&signals));
        }
    });
}

fn listen(signals: &Signals) {
    let Ok(signal) = signals.next() else { return };
    signals.end_children(GRACE);
    let line = {
        let deeds = deeds();
        match (deeds.open.first(), &deeds.done) {
            (Some((_, line)), _) => line.clone(),
            (None, Some(done)) => format!("{done}, which is done"),
            (None, None) => "interrupted before anything was changed".to_owned(),
        }
    };
    out::error(&Error::failed(line));
    std::process::exit(128 + signal);
}

/// At the end of a command: one that is being interrupted has its end told by whoever deals with that.
pub fn end() {
    stand_still_if_ending();
}
