//! Promise 1: no plan overcommits pools, nodes, offerings or quotas.
//!
//! Judged is what a look brought: the placements before and after it, both held against what is declared and what was seen
//! at that moment. A plan may find something overcommitted, because a node was lost or a quota was lowered; it must not make
//! that worse. Where something is not known for certain, such as the size of a pod that Spark makes, the plan is right.

use std::collections::{BTreeMap, BTreeSet};

use berth_control::ports::{ClusterObservation, NodeProvider, OrderState};
use berth_core::fleet::{Stock as Report, StockState};
use berth_core::ids::WorkloadKey;

use super::Sight;
use super::breach::{Found, Invariant};
use super::fleet::Stock;
use super::pack::{Bin, Item, packs};
use super::record::{OfferingRef, Placed};
use super::store::{Change, Mirror};
use super::work::Amounts;

/// Nodes of an offering that may be ordered where nobody says how many there are.
const UNCOUNTED: u64 = 8;

/// Most nodes of each order that were seen at once: they are not on order any more.
#[derive(Debug, Default)]
pub(super) struct Arrived(BTreeMap<String, u64>);

impl Arrived {
    /// A controller that was started anew knows only what it sees.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    pub(super) fn take(&mut self, mirror: &Mirror, sight: &Sight<'_>) {
        let held = mirror.placements.values().flat_map(|placed| &placed.reservations);
        let mut orders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for one in held {
            orders.entry(one.cluster.as_str()).or_default().insert(one.id.as_str());
        }
        for (cluster, orders) in &orders {
            let Some(seen) = observed(sight, cluster) else { continue };
            let mut here: BTreeMap<&str, u64> = BTreeMap::new();
            for order in seen.nodes.iter().filter_map(|node| node.order.as_ref()) {
                if orders.contains(order.as_str()) {
                    *here.entry(order.as_str()).or_default() += 1;
                }
            }
            for (order, count) in here {
                let most = self.0.entry(order.to_owned()).or_default();
                *most = count.max(*most);
            }
        }
        let live = |id: &String| orders.values().any(|orders| orders.contains(id.as_str()));
        self.0.retain(|id, _| live(id));
    }

    fn of(&self, order: &str) -> u64 {
        self.0.get(order).copied().unwrap_or(0)
    }
}

fn observed<'a>(sight: &Sight<'a>, cluster: &str) -> Option<&'a ClusterObservation> {
    sight.simulation.members.clusters.get(cluster).map(|cluster| &cluster.observed)
}

/// All placements at one end of a look.
struct Side<'a> {
    mirror: &'a Mirror,
    /// Those that are not what they are now.
    other: BTreeMap<&'a WorkloadKey, Option<&'a Placed>>,
}

impl<'a> Side<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a WorkloadKey, &'a Placed)> {
        let now = self.mirror.placements.iter().filter(|(key, _)| !self.other.contains_key(key));
        let now = now.map(|(key, placed)| (key, &**placed));
        now.chain(self.other.iter().filter_map(|(key, placed)| Some((*key, (*placed)?))))
    }

    fn get(&self, key: &WorkloadKey) -> Option<&'a Placed> {
        match self.other.get(key) {
            Some(placed) => *placed,
            None => self.mirror.placements.get(key).map(|placed| &**placed),
        }
    }
}

pub(super) fn check(mirror: &Mirror, changes: &[Change], arrived: &Arrived, sight: &Sight<'_>, found: &mut Found) {
    if changes.is_empty() {
        return;
    }
    let mut other: BTreeMap<&WorkloadKey, Option<&Placed>> = BTreeMap::new();
    for change in changes {
        other.entry(&change.workload).or_insert(change.before.as_deref());
    }
    let look =
        Look { mirror, sight, arrived, before: Side { mirror, other }, after: Side { mirror, other: BTreeMap::new() } };
    look.quotas(found);
    look.offerings(found);
    for (cluster, pool) in look.grown() {
        look.maximum(cluster, pool, found);
        look.nodes(cluster, pool, found);
    }
}

