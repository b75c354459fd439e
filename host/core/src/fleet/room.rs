//! How many replicas of a shape fit in a pool or a cluster: on the nodes there are, and on nodes that come or could come.
//!
//! Ready room is exact. Elastic room is what the ways of filling in [`Survey::fill`] really reach, within every pool's
//! maximum and every offering's stock, which pools share. So taking as many replicas as there is room always succeeds.

use std::cmp::{Ordering, Reverse};

use crate::fleet::{NodeState, Offering, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow, ShapeRow};
use crate::reason::Code;
use crate::resources::Amounts;

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

/// New nodes of one offering in one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Index in the order in which the pools were given.
    pub(crate) pool: usize,
    pub(crate) row: PoolRow,
    pub(crate) offering: OfferingRow,
    /// Index in [`Survey::stock`].
    pub(crate) stock: usize,
    /// Replicas on one node.
    pub(crate) per: u32,
    /// USD per hour and replica.
    pub(crate) price: f64,
    pub(crate) lead_seconds: u32,
    pub(crate) interruption: f64,
}

impl Step {
    pub(crate) fn new(
        (index, row, pool): (usize, PoolRow, &Pool),
        (offering_row, offering): (OfferingRow, &Offering),
        stock: usize,
        per: u32,
    ) -> Self {
        Self {
            pool: index,
            row,
            offering: offering_row,
            stock,
            per,
            price: offering.price / f64::from(per),
            lead_seconds: pool.spec.lead_seconds,
            interruption: offering.interruption,
        }
    }

    /// Cheapest per replica first; ties by lead time, interruption, pool and offering.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.price
            .total_cmp(&other.price)
            .then(self.lead_seconds.cmp(&other.lead_seconds))
            .then(self.interruption.total_cmp(&other.interruption))
            .then((self.pool, self.offering).cmp(&(other.pool, other.offering)))
    }
}

/// Nodes to order by one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    /// Index in [`Survey::steps`].
    pub(crate) step: usize,
    pub(crate) nodes: u32,
    pub(crate) replicas: u32,
}

/// What one looks for.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) cluster: ClusterRow,
    pub(crate) need: &'a Need,
    /// Seconds; 0 is no limit.
    pub(crate) max_lead: u32,
    /// Further nodes of an offering that may be ordered.
    pub(crate) orderable: &'a dyn Fn(OfferingRow) -> u32,
}

impl Look<'_> {
    pub(crate) fn quick(&self, pool: &Pool) -> bool {
        self.max_lead == 0 || pool.spec.lead_seconds <= self.max_lead
    }
}

/// What the nodes of a cluster offer to one shape, those in flight included: all that does not depend on stock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    ready: u64,
    in_flight: u64,
    /// The first nodes in flight on which it fits.
    flight: Option<Offer>,
    matched: bool,
    /// Where there is room on nodes; see [`Reach`].
    pools: u64,
    nodes: Nodes,
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

impl Base {
    /// Adds what the next pool of the cluster offers.
    pub(crate) fn join(&mut self, next: Self) {
        self.ready = self.ready.saturating_add(next.ready);
        self.in_flight = self.in_flight.saturating_add(next.in_flight);
        self.flight = self.flight.or(next.flight);
        self.matched |= next.matched;
        self.pools |= next.pools;
        self.nodes.add(next.nodes.count, next.nodes.least);
    }

