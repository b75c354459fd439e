//! Diagnostics for operators, on stderr: warnings, or what `RUST_LOG` asks for. Manifests, bodies and tokens are never
//! logged, at any level.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Call once, before anything else.
pub(crate) fn start() {
    // A part of RUST_LOG that cannot be read is left out; it is no reason not to run.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
