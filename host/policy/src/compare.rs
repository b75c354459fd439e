//! Two answers to one question: whether they do the same, and what they differ in.
//!
//! Pure functions of the question and the answers. Reasons, terms and the texts of problems change nothing in a fleet, so
//! they are not compared.

use berth_core::policy::{Candidates, Decision, How, MigrationState, Move, Queue, Request, Verdict};
use berth_core::workload::{Division, main_component};
use serde::Serialize;

use crate::call::{Answered, Output, Question};

/// What an answer comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    /// Replicas that have a place; of a gang policy, replicas of jobs that start. 0 for a migration policy.
    pub placed: u64,
    /// Replicas that are wanted and have none. 0 for a migration policy.
    pub waiting: u64,
    /// USD per hour of the placed replicas of the main component, by the prices in the question. What fits on nodes that are
    /// there costs nothing new. 0 for other kinds.
    pub usd_per_hour: f64,
    /// Replicas that leave where they run; of a gang policy, workloads that are preempted.
    pub leaving: u64,
}

/// What two answers to one question differ in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Both do the same.
    pub same: bool,
    /// Replicas that both place, but elsewhere; of a gang policy, replicas of jobs that start in place of others; of a
    /// migration policy, replicas that one moves and the other does not.
    pub moved: u64,
    /// What could leave where it runs: replicas of a migration policy, workloads of a gang policy. 0 for a placement policy,
    /// whose moves are what it is for.
    pub running: u64,
    pub before: Measure,
    pub after: Measure,
}

/// Compares two answers that hold by the rules of the interface.
pub fn compare(question: &Question, before: &Answered, after: &Answered) -> Compared {
    let (one, other) = (measure(question, before), measure(question, after));
    let running = running(question);
    let measured = |moved, same| Compared { same, moved, running, before: one, after: other };
    match question {
        Question::Placement { request, candidates } => {
            let seats = |answer: &Answered| placed(request, candidates, decision(answer));
            let (one, other) = (seats(before), seats(after));
            let n = candidates.len().max(1);
            let moved = one.chunks(n).zip(other.chunks(n)).map(|(one, other)| exchanged(one, other)).sum();
            // Without an answer everything stays as it is, but the workload goes on waiting.
            measured(moved, one == other && before.is_ok() == after.is_ok())
        }
        Question::Gang(queue) => {
            let (one, other) = (verdict(before), verdict(after));
            let moved = exchanged(&started(queue, one), &started(queue, other));
            measured(moved, same_verdict(one, other))
        }
        Question::Migration(state) => {
            let (one, other) = (told(state, before), told(state, after));
            let replicas = |told: &[(u64, u64)], row: usize| told.get(row).map_or(0, |(soft, hard)| soft + hard);
            let moved = (0..one.len()).map(|row| replicas(&one, row).abs_diff(replicas(&other, row))).sum();
            measured(moved, one == other)
        }
    }
}

/// What an answer comes to.
pub fn measure(question: &Question, answer: &Answered) -> Measure {
    match question {
        Question::Placement { request, candidates } => measure_placement(request, candidates, decision(answer)),
        Question::Gang(queue) => {
            let verdict = verdict(answer);
            let placed = started(queue, verdict).iter().sum();
            let wanted: u64 =
                queue.jobs.iter().flat_map(|job| &job.components).map(|one| u64::from(one.replicas)).sum();
            let leaving = verdict.map_or(0, |verdict| verdict.preempt.len() as u64);
            Measure { placed, waiting: wanted.saturating_sub(placed), usd_per_hour: 0.0, leaving }
        }
        Question::Migration(state) => {
            let leaving = told(state, answer).into_iter().map(|(soft, hard)| soft + hard).sum();
            Measure { leaving, ..Measure::default() }
        }
    }
}

fn running(question: &Question) -> u64 {
    match question {
        Question::Placement { .. } => 0,
        Question::Gang(queue) => queue.running.len() as u64,
        Question::Migration(state) => state.placed.desired.iter().map(|desired| u64::from(*desired)).sum(),
    }
}

fn decision(answer: &Answered) -> Option<&Decision> {
    match answer {
        Ok(Output::Placement(decision)) => Some(decision),
        _ => None,
    }
}

fn verdict(answer: &Answered) -> Option<&Verdict> {
    match answer {
        Ok(Output::Gang(verdict)) => Some(verdict),
        _ => None,
    }
}

/// What goes from some places to others: the smaller of what leaves and what comes.
fn exchanged(one: &[u64], other: &[u64]) -> u64 {
    let more = |one: &[u64], other: &[u64]| -> u64 {
        one.iter().zip(other).map(|(one, other)| one.saturating_sub(*other)).sum()
    };
    more(one, other).min(more(other, one))
}

/// Replicas by component and candidate, as the columns have them. Without a decision those that run stay.
pub(crate) fn placed(request: &Request, candidates: &Candidates, decision: Option<&Decision>) -> Vec<u64> {
    let n = candidates.len();
    let mut placed = vec![0; request.components.len() * n];
    match decision {
        Some(decision) => {
            for one in &decision.assignments {
                if let Some(place) = placed.get_mut(one.component as usize * n + one.candidate as usize) {
                    *place += u64::from(one.replicas);
                }
            }
        }
        None => {
            for (place, current) in placed.iter_mut().zip(&candidates.current) {
                *place = u64::from(*current);
            }
        }
    }
    placed
}

