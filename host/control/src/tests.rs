//! The loops together, over a small world.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod crash;
mod loss;
mod world;

use std::sync::Arc;

use berth_core::ids::{ClusterName, Millis, WorkloadKey};
use berth_core::reason::Code;

use crate::controller::{ApplyOutcome, Refused, Settled, Stuck};
use crate::ports::{Batch, Expected, ObjectKey, OrderState, Store, Write};
use crate::state::State;
use world::{STATE, Scene, fleet};

const DIVIDED: &str = "
apiVersion: berth.dev/v1alpha1
kind: DistributionPolicy
metadata: {name: all}
spec:
  resourceSelectors:
  - {apiVersion: apps/v1, kind: Deployment}
  - {apiVersion: batch/v1, kind: Job}
  - {apiVersion: v1, kind: ConfigMap}
  placement:
    replicaScheduling: {replicaSchedulingType: Divided}
  failover:
    application: {decisionConditions: {tolerationSeconds: 120}, purgeMode: Gracefully, gracePeriodSeconds: 600}
---";

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: model:1
        env: [{{name: BUCKET, value: none}}]
        resources: {{requests: {{cpu: 1}}, limits: {{nvidia.com/gpu: 1}}}}
---"
    )
}

fn key(name: &str) -> WorkloadKey {
    WorkloadKey::new("apps/v1/Deployment", "default", name)
}

fn scene(clusters: &[(&str, f64)], more: &str) -> Scene {
    Scene::new(&format!("{}{DIVIDED}{more}", fleet(clusters)))
}

fn placed(state: &State, name: &str) -> Vec<(String, u32)> {
    let record = state.record(&key(name)).unwrap();
    record.placement.shares.iter().map(|share| (share.cluster.to_string(), share.replicas)).collect()
}

#[test]
fn a_start_takes_nothing_for_lost_before_members_were_seen() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 3));
    scene.add_nodes("b", "b-gpu", 3);
    scene.steps();
    scene.reopen();
    let waits = |scene: &Scene| scene.controller.workloads().iter().any(|row| row.waiting.is_some());
    assert!(!waits(&scene), "what is at a member is not known yet");
    let report = scene.steps();
    assert!(!waits(&scene) && report.decisions == 0);
    assert_eq!((placed(scene.controller.state(), "web"), scene.settled()), (vec![("b".to_owned(), 3)], Settled::Done));
}

#[test]
fn replicas_go_to_nodes_that_are_there() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 3));
    scene.add_nodes("b", "b-gpu", 3);
    assert_eq!(scene.settled(), Settled::Working);
    scene.steps();
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 3)]);
    assert_eq!(scene.members.replicas("b", &key("web")), Some(3));
    assert_eq!(scene.settled(), Settled::Done);
    assert!(scene.provider.accepted.is_empty());
    assert!(scene.heard("placed     Deployment default/web: b +3") && scene.heard("ready      Deployment default/web"));
    let report = scene.steps();
    assert_eq!((report.actions, report.decisions), (0, 0));
}

#[test]
fn nodes_are_ordered_and_become_room() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 3));
    scene.steps();
    assert_eq!(scene.provider.accepted.iter().map(|order| order.nodes).sum::<u32>(), 3);
    assert!(matches!(scene.settled(), Settled::Working));
    assert_eq!(scene.controller.clusters()[0].ordered, 3);
    scene.run_for(60_000);
    assert_eq!((scene.nodes("a"), scene.nodes("b")), (3, 0));
    assert_eq!(scene.settled(), Settled::Done);
    assert!(scene.controller.state().record(&key("web")).unwrap().reservations.is_empty());
    assert!(scene.heard("nodes up   3 in a/a-gpu"));
    let row = &scene.controller.workloads()[0];
    assert_eq!((row.wanted, row.placed, row.ready), (3, 3, 3));
}

