//! Distribution: every member gets its part of a manifest, with the overrides for it, and nothing else.
//!
//! Level-triggered: a member's manifest is applied when its digest is not the one that is wanted, and deleted when nothing
//! is wanted there, as often as it takes. So a cluster that brings back what was deleted loses it again. Replicas that retire stay part of a member's manifest until those that replace
//! them are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::Manifest;
use berth_api::interpret::{Part, needs_replicas_alone, revise};
use berth_core::ids::{ClusterName, Millis, WorkloadKey};
use berth_core::reason::{Code, Reason};
use berth_core::workload::{Division, Workload};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::action::Action;
use crate::loops::commit_record;
use crate::ports::ObjectKey;
use crate::record::{Record, Retiring};
use crate::state::{State, WorkloadState};

pub(crate) fn digest(bytes: &[u8]) -> Arc<str> {
    let hash = Sha256::digest(bytes);
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>().into()
}

/// What to send, and for each workload that was looked at why its manifest does not reach a member, if so.
#[derive(Debug, Default)]
pub struct Sent {
    pub actions: Vec<Action>,
    pub troubles: Vec<(WorkloadKey, Option<Reason>)>,
}

/// `keys`: workloads whose manifests at members may have to change.
pub fn step(state: &State, keys: &BTreeSet<WorkloadKey>, now: Millis) -> Sent {
    let mut sent = Sent::default();
    for key in keys {
        let Some((workload, record)) = state.workloads.get(key).and_then(|one| Some((one, one.record()?))) else {
            let strays = state.strays(key).filter(|cluster| !recently(state, key, cluster, None, now));
            let delete = |cluster: &ClusterName| Action::Delete { cluster: cluster.clone(), workload: key.clone() };
            sent.actions.extend(strays.map(delete));
            continue;
        };
        let suspended = workload.workload.as_ref().is_ok_and(|workload| workload.rules.suspended);
        if record.finished.is_some() && workload.exists || suspended {
            continue;
        }
        let trouble = one(state, key, workload, record, now, &mut sent.actions).err();
        sent.troubles.push((key.clone(), trouble));
    }
    sent
}

/// Whether this was sent to a cluster, and it may still come to be seen.
fn recently(state: &State, key: &WorkloadKey, cluster: &ClusterName, digest: Option<&Arc<str>>, now: Millis) -> bool {
    let sent = state.member(cluster).and_then(|member| member.sent.get(key));
    sent.is_some_and(|(what, at)| what.as_ref() == digest && now.since(*at) < state.settings.resend_ms)
}

fn one(
    state: &State,
    key: &WorkloadKey,
    workload: &WorkloadState,
    record: &Record,
    now: Millis,
    actions: &mut Vec<Action>,
) -> Result<(), Reason> {
    // A workload that no policy selects any more stays as it is until one does.
    let (wanted, core) = match (&workload.workload, workload.exists) {
        (_, false) => (Vec::new(), None),
        (Ok(core), true) => (record.clusters(), Some(core)),
        (Err(_), true) => return Ok(()),
    };
    let recently = |cluster: &ClusterName, digest: Option<&Arc<str>>| recently(state, key, cluster, digest, now);
    let gone = workload.seen_in.iter().filter(|cluster| !wanted.contains(cluster));
    for cluster in gone.filter(|cluster| state.reachable(cluster) && !recently(cluster, None)) {
        actions.push(Action::Delete { cluster: cluster.clone(), workload: key.clone() });
    }
    let Some(core) = core else { return Ok(()) };
    let kept = state.objects.get(&ObjectKey::from(key));
    let Some(Ok(base)) = kept.map(|kept| Manifest::from_checked(&kept.bytes)) else { return Ok(()) };
    let base = stripped(base);
    let overridden = state.overrides.selects(&base);
    // Members in the same part get the same bytes, unless a policy makes a difference between them.
    let mut made: BTreeMap<Part, (Arc<[u8]>, Arc<str>)> = BTreeMap::new();
    for (cluster, part) in parts(core, record, &wanted, &base) {
        if !state.reachable(&cluster) {
            continue;
        }
        let (manifest, digest) = match made.get(&part).filter(|_| !overridden) {
            Some(same) => same.clone(),
            None => {
                let new = manifest(state, &base, &cluster, &part)?;
                made.insert(part, new.clone());
                new
            }
        };
        let cluster = &cluster;
        let there = state.observed(key, cluster).is_some_and(|seen| seen.digest == digest);
        if !there && !recently(cluster, Some(&digest)) {
            let (cluster, workload) = (cluster.clone(), key.clone());
            actions.push(Action::Apply { cluster, workload, manifest, digest });
        }
    }
    Ok(())
}

