//! Scheduling: one planning cycle over the workloads that are due.
//!
//! The queue has one entry a workload. An entry is due when its back-off is over, or earlier when there may be more room
//! than at its last try. Of many alike only some are tried at a time: where they find no room, the others would not either.
//! Every plan passes the independent check before it commits, as one batch by compare-and-set; on a conflict the loops read
//! again and decide again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::check::{Violation, check_plan};
use berth_core::ids::{ClusterName, Millis, ShapeRow, WorkloadKey};
use berth_core::plan::{Change, DecisionRecord, Entry, Input, Plan, Planner, RunningWorkload};
use berth_core::policy::{How, Kind, Policies, Subject, Tables};
use berth_core::reason::{Code, Reason};
use berth_core::workload::{Division, Workload};
use serde::Serialize;

use super::write_record;
use crate::action::Action;
use crate::event::{ClusterReplicas, Event, What};
use crate::history::{self, DecisionEntry, tables_key};
use crate::ports::{Batch, ComponentObservation, Expected, HistoryEntry, ObjectKey, OrderFailure, Write};
use crate::record::{Moving, Record, Reservation, Retiring};
use crate::state::{State, WorkloadState, head_key, objects::Head};

/// Of workloads that are alike and were tried before, how many are tried in one cycle.
const ALIKE: usize = 16;
/// Records of decisions between two copies of the tables that they refer to.
const TABLES_EVERY: u64 = 2048;

/// What planning keeps between cycles. Nothing of it changes what is decided.
#[derive(Debug, Default)]
pub struct Scheduler {
    planner: Planner,
    /// The tables that the history has, and how many decisions ago they were written.
    tables: Option<(Arc<Tables>, Arc<str>)>,
    since_tables: u64,
}

/// What one cycle decided, and what remains to be noted of it.
#[derive(Debug, Default)]
pub struct Cycle {
    pub actions: Vec<Action>,
    /// Placement decisions taken.
    pub decisions: usize,
    /// Workloads that the plan did not place, and why.
    pub waiting: Vec<(WorkloadKey, Reason)>,
    /// Workloads that the plan looked at and left as they are.
    pub confirmed: Vec<WorkloadKey>,
}

/// A plan in the history.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanEntry<'a> {
    plan: u64,
    parent: u64,
    generation: u64,
    changes: Vec<&'a WorkloadKey>,
    gangs: &'a [berth_core::plan::GangRecord],
    failures: &'a [berth_core::plan::PolicyFailure],
}

/// What makes workloads alike for the purpose of room: shapes, numbers, rules and quota.
type Class = (Vec<(ShapeRow, u32)>, i32, Arc<str>, Arc<str>);

fn class(state: &State, workload: &Workload) -> Class {
    let shape = |component: &berth_core::workload::Component| {
        let row = state.snapshot.shape_row(&component.shape).unwrap_or(ShapeRow(u32::MAX));
        (row, component.floor)
    };
    let shapes = workload.components.iter().map(shape).collect();
    (shapes, workload.priority, workload.rules.policy.clone(), workload.key.namespace.clone())
}

/// The workloads that a cycle decides, in the order of the queue, and those that are alike to ones it decides. None if no one
/// of them is ripe: what was decided a moment ago is not decided again until something is.
fn batch(state: &State, now: Millis) -> (Vec<WorkloadKey>, BTreeMap<WorkloadKey, WorkloadKey>) {
    let mut classes: BTreeMap<Class, (usize, WorkloadKey)> = BTreeMap::new();
    let (mut chosen, mut alike, mut due) = (Vec::new(), BTreeMap::new(), 0);
    for (key, ripe) in state.queue.ripe().filter(|(key, _)| !state.ended.contains(key)) {
        let Some(WorkloadState { waiting: Some(waiting), workload: Ok(workload), .. }) = state.workloads.get(&key)
        else {
            continue;
        };
        // A gang for which a plan was just refused is no head of the queue, or every plan would be refused for it.
        if waiting.reason.code == Code::PlanRefused && waiting.due > now {
            continue;
        }
        if due >= state.settings.gang_batch {
            break;
        }
        due += usize::from(ripe);
        let (count, last) = classes.entry(class(state, workload)).or_insert_with(|| (0, key.clone()));
        if *count >= ALIKE && waiting.attempts > 0 {
            alike.insert(key, last.clone());
        } else {
            *count += usize::from(waiting.attempts > 0);
            *last = key.clone();
            chosen.push(key);
        }
    }
    if due == 0 { (Vec::new(), BTreeMap::new()) } else { (chosen, alike) }
}