#[test]
fn a_stock_out_sends_the_rest_elsewhere() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 4));
    let keys: Vec<_> = scene.provider.stock.keys().cloned().collect();
    scene.provider.stock.insert(keys[0].clone(), 1);
    scene.run_for(150_000);
    assert_eq!((scene.nodes("a"), scene.nodes("b")), (1, 3), "{:?}", scene.said());
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(scene.settled(), Settled::Done);
    assert!(scene.heard("no nodes   a/a-gpu: out of stock: 1 of 4 x gpu.large (on-demand, zone-a) came"));
    let stock = &scene.controller.stock()[0].stock;
    assert_eq!((stock.state, stock.probe), (STATE, 4));
    assert!(stock.retry_at > scene.clock.0 || stock.retry_at.0 > world::START);
}

#[test]
fn causes_of_failed_orders_are_told_apart() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 1));
    scene.provider.stock.values_mut().for_each(|left| *left = 0);
    scene.provider.cause = Some(crate::ports::OrderFailure::NoQuota);
    scene.run_for(50_000);
    let row = &scene.controller.stock()[0];
    assert_ne!(row.stock.state, STATE, "no stock and no quota are different things");
    assert!(row.stock.retry_at > scene.clock.0);
    let waiting = scene.controller.workloads()[0].waiting.clone().unwrap();
    assert!(waiting.message.contains("NoQuota for gpu.large in zone-a"), "{waiting}");
    // After a while it is tried again, and an order that is delivered clears the matter.
    scene.provider.stock.values_mut().for_each(|left| *left = 5);
    scene.run_for(300_000);
    assert_eq!(scene.settled(), Settled::Done, "{:?}", scene.said());
    assert!(scene.controller.state().offerings().all(|(_, known)| known.failure().is_none()));
}

#[test]
fn what_cannot_be_placed_waits_with_a_reason() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 12));
    scene.run_for(600_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 10)]);
    let Settled::Stuck(stuck) = scene.settled() else { panic!("{:?}", scene.settled()) };
    assert_eq!(stuck.len(), 1, "{stuck:?}");
    assert_eq!(stuck[0].workload, key("web"));
    let row = &scene.controller.workloads()[0];
    assert_eq!((row.placed, row.ready), (10, 10));
    assert!(row.waiting.is_some());
}

#[test]
fn workloads_without_a_policy_are_left_alone() {
    let mut scene = Scene::new(&format!("{}{}", fleet(&[("a", 1.0)]), deployment("web", 1)));
    scene.steps();
    let Settled::Stuck(stuck) = scene.settled() else { panic!("{:?}", scene.settled()) };
    let [Stuck { reason, .. }] = &stuck[..] else { panic!("{stuck:?}") };
    assert_eq!(reason.code, Code::NoPolicy);
    assert!(scene.heard("waiting    Deployment default/web: NoDistributionPolicy"));
    scene.apply(DIVIDED);
    scene.run_for(60_000);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn a_deleted_workload_gives_everything_back() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 2));
    scene.steps();
    assert!(scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap());
    assert!(!scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap());
    scene.run_for(120_000);
    assert!(scene.controller.state().workload(&key("web")).is_none());
    assert!(scene.members.applied.is_empty());
    assert_eq!(scene.nodes("a"), 0, "the order was cancelled");
    assert_eq!(scene.settled(), Settled::Done);
    assert!(!scene.controller.keys().iter().any(|key| key.kind.ends_with("Placement")));
}

#[test]
fn deletes_are_all_or_none_and_told() {
    let mut scene = scene(&[("a", 1.0)], &format!("{}{}", deployment("web", 1), deployment("api", 1)));
    scene.steps();
    let (web, api, nobody) = (key("web"), key("api"), key("nobody"));
    let keys = [&web, &nobody, &api, &web].map(ObjectKey::from);
    let before = scene.controller.state().revision;
    assert_eq!(scene.controller.delete_all(&keys, scene.clock.0).unwrap(), [true, false, true, false]);
    assert_eq!(scene.controller.state().revision.0, before.0 + 1, "one batch");
    scene.steps();
    assert!(scene.heard("deleted    Deployment default/web") && scene.heard("deleted    Deployment default/api"));

    let placement = ObjectKey { kind: crate::record::PLACEMENT_KIND.into(), ..keys[0].clone() };
    scene.apply(&deployment("web", 1));
    let refused = scene.controller.delete_all(&[keys[0].clone(), placement], scene.clock.0);
    assert!(matches!(refused, Err(Refused::Invalid(_))));
    assert!(scene.controller.get(&keys[0]).is_some(), "nothing was deleted");
}

