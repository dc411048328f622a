//! The grammars of what the registry holds. Each answers with what was expected.

/// Names of projects, harnesses and tags: safe as a path component, an argument and a word on a screen.
pub fn name(text: &str) -> Result<(), &'static str> {
    let (first, rest) = (text.bytes().next(), text.bytes().skip(1));
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    match first {
        Some(b) if word(b) && text.len() <= NAME_BYTES_MAX && rest.clone().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-')) => Ok(()),
        _ => Err("expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit"),
    }
}

/// The longest name, which is also the longest that every filesystem and tmux take with something put before it.
pub const NAME_BYTES_MAX: usize = 64;

/// A tag or branch: what `git check-ref-format --allow-onelevel` takes, and no leading dash.
pub fn reference(text: &str) -> Result<(), &'static str> {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with(".lock");
    let fine = !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(bad)
        && text.split('/').all(part);
    if fine { Ok(()) } else { Err("expected the name of a tag or branch") }
}

/// A full commit id.
pub fn commit(text: &str) -> Result<(), &'static str> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex && matches!(text.len(), 40 | 64) { Ok(()) } else { Err("expected a full commit id: 40 (or 64) lower case hex digits") }
}

/// A path that stays inside the folder it starts from.
pub fn inside(text: &str) -> Result<(), &'static str> {
    let part = |p: &str| !matches!(p, "" | "." | "..");
    let fine = text.split('/').all(part) && !text.contains(|c: char| c.is_control()) && !text.starts_with(['-', '~']);
    if fine { Ok(()) } else { Err("expected a path inside the project, without `..`") }
}

/// Argv of a command.
pub fn argv(words: &[String]) -> Result<(), &'static str> {
    match words.first() {
        Some(program) if !program.is_empty() && words.iter().all(|w| !w.contains('\0')) => Ok(()),
        _ => Err("expected a command as a list of words, the program first"),
    }
}

/// The URL of a git repository: https, ssh, scp-like (`git@host:path`), or a path of this machine. Git itself takes more, and runs some of it.
pub fn url(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.starts_with('-') {
        return Err("expected the URL of a git repository, not beginning with a dash");
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) || has_encoded_control(text) {
        return Err("expected a URL without blanks and control characters");
    }
    if text.contains("::") {
        return Err("expected https, ssh, git@host:path or a path; `transport::address` would run a program");
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme {
            "https" | "ssh" => authority(scheme, rest),
            "file" if rest.starts_with('/') => Ok(()),
            "http" | "git" => Err("expected https or ssh: anybody on the way can change what this one brings"),
            _ => Err("expected https, ssh, git@host:path or a path"),
        };
    }
    if text.starts_with(['/', '~', '.']) {
        return Ok(());
    }
    match text.split_once(':') {
        Some((host, path)) if !path.is_empty() && !path.starts_with('-') && !host.contains('/') => authority("ssh", &format!("{host}/")),
        _ => Err("expected https, ssh, git@host:path, or a path that begins with `/`, `~/` or `./`"),
    }
}

/// `[user@]host[:port]` before the first slash.
fn authority(scheme: &str, rest: &str) -> Result<(), &'static str> {
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|u| u.contains(':') || scheme == "https") {
        return Err("expected a URL without credentials: git's credential helpers keep them");
    }
    if user.is_some_and(|u| u.is_empty() || u.starts_with('-')) {
        return Err("expected a user's name before the @");
    }
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or("") };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err("expected a host of letters, digits, `.`, `-` and `_`");
    }
    Ok(())
}

/// `%00` to `%1f` and `%7f`: git decodes them.
fn has_encoded_control(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| {
        w[0] == b'%' && (matches!(w[1], b'0' | b'1') && w[2].is_ascii_hexdigit() || w[1] == b'7' && w[2].eq_ignore_ascii_case(&b'f'))
    })
}
