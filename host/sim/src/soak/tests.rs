#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::path::Path;

use berth_policy::{Runtime, WallClock};

use super::*;

fn components() -> Components {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guests = host.join("policy/tests/guests");
    Components::load(&host.join("../policies"), &guests, &Runtime::new(WallClock::Off).unwrap()).unwrap()
}

#[test]
fn a_handful_of_seeds_is_clean_and_runs_the_same_way_twice() {
    let mut components = components();
    for seed in 1..=16 {
        let outcome = run(seed, Some(&mut components));
        if let Some(failure) = &outcome.failure {
            panic!("{}", shorten(seed, failure, 60, Some(&mut components)));
        }
        if seed % 5 == 0 {
            assert_eq!(run(seed, Some(&mut components)), outcome, "seed {seed} runs the same way twice");
        }
    }
}

#[test]
fn shadows_change_nothing() {
    let mut components = components();
    for seed in (0..48).filter(|seed| needs_components(*seed)) {
        let mut outcomes = [true, false].map(|shadows| {
            let mut scenario = Scenario::draw(seed);
            for entry in &mut scenario.script {
                if let script::Act::Beside { role, version, .. } = &mut entry.act
                    && !(shadows && *role == "shadow")
                {
                    *version = None;
                }
            }
            play(&scenario, Some(&mut components), &mut Story::default())
        });
        // What is kept of a decision shows what a shadow needed of it too; nothing else may differ.
        outcomes.iter_mut().for_each(|outcome| outcome.digest.clear());
        assert_eq!(outcomes[0], outcomes[1]);
    }
}

#[test]
fn what_does_not_matter_is_left_out() {
    let whole = Scenario::draw(3);
    let entries = whole.script.len();
    assert!(entries > 12, "{entries}");
    let key = |scenario: &Scenario| scenario.script.iter().map(|entry| entry.act.to_string()).collect::<Vec<_>>();
    let wanted = [key(&whole)[2].clone(), key(&whole)[entries / 2].clone()];
    let fails = |scenario: &Scenario| wanted.iter().all(|one| key(scenario).contains(one));
    let (short, _) = shorten::shorten(&whole, whole.length, 1000, fails);
    assert_eq!(key(&short), wanted);
    let (_, used) = shorten::shorten(&whole, whole.length, 5, fails);
    assert_eq!(used, 5);
}

#[test]
fn scenarios_have_faults_of_every_kind() {
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..300 {
        for entry in Scenario::draw(seed).script {
            let kind = match &entry.act {
                script::Act::World(effect) => format!("{effect:?}").split(['(', ' ']).next().unwrap().to_owned(),
                act => format!("{act:?}").split(['(', ' ']).next().unwrap().to_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let wanted = [
        "Apply",
        "Garbage",
        "Scale",
        "Delete",
        "Chances",
        "Clock",
        "Crash",
        "Rival",
        "Unwritable",
        "Policy",
        "Reload",
        "Beside",
        "Reachable",
        "LoseNodes",
        "Capacity",
        "Empty",
        "Failing",
        "Slow",
        "Remember",
        "Restore",
        "Stale",
        "Tamper",
    ];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|kind| kinds.get(*kind).is_none_or(|count| *count < 10)).collect();
    assert!(missing.is_empty(), "{missing:?} of {kinds:?}");
}
