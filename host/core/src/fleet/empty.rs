//! Room in a cluster if nothing ran there: every node fresh, every pool free to grow to its maximum whatever the stock.
//!
//! Holds: it changes only when nodes come or go or declarations change, never by what is placed, so it is kept by pool.

use crate::fleet::{NodeState, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow};
use crate::resources::Amounts;

use super::fit::Need;
use super::room::{Nodes, bit};
use super::room_row::Memo;

/// Room of one shape by itself. A slot counts with the node that holds the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EmptyRoom {
    pub(crate) ready: u64,
    pub(crate) elastic: u64,
    /// Pools, by their place in the cluster.
    pub(crate) pools: u64,
    /// Those there are.
    pub(crate) nodes: Nodes,
}

impl EmptyRoom {
    /// Adds what the next pool of the cluster offers, which stands at `index`.
    fn join(&mut self, index: usize, next: &Self) {
        self.ready = self.ready.saturating_add(next.ready);
        self.elastic = self.elastic.saturating_add(next.elastic);
        self.nodes.add(next.nodes.count, next.nodes.least);
        if next.ready > 0 || next.elastic > 0 {
            self.pools |= bit(index);
        }
    }
}

/// One cluster's room if nothing ran there, by pool, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct EmptyRow {
    /// Stamps of the cluster: of its nodes, and of what is declared.
    frames: u64,
    specs: u64,
    /// By place of the pool in the cluster, with the stamp of its nodes.
    pools: Box<[(u64, EmptyRoom)]>,
    room: EmptyRoom,
}

impl EmptyRow {
    /// Brings it up to date, looking only at pools whose nodes came or went.
    pub(crate) fn room(
        &mut self,
        snapshot: &Snapshot,
        cluster: ClusterRow,
        (need, max_lead): (&Need, u32),
        memo: &mut Memo,
    ) -> EmptyRoom {
        let Some(stamps) = snapshot.stamps().get(cluster.index()) else { return EmptyRoom::default() };
        if self.frames == stamps.frames {
            return self.room;
        }
        if self.specs != stamps.specs {
            self.pools = vec![(0, EmptyRoom::default()); snapshot.pools_of(cluster).count()].into();
        }
        let mut room = EmptyRoom::default();
        for ((index, (row, pool)), known) in snapshot.pools_of(cluster).enumerate().zip(&mut self.pools) {
            let frame = snapshot.pool_stamps(row).frame;
            if known.0 != frame {
                *known = (frame, snapshot.empty_pool((row, pool), (need, max_lead), memo));
            }
            room.join(index, &known.1);
        }
        (self.frames, self.specs, self.room) = (stamps.frames, stamps.specs, room);
        room
    }
}

impl Snapshot {
    /// Room of a cluster if nothing ran there.
    #[cfg(test)]
    pub(crate) fn empty_room(&self, cluster: ClusterRow, need: &Need, max_lead: u32) -> EmptyRoom {
        let (mut room, mut memo) = (EmptyRoom::default(), Memo::default());
        memo.bring_up_to(self);
        for (index, pool) in self.pools_of(cluster).enumerate() {
            room.join(index, &self.empty_pool(pool, (need, max_lead), &mut memo));
        }
        room
    }

    /// Room of one pool if nothing ran there. Its place in the cluster is added by who joins it.
    fn empty_pool(&self, (row, pool): (PoolRow, &Pool), (need, max_lead): (&Need, u32), memo: &mut Memo) -> EmptyRoom {
        let mut room = EmptyRoom::default();
        if !memo.tolerates(self.taint_class(row), || need.shape.tolerates(&pool.spec)) {
            return room;
        }
        let region = self.region(pool.cluster);
        let quick = max_lead == 0 || pool.spec.lead_seconds <= max_lead;
        // Most nodes of a pool are of one type: what fits on the last one is known.
        let mut last: Option<(&Amounts, u32)> = None;
        for group in pool.groups.iter().filter(|group| group.part.is_none()) {
            let Some(amounts) = self.allocatable(row, group) else { continue };
            let per = match last {
                Some((known, per)) if std::ptr::eq(known, amounts) => per,
                _ => need.fits_fresh(amounts),
            };
            last = Some((amounts, per));
            if per == 0 || !self.accepts(&pool.spec, region, group, need) {
                continue;
            }
            let here = u64::from(per) * u64::from(group.count);
            match group.state {
                NodeState::Ready => {
                    room.ready += here;
                    room.nodes.add(group.count, per);
                }
                NodeState::InFlight if quick => room.elastic += here,
                NodeState::InFlight => {}
            }
        }
        let mut fits = |offering_row: &OfferingRow| {
            let offering = self.offering(*offering_row)?;
            let per = memo.fits(*offering_row, || need.fits_fresh(&offering.allocatable));
            let selects = per > 0 && need.shape.selects(&self.offering_labels(&pool.spec, region, offering));
            Some(if selects { per } else { 0 })
        };
        if quick && pool.slots() > 0 {
            let most = pool.spec.offerings.iter().filter_map(&mut fits).max().unwrap_or(0);
            room.elastic += u64::from(most) * u64::from(pool.slots());
        }
        room
    }
}
