//! The planner's rows of one cluster's pools, from what is declared, observed, ordered and placed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::to_core;
use berth_core::fleet::{Free, InFlight, ObservedNodes, Offering, OfferingKey, PoolInput, Stock, StockState};
use berth_core::ids::{ClusterName, Millis, OfferingRow, PoolName, PoolRow, ShapeRow, WorkloadKey};
use berth_core::placement::Share;
use berth_core::resources::{Amounts, NamedAmounts};
use berth_core::workload::Shape;

use super::{State, WorkloadState};
use crate::ports::{ComponentObservation, NodeObservation, WorkloadObservation};
use crate::record::Record;

/// Replicas of one component of one workload that were placed in a pool and are not bound.
#[derive(Clone, Debug)]
pub(crate) struct Unbound {
    workload: WorkloadKey,
    component: u32,
    pool: PoolName,
    shape: Arc<Shape>,
    replicas: u32,
}

/// How many of the replicas placed in each pool at a cluster are not bound to a node, ascending by pool. Pods are counted
/// over the whole cluster, since its own scheduler may prefer another pool; replicas that retire count as placed.
fn unbound(
    record: &Record,
    seen: Option<&WorkloadObservation>,
    component: u32,
    cluster: &ClusterName,
) -> Vec<(PoolName, u32)> {
    let shares = record.placement.shares.iter();
    if seen.is_some_and(|seen| seen.finished.is_some()) {
        return Vec::new();
    }
    let here: Vec<&Share> = shares.filter(|share| share.component == component && share.cluster == *cluster).collect();
    let seen = seen.and_then(|seen| seen.components.get(component as usize));
    let bound_in = |pool: &PoolName| seen.and_then(|seen| seen.bound.get(pool)).copied().unwrap_or(0);
    let all_bound = seen.map_or(0, ComponentObservation::bound_anywhere);
    let placed: u32 = here.iter().map(|share| share.replicas).sum();
    let mut left = record.running_at(component, cluster).saturating_sub(all_bound).min(placed);
    let mut missing = Vec::new();
    for share in here {
        let count = share.replicas.saturating_sub(bound_in(&share.pool)).min(left);
        left -= count;
        if count > 0 {
            missing.push((share.pool.clone(), count));
        }
    }
    missing
}

impl State {
    /// Writes the rows of a cluster's pools again, and finds out which replicas have no room. `only`: of these pools;
    /// `anew`: what is declared changed, too.
    pub(super) fn refresh(
        &mut self,
        cluster: &ClusterName,
        only: Option<&BTreeSet<PoolName>>,
        anew: bool,
        now: Millis,
    ) {
        self.scan_news = true;
        let declared = self.clusters.get(cluster).is_some_and(|member| member.object.is_some());
        let only = only.filter(|_| declared);
        let concerned = |pool: &PoolName| only.is_none_or(|only| only.contains(pool));
        let mut waiting = self.unbound_at(cluster, concerned);
        let mut stranded: BTreeMap<WorkloadKey, Vec<Share>> = BTreeMap::new();
        if declared {
            let pools = self.clusters.get(cluster).into_iter().flat_map(|member| member.pools.keys());
            for pool in pools.filter(|pool| concerned(pool)).cloned().collect::<Vec<_>>() {
                let mut here = waiting.remove(&pool).unwrap_or_default();
                if let Some(row) = self.write_pool(cluster, &pool, &here, anew) {
                    self.strand(cluster, &pool, row, &mut here, &mut stranded);
                }
            }
        }
        // Pools that are not declared have no room.
        for (pool, here) in waiting {
            for one in here {
                let share = share_of(&one, cluster, &pool, one.replicas);
                stranded.entry(one.workload).or_default().push(share);
            }
        }
        if !declared {
            self.strand_all(cluster, &mut stranded);
        }
        self.put_stranded(cluster, concerned, stranded, now);
    }

    /// Counts anew what of a workload is not bound at a cluster. Gives the pools whose room that concerns.
    pub(super) fn count_unbound(&mut self, cluster: &ClusterName, key: &WorkloadKey) -> BTreeSet<PoolName> {
        let Some(member) = self.clusters.get_mut(cluster) else { return BTreeSet::new() };
        let mut found = Vec::new();
        if let Some(workload) = self.workloads.get(key)
            && let Some((record, _)) = &workload.record
            && member.placed.contains(key)
        {
            let seen = member.workloads.get(key).map(|seen| &**seen);
            for (component, part) in (0..).zip(workload.components()) {
                for (pool, replicas) in unbound(record, seen, component, cluster) {
                    let (workload, shape) = (key.clone(), part.shape.clone());
                    found.push(Unbound { workload, component, pool, shape, replicas });
                }
            }
        }
        let mut pools: BTreeSet<PoolName> = found.iter().map(|one| one.pool.clone()).collect();
        let before = match found.is_empty() {
            true => member.unbound.remove(key),
            false => member.unbound.insert(key.clone(), found),
        };
        pools.extend(before.into_iter().flatten().map(|one| one.pool));
        pools
    }

