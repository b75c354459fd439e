//! The built-in policies by themselves; the division cases stand in `cases`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use proptest::prelude::*;

use super::cases::{all, candidates, request};
use super::*;
use crate::check::{check_decision, check_moves, check_verdict};
use crate::policy::*;
use crate::workload::Division;

#[test]
fn cases() {
    for case in all() {
        let answer = place(case.policy, &case.request, &case.candidates);
        let replicas = answer.map(|decision| case.replicas(&decision)).map_err(|problem| problem.code);
        assert_eq!(replicas, case.expected, "{}: {}", case.policy, case.name);
    }
}

fn by_candidate(decision: &Decision, component: u32, n: usize) -> Vec<u32> {
    let mut replicas = vec![0; n];
    let of = |assignment: &&Assignment| assignment.component == component;
    decision.assignments.iter().filter(of).for_each(|one| replicas[one.candidate as usize] = one.replicas);
    replicas
}

/// Three candidates without ready room: offers of 2 at 3 USD, 2 at 1 USD and then 2 at 5, and 4 at 2 spot.
fn offers() -> Candidates {
    let mut list = candidates(&[0, 0, 0]);
    list.elastic = vec![2, 4, 4];
    list.price = vec![3.0, 1.0, 2.0];
    list.lead_seconds = vec![60, 60, 60];
    list.interruption = vec![0.0, 0.0, 0.8];
    list.offers = Offers {
        candidate: vec![0, 1, 1, 2],
        replicas: vec![2, 2, 2, 4],
        price: vec![3.0, 1.0, 5.0, 2.0],
        lead_seconds: vec![60; 4],
        interruption: vec![0.0, 0.0, 0.0, 0.8],
    };
    list
}

#[test]
fn cost_takes_the_cheapest_step_next() {
    let config = CostConfig::default();
    let replicas = |config: &CostConfig, list: &Candidates, wanted| {
        by_candidate(&cost(config, &request(Division::Free, wanted), list).unwrap(), 0, 3)
    };
    // 2 at 1 USD, then 2 at 3 rather than spot at 2 x 1.8, then spot, then 2 at 5.
    assert_eq!(replicas(&config, &offers(), 3), [1, 2, 0]);
    assert_eq!(replicas(&config, &offers(), 7), [2, 2, 3]);
    assert_eq!(replicas(&config, &offers(), 99), [2, 4, 4]);
    let bold = CostConfig { interruption_penalty: 0.0, ..config.clone() };
    assert_eq!(replicas(&bold, &offers(), 3), [0, 2, 1]);
    // Ready room costs nothing new, and what is too slow is not used.
    let mut slow = offers();
    slow.ready = vec![0, 0, 1];
    slow.offers.lead_seconds = vec![60, 900, 900, 60];
    slow.lead_seconds = vec![60, 900, 60];
    let hasty = CostConfig { max_lead_seconds: 300, ..config };
    assert_eq!(replicas(&hasty, &slow, 9), [2, 0, 5]);
}

#[test]
fn cost_moves_what_runs_only_for_its_share_of_the_price() {
    let mut list = candidates(&[0, 4]);
    list.current = vec![2, 0];
    list.elastic = vec![4, 0];
    list.price = vec![3.0, 0.0];
    let replicas = |config| by_candidate(&cost(&config, &request(Division::Free, 2), &list).unwrap(), 0, 2);
    assert_eq!(replicas(CostConfig::default()), [2, 0]);
    assert_eq!(replicas(CostConfig { keep_current: 0.3, ..CostConfig::default() }), [0, 2]);
    let mut dear = list.clone();
    dear.current = vec![2, 3];
    let shrunk = cost(&CostConfig::default(), &request(Division::Free, 3), &dear).unwrap();
    assert_eq!(by_candidate(&shrunk, 0, 2), [0, 3], "the dearest go first");
}

