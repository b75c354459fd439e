//! One simulated member cluster: what was applied, its pods and nodes, its scheduler, and what can be seen of it.
//!
//! Changes happen at once inside; what is seen is brought up to date by [`Cluster::publish`], and only while the cluster can
//! be reached. So a cluster that comes back after a loss shows what went on meanwhile. The scheduler looks again only when
//! there is more room than when it last found none, so that waiting pods cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::ports::{ClusterObservation, NodeObservation, Outcome};
use berth_core::fleet::{Need, OfferingKey, PoolSpec};
use berth_core::ids::{ClusterName, Millis, OrderId, WorkloadKey};
use berth_core::workload::Shape;

use crate::manifest::{Manifest, Run};
use crate::node::{Binding, Class, Nodes, Scoring};
use crate::pods::{Applied, Component, Phase, Pod};
use crate::random;

/// How long pods take to start, and how nodes are chosen for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) seed: u64,
    /// From bound to ready, milliseconds; chosen evenly for each pod.
    pub(crate) pod_start: (u64, u64),
    pub(crate) scoring: Scoring,
}

/// Something that happens in a cluster by itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Timer {
    PodReady { workload: WorkloadKey, component: u32, number: u32, life: u64 },
    Finish { workload: WorkloadKey, run: u64 },
}

/// How many times slower everything starts while starts are slow.
const SLOW: u64 = 10;

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: ClusterName,
    pub(crate) nodes: Nodes,
    pub(crate) workloads: BTreeMap<WorkloadKey, Applied>,
    pub(crate) slow: bool,
    pub(crate) observed: ClusterObservation,
    pub(crate) reachable: bool,
    pub(crate) lives: u64,
    /// Workloads with pods that wait for a node, longest first.
    waiting: BTreeSet<(Millis, WorkloadKey)>,
    /// By node, the pods on it.
    on_node: BTreeMap<Arc<str>, BTreeSet<(WorkloadKey, u32, u32)>>,
    /// Shapes and gangs that found no room since the cluster last had more of it.
    stuck_shapes: BTreeSet<Arc<Shape>>,
    stuck_gangs: BTreeSet<WorkloadKey>,
    needs: BTreeMap<Arc<Shape>, Arc<Need>>,
    dirty_nodes: BTreeSet<Arc<str>>,
    dirty_workloads: BTreeSet<WorkloadKey>,
    pub(crate) schedule_due: bool,
    /// What is seen stands still.
    pub(crate) stale: bool,
    remembered: Option<Box<Remembered>>,
}

/// A cluster's state at an earlier time.
#[derive(Debug)]
struct Remembered {
    observed: ClusterObservation,
    /// Digests and manifests.
    applied: BTreeMap<WorkloadKey, (Arc<str>, Arc<[u8]>)>,
}

/// Timers that a change set, as (time, what).
pub(crate) type Timers = Vec<(Millis, Timer)>;

impl Cluster {
    pub(crate) fn new(name: ClusterName, now: Millis) -> Self {
        let observed = ClusterObservation { reachable: true, since: now, ..ClusterObservation::default() };
        Self {
            name,
            nodes: Nodes::default(),
            workloads: BTreeMap::new(),
            slow: false,
            observed,
            reachable: true,
            lives: 0,
            waiting: BTreeSet::new(),
            on_node: BTreeMap::new(),
            stuck_shapes: BTreeSet::new(),
            stuck_gangs: BTreeSet::new(),
            needs: BTreeMap::new(),
            dirty_nodes: BTreeSet::new(),
            dirty_workloads: BTreeSet::new(),
            schedule_due: false,
            stale: false,
            remembered: None,
        }
    }

    pub(crate) fn slowness(&self) -> u64 {
        if self.slow { SLOW } else { 1 }
    }

    /// Whether something is not seen yet that could be.
    pub(crate) fn is_dirty(&self) -> bool {
        self.reachable && !self.stale && !(self.dirty_nodes.is_empty() && self.dirty_workloads.is_empty())
    }

    // --- what is asked of it ---

