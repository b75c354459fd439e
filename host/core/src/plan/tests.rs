//! Whole cycles on small fleets, and properties on random ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod fleet;
mod properties;
mod violations;

use self::fleet::*;
use super::*;
use crate::check::check_plan;
use crate::native::Builtin;
use crate::reason::Code;
use crate::workload::{Division, GroupUse, SpreadBy, SpreadConstraint};

fn planned(fleet: &Fleet, entries: &[Entry]) -> Plan {
    let plan = plan(&fleet.input(entries), &mut Builtin::default());
    assert_eq!(check_plan(&fleet.snapshot, entries, &[], &plan), []);
    plan
}

fn placed(change: &Change) -> Vec<(u32, String, u32)> {
    let shares = change.placement.shares.iter();
    shares.map(|share| (share.component, share.cluster.to_string(), share.replicas)).collect()
}

fn waits(plan: &Plan) -> Vec<(String, Code)> {
    plan.report.waiting.iter().map(|one| (one.workload.name.to_string(), one.reason.code)).collect()
}

#[test]
fn static_weights_divide_and_order_nodes() {
    let fleet = Fleet::new(&[("m1", 4, 0), ("m2", 4, 0), ("m3", 0, 4)]);
    let mut workload = fleet.workload("web", 12);
    workload.rules.division = Division::StaticWeight;
    workload.rules.weights = vec![(named("m1"), 3), (named("m2"), 2), (named("m3"), 1)];
    let plan = planned(&fleet, &[workload.entry()]);
    // 6, 4 and 2 by weight; m1 holds 4.
    assert_eq!(placed(&plan.changes[0]), [(0, "m1".into(), 4), (0, "m2".into(), 4), (0, "m3".into(), 2)]);
    assert_eq!(plan.changes[0].short.as_ref().unwrap().code, Code::NoRoom);
    let orders = &plan.changes[0].orders;
    assert_eq!((orders.len(), orders[0].nodes, orders[0].id.as_str(), orders[0].cluster.as_str()), (1, 2, "1-1", "m3"));
}

#[test]
fn planning_the_same_again_changes_nothing() {
    let mut fleet = Fleet::new(&[("m1", 4, 0), ("m2", 2, 3)]);
    let mut workload = fleet.workload("web", 7);
    workload.rules.division = Division::AvailableReplicas;
    let entry = workload.entry();
    let (plan, booked) =
        Planner::default().plan_and_book(&fleet.input(std::slice::from_ref(&entry)), &mut Builtin::default());
    assert_eq!(plan.changes.len(), 1);
    fleet.snapshot = booked;
    let again = Entry { current: Some(std::sync::Arc::new(plan.changes[0].placement.clone())), ..entry };
    let plan = planned(&fleet, &[again]);
    assert!(plan.changes.is_empty() && plan.report.waiting.is_empty(), "{plan:?}");
}

#[test]
fn what_shrinks_leaves_the_dear_nodes_first() {
    let mut fleet = Fleet::new(&[]);
    fleet.cluster("a-dear", &[], 1, 2, 3.0);
    fleet.cluster("b-cheap", &[], 1, 4, 1.0);
    let mut workload = fleet.workload("web", 6);
    let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[workload.entry()]), &mut Builtin::default());
    assert_eq!(placed(&plan.changes[0]), [(0, "a-dear".into(), 2), (0, "b-cheap".into(), 4)]);
    assert_eq!(plan.changes[0].record.candidates.current_price, [0.0, 0.0]);
    fleet.snapshot = booked;
    workload.replicas = vec![3];
    let entry = Entry { current: Some(std::sync::Arc::new(plan.changes[0].placement.clone())), ..workload.entry() };
    let plan = planned(&fleet, &[entry]);
    assert_eq!(placed(&plan.changes[0]), [(0, "b-cheap".into(), 3)]);
    assert_eq!(plan.changes[0].record.candidates.current_price, [3.0, 1.0]);
}

