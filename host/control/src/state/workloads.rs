//! Workloads: the policy that applies, the placement on record, and whether a decision is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::ids::{ClusterName, Millis, QuotaRow, WorkloadKey};
use berth_core::placement::{Placement, Share};
use berth_core::reason::{Code, Reason};
use berth_core::resources::Amounts;
use berth_core::workload::{Component, Division, Workload};

use super::State;
use super::decode::{Asked, reread};
use super::queue::Place;
use crate::ports::{ObjectKey, Revision};
use crate::record::Record;
use crate::settings::doubled;

#[derive(Clone, Debug)]
pub struct WorkloadState {
    /// Whether its object exists; a workload without one is on its way out.
    pub exists: bool,
    pub(crate) revision: Revision,
    pub created: Millis,
    /// What the planner is told of it, or why it is not distributed.
    pub workload: Result<Arc<Workload>, Reason>,
    /// Its components while it is not distributed.
    pub(crate) unmatched: Vec<Component>,
    pub(crate) record: Option<(Arc<Record>, Revision)>,
    /// In the queue.
    pub waiting: Option<Waiting>,
    /// Shares that have no room, by cluster.
    pub(crate) stranded: BTreeMap<ClusterName, Vec<Share>>,
    /// What its placement is charged with.
    pub(crate) charged: Option<(QuotaRow, Vec<(Amounts, u64)>)>,
    /// Components that have fewer replicas ready at a cluster than are placed there, and since when that was seen.
    pub(crate) missing: BTreeMap<(u32, ClusterName), Millis>,
    /// Clusters in which it was seen.
    pub(crate) seen_in: BTreeSet<ClusterName>,
    /// Why its manifest does not reach a member.
    pub trouble: Option<Reason>,
    /// Whether it was told that all its replicas are ready, since they were placed.
    pub(crate) told_ready: bool,
    /// Why it waits, as last told.
    pub(crate) told: Option<Code>,
    /// Clusters came back that were closed when it was decided.
    pub(crate) reconsider: bool,
    /// Newest change of clusters that a plan has seen.
    pub(crate) topology_seen: Revision,
    /// When a plan last looked at it.
    pub(crate) looked_at: Millis,
    /// Whether it is of a kind that holds nothing and need not be placed.
    pub(crate) plain: bool,
}

/// A workload in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub since: Millis,
    /// What made a decision due; the same cause does not make it due again.
    pub(crate) cause: String,
    pub reason: Reason,
    /// Plans that did not place it.
    pub attempts: u32,
    pub due: Millis,
    /// When it was last tried, and the epoch then.
    pub(crate) tried: Option<(Millis, u64)>,
}

impl Default for WorkloadState {
    fn default() -> Self {
        Self {
            exists: false,
            revision: Revision(0),
            created: Millis(0),
            workload: Err(no_policy()),
            unmatched: Vec::new(),
            record: None,
            waiting: None,
            stranded: BTreeMap::new(),
            charged: None,
            missing: BTreeMap::new(),
            seen_in: BTreeSet::new(),
            trouble: None,
            told_ready: false,
            told: None,
            reconsider: false,
            topology_seen: Revision(0),
            looked_at: Millis(0),
            plain: false,
        }
    }
}

fn gone() -> Reason {
    Reason::new(Code::Invalid, "its object is gone")
}

pub(super) fn no_policy() -> Reason {
    Reason::new(Code::NoPolicy, "no distribution policy selects it")
}

/// When a decision is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    At(Millis),
    /// After the first back-off: it was just decided, and not in full.
    Later,
}

/// Whether new clusters may get something of it.
fn goes_everywhere(workload: &Workload) -> bool {
    workload.components.is_empty() || (workload.rules.division == Division::Duplicated && !workload.rules.gang)
}

