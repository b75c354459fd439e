//! The simulated world: member clusters, a node provider with its stock, load and faults, all from one seed.
//!
//! Time stands still until [`Simulation::advance`] moves it. What the controller asks through the ports takes effect when
//! time moves next, be it by nothing. Two simulations with the same fleet, seed and requests go the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_api::Object;
use berth_api::issue::plain;
use berth_api::resources::{FaultKind, SimulationSpec};
use berth_control::ports::{Clock, Members, NodeProvider};
use berth_core::fleet::{CapacityType, OfferingKey};
use berth_core::ids::{ClusterName, Millis, PoolName, WorkloadKey};
use serde::{Deserialize, Serialize};

use crate::cluster::Pace;
use crate::faults::{Chances, Effect};
use crate::fleet::{Fleet, FleetError};
use crate::journal::{Asked, Journal};
use crate::load::{Autoscaler, Load};
use crate::members::{Agenda, SimMembers};
use crate::node::Scoring;
use crate::provider::{ProviderTotals, SimProvider};
use crate::random;
use crate::series::{Availability, LONGEST_MS, Requests};
use crate::table::{SeriesError, Source};

/// What a simulation does beyond what the fleet file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Faults by chance.
    pub chances: Chances,
    /// How members choose nodes.
    pub scoring: Scoring,
    /// Whether spot nodes are taken away when a stock series says that there are none.
    pub reclaim_spot: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// A field of the `Simulation` document.
    #[error("Simulation: {field}: {problem}; {mend}")]
    Spec { field: String, problem: String, mend: String },
    /// What was saved, or the journal that follows it.
    #[error(
        "the saved simulation cannot be taken up: {what}; put back a sound copy, or start with a fresh data directory"
    )]
    Saved { what: String },
}

/// The simulated clock.
#[derive(Clone, Copy, Debug)]
pub struct SimClock(pub(crate) Millis);

impl Clock for SimClock {
    fn now(&self) -> Millis {
        self.0
    }
}

/// The ports of a simulation, as the controller takes them.
#[derive(Debug)]
pub struct Ports<'a> {
    pub members: &'a mut SimMembers,
    pub provider: &'a mut SimProvider,
    pub clock: &'a SimClock,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) seed: u64,
    pub(crate) start: Millis,
    pub(crate) clock: SimClock,
    pub(crate) options: Options,
    pub(crate) fleet: Fleet,
    pub(crate) members: SimMembers,
    pub(crate) provider: SimProvider,
    pub(crate) effects: Agenda<Effect>,
    pub(crate) scalers: Vec<Autoscaler>,
    pub(crate) end: Option<Millis>,
    /// What is asked of it from now on. See [`Simulation::record`].
    pub(crate) journal: Journal,
    /// Times that it was saved.
    pub(crate) saved: u64,
}

impl Simulation {
    /// Makes the world as it is at `start`: pools have their minimum of nodes, and nothing is applied.
    ///
    /// # Errors
    /// The fleet's objects do not fit together, a series cannot be read, or `spec` names what is not there.
    pub fn new(
        objects: &[Object],
        spec: Option<&SimulationSpec>,
        seed: u64,
        start: Millis,
        source: &Source,
        options: Options,
    ) -> Result<Self, SimulationError> {
        let fleet = Fleet::from_objects(objects)?;
        let mut made = Self::empty(spec, seed, start, options);
        made.take_over(fleet);
        made.plan_series(spec, source)?;
        made.plan_faults(spec)?;
        made.seat_minimum();
        made.settle(start);
        Ok(made)
    }

    pub(crate) fn empty(spec: Option<&SimulationSpec>, seed: u64, start: Millis, options: Options) -> Self {
        let defaults = SimulationSpec::default();
        let spec = spec.unwrap_or(&defaults);
        let pod_start = (spec.pod_start.min.millis(), spec.pod_start.max.millis());
        let node_start = (spec.node_start.min.millis(), spec.node_start.max.millis());
        let journal = Journal::default();
        let pace = Pace { seed, pod_start, scoring: options.scoring };
        let mut members = SimMembers::new(pace, options.chances.request_lost, start);
        members.journal = journal.clone();
        let mut provider = SimProvider::new(seed, node_start, options.chances, start);
        provider.journal = journal.clone();
        Self {
            seed,
            start,
            clock: SimClock(start),
            options,
            fleet: Fleet::default(),
            members,
            provider,
            effects: Agenda::default(),
            scalers: Vec::new(),
            end: spec.length.map(|length| start.plus(length.millis())),
            journal,
            saved: 0,
        }
    }

