//! Properties on random fleets, workloads and policies: no plan overcommits anything, whatever a policy answers; the same
//! input gives the same plan; planning again changes nothing.

use std::sync::Arc;

use proptest::prelude::*;

use super::fleet::*;
use crate::check::check_plan;
use crate::fleet::Snapshot;
use crate::ids::{PlanId, PolicyName};
use crate::native::{Builtin, policy_ref};
use crate::placement::PolicyRef;
use crate::plan::cycle::mix;
use crate::plan::{Entry, Input, Leave, Planner, RunningWorkload};
use crate::policy::*;
use crate::workload::{Division, GroupUse, SpreadBy, SpreadConstraint};

const CLUSTERS: [&str; 6] = ["m1", "m2", "m3", "m4", "m5", "m6"];
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Answers like the built-in policies, and then spoils about half of what it says.
struct Liar {
    honest: Builtin,
    state: u64,
    needs: [Arc<str>; 2],
    broken: usize,
}

impl Liar {
    fn new(seed: u64) -> Self {
        Self { honest: Builtin::default(), state: seed, needs: ["offers".into(), "running".into()], broken: 0 }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.state = mix(self.state);
        self.state % sides.max(1)
    }

    fn spoil(&mut self, decision: &mut Decision, candidates: &Candidates) {
        let last = decision.assignments.len().saturating_sub(1);
        let n = candidates.len() as u64;
        let choice = self.roll(9);
        let (row, replicas) = (self.roll(n + 2) as u32, self.roll(12) as u32);
        match (choice, decision.assignments.get_mut(last)) {
            (0, _) => {
                decision.assignments.push(Assignment { component: self.roll(3) as u32, candidate: row, replicas })
            }
            (1, Some(one)) => one.replicas = one.replicas.saturating_add(replicas),
            (2, Some(one)) => one.candidate = row,
            (3, Some(one)) => one.replicas = u32::MAX,
            (4, Some(_)) => decision.assignments.truncate(last),
            (5, Some(one)) => {
                let twice = *one;
                decision.assignments.push(twice);
            }
            (6, _) => {
                decision.terms = (0..9).map(|_| Term { candidate: row, name: "x".into(), value: f64::NAN }).collect()
            }
            (7, _) => decision.assignments.clear(),
            _ => {}
        }
    }

    fn spoil_verdict(&mut self, verdict: &mut Verdict, queue: &Queue) {
        let jobs = queue.jobs.len() as u64;
        let row = self.roll(jobs + 1) as u32;
        match self.roll(8) {
            0 => verdict.admit.push(Admit { job: row, sizes: vec![self.roll(5) as u32], except: vec![row] }),
            1 => verdict.admit.iter_mut().for_each(|admit| admit.sizes.iter_mut().for_each(|size| *size += 1)),
            2 => verdict.admit.reverse(),
            3 => {
                // Admits everything in full, whatever fits.
                verdict.hold.clear();
                verdict.admit.clear();
                for (row, job) in (0..).zip(&queue.jobs) {
                    let sizes = job.components.iter().map(|component| component.replicas).collect();
                    verdict.admit.push(Admit { job: row, sizes, except: Vec::new() });
                }
            }
            4 => verdict.hold.clear(),
            5 => {
                let victim = self.roll(queue.running.len() as u64 + 1) as u32;
                verdict.preempt.push(Preempt { victim, beneficiary: row, reason: "lies".into() });
            }
            _ => {}
        }
    }
}

impl Policies for Liar {
    fn begin(&mut self) {}

    fn needs(&self, _: Kind, _: Option<&PolicyName>, _: Division) -> &[Arc<str>] {
        &self.needs
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let mut answer = self.honest.place(named, tables, request, candidates);
        answer.by = policy_ref("liar");
        if let Ok(decision) = &mut answer.result {
            self.spoil(decision, candidates);
        }
        answer
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let mut answer = self.honest.admit(named, tables, queue);
        if let Ok(verdict) = &mut answer.result {
            self.spoil_verdict(verdict, queue);
        }
        answer
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        self.honest.migrate(named, tables, state)
    }

    fn broke_rule(&mut self, _: Kind, _: &PolicyRef, _: &str) {
        self.broken += 1;
    }
}

