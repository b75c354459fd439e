//! The spread case of Karmada, and the same rule by other groups.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests may stop at the first surprise.

use super::*;
use crate::ids::Millis;

fn cluster(name: &str, region: &str, provider: &str) -> Cluster {
    Cluster {
        name: name.into(),
        provider: provider.into(),
        region: region.into(),
        zones: vec![format!("{region}-a").into()],
        labels: [("tier".into(), provider.into())].into(),
        taints: Vec::new(),
        reachable: true,
        reachable_since: Millis(0),
        columns: BTreeMap::new(),
        removed: false,
    }
}

/// Clusters m1, m2, … in rows 0, 1, …
fn fleet(places: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (row, (region, provider)) in places.iter().enumerate() {
        snapshot.upsert_cluster(cluster(&format!("m{}", row + 1), region, provider));
    }
    snapshot
}

fn contenders(list: &[(u32, u64)]) -> Vec<Contender> {
    let contender = |(row, (score, room)): (usize, &(u32, u64))| Contender {
        cluster: ClusterRow(row as u32),
        score: *score,
        room: *room,
    };
    list.iter().enumerate().map(contender).collect()
}

fn spread(by: SpreadBy, min: u32, max: u32) -> SpreadConstraint {
    SpreadConstraint { by, max, min }
}

#[test]
fn case_6_spread_by_cluster() {
    let snapshot = fleet(&[("r", "p"); 4]);
    let list = contenders(&[(20, 40), (40, 60), (30, 80), (60, 50)]);
    let constraint = [spread(SpreadBy::Cluster, 1, 2)];
    let select = |division, replicas| select(&snapshot, &list, &constraint, division, replicas);
    assert_eq!(select(Division::Duplicated, 120), Ok(vec![1, 3]));
    assert_eq!(select(Division::AvailableReplicas, 120), Ok(vec![2, 3]));
    assert_eq!(select(Division::Aggregated, 200), Err(Unmet::NoRoom { have: 140, need: 200 }));
    assert_eq!(select(Division::StaticWeight, 200), Ok(vec![0, 1, 2, 3]));
}

#[test]
fn too_few_groups_fail_with_numbers() {
    let snapshot = fleet(&[("r", "p"), ("", "p")]);
    let list = contenders(&[(0, 10), (0, 10)]);
    let select = |by, min| select(&snapshot, &list, &[spread(by, min, 0)], Division::Duplicated, 1);
    assert_eq!(select(SpreadBy::Cluster, 3), Err(Unmet::TooFew { by: "clusters".into(), have: 2, need: 3 }));
    assert_eq!(select(SpreadBy::Region, 2), Err(Unmet::TooFew { by: "regions".into(), have: 1, need: 2 }));
    // A cluster without a region is in no group.
    assert_eq!(select(SpreadBy::Region, 1), Ok(vec![0]));
}

#[test]
fn groups_are_chosen_like_clusters() {
    let snapshot = fleet(&[("r1", "a"), ("r1", "a"), ("r2", "b"), ("r3", "b")]);
    let list = contenders(&[(10, 5), (10, 5), (5, 20), (0, 40)]);
    let select = |constraints: &[SpreadConstraint], division, replicas| {
        select(&snapshot, &list, constraints, division, replicas)
    };
    for by in [SpreadBy::Region, SpreadBy::Zone] {
        let two = [spread(by, 1, 2)];
        assert_eq!(select(&two, Division::Duplicated, 1), Ok(vec![0, 1, 2]));
        assert_eq!(select(&two, Division::AvailableReplicas, 30), Ok(vec![0, 1, 2]));
        assert_eq!(select(&two, Division::AvailableReplicas, 50), Ok(vec![0, 1, 3]));
        assert_eq!(select(&two, Division::AvailableReplicas, 61), Err(Unmet::NoRoom { have: 60, need: 61 }));
    }
    for by in [SpreadBy::Provider, SpreadBy::Label("tier".into())] {
        assert_eq!(select(&[spread(by, 1, 1)], Division::AvailableReplicas, 11), Ok(vec![2, 3]));
    }
    // One cluster of each region, although the two best are in the same.
    let both = [spread(SpreadBy::Region, 2, 2), spread(SpreadBy::Cluster, 1, 2)];
    assert_eq!(select(&both, Division::Duplicated, 1), Ok(vec![0, 2]));
}