    /// Takes up a changed fleet: new clusters, pools and offerings are added, and those there are keep their nodes,
    /// which get the labels and taints that their pools have now.
    ///
    /// # Errors
    /// The objects do not fit together; nothing changed then.
    pub fn set_fleet(&mut self, objects: &[Object]) -> Result<(), SimulationError> {
        let fleet = Fleet::from_objects(objects)?;
        let known: BTreeSet<(ClusterName, PoolName)> = self.pools().collect();
        self.take_over(fleet);
        self.seat_fresh(&known);
        Ok(())
    }

    /// Gives pools that were not known before their minimum of nodes.
    pub(crate) fn seat_fresh(&mut self, known: &BTreeSet<(ClusterName, PoolName)>) {
        let fresh: Vec<(ClusterName, PoolName)> = self.pools().filter(|pool| !known.contains(pool)).collect();
        fresh.iter().for_each(|(cluster, pool)| self.seat(cluster, pool));
    }

    pub(crate) fn take_over(&mut self, fleet: Fleet) {
        fleet.clusters.keys().for_each(|name| self.members.add_cluster(name));
        self.members.set_pools(&fleet);
        fleet.offerings.iter().for_each(|(key, config)| self.provider.set_offering(key, config.capacity));
        self.fleet = fleet;
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = (ClusterName, PoolName)> {
        let pools =
            self.fleet.clusters.iter().flat_map(|(name, member)| member.pools.keys().map(move |pool| (name, pool)));
        pools.map(|(cluster, pool)| (cluster.clone(), pool.clone()))
    }

    fn seat_minimum(&mut self) {
        let pools: Vec<(ClusterName, PoolName)> = self.pools().collect();
        pools.iter().for_each(|(cluster, pool)| self.seat(cluster, pool));
    }

    /// Gives a pool its minimum of nodes, from its offerings in turn.
    fn seat(&mut self, cluster: &ClusterName, pool: &PoolName) {
        let Some(config) = self.fleet.clusters.get(cluster).and_then(|member| member.pools.get(pool)) else { return };
        for offering in config.offerings.iter().cycle().take(config.spec.min as usize) {
            self.provider.seat(&self.fleet, &mut self.members, (cluster, pool), offering);
        }
    }

    // --- the ports ---

    pub fn ports(&mut self) -> Ports<'_> {
        Ports { members: &mut self.members, provider: &mut self.provider, clock: &self.clock }
    }

    pub fn members(&mut self) -> &mut dyn Members {
        &mut self.members
    }

    pub fn provider(&mut self) -> &mut dyn NodeProvider {
        &mut self.provider
    }

    pub fn now(&self) -> Millis {
        self.clock.0
    }

    // --- time ---

    /// When something happens by itself next, or now if something was asked for that did not take effect yet. Changes of
    /// load count.
    pub fn next_event(&mut self) -> Option<Millis> {
        let load = self.scalers.iter_mut().filter_map(Autoscaler::next).min();
        let inner = self.next_inside();
        [load, inner].into_iter().flatten().min().map(|at| at.max(self.clock.0))
    }

    fn next_inside(&self) -> Option<Millis> {
        [self.effects.next(), self.provider.next(), self.members.next()].into_iter().flatten().min()
    }

    /// Lets everything happen up to and including `to`, in order. Time never goes back.
    pub fn advance(&mut self, to: Millis) {
        let to = to.max(self.clock.0);
        // Where nothing is due and time stands still nothing happens.
        if to > self.clock.0 || self.next_inside().is_some_and(|at| at <= to) {
            self.journal.write(|| Asked::Advance(to));
        }
        while let Some(at) = self.next_inside().filter(|at| *at <= to) {
            self.settle(at.max(self.clock.0));
        }
        self.settle(to);
    }

    pub(crate) fn set_clock(&mut self, now: Millis) {
        self.clock = SimClock(now);
        self.provider.now = now;
        self.members.now = now;
    }

    pub(crate) fn settle(&mut self, now: Millis) {
        self.set_clock(now);
        while let Some((_, effect)) = self.effects.due(now) {
            self.happen(effect);
        }
        self.provider.settle(now, &self.fleet, &mut self.members);
        self.members.settle(now);
    }

