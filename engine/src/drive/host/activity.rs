//! What the agent does: looks where `core::activity` is to be told something, and tells others what came of it.
//!
//! A screen is looked at when the program pauses, a record when the kernel says that it has changed. Nothing is looked at while nothing happens.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::death::clock_words;
use super::{Host, millis};
use crate::contract::records::{LiveRecord, Run};
use crate::contract::status::{Activity, Evidence, Source, State};
use crate::core::activity::{self as core, Doing, Event, Verdict};
use crate::core::screen::{Patterns, Says};
use crate::core::{limits, session, when};
use crate::os;
use crate::os::clock::{local_now, monotonic, now};
use crate::os::fs;
use crate::os::process::ProcessId;
use crate::os::watch::Watch;
use crate::store;

/// What is known of the agent's activity, and when to look again.
pub(super) struct Watched {
    machine: core::Activity,
    patterns: Patterns,
    /// When to look at the screen.
    look_at: Option<Duration>,
    looked: Duration,
    /// At least so long between two looks.
    pause: Duration,
    /// Since when, and how much, the program has printed what was not looked at.
    unseen: Option<(Duration, usize)>,
    record: Option<RecordFile>,
    /// What told of the last usage limit, in its words.
    pub limit_words: String,
    pub limit_ends: Option<Timestamp>,
    /// As others were told last.
    activity: Activity,
    evidence: Option<Evidence>,
    /// The machine's beginning of it, which `evidence` has on the wall clock.
    since: Duration,
}

/// Where the agent's program writes down what it does.
struct RecordFile {
    shape: LiveRecord,
    /// The folder, and what stands behind the process's number in a record's name.
    folder: PathBuf,
    /// None where the kernel gives no more watches: then it is read whenever the program pauses.
    watch: Option<Watch<()>>,
    /// Whose it is, once it was seen.
    process: Option<ProcessId>,
    last: String,
}

/// So long after the end of a limit the same words tell of the same one; no program is known whose limits come sooner again.
const LIMIT_WORDS_STAND: SignedDuration = SignedDuration::from_hours(4);

const RECORD_NAME: &str = "{pid}.json";

impl Watched {
    pub fn new() -> Watched {
        Watched {
            machine: core::Activity::new(limits::SILENCE),
            patterns: Patterns::default(),
            look_at: None,
            looked: Duration::ZERO,
            pause: limits::PAUSE,
            unseen: None,
            record: None,
            limit_words: String::new(),
            limit_ends: None,
            activity: Activity::Unknown,
            evidence: None,
            since: Duration::ZERO,
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        [self.look_at, self.machine.next_deadline()].into_iter().flatten().min()
    }

    /// Readable when something has changed where the record lies.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.record.as_ref()?.watch.as_ref().map(AsFd::as_fd)
    }

    pub fn seen(&self) -> (Activity, Option<Evidence>) {
        (self.activity, self.evidence.clone())
    }

    /// The same with the time at which the source spoke last.
    pub fn seen_now(&self) -> (Activity, Option<Evidence>) {
        let told_at = self.machine.told_at().map(wall_clock);
        (self.activity, self.evidence.clone().map(|e| Evidence { seen: told_at.unwrap_or(e.seen).max(e.since), ..e }))
    }

    /// The program has printed so much.
    fn printed(&mut self, now: Duration, bytes: usize) {
        let blind = self.record.as_ref().is_some_and(|r| r.watch.is_none());
        if self.patterns.is_empty() && !blind {
            return;
        }
        let (first, before) = self.unseen.unwrap_or((now, 0));
        let total = before + bytes;
        self.unseen = Some((first, total));
        let calm = (now + limits::PAUSE).max(self.looked + self.pause);
        // Where more is printed than a screen shows, a look in between would tell nothing and cost much.
        let latest = if total < limits::SCREEN_UNUSED_BYTES_MAX { first + limits::LOOK_PAUSE_MAX } else { Duration::MAX };
        self.look_at = Some(calm.min(latest));
    }
}