struct Look<'a> {
    mirror: &'a Mirror,
    sight: &'a Sight<'a>,
    arrived: &'a Arrived,
    before: Side<'a>,
    after: Side<'a>,
}

impl<'a> Look<'a> {
    /// Pools that got replicas or orders.
    fn grown(&self) -> BTreeSet<(&'a str, &'a str)> {
        let mut grown = BTreeSet::new();
        for key in self.before.other.keys() {
            let (before, after) = (self.before.get(key), self.after.get(key));
            for share in after.iter().flat_map(|placed| &placed.shares) {
                let had = before.iter().flat_map(|placed| &placed.shares);
                let had = had.filter(|old| {
                    (old.component, &old.cluster, &old.pool) == (share.component, &share.cluster, &share.pool)
                });
                if had.map(|old| old.replicas).sum::<u32>() < share.replicas {
                    grown.insert((share.cluster.as_str(), share.pool.as_str()));
                }
            }
            for one in after.iter().flat_map(|placed| &placed.reservations) {
                let had = before.is_some_and(|before| before.reservations.iter().any(|old| old.id == one.id));
                if !had {
                    grown.insert((one.cluster.as_str(), one.pool.as_str()));
                }
            }
        }
        grown
    }

    /// Nodes that are still to come, by offering.
    fn coming(
        &self,
        side: &Side<'_>,
        here: impl Fn(&super::record::Reservation) -> bool,
    ) -> BTreeMap<OfferingRef, u64> {
        let mut nodes: BTreeMap<OfferingRef, u64> = BTreeMap::new();
        let held = side.all().flat_map(|(_, placed)| &placed.reservations);
        for one in held.filter(|one| here(one)) {
            *nodes.entry(one.offering.clone()).or_default() +=
                u64::from(one.nodes).saturating_sub(self.arrived.of(&one.id));
        }
        nodes
    }