#[test]
fn a_lost_cluster_is_left_and_cleaned_up_when_it_is_back() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 2));
    scene.add_nodes("a", "a-gpu", 2);
    scene.steps();
    assert_eq!(scene.members.replicas("a", &key("web")), Some(2));
    let now = scene.clock.0;
    scene.members.set_reachable("a", false, now);
    scene.run_for(60_000);
    assert!(scene.heard("lost       cluster a does not answer"));
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 2)], "within the toleration");
    scene.run_for(180_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 2)], "{:?}", scene.said());
    assert!(scene.heard("moving     Deployment default/web: 2 away from a by ready"));
    assert_eq!(scene.members.replicas("a", &key("web")), Some(2), "nobody can tell it");
    let now = scene.clock.0;
    scene.members.set_reachable("a", true, now);
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &key("web")), None);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn replicas_that_move_gracefully_stay_until_new_ones_are_ready() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 2));
    scene.add_nodes("a", "a-gpu", 2);
    scene.members.sick.insert(("a".into(), key("web")));
    scene.run_for(735_000);
    let record = scene.controller.state().record(&key("web")).unwrap().clone();
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 2)], "{:?}", scene.said());
    assert_eq!(record.retiring.iter().map(|one| one.replicas).sum::<u32>(), 2);
    assert_eq!(scene.members.replicas("a", &key("web")), Some(2), "the old ones stay");
    scene.run_for(120_000);
    assert_eq!(scene.members.replicas("a", &key("web")), None);
    assert_eq!(scene.members.replicas("b", &key("web")), Some(2));
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn idle_nodes_are_removed_after_their_time() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 2));
    scene.run_for(60_000);
    assert_eq!(scene.nodes("a"), 2);
    scene.controller.scale(&key("web"), 1, scene.clock.0).unwrap();
    scene.run_for(590_000);
    assert_eq!(scene.nodes("a"), 2, "unneeded for less than ten minutes");
    scene.run_for(180_000);
    assert_eq!(scene.nodes("a"), 1, "{:?}", scene.said());
    assert!(scene.heard("nodes down 1 in a/a-gpu: idle for"));
    scene.run_for(3_600_000);
    assert_eq!(scene.nodes("a"), 1, "the other one is in use");
}

