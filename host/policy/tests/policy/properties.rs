//! Cases that state properties of the answer in place of the answer.

use std::path::{Path, PathBuf};

use berth_policy::{CaseFile, Trial};
use serde_json::{Value, json};

use crate::support::{self, builtin, misbehave, runtime};

/// What a policy misses of what is expected, or why it is no case.
fn test(file: &Path, given: &Value, expect: &Value) -> String {
    let case = json!({ "given": given, "expect": expect });
    let case: CaseFile = match serde_json::from_value(case) {
        Ok(case) => case,
        Err(error) => return error.to_string(),
    };
    match Trial::open(&runtime(), file).unwrap().test(&case) {
        Ok(Ok(())) => String::new(),
        Ok(Err(difference)) => difference,
        Err(error) => error.to_string(),
    }
}

fn all(file: PathBuf, given: Value, rows: &[(Value, &str)]) {
    for (expect, says) in rows {
        let said = test(&file, &given, expect);
        assert!(if says.is_empty() { said.is_empty() } else { said.contains(says) }, "{expect}\n{said}");
    }
}

/// Twelve replicas, of which one runs in `m3` already, where more need new nodes.
fn placement() -> Value {
    let mut given = support::placement();
    for (column, values) in
        [("ready", [18, 12, 0]), ("elastic", [0, 0, 6]), ("current", [0, 0, 1]), ("price", [0, 0, 2])]
    {
        given["candidates"][column] = json!(values);
    }
    given
}

#[test]
fn properties_of_a_placement() {
    // By room it gives 5 to m1, 4 to m2 and 3 to m3.
    let rows = [
        (json!({ "total": 12, "within": ["m1", "m2", "m3"], "uses": ["m3"], "whole": true, "leaving": 0 }), ""),
        (json!({ "components": { "main": 12 }, "atLeast": { "m1": 5, "m2": 4 }, "atMost": { "m3": 3 } }), ""),
        (json!({ "total": 11 }), "expected total 11, got 12; the answer is: m1 5, m2 4, m3 3"),
        (json!({ "components": { "main": 1 } }), "expected components.main 1, got 12"),
        (json!({ "within": ["m1"] }), "expected all within m1, got replicas in m2, m3"),
        (json!({ "within": [] }), "expected all within nothing, got replicas in m1, m2, m3"),
        (
            json!({ "atLeast": { "m1": 7 }, "atMost": { "m2": 3 } }),
            "expected at least 7 in m1, got 5; expected at most 3 in m2, got 4",
        ),
        (json!({ "leaving": 1 }), "expected leaving 1, got 0"),
        (
            json!({ "cheapestFirst": true }),
            "expected the cheapest first, got a replica in m3 for 2 USD an hour, and one in m1 would cost 0",
        ),
        (json!({ "totl": 3 }), "unknown field `totl`, expected one of `total`"),
        (json!({ "totl": 3 }), "did you mean `total`?"),
        (json!({ "anser": { "assignments": [] } }), "did you mean `answer`?"),
        (json!({ "starts": ["web"] }), "unknown field `starts`"),
        (json!({ "total": "3" }), "invalid type: string \"3\", expected u64"),
        (
            json!({ "within": ["n1", "m2"] }),
            "expect.within names \"n1\", and there is no such cluster; did you mean `m1`?",
        ),
        (json!({ "components": { "man": 2 } }), "no such component; did you mean `main`?"),
        (json!({}), "expect is empty"),
        (json!({ "answer": {}, "total": 3 }), "expect has answer, which stands alone, and total"),
        (json!({ "failure": "trp" }), "failure: unknown variant `trp`"),
    ];
    all(builtin("available.wasm"), placement(), &rows);
    let mut cheap = placement();
    cheap["request"]["division"] = "Free".into();
    all(builtin("cost.wasm"), cheap, &[(json!({ "cheapestFirst": true, "atMost": { "m3": 1 }, "whole": true }), "")]);
}

#[test]
fn a_part_and_what_is_not_used_and_a_problem_are_told() {
    let mut given = placement();
    given["candidates"]["ready"] = json!([3, 0, 0]);
    given["request"]["division"] = "Free".into();
    let rows = [
        (json!({ "whole": true }), "expected all of it or nothing, got a part; the answer is: m1 3, m3 7"),
        (json!({ "uses": ["m2", "m1"] }), "expected that m2 is used, got no replica there"),
    ];
    all(builtin("cost.wasm"), given.clone(), &rows);
    given["request"]["division"] = "AvailableReplicas".into();
    all(builtin("available.wasm"), given, &[(json!({ "total": 10 }), "got problem {\"code\":\"no-room\"")]);
}

