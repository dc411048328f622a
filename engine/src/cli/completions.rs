//! `agents completions`

use super::{complete, out};
use crate::error::Result;

/// Print a shell's completion script
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<()> {
    out::raw(&complete::script(args.shell, "agents")?);
    Ok(())
}
