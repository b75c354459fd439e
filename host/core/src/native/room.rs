//! What the division algorithms share: the shape of their input, room, tiers, the whole set in one cluster, the answer.
//!
//! Holds: an answer never exceeds current + ready + elastic, and never starts a component below its floor.

use std::sync::Arc;

use crate::policy::{Assignment, Candidates, Component, Decision, Problem, ProblemCode, Request, Term};
use crate::workload::main_component;

/// Terms are given for this many candidates at the most; more than that nobody reads.
const TERM_CANDIDATES: usize = 32;

/// Rows that are looked at together.
const BLOCK: usize = 16;

/// The columns of a request, checked once, so that rows can be taken without asking again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) request: &'a Request,
    pub(super) candidates: &'a Candidates,
    /// Number of candidates.
    pub(super) n: usize,
    /// The component with the most replicas, the first among equals.
    pub(super) main: usize,
}

impl<'a> Room<'a> {
    /// Checks that all columns have the length that the interface states.
    pub(super) fn new(request: &'a Request, candidates: &'a Candidates) -> Result<Self, Problem> {
        let n = candidates.cluster.len();
        if let Err(wrong) = candidates.check(request.components.len()) {
            return Err(Problem { code: ProblemCode::Unsupported, message: wrong.to_string() });
        }
        if request.components.is_empty() {
            return Err(Problem { code: ProblemCode::Unsupported, message: "the workload has no components".into() });
        }
        if n == 0 {
            return Err(Problem { code: ProblemCode::NoCandidate, message: "no cluster may run it".into() });
        }
        let main = main_component(request.components.iter().map(|component| component.replicas)).unwrap_or(0);
        Ok(Self { request, candidates, n, main })
    }

    pub(super) fn components(&self) -> usize {
        self.request.components.len()
    }

    pub(super) fn wanted(&self, component: usize) -> u32 {
        self.request.components[component].replicas
    }

    pub(super) fn current(&self, component: usize) -> &'a [u32] {
        &self.candidates.current[component * self.n..][..self.n]
    }

    pub(super) fn ready(&self, component: usize) -> &'a [u32] {
        &self.candidates.ready[component * self.n..][..self.n]
    }

    pub(super) fn elastic(&self, component: usize) -> &'a [u32] {
        &self.candidates.elastic[component * self.n..][..self.n]
    }

    /// Further replicas that fit.
    pub(super) fn more(&self, component: usize, candidate: usize) -> u32 {
        self.ready(component)[candidate].saturating_add(self.elastic(component)[candidate])
    }

    /// All replicas that it can hold.
    pub(super) fn holds(&self, component: usize, candidate: usize) -> u32 {
        self.current(component)[candidate].saturating_add(self.more(component, candidate))
    }

    /// [`Self::more`] of all candidates.
    pub(super) fn more_column(&self, component: usize) -> Vec<u32> {
        let rows = self.ready(component).iter().zip(self.elastic(component));
        rows.map(|(ready, elastic)| ready.saturating_add(*elastic)).collect()
    }

    /// [`Self::holds`] of all candidates.
    pub(super) fn holds_column(&self, component: usize) -> Vec<u32> {
        let rows = self.ready(component).iter().zip(self.elastic(component)).zip(self.current(component));
        rows.map(|((ready, elastic), current)| current.saturating_add(ready.saturating_add(*elastic))).collect()
    }

    /// Tiers that occur, ascending.
    pub(super) fn tiers(&self) -> Vec<u32> {
        let first = self.candidates.tier[0];
        if self.candidates.tier.iter().fold(0, |differs, tier| differs | (tier ^ first)) == 0 {
            return vec![first];
        }
        let mut tiers = self.candidates.tier.clone();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }

    /// Fewest replicas with which a component of a workload that stays together runs: its floor, or all where it has none.
    fn least(&self, component: usize) -> u32 {
        let component = &self.request.components[component];
        if component.floor > 0 { component.floor.min(component.replicas) } else { component.replicas }
    }

    /// How often the whole set fits at a candidate, what runs there included; for a workload of nothing, once.
    pub(super) fn sets(&self, candidate: usize) -> u32 {
        let sets = |component| self.holds(component, candidate).checked_div(self.wanted(component));
        (0..self.components()).filter_map(sets).min().unwrap_or(1)
    }

    /// Puts all components at one candidate: if what runs is to `stay`, where it runs now, as long as that holds every
    /// floor; else the one with the least `rank` of those that hold every replica, else of
    /// those that hold every floor, which then get as many as they hold. Equal ranks: the lower row; `None`: never.
    pub(super) fn together<K: PartialOrd>(
        &self,
        stay: bool,
        rank: impl Fn(usize) -> Option<K>,
    ) -> Result<Seats, Problem> {
        let best = |fits: &dyn Fn(usize) -> bool| {
            let mut best: Option<(K, usize)> = None;
            for candidate in (0..self.n).filter(|candidate| fits(*candidate)) {
                let Some(rank) = rank(candidate) else { continue };
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, candidate));
                }
            }
            best.map(|(_, candidate)| candidate)
        };
        let holds = |candidate: usize, replicas: &dyn Fn(usize) -> u32| {
            (0..self.components()).all(|component| self.holds(component, candidate) >= replicas(component))
        };
        let runs = |candidate: usize| {
            let holds_least = holds(candidate, &|component| self.least(component));
            holds_least && (0..self.components()).any(|component| self.current(component)[candidate] > 0)
        };
        let stays = if stay { (0..self.n).find(|candidate| runs(*candidate)) } else { None };
        let chosen = stays
            .or_else(|| best(&|candidate| holds(candidate, &|component| self.wanted(component))))
            .or_else(|| best(&|candidate| holds(candidate, &|component| self.least(component))));
        let Some(candidate) = chosen else {
            return Err(no_room("no single cluster has room for the whole set".into()));
        };
        let mut seats = Seats::new(self);
        for component in 0..self.components() {
            let replicas = self.wanted(component).min(self.holds(component, candidate));
            seats.of(component)[candidate] = replicas;
        }
        Ok(seats)
    }

    /// Division Duplicated: every candidate gets all replicas of every component, or as many as it holds. A candidate
    /// that does not hold the floor of a component gets nothing.
    pub(super) fn duplicated(&self) -> Result<Decision, Problem> {
        let mut seats = Seats::new(self);
        for candidate in 0..self.n {
            let floors = |component: usize| {
                self.holds(component, candidate) >= self.request.components[component].floor.min(self.wanted(component))
            };
            if !(0..self.components()).all(floors) {
                continue;
            }
            for component in 0..self.components() {
                seats.of(component)[candidate] = self.wanted(component).min(self.holds(component, candidate));
            }
        }
        let wanted = (0..self.components()).any(|component| self.wanted(component) > 0);
        if wanted && seats.is_empty() {
            return Err(no_room("no cluster has room for a replica".into()));
        }
        Ok(seats.decision(Vec::new()))
    }

    /// Whether every component reached its floor; the problem says which did not.
    pub(super) fn check_floors(&self, seats: &Seats) -> Result<(), Problem> {
        let mut any = self.request.components.iter().all(|component| component.replicas == 0);
        for (number, component) in self.request.components.iter().enumerate() {
            let sum: u64 = seats.at(number).iter().copied().map(u64::from).sum();
            any |= sum > 0;
            if sum < u64::from(component.floor.min(component.replicas)) {
                let Component { name, floor, .. } = component;
                return Err(no_room(format!("{sum} replicas of {name} fit, and it does not start below {floor}")));
            }
        }
        if any { Ok(()) } else { Err(no_room("no cluster has room for a replica".into())) }
    }
}