    /// Applies a manifest that was read. The same digest again changes nothing; neither does anything once a task ended.
    pub(crate) fn apply(
        &mut self,
        key: &WorkloadKey,
        digest: &Arc<str>,
        bytes: &Arc<[u8]>,
        manifest: &Manifest,
        now: Millis,
    ) {
        let known = self.workloads.get(key);
        if known.is_some_and(|known| known.digest == *digest || known.finished.is_some()) {
            return;
        }
        let mut applied = match self.unlist(key) {
            Some(known) => Applied {
                components: known.components,
                pending_since: known.pending_since,
                started_runs: known.started_runs,
                running: known.running,
                ..Applied::new(digest.clone(), bytes.clone(), manifest)
            },
            None => Applied::new(digest.clone(), bytes.clone(), manifest),
        };
        let surplus = applied.components.split_off(manifest.components.len().min(applied.components.len()));
        for (number, component) in surplus.into_iter().enumerate() {
            self.give_up(key, (manifest.components.len() + number) as u32, component, now);
        }
        for (number, wanted) in manifest.components.iter().enumerate() {
            let need = self.need(&wanted.shape);
            let replaced = applied.components.get(number).is_some_and(|known| known.need.shape != wanted.shape);
            if replaced || applied.components.len() <= number {
                let fresh = Component { need, desired: 0, pods: BTreeMap::new(), unready_since: None };
                if replaced {
                    // A pod with other requests cannot take over the old one's room; all are replaced at once.
                    let old = std::mem::replace(&mut applied.components[number], fresh);
                    self.give_up(key, number as u32, old, now);
                } else {
                    applied.components.push(fresh);
                }
            }
            applied.components[number].desired = wanted.replicas;
        }
        self.workloads.insert(key.clone(), applied);
        self.scale(key, now);
        self.list(key, now);
        self.schedule_due = true;
    }

    pub(crate) fn delete(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(gone) = self.unlist(key) else { return };
        for (number, component) in gone.components.into_iter().enumerate() {
            self.give_up(key, number as u32, component, now);
        }
        self.stuck_gangs.remove(key);
        self.dirty_workloads.insert(key.clone());
    }

    pub(crate) fn add_node(
        &mut self,
        name: &Arc<str>,
        class: Class,
        from: (Option<OfferingKey>, Option<OrderId>),
        now: Millis,
    ) {
        if self.nodes.add(name, class, from.0, from.1, now) {
            self.dirty_nodes.insert(name.clone());
            self.more_room();
        }
    }

    /// Gives the nodes of a pool what was changed of it. What runs on them stays.
    pub(crate) fn set_pool(&mut self, pool: &Arc<PoolSpec>) {
        if self.nodes.set_pool(pool) {
            self.more_room();
        }
    }

    /// Removes a node with all that runs on it; its pods wait for another node. Says from which offering it came.
    pub(crate) fn remove_node(&mut self, name: &Arc<str>, now: Millis) -> Option<Option<OfferingKey>> {
        let node = self.nodes.remove(name)?;
        self.dirty_nodes.insert(name.clone());
        let mut gangs = BTreeSet::new();
        for (key, component, number) in self.on_node.remove(name).unwrap_or_default() {
            self.lives += 1;
            let Some(workload) = self.workloads.get_mut(&key) else { continue };
            if workload.run == Run::Together {
                gangs.insert(key.clone());
            }
            if let Some(pod) = workload.pod_mut((component, number)) {
                *pod = Pod { phase: Phase::Pending, binding: None, life: self.lives };
            }
            workload.running = false;
            self.relist(&key, now);
        }
        self.schedule_due = true;
        // A gang that lost a member starts again as a whole.
        for key in gangs {
            self.restart(&key, now);
        }
        Some(node.offering)
    }

    pub(crate) fn set_reachable(&mut self, reachable: bool, now: Millis) {
        if self.reachable != reachable {
            self.reachable = reachable;
            self.observed.reachable = reachable;
            self.observed.since = now;
        }
    }

    pub(crate) fn remember(&mut self) {
        let applied = self.workloads.iter();
        let applied = applied.map(|(key, known)| (key.clone(), (known.digest.clone(), known.bytes.clone()))).collect();
        self.remembered = Some(Box::new(Remembered { observed: self.observed.clone(), applied }));
    }

    /// Brings back what was applied when it was last remembered: nothing that came since, and with the manifests of then.
    /// Work that ended stays as it is, since its end is history and not state.
    pub(crate) fn restore_remembered(&mut self, now: Millis) {
        let Some(remembered) = self.remembered.take() else { return };
        let fresh: Vec<WorkloadKey> =
            self.workloads.keys().filter(|key| !remembered.applied.contains_key(*key)).cloned().collect();
        fresh.iter().for_each(|key| self.delete(key, now));
        for (key, (digest, bytes)) in &remembered.applied {
            if let Ok(manifest) = Manifest::read(bytes) {
                self.apply(key, digest, bytes, &manifest, now);
            }
        }
        self.remembered = Some(remembered);
    }

