//! Which clusters may run a workload, and why the others may not.
//!
//! What depends on the distribution policy and the clusters alone (affinity, taints, reachability, weights) is kept by
//! [`Rules`] until the topology changes. Which clusters have room for a shape is kept as sets of rows; a decision joins
//! these sets, 64 clusters at a time, and looks only at its candidates one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{Cluster, ClusterRoom, RoomCache, RowSet, ShapeRooms, Snapshot, TaintEffect, untolerated};
use crate::ids::{ClusterRow, ShapeRow};
use crate::plan::passed::{self, Passed, PassedOver, PassedRows};
use crate::policy::NO_ROW;
use crate::reason::{Code, Reason};
use crate::spread::{self, Contender};
use crate::workload::{ClusterAffinity, Division, GroupUse, Rules, main_component};

/// Distribution policies that are kept; the one used longest ago goes first.
const CAPACITY: usize = 1024;

/// Score of a cluster that runs replicas of the workload already, for spread constraints; others have 0.
const IN_USE: u32 = 100;

/// One component, as far as it matters where it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub shape: ShapeRow,
    pub replicas: u32,
    /// Replicas that one cluster must be able to hold to be a candidate: all for Duplicated, the size for a gang, 0 where
    /// any number is useful.
    pub need: u32,
}

/// Replicas of one component that a cluster holds now, and whose room is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub cluster: ClusterRow,
    pub component: usize,
    pub replicas: u32,
}

/// The question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub rules: &'a Arc<Rules>,
    /// By component; empty for objects without replicas.
    pub wants: &'a [Want],
    pub held: &'a [Held],
    /// Clusters that are to get nothing new, with the reason.
    pub except: &'a [(ClusterRow, Code)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub cluster: ClusterRow,
    /// First group that selects it.
    pub tier: u32,
    /// Static weight; 1 without a weight list.
    pub weight: u32,
    /// It may keep what it holds and gets nothing new: it is not reachable, keeps new work away by a taint, or is to be
    /// left alone. Such a cluster is a candidate only while it holds replicas.
    pub closed: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feasible {
    /// Ascending by cluster name.
    pub candidates: Vec<Candidate>,
    /// All other clusters of the fleet.
    pub passed: PassedOver,
    /// Why there are no candidates although clusters passed the filters: spread constraints that cannot be met.
    pub problem: Option<Reason>,
}

/// Finds candidates. Belongs to the planner and outlives its snapshots.
#[derive(Debug, Default)]
pub struct Feasibility {
    /// By address of the rules, which an entry keeps alive. The address decides nothing but where to look.
    kept: BTreeMap<usize, (u64, Selection)>,
    uses: u64,
}

/// What rules select, whatever the workload.
#[derive(Debug)]
struct Selection {
    rules: Arc<Rules>,
    topology: u64,
    /// Ascending by name.
    selected: Vec<Selected>,
    /// By cluster row: place in `selected`, or `usize::MAX`.
    places: Vec<usize>,
    /// Whether names ascend with rows, so that rows need not be sorted.
    in_order: bool,
    /// By group: places in `selected`. A cluster may be in several.
    groups: Vec<Vec<usize>>,
    /// Selected clusters that may get something new.
    open: RowSet,
    /// All others, those that may keep what they hold included.
    ruled_out: Arc<Vec<PassedRows>>,
}

#[derive(Clone, Copy, Debug)]
struct Selected {
    candidate: Candidate,
    /// Why it gets nothing new, whatever the workload.
    closed: Option<Code>,
}

impl Feasibility {
    pub fn find(&mut self, snapshot: &Snapshot, rooms: &mut RoomCache, ask: Ask<'_>) -> Feasible {
        let selection = self.selection(snapshot, ask.rules);
        let mut rows = selection.open.clone();
        rows.extend(ask.held.iter().map(|held| held.cluster.index()));
        for want in ask.wants {
            rooms.refresh_rows(snapshot, want.shape, ask.rules.max_lead_seconds, &rows);
        }
        let tables = ask.wants.iter().map(|want| rooms.rooms(want.shape, ask.rules.max_lead_seconds)).collect();
        Search { snapshot, selection, ask, tables }.run()
    }

    /// Rows of the clusters that rules select and that may get something new, whatever room they have.
    pub fn selected(&mut self, snapshot: &Snapshot, rules: &Arc<Rules>) -> &RowSet {
        &self.selection(snapshot, rules).open
    }

