//! `crash`: the real program, killed and started again, many times; and its store, damaged in every way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use berth_tests::crash::{self, Dice, Options, Report, torn};
use serde_json::json;

/// Kill the release program under load at random moments, restart it, and check that it kept its promises
///
/// Each round starts `berth run` on the same folder, puts it under load by its HTTP API, and kills it with SIGKILL: while it
/// starts, with the first requests, under full load, while it starts again. After each death the store must open; what was
/// acknowledged must be there, and what was deleted gone; writes without an answer are whole or absent; quotas and gangs
/// hold; and every few rounds, at rest, the members run exactly what is placed, and nothing is reserved or ordered. Then the
/// store that the last round left is damaged in many ways: each damage must be harmless or reported.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  cargo run --release -p xtask -- crash --rounds 100
  cargo run --release -p xtask -- crash --rounds 5 --seed 7 -o json
  cargo run --release -p xtask -- crash --rounds 1 --damages 20000

Exit codes: 0 every promise was kept; 1 one was not, with the round, the seed, what is wrong and where it is kept; 2 wrong
usage. The seed decides what is done; what the program had reached when it died depends on the machine as well, so run a
failing seed several times."
)]
pub(crate) struct CrashArgs {
    /// Rounds: each ends with a kill under load
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// Seed of what clients write, and of when the program is killed
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Damages of the store after the last round
    #[arg(long, value_name = "N", default_value_t = 2000)]
    damages: u64,
    /// Starts of the program on a damaged folder
    #[arg(long, value_name = "N", default_value_t = 40)]
    starts: u64,
    /// The program, if it is built already [default: it is built]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where the data are; kept when a promise is broken [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// What is printed at the end
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// # Errors
/// A promise that was not kept.
pub(crate) fn run(root: &Path, args: &CrashArgs) -> Result<()> {
    let program = match &args.program {
        Some(program) => program.canonicalize().with_context(|| program.display().to_string())?,
        None => build(root)?,
    };
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let chosen = args.folder.clone();
    let folder =
        chosen.unwrap_or_else(|| std::env::temp_dir().join(format!("berth-crash-{}-{stamp}", std::process::id())));
    ensure!(!folder.exists() || folder.read_dir()?.next().is_none(), "{} is not empty", folder.display());
    let options = Options {
        program,
        policies: root.join("policies"),
        folder: folder.clone(),
        rounds: args.rounds,
        seed: args.seed,
        settle_every: 5,
        load_ms: 2_000,
    };
    let begun = Instant::now();
    let report = crash::run(&options, |report| {
        eprintln!(
            "round {} of {}: {} kills ({} while it started), {} writes acknowledged, {} rests, {} s",
            report.rounds,
            args.rounds,
            report.kills,
            report.kills_at_start,
            report.writes,
            report.rests,
            begun.elapsed().as_secs()
        );
    })?;
    let damaged = damage(&options, args)?;
    tell(args, &report, damaged, begun.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())
}

/// Damages what the rounds left: read with the library, and by starting the program on it.
fn damage(options: &Options, args: &CrashArgs) -> Result<(torn::Tally, torn::Tally)> {
    let mut dice = Dice::new(args.seed, 3);
    let (data, older) = (crash::data(&options.folder), crash::older(&options.folder));
    let specimen = torn::Specimen::read(&data, &older)?;
    let read = specimen.damage(&mut dice, args.damages, |tally| {
        let done = tally.exact + tally.reported;
        if done.is_multiple_of(500) {
            eprintln!("{done} of {} damages: {} reported, {} harmless", args.damages, tally.reported, tally.exact);
        }
    })?;
    let started = torn::start_damaged(options, &mut dice, args.starts)?;
    Ok((read, started))
}

fn tell(args: &CrashArgs, report: &Report, (read, started): (torn::Tally, torn::Tally), seconds: f64) {
    if args.output == Output::Json {
        let value = json!({
            "seed": args.seed,
            "rounds": report.rounds,
            "kills": report.kills,
            "kills_at_start": report.kills_at_start,
            "writes_acknowledged": report.writes,
            "policy_swaps": report.policy_swaps,
            "rests": report.rests,
            "slowest_start_ms": report.slowest_start_ms,
            "damages": { "reported": read.reported, "harmless": read.exact },
            "starts_on_damage": { "reported": started.reported, "harmless": started.exact },
            "seconds": seconds,
        });
        println!("{value:#}");
        return;
    }
    println!(
        "{} rounds, {} kills ({} while it started), {} writes acknowledged, {} policy swaps: nothing was lost, undone or done twice",
        report.rounds, report.kills, report.kills_at_start, report.writes, report.policy_swaps
    );
    println!("{} times at rest as it should be; slowest start {} ms", report.rests, report.slowest_start_ms);
    println!("damaged and read: {} reported, {} harmless, none served wrong", read.reported, read.exact);
    println!("damaged and started: {} refused, {} harmless, none served wrong", started.reported, started.exact);
}

/// Builds the release program, and says where it is.
fn build(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let built = cargo
        .args(["build", "--release", "--locked", "--package", "berth", "--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(built.status.success(), "berth does not build");
    let lines = String::from_utf8_lossy(&built.stdout);
    let executable =
        lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|line| {
            let named = line.pointer("/target/name").is_some_and(|name| name == "berth");
            line.get("executable").and_then(serde_json::Value::as_str).filter(|_| named).map(PathBuf::from)
        });
    executable.context("cargo does not say where the program is")
}