impl RecordFile {
    /// Where the launch says that it lies; none where no variable of that is set.
    fn find(shape: &LiveRecord, variable: impl Fn(&str) -> Option<String>) -> Option<RecordFile> {
        let expand = |file: &String| -> Option<PathBuf> {
            let path = match file.strip_prefix('$') {
                Some(rest) => {
                    let (name, rest) = rest.split_once('/')?;
                    Path::new(&variable(name).filter(|v| v.starts_with('/'))?).join(rest)
                }
                None => match file.strip_prefix("~/") {
                    Some(rest) => Path::new(&variable("HOME").filter(|v| v.starts_with('/'))?).join(rest),
                    None => PathBuf::from(file),
                },
            };
            (path.file_name()? == RECORD_NAME).then(|| path.parent().map(Path::to_path_buf))?
        };
        let folder = shape.file.iter().find_map(expand)?;
        let mut file = RecordFile { shape: shape.clone(), folder, watch: Watch::new().ok(), process: None, last: String::new() };
        file.follow();
        Some(file)
    }

    /// Watches its folder, or the nearest above it until that comes.
    fn follow(&mut self) {
        let followed = self.watch.as_mut().is_some_and(|w| w.add(&self.folder, ()).is_ok());
        if !followed {
            self.watch = None;
        }
    }

    /// What it says now. `None`: nothing new.
    fn read(&mut self, agent: ProcessId, family: impl FnOnce() -> Vec<ProcessId>) -> Option<Option<Doing>> {
        let path = |id: ProcessId| self.folder.join(RECORD_NAME.replace("{pid}", &id.pid.to_string()));
        let there = |id: &ProcessId| fs::is_file(&path(*id)) && id.is_alive();
        let process = self.process.filter(there).or_else(|| Some(agent).filter(there)).or_else(|| family().into_iter().find(there));
        self.process = process;
        let Some(process) = process else { return Some(None) };
        let small = matches!(fs::look(&path(process)), Ok(fs::Found::File { size_bytes, .. }) if size_bytes <= limits::RECORD_BYTES_MAX);
        let text = if small { fs::read_to_string(&path(process)).unwrap_or_default() } else { String::new() };
        if text == self.last {
            return None;
        }
        // Half written: its end wakes us again.
        let value: Value = serde_json::from_str(&text).ok()?;
        self.last = text;
        Some(understood(&self.shape, &value, process))
    }
}

/// What a record says of this process.
fn understood(shape: &LiveRecord, record: &Value, process: ProcessId) -> Option<Doing> {
    let text = |key: &str| match record.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    // One that an earlier process of this number has left.
    if shape.start.as_ref().is_some_and(|key| text(key).is_some_and(|start| start != process.start.to_string())) {
        return None;
    }
    let word = text(&shape.key)?;
    let is = |words: &[String]| words.contains(&word);
    if is(&shape.waiting) {
        let what = shape.what.as_ref().and_then(|key| text(key)).unwrap_or_default();
        return Some(Doing::Waiting { what: one_line(&what) });
    }
    if is(&shape.working) { Some(Doing::Working) } else { is(&shape.idle).then_some(Doing::Idle) }
}

/// Others' words as they are shown: short, in one line, without what would act on a terminal.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = plain.len().min(limits::HOOK_BYTES_MAX);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain[..end].trim().to_owned()
}

impl Host {
    /// An agent was started.
    pub(super) fn activity_started(&mut self) {
        self.activity_prepare();
        self.activity_event(Event::Started);
        self.read_record();
    }

    /// A living one was taken over; this is what the host before had seen.
    pub(super) fn activity_found(&mut self, activity: Activity, evidence: Option<Evidence>) {
        self.activity_prepare();
        let (time, wall) = (monotonic(), now());
        let ago = |at: Timestamp| time.saturating_sub(wall.duration_since(at).try_into().unwrap_or_default());
        let printed = fs::modified(&self.layout.log(&self.id)).map_or(time, ago);
        let _ = self.watched.machine.step(time, Event::Found { printed });
        if let Some((verdict, evidence)) = evidence.and_then(|e| Some((remembered(activity, &e)?, e))) {
            let since = ago(evidence.since);
            self.watched.machine.remember(verdict, since);
            (self.watched.activity, self.watched.since, self.watched.evidence) = (activity, since, Some(evidence));
        }
        self.watched.look_at = (!self.watched.patterns.is_empty()).then_some(time);
        self.read_record();
        self.look_whether_stopped();
        self.stall_sees();
    }

