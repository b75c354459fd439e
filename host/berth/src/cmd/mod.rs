//! One file a subcommand: its arguments, checked once, and what it does.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod policy;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod simulate;
mod sources;
pub(crate) mod top;
