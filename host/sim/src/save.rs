//! The simulated world as bytes, so that a controller that is started again on the same data finds its clusters as they were.
//!
//! Saved is what happened; what the fleet and the `Simulation` document say is read again. What a cluster that could not be
//! reached showed last is not saved: after a restart it shows what went on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_api::Object;
use berth_api::resources::SimulationSpec;
use berth_control::ports::Outcome;
use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Timer};
use crate::faults::Effect;
use crate::fleet::Fleet;
use crate::load::Progress;
use crate::manifest::Manifest;
use crate::members::Agenda;
use crate::pods::{Applied, Pod};
use crate::provider::{Bill, Order, ProviderTotals, Request, Shelf, Step};
use crate::simulation::{Options, Simulation, SimulationError};
use crate::table::Source;

/// Number of the form in which it is saved.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct World {
    form: u32,
    seed: u64,
    start: Millis,
    now: Millis,
    options: Options,
    end: Option<Millis>,
    effects: Agenda<Effect>,
    timers: Agenda<(ClusterName, Timer)>,
    loads: Vec<(WorkloadKey, Progress)>,
    clusters: Vec<SavedCluster>,
    provider: SavedProvider,
}

#[derive(Serialize, Deserialize)]
struct SavedCluster {
    name: ClusterName,
    slow: bool,
    reachable: bool,
    since: Millis,
    lives: u64,
    nodes: Vec<SavedNode>,
    workloads: Vec<SavedWorkload>,
}

#[derive(Serialize, Deserialize)]
struct SavedNode {
    name: Arc<str>,
    pool: PoolName,
    offering: OfferingKey,
    order: Option<OrderId>,
    idle_from: Millis,
}

#[derive(Serialize, Deserialize)]
struct SavedWorkload {
    key: WorkloadKey,
    digest: Arc<str>,
    manifest: String,
    finished: Option<Outcome>,
    pending_since: Option<Millis>,
    started_runs: u64,
    running: bool,
    components: Vec<SavedComponent>,
}

#[derive(Serialize, Deserialize)]
struct SavedComponent {
    desired: u32,
    unready_since: Option<Millis>,
    pods: Vec<(u32, Pod)>,
}

#[derive(Serialize, Deserialize)]
struct SavedProvider {
    agenda: Agenda<Step>,
    shelves: Vec<(OfferingKey, Shelf)>,
    orders: Vec<(OrderId, Order)>,
    requests: Vec<Request>,
    bills: Vec<((ClusterName, Arc<str>), Bill)>,
    starting: Vec<((ClusterName, PoolName), u32)>,
    slow: Vec<(ClusterName, u64)>,
    named: u64,
    totals: ProviderTotals,
}

