//! What editors, copying tools, Kubernetes and hasty hands do to a watched folder, through the real file system and the
//! real watch: every decision is by a policy of one whole state of the folder, and the last state is in force in the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use berth_core::policy::Policies;
use berth_policy::{Directory, PolicyHost, Watch};
use tempfile::TempDir;

use crate::support::{misbehave, request, room, runtime, tables, term, variant};

/// Two policies from one file, which always have the same tag within one state of the folder.
fn pair(tag: u32) -> String {
    let one = |name: &str| format!("[policy.{name}]\nfile = \"misbehave.wasm\"\nconfig = {{ tag = {tag} }}\n");
    one("one") + &one("two")
}

/// A watched folder, and a thread that decides by it all the time.
struct Busy {
    folder: TempDir,
    stop: Arc<AtomicBool>,
    /// The tag of the last decision.
    last: Arc<AtomicU32>,
    decider: Option<JoinHandle<Decided>>,
    set: Box<dyn Fn() -> Arc<berth_policy::PolicySet>>,
    _watch: Watch,
}

/// What the thread saw: decisions in all, and the tags that decided.
#[derive(Debug, Default)]
struct Decided {
    count: u64,
    tags: BTreeSet<u32>,
    /// With the file that decided.
    versions: BTreeSet<(u32, Arc<str>)>,
}

fn decide(mut host: PolicyHost, stop: &AtomicBool, last: &AtomicU32) -> Decided {
    let tables = tables(&["a", "b"]);
    let mut decided = Decided::default();
    while !stop.load(Ordering::Relaxed) {
        host.begin();
        let seen = ["one", "two"].map(|name| {
            let answer = host.place(Some(&name.into()), &tables, &request("", decided.count), &room());
            assert!(answer.failed.is_none(), "no decision is lost: {:?}", answer.failed);
            (term(&answer, "tag") as u32, answer.by.digest)
        });
        assert_eq!(seen[0], seen[1], "one cycle decides by one state of the folder");
        decided.count += 2;
        decided.tags.insert(seen[0].0);
        decided.versions.insert(seen[0].clone());
        last.store(seen[0].0, Ordering::Relaxed);
    }
    decided
}