pub(crate) fn measure_placement(request: &Request, candidates: &Candidates, decision: Option<&Decision>) -> Measure {
    let (n, seats) = (candidates.len(), placed(request, candidates, decision));
    let wanted: u64 = request.components.iter().map(|component| u64::from(component.replicas)).sum();
    let everywhere = if request.division == Division::Duplicated { n as u64 } else { 1 };
    let sum: u64 = seats.iter().sum();
    let leaves = |(current, seats): (&u32, &u64)| u64::from(*current).saturating_sub(*seats);
    let main = main_component(request.components.iter().map(|component| component.replicas)).unwrap_or(0);
    let cost = |row: usize| {
        let place = main * n + row;
        let seats = seats.get(place).copied().unwrap_or(0);
        if seats == 0 { 0.0 } else { cost(candidates, row, place, seats) }
    };
    Measure {
        placed: sum,
        waiting: wanted.saturating_mul(everywhere).saturating_sub(sum),
        usd_per_hour: (0..n).map(cost).sum(),
        leaving: candidates.current.iter().zip(&seats).map(leaves).sum(),
    }
}

/// USD per hour of so many replicas of the main component at a candidate, in the host's order: those that run stay, then
/// ready room, then new nodes, by the steps of price where the question has them.
pub(crate) fn cost(candidates: &Candidates, row: usize, place: usize, seats: u64) -> f64 {
    let whole = |column: &[u32]| u64::from(column.get(place).copied().unwrap_or(0));
    let real = |column: &[f64]| column.get(row).copied().unwrap_or(0.0);
    let kept = whole(&candidates.current).min(seats);
    let mut new = (seats - kept).saturating_sub(whole(&candidates.ready));
    let mut usd = if kept > 0 { kept as f64 * real(&candidates.current_price) } else { 0.0 };
    let offers = &candidates.offers;
    let from = offers.candidate.partition_point(|one| (*one as usize) < row);
    let steps = offers.candidate.iter().zip(&offers.replicas).zip(&offers.price).skip(from);
    for ((_, replicas), price) in steps.take_while(|((candidate, _), _)| **candidate as usize == row) {
        let taken = new.min(u64::from(*replicas));
        usd += taken as f64 * price;
        new -= taken;
    }
    if new > 0 { usd + new as f64 * real(&candidates.price) } else { usd }
}

/// Replicas that start, by job.
pub(crate) fn started(queue: &Queue, verdict: Option<&Verdict>) -> Vec<u64> {
    let mut started = vec![0; queue.jobs.len()];
    for admit in verdict.iter().flat_map(|verdict| &verdict.admit) {
        if let Some(sum) = started.get_mut(admit.job as usize) {
            *sum += admit.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
        }
    }
    started
}

/// The same jobs in the same order and sizes, and the same victims.
fn same_verdict(one: Option<&Verdict>, other: Option<&Verdict>) -> bool {
    let victims = |verdict: &Verdict| {
        let mut victims: Vec<(u32, u32)> = verdict.preempt.iter().map(|one| (one.victim, one.beneficiary)).collect();
        victims.sort_unstable();
        victims
    };
    match (one, other) {
        (Some(one), Some(other)) => one.admit == other.admit && victims(one) == victims(other),
        (one, other) => one.is_none() == other.is_none(),
    }
}

