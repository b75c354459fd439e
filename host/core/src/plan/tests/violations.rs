//! For each rule of plans a sound plan that is spoilt in one place: the checker sees it.

use std::sync::Arc;

use super::fleet::*;
use crate::check::{Violation, check_plan};
use crate::fleet::{Cluster, Taint, TaintEffect};
use crate::native::Builtin;
use crate::plan::{Entry, Plan, Planner};
use crate::workload::{Division, SpreadBy, SpreadConstraint};

/// A fleet, entries and a sound plan: a gang of 2 and 3 in m1, 6 replicas in m1 and m2, nodes ordered in m2.
fn sound() -> (Fleet, Vec<Entry>, Plan) {
    let mut fleet = Fleet::new(&[("m1", 6, 0), ("m2", 1, 6), ("m3", 9, 0)]);
    fleet.quota(12, &[("default", 6, 12)]);
    let mut gang = fleet.gang("gang", &[(2, 2), (3, 3)]);
    gang.priority = 1;
    gang.rules.groups = vec![named("m1")];
    let mut web = fleet.workload("web", 6);
    web.rules.division = Division::AvailableReplicas;
    web.rules.groups = vec![crate::workload::ClusterAffinity { exclude: vec!["m3".into()], ..Default::default() }];
    web.rules.spread = vec![SpreadConstraint { by: SpreadBy::Region, max: 2, min: 1 }];
    let entries = vec![gang.entry(), web.entry()];
    let plan = Planner::default().plan(&fleet.input(&entries), &mut Builtin::default());
    assert_eq!(plan.changes.len(), 2);
    (fleet, entries, plan)
}

fn codes(fleet: &Fleet, entries: &[Entry], plan: &Plan) -> Vec<&'static str> {
    let mut codes: Vec<&str> = check_plan(&fleet.snapshot, entries, &[], plan).iter().map(Violation::code).collect();
    codes.dedup();
    codes
}

fn spoilt(spoil: impl Fn(&mut Fleet, &mut Vec<Entry>, &mut Plan)) -> Vec<&'static str> {
    let (mut fleet, mut entries, mut plan) = sound();
    assert_eq!(codes(&fleet, &entries, &plan), Vec::<&str>::new());
    spoil(&mut fleet, &mut entries, &mut plan);
    codes(&fleet, &entries, &plan)
}

fn change_rules(entries: &mut [Entry], row: usize, change: impl Fn(&mut crate::workload::Rules)) {
    let mut workload = (*entries[row].workload).clone();
    let mut rules = (*workload.rules).clone();
    change(&mut rules);
    workload.rules = Arc::new(rules);
    entries[row].workload = Arc::new(workload);
}

fn change_cluster(fleet: &mut Fleet, name: &str, change: impl Fn(Cluster) -> Cluster) {
    let row = fleet.snapshot.cluster_row(name).unwrap();
    let cluster = fleet.snapshot.cluster(row).unwrap().clone();
    fleet.snapshot.upsert_cluster(change(cluster));
}

#[test]
fn what_was_not_asked() {
    assert_eq!(spoilt(|_, entries, _| _ = entries.pop()), ["Unasked"]);
    assert!(spoilt(|_, _, plan| plan.changes.push(plan.changes[0].clone())).contains(&"Unasked"));
}

#[test]
fn form() {
    assert!(spoilt(|_, _, plan| plan.changes[0].placement.shares.reverse()).contains(&"Malformed"));
    assert!(spoilt(|_, _, plan| plan.changes[0].placement.clusters.clear()).contains(&"Malformed"));
    assert!(spoilt(|_, _, plan| plan.changes[0].replaces = Some(plan.id)).contains(&"Malformed"));
    assert!(spoilt(|_, _, plan| plan.changes[0].placement.shares[0].pool = "none".into()).contains(&"Malformed"));
    assert!(spoilt(|_, _, plan| plan.changes[1].orders[0].pool = "none".into()).contains(&"Malformed"));
}

#[test]
fn gangs_and_floors() {
    assert_eq!(spoilt(|_, _, plan| _ = plan.changes[0].placement.shares.remove(0)), ["BelowFloor"]);
    assert_eq!(spoilt(|_, _, plan| plan.changes[0].placement.shares[1].replicas = 2), ["BelowFloor"]);
    let apart = |_: &mut Fleet, _: &mut Vec<Entry>, plan: &mut Plan| {
        plan.changes[0].placement.shares[1].cluster = "m2".into();
        plan.changes[0].placement.clusters.push("m2".into());
    };
    assert!(spoilt(apart).contains(&"Apart"));
    assert!(spoilt(|_, _, plan| plan.changes[1].placement.shares[0].replicas += 9).contains(&"OverWanted"));
}

#[test]
fn where_it_may_run() {
    let not_selected = |_: &mut Fleet, entries: &mut Vec<Entry>, _: &mut Plan| {
        change_rules(entries, 0, |rules| rules.groups = vec![named("m2")]);
    };
    assert_eq!(spoilt(not_selected), ["Infeasible"]);
    assert!(spoilt(|fleet, _, _| fleet.unreachable("m1")).contains(&"Infeasible"));
    let tainted = |fleet: &mut Fleet, _: &mut Vec<Entry>, _: &mut Plan| {
        let taint = Taint { key: "k".into(), value: "".into(), effect: TaintEffect::NoSchedule };
        change_cluster(fleet, "m1", |cluster| Cluster { taints: vec![taint.clone()], ..cluster });
    };
    assert!(spoilt(tainted).contains(&"Infeasible"));
    assert!(spoilt(|fleet, _, _| _ = fleet.snapshot.remove_cluster("m3")).is_empty());
    let spread = |_: &mut Fleet, entries: &mut Vec<Entry>, plan: &mut Plan| {
        let used = plan.changes[1].placement.clusters.len();
        assert_eq!(used, 2, "web is in two regions");
        change_rules(entries, 1, |rules| rules.spread[0].max = 1);
    };
    assert_eq!(spoilt(spread), ["SpreadConstraint"]);
}

#[test]
fn capacity() {
    // Ready nodes: the gang takes 5 of 6 in m1.
    let more = |_: &mut Fleet, entries: &mut Vec<Entry>, plan: &mut Plan| {
        let mut workload = (*entries[0].workload).clone();
        workload.components[1].replicas = 5;
        entries[0].workload = Arc::new(workload);
        plan.changes[0].placement.shares[1].replicas = 5;
    };
    assert!(spoilt(more).contains(&"NodesOvercommitted"));
    let unordered = |_: &mut Fleet, _: &mut Vec<Entry>, plan: &mut Plan| plan.changes[1].orders.clear();
    assert_eq!(spoilt(unordered), ["NodesOvercommitted"]);
    let too_many = |_: &mut Fleet, _: &mut Vec<Entry>, plan: &mut Plan| plan.changes[1].orders[0].nodes = 7;
    assert_eq!(spoilt(too_many), ["PoolMaximum", "StockOvercommitted"]);
    assert_eq!(spoilt(|fleet, _, _| fleet.quota(10, &[("default", 6, 12)])), ["QuotaExceeded"]);
    assert_eq!(spoilt(|fleet, _, _| fleet.quota(12, &[("default", 6, 10)])), ["QuotaExceeded"]);
}
