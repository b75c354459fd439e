//! One decision by itself, and what is said of a file.

use berth_core::policy::{Kind, ProblemCode};
use berth_policy::{Case, CaseError, CaseOutcome, inspect, run_case};
use serde_json::{Value, json};

use crate::support::{builtin, misbehave, placement, runtime};

fn run(file: &std::path::Path, case: Value) -> Result<CaseOutcome, CaseError> {
    let case: Case = serde_json::from_value(case).unwrap();
    run_case(&runtime(), file, &case)
}

#[test]
fn a_case_may_leave_out_what_runs_costs_but_not_a_part_of_it() {
    let mut case = placement();
    case["candidates"]["currentPrice"] = json!([0.5, 0.5, 0.5]);
    assert!(run(&builtin("available.wasm"), case.clone()).is_ok());
    case["candidates"]["currentPrice"] = json!([0.5]);
    let error = run(&builtin("available.wasm"), case).unwrap_err();
    assert!(error.to_string().contains("candidates.currentPrice has 1 values, and 3 are needed"), "{error}");
}

#[test]
fn a_placement_case() {
    let outcome = run(&builtin("available.wasm"), placement()).unwrap();
    let replicas: Vec<&Value> =
        outcome.answer.as_ref().unwrap()["assignments"].as_array().unwrap().iter().map(|it| &it["replicas"]).collect();
    assert_eq!(replicas, [6, 4, 2]);
    assert!(outcome.fuel > 0 && outcome.memory_bytes > 0 && outcome.broken_rule.is_none() && outcome.problem.is_none());
    assert_eq!(outcome.digest.len(), 64);
}

#[test]
fn a_problem_is_an_outcome() {
    let mut case = placement();
    case["candidates"]["ready"] = json!([3, 3, 3]);
    let outcome = run(&builtin("available.wasm"), case).unwrap();
    assert_eq!(outcome.problem.unwrap().code, ProblemCode::NoRoom);
    assert!(outcome.answer.is_none());
}

#[test]
fn a_broken_rule_and_a_trap_are_told_apart() {
    let mut case = placement();
    case["request"]["labels"] = json!([["misbehave", "over-room"]]);
    let outcome = run(&misbehave(), case.clone()).unwrap();
    assert!(outcome.broken_rule.unwrap().contains("which holds 18"));
    case["request"]["labels"] = json!([["misbehave", "trap"]]);
    let error = run(&misbehave(), case.clone()).unwrap_err();
    assert!(matches!(&error, CaseError::Call { what, .. } if what.contains("it trapped")), "{error}");
    case["config"] = json!({ "tag": "x" });
    let error = run(&misbehave(), case).unwrap_err().to_string();
    assert!(error.contains("its configuration is refused at /tag"), "{error}");
}

#[test]
fn cases_of_the_other_kinds() {
    let queue = json!({
        "fleet": { "names": ["m1"], "providers": [""], "regions": [""], "resources": ["cpu"] },
        "queue": { "jobs": [
            { "namespace": "default", "name": "a", "quota": u32::MAX, "components": [{ "name": "c", "replicas": 1, "floor": 0 }] },
        ] },
    });
    let outcome = run(&builtin("fifo.wasm"), queue.clone()).unwrap();
    assert_eq!(outcome.answer.unwrap()["admit"][0]["sizes"], json!([1]));
    let state = json!({
        "fleet": { "names": ["m1"], "providers": [""], "regions": [""] },
        "state": {
            "workloads": [{ "namespace": "default", "name": "a", "tolerationMs": 1000 }],
            "placed": {
                "workload": [0], "component": [0], "cluster": [0], "desired": [3], "ready": [1], "unschedulable": [2],
                "provisioning": [0], "unreadyMs": [5000], "price": [1.0], "tier": [0],
            },
            "health": { "reachable": [true], "sinceMs": [9000] },
        },
    });
    let outcome = run(&builtin("ready.wasm"), state).unwrap();
    assert_eq!(outcome.answer.unwrap()[0]["replicas"], json!(2));
    let error = run(&builtin("ready.wasm"), queue).unwrap_err().to_string();
    assert!(error.contains("a migration policy needs the field `state`"), "{error}");
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let mut short = placement();
    short["candidates"]["price"] = json!([0, 0]);
    let error = run(&builtin("available.wasm"), short).unwrap_err().to_string();
    assert!(error.contains("candidates.price has 2 values, and 3 are needed"), "{error}");
    let mut outside = placement();
    outside["candidates"]["cluster"] = json!([0, 1, 7]);
    let error = run(&builtin("available.wasm"), outside).unwrap_err().to_string();
    assert!(error.contains("names row 7"), "{error}");
    assert!(serde_json::from_value::<Case>(json!({ "flete": {} })).is_err());
}

#[test]
fn what_is_said_of_a_file() {
    let file = inspect(&runtime(), &builtin("cost.wasm"), None).unwrap();
    assert_eq!((file.description.name.as_str(), file.description.kind), ("cost", Kind::Placement));
    assert_eq!(file.interface, "0.1.0");
    assert!(file.exports.iter().any(|name| name == "berth:policy/placement@0.1.0"), "{:?}", file.exports);
    assert!(file.description.config_schema.is_some() && file.digest.len() == 64 && file.bytes > 10_000);
    assert!(inspect(&runtime(), &builtin("policies.lock"), None).is_err());
}
