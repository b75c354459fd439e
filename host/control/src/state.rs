//! The whole state in memory: what the store has, typed; what was observed; and the planner's snapshot made from both.
//!
//! Rebuilt from the store alone; observations come again from the members. Everything changes row by row: an object, an
//! observation or a commit touches the rows that depend on it and marks what has to be looked at again. Loops read it and
//! never change it. Nothing here talks to a port.

mod decode;
mod member;
mod names;
mod nodes;
pub(crate) mod objects;
mod observe;
mod queue;
mod refresh;
mod stock;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::Object;
use berth_api::overrides::OverrideSet;
use berth_api::resources::QuotaTree;
use berth_api::to_core::{PolicySet, PriorityClasses};
use berth_core::fleet::{OfferingKey, Snapshot};
use berth_core::ids::{ClusterName, Millis, OrderId, PlanId, PoolName, WorkloadKey};

use crate::ports::{ObjectKey, Revision, Stored};
use crate::record::{PLACEMENT_KIND, Record, key_of};
use crate::settings::Settings;

pub use member::{Member, PoolState};
pub use stock::KnownOffering;
pub use workloads::{Waiting, WorkloadState};

pub(crate) const PLAN_KIND: &str = "berth.dev/v1alpha1/Plan";

/// Key of the object that holds the number of the newest plan.
pub(crate) fn head_key() -> ObjectKey {
    ObjectKey { kind: PLAN_KIND.into(), namespace: "".into(), name: "newest".into() }
}

fn is_head(key: &ObjectKey) -> bool {
    &*key.kind == PLAN_KIND && key.namespace.is_empty() && &*key.name == "newest"
}

/// An object as stored; decoded where it is needed, since most manifests are needed rarely.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) revision: Revision,
    pub(crate) bytes: Arc<[u8]>,
}

#[derive(Debug, Default)]
pub struct State {
    pub(crate) settings: Settings,
    /// The newest change that is taken in.
    pub(crate) revision: Revision,
    /// Names that many objects say, each once.
    pub(crate) names: names::Names,
    /// All objects but placements, which are in `workloads`.
    pub(crate) objects: BTreeMap<ObjectKey, Kept>,
    /// Objects that cannot be read, and why. They are left alone, and everything else goes on.
    pub(crate) broken: BTreeMap<ObjectKey, String>,
    pub(crate) policies: PolicySet,
    /// Revisions of distribution policies, since a workload's generation grows with its policy.
    pub(crate) policy_revisions: BTreeMap<(Arc<str>, Arc<str>), Revision>,
    pub(crate) overrides: OverrideSet,
    pub(crate) classes: PriorityClasses,
    /// By name of the object; the first applies.
    pub(crate) quotas: BTreeMap<Arc<str>, QuotaTree>,
    pub(crate) clusters: BTreeMap<ClusterName, Member>,
    /// Cluster of each declared pool, by the pool object's name.
    pub(crate) pool_clusters: BTreeMap<Arc<str>, ClusterName>,
    pub(crate) offerings: BTreeMap<OfferingKey, KnownOffering>,
    pub(crate) offering_keys: BTreeMap<Arc<str>, OfferingKey>,
    pub(crate) workloads: BTreeMap<WorkloadKey, WorkloadState>,
    /// Workloads by the key of their placement.
    pub(crate) placements: BTreeMap<ObjectKey, WorkloadKey>,
    /// Live orders, and whose they are.
    pub(crate) orders: BTreeMap<OrderId, WorkloadKey>,
    /// Most nodes of each live order that were ever seen ready.
    pub(crate) arrived: BTreeMap<OrderId, u32>,
    /// When a live order was last handed over or cancelled.
    pub(crate) order_sent: BTreeMap<OrderId, Millis>,
    /// How often a live order was cancelled since the process started.
    pub(crate) cancels: BTreeMap<OrderId, u32>,
    pub(crate) snapshot: Snapshot,
    pub(crate) plan: PlanId,
    /// Of the object that holds `plan`.
    pub(crate) plan_revision: Option<Revision>,
    /// Newest change of any cluster object.
    pub(crate) topology: Revision,
    /// Grows when there may be more room than before: then those that wait for room are tried again.
    pub(crate) epoch: u64,
    /// Workloads that wait for a decision.
    pub(crate) queue: queue::Queue,
    /// Workloads that go to every cluster that there is.
    pub(crate) wide: BTreeSet<WorkloadKey>,
    pub(crate) dirty: Dirty,
    /// Workloads whose manifests are looked at again at a time, to see whether a request had an effect.
    pub(crate) recheck: BTreeSet<(Millis, WorkloadKey)>,
    /// Workloads with replicas that are to move.
    pub(crate) moving: BTreeSet<WorkloadKey>,
    /// Workloads with replicas that retire.
    pub(crate) retiring: BTreeSet<WorkloadKey>,
    /// Workloads of which something is placed that is not ready.
    pub(crate) unwell: BTreeSet<WorkloadKey>,
    /// Workloads that ended, and whose records do not say so yet: members say it once, and a commit may meet another writer.
    /// Until it is written nothing else is decided about them, or they would run again.
    pub(crate) ended: BTreeSet<WorkloadKey>,
    /// Workloads that are gone, and whose placement is not.
    pub(crate) released: BTreeSet<WorkloadKey>,
    /// Workloads that are shown by clusters, and of which nothing is stored: what a cluster brought back from earlier.
    pub(crate) orphans: BTreeMap<WorkloadKey, BTreeSet<ClusterName>>,
    pub(crate) next_migration: Millis,
    /// A change that the migration policies have not seen.
    pub(crate) migration_news: bool,
    pub(crate) next_scan: Millis,
    /// When the next node may become unneeded, as far as the last scan could tell.
    pub(crate) scan_wake: Option<Millis>,
    /// A change of nodes, or of what is placed on them, that no scan has seen.
    pub(crate) scan_news: bool,
}

