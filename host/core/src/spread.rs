//! Choosing clusters under spread constraints, as Karmada does.
//!
//! Contenders stand in descending order of score, then room, then ascending name. As many groups as a constraint permits
//! are taken from the top; where they hold too few replicas, the last ones are exchanged, one by one from the end, for the
//! one with the most room among the rest, as long as that is more. Groups by region, zone, provider or label are chosen
//! first, each by its best member's score and its room in all; then clusters within them, one of each group at least.
//! Static weights ignore the constraints.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::fleet::{Cluster, Snapshot};
use crate::ids::ClusterRow;
use crate::workload::{Division, SpreadBy, SpreadConstraint};

/// A cluster that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    pub cluster: ClusterRow,
    /// Higher is better.
    pub score: u32,
    /// Replicas that it can hold, with those that it holds now.
    pub room: u64,
}

/// Why no selection meets the constraints.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unmet {
    #[error("spread over at least {need} {by}, but there are {have} to choose from")]
    TooFew { by: String, have: usize, need: u32 },
    #[error("the clusters that the spread constraints allow have room for {have} replicas, {need} needed")]
    NoRoom { have: u64, need: u32 },
}

/// The contenders to use, as ascending places in `contenders`, which ascend by name.
pub fn select(
    snapshot: &Snapshot,
    contenders: &[Contender],
    constraints: &[SpreadConstraint],
    division: Division,
    replicas: u32,
) -> Result<Vec<usize>, Unmet> {
    if division == Division::StaticWeight || constraints.is_empty() {
        return Ok((0..contenders.len()).collect());
    }
    let need = (division != Division::Duplicated).then_some(u64::from(replicas));
    let by_cluster = constraints.iter().find(|constraint| constraint.by == SpreadBy::Cluster);
    let max_clusters = by_cluster.map_or(usize::MAX, |constraint| at_most(constraint.max));

    // Phase 1: narrow the contenders to groups that each constraint permits.
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    order.sort_by_key(|place| (std::cmp::Reverse((contenders[*place].score, contenders[*place].room)), *place));
    let by_group = || constraints.iter().filter(|constraint| constraint.by != SpreadBy::Cluster);
    for constraint in by_group() {
        order = narrow(snapshot, contenders, order, constraint, max_clusters, need)?;
    }
    // Post-condition: every contender left lies in permitted groups only.

    // Phase 2: the best of each group, then the best of the rest.
    let firsts = representatives(snapshot, contenders, &order, by_group());
    let (mut sorted, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|place| firsts.contains(place));
    let fixed = sorted.len();
    sorted.extend(rest);
    let rooms: Vec<u64> = sorted.iter().map(|place| contenders[*place].room).collect();
    let mut chosen: Vec<usize> = pick(&rooms, fixed, max_clusters, need).into_iter().map(|at| sorted[at]).collect();
    chosen.sort_unstable();

    // Phase 3: the selection must meet every constraint; what cannot be met is said with numbers.
    for constraint in constraints {
        let groups = members(snapshot, contenders, &chosen, &constraint.by).len();
        if groups < constraint.min as usize {
            return Err(too_few(constraint, groups));
        }
    }
    let have = chosen.iter().fold(0u64, |sum, place| sum.saturating_add(contenders[*place].room));
    match need {
        Some(need) if have < need => Err(Unmet::NoRoom { have, need: replicas }),
        _ => Ok(chosen),
    }
}

fn at_most(max: u32) -> usize {
    if max == 0 { usize::MAX } else { max as usize }
}

fn too_few(constraint: &SpreadConstraint, have: usize) -> Unmet {
    let by = match &constraint.by {
        SpreadBy::Cluster => "clusters".to_owned(),
        SpreadBy::Region => "regions".to_owned(),
        SpreadBy::Zone => "zones".to_owned(),
        SpreadBy::Provider => "providers".to_owned(),
        SpreadBy::Label(key) => format!("values of label {key}"),
    };
    Unmet::TooFew { by, have, need: constraint.min }
}

