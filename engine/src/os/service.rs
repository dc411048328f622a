//! Starting a command at boot or login, by what starts the user's programs: systemd's user manager, launchd.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Run, run};
use super::{env, fs};

/// A command that is to be run at boot or login, and whose daemons then live on by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The unit's name without its ending: letters, digits, `-`, `.`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Run one after the other; each fails for itself.
    pub commands: Vec<Vec<String>>,
    /// What the commands find in their environment; a manager's own is nearly empty.
    pub env: Vec<(String, String)>,
    /// Variables that the manager sets and the commands must not see.
    pub env_remove: Vec<String>,
}

/// What starts the user's programs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Systemd,
    Launchd,
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub file: PathBuf,
    pub installed: bool,
    /// The file is what would be written now.
    pub current: bool,
    /// It is started by itself.
    pub enabled: bool,
    /// The user's manager runs from boot on, not only while they are logged in. `None`: that cannot be told, or is not a matter here.
    pub lingers: Option<bool>,
}

/// How long a manager's tools may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Manager {
    /// The one of this machine; none where there is neither.
    pub fn here() -> Option<Manager> {
        if cfg!(target_os = "macos") {
            return Some(Manager::Launchd);
        }
        tool("systemctl").map(|_| Manager::Systemd)
    }

    /// Where the service's file lies.
    pub fn file(self, service: &Service) -> PathBuf {
        match self {
            Manager::Systemd => env::config_home().join("systemd/user").join(format!("{}.service", service.name)),
            Manager::Launchd => env::home().join("Library/LaunchAgents").join(format!("{}.plist", service.name)),
        }
    }

    /// The file's text.
    pub fn text(self, service: &Service) -> String {
        match self {
            Manager::Systemd => unit(service),
            Manager::Launchd => plist(service),
        }
    }

    /// Started with the others of the user: systemd's link. launchd needs none.
    fn link(self, service: &Service) -> Option<PathBuf> {
        let file = self.file(service);
        match self {
            Manager::Systemd => Some(file.parent()?.join("default.target.wants").join(file.file_name()?)),
            Manager::Launchd => None,
        }
    }

    /// How the service stands.
    pub fn look(self, service: &Service) -> io::Result<Standing> {
        let file = self.file(service);
        let text = fs::read_if_there(&file)?;
        let enabled = self.link(service).map_or(text.is_some(), |link| fs::exists(&link));
        let lingers = match self {
            Manager::Systemd => user().map(|user| fs::exists(&Path::new("/var/lib/systemd/linger").join(user))),
            Manager::Launchd => None,
        };
        Ok(Standing { installed: text.is_some(), current: text.as_deref() == Some(&self.text(service)), enabled, lingers, file })
    }

    /// Writes the file after it was found to be good, and sees that it is started by itself. What a running manager said against it is returned.
    pub fn install(self, service: &Service) -> io::Result<Vec<String>> {
        let file = self.file(service);
        if let Some(folder) = file.parent() {
            fs::create_dirs(folder)?;
        }
        let text = self.text(service);
        self.verify(service, &text)?;
        fs::write_atomic(&file, text.as_bytes(), 0o644)?;
        if let (Some(link), Some(name)) = (self.link(service), file.file_name()) {
            if let Some(folder) = link.parent() {
                fs::create_dirs(folder)?;
            }
            if !fs::exists(&link) {
                fs::remove_file(&link)?;
                fs::symlink(&format!("../{}", name.to_string_lossy()), &link)?;
            }
        }
        Ok(self.tell())
    }

    /// Removes what [`Manager::install`] has written. False: there was nothing. What runs goes on.
    pub fn uninstall(self, service: &Service) -> io::Result<(bool, Vec<String>)> {
        let file = self.file(service);
        let there = fs::exists(&file);
        if let Some(link) = self.link(service) {
            fs::remove_file(&link)?;
        }
        fs::remove_file(&file)?;
        Ok((there, if there { self.tell() } else { vec![] }))
    }

    /// Lets systemd's own checker read the unit, in a folder of its own.
    fn verify(self, service: &Service, text: &str) -> io::Result<()> {
        let (Manager::Systemd, Some(checker)) = (self, tool("systemd-analyze")) else { return Ok(()) };
        let folder = env::temp_dir().join(format!("agents-verify-{}-{}", std::process::id(), service.name));
        fs::create_dir(&folder, 0o700)?;
        let file = folder.join(format!("{}.service", service.name));
        let said = fs::write_atomic(&file, text.as_bytes(), 0o600).and_then(|()| {
            let argv = [checker, "verify".into(), "--user".into(), "--man=no".into(), file.display().to_string()];
            // It wants one, whether the user has a session or not.
            let env = [("XDG_RUNTIME_DIR".to_owned(), folder.display().to_string())];
            run(&Run { argv: &argv, env: &env, timeout: Some(PATIENCE), ..Run::default() })
        });
        fs::remove_tree(&folder)?;
        let said = said?;
        // It warns of other units, too; of this one nothing may be said.
        let words = String::from_utf8_lossy(&said.stderr);
        let about: Vec<&str> = words.lines().filter(|l| l.contains(&service.name)).collect();
        if about.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(format!("systemd-analyze does not take the unit: {}", about.join("; "))))
        }
    }

    /// A manager that runs is told to read its files again; where none can be reached it does at its start.
    fn tell(self) -> Vec<String> {
        let argv: &[&str] = match self {
            Manager::Systemd => &["systemctl", "--user", "daemon-reload"],
            // It reads the folder at the next login.
            Manager::Launchd => return vec![],
        };
        let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
        match run(&Run { argv: &argv, timeout: Some(PATIENCE), ..Run::default() }) {
            Ok(said) if said.code == 0 => vec![],
            Ok(said) => vec![format!("systemd was not told now: {}", String::from_utf8_lossy(&said.stderr).trim())],
            Err(e) => vec![format!("systemd was not told now: {e}")],
        }
    }
}

