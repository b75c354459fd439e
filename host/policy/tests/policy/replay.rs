//! Recorded calls decided again: by the same policy with the same bytes, by another with what would have changed.

use std::path::Path;

use berth_core::native::cases;
use berth_core::policy::{
    Health, Job, JobComponent, Kind, MigrationState, MigrationWorkload, NO_ROW, Offers, Placed, Policies, Queue,
};
use berth_core::workload::Division;
use berth_policy::{CaseFile, Journal, JournalSettings, Recorded, Records, Replay, Replayed, Totals, Trial};

use crate::support::{Home, builtin, misbehave, request, room, runtime, tables};

fn journal(dir: &Path) -> Journal {
    Journal::open(JournalSettings { dir: dir.to_owned(), bytes: 1 << 24, age_ms: 1 << 40, waits: true }).unwrap()
}

/// Calls of all kinds, by the policies that are built in.
fn recorded() -> (tempfile::TempDir, Vec<Recorded>) {
    let mut home = Home::new();
    for name in ["cost.wasm", "weighted.wasm", "fifo.wasm", "ready.wasm"] {
        home.copy(&builtin(name), name);
    }
    home.write("policies.toml", "[policy.cost]\nfile = \"cost.wasm\"\nconfig = { keepCurrent = 0.5 }\n");
    home.scan();
    let folder = tempfile::tempdir().unwrap();
    let kept = journal(folder.path());
    home.host.listen(kept.listener());
    let tables = tables(&["a", "b"]);
    for step in 0..300_u64 {
        let replicas = 1 + (step % 9) as u32;
        let division = if step % 3 == 0 { Division::StaticWeight } else { Division::Free };
        let request = berth_core::policy::Request { now_ms: step, seed: step, ..cases::request(division, replicas) };
        let mut candidates = room();
        candidates.price = vec![1.0 + (step % 7) as f64, 1.0 + (step % 5) as f64];
        candidates.elastic = vec![4, 4];
        candidates.ready = vec![2, 3];
        if division == Division::Free {
            candidates.offers = Offers {
                candidate: vec![0, 1],
                replicas: vec![4, 4],
                price: candidates.price.clone(),
                lead_seconds: vec![60, 60],
                interruption: vec![0.0, 0.0],
            };
        }
        home.host.place(None, &tables, &request, &candidates);
    }
    for step in 0..20_u64 {
        let component = JobComponent { replicas: 2, floor: 2, request: vec![1], ..JobComponent::default() };
        let job = |name: &str| Job {
            name: name.into(),
            quota: NO_ROW,
            age_ms: step,
            components: vec![component.clone()],
            ..Job::default()
        };
        let queue = Queue { jobs: vec![job("x"), job("y")], now_ms: 300 + step, seed: step, ..Queue::default() };
        home.host.admit(None, &tables, &queue);
        let state = MigrationState {
            workloads: vec![MigrationWorkload { name: "w".into(), toleration_ms: 10, ..MigrationWorkload::default() }],
            placed: Placed {
                workload: vec![0],
                component: vec![0],
                cluster: vec![0],
                desired: vec![3],
                ready: vec![0],
                unschedulable: vec![3],
                provisioning: vec![0],
                unready_ms: vec![step],
                price: vec![1.0],
                tier: vec![0],
            },
            health: Health { reachable: vec![true; 2], since_ms: vec![1_000; 2] },
            now_ms: 300 + step,
            seed: step,
        };
        home.host.migrate(None, &tables, &state);
    }
    drop(kept);
    let calls: Vec<Recorded> = Records::open(folder.path()).unwrap().collect();
    assert_eq!(calls.len(), 340);
    (folder, calls)
}

fn replay(file: &Path, calls: Vec<Recorded>) -> (Vec<Replayed>, Totals) {
    let trial = Trial::open(&runtime(), file).unwrap();
    let mut replay = Replay::new(&trial, None).unwrap();
    let replayed = replay.decide(calls).unwrap();
    let mut totals = Totals::default();
    replayed.iter().for_each(|one| totals.add(one, replay.needs()));
    (replayed, totals)
}

#[test]
fn the_same_policy_gives_the_same_bytes_for_all_kinds() {
    let (_folder, calls) = recorded();
    for slot in ["cost", "weighted", "fifo", "ready"] {
        let own: Vec<Recorded> = calls.iter().filter(|one| one.call.slot.as_str() == slot).cloned().collect();
        assert!(own.len() >= 20);
        let decided = own.iter().filter(|one| one.call.answer.is_ok()).count();
        assert!(decided > 0, "{slot} decides something");
        let count = own.len() as u64;
        let (replayed, totals) = replay(&builtin(&format!("{slot}.wasm")), own);
        assert_eq!((totals.calls, totals.same, totals.identical), (count, count, count), "{slot}");
        assert!(replayed.iter().all(|one| one.fuel == one.recorded.call.fuel), "{slot}");
    }
}