/// The groups that a cluster lies in; none where the field or label is missing.
fn groups_of(cluster: &Cluster, by: &SpreadBy) -> Vec<Arc<str>> {
    let one = |value: &Arc<str>| if value.is_empty() { Vec::new() } else { vec![value.clone()] };
    match by {
        SpreadBy::Cluster => vec![cluster.name.as_str().into()],
        SpreadBy::Region => one(&cluster.region),
        SpreadBy::Provider => one(&cluster.provider),
        SpreadBy::Zone => cluster.zones.clone(),
        SpreadBy::Label(key) => cluster.labels.get(key).cloned().into_iter().collect(),
    }
}

/// By group: places of its members in the given order.
fn members(
    snapshot: &Snapshot,
    contenders: &[Contender],
    order: &[usize],
    by: &SpreadBy,
) -> BTreeMap<Arc<str>, Vec<usize>> {
    let mut groups: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
    for place in order {
        let cluster = snapshot.cluster(contenders[*place].cluster);
        for group in cluster.map(|cluster| groups_of(cluster, by)).unwrap_or_default() {
            groups.entry(group).or_default().push(*place);
        }
    }
    groups
}

/// Keeps the contenders that lie in the groups chosen for one constraint, and in no other.
fn narrow(
    snapshot: &Snapshot,
    contenders: &[Contender],
    order: Vec<usize>,
    constraint: &SpreadConstraint,
    max_clusters: usize,
    need: Option<u64>,
) -> Result<Vec<usize>, Unmet> {
    let groups = members(snapshot, contenders, &order, &constraint.by);
    if groups.len() < constraint.min as usize {
        return Err(too_few(constraint, groups.len()));
    }
    let room = |places: &[usize]| places.iter().fold(0u64, |sum, place| sum.saturating_add(contenders[*place].room));
    let mut sorted: Vec<(u32, u64, Arc<str>)> = groups
        .into_iter()
        .map(|(name, places)| (places.first().map_or(0, |best| contenders[*best].score), room(&places), name))
        .collect();
    sorted.sort_by(|one, other| (other.0, other.1).cmp(&(one.0, one.1)).then_with(|| one.2.cmp(&other.2)));
    let rooms: Vec<u64> = sorted.iter().map(|(_, room, _)| *room).collect();
    let chosen = pick(&rooms, 0, at_most(constraint.max).min(max_clusters), need);
    let chosen: Vec<&Arc<str>> = chosen.into_iter().map(|at| &sorted[at].2).collect();
    let inside = |place: &usize| {
        let cluster = snapshot.cluster(contenders[*place].cluster);
        let groups = cluster.map(|cluster| groups_of(cluster, &constraint.by)).unwrap_or_default();
        !groups.is_empty() && groups.iter().all(|group| chosen.contains(&group))
    };
    Ok(order.into_iter().filter(inside).collect())
}

/// The best contender of each group that has none among those before it.
fn representatives<'a>(
    snapshot: &Snapshot,
    contenders: &[Contender],
    order: &[usize],
    constraints: impl Iterator<Item = &'a SpreadConstraint>,
) -> Vec<usize> {
    let mut firsts: Vec<usize> = Vec::new();
    for constraint in constraints {
        for places in members(snapshot, contenders, order, &constraint.by).into_values() {
            if !places.iter().any(|place| firsts.contains(place)) {
                firsts.extend(places.first());
            }
        }
    }
    firsts
}

/// Takes up to `max` from the top; while they hold less than `need`, exchanges from the end, but not the first `fixed`.
fn pick(rooms: &[u64], fixed: usize, max: usize, need: Option<u64>) -> Vec<usize> {
    let count = max.min(rooms.len());
    let mut chosen: Vec<usize> = (0..count).collect();
    let mut rest: Vec<usize> = (count..rooms.len()).collect();
    let Some(need) = need else { return chosen };
    let sum = |chosen: &[usize]| chosen.iter().fold(0u64, |sum, at| sum.saturating_add(rooms[*at]));
    for place in (fixed.min(count)..count).rev() {
        if sum(&chosen) >= need {
            break;
        }
        let largest = (0..rest.len()).max_by_key(|at| (rooms[rest[*at]], std::cmp::Reverse(*at)));
        if let Some(at) = largest.filter(|at| rooms[rest[*at]] > rooms[chosen[place]]) {
            std::mem::swap(&mut chosen[place], &mut rest[at]);
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
