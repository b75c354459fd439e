//! A controller, its world and the auditor, step by step; with places where faults are planted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use berth_api::Object;
use berth_api::resources::SimulationSpec;
use berth_control::event::{Event, What};
use berth_control::ports::{
    Batch, ClusterObservation, Events, Expected, HistoryEntry, Members, NodeObservation, NodeProvider, ObjectKey,
    OrderState, Revision, Store, StoreError, Stored, Write,
};
use berth_control::store::MemoryStore;
use berth_control::{Controller, Settings, World};
use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, OrderId, PolicyName, PoolName, WorkloadKey};
use berth_core::native::Builtin;
use berth_core::placement::{NodeOrder, PolicyRef};
use berth_core::policy::{
    Answer, Candidates, Decision, Kind, MigrationState, Move, Policies, Queue, Request, Subject, Tables, Verdict,
};
use berth_core::workload::Division;

use super::super::{Auditor, Breach, Sight};
use crate::{Options, SimMembers, SimProvider, Simulation, Source};

/// Three clusters with GPU nodes on demand; the third has some CPU nodes always. One offering is short.
pub(super) const FLEET: &str = include_str!("fleet.yaml");

pub(super) const START: Millis = Millis(1_700_000_000_000);

/// What a fault does to a batch on its way to the store.
type Tamper = Box<dyn FnMut(&mut Batch) + Send>;

/// What goes wrong when a store is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReadFault {
    #[default]
    None,
    /// The newest entry of the history is gone.
    Forgets,
    /// What changes is said to have changed at the beginning.
    Backdates,
}

/// A store that may be told to write something else than it is asked to, and to read something else than it has.
#[derive(Clone)]
pub(super) struct Tampered {
    pub(super) inner: MemoryStore,
    pub(super) tamper: Arc<Mutex<Option<Tamper>>>,
    pub(super) read: ReadFault,
}

impl Tampered {
    pub(super) fn inner_key(&self, workload: &WorkloadKey) -> ObjectKey {
        let WorkloadKey { kind, namespace, name } = workload.clone();
        ObjectKey { kind, namespace, name }
    }

    /// Deletes an object without anybody having said so.
    pub(super) fn lose(&mut self, key: &ObjectKey) {
        let write = Write { key: key.clone(), expected: Expected::Anything, value: None };
        self.inner.commit(&Batch { writes: vec![write], history: Vec::new() }).unwrap();
    }
}

impl Store for Tampered {
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let mut batch = batch.clone();
        if let Some(tamper) = &mut *self.tamper.lock().unwrap_or_else(PoisonError::into_inner) {
            tamper(&mut batch);
        }
        self.inner.commit(&batch)
    }

    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError> {
        let mut changes = self.inner.changes(since)?;
        if self.read == ReadFault::Backdates {
            changes.iter_mut().for_each(|stored| stored.revision = Revision(1));
        }
        Ok(changes)
    }

    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut entries = self.inner.history(about, limit + 1)?;
        if self.read == ReadFault::Forgets && !entries.is_empty() {
            entries.remove(0);
        }
        entries.truncate(limit);
        Ok(entries)
    }
}

/// What goes wrong between the controller and its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MemberFault {
    #[default]
    None,
    /// Everything is applied at another cluster as well.
    AppliesElsewhere,
    /// Nothing more is applied.
    NeverApplies,
    /// A node is shown in `east` that is not there.
    ShowsNode,
    /// Nothing is ever deleted.
    NeverDeletes,
}

/// What goes wrong between the controller and its provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ProviderFault {
    #[default]
    None,
    /// Every order is made a second time under another name.
    OrdersTwice,
    /// Nothing is ever cancelled, and it says that it was.
    NeverCancels,
    /// Nodes are never removed.
    NeverRemoves,
}

struct FaultyMembers<'a> {
    inner: &'a mut SimMembers,
    fault: MemberFault,
    /// `east` as it is shown.
    shown: &'a mut ClusterObservation,
}

/// A node of `east` with four GPUs that nobody ever sold.
fn ghost() -> NodeObservation {
    let amounts: BTreeMap<Arc<str>, u64> =
        [("cpu", 32_000), ("memory", 128 << 30), ("pods", 110), ("nvidia.com/gpu", 4)]
            .into_iter()
            .map(|(name, amount)| (Arc::from(name), amount))
            .collect();
    NodeObservation {
        name: "ghost".into(),
        pool: "east-gpu".into(),
        instance_type: "gpu.4".into(),
        zone: "us-east-1a".into(),
        capacity_type: None,
        order: None,
        ready: true,
        allocatable: amounts.clone(),
        free: amounts,
        shared: Vec::new(),
        idle_since: None,
    }
}

