//! Whole decisions in memory: how many a second, how long each stage takes, and what is allocated.
//!
//! Holds: the native world and the Wasm world take turns, so that a busy machine slows both alike; both place the same
//! replicas, or nothing is reported.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_core::check::check_plan;
use berth_core::fleet::Snapshot;
use berth_core::ids::{PlanId, PolicyName};
use berth_core::native::Builtin;
use berth_core::placement::{Placement, PolicyRef};
use berth_core::plan::{Entry, Input, Plan, Planner};
use berth_core::policy::{
    Answer, Candidates, Decision, Kind, MigrationState, Move, Policies, Queue, Request, Stage, Subject, Tables, Verdict,
};
use berth_core::workload::{Division, Workload};
use berth_policy::{Directory, PolicyHost, Runtime, WallClock};
use serde_json::{Map, Value, json};

use super::mix::Mix;
use super::random::Random;
use super::world::{Delta, World, regions};
use super::{Figures, Settings, median, percentile, rounded};
use crate::allocator::Allocated;

/// Placements that live at the same time: so many a cluster, up to so many in all.
const LIVE_A_CLUSTER: usize = 8;
const LIVE: usize = 256;
/// Decisions before the first that counts: by then most pairs of a shape and a policy were seen.
const WARM: usize = 2048;
/// Decisions of one turn.
const TURN: usize = 64;
const SEED: u64 = 7;
/// Beside the planner's own stages.
const SNAPSHOT: &str = "snapshot";
const CHECK: &str = "check";

/// Policies with a stop-watch.
struct Timed<P> {
    inner: P,
    stage: Option<(Stage, Instant)>,
    spent: [Duration; Stage::ALL.len()],
    fuel: u64,
}

impl<P> Timed<P> {
    fn new(inner: P) -> Self {
        Self { inner, stage: None, spent: Default::default(), fuel: 0 }
    }

    fn stop(&mut self) {
        if let Some((stage, since)) = self.stage.take() {
            self.spent[stage as usize] += since.elapsed();
        }
    }
}

impl<P: Policies> Policies for Timed<P> {
    fn begin(&mut self) {
        self.inner.begin();
    }

    fn stage(&mut self, stage: Stage) {
        self.stop();
        self.stage = Some((stage, Instant::now()));
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        self.inner.choose(kind, named, subject)
    }

    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        self.inner.slot(chosen)
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        self.inner.needs(kind, named, division)
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let answer = self.inner.place(named, tables, request, candidates);
        self.fuel += answer.fuel;
        answer
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let answer = self.inner.admit(named, tables, queue);
        self.fuel += answer.fuel;
        answer
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        self.inner.migrate(named, tables, state)
    }

    fn broke_rule(&mut self, kind: Kind, by: &PolicyRef, rule: &str) {
        self.inner.broke_rule(kind, by, rule);
    }
}

/// What one decision came to.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    took: Duration,
    allocated: Allocated,
    candidates: usize,
    placed: bool,
}

/// One world with who decides in it, and what lives in it.
struct Run<P> {
    world: World,
    mix: Mix,
    planner: Planner,
    policies: Timed<P>,
    random: Random,
    live: VecDeque<(Arc<Workload>, Arc<Placement>)>,
    /// How many of them may.
    most: usize,
    made: u64,
    plan: PlanId,
    snapshot_and_check: [Duration; 2],
    /// Decisions count.
    marked: bool,
}

impl<P: Policies> Run<P> {
    fn new(clusters: u32, policies: P) -> Result<Self> {
        let mut world = World::new(clusters, SEED)?;
        let mix = Mix::new(clusters, regions(clusters));
        mix.shapes.iter().for_each(|shape| _ = world.snapshot.intern(shape));
        Ok(Self {
            world,
            mix,
            planner: Planner::default(),
            policies: Timed::new(policies),
            random: Random::new(SEED),
            live: VecDeque::new(),
            most: LIVE.min(clusters as usize * LIVE_A_CLUSTER),
            made: 0,
            plan: PlanId(0),
            snapshot_and_check: Default::default(),
            marked: false,
        })
    }

    /// The next workload to decide: a new one, or one that runs in another size.
    fn entry(&mut self) -> Entry {
        self.made += 1;
        let since = self.world.now();
        if self.random.chance(30) && !self.live.is_empty() {
            let at = self.random.below(self.live.len());
            if let Some((workload, current)) = self.live.remove(at) {
                let workload = Arc::new(self.mix.resized(&mut self.random, &workload));
                return Entry { workload, current: Some(current), since, leave: Vec::new(), lost: Vec::new() };
            }
        }
        let workload = Arc::new(self.mix.workload(&mut self.random, self.made));
        Entry { workload, current: None, since, leave: Vec::new(), lost: Vec::new() }
    }

