//! What a disk, a file system or a hand may do to the files: bits flip, sectors are lost, pages change places or are those of
//! an earlier time, files are cut short or grow. Whatever was done, the store gives exactly what was acknowledged or says that
//! it is damaged; it never gives anything else, and never hangs or panics.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_control::ports::{HistoryEntry, Revision, Store, StoreError, Stored};
use berth_control::store::EmbeddedStore;

use super::client::Client;
use super::dice::Dice;
use super::program::{PATIENCE as STARTING, copy};
use super::{Launch, Options, audit, data, launch, older};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Opening and reading a damaged store takes no longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// One thing that happens to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    FlipBit {
        at: usize,
        bit: u32,
    },
    ZeroSector {
        at: usize,
    },
    /// Random bytes in place of what was there.
    Overwrite {
        at: usize,
        bytes: Vec<u8>,
    },
    SwapPages {
        one: usize,
        other: usize,
    },
    /// A page as it was at an earlier time.
    StalePage {
        at: usize,
    },
    Truncate {
        to: usize,
    },
    Append {
        bytes: Vec<u8>,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::FlipBit { at, bit } => write!(f, "bit {bit} of byte {at} flipped"),
            Damage::ZeroSector { at } => write!(f, "the {SECTOR} bytes from {at} zeroed"),
            Damage::Overwrite { at, bytes } => write!(f, "{} bytes from {at} overwritten", bytes.len()),
            Damage::SwapPages { one, other } => write!(f, "the pages at {one} and {other} swapped"),
            Damage::StalePage { at } => write!(f, "the page at {at} as it was before"),
            Damage::Truncate { to } => write!(f, "cut short to {to} bytes"),
            Damage::Append { bytes } => write!(f, "{} bytes appended", bytes.len()),
        }
    }
}

impl Damage {
    /// Draws one for a file, more often where there is something than where there is nothing.
    pub fn draw(dice: &mut Dice, file: &[u8], older: &[u8]) -> Self {
        let len = file.len().max(1);
        let at = place(dice, file);
        let rubbish = |dice: &mut Dice, count: u64| (0..count).map(|_| dice.draw() as u8).collect();
        match dice.below(16) {
            0..=5 => Self::FlipBit { at, bit: dice.below(8) as u32 },
            6..=8 => Self::ZeroSector { at: at / SECTOR * SECTOR },
            9 => {
                let count = 1 + dice.below(200);
                Self::Overwrite { at, bytes: rubbish(dice, count) }
            }
            10 | 11 => Self::SwapPages { one: at / PAGE * PAGE, other: place(dice, file) / PAGE * PAGE },
            12 | 13 => {
                let changed: Vec<usize> = (0..len.min(older.len()) / PAGE)
                    .map(|page| page * PAGE)
                    .filter(|at| file[*at..*at + PAGE] != older[*at..*at + PAGE])
                    .collect();
                let chosen = changed.get(dice.below(changed.len() as u64) as usize);
                Self::StalePage { at: chosen.copied().unwrap_or(0) }
            }
            14 => Self::Truncate { to: dice.below(len as u64) as usize },
            _ => {
                let count = [1, 511, 4096, 100_000][dice.below(4) as usize];
                Self::Append { bytes: rubbish(dice, count) }
            }
        }
    }

    pub fn apply(&self, file: &mut Vec<u8>, older: &[u8]) {
        let len = file.len();
        match self {
            Self::FlipBit { at, bit } => {
                if let Some(byte) = file.get_mut(*at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::ZeroSector { at } => file[(*at).min(len)..(at + SECTOR).min(len)].fill(0),
            Self::Overwrite { at, bytes } => {
                let end = (at + bytes.len()).min(len);
                file[(*at).min(end)..end].copy_from_slice(&bytes[..end - (*at).min(end)]);
            }
            Self::SwapPages { one, other } => {
                if one.max(other) + PAGE <= len {
                    for byte in 0..PAGE {
                        file.swap(one + byte, other + byte);
                    }
                }
            }
            Self::StalePage { at } => {
                let end = (at + PAGE).min(len).min(older.len());
                if *at < end {
                    file[*at..end].copy_from_slice(&older[*at..end]);
                }
            }
            Self::Truncate { to } => file.truncate(*to),
            Self::Append { bytes } => file.extend_from_slice(bytes),
        }
    }
}

/// A byte of the file: of its head, of a page that holds something, or any.
fn place(dice: &mut Dice, file: &[u8]) -> usize {
    let any = dice.below(file.len() as u64) as usize;
    match dice.below(8) {
        0 | 1 => dice.below((file.len() as u64).min(320)) as usize,
        2..=6 => {
            let full = |at: &usize| {
                file[at / PAGE * PAGE..(at / PAGE * PAGE + PAGE).min(file.len())].iter().any(|byte| *byte != 0)
            };
            (0..50).map(|_| dice.below(file.len() as u64) as usize).find(full).unwrap_or(any)
        }
        _ => any,
    }
}

/// All that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub objects: Vec<Stored>,
    pub history: Vec<HistoryEntry>,
    /// Entries of the history that are found by the object that they are about.
    by_object: BTreeMap<String, Vec<HistoryEntry>>,
}

impl Content {
    /// Opens the store in a folder and reads everything.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let store = EmbeddedStore::open(folder)?;
        let objects = store.changes(Revision(0))?;
        let history = store.history(None, usize::MAX)?;
        let mut by_object = BTreeMap::new();
        for key in history.iter().filter_map(|entry| entry.about.as_ref()).chain(objects.iter().map(|one| &one.key)) {
            let name = format!("{key:?}");
            if let Entry::Vacant(place) = by_object.entry(name) {
                place.insert(store.history(Some(key), usize::MAX)?);
            }
        }
        Ok(Self { objects, history, by_object })
    }

