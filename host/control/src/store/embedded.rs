//! The store on disk: one file of a transactional key-value engine, locked by the process that has it open.
//!
//! Every batch is one transaction, synced in two phases: after a crash the last batch that was acknowledged is there, and a
//! damaged page of it is an error, not a silent step back. Opening verifies every page; values carry a checksum of their
//! own besides, and the newest revision is noted in a file of its own, so that an older state of the file is an error, too.
//! Records of deletions are dropped when the store is next opened, since every reader starts afresh then.

use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{
    Builder, CommitError, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::seal::{history_bytes, key_bytes, object_bytes, read_history, read_key, read_object, seal, unseal};
use super::witness::{Seen, Witness};
use super::{HISTORY_KEPT, check};
use crate::ports::{Batch, HistoryEntry, ObjectKey, Revision, Store, StoreError, Stored, Write};

const FILE: &str = "berth.redb";
/// Holds the newest revision; see [`super::witness`].
const HEAD: &str = "berth.head";
const FORMAT: u64 = 1;
/// Pages kept in memory; the controller reads everything once at start and holds it in its own form.
const CACHE_BYTES: usize = 32 << 20;

/// `format` and `revision`.
const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");
const BY_REVISION: TableDefinition<(u64, &[u8]), ()> = TableDefinition::new("objects-by-revision");
const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
const BY_OBJECT: TableDefinition<(&[u8], u64), ()> = TableDefinition::new("history-by-object");

/// A store in a folder of the local disk.
pub struct EmbeddedStore {
    path: PathBuf,
    database: Database,
    witness: Witness,
    revision: Revision,
    history_kept: usize,
    /// What opening read, until it is asked for or something is written: a controller asks for all of it at once.
    opened: Mutex<Option<Vec<Stored>>>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).field("revision", &self.revision).finish()
    }
}

/// What went wrong below, sorted by what it means for the program.
enum Fault {
    Corrupt(String),
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// From a check of ours, and complete.
    Store(StoreError),
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Fault::Corrupt(what),
            other => Fault::Other(Box::new(other)),
        }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Fault::Other(Box::new(other)),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Fault::Corrupt(other.to_string()),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Fault::Other(Box::new(other)),
        }
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Fault::Corrupt(error.to_string())
            }
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::DatabaseAlreadyOpen => {
                Fault::Other("another process has this folder open; stop it, or use another folder".into())
            }
            DatabaseError::RepairAborted => Fault::Corrupt("the file cannot be repaired".into()),
            other => Fault::Other(Box::new(other)),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Store(error)
    }
}

/// The engine may panic on a page that was damaged outside it. Such a panic says that the file is damaged, nothing else.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a page makes no sense");
        Err(Fault::Corrupt(text.to_owned()))
    })
}

fn damaged(what: impl fmt::Display) -> Fault {
    Fault::Corrupt(format!("{what} is not what was written"))
}

impl EmbeddedStore {
    /// Its files within the folder.
    pub const FILES: [&str; 2] = [FILE, HEAD];

