//! The rules for plans: replays a plan against the snapshot it was made from and recounts everything.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::pack::{Bins, Load, Pod};
use crate::fleet::{Cluster, Pool, Snapshot, Taint, TaintEffect};
use crate::ids::{ClusterName, ClusterRow, OfferingRow, PoolName, PoolRow, WorkloadKey};
use crate::placement::{Placement, Share};
use crate::plan::{Change, Entry, Plan, RunningWorkload};
use crate::workload::{Division, SpreadBy, Toleration, Workload};

/// Checks a plan against the snapshot from which it was made, the entries that it was asked about, and the running
/// workloads that it was allowed to preempt. An empty answer means that the plan may be committed.
///
/// Checked are: that only what was asked is changed, and once; the form of placements; affinity, reachability and taints of
/// clusters that get something new; floors, gangs and the numbers wanted; spread; that all new replicas can be packed onto
/// the nodes there are and those that are ordered; pool maxima, stock and quotas.
pub fn check_plan(before: &Snapshot, entries: &[Entry], running: &[RunningWorkload], plan: &Plan) -> Vec<Violation> {
    let mut check = Check { before, found: Vec::new(), new: BTreeMap::new(), changes: 0, nodes: BTreeMap::new() };
    let asked: BTreeMap<&WorkloadKey, &Entry> = entries.iter().map(|entry| (&entry.workload.key, entry)).collect();
    let runs: BTreeMap<&WorkloadKey, &RunningWorkload> = running.iter().map(|one| (&one.workload.key, one)).collect();
    let mut seen = BTreeSet::new();
    let mut charges = Vec::new();
    for change in &plan.changes {
        let key = &change.placement.workload;
        let empty = change.placement.shares.is_empty();
        let known = match (asked.get(key), runs.get(key)) {
            (Some(entry), _) => Some((&entry.workload, entry.current.as_deref(), entry.lost.as_slice())),
            (None, Some(one)) if empty => Some((&one.workload, Some(&*one.placement), [].as_slice())),
            _ => None,
        };
        match known.filter(|_| seen.insert(key)) {
            Some((workload, current, lost)) => {
                check.change(workload, current, change);
                charges.push((workload, (current, lost), &change.placement));
            }
            None => check.found.push(Violation::Unasked { workload: key.clone() }),
        }
    }
    check.pack();
    check.stock();
    check.quotas(&charges);
    check.found
}

/// A workload, its placement before with the replicas by component that lost their room, and its placement after.
type Charge<'a> = (&'a std::sync::Arc<Workload>, (Option<&'a Placement>, &'a [u32]), &'a Placement);

struct Check<'a> {
    before: &'a Snapshot,
    found: Vec<Violation>,
    /// By pool, in the order of the plan: what it newly gets.
    new: BTreeMap<PoolRow, Vec<(&'a Workload, Load<'a>)>>,
    /// Changes looked at so far.
    changes: usize,
    /// By pool and offering: nodes ordered.
    nodes: BTreeMap<(PoolRow, OfferingRow), u32>,
}

/// Whether a placement has nothing that another does not have, and was decided for the same.
fn is_rest_of(placement: &Placement, other: &Placement) -> bool {
    placement.workload_generation == other.workload_generation
        && placement.shares.iter().all(|share| in_the_place_of(share, other) >= share.replicas)
        && placement.clusters.iter().all(|cluster| other.clusters.contains(cluster))
}

/// Replicas that a placement has of the component, and in the pool, of a share.
fn in_the_place_of(share: &Share, placement: &Placement) -> u32 {
    let same =
        |one: &&Share| (one.component, &one.cluster, &one.pool) == (share.component, &share.cluster, &share.pool);
    placement.shares.iter().find(same).map_or(0, |one| one.replicas)
}

impl<'a> Check<'a> {
    fn malformed(&mut self, workload: &Workload, what: String) {
        self.found.push(Violation::Malformed { workload: workload.key.clone(), what });
    }

