//! A pool's groups of nodes: how they follow from what was observed, and how replicas are booked on them.
//!
//! Everything works on groups, never on single nodes. Booking splits a group and joins what is alike again; it never
//! changes how many nodes there are, and never takes more than is free.

use std::sync::Arc;

use crate::fleet::{Free, NodeGroup, NodeState, Pool, PoolSpec};
use crate::ids::{ClusterRow, InstanceType, OfferingRow, ShapeRow};
use crate::resources::{Amounts, GPU_ROW};

use super::fit::Need;

/// What the control loops know of a pool's nodes. The groups of a [`Pool`] are a pure function of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolInput {
    pub observed: Vec<ObservedNodes>,
    pub in_flight: Vec<InFlight>,
    /// Replicas that were placed in this pool and are not bound to a node yet. They are booked on ready nodes first, then
    /// on nodes in flight; what finds no room holds none.
    pub unbound: Vec<(ShapeRow, u32)>,
}

/// Ready nodes that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedNodes {
    pub instance_type: InstanceType,
    pub zone: Arc<str>,
    /// The offering that the nodes came from, where they were ordered.
    pub offering: Option<OfferingRow>,
    /// What the node offers to pods while it runs nothing, by resource row.
    pub allocatable: Amounts,
    /// What is left on it. A node that is full has nothing free and still counts.
    pub free: Free,
    /// Nodes.
    pub count: u32,
}

/// Nodes that were ordered and did not arrive yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub offering: OfferingRow,
    pub nodes: u32,
}

/// A place for replicas: `per` of them fit on each of `count` nodes of one group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) pool: usize,
    pub(crate) group: usize,
    pub(crate) per: u32,
    pub(crate) count: u32,
    wasteful: bool,
}

impl Spot {
    pub(crate) fn new(pool: usize, group: usize, nodes: &NodeGroup, per: u32, need: &Need) -> Self {
        let free_gpu = nodes.free.amounts.get(GPU_ROW) > 0 || !nodes.free.shared.is_empty();
        Self { pool, group, per, count: nodes.count, wasteful: free_gpu && !need.wants_gpu() }
    }

    /// Best fit: nodes on which the fewest replicas fit come first, and replicas without a GPU leave nodes with free GPUs
    /// for last. Ties go by pool and group.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (self.wasteful, self.per, self.pool, self.group)
    }

    pub(crate) fn room(&self) -> u64 {
        u64::from(self.per) * u64::from(self.count)
    }
}

/// Books `replicas` of `need` on a group, at most [`Spot::room`], filling node after node. Split groups are appended, so
/// that other spots keep their meaning until [`Pool::tidy`].
pub(crate) fn book(groups: &mut Vec<NodeGroup>, spot: Spot, need: &Need, replicas: u32) {
    let Some(group) = groups.get_mut(spot.group) else { return };
    debug_assert!(spot.per > 0 && u64::from(replicas) <= spot.room(), "booked within the room of the spot");
    let per = spot.per.max(1);
    let mut split = |nodes: u32, each: u32| {
        let mut filled = group.clone();
        if nodes > 0 && each > 0 && group.count >= nodes && filled.free.take(need, each) {
            group.count -= nodes;
            filled.count = nodes;
            return Some(filled);
        }
        None
    };
    let full = split(replicas / per, per);
    let rest = split(1, replicas % per);
    groups.extend(full);
    groups.extend(rest);
}

/// Joins groups that are alike and drops empty ones. Keeps the order of first appearance.
fn tidy(groups: &mut Vec<NodeGroup>) {
    let mut kept: Vec<NodeGroup> = Vec::with_capacity(groups.len());
    for group in groups.drain(..) {
        let nothing_left = group.part.is_some() && group.free == Free::default();
        if group.count == 0 || nothing_left {
            continue;
        }
        match kept.iter_mut().find(|known| alike(known, &group)) {
            Some(known) => known.count = known.count.saturating_add(group.count),
            None => kept.push(group),
        }
    }
    *groups = kept;
}

fn alike(one: &NodeGroup, other: &NodeGroup) -> bool {
    one.state == other.state
        && one.part == other.part
        && one.offering == other.offering
        && one.free == other.free
        && one.instance_type == other.instance_type
        && one.zone == other.zone
}

