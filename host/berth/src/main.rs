//! `berth`: a fleet scheduler for accelerators. This file parses the command line, runs one subcommand, and says how it
//! ended.

mod cli;
mod client;
mod cmd;
mod fail;
mod output;
mod run;
mod server;
mod token;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    output::log::start();
    match cli::Cli::parse().into_command().run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            fail::print(&error);
            fail::Exit::Failed.into()
        }
    }
}