    /// Entries of the history that are not found by the object that they are about, or found and not there.
    pub fn lost_entries(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (key, found) in &self.by_object {
            let about = |entry: &&HistoryEntry| entry.about.as_ref().is_some_and(|about| format!("{about:?}") == *key);
            let there: Vec<&HistoryEntry> = self.history.iter().filter(about).collect();
            if !there.into_iter().eq(found) {
                faults.push(format!("the history by object and the history as a whole differ on {key}"));
            }
        }
        faults
    }
}

/// What became of the damages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Everything was there: what was damaged holds nothing.
    pub exact: u64,
    /// The store said so.
    pub reported: u64,
}

/// A store of a run, as it is and as it was earlier.
#[derive(Debug)]
pub struct Specimen {
    files: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    content: Content,
}

impl Specimen {
    /// Reads the files of the store in `folder`, and the same files as they were before in `older`. Both are copied first, so
    /// that they stay as they are.
    ///
    /// # Errors
    /// If a file cannot be read, or the store is not sound.
    pub fn read(folder: &Path, older: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in EmbeddedStore::FILES {
            let read =
                |folder: &Path| fs::read(folder.join(name)).with_context(|| format!("{}: {name}", folder.display()));
            files.insert(name.to_owned(), (read(folder)?, read(older).unwrap_or_default()));
        }
        let scratch = tempfile::tempdir()?;
        for (name, (bytes, _)) in &files {
            fs::write(scratch.path().join(name), bytes)?;
        }
        let content = Content::read(scratch.path()).context("the store is not sound to begin with")?;
        // A process that died in the middle of a commit may have left a batch that nobody acknowledged. It was served now, so
        // it is noted, and must not be taken back.
        if let Some((head, _)) = files.get_mut(EmbeddedStore::FILES[1]) {
            *head = fs::read(scratch.path().join(EmbeddedStore::FILES[1]))?;
        }
        Ok(Self { files, content })
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    pub fn bytes(&self) -> usize {
        self.files.values().map(|(bytes, _)| bytes.len()).sum()
    }

    /// Damages the store `count` times, each time from its sound state.
    ///
    /// # Errors
    /// The first damage that was not met as it should be. The damaged folder is kept then, and named.
    pub fn damage(&self, dice: &mut Dice, count: u64, mut progress: impl FnMut(Tally)) -> Result<Tally> {
        let mut tally = Tally::default();
        for number in 0..count {
            let (name, (sound, older)) = self.draw(dice);
            let damage = Damage::draw(dice, sound, older);
            let mut bytes = sound.clone();
            damage.apply(&mut bytes, older);
            self.one(name, &bytes, &mut tally).with_context(|| format!("damage {number}: {name}: {damage}"))?;
            progress(tally);
        }
        Ok(tally)
    }

    /// Nearly always the large file.
    fn draw(&self, dice: &mut Dice) -> (&str, &(Vec<u8>, Vec<u8>)) {
        let small = dice.chance(5);
        let by_size = |(_, (bytes, _)): &(&String, &(Vec<u8>, Vec<u8>))| bytes.len();
        let chosen = if small { self.files.iter().min_by_key(by_size) } else { self.files.iter().max_by_key(by_size) };
        // There is at least one file: the store was opened.
        chosen.map_or(("", &EMPTY), |(name, bytes)| (name.as_str(), bytes))
    }

    /// Holds a store with one file replaced against what it must give.
    ///
    /// # Errors
    /// Wrong content, a panic, a hang, or an error that does not say what it is.
    pub fn one(&self, name: &str, bytes: &[u8], tally: &mut Tally) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        for (other, (sound, _)) in &self.files {
            fs::write(scratch.path().join(other), if other == name { bytes } else { sound })?;
        }
        let folder = scratch.path().to_owned();
        let judged = read_in_time(&folder).and_then(|found| self.judge(found, &folder, tally));
        if judged.is_err() {
            let kept = scratch.keep();
            // What was opened may have been written to: the file as it was damaged is what matters.
            fs::write(kept.join(name), bytes)?;
            return judged.with_context(|| format!("kept in {}", kept.display()));
        }
        Ok(())
    }

