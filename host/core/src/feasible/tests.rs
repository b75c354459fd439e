//! Which clusters are candidates, with each reason for the others.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests may stop at the first surprise.

use super::*;
use crate::fleet::{Free, ObservedNodes, PoolInput, PoolSpec, Taint};
use crate::ids::Millis;
use crate::resources::{CPU, PODS};
use crate::workload::{Failover, Operator, Purge, Requirement, Shape, SpreadBy, SpreadConstraint, Toleration};

fn cluster(name: &str, region: &str) -> Cluster {
    Cluster {
        name: name.into(),
        provider: "p".into(),
        region: region.into(),
        zones: Vec::new(),
        labels: [("region".into(), region.into())].into(),
        taints: Vec::new(),
        reachable: true,
        reachable_since: Millis(0),
        columns: BTreeMap::new(),
        removed: false,
    }
}

fn taint(effect: TaintEffect) -> Taint {
    Taint { key: "maintenance".into(), value: "".into(), effect }
}

/// Clusters with the given number of free cores on one node each, in rows 0, 1, …, and a shape of one core.
fn fleet(clusters: Vec<(Cluster, u64)>) -> (Snapshot, ShapeRow) {
    let mut snapshot = Snapshot::default();
    for (cluster, cores) in clusters {
        let row = snapshot.upsert_cluster(cluster);
        let amounts = snapshot.amounts(&[(CPU.into(), cores * 1000), (PODS.into(), 100)].into());
        let nodes = ObservedNodes {
            instance_type: "t".into(),
            zone: "".into(),
            offering: None,
            allocatable: amounts.clone(),
            free: Free::new(amounts),
            count: 1,
        };
        let spec = PoolSpec {
            name: "pool".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            offerings: Vec::new(),
            min: 0,
            max: 1,
            lead_seconds: 0,
        };
        snapshot.set_pool(row, spec, PoolInput { observed: vec![nodes], ..PoolInput::default() }).unwrap();
    }
    let requests = [(CPU.into(), 1000), (PODS.into(), 1)].into();
    let shape = snapshot.intern(&Arc::new(Shape { requests, ..Shape::default() }));
    (snapshot, shape)
}

fn rules() -> Rules {
    Rules {
        policy: "ns/policy".into(),
        groups: vec![ClusterAffinity::default()],
        group_use: GroupUse::FirstThatFits,
        tolerations: Vec::new(),
        spread: Vec::new(),
        division: Division::AvailableReplicas,
        weights: Vec::new(),
        elastic: true,
        max_lead_seconds: 0,
        gang: false,
        budget: None,
        placement_policy: None,
        gang_policy: None,
        migration_policy: None,
        suspended: false,
        failover: Failover { toleration_ms: 0, purge: Purge::Never, grace_ms: 0 },
    }
}

fn named(names: &[&str]) -> ClusterAffinity {
    ClusterAffinity { names: Some(names.iter().map(|name| (*name).into()).collect()), ..ClusterAffinity::default() }
}

type Found = (Vec<String>, Vec<(Code, u32, u32)>, Option<Reason>);

/// Names of the candidates, and codes of the others with their numbers.
fn find(snapshot: &Snapshot, rules: Rules, wants: &[Want], held: &[Held], except: &[(ClusterRow, Code)]) -> Found {
    let (mut feasibility, mut rooms) = (Feasibility::default(), RoomCache::default());
    let rules = Arc::new(rules);
    let ask = Ask { rules: &rules, wants, held, except };
    let first = feasibility.find(snapshot, &mut rooms, ask);
    assert_eq!(feasibility.find(snapshot, &mut rooms, ask), first, "the cached answer is the same");
    let named: Vec<u32> = first.candidates.iter().map(|one| one.cluster.0).collect();
    let mut rows: Vec<u32> = named.iter().copied().chain(first.passed.each().iter().map(|one| one.cluster)).collect();
    rows.sort_unstable();
    let all: Vec<u32> = snapshot.clusters().filter(|(_, c)| !c.removed).map(|(row, _)| row.0).collect();
    assert_eq!(rows, all, "each cluster is named once");
    let name = |row: u32| snapshot.cluster(ClusterRow(row)).unwrap().name.to_string();
    let passed = first.passed.each().iter().map(|one| (one.code, one.have, one.need)).collect();
    (named.into_iter().map(name).collect(), passed, first.problem)
}

