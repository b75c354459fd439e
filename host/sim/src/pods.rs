//! A workload that was applied to a simulated cluster, and its pods.
//!
//! Plain state and what can be read off it; [`crate::cluster`] changes it and keeps nodes and timers in step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::ports::{ComponentObservation, Outcome, WorkloadObservation};
use berth_core::fleet::Need;
use berth_core::ids::{Millis, PoolName};
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, Run};
use crate::node::Binding;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The scheduler found no node, or did not look yet.
    Pending,
    /// Bound; the image is pulled and the model loaded.
    Starting,
    Ready,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) phase: Phase,
    pub(crate) binding: Option<Binding>,
    /// Distinguishes this pod from its predecessors with the same number, so that a timer of theirs means nothing to it.
    pub(crate) life: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) need: Arc<Need>,
    pub(crate) desired: u32,
    /// By number; new pods get the lowest free numbers.
    pub(crate) pods: BTreeMap<u32, Pod>,
    pub(crate) unready_since: Option<Millis>,
}

#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) digest: Arc<str>,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) run: Run,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) components: Vec<Component>,
    pub(crate) finished: Option<Outcome>,
    /// Since when pods wait for a node; the order in which the scheduler looks at workloads.
    pub(crate) pending_since: Option<Millis>,
    /// Counts the runs of a task, so that a timer of a run that was interrupted means nothing to the next.
    pub(crate) started_runs: u64,
    /// Whether a timer for the end of the present run is set.
    pub(crate) running: bool,
}

impl Applied {
    pub(crate) fn new(digest: Arc<str>, bytes: Arc<[u8]>, manifest: &Manifest) -> Self {
        Self {
            digest,
            bytes,
            run: manifest.run,
            duration_ms: manifest.duration_ms,
            components: Vec::new(),
            finished: None,
            pending_since: None,
            started_runs: 0,
            running: false,
        }
    }

    pub(crate) fn pod_mut(&mut self, id: (u32, u32)) -> Option<&mut Pod> {
        self.components.get_mut(id.0 as usize)?.pods.get_mut(&id.1)
    }

    /// All pods, by component and number.
    pub(crate) fn pods(&self) -> impl Iterator<Item = ((u32, u32), &Pod)> {
        self.components
            .iter()
            .enumerate()
            .flat_map(|(component, at)| at.pods.iter().map(move |(number, pod)| ((component as u32, *number), pod)))
    }

    pub(crate) fn all_ready(&self) -> bool {
        self.components.iter().all(Component::is_ready) && self.components.iter().any(|one| one.desired > 0)
    }

    /// Pods that the scheduler may bind now. A StatefulSet starts pod after pod.
    pub(crate) fn bindable(&self) -> Vec<(u32, u32)> {
        let waits = |(id, pod): ((u32, u32), &Pod)| (pod.phase == Phase::Pending).then_some(id);
        match self.run {
            Run::InOrder => {
                let first = self.pods().find(|(_, pod)| pod.phase != Phase::Ready);
                first.and_then(waits).into_iter().collect()
            }
            _ => self.pods().filter_map(waits).collect(),
        }
    }

    pub(crate) fn observe(&self, pool_of: impl Fn(&str) -> Option<PoolName>) -> WorkloadObservation {
        let components = self.components.iter().map(|component| component.observe(&pool_of)).collect();
        WorkloadObservation { digest: self.digest.clone(), components, finished: self.finished }
    }
}

impl Component {
    pub(crate) fn is_ready(&self) -> bool {
        self.count(Phase::Ready) >= self.desired
    }

    pub(crate) fn count(&self, phase: Phase) -> u32 {
        self.pods.values().filter(|pod| pod.phase == phase).count() as u32
    }

    /// Lowest numbers that no pod has.
    pub(crate) fn free_numbers(&self, count: usize) -> Vec<u32> {
        (0..).filter(|number| !self.pods.contains_key(number)).take(count).collect()
    }

    /// Which pods go first when there are too many: those without a node, those that start, then the highest numbers.
    /// A StatefulSet always gives up its highest numbers.
    pub(crate) fn surplus(&self, run: Run) -> BTreeSet<u32> {
        let excess = self.pods.len().saturating_sub(self.desired as usize);
        let rank = |phase| match phase {
            _ if run == Run::InOrder => 0,
            Phase::Pending => 0,
            Phase::Starting => 1,
            Phase::Ready => 2,
        };
        let mut order: Vec<(u8, std::cmp::Reverse<u32>)> =
            self.pods.iter().map(|(number, pod)| (rank(pod.phase), std::cmp::Reverse(*number))).collect();
        order.sort_unstable();
        order.into_iter().take(excess).map(|(_, number)| number.0).collect()
    }

    fn observe(&self, pool_of: &impl Fn(&str) -> Option<PoolName>) -> ComponentObservation {
        let mut bound: BTreeMap<PoolName, u32> = BTreeMap::new();
        for binding in self.pods.values().filter_map(|pod| pod.binding.as_ref()) {
            if let Some(pool) = pool_of(&binding.node) {
                *bound.entry(pool).or_default() += 1;
            }
        }
        ComponentObservation {
            desired: self.desired,
            ready: self.count(Phase::Ready),
            starting: self.count(Phase::Starting),
            unschedulable: self.count(Phase::Pending),
            bound,
            unready_since: self.unready_since,
        }
    }
}
