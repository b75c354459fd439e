//! What is measured of a policy beside another.

use std::path::Path;
use std::time::Duration;

use berth_core::policy::Kind;
use berth_policy::{Size, Trial, bench};
use serde_json::Map;

use crate::support::{builtin, runtime};

fn measure(files: [&Path; 2]) -> Result<Size, String> {
    let trials = files.map(|file| Trial::open(&runtime(), file).unwrap());
    let policies = [0, 1].map(|number: usize| trials[number].configure(&Map::new()).unwrap());
    let pairs = [(&trials[0], &policies[0]), (&trials[1], &policies[1])];
    bench(pairs, 20, 12, Duration::from_secs(600)).map_err(|error| error.to_string())
}

#[test]
fn a_policy_beside_itself_costs_the_same() {
    for (file, kind) in [("cost.wasm", Kind::Placement), ("fifo.wasm", Kind::Gang), ("ready.wasm", Kind::Migration)] {
        let file = builtin(file);
        let Size { clusters, policies: [one, other] } = measure([&file, &file]).unwrap();
        assert_eq!((clusters, one.calls, one.failed), (20, 12, 0), "{kind:?}: {one:?}");
        assert!(one.fuel_per_call > 0 && one.p50_us > 0.0 && one.p99_us >= one.p50_us, "{one:?}");
        assert!(one.session_us > 0.0 && one.update_us > 0.0 && one.memory_bytes > 0, "{one:?}");
        assert_eq!((one.fuel_per_call, one.memory_bytes), (other.fuel_per_call, other.memory_bytes), "{kind:?}");
    }
}

#[test]
fn a_policy_of_another_kind_is_no_measure() {
    let refused = measure([&builtin("fifo.wasm"), &builtin("cost.wasm")]).unwrap_err();
    assert_eq!(refused, "one is a gang policy and the other a placement policy");
}
