//! What a simulation came to: a result that follows from input and seed alone, and how long it took, kept apart from it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result. The same input and seed give the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was replayed.
    pub input: String,
    pub seed: u64,
    pub simulated_seconds: u64,
    /// Workloads that were submitted.
    pub workloads: u64,
    /// Of these, placed at least once.
    pub placed: u64,
    /// Of these, ran to their end.
    pub finished: u64,
    /// Workloads that wait at the end, by the code of the last reason.
    pub unplaced: BTreeMap<String, u64>,
    /// From when replicas were asked for until all were ready, in seconds.
    pub waiting: Waiting,
    pub gpus: GpuUse,
    pub cost_usd: f64,
    pub orders: u64,
    pub orders_failed: u64,
    pub nodes_ordered: u64,
    pub nodes_joined: u64,
    pub nodes_removed: u64,
    pub nodes_lost: u64,
    /// Times that replicas were moved away from a cluster.
    pub moves: u64,
    pub decisions: u64,
    /// Steps of the control loops.
    pub steps: u64,
    /// Answers of policies that were replaced by the built-in ones.
    pub policy_failures: u64,
    /// SHA-256 over all that was committed: placements, plans, decision records.
    pub digest: String,
    /// What about the input has no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Waiting times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// How much of all GPUs pods held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuUse {
    /// Mean over the whole time, per cent of the GPUs that there were.
    pub mean_percent: f64,
    pub peak_percent: f64,
    /// GPUs in use at the most.
    pub peak_gpus: f64,
    /// Means over equal parts of the time.
    pub over_time: Vec<GpuPoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuPoint {
    /// From the start to the beginning of this part.
    pub from_seconds: u64,
    pub percent: f64,
    /// GPUs in use, mean.
    pub used: f64,
    /// GPUs that there were, mean.
    pub all: f64,
}

/// How long it took on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    pub wall_seconds: f64,
    pub decisions_per_second: f64,
    /// Share of the time spent in policies, 0 to 1.
    pub policy_share: f64,
}

impl Timing {
    /// From what was measured by the wall clock.
    pub fn new(wall: Duration, policies: Duration, decisions: u64) -> Self {
        let seconds = wall.as_secs_f64().max(1e-9);
        Self {
            wall_seconds: seconds,
            decisions_per_second: decisions as f64 / seconds,
            policy_share: policies.as_secs_f64() / seconds,
        }
    }
}

impl Waiting {
    /// Nearest-rank percentiles of times in milliseconds.
    pub fn new(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let seconds = |millis: Option<u64>| millis.unwrap_or(0) as f64 / 1000.0;
        Self {
            count: times.len() as u64,
            p50: seconds(rank(50)),
            p99: seconds(rank(99)),
            max: seconds(times.last().copied()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unplaced: u64 = self.unplaced.values().sum();
        let rows = [
            ("input", self.input.clone()),
            ("seed", self.seed.to_string()),
            ("simulated", span(self.simulated_seconds)),
            ("workloads", self.workloads.to_string()),
            ("placed", self.placed.to_string()),
            ("finished", self.finished.to_string()),
            ("still waiting", unplaced.to_string()),
            ("waiting p50", format!("{:.1} s", self.waiting.p50)),
            ("waiting p99", format!("{:.1} s", self.waiting.p99)),
            (
                "GPUs in use",
                format!(
                    "{:.1} % mean, {:.1} % peak ({:.1} GPUs)",
                    self.gpus.mean_percent, self.gpus.peak_percent, self.gpus.peak_gpus
                ),
            ),
            ("cost", format!("{:.2} USD", self.cost_usd)),
            (
                "nodes",
                format!(
                    "{} ordered, {} came, {} removed, {} lost",
                    self.nodes_ordered, self.nodes_joined, self.nodes_removed, self.nodes_lost
                ),
            ),
            ("orders", format!("{}, {} failed", self.orders, self.orders_failed)),
            ("moves", self.moves.to_string()),
            ("decisions", self.decisions.to_string()),
            ("digest", self.digest.clone()),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<16}{value}")?;
        }
        for (code, count) in &self.unplaced {
            writeln!(f, "{:<16}{count} x {code}", "waits for")?;
        }
        writeln!(f, "\n{:<16}{:>8}{:>10}{:>10}", "GPUs from", "%", "used", "all")?;
        for point in &self.gpus.over_time {
            writeln!(
                f,
                "{:<16}{:>8.1}{:>10.1}{:>10.1}",
                span(point.from_seconds),
                point.percent,
                point.used,
                point.all
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.policy_share * 100.0;
        write!(
            f,
            "took {:.2} s: {:.0} decisions a second, {share:.1} % of the time in policies",
            self.wall_seconds, self.decisions_per_second
        )
    }
}

/// Seconds as `2d 03:04:05`.
fn span(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}:{rest:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{rest:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let waiting = Waiting::new((1..=200).rev().map(|n| n * 1000).collect());
        assert_eq!((waiting.p50, waiting.p99, waiting.max, waiting.count), (100.0, 198.0, 200.0, 200));
        assert_eq!(Waiting::new(Vec::new()), Waiting::default());
        assert_eq!(Waiting::new(vec![1500]).p99, 1.5);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!((span(59), span(90_061)), ("00:00:59".to_owned(), "1d 01:01:01".to_owned()));
    }
}
