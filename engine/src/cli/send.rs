//! `agents send`

use std::io::Read;
use std::time::Duration;

use serde::Serialize;

use super::place::Place;
use super::{Context, ask, out};
use crate::contract::layout::Layout;
use crate::contract::mail::{Origin, Standing};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::model::duration;
use crate::os::clock::monotonic;
use crate::os::follow::Changes;
use crate::store::mail;

/// What takes this long to be read is said to be queued.
const GRACE: Duration = Duration::from_secs(3);

/// So long its host is heard before the mailbox is watched, which works without a host too, but which the kernel takes many milliseconds to end.
const TOLD: Duration = Duration::from_millis(500);

/// Give an agent a text: says that it was taken, or is queued and why
///
/// The text is kept on disk until the agent has taken it, each once and in the order sent, whatever dies meanwhile. It is typed only when the agent's
/// program takes input: not onto a question, not into a line that somebody has half typed, not into an agent that is down.
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// The text; `-` reads standard input
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Wait until it is taken, or so long (90s, 10m)
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = limit)]
    wait: Option<Limit>,
    /// Interrupt first what the agent does
    #[arg(long)]
    urgent: bool,
    /// Leave it in the input line, without Enter: typed now or not at all
    #[arg(long, conflicts_with_all = ["wait", "urgent", "json"])]
    no_enter: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// None: as long as it takes.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<Duration>);

fn limit(text: &str) -> std::result::Result<Limit, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    duration::parse(text).map(|d| Limit(Some(d))).ok_or_else(|| "write it as 90s, 10m or 1h".to_owned())
}

/// What became of a message.
#[derive(Debug, Serialize)]
struct Sent {
    session: String,
    id: u64,
    standing: Standing,
    /// Why it is not taken.
    why: String,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let session = place.session(&args.name)?.session;
    let text = text(args)?;
    if args.no_enter {
        ask::send(&place.layout, &session, text, false, GRACE * 10)?;
        out::say(format!("{session} has it in its input line"));
        return Ok(());
    }
    let sent = send(&place.layout, session, &text, args)?;
    if args.json {
        out::json(&sent);
    } else if sent.standing == Standing::Taken {
        out::fact(format!("taken {}", sent.id));
    } else {
        out::fact(format!("queued {}: {}", sent.id, sent.why));
    }
    match args.wait {
        Some(_) if sent.standing != Standing::Taken => {
            Err(Error::failed(format!("message {} was not taken in time: {}", sent.id, sent.why))
                .hint(format!("it stays queued: agents mail {} shows it, --drop {} takes it back", sent.session, sent.id)))
        }
        Some(_) | None => Ok(()),
    }
}

fn text(args: &Args) -> Result<String> {
    let mut text = args.text.clone();
    if text == "-" {
        let mut bytes = vec![];
        // One more than is taken, to see that there is more.
        let most = limits::MAIL_BYTES_MAX as u64 + 1;
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(|e| Error::failed(format!("standard input: {e}")))?;
        text = String::from_utf8(bytes).map_err(|e| {
            Error::usage(format!("standard input is not UTF-8 at byte {}", e.utf8_error().valid_up_to()))
                .hint("write it to a file and send the file's path")
        })?;
        // The newline that ends a file is no part of what is said.
        text.truncate(text.trim_end_matches('\n').len());
    }
    if text.len() > limits::MAIL_BYTES_MAX {
        let most = limits::MAIL_BYTES_MAX;
        return Err(Error::usage(format!("the text has more than {most} bytes")).hint("write it to a file and send the file's path"));
    }
    let key = |c: &char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    let keys = text.chars().filter(key).count();
    if text.chars().all(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::usage("there is no text to send").hint(format!("agents send {} 'what to say'", args.name)));
    }
    if keys > 0 {
        out::warn(&format!("{keys} control characters in the text are left out: they would act as keys"));
    }
    Ok(text)
}

/// Puts it into the mailbox, tells the host, and waits for what becomes of it.
fn send(layout: &Layout, session: String, text: &str, args: &Args) -> Result<Sent> {
    let now = monotonic();
    // Before the message is there: whoever dies in between has told the host that there may be one.
    let mut host = ask::Mailbox::open(layout, &session, args.urgent);
    let id = mail::put(layout, &session, Origin::Sent, text)?;
    let (why, soon) = host.there_is_mail(layout, &session, args.urgent);
    let deadline = match args.wait {
        Some(Limit(None)) => None,
        Some(Limit(Some(limit))) => Some(now + limit),
        None if soon => Some(now + GRACE),
        None => Some(now),
    };
    let mut watch = None;
    loop {
        let standing = mail::standing(layout, &session, id)?.unwrap_or(Standing::Taken);
        let sent = |why: String| Sent { session: session.clone(), id, standing, why };
        match standing {
            Standing::Taken => return Ok(sent(String::new())),
            Standing::Dropped => return Ok(sent("it was dropped".into())),
            Standing::Queued | Standing::Typing => {}
        }
        let told_by = now + TOLD;
        if watch.is_none() && soon && host.has_news_by(deadline.map_or(told_by, |d| d.min(told_by))) {
            continue;
        }
        let woken = match (&mut watch, deadline) {
            (_, Some(deadline)) if deadline <= monotonic() => false,
            // What has come about before it was watched is seen in the next turn.
            (None, _) => {
                watch = Some(Changes::of(&layout.mail(&session)));
                true
            }
            (Some(Ok(watch)), None) => watch.wait_any().map(|()| true)?,
            (Some(Ok(watch)), Some(deadline)) => watch.wait_any_by(deadline)?,
            (Some(Err(e)), _) => return Ok(sent(format!("whether it is taken cannot be watched: {e}"))),
        };
        if !woken {
            let first = mail::waiting(layout, &session)?.first().map_or(id, |(first, _)| *first);
            let now = ask::Mailbox::why(layout, &session).unwrap_or(why);
            let why = if first < id { format!("message {first} comes first, and: {now}") } else { now };
            return Ok(sent(why));
        }
    }
}