    fn activity_prepare(&mut self) {
        let launch = &self.launch;
        let patterns = [&launch.ready, &launch.waiting, &launch.working, &launch.limited, &launch.unsent].map(|p| p.as_deref());
        let variable = |name: &str| launch.env.get(name).cloned().or_else(|| os::env::text(name));
        let record = launch.record.as_ref().and_then(|shape| RecordFile::find(shape, variable));
        let watched = &mut self.watched;
        (watched.patterns, watched.record) = (Patterns::new(patterns), record);
        (watched.look_at, watched.unseen, watched.pause) = (None, None, limits::PAUSE);
        self.stall.set_after(launch.stall_ms.map(millis));
        self.waker.prepare(&self.layout.wake(&self.id), launch.wake_ms);
        watched.machine.set_silence(if launch.silence_ms > 0 { millis(launch.silence_ms) } else { limits::SILENCE });
    }

    pub(super) fn activity_ended(&mut self) {
        (self.watched.look_at, self.watched.unseen, self.watched.record) = (None, None, None);
        self.activity_event(Event::Ended);
        self.stall_ended();
    }

    pub(super) fn activity_printed(&mut self, bytes: usize) {
        let time = monotonic();
        self.watched.printed(time, bytes);
        self.activity_event(Event::Printed);
    }

    /// It was given something to do.
    pub(super) fn activity_asked(&mut self) {
        self.activity_event(Event::Asked);
        self.stall_asked();
    }

    /// The same, by the engine itself.
    pub(super) fn activity_reminded(&mut self) {
        self.activity_event(Event::Asked);
    }

    /// What it does, and since when.
    pub(super) fn doing(&self) -> (Activity, Duration) {
        (self.watched.activity, self.watched.since)
    }

    /// A hook of its program says this.
    pub(super) fn hook(&mut self, activity: Activity, what: &str) -> Result<(), String> {
        let doing = match activity {
            Activity::Working => Doing::Working,
            Activity::Waiting => Doing::Waiting { what: one_line(what) },
            Activity::Idle => Doing::Idle,
            Activity::Hung | Activity::Unknown => return Err("a hook says `working`, `waiting` or `idle`".into()),
        };
        if self.agent.is_none() {
            return Err(format!("no agent runs here: the session is {}", self.state.word()));
        }
        self.activity_event(Event::Says { source: core::Source::Hook, doing: Some(doing), at: monotonic() });
        Ok(())
    }

    /// A child was stopped, or goes on, or has ended.
    pub(super) fn look_whether_stopped(&mut self) {
        let stopped = self.agent.as_ref().is_some_and(|a| a.id.is_stopped());
        self.activity_event(Event::Stopped(stopped));
    }

    /// Something may have changed where the record lies.
    pub(super) fn record_stirred(&mut self) {
        let Some(record) = &mut self.watched.record else { return };
        let stirred = record.watch.as_mut().is_some_and(|w| w.take().is_ok_and(|changes| !changes.is_empty()));
        if stirred {
            record.follow();
            self.read_record();
        }
    }

    fn read_record(&mut self) {
        let Some(agent) = self.agent.as_ref().map(|a| a.id) else { return };
        let Some(mut record) = self.watched.record.take() else { return };
        let read = record.read(agent, || self.family());
        self.watched.record = Some(record);
        if let Some(doing) = read {
            self.activity_event(Event::Says { source: core::Source::Record, doing, at: monotonic() });
        }
    }

    /// Looks, where it is time to.
    pub(super) fn keep_activity(&mut self, time: Duration) {
        if self.watched.look_at.is_some_and(|t| t <= time) {
            if self.watched.record.as_ref().is_some_and(|r| r.watch.is_none()) {
                self.read_record();
            }
            self.look_at_screen();
        }
        if self.watched.machine.next_deadline().is_some_and(|t| t <= time) {
            self.activity_event(Event::Wake);
        }
    }

    /// What the screen says now, where the backend says what to look for.
    pub(super) fn look_at_screen(&mut self) -> Says {
        let time = monotonic();
        (self.watched.look_at, self.watched.unseen, self.watched.looked) = (None, None, time);
        if self.watched.patterns.is_empty() || self.agent.is_none() {
            return Says::default();
        }
        let screen = self.recorder.text();
        let says = self.watched.patterns.read(&screen);
        let doing = says.doing().map(|doing| match doing {
            Doing::Waiting { what } => Doing::Waiting { what: one_line(&what) },
            Doing::Working | Doing::Idle => doing,
        });
        let before = self.watched.machine.verdict().clone();
        self.activity_event(Event::Says { source: core::Source::Screen, doing, at: time });
        self.notice_limit(&says);
        let news = *self.watched.machine.verdict() != before;
        self.watched.pause = if news { limits::PAUSE } else { (self.watched.pause * 2).min(limits::LOOK_PAUSE_MAX) };
        says
    }

