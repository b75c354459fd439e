//! Taking room and giving it back.
//!
//! A [`Draft`] holds the pools of one cluster as they would be: several takes on it succeed together or leave the snapshot
//! as it was. Nothing here takes more than is free on a node, more nodes than a pool's maximum, or more than an
//! offering's stock.

use std::sync::Arc;

use thiserror::Error;

use crate::fleet::{Free, NodeGroup, NodeState, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow, ShapeRow};

use super::fit::Need;
use super::pool::{Spot, book, count};
use super::room::clamp;
use super::survey::{Look, Survey};

/// What a take may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeOptions {
    /// Whether room on nodes that do not exist yet may be used.
    pub elastic: bool,
    /// Pools that are slower give no elastic room; 0 is no limit.
    pub max_lead_seconds: u32,
}

impl TakeOptions {
    pub const READY: Self = Self { elastic: false, max_lead_seconds: 0 };
    pub const ELASTIC: Self = Self { elastic: true, max_lead_seconds: 0 };
}

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Replicas by pool, ascending.
    pub shares: Vec<(PoolRow, u32)>,
    /// Nodes to order, ascending by pool and offering.
    pub orders: Vec<(PoolRow, OfferingRow, u32)>,
    /// How many of the replicas run on the nodes there are.
    pub ready: u32,
}

/// Fewer replicas fit than were to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("room for {have} replicas, {need} needed")]
pub struct NoFit {
    pub have: u32,
    pub need: u32,
}

/// The pools of one cluster as they would be.
#[derive(Clone, Debug)]
pub struct Draft {
    cluster: ClusterRow,
    pools: Vec<(PoolRow, Arc<Pool>)>,
    /// Nodes ordered in this draft by offering, ascending.
    ordered: Vec<(OfferingRow, u32)>,
    ignore_stock: bool,
}

impl Snapshot {
    pub fn draft(&self, cluster: ClusterRow) -> Draft {
        Draft { cluster, pools: self.shared_pools(cluster).collect(), ordered: Vec::new(), ignore_stock: false }
    }

    /// The cluster if nothing ran there: every node fresh, every pool free to grow to its maximum whatever the stock.
    pub fn draft_if_empty(&self, cluster: ClusterRow) -> Draft {
        let empty = |(row, pool): (PoolRow, Arc<Pool>)| (row, Arc::new(self.emptied(row, &pool)));
        let pools = self.shared_pools(cluster).map(empty).collect();
        Draft { cluster, pools, ordered: Vec::new(), ignore_stock: true }
    }

    /// Makes a draft the truth. It must have been made from this snapshot as it is.
    pub fn apply(&mut self, draft: Draft) {
        debug_assert!(!draft.ignore_stock, "a draft of an empty cluster is only to look at");
        for (row, pool) in draft.pools {
            let same_nodes = self.pool(row).is_some_and(|old| old.nodes() == pool.nodes());
            self.replace_pool(row, pool, same_nodes);
        }
        for (offering, nodes) in draft.ordered {
            self.order(offering, nodes);
        }
    }

    /// Books replicas into a cluster: ready room first, then nodes in flight, then new nodes, cheapest per replica first;
    /// densest first where only that reaches the number. On an error nothing changed.
    pub fn take(
        &mut self,
        cluster: ClusterRow,
        shape: ShapeRow,
        replicas: u32,
        options: TakeOptions,
    ) -> Result<Taken, NoFit> {
        let mut draft = self.draft(cluster);
        let taken = draft.take(self, shape, replicas, options)?;
        self.apply(draft);
        Ok(taken)
    }

    /// Books several shapes into one cluster, all or nothing, in the order in which [`Snapshot::sets`] tries them. The
    /// answers stand in the order of `set`.
    pub fn take_all(
        &mut self,
        cluster: ClusterRow,
        set: &[(ShapeRow, u32)],
        options: TakeOptions,
    ) -> Result<Vec<Taken>, NoFit> {
        let mut draft = self.draft(cluster);
        let taken = draft.take_all(self, set, options)?;
        self.apply(draft);
        Ok(taken)
    }

