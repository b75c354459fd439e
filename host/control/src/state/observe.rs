//! Takes in what members and providers say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::resources::NamedAmounts;
use berth_core::workload::Division;

use super::State;
use crate::event::{Event, What};
use crate::ports::{ClusterObservation, NodeObservation};

/// What is free on ready nodes, to see whether there is more than before.
fn room(nodes: &[Arc<NodeObservation>]) -> (usize, NamedAmounts) {
    let mut free = NamedAmounts::new();
    let ready = nodes.iter().filter(|node| node.ready);
    for (name, amount) in ready.clone().flat_map(|node| &node.free) {
        let sum = free.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
    let shared = ready.clone().flat_map(|node| &node.shared).map(|milli| u64::from(*milli)).sum();
    free.insert(berth_core::resources::GPU_SHARE.into(), shared);
    (ready.count(), free)
}

impl State {
    /// Takes in a cluster's observation and says what happened.
    pub(crate) fn observe(&mut self, name: &ClusterName, seen: &ClusterObservation, now: Millis) -> Vec<Event> {
        let member = self.clusters.entry(name.clone()).or_default();
        let mut events = Vec::new();
        let first = !member.seen;
        let turned = first || member.reachable != seen.reachable;
        if turned && !first {
            let cluster = name.clone();
            let what = if seen.reachable { What::ClusterBack { cluster } } else { What::ClusterLost { cluster } };
            events.push(Event { at: now, what });
        } else if first && !seen.reachable {
            events.push(Event { at: now, what: What::ClusterLost { cluster: name.clone() } });
        }
        member.seen = true;
        member.reachable = seen.reachable;
        member.since = seen.since;
        if member.nodes != seen.nodes {
            let (before, after) = (room(&member.nodes), room(&seen.nodes));
            let more = after.0 > before.0
                || after.1.iter().any(|(name, amount)| before.1.get(name).is_none_or(|before| amount > before));
            self.epoch += u64::from(more);
            self.take_nodes(name, &seen.nodes, now);
            self.dirty.clusters.insert(name.clone());
        }
        self.take_workloads(name, &seen.workloads);
        if turned {
            self.put_cluster(name);
            self.turn(name, seen.reachable, now);
        }
        events
    }

    fn take_nodes(&mut self, cluster: &ClusterName, nodes: &[Arc<NodeObservation>], now: Millis) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        let known: BTreeSet<&Arc<str>> = member.nodes.iter().map(|node| &node.name).collect();
        let mut added: BTreeSet<PoolName> = BTreeSet::new();
        let mut arrived: BTreeMap<OrderId, u32> = BTreeMap::new();
        for node in nodes {
            if !known.contains(&node.name) {
                added.insert(node.pool.clone());
            }
            if let Some(order) = node.order.as_ref().filter(|_| node.ready) {
                *arrived.entry(order.clone()).or_default() += 1;
            }
        }
        for (pool, state) in &mut member.pools {
            if added.contains(pool) {
                state.last_added = now;
            }
        }
        let there: BTreeSet<&Arc<str>> = nodes.iter().map(|node| &node.name).collect();
        member.removing.retain(|node, _| there.contains(node));
        member.nodes = nodes.to_vec();
        for (order, count) in arrived {
            if self.orders.contains_key(&order) {
                let most = self.arrived.entry(order).or_default();
                *most = count.max(*most);
            }
        }
    }

    fn take_workloads(
        &mut self,
        cluster: &ClusterName,
        seen: &BTreeMap<WorkloadKey, crate::ports::WorkloadObservation>,
    ) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        let keys: BTreeSet<WorkloadKey> = member.workloads.keys().chain(seen.keys()).cloned().collect();
        for key in keys {
            let (before, after) = (member.workloads.get(&key), seen.get(&key));
            if before == after {
                continue;
            }
            let digest = |one: Option<&crate::ports::WorkloadObservation>| one.map(|one| one.digest.clone());
            if digest(before) != digest(after) {
                self.dirty.manifests.insert(key.clone());
            }
            let bound = |one: Option<&crate::ports::WorkloadObservation>| {
                one.map(|one| one.components.iter().map(|component| component.bound.clone()).collect::<Vec<_>>())
            };
            if bound(before) != bound(after) {
                self.dirty.clusters.insert(cluster.clone());
            }
            if let Some(state) = self.workloads.get_mut(&key) {
                match after.is_some() {
                    true => state.seen_in.insert(cluster.clone()),
                    false => state.seen_in.remove(cluster),
                };
            }
            self.dirty.health.insert(key.clone());
            match after {
                Some(after) => drop(member.workloads.insert(key, after.clone())),
                None => drop(member.workloads.remove(&key)),
            }
        }
    }

    /// A cluster was lost, or is back: what is placed there is looked at again, and what goes everywhere may go there.
    fn turn(&mut self, cluster: &ClusterName, reachable: bool, now: Millis) {
        let Some(member) = self.clusters.get(cluster) else { return };
        let there: Vec<WorkloadKey> = member.placed.iter().chain(member.workloads.keys()).cloned().collect();
        self.dirty.manifests.extend(there.iter().cloned());
        self.dirty.health.extend(there);
        if !reachable {
            return;
        }
        self.epoch += 1;
        let everywhere = |state: &super::WorkloadState| {
            state.workload.as_ref().is_ok_and(|workload| {
                workload.components.is_empty()
                    || (workload.rules.division == Division::Duplicated && !workload.rules.gang)
            })
        };
        let placed = |state: &super::WorkloadState| {
            state.record().is_some_and(|record| !record.placement.clusters.contains(cluster))
        };
        let wide = self.workloads.iter().filter(|(_, state)| everywhere(state) && placed(state));
        let wide: Vec<WorkloadKey> = wide.map(|(key, _)| key.clone()).collect();
        for key in wide {
            if let Some(state) = self.workloads.get_mut(&key) {
                state.reconsider = true;
            }
            self.consider(&key, now);
        }
    }

    /// Takes in what a provider says of stock.
    pub(crate) fn observe_stock(&mut self, reports: Vec<(OfferingKey, Stock)>, now: Millis) -> Vec<Event> {
        let mut events = Vec::new();
        for (key, report) in reports {
            let Some(known) = self.offerings.get_mut(&key) else { continue };
            if known.reported.as_ref() == Some(&report) {
                continue;
            }
            let before = known.stock().state;
            known.reported = Some(report);
            let after = known.stock().state;
            if before != after {
                let (from, to) = (format!("{before:?}"), format!("{after:?}"));
                events.push(Event { at: now, what: What::StockChanged { offering: key.clone(), from, to } });
            }
            self.put_offering(&key);
        }
        events
    }
}
