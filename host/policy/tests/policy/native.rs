//! The built-in policies decide through Wasm exactly as natively: on the table of cases, and on whatever comes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use berth_core::native::{self, FifoConfig, ReadyConfig, cases};
use berth_core::policy::{
    Answer, Candidates, Component, Fit, Health, Job, JobComponent, Kind, MigrationState, MigrationWorkload, NO_ROW,
    Offers, Placed, Policies, Problem, Queue, QuotaUse, Request, Running,
};
use berth_core::workload::Division;
use berth_policy::{Directory, PolicyHost};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{builtin, draw, runtime, tables};

const DIVISIONS: [Division; 5] =
    [Division::Duplicated, Division::StaticWeight, Division::AvailableReplicas, Division::Aggregated, Division::Free];
const ROUNDS: usize = 400;

/// Decides with the committed components, which are compiled once for all tests.
fn host() -> PolicyHost {
    static BUILTIN: OnceLock<Directory> = OnceLock::new();
    let directory = BUILTIN.get_or_init(|| {
        let mut directory = Directory::new(builtin(""), runtime());
        let scan = directory.scan();
        assert!(scan.refused.is_empty(), "{:?}", scan.refused);
        directory
    });
    PolicyHost::new(directory)
}

/// Both answers, number by number; the text of a float holds every bit of it.
fn same<T: Debug>(answer: &Answer<T>, expected: &Result<T, Problem>, of: &dyn Debug) {
    assert!(answer.failed.is_none(), "{:?} on {of:?}", answer.failed);
    assert_eq!(answer.by.digest.len(), 64, "a component decides");
    assert!(answer.fuel > 0);
    assert_eq!(format!("{:?}", answer.result), format!("{expected:?}"), "on {of:#?}");
}

#[test]
fn bindings_without_a_configuration_are_the_built_in_policies() {
    let mut host = host();
    let tables = tables(&["a", "b"]);
    let by: Vec<String> = DIVISIONS
        .map(|division| {
            let answer = host.place(None, &tables, &cases::request(division, 2), &cases::candidates(&[3, 3]));
            assert!(answer.failed.is_none());
            answer.by.name.to_string()
        })
        .to_vec();
    assert_eq!(by, ["weighted", "weighted", "available", "aggregate", "cost"]);
    assert_eq!(host.needs(Kind::Placement, None, Division::Free), [Arc::from("offers")]);
    assert!(host.needs(Kind::Placement, None, Division::Aggregated).is_empty());
    assert_eq!(host.admit(None, &tables, &Queue::default()).by.name.as_str(), "fifo");
    assert_eq!(host.migrate(None, &tables, &MigrationState::default()).by.name.as_str(), "ready");
}

#[test]
fn the_division_cases_hold_through_wasm() {
    let mut host = host();
    for case in cases::all() {
        let names: Vec<String> = (0..case.candidates.len()).map(|row| format!("m{}", row + 1)).collect();
        let tables = tables(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = host.place(Some(&case.policy.into()), &tables, &case.request, &case.candidates);
        assert!(answer.failed.is_none(), "{}: {:?}", case.name, answer.failed);
        let got = answer.result.map(|decision| case.replicas(&decision)).map_err(|problem| problem.code);
        assert_eq!(got, case.expected, "{}", case.name);
    }
}

/// Mostly small, at times at the edge of the type.
fn amount() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..12_u32, 1 => Just(u32::MAX), 1 => 1_000..2_000_000_u32]
}

fn request() -> impl Strategy<Value = Request> {
    let component = (0..9_u32, prop_oneof![3 => Just(0), 1 => 1..9_u32]);
    let components = prop::collection::vec(component, 1..4);
    (components, 0..5_usize, any::<bool>(), any::<u64>()).prop_map(|(components, division, together, seed)| Request {
        namespace: "default".into(),
        name: "w".into(),
        labels: vec![("app".into(), "w".into())],
        division: DIVISIONS[division],
        together: together && components.len() > 1,
        components: components
            .into_iter()
            .zip(0..)
            .map(|((replicas, floor), number)| Component {
                name: format!("c{number}").into(),
                replicas,
                floor: floor.min(replicas),
            })
            .collect(),
        now_ms: 1_700_000_000_000,
        seed,
        ..Request::default()
    })
}

