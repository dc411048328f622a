//! Which projects a command is about: names, globs, tags, all.

use std::collections::BTreeSet;

use agents::cli::document::nearest;
use agents::cli::{Error, Result};

use super::{Project, Registry};

// Which projects: names, globs, tags, or all that are enabled. No doc comment: it would be taken for what a verb does.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Select {
    /// Names, or globs such as 'web-*'
    #[arg(value_name = "PROJECT")]
    pub names: Vec<String>,
    /// All enabled projects with this tag; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// All enabled projects
    #[arg(long, conflicts_with_all = ["names", "tags"])]
    pub all: bool,
}

impl Select {
    /// Exactly these projects.
    pub fn named(names: impl IntoIterator<Item = impl Into<String>>) -> Select {
        Select { names: names.into_iter().map(Into::into).collect(), ..Select::default() }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.tags.is_empty() && !self.all
    }

    /// The projects meant, in the registry's order, each once. Disabled ones only where they are named exactly. Asking for nothing is an error.
    pub fn resolve<'r>(&self, registry: &'r Registry) -> Result<Vec<&'r Project>> {
        if self.is_empty() {
            return Err(Error::usage("no project was named").hint("write names, globs such as 'web-*', -t TAG, or --all"));
        }
        self.pick(registry, true)
    }

    /// As [`Select::resolve`] for what only looks: asking for nothing means every project, and globs and tags take disabled ones too.
    pub fn resolve_or_every<'r>(&self, registry: &'r Registry) -> Result<Vec<&'r Project>> {
        if self.is_empty() { Ok(registry.projects.iter().collect()) } else { self.pick(registry, self.all) }
    }

    /// As [`Select::resolve`], disabled projects included: for `fleet enable`.
    pub fn resolve_with_disabled<'r>(&self, registry: &'r Registry) -> Result<Vec<&'r Project>> {
        if self.is_empty() { self.resolve(registry) } else { self.pick(registry, false) }
    }

    fn pick<'r>(&self, registry: &'r Registry, enabled_only: bool) -> Result<Vec<&'r Project>> {
        let mut chosen = BTreeSet::new();
        let mut errors = vec![];
        let usual = |p: &Project| p.enabled || !enabled_only;
        if self.all {
            chosen.extend(numbers(registry, usual));
        }
        for name in &self.names {
            match one(registry, name, usual) {
                Ok(found) => chosen.extend(found),
                Err(error) => errors.push(error),
            }
        }
        for tag in &self.tags {
            match tagged(registry, tag, usual) {
                Ok(found) => chosen.extend(found),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        if chosen.is_empty() {
            let error = Error::usage(if registry.projects.is_empty() { "the registry has no projects" } else { "no project is enabled" });
            return Err(error.hint(if registry.projects.is_empty() {
                "fleet create NAME   or   fleet add PATH"
            } else {
                "fleet enable NAME"
            }));
        }
        Ok(chosen.into_iter().map(|n| &registry.projects[n]).collect())
    }
}

fn numbers(registry: &Registry, takes: impl Fn(&Project) -> bool) -> Vec<usize> {
    (0..registry.projects.len()).filter(|n| takes(&registry.projects[*n])).collect()
}

