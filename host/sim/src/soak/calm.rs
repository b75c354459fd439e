//! The end of a run: all faults end, and within a bounded time everything must come to rest, as it should be. Nothing that
//! fits waits, and a new start moves and takes away nothing. What must not be held or left behind then, the auditor sees as at any time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use berth_api::resources::DistributionSpec;
use berth_api::{Object, interpret};
use berth_control::Settled;
use berth_control::ports::{NodeObservation, ObjectKey};
use berth_control::state::WorkloadState;
use berth_core::fleet::NodeLabels;
use berth_core::ids::{ClusterName, WorkloadKey};
use berth_core::resources::NamedAmounts;
use berth_core::workload::Shape;

use super::Failure;
use super::run::Run;
use crate::faults::{Chances, Effect};
use crate::fleet::PoolConfig;

const MINUTE: u64 = 60_000;
/// Everything must be at rest after this.
const MOST: u64 = 8 * 60 * MINUTE;
/// Rest is when for so long nothing is under way and nothing is written.
const REST: u64 = 40 * MINUTE;

pub(super) fn settle(run: &mut Run<'_>) -> Result<(), Failure> {
    end_faults(run)?;
    let begun = run.elapsed();
    let (mut quiet, mut commits) = (begun, run.vault.counts().0);
    while run.elapsed() - quiet < REST {
        run.pass_time(run.simulation.now().plus(5 * MINUTE))?;
        let settled = run.controller.settled();
        let written = run.vault.counts().0;
        if settled == Settled::Working || written != commits {
            (quiet, commits) = (run.elapsed(), written);
        }
        if run.elapsed() - begun > MOST {
            let hours = MOST / 60 / MINUTE;
            return Err(run.fault("liveness", format!("not at rest {hours} h after the last fault: {}", open(run))));
        }
    }
    nothing_waits(run)?;
    let before = shares(run);
    run.restart()?;
    run.pass_time(run.simulation.now().plus(10 * MINUTE))?;
    let after = shares(run);
    // A start tries all that waits anew, in another order: more may be placed, and a change that waited be carried out. What
    // ended meanwhile holds nothing.
    let kept = |(place, (generation, replicas)): (&(WorkloadKey, ClusterName), &(u64, u32))| {
        run.controller.state().workload(&place.0).and_then(WorkloadState::record).is_none_or(|record| {
            let decided_anew = record.finished.is_some() || record.placement.workload_generation != *generation;
            decided_anew || after.get(place).is_some_and(|(_, now)| now >= replicas)
        })
    };
    if !before.iter().all(kept) {
        let what = format!("a new start at rest took away what was placed: before {before:?}, after {after:?}");
        return Err(run.fault("rest-after-restart", what));
    }
    Ok(())
}

/// Everything works again. Lost nodes stay lost, and stock is what it is.
fn end_faults(run: &mut Run<'_>) -> Result<(), Failure> {
    run.story.say(run.elapsed(), "world", "all faults end");
    run.deciders.calm();
    run.vault.rival(0, false);
    run.vault.fail_after(None);
    let now = run.simulation.now();
    let clusters: Vec<ClusterName> = run.simulation.members.clusters.keys().cloned().collect();
    let offerings: Vec<_> = run.simulation.provider.shelves.keys().cloned().collect();
    let effects = &mut run.simulation.effects;
    effects.plan(now, Effect::Chances(Chances::default()));
    for name in clusters {
        effects.plan(now, Effect::Reachable(name.clone(), true));
        effects.plan(now, Effect::Stale(name.clone(), false));
        effects.plan(now, Effect::Slow(name, false));
    }
    for key in offerings {
        effects.plan(now, Effect::Empty(key.clone(), false));
        effects.plan(now, Effect::Failing(key, false));
    }
    run.happen()
}

/// Replicas by workload and cluster, and for which generation of the workload they were decided.
fn shares(run: &Run<'_>) -> BTreeMap<(WorkloadKey, ClusterName), (u64, u32)> {
    let mut shares = BTreeMap::new();
    for row in run.controller.workloads().into_iter().filter(|row| row.placed > 0) {
        let record = run.controller.state().workload(&row.workload).and_then(WorkloadState::record);
        let generation = record.map_or(0, |record| record.placement.workload_generation);
        let at = row.clusters.iter();
        shares.extend(at.map(|at| ((row.workload.clone(), at.cluster.clone()), (generation, at.replicas))));
    }
    shares
}

/// What is under way, in words.
fn open(run: &Run<'_>) -> String {
    let mut text = format!("{:?}", run.controller.settled());
    for row in run.controller.workloads() {
        let waits = row.waiting.map(|reason| reason.to_string()).unwrap_or_default();
        if row.placed != row.ready || !waits.is_empty() {
            let (wanted, placed, ready) = (row.wanted, row.placed, row.ready);
            _ = write!(text, "; {}: {wanted} wanted, {placed} placed, {ready} ready, {waits}", row.workload);
        }
    }
    for row in run.controller.clusters().iter().filter(|row| row.ordered > 0) {
        _ = write!(text, "; {} nodes on order for {}", row.ordered, row.name);
    }
    text
}

fn fleet_key(kind: &str, name: &str) -> ObjectKey {
    ObjectKey { kind: format!("berth.dev/v1alpha1/{kind}").into(), namespace: "".into(), name: name.into() }
}

