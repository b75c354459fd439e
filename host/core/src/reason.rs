//! Why a workload waits, why a candidate was passed over: one list of codes for the API, metrics and the command line.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// A stable code. Codes are never renamed; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }
        }
    };
}

codes! {
    /// Not in the distribution policy's cluster affinity.
    Affinity = "AffinityMismatch",
    /// A taint of the cluster is not tolerated.
    Taint = "UntoleratedTaint",
    /// The cluster cannot be reached, or its API is not healthy.
    ClusterUnhealthy = "ClusterUnhealthy",
    /// No node pool of the cluster can hold one replica: resources, labels or taints of nodes.
    NoMatchingPool = "NoMatchingPool",
    /// Not enough free room on nodes, and none that could be added.
    NoRoom = "NoRoom",
    /// The offerings that would do are out of stock.
    NoStock = "NoStock",
    /// The node pools that would do are at their maximum.
    PoolAtMaximum = "PoolAtMaximum",
    /// A quota would be exceeded.
    QuotaExceeded = "QuotaExceeded",
    /// The budget of the distribution policy would be exceeded.
    Budget = "BudgetExceeded",
    /// A whole gang does not fit.
    GangDoesNotFit = "GangDoesNotFit",
    /// It could run, but would delay a job ahead of it.
    Behind = "BehindInQueue",
    /// No cluster could ever hold it.
    TooLarge = "TooLarge",
    /// Spread constraints leave it out, or cannot be met.
    Spread = "SpreadConstraint",
    /// The replicas were moved away from here recently.
    MovedAway = "MovedAway",
    /// The static weight list gives it nothing.
    NoWeight = "NoWeight",
    /// The policy chose others.
    NotChosen = "NotChosen",
    /// Replicas that could run on a new node, but the distribution policy allows no new nodes.
    ElasticityOff = "ElasticityOff",
    /// The policy refused: no acceptable candidate, or something it does not do.
    PolicyRefused = "PolicyRefused",
    /// Scheduling is suspended by the distribution policy.
    Suspended = "Suspended",
    /// No distribution policy selects it.
    NoPolicy = "NoDistributionPolicy",
    /// No cluster is left after filtering.
    NoCluster = "NoClusterAvailable",
    /// A start failed and everything was given back; it is tried again later.
    Backoff = "Backoff",
    /// It was preempted for a workload with precedence.
    Preempted = "Preempted",
    /// A decision is due, and no plan has taken it yet.
    Pending = "Pending",
    /// The kind is unknown, and the distribution policy refuses unknown kinds.
    UnknownKind = "UnknownKind",
    /// The object is not valid.
    Invalid = "Invalid",
    /// The independent check found the plan unsound: a fault of the planner.
    PlanRefused = "PlanRefused",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code with a sentence for a person: what exactly, with numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    pub message: String,
}

impl Reason {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
