//! A small world for tests: members that bind pods to nodes at once, and a provider with stock that delivers nodes after a
//! while. Deterministic; the tests move its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::{Manifest, Object, interpret};
use berth_core::fleet::{OfferingKey, Stock, StockState};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::native::Builtin;
use berth_core::placement::NodeOrder;
use berth_core::resources::NamedAmounts;

use crate::controller::{Controller, Settled, StepReport, World};
use crate::event::Event;
use crate::ports::{
    Clock, ClusterObservation, ComponentObservation, Events, Members, NodeObservation, NodeProvider, OrderFailure,
    OrderState, Outcome, WorkloadObservation,
};
use crate::settings::Settings;
use crate::store::MemoryStore;

pub(super) const START: u64 = 1_700_000_000_000;

#[derive(Default)]
pub(super) struct FakeMembers {
    pub(super) seen: BTreeMap<ClusterName, ClusterObservation>,
    pub(super) applied: BTreeMap<(ClusterName, WorkloadKey), (Manifest, Arc<str>)>,
    changed: BTreeSet<ClusterName>,
    pub(super) finished: BTreeSet<WorkloadKey>,
    /// Workloads that ran to their end at one cluster.
    pub(super) finished_at: BTreeSet<(ClusterName, WorkloadKey)>,
    /// Workloads whose pods never become ready.
    pub(super) sick: BTreeSet<(ClusterName, WorkloadKey)>,
}

impl Members for FakeMembers {
    fn changed(&mut self) -> Vec<ClusterName> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation> {
        self.seen.get(cluster)
    }

    fn apply(&mut self, cluster: &ClusterName, workload: &WorkloadKey, manifest: &Arc<[u8]>, digest: &Arc<str>) {
        let Ok(Object::Manifest(manifest)) = Object::from_json(manifest) else { panic!("a manifest is a manifest") };
        self.applied.insert((cluster.clone(), workload.clone()), (manifest, digest.clone()));
    }

    fn delete(&mut self, cluster: &ClusterName, workload: &WorkloadKey) {
        self.applied.remove(&(cluster.clone(), workload.clone()));
    }
}

impl FakeMembers {
    /// Binds pods anew, in the order of workloads and nodes, and notes what changed.
    fn bind(&mut self, now: Millis) {
        for (name, seen) in &mut self.seen {
            if !seen.reachable {
                continue;
            }
            let before = seen.clone();
            for node in seen.nodes.iter_mut().map(Arc::make_mut) {
                node.free = node.allocatable.clone();
            }
            let here = self.applied.iter().filter(|((cluster, _), _)| cluster == name);
            let mut workloads = BTreeMap::new();
            let mut busy: BTreeSet<Arc<str>> = BTreeSet::new();
            for ((_, key), (manifest, digest)) in here {
                let here = (name.clone(), key.clone());
                let done = self.finished.contains(key) || self.finished_at.contains(&here);
                let sick = self.sick.contains(&here);
                let old = before.workloads.get(key);
                let mut components = Vec::new();
                for (number, part) in interpret::components(manifest).unwrap().components.iter().enumerate() {
                    let mut one = ComponentObservation { desired: part.replicas, ..ComponentObservation::default() };
                    for _ in 0..if done { 0 } else { part.replicas } {
                        let node = seen
                            .nodes
                            .iter_mut()
                            .map(Arc::make_mut)
                            .find(|node| node.ready && fits(&node.free, &part.shape.requests));
                        let Some(node) = node else { continue };
                        for (resource, amount) in &part.shape.requests {
                            *node.free.get_mut(resource).unwrap() -= amount;
                        }
                        busy.insert(node.name.clone());
                        *one.bound.entry(node.pool.clone()).or_default() += 1;
                    }
                    let bound: u32 = one.bound.values().sum();
                    one.ready = if sick { 0 } else { bound };
                    one.starting = bound - one.ready;
                    one.unschedulable = if done { 0 } else { part.replicas - bound };
                    let since = old.and_then(|old| old.components.get(number)).and_then(|old| old.unready_since);
                    one.unready_since = (!done && one.ready < one.desired).then(|| since.unwrap_or(now));
                    components.push(one);
                }
                let finished = done.then_some(Outcome::Succeeded);
                let seen = WorkloadObservation { digest: digest.clone(), components, finished };
                workloads.insert(key.clone(), Arc::new(seen));
            }
            seen.workloads = workloads;
            for node in seen.nodes.iter_mut().map(Arc::make_mut) {
                let idle = !busy.contains(&node.name);
                node.idle_since = idle.then(|| node.idle_since.unwrap_or(now));
            }
            if *seen != before {
                self.changed.insert(name.clone());
            }
        }
    }

