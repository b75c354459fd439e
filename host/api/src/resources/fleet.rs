//! `Cluster`, `NodePool` and `Offering`.

use std::collections::BTreeMap;

use berth_core::fleet as core;
use berth_core::ids::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::duration::Duration;
use crate::quantity::Quantities;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Name of the provider, such as `aws`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Numbers for policies, such as `carbon` or `latency-ms`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: TaintEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePoolSpec {
    /// Name of the `Cluster` whose nodes these are.
    pub cluster: String,
    /// Short for one entry of `offerings` with these instance types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// Which offerings the pool may use, of those in its cluster's provider, region and zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offerings: Vec<OfferingSelector>,
    /// Labels of its nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Nodes that are always kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min: u32,
    /// Nodes at the most.
    pub max: u32,
    /// Seconds from an order until a replica can run on the new node.
    #[serde(default = "default_lead", skip_serializing_if = "is_default_lead")]
    pub lead_seconds: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub scale_down: ScaleDown,
}

const DEFAULT_LEAD_SECONDS: u32 = 60;

fn default_lead() -> u32 {
    DEFAULT_LEAD_SECONDS
}

fn is_default_lead(lead: &u32) -> bool {
    *lead == DEFAULT_LEAD_SECONDS
}

/// Conditions on an offering; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferingSelector {
    /// Empty: every instance type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// Empty: every zone of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Absent: every capacity type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<CapacityType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    OnDemand,
    Spot,
    Reserved,
}

/// When a node is removed: its utilisation is below the threshold for longer than `unneeded`, and nothing was added to the
/// pool for `coolDown`. A node with GPUs needs CPU, memory and GPU below their thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScaleDown {
    /// Share of CPU and of memory that pods request, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub utilization_threshold: f64,
    /// Share of GPUs that pods request, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub gpu_utilization_threshold: f64,
    pub cool_down: Duration,
    pub unneeded: Duration,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self {
            utilization_threshold: 0.5,
            gpu_utilization_threshold: 0.3,
            cool_down: Duration::from_seconds(600),
            unneeded: Duration::from_seconds(600),
        }
    }
}

/// One instance type in one zone at one capacity type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferingSpec {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    pub zone: String,
    #[schemars(length(min = 1))]
    pub instance_type: String,
    pub capacity_type: CapacityType,
    /// USD per hour and node.
    #[schemars(range(min = 0))]
    pub price: f64,
    /// Share of instances that are reclaimed in a month, 0 to 1.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0, max = 1))]
    pub interruption: f64,
    /// What a fresh node offers to pods.
    pub allocatable: Quantities,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferingStatus {
    #[serde(default)]
    pub stock: StockReport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StockState {
    InStock,
    Limited,
    OutOfStock,
    #[default]
    Unknown,
}

/// What is known of an offering's stock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StockReport {
    pub state: StockState,
    /// Nodes that could certainly be had when this was reported.
    pub lower_bound: u32,
    /// 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub confidence: f64,
    /// Milliseconds since the Unix epoch.
    pub observed_at: u64,
    /// How long the report holds; `0s` for ever.
    pub ttl: Duration,
    /// Nodes that may be ordered at once while the stock is unknown.
    pub probe: u32,
    /// No order before this time, in milliseconds since the Unix epoch.
    pub retry_at: u64,
}

impl From<core::CapacityType> for CapacityType {
    fn from(capacity: core::CapacityType) -> Self {
        match capacity {
            core::CapacityType::OnDemand => Self::OnDemand,
            core::CapacityType::Spot => Self::Spot,
            core::CapacityType::Reserved => Self::Reserved,
        }
    }
}

impl From<CapacityType> for core::CapacityType {
    fn from(capacity: CapacityType) -> Self {
        match capacity {
            CapacityType::OnDemand => Self::OnDemand,
            CapacityType::Spot => Self::Spot,
            CapacityType::Reserved => Self::Reserved,
        }
    }
}

impl From<TaintEffect> for core::TaintEffect {
    fn from(effect: TaintEffect) -> Self {
        match effect {
            TaintEffect::NoSchedule => Self::NoSchedule,
            TaintEffect::PreferNoSchedule => Self::PreferNoSchedule,
            TaintEffect::NoExecute => Self::NoExecute,
        }
    }
}

impl From<&core::Stock> for StockReport {
    fn from(stock: &core::Stock) -> Self {
        Self {
            state: match stock.state {
                core::StockState::InStock => StockState::InStock,
                core::StockState::Limited => StockState::Limited,
                core::StockState::OutOfStock => StockState::OutOfStock,
                core::StockState::Unknown => StockState::Unknown,
            },
            lower_bound: stock.lower_bound,
            confidence: stock.confidence,
            observed_at: stock.observed_at.0,
            ttl: Duration(stock.ttl_ms),
            probe: stock.probe,
            retry_at: stock.retry_at.0,
        }
    }
}

impl From<&StockReport> for core::Stock {
    fn from(report: &StockReport) -> Self {
        Self {
            state: match report.state {
                StockState::InStock => core::StockState::InStock,
                StockState::Limited => core::StockState::Limited,
                StockState::OutOfStock => core::StockState::OutOfStock,
                StockState::Unknown => core::StockState::Unknown,
            },
            lower_bound: report.lower_bound,
            confidence: report.confidence,
            observed_at: Millis(report.observed_at),
            ttl_ms: report.ttl.millis(),
            probe: report.probe,
            retry_at: Millis(report.retry_at),
        }
    }
}
