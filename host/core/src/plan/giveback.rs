//! What is given back when replicas lost their room and no other is found for them: of a gang all, of others what was lost.

use std::sync::Arc;

use super::cycle::{Cycle, Ticket};
use super::{Change, DecisionRecord, PassedOver};
use crate::ids::{ClusterName, ClusterRow};
use crate::native;
use crate::placement::Placement;
use crate::policy::{Answer, Assignment, Candidates, Decision, Problem, ProblemCode, Request};
use crate::reason::{Code, Reason};
use crate::workload::Division;

impl Cycle<'_> {
    /// Takes from a workload that lost replicas, and waits, what it has no room for: what stayed on record would be started as
    /// soon as there is room, on nodes that others were given meanwhile.
    pub(super) fn give_back(&mut self, ticket: &Ticket<'_>) {
        let workload = &ticket.entry.workload;
        // One that was placed anew does not wait.
        let Some(at) = self.report.waiting.iter().position(|waiting| waiting.workload == workload.key) else { return };
        let Some(current) = ticket.entry.current.clone() else { return };
        let (shares, clusters) = match workload.rules.gang {
            true if self.is_broken(ticket) => (Vec::new(), Vec::new()),
            false if ticket.entry.has_lost() && is_kept(ticket, &current) => {
                (current.shares.clone(), current.clusters.clone())
            }
            _ => return,
        };
        let waiting = self.report.waiting.remove(at);
        let (record, short) = if workload.rules.gang {
            let why = format!("a part of it lost its room, so everything was given back: {}", waiting.reason.message);
            let record = waiting.record.unwrap_or_else(|| self.without_policy(ticket, &waiting.reason));
            self.refund(ticket);
            (record, Reason::new(Code::Backoff, why))
        } else {
            *self.work.quotas_mut() = self.without_lost(ticket);
            (self.what_stays(ticket, &current, waiting.record), waiting.reason)
        };
        let placement = Placement {
            workload: workload.key.clone(),
            workload_generation: record.workload_generation,
            plan: self.id,
            decided_at: self.input.now,
            policy: record.by.clone(),
            shares,
            clusters,
        };
        let (replaces, orders) = (Some(current.plan), Vec::new());
        self.changes.push(Change { replaces, placement, orders, short: Some(short), record });
    }

    /// Whether a gang lost replicas and is less than it starts with now: what is left of it would wait on nodes that others
    /// can use, and a start that fails must hold nothing. It waits in the queue like one that never started.
    fn is_broken(&self, ticket: &Ticket<'_>) -> bool {
        // What a gang was told to leave does not run, where its cluster can be asked.
        let reachable = |name: &ClusterName| {
            let row = self.work.cluster_row(name.as_str());
            row.and_then(|row| self.work.cluster(row)).is_some_and(|cluster| cluster.reachable)
        };
        let leaves = ticket.entry.leave.iter().any(|leave| leave.replicas > 0 && reachable(&leave.cluster));
        let stays = |number: usize| {
            let held = ticket.held.iter().filter(|held| held.component == number);
            if leaves { held.map(|held| held.replicas).sum() } else { ticket.placed(number) }
        };
        let starts = (0..ticket.entry.workload.components.len()).all(|number| stays(number) >= ticket.least(number));
        (ticket.entry.has_lost() || leaves) && !starts
    }

    fn without_policy(&mut self, ticket: &Ticket<'_>, reason: &Reason) -> Arc<DecisionRecord> {
        let problem = Problem { code: ProblemCode::NoRoom, message: reason.message.clone() };
        self.hosts(ticket, Candidates::default(), PassedOver::default(), Err(problem))
    }

    /// A record of what stays where it is; why nothing goes elsewhere stands in it as far as `refused` says.
    fn what_stays(
        &mut self,
        ticket: &Ticket<'_>,
        current: &Placement,
        refused: Option<Arc<DecisionRecord>>,
    ) -> Arc<DecisionRecord> {
        let rows: Vec<ClusterRow> =
            current.clusters.iter().filter_map(|name| self.work.cluster_row(name.as_str())).collect();
        let mut assignments = Vec::new();
        for component in 0..ticket.shapes.len() as u32 {
            for (candidate, name) in (0..).zip(&current.clusters) {
                let replicas = current.at(component, name);
                if replicas > 0 {
                    assignments.push(Assignment { component, candidate, replicas });
                }
            }
        }
        let mut passed = refused.map(|record| record.passed.clone()).unwrap_or_default();
        rows.iter().for_each(|row| passed.remove(row.0));
        let candidates = Candidates { cluster: rows.iter().map(|row| row.0).collect(), ..Candidates::default() };
        let record = self.hosts(ticket, candidates, passed, Ok(Decision { assignments, terms: Vec::new() }));
        // Nothing was decided for what the workload has become since.
        let workload_generation = current.workload_generation;
        Arc::new(DecisionRecord { workload_generation, ..Arc::unwrap_or_clone(record) })
    }

    /// The record of a decision that no policy took.
    fn hosts(
        &mut self,
        ticket: &Ticket<'_>,
        candidates: Candidates,
        passed: PassedOver,
        result: Result<Decision, Problem>,
    ) -> Arc<DecisionRecord> {
        let answer = Answer { result, by: native::policy_ref(native::NO_POLICY), fuel: 0, failed: None };
        let components = &ticket.entry.workload.components;
        let sizes: Vec<u32> = components.iter().map(|component| component.replicas).collect();
        let request: Request = self.request(ticket, &sizes);
        self.record(ticket, request, candidates, passed, answer)
    }
}

/// Whether what is left may stay: no component of what it was decided for is below its floor.
fn is_kept(ticket: &Ticket<'_>, current: &Placement) -> bool {
    let workload = &ticket.entry.workload;
    let whole = |number: usize| {
        let (component, least) = (number as u32, ticket.least(number));
        match workload.rules.division {
            Division::Duplicated => current.clusters.iter().all(|cluster| current.at(component, cluster) >= least),
            _ => current.total(component) >= least,
        }
    };
    if current.workload_generation != workload.generation {
        return current.shares.iter().all(|share| (share.component as usize) < workload.components.len());
    }
    current.shares.is_empty() || (0..workload.components.len()).all(whole)
}
