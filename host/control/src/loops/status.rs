//! Status: what people are told about workloads as they change.

use std::collections::BTreeSet;

use berth_core::ids::{Millis, WorkloadKey};
use berth_core::reason::{Code, Reason};

use crate::event::{Event, What};
use crate::state::{State, WorkloadState};

/// A workload with what it is told to be; the caller notes it.
#[derive(Debug, Default)]
pub struct Told {
    pub events: Vec<Event>,
    /// Workloads all of whose replicas are ready, and were not when this was last told; and those that are no more.
    pub ready: Vec<(WorkloadKey, bool)>,
    pub waiting: Vec<(WorkloadKey, Option<Code>)>,
    /// Workloads of which something is placed that is not ready, and was when this was last told; and those that are well.
    pub unwell: Vec<(WorkloadKey, bool)>,
}

/// `keys`: workloads whose health changed, or that were put off.
pub fn step(state: &State, keys: &BTreeSet<WorkloadKey>, now: Millis) -> Told {
    let mut told = Told::default();
    for key in keys {
        let Some(workload) = state.workloads.get(key) else { continue };
        let ready = all_ready(state, key, workload);
        if ready.is_some() != workload.told_ready {
            told.ready.push((key.clone(), ready.is_some()));
            if let Some(replicas) = ready {
                let what = What::WorkloadReady { workload: key.clone(), replicas };
                told.events.push(Event { at: now, what });
            }
        }
        let placed = workload.record().is_some_and(|record| !record.placement.shares.is_empty());
        let unwell = workload.exists && placed && ready.is_none();
        if unwell != state.unwell.contains(key) {
            told.unwell.push((key.clone(), unwell));
        }
        let reason = waits(workload);
        let code = reason.map(|reason| reason.code);
        if code != workload.told {
            told.waiting.push((key.clone(), code));
            if let Some(reason) = reason {
                let what = What::Waiting { workload: key.clone(), reason: reason.clone() };
                told.events.push(Event { at: now, what });
            }
        }
    }
    told
}

/// Why a workload waits, once a plan or a check has said so.
fn waits(workload: &WorkloadState) -> Option<&Reason> {
    let silent = |reason: &&Reason| reason.code != Code::Pending;
    workload.reason().filter(silent)
}

/// How many replicas are ready if all that are wanted are placed and ready.
pub(crate) fn all_ready(state: &State, key: &WorkloadKey, workload: &WorkloadState) -> Option<u32> {
    let record = workload.record()?;
    let placement = &record.placement;
    if !workload.exists || record.short.is_some() || placement.shares.is_empty() || !workload.stranded.is_empty() {
        return None;
    }
    let shares: BTreeSet<_> = placement.shares.iter().map(|share| (share.component, &share.cluster)).collect();
    let mut ready = 0;
    for (component, cluster) in shares {
        let placed = placement.at(component, cluster);
        if state.ready_at(key, component, cluster) < placed {
            return None;
        }
        ready += placed;
    }
    Some(ready)
}
