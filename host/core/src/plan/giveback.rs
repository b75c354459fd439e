//! Workloads that lost a part: gangs run whole or not at all, and of others what lost its room is no longer placed.

use std::sync::Arc;

use super::Change;
use super::cycle::{Cycle, Ticket};
use crate::ids::ClusterName;
use crate::native;
use crate::placement::Placement;
use crate::policy::{Answer, Candidates, Problem, ProblemCode, Request};
use crate::reason::{Code, Reason};

impl Cycle<'_> {
    /// Takes everything from a gang that lost replicas, is less than it starts with now, and got nothing in this plan: what is
    /// left of it would wait on nodes that others can use, and a start that fails must hold nothing. It waits in the queue
    /// like one that never started.
    ///
    /// Of anything else that lost replicas and got nothing, those that are lost are taken: they have no room, and as long as
    /// they stood on record they would be counted with whatever is placed in room that comes.
    pub(super) fn give_back(&mut self, ticket: &Ticket<'_>) {
        let workload = &ticket.entry.workload;
        let Some(current) = ticket.entry.current.as_deref() else { return };
        let gang = workload.rules.gang;
        // What a gang was told to leave does not run, where its cluster can be asked.
        let reachable = |name: &ClusterName| {
            let row = self.work.cluster_row(name.as_str());
            row.and_then(|row| self.work.cluster(row)).is_some_and(|cluster| cluster.reachable)
        };
        let leaves = ticket.entry.leave.iter().any(|leave| leave.replicas > 0 && reachable(&leave.cluster));
        let lost = ticket.entry.lost || gang && leaves;
        let stays = |number: usize| {
            let held = ticket.held.iter().filter(|held| held.component == number);
            if leaves { held.map(|held| held.replicas).sum() } else { ticket.placed(number) }
        };
        let starts = (0..workload.components.len()).all(|number| stays(number) >= ticket.least(number));
        // What is left must be a placement by the rules: those that it was made by, and no number of groups that is missed.
        let stands = current.workload_generation == workload.generation
            && workload.rules.spread.iter().all(|spread| spread.min <= 1);
        if !lost || if gang { starts } else { !stands } {
            return;
        }
        // One that was placed anew does not wait.
        let Some(at) = self.report.waiting.iter().position(|waiting| waiting.workload == workload.key) else { return };
        let waiting = self.report.waiting.remove(at);
        let short = match gang {
            false => waiting.reason.clone(),
            true => {
                let why =
                    format!("a part of it lost its room, so everything was given back: {}", waiting.reason.message);
                Reason::new(Code::Backoff, why)
            }
        };
        let (shares, clusters) = match gang {
            true => (Vec::new(), Vec::new()),
            false => (current.shares.clone(), current.clusters.clone()),
        };
        // What a policy answered and the host could not use is no decision about what is left.
        let decided = waiting.record.filter(|record| gang || record.outcome.is_err());
        let record = decided.unwrap_or_else(|| {
            let problem = Problem { code: ProblemCode::NoRoom, message: waiting.reason.message.clone() };
            let by = native::policy_ref(native::NO_POLICY);
            let answer = Answer { result: Err(problem), by, fuel: 0, failed: None };
            let sizes: Vec<u32> = workload.components.iter().map(|component| component.replicas).collect();
            let request: Request = self.request(ticket, &sizes);
            self.record(ticket, request, Candidates::default(), Default::default(), answer)
        });
        let placement = Placement {
            workload: workload.key.clone(),
            workload_generation: workload.generation,
            plan: self.id,
            decided_at: self.input.now,
            policy: record.by.clone(),
            shares,
            clusters,
        };
        if gang {
            self.refund(ticket);
        }
        self.changes.push(Change {
            replaces: Some(current.plan),
            placement,
            orders: Vec::new(),
            short: Some(short),
            record: Arc::clone(&record),
        });
    }
}
