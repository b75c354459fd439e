//! The rules for answers of policies, as the policy interface states them.

use std::collections::BTreeSet;

use super::Violation;
use crate::policy::{Assignment, Candidates, Decision, MigrationState, Move, NO_ROW, Preempt, Queue, Request, Verdict};
use crate::workload::Division;

/// Checks a placement decision against its request and candidates.
///
/// # Errors
/// The first rule that is broken, in the order of the assignments.
pub fn check_decision(request: &Request, candidates: &Candidates, decision: &Decision) -> Result<(), Violation> {
    let n = candidates.cluster.len();
    let mut sums = vec![0_u64; request.components.len()];
    let mut first: Option<u32> = None;
    for assignment in &decision.assignments {
        let Assignment { component, candidate, replicas } = *assignment;
        let Some(wanted) = request.components.get(component as usize).map(|component| component.replicas) else {
            return Err(Violation::UnknownRow { what: "component", row: component });
        };
        if candidate as usize >= n {
            return Err(Violation::UnknownRow { what: "candidate", row: candidate });
        }
        let row = component as usize * n + candidate as usize;
        let at = |column: &[u32]| column.get(row).copied().map_or(0, u64::from);
        let holds = at(&candidates.current) + at(&candidates.ready) + at(&candidates.elastic);
        if u64::from(replicas) > holds {
            return Err(Violation::OverRoom { component, candidate, replicas, holds });
        }
        if request.division == Division::Duplicated && replicas > wanted {
            return Err(Violation::OverWanted { component, replicas: u64::from(replicas), wanted });
        }
        if replicas > 0 && request.together {
            let one = *first.get_or_insert(candidate);
            if one != candidate {
                return Err(Violation::Apart { one, other: candidate });
            }
        }
        sums[component as usize] += u64::from(replicas);
    }
    no_pair_twice(&decision.assignments)?;
    if request.division == Division::Duplicated {
        return floors_at_each(request, n, &decision.assignments);
    }
    sums_within(request, &sums)
}

