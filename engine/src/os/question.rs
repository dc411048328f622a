//! A command that is asked something by a daemon, which goes on with its work until it has ended.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A command that runs. Its end is told like that of any child, and whoever collects it asks for what it said.
#[derive(Debug)]
pub struct Question {
    child: Child,
}

impl Question {
    /// Starts it, with nothing on its standard input and its standard output kept.
    pub fn ask(argv: &[String], folder: &Path, env: &BTreeMap<String, String>, env_remove: &[&str]) -> io::Result<Question> {
        let [program, args @ ..] = argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).process_group(0);
        for name in env_remove {
            command.env_remove(name);
        }
        command.envs(env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Question { child: command.spawn()? })
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// It has taken too long. Only while it has not been collected.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// What it printed, at most `bytes_max`; what somebody that it left behind may still print is not waited for.
    pub fn said(mut self, bytes_max: usize) -> String {
        let Some(mut output) = self.child.stdout.take() else { return String::new() };
        if rustix::io::ioctl_fionbio(&output, true).is_err() {
            return String::new();
        }
        let mut said = vec![0; bytes_max];
        let mut got = 0;
        while got < bytes_max {
            match output.read(&mut said[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&said[..got]).into_owned()
    }
}
