//! Migration: asks the migration policies which replicas should leave where they are.
//!
//! Moves are written into the placement's record before anything follows from them, so that a crash forgets none; the next
//! planning cycle decides where the replicas go. The cluster that is left gets no more of that workload for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::check::check_moves;
use berth_core::ids::{ClusterName, Millis, PolicyName, WorkloadKey};
use berth_core::native;
use berth_core::placement::PolicyRef;
use berth_core::policy::{Health, How, Kind, MigrationState, MigrationWorkload, Move, Placed, Policies, Subject};
use berth_core::workload::{Purge, Workload};

use super::{commit_record, write_record};
use crate::action::Action;
use crate::event::{Event, What};
use crate::ports::{Batch, ComponentObservation};
use crate::record::{Moving, Record};
use crate::state::State;

/// Whether the policies should look now.
pub fn due(state: &State, now: Millis) -> bool {
    state.settings.migration_period_ms > 0 && now >= state.next_migration && (state.migration_news || troubled(state))
}

/// Whether a look later could find something that a look now does not, because time passes.
pub(crate) fn troubled(state: &State) -> bool {
    !state.unwell.is_empty() || !state.moving.is_empty()
}

/// Asks every migration policy that some workload is bound to. Policies of one slot, such as one with its canary, are asked
/// about the workloads of all of them, so that what they look at is the whole state; each is followed for its own.
pub fn step(state: &State, policies: &mut dyn Policies, now: Millis) -> Vec<Action> {
    let mut movable: Vec<(&WorkloadKey, &Arc<Workload>)> = Vec::new();
    for (key, workload) in &state.workloads {
        let (Ok(core), Some(record)) = (&workload.workload, workload.record()) else { continue };
        let moves = workload.exists
            && !state.ended.contains(key)
            && !record.placement.shares.is_empty()
            && !core.rules.suspended
            && core.rules.failover.purge != Purge::Never;
        if moves {
            movable.push((key, core));
        }
    }
    if !movable.is_empty() {
        policies.begin();
    }
    let mut slots: BTreeMap<Option<PolicyName>, BTreeMap<&WorkloadKey, Option<PolicyName>>> = BTreeMap::new();
    for (key, core) in movable {
        let decider = policies.choose(Kind::Migration, core.rules.migration_policy.as_ref(), &Subject::of(core));
        slots.entry(policies.slot(decider.as_ref())).or_default().insert(key, decider);
    }
    let (mut actions, mut asked) = (Vec::new(), BTreeSet::new());
    for keys in slots.into_values() {
        let (question, rows) = question(state, keys.keys().copied(), now);
        let decider = |row: &Row| keys.get(&row.workload);
        let deciders: BTreeSet<&Option<PolicyName>> = rows.iter().filter_map(decider).collect();
        for one in deciders {
            let answer = ask(state, policies, one.as_ref(), &question, now, &mut actions);
            let decides = |row: &Row| decider(row) == Some(one);
            asked.extend(record_moves(state, answer, &rows, decides, now, &mut actions));
        }
    }
    actions.extend(lapse(state, &asked, now));
    actions
}

/// Moves that no plan could carry out in time lapse where no policy asks for them any more. `asked`: what they ask to move.
fn lapse(state: &State, asked: &BTreeSet<WorkloadKey>, now: Millis) -> Vec<Action> {
    let mut actions = Vec::new();
    for key in state.moving.iter().filter(|key| !asked.contains(key)) {
        let record = state.workloads.get(key).and_then(|workload| workload.record.as_ref());
        let late = |record: &Record| record.moves.iter().any(|one| one.replicas > 0 && one.until <= now);
        let Some((record, revision)) = record.filter(|(record, _)| late(record)) else { continue };
        let mut next = (**record).clone();
        next.moves.retain(|one| one.until > now);
        actions.push(commit_record(&next, *revision, Vec::new()));
    }
    actions
}

/// A row of the question: whose it is.
#[derive(Debug)]
struct Row {
    workload: WorkloadKey,
    component: u32,
    cluster: ClusterName,
}

