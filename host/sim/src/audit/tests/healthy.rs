//! Nothing is found where nothing is wrong.

use berth_control::ports::{Batch, Expected, Store, Write};
use berth_core::ids::WorkloadKey;

use super::*;

pub(super) const WEB: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: i, resources: {requests: {cpu: 4, memory: 8Gi}, limits: {nvidia.com/gpu: 1}}}]
";

pub(super) const TRAIN: &str = r"
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: train, namespace: default, annotations: {sim.berth.dev/duration: 20m}}
spec:
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      template: {spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 2, nvidia.com/gpu: 1}}}]}}
    Worker:
      replicas: 3
      template: {spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 2, nvidia.com/gpu: 2}}}]}}
";

pub(super) const CONFIG: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {colour: blue}
";

pub(super) fn web() -> WorkloadKey {
    WorkloadKey::new("apps/v1/Deployment", "default", "web")
}

#[test]
fn a_day_without_faults_breaks_nothing() {
    let mut rig = Rig::new();
    rig.apply(WEB);
    rig.apply(CONFIG);
    rig.run(300);
    rig.apply(TRAIN);
    rig.run(900);
    rig.scale(&web(), 12);
    rig.run(900);
    rig.restart();
    rig.scale(&web(), 2);
    rig.run(1800);
    rig.delete("apps/v1/Deployment", "web");
    rig.run(3600);
    assert_eq!(rig.found(), [""; 0]);
    assert!(rig.looks > 300, "{}", rig.looks);
    assert_eq!(rig.simulation.totals().orders_failed, 0);
}

#[test]
fn a_gang_whose_nodes_come_in_part_gives_them_back() {
    // One node comes, then the other order fails: the stock ends in the middle.
    let fleet = rig::FLEET
        .replace("cluster: west, instanceTypes: [gpu.4], max: 4", "cluster: west, instanceTypes: [gpu.4], max: 0");
    let faults = "{nodeStart: 60s..60s, faults: [{at: 25s, what: OutOfStock, offering: east-4}]}";
    let mut rig = Rig::with(&fleet, faults, crate::Options::default());
    rig.apply(TRAIN);
    rig.run(7200);
    let shown = rig.simulation.members.clusters.values().any(|cluster| !cluster.workloads.is_empty());
    assert!(!shown && rig.simulation.nodes() == 2, "it holds nothing but the nodes that are always there");
    assert_eq!(rig.found(), [""; 0]);
}

/// The tables of a decision whose batch met another writer were taken for written, and those of later decisions were missing.
#[test]
fn a_conflict_loses_no_tables() {
    let mut rig = Rig::new();
    rig.apply(WEB);
    let mut rival = true;
    let mut store = rig.store.inner.clone();
    rig.tamper(move |batch| {
        if let Some(head) = batch.writes.iter().find(|write| write.key.kind.ends_with("/Plan"))
            && std::mem::take(&mut rival)
        {
            // Somebody else writes the same object first.
            let writes = vec![Write { expected: Expected::Anything, ..head.clone() }];
            let entry =
                berth_control::ports::HistoryEntry { at: rig::START, about: None, value: PLAN.as_bytes().into() };
            store.commit(&Batch { writes, history: vec![entry] }).unwrap();
        }
    });
    rig.run(200);
    assert_eq!(rig.found(), [""; 0]);
}

const PLAN: &str = r#"{"plan": 1, "parent": 0, "changes": []}"#;