type Nodes = (Vec<(u64, u32)>, u64, u32, u32);

fn fleets() -> impl Strategy<Value = Vec<Nodes>> {
    let nodes = prop::collection::vec((1_u64..9, 0_u32..4), 0..4);
    prop::collection::vec((nodes, 1_u64..9, 0_u32..5, 1_u32..20), 0..6)
}

fn built(nodes: &[Nodes], quota: Option<(u64, u64)>) -> Fleet {
    let mut fleet = Fleet::new(&[]);
    for (name, (nodes, gpus, more, price)) in CLUSTERS.iter().zip(nodes) {
        fleet.cluster(name, nodes, *gpus, *more, f64::from(*price));
    }
    if let Some((max, leaf)) = quota {
        fleet.quota(max, &[("default", leaf / 2, leaf), ("other", max - leaf.min(max), max)]);
    }
    fleet
}

fn workloads() -> impl Strategy<Value = Vec<Sketch>> {
    let components = prop::collection::vec((0_u32..7, 0_u32..4, 1_u64..4), 1..3);
    let rules = (0_u32..5, any::<bool>(), any::<bool>(), 0_u32..3, prop::option::of(1_u32..40), 0_u32..4);
    let one = (components, rules, -1_i32..2, any::<bool>());
    prop::collection::vec(one, 1..8).prop_map(|list| list.into_iter().enumerate().map(sketch).collect())
}

type Drawn = (Vec<(u32, u32, u64)>, (u32, bool, bool, u32, Option<u32>, u32), i32, bool);

fn sketch((number, (components, rules, priority, other)): (usize, Drawn)) -> Sketch {
    let (division, gang, elastic, spread, budget, groups) = rules;
    let mut sketch = Fleet::new(&[]).workload(NAMES[number], 0);
    sketch.priority = priority;
    sketch.namespace = if other { "other" } else { "default" };
    sketch.replicas = components.iter().map(|(replicas, ..)| *replicas).collect();
    sketch.floors = components.iter().map(|(replicas, floor, _)| *floor.min(replicas)).collect();
    sketch.gpus = components.iter().map(|(.., gpus)| *gpus).collect();
    sketch.rules.division = [
        Division::Duplicated,
        Division::StaticWeight,
        Division::AvailableReplicas,
        Division::Aggregated,
        Division::Free,
    ][division as usize];
    sketch.rules.gang = gang;
    sketch.rules.elastic = elastic;
    sketch.rules.budget = budget.map(f64::from);
    if spread > 0 {
        sketch.rules.spread = vec![SpreadConstraint { by: SpreadBy::Region, max: spread, min: 1 }];
    }
    if groups > 1 {
        sketch.rules.groups = vec![named("m2"), Default::default()];
        sketch.rules.group_use = if groups == 2 { GroupUse::FillInOrder } else { GroupUse::FirstThatFits };
    }
    sketch
}

/// The entries with what a plan gave them.
fn followed(entries: &[Entry], plan: &crate::plan::Plan) -> Vec<Entry> {
    let after = |entry: &Entry| {
        let change = plan.changes.iter().find(|change| change.placement.workload == entry.workload.key);
        let current = change.map(|change| Arc::new(change.placement.clone())).or_else(|| entry.current.clone());
        Entry { current, ..entry.clone() }
    };
    entries.iter().map(after).collect()
}