fn want(shape: ShapeRow, replicas: u32, need: u32) -> [Want; 1] {
    [Want { shape, replicas, need }]
}

#[test]
fn each_cluster_is_a_candidate_or_has_a_reason() {
    let tainted = |name, effect| Cluster { taints: vec![taint(effect)], ..cluster(name, "r1") };
    let (mut snapshot, shape) = fleet(vec![
        (cluster("z", "r1"), 8),
        (cluster("b", "r2"), 8),
        (Cluster { reachable: false, ..cluster("c", "r1") }, 8),
        (tainted("d", TaintEffect::NoSchedule), 8),
        (tainted("e", TaintEffect::NoExecute), 8),
        (cluster("f", "r1"), 3),
        (cluster("g", "r1"), 8),
        (cluster("gone", "r1"), 8),
        (cluster("a", "r1"), 9),
    ]);
    snapshot.remove_cluster("gone");
    let region = Requirement { key: "region".into(), operator: Operator::In, values: vec!["r1".into()] };
    let group = ClusterAffinity { labels: vec![region], ..ClusterAffinity::default() };
    let rules = Rules { groups: vec![group], division: Division::Duplicated, ..rules() };
    let except = [(ClusterRow(6), Code::MovedAway)];
    let (names, passed, problem) = find(&snapshot, rules.clone(), &want(shape, 8, 8), &[], &except);
    assert_eq!(names, ["a", "z"]);
    let expected = [
        (Code::Affinity, 0, 0),
        (Code::ClusterUnhealthy, 0, 0),
        (Code::Taint, 0, 0),
        (Code::Taint, 0, 0),
        (Code::NoRoom, 3, 8),
        (Code::MovedAway, 0, 0),
    ];
    assert_eq!((passed, problem), (expected.to_vec(), None));
    // What replicas hold is room for them, also where a taint keeps new work away, but not where it evicts.
    let held = |row, replicas| Held { cluster: ClusterRow(row), component: 0, replicas };
    let (names, ..) = find(&snapshot, rules.clone(), &want(shape, 8, 8), &[held(3, 8), held(4, 8), held(5, 5)], &[]);
    assert_eq!(names, ["a", "d", "f", "g", "z"]);
    let tolerant = Toleration { key: "maintenance".into(), value: None, effect: None };
    let rules = Rules { tolerations: vec![tolerant], ..rules };
    let (names, ..) = find(&snapshot, rules, &want(shape, 8, 8), &[], &[]);
    assert_eq!(names, ["a", "d", "e", "g", "z"]);
}

#[test]
fn what_limits_the_room_is_the_reason() {
    let (snapshot, shape) = fleet(vec![(cluster("a", "r"), 0), (cluster("b", "r"), 2)]);
    let (names, passed, _) = find(&snapshot, rules(), &want(shape, 5, 0), &[], &[]);
    assert_eq!((names, passed), (vec!["b".to_owned()], vec![(Code::NoRoom, 0, 1)]));
    let selective = Requirement { key: "gpu".into(), operator: Operator::Exists, values: Vec::new() };
    let mut snapshot = snapshot;
    let picky = snapshot.intern(&Arc::new(Shape { nodes: vec![vec![selective]], ..Shape::default() }));
    let (names, passed, _) = find(&snapshot, rules(), &want(picky, 1, 0), &[], &[]);
    assert_eq!((names.len(), passed), (0, vec![(Code::NoMatchingPool, 0, 1); 2]));
    // Objects without replicas go wherever they are selected.
    assert_eq!(find(&snapshot, rules(), &[], &[], &[]).0, ["a", "b"]);
}

#[test]
fn the_first_group_that_fits_is_used_alone() {
    let clusters = ["a", "b", "c"].map(|name| (cluster(name, "r"), 4));
    let (snapshot, shape) = fleet(clusters.to_vec());
    let rules = Rules { groups: vec![named(&["a"]), named(&["b", "a"]), named(&["c"])], ..rules() };
    let find = |replicas, held: &[Held]| find(&snapshot, rules.clone(), &want(shape, replicas, 0), held, &[]);
    assert_eq!(find(4, &[]).0, ["a"]);
    assert_eq!(find(4, &[]).1, [(Code::Affinity, 2, 1), (Code::Affinity, 3, 1)]);
    assert_eq!(find(5, &[]).0, ["a", "b"]);
    // None fits: the one with the most room.
    assert_eq!(find(9, &[]).0, ["a", "b"]);
    // What runs in a group that still fits stays there.
    let held = [Held { cluster: ClusterRow(2), component: 0, replicas: 1 }];
    assert_eq!(find(5, &held).0, ["c"]);
    assert_eq!(find(6, &held).0, ["a", "b"]);
}

