//! The program `berth`: command line, configuration, HTTP API and the running controller.
//!
//! Nothing here is an interface for other crates, but for two doors: [`main`], and [`InProcess`] for tests that ask the API
//! without a socket.

mod cli;
mod client;
mod cmd;
mod fail;
mod in_process;
mod output;
mod private;
mod registry;
mod run;
mod server;
mod token;
mod wire;

pub use in_process::{Answer, Ask, InProcess};

use std::process::ExitCode;

use clap::Parser;

/// Parses the command line, runs one subcommand, and says how it ended.
pub fn main() -> ExitCode {
    output::log::start();
    match cli::Cli::parse().into_command().run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            fail::print(&error);
            fail::Exit::Failed.into()
        }
    }
}
