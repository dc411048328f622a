//! `fleet start`.

use agents::cli::Result;

use super::Context;
use super::run::{Args, Deed, run as each};

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    each(args, &Deed { verb: "start", during: "starting", done: "started", commands: |c| vec![("up", c.up.as_ref())] }, ctx)
}
