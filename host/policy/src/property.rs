//! Properties of an answer, for cases that leave open what the answer is: a small vocabulary for each kind of policy.
//!
//! ```json
//! "expect": { "total": 12, "within": ["oslo", "stockholm"], "atMost": { "oslo": 4 } }
//! ```
//!
//! Clusters go by their names in `fleet.names`, jobs and workloads by name, or by `NAMESPACE/NAME` where that is ambiguous.
//! Holds: a property or a name that there is not is refused, so that none holds by mistake; that an answer breaks no rule is
//! no property, but always checked.

use std::collections::BTreeMap;

use berth_core::policy::{Candidates, Decision, How, Kind, MigrationState, Move, Queue, Request, Tables, Verdict};
use berth_core::workload::{Division, main_component};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::beside::said;
use crate::call::{Output, Question, full};
use crate::case::CaseError;
use crate::compare::{cost, measure_placement, placed, started};
use crate::expect::WHOLE;
use crate::nearest::{hint, hint_of};

/// USD an hour that are no difference in price: less than any price has digits for.
const SAME_PRICE: f64 = 1e-9;

/// Of a placement decision. Replicas are those of all components together, unless it says otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OfPlacement {
    /// Replicas with a place.
    total: Option<u64>,
    /// The same by component.
    components: BTreeMap<String, u64>,
    /// Clusters; no replica is placed in any other.
    within: Option<Vec<String>>,
    /// Clusters that all get at least one.
    uses: Vec<String>,
    at_least: BTreeMap<String, u64>,
    at_most: BTreeMap<String, u64>,
    /// Every component has all its replicas, or nothing is placed at all; of what is duplicated, at each cluster.
    whole: bool,
    /// No replica of the main component starts where the next one costs more than it would elsewhere.
    cheapest_first: bool,
    /// Running replicas that leave their cluster.
    leaving: Option<u64>,
}

/// Of a gang policy's verdict.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OfGang {
    /// Replicas that start.
    total: Option<u64>,
    /// Jobs that start.
    starts: Vec<String>,
    /// Jobs that do not.
    waits: Vec<String>,
    /// Jobs that start, one after the other; others may start in between.
    order: Vec<String>,
    /// Replicas with which jobs start.
    sizes: BTreeMap<String, u64>,
    /// Exactly those that are preempted; none where it is empty.
    preempts: Option<Vec<String>>,
}

/// Of a migration policy's moves.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OfMigration {
    /// Replicas that leave.
    total: Option<u64>,
    /// Workloads of which replicas leave.
    leaves: Vec<String>,
    /// Workloads of which none does.
    stays: Vec<String>,
    /// Clusters; none leaves any other.
    from: Option<Vec<String>>,
    /// How all of them leave.
    how: Option<How>,
}

fn read<T: DeserializeOwned>(properties: &Map<String, Value>) -> Result<T, CaseError> {
    serde_json::from_value(Value::Object(properties.clone())).map_err(|error| {
        let text = error.to_string();
        let whole = WHOLE.map(|name| format!(", `{name}`")).concat();
        CaseError::Case(format!("expect: {text}{}", hint_of(&format!("{text}{whole}"))))
    })
}

/// Refuses properties that policies of a kind do not have.
///
/// # Errors
/// The first of them, or one with a value that it cannot have.
pub(crate) fn known(kind: Kind, properties: &Map<String, Value>) -> Result<(), CaseError> {
    match kind {
        Kind::Placement => read::<OfPlacement>(properties).map(drop),
        Kind::Gang => read::<OfGang>(properties).map(drop),
        Kind::Migration => read::<OfMigration>(properties).map(drop),
    }
}

