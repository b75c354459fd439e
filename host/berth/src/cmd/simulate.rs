//! `berth simulate`: a trace through the whole engine, as fast as it can.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use berth_policy::{PolicyHost, WallClock};
use berth_sim::report::{Report, Timing};
use berth_sim::{FleetOptions, Progress, TraceOptions, simulate_fleet, simulate_trace};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::TrustArgs;
use crate::fail::Exit;
use crate::output::{self, Format};
use crate::run::fleet::FleetFile;
use crate::run::{Fleet, policies};

/// Replay a trace through the whole engine as fast as possible, and say how it went
///
/// Either a folder with the Alibaba GPU trace (one cluster for each GPU model), or a fleet file, with series of stock and
/// load beside those that it names. The same input and seed print the same bytes on stdout; how fast it was is measured and
/// goes to stderr.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth simulate --trace alibaba-gpu-2023
  berth simulate --fleet fleet.yaml --seed 7 -o json --timing
  berth simulate --fleet fleet.yaml --stock aws_v100_9zones.csv --load AzureLLMInferenceTrace_conv.csv"
)]
pub(crate) struct SimulateArgs {
    /// Folder with the Alibaba GPU trace of 2023
    #[arg(long, value_name = "DIR", conflicts_with_all = ["fleet", "stock", "load"], required_unless_present = "fleet")]
    trace: Option<PathBuf>,
    /// Fleet file
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Stock series: a CSV file with a column of 0 and 1 for each zone
    #[arg(long, value_name = "CSV", requires = "fleet")]
    stock: Option<PathBuf>,
    /// Load series: a CSV file with the time of one request a row
    #[arg(long, value_name = "CSV", requires = "fleet")]
    load: Option<PathBuf>,
    /// Folder with the policies [default: policies if it is there, otherwise the built-in ones]
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Seed of everything that is left to chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Print how fast it was with the result, not on stderr; the same seed then gives other bytes each time
    #[arg(long)]
    timing: bool,
}

/// The result, with how fast it was where that was asked for.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Timing>,
}

pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<Exit> {
    let trust = policies::trust(&args.trust.policy_key)?;
    let scratch = tempfile::tempdir().context("no temporary folder can be made for the built-in policies")?;
    let folder = policies::folder(args.policies.as_deref(), scratch.path())?;
    // Fuel alone limits policies, so that the machine's speed decides nothing.
    let (directory, first) = policies::open(folder, trust, WallClock::Off)?;
    for refusal in first.refused {
        eprintln!("warning: {} is refused: {}", refusal.file.display(), refusal.reason);
    }
    let mut host = PolicyHost::new(&directory);
    let bar = progress_bar();
    let mut progress = |at: Progress| {
        bar.set_length(at.of_ms / 1000);
        bar.set_position(at.simulated_ms / 1000);
    };
    let (report, timing) = match (&args.trace, &args.fleet) {
        (Some(trace), _) => {
            let options = TraceOptions { seed: args.seed, ..TraceOptions::default() };
            simulate_trace(trace, &options, &mut host, &mut progress)?
        }
        (None, fleet) => {
            let fleet = fleet.clone().map_or(Fleet::Example, Fleet::File);
            let fleet = FleetFile::read(&fleet)?;
            let (stock, load) = (args.stock.clone(), args.load.clone());
            let options = FleetOptions { seed: args.seed, stock, load, ..FleetOptions::default() };
            let (objects, source) = (&fleet.loaded.objects, &fleet.source);
            simulate_fleet(&fleet.name, objects, source, &options, &mut host, None, &mut progress)?
        }
    };
    bar.finish_and_clear();
    if !args.timing {
        eprintln!("{timing}");
    }
    let outcome = Outcome { report, timing: args.timing.then_some(timing) };
    output::print(args.output, &outcome, |outcome| {
        let timing = outcome.timing.as_ref().map(|timing| format!("\n{timing}"));
        format!("{}{}", outcome.report, timing.unwrap_or_default())
    })?;
    Ok(Exit::Done)
}

/// On stderr, and only if that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    // The template is known to be valid; without one the bar is only plainer.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {eta} left") {
        bar.set_style(style);
    }
    bar
}
