//! The rows that the API and the command line show. Plain data, without how it is found.

use std::sync::Arc;

use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, PlanId, PoolName, WorkloadKey};
use berth_core::placement::PolicyRef;
use berth_core::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::event::ClusterReplicas;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRow {
    pub workload: WorkloadKey,
    /// Replicas that the manifest asks for, of all components; 0 for objects without replicas.
    pub wanted: u32,
    pub placed: u32,
    pub ready: u32,
    /// Ascending by cluster.
    pub clusters: Vec<WorkloadAt>,
    /// Who decided last; `None` before the first decision.
    pub by: Option<PolicyRef>,
    /// Why it waits, wholly or in part.
    pub waiting: Option<Reason>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadAt {
    pub cluster: ClusterName,
    pub replicas: u32,
    pub ready: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRow {
    pub name: ClusterName,
    pub provider: Arc<str>,
    pub region: Arc<str>,
    pub reachable: bool,
    /// Since when `reachable` is what it is.
    pub since: Millis,
    /// Nodes that there are, ready or not.
    pub nodes: u32,
    /// Nodes that are ordered and not there yet.
    pub ordered: u32,
    /// Ascending by name of the resource.
    pub resources: Vec<ResourceUse>,
    /// Replicas placed here.
    pub replicas: u32,
    /// USD per hour of its nodes.
    pub usd_per_hour: f64,
}

/// Amounts in the resource's base unit, summed over ready nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceUse {
    pub name: Arc<str>,
    pub allocatable: u64,
    pub free: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    pub cluster: ClusterName,
    pub name: PoolName,
    pub nodes: u32,
    pub ordered: u32,
    pub min: u32,
    pub max: u32,
    pub resources: Vec<ResourceUse>,
    pub usd_per_hour: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow {
    #[serde(flatten)]
    pub offering: OfferingKey,
    /// USD per hour and node.
    pub price: f64,
    pub interruption: f64,
    pub stock: Stock,
    /// Nodes ordered and not there yet.
    pub ordered: u32,
}

/// Why a workload runs where it does, and not elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub row: WorkloadRow,
    /// `None` before the first decision.
    pub decision: Option<DecisionRow>,
    /// Input that decided, by cluster: candidates first, those with replicas before the others.
    pub clusters: Vec<Verdict>,
    /// Earlier decisions, newest first.
    pub history: Vec<DecisionRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRow {
    pub plan: PlanId,
    pub at: Millis,
    pub by: PolicyRef,
    /// The policy that should have decided, and why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<(PolicyRef, String)>,
    pub fuel: u64,
    /// Where its replicas were and where they went.
    pub clusters: Vec<ClusterReplicas>,
    /// Why nothing was placed, or fewer than wanted.
    pub short: Option<Reason>,
}

/// What was known of one cluster when the workload was decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub cluster: ClusterName,
    /// Replicas that it got, of all components.
    pub replicas: u32,
    /// Why it got none; `None` where it got some.
    pub reason: Option<Reason>,
    /// `None` where it was no candidate.
    pub candidate: Option<CandidateRow>,
    /// Numbers that the policy says decided.
    pub terms: Vec<(Arc<str>, f64)>,
}

/// Columns of a candidate, for the main component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateRow {
    pub ready: u32,
    pub elastic: u32,
    pub current: u32,
    /// USD per hour for the next elastic replica.
    pub price: f64,
    /// USD per hour and replica of the replicas placed there now; 0 where there are none or no price is known.
    pub current_price: f64,
    pub lead_seconds: u32,
    pub interruption: f64,
    pub tier: u32,
    pub weight: u32,
}
