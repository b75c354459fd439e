//! A fleet as Berth would know it: its snapshot, and the nodes from which it is observed.
//!
//! Everything follows from the seed and the number of clusters. Preparing what changed is the world's work; writing it to
//! the snapshot is Berth's, and is what a benchmark times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anyhow::{Context, Result};
use berth_core::fleet::{
    CapacityType, Cluster, Free, ObservedNodes, Offering, OfferingKey, PoolInput, PoolSpec, Snapshot, Stock,
    StockState, Taint, TaintEffect,
};
use berth_core::ids::{ClusterName, ClusterRow, Millis, OfferingRow, PoolName, QuotaRow, ShapeRow};
use berth_core::placement::{Placement, Share};
use berth_core::plan::Change;
use berth_core::quota::{Quota, QuotaTree};
use berth_core::resources::{Amounts, CPU_ROW, GPU_ROW, MEMORY_ROW, PODS_ROW};
use berth_core::workload::Workload;

use super::node::Pool;
use super::random::Random;

pub(super) const PROVIDERS: [&str; 3] = ["aws", "azure", "gcp"];
pub(super) const GPU_TAINT: &str = "nvidia.com/gpu";
pub(super) const NAMESPACES: usize = 8;

const CLUSTERS_A_REGION: u32 = 20;
const ZONES: [&str; 3] = ["a", "b", "c"];
/// Decisions after which a pod is bound, and after which an ordered node arrives.
const BINDS_AFTER: u64 = 4;
const ARRIVES_AFTER: u64 = 12;
const GI: u64 = 1 << 30;

/// Name, CPUs, GiB, GPUs, USD per hour.
type InstanceType = (&'static str, u64, u64, u64, f64);

const TYPES: [InstanceType; 8] = [
    ("a100-8", 96, 1152, 8, 32.8),
    ("h100-8", 192, 2048, 8, 98.3),
    ("l4-1", 16, 64, 1, 0.9),
    ("l4-4", 48, 192, 4, 4.6),
    ("a10-1", 32, 128, 1, 1.6),
    ("t4-4", 48, 192, 4, 3.9),
    ("v100-1", 8, 61, 1, 3.1),
    ("cpu-64", 64, 256, 0, 2.7),
];

/// The pools of every cluster: instance type and whether it is spot.
const POOLS: [(usize, bool); 10] = [
    (0, false),
    (0, true),
    (1, false),
    (2, false),
    (2, true),
    (3, false),
    (4, false),
    (5, false),
    (6, false),
    (7, false),
];

pub(super) fn cluster_name(number: u32) -> ClusterName {
    ClusterName::new(format!("cluster-{number:05}"))
}

pub(super) fn region_name(number: u32) -> String {
    format!("region-{number:04}")
}

pub(super) fn regions(clusters: u32) -> u32 {
    clusters.div_ceil(CLUSTERS_A_REGION)
}

/// What is written to the snapshot before a decision.
#[derive(Default)]
pub(super) struct Delta {
    now: Millis,
    pools: Vec<(ClusterRow, PoolSpec, PoolInput)>,
    stock: Vec<Offering>,
    quotas: Option<QuotaTree>,
}

pub(super) struct World {
    pub(super) snapshot: Snapshot,
    pools: Vec<Pool>,
    pool_at: BTreeMap<(ClusterName, PoolName), usize>,
    fresh: BTreeMap<OfferingRow, ObservedNodes>,
    quotas: QuotaTree,
    random: Random,
    steps: u64,
    changed: BTreeSet<usize>,
    binds: VecDeque<(u64, usize)>,
    arrives: VecDeque<(u64, usize, OfferingRow, u32)>,
}

fn amounts((_, cpu, memory, gpus, _): InstanceType) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(CPU_ROW, cpu * 1000);
    amounts.set(MEMORY_ROW, memory * GI);
    amounts.set(PODS_ROW, 110);
    amounts.set(GPU_ROW, gpus);
    amounts
}

