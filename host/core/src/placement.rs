//! The recorded decision for one workload: replicas by component, cluster and pool.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fleet::OfferingKey;
use crate::ids::{ClusterName, Millis, OrderId, PlanId, PolicyName, PoolName, WorkloadKey};

/// Replicas of one component in one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Number of the component within the workload.
    pub component: u32,
    pub cluster: ClusterName,
    pub pool: PoolName,
    pub replicas: u32,
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    pub name: PolicyName,
    pub version: Arc<str>,
    /// SHA-256 of the component in hexadecimal, or `native` for an algorithm compiled into the host.
    pub digest: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    pub workload: WorkloadKey,
    /// The workload's generation that was decided.
    pub workload_generation: u64,
    /// The plan that decided it.
    pub plan: PlanId,
    pub decided_at: Millis,
    pub policy: PolicyRef,
    /// Ascending by component, cluster and pool; no entry with 0 replicas.
    pub shares: Vec<Share>,
    /// Every cluster that receives the manifest, ascending.
    pub clusters: Vec<ClusterName>,
}

impl Placement {
    /// Replicas of a component at a cluster.
    pub fn at(&self, component: u32, cluster: &ClusterName) -> u32 {
        let here = |share: &&Share| share.component == component && share.cluster == *cluster;
        self.shares.iter().filter(here).map(|share| share.replicas).sum()
    }

    /// The shares of a component in a cluster.
    pub fn shares_at(&self, component: u32, cluster: &ClusterName) -> impl Iterator<Item = &Share> {
        let from = self.shares.partition_point(|share| (share.component, &share.cluster) < (component, cluster));
        self.shares[from..].iter().take_while(move |share| (share.component, &share.cluster) == (component, cluster))
    }

    /// Replicas of a component in all clusters, or `u32::MAX` where a duplicated workload has more.
    pub fn total(&self, component: u32) -> u32 {
        let shares = self.shares.iter().filter(|share| share.component == component);
        shares.fold(0, |total, share| total.saturating_add(share.replicas))
    }
}

/// Nodes that a placement needs and that do not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOrder {
    pub id: OrderId,
    pub cluster: ClusterName,
    pub pool: PoolName,
    pub offering: OfferingKey,
    pub nodes: u32,
}
