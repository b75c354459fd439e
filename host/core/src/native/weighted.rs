//! Static weights: replicas in proportion to the weights that the distribution policy states.

use super::divide::webster;
use super::room::{Room, Seats};
use crate::policy::{Candidates, Decision, Problem, ProblemCode, Request};
use crate::workload::Division;

/// It takes no configuration.
pub const CONFIG_SCHEMA: &str = "";

/// Divides by `candidates.weight`, always anew, and then takes off what a candidate cannot hold: the rest waits.
///
/// With tiers, a tier fills before the next one gets any: what one of its candidates cannot hold goes to the others of
/// the tier, by their weights, and what the tier cannot hold goes to the next. Together: the candidate with the highest
/// weight that holds the whole set; of equals the one where it runs, then the lower row. Duplicated: every candidate gets
/// all replicas, or as many as it holds.
///
/// # Errors
/// `no-room` where a component stays below its floor, or where nothing fits at all; `no-candidate` where no candidate has
/// a weight.
pub fn weighted(request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
    let room = Room::new(request, candidates)?;
    if request.division == Division::Duplicated && !request.together {
        return room.duplicated();
    }
    if candidates.weight.iter().all(|weight| *weight == 0) {
        let message = "the weight list gives every candidate nothing".into();
        return Err(Problem { code: ProblemCode::NoCandidate, message });
    }
    let seats = if request.together {
        room.together(false, |candidate| {
            let weight = candidates.weight[candidate];
            let elsewhere = room.current(room.main)[candidate] == 0;
            (weight > 0).then_some((candidates.tier[candidate], u32::MAX - weight, elsewhere))
        })?
    } else {
        let mut seats = Seats::new(&room);
        let tiers = room.tiers();
        for component in 0..room.components() {
            divide(&room, component, &tiers, seats.of(component));
        }
        room.check_floors(&seats)?;
        seats
    };
    Ok(seats.decision(vec![("weight", Box::new(|candidate| Some(f64::from(candidates.weight[candidate]))))]))
}

fn divide(room: &Room<'_>, component: usize, tiers: &[u32], seats: &mut [u32]) {
    let mut rest = room.wanted(component);
    let holds = room.holds_column(component);
    let mut weights = Vec::new();
    for (number, tier) in tiers.iter().enumerate() {
        let last = number + 1 == tiers.len();
        // Candidates drop out as they are full, so this ends after as many rounds as the tier has candidates.
        while rest > 0 {
            let left = if tiers.len() == 1 {
                webster(rest, &room.candidates.weight, seats)
            } else {
                let columns = room.candidates.tier.iter().zip(&room.candidates.weight);
                let rows = columns.zip(seats.iter().zip(&holds));
                weights.clear();
                weights.extend(rows.map(|((at, weight), (seats, holds))| {
                    let counts = (at == tier) & (last | (seats < holds));
                    if counts { *weight } else { 0 }
                }));
                webster(rest, &weights, seats)
            };
            if left == rest {
                break;
            }
            rest = left + clip(&holds, seats);
            if last {
                break;
            }
        }
    }
}

/// Takes off what candidates cannot hold, and returns how much that was.
fn clip(holds: &[u32], seats: &mut [u32]) -> u32 {
    let mut over = 0;
    for (seats, holds) in seats.iter_mut().zip(holds) {
        let kept = (*seats).min(*holds);
        over += *seats - kept;
        *seats = kept;
    }
    over
}
