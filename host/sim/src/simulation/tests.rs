//! The world as a controller meets it: through the ports, from a fleet file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::sync::Arc;

use berth_control::ports::{ClusterObservation, ComponentObservation, OrderFailure, OrderState, Outcome};
use berth_core::fleet::StockState;
use berth_core::ids::OrderId;
use berth_core::placement::NodeOrder;
use serde_json::json;

use super::*;

const FLEET: &str = r"
apiVersion: berth.dev/v1alpha1
kind: Cluster
metadata: {name: east}
spec: {provider: aws, region: us-east-1}
---
apiVersion: berth.dev/v1alpha1
kind: Cluster
metadata: {name: west}
spec: {provider: aws, region: us-west-2}
---
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: gpu}
spec: {cluster: east, instanceTypes: [p3.2xlarge], max: 6}
---
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: fixed}
spec: {cluster: west, instanceTypes: [m5.large], min: 2, max: 2}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {name: v100-east}
spec:
  provider: aws
  region: us-east-1
  zone: us-east-1a
  instanceType: p3.2xlarge
  capacityType: spot
  price: 0.97
  allocatable: {cpu: 8, memory: 61Gi, pods: 58, nvidia.com/gpu: 1}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {name: cpu-west}
spec:
  provider: aws
  region: us-west-2
  zone: us-west-2a
  instanceType: m5.large
  capacityType: on-demand
  price: 0.096
  allocatable: {cpu: 2, memory: 8Gi, pods: 20}
";

const FILES: &[(&str, &str)] = &[("stock.csv", "time,us-east-1a\n0,1\n600,0\n1200,1\n")];

fn fleet() -> Vec<Object> {
    berth_api::load("fleet.yaml", FLEET).unwrap().objects
}

fn spec(yaml: &str) -> SimulationSpec {
    let text = format!("apiVersion: berth.dev/v1alpha1\nkind: Simulation\nmetadata: {{name: s}}\nspec: {yaml}\n");
    match berth_api::load("s.yaml", &text).unwrap().objects.remove(0) {
        Object::Simulation(simulation) => simulation.spec,
        other => panic!("{other:?}"),
    }
}

fn world(yaml: &str) -> Simulation {
    with(yaml, Options::default())
}

fn with(yaml: &str, options: Options) -> Simulation {
    Simulation::new(&fleet(), Some(&spec(yaml)), 1, Millis(1_000_000), &Source::Embedded(FILES), options).unwrap()
}

const SERIES: &str =
    "{stockSeries: [{file: stock.csv, nodes: 3, columns: [{column: us-east-1a, offerings: [v100-east]}]}]}";

fn order(id: &str, nodes: u32) -> NodeOrder {
    let offering = fleet()
        .iter()
        .find_map(|object| match object {
            Object::Offering(offering) if offering.metadata.name == "v100-east" => {
                Some(berth_api::to_core::offering_key(offering))
            }
            _ => None,
        })
        .unwrap();
    NodeOrder { id: OrderId::new(id), cluster: "east".into(), pool: "gpu".into(), offering, nodes }
}

fn run(world: &mut Simulation, seconds: u64) {
    let to = world.now().plus(seconds * 1000);
    world.advance(to);
}

fn see<'a>(world: &'a mut Simulation, cluster: &str) -> &'a ClusterObservation {
    world.ports().members.observe(&cluster.into()).unwrap()
}

fn component(world: &mut Simulation, cluster: &str, key: &WorkloadKey) -> ComponentObservation {
    see(world, cluster).workloads[key].components[0].clone()
}

