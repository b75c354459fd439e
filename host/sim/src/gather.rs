//! Gathers the figures of a report while a simulation runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use berth_control::event::{Event, What};
use berth_control::ports::{Batch, Events, HistoryEntry, ObjectKey, Revision, Store, StoreError, Stored};
use berth_control::store::MemoryStore;
use berth_core::ids::{Millis, WorkloadKey};
use berth_core::reason::Code;
use sha2::{Digest, Sha256};

use crate::drive::Pass;
use crate::report::{GpuPoint, GpuUse, Report, Waiting};
use crate::simulation::Simulation;

/// Counts what events say. Events go on to `out`, if there is one.
#[derive(Default)]
pub(crate) struct Gather<'a> {
    out: Option<&'a mut dyn Events>,
    /// Since when workloads wait to be ready.
    asked: BTreeMap<WorkloadKey, Millis>,
    waits: Vec<u64>,
    /// What load set last.
    replicas: BTreeMap<WorkloadKey, u32>,
    placed: BTreeSet<WorkloadKey>,
    placed_and_gone: u64,
    reasons: BTreeMap<WorkloadKey, Code>,
    pub(crate) ended: Vec<WorkloadKey>,
    workloads: u64,
    finished: u64,
    moves: u64,
    policy_failures: u64,
}

impl<'a> Gather<'a> {
    pub(crate) fn new(out: Option<&'a mut dyn Events>) -> Self {
        Self { out, ..Self::default() }
    }

    pub(crate) fn submitted(&mut self, workload: &WorkloadKey, now: Millis) {
        self.workloads += 1;
        self.asked.entry(workload.clone()).or_insert(now);
    }

    /// A workload is to have so many replicas. More of them are waited for.
    pub(crate) fn scaled(&mut self, workload: &WorkloadKey, replicas: u32, now: Millis) {
        if self.replicas.insert(workload.clone(), replicas).is_none_or(|before| replicas > before) {
            self.asked.entry(workload.clone()).or_insert(now);
        }
    }

    /// A workload left the fleet. What was counted of it stays.
    pub(crate) fn forget(&mut self, workload: &WorkloadKey) {
        self.placed_and_gone += u64::from(self.placed.remove(workload));
        self.asked.remove(workload);
        self.reasons.remove(workload);
    }

    /// Workloads that were asked for and are not ready, or were placed and did not leave.
    pub(crate) fn open(&self) -> usize {
        self.asked.keys().filter(|key| !self.placed.contains(*key)).count() + self.placed.len()
    }

    fn ready(&mut self, workload: &WorkloadKey, at: Millis) {
        if let Some(since) = self.asked.remove(workload) {
            self.waits.push(at.since(since));
        }
        self.reasons.remove(workload);
    }

    pub(crate) fn into_report(self) -> Report {
        let mut unplaced = BTreeMap::new();
        for code in self.reasons.values() {
            *unplaced.entry(code.as_str().to_owned()).or_default() += 1;
        }
        Report {
            workloads: self.workloads,
            placed: self.placed.len() as u64 + self.placed_and_gone,
            finished: self.finished,
            unplaced,
            waiting: Waiting::new(self.waits),
            moves: self.moves,
            policy_failures: self.policy_failures,
            ..Report::default()
        }
    }
}

impl Events for Gather<'_> {
    fn emit(&mut self, event: Event) {
        match &event.what {
            What::Placed { workload, clusters, short, .. } => {
                if clusters.iter().any(|at| at.after > 0) {
                    self.placed.insert(workload.clone());
                }
                match short {
                    Some(reason) => _ = self.reasons.insert(workload.clone(), reason.code),
                    None => _ = self.reasons.remove(workload),
                }
            }
            What::Waiting { workload, reason } => _ = self.reasons.insert(workload.clone(), reason.code),
            What::WorkloadReady { workload, .. } => self.ready(workload, event.at),
            What::Finished { workload, .. } => {
                self.ready(workload, event.at);
                self.finished += 1;
                self.ended.push(workload.clone());
            }
            What::Moved { .. } => self.moves += 1,
            What::PolicyFailed { .. } => self.policy_failures += 1,
            _ => {}
        }
        if let Some(out) = &mut self.out {
            out.emit(event);
        }
    }
}

/// GPU use over equal parts of the time.
pub(crate) struct GpuMeter {
    start: Millis,
    part_ms: u64,
    /// By part: thousandths of GPUs in use and there were, times milliseconds, and milliseconds.
    parts: Vec<(u128, u128, u128)>,
    last: (Millis, (u64, u64)),
    peak: (f64, u64),
}

