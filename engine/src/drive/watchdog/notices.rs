//! Tells people outside: a command or a webhook, each a child with a time limit that nobody waits for.
//!
//! What was told is on disk before the child is started, so that a watchdog that comes after this one does not tell it again.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Watchdog;
use crate::contract::notify::{self as shape, Notice, Notify};
use crate::contract::status::{Activity, AgentStatus, Evidence, State};
use crate::core::limits::NOTICE_LIMIT;
use crate::core::notices::{self, Kind, Notices, Standing, Told};
use crate::os::aside::Aside;
use crate::os::clock::{monotonic, now};
use crate::store;

/// Who is being told, and who comes next.
pub(super) struct Teller {
    notices: Notices,
    jobs: VecDeque<Job>,
    running: Option<(Aside, Tale)>,
}

/// What is told, for the event that says whether that went well.
#[derive(Clone)]
struct Tale {
    /// Empty where it is about several.
    session: String,
    what: String,
}

/// One child to run.
struct Job {
    argv: Vec<String>,
    input: Vec<u8>,
    folder: std::path::PathBuf,
    tale: Tale,
}

impl Teller {
    pub fn new(told: shape::Told) -> Teller {
        let told =
            told.sessions.into_iter().filter_map(|(session, told)| Some((session, Told { kind: kind(told.event)?, since: told.since })));
        Teller { notices: Notices::new(told.collect()), jobs: VecDeque::new(), running: None }
    }

    /// Nobody is being told anything, nor about to be.
    pub fn is_idle(&self) -> bool {
        self.notices.is_idle() && self.jobs.is_empty() && self.running.is_none()
    }

    /// Readable when somebody has been told.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|(aside, _)| aside.fd())
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        let running = self.running.as_ref().map(|(aside, _)| aside.deadline());
        running.or_else(|| self.notices.next_deadline())
    }

    pub fn forget(&mut self, session: &str) {
        self.notices.forget(session);
    }
}

impl Watchdog {
    /// What the agent does has changed.
    pub(super) fn does(&mut self, session: &str, activity: Activity, evidence: Option<Evidence>) {
        if let Some(link) = self.links.get_mut(session) {
            (link.status.activity, link.status.evidence) = (activity, evidence);
            self.changed = true;
        }
        self.notice(session);
    }

    /// A session stands as its host says now: perhaps somebody wants to know.
    pub(super) fn notice(&mut self, session: &str) {
        let Some(status) = self.links.get(session).map(|l| &l.status) else { return };
        let (standing, since) = standing(status);
        let standing = match standing {
            Some(kind) => match store::notify::read(&self.layout) {
                Some(notify) if notify.on.contains(&named(kind)) => Standing::In { kind, since: &since },
                Some(_) | None => Standing::Between,
            },
            None if status.state == State::Up && status.activity != Activity::Unknown => Standing::Well,
            None => Standing::Between,
        };
        let about = || serde_json::to_string(status).unwrap_or_default();
        let _ = self.teller.notices.sees(monotonic(), session, standing, about);
    }

    /// Many die at the same time.
    pub(super) fn notice_storm(&mut self, why: &str) {
        if store::notify::read(&self.layout).is_some_and(|n| n.on.contains(&shape::Kind::Storm)) {
            let notice = notices::Notice { kind: Kind::Storm, session: String::new(), about: why.to_owned() };
            self.teller.notices.add(monotonic(), notice);
        }
    }

    /// Goes on with telling as far as that is possible now.
    pub(super) fn tell_people(&mut self) {
        if let Some((aside, tale)) = &mut self.teller.running {
            let Some(outcome) = aside.outcome() else { return };
            let Tale { session, what } = tale.clone();
            self.teller.running = None;
            match outcome {
                Ok(()) => self.log("told", &session, &what),
                Err(why) => self.log("not-told", &session, &format!("{what}; {why}")),
            }
            if self.teller.jobs.is_empty() {
                self.teller.notices.done(monotonic());
            }
        }
        if self.teller.jobs.is_empty() {
            let batch = self.teller.notices.next(monotonic());
            if !batch.is_empty() {
                self.prepare(&batch);
            }
        }
        if self.teller.notices.take_unwritten() {
            let sessions = self.teller.notices.told().into_iter();
            let told = sessions.map(|(session, told)| (session, shape::ToldOf { event: named(told.kind), since: told.since }));
            if let Err(e) = store::notify::write_told(&self.layout, &shape::Told { sessions: told.collect() }) {
                self.log("not-written", "", &e.to_string());
            }
        }
        while self.teller.running.is_none()
            && let Some(job) = self.teller.jobs.pop_front()
        {
            match Aside::start(&job.argv, &job.folder, &job.input, NOTICE_LIMIT) {
                Ok(aside) => self.teller.running = Some((aside, job.tale)),
                Err(e) => {
                    let why = format!("{}; `{}` could not be started: {e}", job.tale.what, job.argv[0]);
                    self.log("not-told", &job.tale.session, &why);
                    if self.teller.jobs.is_empty() {
                        self.teller.notices.done(monotonic());
                    }
                }
            }
        }
    }

