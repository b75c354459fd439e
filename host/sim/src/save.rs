//! The simulated world as bytes, so that a controller that is started again on the same data finds its clusters as they were.
//!
//! What is saved stands under a checksum. Between two times that it is saved everything that is asked of it goes into a
//! journal ([`crate::journal`]), so that nothing is lost when the process dies. Saved is what happened; what the fleet and the `Simulation` document say is read again. What a cluster that could not be
//! reached showed last is not saved: after a restart it shows what went on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use berth_api::Object;
use berth_api::resources::SimulationSpec;
use berth_control::ports::{Members, NodeProvider, Outcome};
use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Timer};
use crate::faults::Effect;
use crate::fleet::Fleet;
use crate::journal::{self, Asked};
use crate::load::Progress;
use crate::manifest::Manifest;
use crate::members::Agenda;
use crate::pods::{Applied, Pod};
use crate::provider::{Bill, Order, ProviderTotals, Request, Shelf, Step};
use crate::simulation::{Options, Simulation, SimulationError};
use crate::table::Source;

/// Number of the form in which it is saved.
const FORM: u32 = 2;
/// The first line of what is saved: this, the form, and a checksum of the rest.
const HEAD: &str = "berth-world";

#[derive(Serialize, Deserialize)]
struct World {
    /// Number of this save; the journal that follows names it.
    number: u64,
    seed: u64,
    start: Millis,
    now: Millis,
    options: Options,
    end: Option<Millis>,
    effects: Agenda<Effect>,
    timers: Agenda<(ClusterName, Timer)>,
    loads: Vec<(WorkloadKey, Progress)>,
    /// Pools that there were, so that those that come later get their nodes.
    pools: Vec<(ClusterName, PoolName)>,
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

/// What is saved without its first line, if it is what was written.
fn unsealed(bytes: &[u8]) -> Result<&[u8], String> {
    let damaged = || "it is not what was written".to_owned();
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let (head, rest) = bytes.split_at(end);
    let head = std::str::from_utf8(head).map_err(|_| damaged())?;
    let rest = rest.get(1..).unwrap_or_default();
    match head.split(' ').collect::<Vec<_>>().as_slice() {
        [HEAD, form, sum] if *form == FORM.to_string() && *sum == journal::sum(rest) => Ok(rest),
        [HEAD, form, _] if *form != FORM.to_string() => {
            Err(format!("it has form {form:?}, and this program reads form {FORM}"))
        }
        _ => Err(damaged()),
    }
}

/// What was asked after the saved world `number`.
fn since(bytes: &[u8], number: u64) -> Result<Vec<Asked>, String> {
    match journal::read(bytes)? {
        // The process died after it saved the world, and before it began another journal.
        Some((follows, _)) if follows < number => Ok(Vec::new()),
        Some((follows, _)) if follows > number => Err(format!(
            "it is of an earlier time: it was saved {number} times, and its journal follows save {follows}"
        )),
        Some((_, asked)) => Ok(asked),
        None => Ok(Vec::new()),
    }
}

fn list<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Simulation {
    /// All that happened so far.
    pub fn save(&mut self) -> Vec<u8> {
        self.saved += 1;
        let provider = &self.provider;
        let world = World {
            number: self.saved,
            seed: self.seed,
            start: self.start,
            now: self.clock.0,
            options: self.options,
            end: self.end,
            effects: self.effects.clone(),
            timers: self.members.agenda.clone(),
            loads: self.scalers.iter().map(|one| (one.load.workload.clone(), one.progress.clone())).collect(),
            pools: self.pools().collect(),
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
        let world = serde_json::to_vec(&world).unwrap_or_default();
        let mut bytes = format!("{HEAD} {FORM} {}\n", journal::sum(&world)).into_bytes();
        bytes.extend(world);
        bytes
    }

    /// Writes from now on into `sink` what is asked of this world, as the journal that follows the last [`Simulation::save`].
    /// Each line is written before what it says takes effect; whoever gives the sink sees to it that what was written there
    /// outlives the process.
    pub fn record(&mut self, sink: Box<dyn Write + Send>) {
        self.journal.start(sink, self.saved);
    }

    /// The first fault of writing the journal since this was last asked.
    pub fn journal_fault(&self) -> Option<io::Error> {
        self.journal.fault()
    }

    /// The world as it was saved, with what was asked of it since (`journal`; empty if there is none), and with the fleet as
    /// it is now. Seed, start and options are the saved ones.
    ///
    /// # Errors
    /// The bytes are not what [`Simulation::save`] and [`Simulation::record`] wrote, or the fleet and its document are not
    /// valid.
    pub fn restore(
        bytes: &[u8],
        journal: &[u8],
        objects: &[Object],
        spec: Option<&SimulationSpec>,
        source: &Source,
    ) -> Result<Self, SimulationError> {
        let fault = |what: String| SimulationError::Saved { what };
        let world: World =
            serde_json::from_slice(unsealed(bytes).map_err(fault)?).map_err(|error| fault(error.to_string()))?;
        let asked = since(journal, world.number).map_err(fault)?;
        let fleet = Fleet::from_objects(objects)?;
        let mut made = Self::empty(spec, world.seed, world.start, world.options);
        made.set_clock(world.now);
        made.take_over(fleet);
        // The series say what they load; what of them is still to come stands in the saved agenda.
        made.plan_series(spec, source)?;
        made.effects = world.effects;
        made.saved = world.number;
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
        made.seat_fresh(&world.pools.into_iter().collect::<BTreeSet<_>>());
        made.settle(world.now);
        asked.into_iter().for_each(|asked| made.again(asked));
        Ok(made)
    }

    /// What was asked once is asked again.
    fn again(&mut self, asked: Asked) {
        match asked {
            Asked::Follows(_) => {}
            Asked::Advance(to) => self.advance(to),
            Asked::Apply { cluster, workload, manifest, digest } => {
                self.members.apply(&cluster, &workload, &manifest.into_bytes().into(), &digest);
            }
            Asked::Delete { cluster, workload } => Members::delete(&mut self.members, &cluster, &workload),
            Asked::Order(order) => self.provider.order(&order),
            Asked::Cancel(order) => self.provider.cancel(&order),
            Asked::Remove { cluster, pool, node } => self.provider.remove(&cluster, &pool, &node),
        }
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
