//! What is counted of each policy, and how it is shown. Measured, never deciding.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::policy::Kind;
use serde::{Deserialize, Serialize};

use crate::beside::Figures;

/// What went wrong in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    Trap,
    Fuel,
    Deadline,
    Memory,
    /// An answer that is no answer: too large, or out of the types' range.
    BadAnswer,
    /// An answer that the host refused.
    BrokeRule,
}

impl Failure {
    pub const ALL: [Failure; 6] =
        [Failure::Trap, Failure::Fuel, Failure::Deadline, Failure::Memory, Failure::BadAnswer, Failure::BrokeRule];

    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Trap => "trap",
            Failure::Fuel => "fuel",
            Failure::Deadline => "deadline",
            Failure::Memory => "memory",
            Failure::BadAnswer => "bad-answer",
            Failure::BrokeRule => "broke-rule",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    /// Decides.
    Active,
    /// Taken out after repeated failures; a built-in algorithm decides instead until it is tried again.
    TakenOut,
    /// A shadow: decides beside its slot and is compared.
    Shadow,
    /// A canary that decides for some.
    Canary,
    /// A canary that was worse than its guard allows; the slot's own policy decides for all.
    WentBack,
    /// Not loaded. Where a predecessor of the same name is active, it has a row of its own.
    Refused,
}

impl PolicyState {
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyState::Active => "active",
            PolicyState::TakenOut => "taken-out",
            PolicyState::Shadow => "shadow",
            PolicyState::Canary => "canary",
            PolicyState::WentBack => "went-back",
            PolicyState::Refused => "refused",
        }
    }
}

/// One policy, or one file that was refused, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    pub name: String,
    pub kind: Option<Kind>,
    pub version: String,
    /// SHA-256 of the file; empty where it could not be read.
    pub digest: String,
    /// Id of the key that signed it, where only signed policies are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    pub file: String,
    pub state: PolicyState,
    /// Why it is refused, taken out or went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub calls: u64,
    pub failures: BTreeMap<Failure, u64>,
    /// Mean fuel of a call that gave an answer.
    pub fuel_per_call: u64,
    /// Microseconds of a call, starting its session where it had none included.
    pub p50_us: u64,
    pub p99_us: u64,
    /// Bytes of linear memory of its session.
    pub memory_bytes: u64,
    pub doc: String,
    /// For a shadow or a canary: how it compares with its slot's own policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Figures>,
}

/// Counters of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    /// All that were made, failed ones included.
    pub(crate) calls: u64,
    /// Those that gave an answer.
    answers: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Of all answers.
    fuel: u64,
    pub(crate) memory: u64,
    pub(crate) last_failure: Option<String>,
    pub(crate) taken_out: bool,
    latency: Latency,
}

impl Stats {
    pub(crate) fn called(&mut self, took: Duration) {
        self.calls += 1;
        self.latency.add(took);
    }

    pub(crate) fn answered(&mut self, fuel: u64, memory: usize) {
        self.answers += 1;
        self.fuel = self.fuel.saturating_add(fuel);
        self.memory = memory as u64;
    }

    pub(crate) fn failed(&mut self, failure: Failure, what: &str) {
        *self.failures.entry(failure).or_default() += 1;
        self.last_failure = Some(what.to_owned());
    }

    pub(crate) fn fuel_per_call(&self) -> u64 {
        self.fuel / self.answers.max(1)
    }

    pub(crate) fn quantile_us(&self, quantile: f64) -> u64 {
        self.latency.quantile_us(quantile)
    }
}

/// Counts by powers of the fourth root of two, from a quarter of a microsecond: within a fifth of the true value.
#[derive(Clone, Debug)]
struct Latency {
    counts: [u64; BUCKETS],
}

const BUCKETS: usize = 128;

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let quarters = (took.as_nanos() as f64 / 250.0).max(1.0);
        let bucket = (quarters.log2() * 4.0) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
    }

    fn quantile_us(&self, quantile: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let rank = (total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return ((bucket as f64 + 1.0) / 4.0).exp2().div_euclid(4.0).max(1.0) as u64;
            }
        }
        0
    }
}
