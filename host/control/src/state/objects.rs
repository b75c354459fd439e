//! Takes in one stored object.

use std::sync::Arc;

use berth_api::Object;
use berth_api::to_core;
use berth_core::ids::{ClusterName, Millis, PlanId, PoolName, WorkloadKey};
use serde::{Deserialize, Serialize};

use super::decode::Decoded;
use super::stock::with_names;
use super::{Kept, KnownOffering, PoolState, State, is_head};
use crate::ports::{ObjectKey, Stored};
use crate::record::PLACEMENT_KIND;

/// The newest plan, as stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) plan: PlanId,
    pub(crate) decided_at: Millis,
}

impl From<&WorkloadKey> for ObjectKey {
    fn from(key: &WorkloadKey) -> Self {
        Self { kind: key.kind.clone(), namespace: key.namespace.clone(), name: key.name.clone() }
    }
}

impl From<&ObjectKey> for WorkloadKey {
    fn from(key: &ObjectKey) -> Self {
        Self { kind: key.kind.clone(), namespace: key.namespace.clone(), name: key.name.clone() }
    }
}

impl State {
    pub(super) fn take(&mut self, stored: &Stored, decoded: Decoded, now: Millis) {
        let key = &stored.key;
        if &*key.kind == PLACEMENT_KIND {
            let record = if let Decoded::Record(record) = decoded { Some(record) } else { None };
            return self.take_record(key, record, stored.revision, now);
        }
        match (&stored.value, is_head(key)) {
            (Some(bytes), false) => {
                drop(self.objects.insert(key.clone(), Kept { revision: stored.revision, bytes: bytes.clone() }));
            }
            (None, false) => drop(self.objects.remove(key)),
            (_, true) => {}
        }
        match decoded {
            Decoded::Head(head) => {
                self.plan = head.plan;
                self.plan_revision = Some(stored.revision);
            }
            Decoded::Own(object) => self.put(key, *object, stored),
            Decoded::Manifest(mut asked) => {
                if asked.class.take().is_some_and(|class| self.classes.insert(&class)) {
                    self.dirty.matching = true;
                }
                self.take_manifest(&WorkloadKey::from(key), Some(asked), stored.revision, now);
            }
            Decoded::Gone if is_head(key) => {}
            Decoded::Gone => self.remove(key, stored, now),
            // Stored under another kind's key: such a thing is never written.
            Decoded::Record(_) => {}
        }
    }

    fn put(&mut self, key: &ObjectKey, object: Object, stored: &Stored) {
        match object {
            Object::Cluster(cluster) => {
                let name = ClusterName::new(key.name.clone());
                let member = self.clusters.entry(name.clone()).or_default();
                if member.object.replace(cluster).is_none() {
                    // What it shows was nobody's business until now.
                    self.dirty.manifests.extend(member.workloads.keys().cloned());
                }
                member.revision = stored.revision;
                self.topology = self.topology.max(stored.revision);
                self.put_cluster(&name);
            }
            Object::NodePool(pool) => {
                let cluster = ClusterName::new(pool.spec.cluster.as_str());
                let name = PoolName::new(key.name.clone());
                if self.pool_clusters.get(&key.name).is_some_and(|old| *old != cluster) {
                    self.remove_pool(&key.name);
                }
                self.pool_clusters.insert(key.name.clone(), cluster.clone());
                let pools = &mut self.clusters.entry(cluster.clone()).or_default().pools;
                match pools.get_mut(&name) {
                    Some(known) => known.object = pool,
                    None => {
                        drop(pools.insert(name, PoolState { object: pool, row: None, last_added: Millis(0) }));
                    }
                }
                self.epoch += 1;
                self.dirty.clusters.insert(cluster);
            }
            Object::Offering(offering) => self.take_offering(key, offering, stored),
            Object::DistributionPolicy(policy) => {
                self.policies.insert(policy);
                let place = (key.namespace.clone(), key.name.clone());
                self.policy_revisions.insert(place, stored.revision);
                self.dirty.matching = true;
            }
            Object::OverridePolicy(policy) => {
                self.overrides.insert(policy);
                self.all_manifests();
            }
            Object::QuotaTree(tree) => {
                self.quotas.insert(key.name.clone(), tree);
                self.dirty.quotas = true;
                self.epoch += 1;
            }
            // Manifests and placements are decoded as what they mean.
            Object::Simulation(_) | Object::Placement(_) | Object::Manifest(_) => {}
        }
    }

