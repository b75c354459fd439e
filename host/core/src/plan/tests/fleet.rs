//! Small fleets and workloads for tests. One replica takes one GPU, one node has one GPU and costs 1 USD per hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{
    CapacityType, Cluster, Free, ObservedNodes, Offering, OfferingKey, PoolInput, PoolSpec, Snapshot, Stock, StockState,
};
use crate::ids::{Millis, PlanId, WorkloadKey};
use crate::plan::{Entry, Input};
use crate::quota::{Quota, QuotaTree};
use crate::resources::{Amounts, GPU, GPU_ROW, PODS, PODS_ROW};
use crate::workload::{ClusterAffinity, Component, Division, Failover, GroupUse, Purge, Rules, Shape, Workload};

pub(super) struct Fleet {
    pub(super) snapshot: Snapshot,
}

pub(super) fn amounts(gpus: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(GPU_ROW, gpus);
    amounts.set(PODS_ROW, 110);
    amounts
}

pub(super) fn shape(gpus: u64) -> Arc<Shape> {
    Arc::new(Shape { requests: [(GPU.into(), gpus), (PODS.into(), 1)].into(), ..Shape::default() })
}

pub(super) fn named(name: &str) -> ClusterAffinity {
    ClusterAffinity { name: name.into(), names: Some(vec![name.into()]), ..ClusterAffinity::default() }
}

pub(super) fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        provider: "p".into(),
        region: name.into(),
        zones: vec![format!("{name}-a").into()],
        labels: BTreeMap::new(),
        taints: Vec::new(),
        reachable: true,
        reachable_since: Millis(0),
        columns: BTreeMap::new(),
        removed: false,
    }
}

impl Fleet {
    /// Clusters by name, free nodes, and nodes that could be ordered.
    pub(super) fn new(clusters: &[(&str, u32, u32)]) -> Self {
        let mut fleet = Self { snapshot: Snapshot::default() };
        for (name, ready, more) in clusters {
            fleet.cluster(name, &[(1, *ready)], 1, *more, 1.0);
        }
        fleet
    }

    /// A cluster with one pool: nodes by (GPUs, count), and up to `more` new nodes of `gpus` at a price.
    pub(super) fn cluster(&mut self, name: &str, nodes: &[(u64, u32)], gpus: u64, more: u32, price: f64) {
        let row = self.snapshot.upsert_cluster(cluster(name));
        let offering = self.snapshot.upsert_offering(Offering {
            key: OfferingKey {
                provider: "p".into(),
                region: name.into(),
                zone: format!("{name}-a").into(),
                instance_type: "gpu".into(),
                capacity_type: CapacityType::OnDemand,
            },
            price,
            interruption: 0.0,
            allocatable: amounts(gpus),
            stock: Stock { state: StockState::InStock, lower_bound: more, ..Stock::default() },
            in_flight: 0,
        });
        let there: u32 = nodes.iter().map(|(_, count)| count).sum();
        let spec = PoolSpec {
            name: "pool".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            offerings: if more > 0 { vec![offering] } else { Vec::new() },
            min: 0,
            max: there + more,
            lead_seconds: 300,
        };
        let observed = nodes.iter().filter(|(_, count)| *count > 0).map(|(gpus, count)| ObservedNodes {
            instance_type: "gpu".into(),
            zone: format!("{name}-a").into(),
            offering: None,
            allocatable: amounts(*gpus),
            free: Free::new(amounts(*gpus)),
            count: *count,
        });
        let input = PoolInput { observed: observed.collect(), ..PoolInput::default() };
        self.snapshot.set_pool(row, spec, input).unwrap();
    }

    pub(super) fn unreachable(&mut self, name: &str) {
        let row = self.snapshot.cluster_row(name).unwrap();
        let cluster = self.snapshot.cluster(row).unwrap().clone();
        self.snapshot.upsert_cluster(Cluster { reachable: false, ..cluster });
    }

    /// A root of `max` GPUs, and leaves by (namespace, min, max).
    pub(super) fn quota(&mut self, max: u64, leaves: &[(&str, u64, u64)]) {
        let quota = |name: &str, parent, min, max, namespaces| Quota {
            name: name.into(),
            parent,
            min: {
                let mut amounts = Amounts::default();
                amounts.set(GPU_ROW, min);
                amounts
            },
            max: vec![(GPU_ROW, max)],
            namespaces,
        };
        let mut quotas = vec![quota("root", None, max, max, Vec::new())];
        for (name, min, max) in leaves {
            quotas.push(quota(name, Some(crate::ids::QuotaRow(0)), *min, *max, vec![(*name).into()]));
        }
        let used = vec![Amounts::default(); quotas.len()];
        self.snapshot.set_quotas(QuotaTree { quotas: quotas.into(), used });
    }

    pub(super) fn workload(&self, name: &'static str, replicas: u32) -> Sketch {
        Sketch {
            name,
            namespace: "default",
            priority: 0,
            replicas: vec![replicas],
            floors: vec![0],
            gpus: vec![1],
            rules: rules(),
        }
    }

    /// A gang of components by (floor, replicas).
    pub(super) fn gang(&self, name: &'static str, components: &[(u32, u32)]) -> Sketch {
        let mut sketch = self.workload(name, 0);
        sketch.rules.gang = true;
        sketch.replicas = components.iter().map(|(_, replicas)| *replicas).collect();
        sketch.floors = components.iter().map(|(floor, _)| *floor).collect();
        sketch.gpus = vec![1; components.len()];
        sketch
    }

    pub(super) fn input<'a>(&'a self, entries: &'a [Entry]) -> Input<'a> {
        Input { snapshot: &self.snapshot, entries, running: &[], parent: PlanId(0), now: Millis(1000), seed: 7 }
    }
}

pub(super) fn rules() -> Rules {
    Rules {
        policy: "default/policy".into(),
        groups: vec![ClusterAffinity::default()],
        group_use: GroupUse::FirstThatFits,
        tolerations: Vec::new(),
        spread: Vec::new(),
        division: Division::Free,
        weights: Vec::new(),
        elastic: true,
        max_lead_seconds: 0,
        gang: false,
        budget: None,
        placement_policy: None,
        gang_policy: None,
        migration_policy: None,
        suspended: false,
        failover: Failover { toleration_ms: 0, purge: Purge::Gracefully, grace_ms: 0 },
    }
}

/// A workload that is easily changed.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) priority: i32,
    /// By component.
    pub(super) replicas: Vec<u32>,
    pub(super) floors: Vec<u32>,
    pub(super) gpus: Vec<u64>,
    pub(super) rules: Rules,
}

impl Sketch {
    pub(super) fn entry(&self) -> Entry {
        let component = |number: usize| Component {
            name: format!("c{number}").as_str().into(),
            replicas: self.replicas[number],
            floor: self.floors[number],
            shape: shape(self.gpus[number]),
        };
        let workload = Workload {
            key: WorkloadKey::new("apps/v1/Deployment", self.namespace, self.name),
            generation: 1,
            labels: BTreeMap::new(),
            priority: self.priority,
            limit_ms: None,
            components: (0..self.replicas.len()).map(component).collect(),
            rules: Arc::new(self.rules.clone()),
        };
        Entry { workload: Arc::new(workload), current: None, since: Millis(0), leave: Vec::new(), lost: Vec::new() }
    }
}