fn cluster(number: u32, region: u32, random: &mut Random) -> Cluster {
    let taint = Taint { key: "maintenance".into(), value: "".into(), effect: TaintEffect::NoSchedule };
    let label = |key: &str, value: String| (Arc::from(key), Arc::from(value));
    Cluster {
        name: cluster_name(number),
        provider: PROVIDERS[region as usize % PROVIDERS.len()].into(),
        region: region_name(region).into(),
        zones: ZONES.iter().map(|zone| format!("{}{zone}", region_name(region)).into()).collect(),
        labels: [
            label("env", ["prod", "staging", "dev", "batch"][random.below(4)].into()),
            label("team", format!("team-{}", random.below(40))),
        ]
        .into(),
        taints: if random.chance(3) { vec![taint] } else { Vec::new() },
        reachable: !random.chance(2),
        reachable_since: Millis(0),
        columns: [("carbon".into(), f64::from(random.between(20, 600)))].into(),
        removed: false,
    }
}

fn stock(random: &mut Random, now: Millis) -> Stock {
    let (state, lower_bound) = match random.below(10) {
        0..=4 => (StockState::InStock, random.between(4, 60)),
        5 => (StockState::InStock, 0),
        6..=7 => (StockState::Limited, random.between(1, 6)),
        8 => (StockState::OutOfStock, 0),
        _ => (StockState::Unknown, 0),
    };
    Stock { state, lower_bound, confidence: 0.9, observed_at: now, ttl_ms: 3_600_000, probe: 1, ..Stock::default() }
}

/// Nodes by what is free on them: of ten 7 are full, and of the others half are empty and half used in part.
fn nodes(kind: InstanceType, zone: &Arc<str>, offering: OfferingRow, random: &mut Random) -> Vec<ObservedNodes> {
    let group = |free: Amounts, count: u32| ObservedNodes {
        instance_type: kind.0.into(),
        zone: zone.clone(),
        offering: Some(offering),
        allocatable: amounts(kind),
        free: Free::new(free),
        count,
    };
    let full = || {
        let mut free = Amounts::default();
        free.set(CPU_ROW, 500);
        free.set(PODS_ROW, 80);
        free
    };
    let mut part = amounts(kind);
    let share = random.between(1, 3);
    for (row, amount) in amounts(kind).iter() {
        part.set(row, amount * u64::from(share) / 4);
    }
    let groups = [(full(), random.between(1, 4)), (amounts(kind), random.between(0, 1)), (part, random.between(0, 1))];
    groups.into_iter().filter(|(_, count)| *count > 0).map(|(free, count)| group(free, count)).collect()
}

impl World {
    pub(super) fn new(clusters: u32, seed: u64) -> Result<Self> {
        let mut world = Self {
            snapshot: Snapshot::default(),
            pools: Vec::new(),
            pool_at: BTreeMap::new(),
            fresh: BTreeMap::new(),
            quotas: QuotaTree::default(),
            random: Random::new(seed),
            steps: 0,
            changed: BTreeSet::new(),
            binds: VecDeque::new(),
            arrives: VecDeque::new(),
        };
        let regions = regions(clusters);
        (0..regions).for_each(|region| world.add_offerings(region));
        for number in 0..clusters {
            let region = number % regions;
            let row = world.snapshot.upsert_cluster(cluster(number, region, &mut world.random));
            for at in 0..POOLS.len() {
                world.add_pool(row, region, at)?;
            }
        }
        world.set_quotas(clusters);
        Ok(world)
    }

    fn key(region: u32, zone: &str, kind: InstanceType, spot: bool) -> OfferingKey {
        OfferingKey {
            provider: PROVIDERS[region as usize % PROVIDERS.len()].into(),
            region: region_name(region).into(),
            zone: format!("{}{zone}", region_name(region)).into(),
            instance_type: kind.0.into(),
            capacity_type: if spot { CapacityType::Spot } else { CapacityType::OnDemand },
        }
    }

