//! `fleet exec`: a command in every selected project's folder.

use agents::cli::interrupt::doing;
use agents::cli::out::Tone;
use agents::cli::{Error, Result, out};
use agents::os::process;

use super::Context;
use crate::parallel;
use crate::registry::select::Select;
use crate::view::progress::some_of;

/// Run a command in projects' folders
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fleet exec --all -- git fetch --prune")]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let projects = args.select.resolve(&registry)?;
    let names: Vec<&str> = projects.iter().map(|p| p.name.as_str()).collect();
    let _doing = doing(&format!("running `{}` in {}", args.command.join(" "), some_of(&names)), "it was ended; what it had done stays");
    let results = parallel::each(&projects, |project| -> Result<process::Output> {
        let folder = super::inside::folder(project)?;
        let output = process::run(&process::Run { argv: &args.command, folder: Some(folder), ..Default::default() })
            .map_err(|e| Error::failed(format!("`{}` could not be run: {e}", args.command.join(" "))))?;
        if !args.json {
            show(&project.name, &output);
        }
        Ok(output)
    });
    if args.json {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let facts: Vec<serde_json::Value> = projects
            .iter()
            .zip(&results)
            .map(|(p, r)| match r {
                Ok(o) => serde_json::json!({ "name": p.name, "status": o.code, "stdout": text(&o.stdout), "stderr": text(&o.stderr) }),
                Err(e) => serde_json::json!({ "name": p.name, "error": e.to_string() }),
            })
            .collect();
        out::json(&facts);
    }
    let failed = projects.iter().zip(results).filter_map(|(project, result)| match result {
        Ok(output) if output.code == 0 => None,
        Ok(output) => Some(Error::failed(format!("project {}: the command ended with status {}", project.name, output.code))),
        Err(error) => Some(error.of(format!("project {}", project.name))),
    });
    Error::all(failed.collect()).map_or(Ok(()), Err)
}

/// What it printed, each line with the project before it.
fn show(name: &str, output: &process::Output) {
    let line = |l: &str| out::Text::of(Tone::Accent, format!("{name}: ")).and(Tone::Plain, l);
    String::from_utf8_lossy(&output.stdout).lines().for_each(|l| out::fact(line(l)));
    String::from_utf8_lossy(&output.stderr).lines().for_each(|l| out::say(line(l)));
}