/// A name, else a glob. A project is named exactly whether it is enabled or not.
fn one(registry: &Registry, name: &str, usual: impl Fn(&Project) -> bool) -> Result<Vec<usize>> {
    let exact = numbers(registry, |p| p.name == name);
    if !exact.is_empty() {
        return Ok(exact);
    }
    if !name.contains(['*', '?', '[', '{']) {
        let error = Error::usage(format!("there is no project `{name}`"));
        return Err(match nearest(name, registry.projects.iter().map(|p| p.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("fleet list   names all projects"),
        });
    }
    let glob = globset::Glob::new(name).map_err(|e| Error::usage(format!("`{name}` is no glob: {}", e.kind())))?.compile_matcher();
    some(
        numbers(registry, |p| usual(p) && glob.is_match(&p.name)),
        numbers(registry, |p| glob.is_match(&p.name)),
        registry,
        &format!("matches `{name}`"),
    )
}

fn tagged(registry: &Registry, tag: &str, usual: impl Fn(&Project) -> bool) -> Result<Vec<usize>> {
    let has = |p: &Project| p.tags.iter().any(|t| t == tag);
    let what = format!("has the tag `{tag}`");
    some(numbers(registry, |p| usual(p) && has(p)), numbers(registry, has), registry, &what).map_err(|error| {
        let tags = registry.projects.iter().flat_map(|p| &p.tags).map(String::as_str);
        match nearest(tag, tags).filter(|near| *near != tag) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}

/// What was found; where that is nothing, an error that tells whether disabled projects were passed over.
fn some(found: Vec<usize>, with_disabled: Vec<usize>, registry: &Registry, what: &str) -> Result<Vec<usize>> {
    if !found.is_empty() {
        return Ok(found);
    }
    if with_disabled.is_empty() {
        return Err(Error::usage(format!("no project {what}")));
    }
    let names: Vec<&str> = with_disabled.iter().map(|n| registry.projects[*n].name.as_str()).collect();
    Err(Error::usage(format!("no enabled project {what}: {} disabled", are(&names))).hint("name it exactly to take it nevertheless"))
}

fn are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    match names {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more {verb}", rest.len()),
        _ => format!("{} {verb}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::registry;
    use super::*;

    const TEXT: &str = r#"
[[project]]
name = "web-shop"
location = "/a"
tags = ["frontend", "shop"]
[[project]]
name = "api"
location = "/b"
tags = ["shop"]
[[project]]
name = "web-old"
location = "/c"
enabled = false
tags = ["frontend", "old"]
"#;

    fn select(words: &[&str]) -> Select {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            select: Select,
        }
        <Cli as clap::Parser>::try_parse_from(["x"].iter().chain(words)).unwrap().select
    }

    fn chosen(words: &[&str]) -> String {
        let registry = registry(TEXT);
        match select(words).resolve(&registry) {
            Ok(projects) => projects.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn registry_order_without_doubles() {
        for (words, expected) in [
            (&["api", "web-shop", "api"][..], "web-shop api"),
            (&["--all"], "web-shop api"),
            (&["web-*"], "web-shop"),
            (&["web-*", "web-old"], "web-shop web-old"),
            (&["{api,web-shop}"], "web-shop api"),
            (&["-t", "shop"], "web-shop api"),
            (&["-t", "frontend", "-t", "shop", "web-old"], "web-shop api web-old"),
        ] {
            assert_eq!(chosen(words), expected, "{words:?}");
        }
    }

    #[test]
    fn who_only_looks_sees_disabled_ones_too() {
        let registry = registry(TEXT);
        let names =
            |words| select(words).resolve_or_every(&registry).unwrap().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&[]), "web-shop api web-old");
        assert_eq!(names(&["web-*"]), "web-shop web-old");
        assert_eq!(names(&["--all"]), "web-shop api");
    }

    #[test]
    fn what_names_nothing_is_said() {
        insta::assert_snapshot!(chosen(&[]), @r##"
        no project was named
        hint: write names, globs such as 'web-*', -t TAG, or --all
        "##);
        insta::assert_snapshot!(chosen(&["web-shp", "api", "ap", "zzz"]), @r##"
        there is no project `web-shp`
        hint: did you mean `web-shop`?
        error: there is no project `ap`
        hint: did you mean `api`?
        error: there is no project `zzz`
        hint: fleet list   names all projects
        "##);
        insta::assert_snapshot!(chosen(&["db-*"]), @"no project matches `db-*`");
        insta::assert_snapshot!(chosen(&["*-old"]), @r##"
        no enabled project matches `*-old`: web-old is disabled
        hint: name it exactly to take it nevertheless
        "##);
        insta::assert_snapshot!(chosen(&["[z"]), @"`[z` is no glob: unclosed character class; missing ']'");
        insta::assert_snapshot!(chosen(&["-t", "shp"]), @r##"
        no project has the tag `shp`
        hint: did you mean `shop`?
        "##);
        insta::assert_snapshot!(chosen(&["-t", "old"]), @r##"
        no enabled project has the tag `old`: web-old is disabled
        hint: name it exactly to take it nevertheless
        "##);
        insta::assert_snapshot!(select(&["--all"]).resolve(&registry("")).unwrap_err(), @r##"
        the registry has no projects
        hint: fleet create NAME   or   fleet add PATH
        "##);
        insta::assert_snapshot!(select(&["--all"]).resolve(&registry("[[project]]\nname = \"a\"\nlocation = \"/a\"\nenabled = false")).unwrap_err(), @r##"
        no project is enabled
        hint: fleet enable NAME
        "##);
    }
}