#[test]
fn a_job_that_ran_to_its_end_holds_nothing() {
    let job = "
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  parallelism: 2
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: job:1, resources: {limits: {nvidia.com/gpu: 1}}}]
---";
    let mut scene = scene(&[("a", 1.0)], &format!("{job}{}", deployment("web", 2)));
    scene.add_nodes("a", "a-gpu", 2);
    scene.apply(
        "
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: a-gpu}
spec: {cluster: a, instanceTypes: [gpu.large], max: 2}
",
    );
    scene.run_for(60_000);
    let job = WorkloadKey::new("batch/v1/Job", "default", "train");
    let first = if scene.members.replicas("a", &job).is_some() { job.clone() } else { key("web") };
    if first == job {
        scene.members.finished.insert(job.clone());
        scene.run_for(120_000);
        assert!(scene.heard("finished   Job default/train: succeeded"));
        assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 2)], "{:?}", scene.said());
    } else {
        scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap();
        scene.run_for(120_000);
        scene.members.finished.insert(job.clone());
        scene.run_for(120_000);
        assert!(scene.heard("finished   Job default/train: succeeded"), "{:?}", scene.said());
    }
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn members_get_their_overrides_and_helpers_go_everywhere() {
    let more = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
---
apiVersion: berth.dev/v1alpha1
kind: OverridePolicy
metadata: {name: buckets}
spec:
  resourceSelectors: [{apiVersion: apps/v1, kind: Deployment}]
  overrideRules:
  - targetCluster: {clusterNames: [b]}
    overriders:
      envOverrider: [{containerName: main, operator: replace, value: [{name: BUCKET, value: in-b}]}]
---";
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &format!("{more}{}", deployment("web", 2)));
    scene.add_nodes("a", "a-gpu", 1);
    scene.add_nodes("b", "b-gpu", 1);
    scene.steps();
    let env = |cluster: &str| {
        let (manifest, _) = &scene.members.applied[&(cluster.into(), key("web"))];
        manifest.value().pointer("/spec/template/spec/containers/0/env/0/value").unwrap().clone()
    };
    assert_eq!((env("a"), env("b")), ("none".into(), "in-b".into()));
    let map = WorkloadKey::new("v1/ConfigMap", "default", "settings");
    assert!(scene.members.applied.contains_key(&("a".into(), map.clone())));
    assert!(scene.members.applied.contains_key(&("b".into(), map.clone())));
    let (manifest, _) = &scene.members.applied[&("a".into(), map)];
    assert_eq!(manifest.value()["metadata"].get("creationTimestamp"), None);
    assert_eq!(scene.settled(), Settled::Done);
    // A new cluster gets them too.
    scene.apply(&fleet(&[("c", 3.0)]));
    let seen = crate::ports::ClusterObservation { reachable: true, ..Default::default() };
    scene.members.seen.insert("c".into(), seen);
    scene.members.set_reachable("c", true, scene.clock.0);
    scene.steps();
    let map = WorkloadKey::new("v1/ConfigMap", "default", "settings");
    assert!(scene.members.applied.contains_key(&("c".into(), map)), "{:?}", scene.said());
}

/// Its end was waited for for ever where a member had lost it.
#[test]
fn a_helper_without_a_policy_is_not_waited_for() {
    let more = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---";
    let mut scene = scene(&[("a", 1.0)], more);
    scene.steps();
    let place = ("a".into(), WorkloadKey::new("v1/ConfigMap", "default", "settings"));
    assert!(scene.members.applied.contains_key(&place), "{:?}", scene.said());
    let policy = ObjectKey {
        kind: "berth.dev/v1alpha1/DistributionPolicy".into(),
        namespace: "default".into(),
        name: "all".into(),
    };
    assert!(scene.controller.delete(&policy, scene.clock.0).unwrap());
    scene.run_for(60_000);
    scene.members.applied.remove(&place);
    scene.run_for(60_000);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn a_conflict_is_decided_again() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 1));
    scene.steps();
    // Somebody else writes the placement behind the controller's back.
    let record = scene.controller.state().record(&key("web")).unwrap().clone();
    let write = Write { key: record.key(), expected: Expected::Anything, value: Some(record.to_json().into()) };
    scene.store.commit(&Batch { writes: vec![write], history: Vec::new() }).unwrap();
    scene.controller.scale(&key("web"), 2, scene.clock.0).unwrap();
    scene.run_for(120_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 2)]);
    assert_eq!(scene.nodes("a"), 2);
    assert_eq!(scene.settled(), Settled::Done);
}

/// The end of a job whose record met another writer was forgotten: it was taken for unwell, moved, and run again.
#[test]
fn a_conflict_forgets_no_end() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &gang(3));
    scene.run_for(1_800_000);
    assert_eq!(scene.members.replicas("a", &train()), Some(4));
    let record = scene.controller.state().record(&train()).unwrap().clone();
    let write = Write { key: record.key(), expected: Expected::Anything, value: Some(record.to_json().into()) };
    scene.store.commit(&Batch { writes: vec![write], history: Vec::new() }).unwrap();
    scene.members.finished.insert(train());
    scene.run_for(1_800_000);
    assert!(scene.heard("finished   PyTorchJob default/train: succeeded"), "{:?}", scene.said());
    assert!(!scene.heard("moving"), "{:?}", scene.said());
    assert_eq!(scene.members.replicas("b", &train()), None);
    assert_eq!(scene.settled(), Settled::Done);
}

