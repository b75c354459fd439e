//! How many replicas of a shape fit in a pool or a cluster: on the nodes there are, and on nodes that come or could come.
//!
//! Ready room is exact. Elastic room is what the ways of filling in [`Survey::fill`] really reach, within every pool's
//! maximum and every offering's stock, which pools share. So taking as many replicas as there is room always succeeds.

use std::cmp::Reverse;

use crate::fleet::{NodeState, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow, ShapeRow};
use crate::reason::Code;

use super::fit::Need;
use super::pool::Spot;

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
        self.room_with(cluster, shape, max_lead_seconds, &mut Survey::default())
    }

    pub(crate) fn room_with(
        &self,
        cluster: ClusterRow,
        shape: ShapeRow,
        max_lead: u32,
        survey: &mut Survey,
    ) -> ClusterRoom {
        let Some(need) = self.need(shape) else { return ClusterRoom::default() };
        survey.look(self, cluster, self.pools_of(cluster), need, max_lead, |offering| self.orderable(offering));
        survey.cluster_room()
    }

    /// Room of a shape in one pool.
    pub fn pool_room(&self, pool: PoolRow, shape: ShapeRow, max_lead_seconds: u32) -> Room {
        let (Some(need), Some(found)) = (self.need(shape), self.pool(pool)) else { return Room::default() };
        let mut survey = Survey::default();
        let pools = std::iter::once((pool, found));
        survey.look(self, found.cluster, pools, need, max_lead_seconds, |offering| self.orderable(offering));
        survey.cluster_room().room()
    }

    /// The elastic room of a cluster in steps, in the order in which [`Snapshot::take`] fills them. Their sum is the
    /// elastic room. Nodes in flight come first and cost nothing more. Where cheap nodes would use up a pool's maximum
    /// before the room is reached, the last step is what denser nodes add, at what they add to the cost.
    pub fn offers(&self, cluster: ClusterRow, shape: ShapeRow, max_lead_seconds: u32) -> Vec<Offer> {
        let Some(need) = self.need(shape) else { return Vec::new() };
        let mut survey = Survey::default();
        survey.look(self, cluster, self.pools_of(cluster), need, max_lead_seconds, |offering| self.orderable(offering));
        survey.offers()
    }
}

/// New nodes of one offering in one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Index in the order in which the pools were given.
    pub(crate) pool: usize,
    pub(crate) row: PoolRow,
    pub(crate) offering: OfferingRow,
    stock: usize,
    /// Replicas on one node.
    pub(crate) per: u32,
    /// USD per hour and replica.
    price: f64,
    lead_seconds: u32,
    interruption: f64,
}

/// Nodes to order by one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    /// Index in [`Survey::steps`].
    pub(crate) step: usize,
    pub(crate) nodes: u32,
    pub(crate) replicas: u32,
}

/// What the pools of a cluster offer to one shape. Kept between uses for its buffers.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
    flights: Vec<Offer>,
    /// Cheapest per replica first; ties by lead time, interruption, pool and offering.
    pub(crate) steps: Vec<Step>,
    /// Nodes that may be added, by pool.
    slots: Vec<u32>,
    /// Nodes that may be ordered, by offering.
    stock: Vec<(OfferingRow, u32)>,
    matched: bool,
    full_pool: bool,
    no_stock: bool,
    slots_left: Vec<u32>,
    stock_left: Vec<u32>,
}

impl Survey {
    fn clear(&mut self) {
        (self.ready, self.in_flight) = (0, 0);
        self.flights.clear();
        self.steps.clear();
        self.slots.clear();
        self.stock.clear();
        (self.matched, self.full_pool, self.no_stock) = (false, false, false);
    }

