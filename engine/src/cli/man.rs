//! `agents man`

use std::path::PathBuf;

use super::out;
use crate::error::Result;
use crate::os::fs;

/// Print the manual page, or write one page for every command into a folder
#[derive(clap::Args)]
pub(super) struct Args {
    /// Write `agents.1`, `agents-up.1`, … there
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut command = super::command();
    command.build();
    let Some(folder) = &args.folder else {
        out::raw(&page(command)?);
        return Ok(());
    };
    fs::create_dirs(folder)?;
    let mut pages = vec![];
    for verb in command.get_subcommands().filter(|v| !v.is_hide_set()) {
        let name: &'static str = format!("agents-{}", verb.get_name()).leak();
        pages.push((folder.join(format!("{name}.1")), page(verb.clone().name(name))?));
    }
    pages.push((folder.join("agents.1"), page(command)?));
    fs::write_batch(&pages, 0o644)?;
    out::say(format!("{} pages in {}", pages.len(), folder.display()));
    Ok(())
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = vec![];
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
