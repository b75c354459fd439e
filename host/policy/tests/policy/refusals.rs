//! What is not loaded, and what is said of it. Whatever it is, nothing else changes.

use std::fs;

use berth_policy::{Config, Directory, PolicyState};
use proptest::prelude::*;

use crate::support::{Home, builtin, misbehave, runtime};

/// Loads one file beside a good one, and returns why it is refused.
fn refused(name: &str, bytes: &[u8], config: &str) -> String {
    let mut home = Home::new();
    home.copy(&builtin("weighted.wasm"), "weighted.wasm");
    home.write(name, bytes);
    home.write("policies.toml", config);
    home.scan();
    assert_eq!(home.row("weighted").state, PolicyState::Active, "the others are loaded");
    let refusals = home.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.into_iter().next().unwrap()
}

fn component(text: &str) -> String {
    refused("x.wasm", &wat::parse_str(text).unwrap(), "")
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn imports_of_any_kind() {
    let wasi =
        r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#;
    holds(&component(wasi), &["x: it imports wasi:clocks/monotonic-clock@0.2.0", "may import nothing"]);
    holds(&component(r#"(component (import "host-call" (func)))"#), &["it imports host-call"]);
    let module = r#"(component (import "part" (core module)))"#;
    holds(&component(module), &["it imports part"]);
}

#[test]
fn exports_of_no_policy_or_of_two() {
    let expected = "a policy exports berth:policy/about@0.1.0 and exactly one of berth:policy/placement@0.1.0, \
                    berth:policy/gang@0.1.0, berth:policy/migration@0.1.0";
    holds(&component("(component)"), &["it exports nothing", expected]);
    let two = r#"(component (instance $i)
        (export "berth:policy/about@0.1.0" (instance $i))
        (export "berth:policy/gang@0.1.0" (instance $i))
        (export "berth:policy/migration@0.1.0" (instance $i)))"#;
    holds(&component(two), &["berth:policy/gang@0.1.0, berth:policy/migration@0.1.0", expected]);
}

/// A whole policy under another version of the same length, as one from the future would come.
fn of_version(version: &str) -> Vec<u8> {
    let (known, version) = (b"@0.1.0", format!("@{version}"));
    assert_eq!(known.len(), version.len());
    let mut bytes = fs::read(builtin("weighted.wasm")).unwrap();
    let places = (0..bytes.len() - known.len()).filter(|at| bytes[*at..].starts_with(known)).collect::<Vec<_>>();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + known.len()].copy_from_slice(version.as_bytes());
    }
    bytes
}

#[test]
fn versions_that_were_never_published() {
    // The same types under the name of a patch are refused as well: what is published has no patches.
    for version in ["0.1.1", "0.2.0", "1.0.0"] {
        let says = refused("x.wasm", &of_version(version), "");
        let found = format!("x: it is written for berth:policy@{version}, and this host knows 0.1.0;");
        holds(&says, &[&found, "use a newer Berth"]);
    }
    let mut home = Home::new();
    home.write("weighted.wasm", of_version("0.1.0"));
    home.scan();
    assert_eq!(home.row("weighted").state, PolicyState::Active);
}

#[test]
fn exports_of_other_types() {
    let empty = r#"(component (instance $i)
        (export "berth:policy/about@0.1.0" (instance $i))
        (export "berth:policy/placement@0.1.0" (instance $i)))"#;
    holds(&component(empty), &["its exports do not have the types of berth:policy@0.1.0", "`"]);
    let other = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $c (instantiate $m))
        (func $describe (result u32) (canon lift (core func $c "f")))
        (instance $about (export "describe" (func $describe)))
        (instance $none)
        (export "berth:policy/about@0.1.0" (instance $about))
        (export "berth:policy/placement@0.1.0" (instance $none)))"#;
    holds(&component(other), &["its exports do not have the types of berth:policy@0.1.0"]);
}

#[test]
fn what_is_no_component() {
    holds(&refused("x.wasm", b"", ""), &["it is no WebAssembly component"]);
    holds(&refused("x.wasm", b"#!/bin/sh\n", ""), &["it is no WebAssembly component"]);
    holds(&component("(module)"), &["it is a core module", "wasm-tools component new"]);
    let whole = fs::read(builtin("weighted.wasm")).unwrap();
    holds(&refused("x.wasm", &whole[..whole.len() / 2], ""), &["it is no WebAssembly component"]);
}

#[test]
fn a_file_that_is_too_large() {
    let config = "[policy.x]\nlimits = { max-file-mib = 1 }\n";
    holds(&refused("x.wasm", &vec![0; (1 << 20) + 1], config), &["more than 1048576 bytes", "max-file-mib"]);
}

#[test]
fn a_start_that_exceeds_its_limits() {
    let guest = fs::read(misbehave()).unwrap();
    let config = "[policy.misbehave]\nlimits = { memory-mib = 1 }\n";
    holds(&refused("misbehave.wasm", &guest, config), &["`describe` failed: it wanted more than its 1 MiB of memory"]);
    let config = "[policy.misbehave]\nlimits = { fuel = 10 }\n";
    holds(&refused("misbehave.wasm", &guest, config), &["`describe` failed: it used up its fuel"]);
}

