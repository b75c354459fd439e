//! A fleet for the controller to run: the objects that users would apply, and the world behind its ports.
//!
//! Clusters have ten pools of ten nodes with eight GPUs. A workload is a Deployment of four replicas with a GPU each. What a
//! placed workload has where is a pure function of its number, so that a store and a world that know nothing of each other
//! agree. The world binds pods at once, or never where it is deaf.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use berth_api::interpret::{self, Part, revise};
use berth_api::{Manifest, Object};
use berth_control::event::Event;
use berth_control::ports::{
    Clock, ClusterObservation, ComponentObservation, Events, Members, NodeObservation, NodeProvider, OrderState,
    WorkloadObservation,
};
use berth_control::{Controller, StepReport, World};
use berth_core::fleet::{CapacityType, OfferingKey, Stock};
use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::native::Builtin;
use berth_core::placement::{NodeOrder, Share};
use berth_core::resources::NamedAmounts;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const POOLS: u32 = 10;
const NODES: u32 = 10;
/// Replicas of a workload, and those of them in each of its two clusters.
pub(super) const REPLICAS: u32 = 4;
const HERE: u32 = REPLICAS / 2;
const REGIONS: u32 = 20;
/// Where the clock stands: any moment will do.
pub(super) const START: Millis = Millis(1_767_225_600_000);

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) clusters: u32,
    pub(super) workloads: u32,
}

impl Size {
    pub(super) fn nodes(self) -> u32 {
        self.clusters * POOLS * NODES
    }
}

fn cluster_name(cluster: u32) -> String {
    format!("cluster-{cluster:05}")
}

fn pool_name(cluster: u32, pool: u32) -> String {
    format!("{}-pool-{pool}", cluster_name(cluster))
}

fn region(cluster: u32) -> u32 {
    cluster % REGIONS
}

fn parse(value: Value) -> Result<Object> {
    let parsed = Object::parse(value)
        .map_err(|issues| anyhow!("{}", issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    Ok(parsed.object)
}

fn own(kind: &str, name: &str, spec: Value) -> Result<Object> {
    parse(json!({"apiVersion": berth_api::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

fn allocatable() -> Value {
    json!({"cpu": "96", "memory": "1024Gi", "ephemeral-storage": "2Ti", "nvidia.com/gpu": 8})
}

/// Clusters, pools, offerings and the policy of all Deployments.
pub(super) fn objects(size: Size) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for region in 0..REGIONS {
        for (zone, kind) in (0..2).flat_map(|zone| (0..POOLS).map(move |kind| (zone, kind))) {
            let capacity = if kind.is_multiple_of(2) { "on-demand" } else { "spot" };
            let (name, zone) = (format!("r{region}-{zone}-g{kind}"), format!("r{region}-{zone}"));
            let price = f64::from(10 + kind + region) * 1.25;
            objects.push(own(
                "Offering",
                &name,
                json!({
                    "provider": "sim", "region": format!("r{region}"), "zone": zone, "instanceType": format!("g{kind}"),
                    "capacityType": capacity, "price": price, "interruption": 0.01, "allocatable": allocatable(),
                }),
            )?);
        }
    }
    for cluster in 0..size.clusters {
        let (name, region) = (cluster_name(cluster), region(cluster));
        let zones = [format!("r{region}-0"), format!("r{region}-1")];
        let spec = json!({"provider": "sim", "region": format!("r{region}"), "zones": zones});
        objects.push(own("Cluster", &name, spec)?);
        for pool in 0..POOLS {
            let spec = json!({"cluster": name, "instanceTypes": [format!("g{pool}")], "min": NODES, "max": 2 * NODES});
            objects.push(own("NodePool", &pool_name(cluster, pool), spec)?);
        }
    }
    objects.push(own(
        "ClusterDistributionPolicy",
        "all",
        json!({
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment"}],
            "placement": {"replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
                "weightPreference": {"dynamicWeight": "AvailableReplicas"}}},
            "elasticity": {"enabled": true},
        }),
    )?);
    Ok(objects)
}

/// CPU in cores and memory in GiB of a replica.
fn request(workload: u32) -> (u64, u64) {
    (4 + u64::from(workload % 4), 32 + 16 * u64::from(workload % 3))
}

pub(super) fn key(workload: u32) -> WorkloadKey {
    WorkloadKey::new("apps/v1/Deployment", &format!("team-{}", workload % 20), &format!("model-{workload:06}"))
}

/// A Deployment as a user would write it.
pub(super) fn manifest(workload: u32, replicas: u32) -> Result<Manifest> {
    let (key, (cpu, memory)) = (key(workload), request(workload));
    let labels = json!({"app": &*key.name, "team": &*key.namespace});
    let resources = json!({"cpu": cpu, "memory": format!("{memory}Gi"), "nvidia.com/gpu": 1});
    let object = parse(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": &*key.name, "namespace": &*key.namespace, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": &*key.name}}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "server", "image": "registry.example.com/serving/server:v1.14.2",
                "args": ["--model", "/models/main", "--tensor-parallel-size", "1", "--port", "8000"],
                "env": [{"name": "CACHE", "value": "/cache"}, {"name": "LOG_LEVEL", "value": "info"}],
                "ports": [{"containerPort": 8000}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 5},
                "resources": {"requests": resources, "limits": resources},
                "volumeMounts": [{"name": "models", "mountPath": "/models"}],
            }], "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]},
        }},
    }))?;
    match object {
        Object::Manifest(manifest) => Ok(manifest),
        _ => Err(anyhow!("a Deployment is a manifest")),
    }
}

