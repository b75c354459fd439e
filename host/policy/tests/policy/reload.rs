//! Hot reload: the next cycle decides by what is in the folder now, and what is broken there changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use berth_core::fleet::Labels;
use berth_core::ids::PolicyName;
use berth_core::policy::{Kind, Policies, Subject};
use berth_core::workload::Division;
use berth_policy::{PolicyHost, PolicyState, Scan, Watch};

use crate::support::{Home, failure, misbehave, request, room, tables, term, variant};

fn digest(home: &mut Home) -> String {
    let answer = home.ask("", 1);
    assert!(answer.failed.is_none(), "{:?}", answer.failed);
    answer.by.digest.to_string()
}

fn names(scan: &Scan) -> (Vec<&str>, Vec<&str>) {
    fn of(names: &[PolicyName]) -> Vec<&str> {
        names.iter().map(PolicyName::as_str).collect()
    }
    (of(&scan.changed), of(&scan.removed))
}

#[test]
fn a_new_file_decides_from_the_next_cycle_on() {
    let mut home = Home::new();
    home.scan();
    assert_eq!(failure(&home.ask("", 1)), "no policy of that name is loaded");
    home.copy(&misbehave(), "misbehave.wasm");
    let scan = home.directory.scan();
    assert_eq!(names(&scan), (vec!["misbehave"], vec![]));
    assert_eq!(failure(&home.ask("", 1)), "no policy of that name is loaded", "this cycle ends as it began");
    home.host.begin();
    assert_eq!(digest(&mut home), home.row("misbehave").digest);
}

#[test]
fn a_changed_file_decides_by_its_digest_and_no_two_mix_in_a_cycle() {
    let mut home = Home::misbehaving("");
    let before = digest(&mut home);
    home.write("misbehave.wasm", variant(&misbehave(), 1));
    assert_eq!(names(&home.directory.scan()), (vec!["misbehave"], vec![]));
    assert_eq!(digest(&mut home), before, "this cycle ends as it began");
    home.host.begin();
    let after = digest(&mut home);
    assert_ne!(after, before);
    assert_eq!(after, home.row("misbehave").digest);
    assert_eq!(home.directory.scan(), Scan::default(), "nothing stirs, nothing changes");
    home.host.begin();
    assert_eq!(term(&home.ask("", 1), "calls"), 2.0, "and the session stays");
}

#[test]
fn a_broken_file_leaves_its_predecessor_and_says_why() {
    let mut home = Home::misbehaving("");
    let before = digest(&mut home);
    for broken in [&b"no component"[..], &fs::read(misbehave()).unwrap()[..999], b""] {
        home.write("misbehave.wasm", broken);
        let scan = home.scan();
        assert!(scan.changed.is_empty() && scan.removed.is_empty() && scan.refused.len() == 1, "{scan:?}");
        assert_eq!(digest(&mut home), before);
        let rows = home.rows("misbehave");
        let states: Vec<PolicyState> = rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [PolicyState::Active, PolicyState::Refused], "{rows:?}");
        assert!(rows[1].reason.as_ref().unwrap().contains("no WebAssembly component"));
        assert_eq!((rows[0].digest.as_str(), rows[1].digest.len()), (before.as_str(), 64));
    }
    home.write("misbehave.wasm", variant(&misbehave(), 2));
    home.scan();
    assert_ne!(digest(&mut home), before);
    assert_eq!(home.rows("misbehave").len(), 1, "what was refused is forgotten");
}

#[test]
fn a_configuration_alone_is_a_change_and_compiles_nothing_new() {
    let mut home = Home::misbehaving("");
    let before = digest(&mut home);
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 5 }\n");
    assert_eq!(names(&home.scan()), (vec!["misbehave"], vec![]));
    assert_eq!(term(&home.ask("", 1), "tag"), 5.0);
    assert_eq!(digest(&mut home), before);
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = \"five\" }\n");
    home.scan();
    assert_eq!(term(&home.ask("", 1), "tag"), 5.0, "what its schema refuses leaves the predecessor");
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 5, mode = \"trap\" }\n");
    home.scan();
    assert_eq!(term(&home.ask("", 1), "tag"), 5.0, "and so does what fails the probe");
    assert!(home.refusals()[0].contains("it failed its probe"));
}

#[test]
fn one_file_serves_several_names() {
    let config = "[policy.one]\nfile = \"misbehave.wasm\"\nconfig = { tag = 1 }\n\
                  [policy.two]\nfile = \"misbehave.wasm\"\nconfig = { tag = 2 }\n";
    let mut home = Home::misbehaving(config);
    let mut tag =
        |name: &str| term(&home.host.place(Some(&name.into()), &tables(&["a", "b"]), &request("", 1), &room()), "tag");
    assert_eq!((tag("one"), tag("two")), (1.0, 2.0));
}

