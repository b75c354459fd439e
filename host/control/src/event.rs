//! What happened, for people: one line each, and fields for machines.

use std::fmt;
use std::sync::Arc;

use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, Millis, OrderId, PlanId, PolicyName, PoolName, WorkloadKey};
use berth_core::native;
use berth_core::placement::PolicyRef;
use berth_core::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::ports::OrderFailure;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Millis,
    #[serde(flatten)]
    pub what: What,
}

/// Replicas at one cluster, with what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReplicas {
    pub cluster: ClusterName,
    pub before: u32,
    pub after: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum What {
    Placed {
        workload: WorkloadKey,
        plan: PlanId,
        clusters: Vec<ClusterReplicas>,
        by: PolicyRef,
        why: String,
        short: Option<Reason>,
    },
    Waiting {
        workload: WorkloadKey,
        reason: Reason,
    },
    /// A user deleted an object of any kind.
    Deleted {
        object: WorkloadKey,
    },
    NodesOrdered {
        order: OrderId,
        cluster: ClusterName,
        pool: PoolName,
        offering: OfferingKey,
        nodes: u32,
        workload: WorkloadKey,
    },
    NodesReady {
        order: OrderId,
        cluster: ClusterName,
        pool: PoolName,
        nodes: u32,
    },
    OrderFailed {
        order: OrderId,
        cluster: ClusterName,
        pool: PoolName,
        offering: OfferingKey,
        cause: OrderFailure,
        delivered: u32,
        wanted: u32,
    },
    StockChanged {
        offering: OfferingKey,
        from: String,
        to: String,
    },
    WorkloadReady {
        workload: WorkloadKey,
        replicas: u32,
    },
    Moved {
        workload: WorkloadKey,
        from: ClusterName,
        replicas: u32,
        reason: String,
        by: PolicyRef,
    },
    NodesRemoved {
        cluster: ClusterName,
        pool: PoolName,
        nodes: Vec<Arc<str>>,
        why: String,
    },
    ClusterLost {
        cluster: ClusterName,
    },
    ClusterBack {
        cluster: ClusterName,
    },
    Finished {
        workload: WorkloadKey,
        succeeded: bool,
    },
    PoliciesSwapped {
        names: Vec<PolicyName>,
    },
    /// Other rules say which policy decides for whom.
    PoliciesBound {
        rules: usize,
    },
    PolicyRefused {
        file: String,
        reason: String,
    },
    PolicyFailed {
        policy: PolicyRef,
        workload: Option<WorkloadKey>,
        what: String,
    },
    /// A canary that was worse than its guard allows decides no more.
    CanaryWentBack {
        policy: PolicyName,
        why: String,
    },
    /// The independent check refused a plan: a fault of the planner, which must not happen.
    PlanRefused {
        workload: WorkloadKey,
        violation: String,
    },
}

impl What {
    /// The workload that it is about, if it is about one.
    pub fn workload(&self) -> Option<&WorkloadKey> {
        match self {
            What::Placed { workload, .. }
            | What::Waiting { workload, .. }
            | What::NodesOrdered { workload, .. }
            | What::WorkloadReady { workload, .. }
            | What::Moved { workload, .. }
            | What::Finished { workload, .. }
            | What::PlanRefused { workload, .. }
            | What::Deleted { object: workload } => Some(workload),
            What::PolicyFailed { workload, .. } => workload.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

fn by_cluster(clusters: &[ClusterReplicas]) -> String {
    clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ClusterReplicas {
    /// Objects without replicas are only there or not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.before, self.after) {
            (0, 0) => write!(f, "{}", self.cluster),
            (0, after) => write!(f, "{} +{after}", self.cluster),
            (before, after) if before == after => write!(f, "{} {after}", self.cluster),
            (before, after) => write!(f, "{} {before}->{after}", self.cluster),
        }
    }
}

/// An offering as people name it.
fn named(offering: &OfferingKey) -> String {
    format!("{} ({}, {})", offering.instance_type, offering.capacity_type.as_str(), offering.zone)
}

fn failure(cause: OrderFailure) -> &'static str {
    match cause {
        OrderFailure::NoStock => "out of stock",
        OrderFailure::NoQuota => "the account's quota is used up",
        OrderFailure::NoAddresses => "no addresses are left",
        OrderFailure::NoPermission => "no permission",
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Placed { workload, clusters, by, why, short, .. } => {
                write!(f, "placed     {workload}: {}", by_cluster(clusters))?;
                // What has no replicas goes where it may, without a policy.
                if by.name.as_str() != native::NO_POLICY {
                    write!(f, " by {}", by.name)?;
                }
                if !why.is_empty() {
                    write!(f, " ({why})")?;
                }
                short.as_ref().map_or(Ok(()), |short| write!(f, "; rest waits: {short}"))
            }
            What::Waiting { workload, reason } => write!(f, "waiting    {workload}: {reason}"),
            What::Deleted { object } => write!(f, "deleted    {object}"),
            What::NodesOrdered { cluster, pool, offering, nodes, workload, .. } => {
                write!(f, "ordered    {nodes} x {} for {cluster}/{pool}, for {workload}", named(offering))
            }
            What::NodesReady { cluster, pool, nodes, .. } => write!(f, "nodes up   {nodes} in {cluster}/{pool}"),
            What::OrderFailed { cluster, pool, offering, cause, delivered, wanted, .. } => write!(
                f,
                "no nodes   {cluster}/{pool}: {}: {delivered} of {wanted} x {} came",
                failure(*cause),
                named(offering)
            ),
            What::StockChanged { offering, from, to } => {
                write!(f, "stock      {}: {from} -> {to}", named(offering))
            }
            What::WorkloadReady { workload, replicas } => {
                write!(f, "ready      {workload}: {replicas} of {replicas} replicas")
            }
            What::Moved { workload, from, replicas, reason, by } => {
                write!(f, "moving     {workload}: {replicas} away from {from} by {}: {reason}", by.name)
            }
            What::NodesRemoved { cluster, pool, nodes, why } => {
                write!(f, "nodes down {} in {cluster}/{pool}: {why}", nodes.len())
            }
            What::ClusterLost { cluster } => write!(f, "lost       cluster {cluster} does not answer"),
            What::ClusterBack { cluster } => write!(f, "back       cluster {cluster} answers again"),
            What::Finished { workload, succeeded } => {
                write!(f, "finished   {workload}: {}", if *succeeded { "succeeded" } else { "failed" })
            }
            What::PoliciesSwapped { names } => {
                let names: Vec<&str> = names.iter().map(PolicyName::as_str).collect();
                write!(f, "policies   now in force: {}", names.join(", "))
            }
            What::PoliciesBound { rules: 0 } => write!(f, "policies   no rule says any more who decides for whom"),
            What::PoliciesBound { rules: 1 } => write!(f, "policies   1 rule says now who decides for whom"),
            What::PoliciesBound { rules } => write!(f, "policies   {rules} rules say now who decides for whom"),
            What::PolicyRefused { file, reason } => {
                write!(f, "policy     {file} refused, its predecessor stays: {reason}")
            }
            What::CanaryWentBack { policy, why } => {
                write!(f, "policy     {policy} went back by itself, its slot's own decides: {why}")
            }
            What::PolicyFailed { policy, workload, what } => {
                write!(f, "policy     {} failed, the built-in one decides", policy.name)?;
                workload.as_ref().map_or(Ok(()), |workload| write!(f, " for {workload}"))?;
                write!(f, ": {what}")
            }
            What::PlanRefused { workload, violation } => write!(f, "refused    a plan for {workload}: {violation}"),
        }
    }
}