/// Where a workload runs, in ascending order: two clusters, and one pool in each.
pub(super) fn shares(size: Size, workload: u32) -> Vec<Share> {
    let one = workload % size.clusters;
    let other = (one + 1 + workload / size.clusters % (size.clusters - 1).max(1)) % size.clusters;
    let share = |cluster: u32| Share {
        component: 0,
        cluster: ClusterName::new(cluster_name(cluster)),
        pool: PoolName::new(pool_name(cluster, (workload / size.clusters) % POOLS)),
        replicas: HERE,
    };
    let mut shares = vec![share(one), share(other)];
    shares.sort();
    shares
}

/// The world behind the ports.
pub(super) struct Outside {
    members: FleetMembers,
    provider: NoProvider,
    clock: Still,
    events: Silence,
    policies: Builtin,
}

pub(super) struct FleetMembers {
    seen: BTreeMap<ClusterName, ClusterObservation>,
    changed: BTreeSet<ClusterName>,
    /// Whether what is applied is never seen.
    deaf: bool,
}

struct NoProvider;
struct Silence;
struct Still(Millis);

fn names<const N: usize>(amounts: [(&Arc<str>, u64); N]) -> NamedAmounts {
    amounts.into_iter().map(|(name, amount)| (name.clone(), amount)).collect()
}

/// Names of resources, shared by all nodes as a client would.
struct Resources {
    cpu: Arc<str>,
    memory: Arc<str>,
    pods: Arc<str>,
    gpu: Arc<str>,
}

impl Resources {
    fn of(&self, cpu: u64, memory: u64, pods: u64, gpu: u64) -> NamedAmounts {
        names([(&self.cpu, cpu), (&self.memory, memory), (&self.pods, pods), (&self.gpu, gpu)])
    }
}

const GIB: u64 = 1 << 30;

impl Outside {
    /// The fleet with the first so many workloads placed and ready; `deaf` where nothing that is applied comes to anything.
    pub(super) fn new(size: Size, deaf: bool) -> Result<Self> {
        let resources =
            Resources { cpu: "cpu".into(), memory: "memory".into(), pods: "pods".into(), gpu: "nvidia.com/gpu".into() };
        let mut pods: BTreeMap<PoolName, Vec<u32>> = BTreeMap::new();
        let mut workloads: BTreeMap<ClusterName, BTreeMap<WorkloadKey, Arc<WorkloadObservation>>> = BTreeMap::new();
        for workload in 0..size.workloads {
            let (base, mut before) = (manifest(workload, REPLICAS)?, 0);
            for share in shares(size, workload) {
                pods.entry(share.pool.clone()).or_default().extend((0..HERE).map(|_| workload));
                let part = Part { replicas: vec![HERE], before: vec![before], total: vec![REPLICAS] };
                before += HERE;
                let seen = observation(&base, &part, [(share.pool, HERE)].into());
                workloads.entry(share.cluster).or_default().insert(key(workload), Arc::new(seen));
            }
        }
        let mut seen = BTreeMap::new();
        for cluster in 0..size.clusters {
            let name = ClusterName::new(cluster_name(cluster));
            let nodes = (0..POOLS).flat_map(|pool| nodes(cluster, pool, &pods, &resources)).collect();
            let workloads = workloads.remove(&name).unwrap_or_default();
            seen.insert(name, ClusterObservation { reachable: true, since: START, nodes, workloads });
        }
        let members = FleetMembers { changed: seen.keys().cloned().collect(), seen, deaf };
        let (clock, policies) = (Still(START), Builtin::default());
        Ok(Self { members, provider: NoProvider, clock, events: Silence, policies })
    }

    pub(super) fn step(&mut self, controller: &mut Controller) -> Result<StepReport> {
        self.clock.0 = self.clock.0.plus(1);
        let report = controller.step(&mut World {
            members: &mut self.members,
            provider: &mut self.provider,
            clock: &self.clock,
            events: &mut self.events,
            policies: &mut self.policies,
        })?;
        Ok(report)
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.0
    }

    /// One node more or less full than it was.
    pub(super) fn change_node(&mut self, round: u32) {
        let Some((name, cluster)) = self.members.seen.iter_mut().nth(round as usize % 7) else { return };
        let Some(node) = cluster.nodes.get_mut(round as usize % 50).map(Arc::make_mut) else { return };
        if let Some(free) = node.free.get_mut("cpu") {
            *free ^= 1000;
        }
        self.members.changed.insert(name.clone());
    }
}