    /// Opens the store in a folder, which is made if it is not there. Keeps [`HISTORY_KEPT`] history entries.
    ///
    /// # Errors
    /// `Open` where the folder cannot be used or another process has it open; `Corrupt` where the file is damaged or of a
    /// format that this version does not know.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = folder.as_ref();
        let path = folder.join(FILE);
        let open = || {
            fs::create_dir_all(folder).map_err(|error| Fault::Other(Box::new(error)))?;
            let database =
                Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(&path)?;
            let (witness, seen) = Witness::open(&folder.join(HEAD)).map_err(|error| Fault::Other(Box::new(error)))?;
            let (revision, objects) = prepare(&database, seen)?;
            // The last batch may be on disk without its note, where the process died in between. From now on it is served, and
            // must not be taken back.
            witness.note(revision).map_err(|error| Fault::Other(Box::new(error)))?;
            let opened = Mutex::new(Some(objects));
            Ok(Self { path: path.clone(), database, witness, revision, history_kept: HISTORY_KEPT, opened })
        };
        guarded(open).map_err(|fault| {
            let path = path.display().to_string();
            match fault {
                Fault::Corrupt(what) => StoreError::Corrupt { path, what },
                Fault::Other(source) => StoreError::Open { path, source },
                Fault::Store(error) => error,
            }
        })
    }

    /// The same store, keeping the newest `history_kept` history entries.
    #[must_use]
    pub fn keeping(self, history_kept: usize) -> Self {
        Self { history_kept, ..self }
    }

    /// Nothing is done with it half way, so a poisoned lock still guards all of it.
    fn opened(&self) -> MutexGuard<'_, Option<Vec<Stored>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The program must stop on either kind, so a read that fails is told as what it is: no sound data.
    fn read_error(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Corrupt(what) => StoreError::Corrupt { path: self.name(), what },
            Fault::Other(source) => StoreError::Corrupt { path: self.name(), what: source.to_string() },
            Fault::Store(error) => error,
        }
    }

    fn write(&self, batch: &Batch, revision: Revision) -> Result<(), Fault> {
        let transaction = begin(&self.database)?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut by_revision = transaction.open_table(BY_REVISION)?;
            for Write { key, expected, .. } in &batch.writes {
                let bytes = key_bytes(key);
                let found = match objects.get(&bytes[..])? {
                    Some(sealed) => open_object(key.clone(), &bytes, sealed.value())?,
                    None => Stored { key: key.clone(), revision: Revision(0), value: None },
                };
                check(key, *expected, found.value.map(|_| found.revision))?;
            }
            for Write { key, value, .. } in &batch.writes {
                let bytes = key_bytes(key);
                let sealed = seal(&bytes, &object_bytes(revision, value.as_deref()));
                let old = match objects.insert(&bytes[..], &sealed[..])? {
                    Some(sealed) => Some(open_object(key.clone(), &bytes, sealed.value())?.revision),
                    None => None,
                };
                if let Some(old) = old {
                    by_revision.remove((old.0, &bytes[..]))?;
                }
                by_revision.insert((revision.0, &bytes[..]), ())?;
            }
        }
        if !batch.history.is_empty() {
            self.write_history(&transaction, &batch.history)?;
        }
        put_meta(&transaction, b"revision", revision.0)?;
        Ok(transaction.commit()?)
    }

    fn write_history(&self, transaction: &WriteTransaction, entries: &[HistoryEntry]) -> Result<(), Fault> {
        let mut history = transaction.open_table(HISTORY)?;
        let mut by_object = transaction.open_table(BY_OBJECT)?;
        let next = history.last()?.map_or(0, |(number, _)| number.value() + 1);
        for (number, entry) in (next..).zip(entries) {
            let sealed = seal(&number.to_be_bytes(), &history_bytes(entry));
            history.insert(number, &sealed[..])?;
            if let Some(about) = &entry.about {
                by_object.insert((&key_bytes(about)[..], number), ())?;
            }
        }
        let surplus = history.len()?.saturating_sub(self.history_kept as u64);
        for _ in 0..surplus {
            let Some((number, entry)) = ({
                let first = history.pop_first()?;
                first.map(|(number, sealed)| (number.value(), open_history(number.value(), sealed.value())))
            }) else {
                break;
            };
            if let Some(about) = entry?.about {
                by_object.remove((&key_bytes(&about)[..], number))?;
            }
        }
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn put_meta(transaction: &WriteTransaction, name: &[u8], number: u64) -> Result<(), Fault> {
    let sealed = seal(name, &number.to_be_bytes());
    transaction.open_table(META)?.insert(name, &sealed[..])?;
    Ok(())
}

fn open_object(key: ObjectKey, bytes: &[u8], sealed: &[u8]) -> Result<Stored, Fault> {
    let name = key.to_string();
    unseal(bytes, sealed).and_then(|value| read_object(key, value)).ok_or_else(|| damaged(name))
}

fn open_history(number: u64, sealed: &[u8]) -> Result<HistoryEntry, Fault> {
    let entry = unseal(&number.to_be_bytes(), sealed).and_then(read_history);
    entry.ok_or_else(|| damaged(format_args!("history entry {number}")))
}

/// The revision that is in the file, if it is the newest that was acknowledged.
fn newest(revision: u64, seen: Seen) -> Result<Revision, Fault> {
    match seen {
        Seen::Newest(Revision(acknowledged)) if acknowledged > revision => Err(Fault::Corrupt(format!(
            "it is of an earlier time: it ends with batch {revision}, and {HEAD} says that batch {acknowledged} was written"
        ))),
        Seen::Damaged => Err(Fault::Corrupt(format!(
            "{HEAD} beside it is not what was written; if the store itself is known to be sound, remove {HEAD}"
        ))),
        Seen::Newest(_) | Seen::Nothing => Ok(Revision(revision)),
    }
}

fn share(known: &Arc<str>, name: &mut Arc<str>) {
    if known == name {
        name.clone_from(known);
    }
}

/// Revision and key of a record of a deletion.
type Deleted = (u64, Vec<u8>);

/// All objects that there are, each held against its checksum, and the records of deletions: their revisions and keys.
fn read_all(objects: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<(Vec<Stored>, Vec<Deleted>), Fault> {
    let mut found = Vec::new();
    let mut deleted = Vec::new();
    // Keys ascend, so that neighbours mostly have the same kind and namespace, and share them.
    let mut last: Option<ObjectKey> = None;
    for entry in objects.iter()? {
        let (bytes, sealed) = entry?;
        let bytes = bytes.value();
        let mut key = read_key(bytes).ok_or_else(|| damaged("an object's key"))?;
        if let Some(last) = &last {
            share(&last.kind, &mut key.kind);
            share(&last.namespace, &mut key.namespace);
        }
        last = Some(key.clone());
        let stored = open_object(key, bytes, sealed.value())?;
        match stored.value.is_some() {
            true => found.push(stored),
            false => deleted.push((stored.revision.0, bytes.to_vec())),
        }
    }
    Ok((found, deleted))
}

/// Makes the tables if they are not there, checks the format and that nothing acknowledged is missing, drops records of
/// deletions, and gives the newest revision and all objects. Nothing is written where a check fails.
fn prepare(database: &Database, seen: Seen) -> Result<(Revision, Vec<Stored>), Fault> {
    let transaction = begin(database)?;
    let revision = {
        let mut meta = transaction.open_table(META)?;
        let read = |meta: &redb::Table<'_, &[u8], &[u8]>, name: &[u8]| -> Result<Option<u64>, Fault> {
            let Some(sealed) = meta.get(name)? else { return Ok(None) };
            let bytes = unseal(name, sealed.value()).and_then(|value| value.try_into().ok());
            let bytes = bytes.ok_or_else(|| damaged("the store's own description"))?;
            Ok(Some(u64::from_be_bytes(bytes)))
        };
        match read(&meta, b"format")? {
            Some(FORMAT) => {}
            None => {
                meta.insert(&b"format"[..], &seal(b"format", &FORMAT.to_be_bytes())[..])?;
            }
            Some(other) => {
                let what = format!("its format is {other}, and this version knows format {FORMAT} alone");
                return Err(Fault::Corrupt(what));
            }
        }
        newest(read(&meta, b"revision")?.unwrap_or(0), seen)?
    };
    let found = {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut by_revision = transaction.open_table(BY_REVISION)?;
        let (found, deleted) = read_all(&objects)?;
        for (revision, bytes) in deleted {
            objects.remove(&bytes[..])?;
            by_revision.remove((revision, &bytes[..]))?;
        }
        found
    };
    transaction.open_table(HISTORY)?;
    transaction.open_table(BY_OBJECT)?;
    transaction.commit()?;
    Ok((revision, found))
}

impl Store for EmbeddedStore {
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let revision = Revision(self.revision.0 + 1);
        *self.opened() = None;
        guarded(|| self.write(batch, revision)).map_err(|fault| match fault {
            Fault::Other(source) => StoreError::Write { path: self.name(), source },
            other => self.read_error(other),
        })?;
        let noted = self.witness.note(revision);
        noted.map_err(|error| StoreError::Write { path: self.name(), source: Box::new(error) })?;
        self.revision = revision;
        Ok(revision)
    }

    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let objects = transaction.open_table(OBJECTS)?;
            if since == Revision(0) {
                // Everything there is stands in the objects themselves; to look each up by revision would cost more.
                return Ok(read_all(&objects)?.0);
            }
            let mut changes = Vec::new();
            let by_revision = transaction.open_table(BY_REVISION)?;
            for entry in by_revision.range((since.0.saturating_add(1), &[][..])..)? {
                let (place, ()) = entry.map(|(place, _)| (place, ()))?;
                let (revision, bytes) = place.value();
                let key = read_key(bytes).ok_or_else(|| damaged("an object's key"))?;
                let sealed = objects.get(bytes)?.ok_or_else(|| damaged(&key))?;
                let stored = open_object(key, bytes, sealed.value())?;
                if stored.revision.0 != revision {
                    return Err(damaged(&stored.key));
                }
                changes.push(stored);
            }
            Ok(changes)
        };
        let opened = if since == Revision(0) { self.opened().take() } else { None };
        let mut changes = match opened {
            Some(opened) => opened,
            None => guarded(read).map_err(|fault| self.read_error(fault))?,
        };
        changes.sort_unstable_by(|one, other| (one.revision, &one.key).cmp(&(other.revision, &other.key)));
        Ok(changes)
    }

    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let history = transaction.open_table(HISTORY)?;
            let mut entries = Vec::new();
            let Some(about) = about else {
                for entry in history.iter()?.rev().take(limit) {
                    let (number, sealed) = entry?;
                    entries.push(open_history(number.value(), sealed.value())?);
                }
                return Ok(entries);
            };
            let bytes = key_bytes(about);
            let by_object = transaction.open_table(BY_OBJECT)?;
            for entry in by_object.range((&bytes[..], 0)..=(&bytes[..], u64::MAX))?.rev().take(limit) {
                let (place, _) = entry?;
                let (_, number) = place.value();
                let sealed = history.get(number)?.ok_or_else(|| damaged(format_args!("history entry {number}")))?;
                entries.push(open_history(number, sealed.value())?);
            }
            Ok(entries)
        };
        guarded(read).map_err(|fault| self.read_error(fault))
    }
}
