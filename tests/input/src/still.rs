//! A world in which nothing happens: clusters with free nodes, and a provider that takes orders and delivers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_control::event::Event;
use berth_control::ports::{
    Clock, ClusterObservation, Events, Members, NodeObservation, NodeProvider, OrderState, StoreError,
};
use berth_control::{Controller, StepReport, World};
use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::placement::NodeOrder;
use berth_core::policy::Policies;
use berth_core::resources::NamedAmounts;

/// When everything begins.
pub(crate) const START: Millis = Millis(1_700_000_000_000);

/// See the module's documentation.
pub(crate) struct Still {
    members: Seen,
    provider: Orders,
    clock: Now,
    log: Lines,
}

struct Seen {
    clusters: BTreeMap<ClusterName, ClusterObservation>,
    told: bool,
}

#[derive(Default)]
struct Orders(BTreeMap<OrderId, u32>);

struct Now(Millis);

#[derive(Default)]
struct Lines(usize);

impl Still {
    /// Each cluster has two nodes in the pool that is called like it.
    pub(crate) fn new(clusters: &[&str]) -> Self {
        let observed = |name: &&str| {
            let nodes = (0..2).map(|number| Arc::new(node(name, number))).collect();
            let seen = ClusterObservation { reachable: true, since: START, nodes, ..ClusterObservation::default() };
            (ClusterName::new(*name), seen)
        };
        Self {
            members: Seen { clusters: clusters.iter().map(observed).collect(), told: false },
            provider: Orders::default(),
            clock: Now(START),
            log: Lines::default(),
        }
    }

    /// A cluster cannot be reached from now on.
    pub(crate) fn lose(&mut self, cluster: &str) {
        if let Some(seen) = self.members.clusters.get_mut(cluster) {
            (seen.reachable, seen.since) = (false, self.clock.0);
        }
        self.members.told = false;
    }

    /// One pass of all loops, and some time.
    pub(crate) fn step(
        &mut self,
        controller: &mut Controller,
        policies: &mut dyn Policies,
    ) -> Result<StepReport, StoreError> {
        let report = controller.step(&mut World {
            members: &mut self.members,
            provider: &mut self.provider,
            clock: &self.clock,
            events: &mut self.log,
            policies,
        });
        self.clock.0 = self.clock.0.plus(20_000);
        report
    }
}

fn node(cluster: &str, number: usize) -> NodeObservation {
    let room = [("cpu", 32_000), ("memory", 256 << 30), ("pods", 110), ("nvidia.com/gpu", 4)];
    let allocatable: NamedAmounts = room.into_iter().map(|(name, amount)| (Arc::from(name), amount)).collect();
    NodeObservation {
        name: format!("{cluster}-{number}").into(),
        pool: format!("{cluster}-gpu").as_str().into(),
        instance_type: "gpu.huge".into(),
        zone: format!("{cluster}-a").into(),
        capacity_type: None,
        order: None,
        ready: true,
        free: allocatable.clone(),
        allocatable,
        shared: Vec::new(),
        idle_since: None,
    }
}

impl Members for Seen {
    fn changed(&mut self) -> Vec<ClusterName> {
        if std::mem::replace(&mut self.told, true) { Vec::new() } else { self.clusters.keys().cloned().collect() }
    }

    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation> {
        self.clusters.get(cluster)
    }

    fn apply(&mut self, _: &ClusterName, _: &WorkloadKey, manifest: &Arc<[u8]>, _: &Arc<str>) {
        let object = berth_api::Object::from_json(manifest);
        assert!(object.is_ok(), "a member gets what is no manifest: {object:?}");
    }

    fn delete(&mut self, _: &ClusterName, _: &WorkloadKey) {}
}

impl NodeProvider for Orders {
    fn order(&mut self, order: &NodeOrder) {
        self.0.insert(order.id.clone(), order.nodes);
    }

    fn cancel(&mut self, order: &OrderId) {
        self.0.remove(order);
    }

    fn remove(&mut self, _: &ClusterName, _: &PoolName, _: &Arc<str>) {}

    fn order_state(&self, order: &OrderId) -> Option<OrderState> {
        self.0.get(order).map(|_| OrderState::Pending)
    }

    fn stock(&mut self) -> Vec<(OfferingKey, Stock)> {
        Vec::new()
    }
}

impl Clock for Now {
    fn now(&self) -> Millis {
        self.0
    }
}

impl Events for Lines {
    fn emit(&mut self, event: Event) {
        self.0 += event.to_string().len();
    }
}
