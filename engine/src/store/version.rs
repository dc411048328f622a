//! Which version each program has, as it said when it was last asked. A cache: each answer belongs to a file as it was, and may be deleted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::contract::layout::Layout;
use crate::contract::records::{Launch, Version};
use crate::core::version;
use crate::os::fs::{self, Stamp};
use crate::os::{env, process};

/// A program of which the version is to be known.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The command that prints it, its program found.
    pub command: Vec<String>,
    pub wanted: Option<String>,
    /// The program's file, through all links, and what tells it from another one in its place.
    file: PathBuf,
    stamp: Stamp,
}

/// What stands in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    command: Vec<String>,
    stamp: Stamp,
    version: String,
}

impl Program {
    /// The program whose version this launch wants to know, where it can be found.
    pub fn of(launch: &Launch) -> Option<Program> {
        let search = launch.env.get("PATH").cloned().or_else(|| env::text("PATH")).unwrap_or_default();
        Program::find(launch.version.as_ref()?, &launch.folder, &search)
    }

    /// `search`: the PATH.
    pub fn find(ask: &Version, folder: &Path, search: &str) -> Option<Program> {
        let (name, args) = ask.command.split_first()?;
        let found = fs::find_program(name, folder, search)?;
        let file = fs::canonical(&found).ok()?;
        let stamp = fs::stamp(&file).ok()?;
        let command = std::iter::once(found.display().to_string()).chain(args.iter().cloned()).collect();
        Some(Program { command, wanted: ask.wanted.clone(), file, stamp })
    }

    /// Where another version of it would appear: beside its file and beside the link to it.
    pub fn folders(&self) -> Vec<PathBuf> {
        let link = self.command.first().and_then(|c| Path::new(c).parent());
        link.into_iter().chain(self.file.parent()).map(Path::to_path_buf).collect()
    }

    /// What it said when it was last asked, if its file is still that one.
    pub fn known(&self, layout: &Layout) -> Option<String> {
        let answer: Answer = serde_json::from_str(&fs::read_to_string(&layout.version(&self.command.join("\0"))).ok()?).ok()?;
        (answer.command == self.command && answer.stamp == self.stamp).then_some(answer.version)
    }

    /// Remembers what it printed; none where that names no version.
    pub fn remember(&self, layout: &Layout, said: &str) -> Option<String> {
        let version = version::of(said)?;
        let answer = Answer { command: self.command.clone(), stamp: self.stamp, version: version.clone() };
        let path = layout.version(&self.command.join("\0"));
        if let (Some(folder), Ok(json)) = (path.parent(), serde_json::to_vec(&answer)) {
            // Asked again next time where it cannot be kept.
            let _ = fs::private_dir(folder);
            let _ = fs::replace(&path, &json, 0o600);
        }
        Some(version)
    }

    /// What is wrong with that version, if anything is.
    pub fn mismatch(&self, version: &str) -> Option<String> {
        let wanted = self.wanted.as_deref().filter(|w| !version::fits(w, version))?;
        let program = self.command.first().map_or("", String::as_str);
        Some(format!(
            "{program} has version {version}, wanted is {wanted}; install that one, or change `version` in its [backend] and run `agents up`"
        ))
    }

    /// What is wrong where its version could not be told, if that matters.
    pub fn untold(&self, why: &str) -> Option<String> {
        let wanted = self.wanted.as_deref()?;
        Some(format!("version {wanted} is wanted, but `{}` does not tell which it is: {why}", self.command.join(" ")))
    }

    /// Asks it and waits for the answer.
    pub fn ask(&self, layout: &Layout, folder: &Path, env: &BTreeMap<String, String>) -> Result<String, String> {
        let env: Vec<(String, String)> = env.clone().into_iter().collect();
        let run = process::Run {
            argv: &self.command,
            folder: Some(folder),
            env: &env,
            timeout: Some(crate::core::limits::VERSION_WAIT),
            ..process::Run::default()
        };
        let output = process::run(&run).map_err(|e| e.to_string())?;
        if output.code != 0 {
            return Err(format!("it exited with status {}", output.code));
        }
        self.remember(layout, &String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "it printed nothing".to_owned())
    }
}

/// Asks all programs of these launches whose version is not known yet, each once, a few at a time: hosts find the answers then. What does not answer is
/// asked again by the host, who says so.
pub(crate) fn learn(layout: &Layout, launches: &[Launch]) {
    let mut unknown: Vec<(Program, &Launch)> = vec![];
    for launch in launches {
        let Some(program) = Program::of(launch) else { continue };
        if !unknown.iter().any(|(p, _)| p.command == program.command) && program.known(layout).is_none() {
            unknown.push((program, launch));
        }
    }
    for some in unknown.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for (program, launch) in some {
                scope.spawn(|| drop(program.ask(layout, &launch.folder, &launch.env)));
            }
        });
    }
}

/// So many programs are asked at once: each may be a runtime that has to warm up.
const AT_ONCE: usize = 4;