#[test]
fn a_gang_runs_whole_in_one_cluster_or_waits() {
    let fleet = Fleet::new(&[("m1", 3, 0), ("m2", 5, 0)]);
    let mut first = fleet.gang("first", &[(1, 1), (3, 3)]);
    first.priority = 2;
    let mut second = fleet.gang("second", &[(1, 1), (3, 3)]);
    second.priority = 1;
    let third = fleet.gang("third", &[(1, 1), (1, 1)]);
    let plan = planned(&fleet, &[first.entry(), second.entry(), third.entry()]);
    assert_eq!(placed(&plan.changes[0]), [(0, "m2".into(), 1), (1, "m2".into(), 3)]);
    // The second was admitted, since each fits by itself; then the first left too little room for it.
    assert_eq!(waits(&plan), [("second".into(), Code::NoRoom)]);
    assert_eq!(placed(plan.changes.last().unwrap()), [(0, "m1".into(), 1), (1, "m1".into(), 1)]);
}

#[test]
fn backfill_leaves_the_claimed_cluster_alone() {
    let mut fleet = Fleet::new(&[("m1", 2, 0), ("m2", 8, 0)]);
    let running = fleet.gang("running", &[(6, 6)]);
    let entry = running.entry();
    fleet.snapshot = Planner::default().plan_and_book(&fleet.input(&[entry]), &mut Builtin::default()).1;
    let mut head = fleet.gang("head", &[(8, 8)]);
    head.priority = 5;
    let small = fleet.gang("small", &[(2, 2)]);
    let never = {
        let mut never = fleet.gang("never", &[(9, 9)]);
        never.priority = 9;
        never
    };
    let plan = planned(&fleet, &[head.entry(), small.entry(), never.entry()]);
    assert_eq!(waits(&plan), [("never".into(), Code::TooLarge), ("head".into(), Code::GangDoesNotFit)]);
    assert_eq!(placed(&plan.changes[0]), [(0, "m1".into(), 2)]);
}

#[test]
fn quota_is_lent_up_to_the_ceiling_and_never_exceeded() {
    let mut fleet = Fleet::new(&[("m1", 50, 0)]);
    fleet.quota(10, &[("default", 4, 6), ("other", 6, 10)]);
    let workload = fleet.workload("web", 9);
    let mut other = fleet.workload("api", 9);
    other.namespace = "other";
    let plan = planned(&fleet, &[workload.entry(), other.entry()]);
    let total = |name: &str| {
        let change = plan.changes.iter().find(|change| &*change.placement.workload.name == name);
        change.map_or(0, |change| change.placement.total(0))
    };
    assert_eq!(total("web") + total("api"), 10);
    assert!(total("web") <= 6, "{}", total("web"));
    assert!(plan.changes.iter().all(|change| change.short.is_some()));
}

#[test]
fn what_must_leave_goes_elsewhere_and_the_cluster_gets_nothing_new() {
    let mut fleet = Fleet::new(&[("m1", 9, 0), ("m2", 4, 0)]);
    let mut workload = fleet.workload("web", 4);
    workload.rules.division = Division::Aggregated;
    let entry = workload.entry();
    let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[entry]), &mut Builtin::default());
    assert_eq!(placed(&plan.changes[0]), [(0, "m1".into(), 4)]);
    fleet.snapshot = booked;
    let mut entry = workload.entry();
    entry.current = Some(std::sync::Arc::new(plan.changes[0].placement.clone()));
    entry.leave = vec![Leave { component: 0, cluster: "m1".into(), replicas: 3 }];
    let moved = planned(&fleet, &[entry]);
    assert_eq!(placed(&moved.changes[0]), [(0, "m1".into(), 1), (0, "m2".into(), 3)]);
}

#[test]
fn an_unreachable_cluster_keeps_what_it_has() {
    let mut fleet = Fleet::new(&[("m1", 9, 0), ("m2", 4, 0)]);
    let mut workload = fleet.workload("web", 4);
    workload.rules.division = Division::Aggregated;
    let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[workload.entry()]), &mut Builtin::default());
    fleet.snapshot = booked;
    fleet.unreachable("m1");
    workload.replicas = vec![6];
    let mut entry = workload.entry();
    entry.current = Some(std::sync::Arc::new(plan.changes[0].placement.clone()));
    let grown = planned(&fleet, &[entry]);
    assert_eq!(placed(&grown.changes[0]), [(0, "m1".into(), 4), (0, "m2".into(), 2)]);
}