    fn unbound_at(
        &self,
        cluster: &ClusterName,
        concerned: impl Fn(&PoolName) -> bool,
    ) -> BTreeMap<PoolName, Vec<Unbound>> {
        let mut waiting: BTreeMap<PoolName, Vec<Unbound>> = BTreeMap::new();
        let unbound = self.clusters.get(cluster).into_iter().flat_map(|member| member.unbound.values().flatten());
        for one in unbound.filter(|one| concerned(&one.pool)) {
            waiting.entry(one.pool.clone()).or_default().push(one.clone());
        }
        waiting
    }

    /// Writes one pool's row. `None` where its cluster has none.
    fn write_pool(
        &mut self,
        cluster: &ClusterName,
        pool: &PoolName,
        unbound: &[Unbound],
        anew: bool,
    ) -> Option<PoolRow> {
        let known = self.clusters.get(cluster)?.pools.get(pool)?.row.filter(|_| !anew);
        let written = match known {
            Some(row) => {
                let spec = self.snapshot.pool(row)?.spec.clone();
                let input = self.pool_input(cluster, pool, &spec.offerings, unbound)?;
                self.snapshot.set_pool_input(row, input)
            }
            None => {
                let row = self.snapshot.cluster_row(cluster.as_str())?;
                let member = self.clusters.get(cluster)?;
                let (object, declared) = (&member.pools.get(pool)?.object, member.object.as_ref()?);
                let keys = to_core::pool_offerings(object, declared, self.offerings_in(declared));
                let rows: Vec<OfferingRow> = keys.iter().filter_map(|key| self.snapshot.offering_row(key)).collect();
                let mut spec = to_core::pool(object, rows).spec;
                spec.max = spec.max.max(spec.min);
                let input = self.pool_input(cluster, pool, &spec.offerings, unbound)?;
                self.snapshot.set_pool(row, spec, input)
            }
        };
        match written {
            Ok(row) => {
                if let Some(known) = self.clusters.get_mut(cluster).and_then(|member| member.pools.get_mut(pool)) {
                    known.row = Some(row);
                }
                Some(row)
            }
            Err(error) => {
                tracing::warn!(cluster = cluster.as_str(), pool = pool.as_str(), %error, "pool is left out");
                None
            }
        }
    }

    /// What is known of a pool's nodes. `offerings` are those that it may use.
    fn pool_input(
        &mut self,
        cluster: &ClusterName,
        pool: &PoolName,
        offerings: &[OfferingRow],
        unbound: &[Unbound],
    ) -> Option<PoolInput> {
        let groups = &self.clusters.get(cluster)?.groups;
        let (alike, shut) = (groups.of(pool), groups.shut(pool));
        // Nodes in flight of an offering that the pool may not use any more, or that is gone, still come.
        let in_flight: Vec<InFlight> = self
            .in_flight(cluster, pool)
            .into_iter()
            .map(|(key, nodes)| InFlight { offering: self.row_of(key), nodes })
            .collect();
        let mut observed: Vec<ObservedNodes> = Vec::with_capacity(alike.len());
        for (node, count) in alike {
            observed.push(ObservedNodes { count, ..self.observed_node(&node, offerings) });
        }
        // One that is not ready, or was told to go, has no room, and may be there for long.
        if shut > 0 {
            let (instance_type, zone, offering) = ("".into(), "".into(), None);
            let (allocatable, free) = (Amounts::default(), Free::default());
            observed.push(ObservedNodes { instance_type, zone, offering, allocatable, free, count: shut });
        }
        let mut shapes: BTreeMap<Arc<Shape>, u32> = BTreeMap::new();
        for one in unbound {
            *shapes.entry(one.shape.clone()).or_default() += one.replicas;
        }
        let unbound: Vec<(ShapeRow, u32)> =
            shapes.into_iter().map(|(shape, count)| (self.snapshot.intern(&shape), count)).collect();
        Some(PoolInput { observed, in_flight, unbound })
    }

    /// An offering's row. One that is gone, and was before this process started, stands for nodes of which nothing is known.
    fn row_of(&mut self, key: OfferingKey) -> OfferingRow {
        if let Some(row) = self.snapshot.offering_row(&key) {
            return row;
        }
        let stock = Stock { state: StockState::OutOfStock, ..Stock::default() };
        let allocatable = self.snapshot.amounts(&NamedAmounts::new());
        self.snapshot.upsert_offering(Offering { key, price: 0.0, interruption: 0.0, allocatable, stock, in_flight: 0 })
    }

