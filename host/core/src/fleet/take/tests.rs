//! What holds of room, takes and the cache, on random fleets and random histories.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests may stop at the first surprise.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fleet::{
    CapacityType, Cluster, InFlight, ObservedNodes, Offer, Offering, OfferingKey, PoolInput, PoolSpec, RoomCache,
    Stock, StockState, ZONE_LABEL,
};
use crate::ids::Millis;
use crate::resources::{Amounts, CPU, CPU_ROW, GPU, GPU_ROW, PODS, PODS_ROW};
use crate::workload::{Operator, Requirement, Shape};

const CLUSTERS: u32 = 3;
const OFFERINGS: u32 = 4;
const SHAPES: u32 = 5;

fn amounts(cpu: u64, gpus: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(CPU_ROW, cpu);
    amounts.set(PODS_ROW, 20);
    amounts.set(GPU_ROW, gpus);
    amounts
}

fn shapes() -> Vec<Shape> {
    let shape = |cpu: u64, gpus: u64, gpu_share: u16| Shape {
        requests: [(CPU.into(), cpu), (GPU.into(), gpus), (PODS.into(), 1)].into(),
        gpu_share,
        ..Shape::default()
    };
    let zone = Requirement { key: ZONE_LABEL.into(), operator: Operator::In, values: vec!["r0-a".into()] };
    let zonal = Shape { nodes: vec![vec![zone]], ..shape(1, 1, 0) };
    vec![shape(2, 1, 0), shape(3, 2, 0), shape(1, 0, 300), shape(4, 0, 0), zonal]
}

fn offering(row: u32, stock: Stock) -> Offering {
    let region = format!("r{}", row % 2);
    Offering {
        key: OfferingKey {
            provider: "p".into(),
            region: region.as_str().into(),
            zone: format!("{region}-{}", if row < 2 { 'a' } else { 'b' }).into(),
            instance_type: format!("t{row}").as_str().into(),
            capacity_type: CapacityType::OnDemand,
        },
        price: [1.0, 1.0, 2.5, 1.8][row as usize],
        interruption: 0.0,
        allocatable: [amounts(8, 1), amounts(8, 2), amounts(16, 4), amounts(12, 2)][row as usize].clone(),
        stock,
        in_flight: 0,
    }
}

fn stock() -> impl Strategy<Value = Stock> {
    let state = prop_oneof![
        4 => Just(StockState::InStock), 1 => Just(StockState::OutOfStock), 1 => Just(StockState::Unknown)
    ];
    (state, 1u32..6, prop_oneof![Just(0u64), 1u64..100], 0u32..3, 0u64..50).prop_map(
        |(state, lower_bound, ttl_ms, probe, retry)| Stock {
            state,
            lower_bound,
            confidence: 1.0,
            observed_at: Millis(0),
            ttl_ms,
            probe,
            retry_at: Millis(retry),
        },
    )
}

fn observed() -> impl Strategy<Value = ObservedNodes> {
    (0u64..9, 0u64..3, prop::collection::vec(1u16..1000, 0..2), 1u32..4, 0u32..OFFERINGS).prop_map(
        |(cpu, gpus, shared, count, row)| {
            let of = offering(row, Stock::default());
            ObservedNodes {
                instance_type: of.key.instance_type.clone(),
                zone: of.key.zone.clone(),
                offering: Some(OfferingRow(row)),
                allocatable: of.allocatable,
                free: Free { amounts: amounts(cpu, gpus), shared },
                count,
            }
        },
    )
}

/// A pool of a cluster: its name's number, maximum, lead time, offerings, and what is known of its nodes.
fn pool() -> impl Strategy<Value = (u32, PoolSpec, PoolInput)> {
    let input = (
        prop::collection::vec(observed(), 0..3),
        prop::collection::vec((0..OFFERINGS, 1u32..3), 0..2),
        prop::collection::vec((0..SHAPES, 1u32..5), 0..2),
    );
    let rows = prop::collection::btree_set(0..OFFERINGS, 0..=OFFERINGS as usize);
    (0..CLUSTERS, 0u32..3, 0u32..12, 1u32..4, rows, input).prop_map(
        |(cluster, name, max, lead, rows, (observed, in_flight, unbound))| {
            let spec = PoolSpec {
                name: format!("pool{name}").as_str().into(),
                labels: BTreeMap::new(),
                taints: Vec::new(),
                offerings: rows.into_iter().map(OfferingRow).collect(),
                min: 0,
                max,
                lead_seconds: lead * 60,
            };
            let in_flight =
                in_flight.into_iter().map(|(row, nodes)| InFlight { offering: OfferingRow(row), nodes }).collect();
            let unbound = unbound.into_iter().map(|(row, count)| (ShapeRow(row), count)).collect();
            (cluster, spec, PoolInput { observed, in_flight, unbound })
        },
    )
}