/// What was ready until now counted as missing since it was placed where a member brought back an older manifest.
#[test]
fn replicas_are_missing_since_they_are_not_ready() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.run_for(120_000);
    let place = ("a".into(), key("web"));
    let old = scene.members.applied.get(&place).unwrap().clone();
    scene.controller.scale(&key("web"), 2, scene.clock.0).unwrap();
    scene.run_for(3_600_000);
    scene.members.applied.insert(place, old);
    // News for the migration policies at the same moment.
    let now = scene.clock.0;
    scene.members.set_reachable("b", false, now);
    scene.run_for(600_000);
    assert!(!scene.heard("moving"), "{:?}", scene.said());
    assert_eq!(scene.members.replicas("a", &key("web")), Some(2));
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn objects_are_applied_whole_or_not_at_all() {
    let mut scene = scene(&[("alpha", 1.0)], "");
    let objects = |yaml: &str| berth_api::load("test.yaml", yaml).unwrap().objects;
    let bad = "
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: other}
spec: {cluster: alpah, instanceTypes: [gpu.large], max: 3}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {name: again}
spec:
  {provider: test, region: alpha, zone: zone-a, instanceType: gpu.large, capacityType: on-demand, price: 1, allocatable: {cpu: 1}}
---";
    let before = scene.controller.keys();
    let error = scene.controller.apply(objects(&format!("{bad}{}", deployment("web", 1))), scene.clock.0).unwrap_err();
    let Refused::Invalid(refusals) = error else { panic!("{error}") };
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].to_string().contains("did you mean \"alpha\"?"), "{}", refusals[0]);
    assert_eq!(scene.controller.keys(), before);

    let applied = scene.controller.apply(objects(&deployment("web", 1)), scene.clock.0).unwrap();
    assert_eq!(applied[0].outcome, ApplyOutcome::Created);
    let applied = scene.controller.apply(objects(&deployment("web", 1)), scene.clock.0).unwrap();
    assert_eq!(applied[0].outcome, ApplyOutcome::Unchanged);
    assert_eq!(scene.controller.scale(&key("web"), 2, scene.clock.0).unwrap(), ApplyOutcome::Configured);
    assert_eq!(scene.controller.scale(&key("web"), 2, scene.clock.0).unwrap(), ApplyOutcome::Unchanged);
    assert!(scene.controller.scale(&key("none"), 2, scene.clock.0).is_err());
    let stored = scene.controller.get(&ObjectKey::from(&key("web"))).unwrap();
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(stored["status"]["replicas"], 0);
}

#[test]
fn an_explanation_tells_why_here_and_not_there() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.run_for(60_000);
    let explanation = scene.controller.explain(&key("web")).unwrap().unwrap();
    assert_eq!(explanation.decision.unwrap().clusters[0].after, 1);
    let verdicts: Vec<(&str, u32)> =
        explanation.clusters.iter().map(|one| (one.cluster.as_str(), one.replicas)).collect();
    assert_eq!(verdicts, [("a", 1), ("b", 0)]);
    assert_eq!(explanation.clusters[1].reason.as_ref().unwrap().code, Code::NotChosen);
    assert!(explanation.clusters[1].candidate.is_some());
    assert_eq!(scene.controller.decisions(&key("web"), 5).unwrap().len(), 1);
    assert_eq!(scene.controller.explain(&key("none")).unwrap(), None);
    // A store that was opened again tells the same.
    scene.reopen();
    scene.steps();
    let again = scene.controller.explain(&key("web")).unwrap().unwrap();
    assert_eq!(again.clusters, explanation.clusters);
}

#[test]
fn the_same_world_gives_the_same_story() {
    let story = || {
        let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &format!("{}{}", deployment("web", 4), deployment("api", 3)));
        let keys: Vec<_> = scene.provider.stock.keys().cloned().collect();
        scene.provider.stock.insert(keys[0].clone(), 2);
        scene.run_for(900_000);
        (scene.said(), scene.store.changes(crate::ports::Revision(0)).unwrap())
    };
    assert_eq!(story(), story());
}