impl Busy {
    /// `fill` makes the folder's first state, with the tag 0.
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        fill(&folder.path().join("policies"));
        let mut directory = Directory::new(folder.path().join("policies"), runtime());
        let scan = directory.scan();
        assert_eq!(scan.changed.len(), 2, "{scan:?}");
        let host = PolicyHost::new(&directory);
        let set = PolicyHost::new(&directory);
        let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let decider = std::thread::spawn({
            let (stop, last) = (stop.clone(), last.clone());
            move || decide(host, &stop, &last)
        });
        let watch = Watch::start(directory, |_| ()).unwrap();
        Self { folder, stop, last, decider: Some(decider), set: Box::new(move || set.set()), _watch: watch }
    }

    fn plain() -> Self {
        Self::new(|folder| {
            fs::copy(misbehave(), folder.join("misbehave.wasm")).unwrap();
            fs::write(folder.join("policies.toml"), pair(0)).unwrap();
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("policies").join(name)
    }

    /// Waits until this tag decides.
    fn wait_for(&self, tag: u32) {
        self.wait_until(&format!("tag {tag} decides"), |_| self.last.load(Ordering::Relaxed) == tag);
    }

    fn wait_until(&self, what: &str, is: impl Fn(&berth_policy::PolicySet) -> bool) {
        let started = Instant::now();
        while !is(&(self.set)()) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: {:?}", (self.set)());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn decided(mut self) -> Decided {
        self.stop.store(true, Ordering::Relaxed);
        let decided = self.decider.take().unwrap().join().expect("every decision was taken by one state of the folder");
        assert!(decided.count > 0);
        decided
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_editor_that_writes_aside_and_renames() {
    let busy = Busy::plain();
    fs::write(busy.path("policies.toml.tmp"), pair(1)).unwrap();
    fs::rename(busy.path("policies.toml.tmp"), busy.path("policies.toml")).unwrap();
    busy.wait_for(1);
    assert_eq!(busy.decided().tags, BTreeSet::from([0, 1]));
}

#[test]
fn an_editor_that_moves_the_old_file_away_first() {
    let busy = Busy::plain();
    // As vim does without `backupcopy`; and it takes its time, longer than the folder has to be quiet.
    fs::write(busy.path("4913"), "").unwrap();
    fs::remove_file(busy.path("4913")).unwrap();
    fs::rename(busy.path("policies.toml"), busy.path("policies.toml~")).unwrap();
    std::thread::sleep(Duration::from_millis(350));
    fs::write(busy.path("policies.toml"), pair(1)).unwrap();
    fs::remove_file(busy.path("policies.toml~")).unwrap();
    busy.wait_for(1);
    assert_eq!(busy.decided().tags, BTreeSet::from([0, 1]));
}

#[test]
fn a_writer_that_pauses_in_the_middle_of_a_file() {
    let busy = Busy::plain();
    // The first half alone would be valid, and give `one` another tag than `two`.
    let text = pair(1);
    let (head, tail) = text.split_at(text.find("[policy.two]").unwrap());
    let mut file = File::create(busy.path("policies.toml")).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    file.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    file.write_all(tail.as_bytes()).unwrap();
    drop(file);
    busy.wait_for(1);

    // Half a component is refused or waited for, and changes nothing.
    let guest = variant(&misbehave(), 1);
    let mut file = File::create(busy.path("misbehave.wasm")).unwrap();
    file.write_all(&guest[..guest.len() / 2]).unwrap();
    file.sync_all().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    file.write_all(&guest[guest.len() / 2..]).unwrap();
    drop(file);
    let before = digest_of(&misbehave());
    busy.wait_until("the new file comes in force", |set| set.policies.values().all(|one| *one.by.digest != *before));
    assert_eq!(busy.decided().tags, BTreeSet::from([0, 1]));
}

fn digest_of(file: &Path) -> String {
    berth_policy::inspect(&runtime(), file, None).unwrap().digest.to_string()
}

/// One update of a mounted ConfigMap, as the kubelet's atomic writer does it: a new folder, a link beside, a rename.
fn project(folder: &Path, stamp: &str, old: Option<&str>, tag: u32, mark: u8) {
    let data = folder.join(stamp);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("misbehave.wasm"), variant(&misbehave(), mark)).unwrap();
    fs::write(data.join("policies.toml"), pair(tag)).unwrap();
    symlink(stamp, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for name in ["misbehave.wasm", "policies.toml"] {
        if old.is_none() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).unwrap();
    }
}

#[test]
fn a_config_map_that_is_updated() {
    let busy = Busy::new(|folder| project(folder, "..2026_11_24_19_00_00.1", None, 0, 0));
    let mut old = "..2026_11_24_19_00_00.1".to_owned();
    for tag in 1..=5 {
        let stamp = format!("..2026_11_24_19_00_0{tag}.{tag}");
        project(&busy.path(""), &stamp, Some(&old), tag, tag as u8);
        busy.wait_for(tag);
        old = stamp;
    }
    let names: Vec<String> = (busy.set)().policies.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["one", "two"], "nothing is loaded from the folders behind the links");
    let decided = busy.decided();
    assert_eq!(decided.tags, (0..=5).collect());
    assert_eq!(decided.versions.len(), 6, "a file decides only with the configuration that came with it: {decided:?}");
}

#[test]
fn a_folder_that_is_deleted_and_made_again() {
    let busy = Busy::plain();
    for tag in 1..=3 {
        fs::remove_dir_all(busy.path("")).unwrap();
        // Long enough to be noticed, or at once.
        std::thread::sleep(Duration::from_millis(if tag == 2 { 900 } else { 0 }));
        fs::create_dir(busy.path("")).unwrap();
        fs::copy(misbehave(), busy.path("misbehave.wasm")).unwrap();
        fs::write(busy.path("policies.toml"), pair(tag)).unwrap();
        busy.wait_for(tag);
        // The watch is on the new folder: it sees a change there without waiting for its period.
        let changed = Instant::now();
        fs::write(busy.path("policies.toml"), pair(tag + 10)).unwrap();
        busy.wait_for(tag + 10);
        assert!(changed.elapsed() < Duration::from_secs(15), "{:?}", changed.elapsed());
    }
    busy.decided();
}

#[test]
fn a_hundred_changes_a_second() {
    let busy = Busy::plain();
    let every = Duration::from_millis(10);
    let started = Instant::now();
    const LAST: u32 = 600;
    for change in 1..=LAST {
        match change % 4 {
            0 => {
                fs::write(busy.path("misbehave.tmp"), variant(&misbehave(), (change % 8) as u8)).unwrap();
                fs::rename(busy.path("misbehave.tmp"), busy.path("misbehave.wasm")).unwrap();
            }
            1 => fs::write(busy.path("policies.toml"), pair(change)).unwrap(),
            2 => fs::write(busy.path(&format!("note-{change}")), "nothing of ours").unwrap(),
            _ => {
                fs::write(busy.path(".policies.toml.swp"), pair(change)).unwrap();
                fs::rename(busy.path(".policies.toml.swp"), busy.path("policies.toml")).unwrap();
            }
        }
        std::thread::sleep((every * change).saturating_sub(started.elapsed()));
    }
    busy.wait_for(LAST - 1);
    let digest = berth_policy::inspect(&runtime(), &busy.path("misbehave.wasm"), None).unwrap().digest;
    busy.wait_until("the last file is in force", |set| set.policies.values().all(|one| one.by.digest == digest));
    let decided = busy.decided();
    assert!(decided.tags.len() > 2, "it did not wait for the changes to end: {decided:?}");
}