/// What a member shows of its part of a manifest. Two things must be as the controller sends them: its bytes and digest.
fn observation(base: &Manifest, part: &Part, bound: BTreeMap<PoolName, u32>) -> WorkloadObservation {
    let mut manifest = base.clone();
    revise(&mut manifest, part);
    let digest = Sha256::digest(manifest.value().to_string().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let here = part.replicas.iter().sum();
    let component = ComponentObservation { desired: here, ready: here, bound, ..ComponentObservation::default() };
    WorkloadObservation { digest: digest.into(), components: vec![component], finished: None }
}

/// The nodes of a pool, with its pods on them in turn.
fn nodes(
    cluster: u32,
    pool: u32,
    pods: &BTreeMap<PoolName, Vec<u32>>,
    resources: &Resources,
) -> Vec<Arc<NodeObservation>> {
    let name = PoolName::new(pool_name(cluster, pool));
    let pods = pods.get(&name).map_or(&[][..], Vec::as_slice);
    let node = |number: u32| {
        let here: Vec<(u64, u64)> =
            pods.iter().skip(number as usize).step_by(NODES as usize).map(|workload| request(*workload)).collect();
        let used = here.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let count = here.len() as u64;
        let left = resources.of(96_000 - used.0 * 1000, (1024 - used.1) * GIB, 110 - count, 8 - count);
        Arc::new(NodeObservation {
            name: format!("{name}-{number}").into(),
            pool: name.clone(),
            instance_type: format!("g{pool}").as_str().into(),
            zone: format!("r{}-{}", region(cluster), number % 2).into(),
            capacity_type: Some(if pool.is_multiple_of(2) { CapacityType::OnDemand } else { CapacityType::Spot }),
            order: None,
            ready: true,
            allocatable: resources.of(96_000, 1024 * GIB, 110, 8),
            free: left,
            shared: Vec::new(),
            idle_since: here.is_empty().then_some(START),
        })
    };
    (0..NODES).map(node).collect()
}

impl Members for FleetMembers {
    fn changed(&mut self) -> Vec<ClusterName> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation> {
        self.seen.get(cluster)
    }

    fn apply(&mut self, cluster: &ClusterName, workload: &WorkloadKey, manifest: &Arc<[u8]>, digest: &Arc<str>) {
        let Some(seen) = self.seen.get_mut(cluster).filter(|_| !self.deaf) else { return };
        let Ok(Object::Manifest(manifest)) = Object::from_json(manifest) else { return };
        let Ok(asked) = interpret::components(&manifest) else { return };
        let Some(asked) = asked.components.first() else { return };
        let mut bound: BTreeMap<PoolName, u32> = BTreeMap::new();
        let old = seen.workloads.get(workload).and_then(|old| old.components.first());
        bound.extend(old.iter().flat_map(|old| old.bound.clone()));
        let mut missing = asked.replicas.saturating_sub(bound.values().sum());
        for node in &mut seen.nodes {
            let fits = |free: &NamedAmounts| {
                asked.shape.requests.iter().all(|(name, amount)| free.get(name).is_some_and(|free| free >= amount))
            };
            while missing > 0 && fits(&node.free) {
                let node = Arc::make_mut(node);
                for (name, amount) in &asked.shape.requests {
                    node.free.entry(name.clone()).and_modify(|free| *free -= amount);
                }
                *bound.entry(node.pool.clone()).or_default() += 1;
                missing -= 1;
            }
        }
        let ready = asked.replicas - missing;
        let component = ComponentObservation { desired: asked.replicas, ready, bound, ..Default::default() };
        let seen_now = WorkloadObservation { digest: digest.clone(), components: vec![component], finished: None };
        seen.workloads.insert(workload.clone(), Arc::new(seen_now));
        self.changed.insert(cluster.clone());
    }

    fn delete(&mut self, cluster: &ClusterName, workload: &WorkloadKey) {
        if let Some(seen) = self.seen.get_mut(cluster).filter(|_| !self.deaf) {
            seen.workloads.remove(workload);
            self.changed.insert(cluster.clone());
        }
    }
}

/// Orders are never heard of again.
impl NodeProvider for NoProvider {
    fn order(&mut self, _order: &NodeOrder) {}

    fn cancel(&mut self, _order: &OrderId) {}

    fn remove(&mut self, _cluster: &ClusterName, _pool: &PoolName, _node: &Arc<str>) {}

    fn order_state(&self, _order: &OrderId) -> Option<OrderState> {
        Some(OrderState::Pending)
    }

    fn stock(&mut self) -> Vec<(OfferingKey, Stock)> {
        Vec::new()
    }
}

impl Events for Silence {
    fn emit(&mut self, _event: Event) {}
}

impl Clock for Still {
    fn now(&self) -> Millis {
        self.0
    }
}
