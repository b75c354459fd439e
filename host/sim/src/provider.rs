//! Whoever makes nodes, simulated: orders, stock, and what nodes cost.
//!
//! An order takes its nodes from the stock one by one, shortly after it was sent, and each joins its cluster when it has
//! started. So stock can end in the middle of an order; then the order fails, and the nodes that it got still come. Requests
//! are kept until time moves on, and take effect then. Nodes in stock are never handed out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::ports::{NodeProvider, OrderFailure, OrderState};
use berth_core::fleet::{OfferingKey, Stock, StockState};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName};
use berth_core::placement::NodeOrder;
use serde::{Deserialize, Serialize};

use crate::faults::Chances;
use crate::fleet::{Fleet, UNLIMITED};
use crate::journal::{Asked, Journal};
use crate::members::{Agenda, SimMembers};
use crate::random;

/// How long a finished order is remembered, milliseconds.
const MEMORY_MS: u64 = 24 * 3_600_000;
/// For how long a report of changing stock holds, milliseconds.
const REPORT_TTL_MS: u64 = 10 * 60_000;
/// The provider notices a change of its own stock within this time, milliseconds.
const REPORT_LAG_MS: u64 = 60_000;
/// How much later than others an order is carried out that is late.
const LATE: u64 = 10;

/// How an order goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// One node is taken from the stock; it joins at the time given.
    Claim {
        order: OrderId,
        number: u32,
        joins: Millis,
    },
    Join {
        order: OrderId,
        number: u32,
    },
    /// What is said of an offering's stock is brought up to date.
    Report {
        offering: OfferingKey,
    },
    Forget {
        order: OrderId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    Order(NodeOrder),
    Cancel(OrderId),
    Remove(ClusterName, PoolName, Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    order: NodeOrder,
    state: OrderState,
    /// Nodes taken from the stock, by number, and whether they have joined.
    claimed: BTreeMap<u32, bool>,
    /// The provider carries it out, but never says so.
    silent: bool,
    /// Nodes that it gets at the most.
    #[serde(default = "all")]
    most: u32,
}

fn all() -> u32 {
    u32::MAX
}

/// What there is of an offering, and what is said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shelf {
    /// Nodes that can be had in all, [`UNLIMITED`] where nothing limits them.
    pub(crate) capacity: u32,
    /// Whether the capacity follows a series: then the provider says yes or no, and not how many.
    pub(crate) series: bool,
    /// Taken: nodes that run or start.
    pub(crate) held: u32,
    /// Of these, nodes that joined.
    pub(crate) joined: u32,
    /// A fault empties it, whatever the capacity.
    pub(crate) empty: bool,
    /// A fault lets orders fail, whatever the stock.
    pub(crate) failing: bool,
    report: Stock,
}

impl Shelf {
    pub(crate) fn left(&self) -> u32 {
        if self.empty { 0 } else { self.capacity.saturating_sub(self.held) }
    }

    /// The present truth as the provider reports it. Where it counts, nodes that start are left to whoever ordered them to
    /// take off; where it only says yes or no, they are gone.
    fn refresh(&mut self, now: Millis) {
        let counted = if self.empty { 0 } else { self.capacity.saturating_sub(self.joined) };
        let left = if self.series { self.left() } else { counted };
        let changes = self.series || self.empty;
        self.report = Stock {
            state: match left {
                0 => StockState::OutOfStock,
                _ if self.series || self.capacity == UNLIMITED => StockState::InStock,
                _ => StockState::Limited,
            },
            lower_bound: if self.series { 0 } else { left.min(1_000_000) },
            confidence: if changes { 0.8 } else { 1.0 },
            observed_at: now,
            ttl_ms: if changes { REPORT_TTL_MS } else { 0 },
            probe: 0,
            retry_at: Millis(0),
        };
    }
}

/// A node that is paid for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bill {
    pub(crate) offering: OfferingKey,
    pub(crate) price: f64,
    pub(crate) since: Millis,
}

