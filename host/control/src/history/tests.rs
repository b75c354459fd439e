#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use berth_core::native;
use berth_core::policy::{Candidates, Column, Component, ProblemCode};
use proptest::prelude::*;

use super::*;

fn entry(candidates: Candidates, passed: Vec<Passed>, outcome: Result<Decision, Problem>) -> DecisionEntry {
    let record = DecisionRecord {
        plan: PlanId(7),
        generation: Generation(9),
        workload: WorkloadKey::new("apps/v1/Deployment", "default", "web"),
        workload_generation: 3,
        decided_at: Millis(1_700_000_000_000),
        by: native::policy_ref("cost"),
        failed: Some((native::policy_ref("other"), "out of fuel".into())),
        fuel: 123,
        tables: Arc::default(),
        request: Request {
            name: "web".into(),
            labels: vec![("app".into(), "web".into())],
            components: vec![Component { name: "main".into(), replicas: 4, floor: 0 }],
            ..Request::default()
        },
        candidates,
        passed: PassedOver::of(passed).unwrap(),
        outcome,
    };
    let clusters = vec![ClusterReplicas { cluster: "a".into(), before: 0, after: 4 }];
    let short = Some(Reason::new(Code::NoRoom, "4 of 5"));
    DecisionEntry { tables: "digest".into(), clusters, short, record: Arc::new(record) }
}

/// A decision among `count` clusters of which every other is a candidate.
fn large(count: u32) -> DecisionEntry {
    let n = count / 2;
    let whole = |of: &dyn Fn(u32) -> u32| (0..n).map(of).collect::<Vec<u32>>();
    let real = |of: &dyn Fn(u32) -> f64| (0..n).map(of).collect::<Vec<f64>>();
    let candidates = Candidates {
        cluster: whole(&|row| 2 * row),
        ready: whole(&|row| row * 7919 % 97),
        elastic: whole(&|row| row * 104_729 % 301),
        current: whole(&|_| 0),
        price: real(&|row| f64::from(row * 31 % 40) * 0.173),
        current_price: real(&|_| 0.0),
        lead_seconds: whole(&|row| 60 * (row % 5)),
        interruption: real(&|row| f64::from(row % 7) * 0.01),
        tier: whole(&|_| 0),
        weight: whole(&|_| 1),
        ..Candidates::default()
    };
    let passed = (0..n).map(|row| Passed { cluster: 2 * row + 1, code: Code::NoRoom, have: row % 3, need: 4 });
    let term = |row| Term { candidate: row, name: "cost".into(), value: f64::from(row * 31 % 40) * 0.173 };
    let assignments = vec![Assignment { component: 0, candidate: 3, replicas: 4 }];
    entry(candidates, passed.collect(), Ok(Decision { assignments, terms: (0..n).map(term).collect() }))
}

#[test]
fn a_large_decision_is_small_and_comes_back() {
    let entry = large(1000);
    let (bytes, json) = (encode(&entry), serde_json::to_vec(&entry).unwrap());
    assert_eq!(decode(&bytes).unwrap(), entry);
    assert!(bytes.len() * 8 < json.len(), "{} bytes, {} as JSON", bytes.len(), json.len());
    assert_eq!(decode(&json).unwrap(), entry, "what earlier versions wrote is read");
}

/// What is in a store must be read by later versions, so the columns of an entry stay as they are, byte for byte.
#[test]
fn the_form_of_columns_is_frozen() {
    use sha2::{Digest, Sha256};
    let bytes = encode(&large(1000));
    let head = u32::from_le_bytes(bytes[1..5].try_into().unwrap()) as usize;
    let digest: String = Sha256::digest(&bytes[5 + head..]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "b61e5802662378080a4921b945b6b9f6c8546d86cc2b8b27fdbcc8f5d0444338");
}

#[test]
fn a_problem_and_missing_values_come_back() {
    let problem = Problem { code: ProblemCode::NoCandidate, message: "none".into() };
    let extra = vec![Column { name: "carbon".into(), values: vec![f64::NAN, -0.0, 0.0] }];
    let entry = entry(Candidates { extra, ..Candidates::default() }, Vec::new(), Err(problem));
    let back = decode(&encode(&entry)).unwrap();
    let bits = |entry: &DecisionEntry| -> Vec<u64> {
        entry.record.candidates.extra[0].values.iter().map(|value| value.to_bits()).collect()
    };
    assert_eq!(bits(&back), bits(&entry));
    assert_eq!(back.record.outcome, entry.record.outcome);
}

#[test]
fn what_was_cut_off_or_is_of_another_form_is_refused() {
    let bytes = encode(&large(40));
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut off at {length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    let mut other = bytes;
    other[0] = 2;
    assert!(matches!(decode(&other), Err(DecodeError::Form(2))));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut damaged = encode(&large(20));
        for (at, byte) in bytes.iter().enumerate() {
            let place = (at * 131 + usize::from(*byte) * 7) % damaged.len();
            damaged[place] ^= byte;
        }
        let _ = decode(&damaged);
    }
}
