//! What the API and the command line show: rows, objects with their status, and explanations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use berth_api::Object;
use berth_core::ids::{ClusterName, PoolName, WorkloadKey};
use berth_core::plan::{self, DecisionRecord, ExplainedCluster};
use berth_core::policy::Tables;
use berth_core::reason::{Code, Reason};
use serde_json::{Value, json};

use crate::controller::Controller;
use crate::history::{self, DecisionEntry, tables_key};
use crate::ports::{NodeObservation, ObjectKey, Outcome, StoreError};
use crate::state::{Member, State, WorkloadState};
use crate::view::{
    CandidateRow, ClusterRow, DecisionRow, Explanation, PoolRow, ResourceUse, StockRow, Verdict, WorkloadAt,
    WorkloadRow,
};

/// Earlier decisions that an explanation shows.
const EARLIER: usize = 10;

impl Controller {
    /// All workloads, ascending by namespace, name and kind.
    pub fn workloads(&self) -> Vec<WorkloadRow> {
        self.state.workloads().map(|(key, workload)| workload_row(&self.state, key, workload)).collect()
    }

    pub fn workload(&self, key: &WorkloadKey) -> Option<WorkloadRow> {
        Some(workload_row(&self.state, key, self.state.workload(key)?))
    }

    /// All declared clusters, ascending by name.
    pub fn clusters(&self) -> Vec<ClusterRow> {
        self.clusters_in(0..usize::MAX)
    }

    /// Those of [`Self::clusters`] whose places are in `rows`. No other row is made.
    pub fn clusters_in(&self, rows: Range<usize>) -> Vec<ClusterRow> {
        let declared = self.state.clusters().filter(|(_, member)| member.object.is_some());
        declared
            .skip(rows.start)
            .take(rows.len())
            .map(|(name, member)| cluster_row(&self.state, name, member))
            .collect()
    }

    /// All node pools, ascending by cluster and name.
    pub fn pools(&self) -> Vec<PoolRow> {
        self.pools_in(0..usize::MAX)
    }

    /// Those of [`Self::pools`] whose places are in `rows`. No other row is made.
    pub fn pools_in(&self, rows: Range<usize>) -> Vec<PoolRow> {
        let clusters = self.state.clusters();
        let pools = clusters.flat_map(|(name, member)| member.pools.keys().map(move |pool| (name, member, pool)));
        let row = |(cluster, member, pool)| pool_row(&self.state, cluster, member, pool);
        pools.skip(rows.start).take(rows.len()).map(row).collect()
    }

    /// All offerings, ascending by key.
    pub fn stock(&self) -> Vec<StockRow> {
        self.stock_in(0..usize::MAX)
    }

    /// Those of [`Self::stock`] whose places are in `rows`. No other row is made.
    pub fn stock_in(&self, rows: Range<usize>) -> Vec<StockRow> {
        let row = |(key, known): (&berth_core::fleet::OfferingKey, &crate::state::KnownOffering)| {
            let snapshot = &self.state.snapshot;
            let offering = snapshot.offering_row(key).and_then(|row| snapshot.offering(row));
            StockRow {
                offering: key.clone(),
                price: known.object.spec.price,
                interruption: known.object.spec.interruption,
                stock: known.stock(),
                ordered: offering.map_or(0, |offering| offering.in_flight),
            }
        };
        self.state.offerings().skip(rows.start).take(rows.len()).map(row).collect()
    }

    /// Why a workload runs where it does, and not elsewhere; `None` if it is not known.
    ///
    /// # Errors
    /// If the history cannot be read.
    pub fn explain(&self, key: &WorkloadKey) -> Result<Option<Explanation>, StoreError> {
        let Some(workload) = self.state.workload(key) else { return Ok(None) };
        let row = workload_row(&self.state, key, workload);
        let entries = self.entries(key, EARLIER + 1)?;
        let mut rows = entries.iter().map(decision_row);
        let decision = rows.next();
        let history = rows.collect();
        let clusters = match entries.first() {
            Some(entry) => verdicts(&entry.record, &*self.tables(&entry.tables)?),
            None => Vec::new(),
        };
        Ok(Some(Explanation { row, decision, clusters, history }))
    }

