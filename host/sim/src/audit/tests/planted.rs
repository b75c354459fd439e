//! One fault each, planted where it would really be, and exactly the breach that must be heard.

use std::sync::Arc;

use berth_control::history::{self, DecisionEntry};
use berth_control::ports::{Batch, Write};
use berth_core::plan::DecisionRecord;
use serde_json::{Value, json};

use super::healthy::{TRAIN, WEB, web};
use super::rig::{FLEET, MemberFault, ProviderFault, ReadFault, START};
use super::*;
use crate::Options;
use crate::audit::Invariant;

const PLACEMENT: &str = "berth.dev/v1alpha1/Placement";
const HEAD: &str = "berth.dev/v1alpha1/Plan";

/// Whether a batch commits a plan.
fn has_plan(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| &*write.key.kind == HEAD)
}

/// Changes the JSON of written objects of a kind.
fn alter(batch: &mut Batch, kind: &str, mut change: impl FnMut(&mut Value)) {
    for write in batch.writes.iter_mut().filter(|write| &*write.key.kind == kind) {
        let Write { value: Some(bytes), .. } = write else { continue };
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = serde_json::to_vec(&value).unwrap().into();
    }
}

/// Changes the decisions of a batch.
fn alter_decisions(batch: &mut Batch, change: impl Fn(&mut DecisionEntry, &mut DecisionRecord)) {
    for entry in batch.history.iter_mut().filter(|entry| entry.about.is_some()) {
        let Ok(mut decision) = history::decode(&entry.value) else { continue };
        let mut record = (*decision.record).clone();
        change(&mut decision, &mut record);
        decision.record = Arc::new(record);
        entry.value = history::encode(&decision).into();
    }
}

/// Adds to the replicas of the first share, in the placement and in its record, so that they agree.
fn add_to_first_share(batch: &mut Batch, more: i64) {
    let sum = |count: u64| count.saturating_add_signed(more);
    alter(batch, PLACEMENT, |value| {
        let replicas = value.pointer_mut("/spec/shares/0/replicas").unwrap();
        *replicas = sum(replicas.as_u64().unwrap()).into();
    });
    alter_decisions(batch, |entry, record| {
        entry.clusters[0].after = sum(u64::from(entry.clusters[0].after)) as u32;
        let assigned = &mut record.outcome.as_mut().unwrap().assignments[0].replicas;
        *assigned = sum(u64::from(*assigned)) as u32;
    });
}

fn deployment(name: &str, replicas: u32) -> String {
    WEB.replace("name: web,", &format!("name: {name},")).replace("replicas: 6", &format!("replicas: {replicas}"))
}

/// Reservations of the first order at a cluster get so many nodes.
fn order(batch: &mut Batch, cluster: &str, nodes: u64) {
    alter(batch, PLACEMENT, |value| {
        for one in value.pointer_mut("/status/reservations").and_then(Value::as_array_mut).into_iter().flatten() {
            if one["cluster"] == cluster {
                one["nodes"] = nodes.into();
            }
        }
    });
}

fn expect(expected: &[Invariant], plant: fn(&mut Rig)) {
    let mut rig = Rig::new();
    plant(&mut rig);
    let mut heard: Vec<Invariant> = rig.breaches.iter().map(|breach| breach.invariant).collect();
    heard.sort();
    heard.dedup();
    assert_eq!(heard, expected, "{:#?}", rig.found());
}

/// Tests by name, with all that must be heard and nothing else.
macro_rules! planted {
    ($($name:ident: [$($invariant:ident),+] => $plant:expr;)*) => {
        $(#[test]
        fn $name() {
            expect(&[$(Invariant::$invariant),+], $plant);
        })*

        const PLANTED: &[&[Invariant]] = &[$(&[$(Invariant::$invariant),+]),*];
    };
}

