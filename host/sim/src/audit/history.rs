//! Reads the history as it grows: every entry once, in the order in which it was written.
//!
//! The newest entries that were read are kept, so that an entry that vanished or changed behind our back is noticed. Entries
//! that the store trims at its old end are no loss.

use std::collections::VecDeque;

use berth_control::ports::{HistoryEntry, Store, StoreError};

use super::breach::{Found, Invariant};

/// Entries that are kept to compare with.
const KEPT: usize = 24;
/// Entries that are read at once to begin with; doubled until one is found that was read before.
const FIRST_READ: usize = 32;

#[derive(Debug, Default)]
pub(super) struct History {
    /// The newest entries that were read, oldest first.
    last: VecDeque<HistoryEntry>,
}

impl History {
    /// Entries written since this was last called, oldest first.
    pub(super) fn read(&mut self, store: &dyn Store, found: &mut Found) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut limit = FIRST_READ;
        loop {
            let entries = store.history(None, limit)?;
            let whole = entries.len() < limit;
            let overlap = match self.last.back() {
                None => Some(entries.len()).filter(|_| whole),
                Some(newest) => entries.iter().position(|entry| entry == newest),
            };
            match overlap {
                Some(at) => return Ok(self.take(entries, at, found)),
                None if whole => {
                    found.add(Invariant::HistoryChanged, "history", "the newest entry that was read is gone");
                    // What of it is new cannot be told; it goes on from here.
                    self.last.clear();
                    drop(self.take(entries, usize::MAX, found));
                    return Ok(Vec::new());
                }
                None => limit = limit.saturating_mul(2),
            }
        }
    }

    /// `entries` are newest first; those before `overlap` are new.
    fn take(&mut self, mut entries: Vec<HistoryEntry>, overlap: usize, found: &mut Found) -> Vec<HistoryEntry> {
        let overlap = overlap.min(entries.len());
        for (known, entry) in self.last.iter().rev().zip(&entries[overlap..]) {
            if known != entry {
                let what = format!("an entry of {} was changed", known.at.0);
                found.add(Invariant::HistoryChanged, "history", what);
            }
        }
        entries.truncate(overlap);
        entries.reverse();
        self.last.extend(entries.iter().cloned());
        while self.last.len() > KEPT {
            self.last.pop_front();
        }
        entries
    }
}
