//! `soak`: many seeds of the deterministic simulation, on all cores, with whatever they reveal made short enough to read.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_policy::{Runtime, WallClock};
use berth_sim::soak::{self, Components, Failure, Outcome, Shortened};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// One of so many seeds is run twice, to see whether it goes the same way.
const TWICE: u64 = 20;

/// Run the whole controller with everything that can go wrong, from seeds
///
/// Each seed is some hours of a simulated fleet: what people do, and faults of every kind, with an independent check after
/// every step. The same seed gives the same run. A failing one is made as short as possible and printed as a history.
#[derive(clap::Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  cargo run --release -p xtask -- soak --seeds 2000
  cargo run --release -p xtask -- soak --seeds 500 --from 10000 -o json
  cargo run --release -p xtask -- soak --seed 4711            # one seed, and why it fails
  cargo run --release -p xtask -- soak --seed 4711 --story    # all that happens in it"
)]
pub(crate) struct SoakArgs {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// This seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed: tell all that happens
    #[arg(long, requires = "seed")]
    story: bool,
    /// Seeds at the same time [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Runs spent on making a failing seed short
    #[arg(long, value_name = "N", default_value_t = 400)]
    tries: usize,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// What all seeds did together.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    from: u64,
    wanted: u64,
    ran: u64,
    /// Ended early on request.
    interrupted: bool,
    seconds: f64,
    seeds_per_second: f64,
    simulated_hours: f64,
    steps: u64,
    decisions: u64,
    commits: u64,
    conflicts: u64,
    crashes: u64,
    orders_failed: u64,
    broken_answers: u64,
    went_back: u64,
    /// Seeds by what they break.
    failed: BTreeMap<String, Vec<u64>>,
    /// The first of each kind, made short.
    failures: Vec<Shortened>,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.ran += 1;
        self.simulated_hours += outcome.simulated_ms as f64 / 3_600_000.0;
        self.steps += outcome.steps;
        self.decisions += outcome.decisions;
        self.commits += outcome.commits;
        self.conflicts += outcome.conflicts;
        self.crashes += outcome.crashes;
        self.orders_failed += outcome.orders_failed;
        self.broken_answers += outcome.broken_answers;
        self.went_back += outcome.went_back;
        if let Some(failure) = &outcome.failure {
            self.failed.entry(failure.invariant.clone()).or_default().push(outcome.seed);
        }
    }
}

/// One thread's way of running seeds. Components are compiled when the first seed needs them.
struct Worker<'a> {
    root: &'a Path,
    runtime: &'a Runtime,
    components: Option<Components>,
}

impl Worker<'_> {
    fn components(&mut self, seed: u64) -> Result<Option<&mut Components>> {
        if soak::needs_components(seed) && self.components.is_none() {
            let guests = self.root.join("host/policy/tests/guests");
            let loaded = Components::load(&self.root.join("policies"), &guests, self.runtime);
            self.components = Some(loaded.context("the policies cannot be loaded")?);
        }
        Ok(self.components.as_mut())
    }

    fn run(&mut self, seed: u64) -> Result<Outcome> {
        let mut components = self.components(seed)?;
        let mut outcome = soak::run(seed, components.as_deref_mut());
        if outcome.failure.is_none() && seed.is_multiple_of(TWICE) {
            let again = soak::run(seed, components);
            if again != outcome {
                let what = format!("two runs differ: {} and {}", outcome.digest, again.digest);
                outcome.failure = Some(Failure { at_ms: 0, invariant: "plans-differ".into(), what });
            }
        }
        Ok(outcome)
    }
}

