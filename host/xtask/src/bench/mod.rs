//! `bench`: what a decision costs, and what surrounds it, measured in one run.
//!
//! Holds: one module a thing measured, each with one function that returns its figures under their names; they run one
//! after another on one thread, so that nothing disturbs what is measured but the machine itself. Progress goes to stderr,
//! figures alone to stdout.

mod calls;
mod controller;
mod counted;
mod decisions;
mod durable;
mod fleet;
mod isolation;
mod mix;
mod node;
mod random;
mod start;
mod swap;
mod table;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// What to measure, and how long.
#[derive(clap::Args)]
#[command(after_long_help = mix::ABOUT)]
pub(crate) struct Arguments {
    /// How to show the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Fleets of so many clusters, each with 10 node pools
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000")]
    clusters: Vec<u32>,
    /// Measure only this part; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Fewer rounds: a look within seconds, with more noise
    #[arg(long)]
    quick: bool,
    /// Opens the state in this folder and prints what that took: for the part `start`, which runs it as a fresh process
    #[arg(long, hide = true, value_name = "DIR")]
    opened: Option<PathBuf>,
    /// Count instead of measuring, and compare with the committed figures: instructions, allocations and fuel
    #[arg(long, conflicts_with_all = ["clusters", "only", "quick", "output"])]
    counted: bool,
    /// Write what was counted as the figures to compare with
    #[arg(long, requires = "counted")]
    update: bool,
    /// Run what is counted under this name, for a counter of instructions around this process
    #[arg(long, hide = true, value_name = "NAME")]
    counted_run: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What all parts are told.
struct Settings {
    /// The folder of the workspace.
    root: PathBuf,
    clusters: Vec<u32>,
    quick: bool,
}

/// Figures under their names at the top level of the result.
type Figures = Map<String, Value>;

/// One thing measured.
struct Part {
    name: &'static str,
    about: &'static str,
    measure: fn(&Settings) -> Result<Figures>,
}

/// In the order in which they run.
const PARTS: &[Part] = &[
    Part {
        name: "decisions",
        about: "whole decisions in memory, natively and through Wasm",
        measure: decisions::measure,
    },
    Part { name: "calls", about: "one call of each policy, natively and through Wasm", measure: calls::measure },
    Part {
        name: "isolation",
        about: "decisions by others beside a policy that loops and one that traps",
        measure: isolation::measure,
    },
    Part { name: "swap", about: "from a changed policy file to the first decision by it", measure: swap::measure },
    Part { name: "durable", about: "decisions committed to the embedded store", measure: durable::measure },
    Part { name: "start", about: "start, memory and settled steps of a large fleet", measure: start::measure },
];

/// Measures, and prints what was found.
///
/// # Errors
/// A part that does not exist, or one that could not be measured.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.opened {
        return start::open(folder, arguments.quick);
    }
    if let Some(name) = &arguments.counted_run {
        return counted::run(name);
    }
    if arguments.counted {
        return counted::compare(root, arguments.update);
    }
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    for only in &arguments.only {
        ensure!(names.contains(&only.as_str()), "there is no part {only}; there are {}", names.join(", "));
    }
    ensure!(arguments.clusters.iter().all(|count| (1..=100_000).contains(count)), "--clusters: 1 to 100000 each");
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; `cargo run --release -p xtask -- bench` measures what runs");
    }
    let settings = Settings { root: root.to_path_buf(), clusters: arguments.clusters.clone(), quick: arguments.quick };
    let mut figures = Figures::new();
    figures.insert("machine".into(), machine());
    for part in PARTS {
        if arguments.only.is_empty() || arguments.only.iter().any(|only| only == part.name) {
            eprintln!("{}: {}", part.name, part.about);
            figures.extend((part.measure)(&settings).with_context(|| format!("cannot measure {}", part.name))?);
        }
    }
    match arguments.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Format::Table => print!("{}", table::render(&figures)),
    }
    Ok(())
}

/// Where stores are written: on the disk that the program is built on.
fn scratch() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map_or_else(std::env::temp_dir, Path::to_path_buf))
}

/// What the figures were measured on, as far as the system says.
fn machine() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model.map_or("unknown", |(_, model)| model.trim()),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "rustc": env!("CARGO_PKG_RUST_VERSION"),
    })
}

/// The middle of some measurements, in ascending order afterwards; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(values, 0.5)
}

/// A percentile, 0 to 1, of values in ascending order; 0 of none.
fn percentile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

/// Rounds to a few digits that mean something.
fn rounded(value: f64) -> f64 {
    let digits = if value.abs() >= 100.0 { 1.0 } else { 100.0 };
    (value * digits).round() / digits
}
