//! Answers of policies: whatever one says, the planner's plan holds, and a controller goes on.
//!
//! The policies here answer as the built-in ones do, spoil their answers, or make them up: rows that are not there, numbers
//! that no cluster holds, sizes for jobs that nobody asked about, victims that nothing entitles to, texts without an end.
//!
//! - Every plan passes the check that shares no code with the planner.
//! - The same answers to the same input give the same plan, bit for bit.
//! - A controller's store opens again, and holds the same objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_api::load;
use berth_control::store::MemoryStore;
use berth_control::{Controller, Settings};
use berth_core::check::check_plan;
use berth_core::fleet::{
    CapacityType, Cluster, Free, ObservedNodes, Offering, OfferingKey, PoolInput, PoolSpec, Snapshot, Stock, StockState,
};
use berth_core::ids::{Millis, PlanId, PolicyName, QuotaRow, WorkloadKey};
use berth_core::plan::{Entry, Input, Leave, Plan, Planner, RunningWorkload};
use berth_core::quota::{Quota, QuotaTree};
use berth_core::resources::{Amounts, GPU, GPU_ROW, PODS, PODS_ROW};
use berth_core::workload::{
    ClusterAffinity, Component, Division, Failover, GroupUse, Purge, Rules, Shape, SpreadBy, SpreadConstraint, Workload,
};

use crate::choices::Choices;
use crate::spite::Spite;
use crate::still::{START, Still};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Planning cycles over one fleet, and passes of one controller.
const ROUNDS: u64 = 3;
const PASSES: usize = 6;
const FLEET: &str = include_str!("fleet.yaml");
const WORK: &str = include_str!("work.yaml");

/// Chooses a fleet and workloads, and then what policies answer; every fourth first byte asks a whole controller.
pub fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.below(4) == 1 { passes(choices) } else { plans(choices) }
}

fn plans(mut choices: Choices<'_>) {
    let mut snapshot = fleet(&mut choices);
    let mut entries: Vec<Entry> = (0..=choices.below(5)).map(|row| entry(row, &mut choices)).collect();
    let mut running: Vec<RunningWorkload> = Vec::new();
    let mut planner = Planner::default();
    let mut spite = Spite::new(choices.clone());
    for round in 0..ROUNDS {
        let input = Input {
            snapshot: &snapshot,
            entries: &entries,
            running: &running,
            parent: PlanId(round),
            now: Millis(1000 + round),
            seed: 7,
        };
        let mut same = spite.clone();
        let (plan, booked) = planner.plan_and_book(&input, &mut spite);
        assert_eq!(check_plan(&snapshot, &entries, &running, &plan), []);
        let again = Planner::default().plan(&input, &mut same);
        assert_eq!(format!("{plan:?}"), format!("{again:?}"), "equal answers give another plan");
        running.retain(|one| !plan.changes.iter().any(|change| change.placement.workload == one.workload.key));
        follow(&mut entries, &mut running, &plan, &mut choices);
        snapshot = booked;
    }
}

/// The entries with what the plan gave them. One of them is settled, so that it only runs; another is told to move.
fn follow(entries: &mut Vec<Entry>, running: &mut Vec<RunningWorkload>, plan: &Plan, choices: &mut Choices<'_>) {
    for entry in entries.iter_mut() {
        let change = plan.changes.iter().find(|change| change.placement.workload == entry.workload.key);
        if let Some(change) = change {
            entry.current = Some(Arc::new(change.placement.clone()));
        }
        entry.leave.clear();
        let share = entry.current.as_ref().and_then(|current| current.shares.first());
        if let Some(share) = share.filter(|_| choices.below(3) == 1) {
            let (component, cluster) = (share.component, share.cluster.clone());
            entry.leave.push(Leave { component, cluster, replicas: choices.count() });
        }
    }
    if entries.len() > 1 && choices.flag() {
        let entry = entries.remove(choices.below(entries.len()));
        let placement = entry.current.filter(|current| !current.shares.is_empty());
        running.extend(placement.map(|placement| RunningWorkload { workload: entry.workload, placement }));
    }
}

fn amounts(gpus: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(GPU_ROW, gpus);
    amounts.set(PODS_ROW, 110);
    amounts
}

fn fleet(choices: &mut Choices<'_>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for name in NAMES.iter().take(choices.below(6)) {
        let cluster = Cluster {
            name: (*name).into(),
            provider: "p".into(),
            region: choices.pick(&["r", "s"]).into(),
            zones: vec!["z".into()],
            labels: BTreeMap::new(),
            taints: Vec::new(),
            reachable: choices.below(8) != 1,
            reachable_since: Millis(0),
            columns: [("carbon".into(), f64::from(choices.byte()))].into(),
            removed: false,
        };
        let (region, row) = (cluster.region.clone(), snapshot.upsert_cluster(cluster));
        let more = choices.count();
        let key = OfferingKey {
            provider: "p".into(),
            region,
            zone: "z".into(),
            instance_type: (*name).into(),
            capacity_type: CapacityType::OnDemand,
        };
        let offering = snapshot.upsert_offering(Offering {
            key,
            price: f64::from(choices.byte()),
            interruption: 0.0,
            allocatable: amounts(u64::from(choices.count())),
            stock: Stock { state: StockState::InStock, lower_bound: more, ..Stock::default() },
            in_flight: 0,
        });
        let (gpus, count) = (u64::from(choices.count()), choices.count() % 1000);
        let spec = PoolSpec {
            name: "pool".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            offerings: if more > 0 { vec![offering] } else { Vec::new() },
            min: 0,
            max: count.saturating_add(more),
            lead_seconds: choices.count(),
        };
        let nodes = ObservedNodes {
            instance_type: (*name).into(),
            zone: "z".into(),
            offering: None,
            allocatable: amounts(gpus),
            free: Free::new(amounts(gpus)),
            count,
        };
        let observed = if count > 0 { vec![nodes] } else { Vec::new() };
        snapshot.set_pool(row, spec, PoolInput { observed, ..PoolInput::default() }).unwrap();
    }
    if choices.flag() {
        snapshot.set_quotas(quotas(choices));
    }
    snapshot
}

