//! The store of a run, with another writer who may come first, and a disk that may fail. Everything that is committed goes
//! into a digest, so that two runs can be compared.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_control::ports::{Batch, Expected, HistoryEntry, ObjectKey, Revision, Store, StoreError, Stored, Write};
use berth_control::store::{EmbeddedStore, MemoryStore};
use sha2::{Digest, Sha256};

/// Clones share the store. The one that a controller has is open to faults.
#[derive(Clone)]
pub(crate) struct Vault {
    inner: Arc<Mutex<Inner>>,
    faulty: bool,
}

struct Inner {
    backing: Backing,
    digest: Sha256,
    rivals: u32,
    /// Whether the rival writes what the batch writes.
    same: bool,
    /// Commits until one fails.
    unwritable: Option<u32>,
    commits: u64,
    conflicts: u64,
    failures: u64,
}

enum Backing {
    Memory(MemoryStore),
    Disk { store: Option<EmbeddedStore>, folder: tempfile::TempDir },
}

impl Backing {
    fn get(&self) -> Result<&dyn Store, StoreError> {
        match self {
            Backing::Memory(store) => Ok(store),
            Backing::Disk { store: Some(store), .. } => Ok(store),
            Backing::Disk { folder, .. } => Err(closed(folder)),
        }
    }

    fn get_mut(&mut self) -> Result<&mut dyn Store, StoreError> {
        match self {
            Backing::Memory(store) => Ok(store),
            Backing::Disk { store: Some(store), .. } => Ok(store),
            Backing::Disk { folder, .. } => Err(closed(folder)),
        }
    }
}

fn closed(folder: &tempfile::TempDir) -> StoreError {
    StoreError::Open { path: folder.path().display().to_string(), source: "it is closed".into() }
}

impl Vault {
    pub(crate) fn memory() -> Self {
        Self::new(Backing::Memory(MemoryStore::default()))
    }

    /// A store on disk, in a folder that goes with it.
    pub(crate) fn disk() -> Result<Self, StoreError> {
        let folder = tempfile::tempdir()
            .map_err(|error| StoreError::Open { path: "a temporary folder".into(), source: error.into() })?;
        let store = Some(EmbeddedStore::open(folder.path())?);
        Ok(Self::new(Backing::Disk { store, folder }))
    }

    fn new(backing: Backing) -> Self {
        let inner = Inner {
            backing,
            digest: Sha256::new(),
            rivals: 0,
            same: false,
            unwritable: None,
            commits: 0,
            conflicts: 0,
            failures: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), faulty: false }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as a controller has it.
    pub(crate) fn for_controller(&self) -> Self {
        Self { inner: self.inner.clone(), faulty: true }
    }

    /// Closes it and opens it again, as a new process does.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if let Backing::Disk { store, folder } = &mut inner.backing {
            drop(store.take());
            *store = Some(EmbeddedStore::open(folder.path())?);
        }
        Ok(())
    }

    pub(crate) fn rival(&self, times: u32, same: bool) {
        let mut inner = self.inner();
        (inner.rivals, inner.same) = (times, same);
    }

    pub(crate) fn fail_after(&self, commits: Option<u32>) {
        self.inner().unwritable = commits;
    }

    /// Adds what happened outside the store to the digest.
    pub(crate) fn note(&self, text: &str) {
        let mut inner = self.inner();
        inner.digest.update(text.as_bytes());
        inner.digest.update([0]);
    }

    pub(crate) fn digest(&self) -> String {
        let hash = self.inner().digest.clone().finalize();
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Batches committed, commits that met a rival, and commits that failed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let inner = self.inner();
        (inner.commits, inner.conflicts, inner.failures)
    }
}

impl Inner {
    /// Another writer puts an object that is there already under a new revision.
    fn come_first(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.rivals -= 1;
        let all = self.backing.get()?.changes(Revision(0))?;
        let meant = |stored: &&Stored| !self.same || batch.writes.iter().any(|write| write.key == stored.key);
        let meant: Vec<&Stored> = all.iter().filter(meant).collect();
        let Some(stored) = meant.get(self.commits as usize % meant.len().max(1)) else { return Ok(()) };
        let write = Write { key: stored.key.clone(), expected: Expected::Anything, value: stored.value.clone() };
        self.conflicts += 1;
        self.backing.get_mut()?.commit(&Batch { writes: vec![write], history: Vec::new() }).map(drop)
    }

    fn record(&mut self, batch: &Batch) {
        self.commits += 1;
        for write in &batch.writes {
            self.digest.update(write.key.to_string().as_bytes());
            self.digest.update(write.value.as_deref().unwrap_or_default());
        }
        for entry in &batch.history {
            self.digest.update(entry.at.0.to_le_bytes());
            self.digest.update(&entry.value);
        }
    }
}

impl Store for Vault {
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let mut inner = self.inner();
        if self.faulty {
            match &mut inner.unwritable {
                Some(0) => {
                    inner.unwritable = None;
                    inner.failures += 1;
                    return Err(StoreError::Write { path: "the store".into(), source: "no space is left".into() });
                }
                Some(left) => *left -= 1,
                None => {}
            }
            if inner.rivals > 0 {
                inner.come_first(batch)?;
            }
        }
        let revision = inner.backing.get_mut()?.commit(batch)?;
        inner.record(batch);
        Ok(revision)
    }

    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError> {
        self.inner().backing.get()?.changes(since)
    }

    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        self.inner().backing.get()?.history(about, limit)
    }
}
