//! Tasks' numbers only grow, and none comes twice.
//!
//! `tasks/last` holds the last one that was given away and the boot in which that was. It is written in place and not synced, which costs next to nothing:
//! after another boot the tasks themselves are looked at too, and whoever removes tasks makes it durable before.

use std::ops::RangeInclusive;

use super::{list, prepare};
use crate::contract::layout::Layout;
use crate::contract::task::Place;
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::{clock, fs};

fn line(last: u64) -> String {
    // Always as long, so that no write leaves a piece of the one before.
    format!("{last:020} {}\n", clock::boot_id())
}

/// The last number that was given away. Under the lock.
fn last(layout: &Layout) -> Result<u64> {
    let text = fs::read_if_there(&layout.tasks().join("last")).unwrap_or_default().unwrap_or_default();
    let (number, boot) = text.trim_end().split_once(' ').unwrap_or_default();
    let known = number.parse().ok();
    if let Some(known) = known.filter(|_| boot == clock::boot_id()) {
        return Ok(known);
    }
    let mut highest = known.unwrap_or(0);
    for place in Place::ALL {
        highest = list(layout, place)?.last().map_or(highest, |id| id.0.max(highest));
    }
    Ok(highest)
}

fn lock(layout: &Layout) -> Result<Lock> {
    Ok(Lock::wait_moments(&layout.tasks().join("lock"))?)
}

/// Gives away so many numbers, one after the other. What is lost before they are used is numbers.
pub(crate) fn reserve(layout: &Layout, count: u64) -> Result<RangeInclusive<u64>> {
    prepare(layout)?;
    let _lock = lock(layout)?;
    let last = last(layout)?;
    let end = last.checked_add(count).ok_or_else(|| Error::failed("there are no more numbers for tasks"))?;
    fs::overwrite(&layout.tasks().join("last"), line(end).as_bytes(), 0o600)?;
    Ok(last + 1..=end)
}

/// Before tasks are removed: makes the last number durable, as nothing else may tell it afterwards.
pub(crate) fn note(layout: &Layout) -> Result<()> {
    let _lock = lock(layout)?;
    let last = last(layout)?;
    Ok(fs::write_atomic(&layout.tasks().join("last"), line(last).as_bytes(), 0o600)?)
}