#[test]
fn a_renamed_file_goes_on_deciding() {
    let mut home = Home::misbehaving("");
    let before = digest(&mut home);
    fs::rename(home.path("misbehave.wasm"), home.path("other.wasm")).unwrap();
    let scan = home.scan();
    assert!(scan.removed.is_empty() && !scan.again, "{scan:?}");
    assert_eq!(digest(&mut home), before);
    assert!(home.row("misbehave").file.ends_with("other.wasm"));
}

#[test]
fn a_file_that_vanished_is_removed_only_when_a_second_scan_agrees() {
    let mut home = Home::misbehaving("");
    let before = digest(&mut home);
    fs::remove_file(home.path("misbehave.wasm")).unwrap();
    let scan = home.scan();
    assert!(scan.again && scan.removed.is_empty(), "{scan:?}");
    assert_eq!(digest(&mut home), before);
    home.copy(&misbehave(), "misbehave.wasm");
    assert_eq!(home.scan(), Scan::default(), "it came back, as an editor's file does");
    fs::remove_file(home.path("misbehave.wasm")).unwrap();
    assert!(home.scan().again);
    assert_eq!(names(&home.scan()), (vec![], vec!["misbehave"]));
    assert_eq!(failure(&home.ask("", 1)), "no policy of that name is loaded");
    assert_eq!(home.scan(), Scan::default());
}

#[test]
fn the_same_holds_for_a_file_that_the_configuration_names() {
    let mut home = Home::misbehaving("[policy.misbehave]\nconfig = { tag = 1 }\n");
    fs::remove_file(home.path("misbehave.wasm")).unwrap();
    assert!(home.scan().again);
    assert_eq!(term(&home.ask("", 1), "tag"), 1.0);
    let scan = home.scan();
    assert_eq!((names(&scan), scan.refused.len()), ((vec![], vec!["misbehave"]), 1));
    assert!(home.row("misbehave").reason.unwrap().contains("it cannot be read"));
    for _ in 0..3 {
        assert_eq!(home.scan(), Scan::default(), "said once");
    }
    home.copy(&misbehave(), "misbehave.wasm");
    home.scan();
    assert_eq!(term(&home.ask("", 1), "tag"), 1.0);
}

