//! How often a whole set of components fits into each cluster, kept until the cluster changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{Need, RoomCache, Snapshot, TakeOptions};
use crate::ids::{ClusterRow, ShapeRow};

/// Sets that are kept; the one used longest ago goes first.
const CAPACITY: usize = 256;

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
    /// By cluster row, with the stamps of pools and stock that the count belongs to.
    now: Vec<((u64, u64), u32)>,
    /// The same without stock, which an empty cluster does not depend on.
    empty: Vec<(u64, u32)>,
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
        if self.kept.len() >= CAPACITY && !self.kept.contains_key(&key) {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.kept.remove(&key));
        }
        let kept = self.kept.entry(key).or_insert_with(|| Kept { needs, used: 0, now: Vec::new(), empty: Vec::new() });
        kept.used = self.uses;
        kept.now.resize(snapshot.cluster_count(), ((0, 0), 0));
        kept.empty.resize(snapshot.cluster_count(), (0, 0));
        kept
    }

    /// Whole sets that fit into a cluster now.
    pub(super) fn now(
        &mut self,
        snapshot: &Snapshot,
        rooms: &RoomCache,
        set: &Set,
        options: TakeOptions,
        cluster: ClusterRow,
    ) -> u32 {
        let kept = self.kept(snapshot, set, options);
        let (Some(stamps), Some(seen)) = (snapshot.stamps().get(cluster.index()), kept.now.get_mut(cluster.index()))
        else {
            return 0;
        };
        let stamps = (stamps.pools, stamps.stock);
        if seen.0 != stamps {
            // Each component by itself bounds the whole set, and is known already.
            let alone = |(shape, count): &(ShapeRow, u32)| {
                let room =
                    rooms.rows(*shape, options.max_lead_seconds).get(cluster.index()).copied().unwrap_or_default();
                let elastic = if options.elastic { room.elastic } else { 0 };
                room.ready.saturating_add(elastic).checked_div(*count)
            };
            let bound = set.iter().filter_map(alone).min().unwrap_or(LIMIT).min(LIMIT);
            let sets = if bound == 0 { 0 } else { snapshot.sets(cluster, set, options, bound) };
            *seen = (stamps, sets);
        }
        seen.1
    }

    /// Whole sets that would fit into a cluster if nothing else ran there.
    pub(super) fn empty(&mut self, snapshot: &Snapshot, set: &Set, options: TakeOptions, cluster: ClusterRow) -> u32 {
        let kept = self.kept(snapshot, set, options);
        let (Some(stamps), Some(seen)) = (snapshot.stamps().get(cluster.index()), kept.empty.get_mut(cluster.index()))
        else {
            return 0;
        };
        if seen.0 != stamps.pools {
            *seen = (stamps.pools, snapshot.sets_if_empty(cluster, set, options, LIMIT));
        }
        seen.1
    }
}
