//! One placement decision: candidates, policy, check, booking.

use std::sync::Arc;

use super::cycle::{Cycle, Ticket};
use super::{Change, DecisionRecord, Passed, PassedOver};
use crate::check::check_decision;
use crate::feasible::{Ask, Candidate, Feasible, Held, Want};
use crate::fleet::{ClusterRoom, TakeOptions};
use crate::ids::{ClusterName, ClusterRow, OrderId, PolicyName};
use crate::native;
use crate::placement::{NodeOrder, Placement, PolicyRef, Share};
use crate::policy::{Answer, Candidates, Decision, Kind, Problem, ProblemCode, Request, Stage, Subject};
use crate::reason::{Code, Reason};
use crate::workload::{Division, main_component};

use super::book::Booked;

impl Cycle<'_> {
    /// Decides one workload and books what it gets; or it waits, with what it has.
    pub(super) fn place(&mut self, ticket: &Ticket<'_>, sizes: &[u32], behind: &[ClusterRow]) {
        let workload = &ticket.entry.workload;
        if workload.components.is_empty() {
            self.place_everywhere(ticket);
            return;
        }

        if workload.components.iter().all(|component| component.replicas == 0) {
            return self.nothing(ticket);
        }

        self.policies.stage(Stage::Feasible);
        // Phase 1: the size within quota. What runs is not made smaller by jobs ahead of it: that would be preemption.
        let runs = |number: usize| ticket.placed(number).min(workload.components[number].replicas);
        let sizes: Vec<u32> = sizes.iter().enumerate().map(|(number, size)| runs(number).max(*size)).collect();
        let (sizes, mut short) = match self.within_quota(ticket, &sizes) {
            Ok(within) => within,
            Err(reason) => return self.wait(&workload.key, reason, None),
        };
        if sizes.iter().all(|size| *size == 0) {
            let silent = || Reason::new(Code::PolicyRefused, "the gang policy admits it without replicas");
            return self.wait(&workload.key, short.unwrap_or_else(silent), None);
        }
        // Post-condition `within quota`: but for what is placed already, the sizes may be charged in full.

        // Phase 2: candidates.
        let request = self.request(ticket, &sizes);
        let mut feasible = self.feasible(ticket, &sizes, behind);
        if workload.rules.gang {
            self.whole_sets_only(ticket, &mut feasible);
        }
        self.policies.stage(Stage::Columns);
        let chosen = workload.rules.placement_policy.as_ref();
        let chosen = self.policies.choose(Kind::Placement, chosen, &Subject::of(workload));
        let needs = self.policies.needs(Kind::Placement, chosen.as_ref(), request.division).to_vec();
        let candidates = self.candidates(ticket, &sizes, &feasible.candidates, &needs);
        if candidates.is_empty() {
            let reason = feasible.problem.take().unwrap_or_else(|| nowhere(&feasible.passed));
            let problem = Problem { code: ProblemCode::NoCandidate, message: reason.message.clone() };
            let by = native::policy_ref(native::NO_POLICY);
            let answer = Answer { result: Err(problem), by, fuel: 0, failed: None };
            let record = self.record(ticket, request, candidates, feasible.passed, answer);
            return self.wait(&workload.key, reason, Some(record));
        }

        // Phase 3: the policy's decision, or that of the built-in one where it breaks a rule.
        let answer = self.decide(ticket, chosen.as_ref(), &request, &candidates);
        self.policies.stage(Stage::Book);
        let decision = match &answer.result {
            Ok(decision) => decision.clone(),
            Err(problem) => {
                let code = match problem.code {
                    ProblemCode::NoRoom => Code::NoRoom,
                    ProblemCode::NoCandidate | ProblemCode::Unsupported => Code::PolicyRefused,
                };
                let reason = Reason::new(code, format!("{}: {}", answer.by.name, problem.message));
                let record = self.record(ticket, request, candidates, feasible.passed, answer);
                return self.wait(&workload.key, reason, Some(record));
            }
        };
        // Post-condition `answer holds`.
        debug_assert_eq!(check_decision(&request, &candidates, &decision), Ok(()), "answer holds");

        // Phase 4: what of it is within the budget, and for Duplicated within the quota.
        let mut targets = targets(&feasible.candidates, request.components.len(), &decision);
        self.trim(ticket, &candidates, &mut targets, &mut short);
        if workload.rules.division == Division::Duplicated && !workload.rules.gang {
            short = short.or_else(|| self.left_out(&feasible.passed));
        }

        let total = |number: usize| targets.iter().map(|target| u64::from(target.replicas[number])).sum::<u64>();
        let less = (0..ticket.shapes.len()).any(|number| total(number) < u64::from(runs(number)));
        if let Some(reason) = short.clone().filter(|short| short.code == Code::Budget && less) {
            // A budget takes nothing away from what runs.
            let record = self.record(ticket, request, candidates, feasible.passed, answer);
            return self.wait(&workload.key, reason, Some(record));
        }

        // Phase 5: book it. On a failure nothing is booked, and what took it below its floor is the reason.
        let by = answer.by.clone();
        let record = self.record(ticket, request, candidates, feasible.passed, answer);
        match self.book(ticket, &targets) {
            Ok(booked) => self.conclude(ticket, booked, by, short, record),
            Err(reason) => self.wait(&workload.key, short.unwrap_or(reason), Some(record)),
        }
    }

    /// Clusters that a workload should go to, too, and that have no room for it now.
    fn left_out(&self, passed: &PassedOver) -> Option<Reason> {
        const FEW: usize = 3;
        let full = [Code::NoRoom, Code::NoStock, Code::PoolAtMaximum, Code::ElasticityOff, Code::Behind];
        let rows: Vec<_> = passed.rows().filter(|rows| full.contains(&rows.code)).collect();
        let clusters = rows.iter().flat_map(|rows| rows.clusters.iter());
        let names: Vec<ClusterName> =
            clusters.take(FEW).filter_map(|row| self.cluster_name(ClusterRow(row as u32))).collect();
        let names: Vec<&str> = names.iter().map(ClusterName::as_str).collect();
        let count: usize = rows.iter().map(|rows| rows.clusters.len()).sum();
        let more = if count > names.len() { ", …" } else { "" };
        let message = format!("{count} of the clusters that it goes to have no room: {}{more}", names.join(", "));
        rows.first().map(|first| Reason::new(first.code, message))
    }

    /// Objects without replicas go to every cluster that the rules select.
    fn place_everywhere(&mut self, ticket: &Ticket<'_>) {
        let workload = &ticket.entry.workload;
        let current = ticket.entry.current.iter().flat_map(|current| &current.clusters);
        let held: Vec<Held> = current
            .filter_map(|name| self.work.cluster_row(name.as_str()))
            .map(|cluster| Held { cluster, component: 0, replicas: 1 })
            .collect();
        let ask = Ask { rules: &workload.rules, wants: &[], held: &held, except: &[] };
        let planner = &mut *self.planner;
        let feasible = planner.feasibility.find(&self.work, &mut planner.rooms, ask);
        let by = native::policy_ref(native::NO_POLICY);
        let request = self.request(ticket, &[]);
        let reason =
            feasible.candidates.is_empty().then(|| feasible.problem.unwrap_or_else(|| nowhere(&feasible.passed)));
        let result = match &reason {
            None => Ok(Decision::default()),
            Some(reason) => Err(Problem { code: ProblemCode::NoCandidate, message: reason.message.clone() }),
        };
        let answer = Answer { result, by: by.clone(), fuel: 0, failed: None };
        let candidates = Candidates {
            cluster: feasible.candidates.iter().map(|candidate| candidate.cluster.0).collect(),
            ..Candidates::default()
        };
        let record = self.record(ticket, request, candidates, feasible.passed, answer);
        match reason {
            Some(reason) => self.wait(&workload.key, reason, Some(record)),
            None => {
                let clusters = feasible.candidates.iter().filter_map(|candidate| self.cluster_name(candidate.cluster));
                let booked = Booked { clusters: clusters.collect(), ..Booked::default() };
                self.conclude(ticket, booked, by, None, record);
            }
        }
    }

    /// A workload that wants no replicas gets an empty placement without asking anybody.
    fn nothing(&mut self, ticket: &Ticket<'_>) {
        let by = native::policy_ref(native::NO_POLICY);
        let answer = Answer { result: Ok(Decision::default()), by: by.clone(), fuel: 0, failed: None };
        let request = self.request(ticket, &vec![0; ticket.shapes.len()]);
        let record = self.record(ticket, request, Candidates::default(), PassedOver::default(), answer);
        self.refund(ticket);
        self.conclude(ticket, Booked::default(), by, None, record);
    }

    pub(super) fn request(&mut self, ticket: &Ticket<'_>, sizes: &[u32]) -> Request {
        let workload = &ticket.entry.workload;
        let component = |(number, size): (usize, &u32)| crate::policy::Component {
            name: workload.components[number].name.as_str().into(),
            replicas: *size,
            floor: ticket.least(number).min(*size),
        };
        Request {
            namespace: workload.key.namespace.clone(),
            name: workload.key.name.clone(),
            labels: workload.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            priority: workload.priority,
            division: workload.division(),
            together: workload.rules.gang,
            components: sizes.iter().enumerate().map(component).collect(),
            now_ms: self.input.now.0,
            seed: self.next_seed(),
        }
    }

    fn feasible(&mut self, ticket: &Ticket<'_>, sizes: &[u32], behind: &[ClusterRow]) -> Feasible {
        let want = |(number, size): (usize, &u32)| Want {
            shape: ticket.shapes[number],
            replicas: *size,
            need: if ticket.entry.workload.rules.gang { ticket.least(number).min(*size) } else { 0 },
        };
        let wants: Vec<Want> = sizes.iter().enumerate().map(want).collect();
        let leave = ticket.entry.leave.iter().filter_map(|leave| self.work.cluster_row(leave.cluster.as_str()));
        let mut except: Vec<(ClusterRow, Code)> = leave.map(|cluster| (cluster, Code::MovedAway)).collect();
        except.extend(behind.iter().map(|cluster| (*cluster, Code::Behind)));
        let rules = &ticket.entry.workload.rules;
        let ask = Ask { rules, wants: &wants, held: &ticket.held, except: &except };
        let planner = &mut *self.planner;
        planner.feasibility.find(&self.work, &mut planner.rooms, ask)
    }

    /// Passes over clusters in which the components fit one by one, but not together.
    fn whole_sets_only(&mut self, ticket: &Ticket<'_>, feasible: &mut Feasible) {
        let options = options(ticket);
        let set = Self::least_set(ticket);
        let clusters: Vec<ClusterRow> = feasible.candidates.iter().map(|candidate| candidate.cluster).collect();
        let planner = &mut *self.planner;
        let mut now = planner.fits.now(&self.work, &planner.rooms, &set, options, &clusters).into_iter();
        let mut candidates = std::mem::take(&mut feasible.candidates);
        candidates.retain(|candidate| {
            let (cluster, now) = (candidate.cluster, now.next().unwrap_or(0));
            let held = !ticket.held.is_empty() && (0..set.len()).any(|number| ticket.held_at(cluster, number) > 0);
            let fits = if held {
                let mut draft = self.work.draft(cluster);
                set.iter().enumerate().all(|(number, (shape, least))| {
                    let more = least.saturating_sub(ticket.held_at(cluster, number));
                    more == 0 || (!candidate.closed && draft.take(&self.work, *shape, more, options).is_ok())
                })
            } else {
                now > 0
            };
            if !fits {
                feasible.passed.add(Passed { cluster: cluster.0, code: Code::GangDoesNotFit, have: 0, need: 0 });
            }
            fits
        });
        feasible.candidates = candidates;
    }

    /// Candidates as policies see them, for components of these sizes.
    fn candidates(
        &mut self,
        ticket: &Ticket<'_>,
        sizes: &[u32],
        chosen: &[Candidate],
        needs: &[Arc<str>],
    ) -> Candidates {
        let rules = &ticket.entry.workload.rules;
        let components = ticket.shapes.len();
        let n = chosen.len();
        let place = |cluster: ClusterRow| chosen.iter().position(|candidate| candidate.cluster == cluster);
        let held: Vec<(usize, &Held)> =
            ticket.held.iter().filter_map(|held| Some((place(held.cluster)?, held))).collect();
        let mut out = Candidates::default();
        for column in [&mut out.ready, &mut out.elastic] {
            column.reserve_exact(n * components);
        }
        for shape in &ticket.shapes {
            let rooms = self.planner.rooms.rows(*shape, rules.max_lead_seconds);
            let room = |candidate: &Candidate| rooms.get(candidate.cluster.index()).copied().unwrap_or_default();
            out.ready.extend(chosen.iter().map(|one| if one.closed { 0 } else { room(one).ready }));
            let open = |one: &Candidate| !one.closed && rules.elastic;
            out.elastic.extend(chosen.iter().map(|one| if open(one) { room(one).elastic } else { 0 }));
        }
        out.current = vec![0; n * components];
        out.current_price = vec![0.0; n];
        let main = self.main(ticket);
        for (row, held) in held {
            out.current[held.component * n + row] = held.replicas;
            if held.component == main {
                out.current_price[row] = self.current_price(ticket, main, held.cluster);
            }
        }
        out.cluster = chosen.iter().map(|candidate| candidate.cluster.0).collect();
        out.tier = chosen.iter().map(|candidate| candidate.tier).collect();
        out.weight = chosen.iter().map(|candidate| candidate.weight).collect();
        let rooms =
            ticket.shapes.get(main).map_or(&[][..], |shape| self.planner.rooms.rows(*shape, rules.max_lead_seconds));
        let elastic = out.elastic.get(main * n..(main + 1) * n).unwrap_or_default();
        let next = |(candidate, elastic): (&Candidate, &u32)| {
            let room = rooms.get(candidate.cluster.index()).copied().unwrap_or_default();
            if *elastic > 0 { room } else { ClusterRoom::default() }
        };
        out.price = chosen.iter().zip(elastic).map(|one| next(one).price).collect();
        out.lead_seconds = chosen.iter().zip(elastic).map(|one| next(one).lead_seconds).collect();
        out.interruption = chosen.iter().zip(elastic).map(|one| next(one).interruption).collect();
        for need in needs {
            if &**need == "offers" {
                self.offers(ticket, (main, sizes[main]), chosen, &mut out);
            } else {
                out.extra.extend(self.extra(need, chosen));
            }
        }
        out
    }

    /// What the main component's replicas in a cluster cost now.
    fn current_price(&self, ticket: &Ticket<'_>, main: usize, cluster: ClusterRow) -> f64 {
        if ticket.held_at(cluster, main) == 0 {
            return 0.0;
        }
        let (Some(current), Some(shape)) = (&ticket.entry.current, ticket.shapes.get(main)) else { return 0.0 };
        let Some(found) = self.work.cluster(cluster) else { return 0.0 };
        self.work.running_price(cluster, *shape, current.shares_at(main as u32, &found.name))
    }

    /// Steps of elastic room, as far as the replicas wanted can use them: what comes after would be read for nothing.
    fn offers(
        &mut self,
        ticket: &Ticket<'_>,
        (main, wanted): (usize, u32),
        chosen: &[Candidate],
        out: &mut Candidates,
    ) {
        let n = chosen.len();
        let Some(shape) = ticket.shapes.get(main) else { return };
        let max_lead = ticket.entry.workload.rules.max_lead_seconds;
        let elastic = out.elastic.get(main * n..(main + 1) * n).unwrap_or_default();
        let open = elastic.iter().zip(chosen).enumerate().filter(|(_, (elastic, _))| **elastic > 0);
        let open = open.map(|(row, (_, candidate))| (row, candidate.cluster));
        let offers = &mut out.offers;
        offers.candidate.reserve(2 * n);
        offers.replicas.reserve(2 * n);
        offers.price.reserve(2 * n);
        offers.lead_seconds.reserve(2 * n);
        offers.interruption.reserve(2 * n);
        self.planner.rooms.offers(&self.work, (*shape, max_lead), wanted, open, |row, offer| {
            offers.candidate.push(row as u32);
            offers.replicas.push(offer.replicas);
            offers.price.push(offer.price);
            offers.lead_seconds.push(offer.lead_seconds);
            offers.interruption.push(offer.interruption);
        });
    }

    /// A numeric column that operators attached to clusters; none where no candidate has it.
    fn extra(&self, name: &Arc<str>, chosen: &[Candidate]) -> Option<crate::policy::Column> {
        let value = |candidate: &Candidate| self.work.cluster(candidate.cluster)?.columns.get(name).copied();
        let values: Vec<Option<f64>> = chosen.iter().map(value).collect();
        values.iter().any(Option::is_some).then(|| crate::policy::Column {
            name: name.clone(),
            values: values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect(),
        })
    }

    pub(super) fn main(&self, ticket: &Ticket<'_>) -> usize {
        let components = &ticket.entry.workload.components;
        main_component(components.iter().map(|component| component.replicas)).unwrap_or(0)
    }

    fn decide(
        &mut self,
        ticket: &Ticket<'_>,
        chosen: Option<&PolicyName>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        self.policies.stage(Stage::Place);
        let mut answer = self.policies.place(chosen, &self.tables, request, candidates);
        self.policies.stage(Stage::Answer);
        let check = |answer: &Answer<Decision>| {
            let decision = answer.result.as_ref().ok()?;
            check_decision(request, candidates, decision).err().map(|violation| violation.to_string())
        };
        if let Some(rule) = check(&answer) {
            self.policies.broke_rule(Kind::Placement, &answer.by, &rule);
            let by = native::for_division(request.division);
            let failed = Some((answer.by, rule));
            let result = native::place(by, request, candidates);
            answer = Answer { result, by: native::policy_ref(by), fuel: answer.fuel, failed };
        }
        if let Ok(decision) = &mut answer.result {
            keep_terms(candidates.len() as u32, decision);
        }
        self.failed(Kind::Placement, Some(&ticket.entry.workload.key), &answer.failed);
        answer
    }

    pub(super) fn record(
        &self,
        ticket: &Ticket<'_>,
        request: Request,
        candidates: Candidates,
        passed: PassedOver,
        answer: Answer<Decision>,
    ) -> Arc<DecisionRecord> {
        Arc::new(DecisionRecord {
            plan: self.id,
            generation: self.input.snapshot.generation(),
            workload: ticket.entry.workload.key.clone(),
            workload_generation: ticket.entry.workload.generation,
            decided_at: self.input.now,
            by: answer.by,
            failed: answer.failed,
            fuel: answer.fuel,
            tables: self.tables.clone(),
            request,
            candidates,
            passed,
            outcome: answer.result,
        })
    }

    pub(super) fn cluster_name(&self, row: ClusterRow) -> Option<ClusterName> {
        self.work.cluster(row).map(|cluster| cluster.name.clone())
    }

    /// Writes the change, if there is one, and what is short.
    fn conclude(
        &mut self,
        ticket: &Ticket<'_>,
        booked: Booked,
        by: PolicyRef,
        short: Option<Reason>,
        record: Arc<DecisionRecord>,
    ) {
        let workload = &ticket.entry.workload;
        let Booked { shares, mut clusters, orders, short: unplaced } = booked;
        clusters.sort();
        let short = short.or(unplaced);
        let current = ticket.entry.current.as_deref();
        let same = |current: &Placement| {
            (&current.shares, &current.clusters) == (&shares, &clusters)
                && current.workload_generation == workload.generation
        };
        // What lost its room is not waited for where it was.
        if current.is_some_and(same) && !ticket.entry.has_lost() {
            if let Some(short) = short {
                self.wait(&workload.key, short, Some(record));
            }
            return;
        }
        let orders = orders.into_iter().filter_map(|order| self.order(order)).collect();
        let placement = Placement {
            workload: workload.key.clone(),
            workload_generation: workload.generation,
            plan: self.id,
            decided_at: self.input.now,
            policy: by,
            shares,
            clusters,
        };
        let replaces = current.map(|current| current.plan);
        self.changes.push(Change { replaces, placement, orders, short, record });
    }

    fn order(&mut self, order: super::book::Ordered) -> Option<NodeOrder> {
        let pool = self.work.pool(order.pool)?;
        let (cluster, name) = (self.cluster_name(pool.cluster)?, pool.spec.name.clone());
        let offering = self.work.offering(order.offering)?.key.clone();
        self.orders += 1;
        let id = OrderId::new(format!("{}-{}", self.id.0, self.orders));
        Some(NodeOrder { id, cluster, pool: name, offering, nodes: order.nodes })
    }
}