    fn judge(&self, found: Result<Content, StoreError>, folder: &Path, tally: &mut Tally) -> Result<()> {
        match found {
            Ok(content) if content == self.content => tally.exact += 1,
            Ok(content) => bail!("wrong content is served: {}", difference(&self.content, &content)),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Open { .. })) => {
                let said = error.to_string();
                ensure!(said.contains(&folder.display().to_string()), "the error names no file: {said}");
                tally.reported += 1;
            }
            Err(error) => bail!("another error than damage: {error}"),
        }
        Ok(())
    }
}

static EMPTY: (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());

/// Reads a store on a thread of its own, so that a panic or a hang is seen.
fn read_in_time(folder: &Path) -> Result<Result<Content, StoreError>> {
    let (send, receive) = channel();
    let folder: PathBuf = folder.to_owned();
    std::thread::Builder::new().name("damaged".to_owned()).spawn(move || {
        // Nobody listens only if it took too long, which is told already.
        drop(send.send(catch_unwind(AssertUnwindSafe(|| Content::read(&folder)))));
    })?;
    match receive.recv_timeout(PATIENCE) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) => bail!("it panicked"),
        Err(_) => bail!("it hangs"),
    }
}

fn difference(expected: &Content, found: &Content) -> String {
    let missing = expected.objects.iter().filter(|one| !found.objects.contains(one)).count();
    let wrong = found.objects.iter().filter(|one| !expected.objects.contains(one)).count();
    let (kept, all) = (found.history.len(), expected.history.len());
    format!("{missing} objects are missing, {wrong} were not written so, {kept} of {all} entries of the history")
}

/// The simulated fleet as it was saved, and the fleet file as it was applied; damaged as well.
const BESIDE: [&str; 2] = ["world.json", "fleet.yaml"];

/// Starts the program `count` times on a folder of which one file is damaged. It must refuse, with its exit code and a
/// message that names the file, or serve exactly what was there.
///
/// # Errors
/// The first damage that was not met as it should be. The damaged folder is kept then, and named.
pub fn start_damaged(options: &Options, dice: &mut Dice, count: u64) -> Result<Tally> {
    let (sound, before) = (data(&options.folder), older(&options.folder));
    let specimen = Specimen::read(&sound, &before)?;
    let expected = audit::stored(&specimen.content)?;
    let mut tally = Tally::default();
    let damaged = options.folder.join("damaged");
    for number in 0..count {
        copy(&sound, &damaged)?;
        for (name, (bytes, _)) in &specimen.files {
            fs::write(damaged.join(name), bytes)?;
        }
        let name = if dice.chance(30) {
            BESIDE[dice.below(2) as usize]
        } else {
            EmbeddedStore::FILES[usize::from(dice.chance(10))]
        };
        let file = damaged.join(name);
        let mut bytes = fs::read(&file).with_context(|| file.display().to_string())?;
        let stale = fs::read(before.join(name)).unwrap_or_default();
        let damage = Damage::draw(dice, &bytes, &stale);
        damage.apply(&mut bytes, &stale);
        fs::write(&file, &bytes)?;
        let launch = Launch { data: damaged.clone(), log: options.folder.join("damaged.log"), ..launch(options) };
        let kept = damaged.display();
        start(&launch, name, &expected, &mut tally)
            .with_context(|| format!("start {number}: {name}: {damage}; kept in {kept}"))?;
        fs::remove_dir_all(&damaged)?;
    }
    Ok(tally)
}

fn start(launch: &Launch, name: &str, expected: &audit::Found, tally: &mut Tally) -> Result<()> {
    let mut program = launch.start()?;
    let begun = std::time::Instant::now();
    let address = loop {
        if let Some(status) = program.end(Duration::from_millis(5))? {
            let printed = program.printed();
            ensure!(status.code() == Some(1), "it ended with {status}:\n{printed}");
            ensure!(printed.contains("error: ") && printed.contains(name), "it does not say what is wrong:\n{printed}");
            tally.reported += 1;
            return Ok(());
        }
        if let Some(address) = program.address() {
            break address;
        }
        ensure!(begun.elapsed() < STARTING, "it neither starts nor ends:\n{}", program.printed());
    };
    let mut faults = Vec::new();
    let found = audit::served(&Client::new(&address), &mut faults);
    let (_, printed) = program.kill()?;
    ensure!(faults.is_empty() && found == *expected, "it serves what was not written: {faults:?}\n{printed}");
    tally.exact += 1;
    Ok(())
}

#[cfg(test)]
mod tests;
