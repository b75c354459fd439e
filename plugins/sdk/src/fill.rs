//! Divides a workload among candidates in an order of preference, within what the host accepts.

use crate::bindings::Problem;
use crate::bindings::placement::{Assignment, Candidates, Decision, Request, Term};
use crate::{division, problem};

/// Columns by component, with the index arithmetic in one place.
struct Room<'a> {
    candidates: &'a Candidates,
    count: usize,
}

impl Room<'_> {
    fn current(&self, component: usize, candidate: u32) -> u32 {
        self.candidates.current[component * self.count + candidate as usize]
    }

    /// The most that may be assigned: what is there and what still fits.
    fn total(&self, component: usize, candidate: u32) -> u32 {
        let index = component * self.count + candidate as usize;
        let Candidates { current, ready, elastic, .. } = self.candidates;
        current[index].saturating_add(ready[index]).saturating_add(elastic[index])
    }
}

/// Divides the workload among the candidates in `order`, the most preferred first. Candidates that `order` leaves out get
/// nothing.
///
/// - Tiers come first: within a tier `order` counts, ties included.
/// - Replicas that run at a candidate of `order` stay there while the workload wants them; the rest goes to the first
///   candidates with room. A shrinking workload gives up the least preferred replicas.
/// - A workload whose components must be together goes to one candidate: where it runs if all of it fits there, else the
///   first where all of it fits, else the first where every component reaches its floor.
/// - With division 0 every candidate of `order` gets all replicas, or as many as fit there.
///
/// ```
/// use berth_sdk::fill;
/// use berth_sdk::testing::Case;
///
/// let case = Case::new(5).cluster("a", |a| a.ready(3)).cluster("b", |b| b.ready(4));
/// let decision = case.decision(fill(&case.request, &case.candidates, &[1, 0])).unwrap();
/// assert_eq!((decision.at("a"), decision.at("b")), (1, 4));
/// ```
///
/// # Errors
/// `no-candidate` if `order` is empty; `no-room` if nothing fits, or a component cannot reach its floor.
pub fn fill(request: &Request, candidates: &Candidates, order: &[u32]) -> Result<Decision, Problem> {
    if order.is_empty() {
        return Err(problem::no_candidate("no candidate is acceptable"));
    }
    let mut order = order.to_vec();
    order.sort_by_key(|candidate| candidates.tier[*candidate as usize]);
    let room = Room { candidates, count: candidates.cluster.len() };
    let assignments = if request.division == division::DUPLICATED {
        order.iter().flat_map(|candidate| whole_or_less(request, &room, *candidate).unwrap_or_default()).collect()
    } else if request.together {
        together(request, &room, &order)?
    } else {
        apart(request, &room, &order)?
    };
    if assignments.is_empty() && request.components.iter().any(|component| component.replicas > 0) {
        return Err(problem::no_room("no acceptable candidate has room for a replica"));
    }
    Ok(Decision { assignments, term_names: Vec::new(), terms: Vec::new() })
}

/// Adds a number that decided to a decision, so that `berth explain` shows it. The host keeps 4 a candidate.
pub fn term(decision: &mut Decision, candidate: u32, name: &str, value: f64) {
    let known = decision.term_names.iter().position(|known| known == name);
    let row = known.unwrap_or_else(|| {
        decision.term_names.push(name.to_owned());
        decision.term_names.len() - 1
    });
    decision.terms.push(Term { candidate, name: row as u32, value });
}

/// Every component at one candidate, as much of it as fits; nothing if one stays below its floor.
fn whole_or_less(request: &Request, room: &Room, candidate: u32) -> Option<Vec<Assignment>> {
    let mut assignments = Vec::with_capacity(request.components.len());
    for (number, component) in request.components.iter().enumerate() {
        let replicas = component.replicas.min(room.total(number, candidate));
        if replicas < component.floor {
            return None;
        }
        if replicas > 0 {
            assignments.push(Assignment { component: number as u32, candidate, replicas });
        }
    }
    Some(assignments)
}

fn together(request: &Request, room: &Room, order: &[u32]) -> Result<Vec<Assignment>, Problem> {
    let components = || request.components.iter().enumerate();
    let runs = |candidate: &&u32| components().any(|(number, _)| room.current(number, **candidate) > 0);
    let fits = |candidate: &&u32| {
        components().all(|(number, component)| component.replicas <= room.total(number, **candidate))
    };
    let chosen = order.iter().filter(runs).find(fits).or_else(|| order.iter().find(fits));
    let mut tried = chosen.into_iter().chain(order);
    tried
        .find_map(|candidate| whole_or_less(request, room, *candidate).filter(|assignments| !assignments.is_empty()))
        .ok_or_else(|| problem::no_room("no acceptable candidate has room for all components together"))
}

