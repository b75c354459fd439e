//! `berth policy bench`: what a policy costs, beside the built-in one of its kind.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use berth_core::policy::Kind;
use berth_policy::{Cost, LoadError, Loaded, Runtime, Size, Trial, WallClock};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::author::project_of;
use crate::fail::{Exit, hinted};
use crate::output::{self, Format, Table};
use crate::run::policies::BUILT_IN;

/// Measure a policy beside the built-in one of its kind: latency, fuel, memory, and what a session costs
///
/// Both are asked the same questions about made-up fleets, in turns, so that a busy machine slows both alike. Limits are
/// those of a controller; calls that exceed one, trap, or break a rule are counted with the first reason. Fuel is the same on
/// every machine; times are not, so compare the two policies rather than two runs.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy bench near.wasm
  berth policy bench near.wasm --against policies/available.wasm --clusters 100,5000
  berth policy bench near.wasm --config '{\"column\": \"carbon\"}' -o json

Exit codes: 0 measured; 1 it failed, or some of its calls did."
)]
pub(super) struct BenchArgs {
    /// The component
    file: PathBuf,
    /// Its configuration, as JSON [default: that of the policy.toml beside it, if any]
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// The component to compare with [default: the built-in one: cost, fifo or ready]
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Sizes of the fleet, in clusters
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clusters: Vec<u32>,
    /// Calls of each policy at each size
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Most time at each size; fewer calls are made where they are slow
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The figures, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    kind: Kind,
    policy: Named,
    against: Named,
    sizes: Vec<Size>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    version: String,
    digest: String,
}

impl Named {
    fn of(policy: &Loaded) -> Self {
        Self {
            name: policy.name.to_string(),
            version: policy.by.version.to_string(),
            digest: policy.by.digest.to_string(),
        }
    }
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<Exit> {
    let runtime = Runtime::new(WallClock::On)?;
    let config: Map<String, Value> = match &args.config {
        Some(config) => serde_json::from_str(config).map_err(|error| {
            anyhow!(hinted(format!("--config is no JSON object: {error}"), "such as '{\"column\": \"carbon\"}'"))
        })?,
        None => project_of(&args.file)?.map(|project| project.config).unwrap_or_default(),
    };
    let refused = |file: &Path| {
        let file = file.to_owned();
        move |error: LoadError| super::refused(&file, error)
    };
    let trial = Trial::open(&runtime, &args.file).map_err(refused(&args.file))?;
    let policy = trial.configure(&config).map_err(refused(&args.file))?;
    let kind = policy.description.kind;
    let other = match &args.against {
        Some(file) => Trial::open(&runtime, file).map_err(refused(file))?,
        None => built_in(&runtime, kind)?,
    };
    let against =
        other.configure(&Map::new()).map_err(refused(args.against.as_deref().unwrap_or(Path::new("built-in"))))?;
    let mut sizes = Vec::new();
    for clusters in &args.clusters {
        if std::io::stderr().is_terminal() {
            eprintln!("{clusters} clusters …");
        }
        let (calls, at_most) = (args.calls as usize, Duration::from_secs(args.seconds));
        let size = berth_policy::bench([(&trial, &policy), (&other, &against)], *clusters, calls, at_most);
        sizes.push(
            size.with_context(|| hinted("the two cannot be compared", "give --against a policy of the same kind"))?,
        );
    }
    let failed = sizes.iter().any(|size| size.policies[0].failed > 0);
    let report = Report { kind, policy: Named::of(&policy), against: Named::of(&against), sizes };
    output::print(args.output, &report, text)?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// The component that decides where nobody chose another.
fn built_in(runtime: &Runtime, kind: Kind) -> anyhow::Result<Trial> {
    let file = match kind {
        Kind::Placement => "cost.wasm",
        Kind::Gang => "fifo.wasm",
        Kind::Migration => "ready.wasm",
    };
    let found = BUILT_IN.iter().find(|(name, _)| *name == file);
    let (name, bytes) = found.with_context(|| format!("{file} is not built in"))?;
    Ok(Trial::of(runtime, Path::new(name), bytes)?)
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[
        "CLUSTERS",
        "POLICY",
        "CALLS",
        "P50",
        "P99",
        "FUEL/CALL",
        "SESSION",
        "UPDATE",
        "MEMORY",
        "FAILED",
        "P50 RATIO",
    ]);
    for size in &report.sizes {
        let [one, other] = &size.policies;
        for (cost, ratio) in [(one, ratio(one.p50_us, other.p50_us)), (other, "1".to_owned())] {
            table.row([
                size.clusters.to_string(),
                cost.policy.clone(),
                cost.calls.to_string(),
                micros(cost.p50_us),
                micros(cost.p99_us),
                cost.fuel_per_call.to_string(),
                micros(cost.session_us),
                micros(cost.update_us),
                mebibytes(cost.memory_bytes),
                cost.failed.to_string(),
                ratio,
            ]);
        }
    }
    let mut text = format!(
        "{} {} ({}) against {} {}\n\n{}",
        report.policy.name,
        report.policy.version,
        report.kind.as_str(),
        report.against.name,
        report.against.version,
        table.render()
    );
    let reasons = report.sizes.iter().flat_map(|size| size.policies.iter().map(move |cost| (size.clusters, cost)));
    for (clusters, Cost { policy, failed, reason, .. }) in reasons {
        if let Some(reason) = reason {
            text.push_str(&format!("\n{policy} at {clusters} clusters: {failed} calls failed, the first: {reason}\n"));
        }
    }
    text
}

fn ratio(one: f64, other: f64) -> String {
    if one > 0.0 && other > 0.0 { format!("{:.2}", one / other) } else { "-".to_owned() }
}

fn micros(micros: f64) -> String {
    match micros {
        0.0 => "-".to_owned(),
        micros if micros < 10_000.0 => format!("{micros:.0} us"),
        micros => format!("{:.1} ms", micros / 1_000.0),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
