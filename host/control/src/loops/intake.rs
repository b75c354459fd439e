//! Intake: what is gone leaves the fleet.
//!
//! Matching and checking happen as objects are taken in; this loop carries out what follows for workloads whose object is
//! gone. Their placement gives everything up first; it is deleted when no order is open and no member shows anything of
//! it, so that a crash or a cluster that is away forgets nothing.

use crate::action::Action;
use crate::loops::commit_record;
use crate::ports::{Batch, Expected, Write};
use crate::record::Record;
use crate::state::State;

pub fn step(state: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    for key in &state.released {
        let Some(workload) = state.workloads.get(key) else { continue };
        let Some((record, revision)) = &workload.record else { continue };
        let holds = !record.placement.clusters.is_empty()
            || !record.placement.shares.is_empty()
            || !record.retiring.is_empty()
            || !record.moves.is_empty();
        if holds {
            let mut empty = Record { retiring: Vec::new(), moves: Vec::new(), short: None, ..(**record).clone() };
            empty.placement.shares.clear();
            empty.placement.clusters.clear();
            actions.push(commit_record(&empty, *revision, Vec::new()));
        } else if record.reservations.is_empty() && !shown(state, workload) {
            let write = Write { key: record.key(), expected: Expected::At(*revision), value: None };
            let batch = Batch { writes: vec![write], history: Vec::new() };
            actions.push(Action::Commit { batch, events: Vec::new() });
        }
    }
    actions
}

/// Whether a declared cluster was last seen with something of it.
fn shown(state: &State, workload: &crate::state::WorkloadState) -> bool {
    let declared = |cluster| state.member(cluster).is_some_and(|member| member.object.is_some());
    workload.seen_in.iter().any(declared)
}
