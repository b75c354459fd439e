//! A packing of replicas onto the nodes of one pool, found independently: the certificate that a plan's shares fit.
//!
//! Several orders are tried, each best fit. What one of them packs, fits. That none packs although some packing exists is
//! possible in theory; the planner then gave out room that only a cleverer packing has, and kube-scheduler would not find it
//! either.

use std::sync::Arc;

use super::plan::repels;
use crate::fleet::{
    CAPACITY_TYPE_LABEL, INSTANCE_TYPE_LABEL, NodeGroup, NodeState, POOL_LABEL, Pool, REGION_LABEL, Snapshot,
    ZONE_LABEL,
};
use crate::ids::OfferingRow;
use crate::resources::GPU_ROW;
use crate::workload::{Operator, Requirement, Shape};

/// One replica.
pub(super) struct Pod<'a> {
    shape: &'a Arc<Shape>,
    /// By resource row.
    amounts: Vec<(usize, u64)>,
    /// It asks for a resource that the fleet does not know.
    unknown: bool,
}

impl<'a> Pod<'a> {
    pub(super) fn new(snapshot: &Snapshot, shape: &'a Arc<Shape>) -> Self {
        let mut amounts = Vec::new();
        let mut unknown = false;
        for (name, amount) in shape.requests.iter().filter(|(_, amount)| **amount > 0) {
            match snapshot.resources().row(name) {
                Some(row) => amounts.push((row, *amount)),
                None => unknown = true,
            }
        }
        Self { shape, amounts, unknown }
    }

    /// For comparing pods: GPUs first, then the other amounts.
    fn size(&self) -> (u64, u16, Vec<(usize, u64)>) {
        let gpus = self.amounts.iter().find(|(row, _)| *row == GPU_ROW).map_or(0, |(_, amount)| *amount);
        (gpus, self.shape.gpu_share, self.amounts.clone())
    }

    fn uses_gpu(&self) -> bool {
        self.shape.gpu_share > 0 || self.amounts.iter().any(|(row, _)| *row == GPU_ROW)
    }
}

/// Nodes, or parts of nodes, that are alike.
#[derive(Clone)]
struct Bin<'a> {
    group: Option<&'a NodeGroup>,
    offering: Option<OfferingRow>,
    in_flight: bool,
    ordered: bool,
    amounts: Vec<u64>,
    shared: Vec<u16>,
    count: u64,
}

impl Bin<'_> {
    /// GPUs that stay free on a full node; of pods without GPUs, how many fit.
    fn left_over(&self, pod: &Pod<'_>, fits: u64) -> u64 {
        if !pod.uses_gpu() {
            return fits;
        }
        let each = pod.amounts.iter().find(|(row, _)| *row == GPU_ROW).map_or(0, |(_, amount)| *amount);
        self.amounts.get(GPU_ROW).copied().unwrap_or(0).saturating_sub(each * fits)
    }
}

pub(super) struct Bins<'a> {
    snapshot: &'a Snapshot,
    pool: &'a Pool,
    bins: Vec<Bin<'a>>,
}

/// Replicas of one component that a pool newly gets.
pub(super) struct Load<'a> {
    pub(super) pod: Pod<'a>,
    pub(super) count: u32,
    /// Number of the change in the plan.
    pub(super) change: usize,
}

/// In which order loads are packed.
#[derive(Clone, Copy)]
enum Loads {
    /// As the plan lists them.
    Listed,
    /// Change by change, and within each the component with the most replicas first.
    MostFirst,
    /// The largest replicas first.
    LargestFirst,
}

/// Which nodes are filled first, among those of which each holds the fewest.
#[derive(Clone, Copy)]
enum Nodes {
    /// Those that are there, then those in flight, then those that are ordered.
    ReadyFirst,
    /// The same, but the roomiest of those that are ordered.
    RoomyOrders,
    /// Those on which the least is left over.
    Tightest,
}

const ATTEMPTS: [(Loads, Nodes); 9] = [
    (Loads::Listed, Nodes::ReadyFirst),
    (Loads::MostFirst, Nodes::ReadyFirst),
    (Loads::LargestFirst, Nodes::ReadyFirst),
    (Loads::LargestFirst, Nodes::Tightest),
    (Loads::MostFirst, Nodes::Tightest),
    (Loads::Listed, Nodes::Tightest),
    (Loads::MostFirst, Nodes::RoomyOrders),
    (Loads::Listed, Nodes::RoomyOrders),
    (Loads::LargestFirst, Nodes::RoomyOrders),
];