fn manifest(kind: &str, name: &str, replicas: u32, requests: serde_json::Value) -> (WorkloadKey, Arc<[u8]>, Arc<str>) {
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let count = if kind == "Job" { "parallelism" } else { "replicas" };
    let value = json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": name, "namespace": "default", "annotations": {DURATION: "10m"}},
        "spec": {count: replicas, "template": {"spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": requests, "limits": requests}}]}}}
    });
    let bytes: Arc<[u8]> = serde_json::to_vec(&value).unwrap().into();
    let key = WorkloadKey::new(&format!("{version}/{kind}"), "default", name);
    (key, bytes, format!("{name}-{replicas}").into())
}

const DURATION: &str = crate::DURATION_ANNOTATION;

fn apply(world: &mut Simulation, cluster: &str, what: &(WorkloadKey, Arc<[u8]>, Arc<str>)) {
    world.ports().members.apply(&cluster.into(), &what.0, &what.1, &what.2);
    let now = world.now();
    world.advance(now);
}

#[test]
fn pools_begin_with_their_minimum_and_an_order_brings_more() {
    let mut world = world("{}");
    assert_eq!(see(&mut world, "west").nodes.len(), 2);
    assert_eq!(see(&mut world, "east").nodes.len(), 0);
    world.ports().provider.order(&order("o", 2));
    assert_eq!(world.ports().provider.order_state(&"o".into()), Some(OrderState::Pending));
    run(&mut world, 30);
    assert_eq!(see(&mut world, "east").nodes.len(), 0);
    run(&mut world, 30);
    assert_eq!(world.ports().provider.order_state(&"o".into()), Some(OrderState::Delivered));
    let node = see(&mut world, "east").nodes[0].clone();
    assert_eq!((node.order.clone(), node.free.get("nvidia.com/gpu"), node.ready), (Some("o".into()), Some(&1), true));
    assert_eq!(world.ports().provider.order_state(&"other".into()), None);
}

#[test]
fn an_order_sent_again_changes_nothing() {
    let mut world = world("{}");
    for _ in 0..3 {
        world.ports().provider.order(&order("o", 2));
        run(&mut world, 20);
        world.ports().provider.order(&order("o", 2));
    }
    run(&mut world, 120);
    assert_eq!(see(&mut world, "east").nodes.len(), 2);
    assert_eq!((world.totals().orders, world.totals().nodes_joined), (1, 2));
}

#[test]
fn stock_that_ends_in_an_order_delivers_a_part() {
    let mut world = world(SERIES);
    let stock = world.ports().provider.stock();
    let v100 = stock.iter().find(|(key, _)| &*key.zone == "us-east-1a").unwrap();
    assert_eq!((v100.1.state, v100.1.lower_bound), (StockState::InStock, 0), "yes or no, not how many");
    world.ports().provider.order(&order("o", 5));
    run(&mut world, 60);
    let failed = OrderState::Failed { cause: OrderFailure::NoStock, delivered: 3 };
    assert_eq!(world.ports().provider.order_state(&"o".into()), Some(failed));
    run(&mut world, 60);
    assert_eq!(see(&mut world, "east").nodes.len(), 3);
    let stock = world.ports().provider.stock();
    assert_eq!(stock.iter().find(|(key, _)| &*key.zone == "us-east-1a").unwrap().1.state, StockState::OutOfStock);
}

#[test]
fn a_pool_takes_no_more_nodes_than_its_maximum() {
    let mut world = world("{}");
    world.ports().provider.order(&order("o", 9));
    run(&mut world, 120);
    assert_eq!(see(&mut world, "east").nodes.len(), 6);
    let failed = OrderState::Failed { cause: OrderFailure::NoQuota, delivered: 6 };
    assert_eq!(world.ports().provider.order_state(&"o".into()), Some(failed));
}

#[test]
fn a_cancelled_order_brings_nothing_more_and_frees_the_stock() {
    let mut world = world(SERIES);
    world.ports().provider.order(&order("o", 3));
    run(&mut world, 30);
    world.ports().provider.cancel(&"o".into());
    run(&mut world, 60);
    assert_eq!(world.ports().provider.order_state(&"o".into()), Some(OrderState::Cancelled));
    assert_eq!(see(&mut world, "east").nodes.len(), 0);
    world.ports().provider.order(&order("p", 3));
    run(&mut world, 120);
    assert_eq!(see(&mut world, "east").nodes.len(), 3);
}