    /// Lets what is seen stand still at what was remembered, or at what is seen now; or lets everything be seen again.
    pub(crate) fn set_stale(&mut self, stale: bool) {
        self.stale = stale;
        if !stale {
            // Whatever an old view showed is compared anew.
            let nodes = self.nodes.iter().map(|(name, _)| name.clone());
            self.dirty_nodes.extend(nodes.chain(self.observed.nodes.iter().map(|node| node.name.clone())));
            self.dirty_workloads.extend(self.workloads.keys().chain(self.observed.workloads.keys()).cloned());
        } else if let Some(remembered) = &self.remembered {
            let (reachable, since) = (self.observed.reachable, self.observed.since);
            self.observed = ClusterObservation { reachable, since, ..remembered.observed.clone() };
        }
    }

    // --- what happens by itself ---

    pub(crate) fn fire(&mut self, timer: &Timer, now: Millis, timers: &mut Timers) {
        match timer {
            Timer::PodReady { workload, component, number, life } => {
                let pod = self.workloads.get_mut(workload).and_then(|known| known.pod_mut((*component, *number)));
                if let Some(pod) = pod.filter(|pod| pod.life == *life && pod.phase == Phase::Starting) {
                    pod.phase = Phase::Ready;
                    self.schedule_due |= self.workloads.get(workload).is_some_and(|known| known.run == Run::InOrder);
                    self.relist(workload, now);
                    self.start_run(workload, now, timers);
                }
            }
            Timer::Finish { workload, run } => {
                let ends = |known: &Applied| known.running && known.started_runs == *run && known.finished.is_none();
                if self.workloads.get(workload).is_some_and(ends) {
                    self.finish(workload, now);
                }
            }
        }
    }

    /// Binds what can be bound.
    pub(crate) fn schedule(&mut self, pace: &Pace, now: Millis, timers: &mut Timers) {
        if !std::mem::take(&mut self.schedule_due) {
            return;
        }
        let waiting: Vec<WorkloadKey> = self.waiting.iter().map(|(_, key)| key.clone()).collect();
        for key in waiting {
            let Some(workload) = self.workloads.get(&key) else { continue };
            let (together, pods) = (workload.run == Run::Together, workload.bindable());
            let bound = if together && workload.pods().all(|(_, pod)| pod.phase == Phase::Pending) {
                self.bind_all(&key, &pods, pace)
            } else {
                self.bind_each(&key, &pods, pace)
            };
            if bound.is_empty() {
                continue;
            }
            self.start(&key, bound, pace, now, timers);
            self.relist(&key, now);
        }
    }

    /// Binds all of these pods or none.
    fn bind_all(&mut self, key: &WorkloadKey, pods: &[(u32, u32)], pace: &Pace) -> Vec<((u32, u32), Binding)> {
        if self.stuck_gangs.contains(key) {
            return Vec::new();
        }
        let Some(workload) = self.workloads.get(key) else { return Vec::new() };
        let mut bound = Vec::with_capacity(pods.len());
        for id in pods {
            let Some(component) = workload.components.get(id.0 as usize) else { continue };
            match self.nodes.bind(&component.need, pace.scoring) {
                Some(binding) => bound.push((*id, component.need.clone(), binding)),
                None => {
                    bound.iter().for_each(|(_, need, binding)| self.nodes.undo(need, binding));
                    self.stuck_gangs.insert(key.clone());
                    return Vec::new();
                }
            }
        }
        bound.into_iter().map(|(id, _, binding)| (id, binding)).collect()
    }

    fn bind_each(&mut self, key: &WorkloadKey, pods: &[(u32, u32)], pace: &Pace) -> Vec<((u32, u32), Binding)> {
        let Some(workload) = self.workloads.get(key) else { return Vec::new() };
        let mut bound = Vec::new();
        for id in pods {
            let Some(component) = workload.components.get(id.0 as usize) else { continue };
            if self.stuck_shapes.contains(&component.need.shape) {
                continue;
            }
            match self.nodes.bind(&component.need, pace.scoring) {
                Some(binding) => bound.push((*id, binding)),
                None => _ = self.stuck_shapes.insert(component.need.shape.clone()),
            }
        }
        bound
    }