    /// Nodes on order for a pool by offering, without those that arrived.
    pub(crate) fn in_flight(&self, cluster: &ClusterName, pool: &PoolName) -> BTreeMap<OfferingKey, u32> {
        let mut nodes = BTreeMap::new();
        let Some(member) = self.clusters.get(cluster) else { return nodes };
        for key in &member.ordering {
            let reservations = self.record(key).into_iter().flat_map(|record| &record.reservations);
            for one in reservations.filter(|one| one.order.cluster == *cluster && one.order.pool == *pool) {
                let arrived = self.arrived.get(&one.order.id).copied().unwrap_or(0);
                let left = one.order.nodes.saturating_sub(arrived);
                if left > 0 {
                    *nodes.entry(one.order.offering.clone()).or_default() += left;
                }
            }
        }
        nodes
    }

    fn observed_node(&mut self, node: &NodeObservation, offerings: &[OfferingRow]) -> ObservedNodes {
        let fits = |row: &&OfferingRow| {
            self.snapshot.offering(**row).is_some_and(|offering| {
                let key = &offering.key;
                key.instance_type == node.instance_type
                    && key.zone == node.zone
                    && node.capacity_type.is_none_or(|capacity| capacity == key.capacity_type)
            })
        };
        ObservedNodes {
            offering: offerings.iter().find(fits).copied(),
            instance_type: node.instance_type.clone(),
            zone: node.zone.clone(),
            allocatable: self.snapshot.amounts(&node.allocatable),
            free: Free { amounts: self.snapshot.amounts(&node.free), shared: node.shared.clone() },
            count: 1,
        }
    }

    /// Hands the replicas that a pool has no room for to workloads: the least important and youngest first.
    fn strand(
        &self,
        cluster: &ClusterName,
        pool: &PoolName,
        row: PoolRow,
        here: &mut [Unbound],
        stranded: &mut BTreeMap<WorkloadKey, Vec<Share>>,
    ) {
        let Some(lost) = self.snapshot.pool(row).map(|pool| &pool.stranded).filter(|lost| !lost.is_empty()) else {
            return;
        };
        here.sort_by_cached_key(|one| {
            let state = self.workloads.get(&one.workload);
            let priority = state.and_then(|state| state.workload.as_ref().ok()).map_or(0, |workload| workload.priority);
            let decided = state.and_then(WorkloadState::record).map(|record| record.placement.decided_at);
            (priority, std::cmp::Reverse(decided), one.workload.clone(), one.component)
        });
        for (shape, count) in lost {
            let Some(need) = self.snapshot.need(*shape) else { continue };
            let mut left = *count;
            for one in here.iter().filter(|one| one.shape == need.shape) {
                let taken = one.replicas.min(left);
                if taken > 0 {
                    left -= taken;
                    let share = share_of(one, cluster, pool, taken);
                    stranded.entry(one.workload.clone()).or_default().push(share);
                }
            }
        }
    }

    /// A cluster that left the fleet holds nothing.
    fn strand_all(&self, cluster: &ClusterName, stranded: &mut BTreeMap<WorkloadKey, Vec<Share>>) {
        stranded.clear();
        let placed = self.clusters.get(cluster).into_iter().flat_map(|member| &member.placed);
        for key in placed {
            let shares = self.record(key).into_iter().flat_map(|record| &record.placement.shares);
            let shares: Vec<Share> = shares.filter(|share| share.cluster == *cluster).cloned().collect();
            if !shares.is_empty() {
                stranded.insert(key.clone(), shares);
            }
        }
    }

    /// Puts what is without room in the pools concerned in place of what was.
    fn put_stranded(
        &mut self,
        cluster: &ClusterName,
        concerned: impl Fn(&PoolName) -> bool,
        mut stranded: BTreeMap<WorkloadKey, Vec<Share>>,
        now: Millis,
    ) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        let mut keys = std::mem::take(&mut member.stranded);
        keys.extend(stranded.keys().cloned());
        keys.retain(|key| {
            let Some(state) = self.workloads.get_mut(key) else { return false };
            let before = state.stranded.remove(cluster).unwrap_or_default();
            let elsewhere = before.iter().filter(|share| !concerned(&share.pool)).cloned();
            let mut after: Vec<Share> = elsewhere.chain(stranded.remove(key).unwrap_or_default()).collect();
            after.sort();
            let (changed, some) = (before != after, !after.is_empty());
            if some {
                state.stranded.insert(cluster.clone(), after);
            }
            if changed {
                self.consider(key, now);
            }
            some
        });
        if let Some(member) = self.clusters.get_mut(cluster) {
            member.stranded = keys;
        }
    }
}

fn share_of(one: &Unbound, cluster: &ClusterName, pool: &PoolName, replicas: u32) -> Share {
    Share { component: one.component, cluster: cluster.clone(), pool: pool.clone(), replicas }
}
