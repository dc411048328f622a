//! Another user of the machine, links in place of folders, noise on the sockets, and where a secret may stand.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::project::{Lines, TWO, TestProject, of};

/// Who is nobody here.
const STRANGER: u32 = 65_534;

/// Only root can be two users at once.
fn can_be_another(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root, to act as a second user");
    }
    root
}

fn each_below(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        see(&path);
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            each_below(&path, see);
        }
    }
}

fn sockets(project: &TestProject) -> Vec<PathBuf> {
    sockets_at_least(project, 3)
}

fn sockets_at_least(project: &TestProject, expected: usize) -> Vec<PathBuf> {
    let mut found = vec![];
    each_below(&project.root().join("run"), &mut |path| {
        if path.symlink_metadata().unwrap().file_type().is_socket() {
            found.push(path.to_path_buf());
        }
    });
    assert!(found.len() >= expected, "a watchdog and its hosts listen: {found:?}");
    found
}

/// Connects, as this user, and says what happens: refused at the door, hung up on without a word, or kept.
fn knock(socket: &Path, user: u32) -> &'static str {
    let socket = socket.to_path_buf();
    // Of this thread alone: the system knows users by thread.
    let knock = move || {
        let user = rustix::process::Uid::from_raw(user);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let mut stream = match UnixStream::connect(socket) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return "refused",
            stream => stream.unwrap(),
        };
        let patience = if user.is_root() { Duration::from_millis(300) } else { Duration::from_secs(20) };
        stream.set_read_timeout(Some(patience)).unwrap();
        match stream.read(&mut [0]) {
            Ok(0) => "hung up",
            Err(e) if e.kind() == ErrorKind::ConnectionReset => "hung up",
            Err(e) if e.kind() == ErrorKind::WouldBlock => "kept",
            other => panic!("{other:?}"),
        }
    };
    std::thread::spawn(knock).join().unwrap()
}

#[test]
fn another_user_gets_no_word_out_of_a_socket_even_if_it_is_left_open() {
    if !can_be_another("another_user_gets_no_word_out_of_a_socket_even_if_it_is_left_open") {
        return;
    }
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let before = (project.pid("lead"), project.pid("tester"));
    let sockets = sockets(&project);
    for socket in &sockets {
        assert_eq!(knock(socket, STRANGER), "refused", "{}", socket.display());
    }
    // Now as if nothing but the look at the peer stood in the way.
    let root = project.root().to_path_buf();
    let open = |mode: u32| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&root, open(0o755)).unwrap();
    each_below(&root.join("run"), &mut |path| std::fs::set_permissions(path, open(0o777)).unwrap());
    std::fs::set_permissions(root.join("run"), open(0o755)).unwrap();
    for socket in &sockets {
        assert_eq!(knock(socket, STRANGER), "hung up", "{}", socket.display());
        // The same knock by ourselves is let in, so it is the user that made the difference.
        assert_eq!(knock(socket, 0), "kept", "{}", socket.display());
    }
    assert_eq!((project.pid("lead"), project.pid("tester")), before);
}

