//! What a policy costs: latency, fuel, memory, and what a session takes to start and to update, beside another policy.
//!
//! Holds: both are asked the same questions in turns, so that a busy machine slows both alike; limits are those of a
//! controller; nothing is decided by what is measured here.

mod questions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_core::policy::{Kind, Tables};
use serde::Serialize;

use crate::call::{Question, broke};
use crate::case::Trial;
use crate::load::Loaded;
use crate::session::Slot;
use questions::Fleet;

/// Sessions that are started at each size, and updates that are made.
const STARTS: usize = 9;
/// Answers that are not counted, while caches fill and an interpreter sets itself up.
const WARM: usize = 8;

/// Both policies at one size of the fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    pub clusters: u32,
    /// The policy that was named, then the one beside it.
    pub policies: [Cost; 2],
}

/// What one policy cost at one size. Times are in microseconds of wall time.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub policy: String,
    pub calls: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Mean of the calls that gave an answer.
    pub fuel_per_call: u64,
    /// Bytes of linear memory at the end.
    pub memory_bytes: u64,
    /// A session with the tables of the whole fleet, and bringing one up to date after one cluster in twenty changed.
    pub session_us: f64,
    pub update_us: f64,
    /// Calls that failed or broke a rule, and the first reason.
    pub failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks a policy and another one of its kind the same questions about a made-up fleet of so many clusters: `calls` each, or
/// as many as fit into `at_most`.
///
/// # Errors
/// If the two are of different kinds, with both.
pub fn bench(
    trials: [(&Trial, &Loaded); 2],
    clusters: u32,
    calls: usize,
    at_most: Duration,
) -> Result<Size, KindsDiffer> {
    let kinds = trials.map(|(_, policy)| policy.description.kind);
    if kinds[0] != kinds[1] {
        return Err(KindsDiffer(kinds[0], kinds[1]));
    }
    let needs = trials.map(|(_, policy)| policy.description.needs.as_slice());
    let fleet = Fleet::new(clusters);
    let mut measured = trials.map(|(trial, policy)| Measured::new(trial, policy, &fleet));
    let begun = Instant::now();
    for number in 0..WARM + calls {
        if number > WARM && begun.elapsed() > at_most {
            break;
        }
        for (measured, needs) in measured.iter_mut().zip(needs) {
            let question = fleet.question(kinds[0], needs, number as u64);
            measured.ask(&fleet.tables, &question, number >= WARM);
        }
    }
    Ok(Size { clusters, policies: measured.map(Measured::cost) })
}

#[derive(Debug, thiserror::Error)]
#[error("one is a {} policy and the other a {} policy", .0.as_str(), .1.as_str())]
pub struct KindsDiffer(Kind, Kind);

/// One policy while it is measured.
struct Measured<'a> {
    trial: &'a Trial,
    policy: &'a Loaded,
    slot: Slot,
    times: Vec<Duration>,
    fuel: u64,
    answers: u64,
    cost: Cost,
}

impl<'a> Measured<'a> {
    /// With the cost of its sessions.
    fn new(trial: &'a Trial, policy: &'a Loaded, fleet: &Fleet) -> Self {
        let cost = Cost { policy: policy.name.to_string(), ..Cost::default() };
        let mut one = Self { trial, policy, slot: Slot::default(), times: Vec::new(), fuel: 0, answers: 0, cost };
        let (mut starts, mut updates) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            one.slot.drop_session();
            starts.extend(one.prepare(&fleet.tables));
            updates.extend(one.prepare(&fleet.changed));
        }
        one.slot.drop_session();
        one.cost.session_us = quantile(&mut starts, 0.5);
        one.cost.update_us = quantile(&mut updates, 0.5);
        one
    }

    fn prepare(&mut self, tables: &Arc<Tables>) -> Option<Duration> {
        let started = Instant::now();
        match self.slot.prepare(self.trial.runtime(), self.policy, tables) {
            Ok(()) => Some(started.elapsed()),
            Err(error) => {
                self.failed(error.what);
                None
            }
        }
    }

    fn failed(&mut self, what: String) {
        self.cost.failed += 1;
        self.cost.reason.get_or_insert(what);
    }

    fn ask(&mut self, tables: &Arc<Tables>, question: &Question, counts: bool) {
        let (runtime, policy) = (self.trial.runtime(), self.policy);
        let started = Instant::now();
        let asked = self.slot.ask(runtime, policy, tables, |session| question.put(session));
        let took = started.elapsed();
        let kept = asked.map_err(|error| error.what).and_then(|(answer, fuel)| match question.check(tables, &answer) {
            Ok(()) => Ok(fuel),
            Err(rule) => Err(broke(rule)),
        });
        if !counts {
            return;
        }
        self.cost.calls += 1;
        match kept {
            Ok(fuel) => {
                self.times.push(took);
                self.fuel = self.fuel.saturating_add(fuel);
                self.answers += 1;
            }
            Err(what) => {
                self.slot.drop_session();
                self.failed(what);
            }
        }
    }

    fn cost(mut self) -> Cost {
        let (p50_us, p99_us) = (quantile(&mut self.times, 0.5), quantile(&mut self.times, 0.99));
        let fuel_per_call = self.fuel / self.answers.max(1);
        let memory_bytes = self.policy.stats().memory;
        Cost { p50_us, p99_us, fuel_per_call, memory_bytes, ..self.cost }
    }
}

/// The nearest-rank quantile in microseconds; 0 of nothing.
fn quantile(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * quantile).ceil() as usize;
    times.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let mut times = [3, 1, 2, 4].map(Duration::from_micros);
        assert_eq!(quantile(&mut times, 0.5), 2.0);
        assert_eq!(quantile(&mut times, 0.99), 4.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
