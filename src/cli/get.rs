//! `fleet get`: one project's entry, or one value of it, raw, for scripts.

use agents::cli::document::suggest;
use agents::cli::out::{self, Table, Text, Tone};
use agents::cli::{Error, Result};

use crate::cli::Context;
use crate::registry::{Select, entry};

/// Show a project's entry with every default filled in, or one value of it, raw
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    #[arg(value_name = "PROJECT")]
    name: String,
    /// A key of the registry: location, harness, ref, commit, enabled, secrets, config, repo, tags
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let project = match registry.project(&args.name) {
        Some(project) => project,
        // Says which name is near.
        None => Select::named([&args.name])
            .resolve(&registry)?
            .first()
            .copied()
            .filter(|p| p.name == args.name)
            .ok_or_else(|| Error::usage(format!("`{}` names no single project", args.name)).hint("fleet list   names all projects"))?,
    };
    let entry = entry::of(project);
    match &args.key {
        Some(key) => {
            let values = value(&args.name, &entry.values(), key)?;
            if args.json {
                out::json(&serde_json::to_value(&entry).unwrap_or_default()[key]);
            } else {
                values.into_iter().for_each(out::fact);
            }
        }
        None if args.json => out::json(&entry),
        None => {
            let mut table = Table::new(&["KEY", "VALUE"]);
            for (key, values) in entry.values() {
                let value = if values.is_empty() { Text::of(Tone::Dim, "-") } else { values.join(" ").into() };
                table.row(vec![Text::of(Tone::Strong, key), value]);
            }
            out::table(&table);
        }
    }
    Ok(())
}

/// A key's values. One that has none is an error, so that a script does not go on with an empty word; `tags` may be empty.
fn value(name: &str, values: &[(&'static str, Vec<String>)], key: &str) -> Result<Vec<String>> {
    let keys = values.iter().map(|(k, _)| *k);
    match values.iter().find(|(k, _)| *k == key) {
        None => Err(Error::usage(format!("a project has no key `{key}`")).hint(suggest(key, keys))),
        Some((_, found)) if found.is_empty() && key != "tags" => {
            Err(Error::failed(format!("project {name}: the registry says nothing about its `{key}`")))
        }
        Some((_, found)) => Ok(found.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_or_why_not() {
        let values = [("repo", vec![]), ("ref", vec!["v1".to_owned()]), ("tags", vec![])];
        assert_eq!(value("web", &values, "ref").unwrap(), ["v1"]);
        assert_eq!(value("web", &values, "tags").unwrap(), [""; 0]);
        insta::assert_snapshot!(value("web", &values, "repo").unwrap_err(), @"project web: the registry says nothing about its `repo`");
        insta::assert_snapshot!(value("web", &values, "reff").unwrap_err(), @r##"
        a project has no key `reff`
        hint: did you mean `ref`?
        "##);
    }
}
