//! Room in a cluster if nothing ran there: every node fresh, every pool free to grow to its maximum whatever the stock.
//!
//! Holds: it changes only when nodes come or go or declarations change, never by what is placed, so it is kept by pool.

use crate::fleet::{NodeState, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow};

use super::fit::Need;
use super::room::{Nodes, bit};

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
    pub(crate) fn room(&mut self, snapshot: &Snapshot, cluster: ClusterRow, need: &Need, max_lead: u32) -> EmptyRoom {
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
                *known = (frame, snapshot.empty_pool((row, pool), need, max_lead));
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
        let mut room = EmptyRoom::default();
        for (index, pool) in self.pools_of(cluster).enumerate() {
            room.join(index, &self.empty_pool(pool, need, max_lead));
        }
        room
    }

    /// Room of one pool if nothing ran there. Which pool it is says who joins it.
    fn empty_pool(&self, (row, pool): (PoolRow, &Pool), need: &Need, max_lead: u32) -> EmptyRoom {
        let mut room = EmptyRoom::default();
        if !need.shape.tolerates(&pool.spec) {
            return room;
        }
        let region = self.region(pool.cluster);
        let quick = max_lead == 0 || pool.spec.lead_seconds <= max_lead;
        for group in pool.groups.iter().filter(|group| group.part.is_none()) {
            let per = self.allocatable(row, group).map_or(0, |amounts| need.fits_fresh(amounts));
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
        let fits = |offering: &OfferingRow| {
            let offering = self.offering(*offering)?;
            let per = need.fits_fresh(&offering.allocatable);
            let selects = per > 0 && need.shape.selects(&self.offering_labels(&pool.spec, region, offering));
            Some(if selects { per } else { 0 })
        };
        if quick && pool.slots() > 0 {
            let most = pool.spec.offerings.iter().filter_map(fits).max().unwrap_or(0);
            room.elastic += u64::from(most) * u64::from(pool.slots());
        }
        room
    }
}
