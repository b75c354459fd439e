//! What becomes of replicas that lost their room, or were to move, when there is no other place; and when it is there again.

use berth_core::ids::WorkloadKey;
use berth_core::reason::Code;

use super::world::{START, Scene, fleet};
use super::{deployment, key, placed, scene};
use crate::controller::Settled;
use crate::event::What;

const DUPLICATED: &str = "
apiVersion: berth.dev/v1alpha1
kind: DistributionPolicy
metadata: {name: everywhere}
spec:
  resourceSelectors: [{apiVersion: apps/v1, kind: Deployment}, {apiVersion: batch/v1, kind: Job}]
  placement: {replicaScheduling: {replicaSchedulingType: Duplicated}}
  failover: {application: {decisionConditions: {tolerationSeconds: 120}, purgeMode: Directly}}
---";

/// A pool that stays as it is.
fn fixed(cluster: &str, nodes: u32) -> String {
    format!(
        "
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {{name: {cluster}-gpu}}
spec: {{cluster: {cluster}, instanceTypes: [gpu.large], max: {nodes}}}
---"
    )
}

fn duplicated(more: &str) -> Scene {
    Scene::new(&format!("{}{DUPLICATED}{more}", fleet(&[("a", 1.0), ("b", 2.0)])))
}

#[test]
fn what_lost_its_room_is_given_back_until_there_is_room() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 2));
    scene.apply(&fixed("a", 2));
    scene.add_nodes("a", "a-gpu", 2);
    scene.run_for(60_000);
    scene.provider.stock.values_mut().for_each(|stock| *stock = 0);
    scene.members.lose_node("a");
    scene.run_for(60_000);
    let record = scene.controller.state().record(&key("web")).unwrap().clone();
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 1)], "{:?}", scene.said());
    assert!(record.short.as_ref().is_some_and(|short| short.code != Code::Backoff), "it says what it waits for");
    assert_eq!(scene.members.replicas("a", &key("web")), Some(1), "the member would start it on any node that comes");
    scene.add_nodes("a", "a-gpu", 1);
    scene.run_for(600_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("a".to_owned(), 2)], "{:?}", scene.said());
    assert_eq!(scene.settled(), Settled::Done);
}

#[test]
fn a_move_that_has_no_place_to_go_to_lapses() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 1));
    scene.add_nodes("a", "a-gpu", 1);
    scene.members.sick.insert(("a".into(), key("web")));
    scene.run_for(735_000);
    let must_move = |scene: &Scene| scene.controller.state().record(&key("web")).unwrap().must_move();
    assert!(must_move(&scene), "{:?}", scene.said());
    scene.members.sick.clear();
    scene.run_for(3_600_000);
    assert!(!must_move(&scene), "it is well, and is asked to leave no longer");
    assert_eq!((placed(scene.controller.state(), "web"), scene.settled()), (vec![("a".to_owned(), 1)], Settled::Done));
}

#[test]
fn a_cluster_that_was_left_gets_its_part_again_when_its_time_is_over() {
    let mut scene = duplicated(&deployment("web", 1));
    scene.run_for(120_000);
    let both = [("a".to_owned(), 1), ("b".to_owned(), 1)];
    assert_eq!(placed(scene.controller.state(), "web"), both);
    scene.members.set_reachable("a", false, scene.clock.0);
    scene.run_for(300_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 1)], "{:?}", scene.said());
    scene.members.set_reachable("a", true, scene.clock.0);
    scene.run_for(60_000);
    assert_eq!(placed(scene.controller.state(), "web"), [("b".to_owned(), 1)], "it may not go there yet");
    scene.run_for(3_600_000);
    assert_eq!(placed(scene.controller.state(), "web"), both, "{:?}", scene.said());
}

#[test]
fn a_part_that_ran_to_its_end_is_not_run_again_while_others_run() {
    let job = "
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: job:1, resources: {limits: {nvidia.com/gpu: 1}}}]
---";
    let mut scene = duplicated(job);
    let key = WorkloadKey::new("batch/v1/Job", "default", "train");
    scene.run_for(120_000);
    let clusters = |scene: &Scene| scene.controller.state().record(&key).unwrap().placement.clusters.len();
    assert_eq!(clusters(&scene), 2, "{:?}", scene.said());
    scene.members.finished_at.insert(("a".into(), key.clone()));
    scene.run_for(3_600_000);
    assert_eq!(clusters(&scene), 2, "{:?}", scene.said());
    assert!(!scene.heard("moving"), "{:?}", scene.said());
    scene.members.finished_at.insert(("b".into(), key.clone()));
    scene.run_for(60_000);
    assert!(scene.heard("finished   Job default/train: succeeded"), "{:?}", scene.said());
}

#[test]
fn a_node_that_becomes_idle_right_after_a_scan_is_found_in_time() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 2));
    scene.run_for(60_000);
    scene.controller.scale(&key("web"), 1, scene.clock.0).unwrap();
    scene.run_for(7_200_000);
    let removed = scene.log.0.iter().find(|event| matches!(event.what, What::NodesRemoved { .. })).unwrap();
    assert!(removed.at.0 < START + 60_000 + 900_000, "{removed}");
}

#[test]
fn a_node_that_was_told_to_go_counts_until_it_is_gone() {
    let mut scene = scene(&[("a", 1.0)], &deployment("web", 1));
    scene.apply(&fixed("a", 2));
    scene.add_nodes("a", "a-gpu", 2);
    // Every request to remove a node gets lost.
    scene.provider.deaf = u32::MAX;
    scene.run_for(1_800_000);
    assert!(scene.heard("nodes down"), "{:?}", scene.said());
    assert_eq!(scene.nodes("a"), 2);
    scene.controller.scale(&key("web"), 2, scene.clock.0).unwrap();
    scene.run_for(600_000);
    assert_eq!(scene.nodes("a"), 2, "the pool has two nodes at most: {:?}", scene.said());
}