fn question<'a>(state: &State, keys: impl Iterator<Item = &'a WorkloadKey>, now: Millis) -> (MigrationState, Vec<Row>) {
    let mut question = MigrationState { now_ms: now.0, seed: state.settings.seed, ..MigrationState::default() };
    for (_, cluster) in state.snapshot.clusters() {
        question.health.reachable.push(cluster.reachable && !cluster.removed);
        question.health.since_ms.push(now.since(cluster.reachable_since));
    }
    let mut rows = Vec::new();
    for key in keys {
        let Some(workload) = state.workloads.get(key) else { continue };
        let (Ok(core), Some(record)) = (&workload.workload, workload.record()) else { continue };
        let row = question.workloads.len() as u32;
        question.workloads.push(MigrationWorkload {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            priority: core.priority,
            together: core.rules.gang,
            toleration_ms: core.rules.failover.toleration_ms,
        });
        // What ran to its end at a cluster is not moved, or it would run again.
        let ended = |cluster: &&ClusterName| state.observed(key, cluster).is_some_and(|seen| seen.finished.is_some());
        let running: Vec<&ClusterName> = record.placement.clusters.iter().filter(|cluster| !ended(cluster)).collect();
        for component in 0..core.components.len() as u32 {
            for cluster in running.iter().copied() {
                if record.placement.at(component, cluster) > 0
                    && let Some(at) = state.snapshot.cluster_row(cluster.as_str())
                {
                    let place = Place { key, core, record, component, cluster };
                    place.row(state, now, &mut question.placed);
                    question.placed.workload.push(row);
                    question.placed.component.push(component);
                    question.placed.cluster.push(at.0);
                    rows.push(Row { workload: key.clone(), component, cluster: cluster.clone() });
                }
            }
        }
    }
    let health: &Health = &question.health;
    debug_assert_eq!(health.reachable.len(), health.since_ms.len(), "columns have one entry a cluster");
    (question, rows)
}

/// A component of a workload at a cluster.
struct Place<'a> {
    key: &'a WorkloadKey,
    core: &'a Arc<Workload>,
    record: &'a Record,
    component: u32,
    cluster: &'a ClusterName,
}

impl Place<'_> {
    fn row(&self, state: &State, now: Millis, placed: &mut Placed) {
        let desired = self.record.placement.at(self.component, self.cluster);
        let decided = self.record.placement.decided_at;
        let seen = state.observed(self.key, self.cluster);
        let seen = seen.and_then(|seen| seen.components.get(self.component as usize));
        let ready = seen.map_or(0, |seen| seen.ready).min(desired);
        let bound = seen.map_or(0, ComponentObservation::bound_anywhere);
        // What is not bound waits for a node where one is on its way to its pool; otherwise no node takes it.
        let unbound = desired.saturating_sub(bound);
        let flying = self.record.placement.shares.iter().any(|share| {
            share.component == self.component
                && share.cluster == *self.cluster
                && !state.in_flight(self.cluster, &share.pool).is_empty()
        });
        // A member that does not say since when, such as one that brought back what was applied earlier, may have had all of
        // it ready until just now.
        let noticed = || state.missing_since(self.key, self.component, self.cluster).unwrap_or(now);
        let since = seen.and_then(|seen| seen.unready_since).unwrap_or_else(noticed).max(decided);
        // What has been starting for longer than a node may take to come is not about to run.
        let patience = self.core.rules.failover.toleration_ms.saturating_add(state.settings.reservation_ttl_ms);
        let starting = seen.map_or(0, |seen| seen.starting);
        let starting = if now.since(since) < patience { starting } else { 0 };
        let (provisioning, unschedulable) =
            if flying || seen.is_none() { (starting.saturating_add(unbound), 0) } else { (starting, unbound) };
        placed.desired.push(desired);
        placed.ready.push(ready);
        placed.unschedulable.push(unschedulable.min(desired));
        placed.provisioning.push(provisioning.min(desired));
        placed.unready_ms.push(if ready < desired { now.since(since) } else { 0 });
        placed.price.push(self.price(state));
        placed.tier.push(self.tier(state));
    }

    fn price(&self, state: &State) -> f64 {
        let snapshot = &state.snapshot;
        let component = self.core.components.get(self.component as usize);
        let shape = component.and_then(|component| snapshot.shape_row(&component.shape));
        let (Some(row), Some(shape)) = (snapshot.cluster_row(self.cluster.as_str()), shape) else { return 0.0 };
        snapshot.running_price(row, shape, self.record.placement.shares_at(self.component, self.cluster))
    }

    fn tier(&self, state: &State) -> u32 {
        let row = state.snapshot.cluster_row(self.cluster.as_str());
        let Some(cluster) = row.and_then(|row| state.snapshot.cluster(row)) else { return 0 };
        let groups = &self.core.rules.groups;
        groups.iter().position(|group| group.selects(cluster)).unwrap_or(groups.len()) as u32
    }
}

