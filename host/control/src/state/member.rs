//! A member cluster: what is declared of it, and what was last seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::resources::{Cluster, NodePool};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, PoolRow, WorkloadKey};

use super::State;
use super::nodes::Groups;
use super::refresh::Unbound;
use crate::ports::{NodeObservation, Revision, WorkloadObservation};

#[derive(Clone, Debug, Default)]
pub struct Member {
    /// `None` for a cluster that is not declared (any more).
    pub object: Option<Cluster>,
    pub(crate) revision: Revision,
    pub pools: BTreeMap<PoolName, PoolState>,
    /// Whether it was ever observed.
    pub seen: bool,
    pub reachable: bool,
    pub since: Millis,
    /// Ascending by name.
    pub nodes: Vec<Arc<NodeObservation>>,
    pub workloads: BTreeMap<WorkloadKey, Arc<WorkloadObservation>>,
    /// Nodes that have room for more, by pool and kind: those that are ready and were not told to go.
    pub(crate) groups: Groups,
    /// Replicas that were placed here and are not bound to a node, by workload.
    pub(crate) unbound: BTreeMap<WorkloadKey, Vec<Unbound>>,
    /// Workloads with shares here that have no room.
    pub(crate) stranded: BTreeSet<WorkloadKey>,
    /// Workloads of which something is placed here.
    pub(crate) placed: BTreeSet<WorkloadKey>,
    /// Workloads with live orders here.
    pub(crate) ordering: BTreeSet<WorkloadKey>,
    /// Nodes that were told to go, and when.
    pub(crate) removing: BTreeMap<Arc<str>, Millis>,
    /// What was last sent of a workload (`None`: to delete it), and when.
    pub(crate) sent: BTreeMap<WorkloadKey, (Option<Arc<str>>, Millis)>,
}

impl Member {
    /// Its nodes by pool, each ascending by name.
    pub(crate) fn nodes_by_pool(&self) -> BTreeMap<&PoolName, Vec<&NodeObservation>> {
        let mut pools: BTreeMap<&PoolName, Vec<&NodeObservation>> = BTreeMap::new();
        for node in &self.nodes {
            pools.entry(&node.pool).or_default().push(node);
        }
        pools
    }

    /// Nodes of an order that are there and ready.
    pub(crate) fn arrived(&self, order: &OrderId) -> u32 {
        self.nodes.iter().filter(|node| node.ready && node.order.as_ref() == Some(order)).count() as u32
    }
}

/// A declared node pool.
#[derive(Clone, Debug)]
pub struct PoolState {
    pub object: NodePool,
    pub(crate) row: Option<PoolRow>,
    /// When a node was last seen to be new.
    pub(crate) last_added: Millis,
}

impl State {
    pub(crate) fn member(&self, cluster: &ClusterName) -> Option<&Member> {
        self.clusters.get(cluster)
    }

    /// What was last seen of a workload at a cluster.
    pub fn observed(&self, workload: &WorkloadKey, cluster: &ClusterName) -> Option<&WorkloadObservation> {
        self.clusters.get(cluster)?.workloads.get(workload).map(|seen| &**seen)
    }

    /// Replicas of a component that are ready at a cluster; none while the cluster does not answer, and any number of what
    /// ran to its end there.
    pub(crate) fn ready_at(&self, workload: &WorkloadKey, component: u32, cluster: &ClusterName) -> u32 {
        let member = self.clusters.get(cluster).filter(|member| member.reachable);
        let seen = member.and_then(|member| member.workloads.get(workload));
        if seen.is_some_and(|seen| seen.finished.is_some()) {
            return u32::MAX;
        }
        seen.and_then(|seen| seen.components.get(component as usize)).map_or(0, |seen| seen.ready)
    }

    /// Whether a cluster is declared and was never observed.
    pub(super) fn unseen(&self, cluster: &ClusterName) -> bool {
        self.clusters.get(cluster).is_some_and(|member| member.object.is_some() && !member.seen)
    }

    /// Whether a cluster is declared and answers.
    pub(crate) fn reachable(&self, cluster: &ClusterName) -> bool {
        self.clusters.get(cluster).is_some_and(|member| member.object.is_some() && member.reachable)
    }
}