/// Which properties an answer does not have, and what the answer is; `None` where it has them all.
///
/// # Errors
/// A property, or a name in one, that there is not.
pub(crate) fn missed(
    tables: &Tables,
    question: &Question,
    output: &Output,
    properties: &Map<String, Value>,
) -> Result<Option<String>, CaseError> {
    let mut missed = Missed::default();
    let answer = match (question, output) {
        (Question::Placement { request, candidates }, Output::Placement(decision)) => {
            of_placement(&read(properties)?, tables, (request, candidates), decision, &mut missed)?;
            said(tables, question, &Ok(output.clone()))
        }
        (Question::Gang(queue), Output::Gang(verdict)) => {
            of_gang(&read(properties)?, queue, verdict, &mut missed)?;
            gang_answer(queue, verdict)
        }
        (Question::Migration(state), Output::Migration(moves)) => {
            of_migration(&read(properties)?, tables, state, moves, &mut missed)?;
            migration_answer(tables, state, moves)
        }
        _ => return Err(CaseError::Case("the answer is of another kind than the question".into())),
    };
    Ok((!missed.0.is_empty()).then(|| format!("{}; the answer is: {answer}", missed.0.join("; "))))
}

#[derive(Default)]
struct Missed(Vec<String>);

impl Missed {
    fn equal(&mut self, what: &str, expected: u64, got: u64) {
        self.hold(expected == got, || format!("expected {what} {expected}, got {got}"));
    }

    fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

/// The place of a name among others.
fn find(property: &str, name: &str, what: &str, names: &[String]) -> Result<usize, CaseError> {
    let full = |other: &&String| *other == name || other.rsplit('/').next() == Some(name);
    let mut found = (0..names.len()).filter(|at| full(&&names[*at]));
    match (names.iter().position(|other| other == name), found.next(), found.next()) {
        (Some(at), ..) | (None, Some(at), None) => Ok(at),
        (None, Some(one), Some(other)) => {
            let (one, other) = (&names[one], &names[other]);
            Err(CaseError::Case(format!("expect.{property} names {name}, which is {one} or {other}; use one of them")))
        }
        (None, None, _) => {
            let known = names.iter().map(|other| other.rsplit('/').next().unwrap_or(other));
            let hint = hint(name, known);
            Err(CaseError::Case(format!("expect.{property} names {name:?}, and there is no such {what}{hint}")))
        }
    }
}

fn clusters(tables: &Tables) -> Vec<String> {
    tables.names.iter().map(|name| name.to_string()).collect()
}

fn of_placement(
    expected: &OfPlacement,
    tables: &Tables,
    (request, candidates): (&Request, &Candidates),
    decision: &Decision,
    missed: &mut Missed,
) -> Result<(), CaseError> {
    let (names, n) = (clusters(tables), candidates.len());
    let seats = placed(request, candidates, Some(decision));
    let measured = measure_placement(request, candidates, Some(decision));
    let mut at = vec![0_u64; names.len()];
    for (place, replicas) in seats.iter().enumerate() {
        let row = candidates.cluster.get(place % n.max(1)).and_then(|row| at.get_mut(*row as usize));
        row.into_iter().for_each(|at| *at += replicas);
    }
    let of = |component: usize| seats.iter().skip(component * n).take(n).sum::<u64>();
    if let Some(total) = expected.total {
        missed.equal("total", total, measured.placed);
    }
    let components: Vec<String> = request.components.iter().map(|component| component.name.to_string()).collect();
    for (name, replicas) in &expected.components {
        let component = find("components", name, "component", &components)?;
        missed.equal(&format!("components.{name}"), *replicas, of(component));
    }
    if let Some(within) = &expected.within {
        let within: Vec<usize> =
            within.iter().map(|name| find("within", name, "cluster", &names)).collect::<Result<_, _>>()?;
        let outside: Vec<&str> = (0..names.len())
            .filter(|row| at[*row] > 0 && !within.contains(row))
            .map(|row| names[row].as_str())
            .collect();
        missed.hold(outside.is_empty(), || {
            format!(
                "expected all within {}, got replicas in {}",
                listed(within.iter().map(|row| &names[*row])),
                outside.join(", ")
            )
        });
    }
    for name in &expected.uses {
        let row = find("uses", name, "cluster", &names)?;
        missed.hold(at[row] > 0, || format!("expected that {name} is used, got no replica there"));
    }
    for (property, bounds) in [("atLeast", &expected.at_least), ("atMost", &expected.at_most)] {
        for (name, bound) in bounds {
            let got = at[find(property, name, "cluster", &names)?];
            let holds = if property == "atLeast" { got >= *bound } else { got <= *bound };
            let words = if property == "atLeast" { "at least" } else { "at most" };
            missed.hold(holds, || format!("expected {words} {bound} in {name}, got {got}"));
        }
    }
    if expected.whole {
        missed.hold(whole(request, &seats, n), || "expected all of it or nothing, got a part".into());
    }
    if expected.cheapest_first
        && let Some((dear, cheap)) = dearer(request, candidates, &seats)
    {
        let name =
            |candidate: usize| names.get(candidates.cluster[candidate] as usize).map_or("?", |name| name.as_str());
        let (dear, cheap) = ((name(dear.0), dear.1), (name(cheap.0), cheap.1));
        missed.0.push(format!(
            "expected the cheapest first, got a replica in {} for {} USD an hour, and one in {} would cost {}",
            dear.0, dear.1, cheap.0, cheap.1
        ));
    }
    if let Some(leaving) = expected.leaving {
        missed.equal("leaving", leaving, measured.leaving);
    }
    Ok(())
}

fn whole(request: &Request, seats: &[u64], n: usize) -> bool {
    let wanted = || request.components.iter().map(|component| u64::from(component.replicas));
    let all_or_nothing = |given: &[u64]| given.iter().all(|seats| *seats == 0) || given.iter().copied().eq(wanted());
    if request.division == Division::Duplicated {
        let at = |candidate: usize| {
            (0..request.components.len()).map(|component| seats[component * n + candidate]).collect::<Vec<_>>()
        };
        return (0..n).all(|candidate| all_or_nothing(&at(candidate)));
    }
    let sums: Vec<u64> = seats.chunks(n.max(1)).map(|seats| seats.iter().sum()).collect();
    n == 0 || all_or_nothing(&sums)
}

/// A candidate with a price.
type Priced = (usize, f64);

/// A candidate where the last replica of the main component that starts costs more than the next one would at another; each
/// with the price of it.
fn dearer(request: &Request, candidates: &Candidates, seats: &[u64]) -> Option<(Priced, Priced)> {
    let n = candidates.len();
    let component = main_component(request.components.iter().map(|component| component.replicas)).unwrap_or(0);
    let column = |column: &[u32], place: usize| u64::from(column.get(place).copied().unwrap_or(0));
    let step = |candidate: usize, seats: u64| {
        let place = component * n + candidate;
        cost(candidates, candidate, place, seats) - cost(candidates, candidate, place, seats - 1)
    };
    let (mut dearest, mut cheapest): (Option<Priced>, Option<Priced>) = (None, None);
    for candidate in 0..n {
        let place = component * n + candidate;
        let (seats, current) = (seats.get(place).copied().unwrap_or(0), column(&candidates.current, place));
        if seats > current {
            let last = (candidate, step(candidate, seats));
            dearest = Some(dearest.filter(|one| one.1 >= last.1).unwrap_or(last));
        }
        if seats < current + column(&candidates.ready, place) + column(&candidates.elastic, place) {
            let next = (candidate, step(candidate, seats + 1));
            cheapest = Some(cheapest.filter(|one| one.1 <= next.1).unwrap_or(next));
        }
    }
    let (dearest, cheapest) = (dearest?, cheapest?);
    (dearest.1 > cheapest.1 + SAME_PRICE).then_some((dearest, cheapest))
}

fn of_gang(expected: &OfGang, queue: &Queue, verdict: &Verdict, missed: &mut Missed) -> Result<(), CaseError> {
    let jobs = jobs(queue);
    let find = |property: &str, name: &String| find(property, name, "job", &jobs);
    let sizes = started(queue, Some(verdict));
    let turn = |job: usize| verdict.admit.iter().position(|admit| admit.job as usize == job);
    if let Some(total) = expected.total {
        missed.equal("total", total, sizes.iter().sum());
    }
    for name in &expected.starts {
        let job = find("starts", name)?;
        missed.hold(turn(job).is_some(), || format!("expected that {name} starts, and it waits"));
    }
    for name in &expected.waits {
        let job = find("waits", name)?;
        missed.hold(turn(job).is_none(), || format!("expected that {name} waits, and it starts"));
    }
    let turns =
        expected.order.iter().map(|name| Ok(turn(find("order", name)?))).collect::<Result<Vec<_>, CaseError>>()?;
    let in_order = turns.iter().all(Option::is_some) && turns.is_sorted();
    missed.hold(in_order, || format!("expected that in this order start {}", expected.order.join(", ")));
    for (name, size) in &expected.sizes {
        let job = find("sizes", name)?;
        missed.equal(&format!("sizes.{name}"), *size, sizes[job]);
    }
    if let Some(preempts) = &expected.preempts {
        let running: Vec<String> = queue.running.iter().map(|one| full(&one.namespace, &one.name)).collect();
        let find = |name: &String| self::find("preempts", name, "running workload", &running);
        let mut wanted = preempts.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let mut got: Vec<usize> = verdict.preempt.iter().map(|one| one.victim as usize).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        missed.hold(wanted == got, || {
            let names = |rows: &[usize]| listed(rows.iter().filter_map(|row| running.get(*row)));
            format!("expected that it preempts {}, got {}", names(&wanted), names(&got))
        });
    }
    Ok(())
}

fn jobs(queue: &Queue) -> Vec<String> {
    queue.jobs.iter().map(|job| full(&job.namespace, &job.name)).collect()
}

fn gang_answer(queue: &Queue, verdict: &Verdict) -> String {
    let jobs = jobs(queue);
    let running: Vec<String> = queue.running.iter().map(|one| full(&one.namespace, &one.name)).collect();
    let starts = listed(verdict.admit.iter().filter_map(|admit| jobs.get(admit.job as usize)));
    let victims = verdict.preempt.iter().filter_map(|one| running.get(one.victim as usize));
    format!("starts {starts}; preempts {}", listed(victims))
}

fn of_migration(
    expected: &OfMigration,
    tables: &Tables,
    state: &MigrationState,
    moves: &[Move],
    missed: &mut Missed,
) -> Result<(), CaseError> {
    let (names, workloads) = (clusters(tables), workloads(state));
    let find = |property: &str, name: &String| find(property, name, "workload", &workloads);
    let moves = || moves.iter().filter(|one| one.replicas > 0);
    let of = |one: &Move| state.placed.workload.get(one.row as usize).copied();
    let leaves = |workload: usize| moves().any(|one| of(one) == Some(workload as u32));
    if let Some(total) = expected.total {
        missed.equal("total", total, moves().map(|one| u64::from(one.replicas)).sum());
    }
    for name in &expected.leaves {
        let workload = find("leaves", name)?;
        missed.hold(leaves(workload), || format!("expected that {name} leaves, and it stays"));
    }
    for name in &expected.stays {
        let workload = find("stays", name)?;
        missed.hold(!leaves(workload), || format!("expected that {name} stays, and it leaves"));
    }
    if let Some(from) = &expected.from {
        let from =
            from.iter().map(|name| self::find("from", name, "cluster", &names)).collect::<Result<Vec<_>, _>>()?;
        let cluster = |one: &Move| state.placed.cluster.get(one.row as usize).map_or(usize::MAX, |row| *row as usize);
        let other = moves().map(cluster).find(|row| !from.contains(row)).and_then(|row| names.get(row));
        missed.hold(other.is_none(), || {
            let from = listed(from.iter().map(|row| &names[*row]));
            format!("expected that replicas leave only {from}, got {}", listed(other))
        });
    }
    if let Some(how) = expected.how {
        let text = |how: How| if how == How::AtOnce { "at-once" } else { "gracefully" };
        let other = moves().any(|one| one.how != how);
        missed.hold(!other, || format!("expected that all leave {}, and some do not", text(how)));
    }
    Ok(())
}

fn workloads(state: &MigrationState) -> Vec<String> {
    state.workloads.iter().map(|one| full(&one.namespace, &one.name)).collect()
}

fn migration_answer(tables: &Tables, state: &MigrationState, moves: &[Move]) -> String {
    let (names, workloads) = (clusters(tables), workloads(state));
    let one = |one: &Move| {
        let row = one.row as usize;
        let workload = workloads.get(*state.placed.workload.get(row)? as usize)?;
        let cluster = names.get(*state.placed.cluster.get(row)? as usize)?;
        Some(format!("{} of {workload} from {cluster}", one.replicas))
    };
    listed(moves.iter().filter_map(one).map(|text| format!("leaves {text}")).collect::<Vec<_>>().iter())
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