/// Replicas that are told to move, by row of what is placed: gracefully, and at once.
fn told(state: &MigrationState, answer: &Answered) -> Vec<(u64, u64)> {
    let mut told = vec![(0, 0); state.placed.desired.len()];
    let moves: &[Move] = match answer {
        Ok(Output::Migration(moves)) => moves,
        _ => &[],
    };
    for one in moves {
        if let Some((soft, hard)) = told.get_mut(one.row as usize) {
            let sum = if one.how == How::AtOnce { hard } else { soft };
            *sum += u64::from(one.replicas);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use berth_core::policy::{Admit, Assignment, Component, Offers, Placed, Preempt, Problem, ProblemCode};

    use super::*;

    fn placement(replicas: u32) -> Question {
        let request = Request {
            components: vec![Component { name: "main".into(), replicas, floor: 0 }],
            division: Division::Free,
            ..Request::default()
        };
        let candidates = Candidates {
            cluster: vec![0, 1, 2],
            ready: vec![1, 0, 9],
            elastic: vec![9, 9, 0],
            current: vec![2, 0, 0],
            price: vec![5.0, 3.0, 0.0],
            current_price: vec![4.0, 0.0, 0.0],
            ..Candidates::default()
        };
        Question::Placement { request, candidates }
    }

    fn at(replicas: &[u32]) -> Answered {
        let assign = |(candidate, replicas): (u32, &u32)| Assignment { component: 0, candidate, replicas: *replicas };
        let assignments = (0..).zip(replicas).map(assign).collect();
        Ok(Output::Placement(Decision { assignments, terms: Vec::new() }))
    }

    fn problem() -> Answered {
        Err(Problem { code: ProblemCode::NoRoom, message: "full".into() })
    }

    #[test]
    fn a_placement_costs_what_runs_and_what_needs_new_nodes() {
        let question = placement(6);
        // Two that run, one on a node that is there, two on new ones.
        let measured = measure(&question, &at(&[5, 0, 0]));
        assert_eq!(measured, Measure { placed: 5, waiting: 1, usd_per_hour: 18.0, leaving: 0 });
        let measured = measure(&question, &at(&[1, 2, 3]));
        assert_eq!(measured, Measure { placed: 6, waiting: 0, usd_per_hour: 10.0, leaving: 1 });
        // What has no answer waits with what it has.
        let measured = measure(&question, &problem());
        assert_eq!(measured, Measure { placed: 2, waiting: 4, usd_per_hour: 8.0, leaving: 0 });
    }

    #[test]
    fn steps_of_price_count_where_there_are_any() {
        let Question::Placement { request, mut candidates } = placement(6) else { unreachable!() };
        candidates.offers = Offers {
            candidate: vec![0, 0, 1],
            replicas: vec![1, 1, 4],
            price: vec![5.0, 7.0, 3.0],
            ..Offers::default()
        };
        let question = Question::Placement { request, candidates };
        assert_eq!(measure(&question, &at(&[5, 1, 0])).usd_per_hour, 8.0 + 5.0 + 7.0 + 3.0);
    }

    #[test]
    fn replicas_that_both_place_are_moved_and_others_wait() {
        let question = placement(6);
        let compared = compare(&question, &at(&[5, 0, 0]), &at(&[2, 1, 1]));
        assert_eq!((compared.same, compared.moved), (false, 2));
        assert_eq!((compared.before.waiting, compared.after.waiting), (1, 2));
        assert!(compare(&question, &at(&[5, 0, 0]), &at(&[5])).same);
        let kept = compare(&question, &problem(), &at(&[2, 0, 0]));
        assert_eq!((kept.same, kept.moved), (false, 0), "the workload goes on waiting with one of them alone");
        assert!(compare(&question, &problem(), &problem()).same);
    }

    #[test]
    fn a_copy_for_each_candidate_is_wanted_of_what_is_duplicated() {
        let Question::Placement { mut request, candidates } = placement(2) else { unreachable!() };
        request.division = Division::Duplicated;
        assert_eq!(measure(&Question::Placement { request, candidates }, &at(&[2, 2, 1])).waiting, 1);
    }

    #[test]
    fn verdicts_are_the_same_in_order_size_and_victims() {
        let component = |replicas| berth_core::policy::JobComponent { replicas, ..Default::default() };
        let job = |replicas| berth_core::policy::Job { components: vec![component(replicas)], ..Default::default() };
        let question = Question::Gang(Queue { jobs: vec![job(3), job(2)], ..Queue::default() });
        let admit = |job, size| Admit { job, sizes: vec![size], except: Vec::new() };
        let verdict = |admit: &[Admit]| Ok(Output::Gang(Verdict { admit: admit.to_vec(), ..Verdict::default() }));
        let one = verdict(&[admit(0, 3)]);
        let other = compare(&question, &one, &verdict(&[admit(1, 2)]));
        assert_eq!((other.same, other.moved, other.before.waiting, other.after.waiting), (false, 2, 2, 3));
        assert!(!compare(&question, &verdict(&[admit(0, 3), admit(1, 2)]), &verdict(&[admit(1, 2), admit(0, 3)])).same);
        let preempt = vec![Preempt { victim: 4, beneficiary: 0, reason: "lower".into() }];
        let preempting = Ok(Output::Gang(Verdict { admit: vec![admit(0, 3)], preempt, ..Verdict::default() }));
        let other = compare(&question, &one, &preempting);
        assert_eq!((other.same, other.running, other.after.leaving), (false, 0, 1));
    }

    #[test]
    fn moves_are_the_same_by_row_and_manner() {
        let placed = Placed { desired: vec![3, 3], ..Placed::default() };
        let question = Question::Migration(MigrationState { placed, ..MigrationState::default() });
        let one = |row, replicas, how| Move { row, replicas, how, reason: "gone".into() };
        let moves = |moves: &[Move]| Ok(Output::Migration(moves.to_vec()));
        let before = moves(&[one(0, 2, How::AtOnce)]);
        let compared = compare(&question, &before, &moves(&[one(0, 1, How::AtOnce), one(1, 1, How::AtOnce)]));
        assert_eq!((compared.same, compared.moved, compared.running, compared.after.leaving), (false, 2, 6, 2));
        let softly = compare(&question, &before, &moves(&[one(0, 2, How::Gracefully)]));
        assert_eq!((softly.same, softly.moved), (false, 0));
        assert!(compare(&question, &before, &moves(&[one(0, 1, How::AtOnce), one(0, 1, How::AtOnce)])).same);
    }
}