#[test]
fn a_removed_node_is_paid_to_its_end_and_gives_its_place_back() {
    let mut world = world(SERIES);
    world.ports().provider.order(&order("o", 3));
    run(&mut world, 60);
    let node = see(&mut world, "east").nodes[0].name.clone();
    world.ports().provider.remove(&"east".into(), &"gpu".into(), &node);
    world.ports().provider.remove(&"east".into(), &"gpu".into(), &node);
    run(&mut world, 0);
    assert_eq!((see(&mut world, "east").nodes.len(), world.totals().nodes_removed), (2, 1));
    let spent = world.totals().spent;
    assert!(spent > 0.0 && spent < 0.97 * 60.0 / 3600.0, "{spent}");
    world.ports().provider.order(&order("p", 2));
    run(&mut world, 60);
    assert_eq!(see(&mut world, "east").nodes.len(), 3);
}

#[test]
fn pods_wait_bind_start_and_are_ready() {
    let mut world = world("{podStart: 20s}");
    let llm = manifest("Deployment", "llm", 3, json!({"cpu": "1", "nvidia.com/gpu": "1"}));
    apply(&mut world, "east", &llm);
    let seen = component(&mut world, "east", &llm.0);
    assert_eq!((seen.desired, seen.unschedulable, seen.unready_since), (3, 3, Some(Millis(1_000_000))));
    world.ports().provider.order(&order("o", 2));
    run(&mut world, 56);
    let seen = component(&mut world, "east", &llm.0);
    assert_eq!((seen.starting + seen.ready, seen.unschedulable, seen.bound["gpu"]), (2, 1, 2));
    run(&mut world, 20);
    assert_eq!(component(&mut world, "east", &llm.0).ready, 2);
    let idle: Vec<_> = see(&mut world, "east").nodes.iter().map(|node| node.idle_since).collect();
    assert_eq!(idle, [None, None]);
    apply(&mut world, "east", &manifest("Deployment", "llm", 1, json!({"cpu": "1", "nvidia.com/gpu": "1"})));
    let seen = component(&mut world, "east", &llm.0);
    assert_eq!((seen.desired, seen.ready, seen.unschedulable, seen.unready_since), (1, 1, 0, None));
    world.ports().members.delete(&"east".into(), &llm.0);
    run(&mut world, 0);
    assert!(see(&mut world, "east").workloads.is_empty());
    assert!(see(&mut world, "east").nodes.iter().all(|node| node.free["nvidia.com/gpu"] == 1));
}

/// Nodes kept the labels of when they came, which nobody else could know.
#[test]
fn nodes_have_the_labels_that_their_pool_has_now() {
    let mut world = world("{podStart: 5s..5s}");
    let (key, bytes, digest) = manifest("Deployment", "web", 1, json!({"cpu": "1"}));
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    value["spec"]["template"]["spec"]["nodeSelector"] = json!({"lane": "slow"});
    apply(&mut world, "west", &(key.clone(), value.to_string().into_bytes().into(), digest));
    run(&mut world, 60);
    assert_eq!(component(&mut world, "west", &key).unschedulable, 1);
    let mut fleet = fleet();
    for object in &mut fleet {
        if let Object::NodePool(pool) = object {
            pool.spec.labels.insert("lane".into(), "slow".into());
        }
    }
    world.set_fleet(&fleet).unwrap();
    run(&mut world, 60);
    assert_eq!(component(&mut world, "west", &key).ready, 1);
}

