//! Damage done to the store of a run of the bundled example.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use berth_control::event::Event;
use berth_control::ports::Events;
use berth_control::{Controller, Settings};
use berth_core::ids::Millis;
use berth_core::native::Builtin;
use berth_sim::{Driver, Options, Simulation, example};

use super::*;

struct Silent;

impl Events for Silent {
    fn emit(&mut self, _: Event) {}
}

/// Runs the example into a folder, and copies it to another half way.
fn run(folder: &Path, older: &Path) {
    let objects = example::fleet_objects().unwrap();
    let spec = example::simulation(&objects).unwrap().clone();
    let store = EmbeddedStore::open(folder).unwrap();
    let mut controller = Controller::open(Box::new(store), Settings::default()).unwrap();
    controller.apply(objects.clone(), Millis(0)).unwrap();
    let mut world =
        Simulation::new(&objects, Some(&spec), 1, Millis(0), &example::source(), Options::default()).unwrap();
    for (minutes, copies) in [(10, true), (25, false)] {
        let (mut policies, mut events) = (Builtin::default(), Silent);
        let mut driver = Driver {
            controller: &mut controller,
            simulation: &mut world,
            policies: &mut policies,
            events: &mut events,
        };
        driver.run_until(Millis(minutes * 60_000)).unwrap();
        if copies {
            for name in EmbeddedStore::FILES {
                fs::copy(folder.join(name), older.join(name)).unwrap();
            }
        }
    }
    // The folder is left as a crash leaves it: copied while it is open.
    for name in EmbeddedStore::FILES {
        fs::copy(folder.join(name), folder.join(format!("{name}.copy"))).unwrap();
    }
    drop(controller);
    for name in EmbeddedStore::FILES {
        fs::rename(folder.join(format!("{name}.copy")), folder.join(name)).unwrap();
    }
}

fn specimen() -> Specimen {
    let (folder, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(folder.path(), older.path());
    let specimen = Specimen::read(folder.path(), older.path()).unwrap();
    assert!(specimen.content().objects.len() > 20 && specimen.content().history.len() > 20);
    assert_eq!(specimen.content().lost_entries(), Vec::<String>::new());
    specimen
}

#[test]
fn damage_is_harmless_or_reported() {
    let tally = specimen().damage(&mut Dice::new(1, 1), 300, |_| ()).unwrap();
    assert!(tally.reported > 100 && tally.exact > 10, "{tally:?}");
}

#[test]
#[ignore = "takes minutes; `cargo run --release -p xtask -- crash` does it too"]
fn damage_is_harmless_or_reported_many_times() {
    specimen().damage(&mut Dice::new(2, 1), 10_000, |_| ()).unwrap();
}

/// Each bit of the head of the file, where one bit decides which of two states is the newest.
#[test]
fn every_bit_of_the_head_counts() {
    let specimen = specimen();
    let file = specimen.files[EmbeddedStore::FILES[0]].0.clone();
    let mut tally = Tally::default();
    for at in 0..32 {
        for bit in 0..8 {
            let mut bytes = file.clone();
            bytes[at] ^= 1 << bit;
            let judged = specimen.one(EmbeddedStore::FILES[0], &bytes, &mut tally);
            judged.with_context(|| format!("bit {bit} of byte {at}")).unwrap();
        }
    }
}

/// Why the newest revision is noted beside the store: all checksums hold for the state before the last batch, too, and one bit
/// of the head says which of both is the newest.
#[test]
fn without_the_note_one_bit_takes_back_a_batch() {
    const PRIMARY: usize = 9;
    let specimen = specimen();
    let mut bytes = specimen.files[EmbeddedStore::FILES[0]].0.clone();
    bytes[PRIMARY] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(EmbeddedStore::FILES[0]), &bytes).unwrap();
    let found = Content::read(folder.path()).unwrap();
    assert_ne!(found, specimen.content, "the store alone finds it by now: the note may go");
    let mut tally = Tally::default();
    specimen.one(EmbeddedStore::FILES[0], &bytes, &mut tally).unwrap();
    assert_eq!(tally, Tally { exact: 0, reported: 1 });
}

/// A sound copy of an earlier time has all its checksums.
#[test]
fn an_older_copy_of_the_whole_store_is_reported() {
    let specimen = specimen();
    let older = specimen.files[EmbeddedStore::FILES[0]].1.clone();
    let mut tally = Tally::default();
    specimen.one(EmbeddedStore::FILES[0], &older, &mut tally).unwrap();
    assert_eq!(tally.reported, 1);
    let said = {
        let folder = tempfile::tempdir().unwrap();
        for (name, (newer, older)) in &specimen.files {
            fs::write(folder.path().join(name), if name == EmbeddedStore::FILES[0] { older } else { newer }).unwrap();
        }
        EmbeddedStore::open(folder.path()).unwrap_err().to_string()
    };
    assert!(said.contains("earlier time") && said.contains("berth.redb") && said.contains("put back"), "{said}");
}

/// The test can fail: content that is not what was written is seen.
#[test]
fn wrong_content_is_seen() {
    let specimen = specimen();
    let folder = tempfile::tempdir().unwrap();
    for (name, (_, older)) in &specimen.files {
        fs::write(folder.path().join(name), older).unwrap();
    }
    let found = Content::read(folder.path());
    assert!(found.is_ok());
    let error = specimen.judge(found, folder.path(), &mut Tally::default()).unwrap_err();
    assert!(error.to_string().contains("wrong content is served"), "{error}");
}