    fn selection(&mut self, snapshot: &Snapshot, rules: &Arc<Rules>) -> &Selection {
        let key = Arc::as_ptr(rules) as usize;
        self.uses += 1;
        if self.kept.len() >= CAPACITY && !self.kept.contains_key(&key) {
            let oldest = self.kept.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.kept.remove(&key));
        }
        let entry = self.kept.entry(key).or_insert_with(|| (0, Selection::new(snapshot, rules)));
        if entry.1.topology != snapshot.topology() || !Arc::ptr_eq(&entry.1.rules, rules) {
            entry.1 = Selection::new(snapshot, rules);
        }
        entry.0 = self.uses;
        &entry.1
    }
}

impl Selection {
    fn new(snapshot: &Snapshot, rules: &Arc<Rules>) -> Self {
        let mut tiers = vec![NO_ROW; snapshot.cluster_count()];
        let mut in_groups: Vec<(u32, ClusterRow)> = Vec::new();
        for (tier, group) in rules.groups.iter().enumerate() {
            for row in rows_of(snapshot, group) {
                in_groups.push((tier as u32, row));
                tiers[row.index()] = tiers[row.index()].min(tier as u32);
            }
        }
        let weights = weights(snapshot, rules);
        let mut selected: Vec<Selected> = Vec::new();
        let mut open = RowSet::with_room(snapshot.cluster_count());
        let mut ruled_out: Vec<PassedRows> = Vec::new();
        for (row, cluster) in snapshot.clusters().filter(|(_, cluster)| !cluster.removed) {
            let (tier, weight) = (tiers[row.index()], weights[row.index()]);
            match standing(rules, cluster, tier, weight) {
                Ok(closed) => {
                    let candidate = Candidate { cluster: row, tier, weight, closed: closed.is_some() };
                    selected.push(Selected { candidate, closed });
                    match closed {
                        None => open.insert(row.index()),
                        Some(code) => passed::add(&mut ruled_out, Passed { cluster: row.0, code, have: 0, need: 0 }),
                    }
                }
                Err(code) => passed::add(&mut ruled_out, Passed { cluster: row.0, code, have: 0, need: 0 }),
            }
        }
        let name = |row: ClusterRow| snapshot.cluster(row).map(|cluster| &cluster.name);
        selected.sort_by(|one, other| name(one.candidate.cluster).cmp(&name(other.candidate.cluster)));
        let mut places = vec![usize::MAX; snapshot.cluster_count()];
        for (place, one) in selected.iter().enumerate() {
            places[one.candidate.cluster.index()] = place;
        }
        let mut groups = vec![Vec::new(); rules.groups.len()];
        for (tier, row) in in_groups {
            if places[row.index()] != usize::MAX {
                groups[tier as usize].push(places[row.index()]);
            }
        }
        groups.iter_mut().for_each(|group: &mut Vec<usize>| group.sort_unstable());
        let in_order = selected.is_sorted_by_key(|one| one.candidate.cluster);
        let (rules, topology) = (rules.clone(), snapshot.topology());
        Self { rules, topology, selected, places, in_order, groups, open, ruled_out: Arc::new(ruled_out) }
    }
}

/// The clusters that an affinity selects; looks only at those that it names, where it names any.
fn rows_of(snapshot: &Snapshot, affinity: &ClusterAffinity) -> Vec<ClusterRow> {
    let selects = |row: &ClusterRow| snapshot.cluster(*row).is_some_and(|cluster| affinity.selects_unnamed(cluster));
    let mut rows: Vec<ClusterRow> = match &affinity.names {
        Some(names) => names.iter().filter_map(|name| snapshot.cluster_row(name.as_str())).filter(selects).collect(),
        None => snapshot.clusters().map(|(row, _)| row).filter(selects).collect(),
    };
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The highest weight of the rules that match, by cluster; 1 without rules.
fn weights(snapshot: &Snapshot, rules: &Rules) -> Vec<u32> {
    let all = if rules.weights.is_empty() { 1 } else { 0 };
    let mut weights = vec![all; snapshot.cluster_count()];
    for (affinity, weight) in &rules.weights {
        for row in rows_of(snapshot, affinity) {
            weights[row.index()] = weights[row.index()].max(*weight);
        }
    }
    weights
}

/// Whether a cluster is selected, and if so, why only for replicas that it holds already. What runs in a cluster that
/// cannot be reached stays there until it is told to leave.
fn standing(rules: &Rules, cluster: &Cluster, tier: u32, weight: u32) -> Result<Option<Code>, Code> {
    if tier == NO_ROW {
        return Err(Code::Affinity);
    }
    if rules.division == Division::StaticWeight && weight == 0 {
        return Err(Code::NoWeight);
    }
    let evicts = |taint: &&crate::fleet::Taint| taint.effect == TaintEffect::NoExecute;
    let executes: Vec<_> = cluster.taints.iter().filter(evicts).cloned().collect();
    if untolerated(&executes, &rules.tolerations).is_some() {
        return Err(Code::Taint);
    }
    if !cluster.reachable {
        return Ok(Some(Code::ClusterUnhealthy));
    }
    Ok(untolerated(&cluster.taints, &rules.tolerations).map(|_| Code::Taint))
}

/// One search for candidates.
struct Search<'a> {
    snapshot: &'a Snapshot,
    selection: &'a Selection,
    ask: Ask<'a>,
    /// By component; `None` where nothing is known of the shape.
    tables: Vec<Option<&'a ShapeRooms>>,
}

