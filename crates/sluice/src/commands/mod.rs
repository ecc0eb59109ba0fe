//! One file a command: its arguments and what it does.

pub(crate) mod apply;
pub(crate) mod backend;
pub(crate) mod check;
pub(crate) mod cleanup;
pub(crate) mod completions;
pub(crate) mod connections;
pub(crate) mod digest;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod overrides;
pub(crate) mod plan;
pub(crate) mod ready;
pub(crate) mod reload;
pub(crate) mod render;
pub(crate) mod status;
pub(crate) mod top;

use clap::Args;
use clap::error::ErrorKind;

/// Ends the process because of arguments that do not fit, as clap does where it can tell by itself.
fn usage_error<A: Args>(command: &'static str, kind: ErrorKind, what: &str) -> ! {
    A::augment_args(clap::Command::new(command)).error(kind, what).exit()
}
