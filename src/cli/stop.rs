//! `fleet stop`.

use agents::cli::Result;

use super::Context;
use super::run::{Args, Deed, run as each};

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    each(args, &Deed { verb: "stop", during: "stopping", done: "stopped", commands: |c| vec![("down", c.down.as_ref())] }, ctx)
}
