//! Room by shape, one row a cluster, kept up to date by stamps: a decision looks again only at clusters that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{ClusterRoom, Offer, RowSet, Rows, Snapshot};
use crate::ids::{ClusterRow, ShapeRow};
use crate::reason::Code;

use super::empty::{EmptyRoom, EmptyRow};
use super::fit::Need;
use super::room::Reach;
use super::room_row::{Memo, RoomRow};
use super::snapshot::Stamps;
use super::survey::{Look, Survey};

/// Shapes that are kept at the most, and rows of all shapes (up to 600 bytes each), as long as a few shapes are left. The
/// shape used longest ago goes first.
const MOST_SHAPES: usize = 512;
const MOST_ROWS: usize = 1 << 18;
const FEW_SHAPES: usize = 16;
/// Replicas up to which offers are kept. Larger workloads are rare, and have theirs made when they ask.
const OFFERED: u32 = 32;

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
    seen: Rows<Stamps>,
    /// Rows that changed since they were last looked at.
    stale: RowSet,
    rooms: ShapeRooms,
    rows: Vec<RoomRow>,
    /// Offers by row, as far as they were asked for since the row changed.
    offers: Vec<Offers>,
    /// Room if nothing ran there.
    empty: Vec<EmptyRow>,
    memo: Memo,
    used: u64,
}

/// The first offers of a cluster, enough for [`OFFERED`] replicas.
#[derive(Debug, Default)]
struct Offers {
    known: bool,
    first: Vec<Offer>,
    /// There are no others.
    whole: bool,
}

/// Room of one shape by cluster row, and sets of rows by what it is.
#[derive(Debug, Default)]
pub struct ShapeRooms {
    rooms: Vec<ClusterRoom>,
    reach: Vec<Reach>,
    ready: RowSet,
    elastic: RowSet,
    limits: [RowSet; 4],
}

/// What may limit room, in the order of [`ShapeRooms::limits`].
const LIMITS: [Code; 4] = [Code::NoMatchingPool, Code::PoolAtMaximum, Code::NoStock, Code::NoRoom];

impl ShapeRooms {
    pub fn rooms(&self) -> &[ClusterRoom] {
        &self.rooms
    }

    pub fn get(&self, cluster: ClusterRow) -> ClusterRoom {
        self.rooms.get(cluster.index()).copied().unwrap_or_default()
    }

    /// Clusters with room on the nodes there are.
    pub fn ready(&self) -> &RowSet {
        &self.ready
    }

    /// Clusters with room on nodes that come or could come.
    pub fn elastic(&self) -> &RowSet {
        &self.elastic
    }

    /// Clusters by what limits their room.
    pub fn limits(&self) -> impl Iterator<Item = (Code, &RowSet)> + '_ {
        LIMITS.into_iter().zip(&self.limits)
    }

    pub(crate) fn reach(&self, cluster: ClusterRow) -> Reach {
        self.reach.get(cluster.index()).copied().unwrap_or_default()
    }

    fn resize(&mut self, rows: usize) {
        let known = self.rooms.len();
        self.rooms.resize(rows, ClusterRoom::default());
        self.reach.resize(rows, Reach::default());
        (known..rows).for_each(|row| self.put(row, ClusterRoom::default(), Reach::default()));
    }

    fn put(&mut self, row: usize, room: ClusterRoom, reach: Reach) {
        self.rooms[row] = room;
        self.reach[row] = reach;
        self.ready.set(row, room.ready > 0);
        self.elastic.set(row, room.elastic > 0);
        for (code, rows) in LIMITS.iter().zip(&mut self.limits) {
            rows.set(row, *code == room.limit);
        }
    }
}

impl RoomCache {
    /// Brings a shape's rows up to date with `snapshot` and returns them, by cluster row. Rows of removed clusters have no
    /// room. Pools that are slower than `max_lead_seconds` give no elastic room; 0 is no limit.
    pub fn refresh(&mut self, snapshot: &Snapshot, shape: ShapeRow, max_lead_seconds: u32) -> &[ClusterRoom] {
        self.bring_up(snapshot, shape, max_lead_seconds, None)
    }

    /// The same for some rows alone; others stay as they are, and nobody should look at them.
    pub fn refresh_rows(&mut self, snapshot: &Snapshot, shape: ShapeRow, max_lead_seconds: u32, rows: &RowSet) {
        self.bring_up(snapshot, shape, max_lead_seconds, Some(rows));
    }

    fn bring_up(
        &mut self,
        snapshot: &Snapshot,
        shape: ShapeRow,
        max_lead_seconds: u32,
        only: Option<&RowSet>,
    ) -> &[ClusterRoom] {
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
        table.refresh(snapshot, max_lead_seconds, only, &mut self.survey);
        &table.rooms.rooms
    }