#[test]
fn an_answer_that_breaks_a_rule_has_no_properties() {
    let mut given = placement();
    given["request"]["labels"] = json!([["misbehave", "twice"]]);
    let rows = [(json!({ "total": 2 }), "got failure broke-rule"), (json!({ "failure": "broke-rule" }), "")];
    all(misbehave(), given.clone(), &rows);
    given["request"]["labels"] = json!([["misbehave", "trap"]]);
    all(misbehave(), given, &[(json!({ "total": 2 }), "got failure trap")]);
}

#[test]
fn properties_of_a_verdict() {
    let job = |namespace: &str, name: &str, together: bool, replicas: u32| {
        json!({
            "namespace": namespace, "name": name, "quota": u32::MAX, "together": together,
            "components": [{ "name": "worker", "replicas": replicas, "floor": 0 }],
        })
    };
    let given = json!({
        "fleet": { "names": ["m1"], "providers": [""], "regions": [""], "resources": ["cpu"] },
        "queue": {
            "jobs": [job("lab", "large", true, 8), job("lab", "small", false, 1), job("lab", "twin", false, 2), job("red", "twin", false, 3)],
            "fits": [{ "job": 0, "cluster": 0, "now": 0, "empty": 1 }],
            "running": [{ "namespace": "lab", "name": "old", "quota": u32::MAX, "priority": -1, "cluster": 0 }],
        },
    });
    let rows = [
        (
            json!({ "total": 6, "starts": ["small", "red/twin"], "waits": ["large"], "order": ["small", "lab/twin", "red/twin"], "preempts": [] }),
            "",
        ),
        (json!({ "sizes": { "red/twin": 3, "lab/large": 0 } }), ""),
        (
            json!({ "starts": ["large"] }),
            "expected that large starts, and it waits; the answer is: starts lab/small, lab/twin, red/twin; preempts nothing",
        ),
        (json!({ "waits": ["small"] }), "expected that small waits, and it starts"),
        (json!({ "order": ["red/twin", "small"] }), "expected that in this order start red/twin, small"),
        (json!({ "order": ["small", "large"] }), "expected that in this order start small, large"),
        (json!({ "preempts": ["old"] }), "expected that it preempts lab/old, got nothing"),
        (json!({ "sizes": { "small": 2 } }), "expected sizes.small 2, got 1"),
        (json!({ "starts": ["twin"] }), "expect.starts names twin, which is lab/twin or red/twin; use one of them"),
        (json!({ "waits": ["larg"] }), "no such job; did you mean `large`?"),
        (json!({ "wait": ["large"] }), "did you mean `waits`?"),
    ];
    all(builtin("fifo.wasm"), given, &rows);
}

#[test]
fn properties_of_moves() {
    let given = json!({
        "fleet": { "names": ["m1", "m2"], "providers": ["", ""], "regions": ["", ""] },
        "state": {
            "workloads": [{ "namespace": "a", "name": "web", "tolerationMs": 1000 }, { "namespace": "a", "name": "api", "tolerationMs": 1000 }],
            "placed": {
                "workload": [0, 1], "component": [0, 0], "cluster": [0, 1], "desired": [3, 2], "ready": [1, 2], "unschedulable": [2, 0],
                "provisioning": [0, 0], "unreadyMs": [5000, 0], "price": [1.0, 1.0], "tier": [0, 0],
            },
            "health": { "reachable": [true, true], "sinceMs": [9000, 9000] },
        },
    });
    let rows = [
        (json!({ "total": 2, "leaves": ["web"], "stays": ["api"], "from": ["m1"], "how": "gracefully" }), ""),
        (json!({ "total": 3 }), "expected total 3, got 2; the answer is: leaves 2 of a/web from m1"),
        (json!({ "leaves": ["api"] }), "expected that api leaves, and it stays"),
        (json!({ "stays": ["a/web"] }), "expected that a/web stays, and it leaves"),
        (json!({ "from": ["m2"] }), "expected that replicas leave only m2, got m1"),
        (json!({ "how": "at-once" }), "expected that all leave at-once, and some do not"),
        (json!({ "leave": ["web"] }), "did you mean `leaves`?"),
        (json!({ "how": "softly" }), "unknown variant `softly`"),
    ];
    all(builtin("ready.wasm"), given, &rows);
}
