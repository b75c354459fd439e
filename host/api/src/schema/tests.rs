//! Schemas as documents, and the check by them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use serde_json::json;

use super::*;

#[test]
fn schemas_stand_by_themselves() {
    for one in schemas() {
        let text = one.schema.as_value().to_string();
        // Only the quota tree is recursive, and needs to refer to itself.
        assert_eq!(text.contains("$ref"), one.kind == "QuotaTree", "{}: {text}", one.kind);
        let described = one.schema.as_value().pointer("/properties/spec/properties");
        assert!(described.and_then(Value::as_object).is_some_and(|fields| !fields.is_empty()), "{}: {text}", one.kind);
    }
}

fn faults(kind: &str, value: &Value) -> Vec<String> {
    check(&schema_of(kind).unwrap().schema, value).iter().map(ToString::to_string).collect()
}

#[test]
fn the_check_finds_what_deserialisation_finds_and_more() {
    let value = json!({
        "metadata": {"name": "a"},
        "spec": {
            "resourceSelectors": [{"apiVersion": "v1"}],
            "gang": "yes",
            "placement": {"replicaScheduling": {"weightPreference": {"staticWeightList": [
                {"targetCluster": {"clusterNames": "a"}, "weight": 0},
            ]}}},
            "failover": {"application": {"purgeMode": "Gracefuly"}},
            "budget": {"usdPerHour": -1},
        },
        "status": {},
    });
    let at = "spec.placement.replicaScheduling.weightPreference.staticWeightList[0]";
    assert_eq!(
        faults("DistributionPolicy", &value),
        [
            "spec.resourceSelectors[0].kind: is missing; this field is required".to_owned(),
            "spec.gang: must be true or false, not the string \"yes\"".to_owned(),
            format!("{at}.targetCluster.clusterNames: must be a list, not the string \"a\""),
            format!("{at}.weight: 0 is out of range; use a whole number from 1 to 4294967295"),
            "spec.failover.application.purgeMode: \"Gracefuly\" is not allowed; did you mean \"Gracefully\"? Allowed are: \
             Directly, Gracefully, Never"
                .to_owned(),
            "spec.budget.usdPerHour: -1 is too small; use at least 0".to_owned(),
        ]
    );
}

#[test]
fn recursive_schemas_are_followed() {
    let value =
        json!({"metadata": {}, "spec": {"root": {"name": "a", "children": [{"name": "", "min": {"cpu": "x"}}]}}});
    let found = faults("QuotaTree", &value);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("spec.root.children[0].name: is empty"), "{found:?}");
    assert!(found[1].starts_with("spec.root.children[0].min[\"cpu\"]: \"x\" is no quantity"), "{found:?}");
}
