//! Telling people: each transition once and in order, by a command or a webhook, and never so that anything waits for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::activity::Puppet;
use crate::project::{Lines, TestProject, kill, of};

const SCREEN: &str = "ready = '^>$'\nwaiting = '(?<what>Run [a-z]+)\\?'\n[notify]\ncommand = [\"sh\", \"-c\", \"cat >> told\"]";

/// What was told so far and is told next.
fn told(folder: &Path) -> Lines {
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(folder.join("told")).stderr(Stdio::null());
    Lines::of(tail)
}

fn next(told: &mut Lines) -> Value {
    serde_json::from_str(&told.next().expect("nothing was told in time")).unwrap()
}

#[test]
fn each_transition_is_told_once_whatever_dies() {
    let mut puppet = Puppet::new("watch = \"none\"", SCREEN);
    let mut told = told(&puppet.project.folder);
    puppet.draw("Run rm? [y/n]");
    let first = next(&mut told);
    assert_eq!((&first["event"], &first["project"]), (&Value::from("waiting"), &Value::from("web")));
    assert_eq!(first["text"], "web: lead (int-1) waits for a person: Run rm");
    assert_eq!(
        (&first["sessions"][0]["session"], &first["sessions"][0]["evidence"]["what"]),
        (&Value::from("int-1"), &Value::from("Run rm"))
    );
    // Neither another watchdog nor another host is news.
    let watchdog = puppet.project.status()["watchdog"]["pid"].as_i64().unwrap();
    kill(watchdog as i32);
    puppet.project.until("another watchdog", |s| s["watchdog"]["pid"].as_i64().is_some_and(|pid| pid != watchdog));
    kill(puppet.project.host("int-1"));
    puppet.project.until("adopted", |s| of(s, "lead")["activity"] == "waiting");
    puppet.project.run(&["upgrade"]).ok();
    puppet.draw(">");
    puppet.until("idle");
    puppet.draw("Run it? [y/n]");
    assert_eq!(next(&mut told)["text"], "web: lead (int-1) waits for a person: Run it");
    puppet.order("exit 0");
    let last = next(&mut told);
    assert_eq!((&last["event"], &last["sessions"][0]["state"]), (&Value::from("done"), &Value::from("exited")), "{last:#}");
    let events = std::fs::read_to_string(puppet.events()).unwrap();
    assert_eq!(events.matches("\"told\"").count() + usize::from(!events.contains("has ended")), 3, "{events}");
}

#[test]
fn what_happens_to_many_at_once_is_one_event() {
    let agents: String = (0..6).map(|n| format!("[agent.a{n}]\n")).collect();
    let project = TestProject::new(&format!(
        "[project]\nname = \"web\"\nsession_prefix = \"int\"\n[defaults]\nbackend = \"shell\"\nwatch = \"none\"\ncommand = [\"sh\", \"-c\", \"read x\"]\n{agents}\
         [notify]\ncommand = [\"sh\", \"-c\", \"cat >> told\"]\non = [\"done\"]\n"
    ));
    project.run(&["up"]).ok();
    let mut told = told(&project.folder);
    for n in 0..6 {
        project.run(&["send", &format!("a{n}"), "go"]).ok();
    }
    let mut sessions = vec![];
    let mut notices = 0;
    while sessions.len() < 6 {
        let notice = next(&mut told);
        sessions.extend(notice["sessions"].as_array().unwrap().iter().map(|s| s["session"].as_str().unwrap().to_owned()));
        notices += 1;
    }
    sessions.sort();
    assert_eq!(sessions, (1..=6).map(|n| format!("int-{n}")).collect::<Vec<_>>(), "each once");
    println!("{notices} notices of six ends");
}