impl GpuMeter {
    pub(crate) fn new(start: Millis, end: Millis, parts: usize) -> Self {
        let part_ms = end.since(start).div_ceil(parts.max(1) as u64).max(1);
        Self { start, part_ms, parts: vec![(0, 0, 0); parts.max(1)], last: (start, (0, 0)), peak: (0.0, 0) }
    }

    /// What is in use from `now` on.
    pub(crate) fn note(&mut self, now: Millis, (used, all): (u64, u64)) {
        let (mut from, (was_used, was_all)) = self.last;
        while from < now {
            let part = ((from.since(self.start) / self.part_ms) as usize).min(self.parts.len() - 1);
            let ends = self.start.plus((part as u64 + 1) * self.part_ms);
            let to = if part + 1 == self.parts.len() { now } else { now.min(ends) };
            let span = u128::from(to.since(from).max(1));
            self.parts[part].0 += u128::from(was_used) * span;
            self.parts[part].1 += u128::from(was_all) * span;
            self.parts[part].2 += span;
            from = from.plus(span as u64);
        }
        self.last = (now.max(self.last.0), (used, all));
        let percent = if all == 0 { 0.0 } else { used as f64 * 100.0 / all as f64 };
        self.peak = (self.peak.0.max(percent), self.peak.1.max(used));
    }

    pub(crate) fn finish(mut self, end: Millis) -> GpuUse {
        let last = self.last.1;
        self.note(end, last);
        let percent = |used: u128, all: u128| if all == 0 { 0.0 } else { used as f64 * 100.0 / all as f64 };
        let sum = self.parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let gpus = |milli: u128, span: u128| milli as f64 / (span.max(1) as f64 * 1000.0);
        // A simulation that ends early has parts that never came.
        let came = self.parts.iter().enumerate().filter(|(_, part)| part.2 > 0);
        let point = |(number, part): (usize, &(u128, u128, u128))| GpuPoint {
            from_seconds: number as u64 * self.part_ms / 1000,
            percent: percent(part.0, part.1),
            used: gpus(part.0, part.2),
            all: gpus(part.1, part.2),
        };
        GpuUse {
            mean_percent: percent(sum.0, sum.1),
            peak_percent: self.peak.0,
            peak_gpus: self.peak.1 as f64 / 1000.0,
            over_time: came.map(point).collect(),
        }
    }
}

/// The digest of everything that a store committed, shared with whoever reads it at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlanDigest(Arc<Mutex<Sha256>>);

impl PlanDigest {
    pub(crate) fn hex(&self) -> String {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
        hash.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// A store in memory that keeps a digest of what is committed.
pub(crate) struct DigestStore {
    pub(crate) inner: MemoryStore,
    pub(crate) digest: PlanDigest,
}

impl Store for DigestStore {
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let revision = self.inner.commit(batch)?;
        let mut hash = self.digest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for write in &batch.writes {
            add(write.key.to_string().as_bytes());
            add(write.value.as_deref().unwrap_or_default());
        }
        for entry in &batch.history {
            add(&entry.at.0.to_le_bytes());
            add(&entry.value);
        }
        Ok(revision)
    }

    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError> {
        self.inner.changes(since)
    }

    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        self.inner.history(about, limit)
    }
}

/// Puts the figures of the world and of the passes into a report.
pub(crate) fn complete(report: &mut Report, simulation: &Simulation, all: &Pass, gpus: GpuMeter, digest: &PlanDigest) {
    let (now, totals) = (simulation.now(), simulation.totals());
    report.simulated_seconds = now.since(simulation.start) / 1000;
    report.gpus = gpus.finish(now);
    report.cost_usd = (simulation.cost() * 10_000.0).round() / 10_000.0;
    report.orders = totals.orders;
    report.orders_failed = totals.orders_failed;
    report.nodes_ordered = totals.nodes_ordered;
    report.nodes_joined = totals.nodes_joined;
    report.nodes_removed = totals.nodes_removed;
    report.nodes_lost = totals.nodes_lost;
    report.decisions = all.decisions;
    report.steps = all.steps;
    report.digest = digest.hex();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpu_use_is_averaged_over_equal_parts() {
        let mut meter = GpuMeter::new(Millis(0), Millis(4000), 4);
        meter.note(Millis(0), (0, 4000));
        meter.note(Millis(1500), (2000, 4000));
        meter.note(Millis(2500), (4000, 4000));
        let used = meter.finish(Millis(4000));
        let percents: Vec<f64> = used.over_time.iter().map(|point| point.percent).collect();
        assert_eq!(percents, [0.0, 25.0, 75.0, 100.0]);
        assert_eq!((used.mean_percent, used.peak_percent, used.peak_gpus), (50.0, 100.0, 4.0));
        assert_eq!(used.over_time[2].used, 3.0);
    }
}
