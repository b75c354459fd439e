//! `Placement`: the recorded decision for one workload. Written by Berth alone.

use berth_core::fleet as core_fleet;
use berth_core::ids::{Millis, PlanId, WorkloadKey};
use berth_core::placement as core;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fleet::CapacityType;
use crate::meta::ObjectMeta;

/// The decision, field by field as in [`berth_core::placement::Placement`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSpec {
    pub workload: WorkloadRef,
    pub workload_generation: u64,
    /// Number of the plan that decided.
    pub plan: u64,
    /// Milliseconds since the Unix epoch.
    pub decided_at: u64,
    pub policy: PolicyRef,
    #[serde(default)]
    pub shares: Vec<Share>,
    /// Every cluster that receives the manifest.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Whatever a later version records.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Group, version and kind, such as `apps/v1/Deployment`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
}

impl From<&WorkloadKey> for WorkloadRef {
    fn from(key: &WorkloadKey) -> Self {
        Self { kind: key.kind.to_string(), namespace: key.namespace.to_string(), name: key.name.to_string() }
    }
}

impl From<&WorkloadRef> for WorkloadKey {
    fn from(reference: &WorkloadRef) -> Self {
        Self::new(&reference.kind, &reference.namespace, &reference.name)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    pub name: String,
    pub version: String,
    /// SHA-256 of the component in hexadecimal, or `native`.
    pub digest: String,
}

/// Replicas of one component in one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Number of the component within the workload.
    pub component: u32,
    pub cluster: String,
    pub pool: String,
    pub replicas: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementStatus {
    pub conditions: Vec<Condition>,
    /// Nodes that are held or ordered for this placement.
    pub reservations: Vec<Reservation>,
    /// Whatever else the loops record.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A stable code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub since: u64,
}

/// A node order and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    pub id: String,
    pub cluster: String,
    pub pool: String,
    pub offering: OfferingRef,
    pub nodes: u32,
    pub state: ReservationState,
    /// Milliseconds since the Unix epoch, after which it is rolled back.
    pub expires_at: u64,
    /// Whatever else the loops record.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferingRef {
    pub provider: String,
    pub region: String,
    pub zone: String,
    pub instance_type: String,
    pub capacity_type: CapacityType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReservationState {
    Reserved,
    Ordered,
    Committed,
    RolledBack,
    Expired,
}

impl From<&core_fleet::OfferingKey> for OfferingRef {
    fn from(key: &core_fleet::OfferingKey) -> Self {
        Self {
            provider: key.provider.to_string(),
            region: key.region.to_string(),
            zone: key.zone.to_string(),
            instance_type: key.instance_type.to_string(),
            capacity_type: key.capacity_type.into(),
        }
    }
}

impl From<&OfferingRef> for core_fleet::OfferingKey {
    fn from(reference: &OfferingRef) -> Self {
        Self {
            provider: reference.provider.as_str().into(),
            region: reference.region.as_str().into(),
            zone: reference.zone.as_str().into(),
            instance_type: reference.instance_type.as_str().into(),
            capacity_type: reference.capacity_type.into(),
        }
    }
}

impl From<&core::Placement> for PlacementSpec {
    fn from(placement: &core::Placement) -> Self {
        let policy = &placement.policy;
        Self {
            workload: (&placement.workload).into(),
            workload_generation: placement.workload_generation,
            plan: placement.plan.0,
            decided_at: placement.decided_at.0,
            policy: PolicyRef {
                name: policy.name.to_string(),
                version: policy.version.to_string(),
                digest: policy.digest.to_string(),
            },
            shares: placement
                .shares
                .iter()
                .map(|share| Share {
                    component: share.component,
                    cluster: share.cluster.to_string(),
                    pool: share.pool.to_string(),
                    replicas: share.replicas,
                })
                .collect(),
            clusters: placement.clusters.iter().map(ToString::to_string).collect(),
            other: Map::new(),
        }
    }
}

impl From<&PlacementSpec> for core::Placement {
    fn from(spec: &PlacementSpec) -> Self {
        let mut shares: Vec<core::Share> = spec
            .shares
            .iter()
            .filter(|share| share.replicas > 0)
            .map(|share| core::Share {
                component: share.component,
                cluster: share.cluster.as_str().into(),
                pool: share.pool.as_str().into(),
                replicas: share.replicas,
            })
            .collect();
        shares.sort();
        let mut clusters: Vec<_> = spec.clusters.iter().map(|name| name.as_str().into()).collect();
        clusters.sort();
        Self {
            workload: (&spec.workload).into(),
            workload_generation: spec.workload_generation,
            plan: PlanId(spec.plan),
            decided_at: Millis(spec.decided_at),
            policy: core::PolicyRef {
                name: spec.policy.name.as_str().into(),
                version: spec.policy.version.as_str().into(),
                digest: spec.policy.digest.as_str().into(),
            },
            shares,
            clusters,
        }
    }
}

impl super::Placement {
    /// The object that records `placement`, in the workload's namespace.
    pub fn of(placement: &core::Placement) -> Self {
        let metadata = ObjectMeta {
            name: placement_name(&placement.workload),
            namespace: placement.workload.namespace.to_string(),
            ..ObjectMeta::default()
        };
        Self { metadata, spec: placement.into(), status: None }
    }
}

/// Name of a workload's placement: different for different workloads of one namespace, because neither a kind nor the
/// rewritten group has a dot.
pub fn placement_name(workload: &WorkloadKey) -> String {
    let mut parts = workload.kind.rsplitn(3, '/');
    let kind = parts.next().unwrap_or_default().to_lowercase();
    let _version = parts.next();
    let group = parts.next().unwrap_or("core").replace('.', "-");
    format!("{}.{kind}.{group}", workload.name)
}
