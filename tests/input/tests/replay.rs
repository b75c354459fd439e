//! Everything that fuzzing found worth keeping, and random input, held against what is promised of each kind of input.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::path::Path;

use proptest::prelude::*;

/// Replays the kept files of a target, in the order of their names.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no kept input");
    for file in files {
        let data = std::fs::read(&file).unwrap();
        let held = std::panic::catch_unwind(|| check(&data));
        assert!(held.is_ok(), "{} does not hold, as is told above", file.display());
    }
}

macro_rules! replayed {
    ($($target:ident,)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), berth_input::$target::check);
            }
        )*
    };
}

replayed! {
    answers,
    manifests,
    objects,
}

#[cfg(feature = "wasm")]
replayed! {
    components,
    fleet,
    http,
    policies,
    series,
}

/// Text that is made of what a kind of input is made of.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => "[ -~\n\t]{0,8}",
        1 => ".{0,4}",
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

const YAML: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "  ",
    "  ",
    ": ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<",
    "---\n",
    "|\n",
    "'",
    "\"",
    "#",
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "spec",
    "replicas",
    "items",
    "v1",
    "apps/v1",
    "berth.dev/v1alpha1",
    "Deployment",
    "Cluster",
    "NodePool",
    "List",
    "null",
    "true",
    "0x1f",
    "1e400",
    "1Gi",
];
const TOML: &[&str] = &[
    "\n",
    "\n",
    "\n",
    " = ",
    " = ",
    "[",
    "]",
    "{ ",
    " }",
    ", ",
    "\"",
    "'",
    ".",
    "#",
    "placement",
    "gang",
    "migration",
    "policy",
    "default",
    "Duplicated",
    "Free",
    "first",
    "ready",
    "fifo",
    "file",
    "config",
    "limits",
    "fuel",
    "ready.wasm",
    "deadline-ms",
    "memory-mib",
    "0",
    "1",
    "true",
    "1979-05-27",
    "inf",
    "1e3",
    "\"\"\"",
];
const CSV: &[&str] = &[
    "\n",
    "\n",
    "\n",
    ",",
    ",",
    "time",
    "requests",
    "a",
    "b",
    "0",
    "1",
    "1",
    "60",
    "3600",
    "2023-02-16T06:00:00",
    "Z",
    "1e13",
    "0.5",
    "-1",
    "#",
    "\"",
    " ",
    "99999999999999",
];
const HTTP: &[&str] = &[
    "GET /api/v1/",
    "POST /api/v1/apply",
    "POST /api/v1/delete",
    "objects",
    "workloads",
    "explain",
    "events",
    "decisions",
    "?",
    "&",
    "=",
    "kind",
    "namespace",
    "name",
    "limit",
    "dryRun",
    "true",
    "deploy",
    "%2e%2e",
    "\n",
    "\n",
    "host: localhost\n",
    "content-type: application/json\n",
    "authorization: Bearer x\n",
    "\n\n",
    "{",
    "}",
    "[",
    "]",
    "\"sources\"",
    ":",
    ",",
    "\"objects\"",
    "\"text\"",
    "\"name\"",
    "\"a\"",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_choice_of_answers(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        berth_input::answers::check(&data);
    }

    #[test]
    fn any_text_as_manifests(text in text(YAML)) {
        berth_input::manifests::check(text.as_bytes());
    }

    #[test]
    fn any_change_of_objects(data in proptest::collection::vec(any::<u8>(), 0..120)) {
        berth_input::objects::check(&data);
    }
}

#[cfg(feature = "wasm")]
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn any_text_as_a_series(text in text(CSV)) {
        berth_input::series::check(text.as_bytes());
    }

    #[test]
    fn any_text_as_policies(text in text(TOML)) {
        berth_input::policies::check(text.as_bytes());
    }

    #[test]
    fn any_change_of_a_fleet(mut data in proptest::collection::vec(any::<u8>(), 0..120)) {
        data.insert(0, 0);
        berth_input::fleet::check(&data);
    }

    #[test]
    fn any_text_as_a_request(text in text(HTTP)) {
        berth_input::http::check(text.as_bytes());
    }
}
