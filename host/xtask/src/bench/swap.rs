//! The swap: from a policy's changed file to the first decision by it, while decisions are taken without a break.
//!
//! Holds: the file is written over as an editor does, so what the watch waits for is included; the second figure leaves
//! the watch out; what the decisions meanwhile took stands beside what they took in quiet.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_core::policy::{Answer, Decision, Policies};
use berth_policy::{Directory, PolicyHost, Runtime, Scan, WallClock, Watch};
use serde_json::json;

use super::calls::{question, tables};
use super::{Figures, Settings, percentile, rounded};

const POLICY: &str = "cost";
const CANDIDATES: u32 = 1_000;
/// A swap that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same component with a custom section more: another digest, the same behaviour.
fn variant(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'm', mark]);
    bytes
}

/// Asks for one and the same decision.
type Ask = Box<dyn Fn(&mut PolicyHost) -> Answer<Decision>>;

/// Takes decisions one after another and notes how long each took, in microseconds.
struct Decider {
    host: PolicyHost,
    ask: Ask,
    took: Vec<f64>,
}

impl Decider {
    fn new(directory: &Directory) -> Self {
        let tables = tables(CANDIDATES);
        let (request, candidates) = question(CANDIDATES, true);
        let ask = move |host: &mut PolicyHost| host.place(Some(&POLICY.into()), &tables, &request, &candidates);
        Self { host: PolicyHost::new(directory), ask: Box::new(ask), took: Vec::new() }
    }

    /// One decision; by whom.
    fn decide(&mut self) -> Result<String> {
        let started = Instant::now();
        self.host.begin();
        let answer = (self.ask)(&mut self.host);
        self.took.push(started.elapsed().as_secs_f64() * 1e6);
        ensure!(answer.failed.is_none(), "the policy failed: {:?}", answer.failed);
        Ok(answer.by.digest.to_string())
    }

    /// Decides until the one who decides is another. Returns the milliseconds that it took.
    fn until_swapped(&mut self, before: &str, since: Instant) -> Result<f64> {
        while self.decide()? == before {
            ensure!(since.elapsed() < PATIENCE, "the new file does not decide");
        }
        Ok(since.elapsed().as_secs_f64() * 1e3)
    }

    fn taken(&mut self) -> Vec<f64> {
        let mut took = std::mem::take(&mut self.took);
        took.sort_by(f64::total_cmp);
        took
    }
}

/// Figures of swaps with and without the watch.
///
/// # Errors
/// If the policy cannot be loaded or its new file does not decide.
pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let folder = tempfile::tempdir_in(super::scratch()?)?;
    let file = folder.path().join(format!("{POLICY}.wasm"));
    let component = fs::read(settings.root.join("policies").join(format!("{POLICY}.wasm")));
    let component = component.context("cannot read the policy")?;
    fs::write(&file, &component).context("cannot write the policy")?;
    let rounds = if settings.quick { 3 } else { 30 };
    let mut marks = 0..=u8::MAX;
    let mut change = || -> Result<Instant> {
        let bytes = variant(&component, marks.next().context("too many rounds")?);
        let started = Instant::now();
        fs::write(&file, bytes).context("cannot write the policy")?;
        Ok(started)
    };

    let mut directory = Directory::new(folder.path(), Runtime::new(WallClock::On)?);
    let scan = directory.scan();
    ensure!(scan.refused.is_empty(), "the policy is refused: {:?}", scan.refused);
    let mut decider = Decider::new(&directory);
    let mut alone = Vec::new();
    for _ in 0..rounds {
        let before = decider.decide()?;
        let started = change()?;
        std::thread::scope(|scope| {
            scope.spawn(|| directory.scan());
            alone.push(decider.until_swapped(&before, started)?);
            anyhow::Ok(())
        })?;
    }
    decider.taken();
    for _ in 0..20_000 {
        decider.decide()?;
    }
    let quiet = decider.taken();

    let watch = Watch::start(directory, |_: &Scan| {}).context("cannot watch")?;
    // The watch looks once as it starts.
    std::thread::sleep(Duration::from_secs(1));
    let mut watched = Vec::new();
    for round in 0..rounds {
        let before = decider.decide()?;
        let started = change()?;
        watched.push(decider.until_swapped(&before, started)?);
        eprintln!("  swap {} of {rounds}: {:.0} ms", round + 1, watched.last().copied().unwrap_or_default());
    }
    drop(watch);
    let meanwhile = decider.taken();

    for times in [&mut alone, &mut watched] {
        times.sort_by(f64::total_cmp);
    }
    let share = |times: &[f64], share: f64| json!(rounded(percentile(times, share)));
    let both = |times: &[f64]| json!({"p50": share(times, 0.5), "p99": share(times, 0.99)});
    let mut figures = Figures::new();
    figures.insert("swap_ms".into(), both(&watched));
    figures.insert("swap_without_watch_ms".into(), both(&alone));
    figures.insert("swap_decision_us".into(), json!({"quiet": both(&quiet), "meanwhile": both(&meanwhile)}));
    Ok(figures)
}