    pub(crate) fn look<'a>(
        &mut self,
        snapshot: &Snapshot,
        cluster: ClusterRow,
        pools: impl Iterator<Item = (PoolRow, &'a Pool)>,
        need: &Need,
        max_lead: u32,
        orderable: impl Fn(OfferingRow) -> u32,
    ) {
        self.clear();
        let region = snapshot.region(cluster);
        for (index, (row, pool)) in pools.enumerate() {
            self.slots.push(0);
            if !need.shape.tolerates(&pool.spec) {
                continue;
            }
            let quick = max_lead == 0 || pool.spec.lead_seconds <= max_lead;
            self.look_at_groups(snapshot, region, pool, need, quick);
            self.look_at_offerings(snapshot, region, (index, row, pool), need, quick, &orderable);
        }
        self.steps.sort_unstable_by(|one, other| {
            one.price
                .total_cmp(&other.price)
                .then(one.lead_seconds.cmp(&other.lead_seconds))
                .then(one.interruption.total_cmp(&other.interruption))
                .then((one.pool, one.offering).cmp(&(other.pool, other.offering)))
        });
    }

    fn look_at_groups(&mut self, snapshot: &Snapshot, region: &str, pool: &Pool, need: &Need, quick: bool) {
        for group in &pool.groups {
            if !snapshot.accepts(&pool.spec, region, group, need) {
                continue;
            }
            self.matched |= group.part.is_none();
            let room = u64::from(group.free.fits(need)) * u64::from(group.count);
            if room == 0 {
                continue;
            }
            match group.state {
                NodeState::Ready => self.ready = self.ready.saturating_add(room),
                NodeState::InFlight if quick => {
                    self.in_flight = self.in_flight.saturating_add(room);
                    let offering = group.offering.and_then(|row| snapshot.offering(row));
                    self.flights.push(Offer {
                        replicas: clamp(room),
                        price: 0.0,
                        lead_seconds: pool.spec.lead_seconds,
                        interruption: offering.map_or(0.0, |offering| offering.interruption),
                    });
                }
                NodeState::InFlight => {}
            }
        }
    }

    fn look_at_offerings(
        &mut self,
        snapshot: &Snapshot,
        region: &str,
        (index, row, pool): (usize, PoolRow, &Pool),
        need: &Need,
        quick: bool,
        orderable: impl Fn(OfferingRow) -> u32,
    ) {
        let mut slots = None;
        for offering_row in &pool.spec.offerings {
            let Some(offering) = snapshot.offering(*offering_row) else { continue };
            if !need.shape.nodes.is_empty()
                && !need.shape.selects(&snapshot.offering_labels(&pool.spec, region, offering))
            {
                continue;
            }
            let per = need.fits_fresh(&offering.allocatable);
            if per == 0 {
                continue;
            }
            self.matched = true;
            if !quick {
                continue;
            }
            let slots = *slots.get_or_insert_with(|| pool.slots());
            if slots == 0 {
                self.full_pool = true;
                break;
            }
            let place = match self.stock.iter().position(|(row, _)| row == offering_row) {
                Some(place) => place,
                None => {
                    self.stock.push((*offering_row, orderable(*offering_row)));
                    self.stock.len() - 1
                }
            };
            if self.stock[place].1 == 0 {
                self.no_stock = true;
                continue;
            }
            self.slots[index] = slots;
            self.steps.push(Step {
                pool: index,
                row,
                offering: *offering_row,
                stock: place,
                per,
                price: offering.price / f64::from(per),
                lead_seconds: pool.spec.lead_seconds,
                interruption: offering.interruption,
            });
        }
    }

    /// Fills new nodes with up to `want` replicas, step after step in the order of `order`. Returns what was reached.
    fn fill_in(&mut self, order: impl Iterator<Item = usize>, want: u64, mut each: impl FnMut(Fill)) -> u64 {
        self.slots_left.clone_from(&self.slots);
        self.stock_left.clear();
        self.stock_left.extend(self.stock.iter().map(|(_, nodes)| *nodes));
        let mut left = want;
        for step in order {
            if left == 0 {
                break;
            }
            let found = &self.steps[step];
            let per = u64::from(found.per);
            let nodes = self.slots_left[found.pool].min(self.stock_left[found.stock]);
            let nodes = u64::from(nodes).min(left.div_ceil(per)) as u32;
            if nodes == 0 {
                continue;
            }
            self.slots_left[found.pool] -= nodes;
            self.stock_left[found.stock] -= nodes;
            let replicas = (u64::from(nodes) * per).min(left);
            left -= replicas;
            each(Fill { step, nodes, replicas: clamp(replicas) });
        }
        want - left
    }

