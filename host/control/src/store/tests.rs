#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use berth_core::ids::Millis;
use proptest::prelude::*;

use super::{EmbeddedStore, MemoryStore};
use crate::ports::{Batch, Expected, HistoryEntry, ObjectKey, Revision, Store, StoreError, Write};

fn key(name: &str) -> ObjectKey {
    ObjectKey { kind: "apps/v1/Deployment".into(), namespace: "default".into(), name: name.into() }
}

fn write(name: &str, expected: Expected, value: Option<&str>) -> Write {
    Write { key: key(name), expected, value: value.map(|value| Arc::from(value.as_bytes())) }
}

fn writes(writes: Vec<Write>) -> Batch {
    Batch { writes, history: Vec::new() }
}

fn entry(at: u64, about: Option<&str>) -> HistoryEntry {
    HistoryEntry { at: Millis(at), about: about.map(key), value: at.to_string().into_bytes().into() }
}

/// Runs a test over both kinds of store. The function that it gets reopens the store.
fn both(test: impl Fn(&dyn Fn(usize) -> Box<dyn Store>)) {
    let folder = tempfile::tempdir().unwrap();
    test(&|kept| Box::new(EmbeddedStore::open(folder.path()).unwrap().keeping(kept)));
    let memory = std::cell::RefCell::new(None);
    test(&|kept| Box::new(memory.borrow_mut().get_or_insert_with(|| MemoryStore::keeping(kept)).clone()));
}

fn names(store: &dyn Store, since: u64) -> Vec<(u64, String, Option<String>)> {
    let text = |value: &Arc<[u8]>| String::from_utf8(value.to_vec()).unwrap();
    let changes = store.changes(Revision(since)).unwrap();
    changes.into_iter().map(|one| (one.revision.0, one.key.name.to_string(), one.value.as_ref().map(text))).collect()
}

fn row(revision: u64, name: &str, value: Option<&str>) -> (u64, String, Option<String>) {
    (revision, name.to_owned(), value.map(ToOwned::to_owned))
}