    pub(super) fn set_reachable(&mut self, cluster: &str, reachable: bool, now: Millis) {
        let seen = self.seen.get_mut(cluster).unwrap();
        seen.reachable = reachable;
        seen.since = now;
        self.changed.insert(cluster.into());
    }

    /// The first node of a cluster is gone.
    pub(super) fn lose_node(&mut self, cluster: &str) {
        self.seen.get_mut(cluster).unwrap().nodes.remove(0);
        self.changed.insert(cluster.into());
    }

    pub(super) fn replicas(&self, cluster: &str, workload: &WorkloadKey) -> Option<u32> {
        let (manifest, _) = self.applied.get(&(cluster.into(), workload.clone()))?;
        Some(interpret::components(manifest).unwrap().components.iter().map(|part| part.replicas).sum())
    }
}

fn fits(free: &NamedAmounts, requests: &NamedAmounts) -> bool {
    requests.iter().all(|(resource, amount)| free.get(resource).is_some_and(|free| free >= amount))
}

#[derive(Default)]
pub(super) struct FakeProvider {
    /// Nodes that each offering can still give; orders beyond fail.
    pub(super) stock: BTreeMap<OfferingKey, u32>,
    pub(super) orders: BTreeMap<OrderId, (NodeOrder, OrderState, Millis)>,
    /// Every time an order came in that was not known.
    pub(super) accepted: Vec<NodeOrder>,
    pub(super) removed: Vec<(ClusterName, Arc<str>)>,
    pub(super) allocatable: NamedAmounts,
    pub(super) lead_ms: u64,
    /// Why orders beyond the stock fail.
    pub(super) cause: Option<OrderFailure>,
    /// Requests to cancel or remove that get lost before one is heard.
    pub(super) deaf: u32,
    now: Millis,
}

impl FakeProvider {
    fn is_deaf(&mut self) -> bool {
        let deaf = self.deaf > 0;
        self.deaf = self.deaf.saturating_sub(1);
        deaf
    }
}

impl NodeProvider for FakeProvider {
    fn order(&mut self, order: &NodeOrder) {
        if !self.orders.contains_key(&order.id) {
            self.accepted.push(order.clone());
            let due = self.now.plus(self.lead_ms);
            self.orders.insert(order.id.clone(), (order.clone(), OrderState::Pending, due));
        }
    }

    fn cancel(&mut self, order: &OrderId) {
        if self.is_deaf() {
            return;
        }
        if let Some((_, state, _)) = self.orders.get_mut(order)
            && *state == OrderState::Pending
        {
            *state = OrderState::Cancelled;
        }
    }

    fn remove(&mut self, cluster: &ClusterName, _pool: &PoolName, node: &Arc<str>) {
        if self.is_deaf() {
            return;
        }
        self.removed.push((cluster.clone(), node.clone()));
    }

    fn order_state(&self, order: &OrderId) -> Option<OrderState> {
        self.orders.get(order).map(|(_, state, _)| state.clone())
    }

    fn stock(&mut self) -> Vec<(OfferingKey, Stock)> {
        Vec::new()
    }
}

#[derive(Default)]
pub(super) struct Log(pub(super) Vec<Event>);

