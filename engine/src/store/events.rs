//! `events.jsonl`: every transition with its reason. Appended to by several processes, one write a line; rotated by size.

use std::io;
use std::path::PathBuf;

use crate::contract::layout::Layout;
use crate::contract::records::Event;
use crate::os::fs::{self, Found};
use crate::os::lock::Lock;

/// Past this size the file becomes `events.jsonl.1`: about ten thousand transitions are kept at least, and reading both takes milliseconds.
const BYTES_MAX: u64 = 2 << 20;

fn older(layout: &Layout) -> PathBuf {
    layout.events().with_extension("jsonl.1")
}

/// Adds one event. An event that cannot be written must stop nobody: callers may drop the error once it is said.
pub(crate) fn append(layout: &Layout, event: &Event) -> io::Result<()> {
    append_all(layout, std::slice::from_ref(event))
}

/// [`append`] for several that happened one after the other.
pub(crate) fn append_all(layout: &Layout, events: &[Event]) -> io::Result<()> {
    let mut lines = vec![];
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.push(b'\n');
    }
    if lines.is_empty() {
        return Ok(());
    }
    fs::append(&layout.events(), &lines)?;
    rotate(layout, BYTES_MAX)
}

fn rotate(layout: &Layout, bytes_max: u64) -> io::Result<()> {
    let full = || Ok::<_, io::Error>(matches!(fs::look(&layout.events())?, Found::File { size_bytes, .. } if size_bytes > bytes_max));
    if !full()? {
        return Ok(());
    }
    // Of several that see a full file one moves it; looked at again under the lock, or a second would move the fresh one over the kept one.
    if let Some(_lock) = Lock::try_take(&layout.runtime.join("events.lock"))?
        && full()?
    {
        fs::rename(&layout.events(), &older(layout))?;
    }
    Ok(())
}

/// Events of the project that concern each of its sessions.
const OF_ALL: &[&str] = &["boot", "storm", "calm"];

/// The last `n` events, oldest first; where a session is named, its own and those that concern all. Lines that are torn or not understood are left out.
pub(crate) fn tail(layout: &Layout, session: Option<&str>, n: usize) -> Vec<Event> {
    let mut newest_first = vec![];
    for path in [layout.events(), older(layout)] {
        let text = fs::read(&path).unwrap_or_default();
        let events = text.rsplit(|b| *b == b'\n').filter_map(parse).filter(|e| session.is_none_or(|s| concerns(e, s)));
        newest_first.extend(events.take(n - newest_first.len()));
        if newest_first.len() == n {
            break;
        }
    }
    newest_first.reverse();
    newest_first
}

fn concerns(event: &Event, session: &str) -> bool {
    event.session == session || (event.session.is_empty() && OF_ALL.contains(&event.what.as_str()))
}

/// A line; where a torn one was continued by the next writer, the part that is whole.
fn parse(line: &[u8]) -> Option<Event> {
    let whole = |line: &[u8]| serde_json::from_slice(line).ok();
    whole(line).or_else(|| {
        let start = line.windows(6).rposition(|w| w == b"{\"at\":")?;
        whole(&line[start..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock;

    fn layout(folder: &tempfile::TempDir) -> Layout {
        Layout { instance: "i".into(), hash: "h".into(), data: folder.path().into(), runtime: folder.path().into() }
    }

    fn event(session: &str, why: &str) -> Event {
        Event { at: clock::now(), session: session.into(), what: "up".into(), why: why.into(), pid: Some(7) }
    }

    #[test]
    fn the_last_ones_come_back_in_order_and_by_session() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        assert_eq!(tail(&layout, None, 5), vec![]);
        for n in 0..10 {
            append(&layout, &event(["int-1", "int-12"][n % 2], &n.to_string())).unwrap();
        }
        let whys = |events: Vec<Event>| events.into_iter().map(|e| e.why).collect::<Vec<_>>();
        assert_eq!(whys(tail(&layout, None, 3)), ["7", "8", "9"]);
        assert_eq!(whys(tail(&layout, Some("int-1"), 2)), ["6", "8"]);
        assert_eq!(whys(tail(&layout, Some("int"), 2)), Vec::<String>::new());
        assert_eq!(tail(&layout, None, 0), vec![]);
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        append(&layout, &event("int-1", "first")).unwrap();
        fs::append(&layout.events(), b"{\"at\":\"2026-01-01T00:00:00Z\",\"sess").unwrap();
        assert_eq!(tail(&layout, None, 5).len(), 1);
        append(&layout, &event("int-1", "after")).unwrap();
        assert_eq!(tail(&layout, None, 5).into_iter().map(|e| e.why).collect::<Vec<_>>(), ["first", "after"]);
    }

    #[test]
    fn rotation_loses_nothing_that_fits_whoever_does_it() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(&folder);
        let one = serde_json::to_vec(&event("int-1", "0000")).unwrap().len() as u64 + 1;
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let layout = &layout;
                scope.spawn(move || {
                    for n in 0..10 {
                        let mut line = serde_json::to_vec(&event("int-1", &format!("{writer}{n:03}"))).unwrap();
                        line.push(b'\n');
                        fs::append(&layout.events(), &line).unwrap();
                        rotate(layout, one * 60).unwrap();
                    }
                });
            }
        });
        // 80 written, at most one rotation at 60: all are there, none twice.
        let mut whys: Vec<String> = tail(&layout, None, 1000).into_iter().map(|e| e.why).collect();
        whys.sort();
        whys.dedup();
        assert_eq!(whys.len(), 80);
    }
}