fn ask(
    state: &State,
    policies: &mut dyn Policies,
    chosen: Option<&PolicyName>,
    question: &MigrationState,
    now: Millis,
    actions: &mut Vec<Action>,
) -> (PolicyRef, Vec<Move>) {
    let tables = state.snapshot.tables().clone();
    let answer = policies.migrate(chosen, &tables, question);
    let mut by = answer.by;
    let mut failed = answer.failed;
    let mut moves = answer.result.unwrap_or_default();
    if let Err(rule) = check_moves(question, &moves) {
        let rule = rule.to_string();
        policies.broke_rule(Kind::Migration, &by, &rule);
        failed = Some((by, rule));
        by = native::policy_ref("ready");
        moves = native::ready(&native::ReadyConfig::default(), &tables, question).unwrap_or_default();
        if check_moves(question, &moves).is_err() {
            moves.clear();
        }
    }
    if let Some((policy, what)) = failed {
        actions.push(Action::Emit(Event { at: now, what: What::PolicyFailed { policy, workload: None, what } }));
    }
    (by, moves)
}

/// Writes moves into the records of their workloads, one commit for each; and says of which workloads any are asked for.
/// Rows that `decides` says no to are another's.
fn record_moves(
    state: &State,
    (by, moves): (PolicyRef, Vec<Move>),
    rows: &[Row],
    decides: impl Fn(&Row) -> bool,
    now: Millis,
    actions: &mut Vec<Action>,
) -> BTreeSet<WorkloadKey> {
    let mut by_workload: BTreeMap<&WorkloadKey, Vec<(&Row, &Move)>> = BTreeMap::new();
    for one in moves.iter().filter(|one| one.replicas > 0) {
        if let Some(row) = rows.get(one.row as usize).filter(|row| decides(row)) {
            by_workload.entry(&row.workload).or_default().push((row, one));
        }
    }
    let asked = by_workload.keys().map(|key| (*key).clone()).collect();
    for (key, moves) in by_workload {
        let Some(workload) = state.workloads.get(key) else { continue };
        let Some((record, revision)) = &workload.record else { continue };
        // Until a plan has taken the last moves up, further ones would count replicas twice.
        if record.must_move() {
            continue;
        }
        // A gang that stayed until another of it is ready would run twice.
        let directly = |core: &Arc<Workload>| core.rules.failover.purge == Purge::Directly || core.rules.gang;
        let at_once = workload.workload.as_ref().is_ok_and(directly);
        let mut next = (**record).clone();
        next.moves.retain(|old| old.until > now);
        let mut events = Vec::new();
        for (row, one) in moves {
            let how = if at_once { How::AtOnce } else { one.how };
            next.moves.retain(|old| (old.component, &old.cluster) != (row.component, &row.cluster));
            next.moves.push(Moving {
                component: row.component,
                cluster: row.cluster.clone(),
                replicas: one.replicas,
                how,
                reason: one.reason.clone(),
                by: by.clone(),
                until: now.plus(state.settings.move_cool_down_ms),
            });
            let what = What::Moved {
                workload: key.clone(),
                from: row.cluster.clone(),
                replicas: one.replicas,
                reason: one.reason.clone(),
                by: by.clone(),
            };
            events.push(Event { at: now, what });
        }
        let batch = Batch { writes: vec![write_record(&next, Some(*revision))], history: Vec::new() };
        actions.push(Action::Commit { batch, events });
    }
    asked
}