/// The last rank.
const WORKLOADS: u8 = 2;

/// The order in which changes are taken in: what workloads depend on, priority classes, workloads.
fn rank(kind: &str) -> u8 {
    match kind {
        own if own.starts_with("berth.dev/") => 0,
        class if class.starts_with("scheduling.k8s.io/") => 1,
        _ => WORKLOADS,
    }
}

/// What has to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Pools of these clusters, since what is declared changed.
    pub(crate) clusters: BTreeSet<ClusterName>,
    /// Room in these pools: nodes, or what is placed there. `None`: in all pools of the cluster.
    pub(crate) rooms: BTreeMap<ClusterName, Option<BTreeSet<PoolName>>>,
    /// Workloads of which other replicas are bound to nodes of a cluster, or placed there.
    pub(crate) unbound: BTreeMap<ClusterName, BTreeSet<WorkloadKey>>,
    /// Every workload's policy.
    pub(crate) matching: bool,
    /// Workloads whose policy or manifest changed.
    pub(crate) workloads: BTreeSet<WorkloadKey>,
    /// Workloads whose manifests at members may have to change.
    pub(crate) manifests: BTreeSet<WorkloadKey>,
    /// Workloads of which a start does not know whether members have what they should; looked at little by little.
    pub(crate) unverified: BTreeSet<WorkloadKey>,
    /// Workloads whose health changed.
    pub(crate) health: BTreeSet<WorkloadKey>,
    pub(crate) quotas: bool,
}

impl Dirty {
    fn room(&mut self, cluster: &ClusterName, pool: &PoolName) {
        let pools = self.rooms.entry(cluster.clone()).or_insert_with(|| Some(BTreeSet::new()));
        if let Some(pools) = pools {
            pools.insert(pool.clone());
        }
    }

    fn all_rooms(&mut self, cluster: &ClusterName) {
        self.rooms.insert(cluster.clone(), None);
    }
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The fleet as the planner sees it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The newest committed plan.
    pub fn plan(&self) -> PlanId {
        self.plan
    }

    pub fn workload(&self, key: &WorkloadKey) -> Option<&WorkloadState> {
        self.workloads.get(key)
    }