impl Scheduler {
    /// A batch was not written, and with it perhaps the tables: the next decision brings them again.
    pub(crate) fn not_written(&mut self) {
        self.tables = None;
    }

    /// Decides what is due. The caller carries the actions out, and then notes what waits.
    pub fn step(&mut self, state: &State, policies: &mut dyn Policies, now: Millis) -> Cycle {
        let (keys, alike) = batch(state, now);
        if keys.is_empty() {
            return Cycle::default();
        }
        let entries: Vec<Entry> = keys.iter().filter_map(|key| entry(state, key, now)).collect();
        let deciding: BTreeSet<&WorkloadKey> = keys.iter().collect();
        let running = if entries.iter().any(|entry| asks_what_runs(policies, &entry.workload)) {
            running(state, &deciding)
        } else {
            Vec::new()
        };
        let mut entries = entries.as_slice();
        loop {
            let input = Input {
                snapshot: &state.snapshot,
                entries,
                running: &running,
                parent: state.plan,
                now,
                seed: state.settings.seed,
            };
            let plan = self.planner.plan(&input, policies);
            let violations = check_plan(&state.snapshot, entries, &running, &plan);
            match (violations.first(), entries) {
                (None, _) => return self.conclude(state, entries, alike, plan, now),
                (Some(violation), [only]) => return refuse(&only.workload.key, violation, now),
                // The front half by itself: what is wrong is alone in the end, and holds up nobody else.
                (Some(_), _) => entries = &entries[..entries.len() / 2],
            }
        }
    }

    fn conclude(
        &mut self,
        state: &State,
        entries: &[Entry],
        alike: BTreeMap<WorkloadKey, WorkloadKey>,
        mut plan: Plan,
        now: Millis,
    ) -> Cycle {
        let mut cycle = Cycle { decisions: entries.len(), ..Cycle::default() };
        let failures = refused_orders(state, now);
        for waiting in &mut plan.report.waiting {
            if waiting.reason.code == Code::NoStock && !failures.is_empty() {
                waiting.reason.message.push_str(&failures);
            }
            cycle.waiting.push((waiting.workload.clone(), waiting.reason.clone()));
        }
        let changed: BTreeSet<&WorkloadKey> = plan.changes.iter().map(|change| &change.placement.workload).collect();
        let reasons: BTreeMap<&WorkloadKey, &Reason> =
            plan.report.waiting.iter().map(|waiting| (&waiting.workload, &waiting.reason)).collect();
        for entry in entries {
            let key = &entry.workload.key;
            if !changed.contains(key) && !reasons.contains_key(key) {
                cycle.confirmed.push(key.clone());
            }
        }
        // Those that were not tried wait for the same reason as the last that was.
        let same = alike.into_iter().filter_map(|(key, like)| Some((key, (*reasons.get(&like)?).clone())));
        let same: Vec<(WorkloadKey, Reason)> = same.collect();
        cycle.waiting.extend(same);
        self.write(state, &plan, now, &mut cycle);
        cycle
    }

