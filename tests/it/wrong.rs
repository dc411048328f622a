//! Wrong words on the command line: one clear error with the way out, the documented exit status, and nothing changed.

use crate::home::TestHome;

/// What there is of a home that a command could have changed: names and texts.
fn state(home: &TestHome) -> (String, Vec<String>, String) {
    let mut projects: Vec<String> =
        std::fs::read_dir(home.file("projects")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    projects.sort();
    (home.registry(), projects, home.fleet(&["history", "--json"]).out)
}

#[test]
fn each_is_one_error_and_changes_nothing() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    std::fs::create_dir(home.file("plain")).unwrap();
    home.write("file", "");
    let [plain, file, below, gone] = ["plain", "file", "file/below", "gone"].map(|p| home.file(p).to_str().unwrap().to_owned());
    let [plain, file, below, gone] = [&plain, &file, &below, &gone].map(String::as_str);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["create", "", "--backend", "shell"], 2, "the name \"\": expected"),
        (&["create", "a/b"], 2, "the name \"a/b\": expected"),
        (&["create", "x", "--tag", "Bad Tag"], 2, "--tag \"Bad Tag\": expected"),
        (&["create", "x", "-t", ""], 2, "--tag \"\": expected"),
        (&["create", "x", "--backend", "cluade"], 2, "did you mean `claude`?"),
        (&["create", "x", "--backend", "cluade", "--dry-run"], 2, "did you mean `claude`?"),
        (&["create", "x", "--harness", "none"], 3, "there is no harness `none`"),
        (&["create", "x", "--ref", "nope"], 1, "no tag, branch or commit \"nope\""),
        (&["create", "x", "--path", below], 1, "is no folder"),
        (&["create", "web"], 1, "there is a project web already"),
        (&["add", ""], 2, "PATH or URL is empty"),
        (&["add", gone], 1, "gone is not there"),
        (&["add", file], 1, "is no folder"),
        (&["add", plain], 1, "expected a git repository"),
        (&["add", plain, "--tag", "A B"], 2, "--tag \"A B\": expected"),
        (&["add", "ext::sh", "--name", "x"], 2, "names a program to run"),
        (&["add", plain, "--path", "/x"], 2, "--path is for what is cloned"),
        (&["remove", "wbe"], 2, "there is no project `wbe`"),
        (&["start"], 2, "no project was named"),
        (&["start", ""], 2, "there is no project ``"),
        (&["stop", "nope"], 2, "there is no project `nope`"),
        (&["get", "web", "nokey"], 2, "a project has no key `nokey`"),
        (&["update", "web", "nope"], 1, "no tag, branch or commit \"nope\""),
        (&["engine", "build", "nope"], 1, "no tag, branch or commit \"nope\""),
        (&["engine", "publish", ""], 2, "the URL \"\""),
        (&["--registry", gone, "status"], 1, "fleet init "),
        (&["init", plain, "--backend", "nope"], 2, "--backend \"nope\""),
        (&["exec", "web", "--", "no-such-program"], 1, "`no-such-program` could not be run"),
    ];
    let before = state(&home);
    for (args, code, words) in cases {
        let ran = home.fleet(args);
        assert!(ran.code == *code && ran.err.contains(words), "{args:?}: expected {code} and {words:?}, found {ran:#?}");
        assert!(ran.err.starts_with("error: ") && ran.out.is_empty(), "{args:?}: {ran:#?}");
    }
    // What failed before anything was made is in the history as undone at most.
    let (registry, projects, _) = state(&home);
    assert_eq!((registry, projects), (before.0, before.1));
    assert_eq!(std::fs::read_dir(plain).unwrap().count(), 0);
    let next = home.fleet(&["disable", "web"]).ok();
    assert!(!next.contains("interrupted"), "{next}");
}

/// A home in which an earlier version had left such an entry to be finished.
#[test]
fn an_entry_that_the_registry_does_not_take_blocks_nothing() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let folder = home.records().join("journal");
    let last = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&last).unwrap();
    let open: Vec<&str> = text.lines().filter(|l| !l.contains("\"end\"")).collect();
    std::fs::write(&last, open.join("\n").replace("\"tags\":[]", "\"tags\":[\"Bad Tag\"]") + "\n").unwrap();
    home.write("home/fleet.toml", "[fleet]\nversion = 1\nroot = \"~/projects\"\n");
    let next = home.fleet(&["create", "api", "--backend", "shell"]).ok();
    assert!(next.contains("undid `create web`"), "{next}");
    let history = home.fleet(&["history"]).ok();
    assert!(history.contains("is made, but was not registered"), "{history}");
    home.fleet(&["add", home.project("web").to_str().unwrap()]).ok();
}

#[test]
fn without_git_or_a_home_folder_the_error_says_so() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let run = |change: &dyn Fn(&mut std::process::Command), args: &[&str]| {
        let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
        change(command.args(args));
        crate::home::Ran::of(command.output().unwrap())
    };
    let without_git = |command: &mut std::process::Command| {
        command.env("PATH", home.file("bin"));
    };
    let said = run(&without_git, &["create", "x", "--backend", "shell"]).fails(1);
    assert!(said.starts_with("error: git was not found\nhint: install git"), "{said}");
    assert!(!home.project("x").exists());
    run(&without_git, &["status"]).ok();
    let homeless = |command: &mut std::process::Command| {
        command.env_remove("HOME");
    };
    let homeless = run(&homeless, &["create", "x", "--backend", "shell"]);
    assert!(homeless.code == 1 && homeless.err.starts_with("error: /dev/null/HOME-is-not-set"), "{homeless:?}");
}
