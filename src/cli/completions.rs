//! `fleet completions`: for the shell's tab key.

use agents::cli::{Result, complete, out};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fleet completions bash > ~/.local/share/bash-completion/completions/fleet")]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> Result<()> {
    out::raw(&complete::script(args.shell, "fleet")?);
    Ok(())
}
