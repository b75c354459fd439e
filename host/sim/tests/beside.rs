//! Canaries of every kind through the real planner and controller: for whom they decide, what they see, and when they go
//! back. Real components decide in a simulated fleet.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use berth_api::Object;
use berth_control::event::{Event, What};
use berth_control::ports::Events;
use berth_control::store::MemoryStore;
use berth_control::{Controller, Settings};
use berth_core::ids::{Millis, WorkloadKey};
use berth_core::reason::Code;
use berth_policy::{Directory, PolicyHost, Runtime, WallClock, WentBack};
use berth_sim::{Driver, Options, Simulation, Source};
use tempfile::TempDir;

const START: Millis = Millis(1_700_000_000_000);
const MINUTE: u64 = 60_000;

/// Two clusters of nodes with one GPU each, which are there from the beginning: two in `east`, one in `west`. And two
/// clusters where nodes without GPUs can be ordered: dear ones in `dear`, cheap ones in `cheap`.
const FLEET: &str = include_str!("beside/fleet.yaml");

#[derive(Default)]
struct Log(Vec<Event>);

impl Events for Log {
    fn emit(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// A controller with its policies and its world.
struct Scene {
    folder: TempDir,
    directory: Directory,
    host: PolicyHost,
    controller: Controller,
    simulation: Simulation,
    log: Log,
}

fn runtime() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(WallClock::Off).unwrap()).clone()
}

fn files() -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built_in = ["weighted", "available", "aggregate", "cost", "fifo", "ready"].map(|name| ("policies", name));
    let guests = ["misbehave-gang", "misbehave-migration"].map(|name| ("host/policy/tests/guests", name));
    built_in.into_iter().chain(guests).map(move |(folder, name)| root.join(folder).join(format!("{name}.wasm")))
}