    /// The rows as of the last [`RoomCache::refresh`], for looking at several shapes at once.
    pub fn rows(&self, shape: ShapeRow, max_lead_seconds: u32) -> &[ClusterRoom] {
        self.rooms(shape, max_lead_seconds).map_or(&[], |rooms| &rooms.rooms)
    }

    /// The same with sets of rows; `None` for a shape that was never refreshed.
    pub fn rooms(&self, shape: ShapeRow, max_lead_seconds: u32) -> Option<&ShapeRooms> {
        self.tables.get(&(shape, max_lead_seconds)).map(|table| &table.rooms)
    }

    /// The first of [`Snapshot::offers`] that hold `enough` replicas, or all of them, in clusters whose rows are up to date
    /// with `snapshot`. Calls `each` with the place in `clusters`.
    pub fn offers(
        &mut self,
        snapshot: &Snapshot,
        (shape, max_lead): (ShapeRow, u32),
        enough: u32,
        clusters: impl Iterator<Item = (usize, ClusterRow)>,
        mut each: impl FnMut(usize, &Offer),
    ) {
        let Some(table) = self.tables.get_mut(&(shape, max_lead)) else { return };
        let survey = &mut self.survey;
        let orderable = |offering| snapshot.orderable(offering);
        let mut more = Vec::new();
        for (place, cluster) in clusters {
            let at = cluster.index();
            let (Some(row), Some(known)) = (table.rows.get(at), table.offers.get_mut(at)) else { continue };
            let look = Look { snapshot, cluster, need: &table.need, max_lead, orderable: &orderable };
            if !known.known {
                known.whole = row.first_offers(&look, u64::from(OFFERED), survey, &mut known.first);
                known.known = true;
            }
            let mut offers = &known.first[..];
            if enough > OFFERED && !known.whole {
                row.first_offers(&look, u64::from(enough), survey, &mut more);
                offers = &more;
            }
            let mut sum = 0_u32;
            for offer in offers {
                each(place, offer);
                sum = sum.saturating_add(offer.replicas);
                if sum >= enough {
                    break;
                }
            }
        }
    }

    /// Room of a shape in a cluster if nothing ran there. The shape was refreshed with this snapshot.
    pub(crate) fn empty(
        &mut self,
        snapshot: &Snapshot,
        (shape, max_lead): (ShapeRow, u32),
        cluster: ClusterRow,
    ) -> EmptyRoom {
        let Some(table) = self.tables.get_mut(&(shape, max_lead)) else { return EmptyRoom::default() };
        let Some(known) = table.empty.get_mut(cluster.index()) else { return EmptyRoom::default() };
        known.room(snapshot, cluster, (&table.need, max_lead), &mut table.memo)
    }
}

impl Table {
    fn new(need: Arc<Need>) -> Self {
        Self {
            need,
            seen: Rows::default(),
            rooms: ShapeRooms::default(),
            stale: RowSet::default(),
            rows: Vec::new(),
            offers: Vec::new(),
            empty: Vec::new(),
            memo: Memo::default(),
            used: 0,
        }
    }

    /// Brings rows up to date, all of them or those of `only`.
    fn refresh(&mut self, snapshot: &Snapshot, max_lead: u32, only: Option<&RowSet>, survey: &mut Survey) {
        let stamps = snapshot.stamps();
        self.rooms.resize(stamps.len());
        self.rows.resize_with(stamps.len(), RoomRow::default);
        self.offers.resize_with(stamps.len(), Offers::default);
        self.empty.resize_with(stamps.len(), EmptyRow::default);
        self.memo.bring_up_to(snapshot);
        let seen = std::mem::replace(&mut self.seen, stamps.clone());
        stamps.changed_since(&seen, |row, _, _| self.stale.insert(row));
        for word in 0..self.stale.words().len() {
            let mask = only.map_or(u64::MAX, |only| only.words().get(word).copied().unwrap_or(0));
            for row in self.stale.take(word, mask) {
                if let Some(stamps) = stamps.get(row) {
                    self.look(snapshot, max_lead, row, stamps.specs, survey);
                }
            }
        }
    }

    fn look(&mut self, snapshot: &Snapshot, max_lead: u32, row: usize, specs: u64, survey: &mut Survey) {
        let orderable = |offering| snapshot.orderable(offering);
        let cluster = ClusterRow(row as u32);
        let look = Look { snapshot, cluster, need: &self.need, max_lead, orderable: &orderable };
        if self.rows[row].bring_up(&look, specs, &mut self.memo) {
            let (room, reach) = self.rows[row].room(snapshot, survey);
            self.rooms.put(row, room, reach);
            self.offers[row].known = false;
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