pub(crate) fn cluster(name: &str, region: &str) -> Cluster {
    Cluster {
        name: name.into(),
        provider: "p".into(),
        region: region.into(),
        zones: Vec::new(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        reachable: true,
        reachable_since: Millis(0),
        columns: BTreeMap::new(),
        removed: false,
    }
}

fn fleet() -> impl Strategy<Value = Snapshot> {
    let stocks = prop::collection::vec(stock(), OFFERINGS as usize);
    (stocks, prop::collection::vec(pool(), 1..8)).prop_map(|(stocks, pools)| {
        let mut snapshot = Snapshot::default();
        for row in 0..CLUSTERS {
            snapshot.upsert_cluster(cluster(&format!("c{row}"), &format!("r{}", row % 2)));
        }
        for (row, stock) in stocks.into_iter().enumerate() {
            snapshot.upsert_offering(offering(row as u32, stock));
        }
        for shape in shapes() {
            snapshot.intern(&Arc::new(shape));
        }
        for (cluster, spec, input) in pools {
            snapshot.set_pool(ClusterRow(cluster), spec, input).unwrap();
        }
        snapshot
    })
}

#[derive(Clone, Debug)]
enum Op {
    Take(u32, u32, u32, TakeOptions),
    GiveBack(u32, u32, u32),
    SetPool(u32, PoolSpec, PoolInput),
    Stock(u32, Stock),
    RemovePool(u32),
    Advance(u64),
}

fn options() -> impl Strategy<Value = TakeOptions> {
    (any::<bool>(), prop_oneof![Just(0u32), Just(120)])
        .prop_map(|(elastic, max_lead_seconds)| TakeOptions { elastic, max_lead_seconds })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..CLUSTERS, 0..SHAPES, 1u32..12, options()).prop_map(|(c, s, n, o)| Op::Take(c, s, n, o)),
        2 => (0u32..8, 0..SHAPES, 1u32..3).prop_map(|(p, s, n)| Op::GiveBack(p, s, n)),
        2 => pool().prop_map(|(cluster, spec, input)| Op::SetPool(cluster, spec, input)),
        2 => (0..OFFERINGS, stock()).prop_map(|(row, stock)| Op::Stock(row, stock)),
        1 => (0u32..8).prop_map(Op::RemovePool),
        1 => (0u64..120).prop_map(Op::Advance),
    ]
}

fn run(snapshot: &mut Snapshot, op: Op) {
    match op {
        Op::Take(cluster, shape, count, options) => {
            _ = snapshot.take(ClusterRow(cluster), ShapeRow(shape), count, options);
        }
        Op::GiveBack(pool, shape, count) => snapshot.give_back(PoolRow(pool), ShapeRow(shape), count),
        Op::SetPool(cluster, spec, input) => {
            snapshot.set_pool(ClusterRow(cluster), spec, input).unwrap();
        }
        Op::Stock(row, stock) => {
            snapshot.upsert_offering(offering(row, stock));
        }
        Op::RemovePool(row) => snapshot.remove_pool(PoolRow(row)),
        Op::Advance(now) => snapshot.advance(Millis(now)),
    }
}

/// Everything free in a pool, in whole: CPU, pods and thousandths of GPUs.
fn free(pool: &Pool) -> [i64; 3] {
    pool.groups.iter().fold([0; 3], |sum, group| {
        let of = |row| group.free.amounts.get(row) as i64;
        let shared: i64 = group.free.shared.iter().map(|left| i64::from(*left)).sum();
        let count = i64::from(group.count);
        let milli = of(GPU_ROW) * 1000 + shared;
        [sum[0] + of(CPU_ROW) * count, sum[1] + of(PODS_ROW) * count, sum[2] + milli * count]
    })
}