    fn add_offerings(&mut self, region: u32) {
        for (kind, spot) in POOLS {
            let kind = TYPES[kind];
            for zone in ZONES {
                let key = Self::key(region, zone, kind, spot);
                let dearer = f64::from(self.random.between(90, 130)) / 100.0;
                let row = self.snapshot.upsert_offering(Offering {
                    key: key.clone(),
                    price: kind.4 * dearer * if spot { 0.35 } else { 1.0 },
                    interruption: if spot { f64::from(self.random.between(5, 20)) / 100.0 } else { 0.0 },
                    allocatable: amounts(kind),
                    stock: stock(&mut self.random, Millis(1)),
                    in_flight: 0,
                });
                let fresh = ObservedNodes {
                    instance_type: key.instance_type,
                    zone: key.zone,
                    offering: Some(row),
                    allocatable: amounts(kind),
                    free: Free::new(amounts(kind)),
                    count: 1,
                };
                self.fresh.insert(row, fresh);
            }
        }
    }

    fn add_pool(&mut self, cluster: ClusterRow, region: u32, at: usize) -> Result<()> {
        let (kind, spot) = POOLS[at];
        let kind = TYPES[kind];
        let mut offerings = Vec::new();
        let mut there = Vec::new();
        for zone in ZONES {
            let key = Self::key(region, zone, kind, spot);
            let row = self.snapshot.offering_row(&key).context("an offering is missing")?;
            there.extend(nodes(kind, &key.zone, row, &mut self.random));
            offerings.push(row);
        }
        let count: u32 = there.iter().map(|nodes| nodes.count).sum();
        let taint = Taint { key: GPU_TAINT.into(), value: "present".into(), effect: TaintEffect::NoSchedule };
        let spec = PoolSpec {
            name: PoolName::new(format!("{}{}", kind.0, if spot { "-spot" } else { "" })),
            labels: [("pool".into(), kind.0.into())].into(),
            taints: if kind.3 > 0 { vec![taint] } else { Vec::new() },
            offerings,
            min: 0,
            max: count + self.random.between(0, 6),
            lead_seconds: self.random.between(60, 400),
        };
        let name = self.snapshot.cluster(cluster).context("a cluster is missing")?.name.clone();
        self.pool_at.insert((name, spec.name.clone()), self.pools.len());
        let pool = Pool::new(cluster, spec.clone(), there);
        self.snapshot.set_pool(cluster, spec, pool.input())?;
        self.pools.push(pool);
        Ok(())
    }

    /// A root, and a leaf a namespace that may borrow; wide enough that some decisions feel them and most do not.
    fn set_quotas(&mut self, clusters: u32) {
        let gpus = u64::from(clusters) * 40;
        let quota = |name: &str, parent: Option<QuotaRow>, min: u64, max: u64, namespaces: Vec<Arc<str>>| {
            let mut guaranteed = Amounts::default();
            guaranteed.set(GPU_ROW, min);
            Quota { name: name.into(), parent, min: guaranteed, max: vec![(GPU_ROW, max)], namespaces }
        };
        let mut quotas = vec![quota("root", None, gpus, gpus, Vec::new())];
        for number in 0..NAMESPACES {
            let name = format!("team-{number}");
            let share = gpus / NAMESPACES as u64;
            quotas.push(quota(&name, Some(QuotaRow(0)), share, share * 2, vec![name.as_str().into()]));
        }
        let used = vec![Amounts::default(); quotas.len()];
        self.quotas = QuotaTree { quotas: quotas.into(), used };
        self.snapshot.set_quotas(self.quotas.clone());
    }

    /// The time of the next decision: one a tenth of a second.
    pub(super) fn now(&self) -> Millis {
        Millis(1_700_000_000_000 + self.steps * 100)
    }

