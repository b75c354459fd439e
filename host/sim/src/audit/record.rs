//! The forms in which placements, plans and decisions are stored, read by structs of our own.
//!
//! Only the fields that are checked; whatever else stands there is ignored.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::fleet::OfferingKey;
use berth_core::ids::WorkloadKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyRef {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    pub(super) digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Share {
    pub(super) component: u32,
    pub(super) cluster: String,
    pub(super) pool: String,
    pub(super) replicas: u32,
}

#[derive(Clone, Debug, Deserialize)]
struct Reference {
    kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
}

/// A stored `Placement`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Placement {
    spec: PlacementSpec,
    #[serde(default)]
    status: PlacementStatus,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlacementSpec {
    workload: Reference,
    workload_generation: u64,
    plan: u64,
    decided_at: u64,
    policy: PolicyRef,
    #[serde(default)]
    shares: Vec<Share>,
    #[serde(default)]
    clusters: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PlacementStatus {
    conditions: Vec<Condition>,
    reservations: Vec<Reservation>,
    retiring: Vec<Retiring>,
    short: Option<Reason>,
    finished: Option<IgnoredAny>,
}

/// Whether it is placed in full, and why not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reservation {
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) pool: String,
    /// As it stands; compared, never looked into.
    pub(super) offering: OfferingRef,
    pub(super) nodes: u32,
    pub(super) expires_at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfferingRef {
    #[serde(default)]
    pub(super) provider: String,
    #[serde(default)]
    pub(super) region: String,
    pub(super) zone: String,
    pub(super) instance_type: String,
    pub(super) capacity_type: String,
}

impl From<&OfferingKey> for OfferingRef {
    fn from(key: &OfferingKey) -> Self {
        Self {
            provider: key.provider.to_string(),
            region: key.region.to_string(),
            zone: key.zone.to_string(),
            instance_type: key.instance_type.to_string(),
            capacity_type: key.capacity_type.as_str().to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Retiring {
    pub(super) component: u32,
    pub(super) cluster: String,
    pub(super) replicas: u32,
    pub(super) until: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Reason {
    pub(super) code: String,
}

/// A placement as it is checked.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) workload: WorkloadKey,
    pub(super) generation: u64,
    pub(super) plan: u64,
    pub(super) decided_at: u64,
    pub(super) policy: PolicyRef,
    pub(super) shares: Vec<Share>,
    pub(super) clusters: BTreeSet<String>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) retiring: Vec<Retiring>,
    pub(super) conditions: Vec<Condition>,
    pub(super) short: Option<Reason>,
    pub(super) finished: bool,
}

impl Placed {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let Placement { spec, status } = serde_json::from_slice(bytes)?;
        let mut shares = spec.shares;
        shares.retain(|share| share.replicas > 0);
        shares.sort();
        Ok(Self {
            workload: WorkloadKey::new(&spec.workload.kind, &spec.workload.namespace, &spec.workload.name),
            generation: spec.workload_generation,
            plan: spec.plan,
            decided_at: spec.decided_at,
            policy: spec.policy,
            shares,
            clusters: spec.clusters,
            reservations: status.reservations,
            retiring: status.retiring,
            conditions: status.conditions,
            short: status.short,
            finished: status.finished.is_some(),
        })
    }

    /// Replicas of a component placed in all clusters.
    pub(super) fn total(&self, component: u32) -> u64 {
        let shares = self.shares.iter().filter(|share| share.component == component);
        shares.map(|share| u64::from(share.replicas)).sum()
    }

    pub(super) fn at(&self, component: u32, cluster: &str) -> u64 {
        let here = self.shares.iter().filter(|share| share.component == component && share.cluster == cluster);
        here.map(|share| u64::from(share.replicas)).sum()
    }

    /// Replicas that may run at a cluster: those that are placed there, and those that leave it later.
    pub(super) fn promised(&self, component: u32, cluster: &str) -> u64 {
        let here = self.retiring.iter().filter(|one| one.component == component && one.cluster == cluster);
        self.at(component, cluster) + here.map(|one| u64::from(one.replicas)).sum::<u64>()
    }

    /// Replicas of all components by cluster.
    pub(super) fn by_cluster(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for share in &self.shares {
            *counts.entry(share.cluster.as_str()).or_default() += u64::from(share.replicas);
        }
        counts
    }
}

/// A plan in the history.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Plan {
    pub(super) plan: u64,
    pub(super) parent: u64,
    pub(super) changes: Vec<WorkloadKey>,
    #[serde(default)]
    pub(super) gangs: Vec<Gang>,
    #[serde(default)]
    pub(super) failures: Vec<Failure>,
}

/// A gang decision of a plan.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Gang {
    pub(super) plan: u64,
    pub(super) by: PolicyRef,
    #[serde(default)]
    pub(super) failed: Option<(PolicyRef, String)>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) policy: PolicyRef,
}

/// The tables that decisions refer to.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tables {
    #[serde(default)]
    pub(super) names: Vec<String>,
}
