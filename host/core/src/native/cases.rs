//! The division rules as a table of cases, for tests here and for those that run the same cases through Wasm.
//!
//! Candidates are m1, m2, … in name order, and need no session tables of their own: row i is candidate i.

use crate::policy::{Candidates, Component, Decision, ProblemCode, Request};
use crate::workload::Division;

/// One case for one built-in placement policy, with one component.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    /// Name of the policy, such as `weighted`.
    pub policy: &'static str,
    pub request: Request,
    pub candidates: Candidates,
    /// Replicas by candidate, or the problem's code.
    pub expected: Result<Vec<u32>, ProblemCode>,
}

impl Case {
    /// Replicas by candidate of a decision for this case.
    pub fn replicas(&self, decision: &Decision) -> Vec<u32> {
        let mut replicas = vec![0; self.candidates.len()];
        for assignment in &decision.assignments {
            if let Some(slot) = replicas.get_mut(assignment.candidate as usize) {
                *slot += assignment.replicas;
            }
        }
        replicas
    }
}

/// Candidates of one component with this room, of which all is ready, and the neutral value in every other column.
pub fn candidates(room: &[u32]) -> Candidates {
    let n = room.len();
    Candidates {
        cluster: (0..n as u32).collect(),
        ready: room.to_vec(),
        elastic: vec![0; n],
        current: vec![0; n],
        price: vec![0.0; n],
        current_price: vec![0.0; n],
        lead_seconds: vec![0; n],
        interruption: vec![0.0; n],
        tier: vec![0; n],
        weight: vec![1; n],
        ..Candidates::default()
    }
}

/// A request for one component without a floor.
pub fn request(division: Division, replicas: u32) -> Request {
    let components = vec![Component { name: "main".into(), replicas, floor: 0 }];
    Request { namespace: "default".into(), name: "case".into(), division, components, ..Request::default() }
}

const ROOMY: u32 = 1_000_000;

fn weighted(name: &'static str, weights: &[u32], replicas: u32, expected: &[u32]) -> Case {
    let mut candidates = candidates(&vec![ROOMY; weights.len()]);
    candidates.weight = weights.to_vec();
    let request = request(Division::StaticWeight, replicas);
    Case { name, policy: "weighted", request, candidates, expected: Ok(expected.to_vec()) }
}

fn by_room(name: &'static str, policy: &'static str, room: &[u32], replicas: u32, expected: Option<&[u32]>) -> Case {
    let division = if policy == "available" { Division::AvailableReplicas } else { Division::Aggregated };
    let expected = expected.map(<[u32]>::to_vec).ok_or(ProblemCode::NoRoom);
    Case { name, policy, request: request(division, replicas), candidates: candidates(room), expected }
}

fn placed(mut case: Case, current: &[u32]) -> Case {
    case.candidates.current = current.to_vec();
    case
}

fn tiered(mut case: Case, tiers: &[u32]) -> Case {
    case.candidates.tier = tiers.to_vec();
    case
}

fn roomy(mut case: Case, room: &[u32]) -> Case {
    case.candidates.ready = room.to_vec();
    case
}

fn duplicated(name: &'static str, room: &[u32], replicas: u32, expected: &[u32]) -> Case {
    let request = request(Division::Duplicated, replicas);
    Case { name, policy: "weighted", request, candidates: candidates(room), expected: Ok(expected.to_vec()) }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let votes = [100_000, 80_000, 30_000, 20_000];
    vec![
        weighted("election of 8 seats", &votes, 8, &[3, 3, 1, 1]),
        weighted("election of 7 seats", &votes, 7, &[3, 2, 1, 1]),
        weighted("election of 5 seats", &votes, 5, &[2, 2, 1, 0]),
        placed(weighted("two more than 1, 2, 3", &[1, 2, 3], 8, &[1, 3, 4]), &[1, 2, 3]),
        placed(weighted("three more than 1, 2, 3", &[1, 2, 3], 9, &[2, 3, 4]), &[1, 2, 3]),
        weighted("3 : 2 : 1 of 12", &[3, 2, 1], 12, &[6, 4, 2]),
        weighted("3 : 2 : 1 of 13", &[3, 2, 1], 13, &[7, 4, 2]),
        weighted("3 : 2 : 1 of 14", &[3, 2, 1], 14, &[7, 5, 2]),
        weighted("the highest of several rules counts", &[2, 1], 3, &[2, 1]),
        weighted("in no rule, nothing", &[1, 0, 1], 4, &[2, 0, 2]),
        placed(weighted("static weights divide anew", &[1, 1], 4, &[2, 2]), &[4, 0]),
        roomy(weighted("what does not fit waits", &[1, 1], 8, &[4, 1]), &[9, 1]),
        tiered(roomy(weighted("a tier fills first", &[1, 1, 1], 6, &[1, 4, 1]), &[1, 4, 9]), &[0, 0, 1]),
        by_room("room 18, 12, 6", "available", &[18, 12, 6], 12, Some(&[6, 4, 2])),
        by_room("room 20, 12, 6", "available", &[20, 12, 6], 12, Some(&[6, 4, 2])),
        by_room("room 8, 8, 10", "available", &[8, 8, 10], 12, Some(&[4, 4, 4])),
        by_room("too little room", "available", &[3, 3, 3], 12, None),
        placed(by_room("only what is new is divided", "available", &[2, 4], 9, Some(&[7, 2])), &[6, 0]),
        placed(by_room("a shrinking one keeps its proportion", "available", &[9, 0], 4, Some(&[1, 3])), &[2, 6]),
        placed(by_room("enough is there", "available", &[0, 0], 8, Some(&[2, 6])), &[2, 6]),
        tiered(
            placed(by_room("the last tier empties first", "available", &[0, 0], 4, Some(&[3, 1])), &[3, 5]),
            &[0, 1],
        ),
        tiered(by_room("the first tier fills first", "available", &[3, 9], 4, Some(&[3, 1])), &[0, 1]),
        by_room("two clusters of three", "aggregate", &[6, 8, 10], 12, Some(&[0, 5, 7])),
        by_room("one cluster of three", "aggregate", &[12, 8, 10], 12, Some(&[12, 0, 0])),
        placed(by_room("in use goes first", "aggregate", &[4, 90], 4, Some(&[4, 0])), &[1, 0]),
        placed(by_room("a shrinking one keeps the fullest", "aggregate", &[9, 9], 4, Some(&[0, 4])), &[2, 6]),
        by_room("nowhere enough", "aggregate", &[3, 3], 12, None),
        duplicated("each gets all", &[9, 4, 5], 4, &[4, 4, 4]),
        duplicated("or what it holds", &[9, 2, 0], 4, &[4, 2, 0]),
    ]
}