impl Members for FaultyMembers<'_> {
    fn changed(&mut self) -> Vec<ClusterName> {
        if let Some(seen) = self.inner.observe(&"east".into()) {
            *self.shown = seen.clone();
            self.shown.nodes.push(Arc::new(ghost()));
            self.shown.nodes.sort_by(|one, other| one.name.cmp(&other.name));
        }
        self.inner.changed()
    }

    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation> {
        match self.fault == MemberFault::ShowsNode && cluster.as_str() == "east" {
            true => Some(&*self.shown),
            false => self.inner.observe(cluster),
        }
    }

    fn apply(&mut self, cluster: &ClusterName, workload: &WorkloadKey, manifest: &Arc<[u8]>, digest: &Arc<str>) {
        if self.fault == MemberFault::NeverApplies {
            return;
        }
        self.inner.apply(cluster, workload, manifest, digest);
        if self.fault == MemberFault::AppliesElsewhere {
            let other = if cluster.as_str() == "east" { "west" } else { "east" };
            self.inner.apply(&other.into(), workload, manifest, digest);
        }
    }

    fn delete(&mut self, cluster: &ClusterName, workload: &WorkloadKey) {
        if self.fault != MemberFault::NeverDeletes {
            self.inner.delete(cluster, workload);
        }
    }
}

struct FaultyProvider<'a> {
    inner: &'a mut SimProvider,
    fault: ProviderFault,
}

impl NodeProvider for FaultyProvider<'_> {
    fn order(&mut self, order: &NodeOrder) {
        self.inner.order(order);
        if self.fault == ProviderFault::OrdersTwice {
            let id = OrderId::new(format!("{}-again", order.id));
            self.inner.order(&NodeOrder { id, ..order.clone() });
        }
    }

    fn cancel(&mut self, order: &OrderId) {
        if self.fault != ProviderFault::NeverCancels {
            self.inner.cancel(order);
        }
    }

    fn remove(&mut self, cluster: &ClusterName, pool: &PoolName, node: &Arc<str>) {
        if self.fault != ProviderFault::NeverRemoves {
            self.inner.remove(cluster, pool, node);
        }
    }

    fn order_state(&self, order: &OrderId) -> Option<OrderState> {
        self.inner.order_state(order)
    }

    fn stock(&mut self) -> Vec<(OfferingKey, Stock)> {
        self.inner.stock()
    }
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    /// Nobody hears why something waits.
    deaf: bool,
}

impl Events for Log {
    fn emit(&mut self, event: Event) {
        if !(self.deaf && matches!(event.what, What::Waiting { .. })) {
            self.events.push(event);
        }
    }
}

/// The built-in policies, as if they came from files.
#[derive(Default)]
pub(super) struct Versioned {
    inner: Builtin,
    /// Whether the version changes from one decision to the next, in the middle of a cycle.
    pub(super) mixes: bool,
    calls: u64,
}

impl Versioned {
    fn named<T>(&mut self, answer: Answer<T>) -> Answer<T> {
        self.calls += 1;
        let digest = if self.mixes && self.calls.is_multiple_of(2) { "new" } else { "old" };
        Answer { by: PolicyRef { digest: digest.into(), ..answer.by }, ..answer }
    }
}

impl Policies for Versioned {
    fn begin(&mut self) {
        self.inner.begin();
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        self.inner.choose(kind, named, subject)
    }

    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        self.inner.slot(chosen)
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        self.inner.needs(kind, named, division)
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let answer = self.inner.place(named, tables, request, candidates);
        self.named(answer)
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        self.inner.admit(named, tables, queue)
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        self.inner.migrate(named, tables, state)
    }

    fn broke_rule(&mut self, kind: Kind, by: &PolicyRef, rule: &str) {
        self.inner.broke_rule(kind, by, rule);
    }
}

pub(super) struct Rig {
    pub(super) store: Tampered,
    pub(super) settings: Settings,
    pub(super) controller: Controller,
    pub(super) simulation: Simulation,
    pub(super) auditor: Auditor,
    pub(super) members: MemberFault,
    pub(super) provider: ProviderFault,
    /// All that was found.
    pub(super) breaches: Vec<Breach>,
    pub(super) policies: Versioned,
    log: Log,
    shown: ClusterObservation,
    pub(super) told: Vec<Event>,
    pub(super) looks: u64,
}

pub(super) fn load(yaml: &str) -> Vec<Object> {
    berth_api::load("objects.yaml", yaml).unwrap().objects
}

impl Rig {
    /// A controller on an empty store, to which the fleet was applied.
    pub(super) fn new() -> Self {
        Self::with(FLEET, "{}", Options::default())
    }