    fn activity_event(&mut self, event: Event) {
        if self.watched.machine.step(monotonic(), event) {
            self.tell_activity();
        }
    }

    /// Tells the watchdog, and the record, what the agent does now.
    fn tell_activity(&mut self) {
        let machine = &self.watched.machine;
        let (activity, source, what) = shown(machine.verdict(), self.launch.silence_ms);
        let kept = self.watched.evidence.as_ref().filter(|_| self.watched.since == machine.since()).map(|e| e.since);
        let since = kept.unwrap_or_else(|| wall_clock(machine.since()));
        let seen = machine.told_at().map_or(since, wall_clock).max(since);
        let evidence = source.map(|source| Evidence { source, what, since, seen });
        (self.watched.since, self.watched.activity, self.watched.evidence) = (machine.since(), activity, evidence.clone());
        let _ = store::run::write(&self.layout, &self.id, &self.run_record());
        self.clients.tell_activity(activity, evidence);
        self.stall_sees();
        if activity == Activity::Working && self.session.limit.is_some() {
            self.events.push_back(session::Event::Freed);
        }
    }

    /// A living program says that it is at its usage limit, in words that did not say so before.
    fn notice_limit(&mut self, says: &Says) {
        let Some((line, at)) = &says.limited else { return };
        // What was said of a limit may stand there long after that has ended, and its `3pm` would be tomorrow's then.
        let old = self.watched.limit_ends.is_some_and(|ends| now().duration_since(ends) < LIMIT_WORDS_STAND);
        if says.working || self.state != State::Up || (old && *line == self.watched.limit_words) {
            return;
        }
        let named = at.as_ref().and_then(|at| when::next(at, &local_now()));
        let wait = named.map_or(limits::LIMIT_UNNAMED, |at| at.duration_since(now()).try_into().unwrap_or_default());
        if wait.is_zero() {
            return;
        }
        let wait = wait.min(limits::LIMIT_MAX);
        (self.watched.limit_words, self.watched.limit_ends) = (line.clone(), now().checked_add(wait).ok());
        let said = if named.is_some() { "" } else { "; it does not say until when" };
        let reason = format!("at its usage limit: {}{said}; left alone until it ends {}", one_line(line), clock_words(wait));
        self.events.push_back(session::Event::Reached { until: monotonic() + wait, reason });
    }
}

fn wall_clock(at: Duration) -> Timestamp {
    now().checked_sub(monotonic().saturating_sub(at)).unwrap_or_default()
}

/// A verdict as others see it: the word, who says it, and what belongs to it.
fn shown(verdict: &Verdict, silence_ms: u64) -> (Activity, Option<Source>, String) {
    let named = |source: core::Source| match source {
        core::Source::Record => Source::Record,
        core::Source::Hook => Source::Hook,
        core::Source::Screen => Source::Screen,
    };
    match verdict {
        Verdict::Unknown => (Activity::Unknown, None, String::new()),
        Verdict::Told { source, doing } => match doing {
            Doing::Working => (Activity::Working, Some(named(*source)), String::new()),
            Doing::Waiting { what } => (Activity::Waiting, Some(named(*source)), what.clone()),
            Doing::Idle => (Activity::Idle, Some(named(*source)), String::new()),
        },
        Verdict::Hung { stopped: true, .. } => (Activity::Hung, Some(Source::Process), "its process is stopped by a signal".into()),
        Verdict::Hung { source, .. } => {
            let seconds = if silence_ms > 0 { silence_ms.div_ceil(1000) } else { limits::SILENCE.as_secs() };
            (Activity::Hung, source.map(named), format!("it works, and has printed nothing for {seconds} s"))
        }
    }
}

/// The opposite of [`shown`]; what its process does is looked at anew.
fn remembered(activity: Activity, evidence: &Evidence) -> Option<Verdict> {
    let source = match evidence.source {
        Source::Record => core::Source::Record,
        Source::Hook => core::Source::Hook,
        Source::Screen => core::Source::Screen,
        Source::Process | Source::Other => return None,
    };
    let doing = match activity {
        Activity::Working => Doing::Working,
        Activity::Waiting => Doing::Waiting { what: evidence.what.clone() },
        Activity::Idle => Doing::Idle,
        Activity::Hung => return Some(Verdict::Hung { stopped: false, source: Some(source) }),
        Activity::Unknown => return None,
    };
    Some(Verdict::Told { source, doing })
}