    /// What is to be run for these, which are all of one kind.
    fn prepare(&mut self, batch: &[notices::Notice]) {
        let Some(notify) = store::notify::read(&self.layout) else { return self.teller.notices.done(monotonic()) };
        let sessions: Vec<AgentStatus> = batch.iter().filter_map(|n| serde_json::from_str(&n.about).ok()).collect();
        let event = named(batch[0].kind);
        let text = in_words(&self.project, event, &sessions, &batch[0].about);
        let notice = Notice {
            event,
            at: now(),
            project: self.project.clone(),
            instance: self.layout.instance.clone(),
            text: text.clone(),
            sessions,
        };
        self.teller.jobs = jobs(&notify, &notice);
        if self.teller.jobs.is_empty() {
            self.teller.notices.done(monotonic());
        }
    }
}

/// What is to be told of a session that stands so, and since when.
fn standing(status: &AgentStatus) -> (Option<Kind>, String) {
    let since = status.since.map(|s| s.to_string()).unwrap_or_default();
    match status.state {
        State::Failing => (Some(Kind::Failing), since),
        State::Limited => (Some(Kind::Limited), since),
        State::Exited => (Some(Kind::Done), since),
        State::Up if status.activity == Activity::Waiting => {
            (Some(Kind::Waiting), status.evidence.as_ref().map_or(since, |e| e.since.to_string()))
        }
        State::Up if status.stuck => (Some(Kind::Stuck), since),
        State::Up | State::Starting | State::Down | State::Archived | State::Unknown => (None, since),
    }
}

fn jobs(notify: &Notify, notice: &Notice) -> VecDeque<Job> {
    let json = serde_json::to_string(notice).unwrap_or_default();
    let session = if let [one] = notice.sessions.as_slice() { one.session.clone() } else { String::new() };
    let job = |argv: Vec<String>, input: String, to: &str| Job {
        argv,
        input: input.into_bytes(),
        folder: notify.folder.clone(),
        tale: Tale { session: session.clone(), what: format!("{to}: {}", notice.text) },
    };
    let command = (!notify.command.is_empty()).then(|| job(notify.command.clone(), format!("{json}\n"), "the command"));
    let webhook = notify.webhook.as_ref().map(|url| {
        // The URL may hold a key, so it stands in no argument.
        let argv = ["curl", "--disable", "--config", "-"].map(str::to_owned).to_vec();
        job(argv, curl_config(url, &json), "the webhook")
    });
    command.into_iter().chain(webhook).collect()
}

/// As curl(1) reads it: in double quotes a backslash and a quote are escaped by a backslash. JSON has no line break in it.
fn curl_config(url: &str, json: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let lines = [
        format!("url = {}", quoted(url)),
        format!("data-binary = {}", quoted(json)),
        "header = \"content-type: application/json\"".into(),
        format!("max-time = {}", NOTICE_LIMIT.as_secs()),
        "proto = \"=http,https\"".into(),
        "silent\nshow-error\nfail".into(),
    ];
    lines.join("\n") + "\n"
}

fn in_words(project: &str, event: shape::Kind, sessions: &[AgentStatus], why: &str) -> String {
    /// More names than this in a sentence are a list.
    const NAMED: usize = 10;
    let becomes = match event {
        shape::Kind::Waiting => "waits for a person",
        shape::Kind::Failing => "is failing",
        shape::Kind::Limited => "is at its usage limit",
        shape::Kind::Stuck => "is stuck",
        shape::Kind::Done => "has ended",
        shape::Kind::Storm | shape::Kind::Other => return format!("{project}: {why}"),
    };
    match sessions {
        [one] => {
            let what = one.evidence.as_ref().filter(|_| event == shape::Kind::Waiting).map_or(one.reason.as_str(), |e| e.what.as_str());
            let of = if what.is_empty() { String::new() } else { format!(": {what}") };
            format!("{project}: {} ({}) {becomes}{of}", one.name, one.session)
        }
        many => {
            let names: Vec<&str> = many.iter().take(NAMED).map(|s| s.session.as_str()).collect();
            let more = if many.len() > NAMED { ", …" } else { "" };
            format!("{project}: {} sessions at the same time, each {becomes}: {}{more}", many.len(), names.join(", "))
        }
    }
}

fn named(kind: Kind) -> shape::Kind {
    match kind {
        Kind::Waiting => shape::Kind::Waiting,
        Kind::Failing => shape::Kind::Failing,
        Kind::Limited => shape::Kind::Limited,
        Kind::Stuck => shape::Kind::Stuck,
        Kind::Done => shape::Kind::Done,
        Kind::Storm => shape::Kind::Storm,
    }
}

fn kind(named: shape::Kind) -> Option<Kind> {
    match named {
        shape::Kind::Waiting => Some(Kind::Waiting),
        shape::Kind::Failing => Some(Kind::Failing),
        shape::Kind::Limited => Some(Kind::Limited),
        shape::Kind::Stuck => Some(Kind::Stuck),
        shape::Kind::Done => Some(Kind::Done),
        shape::Kind::Storm => Some(Kind::Storm),
        shape::Kind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_notice_escapes_from_its_quotes() {
        let config = curl_config("https://example.org/x?k=1", r#"{"text":"a \"b\" \\ \n url = file"}"#);
        insta::assert_snapshot!(config, @r#"
        url = "https://example.org/x?k=1"
        data-binary = "{\"text\":\"a \\\"b\\\" \\\\ \\n url = file\"}"
        header = "content-type: application/json"
        max-time = 10
        proto = "=http,https"
        silent
        show-error
        fail
        "#);
    }
}