#[test]
fn a_job_ends_after_its_duration_and_gives_its_room_back() {
    let mut world = world("{podStart: 0s}");
    let job = manifest("Job", "train", 2, json!({"cpu": "1500m"}));
    apply(&mut world, "west", &job);
    assert_eq!(component(&mut world, "west", &job.0).ready, 2);
    run(&mut world, 599);
    assert_eq!(see(&mut world, "west").workloads[&job.0].finished, None);
    run(&mut world, 1);
    assert_eq!(see(&mut world, "west").workloads[&job.0].finished, Some(Outcome::Succeeded));
    assert!(see(&mut world, "west").nodes.iter().all(|node| node.free["cpu"] == 2000 && node.idle_since.is_some()));
}

#[test]
fn a_stateful_set_starts_pod_after_pod() {
    let mut world = world("{podStart: 10s}");
    let set = manifest("StatefulSet", "db", 2, json!({"cpu": "1"}));
    apply(&mut world, "west", &set);
    assert_eq!(component(&mut world, "west", &set.0).starting, 1);
    run(&mut world, 10);
    let seen = component(&mut world, "west", &set.0);
    assert_eq!((seen.ready, seen.starting), (1, 1));
    run(&mut world, 10);
    assert_eq!(component(&mut world, "west", &set.0).ready, 2);
}

fn gang(workers: u32) -> (WorkloadKey, Arc<[u8]>, Arc<str>) {
    let role = |replicas: u32| {
        json!({"replicas": replicas, "template": {"spec": {"containers": [
            {"name": "pytorch", "resources": {"requests": {"nvidia.com/gpu": "1"}}}]}}})
    };
    let value = json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": {"name": "g", "namespace": "default", "annotations": {DURATION: "10m"}},
        "spec": {"pytorchReplicaSpecs": {"Master": role(1), "Worker": role(workers)}}
    });
    let bytes: Arc<[u8]> = serde_json::to_vec(&value).unwrap().into();
    (WorkloadKey::new("kubeflow.org/v1/PyTorchJob", "default", "g"), bytes, format!("g-{workers}").into())
}

#[test]
fn a_gang_starts_when_all_its_pods_have_a_node() {
    let mut world = world("{podStart: 5s}");
    let job = gang(2);
    apply(&mut world, "east", &job);
    world.ports().provider.order(&order("o", 2));
    run(&mut world, 60);
    let bound: u32 =
        see(&mut world, "east").workloads[&job.0].components.iter().map(|one| one.starting + one.ready).sum();
    assert_eq!(bound, 0);
    assert!(see(&mut world, "east").nodes.iter().all(|node| node.idle_since.is_some()));
    world.ports().provider.order(&order("p", 1));
    run(&mut world, 61);
    let ready: Vec<u32> = see(&mut world, "east").workloads[&job.0].components.iter().map(|one| one.ready).collect();
    assert_eq!(ready, [1, 2]);
    // Losing one node sends the whole gang back to the start.
    let node = see(&mut world, "east").nodes[0].name.clone();
    world.lose(&"east".into(), &node);
    run(&mut world, 0);
    let waits: u32 = see(&mut world, "east").workloads[&job.0].components.iter().map(|one| one.unschedulable).sum();
    assert_eq!((waits, world.totals().nodes_lost), (3, 1));
    run(&mut world, 600);
    assert_eq!(see(&mut world, "east").workloads[&job.0].finished, None);
}

#[test]
fn a_lost_cluster_shows_its_old_state_and_comes_back_with_what_went_on() {
    let mut world = world("{podStart: 5s, faults: [{at: 10s, what: ClusterLost, cluster: west, lasts: 15m}]}");
    let job = manifest("Job", "train", 1, json!({"cpu": "1"}));
    apply(&mut world, "west", &job);
    run(&mut world, 10);
    world.ports().members.changed();
    let seen = see(&mut world, "west");
    assert_eq!((seen.reachable, seen.since), (false, Millis(1_010_000)));
    // What is sent meanwhile is lost.
    let lost = manifest("Deployment", "web", 1, json!({"cpu": "100m"}));
    apply(&mut world, "west", &lost);
    run(&mut world, 700);
    assert!(world.ports().members.changed().is_empty());
    assert_eq!(component(&mut world, "west", &job.0).ready, 1, "the job ended, but nobody can see it");
    run(&mut world, 200);
    assert_eq!(world.ports().members.changed(), ["west".into()]);
    let seen = see(&mut world, "west");
    assert!(seen.reachable && seen.workloads[&job.0].finished.is_some() && !seen.workloads.contains_key(&lost.0));
}