    /// Whether there is room on nodes in flight.
    pub(crate) fn flies(&self) -> bool {
        self.flight.is_some()
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

fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

/// Room in a cluster if nothing ran there: every node fresh, every pool free to grow to its maximum whatever the stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EmptyRoom {
    pub(crate) ready: u64,
    pub(crate) elastic: u64,
    /// Pools, by their place in the cluster.
    pub(crate) pools: u64,
    /// Those there are.
    pub(crate) nodes: Nodes,
}

impl Snapshot {
    /// Room if nothing ran there, for one shape by itself. A slot counts with the node that holds the most.
    pub(crate) fn empty_room(&self, cluster: ClusterRow, need: &Need, max_lead: u32) -> EmptyRoom {
        let region = self.region(cluster);
        let mut room = EmptyRoom::default();
        for (index, (row, pool)) in self.pools_of(cluster).enumerate() {
            if !need.shape.tolerates(&pool.spec) {
                continue;
            }
            let quick = max_lead == 0 || pool.spec.lead_seconds <= max_lead;
            let before = (room.ready, room.elastic);
            for group in pool.groups.iter().filter(|group| group.part.is_none()) {
                let allocatable = self.allocatable(row, group);
                let per = allocatable.map_or(0, |amounts| need.fits_fresh(amounts));
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
            if before != (room.ready, room.elastic) {
                room.pools |= bit(index);
            }
        }
        room
    }
}

/// What the pools of a cluster offer to one shape. Kept between uses for its buffers.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) base: Base,
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
    pub(crate) fn look<'a>(&mut self, look: &Look<'_>, pools: impl Iterator<Item = (PoolRow, &'a Pool)> + Clone) {
        self.look_at_nodes(look, pools.clone());
        self.look_at_stock(look, pools, |_, allocatable| look.need.fits_fresh(allocatable));
    }

    /// Finds [`Survey::base`].
    pub(crate) fn look_at_nodes<'a>(&mut self, look: &Look<'_>, pools: impl Iterator<Item = (PoolRow, &'a Pool)>) {
        self.base = Base::default();
        self.flights.clear();
        let region = look.snapshot.region(look.cluster);
        for (index, (_, pool)) in pools.enumerate() {
            if look.need.shape.tolerates(&pool.spec) {
                self.look_at_groups(look, region, (index, pool));
            }
        }
        self.base.flight = self.flights.first().copied();
    }

    /// [`Survey::base`] of one pool by itself, whose taints are tolerated.
    pub(crate) fn look_at_pool(&mut self, look: &Look<'_>, pool: (usize, &Pool)) {
        self.base = Base::default();
        self.flights.clear();
        self.look_at_groups(look, look.snapshot.region(look.cluster), pool);
        self.base.flight = self.flights.first().copied();
    }

    /// Begins the steps anew, with what may be ordered of each offering. [`Survey::base`] is known.
    pub(crate) fn begin_steps(&mut self, stock: impl Iterator<Item = (OfferingRow, u32)>, pools: usize) {
        self.steps.clear();
        self.slots.clear();
        self.slots.resize(pools, 0);
        self.stock.clear();
        self.stock.extend(stock);
        (self.matched, self.full_pool, self.no_stock) = (self.base.matched, false, false);
    }

    /// A pool's slots, whether a fresh node of it would do, and whether it would come soon enough.
    pub(crate) fn slot(&mut self, pool: usize, slots: u32, matches: bool, quick: bool) {
        self.slots[pool] = slots;
        self.matched |= matches;
        self.full_pool |= matches && quick && slots == 0;
    }

    /// Whether nothing may be ordered of an offering that would do; notes it.
    pub(crate) fn none_left(&mut self, stock: usize) -> bool {
        let none = self.stock[stock].1 == 0;
        self.no_stock |= none;
        none
    }

