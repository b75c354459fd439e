//! Promises 2 and 6, of nodes: what nothing needs is given back, and so is what a gang holds that cannot start.
//!
//! These take minutes to tell, so they are looked at now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::Settings;
use berth_control::ports::ClusterObservation;
use berth_core::ids::{ClusterName, Millis};

use super::Sight;
use super::breach::{Found, Invariant};
use super::lasting::Lasting;
use super::store::Mirror;

/// Milliseconds of the world between two looks.
const PERIOD_MS: u64 = 20_000;
/// Milliseconds beyond all delays.
const GRACE_MS: u64 = 300_000;

#[derive(Debug, Default)]
pub(super) struct Nodes {
    next: Millis,
    /// When each node was first seen.
    seen: BTreeMap<Arc<str>, Millis>,
    lasting: Lasting,
}

impl Nodes {
    /// Says whether it looked.
    pub(super) fn check(&mut self, mirror: &Mirror, sight: &Sight<'_>, settings: &Settings, found: &mut Found) -> bool {
        let world = sight.simulation.now();
        if world < self.next {
            return false;
        }
        self.next = world.plus(PERIOD_MS);
        self.lasting.begin(sight.now, world);
        let mut there = BTreeSet::new();
        for (name, cluster) in &sight.simulation.members.clusters {
            for node in &cluster.observed.nodes {
                self.seen.entry(node.name.clone()).or_insert(world);
                there.insert(node.name.clone());
            }
            // What is seen of a cluster that shows an old state says nothing about what it has.
            if cluster.reachable && !cluster.stale && mirror.fleet.clusters.contains(name.as_str()) {
                self.idle(mirror, name, &cluster.observed, settings, (sight.now, world), found);
                self.gangs(mirror, name, &cluster.observed, settings, found);
            }
        }
        self.seen.retain(|node, _| there.contains(node));
        self.lasting.end();
        true
    }

    /// Nodes above the minimum of a pool that nothing is placed on and nothing waits for.
    fn idle(
        &mut self,
        mirror: &Mirror,
        cluster: &ClusterName,
        seen: &ClusterObservation,
        settings: &Settings,
        (clock, world): (Millis, Millis),
        found: &mut Found,
    ) {
        // Members say by their own clocks since when a node is idle: one that is behind them waits longer.
        let behind = world.since(clock);
        for (name, pool) in mirror.fleet.pools.iter().filter(|(_, pool)| pool.cluster == cluster.as_str()) {
            let here = || seen.nodes.iter().filter(|node| node.pool.as_str() == name);
            let (cool, unneeded) = (pool.scale_down.cool_down.millis(), pool.scale_down.unneeded.millis());
            let young = here().any(|node| self.seen.get(&node.name).is_none_or(|since| world.since(*since) < cool));
            if young || here().count() as u64 <= pool.min || is_awaited(mirror, cluster, name, seen) {
                continue;
            }
            let grace = unneeded + 3 * settings.scale_down_scan_ms + 3 * settings.resend_ms + GRACE_MS + behind;
            for node in here().filter(|node| node.idle_since.is_some()) {
                let what =
                    || format!("nothing runs on it and nothing waits for pool {name}, whose minimum is {}", pool.min);
                self.lasting.note(Invariant::NodeLeaked, format!("node {}", node.name), grace, found, what);
            }
        }
    }

    /// Gangs that are placed here and do not run whole, with no nodes to come.
    fn gangs(
        &mut self,
        mirror: &Mirror,
        cluster: &ClusterName,
        seen: &ClusterObservation,
        settings: &Settings,
        found: &mut Found,
    ) {
        for (key, placed) in &mirror.placements {
            let here = placed.shares.iter().any(|share| share.cluster == cluster.as_str());
            let Some(work) = mirror.works.get(key).filter(|_| here && !placed.finished) else { continue };
            let runs = mirror.rules(key).is_some_and(|rules| rules.gang && !rules.suspended);
            // Nodes on order for its pools may be for it, whoever ordered them: all that is on order counts as room.
            let here = placed.shares.iter().filter(|share| share.cluster == cluster.as_str());
            let ordered = |pool: &String| {
                let held = mirror.placements.values().flat_map(|placed| &placed.reservations);
                held.into_iter().any(|one| one.cluster == cluster.as_str() && one.pool == *pool)
            };
            if !runs || !placed.reservations.is_empty() || here.into_iter().any(|share| ordered(&share.pool)) {
                continue;
            }
            let shown = seen.workloads.get(key).filter(|shown| shown.finished.is_none());
            let bound = |component: u32| {
                let at = shown.and_then(|shown| shown.components.get(component as usize));
                at.map_or(0, |at| at.bound.values().map(|count| u64::from(*count)).sum::<u64>())
            };
            let components = 0..work.components.len() as u32;
            let missing: u64 =
                components.map(|number| placed.at(number, cluster.as_str()).saturating_sub(bound(number))).sum();
            if missing > 0 {
                let grace = settings.reservation_ttl_ms + GRACE_MS;
                let what = || format!("{missing} replicas of a gang have no node in {cluster}, and none is to come");
                self.lasting.note(Invariant::GangStuck, key, grace, found, what);
            }
        }
    }
}

/// Whether nodes are on order for a pool, or replicas that may have been meant for it are not bound.
fn is_awaited(mirror: &Mirror, cluster: &ClusterName, pool: &str, seen: &ClusterObservation) -> bool {
    mirror.placements.iter().any(|(key, placed)| {
        let ordered = placed.reservations.iter().any(|one| one.pool == pool && one.cluster == cluster.as_str());
        let unbound =
            placed.shares.iter().filter(|share| share.pool == pool && share.cluster == cluster.as_str()).any(|share| {
                let at = seen.workloads.get(key).and_then(|shown| shown.components.get(share.component as usize));
                let bound: u64 = at.map_or(0, |at| at.bound.values().map(|count| u64::from(*count)).sum());
                bound < placed.promised(share.component, cluster.as_str())
            });
        ordered || unbound
    })
}
