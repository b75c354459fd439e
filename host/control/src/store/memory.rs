//! The store in memory, for simulation and tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HISTORY_KEPT, check};
use crate::ports::{Batch, HistoryEntry, ObjectKey, Revision, Store, StoreError, Stored};

/// Clones share their contents: a test keeps one to reopen what a crashed controller left.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    revision: Revision,
    objects: BTreeMap<ObjectKey, Stored>,
    by_revision: BTreeSet<(Revision, ObjectKey)>,
    history: VecDeque<HistoryEntry>,
    /// Number of the oldest entry in `history`.
    oldest: u64,
    by_object: BTreeMap<ObjectKey, VecDeque<u64>>,
    history_kept: usize,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::keeping(HISTORY_KEPT)
    }
}

impl MemoryStore {
    /// An empty store that keeps the newest `history_kept` history entries.
    pub fn keeping(history_kept: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            revision: Revision(0),
            objects: BTreeMap::new(),
            by_revision: BTreeSet::new(),
            history: VecDeque::new(),
            oldest: 0,
            by_object: BTreeMap::new(),
            history_kept,
        })))
    }

    /// A batch is applied without a step that could panic half way, so a poisoned lock still guards whole batches.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remember(&mut self, entry: &HistoryEntry) {
        let number = self.oldest + self.history.len() as u64;
        if let Some(about) = &entry.about {
            self.by_object.entry(about.clone()).or_default().push_back(number);
        }
        self.history.push_back(entry.clone());
        if self.history.len() <= self.history_kept {
            return;
        }
        self.oldest += 1;
        let Some(about) = self.history.pop_front().and_then(|entry| entry.about) else { return };
        if let Some(numbers) = self.by_object.get_mut(&about) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.by_object.remove(&about);
            }
        }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let mut inner = self.inner();
        for write in &batch.writes {
            let found = inner.objects.get(&write.key).filter(|stored| stored.value.is_some());
            check(&write.key, write.expected, found.map(|stored| stored.revision))?;
        }
        let revision = Revision(inner.revision.0 + 1);
        inner.revision = revision;
        for write in &batch.writes {
            let stored = Stored { key: write.key.clone(), revision, value: write.value.clone() };
            if let Some(old) = inner.objects.insert(write.key.clone(), stored) {
                inner.by_revision.remove(&(old.revision, write.key.clone()));
            }
            inner.by_revision.insert((revision, write.key.clone()));
        }
        for entry in &batch.history {
            inner.remember(entry);
        }
        Ok(revision)
    }

    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError> {
        let inner = self.inner();
        let newer = inner.by_revision.iter().rev().take_while(|(revision, _)| *revision > since);
        let mut changes: Vec<Stored> = newer
            .filter_map(|(_, key)| inner.objects.get(key))
            .filter(|stored| since > Revision(0) || stored.value.is_some())
            .cloned()
            .collect();
        changes.reverse();
        Ok(changes)
    }

    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let inner = self.inner();
        let Some(about) = about else { return Ok(inner.history.iter().rev().take(limit).cloned().collect()) };
        let numbers = inner.by_object.get(about).into_iter().flatten().rev().take(limit);
        Ok(numbers.filter_map(|number| inner.history.get((number - inner.oldest) as usize)).cloned().collect())
    }
}