    fn change(&mut self, workload: &'a Workload, current: Option<&Placement>, change: &'a Change) {
        self.changes += 1;
        let placement = &change.placement;
        if change.replaces != current.map(|current| current.plan) {
            self.malformed(workload, "replaces another placement than the one that was seen".into());
        }
        let key = |share: &Share| (share.component, share.cluster.clone(), share.pool.clone());
        if !placement.shares.windows(2).all(|two| key(&two[0]) < key(&two[1])) {
            self.malformed(workload, "shares are not in ascending order, or a pool is named twice".into());
        }
        if !placement.clusters.windows(2).all(|two| two[0] < two[1]) {
            self.malformed(workload, "clusters are not in ascending order".into());
        }
        for share in &placement.shares {
            if share.replicas == 0 || share.component as usize >= workload.components.len() {
                self.malformed(workload, format!("share of component {} with {}", share.component, share.replicas));
            }
            if placement.clusters.binary_search(&share.cluster).is_err() {
                self.malformed(workload, format!("cluster {} gets replicas and no manifest", share.cluster));
            }
        }
        if placement.workload_generation == workload.generation {
            self.numbers(workload, placement);
            self.spread(workload, current, placement);
            for cluster in &placement.clusters {
                self.cluster(workload, current, placement, cluster);
            }
        } else if !current.is_some_and(|current| is_rest_of(placement, current)) {
            self.malformed(workload, "is not for what the workload is now, and not the rest of what it had".into());
        }
        self.grow(workload, current, placement);
        for order in &change.orders {
            let pool = self.pool(&order.cluster, &order.pool).map(|(row, _)| row);
            match (pool, self.before.offering_row(&order.offering)) {
                (Some(pool), Some(offering)) => {
                    let nodes = self.nodes.entry((pool, offering)).or_default();
                    *nodes = nodes.saturating_add(order.nodes);
                }
                _ => self.malformed(workload, format!("order {} names no known pool or offering", order.id)),
            }
        }
    }

    /// Floors, gangs and the numbers wanted.
    fn numbers(&mut self, workload: &Workload, placement: &Placement) {
        let wanted_by = |component: &crate::workload::Component| component.replicas;
        let used: BTreeSet<&ClusterName> = placement.shares.iter().map(|share| &share.cluster).collect();
        if workload.rules.gang && used.len() > 1 {
            self.found.push(Violation::GangApart { workload: workload.key.clone(), clusters: used.len() });
        }
        for (component, declared) in (0..).zip(&workload.components) {
            let wanted = wanted_by(declared);
            let gang_without_floor = workload.rules.gang && declared.floor == 0;
            let floor = if gang_without_floor { wanted } else { declared.floor.min(wanted) };
            let counts: Vec<u32> = if workload.rules.division == Division::Duplicated && !workload.rules.gang {
                used.iter().map(|cluster| placement.at(component, cluster)).collect()
            } else {
                vec![placement.total(component)]
            };
            for replicas in counts {
                let key = workload.key.clone();
                if replicas > wanted {
                    self.found.push(Violation::TooMany { workload: key, component, replicas, wanted });
                } else if !placement.shares.is_empty() && replicas < floor {
                    self.found.push(Violation::GangFloor { workload: key, component, replicas, floor });
                }
            }
        }
    }

    /// No more groups than a constraint allows. What ran before may stay, so only a change that uses a new cluster counts.
    fn spread(&mut self, workload: &Workload, current: Option<&Placement>, placement: &Placement) {
        let kept = |cluster: &ClusterName| current.is_some_and(|current| current.clusters.contains(cluster));
        if workload.rules.division == Division::StaticWeight || placement.clusters.iter().all(kept) {
            return;
        }
        let clusters: Vec<&Cluster> =
            placement.clusters.iter().filter_map(|name| self.row(name)).map(|(_, c)| c).collect();
        for constraint in workload.rules.spread.iter().filter(|constraint| constraint.max > 0) {
            let mut groups: BTreeSet<&str> = BTreeSet::new();
            for cluster in &clusters {
                match &constraint.by {
                    SpreadBy::Cluster => _ = groups.insert(cluster.name.as_str()),
                    SpreadBy::Region => _ = groups.insert(&cluster.region),
                    SpreadBy::Provider => _ = groups.insert(&cluster.provider),
                    SpreadBy::Zone => groups.extend(cluster.zones.iter().map(|zone| &**zone)),
                    SpreadBy::Label(key) => groups.extend(cluster.labels.get(key).map(|value| &**value)),
                }
            }
            if groups.len() > constraint.max as usize {
                let (by, used, max) = (format!("{:?}", constraint.by), groups.len(), constraint.max);
                self.found.push(Violation::Spread { workload: workload.key.clone(), by, used, max });
            }
        }
    }