fn apart(request: &Request, room: &Room, order: &[u32]) -> Result<Vec<Assignment>, Problem> {
    let mut assignments = Vec::new();
    let mut replicas = vec![0_u32; order.len()];
    for (number, component) in request.components.iter().enumerate() {
        let mut left = component.replicas;
        for (replicas, candidate) in replicas.iter_mut().zip(order) {
            *replicas = left.min(room.current(number, *candidate));
            left -= *replicas;
        }
        // Post-condition: what runs stays, as far as it is wanted.
        for (replicas, candidate) in replicas.iter_mut().zip(order) {
            if left == 0 {
                break;
            }
            let more = left.min(room.total(number, *candidate) - *replicas);
            *replicas += more;
            left -= more;
        }
        // Post-condition: the sum is the least of what is wanted and what fits.
        let placed = component.replicas - left;
        if placed < component.floor {
            return Err(problem::no_room(format!(
                "component {} needs at least {} replicas, and {placed} fit",
                component.name, component.floor
            )));
        }
        let chosen = replicas.iter().zip(order).filter(|(replicas, _)| **replicas > 0);
        assignments.extend(chosen.map(|(replicas, candidate)| Assignment {
            component: number as u32,
            candidate: *candidate,
            replicas: *replicas,
        }));
    }
    Ok(assignments)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::ProblemCode;
    use crate::testing::{Case, Placed};

    fn run(case: &Case, order: &[u32]) -> Result<Placed, Problem> {
        case.decision(fill(&case.request, &case.candidates, order))
    }

    #[test]
    fn what_runs_stays_and_shrinking_gives_up_the_least_preferred() {
        let case = Case::new(6).cluster("a", |a| a.current(2).ready(9)).cluster("b", |b| b.current(3).ready(1));
        let placed = run(&case, &[1, 0]).unwrap();
        assert_eq!((placed.at("a"), placed.at("b")), (2, 4));
        let fewer = Case::new(4).cluster("a", |a| a.current(2).ready(9)).cluster("b", |b| b.current(3).ready(1));
        let placed = run(&fewer, &[1, 0]).unwrap();
        assert_eq!((placed.at("a"), placed.at("b")), (1, 3));
        assert_eq!(run(&fewer, &[0]).unwrap().at("a"), 4, "candidates that are left out are given up");
    }

    #[test]
    fn tiers_come_before_the_order() {
        let case = Case::new(5).cluster("a", |a| a.ready(9).tier(1)).cluster("b", |b| b.ready(2).tier(0));
        let placed = run(&case, &[0, 1]).unwrap();
        assert_eq!((placed.at("a"), placed.at("b")), (3, 2));
    }

    #[test]
    fn a_floor_that_cannot_be_reached_is_no_room() {
        let case = Case::new(8).floor(4).cluster("a", |a| a.ready(1).elastic(2));
        let problem = run(&case, &[0]).unwrap_err();
        assert_eq!(problem.code, ProblemCode::NoRoom);
        assert_eq!(problem.message, "component main needs at least 4 replicas, and 3 fit");
        let case = case.floor(3);
        assert_eq!(run(&case, &[0]).unwrap().at("a"), 3);
    }

    #[test]
    fn duplicated_is_everywhere_as_far_as_it_fits() {
        let case = Case::new(3).division(division::DUPLICATED).floor(2);
        let case = case.cluster("a", |a| a.ready(9)).cluster("b", |b| b.ready(2)).cluster("c", |c| c.ready(1));
        let placed = run(&case, &[2, 0, 1]).unwrap();
        assert_eq!((placed.at("a"), placed.at("b"), placed.at("c")), (3, 2, 0));
    }

    #[test]
    fn together_prefers_where_all_fits_and_stays_where_it_runs() {
        let case = || Case::new(4).component("master", 1, 1).together();
        let placed = run(
            &case()
                .cluster("a", |a| a.ready(3).ready_of("master", 1))
                .cluster("b", |b| b.ready(4).ready_of("master", 0))
                .cluster("c", |c| c.ready(4).ready_of("master", 1)),
            &[0, 1, 2],
        )
        .unwrap();
        assert_eq!((placed.of("main", "c"), placed.of("master", "c")), (4, 1));

        let stays = case()
            .cluster("a", |a| a.ready(9).ready_of("master", 9))
            .cluster("b", |b| b.current(3).ready(1).ready_of("master", 1));
        assert_eq!(run(&stays, &[0, 1]).unwrap().at("b"), 5);

        let partly = case().cluster("a", |a| a.ready(3)).cluster("b", |b| b.ready(2).ready_of("master", 1));
        assert_eq!(run(&partly, &[0, 1]).unwrap().at("b"), 3, "a has no room for the master's floor");
        assert!(run(&case().cluster("a", |a| a.ready(3)), &[0]).is_err());
    }

    #[test]
    fn nothing_to_place_is_no_problem_and_no_candidate_is_one() {
        assert_eq!(run(&Case::new(0).cluster("a", |a| a.current(2)), &[0]).unwrap().at("a"), 0);
        assert_eq!(run(&Case::new(1).cluster("a", |a| a.ready(2)), &[]).unwrap_err().code, ProblemCode::NoCandidate);
        assert_eq!(run(&Case::new(1).cluster("a", |a| a), &[0]).unwrap_err().code, ProblemCode::NoRoom);
    }
}