    /// The batch that commits a plan with its records, if there is anything to write; and what people are told.
    fn write(&mut self, state: &State, plan: &Plan, now: Millis, cycle: &mut Cycle) {
        let told = |waiting: &&berth_core::plan::Waiting| {
            state.workloads.get(&waiting.workload).is_some_and(|one| one.told != Some(waiting.reason.code))
        };
        let news: Vec<&berth_core::plan::Waiting> = plan.report.waiting.iter().filter(told).collect();
        let failures = plan.report.failures.iter().map(|failure| What::PolicyFailed {
            policy: failure.policy.clone(),
            workload: failure.workload.clone(),
            what: failure.what.clone(),
        });
        let failures: Vec<Event> = failures.map(|what| Event { at: now, what }).collect();
        if plan.changes.is_empty() && news.iter().all(|waiting| waiting.record.is_none()) {
            cycle.actions.extend(failures.into_iter().map(Action::Emit));
            return;
        }
        let mut batch = Batch { writes: vec![head(state, plan)], history: Vec::new() };
        let mut events = failures;
        for change in &plan.changes {
            let key = &change.placement.workload;
            let old = state.workloads.get(key).and_then(|workload| workload.record.as_ref());
            let record = next_record(state, old.map(|(record, _)| &**record), change, now);
            batch.writes.push(write_record(&record, old.map(|(_, revision)| *revision)));
            let clusters = replicas_by_cluster(old.map(|(record, _)| &**record), &record);
            let entry = (clusters.clone(), change.short.clone());
            self.remember(&mut batch, entry, &change.record, now);
            events.push(Event { at: now, what: placed(change, clusters) });
        }
        for waiting in news {
            if let Some(record) = &waiting.record {
                self.remember(&mut batch, (Vec::new(), Some(waiting.reason.clone())), record, now);
            }
        }
        batch.history.push(HistoryEntry { at: now, about: None, value: json(&plan_entry(plan)) });
        cycle.actions.push(Action::Commit { batch, events });
    }

    /// Adds a decision to the history, with its tables where the history may not have them.
    fn remember(
        &mut self,
        batch: &mut Batch,
        (clusters, short): (Vec<ClusterReplicas>, Option<Reason>),
        record: &Arc<DecisionRecord>,
        now: Millis,
    ) {
        self.since_tables += 1;
        let known = self.tables.as_ref().filter(|(tables, _)| Arc::ptr_eq(tables, &record.tables));
        let digest = match known.map(|(_, digest)| digest.clone()).filter(|_| self.since_tables < TABLES_EVERY) {
            Some(digest) => digest,
            None => {
                let value = json(&*record.tables);
                let digest = crate::loops::distribution::digest(&value);
                batch.history.push(HistoryEntry { at: now, about: Some(tables_key(&digest)), value });
                self.tables = Some((record.tables.clone(), digest.clone()));
                self.since_tables = 0;
                digest
            }
        };
        let entry = DecisionEntry { tables: digest, clusters, short, record: record.clone() };
        let about = Some(ObjectKey::from(&record.workload));
        batch.history.push(HistoryEntry { at: now, about, value: history::encode(&entry).into() });
    }
}

/// Offerings that are left alone for another cause than stock, in words: what the planner takes for out of stock.
fn refused_orders(state: &State, now: Millis) -> String {
    const FEW: usize = 3;
    let blocked = state.offerings().filter(|(_, known)| known.stock().retry_at > now);
    let causes = blocked.filter_map(|(key, known)| {
        let cause = known.failure().filter(|cause| *cause != OrderFailure::NoStock)?;
        Some(format!("; {cause:?} for {} in {} at the last order", key.instance_type, key.zone))
    });
    causes.take(FEW).collect()
}

/// A plan that breaks an invariant is never committed. Its workload waits, and somebody should hear of it.
fn refuse(workload: &WorkloadKey, violation: &Violation, now: Millis) -> Cycle {
    tracing::error!(code = violation.code(), %violation, %workload, "plan refused by the check");
    let reason = Reason::new(Code::PlanRefused, violation.to_string());
    let what = What::PlanRefused { workload: workload.clone(), violation: violation.to_string() };
    Cycle {
        actions: vec![Action::Emit(Event { at: now, what })],
        decisions: 1,
        waiting: vec![(workload.clone(), reason)],
        confirmed: Vec::new(),
    }
}

/// Whether the gang policy that decides about a gang wants to know what runs.
fn asks_what_runs(policies: &dyn Policies, workload: &Workload) -> bool {
    if !workload.rules.gang {
        return false;
    }
    let chosen = policies.choose(Kind::Gang, workload.rules.gang_policy.as_ref(), &Subject::of(workload));
    policies.needs(Kind::Gang, chosen.as_ref(), Division::default()).iter().any(|need| &**need == "running")
}