    /// Whether a cluster may run what it newly gets.
    fn cluster(&mut self, workload: &Workload, current: Option<&Placement>, placement: &Placement, name: &ClusterName) {
        let what = match self.row(name).map(|(_, cluster)| cluster) {
            None => Some("it is not in the fleet"),
            Some(cluster) if cluster.removed => Some("it left the fleet"),
            Some(cluster) => {
                let had = |component| current.map_or(0, |current| current.at(component, name));
                let grows = (0..workload.components.len() as u32).any(|one| placement.at(one, name) > had(one));
                let is_new = !current.is_some_and(|current| current.clusters.contains(name));
                let rules = &workload.rules;
                if !rules.groups.iter().any(|group| selects(group, cluster)) {
                    Some("no affinity group selects it")
                } else if !(grows || is_new) {
                    None
                } else if !cluster.reachable {
                    Some("it cannot be reached")
                } else if cluster.taints.iter().any(|taint| repels(taint, &rules.tolerations)) {
                    Some("it has a taint that is not tolerated")
                } else {
                    None
                }
            }
        };
        if let Some(what) = what {
            let (workload, cluster) = (workload.key.clone(), name.clone());
            self.found.push(Violation::Infeasible { workload, cluster, what });
        }
    }

    /// Notes what each pool newly gets.
    fn grow(&mut self, workload: &'a Workload, current: Option<&Placement>, placement: &Placement) {
        for share in &placement.shares {
            let had = current.map_or(0, |current| in_the_place_of(share, current));
            let more = share.replicas.saturating_sub(had);
            let Some(component) = workload.components.get(share.component as usize) else { continue };
            if more == 0 {
                continue;
            }
            match self.pool(&share.cluster, &share.pool) {
                Some((row, _)) => {
                    let pod = Pod::new(self.before, &component.shape);
                    let load = Load { pod, count: more, change: self.changes };
                    self.new.entry(row).or_default().push((workload, load));
                }
                None => self.malformed(workload, format!("cluster {} has no pool {}", share.cluster, share.pool)),
            }
        }
    }

