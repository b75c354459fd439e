//! Plans: what one planning cycle decided, immutable, with its parent's number and a report.
//!
//! A plan says everything that execution needs; no choice is left for it. It commits by compare-and-set: only while its
//! parent is still the newest plan and every placement that it replaces is the one it saw.

mod book;
mod cycle;
mod explain;
mod fits;
mod giveback;
pub(crate) mod passed;
mod place;
mod queue;
#[cfg(test)]
mod tests;

pub use cycle::{Input, Planner, RunningWorkload, mix, plan};
pub use explain::{ExplainedCluster, Explanation, explain};
pub use passed::{Passed, PassedOver, PassedRows};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, Generation, Millis, PlanId, WorkloadKey};
use crate::placement::{NodeOrder, Placement, PolicyRef};
use crate::policy::{Candidates, Decision, Kind, Problem, Queue, Request, Tables, Verdict};
use crate::reason::Reason;
use crate::workload::Workload;

/// One workload that waits for a decision: new, changed, short of replicas, or told to move.
#[derive(Clone, Debug)]
pub struct Entry {
    pub workload: Arc<Workload>,
    /// Its placement now. What it holds is part of the snapshot's usage.
    pub current: Option<Arc<Placement>>,
    /// Since when it waits.
    pub since: Millis,
    /// Replicas that have to leave a cluster. Until these entries are dropped the cluster gets no more of the workload. A plan
    /// takes the replicas off what is placed there, so once it is committed the entry must stay with 0 replicas or go.
    pub leave: Vec<Leave>,
    /// Replicas by component that lost their room; nothing if none did. `current` does not have them any more, and the
    /// snapshot's quotas are still charged with them. A gang that is not whole without them is made whole in this plan, or
    /// gives everything back.
    pub lost: Vec<u32>,
}

impl Entry {
    /// Replicas of a component that its quota is charged with: those that are placed, and those that lost their room.
    pub fn charged(&self, component: u32) -> u32 {
        let placed = self.current.as_ref().map_or(0, |current| current.total(component));
        placed.saturating_add(self.lost.get(component as usize).copied().unwrap_or(0))
    }

    /// Whether replicas of it lost their room.
    pub fn has_lost(&self) -> bool {
        self.lost.iter().any(|lost| *lost > 0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    pub component: u32,
    pub cluster: ClusterName,
    pub replicas: u32,
}

#[must_use]
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: PlanId,
    pub parent: PlanId,
    /// The snapshot that it was made from.
    pub generation: Generation,
    pub decided_at: Millis,
    /// In the order in which they were decided.
    pub changes: Vec<Change>,
    pub report: Report,
}

/// A new placement for one workload. A preempted workload gets a placement without shares.
#[derive(Clone, Debug)]
pub struct Change {
    /// The plan that made the placement which this one replaces; `None` where there is none.
    pub replaces: Option<PlanId>,
    pub placement: Placement,
    /// Nodes to order before all its replicas can run.
    pub orders: Vec<NodeOrder>,
    /// Why fewer replicas were placed than wanted; the rest waits.
    pub short: Option<Reason>,
    pub record: Arc<DecisionRecord>,
}

/// What a plan did not do, and what happened on the way. Belongs to the plan and is shown to people.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Workloads that wait on, in the order of the queue.
    pub waiting: Vec<Waiting>,
    /// Gang decisions of this cycle, one for each gang policy that was asked.
    pub gangs: Vec<GangRecord>,
    /// Policies that failed or broke a rule, and whose decision a built-in one took.
    pub failures: Vec<PolicyFailure>,
}

#[derive(Clone, Debug)]
pub struct Waiting {
    pub workload: WorkloadKey,
    pub reason: Reason,
    /// Present where it came as far as its candidates.
    pub record: Option<Arc<DecisionRecord>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFailure {
    pub kind: Kind,
    pub policy: PolicyRef,
    pub workload: Option<WorkloadKey>,
    pub what: String,
}

/// Everything needed to take one placement decision again, and to explain it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    pub plan: PlanId,
    pub generation: Generation,
    pub workload: WorkloadKey,
    pub workload_generation: u64,
    pub decided_at: Millis,
    pub by: PolicyRef,
    /// The policy that should have decided, and why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<(PolicyRef, String)>,
    pub fuel: u64,
    #[serde(skip)]
    pub tables: Arc<Tables>,
    pub request: Request,
    pub candidates: Candidates,
    /// Clusters that were no candidates. Candidates without replicas were passed over by the policy.
    pub passed: PassedOver,
    pub outcome: Result<Decision, Problem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GangRecord {
    pub plan: PlanId,
    pub generation: Generation,
    pub by: PolicyRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<(PolicyRef, String)>,
    pub fuel: u64,
    #[serde(skip)]
    pub tables: Arc<Tables>,
    pub queue: Queue,
    pub outcome: Result<Verdict, Problem>,
}
