//! The controller: owns the state and the store, runs the loops, and carries out what they want.
//!
//! One pass observes, then runs every loop in turn; each sees what the ones before it did. Actions are carried out one by
//! one. A conflict in the store, or a member or provider that fails, is no error: the loops look again. A store that cannot
//! be written or is damaged is one, and the process must stop then.

mod apply;
mod settled;
mod timed;

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{Millis, WorkloadKey};
use berth_core::policy::Policies;

use crate::action::Action;
use crate::event::{Event, What};
use crate::loops::{distribution, intake, migration, observation, pools, reservation, scaledown, scheduling, status};
use crate::ports::{Batch, Clock, Events, Members, NodeProvider, Revision, Store, StoreError, Stored};
use crate::settings::Settings;
use crate::state::State;

pub use apply::{Applied, ApplyOutcome, Refusal, Refused};
pub use settled::{Settled, Stuck};
use timed::Timed;

/// Workloads whose manifests are compared with what members show in one pass, of those that nothing but a start calls for:
/// so a start with a large fleet decides at once, and goes through all of them meanwhile.
const VERIFIED_AT_ONCE: usize = 1_000;

/// The world outside, as the ports have it.
pub struct World<'a> {
    pub members: &'a mut dyn Members,
    pub provider: &'a mut dyn NodeProvider,
    pub clock: &'a dyn Clock,
    pub events: &'a mut dyn Events,
    pub policies: &'a mut dyn Policies,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.clock.now()).finish_non_exhaustive()
    }
}

/// Why a controller does not start.
#[derive(Debug, thiserror::Error)]
#[error("the state cannot be read from the store")]
pub struct OpenError(#[from] pub StoreError);

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Actions carried out, events not counted. With none, nothing is left to do before `next_wake`.
    pub actions: usize,
    /// Placement decisions taken.
    pub decisions: usize,
    /// Wall time within policies; measured, and deciding nothing.
    pub policy_time: Duration,
    /// When time alone gives something to do; `None`: only news does.
    pub next_wake: Option<Millis>,
}

pub struct Controller {
    pub(crate) store: Box<dyn Store>,
    pub(crate) state: State,
    scheduler: scheduling::Scheduler,
    /// What users changed since the last step, to be told.
    news: Vec<Event>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("revision", &self.state.revision).finish_non_exhaustive()
    }
}

/// A pass under way.
struct Pass<'a, 'w> {
    world: &'a mut World<'w>,
    now: Millis,
    report: StepReport,
    /// Actions that may still be carried out.
    left: usize,
}

impl Pass<'_, '_> {
    fn emit(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.world.events.emit(event);
        }
    }
}

impl Controller {
    /// Rebuilds the state from the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open(store: Box<dyn Store>, settings: Settings) -> Result<Self, OpenError> {
        let mut state = State::new(settings);
        let stored = store.changes(Revision(0))?;
        let start = Millis(0);
        state.absorb(&stored, start);
        drop(stored);
        state.settle(start);
        state.dirty.unverified = std::mem::take(&mut state.dirty.manifests);
        Ok(Self { store, state, scheduler: scheduling::Scheduler::default(), news: Vec::new() })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn settings(&self) -> &Settings {
        &self.state.settings
    }

    /// One pass over all loops.
    ///
    /// # Errors
    /// If the store cannot be written or is damaged; the process must stop then.
    pub fn step(&mut self, world: &mut World<'_>) -> Result<StepReport, StoreError> {
        self.step_at_most(world, usize::MAX)
    }

    /// One pass that ends after so many actions, as if the process had died there: to test that opening the store again
    /// goes on from any point. A controller that was stopped this way must not be used again.
    ///
    /// # Errors
    /// As [`Controller::step`].
    pub fn step_at_most(&mut self, world: &mut World<'_>, actions: usize) -> Result<StepReport, StoreError> {
        let now = world.clock.now();
        let mut pass = Pass { world, now, report: StepReport::default(), left: actions };
        self.observe(&mut pass);
        let done = self.run(&mut pass)?;
        if done {
            self.tell(&mut pass);
            pass.report.next_wake = self.next_wake(now);
        }
        Ok(pass.report)
    }

    fn observe(&mut self, pass: &mut Pass<'_, '_>) {
        pass.emit(std::mem::take(&mut self.news));
        for cluster in pass.world.members.changed() {
            let Some(seen) = pass.world.members.observe(&cluster) else { continue };
            let events = self.state.observe(&cluster, seen, pass.now);
            pass.emit(events);
        }
        let events = self.state.observe_stock(pass.world.provider.stock(), pass.now);
        pass.emit(events);
        self.state.settle(pass.now);
    }