    /// `spec` is that of a `Simulation` document.
    pub(super) fn with(fleet: &str, spec: &str, options: Options) -> Self {
        let objects = load(fleet);
        let document =
            format!("apiVersion: berth.dev/v1alpha1\nkind: Simulation\nmetadata: {{name: s}}\nspec: {spec}\n");
        let spec: SimulationSpec = match load(&document).remove(0) {
            Object::Simulation(simulation) => simulation.spec,
            other => panic!("{other:?}"),
        };
        let source = Source::Embedded(&[]);
        let simulation = Simulation::new(&objects, Some(&spec), 1, START, &source, options).unwrap();
        let store = Tampered { inner: MemoryStore::default(), tamper: Arc::default(), read: ReadFault::None };
        let settings = Settings::default();
        let controller = Controller::open(Box::new(store.clone()), settings.clone()).unwrap();
        let mut rig = Self {
            store,
            controller,
            simulation,
            auditor: Auditor::new(&settings),
            settings,
            members: MemberFault::None,
            provider: ProviderFault::None,
            breaches: Vec::new(),
            policies: Versioned::default(),
            log: Log::default(),
            shown: ClusterObservation::default(),
            told: Vec::new(),
            looks: 0,
        };
        rig.apply_all(objects);
        rig
    }

    pub(super) fn tamper(&mut self, tamper: impl FnMut(&mut Batch) + Send + 'static) {
        *self.store.tamper.lock().unwrap() = Some(Box::new(tamper));
    }

    pub(super) fn deafen(&mut self) {
        self.log.deaf = true;
    }

    /// Somebody writes an object behind the controller's back, and is told that it is written.
    pub(super) fn write_behind(&mut self, yaml: &str) {
        for object in load(yaml) {
            let WorkloadKey { kind, namespace, name } = object.key();
            let key = ObjectKey { kind, namespace, name };
            let write = Write { key, expected: Expected::Anything, value: Some(object.to_json().into()) };
            self.store.inner.commit(&Batch { writes: vec![write], history: Vec::new() }).unwrap();
            self.auditor.accepted(&object);
        }
        self.look();
    }

    pub(super) fn apply(&mut self, yaml: &str) {
        self.apply_all(load(yaml));
    }

    pub(super) fn apply_all(&mut self, objects: Vec<Object>) {
        let now = self.simulation.now();
        self.controller.apply(objects.clone(), now).unwrap();
        objects.iter().for_each(|object| self.auditor.accepted(object));
        self.look();
    }

    pub(super) fn delete(&mut self, kind: &str, name: &str) {
        let key = ObjectKey { kind: kind.into(), namespace: "default".into(), name: name.into() };
        assert!(self.controller.delete(&key, self.simulation.now()).unwrap());
        self.auditor.deleted(&key);
        self.look();
    }

    pub(super) fn scale(&mut self, workload: &WorkloadKey, replicas: u32) {
        self.controller.scale(workload, replicas, self.simulation.now()).unwrap();
        self.auditor.scaled(workload, replicas);
        self.look();
    }

    pub(super) fn restart(&mut self) {
        self.controller = Controller::open(Box::new(self.store.clone()), self.settings.clone()).unwrap();
        self.simulation.members.show_all();
        self.auditor.restarted();
        self.look();
    }

    pub(super) fn look(&mut self) {
        let events = std::mem::take(&mut self.log.events);
        let now = self.simulation.now();
        let sight = Sight { store: &self.store, simulation: &self.simulation, events: &events, now };
        self.breaches.extend(self.auditor.look(&sight));
        self.told.extend(events);
        self.looks += 1;
    }

    /// One step of the controller, ended after so many actions; and a look. Gives the actions done and the next wake.
    pub(super) fn step_at_most(&mut self, actions: usize) -> (usize, Option<Millis>) {
        let ports = self.simulation.ports();
        let mut members = FaultyMembers { inner: ports.members, fault: self.members, shown: &mut self.shown };
        let mut provider = FaultyProvider { inner: ports.provider, fault: self.provider };
        let mut world = World {
            members: &mut members,
            provider: &mut provider,
            clock: ports.clock,
            events: &mut self.log,
            policies: &mut self.policies,
        };
        let report = self.controller.step_at_most(&mut world, actions).unwrap();
        self.look();
        (report.actions, report.next_wake)
    }

    /// Steps at this instant until nothing is left to do. Gives when something is due next.
    pub(super) fn pass(&mut self) -> Option<Millis> {
        let now = self.simulation.now();
        for _ in 0..200 {
            let (actions, wake) = self.step_at_most(usize::MAX);
            let more = self.simulation.next_event().is_some_and(|at| at <= now);
            self.simulation.advance(now);
            if actions == 0 && !more {
                return [wake, self.simulation.next_event()].into_iter().flatten().min();
            }
        }
        panic!("it never comes to rest");
    }

    /// Runs for so many seconds, with a look after each step and at least one each ten seconds.
    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.simulation.now().plus(seconds * 1000);
        while self.simulation.now() < end {
            let next = self.pass();
            let now = self.simulation.now();
            let soon = now.plus(10_000).min(end);
            let to = next.map_or(soon, |next| next.max(now.plus(1)).min(soon));
            self.simulation.advance(to);
        }
        self.pass();
    }

    pub(super) fn found(&self) -> Vec<String> {
        self.breaches.iter().map(ToString::to_string).collect()
    }
}