    /// Where the simulation ends: as long as its document says, or with its series.
    pub fn end(&self) -> Option<Millis> {
        self.end
    }

    /// Replica counts that load series ask for and did not ask for before.
    pub fn load(&mut self) -> Vec<(WorkloadKey, u32)> {
        let now = self.clock.0;
        let taken =
            self.scalers.iter_mut().filter_map(|scaler| Some((scaler.load.workload.clone(), scaler.take(now)?)));
        taken.collect()
    }

    /// Whether a load series still changes replicas, or a stock series or a fault is still to come.
    pub fn is_over(&mut self) -> bool {
        let by_chance = |effect: &Effect| matches!(effect, Effect::Hour(_) | Effect::Capacity(..));
        let planned = self.effects.entries.values().any(|effect| !by_chance(effect));
        !planned && self.scalers.iter_mut().all(|scaler| scaler.load.repeat || scaler.next().is_none())
    }

    // --- figures ---

    pub fn totals(&self) -> ProviderTotals {
        self.provider.totals()
    }

    /// USD for all nodes up to now.
    pub fn cost(&self) -> f64 {
        self.provider.cost()
    }

    /// Thousandths of GPUs that pods hold, and that all nodes have.
    pub fn gpu_milli(&self) -> (u64, u64) {
        self.members
            .clusters
            .values()
            .map(|cluster| cluster.nodes.gpu_milli())
            .fold((0, 0), |sum, at| (sum.0 + at.0, sum.1 + at.1))
    }

    /// Nodes that there are.
    pub fn nodes(&self) -> u32 {
        self.provider.bills.len() as u32
    }