#[test]
fn a_configuration_that_its_schema_refuses() {
    let guest = fs::read(misbehave()).unwrap();
    let config = "[policy.misbehave]\nconfig = { tag = \"high\" }\n";
    holds(&refused("misbehave.wasm", &guest, config), &["its configuration is refused at /tag", "number"]);
    let config = "[policy.misbehave]\nconfig = { tga = 1 }\n";
    holds(&refused("misbehave.wasm", &guest, config), &["its configuration is refused at /", "tga"]);
    let whole = fs::read(builtin("available.wasm")).unwrap();
    let config = "[policy.available]\nconfig = { anything = 1 }\n";
    holds(&refused("available.wasm", &whole, config), &["its configuration is refused at /"]);
}

#[test]
fn a_probe_that_fails() {
    let guest = fs::read(misbehave()).unwrap();
    for (mode, says) in [
        ("trap", "it trapped"),
        ("loop", "used up its fuel"),
        ("memory", "more than its 16 MiB"),
        ("start-trap", "no session could be made: it trapped"),
        ("start-loop", "no session could be made: it used up its fuel"),
        ("unknown-candidate", "candidate 3 is not there"),
        ("over-room", "which holds"),
    ] {
        let config = format!(
            "[policy.misbehave]\nconfig = {{ mode = \"{mode}\" }}\nlimits = {{ fuel = 50_000_000, memory-mib = 16 }}\n"
        );
        holds(&refused("misbehave.wasm", &guest, &config), &["it failed its probe", says]);
    }
}

#[test]
fn two_files_of_one_name() {
    let guest = fs::read(builtin("weighted.wasm")).unwrap();
    holds(
        &refused("zz.wasm", &guest, ""),
        &["zz: it calls itself weighted, as", "weighted.wasm does", "[policy.NAME]"],
    );
}

#[test]
fn a_binding_to_nothing_changes_nothing() {
    let mut home = Home::misbehaving("[policy.misbehave]\nconfig = { tag = 7 }\n");
    for (config, says) in [
        ("[gang]\ndefault = \"misbehave\"\n", "gang.default names misbehave, which is a placement policy"),
        (
            "[placement]\nFree = \"mishebave\"\n",
            "placement.Free names mishebave, which is not loaded; loaded are: misbehave",
        ),
    ] {
        home.write("policies.toml", config);
        let scan = home.scan();
        assert!(scan.changed.is_empty() && scan.removed.is_empty() && scan.rebound.is_empty(), "{scan:?}");
        holds(&home.refusals()[0], &[says]);
        assert_eq!(crate::support::term(&home.ask("", 1), "tag"), 7.0);
    }
}

#[test]
fn a_binding_is_a_change_of_its_own() {
    let mut home = Home::new();
    home.copy(&builtin("available.wasm"), "available.wasm");
    home.scan();
    home.write("policies.toml", "[placement]\nFree = \"available\"\n");
    let scan = home.scan();
    assert_eq!(scan.rebound, ["available".into()]);
    assert!(scan.changed.is_empty() && scan.refused.is_empty(), "{scan:?}");
}

#[test]
fn a_place_without_a_component_is_the_built_in_algorithms() {
    let mut home = Home::new();
    home.scan();
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    let answer = home.ask_bound();
    assert!(answer.failed.is_none() && &*answer.by.digest == "native", "{answer:?}");
}

#[test]
fn a_broken_policies_toml_changes_nothing() {
    let mut home = Home::misbehaving("[policy.misbehave]\nconfig = { tag = 7 }\n");
    home.write("policies.toml", "[policy.misbehave]\nconfg = { tag = 8 }\n");
    let scan = home.scan();
    assert!(scan.changed.is_empty() && scan.removed.is_empty());
    holds(&home.refusals()[0], &["policies.toml: ", "line 2", "confg", "did you mean `config`?"]);
    assert_eq!(crate::support::term(&home.ask("", 1), "tag"), 7.0);
    assert_eq!(home.scan(), berth_policy::Scan::default(), "a refusal is reported once");
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 8 }\n");
    home.scan();
    assert_eq!(crate::support::term(&home.ask("", 1), "tag"), 8.0);
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
}

#[test]
fn a_folder_that_is_not_there() {
    let mut directory = Directory::new("/nonexistent/policies", runtime());
    let scan = directory.scan();
    holds(&scan.refused[0].reason, &["the policy directory cannot be read"]);
}

const VALID: &str = "[placement]\nFree = \"cheap\"\n[gang]\ndefault = \"fifo\"\n[policy.cheap]\nfile = \"cost.wasm\"\nconfig = { a = 1 }\nlimits = { fuel = 5, memory-mib = 1 }\n";

proptest! {
    #[test]
    fn no_text_makes_the_configuration_panic(text in "\\PC*", at in 0..VALID.len(), cut in 0..20_usize) {
        let _ = Config::parse(&text);
        let end = (at + cut).min(VALID.len());
        let _ = Config::parse(&format!("{}{text}{}", &VALID[..at], &VALID[end..]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_bytes_make_loading_panic(mark in any::<u8>(), at in 0..4_000_usize) {
        let mut home = Home::new();
        let mut bytes = fs::read(misbehave()).unwrap();
        // Spread over the file, headers included.
        let at = if at < 400 { at } else { at * bytes.len() / 4_000 };
        bytes[at] = mark;
        bytes.truncate(if mark == 0 { at } else { bytes.len() });
        home.write("x.wasm", bytes);
        home.scan();
    }
}
