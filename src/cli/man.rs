//! `fleet man`: the manual page.

use agents::cli::{Error, Result, out};

/// Print the manual page, of fleet or of one command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fleet man create | man -l -")]
pub struct Args {
    command: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let mut command = super::command();
    command.build();
    if let Some(name) = &args.command {
        let Some(found) = command.find_subcommand(name) else {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            return Err(Error::usage(format!("there is no command {name:?}")).hint(agents::cli::document::suggest(name, known)));
        };
        command = found.clone().display_name(format!("fleet-{name}"));
    }
    let mut page = vec![];
    clap_mangen::Man::new(command).render(&mut page)?;
    out::raw(&page);
    Ok(())
}