    /// Manifests that a member could not read since this was last asked.
    pub fn refused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.members.refused)
    }

    // --- what happens from outside ---

    fn happen(&mut self, effect: Effect) {
        match effect {
            Effect::Capacity(offering, capacity) => {
                self.provider.change(&offering, false, |shelf| shelf.capacity = capacity);
                self.reclaim(&offering);
            }
            Effect::Empty(offering, empty) => {
                self.provider.change(&offering, false, |shelf| shelf.empty = empty);
                self.reclaim(&offering);
            }
            Effect::Failing(offering, failing) => {
                self.provider.change(&offering, false, |shelf| shelf.failing = failing)
            }
            Effect::Reachable(cluster, reachable) => self.members.set_reachable(&cluster, reachable),
            Effect::Slow(cluster, slow) => self.set_slow(&cluster, slow),
            Effect::LoseNode(cluster, node) => self.lose(&cluster, &node),
            Effect::LoseNodes { cluster, pool, nodes } => {
                for node in self.doomed(&cluster, pool.as_ref(), nodes) {
                    self.lose(&cluster, &node);
                }
            }
            Effect::Hour(hour) => self.draw_hour(hour),
            Effect::Remember(cluster) => self.members.remember(&cluster),
            Effect::Restore(cluster) => self.members.restore(&cluster),
            Effect::Stale(cluster, stale) => self.members.set_stale(&cluster, stale),
            Effect::Tamper(cluster, number) => self.members.tamper(&cluster, number),
            Effect::Chances(chances) => {
                (self.options.chances, self.provider.chances, self.members.request_lost) =
                    (chances, chances, chances.request_lost);
            }
        }
    }

    fn reclaim(&mut self, offering: &OfferingKey) {
        if self.options.reclaim_spot && offering.capacity_type == CapacityType::Spot {
            for (cluster, node) in self.provider.beyond_capacity(offering) {
                self.lose(&cluster, &node);
            }
        }
    }

    fn lose(&mut self, cluster: &ClusterName, node: &Arc<str>) {
        if self.members.remove_node(cluster, node).is_some() {
            self.provider.leave(cluster, node);
            self.provider.totals.nodes_lost += 1;
        }
    }

    /// Nodes that a fault hits, chosen by the seed.
    fn doomed(&self, cluster: &ClusterName, pool: Option<&PoolName>, count: u32) -> Vec<Arc<str>> {
        let Some(found) = self.members.clusters.get(cluster) else { return Vec::new() };
        let in_pool = |node| pool.is_none_or(|pool| found.nodes.class_of(node).pool.name == *pool);
        let names = found.nodes.iter().filter(|(_, node)| in_pool(node)).map(|(name, _)| name);
        let mut drawn: Vec<(u64, &Arc<str>)> = names
            .map(|name| (random::draw(self.seed, &format!("lose/{cluster}/{name}"), self.clock.0.0), name))
            .collect();
        drawn.sort_unstable();
        drawn.into_iter().take(count as usize).map(|(_, name)| name.clone()).collect()
    }

    fn set_slow(&mut self, cluster: &ClusterName, slow: bool) {
        if let Some(found) = self.members.clusters.get_mut(cluster) {
            found.slow = slow;
            self.provider.slow.insert(cluster.clone(), found.slowness());
        }
    }

    /// Draws which nodes and clusters are lost within the next hour.
    fn draw_hour(&mut self, hour: u64) {
        const HOUR_MS: u64 = 3_600_000;
        let (seed, now, chances) = (self.seed, self.clock.0, self.options.chances);
        let mut planned: Vec<(Millis, Effect)> = Vec::new();
        for (name, cluster) in &self.members.clusters {
            let what = format!("cluster-lost/{name}");
            if random::happens(seed, &what, hour, chances.cluster_lost_per_hour) {
                let from = now.plus(random::draw(seed, &format!("{what}/at"), hour) % HOUR_MS);
                let lasts = random::between(seed, &format!("{what}/lasts"), hour, 60_000, 1_800_000);
                planned.push((from, Effect::Reachable(name.clone(), false)));
                planned.push((from.plus(lasts), Effect::Reachable(name.clone(), true)));
            }
            if chances.node_lost_per_hour <= 0.0 {
                continue;
            }
            for (node, _) in cluster.nodes.iter() {
                let what = format!("node-lost/{name}/{node}");
                if random::happens(seed, &what, hour, chances.node_lost_per_hour) {
                    let at = now.plus(random::draw(seed, &format!("{what}/at"), hour) % HOUR_MS);
                    planned.push((at, Effect::LoseNode(name.clone(), node.clone())));
                }
            }
        }
        planned.into_iter().for_each(|(at, effect)| self.effects.plan(at, effect));
        self.effects.plan(now.plus(HOUR_MS), Effect::Hour(hour + 1));
    }

    // --- what the document asks for ---

    pub(crate) fn plan_series(
        &mut self,
        spec: Option<&SimulationSpec>,
        source: &Source,
    ) -> Result<(), SimulationError> {
        let Some(spec) = spec else { return Ok(()) };
        let mut ends: Vec<Millis> = Vec::new();
        let mut read: BTreeMap<&str, Availability> = BTreeMap::new();
        for (number, wanted) in spec.stock_series.iter().enumerate() {
            if !read.contains_key(wanted.file.as_str()) {
                read.insert(&wanted.file, Availability::read(&wanted.file, &source.read(&wanted.file)?)?);
            }
            let Some(series) = read.get(wanted.file.as_str()) else { continue };
            let offset = wanted.offset.millis();
            ends.push(self.start.plus(series.length().saturating_sub(offset)));
            for (at, column) in wanted.columns.iter().enumerate() {
                let field = format!("spec.stockSeries[{number}].columns[{at}]");
                let place = series.columns.iter().position(|heading| *heading == column.column).ok_or_else(|| {
                    let known = series.columns.join(", ");
                    spec_error(&format!("{field}.column"), &column.column, &format!("use one of {known}"), "column")
                })?;
                let changes = series.changes(place, offset);
                for name in &column.offerings {
                    let key = self.offering(name, &format!("{field}.offerings"))?;
                    self.follow(&key, &changes, column.nodes.unwrap_or(wanted.nodes));
                }
            }
        }
        for (number, wanted) in spec.load_series.iter().enumerate() {
            let requests = Requests::read(&wanted.file, &source.read(&wanted.file)?)?;
            let load = self.read_load(number, wanted, Arc::new(requests))?;
            if load.horizon() > LONGEST_MS {
                let field = format!("spec.loadSeries[{number}].speed");
                let problem = format!("with it the load lasts more than {} days", LONGEST_MS / 86_400_000);
                let mend = "use a higher speed, a shorter window or a shorter file".to_owned();
                return Err(SimulationError::Spec { field, problem, mend });
            }
            let length = load.requests.length() as f64 / load.speed;
            if !load.repeat {
                ends.push(self.start.plus(length as u64));
            }
            self.scalers.push(Autoscaler::new(load, self.start));
        }
        self.end = self.end.or(ends.into_iter().max());
        Ok(())
    }

    /// Lets an offering's stock follow a series: `nodes` while it says 1.
    fn follow(&mut self, key: &OfferingKey, changes: &[(u64, bool)], nodes: u32) {
        let capacity = |there: bool| if there { nodes } else { 0 };
        let mut changes = changes.iter();
        if let Some((_, there)) = changes.next() {
            self.provider.change(key, true, |shelf| {
                shelf.series = true;
                shelf.capacity = capacity(*there);
            });
        }
        for (at, there) in changes {
            self.effects.plan(self.start.plus(*at), Effect::Capacity(key.clone(), capacity(*there)));
        }
    }

    fn read_load(
        &self,
        number: usize,
        wanted: &berth_api::resources::LoadSeries,
        requests: Arc<Requests>,
    ) -> Result<Load, SimulationError> {
        let field = |name: &str| format!("spec.loadSeries[{number}].{name}");
        let positive = |name: &str, value: f64| {
            let fault = || spec_error(&field(name), &value.to_string(), "use a number above 0", "rate");
            (value.is_finite() && value > 0.0).then_some(value).ok_or_else(fault)
        };
        let named = &wanted.workload;
        Ok(Load {
            workload: WorkloadKey::new(&format!("{}/{}", named.api_version, named.kind), &named.namespace, &named.name),
            requests,
            per_replica: positive("requestsPerSecond", wanted.requests_per_second)?,
            min: wanted.min,
            max: wanted.max,
            window_ms: positive("window", wanted.window.millis() as f64)? as u64,
            speed: positive("speed", wanted.speed)?,
            repeat: wanted.repeat,
        })
    }

    fn plan_faults(&mut self, spec: Option<&SimulationSpec>) -> Result<(), SimulationError> {
        for (number, fault) in spec.map_or(&[][..], |spec| &spec.faults).iter().enumerate() {
            let field = |name: &str| format!("spec.faults[{number}].{name}");
            let cluster = || self.cluster(&fault.cluster, &field("cluster"));
            let offering = || self.offering(&fault.offering, &field("offering"));
            let (begin, end) = match fault.what {
                FaultKind::ClusterLost => {
                    let cluster = cluster()?;
                    (Effect::Reachable(cluster.clone(), false), Some(Effect::Reachable(cluster, true)))
                }
                FaultKind::NodesLost => {
                    let pool = (!fault.pool.is_empty()).then(|| PoolName::new(fault.pool.as_str()));
                    (Effect::LoseNodes { cluster: cluster()?, pool, nodes: fault.nodes }, None)
                }
                FaultKind::OutOfStock => {
                    let offering = offering()?;
                    (Effect::Empty(offering.clone(), true), Some(Effect::Empty(offering, false)))
                }
                FaultKind::OrdersFail => {
                    let offering = offering()?;
                    (Effect::Failing(offering.clone(), true), Some(Effect::Failing(offering, false)))
                }
                FaultKind::SlowStarts => {
                    let cluster = cluster()?;
                    (Effect::Slow(cluster.clone(), true), Some(Effect::Slow(cluster, false)))
                }
            };
            let at = self.start.plus(fault.at.millis());
            self.effects.plan(at, begin);
            if let (Some(end), Some(lasts)) = (end, fault.lasts) {
                self.effects.plan(at.plus(lasts.millis()), end);
            }
        }
        let chances = self.options.chances;
        if chances.node_lost_per_hour > 0.0 || chances.cluster_lost_per_hour > 0.0 {
            self.effects.plan(self.start, Effect::Hour(0));
        }
        Ok(())
    }

    fn cluster(&self, name: &str, field: &str) -> Result<ClusterName, SimulationError> {
        let known = self.fleet.clusters.get_key_value(name).map(|(known, _)| known.clone());
        known.ok_or_else(|| spec_error(field, name, "name a Cluster of the fleet file", "cluster"))
    }

    fn offering(&self, name: &str, field: &str) -> Result<OfferingKey, SimulationError> {
        let known = self.fleet.by_name.get(name).cloned();
        known.ok_or_else(|| spec_error(field, name, "name an Offering of the fleet file", "offering"))
    }
}

fn spec_error(field: &str, value: &str, mend: &str, what: &str) -> SimulationError {
    let (problem, mend) = (format!("{value:?} is no valid {what}"), plain(mend).into_owned());
    SimulationError::Spec { field: field.to_owned(), problem: plain(&problem).into_owned(), mend }
}

#[cfg(test)]
mod tests;
