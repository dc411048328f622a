//! Starting the agent, taking over a living one, ending it with everything below it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;

use super::Host;
use crate::contract::records::Run;
use crate::core::session::Event;
use crate::core::{cause, limits};
use crate::os;
use crate::os::clock::monotonic;
use crate::os::lock::Lock;
use crate::os::process::{Ended, ProcessId, Tree};
use crate::os::pty;
use crate::store;

/// Variables of the terminal that somebody happened to run the command in; the agent has another.
pub(super) const FOREIGN: &[&str] =
    &["TMUX", "TMUX_PANE", "STY", "WINDOW", "WINDOWID", "COLUMNS", "LINES", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", os::env::AGENTS_DAEMON];

/// The living agent.
pub struct Agent {
    pub id: ProcessId,
    /// It was started by an earlier host, so its exit status will not be known.
    pub adopted: bool,
    /// Readable when it has ended; only needed where it is not our child.
    end: Option<OwnedFd>,
}

impl Agent {
    /// One that the program before looked after. One that it had adopted and that is gone by now has no descriptor.
    pub fn taken_over(id: ProcessId, adopted: bool) -> Agent {
        Agent { id, adopted, end: if adopted { id.open() } else { None } }
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }
}

impl Host {
    fn tree(&self) -> (String, std::path::PathBuf) {
        (format!("{}={}", os::env::AGENTS_MARK, self.layout.mark(&self.id)), self.layout.agent_lock(&self.id))
    }

    /// The agent and what it started, without a search for those that strayed.
    pub(super) fn family(&self) -> Vec<ProcessId> {
        let (mark, lock) = self.tree();
        let root = self.agent.as_ref().map(|a| a.id);
        Tree { root, reaper: std::process::id() as i32, scattered: false, lock: &lock, mark: &mark, group: self.group() }.members()
    }

    pub(super) fn members(&self) -> Vec<ProcessId> {
        let (mark, lock) = self.tree();
        let root = self.agent.as_ref().map(|a| a.id);
        Tree { root, reaper: std::process::id() as i32, scattered: self.scattered, lock: &lock, mark: &mark, group: self.group() }.members()
    }

    /// Takes over a living agent. False: which process it is cannot be told.
    pub(super) fn adopt(&mut self, record: Option<&Run>) -> bool {
        let (mark, lock) = self.tree();
        let tree = Tree { root: None, reaper: std::process::id() as i32, scattered: true, lock: &lock, mark: &mark, group: self.group() };
        let recorded = record.and_then(|r| r.agent).filter(|id| id.is_alive());
        let Some(id) = recorded.or_else(|| tree.leader()) else { return false };
        let Some(end) = id.open() else { return false };
        self.agent = Some(Agent { id, adopted: true, end: Some(end) });
        self.memory_kills = self.count_memory_kills();
        true
    }

    /// Starts the agent and says what came of it; later, where its program is asked for its version first, or its prompt has to wait for the mailbox.
    pub(super) fn spawn(&mut self) {
        let event = match self.try_spawn() {
            Ok(true) => Event::Spawned,
            Ok(false) => return self.announce(),
            Err((reason, permanent)) => Event::NotSpawned { reason, permanent },
        };
        self.events.push_back(event);
    }

    /// False: not yet.
    fn try_spawn(&mut self) -> Result<bool, (String, bool)> {
        let fresh = std::mem::take(&mut self.launch_is_fresh).then(|| self.launch.clone());
        if let Ok(launch) = fresh.map_or_else(|| store::launch::read(&self.layout, &self.id), Ok) {
            self.launch = launch;
            self.session.policy = super::policy(&self.launch);
            self.session.heal = self.launch.heal;
            self.session.named = self.launch.named;
            match self.launch.tmux {
                Some(_) => self.pane_begin(),
                None => self.clients.dismiss_pane(),
            }
        }
        self.know_conversation().map_err(|reason| (reason, false))?;
        let preparation = self.preparation();
        if let Some(reason) = preparation.is_none().then(|| self.wanting()).flatten() {
            return Err((reason, true));
        }
        if !self.post_prompt().map_err(|reason| (reason, false))? {
            return Ok(false);
        }
        if self.ask_version().map_err(|reason| (reason, false))? {
            return Ok(false);
        }
        let lock = match Lock::try_take(&self.layout.agent_lock(&self.id)) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(("something of an earlier agent lives".into(), false)),
            Err(e) => return Err((e.to_string(), false)),
        };
        // What an earlier program has said, a task's last attempt too, is not to be taken for this one's words.
        if self.session.started || !self.recorder.is_blank() {
            let _ = self.pty.make_sane();
            self.recorder.reset();
            self.clients.redraw(&mut self.recorder);
        }
        self.begin_task()?;
        let (argv, folder) = preparation.unwrap_or_else(|| (self.argv().to_vec(), self.launch.folder.clone()));
        let mut env = self.launch.env.clone();
        env.extend(self.offer_program().map(|path| (os::env::AGENTS_PROGRAM.to_owned(), path)));
        self.make_group();
        let program = pty::Program { argv: &argv, folder: &folder, env: &env, env_remove: FOREIGN, lock: lock.fd(), group: self.group() };
        let id = pty::spawn(&self.pty, &program).map_err(|e| (format!("`{}` could not be started: {e}", argv[0]), false))?;
        self.agent = Some(Agent { id, adopted: false, end: None });
        self.spoke = false;
        self.mail_agent_started();
        self.activity_started();
        self.stall_started();
        Ok(true)
    }

    /// Where the agent's hooks find the engine; none where that cannot be had, then they are not called.
    pub(super) fn offer_program(&self) -> Option<String> {
        let (own, path) = (os::process::own_path()?, self.layout.program());
        os::fs::create_dir(path.parent()?, 0o700).and_then(|_| os::fs::relink(&own, &path)).ok()?;
        Some(path.to_str()?.to_owned())
    }

    pub(super) fn argv(&self) -> &[String] {
        if self.session.resumes() { &self.launch.resume } else { &self.launch.start }
    }

    /// Collects children that have ended: the agent, and orphans of its that became ours.
    pub(super) fn collect_children(&mut self) {
        let mut any = false;
        while let Some((pid, ended)) = os::process::reap() {
            any = true;
            if self.version_told(pid, ended) {
                continue;
            }
            if self.agent.as_ref().is_some_and(|a| a.id.pid == pid) {
                self.agent_ended(match ended {
                    Ended::Exit(code) => cause::Ended::Exit(code),
                    Ended::Signal(signal) => cause::Ended::Signal(signal),
                });
            }
        }
        if any && !self.ending.is_empty() {
            self.notice_ends();
        }
    }

    fn agent_ended(&mut self, ended: cause::Ended) {
        self.take_output();
        self.agent = None;
        self.search = super::conversation::Search::default();
        self.mail_agent_ended();
        self.activity_ended();
        self.deliveries.agent_ended();
        self.input.clear();
        let death = self.death(ended);
        self.note_task_end(ended, &death);
        self.events.push_back(death);
    }

    /// An adopted agent, or somebody who was asked to end, has ended.
    pub(super) fn notice_ends(&mut self) {
        if self.agent.as_ref().is_some_and(|a| a.adopted && !a.id.is_alive()) {
            self.agent_ended(cause::Ended::Unseen);
        }
        let before = self.ending.len();
        self.ending.retain(|(id, _)| id.is_alive());
        if before > 0 && self.ending.is_empty() {
            self.end_tree(self.killing);
        }
    }

    /// Asks all that is left of the agent to end, or kills it; says `Clear` when nothing is.
    pub(super) fn end_tree(&mut self, kill: bool) {
        self.killing = kill;
        let mut members = self.members();
        let held = Lock::is_held(&self.layout.agent_lock(&self.id)).unwrap_or(true);
        if members.is_empty() && held {
            // Somebody strayed: search everywhere.
            self.scattered = true;
            members = self.members();
        }
        self.ending.clear();
        if kill {
            self.kill_group();
        }
        for id in &members {
            if kill {
                id.signal(Signal::KILL);
            } else {
                // An interactive shell ignores TERM and ends at the hangup; a stopped process must be woken to end at all.
                id.signal(Signal::TERM);
                id.signal(Signal::HUP);
                id.signal(Signal::CONT);
            }
            if let Some(end) = id.open() {
                self.ending.push((*id, end));
            }
        }
        if !members.is_empty() {
            if self.ending.is_empty() {
                self.look_again = Some(monotonic()); // all of them ended meanwhile
            }
        } else if held {
            self.look_again = Some(monotonic() + limits::LEFTOVER_GRACE);
        } else {
            self.look_again = None;
            self.events.push_back(Event::Clear);
        }
    }
}
