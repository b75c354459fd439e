//! Generations, sharing and refusals.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests may stop at the first surprise.

use super::*;
use crate::fleet::{CapacityType, InFlight, Stock, StockState};
use crate::quota::Quota;
use crate::resources::Amounts;

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        provider: "p".into(),
        region: "r".into(),
        zones: Vec::new(),
        labels: [("env".into(), "prod".into())].into(),
        taints: Vec::new(),
        reachable: true,
        reachable_since: Millis(0),
        columns: BTreeMap::new(),
        removed: false,
    }
}

fn offering(snapshot: &mut Snapshot) -> Offering {
    Offering {
        key: OfferingKey {
            provider: "p".into(),
            region: "r".into(),
            zone: "r-a".into(),
            instance_type: "t".into(),
            capacity_type: CapacityType::Spot,
        },
        price: 1.0,
        interruption: 0.1,
        allocatable: snapshot.amounts(&[("cpu".into(), 4), ("pods".into(), 10)].into()),
        stock: Stock { state: StockState::InStock, lower_bound: 5, ttl_ms: 100, probe: 1, ..Stock::default() },
        in_flight: 0,
    }
}

fn spec(offerings: Vec<OfferingRow>) -> PoolSpec {
    PoolSpec {
        name: "pool".into(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        offerings,
        min: 0,
        max: 10,
        lead_seconds: 60,
    }
}

/// What a change did: generations, and whether the tables are still the same.
fn effect(snapshot: &mut Snapshot, change: impl FnOnce(&mut Snapshot)) -> (u64, bool) {
    let (before, tables) = (snapshot.generation().0, snapshot.tables().clone());
    change(snapshot);
    (snapshot.generation().0 - before, Arc::ptr_eq(&tables, snapshot.tables()))
}

#[test]
fn a_change_gives_a_generation_and_the_same_again_gives_none() {
    let mut snapshot = Snapshot::default();
    for expected in [(1, false), (0, true)] {
        assert_eq!(effect(&mut snapshot, |s| _ = s.upsert_cluster(cluster("a"))), expected);
    }
    let taken = offering(&mut snapshot);
    for generations in [1, 0] {
        assert_eq!(effect(&mut snapshot, |s| _ = s.upsert_offering(taken.clone())), (generations, true));
    }
    let input = PoolInput { in_flight: vec![InFlight { offering: OfferingRow(0), nodes: 2 }], ..PoolInput::default() };
    for generations in [1, 0] {
        let set = |s: &mut Snapshot| _ = s.set_pool(ClusterRow(0), spec(vec![OfferingRow(0)]), input.clone()).unwrap();
        assert_eq!(effect(&mut snapshot, set), (generations, true));
    }
    // Nodes in flight are the snapshot's own count, whatever the report says.
    assert_eq!(snapshot.orderable(OfferingRow(0)), 3);
    let reported = Offering { in_flight: 9, ..taken };
    assert_eq!(effect(&mut snapshot, |s| _ = s.upsert_offering(reported)), (0, true));
    let quotas = QuotaTree { quotas: vec![quota()].into(), used: vec![Amounts::default()] };
    for generations in [1, 0] {
        assert_eq!(effect(&mut snapshot, |s| s.set_quotas(quotas.clone())), (generations, true));
    }
    // The report expires by time alone, once.
    for (now, generations, orderable) in [(99, 0, 3), (100, 1, 0), (101, 0, 0), (50, 1, 3)] {
        assert_eq!(effect(&mut snapshot, |s| s.advance(Millis(now))), (generations, true));
        assert_eq!(snapshot.orderable(OfferingRow(0)), orderable, "at {now}");
    }
    let unhealthy = Cluster { reachable: false, ..cluster("a") };
    assert_eq!(effect(&mut snapshot, |s| _ = s.upsert_cluster(unhealthy)), (1, true));
    let moved = Cluster { labels: BTreeMap::new(), ..cluster("a") };
    assert_eq!(effect(&mut snapshot, |s| _ = s.upsert_cluster(moved)), (1, false));
    assert_eq!(effect(&mut snapshot, |s| _ = s.amounts(&[("x.dev/tpu".into(), 1)].into())), (1, false));
    assert_eq!(snapshot.tables().resources.last().map(|name| &**name), Some("x.dev/tpu"));
}

fn quota() -> Quota {
    Quota { name: "root".into(), parent: None, min: Amounts::default(), max: Vec::new(), namespaces: Vec::new() }
}

#[test]
fn a_removed_cluster_keeps_its_row_and_gives_its_orders_back() {
    let mut snapshot = Snapshot::default();
    let a = snapshot.upsert_cluster(cluster("a"));
    let first = offering(&mut snapshot);
    let row = snapshot.upsert_offering(first);
    let input = PoolInput { in_flight: vec![InFlight { offering: row, nodes: 2 }], ..PoolInput::default() };
    snapshot.set_pool(a, spec(vec![row]), input).unwrap();
    assert_eq!(snapshot.remove_cluster("a"), Some(a));
    assert!(snapshot.cluster(a).unwrap().removed && snapshot.pools_of(a).next().is_none());
    assert_eq!(snapshot.orderable(row), 5);
    assert_eq!(snapshot.remove_cluster("b"), None);
    assert_eq!(snapshot.upsert_cluster(cluster("a")), a);
    assert!(!snapshot.cluster(a).unwrap().removed);
}

#[test]
fn a_clone_shares_tables_and_keeps_its_own_past() {
    let mut snapshot = Snapshot::default();
    snapshot.upsert_cluster(cluster("a"));
    let before = snapshot.clone();
    snapshot.upsert_cluster(Cluster { region: "elsewhere".into(), ..cluster("a") });
    assert_eq!(&*before.cluster(ClusterRow(0)).unwrap().region, "r");
    let other = before.clone();
    assert!(Arc::ptr_eq(before.tables(), other.tables()) && !Arc::ptr_eq(before.tables(), snapshot.tables()));
}

#[test]
fn a_pool_that_names_what_is_not_there_is_refused_whole() {
    let mut snapshot = Snapshot::default();
    let a = snapshot.upsert_cluster(cluster("a"));
    let generation = snapshot.generation();
    let unbound = PoolInput { unbound: vec![(ShapeRow(4), 1)], ..PoolInput::default() };
    let cases = [
        (ClusterRow(7), spec(vec![]), PoolInput::default(), "node pool pool: there is no cluster in row 7"),
        (a, spec(vec![OfferingRow(3)]), PoolInput::default(), "node pool pool: there is no offering in row 3"),
        (a, spec(vec![]), unbound, "node pool pool: there is no shape in row 4"),
        (
            a,
            PoolSpec { min: 11, ..spec(vec![]) },
            PoolInput::default(),
            "node pool pool: max is 10, but min is 11; max must be at least min",
        ),
    ];
    for (cluster, spec, input, message) in cases {
        assert_eq!(snapshot.set_pool(cluster, spec, input).unwrap_err().to_string(), message);
    }
    assert_eq!(snapshot.generation(), generation);
    assert!(snapshot.pools_of(a).next().is_none());
}
