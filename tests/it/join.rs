//! `fleet add`, `fleet remove`, `fleet engine`.

use crate::home::TestHome;

#[test]
fn an_existing_project_is_registered_where_it_is() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let before = home.registry();
    home.fleet(&["remove", "web"]).ok();
    assert!(home.project("web").join("agents.toml").exists() && !home.registry().contains("web"));
    let web = home.project("web").display().to_string();
    home.fleet(&["add", &web]).ok();
    assert_eq!(home.registry(), before);
    assert!(home.fleet(&["add", &web, "--name", "other"]).fails(1).contains("already, as web"));
}

#[test]
fn a_url_is_cloned_with_its_engine_in_place() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let pin = home.pin("web");
    home.git(&home.file(""), &["clone", "-q", "--mirror", "projects/web", "web.git"]);
    home.fleet(&["remove", "web"]).ok();
    std::fs::remove_dir_all(home.project("web")).unwrap();
    let url = format!("file://{}", home.file("web.git").display());
    home.fleet(&["add", &url]).ok();
    assert_eq!(home.git(&home.project("web").join("engine"), &["rev-parse", "HEAD"]), pin);
    assert_eq!(home.git(&home.project("web"), &["status", "--porcelain"]), "");
    assert!(home.registry().contains(&format!("repo = \"{url}\"")));
}

#[test]
fn what_is_no_project_is_refused() {
    let home = TestHome::new();
    let before = home.registry();
    let plain = home.file("plain");
    std::fs::create_dir(&plain).unwrap();
    let shown = plain.display().to_string();
    home.fleet(&["add", &shown]).fails(1);
    home.git(&plain, &["init", "-q"]);
    assert!(home.fleet(&["add", &shown]).fails(1).contains("no commit"));
    home.git(&plain, &["commit", "-q", "--allow-empty", "-m", "one"]);
    assert!(home.fleet(&["add", &shown]).fails(1).contains("no submodule"));
    for url in ["ext::sh -c id", "https://user:pass@example.org/x", "ssh://-oProxyCommand=id/x"] {
        assert_eq!(home.fleet(&["add", url, "--name", "x"]).code, 2, "{url}");
    }
    assert_eq!(home.registry(), before);
}

/// Each would run something, or write outside, if it were cloned and checked out without looking.
#[test]
fn a_hostile_repository_is_refused_before_anything_of_it_is_used() {
    type Break = fn(&TestHome, &std::path::Path);
    let cases: [(&str, Break); 5] = [
        ("is a symlink", |_, f| {
            std::fs::remove_file(f.join("agents.toml")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", f.join("agents.toml")).unwrap();
        }),
        ("could not be cloned", |_, f| {
            std::fs::remove_file(f.join(".gitmodules")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", f.join(".gitmodules")).unwrap();
        }),
        ("could not be cloned", |_, f| {
            let text = std::fs::read_to_string(f.join(".gitmodules")).unwrap();
            std::fs::write(f.join(".gitmodules"), text.replace("\"engine\"", "\"../../hooks\"")).unwrap();
        }),
        ("expected one submodule", |_, f| {
            let text = std::fs::read_to_string(f.join(".gitmodules")).unwrap();
            std::fs::write(f.join(".gitmodules"), text.replace("\"engine\"", "\"hooks\"")).unwrap();
        }),
        ("transport::address", |_, f| {
            let text = "[submodule \"engine\"]\n\tpath = engine\n\turl = ext::touch%20/tmp/pwned\n";
            std::fs::write(f.join(".gitmodules"), text).unwrap();
        }),
    ];
    for (part, damage) in cases {
        let home = TestHome::new();
        home.fleet(&["create", "web"]).ok();
        home.fleet(&["remove", "web"]).ok();
        let web = home.project("web");
        damage(&home, &web);
        home.git(&web, &["add", ".gitmodules", "agents.toml"]);
        home.git(&web, &["commit", "-q", "-m", "evil"]);
        let url = format!("file://{}", web.display());
        let said = home.fleet(&["add", &url, "--name", "evil"]);
        assert!(said.code != 0 && said.err.contains(part), "{part}: {}", said.err);
        assert!(!home.project("evil").exists() && !home.file("projects/.evil.partial").exists());
    }
}

#[test]
fn the_engine_is_published_and_pinned_from_there() {
    let home = TestHome::new();
    home.git(&home.file(""), &["init", "-q", "--bare", "forge.git"]);
    let forge = home.file("forge.git").display().to_string();
    home.fleet(&["engine", "publish", &forge]).ok();
    home.fleet(&["engine", "publish", &forge]).ok();
    home.fleet(&["create", "web"]).ok();
    assert!(home.read("projects/web/.gitmodules").contains(&forge));
    assert_eq!(home.pin("web"), home.git(&home.file("forge.git"), &["rev-parse", "main"]));
    assert!(home.fleet(&["engine", "list"]).ok().contains("1 at v"));
}