    fn maximum(&self, cluster: &str, name: &str, found: &mut Found) {
        let Some(pool) = self.mirror.fleet.pools.get(name) else { return };
        let nodes = observed(self.sight, cluster)
            .map_or(0, |seen| seen.nodes.iter().filter(|node| node.pool.as_str() == name).count() as u64);
        let count = |side: &Side<'_>| -> u64 {
            self.coming(side, |one| one.cluster == cluster && one.pool == name).values().sum()
        };
        let (before, after) = (count(&self.before), count(&self.after));
        if after > before && nodes + after > pool.max.max(pool.min) {
            let what = format!("{nodes} nodes and {after} on order, the maximum is {}", pool.max);
            found.add(Invariant::PoolOvercommitted, format!("pool {name}"), what);
        }
    }

    fn offerings(&self, found: &mut Found) {
        let (before, after) = (self.coming(&self.before, |_| true), self.coming(&self.after, |_| true));
        for (key, nodes) in after {
            if nodes <= before.get(&key).copied().unwrap_or(0) {
                continue;
            }
            let about = || format!("{} ({}, {})", key.instance_type, key.capacity_type, key.zone);
            let Some(declared) = self.mirror.fleet.offerings.values().find(|offering| offering.key == key) else {
                found.add(Invariant::OfferingOvercommitted, about(), "is ordered, and is not declared");
                continue;
            };
            let report = self.sight.simulation.provider.reports().find(|(known, _)| OfferingRef::from(*known) == key);
            let allowed = allowed(&declared.stock, report.map(|(_, report)| report), self.sight.now.0);
            if nodes > allowed {
                let what = format!("{nodes} nodes are on order, {allowed} are known to be in stock");
                found.add(Invariant::OfferingOvercommitted, about(), what);
            }
        }
    }

    fn quotas(&self, found: &mut Found) {
        for quota in self.mirror.fleet.quotas.values().flatten() {
            let (before, after) = (self.used(&self.before, quota), self.used(&self.after, quota));
            for (resource, max) in &quota.max {
                let used = |side: &Amounts| side.get(resource).copied().unwrap_or(0);
                if used(&after) > *max && used(&after) > used(&before) {
                    let what = format!("{} of {resource} are used, the ceiling is {max}", used(&after));
                    found.add(Invariant::QuotaOvercommitted, format!("quota {}", quota.name), what);
                }
            }
        }
    }

    fn used(&self, side: &Side<'_>, quota: &super::fleet::Quota) -> Amounts {
        let mut used = Amounts::new();
        for (key, placed) in side.all().filter(|(key, _)| quota.namespaces.contains(&*key.namespace)) {
            let Some(work) = self.mirror.works.get(key) else { continue };
            for (number, component) in (0..).zip(&work.components) {
                for (resource, amount) in component.requests.iter().flatten() {
                    let sum = used.entry(resource.clone()).or_default();
                    *sum = sum.saturating_add(amount.saturating_mul(placed.total(number)));
                }
            }
        }
        used
    }

    /// What is placed in a pool and runs nowhere yet fits on what is free there and on nodes that come.
    fn nodes(&self, cluster: &str, pool: &str, found: &mut Found) {
        let nothing = ClusterObservation::default();
        let seen = observed(self.sight, cluster).unwrap_or(&nothing);
        let (Some(after), Some(before)) =
            (self.open(&self.after, cluster, pool, seen), self.open(&self.before, cluster, pool, seen))
        else {
            return;
        };
        let all = |_: &str| true;
        let (bins, old_bins) = (
            self.bins(&self.after, cluster, pool, seen, all),
            // What was placed on an order that failed had lost its room before.
            self.bins(&self.before, cluster, pool, seen, |order| self.may_come(order)),
        );
        if packs(&after, &bins) != Some(false) {
            return;
        }
        // It did not fit before either: what is new must fit by itself.
        let added: Vec<Item> = after.iter().filter_map(|item| item.less(&before)).collect();
        if packs(&before, &old_bins) == Some(false) && packs(&added, &bins) != Some(false) {
            return;
        }
        let items: Vec<String> = after.iter().map(ToString::to_string).collect();
        let what = format!("{} do not fit on {} nodes", items.join(" and "), bins.len());
        found.add(Invariant::NodesOvercommitted, format!("pool {pool}"), what);
    }

    /// Whether nodes of an order may still join, by what the provider says of it.
    fn may_come(&self, order: &str) -> bool {
        let state = self.sight.simulation.provider.order_state(&order.into());
        !matches!(state, Some(OrderState::Failed { .. } | OrderState::Cancelled))
    }

    fn bins(
        &self,
        side: &Side<'_>,
        cluster: &str,
        pool: &str,
        seen: &ClusterObservation,
        comes: impl Fn(&str) -> bool,
    ) -> Vec<Bin> {
        let here = seen.nodes.iter().filter(|node| node.ready && node.pool.as_str() == pool);
        let mut bins: Vec<Bin> = here.map(|node| Bin::used(node)).collect();
        let here = |one: &super::record::Reservation| one.cluster == cluster && one.pool == pool && comes(&one.id);
        for (key, nodes) in self.coming(side, here) {
            let declared = self.mirror.fleet.offerings.values().find(|offering| offering.key == key);
            let Some(declared) = declared else { continue };
            bins.extend((0..nodes).map(|_| Bin::fresh(&declared.allocatable)));
        }
        bins
    }

    /// Replicas that are certainly to be bound in a pool and are not, by size. `None` where that cannot be told: something
    /// there is about to leave or to change its size.
    fn open(&self, side: &Side<'_>, cluster: &str, pool: &str, seen: &ClusterObservation) -> Option<Vec<Item>> {
        for (key, shown) in &seen.workloads {
            let bound_here = |at: &berth_control::ports::ComponentObservation| {
                at.bound.iter().any(|(name, count)| name.as_str() == pool && *count > 0)
            };
            if !shown.components.iter().any(bound_here) {
                continue;
            }
            let (work, placed) = (self.mirror.works.get(key)?, side.get(key)?);
            let bound = |at: &berth_control::ports::ComponentObservation| u64::from(at.bound.values().sum::<u32>());
            let leaves = (0..).zip(&shown.components).any(|(number, at)| bound(at) > placed.promised(number, cluster));
            let resized = self.before.get(key).is_none_or(|before| before.generation < work.resized.0);
            if leaves || resized {
                return None;
            }
        }
        let mut items: Vec<Item> = Vec::new();
        for (key, placed) in side.all() {
            for share in placed.shares.iter().filter(|share| share.cluster == cluster && share.pool == pool) {
                let Some(work) = self.mirror.works.get(key) else { continue };
                // What is kept of a workload whose size changed is not known to fit before its pods are made anew.
                if self.before.get(key).is_some_and(|before| before.generation < work.resized.0) {
                    return None;
                }
                // A member whose scheduler preferred another pool once may do so again.
                if drifts(placed, share, seen.workloads.get(key).map(|seen| &**seen)) {
                    return None;
                }
                let component = work.components.get(share.component as usize)?;
                let requests = component.requests.as_ref()?;
                let count = unbound(placed, share, seen.workloads.get(key).map(|seen| &**seen));
                Item::add(&mut items, requests, component.share, count);
            }
        }
        Some(items)
    }
}

