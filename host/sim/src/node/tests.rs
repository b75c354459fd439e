#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use berth_core::fleet::{Taint, TaintEffect};
use berth_core::workload::{Operator, Requirement};
use proptest::prelude::*;

use super::*;

fn amounts(cpu: u64, memory: u64, pods: u64, gpus: u64) -> Amounts {
    let mut amounts = Amounts::default();
    for (row, amount) in [(CPU_ROW, cpu), (MEMORY_ROW, memory), (PODS_ROW, pods), (GPU_ROW, gpus)] {
        amounts.set(row, amount);
    }
    amounts
}

fn class(pool: &str, zone: &str, allocatable: Amounts) -> Class {
    let pool = PoolSpec {
        name: pool.into(),
        labels: Default::default(),
        taints: Vec::new(),
        offerings: Vec::new(),
        min: 0,
        max: 100,
        lead_seconds: 60,
    };
    Class {
        pool: Arc::new(pool),
        region: "r".into(),
        zone: zone.into(),
        instance_type: "t".into(),
        capacity_type: Some(CapacityType::Spot),
        allocatable,
    }
}

fn need(cpu: u64, gpus: u64, share: u16) -> Need {
    let shape = Shape { gpu_share: share, ..Shape::default() };
    Need::new(Arc::new(shape), amounts(cpu, 1, 1, gpus))
}

fn add(nodes: &mut Nodes, name: &str, class: Class) {
    assert!(nodes.add(&name.into(), class, None, None, Millis(0)));
}

#[test]
fn packing_fills_the_fuller_node_and_spreading_the_emptier_one() {
    let mut nodes = Nodes::default();
    add(&mut nodes, "a", class("p", "z", amounts(8000, 100, 10, 0)));
    add(&mut nodes, "b", class("p", "z", amounts(8000, 100, 10, 0)));
    let pod = need(1000, 0, 0);
    assert_eq!(&*nodes.bind(&pod, Scoring::MostAllocated).unwrap().node, "a");
    assert_eq!(&*nodes.bind(&pod, Scoring::MostAllocated).unwrap().node, "a");
    assert_eq!(&*nodes.bind(&pod, Scoring::LeastAllocated).unwrap().node, "b");
}

#[test]
fn a_share_comes_back_to_the_device_it_left() {
    let mut nodes = Nodes::default();
    add(&mut nodes, "a", class("p", "z", amounts(8000, 100, 10, 2)));
    let (small, large) = (need(1, 0, 300), need(1, 0, 800));
    let first = nodes.bind(&small, Scoring::default()).unwrap();
    let second = nodes.bind(&large, Scoring::default()).unwrap();
    assert_eq!(nodes.get("a").unwrap().free.shared, [700, 200]);
    // A whole GPU needs a device that nobody shares: there is none, though 900 thousandths are free.
    assert!(nodes.bind(&need(1, 1, 0), Scoring::default()).is_none());
    nodes.release(&small, &first, Millis(5));
    assert_eq!(
        (nodes.get("a").unwrap().free.amounts.get(GPU_ROW), &nodes.get("a").unwrap().free.shared[..]),
        (1, &[200][..])
    );
    assert!(nodes.bind(&need(1, 1, 0), Scoring::default()).is_some());
    nodes.release(&large, &second, Millis(6));
    assert_eq!(nodes.gpu_milli(), (1000, 2000));
}

