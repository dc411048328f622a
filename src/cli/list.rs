//! `fleet list`: what the registry says, at once; no project is looked at.

use agents::cli::Result;
use agents::cli::out::{self, Table, Text, Tone};

use crate::cli::Context;
use crate::registry::{Project, Registry, Select, entry};

/// Show what the registry says, without looking at any project
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let projects = args.select.resolve_or_every(&registry)?;
    if args.json {
        out::json(&entry::list(&registry, &projects));
    } else if projects.is_empty() {
        out::say(format!("{} has no projects yet; fleet create NAME makes one", registry.path.display()));
    } else {
        out::table(&table(&registry, &projects));
    }
    Ok(())
}

fn table(registry: &Registry, projects: &[&Project]) -> Table {
    let mut table = Table::new(&["NAME", "LOCATION", "HARNESS", "REF", "TAGS", "ENABLED"]);
    for project in projects {
        let tone = if project.enabled { Tone::Plain } else { Tone::Dim };
        let own = project.harness == registry.fleet.harness;
        table.row(vec![
            Text::of(if project.enabled { Tone::Strong } else { Tone::Dim }, &project.name),
            Text::of(tone, project.location.to_string()),
            Text::of(if own { Tone::Dim } else { tone }, &project.harness),
            Text::of(tone, project.reference.as_deref().unwrap_or("-")),
            Text::of(tone, if project.tags.is_empty() { "-".into() } else { project.tags.join(" ") }),
            Text::of(tone, if project.enabled { "yes" } else { "no" }),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_tells_it_all() {
        let text = "[[project]]\nname = \"web\"\nlocation = \"/srv/web\"\nref = \"v1\"\ntags = [\"a\", \"b\"]\n[[project]]\nname = \"far\"\nlocation = \"ssh://me@host/srv/far\"\nenabled = false\n";
        let registry = Registry::from_text(std::path::Path::new("/home/fleet.toml"), text).unwrap();
        insta::assert_snapshot!(table(&registry, &registry.projects.iter().collect::<Vec<_>>()).render(false), @r##"
        NAME  LOCATION               HARNESS  REF  TAGS  ENABLED
        web   /srv/web               agents   v1   a b   yes
        far   ssh://me@host/srv/far  agents   -    -     no
        "##);
    }
}