#[test]
fn lost_nodes_send_their_pods_back_to_wait() {
    let mut world = world("{podStart: 0s, faults: [{at: 60s, what: NodesLost, cluster: west, pool: fixed, nodes: 1}]}");
    let web = manifest("Deployment", "web", 2, json!({"cpu": "1500m"}));
    apply(&mut world, "west", &web);
    run(&mut world, 61);
    let seen = component(&mut world, "west", &web.0);
    assert_eq!((seen.ready, seen.unschedulable, seen.unready_since), (1, 1, Some(Millis(1_060_000))));
    assert_eq!(see(&mut world, "west").nodes.len(), 1);
}

#[test]
fn spot_nodes_are_reclaimed_only_if_asked_for() {
    for (reclaim_spot, left) in [(false, 3), (true, 0)] {
        let mut world = with(SERIES, Options { reclaim_spot, ..Options::default() });
        world.ports().provider.order(&order("o", 3));
        run(&mut world, 599);
        assert_eq!(see(&mut world, "east").nodes.len(), 3);
        run(&mut world, 1);
        assert_eq!(see(&mut world, "east").nodes.len(), left);
    }
}

#[test]
fn faults_by_chance_follow_the_seed() {
    let chances = Chances {
        order_lost: 0.3,
        order_silent: 0.3,
        order_twice: 0.5,
        order_late: 0.3,
        node_lost_per_hour: 0.5,
        order_partial: 0.3,
        order_refused: 0.1,
        request_lost: 0.2,
        cluster_lost_per_hour: 0.5,
    };
    let options = Options { chances, ..Options::default() };
    let story = |seed: u64| {
        let fleet = fleet();
        let mut world = Simulation::new(&fleet, None, seed, Millis(0), &Source::Embedded(FILES), options).unwrap();
        let mut story = Vec::new();
        for hour in 0..12 {
            world.ports().provider.order(&order(&format!("o{hour}"), 1));
            run(&mut world, 3600);
            story.push((world.ports().provider.order_state(&format!("o{hour}").as_str().into()), world.totals()));
        }
        (format!("{story:?}"), String::from_utf8(world.save()).unwrap())
    };
    assert_eq!(story(3), story(3));
    assert_ne!(story(3).0, story(4).0);
}

#[test]
fn a_saved_world_goes_on_as_if_nothing_had_been() {
    let yaml = "{podStart: 20s, stockSeries: [{file: stock.csv, nodes: 3, columns: [{column: us-east-1a, offerings: [v100-east]}]}], \
                faults: [{at: 5m, what: ClusterLost, cluster: west, lasts: 15m}]}";
    let mut first = world(yaml);
    apply(&mut first, "east", &gang(1));
    apply(&mut first, "west", &manifest("Job", "train", 2, json!({"cpu": "1"})));
    apply(&mut first, "east", &manifest("Deployment", "llm", 1, json!({"nvidia.com/gpu": "1"})));
    first.ports().provider.order(&order("o", 5));
    run(&mut first, 70);
    let saved = first.save();
    let mut second = restore(&saved, &[], yaml).unwrap();
    assert_eq!(text(&mut second), text(&mut first));
    assert_eq!(second.ports().members.changed(), ["east".into(), "west".into()]);
    for _ in 0..30 {
        for cluster in ["east", "west"] {
            assert_eq!(see(&mut first, cluster), see(&mut second, cluster));
        }
        run(&mut first, 60);
        run(&mut second, 60);
    }
    assert_eq!(text(&mut second), text(&mut first));
}

