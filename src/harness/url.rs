//! Which URLs may be handed to git. git and its helpers read some of them as options or as programs to run.

use agents::cli::{Error, Result};

/// Checks a harness's or project's URL: https, ssh (also `user@host:path`), file, or an absolute path.
pub fn check(url: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::usage(format!("the URL {url:?} {why}"))
            .hint("write https://host/path, ssh://user@host/path, user@host:path, or an absolute path"))
    };
    let lower = url.to_ascii_lowercase();
    if url.is_empty() || url.starts_with('-') {
        return refuse("would be read as an option");
    }
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) || ["%00", "%0a", "%0d"].iter().any(|c| lower.contains(c)) {
        return refuse("holds blanks or control characters");
    }
    // An IPv6 address holds colons too, but only inside an authority.
    if url.contains("::") && !url.contains("://[") {
        return refuse("names a program to run (`transport::address`)");
    }
    if url.starts_with('/') {
        return Ok(());
    }
    let Some((scheme, rest)) = lower.split_once("://") else {
        let Some((host, path)) = url.split_once(':') else { return refuse("is neither absolute nor names a host") };
        let name = host.rsplit('@').next().unwrap_or_default();
        let odd = name.is_empty() || name.starts_with('-') || host.starts_with('-') || host.contains('/');
        return if odd || path.is_empty() { refuse("has no host, or no path") } else { Ok(()) };
    };
    match scheme {
        "file" => return if rest.starts_with('/') { Ok(()) } else { refuse("has no absolute path") },
        "https" | "ssh" => {}
        "http" | "git" => return refuse("is not encrypted, so nobody knows who answers"),
        _ => return refuse("has a scheme that is not allowed"),
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() || host.starts_with('-') || host.starts_with(':') || user.starts_with('-') {
        return refuse("has no host");
    }
    if user.contains(':') || (scheme == "https" && !user.is_empty()) {
        return Err(Error::usage("a URL must not hold credentials: they would be recorded with it")
            .hint("leave them out, and let git's credential helper or ssh-agent answer"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;

    #[test]
    fn what_git_may_be_given() {
        for good in [
            "https://example.org/acme/engine.git",
            "ssh://git@example.org:2222/engine",
            "git@example.org:acme/engine.git",
            "/srv/git/engine.git",
            "file:///srv/git/engine.git",
            "ssh://[2001:db8::1]/engine",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_git_must_never_see() {
        for bad in [
            "",
            "-uwhoami",
            "--upload-pack=touch x",
            "ext::sh -c id",
            "ext::sh",
            "ext::[sh",
            "fd::17",
            "https://",
            "https:///path",
            "https://user:secret@example.org/x",
            "https://token@example.org/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "git@-oProxyCommand=id:x",
            "https://example.org/a%0ab",
            "https://example.org/a\nb",
            "http://example.org/x",
            "git://example.org/x",
            "relative/path",
            "../up",
            "host:",
            "file://relative",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    /// Pieces of URLs, good and bad, put together in any order.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("https://"),
            Just("ssh://"),
            Just("file://"),
            Just("ext::"),
            Just("fd::"),
            Just("HTTPS://"),
            Just("git@"),
            Just("@"),
            Just(":"),
            Just("::"),
            Just("/"),
            Just("-"),
            Just("-oProxyCommand=id"),
            Just("--upload-pack=id"),
            Just("example.org"),
            Just("user:pass@"),
            Just("%0a"),
            Just("%0A"),
            Just("%00"),
            Just("\n"),
            Just("\u{1b}"),
            Just("\u{9b}"),
            Just(" "),
            Just("[::1]"),
            Just("a"),
            Just(".."),
            Just("://["),
        ];
        prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Read as git reads it: no option, no program, nothing for ssh that begins with a dash, and nothing that breaks a line.
        #[test]
        fn what_passes_names_a_place_and_no_program(text in hostile()) {
            if check(&text).is_ok() {
                prop_assert!(!text.starts_with('-') && !text.chars().any(|c| c.is_control() || c == ' '), "{text:?}");
                prop_assert!(!text.to_lowercase().contains("%0a") && !text.contains("%00"), "{text:?}");
                let transport = text.split_once("::").map(|(t, _)| t).filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric()));
                prop_assert!(transport.is_none(), "{text:?}");
                let url = gix::url::parse(text.as_bytes());
                if let Ok(url) = url {
                    prop_assert!(!url.host().is_some_and(|h| h.starts_with('-')) && !url.user().is_some_and(|u| u.starts_with('-')), "{text:?}");
                    prop_assert!(url.password().is_none(), "{text:?}");
                }
            }
        }
    }
}
