//! Observation: jobs that ran to their end give back what they hold.

use std::collections::BTreeSet;

use berth_core::ids::{ClusterName, Millis, WorkloadKey};

use crate::action::Action;
use crate::event::{Event, What};
use crate::loops::commit_record;
use crate::ports::Outcome;
use crate::record::{Record, key_of};
use crate::state::State;

/// Which of `keys` ended at their members without their records saying so. What cannot be read is not written either.
pub(crate) fn ended<'a>(state: &State, keys: impl IntoIterator<Item = &'a WorkloadKey>) -> BTreeSet<WorkloadKey> {
    let open = |key: &&WorkloadKey| {
        state.record(key).is_some_and(|record| outcome(state, key, record).is_some())
            && !state.broken.contains_key(&key_of(key))
    };
    keys.into_iter().filter(open).cloned().collect()
}

/// Writes the ends of all that ended.
pub fn step(state: &State, now: Millis) -> Vec<Action> {
    let mut actions = Vec::new();
    for key in &state.ended {
        let Some((record, revision)) = state.workloads.get(key).and_then(|workload| workload.record.as_ref()) else {
            continue;
        };
        let Some(outcome) = outcome(state, key, record) else { continue };
        let mut done = Record { retiring: Vec::new(), moves: Vec::new(), short: None, ..(**record).clone() };
        done.placement.shares.clear();
        done.finished = Some(outcome);
        let succeeded = outcome == Outcome::Succeeded;
        let event = Event { at: now, what: What::Finished { workload: key.clone(), succeeded } };
        actions.push(commit_record(&done, *revision, vec![event]));
    }
    actions
}

/// How a workload ended, if all its parts did: it failed if one of them did.
fn outcome(state: &State, key: &WorkloadKey, record: &Record) -> Option<Outcome> {
    if record.finished.is_some() || record.placement.shares.is_empty() {
        return None;
    }
    let clusters: BTreeSet<&ClusterName> = record.placement.shares.iter().map(|share| &share.cluster).collect();
    let mut outcome = Outcome::Succeeded;
    for cluster in clusters {
        match state.observed(key, cluster)?.finished? {
            Outcome::Succeeded => {}
            Outcome::Failed => outcome = Outcome::Failed,
        }
    }
    Some(outcome)
}