    /// Every loop in turn. False where the pass was stopped half way.
    fn run(&mut self, pass: &mut Pass<'_, '_>) -> Result<bool, StoreError> {
        let now = pass.now;
        // One record may be concerned by several actions of one loop; each commits against what the loop saw, so a second
        // one conflicts and is decided again in the next pass.
        let actions = intake::step(&self.state);
        if !self.carry(actions, pass)? {
            return Ok(false);
        }
        self.state.ended = observation::ended(&self.state, self.state.dirty.health.union(&self.state.ended));
        let actions = observation::step(&self.state, now);
        if !self.carry(actions, pass)? {
            return Ok(false);
        }
        let actions = pools::step(&self.state, pass.world.provider, now);
        if !self.carry(actions, pass)? {
            return Ok(false);
        }
        if migration::due(&self.state, now) {
            self.state.migration_news = false;
            self.state.next_migration = now.plus(self.state.settings.migration_period_ms);
            let mut timed = Timed::new(pass.world.policies);
            let actions = migration::step(&self.state, &mut timed, now);
            pass.report.policy_time += timed.spent();
            if !self.carry(actions, pass)? {
                return Ok(false);
            }
        }
        if !self.schedule(pass)? {
            return Ok(false);
        }
        let actions = reservation::step(&self.state, pass.world.provider, now);
        if !self.carry(actions, pass)? {
            return Ok(false);
        }
        let actions = distribution::retire(&self.state, now);
        if !self.carry(actions, pass)? || !self.distribute(pass)? {
            return Ok(false);
        }
        if now >= self.state.next_scan {
            let (actions, next) = scaledown::step(&self.state, now);
            self.state.next_scan = now.plus(self.state.settings.scale_down_scan_ms);
            (self.state.scan_wake, self.state.scan_news) = (next, false);
            return self.carry(actions, pass);
        }
        Ok(true)
    }

    /// Planning cycles until one writes something, or nothing more is due.
    fn schedule(&mut self, pass: &mut Pass<'_, '_>) -> Result<bool, StoreError> {
        loop {
            self.state.ripen(pass.now);
            let mut timed = Timed::new(pass.world.policies);
            let cycle = self.scheduler.step(&self.state, &mut timed, pass.now);
            pass.report.policy_time += timed.spent();
            pass.report.decisions += cycle.decisions;
            let wrote = cycle.actions.iter().any(|action| matches!(action, Action::Commit { .. }));
            if !self.carry(cycle.actions, pass)? {
                return Ok(false);
            }
            for (key, reason) in &cycle.waiting {
                self.state.put_off(key, reason, pass.now);
                self.state.dirty.health.insert(key.clone());
            }
            for key in &cycle.confirmed {
                self.state.confirm(key, pass.now);
            }
            self.state.settle(pass.now);
            if wrote || cycle.decisions == 0 {
                return Ok(true);
            }
        }
    }

    fn distribute(&mut self, pass: &mut Pass<'_, '_>) -> Result<bool, StoreError> {
        let mut keys = std::mem::take(&mut self.state.dirty.manifests);
        for _ in 0..VERIFIED_AT_ONCE {
            keys.extend(self.state.dirty.unverified.pop_first());
        }
        while let Some((at, _)) = self.state.recheck.first().filter(|(at, _)| *at <= pass.now) {
            let at = *at;
            let later = self.state.recheck.split_off(&(at.plus(1), lowest()));
            keys.extend(std::mem::replace(&mut self.state.recheck, later).into_iter().map(|(_, key)| key));
        }
        let sent = distribution::step(&self.state, &keys, pass.now);
        for (key, trouble) in sent.troubles {
            if let Some(workload) = self.state.workloads.get_mut(&key)
                && workload.trouble != trouble
            {
                workload.trouble = trouble;
                self.state.dirty.health.insert(key);
            }
        }
        self.carry(sent.actions, pass)
    }

    fn tell(&mut self, pass: &mut Pass<'_, '_>) {
        let keys = std::mem::take(&mut self.state.dirty.health);
        // What ended and was not written yet, or did so by what this pass wrote, is for the next.
        self.state.ended = observation::ended(&self.state, keys.union(&self.state.ended));
        let told = status::step(&self.state, &keys, pass.now);
        for key in keys {
            self.state.note_missing(&key, pass.now);
        }
        for (key, unwell) in told.unwell {
            match unwell {
                true => self.state.unwell.insert(key),
                false => self.state.unwell.remove(&key),
            };
        }
        for (key, ready) in told.ready {
            if let Some(workload) = self.state.workloads.get_mut(&key) {
                workload.told_ready = ready;
            }
        }
        for (key, code) in told.waiting {
            if let Some(workload) = self.state.workloads.get_mut(&key) {
                workload.told = code;
            }
        }
        pass.emit(told.events);
    }