/// Whether more pods of a component are bound in some pool of the cluster than are placed there.
fn drifts(
    placed: &Placed,
    share: &super::record::Share,
    seen: Option<&berth_control::ports::WorkloadObservation>,
) -> bool {
    let at = seen.and_then(|seen| seen.components.get(share.component as usize));
    at.into_iter().flat_map(|at| &at.bound).any(|(pool, count)| {
        let here = placed.shares.iter().filter(|one| {
            (one.component, &one.cluster, one.pool.as_str()) == (share.component, &share.cluster, pool.as_str())
        });
        *count > here.map(|one| one.replicas).sum::<u32>()
    })
}

/// How many replicas of a share are certainly not bound: pods are counted over the whole cluster, since its own scheduler may
/// prefer another pool.
fn unbound(
    placed: &Placed,
    share: &super::record::Share,
    seen: Option<&berth_control::ports::WorkloadObservation>,
) -> u64 {
    if seen.is_some_and(|seen| seen.finished.is_some()) {
        return 0;
    }
    let (component, cluster) = (share.component, share.cluster.as_str());
    let bound = seen.and_then(|seen| seen.components.get(component as usize)).map(|at| &at.bound);
    let all: u64 = bound.iter().flat_map(|bound| bound.values()).map(|count| u64::from(*count)).sum();
    let at = |pool: &str| bound.and_then(|bound| bound.get(pool)).map_or(0, |count| u64::from(*count));
    let open = placed.promised(component, cluster).saturating_sub(all).min(placed.at(component, cluster));
    let others = placed
        .shares
        .iter()
        .filter(|one| (one.component, &one.cluster) == (component, &share.cluster) && one.pool != share.pool);
    let elsewhere: u64 = others.map(|one| u64::from(one.replicas).saturating_sub(at(&one.pool))).sum();
    open.saturating_sub(elsewhere).min(u64::from(share.replicas))
}

/// Nodes that may be on order at once, by what orders taught and what the provider last said.
fn allowed(learned: &Stock, report: Option<&Report>, now: u64) -> u64 {
    if now < learned.retry_at {
        return 0;
    }
    let probe = if learned.probe == 0 { UNCOUNTED } else { learned.probe };
    let most = probe.max(UNCOUNTED);
    let told = report.filter(|report| report.observed_at.0 >= learned.observed_at).map(|report| {
        let state = match report.state {
            StockState::OutOfStock => "OutOfStock",
            StockState::Unknown => "Unknown",
            StockState::InStock | StockState::Limited => "Limited",
        };
        (state, u64::from(report.lower_bound), report.observed_at.0, report.ttl_ms)
    });
    let learned = (learned.state.as_str(), learned.lower_bound, learned.observed_at, learned.ttl.millis());
    let (state, nodes, at, ttl) = told.unwrap_or(learned);
    let fresh = ttl == 0 || now.saturating_sub(at) < ttl;
    match state {
        "OutOfStock" if fresh => 0,
        "Limited" | "InStock" if fresh && nodes > 0 => nodes,
        _ => most,
    }
}