fn candidates(components: usize) -> impl Strategy<Value = Candidates> {
    let price = || prop::sample::select(vec![0.0, 0.5, 1.0, 1.25, 7.0]);
    let row = (
        prop::collection::vec((amount(), amount(), 0..6_u32), components),
        (price(), price()),
        0..900_u32,
        prop::sample::select(vec![0.0, 0.05, 0.2]),
        0..3_u32,
        prop_oneof![6 => 0..5_u32, 1 => Just(u32::MAX)],
        prop::collection::vec((0..6_u32, price(), 0..900_u32, Just(0.1)), 0..3),
    );
    prop::collection::vec(row, 0..9).prop_map(move |rows| {
        let by_component = |of: fn(&(u32, u32, u32)) -> u32| {
            (0..components).flat_map(|component| rows.iter().map(move |row| of(&row.0[component]))).collect()
        };
        let offers = || rows.iter().zip(0..).flat_map(|(row, number)| row.6.iter().map(move |offer| (number, *offer)));
        Candidates {
            cluster: (0..rows.len() as u32).collect(),
            ready: by_component(|room| room.0),
            elastic: by_component(|room| room.1),
            current: by_component(|room| room.2),
            price: rows.iter().map(|row| row.1.0).collect(),
            current_price: rows.iter().map(|row| row.1.1).collect(),
            lead_seconds: rows.iter().map(|row| row.2).collect(),
            interruption: rows.iter().map(|row| row.3).collect(),
            tier: rows.iter().map(|row| row.4).collect(),
            weight: rows.iter().map(|row| row.5).collect(),
            offers: Offers {
                candidate: offers().map(|(row, _)| row).collect(),
                replicas: offers().map(|(_, offer)| offer.0).collect(),
                price: offers().map(|(_, offer)| offer.1).collect(),
                lead_seconds: offers().map(|(_, offer)| offer.2).collect(),
                interruption: offers().map(|(_, offer)| offer.3).collect(),
            },
            extra: vec![],
        }
    })
}