    /// Gives back the room of replicas that leave a pool. On which nodes they ran is not known, so each leaves a part of
    /// its own size that is joined with nothing: room that surely exists. Those on nodes in flight go first, since pods
    /// without a node are the first that Kubernetes deletes; their room stays in flight.
    pub fn give_back(&mut self, pool: PoolRow, shape: ShapeRow, replicas: u32) {
        let (Some(need), Some(found)) = (self.need(shape).cloned(), self.pool(pool)) else { return };
        let mut next = found.clone();
        let mut waiting = 0;
        if let Some((_, count)) = next.waiting.iter_mut().find(|(row, _)| *row == shape) {
            waiting = replicas.min(*count);
            *count -= waiting;
        }
        for (state, count) in [(NodeState::InFlight, waiting), (NodeState::Ready, replicas - waiting)] {
            next.groups.push(NodeGroup {
                instance_type: "".into(),
                zone: "".into(),
                offering: None,
                state,
                free: Free::left_by(&need),
                count,
                part: Some(shape),
            });
        }
        next.tidy();
        next.booked = true;
        self.replace_pool(pool, Arc::new(next), true);
    }

    /// Whole sets of these components that fit into a cluster now, up to `limit`, by trial.
    pub fn sets(&self, cluster: ClusterRow, set: &[(ShapeRow, u32)], options: TakeOptions, limit: u32) -> u32 {
        self.draft(cluster).sets(self, set, options, limit)
    }

    /// Whole sets that would fit if nothing else ran there, up to `limit`.
    pub fn sets_if_empty(&self, cluster: ClusterRow, set: &[(ShapeRow, u32)], options: TakeOptions, limit: u32) -> u32 {
        self.draft_if_empty(cluster).sets(self, set, options, limit)
    }
}

impl Draft {
    pub fn cluster(&self) -> ClusterRow {
        self.cluster
    }

    /// Like [`Snapshot::take`], on the draft. `snapshot` is the one that the draft was made from.
    pub fn take(
        &mut self,
        snapshot: &Snapshot,
        shape: ShapeRow,
        replicas: u32,
        options: TakeOptions,
    ) -> Result<Taken, NoFit> {
        let Some(need) = snapshot.need(shape) else { return Err(NoFit { have: 0, need: replicas }) };

        // Phase 1: choose, changing nothing.
        let (ready_spots, ready) = self.choose(snapshot, need, NodeState::Ready, options, u64::from(replicas));
        let mut left = u64::from(replicas) - ready;
        let (flying_spots, flying) = match options.elastic {
            true => self.choose(snapshot, need, NodeState::InFlight, options, left),
            false => (Vec::new(), 0),
        };
        left -= flying;
        let mut survey = Survey::default();
        let mut fills = Vec::new();
        if left > 0 && options.elastic {
            let pools = self.pools.iter().map(|(row, pool)| (*row, &**pool));
            let orderable = |offering| self.orderable(snapshot, offering);
            let max_lead = options.max_lead_seconds;
            survey.look(&Look { snapshot, cluster: self.cluster, need, max_lead, orderable: &orderable }, pools);
            let reached;
            (reached, fills) = survey.fill(left);
            left -= reached;
        }
        if left > 0 {
            return Err(NoFit { have: clamp(u64::from(replicas) - left), need: replicas });
        }
        // Post-condition of phase 1: the spots and fills hold `replicas` in all.

        // Phase 2: book what was chosen.
        let mut shares: Vec<(PoolRow, u32)> = Vec::new();
        for (spot, replicas) in ready_spots.into_iter().chain(flying_spots) {
            let (row, pool) = &mut self.pools[spot.pool];
            let pool = Arc::make_mut(pool);
            if pool.groups[spot.group].state == NodeState::InFlight {
                count(&mut pool.waiting, shape, replicas);
            }
            book(&mut pool.groups, spot, need, replicas);
            count(&mut shares, *row, replicas);
        }
        let mut orders = Vec::new();
        for fill in fills {
            let step = survey.steps[fill.step];
            self.book_new(snapshot, (step.pool, step.offering, step.per), need, (fill.nodes, fill.replicas));
            count(&mut Arc::make_mut(&mut self.pools[step.pool].1).waiting, shape, fill.replicas);
            count(&mut shares, step.row, fill.replicas);
            orders.push((step.row, step.offering, fill.nodes));
        }
        for (row, pool) in &mut self.pools {
            if shares.binary_search_by_key(row, |(pool, _)| *pool).is_ok() {
                let pool = Arc::make_mut(pool);
                pool.tidy();
                pool.booked = true;
            }
        }
        orders.sort_unstable();
        Ok(Taken { shares, orders, ready: clamp(ready) })
    }