    /// The newest decision records of a workload with the tables that they refer to, newest first, as JSON.
    ///
    /// # Errors
    /// If the history cannot be read.
    pub fn decisions(&self, key: &WorkloadKey, limit: usize) -> Result<Vec<Value>, StoreError> {
        let mut values = Vec::new();
        for entry in self.entries(key, limit)? {
            let tables = self.tables(&entry.tables)?;
            values.push(json!({ "tables": &*tables, "record": &*entry.record, "short": entry.short }));
        }
        Ok(values)
    }

    fn entries(&self, key: &WorkloadKey, limit: usize) -> Result<Vec<DecisionEntry>, StoreError> {
        let entries = self.store.history(Some(&ObjectKey::from(key)), limit)?;
        // An entry that another version wrote is left out.
        Ok(entries.iter().filter_map(|entry| history::decode(&entry.value).ok()).collect())
    }

    /// The tables that a decision was made with. If the history has lost them, those of now, whose rows may be others.
    fn tables(&self, digest: &str) -> Result<Arc<Tables>, StoreError> {
        let history = self.store.history(Some(&tables_key(digest)), 1)?;
        let stored = history.first().and_then(|entry| serde_json::from_slice(&entry.value).ok());
        Ok(stored.map_or_else(|| self.state.snapshot.tables().clone(), Arc::new))
    }

    /// Keys of all objects, placements included; ascending.
    pub fn keys(&self) -> Vec<ObjectKey> {
        let mut keys: Vec<ObjectKey> = self.state.placements.keys().chain(self.state.objects.keys()).cloned().collect();
        keys.sort();
        keys
    }

    /// An object as Kubernetes would show it, with its status.
    pub fn get(&self, key: &ObjectKey) -> Option<Value> {
        let mut value = self.state.object(key)?.to_value();
        if let Some(status) = self.status(key)
            && let Some(map) = value.as_object_mut()
        {
            map.insert("status".to_owned(), status);
        }
        Some(value)
    }

    /// Everything that describes the fleet: clusters, pools, offerings and what the simulator adds.
    pub fn fleet_objects(&self) -> Vec<Object> {
        let fleet = |key: &&ObjectKey| {
            let kinds = ["Cluster", "NodePool", "Offering", "Simulation"];
            kinds.iter().any(|kind| key.kind.strip_prefix("berth.dev/v1alpha1/") == Some(kind))
        };
        self.state.objects.keys().filter(fleet).filter_map(|key| self.state.object(key)).collect()
    }

    fn status(&self, key: &ObjectKey) -> Option<Value> {
        match key.kind.strip_prefix("berth.dev/v1alpha1/") {
            Some("Cluster") => {
                let member = self.state.member(&ClusterName::new(key.name.clone()))?;
                let ready = condition("Ready", member.reachable, None);
                Some(json!({ "nodes": member.nodes.len(), "conditions": [ready] }))
            }
            Some("NodePool") => {
                let cluster = self.state.pool_clusters.get(&key.name)?;
                let name = PoolName::new(key.name.clone());
                let nodes = self.state.member(cluster)?.nodes.iter().filter(|node| node.pool == name).count();
                Some(json!({ "nodes": nodes, "ordered": ordered(&self.state, cluster, &name) }))
            }
            Some("Offering") => {
                let known = self.state.offerings.get(self.state.offering_keys.get(&key.name)?)?;
                let stock = berth_api::resources::StockReport::from(&known.stock());
                Some(json!({ "stock": stock }))
            }
            Some(_) => None,
            None => {
                let workload = WorkloadKey::from(key);
                workload_status(&self.state, &workload, self.state.workload(&workload)?)
            }
        }
    }
}

fn condition(kind: &str, holds: bool, reason: Option<&Reason>) -> Value {
    let status = if holds { "True" } else { "False" };
    match reason {
        Some(reason) => {
            json!({ "type": kind, "status": status, "reason": reason.code.as_str(), "message": reason.message })
        }
        None => json!({ "type": kind, "status": status }),
    }
}