impl Events for Log {
    fn emit(&mut self, event: Event) {
        self.0.push(event);
    }
}

pub(super) struct FakeClock(pub(super) Millis);

impl Clock for FakeClock {
    fn now(&self) -> Millis {
        self.0
    }
}

/// Everything, with a controller that can crash.
pub(super) struct Scene {
    pub(super) store: MemoryStore,
    pub(super) settings: Settings,
    pub(super) controller: Controller,
    pub(super) members: FakeMembers,
    pub(super) provider: FakeProvider,
    pub(super) clock: FakeClock,
    pub(super) log: Log,
    pub(super) policies: Builtin,
}

impl Scene {
    pub(super) fn new(yaml: &str) -> Self {
        let store = MemoryStore::default();
        let settings = Settings::default();
        let controller = Controller::open(Box::new(store.clone()), settings.clone()).unwrap();
        let mut scene = Self {
            store,
            settings,
            controller,
            members: FakeMembers::default(),
            provider: FakeProvider { lead_ms: 40_000, allocatable: node_size(), ..FakeProvider::default() },
            clock: FakeClock(Millis(START)),
            log: Log::default(),
            policies: Builtin::default(),
        };
        scene.apply(yaml);
        let clusters: Vec<ClusterName> = scene.controller.clusters().into_iter().map(|row| row.name).collect();
        for cluster in clusters {
            let seen = ClusterObservation { reachable: true, since: Millis(START), ..ClusterObservation::default() };
            scene.members.seen.insert(cluster.clone(), seen);
            scene.members.changed.insert(cluster);
        }
        let keys: Vec<OfferingKey> = scene.controller.stock().into_iter().map(|row| row.offering).collect();
        scene.provider.stock = keys.into_iter().map(|key| (key, 100)).collect();
        scene
    }

    pub(super) fn apply(&mut self, yaml: &str) {
        let loaded = berth_api::load("test.yaml", yaml).unwrap_or_else(|errors| panic!("{errors:?}"));
        self.controller.apply(loaded.objects, self.clock.0).unwrap();
    }

    /// Adds ready nodes to a pool.
    pub(super) fn add_nodes(&mut self, cluster: &str, pool: &str, count: u32) {
        let allocatable = self.provider.allocatable.clone();
        let seen = self.members.seen.get_mut(cluster).unwrap();
        for _ in 0..count {
            let name = format!("{pool}-{}", seen.nodes.len());
            seen.nodes.push(Arc::new(node(&name, pool, "zone-a", None, &allocatable)));
        }
        self.members.changed.insert(cluster.into());
    }

    pub(super) fn step_at_most(&mut self, actions: usize) -> StepReport {
        let mut world = World {
            members: &mut self.members,
            provider: &mut self.provider,
            clock: &self.clock,
            events: &mut self.log,
            policies: &mut self.policies,
        };
        self.controller.step_at_most(&mut world, actions).unwrap()
    }

    /// Steps until there is nothing left to do now.
    pub(super) fn steps(&mut self) -> StepReport {
        for _ in 0..50 {
            self.settle();
            let report = self.step_at_most(usize::MAX);
            if report.actions == 0 {
                return report;
            }
        }
        panic!("it never comes to rest");
    }