    /// One decision, from what changed since the last one to a checked plan; what follows from it is not timed.
    fn step(&mut self) -> Result<(Cost, Plan)> {
        if self.live.len() >= self.most
            && let Some((workload, placement)) = self.live.pop_front()
        {
            self.world.end(&workload, &placement);
        }
        let delta = self.world.delta();
        let entries = [self.entry()];
        let before = Allocated::so_far();
        let started = Instant::now();
        let plan = if self.marked { self.decide_marked(delta, &entries)? } else { self.decide(delta, &entries)? };
        let took = started.elapsed();
        let allocated = Allocated::so_far() - before;
        ensure!(plan.report.failures.is_empty(), "a policy failed: {:?}", plan.report.failures);
        let record = plan.changes.first().map(|change| &change.record);
        let record = record.or_else(|| plan.report.waiting.first().and_then(|waiting| waiting.record.as_ref()));
        let cost = Cost {
            took,
            allocated,
            candidates: record.map_or(0, |record| record.candidates.len()),
            placed: !plan.changes.is_empty(),
        };
        self.follow(entries, &plan);
        Ok((cost, plan))
    }

    /// Berth's part of a step.
    fn decide(&mut self, delta: Delta, entries: &[Entry]) -> Result<Plan> {
        let started = Instant::now();
        self.world.write(delta)?;
        self.snapshot_and_check[0] += started.elapsed();
        let plan = plan(&mut self.planner, &self.world.snapshot, entries, &mut self.policies, self.plan);
        self.policies.stop();
        let planned = Instant::now();
        let violations = check_plan(&self.world.snapshot, entries, &[], &plan);
        self.snapshot_and_check[1] += planned.elapsed();
        ensure!(violations.is_empty(), "the check refused a plan: {violations:?}");
        Ok(plan)
    }

    /// The same under the name that the counter of instructions looks for.
    #[inline(never)]
    fn decide_marked(&mut self, delta: Delta, entries: &[Entry]) -> Result<Plan> {
        self.decide(delta, entries)
    }

    /// Carries out what was decided.
    fn follow(&mut self, [entry]: [Entry; 1], plan: &Plan) {
        if let Some(change) = plan.changes.first() {
            self.plan = plan.id;
            self.world.commit(&entry.workload, entry.current.as_deref(), change);
            self.live.push_back((entry.workload, Arc::new(change.placement.clone())));
        } else if let Some(current) = entry.current {
            self.live.push_back((entry.workload, current));
        }
    }

    fn stages(&self, decisions: usize) -> Map<String, Value> {
        let micros = |spent: Duration| json!(rounded(spent.as_secs_f64() * 1e6 / decisions.max(1) as f64));
        let [snapshot, check] = self.snapshot_and_check;
        let planner = Stage::ALL.iter().zip(self.policies.spent);
        let mut stages = Map::new();
        stages.insert(SNAPSHOT.into(), micros(snapshot));
        stages.extend(planner.map(|(stage, spent)| (stage.as_str().to_owned(), micros(spent))));
        stages.insert(CHECK.into(), micros(check));
        stages
    }

    fn forget_times(&mut self) {
        self.policies.spent = Default::default();
        self.policies.fuel = 0;
        self.snapshot_and_check = Default::default();
    }
}

fn plan<P: Policies>(
    planner: &mut Planner,
    snapshot: &Snapshot,
    entries: &[Entry],
    policies: &mut Timed<P>,
    parent: PlanId,
) -> Plan {
    let input = Input { snapshot, entries, running: &[], parent, now: snapshot.now(), seed: SEED };
    planner.plan(&input, policies)
}

/// Both must have decided the same.
fn same(native: &Plan, wasm: &Plan) -> Result<()> {
    let placed = |plan: &Plan| {
        let change = plan.changes.first()?;
        Some((change.placement.shares.clone(), change.orders.clone()))
    };
    ensure!(placed(native) == placed(wasm), "the native plan and the one through Wasm differ: {native:?}\n{wasm:?}");
    Ok(())
}

/// Times and counts of one world's decisions.
#[derive(Default)]
struct Tally {
    costs: Vec<Cost>,
    /// Mean of each turn in microseconds.
    turns: Vec<f64>,
}

impl Tally {
    fn turn(&mut self, costs: &[Cost]) {
        let took: Duration = costs.iter().map(|cost| cost.took).sum();
        self.turns.push(took.as_secs_f64() * 1e6 / costs.len().max(1) as f64);
        self.costs.extend(costs);
    }

    fn micros(&self) -> f64 {
        median(&mut self.turns.clone())
    }