fn restore(saved: &[u8], journal: &[u8], yaml: &str) -> Result<Simulation, SimulationError> {
    Simulation::restore(saved, journal, &fleet(), Some(&spec(yaml)), &Source::Embedded(FILES))
}

/// All that a world is, however often it was saved.
fn text(world: &mut Simulation) -> String {
    let saved = String::from_utf8(world.save()).unwrap();
    let (number, rest) = saved.split_once(',').unwrap();
    assert!(number.contains("\"number\":"));
    rest.to_owned()
}

/// A file that can be read while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const ORDERS: &str = "{podStart: 5s..20s, stockSeries: [{file: stock.csv, nodes: 3, columns: [{column: us-east-1a, offerings: [v100-east]}]}]}";

/// A world that was saved, and lived on with a journal: what was saved, the journal, and the world.
fn journalled() -> (Vec<u8>, Vec<u8>, Simulation) {
    let mut world = world(ORDERS);
    apply(&mut world, "east", &gang(1));
    run(&mut world, 30);
    let (saved, journal) = (world.save(), Shared::default());
    world.record(Box::new(journal.clone()));
    world.ports().provider.order(&order("o", 5));
    run(&mut world, 20);
    apply(&mut world, "west", &manifest("Deployment", "llm", 2, json!({"cpu": "1"})));
    run(&mut world, 50);
    world.ports().provider.order(&order("p", 1));
    world.ports().provider.cancel(&"p".into());
    let gone = see(&mut world, "east").nodes.first().map(|node| (node.pool.clone(), node.name.clone())).unwrap();
    world.ports().provider.remove(&"east".into(), &gone.0, &gone.1);
    world.ports().members.delete(&"east".into(), &gang(1).0);
    run(&mut world, 3);
    (saved, journal.bytes(), world)
}

/// Nothing that was asked since the last save is forgotten, and nothing is done twice: the world lives on as it was.
#[test]
fn a_world_that_ended_without_a_word_is_as_it_was_at_its_end() {
    let (saved, journal, mut world) = journalled();
    let mut again = restore(&saved, &journal, ORDERS).unwrap();
    assert_eq!(text(&mut again), text(&mut world));
    // The last line was not written whole: what it says was not asked.
    let cut = &journal[..journal.len() - 1];
    let mut earlier = restore(&saved, cut, ORDERS).unwrap();
    assert!(earlier.now() < world.now());
    run(&mut earlier, 3);
    assert_eq!(text(&mut earlier), text(&mut world));
    // The process ended after it saved the world and before it began another journal.
    let newer = world.save();
    let mut same = restore(&newer, &journal, ORDERS).unwrap();
    assert_eq!(text(&mut same), text(&mut world));
}