#[test]
fn a_configuration_that_was_emptied_is_gone_only_when_a_second_scan_finds_it_as_the_first_did() {
    let mut home = Home::misbehaving(RULES);
    let in_force = home.directory.set();
    let emptied = |home: &Home, seconds: u64| {
        let file = fs::File::create(home.path("policies.toml")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    for seconds in 1..=3 {
        emptied(&home, seconds);
        assert!(home.scan().again, "somebody begins to write it once more");
        assert!(Arc::ptr_eq(&home.directory.set(), &in_force));
    }
    home.write("policies.toml", RULES);
    assert_eq!(home.scan(), Scan::default(), "written");
    emptied(&home, 4);
    assert!(home.scan().again);
    let scan = home.scan();
    assert_eq!(
        (scan.rules, scan.again),
        (Some(0), true),
        "the rules are gone, and their policies are missed: {scan:?}"
    );
    assert_eq!(names(&home.scan()), (vec![], vec!["one", "two"]));
    assert_eq!(home.scan(), Scan::default());
}

#[test]
fn dotfiles_folders_and_other_files_are_passed_over() {
    let mut home = Home::new();
    home.copy(&misbehave(), ".misbehave.wasm.swp.wasm");
    home.copy(&misbehave(), "misbehave.wasm~");
    home.write("README.md", "not a policy");
    fs::create_dir(home.path("folder.wasm")).unwrap();
    symlink("nowhere", home.path("dangling.wasm")).unwrap();
    home.scan();
    assert!(home.directory.set().policies.is_empty() && home.refusals().is_empty(), "{:?}", home.refusals());
}

/// As a ConfigMap is mounted: files are links through `..data`, which is swapped for a new folder.
fn mounted(home: &Home, generation: &str, guest: &[u8]) {
    let folder = home.path(&format!("..{generation}"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("misbehave.wasm"), guest).unwrap();
    symlink(format!("..{generation}"), home.path("..data_tmp")).unwrap();
    fs::rename(home.path("..data_tmp"), home.path("..data")).unwrap();
}

#[test]
fn a_swapped_link_is_a_changed_file() {
    let mut home = Home::new();
    mounted(&home, "first", &fs::read(misbehave()).unwrap());
    symlink("..data/misbehave.wasm", home.path("misbehave.wasm")).unwrap();
    home.scan();
    let before = digest(&mut home);
    mounted(&home, "second", &variant(&misbehave(), 3));
    assert_eq!(names(&home.scan()), (vec!["misbehave"], vec![]));
    assert_ne!(digest(&mut home), before);
}

const RULES: &str = "[[bind]]\nkind = \"placement\"\nnamespaces = [\"team-*\"]\nlabels = { tier = \"batch\" }\npolicy = \"two\"\n\
                     [[bind]]\nkind = \"placement\"\nnamespaces = [\"team-*\"]\ndivision = [\"Free\"]\npolicy = \"one\"\n\
                     [policy.one]\nfile = \"misbehave.wasm\"\n[policy.two]\nfile = \"misbehave.wasm\"\nconfig = { tag = 2 }\n";

#[test]
fn the_first_rule_that_fits_decides_unless_a_policy_is_named() {
    let home = Home::misbehaving(RULES);
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    let batch = Labels::from([("tier".into(), "batch".into()), ("app".into(), "x".into())]);
    let none = Labels::new();
    let choose = |kind, named: Option<&str>, namespace, labels, division| {
        let named = named.map(PolicyName::from);
        let subject = Subject { namespace, name: "web", labels, division };
        home.host.choose(kind, named.as_ref(), &subject).unwrap().to_string()
    };
    assert_eq!(choose(Kind::Placement, None, "team-a", &batch, Division::Free), "two");
    assert_eq!(choose(Kind::Placement, None, "team-a", &none, Division::Free), "one");
    assert_eq!(choose(Kind::Placement, None, "team-a", &none, Division::Aggregated), "aggregate", "the default");
    assert_eq!(choose(Kind::Placement, None, "other", &batch, Division::Free), "cost");
    assert_eq!(
        choose(Kind::Placement, Some("cost"), "team-a", &batch, Division::Free),
        "cost",
        "who is named goes first"
    );
    assert_eq!(choose(Kind::Gang, None, "team-a", &batch, Division::Free), "fifo", "rules are for one kind");
}

#[test]
fn rules_alone_are_a_change_and_one_that_names_nobody_is_refused_whole() {
    let mut home = Home::misbehaving(RULES);
    let other = RULES.replace("team-*", "crew-*");
    home.write("policies.toml", &other);
    let scan = home.scan();
    assert_eq!((scan.changed.len(), scan.rules), (0, Some(2)), "{scan:?}");
    home.write("policies.toml", format!("# moved\n{other}"));
    assert_eq!(home.scan(), Scan::default(), "a place in the file is no change");
    for (policy, why) in [
        ("nobody", "line 14, column 10: a rule for gang names nobody, which is not loaded; loaded are: "),
        ("one", "a rule for gang names one, which is a placement policy"),
        ("ready", "a rule for gang names ready, which is not loaded"),
    ] {
        let rule = format!("[[bind]]\nkind = \"gang\"\nnamespaces = [\"x\"]\npolicy = \"{policy}\"\n");
        let (head, tail) = other.split_once("[policy.one]").unwrap();
        home.write("policies.toml", format!("{head}{rule}[policy.one]{tail}"));
        assert_eq!(home.scan().refused.len(), 1);
        assert!(home.refusals()[0].contains(why), "{:?}", home.refusals());
        assert_eq!(home.directory.set().rules.len(), 2, "what was in force stays");
    }
}

fn next(scans: &Receiver<Scan>) -> Scan {
    scans.recv_timeout(Duration::from_secs(60)).expect("the watch sees it")
}

#[test]
fn the_watch_sees_each_of_these_by_itself() {
    let mut home = Home::new();
    mounted(&home, "first", &fs::read(misbehave()).unwrap());
    symlink("..data/misbehave.wasm", home.path("misbehave.wasm")).unwrap();
    home.scan();
    let Home { folder, directory, mut host } = home;
    let path = |name: &str| folder.path().join(name);
    let (report, scans) = channel();
    let watch = Watch::start(directory, move |scan: &Scan| drop(report.send(scan.clone()))).unwrap();
    let tag = |host: &mut PolicyHost| {
        host.begin();
        term(&host.place(Some(&"misbehave".into()), &tables(&["a", "b"]), &request("", 1), &room()), "tag")
    };

    // A swapped link.
    fs::create_dir(path("..second")).unwrap();
    fs::write(path("..second/misbehave.wasm"), variant(&misbehave(), 4)).unwrap();
    symlink("..second", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(names(&next(&scans)), (vec!["misbehave"], vec![]));

    // A configuration that is written anew, then one that is broken.
    fs::write(path("policies.toml"), "[policy.misbehave]\nconfig = { tag = 3 }\n").unwrap();
    assert_eq!(names(&next(&scans)), (vec!["misbehave"], vec![]));
    assert_eq!(tag(&mut host), 3.0);
    fs::write(path("policies.toml"), "[policy.misbehave").unwrap();
    assert_eq!(next(&scans).refused.len(), 1);
    assert_eq!(tag(&mut host), 3.0);
    fs::write(path("policies.toml"), "").unwrap();
    next(&scans);
    assert_eq!(tag(&mut host), 0.0);

    // A file that is deleted: two scans, without anything else stirring.
    fs::remove_file(path("misbehave.wasm")).unwrap();
    assert_eq!(names(&next(&scans)), (vec![], vec!["misbehave"]));

    // It stops when it goes.
    drop(watch);
    fs::copy(misbehave(), path("misbehave.wasm")).unwrap();
    assert!(scans.recv_timeout(Duration::from_secs(1)).is_err());
}
