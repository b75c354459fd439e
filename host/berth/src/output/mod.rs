//! What commands print on stdout: tables for people, JSON and YAML for programs. Progress and errors go to stderr.

pub(crate) mod log;
pub(crate) mod objects;
mod table;
pub(crate) mod text;

use std::io::{self, Write};

use serde::Serialize;

pub(crate) use table::Table;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Prints `value` as JSON or YAML, or what `table` makes of it.
pub(crate) fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => berth_api::yaml::write(&serde_json::to_value(value)?),
    };
    write(&text)
}

/// Writes to stdout. A reader that went away, such as `head`, is no error.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
