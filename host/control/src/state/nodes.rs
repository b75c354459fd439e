//! The nodes of a member by pool, alike ones together: kept node by node, so that one that changed costs what one costs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::ids::PoolName;

use crate::ports::NodeObservation;

/// A node, compared by all that decides what may run on it.
#[derive(Clone, Debug)]
struct Kind(Arc<NodeObservation>);

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (&*self.0, &*other.0);
        let first = (&one.instance_type, &one.zone, one.capacity_type, &one.shared);
        let place = first.cmp(&(&other.instance_type, &other.zone, other.capacity_type, &other.shared));
        place.then_with(|| one.free.cmp(&other.free)).then_with(|| one.allocatable.cmp(&other.allocatable))
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kind {}

/// Names of nodes by pool. No kind is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    open: BTreeMap<PoolName, BTreeMap<Kind, BTreeSet<Arc<str>>>>,
    /// Nodes without room, which count for the pool's maximum.
    shut: BTreeMap<PoolName, BTreeSet<Arc<str>>>,
}

impl Groups {
    /// `open`: whether pods can be bound to it.
    pub(crate) fn add(&mut self, node: &Arc<NodeObservation>, open: bool) {
        if !open {
            self.shut.entry(node.pool.clone()).or_default().insert(node.name.clone());
            return;
        }
        if !self.open.contains_key(&node.pool) {
            self.open.insert(node.pool.clone(), BTreeMap::new());
        }
        let Some(pool) = self.open.get_mut(&node.pool) else { return };
        pool.entry(Kind(node.clone())).or_default().insert(node.name.clone());
    }

    /// `node` must be what was added under its name.
    pub(crate) fn remove(&mut self, node: &Arc<NodeObservation>) {
        if self.shut.get_mut(&node.pool).is_some_and(|names| names.remove(&node.name)) {
            return;
        }
        let Some(pool) = self.open.get_mut(&node.pool) else { return };
        let kind = Kind(node.clone());
        let Some(names) = pool.get_mut(&kind) else { return };
        names.remove(&node.name);
        if names.is_empty() {
            pool.remove(&kind);
        }
    }

    /// Nodes of a pool without room.
    pub(crate) fn shut(&self, pool: &PoolName) -> u32 {
        self.shut.get(pool).map_or(0, |names| names.len() as u32)
    }

    /// One node of each kind in a pool, and how many there are; in the order of the first name of each.
    pub(crate) fn of(&self, pool: &PoolName) -> Vec<(Arc<NodeObservation>, u32)> {
        let kinds = self.open.get(pool).into_iter().flatten();
        let mut found: Vec<(&Arc<str>, &Kind, usize)> =
            kinds.filter_map(|(kind, names)| Some((names.first()?, kind, names.len()))).collect();
        found.sort_unstable_by_key(|(name, ..)| *name);
        found.into_iter().map(|(_, kind, count)| (kind.0.clone(), count as u32)).collect()
    }
}

/// A node that is not what it was: before, and now.
pub(crate) type Change = (Option<Arc<NodeObservation>>, Option<Arc<NodeObservation>>);

/// What differs between two lists of nodes, each ascending by name. A node behind the same pointer is not looked into.
pub(crate) fn changes(before: &[Arc<NodeObservation>], after: &[Arc<NodeObservation>]) -> Vec<Change> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => Ordering::Equal,
            (Some(one), Some(other)) => one.name.cmp(&other.name),
        };
        let (one, other) = match order {
            Ordering::Less => (old.next(), None),
            Ordering::Greater => (None, new.next()),
            Ordering::Equal => (old.next(), new.next()),
        };
        let same = one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other) || one == other);
        if !same {
            changes.push((one.cloned(), other.cloned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::resources::NamedAmounts;

    use super::*;

    fn node(name: &str, cpu: u64) -> Arc<NodeObservation> {
        let amounts: NamedAmounts = [(Arc::from("cpu"), cpu)].into();
        Arc::new(NodeObservation {
            name: name.into(),
            pool: "p".into(),
            instance_type: "t".into(),
            zone: "z".into(),
            capacity_type: None,
            order: None,
            ready: true,
            allocatable: amounts.clone(),
            free: amounts,
            shared: Vec::new(),
            idle_since: None,
        })
    }

    #[test]
    fn changes_are_found_by_name() {
        let before = [node("a", 1), node("b", 1), node("c", 1)];
        let after = [before[0].clone(), node("b", 1), node("c", 2), node("d", 1)];
        let names = |changes: Vec<Change>| -> Vec<(Option<u64>, Option<u64>)> {
            let cpu = |node: Option<Arc<NodeObservation>>| node.map(|node| node.free["cpu"]);
            changes.into_iter().map(|(one, other)| (cpu(one), cpu(other))).collect()
        };
        assert_eq!(names(changes(&before, &after)), [(Some(1), Some(2)), (None, Some(1))]);
        assert_eq!(names(changes(&after, &before)), [(Some(2), Some(1)), (Some(1), None)]);
    }

    #[test]
    fn alike_nodes_stand_together_in_the_order_of_their_first() {
        let mut groups = Groups::default();
        let nodes = [node("a", 2), node("b", 1), node("c", 2)];
        nodes.iter().for_each(|node| groups.add(node, true));
        let found = |groups: &Groups| -> Vec<(u64, u32)> {
            groups.of(&"p".into()).into_iter().map(|(node, count)| (node.free["cpu"], count)).collect()
        };
        assert_eq!(found(&groups), [(2, 2), (1, 1)]);
        groups.remove(&nodes[0]);
        assert_eq!(found(&groups), [(1, 1), (2, 1)]);
        groups.remove(&nodes[1]);
        assert_eq!(found(&groups), [(2, 1)]);
    }
}