fn used(shape: &Shape, replicas: u32) -> [i64; 3] {
    let of = |name| shape.requests.get(name).copied().unwrap_or(0) as i64 * i64::from(replicas);
    [of(CPU), of(PODS), of(GPU) * 1000 + i64::from(shape.gpu_share) * i64::from(replicas)]
}

/// Pools and stock, to compare.
fn books(snapshot: &Snapshot) -> (Vec<Pool>, Vec<u32>) {
    let clusters = (0..CLUSTERS).flat_map(|row| snapshot.pools_of(ClusterRow(row)).map(|(_, pool)| pool.clone()));
    (clusters.collect(), snapshot.offerings().map(|(_, offering)| offering.in_flight).collect())
}

fn every_pair() -> impl Iterator<Item = (ClusterRow, ShapeRow)> {
    (0..CLUSTERS).flat_map(|cluster| (0..SHAPES).map(move |shape| (ClusterRow(cluster), ShapeRow(shape))))
}

proptest! {
    #[test]
    fn room_is_exactly_what_can_be_taken(snapshot in fleet(), max_lead_seconds in prop_oneof![Just(0u32), Just(120)]) {
        for (cluster, shape) in every_pair() {
            let room = snapshot.room(cluster, shape, max_lead_seconds);
            let all = TakeOptions { elastic: true, max_lead_seconds };
            for (count, options) in [(room.ready, TakeOptions::READY), (room.ready + room.elastic, all)] {
                let mut booked = snapshot.clone();
                let taken = booked.take(cluster, shape, count, options).unwrap();
                prop_assert_eq!(taken.shares.iter().map(|(_, count)| count).sum::<u32>(), count);
                prop_assert_eq!(taken.ready, count.min(room.ready));
                let mut more = snapshot.clone();
                let before = books(&more);
                let refused = more.take(cluster, shape, count + 1, options);
                prop_assert_eq!(refused, Err(NoFit { have: count, need: count + 1 }));
                prop_assert_eq!(books(&more), before);
            }
            let offers = snapshot.offers(cluster, shape, max_lead_seconds);
            prop_assert_eq!(offers.iter().map(|offer| offer.replicas).sum::<u32>(), room.elastic);
            if let Some(first) = offers.first() {
                prop_assert_eq!((first.price, first.lead_seconds), (room.price, room.lead_seconds));
            }
            let pools = snapshot.pools_of(cluster).map(|(row, _)| snapshot.pool_room(row, shape, 0).ready);
            prop_assert_eq!(pools.sum::<u32>(), room.ready);
        }
    }

    #[test]
    fn a_take_never_overcommits(snapshot in fleet(), ops in prop::collection::vec(op(), 0..6), takes in
        prop::collection::vec((0..CLUSTERS, 0..SHAPES, 1u32..40, options()), 1..8)
    ) {
        let mut snapshot = snapshot;
        ops.into_iter().for_each(|op| run(&mut snapshot, op));
        for (cluster, shape, count, options) in takes {
            let (cluster, shape) = (ClusterRow(cluster), ShapeRow(shape));
            let before = snapshot.clone();
            let Ok(taken) = snapshot.take(cluster, shape, count, options) else { continue };
            for (row, pool) in before.pools_of(cluster) {
                let after = snapshot.pool(row).unwrap();
                let replicas = taken.shares.iter().find(|(pool, _)| *pool == row).map_or(0, |(_, count)| *count);
                let orders: Vec<_> = taken.orders.iter().filter(|(pool, ..)| *pool == row).collect();
                let nodes: u32 = orders.iter().map(|(.., nodes)| nodes).sum();
                // Nodes: only those ordered are new, and never more than the maximum.
                prop_assert_eq!(after.nodes(), pool.nodes() + nodes);
                prop_assert!(nodes == 0 || after.nodes() <= after.spec.max);
                // Amounts: what was free, with the new nodes, less what the replicas use.
                let mut expected = free(pool);
                let lost = used(&before.need(shape).unwrap().shape, replicas);
                for (_, offering, nodes) in orders {
                    let fresh = &before.offering(*offering).unwrap().allocatable;
                    let of = |row| fresh.get(row) as i64 * i64::from(*nodes);
                    for (sum, more) in expected.iter_mut().zip([of(CPU_ROW), of(PODS_ROW), of(GPU_ROW) * 1000]) {
                        *sum += more;
                    }
                }
                let expected: Vec<i64> = expected.iter().zip(lost).map(|(free, lost)| free - lost).collect();
                prop_assert_eq!(free(after).to_vec(), expected);
            }
            // Stock: what was ordered was orderable, and is counted.
            for (row, offering) in before.offerings() {
                let nodes: u32 = taken.orders.iter().filter(|(_, one, _)| *one == row).map(|(.., nodes)| nodes).sum();
                prop_assert!(nodes <= before.orderable(row));
                prop_assert_eq!(snapshot.offering(row).unwrap().in_flight, offering.in_flight + nodes);
            }
        }
    }

    #[test]
    fn cached_room_is_fresh_room(
        base in fleet(), ops in prop::collection::vec((any::<bool>(), op()), 1..16), max_lead in prop_oneof![Just(0u32), Just(120)],
    ) {
        // Two clones that go different ways share one cache, as the planner's clone and the fleet do.
        let mut fleet = base.clone();
        let mut plan = base;
        let mut cache = RoomCache::default();
        for (planned, op) in ops {
            let snapshot = if planned { &mut plan } else { &mut fleet };
            run(snapshot, op);
            for shape in (0..SHAPES).map(ShapeRow) {
                let rooms = cache.refresh(snapshot, shape, max_lead).to_vec();
                let fresh: Vec<_> = (0..CLUSTERS).map(|row| snapshot.room(ClusterRow(row), shape, max_lead)).collect();
                prop_assert_eq!(&rooms, &fresh);
                prop_assert_eq!(cache.rows(shape, max_lead), &fresh[..]);
                for row in (0..CLUSTERS).map(ClusterRow) {
                    let fresh = snapshot.empty_room(row, snapshot.need(shape).unwrap(), max_lead);
                    prop_assert_eq!(cache.empty(snapshot, (shape, max_lead), row), fresh);
                }
                for enough in [1, 5, 200] {
                    let clusters = (0..CLUSTERS).map(|row| (row as usize, ClusterRow(row)));
                    let mut offers: Vec<Vec<Offer>> = vec![Vec::new(); CLUSTERS as usize];
                    cache.offers(snapshot, (shape, max_lead), enough, clusters, |at, offer| offers[at].push(*offer));
                    for (row, offers) in (0..).zip(offers) {
                        let all = snapshot.offers(ClusterRow(row), shape, max_lead);
                        let held = |offers: &[Offer]| offers.iter().map(|offer| offer.replicas).sum::<u32>();
                        prop_assert_eq!(&offers[..], &all[..offers.len()]);
                        prop_assert!(offers.len() == all.len() || held(&offers) >= enough);
                    }
                }
            }
            // What is in flight of an offering is what the pools hold of it.
            let (pools, in_flight) = books(snapshot);
            for (row, nodes) in in_flight.into_iter().enumerate() {
                let held = pools.iter().flat_map(|pool| &pool.in_flight).filter(|(of, _)| of.index() == row);
                prop_assert_eq!(nodes, held.map(|(_, nodes)| nodes).sum::<u32>());
            }
        }
    }

    #[test]
    fn a_pool_conserves_what_was_observed((_, spec, input) in pool(), snapshot in fleet()) {
        let mut snapshot = snapshot;
        let spec = PoolSpec { name: "new".into(), ..spec };
        let up_to = |count: usize| PoolInput { unbound: input.unbound[..count].to_vec(), ..input.clone() };
        let row = snapshot.set_pool(ClusterRow(0), spec.clone(), up_to(0)).unwrap();
        for (count, (shape, replicas)) in input.unbound.iter().enumerate() {
            let before = snapshot.pool(row).unwrap().clone();
            snapshot.set_pool(ClusterRow(0), spec.clone(), up_to(count + 1)).unwrap();
            let after = snapshot.pool(row).unwrap();
            // What is gone are whole replicas, as many as found room; no node comes or goes.
            let need = snapshot.need(*shape).unwrap();
            let accepting = before.groups.iter().filter(|group| snapshot.accepts(&spec, "r0", group, need));
            let booked = accepting.map(|group| group.free.fits(need) * group.count).sum::<u32>().min(*replicas);
            let lost = used(&need.shape, booked);
            let expected: Vec<i64> = free(&before).iter().zip(lost).map(|(free, lost)| free - lost).collect();
            prop_assert_eq!(free(after).to_vec(), expected);
            prop_assert_eq!(before.nodes(), after.nodes());
        }
        let after = snapshot.pool(row).unwrap().clone();
        let counted: u32 = input.observed.iter().map(|nodes| nodes.count).sum::<u32>()
            + input.in_flight.iter().map(|order| order.nodes).sum::<u32>();
        prop_assert_eq!(after.nodes(), counted);
        // The same input again changes nothing; after bookings it puts things right.
        let generation = snapshot.generation();
        snapshot.set_pool(ClusterRow(0), spec.clone(), input.clone()).unwrap();
        prop_assert_eq!(snapshot.generation(), generation);
        for shape in 0..SHAPES {
            _ = snapshot.take(ClusterRow(0), ShapeRow(shape), 2, TakeOptions::ELASTIC);
            snapshot.give_back(row, ShapeRow(shape), 1);
        }
        snapshot.set_pool(ClusterRow(0), spec, input).unwrap();
        prop_assert_eq!(snapshot.pool(row).unwrap(), &after);
    }

    #[test]
    fn room_given_back_is_as_ready_as_it_was(snapshot in fleet(), cluster in 0..CLUSTERS, shape in 0..SHAPES, count in 1u32..9) {
        let (cluster, shape) = (ClusterRow(cluster), ShapeRow(shape));
        let mut snapshot = snapshot;
        let before = snapshot.room(cluster, shape, 0);
        let count = count.min(before.ready + before.elastic);
        let waiting: u32 = snapshot.pools_of(cluster).flat_map(|(_, pool)| &pool.waiting).map(|(_, count)| count).sum();
        let taken = snapshot.take(cluster, shape, count, TakeOptions::ELASTIC).unwrap();
        for (pool, replicas) in &taken.shares {
            snapshot.give_back(*pool, shape, *replicas);
        }
        let after = snapshot.room(cluster, shape, 0);
        prop_assert!(after.ready <= before.ready);
        prop_assert!(after.ready + after.elastic >= count);
        if waiting == 0 {
            prop_assert_eq!(after.ready, before.ready);
        }
    }

    #[test]
    fn sets_can_be_taken_and_one_more_can_not(
        snapshot in fleet(), cluster in 0..CLUSTERS, one in 0..SHAPES, other in 0..SHAPES, counts in (1u32..4, 0u32..4),
        options in options(),
    ) {
        let (cluster, set) = (ClusterRow(cluster), [(ShapeRow(one), counts.0), (ShapeRow(other), counts.1)]);
        let mut snapshot = snapshot;
        let sets = snapshot.sets(cluster, &set, options, 50);
        prop_assume!(sets < 50);
        for left in (0..sets).rev() {
            snapshot.take_all(cluster, &set, options).unwrap();
            prop_assert_eq!(snapshot.sets(cluster, &set, options, 50), left);
        }
        let before = books(&snapshot);
        prop_assert!(snapshot.take_all(cluster, &set, options).is_err());
        prop_assert_eq!(books(&snapshot), before);
    }
}