/// No workload waits that fits. Judged for those whose rules are so simple that there is nothing to argue about.
fn nothing_waits(run: &Run<'_>) -> Result<(), Failure> {
    let quotas = run.said.keys().any(|key| key.kind.ends_with("/QuotaTree"));
    for row in run.controller.workloads() {
        let Some(Object::Manifest(manifest)) = run.said.get(&ObjectKey::from(&row.workload)) else { continue };
        let Ok(asked) = interpret::components(manifest) else { continue };
        let policy = ObjectKey {
            kind: "berth.dev/v1alpha1/DistributionPolicy".into(),
            namespace: row.workload.namespace.clone(),
            name: row.workload.name.clone(),
        };
        let Some(Object::DistributionPolicy(policy)) = run.said.get(&policy) else { continue };
        let ended = run
            .simulation
            .members
            .clusters
            .values()
            .any(|cluster| cluster.workloads.get(&row.workload).is_some_and(|known| known.finished.is_some()));
        let [component] = asked.components.as_slice() else { continue };
        if quotas
            || ended
            || row.placed >= component.replicas
            || !simple(&policy.spec)
            || manifest.interpreted_as().is_gang()
        {
            continue;
        }
        if let Some(place) = place_for(run, &component.shape, &policy.spec) {
            let waits = row.waiting.map(|reason| reason.to_string()).unwrap_or_default();
            let (placed, wanted) = (row.placed, component.replicas);
            let what = format!("{}: {placed} of {wanted} placed ({waits}), though one fits {place}", row.workload);
            return Err(run.fault("fits-and-waits", what));
        }
    }
    Ok(())
}

fn simple(spec: &DistributionSpec) -> bool {
    use berth_api::resources::ReplicaSchedulingType;
    let rules = &spec.placement;
    let Some(scheduling) = &rules.replica_scheduling else { return false };
    // Weights have a say of their own, and what is aggregated grows as a whole or not at all.
    scheduling.replica_scheduling_type == ReplicaSchedulingType::Divided
        && scheduling.replica_division_preference.is_none()
        && rules.spread_constraints.is_empty()
        && rules.cluster_affinity.is_none()
        && rules.cluster_affinities.is_empty()
        && spec.gang != Some(true)
        && spec.budget.is_none()
        && spec.suspension.is_none()
        && spec.elasticity.enabled
        && spec.elasticity.max_lead_seconds == 0
}

/// Where one more replica fits for certain.
fn place_for(run: &Run<'_>, shape: &Shape, spec: &DistributionSpec) -> Option<String> {
    let tolerates = !spec.placement.cluster_tolerations.is_empty();
    for (name, member) in &run.simulation.fleet.clusters {
        let Some(Object::Cluster(declared)) = run.said.get(&fleet_key("Cluster", name.as_str())) else { continue };
        if !declared.spec.taints.is_empty() && !tolerates {
            continue;
        }
        let Some(cluster) = run.simulation.members.clusters.get(name) else { continue };
        for (pool_name, pool) in &member.pools {
            if !run.said.contains_key(&fleet_key("NodePool", pool_name.as_str())) || !shape.tolerates(&pool.spec) {
                continue;
            }
            let nodes: Vec<_> = cluster.observed.nodes.iter().filter(|node| node.pool == *pool_name).collect();
            let fits = |node: &&&std::sync::Arc<NodeObservation>| {
                let free = node.shared.first().copied().unwrap_or(0);
                shape.selects(&labels(pool, &member.region, node)) && holds(&node.free, free, shape)
            };
            if let Some(node) = nodes.iter().find(fits) {
                return Some(format!("on node {} at {name}", node.name));
            }
            if (nodes.len() as u32) < pool.spec.max
                && let Some(offering) = orderable(run, pool, &member.region, shape)
            {
                return Some(format!("on a new node of pool {pool_name} at {name}: {offering}"));
            }
        }
    }
    None
}

fn labels<'a>(pool: &'a PoolConfig, region: &'a str, node: &'a NodeObservation) -> NodeLabels<'a> {
    NodeLabels {
        pool: &pool.spec,
        region,
        zone: &node.zone,
        instance_type: node.instance_type.as_str(),
        capacity_type: node.capacity_type,
    }
}

fn holds(free: &NamedAmounts, shared: u16, shape: &Shape) -> bool {
    let enough = |name: &str, amount: u64| free.get(name).copied().unwrap_or(0) >= amount;
    shape.requests.iter().all(|(name, amount)| enough(name, *amount)) && shape.gpu_share <= shared
}

/// An offering of which a node can be had that holds a replica.
fn orderable(run: &Run<'_>, pool: &PoolConfig, region: &str, shape: &Shape) -> Option<String> {
    let fits = |key: &&berth_core::fleet::OfferingKey| {
        let labels = NodeLabels {
            pool: &pool.spec,
            region,
            zone: &key.zone,
            instance_type: key.instance_type.as_str(),
            capacity_type: Some(key.capacity_type),
        };
        let config = run.simulation.fleet.offerings.get(*key);
        let gpus = |amounts: &NamedAmounts| amounts.get(berth_core::resources::GPU).is_some_and(|gpus| *gpus > 0);
        let whole = |amounts: &NamedAmounts| if gpus(amounts) { 1000 } else { 0 };
        let room = config.is_some_and(|config| holds(&config.allocatable, whole(&config.allocatable), shape));
        let left = run.simulation.provider.shelves.get(*key).is_some_and(|shelf| shelf.left() > 0);
        room && left && shape.selects(&labels)
    };
    let key = pool.offerings.iter().find(fits)?;
    Some(format!("{} {} in {}", key.instance_type, key.capacity_type.as_str(), key.zone))
}