    /// Whether the order of filling can decide how much fits: only if steps differ in replicas a node.
    fn uneven(&self) -> bool {
        self.steps.windows(2).any(|pair| pair[0].per != pair[1].per)
    }

    fn by_density(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|step| Reverse(self.steps[*step].per));
        order
    }

    /// Fills new nodes with `want` replicas: cheapest first, or densest first where only that reaches the number.
    /// Returns what was reached by the way that reached more, and the nodes.
    pub(crate) fn fill(&mut self, want: u64) -> (u64, Vec<Fill>) {
        let mut fills = Vec::new();
        let cheapest = self.fill_in(0..self.steps.len(), want, |fill| fills.push(fill));
        if cheapest == want || !self.uneven() {
            return (cheapest, fills);
        }
        let mut dense = Vec::new();
        let densest = self.fill_in(self.by_density().into_iter(), want, |fill| dense.push(fill));
        if densest > cheapest { (densest, dense) } else { (cheapest, fills) }
    }

    /// Replicas on new nodes.
    fn new_nodes(&mut self) -> u64 {
        const ALL: u64 = u64::MAX;
        let cheapest = self.fill_in(0..self.steps.len(), ALL, |_| {});
        if !self.uneven() {
            return cheapest;
        }
        cheapest.max(self.fill_in(self.by_density().into_iter(), ALL, |_| {}))
    }

    pub(crate) fn cluster_room(&mut self) -> ClusterRoom {
        let new = self.new_nodes();
        let next = self.flights.first().copied().or_else(|| {
            let step = self.steps.first()?;
            let Step { price, lead_seconds, interruption, .. } = *step;
            Some(Offer { replicas: 0, price, lead_seconds, interruption })
        });
        let limit = match (self.matched, self.full_pool, self.no_stock) {
            (false, ..) => Code::NoMatchingPool,
            (true, true, false) => Code::PoolAtMaximum,
            (true, false, true) => Code::NoStock,
            _ => Code::NoRoom,
        };
        ClusterRoom {
            ready: clamp(self.ready),
            elastic: clamp(self.in_flight.saturating_add(new)),
            price: next.map_or(0.0, |next| next.price),
            lead_seconds: next.map_or(0, |next| next.lead_seconds),
            interruption: next.map_or(0.0, |next| next.interruption),
            limit,
        }
    }

    fn offers(&mut self) -> Vec<Offer> {
        let mut offers = std::mem::take(&mut self.flights);
        let mut fills = Vec::new();
        let cheapest = self.fill_in(0..self.steps.len(), u64::MAX, |fill| fills.push(fill));
        let mut cost = 0.0;
        for fill in &fills {
            let Step { price, lead_seconds, interruption, .. } = self.steps[fill.step];
            offers.push(Offer { replicas: fill.replicas, price, lead_seconds, interruption });
            cost += price * f64::from(fill.replicas);
        }
        let (most, dense) = if self.uneven() { self.fill(u64::MAX) } else { (cheapest, Vec::new()) };
        if most > cheapest {
            let mut last = Offer { replicas: clamp(most - cheapest), price: 0.0, lead_seconds: 0, interruption: 0.0 };
            let mut dense_cost = 0.0;
            for fill in &dense {
                let step = &self.steps[fill.step];
                dense_cost += step.price * f64::from(fill.replicas);
                last.lead_seconds = last.lead_seconds.max(step.lead_seconds);
                last.interruption = last.interruption.max(step.interruption);
            }
            last.price = ((dense_cost - cost) / f64::from(last.replicas)).max(0.0);
            offers.push(last);
        }
        offers
    }
}

pub(crate) fn clamp(count: u64) -> u32 {
    count.min(u64::from(u32::MAX)) as u32
}

/// Adds the spots of one pool whose groups are in `state`.
pub(crate) fn spots(
    snapshot: &Snapshot,
    (index, pool): (usize, &Pool),
    need: &Need,
    state: NodeState,
    out: &mut Vec<Spot>,
) {
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
