//! Scale-down: nodes that nothing needs are removed.
//!
//! A node goes when no pod of a workload has been bound to it for the pool's `unneeded` time, its utilisation is below the
//! pool's thresholds, nothing was added to the pool for its `coolDown`, and the pool stays at its minimum. A pool that waits
//! for nodes, or in which replicas wait to be bound, keeps what it has; nodes of live orders are never touched.

use berth_core::ids::{ClusterName, Millis, PoolName};
use berth_core::resources::{CPU, GPU, MEMORY};

use crate::action::Action;
use crate::ports::NodeObservation;
use crate::state::{Member, PoolState, State};

/// What to remove now, and when to look again at the latest (`None`: when something changes).
pub fn step(state: &State, now: Millis) -> (Vec<Action>, Option<Millis>) {
    let mut actions = Vec::new();
    let mut next: Option<Millis> = None;
    for (cluster, member) in &state.clusters {
        if member.object.is_none() || !member.reachable {
            continue;
        }
        let mut nodes = member.nodes_by_pool();
        for (name, pool) in &member.pools {
            let look = Look { state, cluster, member, name, pool };
            let at = look.step(nodes.remove(name).unwrap_or_default(), now, &mut actions);
            next = next.into_iter().chain(at).min();
        }
    }
    // A scan finds what came due since; waking for each node would cost more than it saves.
    let next = next.map(|at| at.max(now.plus(state.settings.scale_down_scan_ms.max(1))));
    (actions, next)
}

/// One pool.
struct Look<'a> {
    state: &'a State,
    cluster: &'a ClusterName,
    member: &'a Member,
    name: &'a PoolName,
    pool: &'a PoolState,
}

impl Look<'_> {
    /// Removes what may go, and says when more may.
    fn step(&self, here: Vec<&NodeObservation>, now: Millis, actions: &mut Vec<Action>) -> Option<Millis> {
        let rules = &self.pool.object.spec.scale_down;
        let gone = here.iter().filter(|node| self.leaves(node, now)).count();
        // One that was told to go and is still there is told again.
        let told =
            here.iter().filter(|node| self.leaves(node, now)).filter_map(|node| self.member.removing.get(&node.name));
        let again = told.min().map(|at| at.plus(self.state.settings.scale_down_scan_ms));
        let spare = here.len().saturating_sub(gone).saturating_sub(self.pool.object.spec.min as usize);
        if spare == 0 || self.in_use() {
            return again;
        }
        let cooled = self.pool.last_added.plus(rules.cool_down.millis());
        let mut waiting = Vec::new();
        for node in here {
            let Some(idle) = node.idle_since.filter(|_| self.may_go(node) && !self.leaves(node, now)) else { continue };
            let due = idle.plus(rules.unneeded.millis()).max(cooled);
            waiting.push((due, node));
        }
        waiting.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
        waiting.truncate(spare);
        let mut next = again;
        for (due, node) in waiting {
            if due > now {
                next = next.into_iter().chain([due]).min();
                continue;
            }
            let idle = node.idle_since.map_or(0, |since| now.since(since)) / 1000;
            actions.push(Action::RemoveNode {
                cluster: self.cluster.clone(),
                pool: self.name.clone(),
                node: node.name.clone(),
                why: format!("idle for {idle} s"),
            });
        }
        next
    }

    /// Whether it was told to go. One that is still there after a while is told again.
    fn leaves(&self, node: &NodeObservation, now: Millis) -> bool {
        let told = self.member.removing.get(&node.name);
        told.is_some_and(|at| now.since(*at) < self.state.settings.scale_down_scan_ms)
    }

    /// Whether nodes are on their way to the pool, or replicas wait for a place in it.
    fn in_use(&self) -> bool {
        let row = self.pool.row.and_then(|row| self.state.snapshot.pool_input(row));
        row.is_none_or(|input| input.unbound.iter().any(|(_, count)| *count > 0))
            || !self.state.in_flight(self.cluster, self.name).is_empty()
    }

    fn may_go(&self, node: &NodeObservation) -> bool {
        let ordered = node.order.as_ref().is_some_and(|order| self.state.orders.contains_key(order));
        let rules = &self.pool.object.spec.scale_down;
        let used = |name: &str| {
            let all = node.allocatable.get(name).copied().unwrap_or(0);
            let free = node.free.get(name).copied().unwrap_or(0);
            if all == 0 { 0.0 } else { all.saturating_sub(free) as f64 / all as f64 }
        };
        let low = |name: &str, threshold: f64| used(name) < threshold || used(name) == 0.0;
        !ordered
            && low(CPU, rules.utilization_threshold)
            && low(MEMORY, rules.utilization_threshold)
            && low(GPU, rules.gpu_utilization_threshold)
    }
}
