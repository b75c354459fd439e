//! How many replicas of a shape fit in a pool or a cluster: on the nodes there are, and on nodes that come or could come.
//!
//! Ready room is exact. Elastic room is what the ways of filling in [`Survey::fill`] really reach, within every pool's
//! maximum and every offering's stock, which pools share. So taking as many replicas as there is room always succeeds.

use crate::fleet::{Pool, Snapshot};
use crate::ids::{ClusterRow, PoolRow, ShapeRow};
use crate::reason::Code;

use super::survey::{Look, Survey};

/// Replicas that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// On the nodes there are.
    pub ready: u32,
    /// On nodes in flight and nodes that could be ordered.
    pub elastic: u32,
}

/// Room of one shape in one cluster, and what the next elastic replica means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusterRoom {
    pub ready: u32,
    pub elastic: u32,
    /// USD per hour for the next elastic replica; 0 where it needs no new node.
    pub price: f64,
    /// Seconds until the next elastic replica can run.
    pub lead_seconds: u32,
    /// Share of instances that are reclaimed in a month, for the next elastic replica.
    pub interruption: f64,
    /// What limits the room: `NoMatchingPool`, `PoolAtMaximum`, `NoStock`, or `NoRoom` where several limit it.
    pub limit: Code,
}

impl Default for ClusterRoom {
    fn default() -> Self {
        Self { ready: 0, elastic: 0, price: 0.0, lead_seconds: 0, interruption: 0.0, limit: Code::NoMatchingPool }
    }
}

impl ClusterRoom {
    pub fn room(&self) -> Room {
        Room { ready: self.ready, elastic: self.elastic }
    }
}

/// A step of elastic room at one price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    pub replicas: u32,
    /// USD per hour and replica.
    pub price: f64,
    pub lead_seconds: u32,
    /// Share of instances that are reclaimed in a month, 0 to 1.
    pub interruption: f64,
}

impl Snapshot {
    /// Room of a shape in a cluster. Pools that are slower than `max_lead_seconds` give no elastic room; 0 is no limit.
    pub fn room(&self, cluster: ClusterRow, shape: ShapeRow, max_lead_seconds: u32) -> ClusterRoom {
        let survey = self.survey(cluster, shape, max_lead_seconds, self.pools_of(cluster));
        survey.map_or_else(ClusterRoom::default, |mut survey| survey.cluster_room())
    }

    /// Room of a shape in one pool.
    pub fn pool_room(&self, pool: PoolRow, shape: ShapeRow, max_lead_seconds: u32) -> Room {
        let Some(found) = self.pool(pool) else { return Room::default() };
        let survey = self.survey(found.cluster, shape, max_lead_seconds, std::iter::once((pool, found)));
        survey.map_or_else(Room::default, |mut survey| survey.cluster_room().room())
    }

    /// The elastic room of a cluster in steps, in the order in which [`Snapshot::take`] fills them. Their sum is the
    /// elastic room. Nodes in flight come first and cost nothing more. Where cheap nodes would use up a pool's maximum
    /// before the room is reached, the last step is what denser nodes add, at what they add to the cost.
    pub fn offers(&self, cluster: ClusterRow, shape: ShapeRow, max_lead_seconds: u32) -> Vec<Offer> {
        let survey = self.survey(cluster, shape, max_lead_seconds, self.pools_of(cluster));
        survey.map_or_else(Vec::new, |mut survey| survey.offers())
    }

    fn survey<'a>(
        &self,
        cluster: ClusterRow,
        shape: ShapeRow,
        max_lead: u32,
        pools: impl Iterator<Item = (PoolRow, &'a Pool)> + Clone,
    ) -> Option<Survey> {
        let orderable = |offering| self.orderable(offering);
        let look = Look { snapshot: self, cluster, need: self.need(shape)?, max_lead, orderable: &orderable };
        let mut survey = Survey::default();
        survey.look(&look, pools);
        Some(survey)
    }
}

/// Nodes on which a shape fits, and how often it fits on each of them at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    pub(crate) count: u32,
    pub(crate) least: u32,
}

impl Nodes {
    pub(crate) fn add(&mut self, count: u32, per: u32) {
        if count > 0 && per > 0 {
            self.least = if self.count == 0 { per } else { self.least.min(per) };
            self.count = self.count.saturating_add(count);
        }
    }
}

/// Where room lies, as bits: shapes whose bits differ everywhere do not compete. Pools and offerings beyond the 64th share
/// bits, so that shapes may seem to compete that do not, and never the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Pools, by their place in the cluster.
    pub(crate) pools: u64,
    /// Offerings that new nodes would come from, by row.
    pub(crate) offerings: u64,
    /// Those there are.
    pub(crate) nodes: Nodes,
}

impl Reach {
    pub(crate) fn competes(self, other: Self) -> bool {
        self.pools & other.pools != 0 || self.offerings & other.offerings != 0
    }
}

pub(crate) fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

pub(crate) fn clamp(count: u64) -> u32 {
    count.min(u64::from(u32::MAX)) as u32
}