fn workload_status(state: &State, key: &WorkloadKey, workload: &WorkloadState) -> Option<Value> {
    let row = workload_row(state, key, workload);
    let scheduled = workload.record().is_some() && row.waiting.is_none();
    let mut conditions = vec![condition("Scheduled", scheduled, row.waiting.as_ref())];
    let record = workload.record();
    if let Some(outcome) = record.and_then(|record| record.finished) {
        let kind = if outcome == Outcome::Succeeded { "Complete" } else { "Failed" };
        conditions.push(condition(kind, true, None));
    } else if row.wanted > 0 {
        conditions.push(condition("Ready", row.ready >= row.wanted, None));
    }
    let clusters: Vec<Value> = row
        .clusters
        .iter()
        .map(|at| json!({ "name": at.cluster, "replicas": at.replicas, "readyReplicas": at.ready }))
        .collect();
    Some(json!({
        "replicas": row.placed, "readyReplicas": row.ready, "clusters": clusters, "conditions": conditions,
    }))
}

fn workload_row(state: &State, key: &WorkloadKey, workload: &WorkloadState) -> WorkloadRow {
    let mut clusters: BTreeMap<ClusterName, WorkloadAt> = BTreeMap::new();
    if let Some(record) = workload.record() {
        for cluster in &record.placement.clusters {
            let at = WorkloadAt { cluster: cluster.clone(), replicas: 0, ready: 0 };
            clusters.insert(cluster.clone(), at);
        }
        let pairs: BTreeSet<_> = record.placement.shares.iter().map(|one| (one.component, &one.cluster)).collect();
        for (component, cluster) in pairs {
            let placed = record.placement.at(component, cluster);
            let at = clusters.entry(cluster.clone()).or_insert_with(|| WorkloadAt {
                cluster: cluster.clone(),
                replicas: 0,
                ready: 0,
            });
            at.replicas += placed;
            at.ready += state.ready_at(key, component, cluster).min(placed);
        }
    }
    let clusters: Vec<WorkloadAt> = clusters.into_values().collect();
    let components = workload.workload.iter().flat_map(|core| &core.components);
    let wanted: u32 = components.map(|component| component.replicas).sum();
    let finished = workload.record().is_some_and(|record| record.finished.is_some());
    WorkloadRow {
        workload: key.clone(),
        wanted: if workload.exists && !finished { wanted } else { 0 },
        placed: clusters.iter().map(|at| at.replicas).sum(),
        ready: clusters.iter().map(|at| at.ready).sum(),
        clusters,
        by: workload.record().map(|record| record.placement.policy.clone()),
        waiting: waits(workload),
    }
}

fn waits(workload: &WorkloadState) -> Option<Reason> {
    let suspended = || {
        let core = workload.workload.as_ref().ok()?;
        let why = format!("scheduling is suspended by {}", core.rules.policy);
        core.rules.suspended.then(|| Reason::new(Code::Suspended, why))
    };
    workload.reason().cloned().or_else(|| suspended().filter(|_| workload.exists))
}

fn cluster_row(state: &State, name: &ClusterName, member: &Member) -> ClusterRow {
    let nodes: Vec<&NodeObservation> = member.nodes.iter().map(|node| &**node).collect();
    let spec = member.object.as_ref().map(|object| &object.spec);
    let placed = member.placed.iter().filter_map(|key| state.record(key));
    let shares = placed.flat_map(|record| &record.placement.shares).filter(|share| share.cluster == *name);
    ClusterRow {
        name: name.clone(),
        provider: spec.map_or("", |spec| &spec.provider).into(),
        region: spec.map_or("", |spec| &spec.region).into(),
        reachable: member.reachable,
        since: member.since,
        nodes: nodes.len() as u32,
        ordered: member.pools.keys().map(|pool| ordered(state, name, pool)).sum(),
        resources: resources(&nodes),
        replicas: shares.map(|share| share.replicas).sum(),
        usd_per_hour: nodes.iter().map(|node| price(state, name, node)).sum(),
    }
}

