//! `agents mail`

use serde::Serialize;

use super::out::{self, Table, Text, Tone};
use super::place::Place;
use super::{Context, ask, look};
use crate::contract::mail::{Origin, Standing, Waiting};
use crate::error::{Error, Result};
use crate::os::clock;
use crate::store::mail;

/// Show the messages that an agent has not taken yet, or take one back
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// Take this message back
    #[arg(long, value_name = "ID", conflicts_with = "json")]
    drop: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    session: String,
    /// Why the first one is not taken; empty where none waits.
    why: String,
    messages: Vec<Waiting>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let session = place.session(&args.name)?.session;
    if let Some(id) = args.drop {
        return drop_one(&place, &session, id);
    }
    let messages = mail::show(&place.layout, &session)?;
    let why = match messages.first() {
        Some(_) => ask::Mailbox::why(&place.layout, &session)?,
        None => String::new(),
    };
    let answer = Answer { session, why, messages };
    if args.json {
        out::json(&answer);
    } else {
        show(&answer);
    }
    Ok(())
}

fn drop_one(place: &Place, session: &str, id: u64) -> Result<()> {
    if mail::turn(&place.layout, session, id, Standing::Queued, Standing::Dropped)? {
        out::say(format!("message {id} is dropped"));
        // What waited behind it may go on.
        let _ = ask::Mailbox::why(&place.layout, session);
        return Ok(());
    }
    let error = match mail::standing(&place.layout, session, id)? {
        Some(Standing::Typing) => Error::failed(format!("message {id} is typed already, and its program has not read it yet"))
            .hint(format!("`agents capture {session}` shows where it stands, `agents attach {session}` lets you act there")),
        Some(Standing::Dropped) => return Ok(()),
        Some(Standing::Taken) => Error::failed(format!("message {id} was taken")),
        Some(Standing::Queued) | None => Error::usage(format!("no message {id} waits for {session}")),
    };
    Err(error.hint(format!("agents mail {session}")))
}

fn show(answer: &Answer) {
    if answer.messages.is_empty() {
        return out::say(format!("nothing waits for {}", answer.session));
    }
    let now = clock::now();
    let mut table = Table::default();
    for message in &answer.messages {
        let standing = if message.standing == Standing::Typing { "typing" } else { "queued" };
        let origin = if message.origin == Origin::Prompt { "first prompt" } else { "" };
        table.row(vec![
            Text::of(Tone::Strong, message.id.to_string()),
            standing.into(),
            format!("{} ago", look::age(message.at, now)).into(),
            format!("{} bytes", message.size_bytes).into(),
            origin.into(),
            message.begins.as_str().into(),
        ]);
    }
    out::table(&table);
    if !answer.why.is_empty() {
        out::fact(Text::of(Tone::Dim, "because ").and(Tone::Plain, &answer.why));
    }
}