#[test]
fn labels_and_taints_keep_pods_away() {
    let mut nodes = Nodes::default();
    add(&mut nodes, "a", class("p", "z1", amounts(8000, 100, 10, 0)));
    let mut tainted = class("q", "z2", amounts(8000, 100, 10, 0));
    let taint = Taint { key: "k".into(), value: "".into(), effect: TaintEffect::NoSchedule };
    tainted.pool = Arc::new(PoolSpec { taints: vec![taint], ..(*tainted.pool).clone() });
    add(&mut nodes, "b", tainted);
    let only = |zone: &str| {
        let key = berth_core::fleet::ZONE_LABEL.into();
        let requirement = Requirement { key, operator: Operator::In, values: vec![zone.into()] };
        let shape = Shape { nodes: vec![vec![requirement]], ..Shape::default() };
        Need::new(Arc::new(shape), amounts(1, 1, 1, 0))
    };
    assert_eq!(&*nodes.bind(&only("z1"), Scoring::LeastAllocated).unwrap().node, "a");
    assert!(nodes.bind(&only("z2"), Scoring::LeastAllocated).is_none());
    assert!(nodes.bind(&only("z3"), Scoring::LeastAllocated).is_none());
}

#[test]
fn an_undone_binding_leaves_the_node_idle_as_long_as_it_was() {
    let mut nodes = Nodes::default();
    add(&mut nodes, "a", class("p", "z", amounts(8000, 100, 10, 0)));
    let pod = need(1, 0, 0);
    let binding = nodes.bind(&pod, Scoring::default()).unwrap();
    assert_eq!(nodes.get("a").unwrap().idle_since(), None);
    nodes.undo(&pod, &binding);
    assert_eq!(nodes.get("a").unwrap().idle_since(), Some(Millis(0)));
    let binding = nodes.bind(&pod, Scoring::default()).unwrap();
    nodes.release(&pod, &binding, Millis(9));
    assert_eq!(nodes.get("a").unwrap().idle_since(), Some(Millis(9)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A pod is bound exactly if some node has room for it, nothing is ever bound twice, and all comes back.
    #[test]
    fn binding_is_exact(
        sizes in prop::collection::vec((1u64..8, 1u64..6, 0u64..4), 1..6),
        pods in prop::collection::vec((0u64..4, 0u64..3, prop_oneof![Just(0u16), 1u16..1000]), 1..40),
        most in any::<bool>(),
    ) {
        let mut nodes = Nodes::default();
        for (number, (cpu, pods, gpus)) in sizes.iter().enumerate() {
            add(&mut nodes, &format!("n{number}"), class("p", "z", amounts(*cpu, 100, *pods, *gpus)));
        }
        let fresh: Vec<Free> = nodes.iter().map(|(_, node)| node.free.clone()).collect();
        let scoring = if most { Scoring::MostAllocated } else { Scoring::LeastAllocated };
        let mut bound = Vec::new();
        for (cpu, gpus, share) in pods {
            let need = need(cpu, gpus, share);
            let fits = nodes.iter().any(|(_, node)| node.free.fits(&need) > 0);
            let binding = nodes.bind(&need, scoring);
            prop_assert_eq!(fits, binding.is_some());
            if let Some(binding) = binding {
                let held: u64 = binding.devices.iter().map(|(_, milli)| u64::from(*milli)).sum();
                prop_assert_eq!(held, gpus * 1000 + u64::from(share));
                bound.push((need, binding));
            }
        }
        let held: u64 = bound.iter().flat_map(|(_, binding)| &binding.devices).map(|(_, milli)| u64::from(*milli)).sum();
        prop_assert_eq!(nodes.gpu_milli().0, held);
        let filed: usize = nodes.groups.values().map(|group| group.nodes.len()).sum();
        prop_assert_eq!(filed, sizes.len());
        // What was saved can be taken up on nodes that are fresh.
        let mut again = Nodes::default();
        for (number, (cpu, pods, gpus)) in sizes.iter().enumerate() {
            add(&mut again, &format!("n{number}"), class("p", "z", amounts(*cpu, 100, *pods, *gpus)));
        }
        for (need, binding) in &bound {
            prop_assert!(again.rebind(need, binding));
        }
        prop_assert_eq!(again.gpu_milli(), nodes.gpu_milli());
        for (need, binding) in &bound {
            nodes.release(need, binding, Millis(1));
        }
        let left: Vec<Free> = nodes.iter().map(|(_, node)| node.free.clone()).collect();
        prop_assert_eq!(left, fresh);
    }
}
