//! `agents completions`

use super::out;
use crate::error::Result;

/// Print a shell's completion script
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut super::command(), "agents", &mut script);
    out::raw(&script);
    Ok(())
}