    /// Carries out actions in order. False where the pass was stopped half way.
    fn carry(&mut self, actions: Vec<Action>, pass: &mut Pass<'_, '_>) -> Result<bool, StoreError> {
        for action in actions {
            if let Action::Emit(event) = action {
                pass.emit([event]);
                continue;
            }
            if pass.left == 0 {
                return Ok(false);
            }
            pass.left -= 1;
            pass.report.actions += 1;
            self.carry_out(action, pass)?;
        }
        self.state.settle(pass.now);
        Ok(true)
    }

    fn carry_out(&mut self, action: Action, pass: &mut Pass<'_, '_>) -> Result<(), StoreError> {
        let now = pass.now;
        match action {
            Action::Commit { batch, events } => match self.commit(&batch, now) {
                Ok(()) => pass.emit(events),
                Err(StoreError::Conflict { key, .. }) => {
                    self.scheduler.not_written();
                    tracing::debug!(%key, "conflict; deciding again");
                }
                Err(error) => return Err(error),
            },
            Action::Order { order, workload: _ } => {
                pass.world.provider.order(&order);
                self.state.order_sent.insert(order.id, now);
            }
            Action::Cancel(order) => {
                pass.world.provider.cancel(&order);
                *self.state.cancels.entry(order.clone()).or_default() += 1;
                self.state.order_sent.insert(order, now);
            }
            Action::RemoveNode { cluster, pool, node, why } => {
                pass.world.provider.remove(&cluster, &pool, &node);
                self.state.note_removal(&cluster, &node, now);
                let what = What::NodesRemoved { cluster, pool, nodes: vec![node], why };
                pass.emit([Event { at: now, what }]);
            }
            Action::Apply { cluster, workload, manifest, digest } => {
                pass.world.members.apply(&cluster, &workload, &manifest, &digest);
                self.note_sent(cluster, workload, Some(digest), now);
            }
            Action::Delete { cluster, workload } => {
                pass.world.members.delete(&cluster, &workload);
                self.note_sent(cluster, workload, None, now);
            }
            Action::Emit(event) => pass.emit([event]),
        }
        Ok(())
    }

    fn note_sent(
        &mut self,
        cluster: berth_core::ids::ClusterName,
        workload: WorkloadKey,
        digest: Option<Arc<str>>,
        now: Millis,
    ) {
        self.state.recheck.insert((now.plus(self.state.settings.resend_ms), workload.clone()));
        if let Some(member) = self.state.clusters.get_mut(&cluster) {
            member.sent.insert(workload, (digest, now));
        }
    }

    /// Commits, and takes in what was written. On a conflict it takes in what others wrote.
    pub(crate) fn commit(&mut self, batch: &Batch, now: Millis) -> Result<(), StoreError> {
        match self.store.commit(batch) {
            Ok(revision) if revision.0 == self.state.revision.0 + 1 => {
                let stored = batch.writes.iter().map(|write| Stored {
                    key: write.key.clone(),
                    revision,
                    value: write.value.clone(),
                });
                let stored: Vec<Stored> = stored.collect();
                self.state.absorb(&stored, now);
                self.state.revision = revision;
                Ok(())
            }
            Ok(_) => self.catch_up(now),
            Err(conflict @ StoreError::Conflict { .. }) => {
                self.catch_up(now)?;
                Err(conflict)
            }
            Err(error) => Err(error),
        }
    }

    fn catch_up(&mut self, now: Millis) -> Result<(), StoreError> {
        let changes = self.store.changes(self.state.revision)?;
        self.state.absorb(&changes, now);
        self.state.settle(now);
        Ok(())
    }

    /// When time alone gives something to do.
    fn next_wake(&mut self, now: Millis) -> Option<Millis> {
        self.state.ripen(now);
        let state = &self.state;
        let settings = &state.settings;
        let mut wakes: Vec<Millis> = Vec::new();
        wakes.extend(state.queue.next(settings.backoff_ms.0));
        wakes.extend(state.recheck.first().map(|(at, _)| *at));
        wakes.extend((!state.dirty.unverified.is_empty()).then_some(now));
        for (order, key) in &state.orders {
            if let Some((_, one)) = reservation::find(state, order, key) {
                wakes.extend((one.expires_at > now).then_some(one.expires_at));
            }
        }
        let resend = state.order_sent.values().map(|at| at.plus(settings.resend_ms));
        wakes.extend(resend.filter(|at| *at > now));
        for key in &state.retiring {
            wakes.extend(state.record(key).into_iter().flat_map(|record| &record.retiring).map(|one| one.until));
        }
        if settings.migration_period_ms > 0 && (state.migration_news || migration::troubled(state)) {
            wakes.push(state.next_migration);
        }
        wakes.extend(state.scan_wake);
        wakes.extend(state.scan_news.then_some(state.next_scan));
        wakes.into_iter().min().map(|at| at.max(now.plus(1)))
    }
}

/// Sorts before every workload of the same time.
fn lowest() -> WorkloadKey {
    WorkloadKey::new("", "", "")
}