#[test]
fn placement_is_the_same_on_any_question() {
    let mut host = host();
    let mut runner = TestRunner::deterministic();
    let tables = tables(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let mut decided = BTreeSet::new();
    for _ in 0..ROUNDS {
        let request = draw(&mut runner, request());
        let candidates = draw(&mut runner, candidates(request.components.len()));
        for name in ["weighted", "available", "aggregate", "cost"] {
            let answer = host.place(Some(&name.into()), &tables, &request, &candidates);
            let expected = native::place(name, &request, &candidates);
            same(&answer, &expected, &(name, &request, &candidates));
            decided.insert((name, expected.is_ok()));
        }
    }
    assert_eq!(decided.len(), 8, "each policy decides some and has a problem with others: {decided:?}");
}

fn queue() -> impl Strategy<Value = Queue> {
    let amounts = || prop::collection::vec(prop_oneof![4 => 0..20_u64, 1 => Just(u64::MAX)], 0..3);
    let quota = || prop_oneof![1 => Just(NO_ROW), 2 => 0..2_u32];
    let component = (1..5_u32, 0..5_u32, prop::collection::vec(0..8_u64, 0..3));
    let job = (quota(), -2..3_i32, 0..9_000_u64, any::<bool>(), prop::collection::vec(component, 1..3));
    let jobs = prop::collection::vec(job, 0..7);
    let fits = prop::collection::vec((0..7_u32, 0..4_u32, 0..3_u32, 0..5_u32), 0..12);
    let quotas = prop::collection::vec((amounts(), amounts(), amounts()), 2..3);
    let running = prop::collection::vec((quota(), -2..3_i32, 0..4_u32, 0..9_000_u64, amounts()), 0..4);
    (jobs, fits, quotas, running, any::<u64>()).prop_map(|(jobs, fits, quotas, running, seed)| {
        let count = jobs.len() as u32;
        let job_of = |number: usize, (quota, priority, age_ms, together, components): (_, _, _, _, Vec<_>)| Job {
            namespace: "default".into(),
            name: format!("j{number}").into(),
            quota,
            priority,
            age_ms,
            limit_ms: 0,
            together,
            components: components
                .into_iter()
                .map(|(replicas, floor, request): (u32, u32, Vec<u64>)| JobComponent {
                    name: "c".into(),
                    replicas,
                    floor: floor.min(replicas),
                    request,
                })
                .collect(),
        };
        let pairs: BTreeSet<(u32, u32)> = fits.iter().map(|fit| (fit.0, fit.1)).filter(|fit| fit.0 < count).collect();
        let fit = |(job, cluster): (u32, u32)| {
            let (.., now, empty) =
                fits.iter().find(|fit| (fit.0, fit.1) == (job, cluster)).copied().unwrap_or_default();
            Fit { job, cluster, now, empty: empty.max(now) }
        };
        Queue {
            jobs: jobs.into_iter().enumerate().map(|(number, job)| job_of(number, job)).collect(),
            fits: pairs.into_iter().map(fit).collect(),
            quotas: quotas
                .into_iter()
                .zip(0_u32..)
                .map(|((min, max, used), row)| QuotaUse {
                    name: format!("q{row}").into(),
                    parent: if row == 0 { NO_ROW } else { 0 },
                    min,
                    max,
                    used,
                })
                .collect(),
            running: running
                .into_iter()
                .map(|(quota, priority, cluster, age_ms, usage)| Running {
                    namespace: "default".into(),
                    name: "r".into(),
                    quota,
                    priority,
                    cluster,
                    age_ms,
                    usage,
                })
                .collect(),
            now_ms: 1_700_000_000_000,
            seed,
        }
    })
}

#[test]
fn admission_is_the_same_on_any_queue() {
    let mut host = host();
    let mut runner = TestRunner::deterministic();
    let tables = tables(&["a", "b", "c", "d"]);
    let mut admitted = 0;
    for _ in 0..ROUNDS {
        let queue = draw(&mut runner, queue());
        let expected = native::fifo(&FifoConfig::default(), &tables, &queue);
        same(&host.admit(None, &tables, &queue), &expected, &queue);
        admitted += expected.map_or(0, |verdict| verdict.admit.len());
    }
    assert!(admitted > ROUNDS / 4, "{admitted}");
}

fn state() -> impl Strategy<Value = MigrationState> {
    let workload = (-2..3_i32, any::<bool>(), prop::sample::select(vec![0, 1_000, 60_000_u64]));
    let workloads = prop::collection::vec(workload, 1..4);
    let unready = prop::sample::select(vec![0, 1_000, 90_000_u64]);
    let placed = prop::collection::vec((0..4_u32, 0..4_u32, 0..6_u32, 0..6_u32, 0..3_u32, unready), 0..8);
    let health = prop::collection::vec((any::<bool>(), prop::sample::select(vec![0, 90_000_u64])), 4..5);
    (workloads, placed, health, any::<u64>()).prop_map(|(workloads, placed, health, seed)| {
        let count = workloads.len() as u32;
        MigrationState {
            workloads: workloads
                .into_iter()
                .zip(0..)
                .map(|((priority, together, toleration_ms), row)| MigrationWorkload {
                    namespace: "default".into(),
                    name: format!("w{row}").into(),
                    priority,
                    together,
                    toleration_ms,
                })
                .collect(),
            placed: Placed {
                workload: placed.iter().map(|row| row.0 % count).collect(),
                component: vec![0; placed.len()],
                cluster: placed.iter().map(|row| row.1).collect(),
                desired: placed.iter().map(|row| row.2).collect(),
                ready: placed.iter().map(|row| row.3).collect(),
                unschedulable: placed.iter().map(|row| row.2.saturating_sub(row.3)).collect(),
                provisioning: placed.iter().map(|row| row.4).collect(),
                unready_ms: placed.iter().map(|row| row.5).collect(),
                price: vec![1.0; placed.len()],
                tier: vec![0; placed.len()],
            },
            health: Health {
                reachable: health.iter().map(|row| row.0).collect(),
                since_ms: health.iter().map(|row| row.1).collect(),
            },
            now_ms: 1_700_000_000_000,
            seed,
        }
    })
}

#[test]
fn migration_is_the_same_on_any_state() {
    let mut host = host();
    let mut runner = TestRunner::deterministic();
    let tables = tables(&["a", "b", "c", "d"]);
    let mut moved = 0;
    for _ in 0..ROUNDS {
        let state = draw(&mut runner, state());
        let expected = native::ready(&ReadyConfig::default(), &tables, &state);
        same(&host.migrate(None, &tables, &state), &expected, &state);
        moved += expected.map_or(0, |moves| moves.len());
    }
    assert!(moved > ROUNDS / 4, "{moved}");
}