#[test]
fn objects_are_listed_by_revision_in_their_newest_form() {
    both(|open| {
        let mut store = open(10);
        assert_eq!(
            store
                .commit(&writes(vec![write("b", Expected::Absent, Some("1")), write("a", Expected::Absent, Some("1"))]))
                .unwrap(),
            Revision(1)
        );
        assert_eq!(store.commit(&writes(vec![write("a", Expected::At(Revision(1)), Some("2"))])).unwrap(), Revision(2));
        assert_eq!(store.commit(&writes(vec![write("b", Expected::Anything, None)])).unwrap(), Revision(3));
        assert_eq!(names(&*store, 0), [row(2, "a", Some("2"))]);
        assert_eq!(names(&*store, 1), [row(2, "a", Some("2")), row(3, "b", None)]);
        assert_eq!(names(&*store, 3), []);
        drop(store);
        let mut store = open(10);
        assert_eq!(names(&*store, 0), [row(2, "a", Some("2"))]);
        assert_eq!(store.commit(&writes(vec![write("b", Expected::Absent, Some("3"))])).unwrap(), Revision(4));
    });
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    both(|open| {
        let mut store = open(10);
        store.commit(&writes(vec![write("a", Expected::Absent, Some("1"))])).unwrap();
        let refused = [
            (write("a", Expected::Absent, Some("x")), Some(Revision(1))),
            (write("a", Expected::At(Revision(7)), Some("x")), Some(Revision(1))),
            (write("c", Expected::At(Revision(1)), Some("x")), None),
        ];
        for (bad, at) in refused {
            let mut batch = writes(vec![write("b", Expected::Absent, Some("x")), bad.clone()]);
            batch.history.push(entry(1, None));
            match store.commit(&batch) {
                Err(StoreError::Conflict { key, expected, found }) => {
                    assert_eq!((key, expected, found), (bad.key, bad.expected, at));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names(&*store, 0), [row(1, "a", Some("1"))]);
        assert_eq!(store.history(None, 10).unwrap(), []);
        assert_eq!(store.commit(&Batch::default()).unwrap(), Revision(2));
    });
}

#[test]
fn history_is_bounded_and_found_by_object() {
    both(|open| {
        let mut store = open(4);
        let history = vec![entry(1, Some("a")), entry(2, None), entry(3, Some("b"))];
        store.commit(&Batch { writes: Vec::new(), history }).unwrap();
        assert_eq!(store.history(Some(&key("a")), 10).unwrap(), [entry(1, Some("a"))]);
        store.commit(&Batch { writes: Vec::new(), history: (4..7).map(|at| entry(at, Some("b"))).collect() }).unwrap();
        let ats = |about: Option<&str>, limit| -> Vec<u64> {
            store.history(about.map(key).as_ref(), limit).unwrap().iter().map(|entry| entry.at.0).collect()
        };
        assert_eq!(ats(None, 10), [6, 5, 4, 3]);
        assert_eq!(ats(None, 2), [6, 5]);
        assert_eq!(ats(Some("b"), 3), [6, 5, 4]);
        assert_eq!(ats(Some("a"), 3), [0; 0]);
        drop(store);
        assert_eq!(open(4).history(None, 1).unwrap(), [entry(6, Some("b"))]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Both stores answer every sequence of batches alike.
    #[test]
    fn both_stores_agree(batches in proptest::collection::vec(proptest::collection::vec((0..4u8, 0..4u8, 0..3u8), 0..4), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = EmbeddedStore::open(folder.path()).unwrap().keeping(5);
        let mut memory = MemoryStore::keeping(5);
        let mut seen: BTreeMap<String, Revision> = BTreeMap::new();
        for (at, batch) in batches.iter().enumerate() {
            let mut made = Batch::default();
            for (name, expected, value) in batch {
                let name = format!("n{name}");
                let expected = match expected {
                    0 => Expected::Absent,
                    1 => Expected::Anything,
                    _ => seen.get(&name).map_or(Expected::Absent, |revision| Expected::At(*revision)),
                };
                made.writes.push(write(&name, expected, (*value > 0).then_some("v")));
                made.history.push(entry(at as u64, (*value > 1).then_some("n0")));
            }
            let (one, other) = (disk.commit(&made), memory.commit(&made));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            if let Ok(revision) = one {
                seen.extend(made.writes.iter().map(|write| (write.key.name.to_string(), revision)));
            }
            prop_assert_eq!(disk.changes(Revision(0)).unwrap(), memory.changes(Revision(0)).unwrap());
            prop_assert_eq!(disk.changes(Revision(2)).unwrap(), memory.changes(Revision(2)).unwrap());
            prop_assert_eq!(disk.history(None, 9).unwrap(), memory.history(None, 9).unwrap());
            prop_assert_eq!(disk.history(Some(&key("n0")), 9).unwrap(), memory.history(Some(&key("n0")), 9).unwrap());
        }
    }
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let held = EmbeddedStore::open(folder.path()).unwrap();
    let error = EmbeddedStore::open(folder.path()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    assert!(source.contains("another process"), "{source}");
    drop(held);
    EmbeddedStore::open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::Open { .. })));
}

/// A process that dies between a batch and its note leaves a batch that the next one serves: then it is noted.
#[test]
fn what_is_served_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("berth.head");
    let mut store = EmbeddedStore::open(folder.path()).unwrap();
    store.commit(&writes(vec![write("a", Expected::Absent, Some("1"))])).unwrap();
    let before = fs::read(&head).unwrap();
    store.commit(&writes(vec![write("b", Expected::Absent, Some("1"))])).unwrap();
    let after = fs::read(&head).unwrap();
    drop(store);
    fs::write(&head, &before).unwrap();
    assert_eq!(names(&EmbeddedStore::open(folder.path()).unwrap(), 0).len(), 2);
    assert_eq!(fs::read(&head).unwrap(), after);
    fs::write(&head, b"rubbish").unwrap();
    let error = EmbeddedStore::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("berth.head") && error.contains("remove"), "{error}");
    fs::remove_file(&head).unwrap();
    assert_eq!(names(&EmbeddedStore::open(folder.path()).unwrap(), 0).len(), 2);
}

fn fill(folder: &Path) -> usize {
    let mut store = EmbeddedStore::open(folder).unwrap();
    for number in 0..20 {
        let value = format!("value {number} ").repeat(40);
        let mut batch = writes(vec![write(&format!("n{number}"), Expected::Absent, Some(&value))]);
        batch.history.push(entry(number, Some("n0")));
        store.commit(&batch).unwrap();
    }
    names(&store, 0).len()
}

/// Every byte of a value is covered: a store whose values were damaged opens with an error, or reads with one.
#[test]
fn flipped_bytes_of_values_are_never_served() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(fill(folder.path()), 20);
    let file = folder.path().join("berth.redb");
    let sound = fs::read(&file).unwrap();
    let places: Vec<usize> =
        sound.windows(9).enumerate().filter(|(_, bytes)| *bytes == b"value 7 v").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for bit in 0..8 {
        let mut bad = sound.clone();
        places.iter().for_each(|place| bad[place + 3] ^= 1 << bit);
        fs::write(&file, &bad).unwrap();
        let found = EmbeddedStore::open(folder.path()).and_then(|store| store.changes(Revision(0)));
        assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{found:?}");
    }
}

/// A flip anywhere in the file is detected, or in a page that holds nothing.
#[test]
fn flipped_bytes_anywhere_give_the_same_objects_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let file = folder.path().join("berth.redb");
    let expected = EmbeddedStore::open(folder.path()).unwrap().changes(Revision(0)).unwrap();
    let sound = fs::read(&file).unwrap();
    let mut detected = 0;
    for place in (0..sound.len().min(400_000)).step_by(1013) {
        let mut bad = sound.clone();
        bad[place] ^= 0x10;
        fs::write(&file, &bad).unwrap();
        match EmbeddedStore::open(folder.path()).and_then(|store| store.changes(Revision(0))) {
            Ok(found) => assert_eq!(found, expected, "byte {place}"),
            Err(StoreError::Corrupt { .. } | StoreError::Open { .. }) => detected += 1,
            Err(other) => panic!("byte {place}: {other}"),
        }
    }
    assert!(detected > 0);
}

#[test]
fn a_file_cut_short_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let file = folder.path().join("berth.redb");
    let sound = fs::read(&file).unwrap();
    for part in [sound.len() / 2, 5000, 100, 3] {
        fs::write(&file, &sound[..part]).unwrap();
        let found = EmbeddedStore::open(folder.path()).and_then(|store| store.changes(Revision(0)));
        assert!(matches!(found, Err(StoreError::Corrupt { .. } | StoreError::Open { .. })), "{part}: {found:?}");
    }
}
