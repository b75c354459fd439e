//! A placement policy that does what none should, to test the host.
//!
//! It misbehaves in the way that its configuration names, or else in the way that the workload's label `misbehave` names;
//! without either it places well. The first way fails the probe, the second begins only in service.
//!
//! Its terms show the host's tests what a session has seen: the calls so far, the configured tag and a sum over the tables.

use std::hint::black_box;

use berth_sdk::placement::{Assignment, Candidates, Decision, Request};
use berth_sdk::{Fleet, Placement, Policy, Problem, by_score, problem, term};

berth_sdk::config! {
    /// What to do wrong, and when.
    pub struct Config {
        /// A way to misbehave, in every call.
        mode: String = String::new(),
        /// Shown as a term.
        tag: f64 = 0.0,
    }
}

/// One session.
#[derive(Debug)]
pub struct Misbehave {
    config: Config,
    calls: u32,
}

impl Policy for Misbehave {
    const NAME: &'static str = "misbehave";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DOC: &'static str = "Does what no policy should, to test the host";
    type Config = Config;

    fn new(config: Config, _: &Fleet) -> Result<Self, Problem> {
        match config.mode.as_str() {
            "start-trap" => std::process::abort(),
            "start-loop" => forever(),
            _ => Ok(Self { config, calls: 0 }),
        }
    }
}

impl Placement for Misbehave {
    fn place(&mut self, fleet: &Fleet, request: Request, candidates: Candidates) -> Result<Decision, Problem> {
        self.calls += 1;
        let label = request.labels.iter().find(|(key, _)| key == "misbehave").map_or("", |(_, mode)| mode);
        let mode = if self.config.mode.is_empty() { label } else { &self.config.mode };
        let clusters = candidates.cluster.len() as u32;
        match mode {
            "trap" => std::process::abort(),
            "loop" => forever(),
            "recurse" => Ok(answer(vec![at(0, 0, recurse(1))])),
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "large-answer" => Ok(answer(vec![at(0, 0, 0); 4 << 20])),
            "many" => Ok(answer(vec![at(0, 0, 0); 1_000])),
            "long-message" => Err(problem::no_room("no".repeat(1 << 19))),
            "unknown-candidate" => Ok(answer(vec![at(0, clusters, 1)])),
            "unknown-component" => Ok(answer(vec![at(99, 0, 1)])),
            "twice" => Ok(answer(vec![at(0, 0, 1), at(0, 0, 1)])),
            "over-room" => Ok(answer(vec![at(0, 0, u32::MAX)])),
            "leak" => {
                std::mem::forget(black_box(vec![1_u8; 1 << 20]));
                self.well(fleet, &request, &candidates)
            }
            _ => self.well(fleet, &request, &candidates),
        }
    }
}

impl Misbehave {
    fn well(&self, fleet: &Fleet, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
        let mut decision = by_score(fleet, request, candidates, |_| 1.0)?;
        decision.terms.clear();
        for (name, value) in
            [("calls", f64::from(self.calls)), ("tag", self.config.tag), ("tables", f64::from(sum(fleet)))]
        {
            term(&mut decision, 0, name, value);
        }
        Ok(decision)
    }
}

fn at(component: u32, candidate: u32, replicas: u32) -> Assignment {
    Assignment { component, candidate, replicas }
}

fn answer(assignments: Vec<Assignment>) -> Decision {
    Decision { assignments, term_names: vec![], terms: vec![] }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[allow(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u32) -> u32 {
    black_box(recurse(black_box(depth).wrapping_add(1))).wrapping_add(1)
}

/// FNV-1a over everything in the tables, in order.
fn sum(fleet: &Fleet) -> u32 {
    let mut sum = 0x811c_9dc5_u32;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            sum = (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    for row in 0..fleet.len() as u32 {
        [fleet.name(row), fleet.provider(row), fleet.region(row)].into_iter().for_each(&mut add);
        fleet.labels(row).for_each(|(key, value)| [key, value].into_iter().for_each(&mut add));
    }
    fleet.resources().iter().for_each(|resource| add(resource));
    sum
}

berth_sdk::export_placement!(Misbehave);
