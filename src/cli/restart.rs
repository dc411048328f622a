//! `fleet restart`.

use agents::cli::Result;

use super::Context;
use super::run::{Args, Deed, run as each};

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    each(
        args,
        &Deed {
            verb: "restart",
            during: "restarting",
            done: "restarted",
            commands: |c| vec![("down", c.down.as_ref()), ("up", c.up.as_ref())],
        },
        ctx,
    )
}