fn tool(name: &str) -> Option<String> {
    let path = env::text("PATH")?;
    fs::find_program(name, Path::new("/"), &path).map(|p| p.display().to_string())
}

/// The user's name, one path component.
fn user() -> Option<String> {
    env::text("USER").or_else(|| env::text("LOGNAME")).filter(|u| !u.contains('/') && !u.starts_with('.'))
}

/// The variables of this process that decide where programs and their data are found, and those that the manager sets otherwise.
pub fn surroundings() -> (Vec<(String, String)>, Vec<String>) {
    let kept = ["PATH", env::AGENTS_HOME, "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"];
    let env = kept.iter().filter_map(|name| Some(((*name).to_owned(), env::text(name)?))).collect();
    // Sockets are found by it: whoever lacks it now would look elsewhere than what the manager starts.
    let remove = if env::get("XDG_RUNTIME_DIR").is_none() { vec!["XDG_RUNTIME_DIR".to_owned()] } else { vec![] };
    (env, remove)
}

/// A word of a unit file (systemd.syntax(7), systemd.service(5)): quoted, specifiers and variables taken literally. `argument`: of a command line.
fn word(text: &str, argument: bool) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '%' => out.push_str("%%"),
            '$' if argument => out.push_str("$$"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn unit(service: &Service) -> String {
    let plain: String = service.description.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out =
        format!("# Written by `service install`; `service uninstall` removes it.\n[Unit]\nDescription={}\n\n", plain.replace('%', "%%"));
    // The commands return and their daemons stay. One that could not start everything must not end the others; nor must one that ran out of memory.
    out.push_str(
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=infinity\nOOMPolicy=continue\nTasksMax=infinity\nDelegate=yes\n",
    );
    for (name, value) in &service.env {
        out.push_str(&format!("Environment={}\n", word(&format!("{name}={value}"), false)));
    }
    for name in &service.env_remove {
        out.push_str(&format!("UnsetEnvironment={name}\n"));
    }
    for argv in &service.commands {
        // The first word of a command line is not unquoted like the others, so it is one that needs nothing.
        let words: Vec<String> = argv.iter().map(|a| word(a, true)).collect();
        out.push_str(&format!("ExecStart=-/usr/bin/env {}\n", words.join(" ")));
    }
    out.push_str("\n[Install]\nWantedBy=default.target\n");
    out
}

fn plist(service: &Service) -> String {
    let text = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let string = |s: &str| format!("<string>{}</string>", text(s));
    // launchd runs one command: a shell that runs all of them, each as its arguments say.
    let quote = |a: &String| format!("'{}'", a.replace('\'', "'\\''"));
    let script: Vec<String> = service.commands.iter().map(|argv| argv.iter().map(quote).collect::<Vec<_>>().join(" ")).collect();
    let unset: String = service.env_remove.iter().map(|name| format!("unset {name}; ")).collect();
    let argv = ["/bin/sh", "-c", &format!("{unset}{}", script.join("; "))].map(string).concat();
    let env: String = service.env.iter().map(|(k, v)| format!("<key>{}</key>{}", text(k), string(v))).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\"><dict>\n<key>Label</key>{}\n<key>ProgramArguments</key><array>{argv}</array>\n\
         <key>EnvironmentVariables</key><dict>{env}</dict>\n<key>RunAtLoad</key><true/>\n<key>AbandonProcessGroup</key><true/>\n</dict></plist>\n",
        string(&service.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: "agents-0123".into(),
            description: "Agents of 100% \"web\"".into(),
            commands: vec![vec!["/srv/a b/agents".into(), "-C".into(), "/srv/$x'%h\"\\".into(), "up".into()]],
            env: vec![("PATH".into(), "/bin:/o p$t/%bin".into())],
            env_remove: vec!["XDG_RUNTIME_DIR".into()],
        }
    }

    #[test]
    fn a_unit_takes_every_character_literally() {
        insta::assert_snapshot!(unit(&service()), @r#"
        # Written by `service install`; `service uninstall` removes it.
        [Unit]
        Description=Agents of 100%% "web"

        [Service]
        Type=oneshot
        RemainAfterExit=yes
        TimeoutStartSec=infinity
        OOMPolicy=continue
        TasksMax=infinity
        Delegate=yes
        Environment="PATH=/bin:/o p$t/%%bin"
        UnsetEnvironment=XDG_RUNTIME_DIR
        ExecStart=-/usr/bin/env "/srv/a b/agents" "-C" "/srv/$$x'%%h\"\\" "up"

        [Install]
        WantedBy=default.target
        "#);
    }

    #[test]
    fn a_property_list_too() {
        insta::assert_snapshot!(plist(&service()), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0"><dict>
        <key>Label</key><string>agents-0123</string>
        <key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>unset XDG_RUNTIME_DIR; '/srv/a b/agents' '-C' '/srv/$x'\''%h"\' 'up'</string></array>
        <key>EnvironmentVariables</key><dict><key>PATH</key><string>/bin:/o p$t/%bin</string></dict>
        <key>RunAtLoad</key><true/>
        <key>AbandonProcessGroup</key><true/>
        </dict></plist>
        "#);
    }

    #[test]
    fn systemd_itself_takes_the_unit_and_refuses_a_wrong_one() {
        if tool("systemd-analyze").is_none() {
            return;
        }
        let service = Service { commands: vec![vec!["true".into(), "-C".into(), "/srv/$x'%h\"\\\n\u{1}".into()]], ..service() };
        Manager::Systemd.verify(&service, &unit(&service)).unwrap();
        assert!(Manager::Systemd.verify(&service, &unit(&service).replace("Type=oneshot", "Type=nonsense")).is_err());
    }
}