fn list<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Simulation {
    /// All that happened so far, as JSON.
    pub fn save(&self) -> Vec<u8> {
        let provider = &self.provider;
        let world = World {
            form: FORM,
            seed: self.seed,
            start: self.start,
            now: self.clock.0,
            options: self.options,
            end: self.end,
            effects: self.effects.clone(),
            timers: self.members.agenda.clone(),
            loads: self.scalers.iter().map(|one| (one.load.workload.clone(), one.progress.clone())).collect(),
            clusters: self.members.clusters.values().map(save_cluster).collect(),
            provider: SavedProvider {
                agenda: provider.agenda.clone(),
                shelves: list(&provider.shelves),
                orders: list(&provider.orders),
                requests: provider.requests.clone(),
                bills: list(&provider.bills),
                starting: list(&provider.starting),
                slow: list(&provider.slow),
                named: provider.named,
                totals: provider.totals,
            },
        };
        // Strings, numbers and lists only: there is nothing that JSON cannot hold.
        serde_json::to_vec(&world).unwrap_or_default()
    }

    /// The world as it was saved, with the fleet as it is now. Seed, start and options are the saved ones.
    ///
    /// # Errors
    /// The bytes are not what [`Simulation::save`] made, or the fleet and its document are not valid.
    pub fn restore(
        bytes: &[u8],
        objects: &[Object],
        spec: Option<&SimulationSpec>,
        source: &Source,
    ) -> Result<Self, SimulationError> {
        let fault = |what: String| SimulationError::Saved { what };
        let world: World = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if world.form != FORM {
            return Err(fault(format!("it has form {}, and this program reads form {FORM}", world.form)));
        }
        let fleet = Fleet::from_objects(objects)?;
        let mut made = Self::empty(spec, world.seed, world.start, world.options);
        made.set_clock(world.now);
        made.take_over(fleet);
        // The series say what they load; what of them is still to come stands in the saved agenda.
        made.plan_series(spec, source)?;
        made.effects = world.effects;
        made.end = world.end;
        for (workload, progress) in world.loads {
            if let Some(scaler) = made.scalers.iter_mut().find(|scaler| scaler.load.workload == workload) {
                scaler.progress = progress;
            }
        }
        for saved in world.clusters {
            made.restore_cluster(saved).map_err(fault)?;
        }
        made.members.agenda = world.timers;
        made.restore_provider(world.provider);
        // Once more, now that what was saved is there: an offering may have changed its limit meanwhile.
        made.take_over(Fleet::from_objects(objects)?);
        made.settle(world.now);
        Ok(made)
    }

    fn restore_provider(&mut self, saved: SavedProvider) {
        let provider = &mut self.provider;
        provider.agenda = saved.agenda;
        provider.shelves.extend(saved.shelves);
        provider.orders = saved.orders.into_iter().collect();
        provider.requests = saved.requests;
        provider.bills = saved.bills.into_iter().collect();
        provider.starting = saved.starting.into_iter().collect();
        provider.slow = saved.slow.into_iter().collect();
        provider.named = saved.named;
        provider.totals = saved.totals;
    }

    fn restore_cluster(&mut self, saved: SavedCluster) -> Result<(), String> {
        let now = self.now();
        self.members.add_cluster(&saved.name);
        for node in &saved.nodes {
            let at = (&saved.name, &node.pool);
            self.members.add_node(&self.fleet, &node.name, at, &node.offering, node.order.as_ref());
        }
        let Some(cluster) = self.members.clusters.get_mut(&saved.name) else { return Ok(()) };
        for node in &saved.nodes {
            cluster.nodes.set_idle_from(&node.name, node.idle_from);
        }
        (cluster.slow, cluster.lives) = (saved.slow, saved.lives);
        for workload in saved.workloads {
            let bytes: Arc<[u8]> = workload.manifest.into_bytes().into();
            let manifest = Manifest::read(&bytes).map_err(|reason| format!("{}: {reason}", workload.key))?;
            let mut applied = Applied::new(workload.digest, bytes, &manifest);
            for (wanted, component) in manifest.components.iter().zip(workload.components) {
                let pods = component.pods.into_iter().collect();
                let made = cluster.component(&wanted.shape, component.desired, pods, component.unready_since);
                applied.components.push(made);
            }
            applied.finished = workload.finished;
            applied.pending_since = workload.pending_since;
            applied.started_runs = workload.started_runs;
            applied.running = workload.running;
            cluster.restore(&workload.key, applied, now);
        }
        cluster.publish();
        cluster.set_reachable(saved.reachable, now);
        cluster.observed.since = saved.since;
        Ok(())
    }
}

fn save_cluster(cluster: &Cluster) -> SavedCluster {
    let nodes = cluster.nodes.iter().filter_map(|(name, node)| {
        Some(SavedNode {
            name: name.clone(),
            pool: cluster.nodes.class_of(node).pool.name.clone(),
            offering: node.offering.clone()?,
            order: node.order.clone(),
            idle_from: node.idle_from(),
        })
    });
    let workloads = cluster.workloads.iter().map(|(key, workload)| SavedWorkload {
        key: key.clone(),
        digest: workload.digest.clone(),
        manifest: String::from_utf8_lossy(&workload.bytes).into_owned(),
        finished: workload.finished,
        pending_since: workload.pending_since,
        started_runs: workload.started_runs,
        running: workload.running,
        components: workload
            .components
            .iter()
            .map(|one| SavedComponent { desired: one.desired, unready_since: one.unready_since, pods: list(&one.pods) })
            .collect(),
    });
    SavedCluster {
        name: cluster.name.clone(),
        slow: cluster.slow,
        reachable: cluster.reachable,
        since: cluster.observed.since,
        lives: cluster.lives,
        nodes: nodes.collect(),
        workloads: workloads.collect(),
    }
}
