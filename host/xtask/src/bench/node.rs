//! The nodes of one pool in the benchmark's world: what Berth would observe of them.
//!
//! Nodes that only others use stand in groups; a node with replicas of ours stands alone until the last one goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::fleet::{Free, InFlight, Need, ObservedNodes, PoolInput, PoolSpec};
use berth_core::ids::{ClusterRow, OfferingRow, ShapeRow};

/// A node that runs replicas of ours.
struct Node {
    /// The node without them.
    base: ObservedNodes,
    free: Free,
    pods: Vec<ShapeRow>,
    /// It was ordered, and is given back when nothing runs on it.
    ordered: bool,
}

pub(super) struct Pool {
    pub(super) cluster: ClusterRow,
    pub(super) spec: PoolSpec,
    pub(super) others: Vec<ObservedNodes>,
    nodes: Vec<Node>,
    in_flight: BTreeMap<OfferingRow, u32>,
    unbound: BTreeMap<ShapeRow, u32>,
}

impl Pool {
    pub(super) fn new(cluster: ClusterRow, spec: PoolSpec, others: Vec<ObservedNodes>) -> Self {
        Self { cluster, spec, others, nodes: Vec::new(), in_flight: BTreeMap::new(), unbound: BTreeMap::new() }
    }

    /// What is observed now.
    pub(super) fn input(&self) -> PoolInput {
        let mut observed: Vec<ObservedNodes> = self.others.iter().filter(|nodes| nodes.count > 0).cloned().collect();
        for node in &self.nodes {
            let seen = ObservedNodes { free: node.free.clone(), count: 1, ..node.base.clone() };
            let alike = |known: &&mut ObservedNodes| {
                (&known.free, &known.zone, known.offering) == (&seen.free, &seen.zone, seen.offering)
            };
            match observed.iter_mut().find(alike) {
                Some(known) => known.count += 1,
                None => observed.push(seen),
            }
        }
        let in_flight = self.in_flight.iter().map(|(offering, nodes)| InFlight { offering: *offering, nodes: *nodes });
        let unbound = self.unbound.iter().map(|(shape, count)| (*shape, *count));
        PoolInput { observed, in_flight: in_flight.collect(), unbound: unbound.collect() }
    }

    pub(super) fn place(&mut self, shape: ShapeRow, replicas: u32) {
        *self.unbound.entry(shape).or_default() += replicas;
    }

    pub(super) fn order(&mut self, offering: OfferingRow, nodes: u32) {
        *self.in_flight.entry(offering).or_default() += nodes;
    }

    /// Nodes of an order arrive.
    pub(super) fn arrive(&mut self, offering: OfferingRow, fresh: &ObservedNodes, nodes: u32) {
        if let Some(left) = self.in_flight.get_mut(&offering) {
            *left = left.saturating_sub(nodes);
        }
        self.in_flight.retain(|_, nodes| *nodes > 0);
        for _ in 0..nodes {
            let (base, free) = (ObservedNodes { count: 1, ..fresh.clone() }, fresh.free.clone());
            self.nodes.push(Node { base, free, pods: Vec::new(), ordered: true });
        }
    }

    /// Binds what waits to nodes, as kube-scheduler would: node by node where it fits the fewest times.
    pub(super) fn bind(&mut self, need: impl Fn(ShapeRow) -> Option<Arc<Need>>) {
        for shape in self.unbound.keys().copied().collect::<Vec<_>>() {
            let Some(need) = need(shape) else { continue };
            while self.unbound.get(&shape).is_some_and(|left| *left > 0) && self.bind_one(shape, &need) {
                if let Some(left) = self.unbound.get_mut(&shape) {
                    *left -= 1;
                }
            }
        }
        self.unbound.retain(|_, left| *left > 0);
        self.nodes.retain(|node| !node.ordered || !node.pods.is_empty());
    }

    fn bind_one(&mut self, shape: ShapeRow, need: &Need) -> bool {
        let own = self.nodes.iter().enumerate().map(|(at, node)| (node.free.fits(need), true, at));
        let others = self.others.iter().enumerate().filter(|(_, nodes)| nodes.count > 0);
        let others = others.map(|(at, nodes)| (nodes.free.fits(need), false, at));
        match own.chain(others).filter(|(fits, ..)| *fits > 0).min() {
            Some((_, true, at)) => self.nodes[at].take(shape, need),
            Some((_, false, at)) => {
                self.others[at].count -= 1;
                let base = ObservedNodes { count: 1, ..self.others[at].clone() };
                let mut node = Node { free: base.free.clone(), base, pods: Vec::new(), ordered: false };
                let taken = node.take(shape, need);
                self.nodes.push(node);
                taken
            }
            None => false,
        }
    }

    /// Replicas end: those without a node first.
    pub(super) fn end(&mut self, shape: ShapeRow, replicas: u32, need: impl Fn(ShapeRow) -> Option<Arc<Need>>) {
        let mut left = replicas;
        if let Some(waiting) = self.unbound.get_mut(&shape) {
            let gone = left.min(*waiting);
            *waiting -= gone;
            left -= gone;
        }
        self.unbound.retain(|_, left| *left > 0);
        for node in &mut self.nodes {
            while left > 0 && node.end(shape, &need) {
                left -= 1;
            }
        }
        let (gone, stay): (Vec<Node>, Vec<Node>) =
            std::mem::take(&mut self.nodes).into_iter().partition(|node| node.pods.is_empty());
        self.nodes = stay;
        for node in gone.into_iter().filter(|node| !node.ordered) {
            let alike = |known: &&mut ObservedNodes| {
                (&known.free, &known.zone, known.offering) == (&node.base.free, &node.base.zone, node.base.offering)
            };
            match self.others.iter_mut().find(alike) {
                Some(known) => known.count += 1,
                None => self.others.push(node.base),
            }
        }
    }
}

impl Node {
    fn take(&mut self, shape: ShapeRow, need: &Need) -> bool {
        let taken = self.free.take(need, 1);
        if taken {
            self.pods.push(shape);
        }
        taken
    }

    /// Ends one replica; what is free then follows from those that stay.
    fn end(&mut self, shape: ShapeRow, need: impl Fn(ShapeRow) -> Option<Arc<Need>>) -> bool {
        let Some(at) = self.pods.iter().position(|pod| *pod == shape) else { return false };
        self.pods.remove(at);
        let pods = std::mem::take(&mut self.pods);
        self.free = self.base.free.clone();
        for pod in pods {
            if let Some(need) = need(pod) {
                self.take(pod, &need);
            }
        }
        true
    }
}