fn no_pair_twice(assignments: &[Assignment]) -> Result<(), Violation> {
    let pair = |assignment: &Assignment| (assignment.component, assignment.candidate);
    if assignments.windows(2).all(|two| pair(&two[0]) < pair(&two[1])) {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    match assignments.iter().find(|assignment| !seen.insert(pair(assignment))) {
        Some(twice) => Err(Violation::Twice { what: "candidate", row: twice.candidate }),
        None => Ok(()),
    }
}

/// No component above what is wanted; and if anything is placed, none below its floor.
fn sums_within(request: &Request, sums: &[u64]) -> Result<(), Violation> {
    let any = sums.iter().any(|sum| *sum > 0);
    for ((number, wanted), sum) in (0..).zip(&request.components).zip(sums) {
        if *sum > u64::from(wanted.replicas) {
            return Err(Violation::OverWanted { component: number, replicas: *sum, wanted: wanted.replicas });
        }
        let floor = wanted.floor.min(wanted.replicas);
        if any && *sum < u64::from(floor) {
            return Err(Violation::BelowFloor { component: number, replicas: *sum, floor });
        }
    }
    Ok(())
}

/// Duplicated: the floors hold at every candidate that gets anything.
fn floors_at_each(request: &Request, n: usize, assignments: &[Assignment]) -> Result<(), Violation> {
    let mut at = vec![0_u64; request.components.len() * n];
    let mut used = vec![false; n];
    for assignment in assignments.iter().filter(|assignment| assignment.replicas > 0) {
        at[assignment.component as usize * n + assignment.candidate as usize] += u64::from(assignment.replicas);
        used[assignment.candidate as usize] = true;
    }
    for (number, wanted) in request.components.iter().enumerate() {
        let floor = wanted.floor.min(wanted.replicas);
        for candidate in (0..n).filter(|candidate| used[*candidate]) {
            let replicas = at[number * n + candidate];
            if replicas < u64::from(floor) {
                return Err(Violation::BelowFloor { component: number as u32, replicas, floor });
            }
        }
    }
    Ok(())
}

/// Checks a gang policy's verdict against the queue; `clusters` is the number of rows in the tables.
///
/// # Errors
/// The first rule that is broken.
pub fn check_verdict(clusters: usize, queue: &Queue, verdict: &Verdict) -> Result<(), Violation> {
    let mut named = vec![false; queue.jobs.len()];
    let rows = verdict.admit.iter().map(|admit| admit.job).chain(verdict.hold.iter().map(|hold| hold.job));
    for row in rows {
        match named.get_mut(row as usize) {
            None => return Err(Violation::UnknownRow { what: "job", row }),
            Some(named) if *named => return Err(Violation::Twice { what: "job", row }),
            Some(named) => *named = true,
        }
    }
    for admit in &verdict.admit {
        let job = &queue.jobs[admit.job as usize];
        let (components, sizes) = (job.components.len(), admit.sizes.len());
        if components != sizes {
            return Err(Violation::Sizes { job: admit.job, components, sizes });
        }
        for (number, (component, size)) in job.components.iter().zip(&admit.sizes).enumerate() {
            let (floor, replicas) = (component.floor.min(component.replicas), component.replicas);
            if *size < floor || *size > replicas {
                return Err(Violation::Size { job: admit.job, component: number, size: *size, floor, replicas });
            }
        }
        if let Some(row) = admit.except.iter().find(|row| **row as usize >= clusters) {
            return Err(Violation::UnknownRow { what: "cluster", row: *row });
        }
    }
    let mut victims = BTreeSet::new();
    for preempt in &verdict.preempt {
        if !victims.insert(preempt.victim) {
            return Err(Violation::Twice { what: "victim", row: preempt.victim });
        }
        check_preempt(queue, preempt)?;
    }
    Ok(())
}

fn check_preempt(queue: &Queue, preempt: &Preempt) -> Result<(), Violation> {
    let Some(victim) = queue.running.get(preempt.victim as usize) else {
        return Err(Violation::UnknownRow { what: "victim", row: preempt.victim });
    };
    let Some(job) = queue.jobs.get(preempt.beneficiary as usize) else {
        return Err(Violation::UnknownRow { what: "job", row: preempt.beneficiary });
    };
    let lends = victim.quota != NO_ROW && compare_min(queue, victim.quota, |used, min| used > min, true);
    let is_owed = job.quota != NO_ROW && compare_min(queue, job.quota, |used, min| used < min, false);
    if victim.priority < job.priority || (lends && is_owed) {
        return Ok(());
    }
    Err(Violation::NoPrecedence { victim: preempt.victim, job: preempt.beneficiary })
}

/// Whether `holds` for what a quota uses and what it is guaranteed of any resource. A resource without a guarantee counts
/// only where `unnamed` says so.
fn compare_min(queue: &Queue, quota: u32, holds: impl Fn(u64, u64) -> bool, unnamed: bool) -> bool {
    let Some(quota) = queue.quotas.get(quota as usize) else { return false };
    let rows = quota.used.len().max(quota.min.len());
    (0..rows).any(|row| {
        let min = quota.min.get(row).copied().unwrap_or(0);
        (min > 0 || unnamed) && holds(quota.used.get(row).copied().unwrap_or(0), min)
    })
}

/// Checks the moves of a migration policy against what it was shown.
///
/// # Errors
/// The first rule that is broken.
pub fn check_moves(state: &MigrationState, moves: &[Move]) -> Result<(), Violation> {
    let placed = &state.placed;
    let mut moved = vec![0_u64; placed.desired.len()];
    for one in moves {
        let Some(sum) = moved.get_mut(one.row as usize) else {
            return Err(Violation::UnknownRow { what: "placed row", row: one.row });
        };
        *sum += u64::from(one.replicas);
        let desired = placed.desired[one.row as usize];
        if *sum > u64::from(desired) {
            return Err(Violation::OverDesired { row: one.row, replicas: *sum, desired });
        }
    }
    // Of each workload: whether any of its rows moves, and whether any stays in part.
    let mut seen = vec![(false, false); state.workloads.len()];
    for ((workload, desired), moved) in placed.workload.iter().zip(&placed.desired).zip(&moved) {
        if let Some((moves, stays)) = seen.get_mut(*workload as usize) {
            *moves |= *moved > 0;
            *stays |= *moved < u64::from(*desired);
        }
    }
    let apart =
        seen.iter().zip(&state.workloads).position(|(seen, workload)| workload.together && *seen == (true, true));
    match apart {
        Some(row) => Err(Violation::PartOfWorkload { workload: row as u32 }),
        None => Ok(()),
    }
}