/// A gang of one master and so many workers, with a policy for it.
fn gang(workers: u32) -> String {
    let pod =
        "{template: {spec: {containers: [{name: pytorch, image: t:1, resources: {limits: {nvidia.com/gpu: 1}}}]}}";
    format!(
        "
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {{name: train}}
spec:
  pytorchReplicaSpecs:
    Master: {pod}, replicas: 1}}
    Worker: {pod}, replicas: {workers}}}
---
apiVersion: berth.dev/v1alpha1
kind: DistributionPolicy
metadata: {{name: jobs}}
spec:
  resourceSelectors: [{{apiVersion: kubeflow.org/v1, kind: PyTorchJob}}]
---"
    )
}

fn train() -> WorkloadKey {
    WorkloadKey::new("kubeflow.org/v1/PyTorchJob", "default", "train")
}

#[test]
fn a_gang_runs_whole_or_not_at_all() {
    let (job, key) = (gang, train());
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &job(10));
    scene.run_for(60_000);
    assert!(scene.provider.accepted.is_empty(), "eleven nodes are more than a pool may have");
    assert!(scene.controller.state().record(&key).is_none());
    let Settled::Stuck(stuck) = scene.settled() else { panic!("{:?}", scene.settled()) };
    assert!(matches!(stuck[0].reason.code, Code::TooLarge | Code::GangDoesNotFit | Code::NoRoom), "{}", stuck[0]);
    scene.apply(&job(7));
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &key), Some(8), "{:?}", scene.said());
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn a_gang_that_shrinks_does_not_wait_behind_the_one_that_waits_for_its_room() {
    let mut scene = scene(&[("a", 1.0)], &gang(7));
    scene.run_for(120_000);
    assert_eq!(scene.members.replicas("a", &train()), Some(8));
    let other = WorkloadKey::new("kubeflow.org/v1/PyTorchJob", "default", "other");
    scene.apply(&gang(5).replace("name: train", "name: other"));
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &other), None, "a pool has ten nodes at the most");
    scene.apply(&gang(3));
    scene.run_for(300_000);
    assert_eq!(scene.members.replicas("a", &train()), Some(4), "{:?}", scene.said());
    assert_eq!(scene.members.replicas("a", &other), Some(6), "{:?}", scene.said());
}

#[test]
fn replicas_of_a_lost_node_are_placed_again() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 2));
    scene.add_nodes("a", "a-gpu", 2);
    scene.steps();
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 2)]);
    // The node is gone, and the pool may have no other.
    scene.apply(
        "
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: a-gpu}
spec: {cluster: a, instanceTypes: [gpu.large], max: 1}
",
    );
    scene.members.seen.get_mut("a").unwrap().nodes.pop();
    scene.add_nodes("a", "a-gpu", 0);
    scene.run_for(60_000);
    assert_eq!(
        placed(scene.controller.state(), "web"),
        [("a".to_owned(), 1), ("b".to_owned(), 1)],
        "{:?}",
        scene.said()
    );
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn a_cluster_that_leaves_the_fleet_holds_nothing() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 2));
    scene.add_nodes("a", "a-gpu", 2);
    scene.steps();
    let cluster = ObjectKey { kind: "berth.dev/v1alpha1/Cluster".into(), namespace: "".into(), name: "a".into() };
    assert!(scene.controller.delete(&cluster, scene.clock.0).unwrap());
    scene.run_for(60_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 2)], "{:?}", scene.said());
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn an_order_that_is_never_delivered_expires() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.provider.lead_ms = 3_600_000;
    scene.run_for(30_000);
    assert_eq!(scene.provider.accepted.len(), 1);
    scene.provider.lead_ms = 40_000;
    scene.run_for(700_000);
    assert_eq!(scene.nodes("a") + scene.nodes("b"), 1, "{:?}", scene.said());
    assert_eq!(scene.provider.accepted.len(), 2);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn an_order_that_the_provider_never_heard_of_is_sent_again() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 1));
    scene.steps();
    let first = scene.provider.accepted[0].clone();
    scene.provider.orders.clear();
    scene.run_for(120_000);
    assert_eq!(scene.provider.accepted, [first.clone(), first]);
    assert_eq!(scene.nodes("a"), 1);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn of_many_that_are_alike_few_are_tried_at_a_time() {
    let many: String = (0..60).map(|number| deployment(&format!("web-{number:02}"), 1)).collect();
    let mut scene = scene(&[("a", 1.0)], &many);
    scene.run_for(120_000);
    assert_eq!(scene.controller.workloads().iter().filter(|row| row.placed == 1).count(), 10);
    assert_eq!(scene.controller.workloads().iter().filter(|row| row.waiting.is_some()).count(), 50);
    // All are due, and a few are tried for all.
    scene.pass(60_000);
    let report = scene.step_at_most(usize::MAX);
    assert_eq!((report.actions, report.decisions), (0, 16));
    // A place that becomes free goes to the next in the queue.
    scene.controller.delete(&ObjectKey::from(&key("web-00")), scene.clock.0).unwrap();
    scene.run_for(10_000);
    assert_eq!(scene.controller.workloads().iter().filter(|row| row.placed == 1).count(), 10, "{:?}", scene.said());
}

