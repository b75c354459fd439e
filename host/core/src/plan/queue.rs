//! The gang step: the queue as gang policies see it, and what becomes of their verdicts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::GangRecord;
use super::cycle::{Admitted, Cycle, Ticket};
use super::fits::Set;
use crate::check::check_verdict;
use crate::fleet::TakeOptions;
use crate::ids::{ClusterRow, PolicyName};
use crate::native;
use crate::policy::{
    Answer, Fit, HoldCode, Job, JobComponent, Kind, NO_ROW, Queue, QuotaUse, Running, Stage, Subject, Verdict,
};
use crate::quota::NO_LIMIT;
use crate::reason::{Code, Reason};
use crate::resources::Amounts;
use crate::workload::Division;

/// A job in a queue.
struct Row {
    ticket: usize,
    /// The policy that is followed for it.
    decider: Option<PolicyName>,
}

impl<'a> Cycle<'a> {
    /// Asks each gang policy about its queue, and merges what they admit.
    ///
    /// Policies of one slot, such as one with its canary, are asked about the queue of all of them: so none plans with room
    /// that another one's job, which it would have put first, is about to take. Each is followed for its own jobs.
    pub(super) fn admit(&mut self, tickets: &[Ticket<'a>]) -> Vec<Admitted> {
        let mut queues: BTreeMap<Option<PolicyName>, Vec<Row>> = BTreeMap::new();
        let mut lines: Vec<VecDeque<Admitted>> = Vec::new();
        let mut plain = VecDeque::new();
        for (number, ticket) in tickets.iter().enumerate() {
            let workload = &ticket.entry.workload;
            // What only gives back starts nothing: if it waited, so would those that wait for its room.
            if ticket.gives_back() {
                let sizes = workload.components.iter().map(|component| component.replicas).collect();
                plain.push_back(Admitted { ticket: number, sizes, except: Vec::new() });
            } else {
                let named = workload.rules.gang_policy.as_ref();
                let decider = self.policies.choose(Kind::Gang, named, &Subject::of(workload));
                let slot = self.policies.slot(decider.as_ref());
                queues.entry(slot).or_default().push(Row { ticket: number, decider });
            }
        }
        lines.push(plain);
        for (slot, rows) in queues {
            let queue = self.queue(slot.as_ref(), tickets, &rows);
            let deciders: BTreeSet<&Option<PolicyName>> = rows.iter().map(|row| &row.decider).collect();
            for decider in deciders {
                let verdict = self.verdict(decider.as_ref(), &queue);
                lines.push(self.follow(tickets, &rows, decider, verdict));
            }
        }
        // Tickets are numbered in the order of the queue, so the lowest number goes first.
        let mut admitted = Vec::with_capacity(tickets.len());
        let first = |lines: &Vec<VecDeque<Admitted>>| {
            let heads = lines.iter().enumerate().filter_map(|(line, queue)| Some((queue.front()?.ticket, line)));
            heads.min().map(|(_, line)| line)
        };
        while let Some(line) = first(&lines) {
            admitted.extend(lines[line].pop_front());
        }
        admitted
    }

    fn queue(&mut self, slot: Option<&PolicyName>, tickets: &[Ticket<'a>], rows: &[Row]) -> Queue {
        let wants_running =
            self.policies.needs(Kind::Gang, slot, Division::default()).iter().any(|need| &**need == "running");
        let mut queue = Queue { now_ms: self.input.now.0, seed: self.next_seed(), ..Queue::default() };
        queue.quotas = self.quotas(tickets, rows);
        for (row, Row { ticket, .. }) in rows.iter().enumerate() {
            queue.jobs.push(self.job(&tickets[*ticket]));
            if tickets[*ticket].entry.workload.rules.gang {
                self.fits(&tickets[*ticket], row as u32, &mut queue.fits);
            }
        }
        if wants_running {
            queue.running = self.running();
        }
        queue
    }

    fn job(&self, ticket: &Ticket<'_>) -> Job {
        let workload = &ticket.entry.workload;
        let component = |(number, component): (usize, &crate::workload::Component)| JobComponent {
            name: component.name.as_str().into(),
            replicas: component.replicas,
            floor: ticket.least(number),
            request: self.work.need(ticket.shapes[number]).map_or(Vec::new(), |need| need.request.as_slice().to_vec()),
        };
        Job {
            namespace: workload.key.namespace.clone(),
            name: workload.key.name.clone(),
            quota: ticket.leaf.map_or(NO_ROW, |row| row.0),
            priority: workload.priority,
            age_ms: self.input.now.since(ticket.entry.since),
            limit_ms: workload.limit_ms.unwrap_or(0),
            together: workload.rules.gang,
            components: workload.components.iter().enumerate().map(component).collect(),
        }
    }

    /// The quota tree with what is used by others than the waiting workloads, whose placements are decided anew.
    fn quotas(&self, tickets: &[Ticket<'_>], rows: &[Row]) -> Vec<QuotaUse> {
        let mut tree = self.work.quotas().clone();
        for ticket in rows.iter().map(|row| &tickets[row.ticket]) {
            let Some(leaf) = ticket.leaf else { continue };
            for (number, shape) in ticket.shapes.iter().enumerate() {
                if let Some(need) = self.work.need(*shape) {
                    tree.refund(leaf, &need.request, u64::from(ticket.entry.charged(number as u32)));
                }
            }
        }
        let resources = self.work.resources().names().len();
        let by_row = |amounts: &Amounts| (0..resources).map(|row| amounts.get(row)).collect::<Vec<u64>>();
        let quotas = tree.quotas.iter().zip(&tree.used).map(|(quota, used)| {
            let mut max = vec![NO_LIMIT; resources];
            for (row, ceiling) in &quota.max {
                if let Some(max) = max.get_mut(*row) {
                    *max = *ceiling;
                }
            }
            QuotaUse {
                name: quota.name.as_str().into(),
                parent: quota.parent.map_or(NO_ROW, |row| row.0),
                min: by_row(&quota.min),
                max,
                used: by_row(used),
            }
        });
        quotas.collect()
    }

    /// The least set that starts.
    pub(super) fn least_set(ticket: &Ticket<'_>) -> Set {
        ticket.shapes.iter().enumerate().map(|(number, shape)| (*shape, ticket.least(number))).collect()
    }

    /// Rows for every cluster that the rules select and that could ever run the whole set.
    fn fits(&mut self, ticket: &Ticket<'_>, job: u32, fits: &mut Vec<Fit>) {
        let rules = &ticket.entry.workload.rules;
        let options = TakeOptions { elastic: rules.elastic, max_lead_seconds: rules.max_lead_seconds };
        let set = Self::least_set(ticket);
        let planner = &mut *self.planner;
        let mut rows = planner.feasibility.selected(&self.work, rules).clone();
        rows.extend(ticket.held.iter().map(|held| held.cluster.index()));
        for shape in &ticket.shapes {
            planner.rooms.refresh_rows(&self.work, *shape, rules.max_lead_seconds, &rows);
        }
        let clusters: Vec<ClusterRow> = rows.iter().map(|row| ClusterRow(row as u32)).collect();
        let now = planner.fits.now(&self.work, &planner.rooms, &set, options, &clusters);
        let empty = planner.fits.empty(&self.work, &mut planner.rooms, &set, options, &clusters);
        for ((cluster, now), empty) in clusters.into_iter().zip(now).zip(empty) {
            let stays = if ticket.held.is_empty() { 0 } else { Self::sets_that_stay(ticket, cluster, &set) };
            let now = now.saturating_add(stays);
            let empty = empty.max(now);
            if empty > 0 {
                fits.push(Fit { job, cluster: cluster.0, now, empty });
            }
        }
    }

    /// Sets of a running gang that may stay in a cluster: enough that no component need shrink.
    fn sets_that_stay(ticket: &Ticket<'_>, cluster: ClusterRow, set: &Set) -> u32 {
        let held = |number: usize| ticket.held_at(cluster, number);
        let least = set.iter().map(|(_, least)| *least).enumerate().filter(|(_, least)| *least > 0);
        if least.clone().any(|(number, least)| held(number) < least) {
            return 0;
        }
        least.map(|(number, least)| held(number).div_ceil(least)).max().unwrap_or(0)
    }

    /// Everything that runs and is in no queue, by cluster.
    fn running(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for one in self.input.running {
            let (workload, placement) = (&one.workload, &one.placement);
            let quota = self.work.quotas().leaf(&workload.key.namespace).map_or(NO_ROW, |row| row.0);
            // A victim is given up whole, so a workload has one row: the first of its clusters stands for all.
            let Some(cluster) = placement.clusters.first().and_then(|name| self.work.cluster_row(name.as_str())) else {
                continue;
            };
            let mut usage = Amounts::default();
            for (number, component) in workload.components.iter().enumerate() {
                let Some(need) = self.work.shape_row(&component.shape).and_then(|row| self.work.need(row)) else {
                    continue;
                };
                usage.add(&need.request, u64::from(placement.total(number as u32)));
            }
            running.push(Running {
                namespace: workload.key.namespace.clone(),
                name: workload.key.name.clone(),
                quota,
                priority: workload.priority,
                cluster: cluster.0,
                age_ms: self.input.now.since(placement.decided_at),
                usage: usage.as_slice().to_vec(),
            });
        }
        running
    }

    /// The verdict of the policy, or that of the built-in one where it breaks a rule.
    fn verdict(&mut self, named: Option<&PolicyName>, queue: &Queue) -> Answer<Verdict> {
        self.policies.stage(Stage::Gang);
        let mut answer = self.policies.admit(named, &self.tables, queue);
        let broken = answer.result.as_ref().ok().and_then(|verdict| self.broken(queue, verdict));
        if let Some(rule) = broken {
            self.policies.broke_rule(Kind::Gang, &answer.by, &rule);
            let result = native::fifo(&native::FifoConfig::default(), &self.tables, queue);
            let failed = Some((answer.by, rule));
            answer = Answer { result, by: native::policy_ref("fifo"), fuel: answer.fuel, failed };
            debug_assert!(
                answer.result.as_ref().is_ok_and(|verdict| self.broken(queue, verdict).is_none()),
                "verdict holds: the built-in policy breaks no rule"
            );
        }
        self.failed(Kind::Gang, None, &answer.failed);
        self.report.gangs.push(GangRecord {
            plan: self.id,
            generation: self.work.generation(),
            by: answer.by.clone(),
            failed: answer.failed.clone(),
            fuel: answer.fuel,
            tables: self.tables.clone(),
            queue: queue.clone(),
            outcome: answer.result.clone(),
        });
        answer
    }

    fn broken(&self, queue: &Queue, verdict: &Verdict) -> Option<String> {
        check_verdict(self.tables.names.len(), queue, verdict).err().map(|violation| violation.to_string())
    }

    /// Turns a verdict into what is placed, in its order; everything else waits, and victims are preempted. What it says of
    /// jobs that are another's to decide is left out.
    fn follow(
        &mut self,
        tickets: &[Ticket<'a>],
        rows: &[Row],
        decider: &Option<PolicyName>,
        answer: Answer<Verdict>,
    ) -> VecDeque<Admitted> {
        let decides = |job: u32| rows[job as usize].decider == *decider;
        let key = |row: usize| &tickets[rows[row].ticket].entry.workload.key;
        let verdict = match answer.result {
            Ok(verdict) => verdict,
            Err(problem) => {
                for row in (0..rows.len()).filter(|row| decides(*row as u32)) {
                    let reason = Reason::new(Code::PolicyRefused, format!("{}: {}", answer.by.name, problem.message));
                    self.wait(key(row), reason, None);
                }
                return VecDeque::new();
            }
        };
        let mut reasons: Vec<Option<Reason>> = vec![None; rows.len()];
        for hold in verdict.hold {
            let code = match hold.code {
                HoldCode::NoRoom => Code::GangDoesNotFit,
                HoldCode::Quota => Code::QuotaExceeded,
                HoldCode::Behind => Code::Behind,
                HoldCode::TooLarge => Code::TooLarge,
            };
            reasons[hold.job as usize] = Some(Reason::new(code, hold.reason));
        }
        let mut admits = vec![false; rows.len()];
        verdict.admit.iter().for_each(|admit| admits[admit.job as usize] = true);
        let waits = |row: &usize| decides(*row as u32) && !admits[*row];
        for row in (0..rows.len()).filter(waits) {
            let silent = || Reason::new(Code::PolicyRefused, format!("{} held it without a reason", answer.by.name));
            self.wait(key(row), reasons[row].take().unwrap_or_else(silent), None);
        }
        for preempt in verdict.preempt.iter().filter(|preempt| decides(preempt.beneficiary)) {
            if let Some(victim) = self.victim(preempt.victim) {
                self.preempt(victim, answer.by.clone(), &preempt.reason);
            }
        }
        let own = verdict.admit.into_iter().filter(|admit| decides(admit.job));
        let admitted = own.map(|admit| Admitted {
            ticket: rows[admit.job as usize].ticket,
            sizes: admit.sizes,
            except: admit.except.into_iter().map(ClusterRow).collect(),
        });
        admitted.collect()
    }

    /// The workload behind a row of [`Cycle::running`], if it is not decided in this plan already.
    fn victim(&self, row: u32) -> Option<&'a super::RunningWorkload> {
        let rows = self.input.running.iter().filter(|one| {
            one.placement.clusters.first().is_some_and(|name| self.work.cluster_row(name.as_str()).is_some())
        });
        let victim = rows.into_iter().nth(row as usize)?;
        let key = &victim.workload.key;
        let decided = self.changes.iter().any(|change| change.placement.workload == *key)
            || self.input.entries.iter().any(|entry| entry.workload.key == *key);
        (!decided).then_some(victim)
    }
}