/// What a hub's API server and the store add is not for members.
fn stripped(mut manifest: Manifest) -> Manifest {
    let value = manifest.value_mut();
    if let Some(map) = value.as_object_mut() {
        map.shift_remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["generation", "creationTimestamp", "resourceVersion", "uid", "managedFields", "selfLink"] {
            metadata.shift_remove(field);
        }
    }
    manifest
}

/// Each member's part. Where replicas are duplicated each member has the whole.
fn parts(
    workload: &Workload,
    record: &Record,
    clusters: &[ClusterName],
    manifest: &Manifest,
) -> BTreeMap<ClusterName, Part> {
    let components = 0..workload.components.len() as u32;
    let here = |cluster: &ClusterName| -> Vec<u32> {
        components.clone().map(|component| record.running_at(component, cluster)).collect()
    };
    let duplicated = workload.rules.division == Division::Duplicated && !workload.rules.gang;
    let whole = duplicated || needs_replicas_alone(manifest.interpreted_as());
    let mut total = vec![0_u32; workload.components.len()];
    for cluster in clusters {
        total.iter_mut().zip(here(cluster)).for_each(|(sum, count)| *sum += count);
    }
    let mut before = vec![0_u32; workload.components.len()];
    let mut parts = BTreeMap::new();
    for cluster in clusters {
        let replicas = here(cluster);
        let part = if whole {
            Part::whole(replicas.clone())
        } else {
            Part { replicas: replicas.clone(), before: before.clone(), total: total.clone() }
        };
        before.iter_mut().zip(replicas).for_each(|(sum, count)| *sum += count);
        parts.insert(cluster.clone(), part);
    }
    parts
}

fn manifest(
    state: &State,
    base: &Manifest,
    cluster: &ClusterName,
    part: &Part,
) -> Result<(Arc<[u8]>, Arc<str>), Reason> {
    let mut manifest = base.clone();
    revise(&mut manifest, part);
    let row = state.snapshot.cluster_row(cluster.as_str()).and_then(|row| state.snapshot.cluster(row));
    if let Some(cluster) = row {
        let invalid = |error: berth_api::overrides::OverrideError| Reason::new(Code::Invalid, error.to_string());
        state.overrides.apply(&mut manifest, cluster).map_err(invalid)?;
    }
    let bytes: Arc<[u8]> = manifest.to_json().into();
    let digest = digest(&bytes);
    Ok((bytes, digest))
}

/// Replicas that retire go when those that replace them are ready, or when their time is over.
pub fn retire(state: &State, now: Millis) -> Vec<Action> {
    let mut actions = Vec::new();
    for key in &state.retiring {
        let Some((record, revision)) = state.workloads.get(key).and_then(|workload| workload.record.as_ref()) else {
            continue;
        };
        let stay = |one: &&Retiring| one.until > now && !replaced(state, key, record, one.component);
        let stay: Vec<Retiring> = record.retiring.iter().filter(stay).cloned().collect();
        if stay.len() < record.retiring.len() {
            let next = Record { retiring: stay, ..(**record).clone() };
            actions.push(commit_record(&next, *revision, Vec::new()));
        }
    }
    actions
}

/// Whether as many replicas are ready everywhere as are placed there. Where some retire beside others that stay, a member
/// gives up those first that are not ready.
fn replaced(state: &State, key: &WorkloadKey, record: &Record, component: u32) -> bool {
    let placement = &record.placement;
    let ready = |cluster: &ClusterName| state.ready_at(key, component, cluster) >= placement.at(component, cluster);
    placement.total(component) > 0 && placement.clusters.iter().all(ready)
}