#[test]
fn cost_gives_up_first_what_costs_the_most_now() {
    // On demand, spot, and what nobody pays for. The next replica is spot in the first and the last alone.
    let mut list = candidates(&[0, 0, 0]);
    list.current = vec![5, 4, 1];
    list.current_price = vec![1.0, 0.4, 0.0];
    list.price = vec![0.4, 1.0, 0.4];
    let shrunk = |list: &Candidates, config: &CostConfig, wanted| {
        let request = request(Division::Free, wanted);
        let decision = cost(config, &request, list).unwrap();
        assert_eq!(check_decision(&request, list, &decision), Ok(()));
        let terms = decision.terms.iter().filter(|term| &*term.name == "usd-per-replica-hour");
        (by_candidate(&decision, 0, 3), terms.map(|term| (term.candidate, term.value)).collect::<Vec<_>>())
    };
    let config = CostConfig::default();
    assert_eq!(shrunk(&list, &config, 10), (vec![5, 4, 1], vec![]), "nothing goes");
    assert_eq!(shrunk(&list, &config, 6), (vec![1, 4, 1], vec![(0, 1.0), (1, 0.4)]));
    assert_eq!(shrunk(&list, &config, 2), (vec![0, 1, 1], vec![(1, 0.4)]));
    list.tier = vec![0, 1, 1];
    assert_eq!(shrunk(&list, &config, 6).0, [5, 0, 1], "a tier counts before a price");
    // The same where what runs may move, even beside ready room.
    list.tier = vec![0, 0, 0];
    list.ready = vec![1, 1, 0];
    let restless = CostConfig { keep_current: 0.2, ..config };
    assert_eq!(shrunk(&list, &restless, 4).0, [0, 4, 0]);
}

#[test]
fn cost_holds_against_a_move_what_a_replica_costs_now() {
    // The next replica here would be spot; the one that runs is not.
    let mut list = candidates(&[0, 0]);
    list.current = vec![2, 0];
    list.elastic = vec![0, 2];
    list.price = vec![0.4, 0.5];
    let replicas = |list: &Candidates| {
        let config = CostConfig { keep_current: 0.3, ..CostConfig::default() };
        by_candidate(&cost(&config, &request(Division::Free, 2), list).unwrap(), 0, 2)
    };
    assert_eq!(replicas(&list), [2, 0]);
    list.current_price = vec![1.0, 0.0];
    assert_eq!(replicas(&list), [0, 2]);
}

#[test]
fn terms_say_what_decided() {
    let decision = cost(&CostConfig::default(), &request(Division::Free, 3), &offers()).unwrap();
    let terms: Vec<(u32, &str, f64)> =
        decision.terms.iter().map(|term| (term.candidate, &*term.name, term.value)).collect();
    assert!(terms.contains(&(0, "usd-per-hour", 3.0)) && terms.contains(&(1, "usd-per-hour", 2.0)), "{terms:?}");
    assert!(terms.contains(&(1, "lead-seconds", 60.0)), "{terms:?}");
}

#[test]
fn a_component_below_its_floor_starts_nothing() {
    let mut wanted = request(Division::AvailableReplicas, 4);
    wanted.components.push(Component { name: "worker".into(), replicas: 6, floor: 5 });
    let mut list = candidates(&[9, 9]);
    list.ready.extend([2, 2]);
    list.elastic.extend([0, 0]);
    list.current.extend([0, 0]);
    for name in ["weighted", "available", "aggregate", "cost"] {
        assert_eq!(place(name, &wanted, &list).unwrap_err().code, ProblemCode::NoRoom, "{name}");
    }
}