    /// Packs what each pool newly gets onto its nodes and those that are ordered for it.
    fn pack(&mut self) {
        let ordered: BTreeSet<PoolRow> = self.nodes.keys().map(|(pool, _)| *pool).collect();
        let pools: BTreeSet<PoolRow> = self.new.keys().copied().chain(ordered).collect();
        for row in pools {
            let Some(pool) = self.before.pool(row) else { continue };
            let orders: Vec<(OfferingRow, u32)> = self
                .nodes
                .iter()
                .filter(|((pool, _), _)| *pool == row)
                .map(|((_, one), nodes)| (*one, *nodes))
                .collect();
            self.pool_maximum(pool, &orders);
            let (workloads, loads): (Vec<&Workload>, Vec<Load<'_>>) =
                self.new.remove(&row).unwrap_or_default().into_iter().unzip();
            if let Err(which) = Bins::pack(self.before, pool, &orders, &loads) {
                let (workload, replicas) = (workloads[which], loads[which].count);
                let violation = Violation::NoRoom {
                    workload: workload.key.clone(),
                    cluster: self.name(pool.cluster),
                    pool: pool.spec.name.clone(),
                    replicas,
                };
                self.found.push(violation);
            }
        }
    }

    fn pool_maximum(&mut self, pool: &Pool, orders: &[(OfferingRow, u32)]) {
        let there: u64 =
            pool.groups.iter().filter(|group| group.part.is_none()).map(|group| u64::from(group.count)).sum();
        let more: u64 = orders.iter().map(|(_, nodes)| u64::from(*nodes)).sum();
        let nodes = u32::try_from(there + more).unwrap_or(u32::MAX);
        let (cluster, name, max) = (self.name(pool.cluster), pool.spec.name.clone(), pool.spec.max);
        if more > 0 && nodes > max {
            self.found.push(Violation::PoolMaximum { cluster, pool: name, nodes, max });
        }
        if orders.iter().any(|(offering, nodes)| *nodes > 0 && !pool.spec.offerings.contains(offering)) {
            self.found.push(Violation::PoolMaximum {
                cluster: self.name(pool.cluster),
                pool: pool.spec.name.clone(),
                nodes,
                max: 0,
            });
        }
    }

    fn stock(&mut self) {
        let mut ordered: BTreeMap<OfferingRow, u32> = BTreeMap::new();
        for ((_, offering), nodes) in &self.nodes {
            let ordered = ordered.entry(*offering).or_default();
            *ordered = ordered.saturating_add(*nodes);
        }
        for (offering, nodes) in ordered.into_iter().filter(|(_, nodes)| *nodes > 0) {
            let Some(found) = self.before.offering(offering) else { continue };
            let stock = found.stock.orderable(self.before.now()).saturating_sub(found.in_flight);
            if nodes > stock {
                self.found.push(Violation::Stock { offering, nodes, stock });
            }
        }
    }

    /// What each quota uses once the plan is carried out. A quota that was above its ceiling before may stay there, but
    /// not grow.
    fn quotas(&mut self, changes: &[Charge<'_>]) {
        let tree = self.before.quotas();
        let mut deltas: BTreeMap<(usize, usize), i128> = BTreeMap::new();
        for (workload, (current, lost), placement) in changes {
            let namespace = &workload.key.namespace;
            let owner = tree.quotas.iter().position(|quota| quota.namespaces.contains(namespace));
            let mut next = owner;
            while let Some(row) = next {
                for (number, component) in (0..).zip(&workload.components) {
                    let had = current.map_or(0, |current| current.total(number));
                    // What lost its room is charged until a plan replaces it.
                    let lost = lost.get(number as usize).copied().unwrap_or(0);
                    let delta = i128::from(placement.total(number)) - i128::from(had) - i128::from(lost);
                    for (name, amount) in &component.shape.requests {
                        if let Some(resource) = self.before.resources().row(name) {
                            *deltas.entry((row, resource)).or_default() += delta * i128::from(*amount);
                        }
                    }
                }
                next = tree.quotas[row].parent.map(|parent| parent.index());
            }
        }
        for ((row, resource), delta) in deltas.into_iter().filter(|(_, delta)| *delta > 0) {
            let Some((_, max)) = tree.quotas[row].max.iter().find(|(limited, _)| *limited == resource) else {
                continue;
            };
            let used = i128::from(tree.used[row].get(resource)) + delta;
            if used > i128::from(*max) {
                let used = u64::try_from(used).unwrap_or(u64::MAX);
                let quota = tree.quotas[row].name.clone();
                self.found.push(Violation::Quota { quota, resource, used, max: *max });
            }
        }
    }

    fn row(&self, name: &ClusterName) -> Option<(ClusterRow, &'a Cluster)> {
        let row = self.before.cluster_row(name.as_str())?;
        Some((row, self.before.cluster(row)?))
    }

    fn name(&self, row: ClusterRow) -> ClusterName {
        self.before.cluster(row).map_or_else(|| ClusterName::new(""), |cluster| cluster.name.clone())
    }

    fn pool(&self, cluster: &ClusterName, pool: &PoolName) -> Option<(PoolRow, &'a Pool)> {
        let (row, _) = self.row(cluster)?;
        self.before.pools_of(row).find(|(_, found)| found.spec.name == *pool)
    }
}

/// Whether an affinity selects a cluster, read from its definition.
fn selects(affinity: &crate::workload::ClusterAffinity, cluster: &Cluster) -> bool {
    let named = affinity.names.as_ref().is_none_or(|names| names.contains(&cluster.name));
    let fields = |key: &str| -> Vec<&str> {
        match key {
            "provider" => vec![&cluster.provider],
            "region" => vec![&cluster.region],
            "zone" => cluster.zones.iter().map(|zone| &**zone).collect(),
            _ => Vec::new(),
        }
    };
    let present = |values: Vec<&'_ str>| -> Vec<String> {
        values.into_iter().filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    named
        && !affinity.exclude.contains(&cluster.name)
        && affinity.labels.iter().all(|rule| {
            let value = cluster.labels.get(&rule.key).map(|value| value.to_string());
            super::pack::meets(rule, &value.into_iter().collect::<Vec<_>>())
        })
        && affinity.fields.iter().all(|rule| super::pack::meets(rule, &present(fields(&rule.key))))
}

/// Whether a taint keeps new work away.
pub(super) fn repels(taint: &Taint, tolerations: &[Toleration]) -> bool {
    let lets_in = |toleration: &Toleration| {
        let key = toleration.key.is_empty() || toleration.key == taint.key;
        let value = match &toleration.value {
            None => true,
            Some(value) => *value == taint.value,
        };
        key && value && (toleration.effect.is_none() || toleration.effect == Some(taint.effect))
    };
    taint.effect != TaintEffect::PreferNoSchedule && !tolerations.iter().any(lets_in)
}