/// One cluster with one pool that may use a small cheap and a large dear type, two nodes in all.
fn two_types() -> (Snapshot, ShapeRow) {
    let mut snapshot = Snapshot::default();
    let cluster = snapshot.upsert_cluster(cluster("c", "r0"));
    let plenty = Stock { state: StockState::InStock, lower_bound: 10, ..Stock::default() };
    let small = snapshot.upsert_offering(offering(0, plenty.clone()));
    let large = Offering { price: 5.0, ..offering(2, plenty) };
    let large = snapshot.upsert_offering(large);
    let shape = snapshot.intern(&Arc::new(shapes().remove(0)));
    let spec = PoolSpec {
        name: "gpu".into(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        offerings: vec![large, small],
        min: 0,
        max: 2,
        lead_seconds: 90,
    };
    snapshot.set_pool(cluster, spec, PoolInput::default()).unwrap();
    (snapshot, shape)
}

#[test]
fn cheap_nodes_come_first_unless_only_large_ones_reach_the_number() {
    let (snapshot, shape) = two_types();
    let c = ClusterRow(0);
    let room = snapshot.room(c, shape, 0);
    assert_eq!((room.ready, room.elastic, room.price, room.lead_seconds), (0, 8, 1.0, 90));
    let orders = |count| snapshot.clone().take(c, shape, count, TakeOptions::ELASTIC).unwrap().orders;
    let (small, large) = (OfferingRow(0), OfferingRow(1));
    assert_eq!(orders(2), [(PoolRow(0), small, 2)]);
    assert_eq!(orders(3), [(PoolRow(0), large, 1)]);
    assert_eq!(orders(8), [(PoolRow(0), large, 2)]);
    // Two small nodes for 2 USD, then what two large ones for 10 USD add.
    let offers = snapshot.offers(c, shape, 0);
    assert_eq!(
        offers.iter().map(|offer| (offer.replicas, offer.price)).collect::<Vec<_>>(),
        [(2, 1.0), (6, 8.0 / 6.0)]
    );
    assert_eq!(snapshot.room(c, shape, 60).elastic, 0);
    assert!(snapshot.clone().take(c, shape, 1, TakeOptions::READY).is_err());
}

#[test]
fn stock_is_shared_by_the_clusters_of_a_region() {
    let (mut snapshot, shape) = two_types();
    let other = snapshot.upsert_cluster(cluster("d", "r0"));
    let spec = (*snapshot.pool(PoolRow(0)).unwrap().spec).clone();
    snapshot
        .set_pool(other, PoolSpec { offerings: vec![OfferingRow(1)], max: 50, ..spec }, PoolInput::default())
        .unwrap();
    assert_eq!(snapshot.room(other, shape, 0).elastic, 40);
    snapshot.take(ClusterRow(0), shape, 8, TakeOptions::ELASTIC).unwrap();
    assert_eq!(snapshot.room(other, shape, 0).elastic, 32);
    assert_eq!(snapshot.room(ClusterRow(0), shape, 0).limit, crate::reason::Code::PoolAtMaximum);
}

#[test]
fn an_empty_cluster_has_room_for_all_that_its_pools_may_grow_to() {
    let (mut snapshot, shape) = two_types();
    let out = Stock { state: StockState::OutOfStock, ..Stock::default() };
    snapshot.upsert_offering(offering(0, out.clone()));
    snapshot.upsert_offering(offering(2, out));
    assert_eq!(snapshot.room(ClusterRow(0), shape, 0).limit, crate::reason::Code::NoStock);
    assert_eq!(snapshot.sets(ClusterRow(0), &[(shape, 4)], TakeOptions::ELASTIC, 9), 0);
    assert_eq!(snapshot.sets_if_empty(ClusterRow(0), &[(shape, 4)], TakeOptions::ELASTIC, 9), 2);
    assert_eq!(snapshot.sets_if_empty(ClusterRow(0), &[(shape, 9)], TakeOptions::ELASTIC, 9), 0);
    // A node that is full now counts with all that it has.
    let full = ObservedNodes {
        instance_type: "own".into(),
        zone: "".into(),
        offering: None,
        allocatable: amounts(64, 8),
        free: Free::default(),
        count: 1,
    };
    let spec = (*snapshot.pool(PoolRow(0)).unwrap().spec).clone();
    snapshot.set_pool(ClusterRow(0), spec, PoolInput { observed: vec![full], ..PoolInput::default() }).unwrap();
    assert_eq!(snapshot.pool(PoolRow(0)).unwrap().nodes(), 1);
    assert_eq!(snapshot.room(ClusterRow(0), shape, 0).ready, 0);
    assert_eq!(snapshot.sets_if_empty(ClusterRow(0), &[(shape, 12)], TakeOptions::ELASTIC, 9), 1);
}