pub(super) fn options(ticket: &Ticket<'_>) -> TakeOptions {
    let rules = &ticket.entry.workload.rules;
    TakeOptions { elastic: rules.elastic, max_lead_seconds: rules.max_lead_seconds }
}

/// What one candidate is to hold, by component.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) row: usize,
    pub(super) cluster: ClusterRow,
    pub(super) replicas: Vec<u32>,
}

/// The candidates that get replicas, ascending by row.
fn targets(chosen: &[Candidate], components: usize, decision: &Decision) -> Vec<Target> {
    let mut rows: Vec<u32> = decision.assignments.iter().map(|assignment| assignment.candidate).collect();
    rows.sort_unstable();
    rows.dedup();
    let mut targets: Vec<Target> = rows
        .iter()
        .map(|row| Target { row: *row as usize, cluster: chosen[*row as usize].cluster, replicas: vec![0; components] })
        .collect();
    for assignment in &decision.assignments {
        if let Ok(at) = rows.binary_search(&assignment.candidate) {
            targets[at].replicas[assignment.component as usize] = assignment.replicas;
        }
    }
    targets.retain(|target| target.replicas.iter().any(|replicas| *replicas > 0));
    targets
}

/// At most 4 terms a candidate, in ascending order of candidate; terms of unknown candidates are dropped.
fn keep_terms(candidates: u32, decision: &mut Decision) {
    decision.terms.retain(|term| term.candidate < candidates);
    decision.terms.sort_by_key(|term| term.candidate);
    let mut kept = 0;
    let mut last = None;
    decision.terms.retain(|term| {
        kept = if last == Some(term.candidate) { kept + 1 } else { 1 };
        last = Some(term.candidate);
        kept <= 4
    });
}