#[test]
fn objects_without_replicas_go_to_every_selected_cluster() {
    let fleet = Fleet::new(&[("m1", 1, 0), ("m2", 0, 0), ("m3", 1, 0)]);
    let mut object = fleet.workload("settings", 0);
    object.replicas.clear();
    object.rules.groups = vec![crate::workload::ClusterAffinity { exclude: vec!["m3".into()], ..Default::default() }];
    let plan = planned(&fleet, &[object.entry()]);
    assert_eq!(plan.changes[0].placement.clusters, ["m1".into(), "m2".into()]);
}

#[test]
fn spread_tiers_budget_and_elasticity_hold() {
    let fleet = Fleet::new(&[("m1", 1, 9), ("m2", 2, 9), ("m3", 3, 9)]);
    let mut workload = fleet.workload("web", 8);
    workload.rules.division = Division::AvailableReplicas;
    workload.rules.spread = vec![SpreadConstraint { by: SpreadBy::Cluster, max: 1, min: 1 }];
    assert_eq!(planned(&fleet, &[workload.entry()]).changes[0].placement.clusters.len(), 1);

    workload.rules.spread.clear();
    workload.rules.group_use = GroupUse::FillInOrder;
    workload.rules.groups = vec![named("m2"), named("m3"), named("m1")];
    workload.rules.elastic = false;
    workload.rules.division = Division::Free;
    let plan = planned(&fleet, &[workload.entry()]);
    assert_eq!(placed(&plan.changes[0]), [(0, "m1".into(), 1), (0, "m2".into(), 2), (0, "m3".into(), 3)]);
    assert_eq!(plan.changes[0].short.as_ref().unwrap().code, Code::NoRoom);

    workload.rules.elastic = true;
    workload.rules.groups = vec![Default::default()];
    workload.rules.budget = Some(1.5);
    let plan = planned(&fleet, &[workload.entry()]);
    assert_eq!(plan.changes[0].placement.total(0), 7, "one new node of 1 USD per hour is within the budget");
    assert_eq!(plan.changes[0].short.as_ref().unwrap().code, Code::Budget);
}

#[test]
fn every_cluster_is_explained() {
    let fleet = Fleet::new(&[("m1", 9, 0), ("m2", 4, 0), ("m3", 0, 0)]);
    let mut workload = fleet.workload("web", 4);
    workload.rules.division = Division::Aggregated;
    let plan = planned(&fleet, &[workload.entry()]);
    let explanation = explain(&plan.changes[0].record, &plan.changes[0].record.tables);
    let rows: Vec<(&str, Option<Code>)> = explanation.clusters.iter().map(|row| (&*row.cluster, row.code)).collect();
    assert_eq!(rows[..2], [("m1", None), ("m2", Some(Code::NotChosen))]);
    assert_eq!(rows[2].0, "m3");
    assert!(
        !explanation.clusters[0].terms.is_empty() && explanation.clusters.iter().all(|row| !row.message.is_empty())
    );
}

#[test]
fn suspended_workloads_and_unknown_fleets_wait_with_reasons() {
    let fleet = Fleet::new(&[]);
    let mut suspended = fleet.workload("web", 4);
    suspended.rules.suspended = true;
    let plan = planned(&fleet, &[suspended.entry(), fleet.workload("api", 1).entry()]);
    assert_eq!(waits(&plan), [("web".into(), Code::Suspended), ("api".into(), Code::NoCluster)]);
}

/// What a first cycle placed, asked again with other rules or demand.
fn again(fleet: &mut Fleet, first: &Sketch, then: &Sketch) -> Plan {
    let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[first.entry()]), &mut Builtin::default());
    fleet.snapshot = booked;
    let current = Some(std::sync::Arc::new(plan.changes[0].placement.clone()));
    planned(fleet, &[Entry { current, ..then.entry() }])
}

/// A running gang was made smaller, because only further whole sets counted as room for it.
#[test]
fn a_running_gang_keeps_its_size() {
    let mut fleet = Fleet::new(&[("m1", 5, 0), ("m2", 3, 0)]);
    let gang = fleet.gang("gang", &[(1, 4)]);
    let plan = again(&mut fleet, &gang, &gang);
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
}

