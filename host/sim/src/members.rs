//! All simulated member clusters behind the `Members` port, with the agenda of what happens in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::ports::{ClusterObservation, Members};
use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};

use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Pace, Timer, Timers};
use crate::fleet::Fleet;
use crate::journal::{Asked, Journal};
use crate::manifest::Manifest;
use crate::node::Class;
use crate::random;

/// The simulated member clusters.
#[derive(Debug)]
pub struct SimMembers {
    pub(crate) now: Millis,
    pub(crate) pace: Pace,
    pub(crate) clusters: BTreeMap<ClusterName, Cluster>,
    pub(crate) agenda: Agenda<(ClusterName, Timer)>,
    /// Clusters of which something is to be seen that was not fetched yet.
    changed: BTreeSet<ClusterName>,
    /// Clusters that something was asked of since they last settled.
    touched: BTreeSet<ClusterName>,
    /// Manifests that a member could not read, for people.
    pub(crate) refused: Vec<String>,
    pub(crate) journal: Journal,
    /// Probability that a request gets lost.
    pub(crate) request_lost: f64,
}

/// Things that will happen, by time, then in the order in which they were planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedAgenda<T>", into = "SavedAgenda<T>", bound(serialize = "T: Clone + Serialize"))]
pub(crate) struct Agenda<T> {
    pub(crate) entries: BTreeMap<(Millis, u64), T>,
    planned: u64,
}

/// JSON has no keys but strings, so that entries are saved as a list.
#[derive(Serialize, Deserialize)]
struct SavedAgenda<T> {
    entries: Vec<(Millis, u64, T)>,
    planned: u64,
}

impl<T> From<SavedAgenda<T>> for Agenda<T> {
    fn from(saved: SavedAgenda<T>) -> Self {
        let entries = saved.entries.into_iter().map(|(at, number, what)| ((at, number), what)).collect();
        Self { entries, planned: saved.planned }
    }
}

impl<T> From<Agenda<T>> for SavedAgenda<T> {
    fn from(agenda: Agenda<T>) -> Self {
        let entries = agenda.entries.into_iter().map(|((at, number), what)| (at, number, what)).collect();
        Self { entries, planned: agenda.planned }
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Millis, what: T) {
        self.planned += 1;
        self.entries.insert((at, self.planned), what);
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// The next entry that is due at `now`.
    pub(crate) fn due(&mut self, now: Millis) -> Option<(Millis, T)> {
        let first = self.entries.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), what) = first.remove_entry();
        Some((at, what))
    }
}

impl SimMembers {
    pub(crate) fn new(pace: Pace, request_lost: f64, now: Millis) -> Self {
        Self {
            now,
            pace,
            clusters: BTreeMap::new(),
            agenda: Agenda::default(),
            changed: BTreeSet::new(),
            touched: BTreeSet::new(),
            refused: Vec::new(),
            journal: Journal::default(),
            request_lost,
        }
    }

    pub(crate) fn add_cluster(&mut self, name: &ClusterName) {
        if !self.clusters.contains_key(name) {
            self.clusters.insert(name.clone(), Cluster::new(name.clone(), self.now));
            self.changed.insert(name.clone());
        }
    }

    /// Adds a node of a pool from an offering. Nothing happens if the fleet does not know one of them.
    pub(crate) fn add_node(
        &mut self,
        fleet: &Fleet,
        name: &Arc<str>,
        at: (&ClusterName, &PoolName),
        offering: &OfferingKey,
        order: Option<&OrderId>,
    ) {
        let now = self.now;
        let (Some(member), Some(config)) = (fleet.clusters.get(at.0), fleet.offerings.get(offering)) else { return };
        let (Some(pool), Some(cluster)) = (member.pools.get(at.1), self.clusters.get_mut(at.0)) else { return };
        let class = Class {
            pool: pool.spec.clone(),
            region: member.region.clone(),
            zone: offering.zone.clone(),
            instance_type: offering.instance_type.clone(),
            capacity_type: Some(offering.capacity_type),
            allocatable: cluster.nodes.resources.amounts(&config.allocatable),
        };
        cluster.add_node(name, class, (Some(offering.clone()), order.cloned()), now);
        self.touched.insert(at.0.clone());
    }

    /// Gives nodes the labels and taints that their pools have now, as whoever runs node pools does.
    pub(crate) fn set_pools(&mut self, fleet: &Fleet) {
        for (name, member) in &fleet.clusters {
            let Some(cluster) = self.clusters.get_mut(name) else { continue };
            member.pools.values().for_each(|pool| cluster.set_pool(&pool.spec));
            self.touched.insert(name.clone());
        }
    }