/// What the provider did, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderTotals {
    pub orders: u64,
    pub orders_failed: u64,
    pub nodes_ordered: u64,
    pub nodes_joined: u64,
    pub nodes_removed: u64,
    /// Nodes that vanished: lost to a fault, or reclaimed because the stock ended.
    pub nodes_lost: u64,
    /// USD for nodes that are gone.
    pub spent: f64,
}

/// The simulated node provider.
#[derive(Debug)]
pub struct SimProvider {
    pub(crate) now: Millis,
    pub(crate) seed: u64,
    /// From an order to a node that takes pods, milliseconds; chosen evenly for each node.
    pub(crate) node_start: (u64, u64),
    pub(crate) chances: Chances,
    /// Clusters where nodes start slowly now.
    pub(crate) slow: BTreeMap<ClusterName, u64>,
    pub(crate) shelves: BTreeMap<OfferingKey, Shelf>,
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) agenda: Agenda<Step>,
    pub(crate) requests: Vec<Request>,
    pub(crate) bills: BTreeMap<(ClusterName, Arc<str>), Bill>,
    /// By pool, nodes taken from the stock that have not joined.
    pub(crate) starting: BTreeMap<(ClusterName, PoolName), u32>,
    pub(crate) named: u64,
    pub(crate) totals: ProviderTotals,
    pub(crate) journal: Journal,
}

impl SimProvider {
    pub(crate) fn new(seed: u64, node_start: (u64, u64), chances: Chances, now: Millis) -> Self {
        Self {
            now,
            seed,
            node_start,
            chances,
            slow: BTreeMap::new(),
            shelves: BTreeMap::new(),
            orders: BTreeMap::new(),
            agenda: Agenda::default(),
            requests: Vec::new(),
            bills: BTreeMap::new(),
            starting: BTreeMap::new(),
            named: 0,
            totals: ProviderTotals::default(),
            journal: Journal::default(),
        }
    }

    /// Adds an offering, or sets the capacity of one that follows no series.
    pub(crate) fn set_offering(&mut self, key: &OfferingKey, capacity: u32) {
        let now = self.now;
        let shelf = self.shelves.entry(key.clone()).or_insert_with(|| Shelf {
            capacity,
            series: false,
            held: 0,
            joined: 0,
            empty: false,
            failing: false,
            report: Stock::default(),
        });
        if !shelf.series && (shelf.capacity != capacity || shelf.report == Stock::default()) {
            shelf.capacity = capacity;
            shelf.refresh(now);
        }
    }

    /// Changes what there is of an offering. Where stock follows a series the provider says so a little later, elsewhere at
    /// once. `at_once` is for the beginning, when what is said is up to date.
    pub(crate) fn change(&mut self, key: &OfferingKey, at_once: bool, change: impl FnOnce(&mut Shelf)) {
        let now = self.now;
        let Some(shelf) = self.shelves.get_mut(key) else { return };
        change(shelf);
        if at_once || !(shelf.series || shelf.empty || shelf.failing) {
            shelf.refresh(now);
            return;
        }
        let lag = random::between(self.seed, &format!("report/{key:?}"), now.0, 0, REPORT_LAG_MS);
        self.agenda.plan(now.plus(lag), Step::Report { offering: key.clone() });
    }

    /// Nodes of spot offerings that are gone from the stock, to be reclaimed: those beyond the capacity.
    pub(crate) fn beyond_capacity(&self, key: &OfferingKey) -> Vec<(ClusterName, Arc<str>)> {
        let Some(shelf) = self.shelves.get(key) else { return Vec::new() };
        let excess = shelf.joined.saturating_sub(if shelf.empty { 0 } else { shelf.capacity });
        let mut nodes: Vec<(Millis, &(ClusterName, Arc<str>))> = self
            .bills
            .iter()
            .filter(|(_, bill)| bill.offering == *key)
            .map(|(node, bill)| (bill.since, node))
            .collect();
        // The youngest go first.
        nodes.sort_by(|one, other| other.cmp(one));
        nodes.into_iter().take(excess as usize).map(|(_, node)| node.clone()).collect()
    }

