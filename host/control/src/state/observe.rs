//! Takes in what members and providers say.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::resources::GPU_SHARE;

use super::State;
use super::nodes::{self, Change};
use crate::event::{Event, What};
use crate::ports::{ClusterObservation, NodeObservation, WorkloadObservation};

/// Whether there is more free on ready nodes than before.
fn more_room(changes: &[Change]) -> bool {
    let mut free: BTreeMap<&str, i128> = BTreeMap::new();
    let mut count = 0;
    for (before, after) in changes {
        for (node, sign) in [(before, -1), (after, 1)] {
            let Some(node) = node.as_ref().filter(|node| node.ready) else { continue };
            count += sign;
            let shared = node.shared.iter().map(|milli| u64::from(*milli)).sum();
            let amounts = node.free.iter().map(|(name, amount)| (&**name, *amount));
            for (name, amount) in amounts.chain([(GPU_SHARE, shared)]) {
                *free.entry(name).or_default() += sign * i128::from(amount);
            }
        }
    }
    count > 0 || free.values().any(|more| *more > 0)
}

type Workloads = BTreeMap<WorkloadKey, Arc<WorkloadObservation>>;

/// Workloads that are seen otherwise than before, and how. One behind the same pointer is not looked into.
fn differences(before: &Workloads, after: &Workloads) -> Vec<(WorkloadKey, Option<Arc<WorkloadObservation>>)> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        match order {
            Ordering::Less => found.extend(old.next().map(|(key, _)| (key.clone(), None))),
            Ordering::Greater => found.extend(new.next().map(|(key, seen)| (key.clone(), Some(seen.clone())))),
            Ordering::Equal => {
                let (known, seen) = (old.next(), new.next());
                let same =
                    known.zip(seen).is_some_and(|((_, one), (_, other))| Arc::ptr_eq(one, other) || one == other);
                found.extend(seen.filter(|_| !same).map(|(key, seen)| (key.clone(), Some(seen.clone()))));
            }
        }
    }
}

/// Pods bound to nodes, by component and pool.
fn bound(seen: &WorkloadObservation) -> Vec<&BTreeMap<PoolName, u32>> {
    seen.components.iter().map(|component| &component.bound).collect()
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
        if first {
            self.dirty.clusters.insert(name.clone());
            self.dirty.unbound.entry(name.clone()).or_default().extend(member.placed.iter().cloned());
        }
        member.reachable = seen.reachable;
        member.since = seen.since;
        let changes = nodes::changes(&member.nodes, &seen.nodes);
        if !changes.is_empty() {
            self.epoch += u64::from(more_room(&changes));
            self.take_nodes(name, &seen.nodes, &changes, now);
        }
        self.take_workloads(name, &seen.workloads, first);
        if turned {
            self.put_cluster(name);
            self.turn(name, seen.reachable, first, now);
        }
        events
    }

    fn take_nodes(&mut self, cluster: &ClusterName, nodes: &[Arc<NodeObservation>], changes: &[Change], now: Millis) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        let mut orders: BTreeSet<&OrderId> = BTreeSet::new();
        for (before, after) in changes {
            let pools: BTreeSet<&PoolName> = [before, after].into_iter().flatten().map(|node| &node.pool).collect();
            pools.into_iter().for_each(|pool| self.dirty.room(cluster, pool));
            if let Some(before) = before {
                member.groups.remove(before);
            }
            match after {
                Some(after) => {
                    let open = after.ready && !member.removing.contains_key(&after.name);
                    member.groups.add(after, open);
                }
                None => _ = before.as_ref().and_then(|gone| member.removing.remove(&gone.name)),
            }
            let Some(after) = after else { continue };
            if before.is_none()
                && let Some(pool) = member.pools.get_mut(&after.pool)
            {
                pool.last_added = now;
            }
            orders.extend(after.order.as_ref().filter(|order| self.orders.contains_key(*order)));
        }
        member.nodes.clear();
        member.nodes.extend_from_slice(nodes);
        for order in orders {
            let there = member.arrived(order);
            let most = self.arrived.entry(order.clone()).or_default();
            *most = there.max(*most);
            // What is still on its way is less, for the pool that it was ordered for.
            self.dirty.all_rooms(cluster);
        }
    }

    /// Notes that a node was told to go: nothing is placed on it any more.
    pub(crate) fn note_removal(&mut self, cluster: &ClusterName, node: &Arc<str>, now: Millis) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        member.removing.insert(node.clone(), now);
        if let Ok(at) = member.nodes.binary_search_by(|seen| seen.name.cmp(node)) {
            member.groups.remove(&member.nodes[at]);
            member.groups.add(&member.nodes[at], false);
            self.dirty.room(cluster, &member.nodes[at].pool);
        }
    }

    fn take_workloads(&mut self, cluster: &ClusterName, seen: &Workloads, first: bool) {
        let Some(member) = self.clusters.get_mut(cluster) else { return };
        for (key, after) in differences(&member.workloads, seen) {
            let before = match &after {
                Some(after) => member.workloads.insert(key.clone(), after.clone()),
                None => member.workloads.remove(&key),
            };
            if before.as_ref().map(|one| &one.digest) != after.as_ref().map(|one| &one.digest) {
                match first {
                    true => self.dirty.unverified.insert(key.clone()),
                    false => self.dirty.manifests.insert(key.clone()),
                };
            }
            if before.as_ref().map(|one| bound(one)) != after.as_ref().map(|one| bound(one)) {
                self.dirty.unbound.entry(cluster.clone()).or_default().insert(key.clone());
            }
            let known = self.workloads.get_mut(&key).map(|state| &mut state.seen_in);
            match (known, after.is_some()) {
                (Some(seen_in), true) => drop(seen_in.insert(cluster.clone())),
                (Some(seen_in), false) => drop(seen_in.remove(cluster)),
                (None, true) => drop(self.orphans.entry(key.clone()).or_default().insert(cluster.clone())),
                (None, false) => {
                    let left = self.orphans.get_mut(&key).is_some_and(|clusters| {
                        clusters.remove(cluster);
                        !clusters.is_empty()
                    });
                    if !left {
                        self.orphans.remove(&key);
                    }
                }
            }
            self.dirty.health.insert(key);
        }
    }

    /// A cluster was lost, or is back: what is placed there is looked at again, and what goes everywhere may go there.
    fn turn(&mut self, cluster: &ClusterName, reachable: bool, first: bool, now: Millis) {
        let Some(member) = self.clusters.get(cluster) else { return };
        // What a cluster shows when it is first seen was noted as it was taken in.
        let shown = member.workloads.keys().filter(|_| !first);
        let placed = member.placed.iter().filter(|key| !first || !member.workloads.contains_key(*key));
        let there: Vec<WorkloadKey> = placed.chain(shown).cloned().collect();
        match first {
            true => self.dirty.unverified.extend(there.iter().cloned()),
            false => self.dirty.manifests.extend(there.iter().cloned()),
        }
        self.dirty.health.extend(there);
        if !reachable {
            return;
        }
        self.epoch += 1;
        let elsewhere = |key: &&WorkloadKey| {
            let record = self.workloads.get(*key).and_then(|state| state.record());
            record.is_some_and(|record| !record.placement.clusters.contains(cluster))
        };
        let wide: Vec<WorkloadKey> = self.wide.iter().filter(elsewhere).cloned().collect();
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
