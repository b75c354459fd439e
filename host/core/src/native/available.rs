//! Dynamic weight: replicas in proportion to the room there is.

use super::divide::webster;
use super::room::{Room, Seats, no_room};
use crate::policy::{Candidates, Decision, Problem, Request};
use crate::workload::Division;

/// It takes no configuration.
pub const CONFIG_SCHEMA: &str = "";

/// Divides by room, ready and elastic together. What runs stays: a growing component divides only what is new and adds it
/// to what is there; a shrinking one divides its replicas by what is there.
///
/// With tiers, new replicas go to the first tier that has room, and replicas leave the last one first. Together: where it
/// runs now if it fits there, else where the whole set fits most often. Duplicated: every candidate gets all replicas, or
/// as many as it holds.
///
/// # Errors
/// `no-room` where the sum of what fits is too small; nothing is divided then.
pub fn available(request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
    dynamic(request, candidates, |_, _, _| {})
}

/// What [`available`] and `aggregate` share. `narrow` gets a component, the number of replicas to divide and their
/// weights, and sets the weights of candidates that are not needed to 0.
pub(super) fn dynamic(
    request: &Request,
    candidates: &Candidates,
    narrow: impl Fn(&[u32], u32, &mut [u32]),
) -> Result<Decision, Problem> {
    let room = Room::new(request, candidates)?;
    if request.division == Division::Duplicated && !request.together {
        return room.duplicated();
    }
    let seats = if request.together {
        room.together(true, |candidate| Some((candidates.tier[candidate], u32::MAX - room.sets(candidate))))?
    } else {
        let mut seats = Seats::new(&room);
        let tiers = room.tiers();
        for component in 0..room.components() {
            divide(&room, component, &tiers, &narrow, seats.of(component))?;
        }
        room.check_floors(&seats)?;
        seats
    };
    let fits = |candidate| Some(f64::from(room.more(room.main, candidate)));
    Ok(seats.decision(vec![("room", Box::new(fits))]))
}

fn divide(
    room: &Room<'_>,
    component: usize,
    tiers: &[u32],
    narrow: &impl Fn(&[u32], u32, &mut [u32]),
    seats: &mut [u32],
) -> Result<(), Problem> {
    let wanted = room.wanted(component);
    let current = room.current(component);
    let placed: u64 = current.iter().copied().map(u64::from).sum();
    let grows = placed <= u64::from(wanted);
    // At most `wanted`, so it is no more than 32 bits wide.
    let mut rest = if grows { wanted - placed as u32 } else { wanted };
    let all = if grows { room.more_column(component) } else { current.to_vec() };
    if grows {
        seats.copy_from_slice(current);
        let fits: u64 = all.iter().copied().map(u64::from).sum();
        if fits < u64::from(rest) {
            let name = &room.request.components[component].name;
            return Err(no_room(format!("{rest} more replicas of {name} are wanted and {fits} fit")));
        }
    }
    let (mut weights, mut given) = (Vec::new(), vec![0; room.n]);
    for tier in tiers {
        let rows = all.iter().zip(&room.candidates.tier);
        weights.clear();
        weights.extend(rows.map(|(weight, at)| if at == tier { *weight } else { 0 }));
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        let here = sum.min(u64::from(rest)) as u32;
        if here == 0 {
            continue;
        }
        narrow(if grows { current } else { &[] }, here, &mut weights);
        given.fill(0);
        rest -= here - webster(here, &weights, &mut given);
        for (seats, given) in seats.iter_mut().zip(&given) {
            *seats += given;
        }
    }
    Ok(())
}
