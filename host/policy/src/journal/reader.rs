//! Reads the calls of a folder, also while it is being written: it changes nothing and locks nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_core::policy::Tables;
use serde::Serialize;

use super::codec::{self, Who};
use super::frame::{Found, Frames};
use super::{BROKE, CALL, Segment, TABLES, WHO, segments};
use crate::call::Call;

/// Faults that are told one by one; the rest is counted.
const TOLD: usize = 20;

/// A call as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub call: Call,
    /// The rule that its answer broke, for which the built-in algorithm decided.
    pub broke_rule: Option<String>,
}

/// Something in a file that is not what was written, and was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    pub file: PathBuf,
    pub what: String,
}

/// What was skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    pub count: u64,
    /// The first of them.
    pub first: Vec<Fault>,
}

impl Faults {
    fn add(&mut self, file: &Path, what: String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(Fault { file: file.to_owned(), what });
        }
    }
}

/// The recorded calls of a folder, oldest first.
#[derive(Debug)]
pub struct Reader {
    files: VecDeque<Segment>,
    calls: VecDeque<Recorded>,
    from_ms: u64,
    faults: Faults,
}

impl Reader {
    /// # Errors
    /// If the folder cannot be listed.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let files = segments(dir)?.into();
        Ok(Self { files, calls: VecDeque::new(), from_ms: 0, faults: Faults::default() })
    }

    /// The clock of the newest call; `None` where there is none.
    pub fn newest_ms(&self) -> Option<u64> {
        // The clock of an earlier file may be ahead where it was put back; the newest file counts.
        let newest = |file: &Segment| read(file, &mut Faults::default()).iter().map(|one| one.call.at_ms).max();
        self.files.iter().rev().find_map(newest)
    }

    /// Leaves out what is older.
    pub fn from(mut self, from_ms: u64) -> Self {
        self.from_ms = from_ms;
        // What a file holds ends where the next one begins.
        while self.files.get(1).is_some_and(|next| next.first_ms < from_ms) {
            self.files.pop_front();
        }
        self
    }

    /// Leaves out all but the newest calls that are meant, so many at the most. Reads backwards, and no more files than it
    /// takes.
    pub fn keep_newest(&mut self, most: usize, means: impl Fn(&Recorded) -> bool) {
        let mut kept = VecDeque::new();
        while kept.len() < most
            && let Some(file) = self.files.pop_back()
        {
            let mut calls = read(&file, &mut self.faults);
            calls.retain(|one| one.call.at_ms >= self.from_ms && means(one));
            let spare = (kept.len() + calls.len()).saturating_sub(most);
            calls.drain(..spare);
            calls.into_iter().rev().for_each(|call| kept.push_front(call));
        }
        self.files.clear();
        self.calls = kept;
    }

    /// What was skipped so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Iterator for Reader {
    type Item = Recorded;

    fn next(&mut self) -> Option<Recorded> {
        loop {
            if let Some(call) = self.calls.pop_front() {
                return Some(call);
            }
            let file = self.files.pop_front()?;
            let mut calls = read(&file, &mut self.faults);
            calls.retain(|one| one.call.at_ms >= self.from_ms);
            self.calls = calls.into();
        }
    }
}

/// All calls of one file.
fn read(file: &Segment, faults: &mut Faults) -> Vec<Recorded> {
    match std::fs::read(&file.path) {
        Ok(bytes) => calls(&file.path, &bytes, faults),
        // It has been removed since, because it is too old.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            faults.add(&file.path, format!("it cannot be read: {error}"));
            Vec::new()
        }
    }
}

/// The calls in the bytes of one file.
pub(super) fn calls(file: &Path, bytes: &[u8], faults: &mut Faults) -> Vec<Recorded> {
    let mut tables: BTreeMap<u64, Arc<Tables>> = BTreeMap::new();
    let mut who: BTreeMap<u64, Who> = BTreeMap::new();
    let mut calls: Vec<Recorded> = Vec::new();
    for found in Frames::new(bytes) {
        let (kind, content) = match found {
            Found::Frame { kind, content } => (kind, content),
            Found::Damaged { offset, bytes } => {
                faults.add(file, format!("{bytes} bytes from {offset} on are not what was written"));
                continue;
            }
            // Its writer was killed, or is about to write the rest.
            Found::Torn => continue,
        };
        let known = match kind {
            TABLES => codec::decode_tables(content).map(|(row, one)| drop(tables.insert(row, Arc::new(one)))),
            WHO => codec::decode_who(content).map(|(row, one)| drop(who.insert(row, one))),
            CALL => codec::decode_call(content).map(|bare| match (who.get(&bare.who), tables.get(&bare.tables)) {
                (Some(who), Some(tables)) => {
                    calls.push(Recorded { call: bare.with(who, tables), broke_rule: None });
                }
                _ => faults.add(file, format!("call {} needs what is damaged before it", bare.number)),
            }),
            BROKE => codec::decode_broken(content).map(|(number, rule)| {
                if let Some(last) = calls.last_mut().filter(|last| last.call.number == number) {
                    last.broke_rule = Some(rule);
                }
            }),
            _ => None,
        };
        if known.is_none() {
            faults.add(file, format!("a frame of kind {kind} is of another version"));
        }
    }
    calls
}