#[test]
fn together_stays_and_otherwise_goes_where_all_fit() {
    let mut wanted = request(Division::Aggregated, 2);
    wanted.together = true;
    wanted.components.push(Component { name: "worker".into(), replicas: 4, floor: 2 });
    let mut list = candidates(&[9, 9, 2]);
    list.ready.extend([3, 8, 4]);
    list.elastic.extend([0; 3]);
    list.current.extend([0; 3]);
    list.price = vec![0.0; 3];
    list.weight = vec![1, 1, 5];
    for (name, at) in [("weighted", 2), ("available", 1), ("aggregate", 1), ("cost", 1)] {
        let decision = place(name, &wanted, &list).unwrap();
        let both = [(0, at, 2), (1, at, 4)].map(|(component, candidate, replicas)| Assignment {
            component,
            candidate,
            replicas,
        });
        assert_eq!(decision.assignments, both, "{name}");
    }
    list.current = vec![1, 0, 0, 0, 0, 0];
    for name in ["available", "aggregate", "cost"] {
        let decision = place(name, &wanted, &list).unwrap();
        assert_eq!(by_candidate(&decision, 1, 3), [3, 0, 0], "{name} keeps it where it runs, above its floor");
    }
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let mut list = candidates(&[1, 2]);
    list.elastic.pop();
    let problem = weighted(&request(Division::Free, 1), &list).unwrap_err();
    assert_eq!(
        (problem.code, &*problem.message),
        (ProblemCode::Unsupported, "candidates.elastic has 1 values, and 2 are needed")
    );
    let none = weighted(&request(Division::Free, 1), &candidates(&[])).unwrap_err();
    assert_eq!(none.code, ProblemCode::NoCandidate);
}

fn job(name: &str, replicas: u32, floor: u32, gpus: u64, quota: u32) -> Job {
    let component = JobComponent { name: "main".into(), replicas, floor, request: vec![0, 0, 0, gpus] };
    Job {
        namespace: "n".into(),
        name: name.into(),
        quota,
        together: true,
        components: vec![component],
        ..Job::default()
    }
}

fn fits(rows: &[(u32, u32, u32, u32)]) -> Vec<Fit> {
    rows.iter()
        .map(|(job, cluster, now, empty)| Fit { job: *job, cluster: *cluster, now: *now, empty: *empty })
        .collect()
}

fn quota(name: &str, parent: u32, min: u64, max: u64, used: u64) -> QuotaUse {
    let amounts = |gpus| vec![0, 0, 0, gpus];
    let max = vec![u64::MAX, u64::MAX, u64::MAX, max];
    QuotaUse { name: name.into(), parent, min: amounts(min), max, used: amounts(used) }
}

/// Admitted jobs with their size and the clusters that they leave alone.
type Admits = Vec<(u32, u32, Vec<u32>)>;

fn decided(queue: &Queue) -> (Admits, Vec<(u32, HoldCode)>) {
    let tables = Tables { names: vec!["a".into(), "b".into(), "c".into()], ..Tables::default() };
    let verdict = fifo(&FifoConfig::default(), &tables, queue).unwrap();
    check_verdict(3, queue, &verdict).unwrap();
    let admits = verdict.admit.into_iter().map(|admit| (admit.job, admit.sizes[0], admit.except)).collect();
    (admits, verdict.hold.into_iter().map(|hold| (hold.job, hold.code)).collect())
}

#[test]
fn fifo_lets_nothing_into_the_cluster_that_the_head_waits_for() {
    let mut web = job("web", 3, 0, 1, NO_ROW);
    web.together = false;
    let jobs = vec![
        job("huge", 9, 9, 1, NO_ROW),
        job("head", 8, 8, 1, NO_ROW),
        job("small", 2, 2, 1, NO_ROW),
        job("only-b", 2, 2, 1, NO_ROW),
        web,
    ];
    let rows = [(0, 0, 0, 0), (1, 0, 0, 1), (1, 1, 0, 2), (1, 2, 0, 2), (2, 0, 1, 9), (2, 1, 3, 9), (3, 1, 1, 9)];
    let (admits, holds) = decided(&Queue { jobs, fits: fits(&rows), ..Queue::default() });
    assert_eq!(admits, [(2, 2, vec![1]), (4, 3, vec![1])]);
    assert_eq!(holds, [(0, HoldCode::TooLarge), (1, HoldCode::NoRoom), (3, HoldCode::Behind)]);
}

