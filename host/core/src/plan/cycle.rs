//! One planning cycle: from waiting workloads to a plan.
//!
//! The cycle works on a clone of the snapshot and books on it what it decides, so that later decisions see what earlier
//! ones took. Room that replicas leave is not given to others in the same plan: it is free only when they are gone, and a
//! later snapshot says so. Policies propose; what they answer is checked, and the built-in algorithm of the kind decides
//! where they break a rule.

use std::sync::Arc;

use super::fits::FitCache;
use super::{Change, DecisionRecord, Entry, Plan, PolicyFailure, Report, Waiting};
use crate::feasible::{Feasibility, Held};
use crate::fleet::{RoomCache, Snapshot};
use crate::ids::{ClusterRow, Millis, PlanId, QuotaRow, ShapeRow, WorkloadKey};
use crate::placement::{Placement, PolicyRef};
use crate::policy::{Decision, Kind, Policies, Request, Stage, Tables};
use crate::reason::{Code, Reason};
use crate::workload::{Division, Workload};

/// What one cycle is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Shapes of workloads should be interned in it already: a shape that is new to it is looked at anew in every cycle,
    /// and one with new resources makes new tables, which every policy's session must be told.
    pub snapshot: &'a Snapshot,
    /// In any order; no workload twice.
    pub entries: &'a [Entry],
    /// Placed workloads that a gang policy may preempt, in any order. Read only if a policy needs `running`.
    pub running: &'a [RunningWorkload],
    /// The newest committed plan.
    pub parent: PlanId,
    pub now: Millis,
    /// Every decision's seed is made from this one, the plan's number and the decision's.
    pub seed: u64,
}

/// A workload that runs.
#[derive(Clone, Debug)]
pub struct RunningWorkload {
    pub workload: Arc<Workload>,
    pub placement: Arc<Placement>,
}

/// Makes plans. Keeps what is worth keeping between cycles; nothing of it changes what is decided.
#[derive(Debug, Default)]
pub struct Planner {
    pub(super) feasibility: Feasibility,
    pub(super) rooms: RoomCache,
    pub(super) fits: FitCache,
}

impl Planner {
    /// Plans one cycle. Never fails: what cannot be placed waits, with a reason.
    ///
    /// Workloads are taken in the order of their gang policy, which sees them by priority (highest first), time of waiting
    /// (longest first), namespace, name and kind. Where there are several gang policies, the one whose next workload comes
    /// first in this order goes first. The same input and the same answers give the same plan, bit for bit.
    pub fn plan(&mut self, input: &Input<'_>, policies: &mut dyn Policies) -> Plan {
        self.plan_and_book(input, policies).0
    }

    /// Like [`Planner::plan`], and returns the snapshot with the plan booked on it besides: what the next plan may be made
    /// from before anything of this one is observed.
    pub fn plan_and_book(&mut self, input: &Input<'_>, policies: &mut dyn Policies) -> (Plan, Snapshot) {
        policies.begin();
        policies.stage(Stage::Queue);
        // Phase 1: the entries in the order of the queue; suspended ones wait.
        let mut cycle = Cycle::new(input, self, policies);
        let tickets = cycle.tickets();
        // Post-condition `ordered`.
        debug_assert!(
            tickets.windows(2).all(|two| rank(two[0].entry) <= rank(two[1].entry)),
            "ordered: by priority, age and key"
        );

        // Phase 2: which of them start, in what order and size.
        let admitted = cycle.admit(&tickets);
        // Post-condition `decided once`.
        debug_assert!(
            {
                let mut rows: Vec<usize> = admitted.iter().map(|admitted| admitted.ticket).collect();
                rows.sort_unstable();
                rows.windows(2).all(|two| two[0] < two[1])
            },
            "decided once: no workload is admitted twice"
        );

        // Phase 3: each in turn is placed, or waits.
        for admitted in &admitted {
            cycle.place(&tickets[admitted.ticket], &admitted.sizes, &admitted.except);
        }

        // Phase 4: what lost its room, and found no other, is given back; by gangs with everything else.
        for ticket in &tickets {
            cycle.give_back(ticket);
        }

        let (plan, booked) = cycle.finish();
        // Post-condition `sound`: the checker, which shares nothing with the planner, finds nothing.
        debug_assert!(
            crate::check::check_plan(input.snapshot, input.entries, input.running, &plan).is_empty(),
            "sound: {:?}",
            crate::check::check_plan(input.snapshot, input.entries, input.running, &plan)
        );
        (plan, booked)
    }
}