/// Tries `up` with each folder as `spoil` leaves it; it must be refused with these words and start nothing.
#[track_caller]
fn refused(spoil: impl Fn(&Path), words: &str) {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.run(&["down"]).ok();
    let (data, run) = (project.data(), project.root().join("run/agents"));
    let runtime = std::fs::read_dir(&run).unwrap().flatten().map(|e| e.path()).find(|p| p.is_dir()).expect("a runtime folder");
    for folder in [data.clone(), data.join("sessions"), data.join("launch"), data.join("logs"), runtime, run] {
        let aside = project.root().join("aside");
        std::fs::rename(&folder, &aside).unwrap();
        spoil(&folder);
        let up = project.run(&["up"]);
        assert!(up.code == 1 && up.stderr.contains(words), "{}: {up:#?}", folder.display());
        assert!(up.stderr.contains(&*folder.to_string_lossy()), "it is named: {up:#?}");
        assert_eq!(project.processes(), Vec::<i32>::new(), "{}", folder.display());
        if folder.is_symlink() {
            std::fs::remove_file(&folder).unwrap();
        } else {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::rename(&aside, &folder).unwrap();
    }
    project.run(&["up"]).ok();
}

#[test]
fn a_folder_that_another_user_made_first_is_not_used() {
    if !can_be_another("a_folder_that_another_user_made_first_is_not_used") {
        return;
    }
    let theirs = |folder: &Path| {
        std::fs::create_dir(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(folder, Some(STRANGER), Some(STRANGER)).unwrap();
    };
    refused(theirs, &format!("belongs to user {STRANGER}"));
}

#[test]
fn a_home_in_which_others_have_a_hand_is_not_believed() {
    if !can_be_another("a_home_in_which_others_have_a_hand_is_not_believed") {
        return;
    }
    let project = TestProject::new(TWO);
    let home = project.root().join("home/.local/state/agents");
    let run = |args: &[&str]| {
        let said = project.run(args);
        (said.code, said.stderr.replace(&*home.to_string_lossy(), "HOME"))
    };
    let mode = |mode: u32| std::fs::set_permissions(&home, std::fs::Permissions::from_mode(mode)).unwrap();
    for started in [false, true] {
        if started {
            project.run(&["up"]).ok();
        } else {
            std::fs::create_dir_all(&home).unwrap();
        }
        chown(&home, Some(STRANGER), Some(STRANGER)).unwrap();
        for args in [&["up"] as &[&str], &["status"], &["down"], &["send", "lead", "x"], &["task", "add", "lead", "x"]] {
            let (code, said) = run(args);
            assert!(
                code == 1 && said.contains(&format!("HOME: belongs to user {STRANGER}")) && said.contains("AGENTS_HOME"),
                "{args:?}: {said}"
            );
        }
        chown(&home, Some(0), Some(0)).unwrap();
        mode(0o777);
        let (code, said) = run(&["up"]);
        assert!(code == 1 && said.contains("HOME: has mode 0777, so everybody may exchange what lies there"), "{said}");
        // As in a folder for temporary files, where each may remove his own only; and what a group may write.
        for fine in [0o1777, 0o775, 0o755] {
            mode(fine);
            project.run(&["up"]).ok();
        }
    }
    // One that lies elsewhere is looked at there.
    project.run(&["down"]).ok();
    let elsewhere = project.root().join("elsewhere");
    std::fs::rename(&home, &elsewhere).unwrap();
    symlink(&elsewhere, &home).unwrap();
    project.run(&["up"]).ok();
    chown(&elsewhere, Some(STRANGER), None).unwrap();
    project.run(&["status"]).fails(1, "belongs to user");
    chown(&elsewhere, Some(0), None).unwrap();
    project.run(&["down"]).ok();
}

#[test]
fn a_link_in_place_of_a_folder_is_not_followed() {
    // One that leads somewhere, and one that leads nowhere.
    let elsewhere = tempfile::tempdir().unwrap();
    refused(|folder| symlink(elsewhere.path(), folder).unwrap(), "is a symlink");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is written through it");
    let nowhere = elsewhere.path().join("nowhere");
    refused(|folder| symlink(&nowhere, folder).unwrap(), "is a symlink");
    assert!(!nowhere.exists());
}

#[test]
fn agents_toml_may_be_a_link_and_a_dangling_one_is_told() {
    let project = TestProject::new(TWO);
    let (file, real) = (project.folder.join("agents.toml"), project.root().join("real.toml"));
    std::fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    project.run(&["up"]).ok();
    project.run(&["down"]).ok();
    assert!(file.is_symlink());
    std::fs::remove_file(&real).unwrap();
    let up = project.run(&["up"]);
    assert!(up.code != 0 && up.stderr.contains("agents.toml"), "{up:?}");
}

#[test]
fn a_secret_of_an_agents_env_stands_where_a_restart_needs_it_and_nowhere_else() {
    const CANARY: &str = "canary-7f3a-do-not-tell";
    let project = TestProject::new(&TWO.replace("[agent.lead]", &format!("[agent.lead]\nenv = {{ KEY = \"{CANARY}\" }}")));
    let mut told = vec![];
    for verb in [
        &["up"][..],
        &["status", "--json"],
        &["status"],
        &["info", "--json"],
        &["why", "lead"],
        &["send", "lead", "hello"],
        &["logs", "lead"],
        &["capture", "lead"],
        &["check"],
        &["up", "lead"],
        &["restart", "lead"],
        &["status", "--json"],
    ] {
        let said = project.run(verb).ok();
        told.push(format!("{verb:?}: {}{}", said.stdout, said.stderr));
    }
    let environ = std::fs::read(format!("/proc/{}/environ", project.pid("lead"))).unwrap();
    assert!(String::from_utf8_lossy(&environ).contains(CANARY), "the agent has it");
    for pid in project.processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(CANARY), "{pid}: {}", String::from_utf8_lossy(&line));
    }
    project.run(&["down"]).ok();
    for text in told {
        assert!(!text.contains(CANARY), "{text}");
    }
    let (mut holders, launches) = (vec![], project.data().join("launch"));
    each_below(project.root(), &mut |path| {
        let bytes = if path.is_file() { std::fs::read(path).unwrap() } else { vec![] };
        if bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()) {
            holders.push(path.to_path_buf());
        }
    });
    assert!(holders.contains(&launches.join("int-1.json")), "the search finds what is there: {holders:?}");
    for path in holders.iter().filter(|path| **path != project.folder.join("agents.toml")) {
        assert!(path.parent() == Some(&launches), "{}", path.display());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(launches.metadata().unwrap().mode() & 0o777, 0o700);
}

/// What a fuzzer would say: noise, huge lengths, halves of frames. Repeated exactly by its seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let body: Vec<u8> = (0..next() % 4096).map(|_| next() as u8).collect();
    let len = (body.len() as u32).to_le_bytes();
    // A frame is its kind, its number of descriptors, its length, its payload.
    let head = match seed % 7 {
        0 => vec![],
        1 => [&[1, 0][..], &len].concat(),
        2 => [&[2, 0][..], &len].concat(),
        3 => [&[1, 0][..], &u32::MAX.to_le_bytes()].concat(),
        4 => [&[1, 255][..], &len].concat(),
        5 => [&[1, 0][..], &(body.len() as u32 + 1).to_le_bytes()].concat(),
        _ => [&[next() as u8, 0][..], &len].concat(),
    };
    [head, body].concat()
}