fn pool_row(state: &State, cluster: &ClusterName, member: &Member, name: &PoolName) -> PoolRow {
    let nodes: Vec<&NodeObservation> =
        member.nodes.iter().map(|node| &**node).filter(|node| node.pool == *name).collect();
    let spec = member.pools.get(name).map(|pool| &pool.object.spec);
    PoolRow {
        cluster: cluster.clone(),
        name: name.clone(),
        nodes: nodes.len() as u32,
        ordered: ordered(state, cluster, name),
        min: spec.map_or(0, |spec| spec.min),
        max: spec.map_or(0, |spec| spec.max),
        resources: resources(&nodes),
        usd_per_hour: nodes.iter().map(|node| price(state, cluster, node)).sum(),
    }
}

fn ordered(state: &State, cluster: &ClusterName, pool: &PoolName) -> u32 {
    state.in_flight(cluster, pool).values().sum()
}

fn resources(nodes: &[&NodeObservation]) -> Vec<ResourceUse> {
    let mut sums: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.ready) {
        for (name, amount) in &node.allocatable {
            let sum = sums.entry(name.clone()).or_default();
            sum.0 = sum.0.saturating_add(*amount);
            sum.1 = sum.1.saturating_add(node.free.get(name).copied().unwrap_or(0));
        }
    }
    let row = |(name, (allocatable, free))| ResourceUse { name, allocatable, free };
    sums.into_iter().map(row).collect()
}

/// USD per hour of a node: that of the offering it came from, as far as that can be told.
fn price(state: &State, cluster: &ClusterName, node: &NodeObservation) -> f64 {
    let snapshot = &state.snapshot;
    let row = snapshot.cluster_row(cluster.as_str()).and_then(|row| snapshot.pool_row(row, node.pool.as_str()));
    let offerings = row.and_then(|row| snapshot.pool(row)).into_iter().flat_map(|pool| &pool.spec.offerings);
    let mut found = offerings.filter_map(|row| snapshot.offering(*row)).filter(|offering| {
        let key = &offering.key;
        key.instance_type == node.instance_type
            && key.zone == node.zone
            && node.capacity_type.is_none_or(|capacity| capacity == key.capacity_type)
    });
    found.next().map_or(0.0, |offering| offering.price)
}

fn decision_row(entry: &DecisionEntry) -> DecisionRow {
    DecisionRow {
        plan: entry.record.plan,
        at: entry.record.decided_at,
        by: entry.record.by.clone(),
        failed: entry.record.failed.clone(),
        fuel: entry.record.fuel,
        clusters: entry.clusters.clone(),
        short: entry.short.clone(),
    }
}

fn verdicts(record: &DecisionRecord, tables: &Tables) -> Vec<Verdict> {
    let row_of = |name: &str| tables.names.iter().position(|known| &**known == name);
    let verdict = |one: ExplainedCluster| {
        let row = row_of(&one.cluster);
        let at = record.candidates.cluster.iter().position(|cluster| Some(*cluster as usize) == row);
        Verdict {
            cluster: ClusterName::new(one.cluster),
            replicas: one.replicas.iter().map(|(_, count)| *count).sum(),
            reason: one.code.map(|code| Reason::new(code, one.message)),
            candidate: at.map(|at| candidate(record, at)),
            terms: one.terms,
        }
    };
    plan::explain(record, tables).clusters.into_iter().map(verdict).collect()
}

fn candidate(record: &DecisionRecord, at: usize) -> CandidateRow {
    let components = &record.request.components;
    let main = (0..components.len()).max_by_key(|at| (components[*at].replicas, std::cmp::Reverse(*at))).unwrap_or(0);
    let candidates = &record.candidates;
    let by_component = |column: &[u32]| column.get(main * candidates.len() + at).copied().unwrap_or(0);
    let number = |column: &[u32]| column.get(at).copied().unwrap_or(0);
    CandidateRow {
        ready: by_component(&candidates.ready),
        elastic: by_component(&candidates.elastic),
        current: by_component(&candidates.current),
        price: candidates.price.get(at).copied().unwrap_or(0.0),
        current_price: candidates.current_price.get(at).copied().unwrap_or(0.0),
        lead_seconds: number(&candidates.lead_seconds),
        interruption: candidates.interruption.get(at).copied().unwrap_or(0.0),
        tier: number(&candidates.tier),
        weight: number(&candidates.weight),
    }
}