/// Plans one cycle with nothing kept from earlier ones; see [`Planner::plan`].
pub fn plan(input: &Input<'_>, policies: &mut dyn Policies) -> Plan {
    Planner::default().plan(input, policies)
}

fn rank(entry: &Entry) -> (std::cmp::Reverse<i32>, Millis, &WorkloadKey) {
    (std::cmp::Reverse(entry.workload.priority), entry.since, &entry.workload.key)
}

/// An entry in terms of the snapshot.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    pub(super) entry: &'a Entry,
    /// By component.
    pub(super) shapes: Vec<ShapeRow>,
    /// What is placed now and need not leave, ascending by cluster and component.
    pub(super) held: Vec<Held>,
    /// The quota that it is charged to.
    pub(super) leaf: Option<QuotaRow>,
}

impl Ticket<'_> {
    pub(super) fn held_at(&self, cluster: ClusterRow, component: usize) -> u32 {
        let key = |held: &Held| (held.cluster, held.component);
        self.held.binary_search_by_key(&(cluster, component), key).map_or(0, |at| self.held[at].replicas)
    }

    /// Fewest replicas with which a component starts; with a gang that has no floor, all of them.
    pub(super) fn least(&self, component: usize) -> u32 {
        let (workload, component) = (&self.entry.workload, &self.entry.workload.components[component]);
        let whole = workload.rules.gang && component.floor == 0;
        if whole { component.replicas } else { component.floor.min(component.replicas) }
    }

    /// Whether it wants no replicas at all, or none that are not placed already and fewer of some component.
    pub(super) fn gives_back(&self) -> bool {
        let workload = &self.entry.workload;
        let held = |number: usize| {
            let held = self.held.iter().filter(|held| held.component == number);
            held.map(|held| u64::from(held.replicas)).sum::<u64>()
        };
        let components = || workload.components.iter().map(|component| u64::from(component.replicas)).enumerate();
        let fewer = components().all(|(number, wanted)| wanted <= held(number))
            && components().any(|(number, wanted)| wanted < held(number));
        // What is duplicated wants its replicas at every cluster.
        components().all(|(_, wanted)| wanted == 0) || (fewer && workload.division() != Division::Duplicated)
    }

    /// Replicas of a component placed now, those that must leave included.
    pub(super) fn placed(&self, component: usize) -> u32 {
        self.entry.current.as_ref().map_or(0, |current| current.total(component as u32))
    }
}

/// A workload that starts now.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) ticket: usize,
    pub(super) sizes: Vec<u32>,
    /// Clusters that it must leave alone.
    pub(super) except: Vec<ClusterRow>,
}

pub(super) struct Cycle<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) planner: &'a mut Planner,
    pub(super) policies: &'a mut dyn Policies,
    /// The snapshot with what was decided so far.
    pub(super) work: Snapshot,
    pub(super) tables: Arc<Tables>,
    pub(super) id: PlanId,
    pub(super) changes: Vec<Change>,
    pub(super) report: Report,
    /// Orders made so far.
    pub(super) orders: u32,
    decisions: u64,
}

impl<'a> Cycle<'a> {
    fn new(input: &'a Input<'a>, planner: &'a mut Planner, policies: &'a mut dyn Policies) -> Self {
        let mut work = input.snapshot.clone();
        for entry in input.entries {
            entry.workload.components.iter().for_each(|component| _ = work.intern(&component.shape));
        }
        let tables = work.tables().clone();
        Self {
            input,
            planner,
            policies,
            work,
            tables,
            id: PlanId(input.parent.0 + 1),
            changes: Vec::new(),
            report: Report::default(),
            orders: 0,
            decisions: 0,
        }
    }