    fn orderable(&self, snapshot: &Snapshot, offering: OfferingRow) -> u32 {
        if self.ignore_stock {
            return u32::MAX;
        }
        let ordered = self.ordered.iter().find(|(row, _)| *row == offering).map_or(0, |(_, nodes)| *nodes);
        snapshot.orderable(offering).saturating_sub(ordered)
    }

    /// The best spots for up to `want` replicas on groups in `state`, with how many each takes.
    fn choose(
        &self,
        snapshot: &Snapshot,
        need: &Need,
        state: NodeState,
        options: TakeOptions,
        want: u64,
    ) -> (Vec<(Spot, u32)>, u64) {
        let mut found = Vec::new();
        let slow = |pool: &Pool| options.max_lead_seconds > 0 && pool.spec.lead_seconds > options.max_lead_seconds;
        for (index, (_, pool)) in self.pools.iter().enumerate() {
            if state == NodeState::Ready || !slow(pool) {
                spots(snapshot, (index, pool), need, state, &mut found);
            }
        }
        found.sort_unstable_by_key(Spot::order);
        let mut left = want;
        let mut chosen = Vec::new();
        for spot in found {
            let here = spot.room().min(left);
            if here == 0 {
                break;
            }
            chosen.push((spot, clamp(here)));
            left -= here;
        }
        (chosen, want - left)
    }

    fn book_new(
        &mut self,
        snapshot: &Snapshot,
        (index, offering, per): (usize, OfferingRow, u32),
        need: &Need,
        (nodes, replicas): (u32, u32),
    ) {
        let Some(fresh) = snapshot.fresh(offering) else { return };
        let pool = Arc::make_mut(&mut self.pools[index].1);
        let fresh = NodeGroup { count: nodes, ..fresh };
        let spot = Spot::new(index, pool.groups.len(), &fresh, per, need);
        pool.groups.push(fresh);
        book(&mut pool.groups, spot, need, replicas);
        count(&mut pool.in_flight, offering, nodes);
        count(&mut self.ordered, offering, nodes);
    }

    /// Takes each shape of a set, those with the most replicas first. On an error the draft holds part of the set.
    pub fn take_all(
        &mut self,
        snapshot: &Snapshot,
        set: &[(ShapeRow, u32)],
        options: TakeOptions,
    ) -> Result<Vec<Taken>, NoFit> {
        let mut order: Vec<usize> = (0..set.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(set[*at].1));
        let mut taken = vec![Taken::default(); set.len()];
        for at in order {
            let (shape, replicas) = set[at];
            taken[at] = self.take(snapshot, shape, replicas, options)?;
        }
        Ok(taken)
    }

    /// Takes whole sets until one does not fit. The draft is used up.
    fn sets(mut self, snapshot: &Snapshot, set: &[(ShapeRow, u32)], options: TakeOptions, limit: u32) -> u32 {
        if set.iter().all(|(_, count)| *count == 0) {
            return limit;
        }
        (0..limit).find(|_| self.take_all(snapshot, set, options).is_err()).unwrap_or(limit)
    }
}

/// Adds the spots of one pool whose groups are in `state`.
fn spots(snapshot: &Snapshot, (index, pool): (usize, &Pool), need: &Need, state: NodeState, out: &mut Vec<Spot>) {
    if !need.shape.tolerates(&pool.spec) {
        return;
    }
    let region = snapshot.region(pool.cluster);
    for (row, group) in pool.groups.iter().enumerate() {
        if group.state == state && group.count > 0 && snapshot.accepts(&pool.spec, region, group, need) {
            let per = group.free.fits(need);
            if per > 0 {
                out.push(Spot::new(index, row, group, per, need));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