impl WorkloadState {
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.record.as_ref().map(|(record, _)| record)
    }

    /// What its replicas ask for, also while it is not distributed: what is placed holds room and quota.
    pub(crate) fn components(&self) -> &[Component] {
        self.workload.as_ref().map_or(&self.unmatched, |workload| &workload.components)
    }

    /// Why it waits, or is not distributed at all.
    pub fn reason(&self) -> Option<&Reason> {
        match (&self.workload, &self.waiting) {
            _ if !self.exists => None,
            (Err(reason), _) => Some(reason),
            (Ok(_), Some(waiting)) => Some(&waiting.reason),
            (Ok(_), None) => self.trouble.as_ref(),
        }
    }

    /// Its placement without the shares that have no room.
    pub(crate) fn current(&self) -> Option<Arc<Placement>> {
        let placement = &self.record()?.placement;
        if self.stranded.is_empty() {
            return Some(Arc::new(placement.clone()));
        }
        let mut current = placement.clone();
        for lost in self.stranded.values().flatten() {
            let same = |share: &&mut Share| {
                (share.component, &share.cluster, &share.pool) == (lost.component, &lost.cluster, &lost.pool)
            };
            if let Some(share) = current.shares.iter_mut().find(same) {
                share.replicas = share.replicas.saturating_sub(lost.replicas);
            }
        }
        current.shares.retain(|share| share.replicas > 0);
        if !current.shares.is_empty() || !placement.shares.is_empty() {
            let shares = &current.shares;
            current.clusters.retain(|cluster| shares.iter().any(|share| share.cluster == *cluster));
        }
        Some(Arc::new(current))
    }

    /// Replicas by component that have no room.
    pub(crate) fn lost(&self) -> Vec<u32> {
        let mut lost = vec![0; if self.stranded.is_empty() { 0 } else { self.components().len() }];
        for share in self.stranded.values().flatten() {
            if let Some(count) = lost.get_mut(share.component as usize) {
                *count += share.replicas;
            }
        }
        lost
    }

    /// Why a decision is due: the reason that stands until there is one, what tells this cause from others, and when.
    fn need(&self, topology: Revision) -> Option<(Reason, String, Due)> {
        let workload = self.workload.as_ref().ok()?;
        if !self.exists || workload.rules.suspended {
            return None;
        }
        let pending = |what: &str| Reason::new(Code::Pending, what);
        let generation = workload.generation;
        let Some((record, revision)) = &self.record else {
            return Some((pending("no plan has placed it yet"), format!("new {generation}"), Due::Now));
        };
        if record.finished.is_some() {
            return None;
        }
        let everywhere = goes_everywhere(workload);
        let clusters_changed = everywhere && (self.reconsider || topology > self.topology_seen);
        // A cluster that was left gets its part again when its time is over.
        let closed = record.moves.iter().filter(|one| everywhere && one.until > self.looked_at);
        let opens = closed.min_by_key(|one| one.until);
        let lost: u32 = self.stranded.values().flatten().map(|share| share.replicas).sum();
        if record.placement.workload_generation != generation {
            Some((pending("it changed since it was placed"), format!("changed {generation}"), Due::Now))
        } else if record.must_move() {
            Some((pending("replicas are to move"), format!("move {}", revision.0), Due::Now))
        } else if lost > 0 {
            let what = format!("{lost} replicas lost the room that they were placed in");
            Some((Reason::new(Code::NoRoom, what), format!("lost {lost}"), Due::Now))
        } else if clusters_changed {
            let cause = format!("clusters {}", topology.0);
            Some((pending("clusters changed since it was placed"), cause, Due::Now))
        } else if let Some(short) = &record.short {
            Some((short.clone(), "short".into(), Due::Later))
        } else {
            let one = opens?;
            let what = format!("replicas were moved away from {}, and may go there again later", one.cluster);
            Some((pending(&what), format!("opens {}", one.until.0), Due::At(one.until)))
        }
    }
}

impl State {
    /// Takes in what a workload's manifest asks for, or that it is gone.
    pub(super) fn take_manifest(&mut self, key: &WorkloadKey, asked: Option<Asked>, revision: Revision, now: Millis) {
        if asked.is_none() && !self.workloads.contains_key(key) {
            return;
        }
        let workload = self.state_of(key);
        workload.exists = asked.is_some();
        workload.revision = revision;
        if let Some(asked) = &asked {
            workload.created = asked.created;
            workload.plain = asked.plain;
        }
        self.dirty.manifests.insert(key.clone());
        self.put_matched(key, asked.ok_or_else(gone), now);
    }

    /// A workload's state, which begins with where it is shown already.
    fn state_of(&mut self, key: &WorkloadKey) -> &mut WorkloadState {
        let orphans = &mut self.orphans;
        self.workloads.entry(key.clone()).or_insert_with(|| WorkloadState {
            seen_in: orphans.remove(key).unwrap_or_default(),
            ..WorkloadState::default()
        })
    }

