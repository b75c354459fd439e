//! References within a fleet file.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]
use super::*;

const FLEET: &str = include_str!("../../testdata/fleet.yaml");

fn faults(from: &str, to: &str) -> Vec<String> {
    assert!(FLEET.contains(from), "{from}");
    let errors = load_fleet("fleet.yaml", &FLEET.replacen(from, to, 1)).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_complete_fleet_file_loads() {
    assert_eq!(load_fleet("fleet.yaml", FLEET).unwrap().objects.len(), 8);
}

#[test]
fn what_is_named_must_be_there() {
    assert_eq!(
        faults("cluster: us-east\n", "cluster: us-eats\n")[0],
        "fleet.yaml:17 (document 3): NodePool gpu-us-east: spec.cluster: there is no Cluster \"us-eats\"; did you mean \"us-east\"?"
    );
    let found = faults("- {instanceTypes: [p3.2xlarge], capacityType: on-demand}", "- {instanceTypes: [p4d.24xlarge]}");
    assert!(
        found[0].contains("spec.offerings[1].instanceTypes[0]: there is no Offering in \"us-east-1\""),
        "{found:?}"
    );
    let found = faults("zones: [us-east-1a], capacityType", "zones: [us-east-1b], capacityType");
    assert!(found[0].contains("spec.offerings[0].zones[0]"), "{found:?}");
    let found = faults("offerings: [v100-spot-a]", "offerings: [v100-spot-b]");
    assert!(found[0].contains("spec.stockSeries[0].columns[0].offerings[0]"), "{found:?}");
    let found = faults("workload: {name: qwen3-8b}", "workload: {name: qwen}");
    assert!(found[0].contains("spec.loadSeries[0].workload: there is no Deployment"), "{found:?}");
    let found = faults("cluster: us-west, lasts", "cluster: eu, lasts");
    assert!(found[0].contains("spec.faults[0].cluster"), "{found:?}");
    let found = faults("pool: gpu-us-east", "pool: cpu");
    assert!(found[0].contains("spec.faults[1].pool"), "{found:?}");
}

#[test]
fn no_two_offerings_are_the_same() {
    let found = faults("zone: us-east-1f", "zone: us-east-1a");
    assert!(found[0].contains("is the same as that of \"v100-spot-a\""), "{found:?}");
}
