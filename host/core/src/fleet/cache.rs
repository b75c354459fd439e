//! Room by shape, one row a cluster, kept up to date by stamps: a decision looks again only at clusters that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{ClusterRoom, Snapshot};
use crate::ids::{ClusterRow, ShapeRow};

use super::fit::Need;
use super::room::Survey;

/// Shapes that are kept; the one used longest ago goes first.
const CAPACITY: usize = 512;

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
    seen: Vec<u64>,
    rooms: Vec<ClusterRoom>,
    used: u64,
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
        if self.tables.len() >= CAPACITY && !self.tables.contains_key(&key) {
            let oldest = self.tables.iter().min_by_key(|(_, table)| table.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.tables.remove(&key));
        }
        let empty = || Table { need: need.clone(), seen: Vec::new(), rooms: Vec::new(), used: 0 };
        let table = self.tables.entry(key).or_insert_with(empty);
        table.used = self.uses;
        let stamps = snapshot.stamps();
        table.seen.resize(stamps.len(), 0);
        table.rooms.resize(stamps.len(), ClusterRoom::default());
        for (row, (seen, stamp)) in table.seen.iter_mut().zip(stamps).enumerate() {
            if *seen != *stamp {
                let cluster = ClusterRow(row as u32);
                table.rooms[row] = snapshot.room_with(cluster, shape, max_lead_seconds, &mut self.survey);
                *seen = *stamp;
            }
        }
        &table.rooms
    }

    /// The rows as of the last [`RoomCache::refresh`], for looking at several shapes at once.
    pub fn rows(&self, shape: ShapeRow, max_lead_seconds: u32) -> &[ClusterRoom] {
        self.tables.get(&(shape, max_lead_seconds)).map_or(&[], |table| &table.rooms)
    }
}
