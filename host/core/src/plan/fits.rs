//! How often a whole set of components fits into each cluster.
//!
//! The room of each shape by itself is known, and mostly answers it: shapes that use different pools and offerings do not
//! compete. Where they do, whether one set fits is tried; how many more would fit is then reckoned as if all room were
//! shared. What was found is kept until the cluster changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{Need, Nodes, Reach, RoomCache, Snapshot, TakeOptions};
use crate::ids::{ClusterRow, ShapeRow};

/// Sets that are kept at the most, and rows of all sets, as long as a few sets are left. The one used longest ago goes
/// first.
const MOST_SETS: usize = 256;
const MOST_ROWS: usize = 1 << 19;
const FEW_SETS: usize = 16;

/// Whole sets are counted up to this many: more is as good.
const LIMIT: u32 = 64;

/// Replicas by component that start together.
pub(super) type Set = Vec<(ShapeRow, u32)>;

#[derive(Debug, Default)]
pub(super) struct FitCache {
    kept: BTreeMap<(Set, bool, u32), Kept>,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    needs: Vec<Option<Arc<Need>>>,
    used: u64,
    /// By cluster row: whole sets that fit, with the stamps of pools and stock that the count belongs to.
    now: Vec<((u64, u64), u32)>,
    /// The same without stock, which an empty cluster does not depend on.
    empty: Vec<(u64, u32)>,
}

/// One shape's part of a set.
struct Part {
    shape: ShapeRow,
    replicas: u64,
    /// Components of this shape.
    components: usize,
}

/// In the order in which they are taken: the most replicas first.
fn parts(set: &Set) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (shape, count) in set.iter().filter(|(_, count)| *count > 0) {
        match parts.iter_mut().find(|part| part.shape == *shape) {
            Some(part) => {
                part.replicas += u64::from(*count);
                part.components += 1;
            }
            None => parts.push(Part { shape: *shape, replicas: u64::from(*count), components: 1 }),
        }
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.replicas));
    parts
}

/// What the room of each part alone says.
#[derive(Clone, Copy)]
struct Alone {
    /// Sets, as far as the scarcest part goes.
    sets: u64,
    /// Share of all room that one set takes if all parts share it.
    share: f64,
    /// One set fits if `sets` is not 0, where no parts compete.
    certain: bool,
    /// One set surely fits: there are nodes enough for each replica, though no node be shared by parts.
    apart: bool,
}

/// Room of one part.
#[derive(Default)]
struct PartRoom {
    ready: u64,
    /// With elastic room, where that counts.
    all: u64,
    nodes: Nodes,
}

impl Alone {
    /// Whole sets; `fits` says whether one does where that is not certain.
    fn count(self, competes: bool, fits: impl FnOnce() -> bool) -> u32 {
        let certain = self.apart || (self.certain && !competes);
        if self.sets == 0 || !(certain || fits()) {
            return 0;
        }
        let sets = if competes { ((1.0 / self.share) as u64).clamp(1, self.sets) } else { self.sets };
        sets.min(u64::from(LIMIT)) as u32
    }
}

/// Folds the room of each part.
fn alone<'a>(parts: &'a [Part], mut room: impl FnMut(&'a Part) -> PartRoom) -> Alone {
    let mut alone = Alone { sets: u64::from(LIMIT), share: 0.0, certain: true, apart: true };
    let (mut used, mut least) = (0, u64::MAX);
    for part in parts {
        let PartRoom { ready, all, nodes } = room(part);
        alone.sets = alone.sets.min(all / part.replicas);
        alone.share += part.replicas as f64 / all.max(1) as f64;
        // New nodes of different sizes may be used up differently by several orders than by one.
        alone.certain &= part.components == 1 || part.replicas <= ready;
        // Each component fills node after node, so it uses no more than this.
        used += part.replicas.div_ceil(u64::from(nodes.least).max(1)) + part.components as u64 - 1;
        least = least.min(u64::from(nodes.count));
        alone.apart = used <= least;
        if alone.sets == 0 {
            break;
        }
    }
    alone
}

fn any_pair<T: Copy>(list: &[T], holds: impl Fn(T, T) -> bool) -> bool {
    list.iter().enumerate().any(|(at, one)| list[at + 1..].iter().any(|other| holds(*one, *other)))
}