    /// All workloads, with those whose object is gone and whose placement is not; ascending by key.
    pub fn workloads(&self) -> impl Iterator<Item = (&WorkloadKey, &WorkloadState)> + '_ {
        self.workloads.iter()
    }

    /// All clusters that are declared or were observed, ascending by name.
    pub fn clusters(&self) -> impl Iterator<Item = (&ClusterName, &Member)> + '_ {
        self.clusters.iter()
    }

    pub fn offerings(&self) -> impl Iterator<Item = (&OfferingKey, &KnownOffering)> + '_ {
        self.offerings.iter()
    }

    /// Objects that cannot be read, and why.
    pub fn broken(&self) -> &BTreeMap<ObjectKey, String> {
        &self.broken
    }

    /// The object of a key; placements included.
    pub fn object(&self, key: &ObjectKey) -> Option<Object> {
        if &*key.kind == PLACEMENT_KIND {
            let record = self.record(self.placements.get(key)?)?;
            return Some(Object::Placement(record.to_object()));
        }
        Object::from_json(&self.objects.get(key)?.bytes).ok()
    }

    /// Clusters that can be reached and show a workload that is placed nowhere. None where its objects cannot be read.
    pub(crate) fn strays(&self, key: &WorkloadKey) -> impl Iterator<Item = &ClusterName> + '_ {
        let broken = self.broken.contains_key(&ObjectKey::from(key)) || self.broken.contains_key(&key_of(key));
        let shown = match self.workloads.get(key) {
            Some(workload) if workload.record.is_some() => None,
            Some(workload) => Some(&workload.seen_in),
            None => self.orphans.get(key),
        };
        shown.filter(|_| !broken).into_iter().flatten().filter(|cluster| self.reachable(cluster))
    }

    pub(crate) fn record(&self, key: &WorkloadKey) -> Option<&Arc<Record>> {
        self.workloads.get(key)?.record()
    }

    /// Takes in what the store says was written. Objects that cannot be read are put aside.
    pub(crate) fn absorb(&mut self, changes: &[Stored], now: Millis) {
        // Workloads come last, so that their policies are there when they are matched.
        let mut changes: Vec<&Stored> = changes.iter().collect();
        changes.sort_by_key(|stored| rank(&stored.key.kind));
        let first = self.workloads.values().all(|workload| !workload.exists);
        for alike in changes.chunk_by(|one, other| rank(&one.key.kind) == rank(&other.key.kind)) {
            let workloads = alike.first().is_some_and(|stored| rank(&stored.key.kind) == WORKLOADS);
            if first && workloads {
                // Nothing was matched with what came before, but the priority classes themselves.
                self.dirty.matching = false;
                let few = self.workloads.iter().filter(|(_, workload)| workload.exists).map(|(key, _)| key.clone());
                self.dirty.workloads.extend(few);
            }
            self.take_all(alike, now);
        }
    }

    /// Finds the workloads that may be decided now.
    pub(crate) fn ripen(&mut self, now: Millis) {
        self.queue.ripen(now, self.epoch, self.settings.backoff_ms.0);
    }

    /// The clock was set back. What was done counts as done now at the latest, and nothing is put off for longer than it would
    /// be from now on: otherwise a request that got lost would not be made again before the clock is where it was.
    fn set_back(&mut self, now: Millis) {
        let settings = self.settings.clone();
        let earlier = |at: &mut Millis| *at = (*at).min(now);
        for member in self.clusters.values_mut() {
            member.sent.values_mut().for_each(|(_, at)| earlier(at));
            member.removing.values_mut().for_each(earlier);
            member.pools.values_mut().for_each(|pool| earlier(&mut pool.last_added));
        }
        self.order_sent.values_mut().for_each(earlier);
        let again = now.plus(settings.resend_ms);
        self.recheck = std::mem::take(&mut self.recheck).into_iter().map(|(at, key)| (at.min(again), key)).collect();
        self.next_migration = self.next_migration.min(now.plus(settings.migration_period_ms));
        self.next_scan = self.next_scan.min(now.plus(settings.scale_down_scan_ms));
        self.scan_wake = self.scan_wake.map(|at| at.min(self.next_scan));
        for workload in self.workloads.values_mut() {
            workload.missing.values_mut().for_each(earlier);
        }
        self.put_off_from(now);
    }

    /// Brings everything that depends on what changed up to date.
    pub(crate) fn settle(&mut self, now: Millis) {
        if now < self.snapshot.now() {
            self.set_back(now);
        }
        self.snapshot.advance(now);
        if std::mem::take(&mut self.dirty.matching) {
            let all: Vec<WorkloadKey> = self.workloads.keys().cloned().collect();
            self.dirty.workloads.extend(all);
        }
        for key in std::mem::take(&mut self.dirty.workloads) {
            self.rematch(&key, now);
        }
        if std::mem::take(&mut self.dirty.quotas) {
            self.rebuild_quotas();
        }
        // What a cluster has is not known before it was seen, so nothing can be said to be without room there. All of it is
        // looked at when it is.
        for (cluster, keys) in std::mem::take(&mut self.dirty.unbound) {
            if self.unseen(&cluster) {
                continue;
            }
            for key in keys {
                let pools = self.count_unbound(&cluster, &key);
                pools.iter().for_each(|pool| self.dirty.room(&cluster, pool));
            }
            // A cluster that is not declared has no room for what is bound there, either.
            if self.clusters.get(&cluster).is_none_or(|member| member.object.is_none()) {
                self.dirty.all_rooms(&cluster);
            }
        }
        let declared = std::mem::take(&mut self.dirty.clusters);
        let mut rooms = std::mem::take(&mut self.dirty.rooms);
        rooms.extend(declared.iter().map(|cluster| (cluster.clone(), None)));
        for (cluster, pools) in rooms {
            if !self.unseen(&cluster) {
                self.refresh(&cluster, pools.as_ref(), declared.contains(&cluster), now);
            }
        }
    }
}