impl Pool {
    /// Nodes there are and nodes in flight.
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Joins groups that are alike and counts the nodes; to be called after each change of the groups.
    pub(crate) fn tidy(&mut self) {
        tidy(&mut self.groups);
        let nodes = self.groups.iter().filter(|group| group.part.is_none());
        self.nodes = nodes.fold(0, |sum, group| sum.saturating_add(group.count));
    }

    /// A pool that has no node yet.
    pub(crate) fn new(spec: Arc<PoolSpec>, cluster: ClusterRow) -> Self {
        let (groups, in_flight, waiting, stranded) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { spec, cluster, groups, nodes: 0, in_flight, waiting, stranded, booked: false }
    }

    /// Nodes that could still be added.
    pub fn slots(&self) -> u32 {
        self.spec.max.saturating_sub(self.nodes())
    }

    /// The pool as `input` says. `fresh` gives a group of one fresh node of an offering; `need` an interned shape;
    /// `accepts` whether a shape may run on a group.
    pub(crate) fn effective(
        spec: Arc<PoolSpec>,
        cluster: ClusterRow,
        input: &PoolInput,
        fresh: impl Fn(OfferingRow) -> Option<NodeGroup>,
        need: impl Fn(ShapeRow) -> Option<Arc<Need>>,
        accepts: impl Fn(&PoolSpec, &NodeGroup, &Need) -> bool,
    ) -> Self {
        let mut groups: Vec<NodeGroup> = input.observed.iter().map(observed).collect();
        let mut in_flight: Vec<(OfferingRow, u32)> = Vec::new();
        for order in &input.in_flight {
            groups.extend(fresh(order.offering).map(|group| NodeGroup { count: order.nodes, ..group }));
            count(&mut in_flight, order.offering, order.nodes);
        }
        tidy(&mut groups);
        let (mut waiting, mut stranded) = (Vec::new(), Vec::new());
        for (shape, replicas) in &input.unbound {
            let Some(need) = need(*shape) else { continue };
            let (flying, left) = book_all(&mut groups, &need, *replicas, |group| accepts(&spec, group, &need));
            count(&mut waiting, *shape, flying);
            count(&mut stranded, *shape, left);
        }
        let mut pool = Self { groups, in_flight, waiting, stranded, ..Self::new(spec.clone(), cluster) };
        pool.tidy();
        pool
    }
}

fn observed(nodes: &ObservedNodes) -> NodeGroup {
    let mut free = nodes.free.clone();
    free.normalise();
    NodeGroup {
        instance_type: nodes.instance_type.clone(),
        zone: nodes.zone.clone(),
        offering: nodes.offering,
        state: NodeState::Ready,
        free,
        count: nodes.count,
        part: None,
    }
}

/// Adds to a list of counts that ascends by row.
pub(crate) fn count<K: Ord>(list: &mut Vec<(K, u32)>, row: K, more: u32) {
    if more == 0 {
        return;
    }
    match list.binary_search_by(|(known, _)| known.cmp(&row)) {
        Ok(place) => list[place].1 = list[place].1.saturating_add(more),
        Err(place) => list.insert(place, (row, more)),
    }
}

/// Books as many of `replicas` as fit: ready groups first, then those in flight, best fit within each. Returns how many
/// are on nodes in flight, and how many found no room.
fn book_all(
    groups: &mut Vec<NodeGroup>,
    need: &Need,
    replicas: u32,
    accepts: impl Fn(&NodeGroup) -> bool,
) -> (u32, u32) {
    let mut spots: Vec<Spot> = Vec::new();
    for (row, group) in groups.iter().enumerate() {
        let per = if accepts(group) { group.free.fits(need) } else { 0 };
        if per > 0 {
            spots.push(Spot::new(0, row, group, per, need));
        }
    }
    spots.sort_by_key(|spot| (groups[spot.group].state != NodeState::Ready, spot.order()));
    let (mut left, mut flying) = (replicas, 0);
    for spot in spots {
        let here = spot.room().min(u64::from(left)) as u32;
        if here == 0 {
            break;
        }
        flying += if groups[spot.group].state == NodeState::InFlight { here } else { 0 };
        book(groups, spot, need, here);
        left -= here;
    }
    tidy(groups);
    (flying, left)
}
