//! The whole controller under everything that can go wrong, from one seed.
//!
//! A seed gives a fleet, what runs in it, what people do over some hours, and faults of every kind: orders that fail half
//! way, are late, silent or come twice; lost nodes and clusters; clusters that come back with old state; clocks that jump;
//! other writers and a failing disk; policies that answer rubbish, shadows and canaries that come and go; crashes between any two actions. After every step an
//! independent checker looks. In the end all faults stop, and everything must come to rest as it should be.
//!
//! The same seed gives the same run, bit for bit. A failing one is made short, and told so that a person can read it.

mod beside;
mod calm;
mod deciders;
mod dice;
mod fleet;
mod run;
mod scenario;
mod script;
mod shorten;
mod story;
#[cfg(test)]
mod tests;
mod vault;
mod work;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

pub use deciders::{Components, ComponentsError};

use run::Run;
use scenario::Scenario;
use script::span;
use story::Story;

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Milliseconds of the world's time since the beginning.
    pub at_ms: u64,
    /// What was broken, by a stable name.
    pub invariant: String,
    pub what: String,
}

impl Failure {
    fn new(at_ms: u64, invariant: &str, what: String) -> Self {
        Self { at_ms, invariant: invariant.to_owned(), what }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", span(self.at_ms), self.invariant, self.what)
    }
}

/// How one seed went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub seed: u64,
    /// Of all that was written and told.
    pub digest: String,
    /// Whether policies were real components.
    pub components: bool,
    pub steps: u64,
    pub actions: u64,
    pub decisions: u64,
    pub commits: u64,
    pub conflicts: u64,
    pub crashes: u64,
    pub refused: u64,
    /// Answers of policies that were found to break a rule.
    pub broken_answers: u64,
    /// Canaries that went back by themselves.
    pub went_back: u64,
    pub nodes_joined: u64,
    pub orders_failed: u64,
    pub simulated_ms: u64,
    pub failure: Option<Failure>,
}

/// A failure with what is left of its run when everything is left out that does not matter for it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortened {
    pub seed: u64,
    pub failure: Failure,
    /// Things that people did and that went wrong, at first and now.
    pub entries: (usize, usize),
    pub tries: usize,
    pub story: String,
}

impl fmt::Display for Shortened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, failure, entries: (before, after), tries, story } = self;
        writeln!(f, "seed {seed}: {failure}")?;
        writeln!(f, "shortened from {before} to {after} entries in {tries} runs; what is left of it:")?;
        write!(f, "{story}")?;
        writeln!(f, "{:>12}  {:10}{}: {}", span(failure.at_ms), "BREACH", failure.invariant, failure.what)?;
        write!(f, "again with: cargo run --release -p xtask -- soak --seed {seed}")
    }
}

/// Whether a seed runs real components, if there are any.
pub fn needs_components(seed: u64) -> bool {
    scenario::has_components(seed)
}

/// Runs a seed. `components`: real policies for the share of seeds that run them; without them those run native ones.
pub fn run(seed: u64, components: Option<&mut Components>) -> Outcome {
    play(&Scenario::draw(seed), components, &mut Story::default())
}

/// Runs a seed and tells all that happens.
pub fn tell(seed: u64, components: Option<&mut Components>) -> (Outcome, String) {
    let mut story = Story::told();
    let outcome = play(&Scenario::draw(seed), components, &mut story);
    (outcome, story.to_string())
}

/// Makes the run of a seed that failed as short as it gets within so many tries.
pub fn shorten(seed: u64, failure: &Failure, tries: usize, mut components: Option<&mut Components>) -> Shortened {
    let whole = Scenario::draw(seed);
    let mut fails = |scenario: &Scenario| {
        let outcome = play(scenario, components.as_deref_mut(), &mut Story::default());
        outcome.failure.is_some_and(|found| found.invariant == failure.invariant)
    };
    let (short, used) = shorten::shorten(&whole, failure.at_ms, tries, &mut fails);
    let mut story = Story::told();
    let last = play(&short, components, &mut story).failure;
    Shortened {
        seed,
        // What is told is how the short run ends.
        failure: last.unwrap_or_else(|| failure.clone()),
        entries: (whole.script.len(), short.script.len()),
        tries: used,
        story: story.to_string(),
    }
}

fn play(scenario: &Scenario, components: Option<&mut Components>, story: &mut Story) -> Outcome {
    let components = components.filter(|_| scenario.wasm);
    let mut outcome = Outcome {
        seed: scenario.seed,
        digest: String::new(),
        components: components.is_some(),
        steps: 0,
        actions: 0,
        decisions: 0,
        commits: 0,
        conflicts: 0,
        crashes: 0,
        refused: 0,
        broken_answers: 0,
        went_back: 0,
        nodes_joined: 0,
        orders_failed: 0,
        simulated_ms: 0,
        failure: None,
    };
    // A panic of the controller is a finding like any other. Nothing of the run is used after it.
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut run = match Run::new(scenario, components, story) {
            Ok(run) => run,
            Err(failure) => {
                outcome.failure = Some(failure);
                return;
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| run.play()));
        let failure = match result {
            Ok(result) => result.err(),
            Err(panic) => Some(run.fault("panic", text(&*panic))),
        };
        let totals = run.simulation.totals();
        let (commits, conflicts, _) = run.vault.counts();
        outcome = Outcome {
            digest: run.vault.digest(),
            steps: run.counts.steps,
            actions: run.counts.actions,
            decisions: run.counts.decisions,
            commits,
            conflicts,
            crashes: run.counts.crashes,
            refused: run.counts.refused,
            broken_answers: run.deciders.broken,
            went_back: run.counts.went_back,
            nodes_joined: totals.nodes_joined,
            orders_failed: totals.orders_failed,
            simulated_ms: run.elapsed(),
            failure,
            ..outcome.clone()
        };
    }));
    if let Err(panic) = played {
        outcome.failure = Some(Failure::new(0, "panic", text(&*panic)));
    }
    outcome
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind").to_owned()
}