fn json(value: &impl Serialize) -> Arc<[u8]> {
    // These types have string keys and nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn entry(state: &State, key: &WorkloadKey, now: Millis) -> Option<Entry> {
    let workload = state.workloads.get(key)?;
    Some(Entry {
        workload: workload.workload.as_ref().ok()?.clone(),
        current: workload.current(),
        since: workload.waiting.as_ref()?.since,
        leave: workload.record().map(|record| record.leave(now)).unwrap_or_default(),
        lost: workload.lost(),
    })
}

fn running(state: &State, deciding: &BTreeSet<&WorkloadKey>) -> Vec<RunningWorkload> {
    let others = |(key, _): &(&WorkloadKey, &WorkloadState)| !deciding.contains(key) && !state.ended.contains(*key);
    let running = state.workloads.iter().filter(others);
    let running = running.filter_map(|(_, state)| {
        let placement = state.current().filter(|placement| !placement.shares.is_empty())?;
        Some(RunningWorkload { workload: state.workload.as_ref().ok()?.clone(), placement })
    });
    running.collect()
}

fn head(state: &State, plan: &Plan) -> Write {
    let head = Head { plan: plan.id, decided_at: plan.decided_at };
    let expected = state.plan_revision.map_or(Expected::Absent, Expected::At);
    Write { key: head_key(), expected, value: Some(json(&head)) }
}

fn plan_entry(plan: &Plan) -> PlanEntry<'_> {
    PlanEntry {
        plan: plan.id.0,
        parent: plan.parent.0,
        generation: plan.generation.0,
        changes: plan.changes.iter().map(|change| &change.placement.workload).collect(),
        gangs: &plan.report.gangs,
        failures: &plan.report.failures,
    }
}

/// The record that follows from a change: what is left gracefully retires, and moves are done.
fn next_record(state: &State, old: Option<&Record>, change: &Change, now: Millis) -> Record {
    let mut record = Record::new(change.placement.clone());
    record.short = change.short.clone();
    let expires_at = now.plus(state.settings.reservation_ttl_ms);
    record.reservations = old.map(|old| old.reservations.clone()).unwrap_or_default();
    let orders = change.orders.iter().map(|order| Reservation { order: order.clone(), expires_at });
    record.reservations.extend(orders);
    let Some(old) = old else { return record };
    let known = state.workloads.get(&change.placement.workload);
    let bound = |one: &Moving| {
        let seen = state.observed(&change.placement.workload, &one.cluster);
        let seen = seen.and_then(|seen| seen.components.get(one.component as usize));
        seen.map_or(0, ComponentObservation::bound_anywhere)
    };
    let grace = known.and_then(|workload| workload.workload.as_ref().ok());
    // A gang runs in one place: nothing of it stays behind, also where it was none when it began to move.
    let gang = grace.is_some_and(|workload| workload.rules.gang);
    let grace = grace.map_or(0, |workload| workload.rules.failover.grace_ms);
    record.retiring = if gang { Vec::new() } else { still_retiring(old, &record) };
    for one in &old.moves {
        let had = old.placement.at(one.component, &one.cluster);
        let has = record.placement.at(one.component, &one.cluster);
        // Only what runs can stay for a while.
        let gone = had.saturating_sub(has).min(one.replicas).min(bound(one).saturating_sub(has));
        if gone > 0 && one.how == How::Gracefully && !gang {
            let until = now.plus(grace);
            let (component, cluster) = (one.component, one.cluster.clone());
            record.retiring.push(Retiring { component, cluster, replicas: gone, until });
        }
        // A plan that only gave back what was lost leaves the rest to be moved.
        let replicas = has.saturating_sub(had.saturating_sub(one.replicas)).min(one.replicas);
        if one.until > now {
            record.moves.push(Moving { replicas, ..one.clone() });
        }
    }
    record
}

