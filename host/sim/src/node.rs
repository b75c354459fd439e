//! The nodes of one simulated cluster, and the member's own scheduler that chooses a node for a pod.
//!
//! Nodes that are alike (same pool, type, zone, free amounts and free GPU shares) stand in one group, so that choosing a node
//! looks at groups, not at nodes. Free room is exact by GPU device: a share goes to one device and comes back to it.
//! Nothing here knows workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::fleet::{CapacityType, Free, Need, NodeLabels, OfferingKey, PoolSpec};
use berth_core::ids::{InstanceType, Millis, OrderId};
use berth_core::resources::{Amounts, CPU_ROW, GPU_ROW, MEMORY_ROW, NamedAmounts, PODS_ROW, ResourceNames};
use berth_core::workload::Shape;
use serde::{Deserialize, Serialize};

/// Thousandths of a whole GPU.
const WHOLE: u16 = 1000;

/// How the member's scheduler chooses among the nodes that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scoring {
    /// The node that is fullest afterwards: keeps large nodes free, and lets others become empty.
    #[default]
    MostAllocated,
    /// The node that is emptiest afterwards, as kube-scheduler does unless told otherwise.
    LeastAllocated,
}

/// What nodes have in common that decides whether a pod may run there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Class {
    pub(crate) pool: Arc<PoolSpec>,
    pub(crate) region: Arc<str>,
    pub(crate) zone: Arc<str>,
    pub(crate) instance_type: InstanceType,
    pub(crate) capacity_type: Option<CapacityType>,
    pub(crate) allocatable: Amounts,
}

impl Class {
    fn accepts(&self, shape: &Shape) -> bool {
        let labels = NodeLabels {
            pool: &self.pool,
            region: &self.region,
            zone: &self.zone,
            instance_type: self.instance_type.as_str(),
            capacity_type: self.capacity_type,
        };
        shape.tolerates(&self.pool) && shape.selects(&labels)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    class: usize,
    pub(crate) offering: Option<OfferingKey>,
    pub(crate) order: Option<OrderId>,
    pub(crate) free: Free,
    /// Free thousandths by device.
    devices: Vec<u16>,
    pods: u32,
    /// When its last pod left.
    idle_from: Millis,
}

/// Where a pod runs, and what it holds of which device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) node: Arc<str>,
    devices: Vec<(u16, u16)>,
}

/// Nodes with the same free room, by class. Ordered, so that ties break the same way each time.
type GroupKey = (usize, Vec<u64>, Vec<u16>);

#[derive(Clone, Debug)]
struct Group {
    free: Free,
    nodes: BTreeSet<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) resources: ResourceNames,
    classes: Vec<Class>,
    nodes: BTreeMap<Arc<str>, Node>,
    groups: BTreeMap<GroupKey, Group>,
    by_pool: BTreeMap<Arc<str>, u32>,
    /// Thousandths of GPUs that pods hold, and that all nodes in `groups` have.
    gpu_milli: (u64, u64),
}

fn key(class: usize, free: &Free) -> GroupKey {
    let amounts = free.amounts.as_slice();
    let used = amounts.iter().rposition(|amount| *amount > 0).map_or(0, |last| last + 1);
    (class, amounts[..used].to_vec(), free.shared.clone())
}

impl Nodes {
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(crate) fn class_of(&self, node: &Node) -> &Class {
        &self.classes[node.class]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.nodes.iter()
    }

    pub(crate) fn in_pool(&self, pool: &str) -> u32 {
        self.by_pool.get(pool).copied().unwrap_or(0)
    }

    /// Thousandths of GPUs that pods hold, and that all nodes have.
    pub(crate) fn gpu_milli(&self) -> (u64, u64) {
        self.gpu_milli
    }

    /// A pool was changed: its labels and taints are those of its nodes, too. Says whether anything is another.
    pub(crate) fn set_pool(&mut self, pool: &Arc<PoolSpec>) -> bool {
        let mut changed = false;
        for class in self.classes.iter_mut().filter(|class| class.pool.name == pool.name && class.pool != *pool) {
            class.pool = pool.clone();
            changed = true;
        }
        changed
    }