/// A budget took replicas away that were placed before.
#[test]
fn a_budget_takes_nothing_from_what_runs() {
    let mut fleet = Fleet::new(&[("m1", 0, 6)]);
    let workload = fleet.workload("web", 4);
    let mut bounded = fleet.workload("web", 6);
    bounded.rules.budget = Some(3.0);
    let plan = again(&mut fleet, &workload, &bounded);
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    assert_eq!(waits(&plan), [("web".into(), Code::Budget)]);
}

/// A waiting job ahead in the queue took quota from what runs.
#[test]
fn a_job_ahead_takes_no_quota_from_what_runs() {
    let mut fleet = Fleet::new(&[("m1", 9, 0)]);
    fleet.quota(6, &[("default", 6, 6)]);
    let web = fleet.workload("web", 4);
    let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[web.entry()]), &mut Builtin::default());
    fleet.snapshot = booked;
    let mut ahead = fleet.workload("ahead", 5);
    ahead.priority = 3;
    let current = Some(std::sync::Arc::new(plan.changes[0].placement.clone()));
    let plan = planned(&fleet, &[ahead.entry(), Entry { current, ..web.entry() }]);
    assert_eq!((plan.changes.len(), plan.changes[0].placement.total(0)), (1, 2), "{:?}", plan.changes);
}

/// Quota that a lost replica was charged to counted as used by others, and so nothing could replace it.
#[test]
fn what_lost_its_room_is_replaced_within_the_quota() {
    for gang in [true, false] {
        let mut fleet = Fleet::new(&[("m1", 6, 0)]);
        fleet.quota(3, &[("default", 0, 3)]);
        let mut work = fleet.gang("work", &[(1, 1), (2, 2)]);
        work.rules.gang = gang;
        let (plan, booked) = Planner::default().plan_and_book(&fleet.input(&[work.entry()]), &mut Builtin::default());
        fleet.snapshot = booked;
        let whole = placed(&plan.changes[0]);
        let mut left = plan.changes[0].placement.clone();
        left.shares.iter_mut().filter(|share| share.component == 1).for_each(|share| share.replicas = 1);
        let entry = Entry { current: Some(Arc::new(left)), lost: vec![0, 1], ..work.entry() };
        let plan = planned(&fleet, &[entry]);
        assert_eq!(waits(&plan), []);
        assert_eq!(placed(&plan.changes[0]), whole, "{:?}", plan.changes[0].short);
    }
}

/// A gang with a part on nodes that were lost kept the rest, and its quota, for as long as it waited.
#[test]
fn a_gang_that_lost_a_part_is_made_whole_or_gives_everything_back() {
    for (more, whole) in [(0, false), (3, true)] {
        let mut fleet = Fleet::new(&[("m1", 2, more), ("m2", 3, 0)]);
        fleet.quota(10, &[("default", 0, 10)]);
        let mut gang = fleet.gang("gang", &[(1, 1), (3, 3)]);
        gang.rules.groups = vec![named("m1")];
        let placement = |shares: &[(u32, u32)]| Placement {
            workload: gang.entry().workload.key.clone(),
            workload_generation: 1,
            plan: PlanId(0),
            decided_at: crate::ids::Millis(0),
            policy: crate::native::policy_ref("cost"),
            shares: shares
                .iter()
                .map(|(component, replicas)| crate::placement::Share {
                    component: *component,
                    cluster: "m1".into(),
                    pool: "pool".into(),
                    replicas: *replicas,
                })
                .collect(),
            clusters: vec!["m1".into()],
        };
        let entry = Entry { current: Some(Arc::new(placement(&[(0, 1), (1, 1)]))), lost: vec![0, 2], ..gang.entry() };
        let plan = planned(&fleet, &[entry]);
        let change = &plan.changes[0];
        if whole {
            assert_eq!(placed(change), [(0, "m1".into(), 1), (1, "m1".into(), 3)]);
        } else {
            assert_eq!((placed(change), change.placement.clusters.len()), (Vec::new(), 0));
            assert_eq!(change.short.as_ref().unwrap().code, Code::Backoff);
            assert_eq!((change.replaces, waits(&plan)), (Some(PlanId(0)), Vec::new()));
        }
        // What runs whole waits with what it has.
        let entry = Entry { current: Some(Arc::new(placement(&[(0, 1), (1, 3)]))), ..gang.entry() };
        assert!(planned(&fleet, &[entry]).changes.is_empty());
    }
}