impl FitCache {
    fn kept(&mut self, snapshot: &Snapshot, set: &Set, options: TakeOptions) -> &mut Kept {
        let key = (set.clone(), options.elastic, options.max_lead_seconds);
        let needs: Vec<Option<Arc<Need>>> = set.iter().map(|(shape, _)| snapshot.need(*shape).cloned()).collect();
        let same = |one: &Option<Arc<Need>>, other: &Option<Arc<Need>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        self.uses += 1;
        if self.kept.get(&key).is_some_and(|kept| !kept.needs.iter().zip(&needs).all(|(one, other)| same(one, other))) {
            self.kept.remove(&key);
        }
        let capacity = (MOST_ROWS / snapshot.cluster_count().max(1)).clamp(FEW_SETS, MOST_SETS);
        if self.kept.len() >= capacity && !self.kept.contains_key(&key) {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.kept.remove(&key));
        }
        let kept = self.kept.entry(key).or_insert_with(|| Kept { needs, used: 0, now: Vec::new(), empty: Vec::new() });
        kept.used = self.uses;
        kept.now.resize(snapshot.cluster_count(), ((0, 0), 0));
        kept.empty.resize(snapshot.cluster_count(), (0, 0));
        kept
    }

    /// Whole sets that fit into each of `clusters` now. The set's shapes are up to date in `rooms`.
    pub(super) fn now(
        &mut self,
        snapshot: &Snapshot,
        rooms: &RoomCache,
        set: &Set,
        options: TakeOptions,
        clusters: &[ClusterRow],
    ) -> Vec<u32> {
        let parts = parts(set);
        let tables: Vec<_> =
            parts.iter().filter_map(|part| rooms.rooms(part.shape, options.max_lead_seconds)).collect();
        if tables.len() < parts.len() {
            return vec![0; clusters.len()];
        }
        let kept = self.kept(snapshot, set, options);
        let mut reach: Vec<Reach> = Vec::with_capacity(parts.len());
        let mut count = |cluster: ClusterRow| {
            let (Some(stamps), Some(known)) =
                (snapshot.stamps().get(cluster.index()), kept.now.get_mut(cluster.index()))
            else {
                return 0;
            };
            let stamps = (stamps.pools, stamps.stock);
            if known.0 == stamps {
                return known.1;
            }
            reach.clear();
            let mut tables_left = tables.iter();
            let alone = alone(&parts, |_| {
                let Some(table) = tables_left.next() else { return PartRoom::default() };
                let room = table.get(cluster);
                let elastic = if options.elastic { room.elastic } else { 0 };
                let ready = u64::from(room.ready);
                reach.push(table.reach(cluster));
                let nodes = reach.last().map(|reach| reach.nodes).unwrap_or_default();
                PartRoom { ready, all: ready + u64::from(elastic), nodes }
            });
            let competes = any_pair(&reach, |one, other| one.competes(other));
            *known = (stamps, alone.count(competes, || snapshot.sets(cluster, set, options, 1) > 0));
            known.1
        };
        clusters.iter().map(|cluster| count(*cluster)).collect()
    }

    /// Whole sets that would fit into each of `clusters` if nothing else ran there. The set's shapes are up to date.
    pub(super) fn empty(
        &mut self,
        snapshot: &Snapshot,
        rooms: &mut RoomCache,
        set: &Set,
        options: TakeOptions,
        clusters: &[ClusterRow],
    ) -> Vec<u32> {
        let parts = parts(set);
        let kept = self.kept(snapshot, set, options);
        let mut pools: Vec<u64> = Vec::with_capacity(parts.len());
        let mut count = |cluster: ClusterRow| {
            let (Some(stamps), Some(known)) =
                (snapshot.stamps().get(cluster.index()), kept.empty.get_mut(cluster.index()))
            else {
                return 0;
            };
            if known.0 == stamps.frames {
                return known.1;
            }
            pools.clear();
            let alone = alone(&parts, |part| {
                let room = rooms.empty(snapshot, (part.shape, options.max_lead_seconds), cluster);
                pools.push(room.pools);
                let all = room.ready + if options.elastic { room.elastic } else { 0 };
                PartRoom { ready: room.ready, all, nodes: room.nodes }
            });
            let competes = any_pair(&pools, |one, other| one & other != 0);
            let fits = || snapshot.sets_if_empty(cluster, set, options, 1) > 0;
            *known = (stamps.frames, alone.count(competes, fits));
            known.1
        };
        clusters.iter().map(|cluster| count(*cluster)).collect()
    }
}