fn input<'a>(snapshot: &'a Snapshot, entries: &'a [Entry], running: &'a [RunningWorkload], round: u64) -> Input<'a> {
    let now = crate::ids::Millis(1000 + round);
    Input { snapshot, entries, running, parent: PlanId(round), now, seed: 11 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The planner's own debug assertion and this check see every plan.
    #[test]
    fn no_plan_overcommits_whatever_policies_answer(
        nodes in fleets(), sketches in workloads(), seed in any::<u64>(), quota in prop::option::of((1_u64..40, 1_u64..40)),
    ) {
        let mut fleet = built(&nodes, quota);
        let mut liar = Liar::new(seed);
        let mut planner = Planner::default();
        let mut entries: Vec<Entry> = sketches.iter().map(Sketch::entry).collect();
        let mut running: Vec<RunningWorkload> = Vec::new();
        for round in 0..4 {
            let (plan, booked) = planner.plan_and_book(&input(&fleet.snapshot, &entries, &running, round), &mut liar);
            prop_assert_eq!(check_plan(&fleet.snapshot, &entries, &running, &plan), []);
            entries = followed(&entries, &plan);
            fleet.snapshot = booked;
            // What happens in between: clusters go, replicas are told to leave, demand changes, one workload just runs.
            if liar.roll(3) == 0 && !nodes.is_empty() {
                let name = CLUSTERS[liar.roll(nodes.len() as u64) as usize];
                fleet.unreachable(name);
            }
            let preempted = |one: &RunningWorkload| plan.changes.iter().any(|change| change.placement.workload == one.workload.key);
            running.retain(|one| !preempted(one));
            if entries.len() > 1 && liar.roll(2) == 0 {
                let entry = entries.remove(liar.roll(entries.len() as u64) as usize);
                let placement = entry.current.filter(|current| !current.shares.is_empty());
                running.extend(placement.map(|placement| RunningWorkload { workload: entry.workload, placement }));
            }
            for entry in &mut entries {
                let mut workload = (*entry.workload).clone();
                for component in &mut workload.components {
                    component.replicas = (component.replicas + liar.roll(3) as u32).saturating_sub(liar.roll(3) as u32);
                    component.floor = component.floor.min(component.replicas);
                }
                workload.generation += 1;
                entry.workload = Arc::new(workload);
                entry.leave.clear();
                let first = entry.current.as_ref().and_then(|current| current.shares.first());
                if let Some(share) = first.filter(|_| liar.roll(3) == 0) {
                    let (component, cluster) = (share.component, share.cluster.clone());
                    entry.leave.push(Leave { component, cluster, replicas: liar.roll(4) as u32 });
                }
            }
        }
    }

    #[test]
    fn planning_twice_changes_nothing(nodes in fleets(), sketches in workloads(), quota in prop::option::of((1_u64..40, 1_u64..40))) {
        let fleet = built(&nodes, quota);
        let entries: Vec<Entry> = sketches.iter().map(Sketch::entry).collect();
        let mut planner = Planner::default();
        let (first, booked) = planner.plan_and_book(&input(&fleet.snapshot, &entries, &[], 0), &mut Builtin::default());
        let entries = followed(&entries, &first);
        let second = planner.plan(&input(&booked, &entries, &[], 1), &mut Builtin::default());
        // What is whole stays as it is. What is short may try again, and loses nothing by it.
        for change in &second.changes {
            let key = &change.placement.workload;
            let entry = entries.iter().find(|entry| entry.workload.key == *key).unwrap();
            let short = first.changes.iter().find(|change| change.placement.workload == *key).is_none_or(|change| change.short.is_some());
            prop_assert!(short, "{change:#?}\n{entry:#?}");
            if !entry.workload.rules.spread.is_empty() {
                // Spread constraints may exchange a full cluster for a roomier one.
                continue;
            }
            for component in 0..entry.workload.components.len() as u32 {
                let before = entry.current.as_ref().map_or(0, |current| current.total(component));
                prop_assert!(change.placement.total(component) >= before, "{change:#?}\n{entry:#?}");
            }
        }
    }

    #[test]
    fn equal_input_gives_equal_plans(nodes in fleets(), sketches in workloads(), seed in any::<u64>()) {
        let fleet = built(&nodes, Some((30, 20)));
        let entries: Vec<Entry> = sketches.iter().map(Sketch::entry).collect();
        let mut reversed = entries.clone();
        reversed.reverse();
        let mut warm = Planner::default();
        let one = warm.plan(&input(&fleet.snapshot, &entries, &[], 0), &mut Liar::new(seed));
        let again = warm.plan(&input(&fleet.snapshot, &reversed, &[], 0), &mut Liar::new(seed));
        let fresh = Planner::default().plan(&input(&built(&nodes, Some((30, 20))).snapshot, &entries, &[], 0), &mut Liar::new(seed));
        prop_assert_eq!(format!("{one:?}"), format!("{again:?}"));
        prop_assert_eq!(format!("{one:?}"), format!("{fresh:?}"));
    }
}