impl<'a> Bins<'a> {
    /// Packs pods onto the pool's nodes and those ordered.
    ///
    /// # Errors
    /// The first of the loads that finds no room in the listed order, if no order packs all.
    pub(super) fn pack(
        snapshot: &'a Snapshot,
        pool: &'a Pool,
        orders: &[(OfferingRow, u32)],
        loads: &[Load<'_>],
    ) -> Result<(), usize> {
        let mut first = None;
        for (order, nodes) in ATTEMPTS {
            let mut rows: Vec<usize> = (0..loads.len()).collect();
            match order {
                Loads::Listed => {}
                Loads::MostFirst => rows.sort_by_key(|row| (loads[*row].change, std::cmp::Reverse(loads[*row].count))),
                Loads::LargestFirst => rows.sort_by_key(|row| std::cmp::Reverse(loads[*row].pod.size())),
            }
            let mut bins = Self::new(snapshot, pool, orders);
            match rows.into_iter().find(|row| !bins.place(&loads[*row].pod, u64::from(loads[*row].count), nodes)) {
                None => return Ok(()),
                Some(row) => _ = first.get_or_insert(row),
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn new(snapshot: &'a Snapshot, pool: &'a Pool, orders: &[(OfferingRow, u32)]) -> Self {
        let rows = snapshot.resources().names().len();
        let mut bins: Vec<Bin<'a>> = Vec::new();
        for group in &pool.groups {
            bins.push(Bin {
                group: Some(group),
                offering: group.offering,
                in_flight: group.state == NodeState::InFlight,
                ordered: false,
                amounts: (0..rows).map(|row| group.free.amounts.get(row)).collect(),
                shared: group.free.shared.clone(),
                count: u64::from(group.count),
            });
        }
        for (row, nodes) in orders {
            let Some(offering) = snapshot.offering(*row) else { continue };
            bins.push(Bin {
                group: None,
                offering: Some(*row),
                in_flight: true,
                ordered: true,
                amounts: (0..rows).map(|row| offering.allocatable.get(row)).collect(),
                shared: Vec::new(),
                count: u64::from(*nodes),
            });
        }
        Self { snapshot, pool, bins }
    }

    /// Places `count` replicas, node by node, on the nodes that hold the fewest of them first.
    fn place(&mut self, pod: &Pod<'_>, count: u64, nodes: Nodes) -> bool {
        if pod.unknown || self.pool.spec.taints.iter().any(|taint| repels(taint, &pod.shape.tolerations)) {
            return false;
        }
        let mut rest = count;
        let mut open: Vec<(usize, u64)> = Vec::new();
        for (row, bin) in self.bins.iter().enumerate() {
            let fits = if self.selected(bin, pod) { fits(bin, pod) } else { 0 };
            if fits > 0 && bin.count > 0 {
                open.push((row, fits));
            }
        }
        open.sort_by_key(|(row, fits)| {
            let bin = &self.bins[*row];
            let gpus = bin.amounts.get(GPU_ROW).is_some_and(|free| *free > 0) || !bin.shared.is_empty();
            let wasted = gpus && !pod.uses_gpu();
            match nodes {
                Nodes::ReadyFirst => (wasted, bin.ordered, bin.in_flight, *fits, *row),
                Nodes::RoomyOrders => {
                    (wasted, bin.ordered, bin.in_flight, if bin.ordered { u64::MAX - fits } else { *fits }, *row)
                }
                Nodes::Tightest => (wasted, false, false, bin.left_over(pod, *fits), *row),
            }
        });
        for (row, fits) in open {
            let nodes = (rest / fits).min(self.bins[row].count);
            self.fill(row, pod, nodes, fits);
            rest -= nodes * fits;
            if rest > 0 && rest < fits && self.bins[row].count > 0 {
                self.fill(row, pod, 1, rest);
                rest = 0;
            }
            if rest == 0 {
                return true;
            }
        }
        rest == 0
    }

    /// Puts `each` replicas on `nodes` nodes of a bin, which become a bin of their own.
    fn fill(&mut self, row: usize, pod: &Pod<'_>, nodes: u64, each: u64) {
        if nodes == 0 {
            return;
        }
        let mut filled = Bin { count: nodes, ..self.bins[row].clone() };
        self.bins[row].count -= nodes;
        for (resource, amount) in &pod.amounts {
            filled.amounts[*resource] -= amount * each;
        }
        let share = pod.shape.gpu_share;
        for _ in 0..if share > 0 { each } else { 0 } {
            let tightest = (0..filled.shared.len()).filter(|at| filled.shared[*at] >= share);
            match tightest.min_by_key(|at| filled.shared[*at]) {
                Some(at) => filled.shared[at] -= share,
                None => {
                    filled.amounts[GPU_ROW] = filled.amounts[GPU_ROW].saturating_sub(1);
                    filled.shared.push(1000_u16.saturating_sub(share));
                }
            }
        }
        self.bins.push(filled);
    }

    /// Whether a pod's node requirements hold on the nodes of a bin. Room that other replicas left belongs to unknown
    /// nodes: only pods without requirements, or with those of the replicas that left, may use it.
    fn selected(&self, bin: &Bin<'_>, pod: &Pod<'_>) -> bool {
        if pod.shape.nodes.is_empty() {
            return true;
        }
        if let Some(part) = bin.group.and_then(|group| group.part) {
            return self.snapshot.need(part).is_some_and(|left| left.shape.nodes == pod.shape.nodes);
        }
        let offering = bin.offering.and_then(|row| self.snapshot.offering(row)).map(|offering| &offering.key);
        let region = self.snapshot.cluster(self.pool.cluster).map_or("", |cluster| &cluster.region);
        let label = |key: &str| -> Option<String> {
            let known = match key {
                ZONE_LABEL => bin.group.map(|group| &*group.zone).or(offering.map(|key| &*key.zone)),
                REGION_LABEL => Some(region),
                INSTANCE_TYPE_LABEL => bin
                    .group
                    .map(|group| group.instance_type.as_str())
                    .or(offering.map(|key| key.instance_type.as_str())),
                CAPACITY_TYPE_LABEL => offering.map(|key| key.capacity_type.as_str()),
                POOL_LABEL => Some(self.pool.spec.name.as_str()),
                _ => None,
            };
            let known = known.filter(|value| !value.is_empty());
            known.or_else(|| self.pool.spec.labels.get(key).map(|value| &**value)).map(str::to_owned)
        };
        let holds = |rule: &Requirement| meets(rule, &label(&rule.key).into_iter().collect::<Vec<_>>());
        pod.shape.nodes.iter().any(|alternative| alternative.iter().all(holds))
    }
}

/// How often a pod fits on one node, counted one by one where GPUs are shared.
fn fits(bin: &Bin<'_>, pod: &Pod<'_>) -> u64 {
    let share = pod.shape.gpu_share;
    let plain = pod.amounts.iter().map(|(row, amount)| bin.amounts.get(*row).copied().unwrap_or(0) / amount).min();
    let plain = plain.unwrap_or(u64::from(u32::MAX));
    if share == 0 {
        return plain;
    }
    let whole = pod.amounts.iter().find(|(row, _)| *row == GPU_ROW).map_or(0, |(_, amount)| *amount);
    let (mut gpus, mut shared) = (bin.amounts.get(GPU_ROW).copied().unwrap_or(0), bin.shared.clone());
    for count in 0..plain {
        if gpus < whole {
            return count;
        }
        gpus -= whole;
        match (0..shared.len()).filter(|at| shared[*at] >= share).min_by_key(|at| shared[*at]) {
            Some(at) => shared[at] -= share,
            None if gpus > 0 && share <= 1000 => {
                gpus -= 1;
                shared.push(1000 - share);
            }
            None => return count,
        }
    }
    plain
}

/// Whether a requirement holds for the values of a label or field; no value is a missing label.
pub(super) fn meets(rule: &Requirement, values: &[String]) -> bool {
    let listed = |value: &String| rule.values.iter().any(|listed| **listed == **value);
    let bound = || rule.values.first().and_then(|bound| bound.parse::<i64>().ok());
    let compare = |holds: fn(i64, i64) -> bool| {
        let Some(bound) = bound() else { return false };
        !values.is_empty() && values.iter().all(|value| value.parse().is_ok_and(|value| holds(value, bound)))
    };
    match rule.operator {
        Operator::In => !values.is_empty() && values.iter().all(listed),
        Operator::NotIn => !values.iter().any(listed),
        Operator::Exists => !values.is_empty(),
        Operator::DoesNotExist => values.is_empty(),
        Operator::Gt => compare(|value, bound| value > bound),
        Operator::Lt => compare(|value, bound| value < bound),
    }
}