pub(crate) fn run(args: &SoakArgs, root: &Path) -> Result<ExitCode> {
    let runtime = Runtime::new(WallClock::Off).context("no engine for policies")?;
    let worker = || Worker { root, runtime: &runtime, components: None };
    if let Some(seed) = args.seed.filter(|_| args.story) {
        let mut worker = worker();
        let (outcome, story) = soak::tell(seed, worker.components(seed)?);
        print!("{story}");
        if let Some(failure) = &outcome.failure {
            println!("{failure}");
        }
        println!("{}", serde_json::to_string(&outcome)?);
        return Ok(if outcome.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    // The panics of failing seeds are told with them.
    std::panic::set_hook(Box::new(|_| {}));
    let (from, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let summary = run_all(args, from, count, &worker)?;
    drop(std::panic::take_hook());
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&summary)?),
        Output::Text => print_text(&summary),
    }
    Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_all<'a>(args: &SoakArgs, from: u64, count: u64, worker: &(impl Fn() -> Worker<'a> + Sync)) -> Result<Summary> {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let began = Instant::now();
    let stop = watch_for_stop();
    let bar = progress_bar(count);
    let next = AtomicU64::new(0);
    let shared = Mutex::new(Summary { from, wanted: count, ..Summary::default() });
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut worker = worker();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                one(args, from.saturating_add(number), &mut worker, &shared, &bar)?;
            }
        };
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let died = |_| Err(anyhow::anyhow!("a thread died"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
    });
    bar.finish_and_clear();
    results.into_iter().collect::<Result<()>>()?;
    let mut summary = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.interrupted = summary.ran < count;
    summary.seconds = began.elapsed().as_secs_f64();
    summary.seeds_per_second = summary.ran as f64 / summary.seconds.max(1e-9);
    summary.failed.values_mut().for_each(|seeds| seeds.sort_unstable());
    Ok(summary)
}

fn one(args: &SoakArgs, seed: u64, worker: &mut Worker<'_>, shared: &Mutex<Summary>, bar: &ProgressBar) -> Result<()> {
    let outcome = worker.run(seed)?;
    let first = {
        let mut summary = shared.lock().unwrap_or_else(PoisonError::into_inner);
        summary.add(&outcome);
        bar.set_message(format!("{} failed", summary.failed.values().map(Vec::len).sum::<usize>()));
        outcome.failure.as_ref().is_some_and(|failure| summary.failed.get(&failure.invariant).map(Vec::len) == Some(1))
    };
    if let Some(failure) = outcome.failure.as_ref().filter(|_| first) {
        let short = soak::shorten(seed, failure, args.tries, worker.components(seed)?);
        if args.output == Output::Text {
            bar.suspend(|| println!("{short}\n"));
        }
        shared.lock().unwrap_or_else(PoisonError::into_inner).failures.push(short);
    }
    bar.inc(1);
    Ok(())
}

fn print_text(summary: &Summary) {
    let Summary { from, wanted, ran, seconds, seeds_per_second, .. } = summary;
    let early = if summary.interrupted { format!(" of {wanted}, then interrupted") } else { String::new() };
    println!("{ran} seeds from {from} on{early}: {seconds:.1} s, {seeds_per_second:.1} a second");
    println!(
        "  {:.0} simulated hours, {} steps, {} decisions, {} commits",
        summary.simulated_hours, summary.steps, summary.decisions, summary.commits
    );
    println!(
        "  {} crashes, {} conflicts, {} failed orders, {} answers of policies that broke a rule, {} canaries that went back",
        summary.crashes, summary.conflicts, summary.orders_failed, summary.broken_answers, summary.went_back
    );
    const FEW: usize = 12;
    for (invariant, seeds) in &summary.failed {
        let some: Vec<String> = seeds.iter().take(FEW).map(ToString::to_string).collect();
        let more = if seeds.len() > FEW { ", ..." } else { "" };
        println!("  FAILED {invariant}: {} seeds: {}{more}", seeds.len(), some.join(", "));
    }
    if summary.failed.is_empty() {
        println!("  all clean");
    }
}

/// Set once somebody wants it to end. What runs then still ends by itself.
fn watch_for_stop() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    // Where signals cannot be had, Ctrl-C ends the program at once, as it does any other.
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    };
    drop(std::thread::Builder::new().name("ctrl-c".into()).spawn(wait));
    stop
}

/// On stderr, and only if that is a terminal.
fn progress_bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    // The template is known to be valid; without one the bar is only plainer.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
