//! Moves replicas that are not ready and will not be.

use serde::Deserialize;

use crate::policy::{How, MigrationState, Move, Problem, ProblemCode, Tables};

pub const CONFIG_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "maxMoves": {
      "description": "Workloads that are told to move at once, the most important first; 0 is no limit",
      "type": "integer", "minimum": 0, "maximum": 4294967295, "default": 0
    }
  }
}"#;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReadyConfig {
    /// Workloads that are told to move at once, the most important first; 0 is no limit.
    pub max_moves: u32,
}

/// Moves the replicas that are missing where fewer are ready than desired for at least the workload's toleration.
///
/// What is being provisioned is about to run and is not moved. Of a workload that stays together all replicas move, and
/// none while any is being provisioned. In a cluster that cannot be reached nothing counts as ready or as being
/// provisioned, and replicas are given up at once: nobody can say whether they still run. Everywhere else they go
/// gracefully.
///
/// # Errors
/// `unsupported` where the columns do not fit each other.
pub fn ready(config: &ReadyConfig, tables: &Tables, state: &MigrationState) -> Result<Vec<Move>, Problem> {
    let rows = state.placed.workload.len();
    check(state, rows)?;
    let mut missing: Vec<Option<Missing>> = (0..rows).map(|row| Missing::at(state, row)).collect();
    move_whole(state, &mut missing);
    if config.max_moves > 0 {
        keep_first(config.max_moves as usize, state, &mut missing);
    }
    let moves = missing.into_iter().enumerate().filter_map(|(row, missing)| {
        let missing = missing?;
        let cluster = state.placed.cluster[row];
        let name = tables.names.get(cluster as usize).map_or("the cluster", |name| &**name);
        Some(missing.into_move(row as u32, name))
    });
    Ok(moves.collect())
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    replicas: u32,
    desired: u32,
    unready_ms: u64,
    reachable: bool,
    /// Moves because another part of the same workload must.
    with_others: bool,
}

impl Missing {
    /// What is missing at a row for longer than tolerated.
    fn at(state: &MigrationState, row: usize) -> Option<Self> {
        let (placed, health) = (&state.placed, &state.health);
        let cluster = placed.cluster[row] as usize;
        let reachable = health.reachable[cluster];
        let desired = placed.desired[row];
        let (alive, unready_ms) = if reachable {
            (placed.ready[row].saturating_add(placed.provisioning[row]), placed.unready_ms[row])
        } else {
            (0, placed.unready_ms[row].max(health.since_ms[cluster]))
        };
        let replicas = desired.saturating_sub(alive);
        let tolerated = state.workloads[placed.workload[row] as usize].toleration_ms;
        let due = replicas > 0 && unready_ms > 0 && unready_ms >= tolerated;
        due.then_some(Self { replicas, desired, unready_ms, reachable, with_others: false })
    }

    fn into_move(self, row: u32, cluster: &str) -> Move {
        let seconds = self.unready_ms / 1000;
        let (how, reason) = if self.with_others {
            (How::Gracefully, format!("moves with the rest of its workload, which stays together, away from {cluster}"))
        } else if self.reachable {
            let Self { replicas, desired, .. } = self;
            (How::Gracefully, format!("{replicas} of {desired} replicas were not ready in {cluster} for {seconds} s"))
        } else {
            (How::AtOnce, format!("{cluster} could not be reached for {seconds} s"))
        };
        Move { row, replicas: self.replicas, how, reason }
    }
}

fn check(state: &MigrationState, rows: usize) -> Result<(), Problem> {
    let placed = &state.placed;
    let lens = [
        placed.component.len(),
        placed.cluster.len(),
        placed.desired.len(),
        placed.ready.len(),
        placed.unschedulable.len(),
        placed.provisioning.len(),
        placed.unready_ms.len(),
    ];
    let clusters = state.health.reachable.len();
    let sound = lens.iter().all(|len| *len == rows)
        && state.health.since_ms.len() == clusters
        && placed.cluster.iter().all(|cluster| (*cluster as usize) < clusters)
        && placed.workload.iter().all(|workload| (*workload as usize) < state.workloads.len());
    if sound {
        return Ok(());
    }
    let message = "the columns of placed and health do not fit each other".into();
    Err(Problem { code: ProblemCode::Unsupported, message })
}

/// Workloads that stay together move with all their replicas or not at all.
fn move_whole(state: &MigrationState, missing: &mut [Option<Missing>]) {
    let placed = &state.placed;
    let mut moves = vec![false; state.workloads.len()];
    let mut starts = vec![false; state.workloads.len()];
    for (row, missing) in missing.iter().enumerate() {
        let workload = placed.workload[row] as usize;
        moves[workload] |= missing.is_some();
        let reachable = state.health.reachable[placed.cluster[row] as usize];
        starts[workload] |= reachable && placed.provisioning[row] > 0;
    }
    for (row, missing) in missing.iter_mut().enumerate() {
        let workload = placed.workload[row] as usize;
        if !state.workloads[workload].together {
            continue;
        }
        let desired = placed.desired[row];
        *missing = match missing.take() {
            _ if !moves[workload] || starts[workload] || desired == 0 => None,
            Some(missing) => Some(Missing { replicas: desired, ..missing }),
            None => {
                let reachable = state.health.reachable[placed.cluster[row] as usize];
                Some(Missing { replicas: desired, desired, unready_ms: 0, reachable, with_others: true })
            }
        };
    }
}

/// Keeps the moves of the `count` most important workloads; of equals the lower rows.
fn keep_first(count: usize, state: &MigrationState, missing: &mut [Option<Missing>]) {
    let moving = |row: &usize| missing[*row].is_some();
    let mut workloads: Vec<u32> = (0..missing.len()).filter(moving).map(|row| state.placed.workload[row]).collect();
    workloads.sort_unstable();
    workloads.dedup();
    workloads.sort_by_key(|row| std::cmp::Reverse(state.workloads[*row as usize].priority));
    workloads.truncate(count);
    for (row, missing) in missing.iter_mut().enumerate() {
        if !workloads.contains(&state.placed.workload[row]) {
            *missing = None;
        }
    }
}
