//! `agents logs`

use super::place::Place;
use super::transcript::Transcript;
use super::{Context, out};
use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::os::follow::Follow;
use crate::os::fs;

/// Print what an agent has written to its terminal, as plain lines
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// Go on with what comes, line by line
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "raw")]
    lines: Option<usize>,
    /// The bytes as they were written, escape sequences and all
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let meta = place.session(&args.name)?;
    if !args.follow && !exists(&place.layout, &meta.session) {
        return Err(Error::failed(format!("session {} has written nothing yet", meta.session)));
    }
    let shown = Shown { follow: args.follow, lines: args.lines, raw: args.raw };
    print_log(&place.layout, &meta.session, &shown, None)
}

/// How a log is printed.
pub(super) struct Shown {
    pub follow: bool,
    pub lines: Option<usize>,
    pub raw: bool,
}

/// What ends the following of a log: folders in which that shows, and whether it is so.
pub(super) type Over<'a> = (&'a [std::path::PathBuf], &'a dyn Fn() -> bool);

/// Whether anything was written.
pub(super) fn exists(layout: &Layout, session: &str) -> bool {
    let log = layout.log(session);
    [&log.with_extension("log.1"), &log].into_iter().any(|path| fs::len_bytes(path).unwrap_or(0) > 0)
}

/// Prints a session's log, and what is added to it.
pub(super) fn print_log(layout: &Layout, session: &str, shown: &Shown, over: Option<Over<'_>>) -> Result<()> {
    let (older, newer) = parts(layout, session)?;
    if shown.raw {
        out::raw(&older);
        out::raw(&newer);
        return if shown.follow { follow(layout, session, newer.len(), over, out::raw) } else { Ok(()) };
    }
    let mut transcript = Transcript::default();
    let mut text = transcript.add(&older) + &transcript.add(&newer);
    if !shown.follow {
        text.push_str(&transcript.rest());
    }
    print(last_lines(&text, shown.lines.unwrap_or(usize::MAX)));
    if shown.follow {
        follow(layout, session, newer.len(), over, |bytes| print(&transcript.add(bytes)))?;
        print(&transcript.rest());
    }
    Ok(())
}

fn print(lines: &str) {
    if let Some(lines) = lines.strip_suffix('\n') {
        out::fact(lines);
    }
}

fn follow(layout: &Layout, session: &str, from: usize, over: Option<Over<'_>>, mut show: impl FnMut(&[u8])) -> Result<()> {
    out::only_shows();
    let mut follow = Follow::from(&layout.log(session), from as u64)?;
    let Some((folders, over)) = over else {
        loop {
            show(&follow.more()?);
        }
    };
    folders.iter().try_for_each(|folder| follow.also(folder))?;
    loop {
        // Asked before reading: what was written before the end is read.
        let ended = over();
        let bytes = follow.now()?;
        if !bytes.is_empty() {
            show(&bytes);
        } else if ended {
            return Ok(());
        } else {
            follow.wait()?;
        }
    }
}

/// The part before the last rotation, and the one since.
fn parts(layout: &Layout, session: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let log = layout.log(session);
    let there = |path: &std::path::Path| if fs::exists(path) { fs::read(path) } else { Ok(vec![]) };
    Ok((there(&log.with_extension("log.1"))?, there(&log)?))
}

/// The last `n` lines of the session's output, for whoever asks why.
pub(super) fn tail(layout: &Layout, session: &str, n: usize) -> String {
    const BYTES: u64 = 64 << 10;
    let bytes = fs::read_tail(&layout.log(session), BYTES).unwrap_or_default();
    let text = super::transcript::plain(&bytes);
    last_lines(text.trim_end_matches('\n'), n).to_owned()
}

fn last_lines(text: &str, n: usize) -> &str {
    if n == 0 {
        return "";
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    match body.rmatch_indices('\n').nth(n - 1) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        for (text, n, expected) in
            [("a\nb\nc\n", 2, "b\nc\n"), ("a\nb\nc", 2, "b\nc"), ("a\n", 5, "a\n"), ("a\nb\n", 0, ""), ("", 3, ""), ("\n\n", 1, "\n")]
        {
            assert_eq!(last_lines(text, n), expected, "{text:?} {n}");
        }
    }
}