    /// Finds the policy that applies to a workload, and what follows from it.
    pub(super) fn rematch(&mut self, key: &WorkloadKey, now: Millis) {
        let kept = self.objects.get(&ObjectKey::from(key));
        let asked = match kept.map(|kept| reread(kept, &self.matching())) {
            None | Some(Ok(None)) => Err(gone()),
            Some(Ok(Some(asked))) => Ok(asked),
            Some(Err(error)) => Err(Reason::new(Code::Invalid, error)),
        };
        self.put_matched(key, asked, now);
    }

    /// `asked`: what its manifest asks for, or why that is not known.
    fn put_matched(&mut self, key: &WorkloadKey, asked: Result<Asked, Reason>, now: Millis) {
        self.dirty.workloads.remove(key);
        let Some(workload) = self.workloads.get_mut(key) else { return };
        if !workload.exists && workload.record.is_none() {
            self.drop_waiting(key);
            let seen_in = self.workloads.remove(key).map(|gone| gone.seen_in).unwrap_or_default();
            if !seen_in.is_empty() {
                self.orphans.insert(key.clone(), seen_in);
            }
            self.released.remove(key);
            self.unwell.remove(key);
            self.ended.remove(key);
            self.wide.remove(key);
            return;
        }
        if workload.exists {
            self.released.remove(key);
        } else {
            self.released.insert(key.clone());
        }
        let (matched, asked) = match asked {
            Ok(asked) => (asked.workload, asked.unmatched),
            // What cannot be read, or is gone, holds what it held until its placement says otherwise.
            Err(reason) => (Err(reason), workload.components().to_vec()),
        };
        let same = match (&workload.workload, &matched) {
            (Ok(old), Ok(new)) => **old == *new,
            (Err(old), Err(new)) => old == new,
            _ => false,
        };
        if !same || asked != workload.unmatched {
            for component in &asked {
                self.snapshot.intern(&component.shape);
            }
            workload.unmatched = asked;
            let matched = matched.map(|mut new| {
                new.key = key.clone();
                for component in &mut new.components {
                    // Equal shapes are one, however many workloads have them.
                    let row = self.snapshot.intern(&component.shape);
                    if let Some(need) = self.snapshot.need(row) {
                        component.shape = need.shape.clone();
                    }
                }
                Arc::new(new)
            });
            match matched.as_ref().is_ok_and(|workload| goes_everywhere(workload)) {
                true => self.wide.insert(key.clone()),
                false => self.wide.remove(key),
            };
            workload.workload = matched;
            for cluster in workload.record.clone().iter().flat_map(|(record, _)| record.clusters()) {
                self.note_unbound(cluster, key);
            }
            self.dirty.manifests.insert(key.clone());
            self.charge(key);
        }
        self.dirty.health.insert(key.clone());
        self.consider(key, now);
    }

    /// Takes in a workload's record, or that it is gone.
    pub(super) fn take_record(&mut self, key: &ObjectKey, record: Option<Record>, revision: Revision, now: Millis) {
        let mut record = record;
        let workload = match &mut record {
            Some(record) => {
                self.names.share_all(record);
                // A workload's key is one, however many say it.
                if let Some((known, _)) = self.workloads.get_key_value(&record.placement.workload) {
                    record.placement.workload = known.clone();
                }
                let workload = record.placement.workload.clone();
                self.placements.insert(key.clone(), workload.clone());
                workload
            }
            None => {
                let Some(workload) = self.placements.remove(key) else { return };
                workload
            }
        };
        let state = self.state_of(&workload);
        let old = state.record.take().map(|(record, _)| record);
        let record = record.map(Arc::new);
        state.record = record.clone().map(|record| (record, revision));
        let placed = |record: &Option<Arc<Record>>| record.as_ref().map(|record| record.placement.plan);
        if placed(&old) != placed(&record) {
            state.reconsider = false;
            state.topology_seen = revision;
            state.looked_at = record.as_ref().map_or(now, |record| record.placement.decided_at);
            state.told_ready = false;
            state.stranded.clear();
        }
        self.index_record(&workload, old.as_deref(), record.as_deref());
        self.charge(&workload);
        if self.workloads.get(&workload).is_some_and(|state| !state.exists) {
            self.dirty.workloads.insert(workload.clone());
        }
        self.dirty.manifests.insert(workload.clone());
        self.dirty.health.insert(workload.clone());
        self.migration_news = true;
        self.consider(&workload, now);
    }

