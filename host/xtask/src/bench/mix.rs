//! The workloads of the benchmark: their shapes, the distribution policies that select them, and in which parts they come.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::fleet::{CAPACITY_TYPE_LABEL, INSTANCE_TYPE_LABEL, TaintEffect};
use berth_core::ids::WorkloadKey;
use berth_core::resources::{CPU, GPU, MEMORY, PODS};
use berth_core::workload::{
    ClusterAffinity, Component, Division, Failover, GroupUse, Operator, Purge, Requirement, Rules, Shape, SpreadBy,
    SpreadConstraint, Toleration, Workload,
};

use super::random::Random;
use super::world::{GPU_TAINT, NAMESPACES, PROVIDERS, cluster_name, region_name};

/// What is measured, for the help.
pub(super) const ABOUT: &str = "\
The fleet: clusters of 3 providers with about 20 clusters a region (all in one up to 20 clusters), 3 zones each, 10 node
pools of 8 instance types (two of them spot as well) with about 10 nodes each; 7 of 10 nodes are full, the others empty or
in part. The offerings of a region are shared by its clusters; a part of them is out of stock, limited or unknown. 1 cluster
in 50 cannot be reached and 1 in 33 has a taint.

The workloads: 24 shapes (1 to 8 GPUs, shares of a GPU, CPU alone; some for one instance type or for spot) and 60
distribution policies. Of 20 policies 7 select 2 regions, 4 a label that a quarter of the clusters has, 3 a provider, 4 the
whole fleet and 2 name 5 clusters. A fifth of them spreads over at most 3 regions or 4 clusters. Of 20, 8 leave the division
to the policy, 4 aggregate, 3 divide by room, 2 by static weight, and 3 are gangs with a master and workers. 3 of 10 decisions
change the size of what runs; 5 priorities; 8 namespaces with quotas.

A decision: the rows that changed since the last one are written to the snapshot (what was placed counts as unbound, what
was bound before, what ended, nodes that arrived, and every fourth time a report of stock), then a plan for one workload is
made, and held against the independent check. Placements accumulate to 256 (8 a cluster in small fleets) and then one ends for each that
is made, so room changes all the time. Two equal worlds, one decided by the native algorithms and one through the policies in `policies/`,
take turns and must agree. Figures are medians over the turns.";

const GI: u64 = 1 << 30;
const RULES: usize = 60;

/// The shapes and rules in use.
pub(super) struct Mix {
    pub(super) shapes: Vec<Arc<Shape>>,
    rules: Vec<Arc<Rules>>,
}

fn shape(gpus: u64, share: u16, cpu: u64, memory: u64, nodes: Option<(&str, &str)>) -> Shape {
    let mut requests: BTreeMap<Arc<str>, u64> =
        [(CPU.into(), cpu * 1000), (MEMORY.into(), memory * GI), (PODS.into(), 1)].into();
    if gpus > 0 {
        requests.insert(GPU.into(), gpus);
    }
    let tolerates = gpus > 0 || share > 0;
    let toleration = Toleration { key: GPU_TAINT.into(), value: None, effect: Some(TaintEffect::NoSchedule) };
    Shape {
        requests,
        gpu_share: share,
        nodes: nodes.map(|(key, value)| vec![vec![requirement(key, &[value])]]).unwrap_or_default(),
        tolerations: if tolerates { vec![toleration] } else { Vec::new() },
    }
}

fn requirement(key: &str, values: &[&str]) -> Requirement {
    Requirement {
        key: key.into(),
        operator: Operator::In,
        values: values.iter().map(|value| (*value).into()).collect(),
    }
}

fn shapes() -> Vec<Arc<Shape>> {
    let mut shapes = vec![
        shape(0, 0, 2, 4, None),
        shape(0, 0, 8, 32, None),
        shape(0, 0, 16, 96, None),
        shape(0, 250, 2, 8, None),
        shape(0, 500, 4, 16, None),
        shape(1, 0, 8, 64, Some((CAPACITY_TYPE_LABEL, "spot"))),
        shape(8, 0, 64, 512, Some((CAPACITY_TYPE_LABEL, "spot"))),
        shape(1, 0, 8, 64, Some((INSTANCE_TYPE_LABEL, "a100-8"))),
        shape(2, 0, 16, 128, Some((INSTANCE_TYPE_LABEL, "h100-8"))),
        shape(8, 0, 80, 800, Some((INSTANCE_TYPE_LABEL, "h100-8"))),
        shape(1, 0, 4, 16, Some((INSTANCE_TYPE_LABEL, "l4-1"))),
        shape(2, 0, 8, 48, Some((INSTANCE_TYPE_LABEL, "t4-4"))),
    ];
    for (gpus, cpu, memory) in [(1, 4, 16), (1, 8, 32), (1, 7, 50), (2, 12, 64), (4, 32, 128), (8, 64, 512)] {
        shapes.push(shape(gpus, 0, cpu, memory, None));
        shapes.push(shape(gpus, 0, cpu + 1, memory + 8, None));
    }
    shapes.into_iter().map(Arc::new).collect()
}