    fn look_at_groups(&mut self, look: &Look<'_>, region: &str, (index, pool): (usize, &Pool)) {
        for group in &pool.groups {
            if !look.snapshot.accepts(&pool.spec, region, group, look.need) {
                continue;
            }
            self.base.matched |= group.part.is_none();
            let per = group.free.fits(look.need);
            let room = u64::from(per) * u64::from(group.count);
            match group.state {
                _ if room == 0 => {}
                NodeState::Ready => {
                    self.base.ready = self.base.ready.saturating_add(room);
                    self.base.nodes.add(group.count, per);
                    self.base.pools |= bit(index);
                }
                NodeState::InFlight if look.quick(pool) => {
                    self.base.pools |= bit(index);
                    self.base.in_flight = self.base.in_flight.saturating_add(room);
                    let offering = group.offering.and_then(|row| look.snapshot.offering(row));
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

    /// Finds the steps. [`Survey::base`] is known; `fits` says how many replicas a fresh node of an offering holds.
    pub(crate) fn look_at_stock<'a>(
        &mut self,
        look: &Look<'_>,
        pools: impl Iterator<Item = (PoolRow, &'a Pool)>,
        mut fits: impl FnMut(OfferingRow, &Amounts) -> u32,
    ) {
        self.steps.clear();
        self.slots.clear();
        self.stock.clear();
        (self.matched, self.full_pool, self.no_stock) = (self.base.matched, false, false);
        let region = look.snapshot.region(look.cluster);
        for (index, (row, pool)) in pools.enumerate() {
            self.slots.push(pool.slots());
            if look.need.shape.tolerates(&pool.spec) {
                self.look_at_offerings(look, region, (index, row, pool), &mut fits);
            }
        }
        self.steps.sort_unstable_by(Step::order);
    }

    fn look_at_offerings(
        &mut self,
        look: &Look<'_>,
        region: &str,
        (index, row, pool): (usize, PoolRow, &Pool),
        mut fits: impl FnMut(OfferingRow, &Amounts) -> u32,
    ) {
        let shape = &look.need.shape;
        for offering_row in &pool.spec.offerings {
            let Some(offering) = look.snapshot.offering(*offering_row) else { continue };
            let labels = || look.snapshot.offering_labels(&pool.spec, region, offering);
            if !shape.nodes.is_empty() && !shape.selects(&labels()) {
                continue;
            }
            let per = fits(*offering_row, &offering.allocatable);
            if per == 0 {
                continue;
            }
            self.matched = true;
            if !look.quick(pool) {
                continue;
            }
            if self.slots[index] == 0 {
                self.full_pool = true;
                break;
            }
            let stock = match self.stock.iter().position(|(row, _)| row == offering_row) {
                Some(place) => place,
                None => {
                    self.stock.push((*offering_row, (look.orderable)(*offering_row)));
                    self.stock.len() - 1
                }
            };
            if self.stock[stock].1 == 0 {
                self.no_stock = true;
                continue;
            }
            self.steps.push(Step::new((index, row, pool), (*offering_row, offering), stock, per));
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
        let next = self.base.flight.or_else(|| {
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
            ready: clamp(self.base.ready),
            elastic: clamp(self.base.in_flight.saturating_add(new)),
            price: next.map_or(0.0, |next| next.price),
            lead_seconds: next.map_or(0, |next| next.lead_seconds),
            interruption: next.map_or(0.0, |next| next.interruption),
            limit,
        }
    }

    pub(crate) fn reach(&self) -> Reach {
        let mut reach = Reach { pools: self.base.pools, offerings: 0, nodes: self.base.nodes };
        for step in &self.steps {
            reach.pools |= bit(step.pool);
            reach.offerings |= bit(step.offering.index());
        }
        reach
    }

    /// The flights of one more pool, whose taints are tolerated; [`Survey::base`] stays as it is.
    pub(crate) fn look_for_flights(&mut self, look: &Look<'_>, pool: (usize, &Pool)) {
        let base = self.base;
        self.look_at_groups(look, look.snapshot.region(look.cluster), pool);
        self.base = base;
    }

    pub(crate) fn forget_flights(&mut self) {
        self.flights.clear();
    }

    /// The first of [`Survey::offers`] that hold `enough` replicas, each whole. The last says whether there are no others.
    pub(crate) fn first_offers(&mut self, enough: u64) -> (Vec<Offer>, bool) {
        let mut offers = Vec::with_capacity(4);
        let mut sum = 0;
        for flight in &self.flights {
            if sum < enough {
                offers.push(*flight);
                sum += u64::from(flight.replicas);
            }
        }
        self.slots_left.clone_from(&self.slots);
        self.stock_left.clear();
        self.stock_left.extend(self.stock.iter().map(|(_, nodes)| *nodes));
        for step in &self.steps {
            if sum >= enough {
                return (offers, false);
            }
            let nodes = self.slots_left[step.pool].min(self.stock_left[step.stock]);
            if nodes > 0 {
                self.slots_left[step.pool] -= nodes;
                self.stock_left[step.stock] -= nodes;
                let replicas = clamp(u64::from(nodes) * u64::from(step.per));
                let Step { price, lead_seconds, interruption, .. } = *step;
                offers.push(Offer { replicas, price, lead_seconds, interruption });
                sum += u64::from(replicas);
            }
        }
        if sum < enough && self.uneven() {
            // Denser nodes may hold more than these.
            return (self.offers(), true);
        }
        (offers, false)
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