fn quotas(choices: &mut Choices<'_>) -> QuotaTree {
    let mut gpus = |name: &str, parent, namespaces| {
        let mut min = Amounts::default();
        min.set(GPU_ROW, u64::from(choices.count()));
        let max = vec![(GPU_ROW, u64::from(choices.count()))];
        Quota { name: name.into(), parent, min, max, namespaces }
    };
    let root = Some(QuotaRow(0));
    let quotas =
        vec![gpus("root", None, Vec::new()), gpus("x", root, vec!["x".into()]), gpus("y", root, vec!["y".into()])];
    QuotaTree { used: vec![Amounts::default(); quotas.len()], quotas: quotas.into() }
}

fn entry(row: usize, choices: &mut Choices<'_>) -> Entry {
    let gang = choices.flag();
    let mut component = |number: usize| {
        let (replicas, gpus) = (choices.count(), u64::from(choices.count()));
        Component {
            name: format!("c{number}").as_str().into(),
            replicas,
            floor: if gang { choices.count().min(replicas) } else { 0 },
            shape: Arc::new(Shape { requests: [(GPU.into(), gpus), (PODS.into(), 1)].into(), ..Shape::default() }),
        }
    };
    let components: Vec<Component> = (0..=usize::from(gang)).map(&mut component).collect();
    let workload = Workload {
        key: WorkloadKey::new("apps/v1/Deployment", choices.pick(&["x", "y"]), NAMES[row % NAMES.len()]),
        generation: 1,
        labels: BTreeMap::new(),
        priority: choices.pick(&[0, 0, 1, -1, i32::MAX, i32::MIN]),
        limit_ms: None,
        components,
        rules: Arc::new(rules(gang, choices)),
    };
    Entry { workload: Arc::new(workload), current: None, since: Millis(0), leave: Vec::new(), lost: Vec::new() }
}

fn rules(gang: bool, choices: &mut Choices<'_>) -> Rules {
    let group = |name: &str| ClusterAffinity {
        name: name.into(),
        names: Some(vec![name.into()]),
        ..ClusterAffinity::default()
    };
    let divisions = [
        Division::Free,
        Division::Duplicated,
        Division::StaticWeight,
        Division::AvailableReplicas,
        Division::Aggregated,
    ];
    let named = choices.flag().then(|| PolicyName::new("spite"));
    Rules {
        policy: "x/policy".into(),
        groups: if choices.flag() { vec![group("b"), ClusterAffinity::default()] } else { vec![Default::default()] },
        group_use: choices.pick(&[GroupUse::FirstThatFits, GroupUse::FillInOrder]),
        tolerations: Vec::new(),
        spread: match choices.below(4) {
            1 => vec![SpreadConstraint {
                by: SpreadBy::Cluster,
                max: choices.count().saturating_add(1),
                min: choices.count(),
            }],
            2 => vec![SpreadConstraint { by: SpreadBy::Region, max: 1, min: 1 }],
            _ => Vec::new(),
        },
        division: choices.pick(&divisions),
        weights: if choices.flag() { vec![(group("a"), choices.count()), (group("b"), 1)] } else { Vec::new() },
        elastic: choices.flag(),
        max_lead_seconds: choices.count(),
        gang,
        budget: choices.flag().then(|| f64::from(choices.count())),
        placement_policy: named.clone(),
        gang_policy: named.clone(),
        migration_policy: named,
        suspended: choices.below(16) == 1,
        failover: Failover { toleration_ms: 0, purge: Purge::Gracefully, grace_ms: 0 },
    }
}

/// All loops of a controller, with answers that spite it.
fn passes(choices: Choices<'_>) {
    let store = MemoryStore::default();
    let mut controller = Controller::open(Box::new(store.clone()), Settings::default()).unwrap();
    for text in [FLEET, WORK] {
        controller.apply(load("work.yaml", text).unwrap().objects, START).unwrap();
    }
    let mut world = Still::new(&["one", "two"]);
    let mut spite = Spite::new(choices);
    for pass in 0..PASSES {
        world.step(&mut controller, &mut spite).unwrap();
        if pass == PASSES / 2 {
            world.lose("one");
        }
    }
    let again = Controller::open(Box::new(store), Settings::default()).unwrap();
    assert_eq!(again.keys(), controller.keys(), "a new start finds other objects");
}