#[test]
fn fifo_sizes_a_gang_by_what_surely_fits() {
    let jobs = vec![job("elastic", 8, 2, 1, NO_ROW)];
    let (admits, _) = decided(&Queue { jobs, fits: fits(&[(0, 0, 1, 9), (0, 1, 3, 9)]), ..Queue::default() });
    assert_eq!(admits, [(0, 6, vec![])]);
}

#[test]
fn fifo_lends_idle_quota_and_blocks_only_who_shares_what_is_used_up() {
    let quotas = vec![quota("root", NO_ROW, 10, 10, 4), quota("a", 0, 4, 8, 4), quota("b", 0, 6, 10, 0)];
    let mut elastic = job("elastic", 9, 2, 1, 1);
    elastic.components[0].floor = 2;
    let jobs = vec![
        job("borrows", 3, 3, 1, 1),
        job("blocked", 3, 3, 1, 1),
        job("behind", 1, 1, 1, 1),
        job("free", 1, 1, 0, 1),
        job("other", 2, 2, 1, 2),
        elastic,
    ];
    let rows: Vec<_> = (0..6).map(|job| (job, 0, 9, 9)).collect();
    let (admits, holds) = decided(&Queue { jobs, fits: fits(&rows), quotas, ..Queue::default() });
    // 4 + 3 of 8 for a; 3 more do not fit; what needs no GPU passes; b still has 10 - 7.
    assert_eq!(admits, [(0, 3, vec![]), (3, 1, vec![]), (4, 2, vec![])]);
    assert_eq!(holds, [(1, HoldCode::Quota), (2, HoldCode::Behind), (5, HoldCode::Behind)]);
    let never = Queue {
        jobs: vec![job("never", 9, 9, 1, 1), job("next", 2, 2, 1, 1)],
        fits: fits(&rows),
        quotas: vec![quota("root", NO_ROW, 10, 10, 0), quota("a", 0, 4, 8, 0)],
        ..Queue::default()
    };
    assert_eq!(decided(&never), (vec![(1, 2, vec![])], vec![(0, HoldCode::TooLarge)]));
}

#[test]
fn fifo_without_backfill_stops_at_the_head() {
    let jobs = vec![job("head", 8, 8, 1, NO_ROW), job("small", 2, 2, 1, NO_ROW)];
    let queue = Queue { jobs, fits: fits(&[(0, 0, 0, 1), (1, 1, 5, 5)]), ..Queue::default() };
    let verdict = fifo(&FifoConfig { backfill: false }, &Tables::default(), &queue).unwrap();
    assert!(verdict.admit.is_empty() && verdict.hold[1].code == HoldCode::Behind);
}

/// Rows by (workload, desired, ready, provisioning, unready seconds), one cluster each; cluster 1 is unreachable.
fn state(together: bool, rows: &[(u32, u32, u32, u32, u64)]) -> MigrationState {
    let workload =
        |name: &str| MigrationWorkload { name: name.into(), together, toleration_ms: 60_000, ..Default::default() };
    let column = |of: fn(&(u32, u32, u32, u32, u64)) -> u32| rows.iter().map(of).collect::<Vec<u32>>();
    MigrationState {
        workloads: vec![workload("one"), workload("two")],
        placed: Placed {
            workload: column(|row| row.0),
            component: vec![0; rows.len()],
            cluster: (0..rows.len() as u32).collect(),
            desired: column(|row| row.1),
            ready: column(|row| row.2),
            unschedulable: vec![0; rows.len()],
            provisioning: column(|row| row.3),
            unready_ms: rows.iter().map(|row| row.4 * 1000).collect(),
            price: vec![0.0; rows.len()],
            tier: vec![0; rows.len()],
        },
        health: Health { reachable: (0..rows.len()).map(|row| row != 1).collect(), since_ms: vec![70_000; rows.len()] },
        now_ms: 1,
        seed: 1,
    }
}

