//! For each rule an answer or plan that breaks it: the checker must be able to fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use super::*;
use crate::native::cases::{candidates, request};
use crate::policy::*;
use crate::workload::Division;

fn decision(assignments: &[(u32, u32, u32)]) -> Decision {
    let one = |(component, candidate, replicas): &(u32, u32, u32)| Assignment {
        component: *component,
        candidate: *candidate,
        replicas: *replicas,
    };
    Decision { assignments: assignments.iter().map(one).collect(), terms: Vec::new() }
}

fn code<T: std::fmt::Debug>(result: Result<T, Violation>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn each_rule_for_decisions_can_be_broken() {
    let mut wanted = request(Division::AvailableReplicas, 6);
    wanted.components[0].floor = 2;
    wanted.components.push(Component { name: "worker".into(), replicas: 2, floor: 0 });
    let mut list = candidates(&[3, 4, 5]);
    list.ready.extend([1, 1, 2]);
    list.elastic.extend([0; 3]);
    list.current.extend([1, 0, 0]);
    let check =
        |wanted: &Request, assignments: &[(u32, u32, u32)]| check_decision(wanted, &list, &decision(assignments));
    assert_eq!(check(&wanted, &[(0, 0, 3), (0, 1, 3), (1, 0, 2)]), Ok(()));
    assert_eq!(check(&wanted, &[]), Ok(()));
    assert_eq!(code(check(&wanted, &[(2, 0, 1)])), "UnknownRow");
    assert_eq!(code(check(&wanted, &[(0, 3, 1)])), "UnknownRow");
    assert_eq!(code(check(&wanted, &[(0, 1, 1), (0, 0, 1), (0, 1, 1)])), "NamedTwice");
    assert_eq!(code(check(&wanted, &[(1, 0, 3)])), "OverRoom");
    assert_eq!(code(check(&wanted, &[(0, 0, 1)])), "BelowFloor");
    assert_eq!(code(check(&wanted, &[(1, 0, 1)])), "BelowFloor");
    assert_eq!(code(check(&wanted, &[(0, 1, 3), (0, 2, 5)])), "OverWanted");
    wanted.together = true;
    assert_eq!(code(check(&wanted, &[(0, 0, 3), (1, 1, 1)])), "Apart");
    wanted.together = false;
    wanted.division = Division::Duplicated;
    assert_eq!(check(&wanted, &[(0, 1, 4), (0, 2, 5)]), Ok(()));
    assert_eq!(code(check(&wanted, &[(0, 1, 4), (0, 2, 1)])), "BelowFloor");
    wanted.components[0].replicas = 4;
    assert_eq!(code(check(&wanted, &[(0, 2, 5)])), "OverWanted");
}

#[test]
fn each_rule_for_verdicts_can_be_broken() {
    let component = JobComponent { replicas: 4, floor: 2, ..JobComponent::default() };
    let job = |priority, quota| Job { priority, quota, components: vec![component.clone()], ..Job::default() };
    let quota = |min, used| QuotaUse { min: vec![min], used: vec![used], max: vec![9], ..QuotaUse::default() };
    let queue = Queue {
        jobs: vec![job(1, 0), job(0, NO_ROW)],
        quotas: vec![quota(4, 1), quota(1, 3)],
        running: vec![
            Running { priority: 0, quota: NO_ROW, ..Running::default() },
            Running { priority: 1, quota: NO_ROW, ..Running::default() },
            Running { priority: 7, quota: 1, ..Running::default() },
        ],
        ..Queue::default()
    };
    let admit = |job, sizes: &[u32], except: &[u32]| Admit { job, sizes: sizes.to_vec(), except: except.to_vec() };
    let admits = |admits: Vec<Admit>| check_verdict(3, &queue, &Verdict { admit: admits, ..Verdict::default() });
    assert_eq!(admits(vec![admit(0, &[2], &[2]), admit(1, &[4], &[])]), Ok(()));
    assert_eq!(code(admits(vec![admit(2, &[2], &[])])), "UnknownRow");
    assert_eq!(code(admits(vec![admit(0, &[2], &[3])])), "UnknownRow");
    assert_eq!(code(admits(vec![admit(0, &[2], &[]), admit(0, &[2], &[])])), "NamedTwice");
    assert_eq!(code(admits(vec![admit(0, &[], &[])])), "BadSize");
    assert_eq!(code(admits(vec![admit(0, &[1], &[])])), "BadSize");
    assert_eq!(code(admits(vec![admit(0, &[5], &[])])), "BadSize");
    let preempt = |rows: &[(u32, u32)]| {
        let one = |(victim, beneficiary): &(u32, u32)| Preempt {
            victim: *victim,
            beneficiary: *beneficiary,
            reason: String::new(),
        };
        check_verdict(3, &queue, &Verdict { preempt: rows.iter().map(one).collect(), ..Verdict::default() })
    };
    assert_eq!(preempt(&[(0, 0)]), Ok(()));
    assert_eq!(preempt(&[(2, 0)]), Ok(()), "its quota is above its minimum, and the job's below its own");
    assert_eq!(code(preempt(&[(1, 0)])), "NoPrecedence");
    assert_eq!(code(preempt(&[(2, 1)])), "NoPrecedence");
    assert_eq!(code(preempt(&[(3, 0)])), "UnknownRow");
    assert_eq!(code(preempt(&[(0, 2)])), "UnknownRow");
    assert_eq!(code(preempt(&[(0, 0), (0, 0)])), "NamedTwice");
}

#[test]
fn each_rule_for_moves_can_be_broken() {
    let state = MigrationState {
        workloads: vec![MigrationWorkload::default(), MigrationWorkload { together: true, ..Default::default() }],
        placed: Placed { workload: vec![0, 1, 1], desired: vec![3, 1, 2], ..Placed::default() },
        ..MigrationState::default()
    };
    let moves = |rows: &[(u32, u32)]| {
        let one = |(row, replicas): &(u32, u32)| Move {
            row: *row,
            replicas: *replicas,
            how: How::Gracefully,
            reason: String::new(),
        };
        check_moves(&state, &rows.iter().map(one).collect::<Vec<_>>())
    };
    assert_eq!(moves(&[(0, 1), (0, 2), (1, 1), (2, 2)]), Ok(()));
    assert_eq!(code(moves(&[(3, 1)])), "UnknownRow");
    assert_eq!(code(moves(&[(0, 2), (0, 2)])), "OverDesired");
    assert_eq!(code(moves(&[(1, 1)])), "PartOfWorkload");
    assert_eq!(code(moves(&[(1, 1), (2, 1)])), "PartOfWorkload");
}
