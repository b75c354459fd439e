//! The project's own tools: `cargo run -p xtask -- COMMAND`.
//!
//! Owns what a build needs beside cargo: the policies' components with their lock file, the check of which crate may use
//! which, the benchmark, and long tests of the whole program and of the whole controller. It changes nothing outside
//! `policies/` and the host's test guests.

mod allocator;
mod bench;
mod boundaries;
mod crash;
mod lock;
mod policies;
mod soak;
mod sources;
mod wrapper;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

#[derive(Parser)]
#[command(name = "xtask", about = "Build and check what cargo alone does not")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The built-in policies in `policies/`
    #[command(subcommand)]
    Policies(Policies),
    /// Check that crates use only what their layer may use
    Boundaries,
    /// Measure decisions, natively and through Wasm side by side, and what surrounds them
    Bench(bench::Arguments),
    Crash(crash::CrashArgs),
    Soak(soak::SoakArgs),
}

#[derive(Subcommand)]
enum Policies {
    /// Build components from `plugins/builtin/` and `plugins/testing/`, and write `policies/policies.lock`
    Build {
        /// Only this policy
        name: Option<String>,
    },
    /// Build a component from any crate of the plugins workspace
    Component {
        /// Name of the package, such as `green`
        package: String,
        /// Where to put the component
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Check that the committed components are those of the sources
    Check {
        /// Build them again and compare every byte, too
        #[arg(long)]
        rebuild: bool,
    },
}

fn main() -> ExitCode {
    if let Some(code) = wrapper::take_over() {
        return code;
    }
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let root = root()?;
    match command {
        Command::Soak(args) => return soak::run(&args, &root),
        Command::Policies(Policies::Build { name }) => policies::build(&root, name.as_deref()),
        Command::Policies(Policies::Component { package, output }) => policies::component(&root, &package, &output),
        Command::Policies(Policies::Check { rebuild }) => policies::check(&root, rebuild),
        Command::Boundaries => boundaries::check(&root),
        Command::Bench(arguments) => bench::run(&root, &arguments),
        Command::Crash(args) => crash::run(&root, &args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of the workspace: the nearest one upwards from the working directory that holds `wit` and `plugins`.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the working directory")?;
    let found = here.ancestors().find(|folder| folder.join("wit").is_dir() && folder.join("plugins").is_dir());
    found.map(Path::to_path_buf).with_context(|| format!("{} is not inside a clone of Berth", here.display()))
}