#[test]
fn a_saved_world_that_is_not_what_was_written_is_refused() {
    let (saved, journal, mut world) = journalled();
    let newer = world.save();
    let refused = |saved: &[u8], journal: &[u8]| {
        let refused = restore(saved, journal, ORDERS);
        matches!(refused, Err(SimulationError::Saved { .. }))
    };
    assert!(refused(b"", b"") && refused(b"{}", b"") && refused(&saved[..saved.len() / 2], b""));
    for at in (0..saved.len()).step_by(17) {
        let mut bad = saved.clone();
        bad[at] ^= 1;
        assert!(refused(&bad, &journal), "byte {at}");
    }
    let last = journal[..journal.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in (0..last).step_by(13) {
        let mut bad = journal.clone();
        bad[at] ^= 1;
        assert!(refused(&saved, &bad), "byte {at} of the journal");
    }
    let follows = Shared::default();
    world.record(Box::new(follows.clone()));
    assert!(refused(&saved, &follows.bytes()), "the saved world is of an earlier time");
    assert!(!refused(&newer, &follows.bytes()));
}

/// A pool that came after the world was saved gets its minimum of nodes, as it would have without a restart.
#[test]
fn pools_that_came_meanwhile_get_their_nodes() {
    let mut world = world(ORDERS);
    let saved = world.save();
    let more = "apiVersion: berth.dev/v1alpha1\nkind: NodePool\nmetadata: {name: late}\n\
                spec: {cluster: east, instanceTypes: [v100], min: 1, max: 2}\n";
    let mut objects = fleet();
    let known = see(&mut world, "east").nodes.len();
    let types = objects.iter().find_map(|object| match object {
        Object::Offering(offering) if offering.metadata.name == "v100-east" => {
            Some(offering.spec.instance_type.clone())
        }
        _ => None,
    });
    objects.extend(berth_api::load("late.yaml", &more.replace("v100", &types.unwrap())).unwrap().objects);
    let mut later = Simulation::restore(&saved, &[], &objects, Some(&spec(ORDERS)), &Source::Embedded(FILES)).unwrap();
    world.set_fleet(&objects).unwrap();
    run(&mut world, 0);
    assert_eq!(see(&mut later, "east").nodes.len(), known + 1);
    assert_eq!(see(&mut later, "east"), see(&mut world, "east"));
}

#[test]
fn what_the_document_names_must_be_there() {
    let fault = |yaml: &str| {
        let made =
            Simulation::new(&fleet(), Some(&spec(yaml)), 1, Millis(0), &Source::Embedded(FILES), Options::default());
        made.unwrap_err().to_string()
    };
    assert_eq!(
        fault("{stockSeries: [{file: stock.csv, columns: [{column: nowhere, offerings: [v100-east]}]}]}"),
        "Simulation: spec.stockSeries[0].columns[0].column: \"nowhere\" is no valid column; use one of us-east-1a"
    );
    assert_eq!(
        fault("{stockSeries: [{file: stock.csv, columns: [{column: us-east-1a, offerings: [a100]}]}]}"),
        "Simulation: spec.stockSeries[0].columns[0].offerings: \"a100\" is no valid offering; name an Offering of the fleet file"
    );
    assert!(fault("{faults: [{at: 1s, what: ClusterLost, cluster: north}]}").contains("\"north\" is no valid cluster"));
    assert!(
        fault("{stockSeries: [{file: no.csv, columns: [{column: a, offerings: [v100-east]}]}]}").contains("no.csv")
    );
}

#[test]
fn what_would_take_for_ever_or_all_memory_is_refused() {
    let files = &[("load.csv", "time\n0\n86400\n")];
    let load = |more: &str| {
        let yaml = format!(
            "{{loadSeries: [{{file: load.csv, workload: {{name: a}}, requestsPerSecond: 1, max: 1, {more}}}]}}"
        );
        Simulation::new(&fleet(), Some(&spec(&yaml)), 1, Millis(0), &Source::Embedded(files), Options::default())
    };
    assert!(load("speed: 1").is_ok());
    for more in ["speed: 0.000001", "window: 1000d", "window: 99999999999d"] {
        let told = load(more).unwrap_err().to_string();
        assert!(
            told.starts_with("Simulation: spec.loadSeries[0].speed: with it the load lasts more than 366"),
            "{told}"
        );
    }
    let fleet = |from: &str, to: &str| {
        let objects = berth_api::load("x", &FLEET.replace(from, to)).unwrap().objects;
        let made = Simulation::new(&objects, None, 1, Millis(0), &Source::Embedded(FILES), Options::default());
        made.unwrap_err().to_string()
    };
    assert!(fleet("max: 6", "max: 4294967295").starts_with("NodePool gpu: spec.max"));
    assert!(fleet("pods: 58", "pods: 1000000000").starts_with("Offering v100-east: spec.allocatable: 1000000000 pods"));
}
