//! The independent check: what must hold of every answer and of every plan, whatever made them.
//!
//! Shares no code with the planner, with [`crate::native`] or with the booking of room, so that a mistake there is seen here.
//! It reads the snapshot's rows and recounts. It changes nothing and decides nothing.

mod answer;
mod pack;
mod plan;
#[cfg(test)]
mod tests;

pub use answer::{check_decision, check_moves, check_verdict};
pub use plan::check_plan;

use crate::ids::{ClusterName, OfferingRow, PoolName, QuotaName, WorkloadKey};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{what} {row} is not there")]
    UnknownRow { what: &'static str, row: u32 },
    #[error("{what} {row} is named twice")]
    Twice { what: &'static str, row: u32 },
    #[error("component {component} gets {replicas} replicas at candidate {candidate}, which holds {holds}")]
    OverRoom { component: u32, candidate: u32, replicas: u32, holds: u64 },
    #[error("component {component} gets {replicas} replicas and does not start below {floor}")]
    BelowFloor { component: u32, replicas: u64, floor: u32 },
    #[error("component {component} gets {replicas} replicas where {wanted} are wanted")]
    OverWanted { component: u32, replicas: u64, wanted: u32 },
    #[error("components that must stay together are at candidates {one} and {other}")]
    Apart { one: u32, other: u32 },
    #[error("job {job} has {components} components and gets {sizes} sizes")]
    Sizes { job: u32, components: usize, sizes: usize },
    #[error("component {component} of job {job} gets size {size}, outside {floor} to {replicas}")]
    Size { job: u32, component: usize, size: u32, floor: u32, replicas: u32 },
    #[error(
        "running workload {victim} must not be preempted for job {job}: its priority is not lower, and no guarantee is due"
    )]
    NoPrecedence { victim: u32, job: u32 },
    #[error("row {row} has {desired} replicas and {replicas} are told to move")]
    OverDesired { row: u32, replicas: u64, desired: u32 },
    #[error("workload {workload} stays together and only a part of it is told to move")]
    PartOfWorkload { workload: u32 },
    #[error("the plan changes {workload}, which it was not asked about, or which it changes twice")]
    Unasked { workload: WorkloadKey },
    #[error("{workload}: {what}")]
    Malformed { workload: WorkloadKey, what: String },
    #[error("{workload}: cluster {cluster} may not run it: {what}")]
    Infeasible { workload: WorkloadKey, cluster: ClusterName, what: &'static str },
    #[error("{workload}: component {component} has {replicas} replicas and does not start below {floor}")]
    GangFloor { workload: WorkloadKey, component: u32, replicas: u32, floor: u32 },
    #[error("{workload}: stays together and is in {clusters} clusters")]
    GangApart { workload: WorkloadKey, clusters: usize },
    #[error("{workload}: component {component} has {replicas} replicas where {wanted} are wanted")]
    TooMany { workload: WorkloadKey, component: u32, replicas: u32, wanted: u32 },
    #[error("{workload}: uses {used} groups by {by} where at most {max} are allowed")]
    Spread { workload: WorkloadKey, by: String, used: usize, max: u32 },
    #[error("pool {pool} of cluster {cluster}: {replicas} replicas of {workload} have no room on its nodes")]
    NoRoom { workload: WorkloadKey, cluster: ClusterName, pool: PoolName, replicas: u32 },
    #[error("pool {pool} of cluster {cluster}: {nodes} nodes where at most {max} are allowed")]
    PoolMaximum { cluster: ClusterName, pool: PoolName, nodes: u32, max: u32 },
    #[error("offering {}: {nodes} nodes are ordered and {stock} can be had", .offering.0)]
    Stock { offering: OfferingRow, nodes: u32, stock: u32 },
    #[error("quota {quota}: {used} of resource {resource} are used and {max} are allowed")]
    Quota { quota: QuotaName, resource: usize, used: u64, max: u64 },
}

impl Violation {
    /// A stable code, for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownRow { .. } => "UnknownRow",
            Self::Twice { .. } => "NamedTwice",
            Self::OverRoom { .. } => "OverRoom",
            Self::BelowFloor { .. } | Self::GangFloor { .. } => "BelowFloor",
            Self::OverWanted { .. } | Self::TooMany { .. } => "OverWanted",
            Self::Apart { .. } | Self::GangApart { .. } => "Apart",
            Self::Sizes { .. } | Self::Size { .. } => "BadSize",
            Self::NoPrecedence { .. } => "NoPrecedence",
            Self::OverDesired { .. } => "OverDesired",
            Self::PartOfWorkload { .. } => "PartOfWorkload",
            Self::Unasked { .. } => "Unasked",
            Self::Malformed { .. } => "Malformed",
            Self::Infeasible { .. } => "Infeasible",
            Self::Spread { .. } => "SpreadConstraint",
            Self::NoRoom { .. } => "NodesOvercommitted",
            Self::PoolMaximum { .. } => "PoolMaximum",
            Self::Stock { .. } => "StockOvercommitted",
            Self::Quota { .. } => "QuotaExceeded",
        }
    }
}