    /// The world reacts to what was asked of it, without time passing.
    pub(super) fn settle(&mut self) {
        let now = self.clock.0;
        self.provider.now = now;
        let mut arrived = Vec::new();
        for (order, state, due) in self.provider.orders.values_mut() {
            if *state != OrderState::Pending || *due > now {
                continue;
            }
            let left = self.provider.stock.get_mut(&order.offering).unwrap();
            let delivered = order.nodes.min(*left);
            *left -= delivered;
            *state = if delivered == order.nodes {
                OrderState::Delivered
            } else {
                OrderState::Failed { cause: self.provider.cause.unwrap_or(OrderFailure::NoStock), delivered }
            };
            arrived.push((order.clone(), delivered));
        }
        for (order, delivered) in arrived {
            let seen = self.members.seen.get_mut(&order.cluster).unwrap();
            for number in 0..delivered {
                let name = format!("{}-{number}", order.id);
                let zone = &order.offering.zone;
                let id = Some(order.id.clone());
                seen.nodes.push(Arc::new(node(&name, order.pool.as_str(), zone, id, &self.provider.allocatable)));
            }
            self.members.changed.insert(order.cluster);
        }
        for (cluster, gone) in std::mem::take(&mut self.provider.removed) {
            let seen = self.members.seen.get_mut(&cluster).unwrap();
            seen.nodes.retain(|node| node.name != gone);
            self.members.changed.insert(cluster);
        }
        self.members.bind(now);
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.clock.0 = self.clock.0.plus(millis);
    }

    /// Goes from wake to wake for so long. Gives how often it woke.
    pub(super) fn run_for(&mut self, millis: u64) -> u32 {
        let end = self.clock.0.plus(millis);
        for wakes in 0.. {
            let report = self.steps();
            let orders = self.provider.orders.values();
            let due = orders.filter(|(_, state, _)| *state == OrderState::Pending).map(|(_, _, due)| *due).min();
            let next = [report.next_wake, due].into_iter().flatten().min().unwrap_or(end).min(end);
            if self.clock.0 >= end {
                return wakes;
            }
            self.clock.0 = next.max(self.clock.0.plus(1));
        }
        0
    }

    /// What a crash and a new start do.
    pub(super) fn reopen(&mut self) {
        self.controller = Controller::open(Box::new(self.store.clone()), self.settings.clone()).unwrap();
        self.members.changed.extend(self.members.seen.keys().cloned());
    }

    pub(super) fn said(&self) -> Vec<String> {
        self.log.0.iter().map(ToString::to_string).collect()
    }

    pub(super) fn heard(&self, what: &str) -> bool {
        self.said().iter().any(|line| line.contains(what))
    }

    pub(super) fn settled(&self) -> Settled {
        self.controller.settled()
    }

    /// Nodes that were ordered and not refused, by cluster.
    pub(super) fn nodes(&self, cluster: &str) -> usize {
        self.members.seen.get(cluster).unwrap().nodes.len()
    }
}

fn node_size() -> NamedAmounts {
    [("cpu", 8000), ("memory", 64 << 30), ("pods", 110), ("nvidia.com/gpu", 1)]
        .into_iter()
        .map(|(name, amount)| (Arc::from(name), amount))
        .collect()
}

fn node(name: &str, pool: &str, zone: &str, order: Option<OrderId>, allocatable: &NamedAmounts) -> NodeObservation {
    NodeObservation {
        name: name.into(),
        pool: pool.into(),
        instance_type: "gpu.large".into(),
        zone: zone.into(),
        capacity_type: None,
        order,
        ready: true,
        allocatable: allocatable.clone(),
        free: allocatable.clone(),
        shared: Vec::new(),
        idle_since: None,
    }
}

pub(super) fn fleet(clusters: &[(&str, f64)]) -> String {
    let mut yaml = String::new();
    for (name, price) in clusters {
        yaml.push_str(&format!(
            r#"
apiVersion: berth.dev/v1alpha1
kind: Cluster
metadata: {{name: {name}, labels: {{site: {name}}}}}
spec: {{provider: test, region: {name}, zones: [zone-a]}}
---
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {{name: {name}-gpu}}
spec: {{cluster: {name}, instanceTypes: [gpu.large], max: 10, leadSeconds: 60}}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {{name: {name}-large}}
spec:
  provider: test
  region: {name}
  zone: zone-a
  instanceType: gpu.large
  capacityType: on-demand
  price: {price}
  allocatable: {{cpu: 8, memory: 64Gi, pods: 110, nvidia.com/gpu: 1}}
---"#
        ));
    }
    yaml
}

pub(super) const STATE: StockState = StockState::OutOfStock;