/// Three GPUs for the namespace `default`.
const QUOTA: &str = "
apiVersion: berth.dev/v1alpha1
kind: QuotaTree
metadata: {name: quotas}
spec:
  root:
    name: root
    min: {nvidia.com/gpu: 10}
    max: {nvidia.com/gpu: 10}
    children:
    - {name: team, namespaces: [default], min: {nvidia.com/gpu: 3}, max: {nvidia.com/gpu: 3}}
---";

#[test]
fn quotas_are_never_exceeded_and_given_back() {
    let mut scene = scene(&[("a", 1.0)], &format!("{QUOTA}{}{}", deployment("one", 2), deployment("two", 2)));
    scene.run_for(120_000);
    let total = |scene: &Scene| scene.controller.workloads().iter().map(|row| row.placed).sum::<u32>();
    assert_eq!(total(&scene), 3, "{:?}", scene.said());
    scene.reopen();
    scene.run_for(60_000);
    assert_eq!(total(&scene), 3);
    let Settled::Stuck(stuck) = scene.settled() else { panic!("{:?}", scene.settled()) };
    assert!(matches!(stuck[0].reason.code, Code::QuotaExceeded | Code::NoRoom), "{}", stuck[0]);
    scene.controller.scale(&key("one"), 1, scene.clock.0).unwrap();
    scene.run_for(120_000);
    assert_eq!(total(&scene), 3);
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn an_opened_store_gives_the_same_state() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &format!("{}{}", deployment("web", 4), deployment("api", 2)));
    scene.run_for(120_000);
    let before =
        (scene.controller.workloads(), scene.controller.clusters(), scene.controller.pools(), scene.controller.stock());
    let plan = scene.controller.state().plan();
    scene.reopen();
    let report = scene.steps();
    assert_eq!(report.actions, 0);
    let after =
        (scene.controller.workloads(), scene.controller.clusters(), scene.controller.pools(), scene.controller.stock());
    assert_eq!(before, after);
    assert_eq!(scene.controller.state().plan(), plan);
}

#[test]
fn what_a_cluster_brings_back_from_earlier_is_deleted_again() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 2));
    scene.run_for(120_000);
    let place = (ClusterName::from("a"), key("web"));
    let earlier = scene.members.applied.get(&place).unwrap().clone();
    scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap();
    scene.run_for(60_000);
    assert!(scene.controller.workload(&key("web")).is_none());
    scene.members.applied.insert(place.clone(), earlier.clone());
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &key("web")), None);
    // The same before a restart, and while it waits under the same name.
    scene.members.applied.insert(place.clone(), earlier.clone());
    scene.reopen();
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &key("web")), None);
    scene.apply(
        &deployment("web", 0).replace("replicas: 0", "replicas: 2").replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 9"),
    );
    scene.members.applied.insert(place, earlier);
    scene.run_for(60_000);
    assert_eq!(scene.members.replicas("a", &key("web")), None, "{:?}", scene.said());
}