    /// Opens a pool with a node that is there from the beginning.
    pub(crate) fn seat(
        &mut self,
        fleet: &Fleet,
        members: &mut SimMembers,
        at: (&ClusterName, &PoolName),
        offering: &OfferingKey,
    ) {
        if let Some(shelf) = self.shelves.get_mut(offering) {
            shelf.held += 1;
        }
        self.join(fleet, members, at, offering, None);
    }

    /// A node's end, for whatever reason: it costs nothing any more, and its place in the stock is free again.
    pub(crate) fn leave(&mut self, cluster: &ClusterName, node: &Arc<str>) {
        let now = self.now;
        let Some(bill) = self.bills.remove(&(cluster.clone(), node.clone())) else { return };
        self.totals.spent += cost(&bill, now);
        self.change(&bill.offering, false, |shelf| {
            shelf.held = shelf.held.saturating_sub(1);
            shelf.joined = shelf.joined.saturating_sub(1);
        });
    }

    /// All orders that are remembered, as they really stand, ascending by id.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (&OrderId, &NodeOrder, &OrderState)> {
        self.orders.iter().map(|(id, order)| (id, &order.order, &order.state))
    }

    /// What is said of stock at present.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (&OfferingKey, &Stock)> {
        self.shelves.iter().map(|(key, shelf)| (key, &shelf.report))
    }

    /// USD for all nodes up to now.
    pub fn cost(&self) -> f64 {
        self.totals.spent + self.bills.values().map(|bill| cost(bill, self.now)).sum::<f64>()
    }

    pub fn totals(&self) -> ProviderTotals {
        self.totals
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        if self.requests.is_empty() { self.agenda.next() } else { Some(self.now) }
    }

    /// Lets the clock stand at `now`, and everything happen that was asked for and that is due.
    pub(crate) fn settle(&mut self, now: Millis, fleet: &Fleet, members: &mut SimMembers) {
        self.now = now;
        for request in std::mem::take(&mut self.requests) {
            match request {
                Request::Order(order) => self.begin(fleet, order),
                Request::Cancel(order) => self.end(&order, OrderState::Cancelled),
                Request::Remove(cluster, _, node) => {
                    if self.bills.contains_key(&(cluster.clone(), node.clone())) {
                        members.remove_node(&cluster, &node);
                        self.leave(&cluster, &node);
                        self.totals.nodes_removed += 1;
                    }
                }
            }
        }
        while let Some((_, step)) = self.agenda.due(now) {
            match step {
                Step::Claim { order, number, joins } => self.claim(fleet, members, &order, number, joins),
                Step::Join { order, number } => self.joined(fleet, members, &order, number),
                Step::Report { offering } => {
                    if let Some(shelf) = self.shelves.get_mut(&offering) {
                        shelf.refresh(now);
                    }
                }
                Step::Forget { order } => _ = self.orders.remove(&order),
            }
        }
    }

    fn begin(&mut self, fleet: &Fleet, order: NodeOrder) {
        let id = order.id.clone();
        if self.orders.contains_key(&id) {
            return;
        }
        let (seed, now, name) = (self.seed, self.now, format!("order/{id}"));
        let late = if random::happens(seed, &name, 0, self.chances.order_late) { LATE } else { 1 };
        let slow = self.slow.get(&order.cluster).copied().unwrap_or(1).saturating_mul(late);
        self.totals.orders += 1;
        self.totals.nodes_ordered += u64::from(order.nodes);
        for number in 0..order.nodes {
            let takes = random::between(seed, &name, 1 + u64::from(number), self.node_start.0, self.node_start.1);
            // A node is taken from the stock in the first half of its start; the other half it boots.
            let taken = random::between(seed, &format!("{name}/claim"), u64::from(number), 0, takes / 2);
            let step = Step::Claim { order: id.clone(), number, joins: now.plus(takes.saturating_mul(slow)) };
            self.agenda.plan(now.plus(taken.saturating_mul(slow)), step);
        }
        let known = fleet.clusters.get(&order.cluster).and_then(|member| member.pools.get(&order.pool));
        let known = known.is_some_and(|pool| pool.offerings.contains(&order.offering));
        let silent = random::happens(seed, &format!("{name}/silent"), 0, self.chances.order_silent);
        let partial = random::happens(seed, &format!("{name}/partial"), 0, self.chances.order_partial);
        let most = if partial { order.nodes / 2 } else { u32::MAX };
        let refused = random::happens(seed, &format!("{name}/refused"), 0, self.chances.order_refused);
        let cause = match random::draw(seed, &format!("{name}/cause"), 0) % 3 {
            0 => OrderFailure::NoQuota,
            1 => OrderFailure::NoAddresses,
            _ => OrderFailure::NoPermission,
        };
        let empty = order.nodes == 0;
        let claimed = BTreeMap::new();
        self.orders.insert(id.clone(), Order { order, state: OrderState::Pending, claimed, silent, most });
        if refused {
            self.fail(&id, cause);
        } else if !known {
            self.fail(&id, OrderFailure::NoPermission);
        } else if empty {
            self.end(&id, OrderState::Delivered);
        }
    }

    fn claim(&mut self, fleet: &Fleet, members: &SimMembers, id: &OrderId, number: u32, joins: Millis) {
        let Some(order) = self.orders.get(id).filter(|order| order.state == OrderState::Pending) else { return };
        if order.claimed.len() as u32 >= order.most {
            return self.fail(id, OrderFailure::NoStock);
        }
        let (cluster, pool) = (order.order.cluster.clone(), order.order.pool.clone());
        let offering = order.order.offering.clone();
        let max =
            fleet.clusters.get(&cluster).and_then(|member| member.pools.get(&pool)).map_or(0, |pool| pool.spec.max);
        let there = members.clusters.get(&cluster).map_or(0, |found| found.nodes.in_pool(pool.as_str()));
        let starting = self.starting.get(&(cluster.clone(), pool.clone())).copied().unwrap_or(0);
        if there.saturating_add(starting) >= max {
            return self.fail(id, OrderFailure::NoQuota);
        }
        match self.shelves.get_mut(&offering) {
            Some(shelf) if shelf.left() > 0 && !shelf.failing => shelf.held += 1,
            _ => return self.fail(id, OrderFailure::NoStock),
        }
        *self.starting.entry((cluster, pool)).or_default() += 1;
        if let Some(order) = self.orders.get_mut(id) {
            order.claimed.insert(number, false);
        }
        self.agenda.plan(joins, Step::Join { order: id.clone(), number });
    }

    fn joined(&mut self, fleet: &Fleet, members: &mut SimMembers, id: &OrderId, number: u32) {
        let Some(order) = self.orders.get_mut(id) else { return };
        match order.claimed.get_mut(&number) {
            Some(joined) => *joined = true,
            None => return,
        }
        let whole = order.claimed.len() == order.order.nodes as usize && order.claimed.values().all(|joined| *joined);
        let order = order.order.clone();
        self.started(&order);
        self.join(fleet, members, (&order.cluster, &order.pool), &order.offering, Some(id));
        self.totals.nodes_joined += 1;
        if whole {
            self.end(id, OrderState::Delivered);
        }
    }

    /// Whether a request is lost on its way.
    fn loses(&self, what: &str) -> bool {
        random::happens(self.seed, what, self.now.0, self.chances.request_lost)
    }

    fn started(&mut self, order: &NodeOrder) {
        let at = (order.cluster.clone(), order.pool.clone());
        if let Some(starting) = self.starting.get_mut(&at) {
            *starting = starting.saturating_sub(1);
        }
    }

    fn join(
        &mut self,
        fleet: &Fleet,
        members: &mut SimMembers,
        at: (&ClusterName, &PoolName),
        offering: &OfferingKey,
        order: Option<&OrderId>,
    ) {
        let now = self.now;
        self.named += 1;
        let name: Arc<str> = format!("{}-{:06}", at.1, self.named).into();
        members.add_node(fleet, &name, at, offering, order);
        let price = fleet.offerings.get(offering).map_or(0.0, |config| config.price);
        self.bills.insert((at.0.clone(), name), Bill { offering: offering.clone(), price, since: now });
        if let Some(shelf) = self.shelves.get_mut(offering) {
            shelf.joined += 1;
            if !shelf.series {
                shelf.refresh(now);
            }
        }
    }

    fn fail(&mut self, id: &OrderId, cause: OrderFailure) {
        let Some(order) = self.orders.get(id) else { return };
        let (delivered, offering) = (order.claimed.len() as u32, order.order.offering.clone());
        self.totals.orders_failed += 1;
        self.end(id, OrderState::Failed { cause, delivered });
        let now = self.now;
        // What just ran out is known to have; a fault that lets orders fail leaves the report as it is.
        let ran_out = self.shelves.get_mut(&offering).filter(|shelf| cause == OrderFailure::NoStock && !shelf.failing);
        if let Some(shelf) = ran_out {
            shelf.refresh(now);
        }
    }

    /// Ends an order. What was taken and has not joined goes back if it was cancelled, and still comes if it failed.
    fn end(&mut self, id: &OrderId, state: OrderState) {
        let now = self.now;
        let Some(order) = self.orders.get_mut(id).filter(|order| order.state == OrderState::Pending) else { return };
        order.state = state;
        let gone: BTreeSet<u32> = match order.state {
            OrderState::Cancelled => {
                order.claimed.iter().filter(|(_, joined)| !**joined).map(|(number, _)| *number).collect()
            }
            _ => BTreeSet::new(),
        };
        order.claimed.retain(|number, _| !gone.contains(number));
        let order = order.order.clone();
        for _ in gone {
            self.started(&order);
            if let Some(shelf) = self.shelves.get_mut(&order.offering) {
                shelf.held = shelf.held.saturating_sub(1);
            }
        }
        self.agenda.plan(now.plus(MEMORY_MS), Step::Forget { order: id.clone() });
    }
}