    /// Adds a node that runs nothing. A name that is there already changes nothing and says false.
    pub(crate) fn add(
        &mut self,
        name: &Arc<str>,
        class: Class,
        offering: Option<OfferingKey>,
        order: Option<OrderId>,
        now: Millis,
    ) -> bool {
        if self.nodes.contains_key(name) {
            return false;
        }
        *self.by_pool.entry(class.pool.name.as_str().into()).or_default() += 1;
        let amounts = class.allocatable.clone();
        let devices = vec![WHOLE; amounts.get(GPU_ROW).min(u64::from(u16::MAX)) as usize];
        let class = self.classes.iter().position(|known| *known == class).unwrap_or_else(|| {
            self.classes.push(class);
            self.classes.len() - 1
        });
        let node = Node { class, offering, order, free: Free::new(amounts), devices, pods: 0, idle_from: now };
        self.nodes.insert(name.clone(), node);
        self.file(name);
        true
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        self.unfile(name);
        let node = self.nodes.remove(name)?;
        if let Some(count) = self.by_pool.get_mut(self.classes[node.class].pool.name.as_str()) {
            *count = count.saturating_sub(1);
        }
        Some(node)
    }

    /// Binds a pod to the best node that has room: best by `scoring`, then the first group, then the first name.
    pub(crate) fn bind(&mut self, need: &Need, scoring: Scoring) -> Option<Binding> {
        let name = self.choose(need, scoring)?;
        self.unfile(&name);
        let bound = self.nodes.get_mut(&name).and_then(|node| node.take(need));
        self.file(&name);
        Some(Binding { node: name, devices: bound? })
    }

    /// Gives back what a pod held that leaves now.
    pub(crate) fn release(&mut self, need: &Need, binding: &Binding, now: Millis) {
        self.undo(need, binding);
        if let Some(node) = self.nodes.get_mut(&binding.node) {
            node.idle_from = now;
        }
    }

    /// Takes a binding back as if it had never been: the node is idle for as long as it was.
    pub(crate) fn undo(&mut self, need: &Need, binding: &Binding) {
        self.unfile(&binding.node);
        if let Some(node) = self.nodes.get_mut(&binding.node) {
            node.give_back(need, &binding.devices);
        }
        self.file(&binding.node);
    }

    /// Takes what a saved binding says, on that very node and those devices. False if the node has no such room.
    pub(crate) fn rebind(&mut self, need: &Need, binding: &Binding) -> bool {
        self.unfile(&binding.node);
        let held = self.nodes.get_mut(&binding.node).is_some_and(|node| node.take_devices(need, &binding.devices));
        self.file(&binding.node);
        held
    }

    pub(crate) fn set_idle_from(&mut self, name: &str, from: Millis) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.idle_from = from;
        }
    }

    fn choose(&self, need: &Need, scoring: Scoring) -> Option<Arc<str>> {
        let mut accepts: Option<(usize, bool)> = None;
        let mut best: Option<(u64, &Group)> = None;
        for ((class, _, _), group) in &self.groups {
            // Groups stand class by class, so that the answer for the last class is the only one worth keeping.
            let accepted = match accepts {
                Some((known, accepted)) if known == *class => accepted,
                _ => self.classes[*class].accepts(&need.shape),
            };
            accepts = Some((*class, accepted));
            if !accepted || group.free.fits(need) == 0 {
                continue;
            }
            let allocated = allocated(&group.free, need, &self.classes[*class].allocatable);
            let score = match scoring {
                Scoring::MostAllocated => allocated,
                Scoring::LeastAllocated => u64::MAX - allocated,
            };
            if best.is_none_or(|(known, _)| score > known) {
                best = Some((score, group));
            }
        }
        best.and_then(|(_, group)| group.nodes.first().cloned())
    }

    fn file(&mut self, name: &str) {
        let Some((name, node)) = self.nodes.get_key_value(name) else { return };
        let (used, all) = node.gpu_milli();
        self.gpu_milli = (self.gpu_milli.0 + used, self.gpu_milli.1 + all);
        let group = self.groups.entry(key(node.class, &node.free));
        let group = group.or_insert_with(|| Group { free: node.free.clone(), nodes: BTreeSet::new() });
        group.nodes.insert(name.clone());
    }

    fn unfile(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else { return };
        let (used, all) = node.gpu_milli();
        self.gpu_milli = (self.gpu_milli.0 - used, self.gpu_milli.1 - all);
        let key = key(node.class, &node.free);
        if let Some(group) = self.groups.get_mut(&key) {
            group.nodes.remove(name);
            if group.nodes.is_empty() {
                self.groups.remove(&key);
            }
        }
    }
}