#[test]
fn noise_on_the_sockets_disturbs_no_agent() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let state =
        || (project.pid("lead"), project.pid("tester"), project.host("int-1"), project.host("int-2"), project.status()["watchdog"].clone());
    let before = state();
    for socket in sockets(&project) {
        for seed in 0..300 {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
            match stream.write_all(&noise(seed)) {
                Err(e) if !matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => panic!("seed {seed}: {e}"),
                _ => {}
            }
            // Some hang up at once, some wait for the answer, if there is one.
            if seed % 3 == 0 {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let ended = stream.read_to_end(&mut vec![]);
                assert!(!matches!(&ended, Err(e) if e.kind() == ErrorKind::WouldBlock), "seed {seed}: neither answered nor hung up");
            }
        }
        // Many that say nothing and stay: beside some there is room, more than there is room for are turned away, and room comes back.
        let idle: Vec<_> = (0..150).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        assert_eq!(of(&project.status(), "lead")["state"], "up");
        let crowd: Vec<_> = (0..250).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        drop((idle, crowd));
        let room = (0..100).any(|_| project.run(&["status", "--json"]).code == 0);
        assert!(room, "{}", socket.display());
    }
    assert_eq!(state(), before);
    project.run(&["send", "lead", "still here"]).ok();
}

/// Whatever steers a terminal: controls of both tables, a title, a screen cleared, and what turns text around. Its `printf` spelling, in sh.
const STEERING: &str = r"\033]0;evil\007\033[2J\033[5i\302\2331m\302\220x\302\234\177\342\200\256live\342\201\246\r\b";

#[track_caller]
fn harmless(what: &str, text: &str) {
    let steers = |c: &char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.chars().any(|c| steers(&c)), "{what}: {text:?}");
}

#[test]
fn what_an_agent_writes_steers_no_terminal_but_where_it_is_asked_for_raw() {
    let project = TestProject::new(
        r#"
[project]
name = "web"
session_prefix = "int"
[agent.lead]
backend = "loud"
restart = { backoff = "1ms..2ms", burst = 2, window = "10m" }
[agent.calm]
backend = "calm"
[backend.loud]
start = ["sh", "loud"]
[backend.calm]
start = ["sh", "-c", ". ./loud"]
"#,
    );
    let print = format!("printf 'line {STEERING} end\\n'; printf '{STEERING}' >&2\n");
    std::fs::write(project.folder.join("loud"), format!("{print}[ -e calm ] && exec cat\nexit 7\n")).unwrap();
    let mut said = vec![project.run(&["up"])];
    project.until("given up on", |status| of(status, "lead")["state"] == "failing");
    let looks: [&[&str]; 9] = [
        &["status"],
        &["status", "--json"],
        &["why", "lead"],
        &["why", "lead", "--json"],
        &["logs", "lead"],
        &["logs", "lead", "-n", "3"],
        &["info"],
        &["up", "--json"],
        &["send", "lead", "x"],
    ];
    said.extend(looks.iter().map(|args| project.run(args)));
    assert!(said.iter().any(|s| s.stdout.contains("line")), "something of it is shown: {said:#?}");
    for s in &said {
        harmless("an agent's words", &format!("{}{}", s.stdout, s.stderr));
    }
    assert!(project.run(&["logs", "lead", "--raw"]).ok().stdout.contains("\u{1b}]0;evil"), "raw is raw");
}

#[test]
fn those_who_watch_and_never_read_hold_up_no_agent() {
    let project = TestProject::new(
        r#"
[project]
name = "web"
session_prefix = "int"
[agent.lead]
backend = "flood"
[backend.flood]
start = ["sh", "-c", "echo ready; read line; yes 0123456789abcdef | head -c 30000000; echo; echo all-of-it; exec cat"]
"#,
    );
    project.run(&["up"]).ok();
    let (pid, host) = (project.pid("lead"), project.host("int-1"));
    let socket = sockets_at_least(&project, 2).into_iter().find(|s| s.ends_with("int-1.sock")).unwrap();
    let ask = br#"{"ask":"attach","size":{"rows":24,"cols":80}}"#;
    let frame = [&[1, 0][..], &(ask.len() as u32).to_le_bytes(), ask].concat();
    let mut watching: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for stream in &mut watching {
        stream.write_all(&frame).unwrap();
        // It has begun: what follows is never read.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    let mut lines = Lines::of(project.command(&["logs", "lead", "--follow"]));
    project.run(&["send", "lead", "go"]).ok();
    lines.until("all-of-it");
    let status = std::fs::read_to_string(format!("/proc/{host}/status")).unwrap();
    let field = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = field.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 200_000, "what nobody reads is kept for nobody: {resident} kB");
    assert_eq!((project.pid("lead"), project.host("int-1")), (pid, host));
    drop(watching);
}