/// What the host before had seen, where its agent lives on.
pub(super) fn of_run(run: Option<&Run>) -> (Activity, Option<Evidence>) {
    run.map_or((Activity::Unknown, None), |run| (run.activity, run.evidence.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_believed_of_its_own_process_only() {
        let words = |word: &str| vec![word.to_owned()];
        let shape = LiveRecord {
            key: "status".into(),
            what: Some("waitingFor".into()),
            start: Some("procStart".into()),
            working: words("busy"),
            waiting: words("waiting"),
            idle: words("idle"),
            ..LiveRecord::default()
        };
        let process = ProcessId { pid: 7, start: 58807 };
        let waiting = |what: &str| Some(Doing::Waiting { what: what.into() });
        for (text, expected) in [
            (r#"{"status":"busy","procStart":"58807"}"#, Some(Doing::Working)),
            (r#"{"status":"idle","procStart":58807}"#, Some(Doing::Idle)),
            (r#"{"status":"idle"}"#, Some(Doing::Idle)),
            (r#"{"status":"waiting","waitingFor":"permission prompt"}"#, waiting("permission prompt")),
            (r#"{"status":"waiting","waitingFor":"a\u001b[31m\nb"}"#, waiting("a [31m b")),
            (r#"{"status":"waiting","waitingFor":["x"]}"#, waiting("")),
            (r#"{"status":"idle","procStart":"58808"}"#, None),
            (r#"{"status":"dreaming"}"#, None),
            (r#"{"status":null}"#, None),
            ("[]", None),
        ] {
            assert_eq!(understood(&shape, &serde_json::from_str(text).unwrap(), process), expected, "{text}");
        }
        assert_eq!(one_line(&"\u{e9}".repeat(1000)).len(), limits::HOOK_BYTES_MAX);
    }

    #[test]
    fn the_first_place_whose_variable_is_set_counts() {
        let shape = LiveRecord { file: ["$MY_HOME/s/{pid}.json", "~/.my/s/{pid}.json"].map(str::to_owned).into(), ..LiveRecord::default() };
        let folder = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            RecordFile::find(&shape, variable).map(|r| r.folder)
        };
        assert_eq!(folder(&[("MY_HOME", "/nonexistent/x"), ("HOME", "/nonexistent/h")]), Some("/nonexistent/x/s".into()));
        assert_eq!(folder(&[("MY_HOME", "x"), ("HOME", "/nonexistent/h")]), Some("/nonexistent/h/.my/s".into()));
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn what_was_shown_is_remembered() {
        let told = |source, doing| Verdict::Told { source, doing };
        for verdict in [
            told(core::Source::Record, Doing::Working),
            told(core::Source::Hook, Doing::Idle),
            told(core::Source::Screen, Doing::Waiting { what: "Run rm?".into() }),
            Verdict::Hung { stopped: false, source: Some(core::Source::Record) },
        ] {
            let (activity, source, what) = shown(&verdict, 0);
            let evidence = Evidence { source: source.unwrap(), what, since: now(), seen: now() };
            assert_eq!(remembered(activity, &evidence), Some(verdict));
        }
    }

    #[test]
    fn looks_are_few_and_the_last_word_is_always_seen() {
        let mut watched = Watched::new();
        watched.printed(Duration::from_secs(1), 10);
        assert_eq!(watched.next_deadline(), None, "nothing could be told from it");
        watched.patterns = Patterns::new([Some("> "), None, None, None, None]);
        let ms = |n| Duration::from_millis(n);
        (watched.looked, watched.pause) = (ms(1000), ms(800));
        watched.printed(ms(1100), 10);
        assert_eq!(watched.next_deadline(), Some(ms(1800)), "not sooner after the last look");
        watched.printed(ms(1790), 10);
        assert_eq!(watched.next_deadline(), Some(ms(1840)), "after a pause");
        watched.printed(ms(2090), 10);
        assert_eq!(watched.next_deadline(), Some(ms(2100)), "but at last");
        watched.printed(ms(2095), limits::SCREEN_UNUSED_BYTES_MAX);
        assert_eq!(watched.next_deadline(), Some(ms(2145)), "a flood is let pass");
    }
}
