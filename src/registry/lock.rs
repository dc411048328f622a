//! The lock of a fleet home: whatever changes something takes it; nothing that only looks waits for it.

use agents::cli::{Error, Result};
use agents::os::lock::Lock;

use super::Registry;

/// Takes the home's lock, or says who holds it (exit 75). It ends with the process, however that ends.
pub fn lock(registry: &Registry) -> Result<Lock> {
    let path = registry.home.join(".fleet.lock");
    match Lock::try_take(&path)? {
        Some(mut lock) => {
            lock.sign(&myself())?;
            Ok(lock)
        }
        None => Err(Error::busy(format!("{} is being changed by {}", registry.home.display(), Lock::holder(&path)))
            .hint("try again when it is done")),
    }
}

/// Who we are, for whoever meets the lock: process id and command line.
fn myself() -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let line: String = format!("fleet {}", words.join(" ")).chars().take(200).collect();
    format!("`{}` (process {})", line.trim_end(), std::process::id())
}
