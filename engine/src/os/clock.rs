//! Time. Waits are measured on the monotonic clock; only what a person reads is wall-clock time.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Wall-clock time, for records and messages.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The same in the user's own zone.
pub fn local_now() -> jiff::Zoned {
    jiff::Zoned::now()
}

/// Time since boot without suspends (`CLOCK_MONOTONIC`): never jumps, the same for all processes of the machine.
pub fn monotonic() -> Duration {
    let t = clock_gettime(ClockId::Monotonic);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// This boot's id (`/proc/sys/kernel/random/boot_id`): what was recorded under another id names processes that are gone.
pub fn boot_id() -> String {
    static READ: OnceLock<String> = OnceLock::new();
    let read = || super::fs::read_made_up("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default();
    READ.get_or_init(read).clone()
}