#[test]
fn a_call_is_decided_again_within_the_limits_that_it_was_recorded_with() {
    let names: Vec<String> = (0..200).map(|row| format!("c{row}")).collect();
    let tables = tables(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut candidates = cases::candidates(&vec![1; 200]);
    candidates.elastic = vec![5; 200];
    candidates.price = (0..200).map(|row| f64::from(row % 7)).collect();
    let large = berth_core::policy::Request { now_ms: 2, ..cases::request(Division::Free, 300) };
    let ask = |fuel: u64| {
        let mut home = Home::new();
        home.copy(&builtin("weighted.wasm"), "weighted.wasm");
        let limits = format!("limits = {{ fuel = {fuel}, memory-mib = 64 }}");
        home.write("policies.toml", format!("[placement]\nFree = \"weighted\"\n[policy.weighted]\n{limits}\n"));
        home.scan();
        let folder = tempfile::tempdir().unwrap();
        let kept = journal(folder.path());
        home.host.listen(kept.listener());
        home.host.place(None, &tables, &large, &candidates);
        home.host.place(None, &tables, &request("", 3), &room());
        drop(kept);
        let calls: Vec<Recorded> = Records::open(folder.path()).unwrap().collect();
        assert_eq!((calls.len(), calls[0].call.limits.fuel, calls[0].call.limits.memory_bytes), (2, fuel, 64 << 20));
        calls
    };
    let plenty = ask(1_000_000_000);
    assert!(plenty[0].call.failed.is_none());
    // With half of it the call fails, and the built-in algorithm decides another way.
    let short = ask(plenty[0].call.fuel / 2);
    assert!(short[0].call.failed.as_ref().is_some_and(|(_, why)| why.contains("fuel")), "{:?}", short[0].call.failed);
    assert_ne!(short[0].call.answer, plenty[0].call.answer);
    let (replayed, totals) = replay(&builtin("weighted.wasm"), [short, plenty].concat());
    assert_eq!((totals.calls, totals.identical, totals.failed), (4, 4, 1));
    assert!(replayed[0].failed.as_ref().is_some_and(|why| why.contains("fuel")));
}

#[test]
fn another_policy_shows_what_would_have_changed() {
    let (_folder, calls) = recorded();
    let placed: Vec<Recorded> = calls.into_iter().filter(|one| one.call.question.kind() == Kind::Placement).collect();
    let (replayed, totals) = replay(&builtin("weighted.wasm"), placed.clone());
    assert_eq!(totals.calls, 300);
    assert!(totals.same >= 100 && totals.same < 300, "{totals:?}");
    assert!(totals.moved > 0 && totals.after.usd_per_hour != totals.before.usd_per_hour, "{totals:?}");
    let largest = replayed.iter().max_by_key(|one| one.weight()).unwrap();
    let seats = largest.seats();
    assert!(seats.iter().any(|seat| seat.before != seat.after), "{seats:?}");
    let explained = |one: &Replayed| one.seats().iter().any(|seat| !seat.terms_before.is_empty());
    assert!(replayed.iter().any(explained));

    // The order and the blocks are the same however many threads there are.
    let (again, same) = replay(&builtin("weighted.wasm"), placed);
    assert_eq!(totals, same);
    let numbers = |all: &[Replayed]| all.iter().map(|one| one.recorded.call.number).collect::<Vec<_>>();
    assert_eq!(numbers(&again), numbers(&replayed));
}

#[test]
fn what_fails_or_breaks_a_rule_is_counted_and_the_built_in_policy_stands_in() {
    let mut home = Home::new();
    home.copy(&builtin("cost.wasm"), "cost.wasm");
    home.scan();
    let folder = tempfile::tempdir().unwrap();
    let kept = journal(folder.path());
    home.host.listen(kept.listener());
    for how in ["", "trap", "over-room", "trap"] {
        home.host.place(None, &tables(&["a", "b"]), &request(how, 1), &room());
    }
    drop(kept);
    let calls: Vec<Recorded> = Records::open(folder.path()).unwrap().collect();
    let (replayed, totals) = replay(&misbehave(), calls);
    assert_eq!((totals.calls, totals.failed, totals.refused), (4, 2, 1));
    assert!(replayed[1].failed.as_ref().unwrap().contains("trapped"));
    assert!(replayed[2].compared.same, "the built-in policy would have decided");
}

#[test]
fn recorded_calls_are_cases_that_their_policy_passes() {
    let (_folder, calls) = recorded();
    for (slot, kind) in [("cost", Kind::Placement), ("fifo", Kind::Gang), ("ready", Kind::Migration)] {
        let trial = Trial::open(&runtime(), &builtin(&format!("{slot}.wasm"))).unwrap();
        let own: Vec<&Recorded> = calls.iter().filter(|one| one.call.slot.as_str() == slot).collect();
        for one in own.iter().take(30) {
            assert_eq!(one.call.question.kind(), kind);
            let text = one.case().unwrap().unwrap().to_string();
            let case: CaseFile = serde_json::from_str(&text).unwrap();
            assert_eq!(trial.test(&case).unwrap(), Ok(()), "{text}");
        }
        let mut marks: Vec<String> = own.iter().map(|one| one.mark()).collect();
        marks.sort();
        marks.dedup();
        assert!(marks.len() < own.len(), "alike calls have one mark");
    }
}
