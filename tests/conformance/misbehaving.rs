//! Policies that do what none should: each is stopped, told apart, and refused by its own reason.

use std::path::Path;

use berth_policy::Trial;

use crate::examples::{cases, faults, runtime};

#[test]
fn every_way_to_misbehave_is_caught() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/tests/guests/misbehave.wasm");
    let trial = Trial::open(&runtime(), &host).unwrap();
    let cases = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/misbehaving"));
    assert_eq!(faults(&trial, &cases), Vec::<String>::new());
}

#[test]
fn a_component_with_an_import_is_refused_by_the_name_of_the_import() {
    let text = r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func)))))"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let refused = Trial::open(&runtime(), &file).unwrap_err().to_string();
    assert!(refused.contains("it imports wasi:clocks/wall-clock@0.2.0"), "{refused}");
}