fn moved(state: &MigrationState) -> Vec<(u32, u32, How)> {
    let moves = ready(&ReadyConfig::default(), &Tables::default(), state).unwrap();
    check_moves(state, &moves).unwrap();
    moves.into_iter().map(|one| (one.row, one.replicas, one.how)).collect()
}

#[test]
fn ready_moves_what_is_missing_too_long_and_will_not_come() {
    let rows = [(0, 4, 1, 1, 61), (0, 3, 3, 0, 0), (1, 4, 1, 0, 59), (1, 2, 0, 2, 600)];
    assert_eq!(moved(&state(false, &rows)), [(0, 2, How::Gracefully), (1, 3, How::AtOnce)]);
}

#[test]
fn ready_moves_a_workload_that_stays_together_whole_or_not_at_all() {
    let rows = [(0, 1, 1, 0, 0), (1, 0, 0, 0, 0), (0, 4, 1, 0, 61)];
    assert_eq!(moved(&state(true, &rows)), [(0, 1, How::Gracefully), (2, 4, How::Gracefully)]);
    let starting = [(0, 1, 0, 1, 61), (1, 0, 0, 0, 0), (0, 4, 1, 0, 61)];
    assert_eq!(moved(&state(true, &starting)), []);
}

#[test]
fn ready_moves_the_most_important_first() {
    let mut state = state(false, &[(0, 4, 0, 0, 61), (1, 0, 0, 0, 0), (1, 4, 0, 0, 61)]);
    state.workloads[1].priority = 5;
    let moves = ready(&ReadyConfig { max_moves: 1 }, &Tables::default(), &state).unwrap();
    assert_eq!(moves.iter().map(|one| one.row).collect::<Vec<_>>(), [2]);
}

/// Random requests and candidates of up to 3 components.
fn questions() -> impl Strategy<Value = (Request, Candidates)> {
    let components = prop::collection::vec((0_u32..12, 0_u32..6), 1..4);
    (components, 1_usize..8, 0_usize..5, any::<bool>(), any::<u64>()).prop_map(
        |(components, n, division, together, seed)| {
            let mut state = seed;
            let mut roll = |sides: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % sides
            };
            let divisions = [
                Division::Duplicated,
                Division::StaticWeight,
                Division::AvailableReplicas,
                Division::Aggregated,
                Division::Free,
            ];
            let mut wanted = request(divisions[division], 0);
            wanted.together = together;
            wanted.components = components
                .iter()
                .map(|(replicas, floor)| Component {
                    name: "c".into(),
                    replicas: *replicas,
                    floor: *floor.min(replicas),
                })
                .collect();
            let mut list = candidates(&vec![0; n]);
            let cells = n * components.len();
            let mut column = |sides: u64, len: usize| (0..len).map(|_| roll(sides) as u32).collect::<Vec<u32>>();
            (list.ready, list.elastic, list.current) = (column(5, cells), column(5, cells), column(4, cells));
            (list.tier, list.weight, list.lead_seconds) = (column(2, n), column(4, n), column(900, n));
            list.price = column(9, n).into_iter().map(f64::from).collect();
            list.current_price = column(9, n).into_iter().map(f64::from).collect();
            list.interruption = column(10, n).into_iter().map(|tenths| f64::from(tenths) / 10.0).collect();
            (wanted, list)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_built_in_policy_breaks_a_rule((wanted, list) in questions()) {
        for name in ["weighted", "available", "aggregate", "cost"] {
            if let Ok(decision) = place(name, &wanted, &list) {
                prop_assert_eq!(check_decision(&wanted, &list, &decision), Ok(()), "{} {:?}", name, decision);
            }
        }
        let restless = CostConfig { keep_current: 0.2, ..CostConfig::default() };
        if let Ok(decision) = cost(&restless, &wanted, &list) {
            prop_assert_eq!(check_decision(&wanted, &list, &decision), Ok(()), "{:?}", decision);
        }
    }
}