#[test]
fn a_command_that_fails_or_hangs_holds_nobody_up() {
    let mut puppet =
        Puppet::new("", &SCREEN.replace("cat >> told", "cat > told; [ -e fine ] || { echo no line >&2; exit 7; }; exec sleep 1000"));
    puppet.draw("Run rm? [y/n]");
    puppet.until_line(&puppet.events(), "exit status: 7: no line");
    std::fs::write(puppet.project.folder.join("fine"), "").unwrap();
    std::fs::remove_file(puppet.project.folder.join("told")).unwrap();
    puppet.draw("Run it? [y/n]");
    told(&puppet.project.folder).until("Run it");
    // It hangs from now on, and everything else goes on.
    puppet.draw(">");
    puppet.until("idle");
    puppet.until_line(&puppet.events(), "it has not ended within 10 s, and was killed");
}

#[test]
fn a_webhook_is_posted_to_and_its_url_stands_nowhere_else() {
    if !Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        println!("skipped: there is no curl");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/hook?key=canary", listener.local_addr().unwrap().port());
    let (sender, requests) = mpsc::channel();
    // It ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                length = line.to_ascii_lowercase().strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = sender.send((head, String::from_utf8(body).unwrap()));
            let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let mut puppet = Puppet::stopped("", "waiting = 'Run [^?]*\\?'\n[notify]\nwebhook = \"$HOOK_URL\"");
    let warned = puppet.project.run(&["up"]).ok().stderr;
    assert!(warned.contains("the variable HOOK_URL is not set, so nothing is posted"), "{warned}");
    let mut up = puppet.project.command(&["up"]);
    assert!(up.env("HOOK_URL", &url).stdout(Stdio::null()).status().unwrap().success());
    // Who does not have the variable changes nothing.
    assert_eq!(puppet.project.run(&["up"]).ok().stderr, "");
    puppet.draw("Run \"rm\" \\\\ now?");
    let (head, body) = requests.recv_timeout(Duration::from_secs(30)).expect("nothing was posted");
    assert!(
        head.starts_with("POST /hook?key=canary HTTP/1.1\r\n") && head.to_ascii_lowercase().contains("content-type: application/json"),
        "{head}"
    );
    let notice: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(notice["sessions"][0]["evidence"]["what"], "Run \"rm\" \\ now?");
    puppet.until_line(&puppet.events(), "\"told\"");
    let events = std::fs::read_to_string(puppet.events()).unwrap() + &puppet.project.run(&["why", "lead"]).ok().stdout;
    assert!(!events.contains("canary"), "{events}");
}

/// Serves https with a certificate of its own, and prints its port and what is posted.
const TLS: &str = r#"
import http.server, ssl
class Hook(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["content-length"])).decode(), flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn a_webhook_over_https_is_posted_to_whom_its_certificate_shows_and_to_nobody_else() {
    let place = tempfile::tempdir().unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]);
    openssl.args(["subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]).current_dir(&place);
    let runs = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !runs(&mut openssl) || !["curl", "python3"].iter().all(|p| runs(Command::new(p).arg("--version"))) {
        return println!("skipped: it takes openssl, curl and python3");
    }
    let mut server = Command::new("python3");
    server.args(["-c", TLS]).current_dir(&place);
    let mut posted = Lines::of(server);
    let port = posted.next().expect("the server has a port");
    let mut puppet = Puppet::stopped("", &format!("waiting = 'Run [^?]*\\?'\n[notify]\nwebhook = \"https://localhost:{port}/hook\""));
    puppet.project.run(&["up"]).ok();
    puppet.draw("Run rm?");
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(puppet.events()).stderr(Stdio::null());
    let refused = Lines::of(tail).until("\"not-told\"");
    assert!(refused.contains("certificate"), "{refused}");

    // Who trusts it says so in curl's own words.
    puppet.project.run(&["down"]).ok();
    let mut up = puppet.project.command(&["up"]);
    assert!(up.env("CURL_CA_BUNDLE", place.path().join("cert.pem")).stdout(Stdio::null()).status().unwrap().success());
    puppet.draw("Run it?");
    let body = posted.until("/hook ");
    let notice: Value = serde_json::from_str(body.strip_prefix("/hook ").unwrap()).unwrap();
    assert_eq!((&notice["event"], &notice["sessions"][0]["evidence"]["what"]), (&Value::from("waiting"), &Value::from("Run it?")));
    puppet.until_line(&puppet.events(), "\"told\"");
}