#[test]
fn tiers_are_used_together() {
    let (snapshot, shape) = fleet(vec![(cluster("b", "r"), 4), (cluster("a", "r"), 4), (cluster("c", "r"), 4)]);
    let groups = vec![named(&["b"]), named(&["a", "b"])];
    let rules = Arc::new(Rules { groups, group_use: GroupUse::FillInOrder, ..rules() });
    let wants = want(shape, 1, 0);
    let ask = Ask { rules: &rules, wants: &wants, held: &[], except: &[] };
    let found = Feasibility::default().find(&snapshot, &mut RoomCache::default(), ask);
    let tiers: Vec<_> = found.candidates.iter().map(|one| (one.cluster.0, one.tier)).collect();
    assert_eq!(tiers, [(1, 1), (0, 0)]);
    assert_eq!(found.passed.each(), [Passed { cluster: 2, code: Code::Affinity, have: 0, need: 0 }]);
}

#[test]
fn static_weights_take_the_highest_and_leave_out_what_has_none() {
    let (snapshot, shape) = fleet(["m1", "m2", "m3"].map(|name| (cluster(name, "r"), 4)).to_vec());
    let weights = vec![(named(&["m1"]), 1), (named(&["m2"]), 1), (named(&["m1"]), 2)];
    let spread = vec![SpreadConstraint { by: SpreadBy::Cluster, max: 1, min: 1 }];
    let rules = Arc::new(Rules { division: Division::StaticWeight, weights, spread, ..rules() });
    let wants = want(shape, 3, 0);
    let ask = Ask { rules: &rules, wants: &wants, held: &[], except: &[] };
    let found = Feasibility::default().find(&snapshot, &mut RoomCache::default(), ask);
    assert_eq!(found.candidates.iter().map(|one| one.weight).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(found.passed.each(), [Passed { cluster: 2, code: Code::NoWeight, have: 0, need: 0 }]);
}

#[test]
fn spread_constraints_leave_out_the_rest_or_say_why_not() {
    let (snapshot, shape) = fleet(["a", "b", "c"].map(|name| (cluster(name, "r"), 4)).to_vec());
    let rules = Rules { spread: vec![SpreadConstraint { by: SpreadBy::Cluster, max: 2, min: 1 }], ..rules() };
    let held = [Held { cluster: ClusterRow(2), component: 0, replicas: 1 }];
    let (names, passed, _) = find(&snapshot, rules.clone(), &want(shape, 8, 0), &held, &[]);
    assert_eq!((names, passed), (vec!["a".to_owned(), "c".to_owned()], vec![(Code::Spread, 0, 0)]));
    let (names, passed, problem) = find(&snapshot, rules, &want(shape, 9, 0), &[], &[]);
    assert_eq!((names.len(), passed), (0, vec![(Code::Spread, 0, 0); 3]));
    let message = "the clusters that the spread constraints allow have room for 8 replicas, 9 needed";
    assert_eq!(problem, Some(Reason::new(Code::Spread, message)));
}

#[test]
fn reasons_are_sentences_with_numbers() {
    let tables = crate::policy::Tables { names: vec!["paris".into()], ..Default::default() };
    let passed = |code, have, need| Passed { cluster: 0, code, have, need }.message(&tables);
    assert_eq!(passed(Code::NoRoom, 3, 8), "paris: room for 3 replicas, 8 needed");
    assert_eq!(
        passed(Code::NoStock, 1, 2),
        "paris: room for 1 replica, 2 needed; the offerings that would do are out of stock"
    );
    assert_eq!(passed(Code::Affinity, 2, 1), "paris: in group 2 of the preferred clusters; group 1 is used");
    for code in Code::ALL {
        assert!(passed(*code, 0, 0).len() > "paris: ".len());
    }
}