/// Clusters that would do, and what they hold of each component, with what is there.
struct Group {
    /// Places in the selection.
    places: Vec<usize>,
    problem: Option<Reason>,
    /// Whether it can take the whole workload.
    fits: bool,
    /// Replicas of the largest component that it can hold.
    room: u64,
}

impl Search<'_> {
    fn run(self) -> Feasible {
        // Phase 1: filter each selected cluster by itself.
        let (mut fits, mut passed) = self.filter();
        let special = self.special();
        for row in &special {
            let Some(one) = self.selected(row.index()) else { continue };
            fits.remove(row.index());
            passed.remove(row.0);
            match self.judge(one) {
                None => fits.insert(row.index()),
                Some(reason) => passed.add(reason),
            }
        }
        let candidate = |place: usize| {
            let one = &self.selection.selected[place];
            let closed = special.contains(&one.candidate.cluster) && self.closed(one).is_some();
            Candidate { closed, ..one.candidate }
        };
        let places = self.in_order(&fits);
        if !self.alone() && self.ask.rules.spread.is_empty() {
            let candidates = places.into_iter().map(candidate).collect();
            return Feasible { candidates, passed, problem: None };
        }

        // Phase 2: choose among groups, and within them by spread constraints.
        let fits = |place: &usize| fits.contains(self.selection.selected[*place].candidate.cluster.index());
        let (group, tier) = match self.alone() {
            false => (self.group(places.clone()), NO_ROW),
            true => self.first_group(|tier| self.selection.groups[tier].iter().copied().filter(fits).collect()),
        };

        // Phase 3: everything that is not chosen has a reason.
        let members = (tier != NO_ROW).then(|| &self.selection.groups[tier as usize]);
        let mut chosen = group.places.iter().peekable();
        for place in places {
            if chosen.next_if(|next| **next == place).is_some() {
                continue;
            }
            let one = &self.selection.selected[place].candidate;
            let cluster = one.cluster.0;
            passed.add(match members {
                Some(members) if members.binary_search(&place).is_err() => {
                    Passed { cluster, code: Code::Affinity, have: one.tier + 1, need: tier + 1 }
                }
                _ => Passed { cluster, code: Code::Spread, have: 0, need: 0 },
            });
        }
        // Post-condition: candidates and passed name each cluster of the fleet once.
        Feasible { candidates: group.places.into_iter().map(candidate).collect(), passed, problem: group.problem }
    }

    /// Selected clusters that would do, and why others would not, as if nothing were held and nothing excepted.
    fn filter(&self) -> (RowSet, PassedOver) {
        let mut passed = PassedOver::by_rules(self.selection.ruled_out.clone());
        let open = &self.selection.open;
        let asked: Vec<usize> = (0..self.ask.wants.len()).filter(|at| self.ask.wants[*at].replicas > 0).collect();
        let Some(first) = asked.first() else { return (open.clone(), passed) };
        if self.ask.wants.iter().any(|want| want.need > 0) {
            let mut fits = open.clone();
            for one in self.selection.selected.iter().filter(|one| one.closed.is_none()) {
                if let Some(reason) = self.room_for(one, None) {
                    fits.remove(one.candidate.cluster.index());
                    passed.add(reason);
                }
            }
            return (fits, passed);
        }
        // Any number is useful, so one replica of any component is enough; the first tells what is lacking.
        let elastic = self.ask.rules.elastic;
        let known: Vec<&ShapeRooms> = asked.iter().filter_map(|component| self.tables[*component]).collect();
        let word = |rows: &RowSet, at: usize| rows.words().get(at).copied().unwrap_or(0);
        let room = |at: usize| {
            let of =
                |rooms: &&ShapeRooms| word(rooms.ready(), at) | if elastic { word(rooms.elastic(), at) } else { 0 };
            known.iter().fold(0, |room, rooms| room | of(rooms))
        };
        let fits: Vec<u64> = open.words().iter().enumerate().map(|(at, open)| open & room(at)).collect();
        let mut rest: Vec<u64> = open.words().iter().zip(&fits).map(|(open, fits)| open & !fits).collect();
        let mut give = |code: Code, rows: &RowSet| {
            let taken: Vec<u64> = rest.iter().enumerate().map(|(at, rest)| rest & word(rows, at)).collect();
            rest.iter_mut().zip(&taken).for_each(|(rest, taken)| *rest &= !taken);
            passed.add_rows(code, 0, 1, RowSet::from_words(taken));
        };
        if let Some(rooms) = self.tables[*first] {
            if !elastic {
                give(Code::ElasticityOff, rooms.elastic());
            }
            rooms.limits().for_each(|(code, rows)| give(code, rows));
        }
        passed.add_rows(ClusterRoom::default().limit, 0, 1, RowSet::from_words(rest));
        (RowSet::from_words(fits), passed)
    }

    /// Clusters that are not like others: they hold something, or are to be left alone. Ascending.
    fn special(&self) -> Vec<ClusterRow> {
        let held = self.ask.held.iter().map(|held| held.cluster);
        let mut rows: Vec<ClusterRow> = held.chain(self.ask.except.iter().map(|(row, _)| *row)).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    fn selected(&self, row: usize) -> Option<&Selected> {
        self.selection.selected.get(*self.selection.places.get(row)?)
    }

    /// Places of rows, ascending by name.
    fn in_order(&self, rows: &RowSet) -> Vec<usize> {
        let mut places = Vec::with_capacity(rows.len());
        places.extend(rows.iter().map(|row| self.selection.places[row]));
        if !self.selection.in_order {
            places.sort_unstable();
        }
        places
    }

    /// Whether one group is to be chosen among several.
    fn alone(&self) -> bool {
        self.ask.rules.group_use == GroupUse::FirstThatFits && self.selection.groups.len() > 1
    }

    fn held(&self, cluster: ClusterRow, component: usize) -> u32 {
        let here = |held: &&Held| held.cluster == cluster && held.component == component;
        self.ask.held.iter().filter(here).fold(0, |sum, held| sum.saturating_add(held.replicas))
    }

    fn room(&self, cluster: ClusterRow, component: usize) -> ClusterRoom {
        self.tables[component].map(|rooms| rooms.get(cluster)).unwrap_or_default()
    }

    /// Why a cluster gets nothing new.
    fn closed(&self, one: &Selected) -> Option<Code> {
        let excepted = self.ask.except.iter().find(|(except, _)| *except == one.candidate.cluster);
        excepted.map(|(_, code)| *code).or(one.closed)
    }

    /// Replicas of a component that a cluster can hold, with what it holds now.
    fn have(&self, one: &Selected, component: usize) -> u64 {
        let cluster = one.candidate.cluster;
        if self.closed(one).is_some() {
            return u64::from(self.held(cluster, component));
        }
        let room = self.room(cluster, component);
        let elastic = if self.ask.rules.elastic { room.elastic } else { 0 };
        u64::from(self.held(cluster, component)) + u64::from(room.ready) + u64::from(elastic)
    }

    /// Why a selected cluster is no candidate.
    fn judge(&self, one: &Selected) -> Option<Passed> {
        let row = one.candidate.cluster;
        let closed = self.closed(one);
        if let Some(code) = closed
            && !self.ask.held.iter().any(|held| held.cluster == row && held.replicas > 0)
        {
            return Some(Passed { cluster: row.0, code, have: 0, need: 0 });
        }
        self.room_for(one, closed)
    }

    /// Why a cluster has not room enough, with what it holds.
    fn room_for(&self, one: &Selected, closed: Option<Code>) -> Option<Passed> {
        let row = one.candidate.cluster;
        let cluster = row.0;
        let asked = || self.ask.wants.iter().enumerate().filter(|(_, want)| want.replicas > 0);
        let short = |component: usize, need: u32| {
            let have = self.have(one, component);
            (have < u64::from(need)).then(|| match closed {
                Some(code) => Passed { cluster, code, have: have as u32, need },
                None => self.short(row, component, have as u32, need),
            })
        };
        if let Some(passed) = asked().find_map(|(component, want)| short(component, want.need)) {
            return Some(passed);
        }
        // Where any number is useful, one replica of any component is enough.
        let mut lacking = None;
        for (component, _) in asked() {
            match short(component, 1) {
                None => return None,
                Some(passed) => lacking = lacking.or(Some(passed)),
            }
        }
        lacking
    }

    fn short(&self, row: ClusterRow, component: usize, have: u32, need: u32) -> Passed {
        let room = self.room(row, component);
        let elastic_would_do = u64::from(have) + u64::from(room.elastic) >= u64::from(need);
        let code = if !self.ask.rules.elastic && elastic_would_do { Code::ElasticityOff } else { room.limit };
        Passed { cluster: row.0, code, have, need }
    }

    /// The first group that can take the whole workload, beginning with one that holds all replicas there are now. If none
    /// can, the one with the most room; ties the first.
    fn first_group(&self, members: impl Fn(usize) -> Vec<usize>) -> (Group, u32) {
        let tiers = 0..self.selection.groups.len();
        let cluster = |place: &usize| self.selection.selected[*place].candidate.cluster;
        let holds_all = |tier: &usize| {
            let group = &self.selection.groups[*tier];
            !self.ask.held.is_empty()
                && self.ask.held.iter().all(|held| group.iter().any(|place| cluster(place) == held.cluster))
        };
        let stay = tiers.clone().find(holds_all);
        let mut best: Option<(Group, u32)> = None;
        for tier in stay.into_iter().chain(tiers) {
            let group = self.group(members(tier));
            if group.fits {
                return (group, tier as u32);
            }
            let better = match &best {
                None => true,
                Some((known, _)) => (known.places.is_empty(), group.room) > (group.places.is_empty(), known.room),
            };
            if better {
                best = Some((group, tier as u32));
            }
        }
        best.unwrap_or_else(|| (self.group(Vec::new()), NO_ROW))
    }

    /// Applies the spread constraints to clusters that would do.
    fn group(&self, places: Vec<usize>) -> Group {
        let rules = self.ask.rules;
        let main = self.main();
        let cluster = |place: usize| self.selection.selected[place].candidate.cluster;
        let have = |place: usize, component| self.have(&self.selection.selected[place], component);
        let room = |place: usize| main.map_or(0, |main| have(place, main));
        if places.is_empty() {
            return Group { places, problem: None, fits: false, room: 0 };
        }
        let mut places = places;
        if !rules.spread.is_empty() {
            let in_use = |row| self.ask.held.iter().any(|held| held.cluster == row && held.replicas > 0);
            let contender = |place: &usize| {
                let cluster = cluster(*place);
                Contender { cluster, score: if in_use(cluster) { IN_USE } else { 0 }, room: room(*place) }
            };
            let contenders: Vec<Contender> = places.iter().map(contender).collect();
            let replicas = main.map_or(0, |main| self.ask.wants[main].replicas);
            let whole = self.ask.wants.iter().any(|want| want.need > 0);
            let division =
                if whole && rules.division != Division::StaticWeight { Division::Duplicated } else { rules.division };
            match spread::select(self.snapshot, &contenders, &rules.spread, division, replicas) {
                Ok(chosen) => places = chosen.into_iter().map(|at| places[at]).collect(),
                Err(unmet) => {
                    let problem = Some(Reason::new(Code::Spread, unmet.to_string()));
                    return Group { places: Vec::new(), problem, fits: false, room: 0 };
                }
            }
        }
        let holds = |(component, want): (usize, &Want)| {
            let sum = places.iter().fold(0u64, |sum, place| sum.saturating_add(have(*place, component)));
            want.need > 0 || sum >= u64::from(want.replicas)
        };
        let fits = self.ask.wants.iter().enumerate().all(holds);
        let room = places.iter().fold(0u64, |sum, place| sum.saturating_add(room(*place)));
        Group { places, problem: None, fits, room }
    }

    fn main(&self) -> Option<usize> {
        main_component(self.ask.wants.iter().map(|want| want.replicas))
    }
}

#[cfg(test)]
mod tests;