    fn remove(&mut self, key: &ObjectKey, stored: &Stored, now: Millis) {
        match &*key.kind {
            "berth.dev/v1alpha1/Cluster" => {
                let name = ClusterName::new(key.name.clone());
                if let Some(member) = self.clusters.get_mut(&name) {
                    member.object = None;
                }
                self.topology = self.topology.max(stored.revision);
                self.snapshot.remove_cluster(name.as_str());
                self.dirty.clusters.insert(name);
                self.migration_news = true;
            }
            "berth.dev/v1alpha1/NodePool" => self.remove_pool(&key.name),
            "berth.dev/v1alpha1/Offering" => {
                if let Some(offering) = self.offering_keys.remove(&key.name) {
                    self.offerings.remove(&offering);
                    self.dirty_pools_of(&offering.provider.clone(), &offering.region.clone());
                }
            }
            "berth.dev/v1alpha1/DistributionPolicy" | "berth.dev/v1alpha1/ClusterDistributionPolicy" => {
                self.policies.remove(&key.namespace, &key.name);
                self.policy_revisions.remove(&(key.namespace.clone(), key.name.clone()));
                self.dirty.matching = true;
            }
            "berth.dev/v1alpha1/OverridePolicy" | "berth.dev/v1alpha1/ClusterOverridePolicy" => {
                self.overrides.remove(&key.namespace, &key.name);
                self.all_manifests();
            }
            "berth.dev/v1alpha1/QuotaTree" => {
                self.quotas.remove(&key.name);
                self.dirty.quotas = true;
                self.epoch += 1;
            }
            kind => {
                if kind.starts_with("scheduling.k8s.io/") && kind.ends_with("/PriorityClass") {
                    self.classes.remove(&key.name);
                    self.dirty.matching = true;
                }
                self.take_manifest(&WorkloadKey::from(key), None, stored.revision, now);
            }
        }
    }

    fn take_offering(&mut self, key: &ObjectKey, offering: berth_api::resources::Offering, stored: &Stored) {
        let row = to_core::offering_key(&offering);
        let old = self.offering_keys.insert(key.name.clone(), row.clone()).filter(|old| *old != row);
        if let Some(old) = old {
            self.offerings.remove(&old);
            self.dirty_pools_of(&old.provider, &old.region);
        }
        let new = !self.offerings.contains_key(&row);
        let known =
            self.offerings.entry(row.clone()).or_insert_with(|| KnownOffering::new(offering.clone(), stored.revision));
        known.object = offering;
        known.revision = stored.revision;
        self.put_offering(&row);
        if new {
            self.dirty_pools_of(&row.provider, &row.region);
        }
    }

    fn remove_pool(&mut self, name: &Arc<str>) {
        let Some(cluster) = self.pool_clusters.remove(name) else { return };
        let member = self.clusters.get_mut(&cluster);
        let pool = member.and_then(|member| member.pools.remove(&PoolName::new(name.clone())));
        if let Some(row) = pool.and_then(|pool| pool.row) {
            self.snapshot.remove_pool(row);
        }
        self.dirty.clusters.insert(cluster);
    }

    /// Pools that may use offerings of a region.
    fn dirty_pools_of(&mut self, provider: &str, region: &str) {
        let here =
            |object: &berth_api::resources::Cluster| object.spec.provider == provider && object.spec.region == region;
        let clusters = self.clusters.iter().filter(|(_, member)| member.object.as_ref().is_some_and(here));
        let clusters: Vec<ClusterName> = clusters.map(|(name, _)| name.clone()).collect();
        self.dirty.clusters.extend(clusters);
    }

    fn all_manifests(&mut self) {
        let placed = self.workloads.iter().filter(|(_, workload)| workload.record().is_some());
        self.dirty.manifests.extend(placed.map(|(key, _)| key.clone()));
    }

    /// Writes a cluster's row from what is declared and observed.
    pub(super) fn put_cluster(&mut self, name: &ClusterName) {
        let Some(member) = self.clusters.get(name) else { return };
        let Some(object) = &member.object else { return };
        let cluster = berth_core::fleet::Cluster {
            reachable: member.reachable,
            reachable_since: member.since,
            ..to_core::cluster(object)
        };
        self.snapshot.upsert_cluster(cluster);
        self.dirty.clusters.insert(name.clone());
        self.migration_news = true;
    }

    /// Makes the quota tree and charges it with everything that is placed.
    pub(super) fn rebuild_quotas(&mut self) {
        let tree = self.quotas.values().next().cloned();
        let quotas = tree.map(|tree| with_names(&mut self.snapshot, |names| to_core::quota_tree(&tree, names)));
        self.snapshot.set_quotas(quotas.unwrap_or_default());
        let keys: Vec<WorkloadKey> = self.workloads.keys().cloned().collect();
        for key in &keys {
            if let Some(workload) = self.workloads.get_mut(key) {
                workload.charged = None;
            }
            self.charge(key);
        }
    }
}