    fn tickets(&mut self) -> Vec<Ticket<'a>> {
        let mut entries: Vec<&Entry> = self.input.entries.iter().collect();
        entries.sort_by(|one, other| rank(one).cmp(&rank(other)));
        entries.dedup_by(|one, other| one.workload.key == other.workload.key);
        let mut tickets = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.workload.rules.suspended {
                let what = format!("scheduling is suspended by {}", entry.workload.rules.policy);
                self.wait(&entry.workload.key, Reason::new(Code::Suspended, what), None);
                continue;
            }
            tickets.push(self.ticket(entry));
        }
        tickets
    }

    fn ticket(&self, entry: &'a Entry) -> Ticket<'a> {
        let shape = |component: &crate::workload::Component| self.work.shape_row(&component.shape);
        let mut held: Vec<Held> = Vec::new();
        for share in entry.current.iter().flat_map(|current| &current.shares) {
            let Some(cluster) = self.work.cluster_row(share.cluster.as_str()) else { continue };
            let component = share.component as usize;
            if component >= entry.workload.components.len() {
                continue;
            }
            match held.iter_mut().find(|held| (held.cluster, held.component) == (cluster, component)) {
                Some(held) => held.replicas = held.replicas.saturating_add(share.replicas),
                None => held.push(Held { cluster, component, replicas: share.replicas }),
            }
        }
        for leave in &entry.leave {
            let Some(cluster) = self.work.cluster_row(leave.cluster.as_str()) else { continue };
            let place = (cluster, leave.component as usize);
            if let Some(held) = held.iter_mut().find(|held| (held.cluster, held.component) == place) {
                held.replicas = held.replicas.saturating_sub(leave.replicas);
            }
        }
        held.retain(|held| held.replicas > 0);
        held.sort_by_key(|held| (held.cluster, held.component));
        Ticket {
            entry,
            shapes: entry.workload.components.iter().filter_map(shape).collect(),
            held,
            leaf: self.work.quotas().leaf(&entry.workload.key.namespace),
        }
    }

    /// A seed for the next decision.
    pub(super) fn next_seed(&mut self) -> u64 {
        self.decisions += 1;
        mix(mix(self.input.seed ^ self.id.0) ^ self.decisions)
    }

    pub(super) fn wait(&mut self, workload: &WorkloadKey, reason: Reason, record: Option<Arc<DecisionRecord>>) {
        self.report.waiting.push(Waiting { workload: workload.clone(), reason, record });
    }

    pub(super) fn failed(&mut self, kind: Kind, workload: Option<&WorkloadKey>, failed: &Option<(PolicyRef, String)>) {
        if let Some((policy, what)) = failed {
            let (policy, what) = (policy.clone(), what.clone());
            self.report.failures.push(PolicyFailure { kind, policy, workload: workload.cloned(), what });
        }
    }

    /// A change that takes everything from a running workload.
    pub(super) fn preempt(&mut self, victim: &RunningWorkload, by: PolicyRef, why: &str) {
        let (workload, placement) = (&victim.workload, &victim.placement);
        let record = DecisionRecord {
            plan: self.id,
            generation: self.work.generation(),
            workload: workload.key.clone(),
            workload_generation: workload.generation,
            decided_at: self.input.now,
            by: by.clone(),
            failed: None,
            fuel: 0,
            tables: self.tables.clone(),
            request: Request { seed: self.input.seed, now_ms: self.input.now.0, ..Request::default() },
            candidates: crate::policy::Candidates::default(),
            passed: super::PassedOver::default(),
            outcome: Ok(Decision::default()),
        };
        self.changes.push(Change {
            replaces: Some(placement.plan),
            placement: Placement {
                workload: workload.key.clone(),
                workload_generation: workload.generation,
                plan: self.id,
                decided_at: self.input.now,
                policy: by,
                shares: Vec::new(),
                clusters: Vec::new(),
            },
            orders: Vec::new(),
            short: Some(Reason::new(Code::Preempted, why)),
            record: Arc::new(record),
        });
        let Some(leaf) = self.work.quotas().leaf(&workload.key.namespace) else { return };
        for (number, component) in workload.components.iter().enumerate() {
            let request = self.work.amounts(&component.shape.requests);
            let replicas = u64::from(placement.total(number as u32));
            self.work.quotas_mut().refund(leaf, &request, replicas);
        }
    }

    fn finish(self) -> (Plan, Snapshot) {
        let plan = Plan {
            id: self.id,
            parent: self.input.parent,
            generation: self.input.snapshot.generation(),
            decided_at: self.input.now,
            changes: self.changes,
            report: self.report,
        };
        (plan, self.work)
    }
}

/// SplitMix64's finalizer (Steele, Lea and Flood, 2014): spreads every bit of `value` over all bits.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