planted! {
    // 1. Nothing is overcommitted.
    too_few_nodes_are_ordered: [NodesOvercommitted] => |rig| {
        rig.tamper(|batch| order(batch, "east", 1));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    a_pool_grows_beyond_its_maximum: [PoolOvercommitted] => |rig| {
        rig.tamper(|batch| order(batch, "west", 5));
        rig.apply(&deployment("web", 16));
        rig.step_at_most(1);
    };
    more_is_ordered_than_is_in_stock: [OfferingOvercommitted] => |rig| {
        rig.tamper(|batch| order(batch, "east", 4));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    a_quota_is_exceeded: [QuotaOvercommitted] => |rig| {
        rig.apply(WEB);
        rig.write_behind(
            "{apiVersion: berth.dev/v1alpha1, kind: QuotaTree, metadata: {name: quotas}, spec: {root: {name: all, \
             min: {nvidia.com/gpu: 5}, max: {nvidia.com/gpu: 5}, namespaces: [default]}}}",
        );
        rig.step_at_most(1);
    };
    a_gang_is_placed_below_its_floor: [GangFloor] => |rig| {
        rig.tamper(|batch| {
            add_to_first_share(batch, -1);
            alter(batch, PLACEMENT, |value| {
                value["status"]["short"] = json!({"code": "NoRoom", "message": ""});
                value["status"]["conditions"][0]["status"] = "False".into();
                value["status"]["conditions"][0]["reason"] = "NoRoom".into();
            });
        });
        rig.apply(TRAIN);
        rig.step_at_most(1);
    };
    more_is_placed_than_wanted: [TooManyPlaced] => |rig| {
        rig.tamper(|batch| add_to_first_share(batch, 1));
        rig.apply(WEB);
        rig.step_at_most(1);
    };

    // 2. Gangs.
    a_gang_runs_in_two_places: [GangApart] => |rig| {
        rig.tamper(|batch| alter(batch, PLACEMENT, |value| {
            value["status"]["retiring"] = json!([{"component": 0, "cluster": "west", "replicas": 1, "until": 1}]);
        }));
        rig.apply(TRAIN);
        rig.step_at_most(1);
    };
    a_gang_waits_on_nodes_that_are_not_there: [NodesOvercommitted, GangStuck] => |rig| {
        rig.members = MemberFault::ShowsNode;
        rig.apply(
            "{apiVersion: berth.dev/v1alpha1, kind: ClusterDistributionPolicy, metadata: {name: training}, spec: \
             {resourceSelectors: [{apiVersion: kubeflow.org/v1, kind: PyTorchJob}], \
             failover: {application: {purgeMode: Never}}}}",
        );
        rig.apply(&TRAIN.replace("replicas: 3", "replicas: 1"));
        rig.run(1500);
    };

    // 3. Plans and records.
    shares_change_without_a_plan: [ChangeWithoutPlan] => |rig| {
        rig.tamper(|batch| if !has_plan(batch) {
            alter(batch, PLACEMENT, |value| value["spec"]["shares"][0]["replicas"] = 5.into());
        });
        rig.apply(WEB);
        rig.run(100);
    };
    a_record_is_not_written: [RecordMissing] => |rig| {
        rig.tamper(|batch| batch.history.retain(|entry| entry.about.is_none()));
        rig.apply(WEB);
        rig.run(60);
    };
    a_record_is_damaged: [RecordMissing] => |rig| {
        rig.tamper(|batch| for entry in batch.history.iter_mut().filter(|entry| entry.about.is_some()) {
            if entry.value[0] == 1 {
                entry.value = entry.value[..entry.value.len() - 1].into();
            }
        });
        rig.apply(WEB);
        rig.run(60);
    };
    a_record_refers_to_tables_that_are_not_written: [RecordMissing] => |rig| {
        rig.tamper(|batch| batch.history.retain(|entry| {
            entry.about.as_ref().is_none_or(|about| !about.kind.ends_with("/Tables"))
        }));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    a_record_tells_another_story: [RecordDiffers] => |rig| {
        rig.tamper(|batch| alter_decisions(batch, |entry, _| entry.clusters[0].after = 5));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    a_record_names_another_policy: [RecordDiffers] => |rig| {
        rig.tamper(|batch| alter_decisions(batch, |_, record| record.by.digest = "other".into()));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    a_manifest_is_applied_elsewhere: [AppliedWithoutPlan] => |rig| {
        rig.members = MemberFault::AppliesElsewhere;
        rig.apply(WEB);
        rig.step_at_most(usize::MAX);
    };

    // 5. Crashes.
    an_object_is_not_written: [ObjectLost] => |rig| {
        rig.tamper(|batch| batch.writes.retain(|write| &*write.key.name != "web"));
        rig.apply(WEB);
    };
    an_object_is_gone_after_a_restart: [ObjectLost] => |rig| {
        rig.apply(WEB);
        rig.run(60);
        // Back to an older copy of the file, as a careless operator would.
        let key = rig.store.inner_key(&web());
        rig.store.lose(&key);
        rig.restart();
    };
    an_object_is_written_otherwise: [ObjectChanged] => |rig| {
        rig.apply(WEB);
        rig.tamper(|batch| alter(batch, "apps/v1/Deployment", |value| value["spec"]["replicas"] = 99.into()));
        rig.scale(&web(), 7);
    };
    a_deleted_object_stays: [ObjectBack] => |rig| {
        rig.apply(WEB);
        rig.tamper(|batch| batch.writes.retain(|write| write.value.is_some()));
        rig.delete("apps/v1/Deployment", "web");
    };
    a_member_keeps_what_it_had: [StartedTwice] => |rig| {
        rig.apply(WEB);
        rig.run(200);
        rig.members = MemberFault::NeverApplies;
        rig.scale(&web(), 2);
        rig.run(400);
    };
    an_order_brings_a_second_set_of_nodes: [OrderedTwice] => |rig| {
        rig.apply(WEB);
        rig.run(200);
        let node = rig.simulation.members.clusters["east"].observed.nodes[0].clone();
        let order = node.order.clone().unwrap();
        let offering = rig.simulation.provider.orders().next().unwrap().1.offering.clone();
        let (fleet, members) = (&rig.simulation.fleet, &mut rig.simulation.members);
        members.add_node(fleet, &"second".into(), (&"east".into(), &"east-gpu".into()), &offering, Some(&order));
        rig.run(30);
    };
    the_id_of_an_order_is_used_again: [NodesOvercommitted, OrderedTwice] => |rig| {
        let mut first = true;
        rig.tamper(move |batch| alter(batch, PLACEMENT, |value| {
            if !std::mem::take(&mut first)
                && let Some(one) = value.pointer_mut("/status/reservations/0/id")
            {
                *one = "1-1".into();
            }
        }));
        rig.apply(WEB);
        rig.run(200);
        rig.apply(&deployment("more", 4));
        rig.step_at_most(2);
    };

    // 6. Leaks.
    a_reservation_is_never_ended: [ReservationLeaked] => |rig| {
        let mut held = Value::Null;
        rig.tamper(move |batch| {
            let plan = has_plan(batch);
            alter(batch, PLACEMENT, |value| match plan {
                true => held = value["status"]["reservations"].clone(),
                false => value["status"]["reservations"] = held.clone(),
            });
        });
        rig.apply(WEB);
        rig.run(1_200);
    };
    an_order_is_made_twice: [OrderLeaked] => |rig| {
        *rig = Rig::with(FLEET, "{nodeStart: 5m..5m}", Options::default());
        rig.provider = ProviderFault::OrdersTwice;
        rig.apply(&deployment("web", 2));
        rig.run(280);
    };
    an_order_is_never_cancelled: [OrderLeaked] => |rig| {
        *rig = Rig::with(FLEET, "{nodeStart: 50m..50m}", Options::default());
        rig.provider = ProviderFault::NeverCancels;
        rig.apply(&deployment("web", 2));
        rig.run(60);
        rig.delete("apps/v1/Deployment", "web");
        rig.run(1200);
    };
    a_node_is_never_removed: [NodeLeaked] => |rig| {
        rig.provider = ProviderFault::NeverRemoves;
        rig.apply(WEB);
        rig.run(200);
        rig.delete("apps/v1/Deployment", "web");
        rig.run(2400);
    };
    a_member_keeps_what_was_deleted: [ObjectLeftBehind] => |rig| {
        rig.members = MemberFault::NeverDeletes;
        rig.apply(WEB);
        rig.run(200);
        rig.delete("apps/v1/Deployment", "web");
        rig.run(400);
    };

    // 7. Reasons.
    a_placement_is_short_and_does_not_say_why: [ReasonMissing] => |rig| {
        rig.tamper(|batch| alter(batch, PLACEMENT, |value| {
            value["status"]["short"] = Value::Null;
            value["status"]["conditions"][0]["status"] = "True".into();
            value["status"]["conditions"][0]["reason"] = "".into();
        }));
        rig.apply(&deployment("web", 40));
        rig.step_at_most(1);
    };
    nobody_hears_why_something_waits: [ReasonMissing] => |rig| {
        rig.deafen();
        rig.apply(&WEB.replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 5"));
        rig.run(300);
    };
    a_code_is_not_in_the_list: [UnknownCode] => |rig| {
        rig.tamper(|batch| alter(batch, PLACEMENT, |value| {
            value["status"]["short"]["code"] = "Because".into();
            value["status"]["conditions"][0]["reason"] = "Because".into();
        }));
        rig.apply(&deployment("web", 40));
        rig.step_at_most(1);
    };

    // 8. Swaps of policies.
    a_policy_is_swapped_in_the_middle_of_a_cycle: [PoliciesMixed] => |rig| {
        rig.policies.mixes = true;
        let objects = [deployment("one", 1), deployment("two", 1)].join("---");
        rig.apply(&objects);
        rig.step_at_most(1);
    };
    a_decision_has_no_plan: [DecisionLost] => |rig| {
        rig.tamper(|batch| {
            batch.history.retain(|entry| entry.about.is_some());
            batch.writes.retain(|write| &*write.key.kind != HEAD);
        });
        rig.apply(&WEB.replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 5"));
        rig.step_at_most(1);
        // A commit without objects shows with the next one.
        rig.write_behind("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}");
    };

    // What the others stand on.
    a_plan_does_not_follow_on_its_parent: [PlansBroken] => |rig| {
        rig.tamper(|batch| alter(batch, HEAD, |value| value["plan"] = 7.into()));
        rig.apply(WEB);
        rig.step_at_most(1);
    };
    the_history_loses_an_entry: [HistoryChanged] => |rig| {
        rig.apply(WEB);
        rig.run(200);
        rig.store.read = ReadFault::Forgets;
        rig.write_behind("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}");
    };
    a_revision_falls: [RevisionFell] => |rig| {
        rig.apply(WEB);
        rig.store.read = ReadFault::Backdates;
        rig.scale(&web(), 7);
    };
    a_placement_is_garbage: [Unreadable] => |rig| {
        rig.tamper(|batch| for write in batch.writes.iter_mut().filter(|write| &*write.key.kind == PLACEMENT) {
            write.value = Some(b"{".to_vec().into());
        });
        rig.apply(WEB);
        rig.step_at_most(1);
    };
}

/// 4. Two runs of the same are the same, and of others they are not.
#[test]
fn runs_that_went_different_ways_are_told_apart() {
    let run = |replicas: u32| {
        let mut rig = Rig::new();
        rig.apply(WEB);
        rig.run(100);
        rig.scale(&web(), replicas);
        rig.run(100);
        assert_eq!(rig.found(), [""; 0]);
        rig
    };
    let (one, same, other) = (run(7), run(7), run(8));
    assert_eq!(one.auditor.same_as(&same.auditor.digest()), None);
    let breach = one.auditor.same_as(&other.auditor.digest()).unwrap();
    assert_eq!(breach.invariant, Invariant::PlansDiffer);
    assert!(breach.to_string().starts_with("[4 plans-differ] "), "{breach}");
    assert!(one.simulation.now() > START);
}

#[test]
fn every_kind_of_breach_was_planted() {
    for invariant in Invariant::ALL.iter().filter(|invariant| **invariant != Invariant::PlansDiffer) {
        assert!(PLANTED.iter().any(|list| list.contains(invariant)), "{invariant:?} is never planted");
    }
}