/// Thousandths of the node that are allocated with this pod on it: the mean over CPU, memory and whatever else it asks for.
fn allocated(free: &Free, need: &Need, allocatable: &Amounts) -> u64 {
    let mut rows: Vec<usize> = need.request.iter().map(|(row, _)| row).filter(|row| *row != PODS_ROW).collect();
    let share = u64::from(need.shape.gpu_share);
    rows.extend([CPU_ROW, MEMORY_ROW]);
    rows.extend((share > 0).then_some(GPU_ROW));
    rows.sort_unstable();
    rows.dedup();
    let part = |row: usize| {
        let (mut all, mut left, mut asked) = (allocatable.get(row), free.amounts.get(row), need.request.get(row));
        if row == GPU_ROW {
            let shared: u64 = free.shared.iter().map(|left| u64::from(*left)).sum();
            (all, left, asked) = (all * 1000, left * 1000 + shared, asked * 1000 + share);
        }
        let used = u128::from(all.saturating_sub(left).saturating_add(asked));
        (used * 1000 / u128::from(all.max(1))) as u64
    };
    rows.iter().map(|row| part(*row)).sum::<u64>() / rows.len().max(1) as u64
}

impl Node {
    /// Takes room for one pod; `None` if there is none. A share goes to the device in use with the least left that is
    /// enough, and opens a fresh one only if there is none.
    fn take(&mut self, need: &Need) -> Option<Vec<(u16, u16)>> {
        if self.free.fits(need) == 0 {
            return None;
        }
        let mut held = Vec::new();
        let share = need.shape.gpu_share;
        if share > 0 {
            let fits = self.devices.iter().enumerate().filter(|(_, left)| **left >= share);
            let (device, _) = fits.min_by_key(|(device, left)| (**left, *device))?;
            held.push((device as u16, share));
        }
        let whole = self.devices.iter().enumerate().filter(|(_, left)| **left == WHOLE);
        let whole =
            whole.map(|(device, _)| device as u16).filter(|device| held.iter().all(|(taken, _)| taken != device));
        let wanted = need.request.get(GPU_ROW) as usize;
        let whole: Vec<u16> = whole.take(wanted).collect();
        held.extend(whole.into_iter().map(|device| (device, WHOLE)));
        self.take_devices(need, &held).then_some(held)
    }

    fn take_devices(&mut self, need: &Need, held: &[(u16, u16)]) -> bool {
        let left =
            |(device, milli): &(u16, u16)| self.devices.get(usize::from(*device)).is_some_and(|left| left >= milli);
        let whole = held.iter().filter(|(_, milli)| *milli == WHOLE).count() as u64;
        if !held.iter().all(left) || whole != need.request.get(GPU_ROW) || !self.free.amounts.take(&need.request, 1) {
            return false;
        }
        for (device, milli) in held {
            self.devices[usize::from(*device)] -= milli;
        }
        self.pods += 1;
        self.count_devices();
        true
    }

    fn give_back(&mut self, need: &Need, held: &[(u16, u16)]) {
        self.free.amounts.add(&need.request, 1);
        for (device, milli) in held {
            if let Some(left) = self.devices.get_mut(usize::from(*device)) {
                *left = left.saturating_add(*milli).min(WHOLE);
            }
        }
        self.pods = self.pods.saturating_sub(1);
        self.count_devices();
    }

    /// Brings `free` in line with the devices: whole ones count as amount, shared ones stand with what is left of them.
    fn count_devices(&mut self) {
        let whole = self.devices.iter().filter(|left| **left == WHOLE).count();
        self.free.amounts.set(GPU_ROW, whole as u64);
        self.free.shared = self.devices.iter().copied().filter(|left| (1..WHOLE).contains(left)).collect();
        self.free.shared.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// When its last pod left, or when it joined.
    pub(crate) fn idle_from(&self) -> Millis {
        self.idle_from
    }

    /// Since when no pod runs on it.
    pub(crate) fn idle_since(&self) -> Option<Millis> {
        (self.pods == 0).then_some(self.idle_from)
    }

    /// Thousandths of GPUs that pods hold, and that the node has.
    fn gpu_milli(&self) -> (u64, u64) {
        let all = self.devices.len() as u64 * u64::from(WHOLE);
        (all - self.devices.iter().map(|left| u64::from(*left)).sum::<u64>(), all)
    }

    pub(crate) fn named_free(&self, resources: &ResourceNames) -> NamedAmounts {
        self.free.amounts.named(resources)
    }
}

#[cfg(test)]
mod tests;
