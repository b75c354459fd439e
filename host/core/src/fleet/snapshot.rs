//! The snapshot: everything the planner knows of the fleet, as one numbered value.
//!
//! A clone shares all rows. Every change that has an effect gives a new generation; setting what is already there changes
//! nothing. Booking room is the planner's own work on its clone and leaves the generation alone. Each cluster carries a
//! stamp that is renewed whenever anything changes that its room depends on; stamps are unique in the process, so that
//! caches tell by a stamp alone whether they are up to date, even between clones that went different ways. Stamps decide
//! nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::fleet::{
    Cluster, Free, NodeGroup, NodeLabels, NodeState, Offering, OfferingKey, Pool, PoolInput, PoolSpec, Rows, Taint,
};
use crate::ids::{ClusterName, ClusterRow, Generation, Millis, OfferingRow, PoolName, PoolRow, ShapeRow};
use crate::policy::Tables;
use crate::quota::QuotaTree;
use crate::resources::ResourceNames;
use crate::workload::Shape;

use super::fit::Need;

mod change;

/// A change that a snapshot refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FleetError {
    #[error("node pool {pool}: there is no cluster in row {row}")]
    NoCluster { pool: PoolName, row: u32 },
    #[error("node pool {pool}: there is no offering in row {row}")]
    NoOffering { pool: PoolName, row: u32 },
    #[error("node pool {pool}: there is no shape in row {row}")]
    NoShape { pool: PoolName, row: u32 },
    #[error("node pool {pool}: max is {max}, but min is {min}; max must be at least min")]
    MaxBelowMin { pool: PoolName, min: u32, max: u32 },
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    generation: Generation,
    now: Millis,
    /// No stock turns by time alone before this.
    next_turn: Option<Millis>,
    resources: Arc<ResourceNames>,
    clusters: Rows<Arc<Cluster>>,
    cluster_rows: Arc<BTreeMap<ClusterName, ClusterRow>>,
    /// By cluster: its pools in ascending order of name.
    cluster_pools: Rows<Arc<Vec<PoolRow>>>,
    pools: Rows<Arc<Pool>>,
    inputs: Rows<Arc<PoolInput>>,
    offerings: Rows<Offering>,
    offering_rows: Arc<BTreeMap<OfferingKey, OfferingRow>>,
    /// By offering: the pools that may use it with their clusters, ascending by cluster.
    users: Rows<Arc<Vec<(ClusterRow, PoolRow)>>>,
    shapes: Rows<Arc<Need>>,
    shape_rows: Arc<BTreeMap<Arc<Shape>, ShapeRow>>,
    quotas: QuotaTree,
    /// Made when first asked for, and then shared by all clones with the same topology.
    tables: Arc<OnceLock<Arc<Tables>>>,
    stamps: Rows<Stamps>,
    pool_stamps: Rows<PoolStamps>,
    /// Lists of taints that pools have, each once, and by pool which it has.
    taints: Arc<Vec<Vec<Taint>>>,
    pool_taints: Rows<u32>,
    topology: u64,
    catalogue: u64,
}

/// Stamps of one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// Renewed when its pools changed, or an offering that they may use in anything but its stock.
    pub(crate) pools: u64,
    /// Renewed with `pools` when it is more than nodes that changed: what is declared of pools and offerings.
    pub(crate) specs: u64,
    /// Renewed with `pools` when nodes came or went, and not when only what is free on them changed.
    pub(crate) frames: u64,
    /// Renewed when only the stock of such an offering changed.
    pub(crate) stock: u64,
}

/// Stamps of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolStamps {
    /// Renewed when its nodes changed.
    pub(crate) nodes: u64,
    /// Renewed with `nodes` when nodes came or went.
    pub(crate) frame: u64,
    /// Renewed when the stock of an offering changed that it may use.
    pub(crate) stock: u64,
}

fn stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reading.
impl Snapshot {
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The time for which stock is judged; see [`Snapshot::advance`].
    pub fn now(&self) -> Millis {
        self.now
    }