/// Why there is no candidate: the commonest reason, not counting clusters that were never meant; ties the first in the
/// list of codes.
fn nowhere(passed: &PassedOver) -> Reason {
    let mut counts: Vec<(usize, Code)> = Vec::new();
    for rows in passed.rows() {
        let more = rows.clusters.len();
        match counts.iter_mut().find(|(_, code)| *code == rows.code) {
            Some((count, _)) => *count += more,
            None => counts.push((more, rows.code)),
        }
    }
    counts.sort_by_key(|(count, code)| (std::cmp::Reverse(*count), *code));
    let meant = counts.iter().find(|(_, code)| *code != Code::Affinity);
    let code = meant.map_or(Code::NoCluster, |(_, code)| *code);
    let list: Vec<String> = counts.iter().map(|(count, code)| format!("{count} x {code}")).collect();
    let all: usize = counts.iter().map(|(count, _)| count).sum();
    let only = (all == 1).then(|| passed.each()).and_then(|each| each.first().map(Passed::why));
    let message = match (all, only) {
        (0, _) => "the fleet has no cluster".into(),
        (_, Some(why)) => format!("the only cluster cannot take it: {why}"),
        _ => format!("none of the {all} clusters can take it: {}", list.join(", ")),
    };
    Reason::new(code, message)
}

pub(super) fn add_share(shares: &mut Vec<Share>, share: Share) {
    let same =
        |one: &&mut Share| (one.component, &one.cluster, &one.pool) == (share.component, &share.cluster, &share.pool);
    if share.replicas == 0 {
        return;
    }
    match shares.iter_mut().find(same) {
        Some(one) => one.replicas += share.replicas,
        None => shares.push(share),
    }
}