    fn sorted(&self, of: impl Fn(&Cost) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn mean(&self, of: impl Fn(&Cost) -> usize) -> f64 {
        self.costs.iter().map(of).sum::<usize>() as f64 / self.costs.len().max(1) as f64
    }

    fn times(&self) -> Value {
        let times = self.sorted(|cost| cost.took.as_secs_f64() * 1e6);
        json!({"p50": rounded(percentile(&times, 0.5)), "p99": rounded(percentile(&times, 0.99))})
    }
}

/// The policies of the project, as they are.
pub(super) fn wasm(root: &Path, clock: WallClock) -> Result<PolicyHost> {
    let mut directory = Directory::new(root.join("policies"), Runtime::new(clock)?);
    let scan = directory.scan();
    ensure!(scan.refused.is_empty(), "policies are refused: {:?}", scan.refused);
    let mut host = PolicyHost::new(&directory);
    host.begin();
    Ok(host)
}

struct Measured {
    native: Tally,
    wasm: Tally,
    stages: [Map<String, Value>; 2],
    fuel: f64,
}

fn measure_one(settings: &Settings, clusters: u32) -> Result<Measured> {
    let mut native = Run::new(clusters, Builtin::default())?;
    let mut wasm = Run::new(clusters, wasm(&settings.root, WallClock::On)?)?;
    let (warm, turns) = if settings.quick { (WARM / 4, 8) } else { (WARM, 40) };
    for _ in 0..warm {
        same(&native.step()?.1, &wasm.step()?.1)?;
    }
    native.forget_times();
    wasm.forget_times();
    let (mut one, mut other) = (Tally::default(), Tally::default());
    for _ in 0..turns {
        let first: Vec<(Cost, Plan)> = (0..TURN).map(|_| native.step()).collect::<Result<_>>()?;
        let second: Vec<(Cost, Plan)> = (0..TURN).map(|_| wasm.step()).collect::<Result<_>>()?;
        for ((_, one), (_, other)) in first.iter().zip(&second) {
            same(one, other)?;
        }
        one.turn(&first.iter().map(|(cost, _)| *cost).collect::<Vec<_>>());
        other.turn(&second.iter().map(|(cost, _)| *cost).collect::<Vec<_>>());
    }
    let decisions = turns * TURN;
    let fuel = wasm.policies.fuel as f64 / decisions as f64;
    Ok(Measured { native: one, wasm: other, stages: [native.stages(decisions), wasm.stages(decisions)], fuel })
}

/// Decisions of a fixed mix, natively: those before the first that counts are not marked. Returns what was
/// allocated by those that are, in all.
pub(super) fn fixed(clusters: u32, warm: usize, marked: usize) -> Result<Allocated> {
    let mut run = Run::new(clusters, Builtin::default())?;
    for _ in 0..warm {
        _ = run.step()?;
    }
    run.marked = true;
    let mut sum = Allocated::default();
    for _ in 0..marked {
        sum += run.step()?.0.allocated;
    }
    Ok(sum)
}

/// Figures of whole decisions for each number of clusters.
///
/// # Errors
/// If policies cannot be loaded, a plan is refused, or both ways differ.
pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut put = |name: &str, path: &[&str], value: Value| {
        let mut at = figures.entry(name).or_insert_with(|| json!({}));
        for (depth, key) in path.iter().enumerate() {
            let next = if depth + 1 == path.len() { value.clone() } else { json!({}) };
            at = match at {
                Value::Object(map) => map.entry(*key).or_insert(next),
                other => other,
            };
        }
    };
    for clusters in &settings.clusters {
        let key = clusters.to_string();
        let found = measure_one(settings, *clusters).with_context(|| format!("at {clusters} clusters"))?;
        let (native, wasm) = (found.native.micros(), found.wasm.micros());
        eprintln!("  {clusters:>6} clusters: {native:.0} us native, {wasm:.0} us through Wasm");
        put("decisions_per_second", &["native", &key], json!((1e6 / native).round()));
        put("decisions_per_second", &["wasm", &key], json!((1e6 / wasm).round()));
        put("wasm_over_native", &[&key], json!(rounded(wasm / native)));
        let [of_native, of_wasm] = found.stages;
        put("stages_us", &["native", &key], Value::Object(of_native));
        put("stages_us", &["wasm", &key], Value::Object(of_wasm));
        put("decision_us", &["native", &key], found.native.times());
        put("decision_us", &["wasm", &key], found.wasm.times());
        let per = |tally: &Tally| {
            json!({
                "bytes": tally.mean(|cost| cost.allocated.bytes).round(),
                "allocations": rounded(tally.mean(|cost| cost.allocated.allocations)),
            })
        };
        put("allocated_per_decision", &["native", &key], per(&found.native));
        put("allocated_per_decision", &["wasm", &key], per(&found.wasm));
        let candidates = found.native.sorted(|cost| cost.candidates as f64);
        let of = |share: f64| percentile(&candidates, share);
        put("candidates", &[&key], json!({"p10": of(0.1), "p50": of(0.5), "p90": of(0.9), "max": of(1.0)}));
        put("fuel_per_decision", &[&key], json!(found.fuel.round()));
        put("placed_share", &[&key], json!(rounded(found.native.mean(|cost| usize::from(cost.placed)))));
    }
    Ok(figures)
}