    pub fn resources(&self) -> &ResourceNames {
        &self.resources
    }

    /// All clusters by row, with those that left the fleet.
    pub fn clusters(&self) -> impl Iterator<Item = (ClusterRow, &Cluster)> + '_ {
        self.clusters.iter().enumerate().map(|(row, cluster)| (ClusterRow(row as u32), &**cluster))
    }

    pub fn cluster(&self, row: ClusterRow) -> Option<&Cluster> {
        self.clusters.get(row.index()).map(|cluster| &**cluster)
    }

    pub fn cluster_row(&self, name: &str) -> Option<ClusterRow> {
        self.cluster_rows.get(name).copied()
    }

    pub fn cluster_count(&self) -> usize {
        self.clusters.len()
    }

    pub fn pool(&self, row: PoolRow) -> Option<&Pool> {
        self.pools.get(row.index()).map(|pool| &**pool)
    }

    /// The pools of a cluster in ascending order of name.
    pub fn pools_of(&self, cluster: ClusterRow) -> impl Iterator<Item = (PoolRow, &Pool)> + Clone + '_ {
        let rows = self.cluster_pools.get(cluster.index()).map_or(&[][..], |rows| rows);
        rows.iter().filter_map(|row| Some((*row, self.pool(*row)?)))
    }

    pub(crate) fn shared_pools(&self, cluster: ClusterRow) -> impl Iterator<Item = (PoolRow, Arc<Pool>)> + '_ {
        let rows = self.cluster_pools.get(cluster.index()).map_or(&[][..], |rows| rows);
        rows.iter().filter_map(|row| Some((*row, self.pools.get(row.index())?.clone())))
    }

    pub fn pool_row(&self, cluster: ClusterRow, name: &str) -> Option<PoolRow> {
        self.pools_of(cluster).find(|(_, pool)| pool.spec.name.as_str() == name).map(|(row, _)| row)
    }

    /// What a pool was last set from.
    pub fn pool_input(&self, row: PoolRow) -> Option<&PoolInput> {
        self.inputs.get(row.index()).map(|input| &**input)
    }

    pub fn offerings(&self) -> impl Iterator<Item = (OfferingRow, &Offering)> + '_ {
        self.offerings.iter().enumerate().map(|(row, offering)| (OfferingRow(row as u32), offering))
    }

    pub fn offering(&self, row: OfferingRow) -> Option<&Offering> {
        self.offerings.get(row.index())
    }

    pub fn offering_row(&self, key: &OfferingKey) -> Option<OfferingRow> {
        self.offering_rows.get(key).copied()
    }

    /// Further nodes of an offering that may be ordered now.
    pub fn orderable(&self, row: OfferingRow) -> u32 {
        self.offering(row).map_or(0, |offering| offering.orderable(self.now))
    }

    pub fn need(&self, shape: ShapeRow) -> Option<&Arc<Need>> {
        self.shapes.get(shape.index())
    }

    pub fn shape_row(&self, shape: &Shape) -> Option<ShapeRow> {
        self.shape_rows.get(shape).copied()
    }

    pub fn quotas(&self) -> &QuotaTree {
        &self.quotas
    }

    /// For the planner's own bookings on its clone.
    pub fn quotas_mut(&mut self) -> &mut QuotaTree {
        &mut self.quotas
    }

    /// The tables that policies hold. The same `Arc` until the topology changes.
    pub fn tables(&self) -> &Arc<Tables> {
        self.tables.get_or_init(|| {
            let mut tables = Tables { resources: self.resources.names().to_vec(), ..Tables::default() };
            for (row, cluster) in self.clusters() {
                tables.names.push(cluster.name.as_str().into());
                tables.providers.push(cluster.provider.clone());
                tables.regions.push(cluster.region.clone());
                let labels = cluster.labels.iter().map(|(key, value)| (row.0, key.clone(), value.clone()));
                tables.labels.extend(labels);
            }
            Arc::new(tables)
        })
    }

    /// By cluster: renewed when anything changed that its room depends on.
    pub(crate) fn stamps(&self) -> &Rows<Stamps> {
        &self.stamps
    }

    pub(crate) fn pool_stamps(&self, row: PoolRow) -> PoolStamps {
        self.pool_stamps.get(row.index()).copied().unwrap_or_default()
    }

    /// Pools of the same class have the same taints.
    pub(crate) fn taint_class(&self, row: PoolRow) -> u32 {
        self.pool_taints.get(row.index()).copied().unwrap_or(u32::MAX)
    }

    pub(crate) fn taint_classes(&self) -> usize {
        self.taints.len()
    }

    pub(crate) fn offerings_len(&self) -> usize {
        self.offerings.len()
    }

    /// Renewed when any offering's nodes changed in what they offer, or pools with other taints came.
    pub(crate) fn catalogue(&self) -> u64 {
        self.catalogue
    }

    /// Renewed when any cluster changed in anything but its pools.
    pub(crate) fn topology(&self) -> u64 {
        self.topology
    }

    pub(crate) fn region(&self, cluster: ClusterRow) -> &str {
        self.cluster(cluster).map_or("", |cluster| &cluster.region)
    }

    /// Whether a shape may run on a group of a pool whose taints it tolerates. Room that replicas left is for shapes that
    /// ask nothing of nodes, or the same as those that left.
    pub(crate) fn accepts(&self, spec: &PoolSpec, region: &str, group: &NodeGroup, need: &Need) -> bool {
        if need.shape.nodes.is_empty() {
            return true;
        }
        if let Some(part) = group.part {
            return self.need(part).is_some_and(|left| left.shape.nodes == need.shape.nodes);
        }
        need.shape.selects(&NodeLabels {
            pool: spec,
            region,
            zone: &group.zone,
            instance_type: group.instance_type.as_str(),
            capacity_type: group.offering.and_then(|row| self.offering(row)).map(|offering| offering.key.capacity_type),
        })
    }

    pub(crate) fn offering_labels<'a>(
        &self,
        spec: &'a PoolSpec,
        region: &'a str,
        offering: &'a Offering,
    ) -> NodeLabels<'a> {
        NodeLabels {
            pool: spec,
            region,
            zone: &offering.key.zone,
            instance_type: offering.key.instance_type.as_str(),
            capacity_type: Some(offering.key.capacity_type),
        }
    }

    /// One fresh node of an offering, in flight.
    pub(crate) fn fresh(&self, offering: OfferingRow) -> Option<NodeGroup> {
        let found = self.offering(offering)?;
        Some(NodeGroup {
            instance_type: found.key.instance_type.clone(),
            zone: found.key.zone.clone(),
            offering: Some(offering),
            state: NodeState::InFlight,
            free: Free::new(found.allocatable.clone()),
            count: 1,
            part: None,
        })
    }

    /// What a node of a pool offers while nothing runs on it, as far as it is known.
    pub(crate) fn allocatable(&self, row: PoolRow, group: &NodeGroup) -> Option<&crate::resources::Amounts> {
        let same = |observed: &&crate::fleet::ObservedNodes| observed.instance_type == group.instance_type;
        let observed = self.pool_input(row).and_then(|input| input.observed.iter().find(same));
        match (observed, group.offering.and_then(|row| self.offering(row))) {
            (Some(observed), _) => Some(&observed.allocatable),
            (None, offering) => offering.map(|offering| &offering.allocatable),
        }
    }

    /// A pool as if nothing ran on its nodes.
    pub(crate) fn emptied(&self, row: PoolRow, pool: &Pool) -> Pool {
        let mut groups: Vec<NodeGroup> = pool.groups.iter().filter(|group| group.part.is_none()).cloned().collect();
        for group in &mut groups {
            group.free = self.allocatable(row, group).cloned().map(Free::new).unwrap_or_default();
        }
        let mut empty = Pool { groups, ..pool.clone() };
        empty.tidy();
        empty
    }
}

#[cfg(test)]
mod tests;