    fn start(
        &mut self,
        key: &WorkloadKey,
        bound: Vec<((u32, u32), Binding)>,
        pace: &Pace,
        now: Millis,
        timers: &mut Timers,
    ) {
        let slowness = self.slowness();
        let Some(workload) = self.workloads.get_mut(key) else { return };
        for (id, binding) in bound {
            self.lives += 1;
            self.dirty_nodes.insert(binding.node.clone());
            self.on_node.entry(binding.node.clone()).or_default().insert((key.clone(), id.0, id.1));
            let Some(pod) = workload.pod_mut(id) else { continue };
            *pod = Pod { phase: Phase::Starting, binding: Some(binding), life: self.lives };
            let what = format!("pod/{}/{key}", self.name);
            let takes = random::between(pace.seed, &what, self.lives, pace.pod_start.0, pace.pod_start.1);
            let ready = Timer::PodReady { workload: key.clone(), component: id.0, number: id.1, life: self.lives };
            timers.push((now.plus(takes.saturating_mul(slowness)), ready));
        }
    }

    /// Starts the clock of a task once all its pods run.
    fn start_run(&mut self, key: &WorkloadKey, now: Millis, timers: &mut Timers) {
        let Some(workload) = self.workloads.get_mut(key) else { return };
        let Some(duration) = workload.duration_ms.filter(|_| workload.run.ends()) else { return };
        if workload.all_ready() && !workload.running {
            workload.running = true;
            workload.started_runs += 1;
            timers.push((now.plus(duration), Timer::Finish { workload: key.clone(), run: workload.started_runs }));
        }
    }

    fn finish(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(mut workload) = self.unlist(key) else { return };
        for (number, component) in std::mem::take(&mut workload.components).into_iter().enumerate() {
            let (need, desired) = (component.need.clone(), component.desired);
            self.give_up(key, number as u32, component, now);
            workload.components.push(Component { need, desired, pods: BTreeMap::new(), unready_since: None });
        }
        workload.finished = Some(Outcome::Succeeded);
        workload.running = false;
        self.workloads.insert(key.clone(), workload);
        self.dirty_workloads.insert(key.clone());
    }

    // --- keeping everything in step ---

    fn need(&mut self, shape: &Arc<Shape>) -> Arc<Need> {
        if let Some(known) = self.needs.get(shape) {
            return known.clone();
        }
        let request = self.nodes.resources.amounts(&shape.requests);
        let need = Arc::new(Need::new(shape.clone(), request));
        self.needs.insert(shape.clone(), need.clone());
        need
    }

    /// Brings the number of pods to what is desired.
    fn scale(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(mut workload) = self.workloads.remove(key) else { return };
        let run = workload.run;
        for (number, component) in workload.components.iter_mut().enumerate() {
            for surplus in component.surplus(run) {
                if let Some(pod) = component.pods.remove(&surplus) {
                    self.unbind(key, (number as u32, surplus), pod, &component.need, now);
                }
            }
            let missing = (component.desired as usize).saturating_sub(component.pods.len());
            for fresh in component.free_numbers(missing) {
                self.lives += 1;
                component.pods.insert(fresh, Pod { phase: Phase::Pending, binding: None, life: self.lives });
            }
        }
        self.workloads.insert(key.clone(), workload);
    }

    fn give_up(&mut self, key: &WorkloadKey, number: u32, component: Component, now: Millis) {
        for (pod_number, pod) in component.pods {
            self.unbind(key, (number, pod_number), pod, &component.need, now);
        }
    }

    fn unbind(&mut self, key: &WorkloadKey, id: (u32, u32), pod: Pod, need: &Need, now: Millis) {
        let Some(binding) = pod.binding else { return };
        self.nodes.release(need, &binding, now);
        if let Some(pods) = self.on_node.get_mut(&binding.node) {
            pods.remove(&(key.clone(), id.0, id.1));
        }
        self.dirty_nodes.insert(binding.node);
        self.more_room();
    }

    /// Puts all pods of a workload back to waiting.
    fn restart(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(mut workload) = self.unlist(key) else { return };
        for (number, component) in workload.components.iter_mut().enumerate() {
            for (pod_number, pod) in &mut component.pods {
                self.lives += 1;
                let fresh = Pod { phase: Phase::Pending, binding: None, life: self.lives };
                let old = std::mem::replace(pod, fresh);
                self.unbind(key, (number as u32, *pod_number), old, &component.need, now);
            }
        }
        workload.running = false;
        self.workloads.insert(key.clone(), workload);
        self.list(key, now);
    }

    fn more_room(&mut self) {
        self.stuck_shapes.clear();
        self.stuck_gangs.clear();
        self.schedule_due = true;
    }