/// Replicas in the making: component c at candidate i stands at c * n + i.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    n: usize,
    replicas: Vec<u32>,
}

impl Seats {
    pub(super) fn new(room: &Room<'_>) -> Self {
        Self { n: room.n, replicas: vec![0; room.n * room.components()] }
    }

    pub(super) fn of(&mut self, component: usize) -> &mut [u32] {
        &mut self.replicas[component * self.n..][..self.n]
    }

    pub(super) fn at(&self, component: usize) -> &[u32] {
        &self.replicas[component * self.n..][..self.n]
    }

    fn is_empty(&self) -> bool {
        self.replicas.iter().all(|replicas| *replicas == 0)
    }

    /// Assignments in ascending order of component and candidate, with a term of each name for the first candidates that
    /// got replicas.
    pub(super) fn decision(&self, terms: Vec<TermColumn<'_>>) -> Decision {
        let n = self.n.max(1);
        let mut assignments = Vec::new();
        for (component, column) in (0..).zip(self.replicas.chunks(n)) {
            for (number, block) in column.chunks(BLOCK).enumerate() {
                // Nearly all rows get nothing.
                if block.iter().fold(0, |any, replicas| any | replicas) == 0 {
                    continue;
                }
                let got = block.iter().zip((number * BLOCK) as u32..).filter(|(replicas, _)| **replicas > 0);
                assignments.extend(got.map(|(replicas, candidate)| Assignment {
                    component,
                    candidate,
                    replicas: *replicas,
                }));
            }
        }
        let mut chosen: Vec<u32> = assignments.iter().map(|assignment| assignment.candidate).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen.truncate(TERM_CANDIDATES);
        let mut kept = Vec::with_capacity(chosen.len() * terms.len());
        for (name, value) in terms {
            let name: Arc<str> = name.into();
            let values = chosen.iter().filter_map(|candidate| Some((*candidate, value(*candidate as usize)?)));
            kept.extend(values.map(|(candidate, value)| Term { candidate, name: name.clone(), value }));
        }
        kept.sort_by_key(|term| term.candidate);
        Decision { assignments, terms: kept }
    }
}

/// A term's name, and its value at a candidate; `None` where it says nothing.
pub(super) type TermColumn<'a> = (&'static str, Box<dyn Fn(usize) -> Option<f64> + 'a>);

pub(super) fn no_room(message: String) -> Problem {
    Problem { code: ProblemCode::NoRoom, message }
}