#[test]
fn what_is_placed_counts_while_no_policy_selects_it() {
    let mut scene = scene(&[("a", 1.0)], &format!("{QUOTA}{}", deployment("one", 2)));
    scene.run_for(120_000);
    scene.apply(&format!("{}{}", DIVIDED.replace("kind: Deployment", "kind: StatefulSet"), deployment("two", 2)));
    scene.run_for(60_000);
    let other = DIVIDED.replace("name: all", "name: two").replace("kind: Deployment", "kind: Deployment, name: two");
    scene.apply(&other);
    let total = |scene: &Scene| scene.controller.workloads().iter().map(|row| row.placed).sum::<u32>();
    for _ in 0..2 {
        scene.run_for(120_000);
        assert_eq!(total(&scene), 3, "{:?}", scene.said());
        scene.reopen();
    }
}

#[test]
fn an_expired_order_is_held_until_it_is_cancelled() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.provider.lead_ms = 3_600_000;
    scene.run_for(30_000);
    let first = scene.provider.accepted[0].id.clone();
    scene.provider.lead_ms = 40_000;
    scene.provider.deaf = 2;
    scene.run_for(800_000);
    assert_eq!(scene.provider.orders[&first].1, OrderState::Cancelled, "{:?}", scene.said());
    assert_eq!(scene.nodes("a") + scene.nodes("b"), 1);
    assert_eq!(scene.settled(), Settled::Done);
}

/// What was sent before the clock was set back counted as sent just now, until the clock was where it had been.
#[test]
fn a_clock_that_is_set_back_puts_nothing_off() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.run_for(120_000);
    let place = ("a".into(), key("web"));
    let old = scene.members.applied.get(&place).unwrap().clone();
    scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap();
    scene.step_at_most(usize::MAX);
    // The request to delete it is lost.
    scene.members.applied.insert(place.clone(), old);
    scene.clock.0 = Millis(scene.clock.0.0 - 600_000);
    scene.run_for(60_000);
    assert!(!scene.members.applied.contains_key(&place), "{:?}", scene.said());
}

/// It woke each millisecond until the order was given up.
#[test]
fn an_expired_order_wakes_nobody_in_vain() {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &deployment("web", 1));
    scene.provider.lead_ms = 7_200_000;
    scene.provider.deaf = u32::MAX;
    let wakes = scene.run_for(1_800_000);
    assert!(scene.provider.accepted.len() > 1, "{:?}", scene.said());
    assert!(wakes < 200, "{wakes}");
}

#[test]
fn nodes_on_order_count_although_their_offering_is_gone() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 4));
    scene.steps();
    let in_flight = |scene: &Scene| -> u32 {
        let state = scene.controller.state();
        let rows = state.clusters["a"].pools.values().filter_map(|pool| pool.row);
        let inputs = rows.filter_map(|row| state.snapshot().pool_input(row));
        inputs.flat_map(|input| &input.in_flight).map(|one| one.nodes).sum()
    };
    assert_eq!(in_flight(&scene), 4);
    let offering = scene.controller.keys().into_iter().find(|key| key.kind.ends_with("/Offering")).unwrap();
    scene.controller.delete(&offering, scene.clock.0).unwrap();
    for _ in 0..2 {
        scene.step_at_most(0);
        assert_eq!(in_flight(&scene), 4);
        scene.reopen();
    }
}

#[test]
fn a_decision_after_a_conflict_brings_its_tables_along() {
    let mut scene = scene(&[("a", 1.0)], "");
    scene.steps();
    scene.apply(&deployment("web", 1));
    // Another process has planned meanwhile.
    let value: Arc<[u8]> = br#"{"plan":7,"decidedAt":0}"#.as_slice().into();
    let write = Write { key: crate::state::head_key(), expected: Expected::Anything, value: Some(value) };
    scene.store.commit(&Batch { writes: vec![write], history: Vec::new() }).unwrap();
    scene.run_for(120_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 1)]);
    let explained = scene.controller.explain(&key("web")).unwrap().unwrap();
    assert!(explained.clusters.iter().any(|verdict| verdict.replicas == 1), "{explained:?}");
}