    /// Takes a workload out, and off the list of those that wait.
    fn unlist(&mut self, key: &WorkloadKey) -> Option<Applied> {
        let workload = self.workloads.remove(key)?;
        if let Some(since) = workload.pending_since {
            self.waiting.remove(&(since, key.clone()));
        }
        Some(workload)
    }

    fn relist(&mut self, key: &WorkloadKey, now: Millis) {
        if let Some(since) = self.workloads.get(key).and_then(|workload| workload.pending_since) {
            self.waiting.remove(&(since, key.clone()));
        }
        self.list(key, now);
    }

    /// Notes whether a workload waits for nodes and whether it is ready, and that it is to be seen anew.
    fn list(&mut self, key: &WorkloadKey, now: Millis) {
        let Some(workload) = self.workloads.get_mut(key) else { return };
        let waits = workload.pods().any(|(_, pod)| pod.phase == Phase::Pending);
        workload.pending_since = waits.then(|| workload.pending_since.unwrap_or(now));
        for component in &mut workload.components {
            component.unready_since = (!component.is_ready()).then(|| component.unready_since.unwrap_or(now));
        }
        if let Some(since) = workload.pending_since {
            self.waiting.insert((since, key.clone()));
        }
        self.stuck_gangs.remove(key);
        self.dirty_workloads.insert(key.clone());
    }

    /// Brings what is seen up to date. Nothing is seen of a cluster that cannot be reached.
    pub(crate) fn publish(&mut self) {
        if !self.reachable || self.stale {
            return;
        }
        for name in std::mem::take(&mut self.dirty_nodes) {
            let place = self.observed.nodes.binary_search_by(|seen| seen.name.cmp(&name));
            match (self.see_node(&name), place) {
                (Some(node), Ok(at)) => self.observed.nodes[at] = Arc::new(node),
                (Some(node), Err(at)) => self.observed.nodes.insert(at, Arc::new(node)),
                (None, Ok(at)) => _ = self.observed.nodes.remove(at),
                (None, Err(_)) => {}
            }
        }
        for key in std::mem::take(&mut self.dirty_workloads) {
            match self.workloads.get(&key) {
                Some(workload) => {
                    let nodes = &self.nodes;
                    let pool_of = |node: &str| nodes.get(node).map(|node| nodes.class_of(node).pool.name.clone());
                    let seen = workload.observe(pool_of);
                    self.observed.workloads.insert(key, Arc::new(seen));
                }
                None => _ = self.observed.workloads.remove(&key),
            }
        }
    }

    fn see_node(&self, name: &Arc<str>) -> Option<NodeObservation> {
        let node = self.nodes.get(name)?;
        let class = self.nodes.class_of(node);
        Some(NodeObservation {
            name: name.clone(),
            pool: class.pool.name.clone(),
            instance_type: class.instance_type.clone(),
            zone: class.zone.clone(),
            capacity_type: class.capacity_type,
            order: node.order.clone(),
            ready: true,
            allocatable: class.allocatable.named(&self.nodes.resources),
            free: node.named_free(&self.nodes.resources),
            shared: node.free.shared.clone(),
            idle_since: node.idle_since(),
        })
    }

    // --- for a restart ---

    /// Puts a saved workload back, with its pods where they ran. A pod whose node is not there any more waits for another.
    pub(crate) fn restore(&mut self, key: &WorkloadKey, mut workload: Applied, now: Millis) {
        for (number, component) in workload.components.iter_mut().enumerate() {
            for (pod_number, pod) in &mut component.pods {
                let Some(binding) = &pod.binding else { continue };
                if self.nodes.rebind(&component.need, binding) {
                    let here = (key.clone(), number as u32, *pod_number);
                    self.on_node.entry(binding.node.clone()).or_default().insert(here);
                    self.dirty_nodes.insert(binding.node.clone());
                } else {
                    self.lives += 1;
                    *pod = Pod { phase: Phase::Pending, binding: None, life: self.lives };
                }
            }
        }
        self.workloads.insert(key.clone(), workload);
        self.list(key, now);
        self.schedule_due = true;
    }

    /// A component as it is saved, with the shape that the manifest gives it.
    pub(crate) fn component(
        &mut self,
        shape: &Arc<Shape>,
        desired: u32,
        pods: BTreeMap<u32, Pod>,
        unready_since: Option<Millis>,
    ) -> Component {
        Component { need: self.need(shape), desired, pods, unready_since }
    }
}
