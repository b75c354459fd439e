//! Gangs that lost a part: they run whole or not at all.

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
        let lost = ticket.entry.has_lost() || gang && leaves;
        let stays = |number: usize| {
            let held = ticket.held.iter().filter(|held| held.component == number);
            if leaves { held.map(|held| held.replicas).sum() } else { ticket.placed(number) }
        };
        let starts = (0..workload.components.len()).all(|number| stays(number) >= ticket.least(number));
        if !(gang && lost) || starts {
            return;
        }
        // One that was placed anew does not wait.
        let Some(at) = self.report.waiting.iter().position(|waiting| waiting.workload == workload.key) else { return };
        let waiting = self.report.waiting.remove(at);
        let why = format!("a part of it lost its room, so everything was given back: {}", waiting.reason.message);
        let record = waiting.record.unwrap_or_else(|| {
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
            shares: Vec::new(),
            clusters: Vec::new(),
        };
        self.refund(ticket);
        self.changes.push(Change {
            replaces: Some(current.plan),
            placement,
            orders: Vec::new(),
            short: Some(Reason::new(Code::Backoff, why)),
            record: Arc::clone(&record),
        });
    }
}