    /// Removes a node with all that runs on it, and says from which offering it came.
    pub(crate) fn remove_node(&mut self, cluster: &ClusterName, node: &Arc<str>) -> Option<OfferingKey> {
        let now = self.now;
        let offering = self.clusters.get_mut(cluster)?.remove_node(node, now)?;
        self.touched.insert(cluster.clone());
        offering
    }

    pub(crate) fn set_reachable(&mut self, cluster: &ClusterName, reachable: bool) {
        let now = self.now;
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.set_reachable(reachable, now);
            self.changed.insert(cluster.clone());
            self.touched.insert(cluster.clone());
        }
    }

    /// Whoever looks next sees all clusters as changed, as one does that begins to look.
    pub fn show_all(&mut self) {
        self.changed.extend(self.clusters.keys().cloned());
    }

    pub(crate) fn remember(&mut self, cluster: &ClusterName) {
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.remember();
        }
    }

    pub(crate) fn restore(&mut self, cluster: &ClusterName) {
        let now = self.now;
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.restore_remembered(now);
            self.touched.insert(cluster.clone());
        }
    }

    pub(crate) fn set_stale(&mut self, cluster: &ClusterName, stale: bool) {
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.set_stale(stale);
            self.changed.insert(cluster.clone());
            self.touched.insert(cluster.clone());
        }
    }

    pub(crate) fn tamper(&mut self, cluster: &ClusterName, number: u64) {
        let now = self.now;
        let Some(found) = self.clusters.get_mut(cluster) else { return };
        let count = found.workloads.len().max(1) as u64;
        if let Some(key) = found.workloads.keys().nth((number % count) as usize).cloned() {
            found.delete(&key, now);
            self.touched.insert(cluster.clone());
        }
    }

    /// Whether a request is lost on its way.
    fn loses(&self, what: &str, cluster: &ClusterName, workload: &WorkloadKey) -> bool {
        self.request_lost > 0.0
            && random::happens(self.pace.seed, &format!("{what}/{cluster}/{workload}"), self.now.0, self.request_lost)
    }

    /// Whether something was asked that did not take effect yet.
    pub(crate) fn is_due(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Lets the clock stand at `now` and everything happen that is due: timers, then scheduling, then what is seen.
    pub(crate) fn settle(&mut self, now: Millis) {
        self.now = now;
        loop {
            while let Some((_, (name, timer))) = self.agenda.due(now) {
                let mut timers = Timers::new();
                if let Some(cluster) = self.clusters.get_mut(&name) {
                    cluster.fire(&timer, now, &mut timers);
                }
                self.plan(&name, timers);
                self.touched.insert(name);
            }
            // Pods that start at once are due again, so that this goes on until nothing is.
            let touched = std::mem::take(&mut self.touched);
            if touched.is_empty() {
                return;
            }
            for name in touched {
                let mut timers = Timers::new();
                if let Some(cluster) = self.clusters.get_mut(&name) {
                    cluster.schedule(&self.pace, now, &mut timers);
                    if cluster.is_dirty() {
                        self.changed.insert(name.clone());
                    }
                    cluster.publish();
                }
                self.plan(&name, timers);
            }
        }
    }

    fn plan(&mut self, name: &ClusterName, timers: Timers) {
        for (at, timer) in timers {
            self.agenda.plan(at, (name.clone(), timer));
        }
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        if self.is_due() { Some(self.now) } else { self.agenda.next() }
    }
}

impl Members for SimMembers {
    fn changed(&mut self) -> Vec<ClusterName> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation> {
        self.clusters.get(cluster).map(|cluster| &cluster.observed)
    }

    /// What is sent to a cluster that does not answer is lost.
    fn apply(&mut self, cluster: &ClusterName, workload: &WorkloadKey, manifest: &Arc<[u8]>, digest: &Arc<str>) {
        self.journal.write(|| Asked::Apply {
            cluster: cluster.clone(),
            workload: workload.clone(),
            manifest: String::from_utf8_lossy(manifest).into_owned(),
            digest: digest.clone(),
        });
        let (now, lost) = (self.now, self.loses("apply", cluster, workload));
        let Some(found) = self.clusters.get_mut(cluster).filter(|found| found.reachable && !lost) else { return };
        match Manifest::read(manifest) {
            Ok(read) => {
                found.apply(workload, digest, manifest, &read, now);
                self.touched.insert(cluster.clone());
            }
            Err(reason) => self.refused.push(format!("{cluster}: {workload}: {reason}")),
        }
    }

    fn delete(&mut self, cluster: &ClusterName, workload: &WorkloadKey) {
        self.journal.write(|| Asked::Delete { cluster: cluster.clone(), workload: workload.clone() });
        let (now, lost) = (self.now, self.loses("delete", cluster, workload));
        if let Some(found) = self.clusters.get_mut(cluster).filter(|found| found.reachable && !lost) {
            found.delete(workload, now);
            self.touched.insert(cluster.clone());
        }
    }
}