    fn index_record(&mut self, key: &WorkloadKey, old: Option<&Record>, new: Option<&Record>) {
        for cluster in old.iter().flat_map(|record| record.clusters()) {
            let Some(member) = self.clusters.get_mut(&cluster) else { continue };
            member.placed.remove(key);
            self.note_unbound(cluster, key);
        }
        for cluster in new.iter().flat_map(|record| record.clusters()) {
            self.clusters.entry(cluster.clone()).or_default().placed.insert(key.clone());
            self.note_unbound(cluster, key);
        }
        for one in old.iter().flat_map(|record| &record.reservations) {
            self.orders.remove(&one.order.id);
            if let Some(member) = self.clusters.get_mut(&one.order.cluster) {
                member.ordering.remove(key);
            }
            self.dirty.room(&one.order.cluster, &one.order.pool);
        }
        for one in new.iter().flat_map(|record| &record.reservations) {
            self.orders.insert(one.order.id.clone(), key.clone());
            let member = self.clusters.entry(one.order.cluster.clone()).or_default();
            member.ordering.insert(key.clone());
            let there = member.arrived(&one.order.id);
            if there > 0 {
                let most = self.arrived.entry(one.order.id.clone()).or_default();
                *most = there.max(*most);
            }
            self.dirty.room(&one.order.cluster, &one.order.pool);
        }
        for one in old.iter().flat_map(|record| &record.reservations) {
            if !self.orders.contains_key(&one.order.id) {
                self.arrived.remove(&one.order.id);
                self.order_sent.remove(&one.order.id);
                self.cancels.remove(&one.order.id);
            }
        }
        let total = |record: Option<&Record>| -> u32 {
            record.iter().flat_map(|record| &record.placement.shares).map(|share| share.replicas).sum()
        };
        let orders = |record: Option<&Record>| record.map_or(0, |record| record.reservations.len());
        if total(new) < total(old) || orders(new) < orders(old) {
            self.epoch += 1;
        }
        match new.is_some_and(Record::must_move) {
            true => self.moving.insert(key.clone()),
            false => self.moving.remove(key),
        };
        match new.is_some_and(|record| !record.retiring.is_empty()) {
            true => self.retiring.insert(key.clone()),
            false => self.retiring.remove(key),
        };
    }

    /// Notes that what is not bound of a workload at a cluster is to be counted anew. Of a cluster that was never seen all
    /// is counted once it is.
    fn note_unbound(&mut self, cluster: ClusterName, key: &WorkloadKey) {
        if !self.unseen(&cluster) {
            self.dirty.unbound.entry(cluster).or_default().insert(key.clone());
        }
    }

    /// Charges the quota with what a workload has now instead of what it had.
    pub(super) fn charge(&mut self, key: &WorkloadKey) {
        let Some(state) = self.workloads.get_mut(key) else { return };
        if let Some((row, charged)) = state.charged.take() {
            for (request, count) in &charged {
                self.snapshot.quotas_mut().refund(row, request, *count);
            }
        }
        let Some((record, _)) = &state.record else { return };
        let Some(row) = self.snapshot.quotas().leaf(&key.namespace) else { return };
        let components = state.components().to_vec();
        let mut charged = Vec::new();
        for (number, component) in (0..).zip(&components) {
            let count = u64::from(record.placement.total(number));
            let request = self.snapshot.amounts(&component.shape.requests);
            self.snapshot.quotas_mut().charge(row, &request, count);
            charged.push((request, count));
        }
        state.charged = Some((row, charged));
    }

    /// Puts a workload into the queue if a decision is due, and takes it out if none is.
    pub(super) fn consider(&mut self, key: &WorkloadKey, now: Millis) {
        let topology = self.topology;
        let backoff = self.settings.backoff_ms;
        let Some(state) = self.workloads.get_mut(key) else { return };
        let Some((reason, cause, due)) = state.need(topology) else {
            self.drop_waiting(key);
            return;
        };
        let old = state.waiting.take();
        let since = match (&old, &state.record) {
            (Some(old), _) => old.since,
            (None, None) => state.created,
            // When the process starts it is not known since when; not before it was last decided.
            (None, Some((record, _))) => now.max(record.placement.decided_at),
        };
        let (attempts, due, tried) = match due {
            Due::Now => (0, now, None),
            Due::At(at) => (0, at, None),
            Due::Later => (1, now.plus(doubled(backoff, 0)), Some((now, self.epoch))),
        };
        let waiting = match &old {
            Some(old) if old.cause == cause => old.clone(),
            _ => Waiting { since, cause, reason, attempts, due, tried },
        };
        state.waiting = Some(waiting);
        self.enqueue(key);
    }