/// What goes on retiring. Replicas that are placed again where some retire are those: they stay, and none is started.
fn still_retiring(old: &Record, new: &Record) -> Vec<Retiring> {
    let mut back: BTreeMap<(u32, &ClusterName), u32> = BTreeMap::new();
    let mut retiring = old.retiring.clone();
    for (one, left) in old.retiring.iter().zip(&mut retiring) {
        let place = (one.component, &one.cluster);
        let grown = new.placement.at(place.0, place.1).saturating_sub(old.placement.at(place.0, place.1));
        let back = back.entry(place).or_insert(grown);
        let stays = left.replicas.min(*back);
        *back -= stays;
        left.replicas -= stays;
    }
    retiring.retain(|one| one.replicas > 0);
    retiring
}

/// Replicas by cluster before and after, of all components.
fn replicas_by_cluster(old: Option<&Record>, new: &Record) -> Vec<ClusterReplicas> {
    let mut clusters: BTreeMap<_, (u32, u32)> = BTreeMap::new();
    for cluster in &new.placement.clusters {
        clusters.entry(cluster.clone()).or_default();
    }
    for share in old.iter().flat_map(|record| &record.placement.shares) {
        clusters.entry(share.cluster.clone()).or_default().0 += share.replicas;
    }
    for share in &new.placement.shares {
        clusters.entry(share.cluster.clone()).or_default().1 += share.replicas;
    }
    let row = |(cluster, (before, after))| ClusterReplicas { cluster, before, after };
    clusters.into_iter().map(row).collect()
}

fn placed(change: &Change, clusters: Vec<ClusterReplicas>) -> What {
    What::Placed {
        workload: change.placement.workload.clone(),
        plan: change.placement.plan,
        clusters,
        by: change.placement.policy.clone(),
        why: why(&change.record),
        short: change.short.clone(),
    }
}

/// The first number that decided for each of the first few clusters that were chosen.
fn why(record: &DecisionRecord) -> String {
    const FEW: usize = 3;
    let Ok(decision) = &record.outcome else { return String::new() };
    let mut chosen: Vec<u32> =
        decision.assignments.iter().filter(|one| one.replicas > 0).map(|one| one.candidate).collect();
    chosen.sort_unstable();
    chosen.dedup();
    let one = |candidate: &u32| {
        let term = decision.terms.iter().find(|term| term.candidate == *candidate)?;
        let row = record.candidates.cluster.get(*candidate as usize)?;
        let name = record.tables.names.get(*row as usize)?;
        Some(format!("{name} {} {}", term.name, (term.value * 1000.0).round() / 1000.0))
    };
    let parts: Vec<String> = chosen.iter().take(FEW).filter_map(one).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use berth_core::ids::PlanId;
    use berth_core::native;
    use berth_core::placement::{Placement, Share};

    use super::*;

    fn record(replicas: u32, retiring: &[u32]) -> Record {
        let cluster: ClusterName = "a".into();
        let share = Share { component: 0, cluster: cluster.clone(), pool: "p".into(), replicas };
        let mut record = Record::new(Placement {
            workload: WorkloadKey::new("apps/v1/Deployment", "default", "web"),
            workload_generation: 1,
            plan: PlanId(1),
            decided_at: Millis(0),
            policy: native::policy_ref("cost"),
            shares: vec![share],
            clusters: vec![cluster.clone()],
        });
        let one =
            |replicas: &u32| Retiring { component: 0, cluster: cluster.clone(), replicas: *replicas, until: Millis(9) };
        record.retiring = retiring.iter().map(one).collect();
        record
    }

    #[test]
    fn what_is_placed_where_some_retire_is_what_retires() {
        let left = |old: &Record, new: u32| -> Vec<u32> {
            still_retiring(old, &record(new, &[])).iter().map(|one| one.replicas).collect()
        };
        let old = record(1, &[2, 3]);
        assert_eq!(left(&old, 1), [2, 3]);
        assert_eq!(left(&old, 2), [1, 3]);
        assert_eq!(left(&old, 4), [2]);
        assert!(left(&old, 9).is_empty());
        assert_eq!(left(&old, 0), [2, 3]);
    }
}