    /// What changed since the last decision.
    pub(super) fn delta(&mut self) -> Delta {
        self.steps += 1;
        let need = |snapshot: &Snapshot, shape: ShapeRow| snapshot.need(shape).cloned();
        while let Some((_, pool, offering, nodes)) = self.arrives.pop_front_if(|next| next.0 <= self.steps) {
            if let Some(fresh) = self.fresh.get(&offering) {
                self.pools[pool].arrive(offering, fresh, nodes);
                self.binds.push_front((self.steps, pool));
                self.changed.insert(pool);
            }
        }
        while let Some((_, pool)) = self.binds.pop_front_if(|next| next.0 <= self.steps) {
            self.pools[pool].bind(|shape| need(&self.snapshot, shape));
            self.changed.insert(pool);
        }
        let row = |at: usize| {
            let pool = &self.pools[at];
            (pool.cluster, pool.spec.clone(), pool.input())
        };
        let pools = std::mem::take(&mut self.changed).into_iter().map(row).collect();
        let mut stocks = Vec::new();
        if self.steps.is_multiple_of(4) {
            let row = OfferingRow(self.random.below(self.snapshot.offerings().count()) as u32);
            let now = self.now();
            let offering = self.snapshot.offering(row).cloned();
            stocks.extend(offering.map(|known| Offering { stock: stock(&mut self.random, now), ..known }));
        }
        Delta { now: self.now(), pools, stock: stocks, quotas: Some(self.quotas.clone()) }
    }

    /// Berth's part of a delta.
    pub(super) fn write(&mut self, delta: Delta) -> Result<()> {
        self.snapshot.advance(delta.now);
        for (cluster, spec, input) in delta.pools {
            self.snapshot.set_pool(cluster, spec, input)?;
        }
        for offering in delta.stock {
            self.snapshot.upsert_offering(offering);
        }
        if let Some(quotas) = delta.quotas {
            self.snapshot.set_quotas(quotas);
        }
        Ok(())
    }

    /// Carries out a change of a workload's placement.
    pub(super) fn commit(&mut self, workload: &Workload, before: Option<&Placement>, change: &Change) {
        let (before, after) = (before.map_or(&[][..], |before| &before.shares), &change.placement.shares[..]);
        self.shift(workload, before, after);
        for order in &change.orders {
            let pool = self.pool_at.get(&(order.cluster.clone(), order.pool.clone())).copied();
            let (Some(pool), Some(offering)) = (pool, self.snapshot.offering_row(&order.offering)) else { continue };
            self.pools[pool].order(offering, order.nodes);
            self.arrives.push_back((self.steps + ARRIVES_AFTER, pool, offering, order.nodes));
            self.changed.insert(pool);
        }
    }

    /// Ends a workload.
    pub(super) fn end(&mut self, workload: &Workload, placement: &Placement) {
        self.shift(workload, &placement.shares, &[]);
    }

    fn shift(&mut self, workload: &Workload, before: &[Share], after: &[Share]) {
        let leaf = self.quotas.leaf(&workload.key.namespace);
        let at = |shares: &[Share], one: &Share| {
            let same = |other: &&Share| {
                (other.component, &other.cluster, &other.pool) == (one.component, &one.cluster, &one.pool)
            };
            shares.iter().find(same).map_or(0, |share| share.replicas)
        };
        for share in before {
            self.change(workload, share, leaf, share.replicas.saturating_sub(at(after, share)), false);
        }
        for share in after {
            self.change(workload, share, leaf, share.replicas.saturating_sub(at(before, share)), true);
        }
    }

    fn change(&mut self, workload: &Workload, share: &Share, leaf: Option<QuotaRow>, replicas: u32, more: bool) {
        let pool = self.pool_at.get(&(share.cluster.clone(), share.pool.clone())).copied();
        let shape =
            workload.components.get(share.component as usize).and_then(|one| self.snapshot.shape_row(&one.shape));
        let (Some(pool), Some(shape), true) = (pool, shape, replicas > 0) else { return };
        let Some(need) = self.snapshot.need(shape).cloned() else { return };
        self.changed.insert(pool);
        if more {
            self.pools[pool].place(shape, replicas);
            self.binds.push_back((self.steps + BINDS_AFTER, pool));
        } else {
            self.pools[pool].end(shape, replicas, |shape| self.snapshot.need(shape).cloned());
        }
        match leaf {
            Some(leaf) if more => self.quotas.charge(leaf, &need.request, u64::from(replicas)),
            Some(leaf) => self.quotas.refund(leaf, &need.request, u64::from(replicas)),
            None => {}
        }
    }
}
