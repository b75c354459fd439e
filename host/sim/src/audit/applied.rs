//! Promises 3 and 5, of members: they get what placements say, all of it, and nothing else.
//!
//! What was ever promised to a member is kept: a member that comes back may show what it was told before it left. It must be
//! put right soon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::ids::{ClusterName, WorkloadKey};
use serde_json::Value;

use super::Sight;
use super::breach::{Found, Invariant};
use super::lasting::Lasting;
use super::record::Placed;
use super::store::{Change, Mirror};
use super::work::replicas;

/// Milliseconds that a member may show what it should not, beyond the time after which it is told again.
const GRACE_MS: u64 = 60_000;
/// Times that a request may have to be made again, because it gets lost.
const TRIES: u64 = 6;

/// A manifest by its digest, with replicas by component.
type Manifest = (Arc<str>, Vec<u64>);

#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Replicas by component that were promised at any time, by workload and cluster.
    promised: BTreeMap<WorkloadKey, BTreeMap<String, BTreeSet<Vec<u64>>>>,
    /// What each member was last seen to have.
    shown: BTreeMap<ClusterName, BTreeMap<WorkloadKey, Manifest>>,
}

/// Replicas by component, without zeros at the end.
fn promise(placed: &Placed, cluster: &str) -> Vec<u64> {
    let shares = placed.shares.iter().map(|share| share.component);
    let last = shares.chain(placed.retiring.iter().map(|one| one.component)).max();
    trimmed((0..last.map_or(0, |last| last + 1)).map(|component| placed.promised(component, cluster)).collect())
}

fn trimmed(mut counts: Vec<u64>) -> Vec<u64> {
    while counts.last() == Some(&0) {
        counts.pop();
    }
    counts
}

fn receives(placed: &Placed, cluster: &str) -> bool {
    placed.clusters.contains(cluster) || placed.retiring.iter().any(|one| one.cluster == cluster)
}

impl Applied {
    pub(super) fn take(&mut self, changes: &[Change]) {
        for placed in changes.iter().filter_map(|change| change.now.as_deref()) {
            let at = self.promised.entry(placed.workload.clone()).or_default();
            let retiring = placed.retiring.iter().map(|one| &one.cluster);
            for cluster in placed.clusters.iter().chain(retiring) {
                at.entry(cluster.clone()).or_default().insert(promise(placed, cluster));
            }
        }
    }

    pub(super) fn check(
        &mut self,
        mirror: &Mirror,
        sight: &Sight<'_>,
        resend: u64,
        lasting: &mut Lasting,
        found: &mut Found,
    ) {
        let grace = TRIES * resend + GRACE_MS;
        for (name, cluster) in &sight.simulation.members.clusters {
            let shown = self.shown.entry(name.clone()).or_default();
            shown.retain(|key, _| cluster.workloads.contains_key(key));
            for (key, workload) in &cluster.workloads {
                if shown.get(key).is_none_or(|(digest, _)| *digest != workload.digest) {
                    let promised = self.promised.get(key).and_then(|at| at.get(name.as_str()));
                    let counts = read(key, name, &workload.bytes, promised, found);
                    shown.insert(key.clone(), (workload.digest.clone(), counts));
                }
                // Nobody can put right what is not seen.
                let seen = cluster.observed.workloads.get(key).is_some_and(|seen| seen.digest == workload.digest);
                let here = cluster.reachable && seen && mirror.fleet.clusters.contains(name.as_str());
                if let (true, Some((_, counts))) = (here && workload.finished.is_none(), shown.get(key)) {
                    check_place(key, name, counts, mirror, grace, lasting, found);
                }
            }
        }
    }
}

/// Reads a manifest that was not there before, and says whether it was ever promised.
fn read(
    key: &WorkloadKey,
    cluster: &ClusterName,
    bytes: &[u8],
    promised: Option<&BTreeSet<Vec<u64>>>,
    found: &mut Found,
) -> Vec<u64> {
    let kind = key.kind.rsplit('/').next().unwrap_or_default();
    let about = || format!("{key} at {cluster}");
    let counts = match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => trimmed(replicas(kind, &value)),
        Err(error) => {
            found.add(Invariant::AppliedWithoutPlan, about(), format!("its manifest cannot be read: {error}"));
            return Vec::new();
        }
    };
    if !promised.is_some_and(|promised| promised.contains(&counts)) {
        let what = format!("got a manifest with replicas {counts:?}, which no placement ever promised");
        found.add(Invariant::AppliedWithoutPlan, about(), what);
    }
    counts
}

/// What a member that can be reached shows for long is what is placed there.
fn check_place(
    key: &WorkloadKey,
    cluster: &ClusterName,
    counts: &[u64],
    mirror: &Mirror,
    grace: u64,
    lasting: &mut Lasting,
    found: &mut Found,
) {
    let about = || format!("{key} at {cluster}");
    if !mirror.works.contains_key(key) {
        let what = || "it was deleted, and the member still has it".to_owned();
        return lasting.note(Invariant::ObjectLeftBehind, about(), grace, found, what);
    }
    // What no policy selects, or what is suspended, stays as it is.
    let rules = mirror.rules(key).filter(|rules| !rules.suspended);
    let placed = mirror.placements.get(key).filter(|placed| !placed.finished);
    let (Some(_), Some(placed)) = (rules, placed) else { return };
    if !receives(placed, cluster.as_str()) {
        let what = || format!("the member has it with replicas {counts:?}, and nothing is placed there");
        lasting.note(Invariant::StartedTwice, about(), grace, found, what);
    } else if *counts != promise(placed, cluster.as_str()) {
        let placed = promise(placed, cluster.as_str());
        let what = || format!("the member has replicas {counts:?}, placed are {placed:?}");
        lasting.note(Invariant::StartedTwice, about(), grace, found, what);
    }
}