fn label(key: &str, value: &str) -> ClusterAffinity {
    ClusterAffinity { labels: vec![requirement(key, &[value])], ..ClusterAffinity::default() }
}

fn field(key: &str, values: &[&str]) -> ClusterAffinity {
    ClusterAffinity { fields: vec![requirement(key, values)], ..ClusterAffinity::default() }
}

/// Which clusters a policy selects, by its number.
fn affinity(number: usize, clusters: u32, regions: u32) -> ClusterAffinity {
    let some = number as u32 * 7;
    match number % 20 {
        0..=6 => field("region", &[&region_name(some % regions), &region_name((some + 1) % regions)]),
        7..=10 => label("env", ["prod", "staging", "dev", "batch"][number % 4]),
        11..=13 => field("provider", &[PROVIDERS[number % PROVIDERS.len()]]),
        14..=17 => ClusterAffinity::default(),
        _ => {
            let names = (0..5).map(|at| cluster_name((some * 31 + at * 13) % clusters).as_str().into()).collect();
            ClusterAffinity { names: Some(names), ..ClusterAffinity::default() }
        }
    }
}

fn rules(number: usize, clusters: u32, regions: u32) -> Rules {
    // Two numbers without a common factor, so that every kind of selection meets every kind of division.
    let kind = (number * 7 + number / 20) % 20;
    let gang = kind >= 17;
    let division = match kind {
        0..=7 => Division::Free,
        8..=11 => Division::Aggregated,
        12..=14 => Division::AvailableReplicas,
        15..=16 => Division::StaticWeight,
        _ => Division::Free,
    };
    let spread = match number % 10 {
        4 if !gang => vec![SpreadConstraint { by: SpreadBy::Region, max: 3, min: 1 }],
        9 if !gang => vec![SpreadConstraint { by: SpreadBy::Cluster, max: 4, min: 1 }],
        _ => Vec::new(),
    };
    let weights = vec![(label("env", "prod"), 3), (ClusterAffinity::default(), 1)];
    Rules {
        policy: format!("default/policy-{number:02}").into(),
        groups: vec![affinity(number, clusters, regions)],
        group_use: GroupUse::FirstThatFits,
        tolerations: Vec::new(),
        spread,
        division,
        weights: if division == Division::StaticWeight { weights } else { Vec::new() },
        elastic: !number.is_multiple_of(6),
        max_lead_seconds: 0,
        gang,
        budget: None,
        placement_policy: None,
        gang_policy: None,
        migration_policy: None,
        suspended: false,
        failover: Failover { toleration_ms: 0, purge: Purge::Gracefully, grace_ms: 0 },
    }
}

fn component(name: &str, replicas: u32, shape: &Arc<Shape>) -> Component {
    Component { name: name.into(), replicas, floor: 0, shape: shape.clone() }
}

impl Mix {
    pub(super) fn new(clusters: u32, regions: u32) -> Self {
        let rules = (0..RULES).map(|number| Arc::new(rules(number, clusters, regions)));
        Self { shapes: shapes(), rules: rules.collect() }
    }

    /// A new workload.
    pub(super) fn workload(&self, random: &mut Random, number: u64) -> Workload {
        let rules = self.rules[random.below(self.rules.len())].clone();
        let shape = &self.shapes[random.below(self.shapes.len())];
        let components = if rules.gang {
            vec![component("master", 1, &self.shapes[0]), component("worker", random.between(2, 8), shape)]
        } else {
            vec![component("main", random.between(1, 8), shape)]
        };
        let namespace = format!("team-{}", random.below(NAMESPACES));
        Workload {
            key: WorkloadKey::new("apps/v1/Deployment", &namespace, &format!("workload-{number}")),
            generation: 1,
            labels: [("app".into(), format!("app-{}", number % 97).into())].into(),
            priority: random.below(5) as i32,
            limit_ms: rules.gang.then_some(3_600_000),
            components,
            rules,
        }
    }

    /// The same workload in another size.
    pub(super) fn resized(&self, random: &mut Random, workload: &Workload) -> Workload {
        let mut changed = Workload { generation: workload.generation + 1, ..workload.clone() };
        if let Some(main) = changed.components.last_mut() {
            main.replicas = random.between(1, 10);
        }
        changed
    }
}
