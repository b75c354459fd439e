//! One look at what the pools of a cluster offer to a shape: room on nodes, and new nodes step after step.

use std::cmp::{Ordering, Reverse};

use crate::fleet::{ClusterRoom, NodeState, Offer, Offering, Pool, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, PoolRow};
use crate::reason::Code;

use super::fit::Need;
use super::room::{Nodes, Reach, bit, clamp};

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

    /// What the nodes of one pool offer, whose taints are tolerated. Calls `flight` with each place on nodes in flight.
    pub(crate) fn on_nodes(&self, pool: &Pool, mut flight: impl FnMut(Offer)) -> OnNodes {
        let (region, quick) = (self.snapshot.region(self.cluster), self.quick(pool));
        let mut found = OnNodes::default();
        for group in &pool.groups {
            if !self.snapshot.accepts(&pool.spec, region, group, self.need) {
                continue;
            }
            found.matched |= group.part.is_none();
            let per = group.free.fits(self.need);
            let room = u64::from(per) * u64::from(group.count);
            match group.state {
                _ if room == 0 => {}
                NodeState::Ready => {
                    found.ready = found.ready.saturating_add(room);
                    found.nodes.add(group.count, per);
                }
                NodeState::InFlight if quick => {
                    let offering = group.offering.and_then(|row| self.snapshot.offering(row));
                    let interruption = offering.map_or(0.0, |offering| offering.interruption);
                    if found.in_flight == 0 {
                        found.interruption = interruption;
                    }
                    found.in_flight = found.in_flight.saturating_add(room);
                    let lead_seconds = pool.spec.lead_seconds;
                    flight(Offer { replicas: clamp(room), price: 0.0, lead_seconds, interruption });
                }
                NodeState::InFlight => {}
            }
        }
        found
    }
}

/// What the nodes of one pool offer to one shape, those in flight included: all that does not depend on stock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct OnNodes {
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
    /// Of the first nodes in flight on which it fits.
    interruption: f64,
    matched: bool,
    nodes: Nodes,
}

/// The next elastic replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) price: f64,
    pub(crate) lead_seconds: u32,
    pub(crate) interruption: f64,
}

/// What the nodes of a cluster offer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    ready: u64,
    in_flight: u64,
    /// The first nodes in flight on which it fits.
    flight: Option<Next>,
    matched: bool,
    /// Where there is room on nodes; see [`Reach`].
    pools: u64,
    nodes: Nodes,
}

/// What keeps new nodes away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Some node or offering would do.
    pub(crate) matched: bool,
    pub(crate) full_pool: bool,
    pub(crate) no_stock: bool,
}

impl Base {
    /// Adds what the next pool of the cluster offers, which stands at `index`.
    pub(crate) fn join(&mut self, index: usize, lead_seconds: u32, next: &OnNodes) {
        self.ready = self.ready.saturating_add(next.ready);
        if next.ready > 0 || next.in_flight > 0 {
            self.pools |= bit(index);
        }
        if next.in_flight > 0 {
            let interruption = next.interruption;
            self.flight = self.flight.or(Some(Next { price: 0.0, lead_seconds, interruption }));
            self.in_flight = self.in_flight.saturating_add(next.in_flight);
        }
        self.matched |= next.matched;
        self.nodes.add(next.nodes.count, next.nodes.least);
    }

    /// With `new` replicas on new nodes, of which `step` is the first.
    pub(crate) fn room(&self, new: u64, step: impl FnOnce() -> Option<Next>, limits: Limits) -> ClusterRoom {
        let next = self.flight.or_else(step);
        let limit = match (self.matched || limits.matched, limits.full_pool, limits.no_stock) {
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

    pub(crate) fn reach(&self) -> Reach {
        Reach { pools: self.pools, offerings: 0, nodes: self.nodes }
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
    limits: Limits,
    pub(crate) slots_left: Vec<u32>,
    pub(crate) stock_left: Vec<u32>,
}

impl Survey {
    pub(crate) fn look<'a>(&mut self, look: &Look<'_>, pools: impl Iterator<Item = (PoolRow, &'a Pool)> + Clone) {
        self.look_at_nodes(look, pools.clone());
        self.look_at_stock(look, pools);
    }

    /// Finds [`Survey::base`] and the flights.
    fn look_at_nodes<'a>(&mut self, look: &Look<'_>, pools: impl Iterator<Item = (PoolRow, &'a Pool)>) {
        self.base = Base::default();
        self.flights.clear();
        for (index, (_, pool)) in pools.enumerate() {
            if look.need.shape.tolerates(&pool.spec) {
                let found = look.on_nodes(pool, |flight| self.flights.push(flight));
                self.base.join(index, pool.spec.lead_seconds, &found);
            }
        }
    }

    /// Begins the steps anew, with what may be ordered of each offering. [`Survey::base`] is known.
    pub(crate) fn begin_steps(&mut self, stock: impl Iterator<Item = (OfferingRow, u32)>, pools: usize) {
        self.steps.clear();
        self.slots.clear();
        self.slots.resize(pools, 0);
        self.stock.clear();
        self.stock.extend(stock);
        self.limits = Limits::default();
    }

    /// A pool's slots, whether a fresh node of it would do, and whether it would come soon enough.
    pub(crate) fn slot(&mut self, pool: usize, slots: u32, matches: bool, quick: bool) {
        self.slots[pool] = slots;
        self.limits.matched |= matches;
        self.limits.full_pool |= matches && quick && slots == 0;
    }

    /// Whether nothing may be ordered of an offering that would do; notes it.
    pub(crate) fn none_left(&mut self, stock: usize) -> bool {
        let none = self.stock[stock].1 == 0;
        self.limits.no_stock |= none;
        none
    }

    /// Finds the steps.
    fn look_at_stock<'a>(&mut self, look: &Look<'_>, pools: impl Iterator<Item = (PoolRow, &'a Pool)>) {
        self.steps.clear();
        self.slots.clear();
        self.stock.clear();
        self.limits = Limits::default();
        let region = look.snapshot.region(look.cluster);
        for (index, (row, pool)) in pools.enumerate() {
            self.slots.push(pool.slots());
            if look.need.shape.tolerates(&pool.spec) {
                self.look_at_offerings(look, region, (index, row, pool));
            }
        }
        self.steps.sort_unstable_by(Step::order);
    }

    fn look_at_offerings(&mut self, look: &Look<'_>, region: &str, (index, row, pool): (usize, PoolRow, &Pool)) {
        let shape = &look.need.shape;
        for offering_row in &pool.spec.offerings {
            let Some(offering) = look.snapshot.offering(*offering_row) else { continue };
            let labels = || look.snapshot.offering_labels(&pool.spec, region, offering);
            if !shape.nodes.is_empty() && !shape.selects(&labels()) {
                continue;
            }
            let per = look.need.fits_fresh(&offering.allocatable);
            if per == 0 {
                continue;
            }
            self.limits.matched = true;
            if !look.quick(pool) {
                continue;
            }
            if self.slots[index] == 0 {
                self.limits.full_pool = true;
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
                self.limits.no_stock = true;
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
        let first =
            |step: &Step| Next { price: step.price, lead_seconds: step.lead_seconds, interruption: step.interruption };
        self.base.room(new, || self.steps.first().map(first), self.limits)
    }

    pub(crate) fn reach(&self) -> Reach {
        let mut reach = self.base.reach();
        for step in &self.steps {
            reach.pools |= bit(step.pool);
            reach.offerings |= bit(step.offering.index());
        }
        reach
    }

    /// See [`Snapshot::offers`].
    pub(crate) fn offers(&mut self) -> Vec<Offer> {
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
