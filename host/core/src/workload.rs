//! What is to run: a workload with its components, and the rules of the distribution policy that selected it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fleet::{Labels, TaintEffect};
use crate::ids::{ClusterName, ComponentName, PolicyName, WorkloadKey};
use crate::resources::NamedAmounts;

/// One application object, as the planner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub key: WorkloadKey,
    /// Grows with every change of the manifest or of the rules.
    pub generation: u64,
    pub labels: Labels,
    /// Higher is more important.
    pub priority: i32,
    /// Milliseconds that it runs at the most, where the manifest says so (`activeDeadlineSeconds`).
    pub limit_ms: Option<u64>,
    /// Empty for objects without replicas, such as a ConfigMap: they go to every selected cluster as they are.
    pub components: Vec<Component>,
    pub rules: Arc<Rules>,
}

impl Workload {
    /// How its replicas are divided. A gang runs once, so there is nothing to duplicate.
    pub fn division(&self) -> Division {
        match self.rules.division {
            Division::Duplicated if self.rules.gang => Division::Aggregated,
            division => division,
        }
    }
}

/// A role within a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    pub name: ComponentName,
    pub replicas: u32,
    /// Replicas below which the workload does not start; 0 where any number is useful.
    pub floor: u32,
    pub shape: Arc<Shape>,
}

/// Everything that decides whether, and how often, one replica fits on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// Requests of one pod, summed as Kubernetes sums them, without `berth.dev/gpu-milli`; one of `pods` included.
    pub requests: NamedAmounts,
    /// Thousandths of one GPU, 1 to 999, for replicas that share a GPU; 0 for all others.
    #[serde(default)]
    pub gpu_share: u16,
    /// `nodeSelector` and required node affinity in one: alternatives, each a list of requirements that all must hold.
    /// No alternative means any node.
    #[serde(default)]
    pub nodes: Vec<Vec<Requirement>>,
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
}

/// A requirement on labels, as in a label selector or a node selector term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    pub key: Arc<str>,
    pub operator: Operator,
    #[serde(default)]
    pub values: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Toleration {
    /// Empty with `exists`: every taint.
    #[serde(default)]
    pub key: Arc<str>,
    /// `None` is the operator Exists.
    #[serde(default)]
    pub value: Option<Arc<str>>,
    /// `None` is every effect.
    #[serde(default)]
    pub effect: Option<TaintEffect>,
}

/// The rules of a distribution policy, in the planner's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// `namespace/name` of the distribution policy, for people.
    pub policy: Arc<str>,
    /// Groups in the order of preference (`clusterAffinities`). A candidate belongs to the first group that selects it.
    /// One group that selects everything where nothing was said.
    pub groups: Vec<ClusterAffinity>,
    /// How the groups are used.
    pub group_use: GroupUse,
    pub tolerations: Vec<Toleration>,
    pub spread: Vec<SpreadConstraint>,
    pub division: Division,
    /// Static weights: of several rules that match one cluster the highest weight counts; a cluster in no rule gets
    /// nothing. Empty: every candidate has weight 1.
    pub weights: Vec<(ClusterAffinity, u32)>,
    /// Whether room on nodes that do not exist yet counts.
    pub elastic: bool,
    /// Longest wait for a new node in seconds; offerings of slower pools do not count. 0 is no limit.
    pub max_lead_seconds: u32,
    /// Runs whole, in one cluster, or not at all.
    pub gang: bool,
    /// USD per hour that its replicas may cost in all on new nodes; `None` is no limit.
    pub budget: Option<f64>,
    /// Policies named by the distribution policy; `None` leaves it to `policies.toml`.
    pub placement_policy: Option<PolicyName>,
    pub gang_policy: Option<PolicyName>,
    pub migration_policy: Option<PolicyName>,
    /// Waits without being scheduled.
    pub suspended: bool,
    pub failover: Failover,
}

/// Which clusters a rule selects; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterAffinity {
    /// Name of the group, for people; empty where it has none.
    pub name: Arc<str>,
    /// `None`: all names.
    pub names: Option<Vec<ClusterName>>,
    pub exclude: Vec<ClusterName>,
    pub labels: Vec<Requirement>,
    /// Requirements on `provider`, `region` and `zone`.
    pub fields: Vec<Requirement>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupUse {
    /// Karmada's `clusterAffinities`: the first group that can take the whole workload is used alone.
    #[default]
    FirstThatFits,
    /// Tiers: the groups fill in order and empty in reverse order; candidates carry their group's number as tier.
    FillInOrder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadConstraint {
    pub by: SpreadBy,
    /// Groups to choose; 0 is no upper bound.
    pub max: u32,
    pub min: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpreadBy {
    Cluster,
    Region,
    Zone,
    Provider,
    Label(Arc<str>),
}

/// How replicas are divided among candidates; the numbers are those of the policy interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u32)]
pub enum Division {
    #[default]
    Duplicated = 0,
    StaticWeight = 1,
    AvailableReplicas = 2,
    Aggregated = 3,
    /// Left to the policy.
    Free = 4,
}

impl Division {
    pub const ALL: [Division; 5] = [
        Division::Duplicated,
        Division::StaticWeight,
        Division::AvailableReplicas,
        Division::Aggregated,
        Division::Free,
    ];
}

/// Of components with so many replicas each, the one whose room, weight and price count for the whole: the one with the
/// most, the first among equals. `None` of no component.
pub fn main_component(replicas: impl IntoIterator<Item = u32>) -> Option<usize> {
    let counted = replicas.into_iter().enumerate();
    counted.max_by_key(|(at, replicas)| (*replicas, std::cmp::Reverse(*at))).map(|(at, _)| at)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Milliseconds that replicas may stay unready before they are moved.
    pub toleration_ms: u64,
    pub purge: Purge,
    /// Milliseconds after which old replicas go although the new ones are not ready.
    pub grace_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purge {
    Directly,
    #[default]
    Gracefully,
    /// Never moved.
    Never,
}
