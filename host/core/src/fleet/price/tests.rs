//! Prices of what runs, on one cluster with a mixed and a declared pool.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::take::tests::cluster;
use crate::fleet::{
    CAPACITY_TYPE_LABEL, CapacityType, Free, InFlight, ObservedNodes, Offering, OfferingKey, PoolInput, PoolSpec,
    Snapshot, Stock, TakeOptions,
};
use crate::ids::{ClusterRow, OfferingRow, ShapeRow};
use crate::placement::Share;
use crate::resources::{Amounts, GPU, GPU_ROW, PODS, PODS_ROW};
use crate::workload::{Operator, Requirement, Shape};

const CLUSTER: ClusterRow = ClusterRow(0);

fn amounts(gpus: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(GPU_ROW, gpus);
    amounts.set(PODS_ROW, 110);
    amounts
}

fn offering(snapshot: &mut Snapshot, capacity_type: CapacityType, price: f64, gpus: u64) -> OfferingRow {
    let key = OfferingKey {
        provider: "p".into(),
        region: "r".into(),
        zone: "r-a".into(),
        instance_type: "gpu".into(),
        capacity_type,
    };
    let (allocatable, stock) = (amounts(gpus), Stock::default());
    snapshot.upsert_offering(Offering { key, price, interruption: 0.5, allocatable, stock, in_flight: 0 })
}

fn full(offering: Option<OfferingRow>, count: u32) -> ObservedNodes {
    ObservedNodes {
        instance_type: "gpu".into(),
        zone: "r-a".into(),
        offering,
        allocatable: amounts(2),
        free: Free::default(),
        count,
    }
}

fn pool(snapshot: &mut Snapshot, name: &str, input: PoolInput) {
    let spec = PoolSpec {
        name: name.into(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        offerings: Vec::new(),
        min: 0,
        max: 99,
        lead_seconds: 60,
    };
    snapshot.set_pool(CLUSTER, spec, input).unwrap();
}

fn share(pool: &str, replicas: u32) -> Share {
    Share { component: 0, cluster: "c".into(), pool: pool.into(), replicas }
}

/// One node on demand at 4 USD for 2 replicas and, ordered, three spot nodes at 1 USD for 2; nodes of nobody's offering;
/// and a pool of those alone.
fn fleet() -> (Snapshot, ShapeRow, ShapeRow) {
    let mut snapshot = Snapshot::default();
    snapshot.upsert_cluster(cluster("c", "r"));
    let on_demand = offering(&mut snapshot, CapacityType::OnDemand, 4.0, 2);
    let spot = offering(&mut snapshot, CapacityType::Spot, 1.0, 2);
    let shape = Shape { requests: [(GPU.into(), 1), (PODS.into(), 1)].into(), ..Shape::default() };
    let on =
        |kind: &str| Requirement { key: CAPACITY_TYPE_LABEL.into(), operator: Operator::In, values: vec![kind.into()] };
    let only_spot = Shape { nodes: vec![vec![on("spot")]], ..shape.clone() };
    let (any, only_spot) = (snapshot.intern(&Arc::new(shape)), snapshot.intern(&Arc::new(only_spot)));
    let in_flight = vec![InFlight { offering: spot, nodes: 3 }];
    let observed = vec![full(Some(on_demand), 1), full(None, 5)];
    pool(&mut snapshot, "mixed", PoolInput { observed, in_flight, ..PoolInput::default() });
    pool(&mut snapshot, "owned", PoolInput { observed: vec![full(None, 2)], ..PoolInput::default() });
    (snapshot, any, only_spot)
}

#[test]
fn a_replica_costs_its_part_of_the_nodes_that_may_run_it() {
    let (mut snapshot, any, only_spot) = fleet();
    // 4 + 3 x 1 USD for 8 replicas.
    assert_eq!(snapshot.running_price(CLUSTER, any, &[share("mixed", 3)]), 0.875);
    assert_eq!(snapshot.running_price(CLUSTER, only_spot, &[share("mixed", 3)]), 0.5);
    // Room that others leave is no node.
    let row = snapshot.pool_row(CLUSTER, "mixed").unwrap();
    snapshot.give_back(row, any, 2);
    assert_eq!(snapshot.take(CLUSTER, any, 5, TakeOptions::ELASTIC).unwrap().orders, []);
    assert_eq!(snapshot.running_price(CLUSTER, any, &[share("mixed", 3)]), 0.875);
}

#[test]
fn pools_count_by_their_replicas_as_far_as_they_have_a_price() {
    let (mut snapshot, any, _) = fleet();
    assert_eq!(snapshot.running_price(CLUSTER, any, &[]), 0.0);
    assert_eq!(snapshot.running_price(CLUSTER, any, &[share("owned", 3), share("gone", 1)]), 0.0);
    assert_eq!(snapshot.running_price(CLUSTER, any, &[share("mixed", 1), share("owned", 3)]), 0.875);
    let on_demand = offering(&mut snapshot, CapacityType::OnDemand, 4.0, 2);
    pool(&mut snapshot, "dear", PoolInput { observed: vec![full(Some(on_demand), 2)], ..PoolInput::default() });
    assert_eq!(snapshot.running_price(CLUSTER, any, &[share("dear", 3), share("mixed", 1)]), (3.0 * 2.0 + 0.875) / 4.0);
}