fn cost(bill: &Bill, now: Millis) -> f64 {
    bill.price * now.since(bill.since) as f64 / 3_600_000.0
}

impl NodeProvider for SimProvider {
    fn order(&mut self, order: &NodeOrder) {
        self.journal.write(|| Asked::Order(order.clone()));
        let lost = random::happens(self.seed, &format!("order/{}/lost", order.id), self.now.0, self.chances.order_lost);
        let twice = random::happens(self.seed, &format!("order/{}/twice", order.id), 0, self.chances.order_twice);
        let known = self.orders.contains_key(&order.id);
        for _ in 0..if known || lost { 0 } else { 1 + u8::from(twice) } {
            self.requests.push(Request::Order(order.clone()));
        }
    }

    fn cancel(&mut self, order: &OrderId) {
        self.journal.write(|| Asked::Cancel(order.clone()));
        if self.loses(&format!("cancel/{order}")) {
            return;
        }
        self.requests.push(Request::Cancel(order.clone()));
    }

    fn remove(&mut self, cluster: &ClusterName, pool: &PoolName, node: &Arc<str>) {
        self.journal.write(|| Asked::Remove { cluster: cluster.clone(), pool: pool.clone(), node: node.clone() });
        if self.loses(&format!("remove/{cluster}/{node}")) {
            return;
        }
        self.requests.push(Request::Remove(cluster.clone(), pool.clone(), node.clone()));
    }

    fn order_state(&self, order: &OrderId) -> Option<OrderState> {
        let sent = |request: &Request| matches!(request, Request::Order(sent) if sent.id == *order);
        match self.orders.get(order) {
            Some(known) if known.silent => Some(OrderState::Pending),
            Some(known) => Some(known.state.clone()),
            None => self.requests.iter().any(sent).then_some(OrderState::Pending),
        }
    }

    fn stock(&mut self) -> Vec<(OfferingKey, Stock)> {
        let now = self.now;
        for shelf in self.shelves.values_mut() {
            let ttl = shelf.report.ttl_ms;
            if ttl > 0 && now.since(shelf.report.observed_at) >= ttl / 2 {
                shelf.refresh(now);
            }
        }
        self.shelves.iter().map(|(key, shelf)| (key.clone(), shelf.report.clone())).collect()
    }
}