    /// Puts a workload where it belongs in the queue.
    fn enqueue(&mut self, key: &WorkloadKey) {
        let Some(WorkloadState { workload: Ok(workload), waiting: Some(waiting), .. }) = self.workloads.get(key) else {
            return self.queue.drop(key);
        };
        let Waiting { due, tried, since, .. } = *waiting;
        let place = Place { due, tried, priority: workload.priority, since, gang: workload.rules.gang };
        self.queue.put(key, place);
    }

    fn drop_waiting(&mut self, key: &WorkloadKey) {
        let Some(state) = self.workloads.get_mut(key) else { return };
        state.told = None;
        state.waiting = None;
        self.queue.drop(key);
    }

    /// Puts no workload off for longer than the longest back-off from now.
    pub(super) fn put_off_from(&mut self, now: Millis) {
        let latest = now.plus(self.settings.backoff_ms.1);
        let mut late = Vec::new();
        for (key, state) in &mut self.workloads {
            let Some(waiting) = &mut state.waiting else { continue };
            let tried = waiting.tried.map(|(at, epoch)| (at.min(now), epoch));
            if waiting.due > latest || tried != waiting.tried {
                (waiting.due, waiting.tried) = (waiting.due.min(latest), tried);
                late.push(key.clone());
            }
        }
        late.iter().for_each(|key| self.enqueue(key));
    }

    /// Notes what of a workload is not ready where it is placed.
    pub(crate) fn note_missing(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(state) = self.workloads.get(key) else { return };
        let shares = state.record().into_iter().flat_map(|record| &record.placement.shares);
        let places: BTreeSet<_> = shares.map(|share| (share.component, share.cluster.clone())).collect();
        let fewer = |(component, cluster): &(u32, ClusterName)| {
            let placed = state.record().map_or(0, |record| record.placement.at(*component, cluster));
            self.ready_at(key, *component, cluster) < placed
        };
        let known = |place: &(u32, ClusterName)| state.missing.get(place).copied().unwrap_or(now);
        let missing: BTreeMap<_, _> =
            places.into_iter().filter(fewer).map(|place| (place.clone(), known(&place))).collect();
        if missing != state.missing
            && let Some(state) = self.workloads.get_mut(key)
        {
            state.missing = missing;
        }
    }

    /// Since when fewer replicas of a component are seen ready at a cluster than are placed there.
    pub(crate) fn missing_since(&self, key: &WorkloadKey, component: u32, cluster: &ClusterName) -> Option<Millis> {
        self.workloads.get(key)?.missing.get(&(component, cluster.clone())).copied()
    }

    /// Notes that a plan looked at a workload and found nothing to change.
    pub(crate) fn confirm(&mut self, key: &WorkloadKey, now: Millis) {
        let topology = self.topology;
        let Some(state) = self.workloads.get_mut(key) else { return };
        state.reconsider = false;
        state.topology_seen = topology;
        state.looked_at = now;
        let lost = !state.stranded.is_empty();
        self.consider(key, now);
        let Some(waiting) = self.workloads.get(key).and_then(|state| state.waiting.as_ref()) else { return };
        if waiting.tried.is_none() && waiting.due > now {
            return;
        }
        let reason = match lost {
            true => Reason::new(Code::NoRoom, "replicas lost their room, and no other cluster takes them"),
            false => waiting.reason.clone(),
        };
        self.put_off(key, &reason, now);
    }

    /// Notes that a plan did not place a workload: it is tried again later.
    pub(crate) fn put_off(&mut self, key: &WorkloadKey, reason: &Reason, now: Millis) {
        let backoff = self.settings.backoff_ms;
        let epoch = self.epoch;
        let Some(state) = self.workloads.get_mut(key) else { return };
        let Some(waiting) = &mut state.waiting else { return };
        waiting.due = now.plus(doubled(backoff, waiting.attempts));
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.reason = reason.clone();
        waiting.tried = Some((now, epoch));
        self.enqueue(key);
    }
}