impl Scene {
    fn new(policies: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files() {
            fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let directory = Directory::new(folder.path(), runtime());
        let host = PolicyHost::new(&directory);
        let objects = objects(FLEET);
        let mut controller = Controller::open(Box::new(MemoryStore::default()), Settings::default()).unwrap();
        controller.apply(objects.clone(), START).unwrap();
        let source = Source::Texts(Default::default());
        let simulation = Simulation::new(&objects, None, 1, START, &source, Options::default()).unwrap();
        let mut scene = Self { folder, directory, host, controller, simulation, log: Log::default() };
        scene.bind(policies);
        scene
    }

    fn bind(&mut self, policies: &str) {
        fs::write(self.folder.path().join("policies.toml"), policies).unwrap();
        self.directory.scan();
        let refused = &self.directory.set().refused;
        assert!(refused.is_empty(), "{refused:?}");
    }

    fn apply(&mut self, yaml: &str) {
        self.controller.apply(objects(yaml), self.simulation.now()).unwrap();
    }

    fn pass(&mut self, millis: u64) {
        let end = self.simulation.now().plus(millis);
        let mut driver = Driver {
            controller: &mut self.controller,
            simulation: &mut self.simulation,
            policies: &mut self.host,
            events: &mut self.log,
        };
        driver.run_until(end).unwrap();
        driver.advance(end);
    }

    /// Lets time pass until a canary went back, which must happen within half an hour.
    fn until_back(&mut self) -> WentBack {
        for _ in 0..180 {
            self.pass(10_000);
            if let Some(back) = self.host.went_back().pop() {
                return back;
            }
        }
        panic!("no canary went back: {:?}", self.host.status());
    }

    fn code(&self, name: &str) -> Option<Code> {
        self.controller.workload(&key(name)).unwrap().waiting.map(|reason| reason.code)
    }

    fn ready(&self, name: &str) -> u32 {
        self.controller.workload(&key(name)).unwrap().ready
    }

    fn by(&self, name: &str) -> String {
        self.controller.workload(&key(name)).unwrap().by.unwrap().name.to_string()
    }

    /// Which workloads were told to move, and by whom.
    fn moved(&self) -> Vec<(String, String)> {
        let moved = self.log.0.iter().filter_map(|event| match &event.what {
            What::Moved { workload, by, .. } => Some((workload.name.to_string(), by.name.to_string())),
            _ => None,
        });
        let mut moved: Vec<_> = moved.collect();
        moved.sort();
        moved.dedup();
        moved
    }

    fn failed(&self) -> usize {
        self.log.0.iter().filter(|event| matches!(event.what, What::PolicyFailed { .. })).count()
    }
}

fn objects(yaml: &str) -> Vec<Object> {
    berth_api::load("test.yaml", yaml).unwrap().objects
}

fn key(name: &str) -> WorkloadKey {
    WorkloadKey::new("apps/v1/Deployment", "default", name)
}

/// A workload with a rule of its own.
fn workload(name: &str, labels: &str, replicas: u32, requests: &str, spec: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1alpha1
kind: DistributionPolicy
metadata: {{name: {name}, namespace: default}}
spec:
  resourceSelectors: [{{apiVersion: apps/v1, kind: Deployment, name: {name}}}]
{spec}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: c, image: i, resources: {{requests: {{cpu: \"1\"}}, limits: {{{requests}}}}}}}]
"
    )
}

/// A gang with a GPU for each replica.
fn gang(name: &str, labels: &str, replicas: u32) -> String {
    let spec = "  gang: true\n  placement: {replicaScheduling: {replicaSchedulingType: Divided}}";
    workload(name, labels, replicas, "nvidia.com/gpu: 1", spec)
}

/// Replicas that go where nodes are ordered.
fn plain(name: &str, labels: &str, replicas: u32) -> String {
    let spec = "  placement: {clusterAffinity: {clusterNames: [dear, cheap]}, replicaScheduling: {replicaSchedulingType: Divided}}
  failover: {application: {purgeMode: Gracefully, gracePeriodSeconds: 60}}";
    workload(name, labels, replicas, "cpu: \"1\"", spec)
}

/// Four gangs: one that runs in `east`, one of two that waits for `east`, one of a single replica behind it, and one of a
/// single replica that takes `west`.
fn queue(scene: &mut Scene, canary: &str) {
    scene.apply(
        &gang("first", "app: first", 1)
            .replace("placement: {", "placement: {clusterAffinity: {clusterNames: [east]}, "),
    );
    scene.pass(5 * MINUTE);
    assert_eq!(scene.ready("first"), 1);
    scene.apply(&gang("large", "app: large", 2));
    scene.pass(1_000);
    scene.apply(&gang("small", canary, 1));
    scene.pass(5_000);
}

#[test]
fn a_gang_canary_sees_the_whole_queue_and_is_followed_for_its_own() {
    let canary = "[policy.fifo.canary]\nconfig = { backfill = false }\nlabels = { lane = \"new\" }\n\
                  guard = { after = 3, waiting = 0.1 }\n";
    let mut scene = Scene::new(&format!("[policy.fifo]\n{canary}"));
    queue(&mut scene, "lane: new");
    // `large` is the other one's to hold. Without backfill nothing starts behind it, so that `small` waits with room beside it.
    assert_eq!((scene.code("large"), scene.code("small")), (Some(Code::GangDoesNotFit), Some(Code::Behind)));
    let back = scene.until_back();
    assert_eq!(back.policy.as_str(), "fifo/canary");
    assert!(
        back.why.starts_with("waiting: 100.0 % of the replicas, and 66.7 % with the slot's own; 10.0 %"),
        "{}",
        back.why
    );
    scene.pass(10 * MINUTE);
    assert_eq!(
        (scene.code("small"), scene.ready("small")),
        (None, 1),
        "what it held starts with the slot's own policy"
    );
    assert_eq!(scene.failed(), 0);
}

#[test]
fn what_one_gang_policy_of_a_slot_keeps_free_the_other_does_not_take() {
    // The large gang is the canary's, and what stands behind it is not. Both do the same, so both keep `east` for it.
    let canary = "[policy.fifo.canary]\nconfig = { backfill = true }\nlabels = { lane = \"new\" }\n";
    let mut scene = Scene::new(&format!("[policy.fifo]\n{canary}"));
    scene.apply(
        &gang("first", "app: first", 1)
            .replace("placement: {", "placement: {clusterAffinity: {clusterNames: [east]}, "),
    );
    scene.pass(5 * MINUTE);
    scene.apply(&gang("large", "lane: new", 2));
    scene.pass(1_000);
    ["one", "two", "three"].into_iter().for_each(|name| scene.apply(&gang(name, "app: x", 1)));
    scene.pass(5 * MINUTE);
    assert_eq!(scene.code("large"), Some(Code::GangDoesNotFit));
    let started = ["one", "two", "three"].map(|name| scene.ready(name));
    assert_eq!(started.iter().sum::<u32>(), 1, "one takes west, the others leave east alone: {started:?}");
    scene.controller.scale(&key("first"), 0, scene.simulation.now()).unwrap();
    scene.pass(10 * MINUTE);
    assert_eq!(scene.ready("large"), 2, "{:?}", scene.code("large"));
    assert!(scene.host.went_back().is_empty());
}

/// Everything that was decided, in words.
fn story(canary: &str) -> Vec<String> {
    let mut scene = Scene::new(canary);
    for (number, replicas) in [1, 2, 1, 3, 1, 1, 2, 1].into_iter().enumerate() {
        scene.apply(&gang(&format!("g{number}"), "app: x", replicas));
        scene.apply(&plain(&format!("p{number}"), "app: x", replicas));
        scene.pass(number as u64 % 3 * 2_000);
    }
    for number in [0, 4, 2, 6] {
        scene.pass(3 * MINUTE);
        scene.controller.scale(&key(&format!("g{number}")), 0, scene.simulation.now()).unwrap();
    }
    scene.pass(10 * MINUTE);
    assert!(scene.host.went_back().is_empty());
    let rows = scene.host.status();
    let compared = rows.iter().filter_map(|row| row.compared.as_ref());
    compared.for_each(|compared| assert!(compared.pairs > 3 && compared.same == compared.pairs, "{compared:?}"));
    scene.log.0.iter().map(|event| event.to_string().replace("/canary", "").replace("/shadow", "")).collect()
}

#[test]
fn policies_that_do_the_same_change_nothing_beside_each_other() {
    let alone = story("[policy.cost]\n[policy.fifo]\n[policy.ready]\n");
    let version = |config: &str| format!("config = {{ {config} }}\n");
    let of = |what: &str, more: &str| {
        let slots = [("cost", "leadUsdPerHour = 0.0001"), ("fifo", "backfill = true"), ("ready", "maxMoves = 0")];
        let slots =
            slots.map(|(slot, config)| format!("[policy.{slot}]\n[policy.{slot}.{what}]\n{}{more}", version(config)));
        slots.concat()
    };
    let differs = |other: Vec<String>| {
        let at = alone.iter().zip(&other).position(|(one, other)| one != other);
        at.map(|at| format!("{}\n{}", alone[at], other[at])).or((alone.len() != other.len()).then(|| "length".into()))
    };
    assert_eq!(differs(story(&of("shadow", ""))), None);
    assert_eq!(differs(story(&of("canary", "share = 0.5\n"))), None);
}

#[test]
fn a_gang_canary_that_breaks_rules_goes_back_and_delays_nobody() {
    let mode = format!("config = {{ mode = \"over-size\", from_ms = {} }}", START.0 + 1);
    let canary =
        format!("[policy.fifo.canary]\nfile = \"misbehave-gang.wasm\"\n{mode}\nshare = 1.0\nguard = {{ after = 2 }}\n");
    let mut scene = Scene::new(&format!("[policy.fifo]\n{canary}"));
    scene.pass(1_000);
    for name in ["small", "other"] {
        scene.apply(&gang(name, "app: small", 1));
        scene.pass(1_000);
    }
    let back = scene.until_back();
    assert!(
        back.why.starts_with("refusals: 100.0 % of 2 calls, and 1.0 % are allowed: its answer broke a rule"),
        "{}",
        back.why
    );
    scene.pass(MINUTE);
    assert_eq!((scene.ready("small"), scene.ready("other")), (1, 1));
    assert!(scene.failed() >= 2);
}

#[test]
fn a_gang_canary_that_preempts_more_than_the_slots_own_goes_back() {
    let mode = format!("config = {{ mode = \"preempt\", from_ms = {} }}", START.0 + 6 * MINUTE);
    let canary = format!(
        "[policy.fifo.canary]\nfile = \"misbehave-gang.wasm\"\n{mode}\nlabels = {{ lane = \"new\" }}\nguard = {{ after = 1 }}\n"
    );
    let mut scene = Scene::new(&format!("[policy.fifo]\n{canary}"));
    queue(&mut scene, "app: small");
    scene.pass(5 * MINUTE);
    assert_eq!((scene.ready("first"), scene.ready("small")), (1, 1));
    let urgent = gang("urgent", "lane: new", 1)
        .replace("    spec:\n      containers", "    spec:\n      priority: 100\n      containers");
    scene.apply(&urgent);
    let back = scene.until_back();
    assert!(back.why.starts_with("leaving: "), "{}", back.why);
    scene.pass(10 * MINUTE);
    assert_eq!(scene.ready("urgent"), 1);
}

#[test]
fn a_migration_canary_moves_its_own_alone_and_goes_back_when_it_moves_too_much() {
    let mode = format!("config = {{ mode = \"softly\", from_ms = {} }}", START.0 + 6 * MINUTE);
    let canary = format!(
        "[policy.ready.canary]\nfile = \"misbehave-migration.wasm\"\n{mode}\nlabels = {{ lane = \"new\" }}\nguard = {{ after = 4 }}\n"
    );
    let mut scene = Scene::new(&format!("[policy.ready]\n{canary}"));
    scene.apply(&plain("mine", "lane: new", 2));
    scene.apply(&plain("other", "app: other", 2));
    scene.pass(10 * MINUTE);
    assert_eq!((scene.ready("mine"), scene.ready("other")), (2, 2));
    // Policies are asked again while something is not as it should be.
    scene.apply(&plain("late", "app: late", 1));
    let back = scene.until_back();
    assert!(back.why.starts_with("leaving: "), "{}", back.why);
    assert!(
        back.why.ends_with(" % of what runs, and 0.0 % with the slot's own; 5.0 % more are allowed"),
        "{}",
        back.why
    );
    assert_eq!(scene.moved(), [("mine".to_owned(), "ready/canary".to_owned())], "the others are not its own");
    scene.pass(30 * MINUTE);
    assert_eq!((scene.ready("mine"), scene.ready("other")), (2, 2));
}

#[test]
fn a_migration_canary_that_traps_goes_back() {
    let mode = format!("config = {{ mode = \"trap\", from_ms = {} }}", START.0 + 1);
    let canary = format!("[policy.ready.canary]\nfile = \"misbehave-migration.wasm\"\n{mode}\nshare = 1.0\n");
    let mut scene = Scene::new(&format!("[policy.ready]\n{canary}"));
    for number in 0..4 {
        scene.apply(&plain(&format!("p{number}"), "app: p", 2));
        scene.pass(3 * MINUTE);
    }
    let back = scene.until_back();
    assert!(back.why.starts_with("5 calls in a row failed: it trapped"), "{}", back.why);
    assert_eq!(scene.ready("p3"), 2);
}

#[test]
fn a_placement_canary_that_costs_more_goes_back() {
    // It divides by room alone, and there is as much where nodes are dear.
    let canary = "[policy.cost.canary]\nfile = \"available.wasm\"\nshare = 1.0\nguard = { after = 2 }\n";
    let mut scene = Scene::new(&format!("[policy.cost]\n{canary}"));
    scene.apply(&plain("a", "app: a", 4));
    scene.pass(5 * MINUTE);
    let at = |scene: &Scene, name: &str| {
        let row = scene.controller.workload(&key(name)).unwrap();
        row.clusters.iter().map(|at| (at.cluster.to_string(), at.replicas)).collect::<Vec<_>>()
    };
    assert_eq!(at(&scene, "a"), [("cheap".to_owned(), 2), ("dear".to_owned(), 2)]);
    assert_eq!(scene.by("a"), "cost/canary");
    scene.apply(&plain("b", "app: b", 4));
    let back = scene.until_back();
    assert!(
        back.why.starts_with("cost: 2.5000 USD a replica and hour, and 1.0000 with the slot's own; 10.0 %"),
        "{}",
        back.why
    );
    scene.apply(&plain("c", "app: c", 4));
    scene.pass(5 * MINUTE);
    assert_eq!((at(&scene, "c"), scene.by("c")), (vec![("cheap".to_owned(), 4)], "cost".to_owned()));
}
