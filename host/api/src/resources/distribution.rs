//! `DistributionPolicy` and `ClusterDistributionPolicy`: which workloads go where, and by which rules.
//!
//! Field names are those of Karmada's PropagationPolicy, with the same meaning. Berth's own are `clusterAffinitiesUse`,
//! `elasticity`, `gang`, `budget`, `policies` and `unknownKinds`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet::TaintEffect;
use super::is_default;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DistributionSpec {
    #[schemars(length(min = 1))]
    pub resource_selectors: Vec<ResourceSelector>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: PlacementRules,
    /// Of several policies that select a workload the one with the highest priority applies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Absent: replicas that stay unready for 5 minutes are moved gracefully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// What to do with an object of the same name that Berth did not put into a member cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflict_resolution: ConflictResolution,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_priority: Option<SchedulePriority>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub elasticity: Elasticity,
    /// Whether a workload runs whole, in one cluster, or not at all. Absent: PyTorchJob and SparkApplication do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub policies: Policies,
    /// What to do with custom resources that Berth cannot interpret.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unknown_kinds: UnknownKinds,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceSelector {
    #[schemars(length(min = 1))]
    pub api_version: String,
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Empty: the policy's own, or every namespace for a cluster-wide policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Empty: every name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Ignored where a name is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    #[schemars(length(min = 1))]
    pub key: String,
    pub operator: SelectorOperator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldSelector {
    /// Keys are `provider`, `region` and `zone`; operators `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlacementRules {
    /// Not together with `clusterAffinities`. Neither: every cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_affinity: Option<ClusterAffinity>,
    /// Groups of clusters in the order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_affinities: Vec<ClusterAffinityTerm>,
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_affinities_use: GroupUse,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_tolerations: Vec<Toleration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread_constraints: Vec<SpreadConstraint>,
    /// Absent: every selected cluster gets all replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_scheduling: Option<ReplicaScheduling>,
}

/// Which clusters are selected; all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterAffinity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_selector: Option<FieldSelector>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// A named [`ClusterAffinity`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterAffinityTerm {
    #[schemars(length(min = 1, max = 32))]
    pub affinity_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_selector: Option<FieldSelector>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// How `clusterAffinities` are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupUse {
    /// The first group that can take the whole workload is used alone.
    #[default]
    FirstThatFits,
    /// The groups fill in order and empty in reverse order.
    FillInOrder,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Toleration {
    /// Empty with the operator `Exists`: every taint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Absent: every effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    Exists,
    Equal,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SpreadConstraint {
    /// `cluster` where neither this nor `spreadByLabel` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_by_field: Option<SpreadField>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spread_by_label: String,
    /// Groups at the most; 0 or absent is no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_groups: u32,
    /// Groups at least; 1 unless said otherwise.
    #[serde(skip_serializing_if = "is_default")]
    pub min_groups: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpreadField {
    Cluster,
    Region,
    Zone,
    Provider,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReplicaScheduling {
    pub replica_scheduling_type: ReplicaSchedulingType,
    /// How `Divided` replicas are divided. Absent: the placement policy decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_division_preference: Option<DivisionPreference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_preference: Option<WeightPreference>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaSchedulingType {
    Duplicated,
    #[default]
    Divided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DivisionPreference {
    Aggregated,
    Weighted,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WeightPreference {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_weight_list: Vec<StaticWeight>,
    /// Takes precedence over `staticWeightList`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_weight: Option<DynamicWeight>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticWeight {
    pub target_cluster: ClusterAffinity,
    #[schemars(range(min = 1))]
    pub weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DynamicWeight {
    AvailableReplicas,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Failover {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationFailover>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterFailover>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApplicationFailover {
    pub decision_conditions: DecisionConditions,
    pub purge_mode: PurgeMode,
    /// Seconds after which old replicas go although the new ones are not ready; 600 unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub grace_period_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecisionConditions {
    /// Seconds that replicas may stay unready before they are moved; 300 unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterFailover {
    pub purge_mode: PurgeMode,
    /// Seconds that a cluster may fail before its replicas are moved; 300 unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<u32>,
}

/// What happens to replicas that are to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PurgeMode {
    /// The old ones go at once.
    Directly,
    /// The old ones go when the new ones are ready.
    #[default]
    Gracefully,
    /// They do not move.
    Never,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Suspension {
    /// Selected workloads wait without being scheduled.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduling: bool,
    /// As `scheduling`: nothing new reaches a member cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub dispatching: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictResolution {
    /// Leave it alone and report.
    #[default]
    Abort,
    Overwrite,
}

/// Where a workload's priority comes from, instead of its pods' priority class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulePriority {
    pub priority_class_source: PriorityClassSource,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub priority_class_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PriorityClassSource {
    /// The `PriorityClass` named here.
    KubePriorityClass,
    /// The priority class of the pods.
    PodPriorityClass,
}

/// Whether room on nodes that do not exist yet counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Elasticity {
    pub enabled: bool,
    /// Longest wait for a new node; 0 or absent is no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_lead_seconds: u32,
}

impl Default for Elasticity {
    fn default() -> Self {
        Self { enabled: true, max_lead_seconds: 0 }
    }
}

/// What the replicas may cost on new nodes, all together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    #[schemars(range(min = 0))]
    pub usd_per_hour: f64,
}

/// Which policies decide, by name. Absent: what `policies.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policies {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub placement: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub migration: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnknownKinds {
    /// As they are, to every selected cluster.
    #[default]
    Distribute,
    Refuse,
}
