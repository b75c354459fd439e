//! Room by shape, one row a cluster, kept up to date by stamps: a decision looks again only at clusters that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{ClusterRoom, Snapshot};
use crate::ids::{ClusterRow, OfferingRow, ShapeRow};
use crate::resources::Amounts;

use super::fit::Need;
use super::room::{Base, Look, Survey};
use super::snapshot::Stamps;

/// Shapes that are kept at the most, and rows of all shapes (about 110 bytes each), as long as a few shapes are left. The
/// shape used longest ago goes first.
const MOST_SHAPES: usize = 512;
const MOST_ROWS: usize = 1 << 20;
const FEW_SHAPES: usize = 16;

/// Room of the shapes in use. Belongs to the planner and outlives its snapshots.
#[derive(Debug, Default)]
pub struct RoomCache {
    tables: BTreeMap<(ShapeRow, u32), Table>,
    uses: u64,
    survey: Survey,
}

#[derive(Debug)]
struct Table {
    need: Arc<Need>,
    seen: Vec<Stamps>,
    rooms: Vec<ClusterRoom>,
    /// What does not depend on stock, so that nodes are not looked at again when only stock changed.
    bases: Vec<Base>,
    fresh: FreshFits,
    used: u64,
}

/// Replicas that fit on a fresh node, by offering, as far as they were asked for.
#[derive(Debug, Default)]
struct FreshFits {
    catalogue: u64,
    fits: Vec<Option<u32>>,
}

impl FreshFits {
    fn bring_up_to(&mut self, snapshot: &Snapshot) {
        if self.catalogue != snapshot.catalogue() {
            self.fits.clear();
            self.fits.resize(snapshot.offerings().count(), None);
            self.catalogue = snapshot.catalogue();
        }
    }

    fn get(&mut self, row: OfferingRow, fits: impl FnOnce() -> u32) -> u32 {
        match self.fits.get_mut(row.index()) {
            Some(known) => *known.get_or_insert_with(fits),
            None => fits(),
        }
    }
}

impl RoomCache {
    /// Brings a shape's rows up to date with `snapshot` and returns them, by cluster row. Rows of removed clusters have no
    /// room. Pools that are slower than `max_lead_seconds` give no elastic room; 0 is no limit.
    pub fn refresh(&mut self, snapshot: &Snapshot, shape: ShapeRow, max_lead_seconds: u32) -> &[ClusterRoom] {
        let key = (shape, max_lead_seconds);
        let Some(need) = snapshot.need(shape) else { return &[] };
        self.uses += 1;
        if self.tables.get(&key).is_some_and(|table| !Arc::ptr_eq(&table.need, need)) {
            self.tables.remove(&key);
        }
        let capacity = (MOST_ROWS / snapshot.cluster_count().max(1)).clamp(FEW_SHAPES, MOST_SHAPES);
        if self.tables.len() >= capacity && !self.tables.contains_key(&key) {
            let oldest = self.tables.iter().min_by_key(|(_, table)| table.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.tables.remove(&key));
        }
        let table = self.tables.entry(key).or_insert_with(|| Table::new(need.clone()));
        table.used = self.uses;
        table.refresh(snapshot, max_lead_seconds, &mut self.survey);
        &table.rooms
    }

    /// The rows as of the last [`RoomCache::refresh`], for looking at several shapes at once.
    pub fn rows(&self, shape: ShapeRow, max_lead_seconds: u32) -> &[ClusterRoom] {
        self.tables.get(&(shape, max_lead_seconds)).map_or(&[], |table| &table.rooms)
    }
}

impl Table {
    fn new(need: Arc<Need>) -> Self {
        let (seen, rooms, bases) = (Vec::new(), Vec::new(), Vec::new());
        Self { need, seen, rooms, bases, fresh: FreshFits::default(), used: 0 }
    }

    fn refresh(&mut self, snapshot: &Snapshot, max_lead: u32, survey: &mut Survey) {
        let stamps = snapshot.stamps();
        self.seen.resize(stamps.len(), Stamps::default());
        self.rooms.resize(stamps.len(), ClusterRoom::default());
        self.bases.resize(stamps.len(), Base::default());
        self.fresh.bring_up_to(snapshot);
        let orderable = |offering| snapshot.orderable(offering);
        for (row, stamp) in stamps.iter().enumerate() {
            if self.seen[row] == *stamp {
                continue;
            }
            let cluster = ClusterRow(row as u32);
            let look = Look { snapshot, cluster, need: &self.need, max_lead, orderable: &orderable };
            if self.seen[row].pools == stamp.pools {
                survey.base = self.bases[row];
            } else {
                survey.look_at_nodes(&look, snapshot.pools_of(cluster));
                self.bases[row] = survey.base;
            }
            let fits = |row, allocatable: &Amounts| self.fresh.get(row, || self.need.fits_fresh(allocatable));
            survey.look_at_stock(&look, snapshot.pools_of(cluster), fits);
            self.rooms[row] = survey.cluster_room();
            self.seen[row] = *stamp;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Shape;

    #[test]
    fn the_shape_used_longest_ago_goes_first() {
        let (mut snapshot, mut cache) = (Snapshot::default(), RoomCache::default());
        let shapes = (0..=MOST_SHAPES as u64).map(|cpu| {
            let requests = [("cpu".into(), cpu + 1)].into();
            snapshot.intern(&Arc::new(Shape { requests, ..Shape::default() }))
        });
        let shapes: Vec<ShapeRow> = shapes.collect();
        let (last, first) = (shapes[MOST_SHAPES], shapes[0]);
        shapes[..MOST_SHAPES].iter().for_each(|shape| _ = cache.refresh(&snapshot, *shape, 0));
        cache.refresh(&snapshot, first, 0);
        cache.refresh(&snapshot, last, 0);
        assert_eq!(cache.tables.len(), MOST_SHAPES);
        let kept = |shape| cache.tables.contains_key(&(shape, 0));
        assert!(kept(first) && kept(last) && !kept(shapes[1]) && kept(shapes[2]));
    }
}
