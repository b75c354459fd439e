//! Reading and writing, by example and on random input.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    super::parse(text, &mut 0)
}

fn read(text: &str) -> Value {
    match &parse(text).unwrap()[..] {
        [node] => node.value(),
        [] => Value::Null,
        _ => panic!("more than one document"),
    }
}

#[test]
fn every_field_knows_its_line() {
    let nodes = parse("a: 1\nb:\n  c:\n  - d: x\n    e: y\n  - f\n").unwrap();
    let line = |path| nodes[0].line_of(path);
    assert_eq!(
        [line("a"), line("b"), line("b.c"), line("b.c[0].e"), line("b.c[1]"), line("b.zzz")],
        [1, 2, 3, 5, 6, 2]
    );
}

#[test]
fn scalars_are_inferred_as_kubernetes_users_expect() {
    let value = read("a: yes\nb: true\nc: 0644\nd: \"1\"\ne: 1.5\nf: ~\ng: 1e3\nh: 2023-01-01\n");
    assert_eq!(
        value,
        json!({"a": "yes", "b": true, "c": 420, "d": "1", "e": 1.5, "f": null, "g": 1000.0, "h": "2023-01-01"})
    );
}

#[test]
fn json_is_read_as_json() {
    assert_eq!(read("{\"a\": \"\\ud83d\\ude00\", \"b\": [1, {}]}"), json!({"a": "😀", "b": [1, {}]}));
    assert_eq!(parse("{\"a\": 1}\n{\"b\": 2}").unwrap().len(), 2);
    assert_eq!(read("{a: b}"), json!({"a": "b"}));
}

#[test]
fn faults_name_their_line() {
    let error = parse("a: 1\nb: [1\nc: 2\n").unwrap_err();
    assert!(error.line >= 2, "{error:?}");
    let error = parse("a: 1\na: 2\n").unwrap_err();
    assert_eq!(error.line, 2, "{error:?}");
    assert!(parse("{\"a\": 1, \"a\": 2}").is_err());
}

#[test]
fn hostile_texts_are_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let last = format!("*a{}", level - 1);
        let list = vec![last; 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
    let deep: String = (0..1_000).map(|level| format!("{:level$}a:\n", "")).collect();
    assert!(parse(&deep).is_err());
}

#[test]
fn aliases_and_merges_are_expanded() {
    let value = read("a: &x {k: 1, l: 2}\nb: *x\nc:\n  l: 3\n  <<: *x\nd: {<<: [{k: 4}, *x], \"<<\": 5}\n");
    assert_eq!(
        value,
        json!({"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"l": 3, "k": 1}, "d": {"<<": 5, "k": 4, "l": 2}})
    );
    for bad in ["a: &x [*x]", "a: *none", "<<: 1", "? [a]\n: b", "{a: 1, a: 2}", "a: .inf", "a: 1e999", ": b"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert_eq!(
        read("a: !!str 1\nb: !x 1\nc: '1'\nd: 007\ne: 08\nf: 0x1F\ng: -9223372036854775808\n"),
        json!({"a": "1", "b": "1", "c": "1", "d": 7, "e": "08", "f": 31, "g": i64::MIN})
    );
}

#[test]
fn copies_of_a_large_text_are_refused() {
    let text = format!("a: &x {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*x"; 100].join(","));
    assert!(parse(&text).unwrap_err().problem.contains("too large"));
}

#[test]
fn what_manifests_need_is_deep_enough() {
    let deep: String = (0..62).map(|level| format!("{:level$}a:\n", "")).collect();
    assert_eq!(parse(&deep).unwrap().len(), 1);
}

fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,12}",
        "[ -~\n\t]{0,20}",
        "(yes|No|0644|1e3|~|null|0x1f|-|a: b|# c|\\.inf)",
        "[a-z]+\n[a-z ]*\n?"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| json!(number)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in values()) {
        let text = write(&json!({"value": value}));
        let nodes = parse(&text);
        prop_assert!(nodes.is_ok(), "{:?}\n{}", nodes, text);
        prop_assert_eq!(nodes.unwrap()[0].value(), json!({"value": value}), "{}", text);
    }

    #[test]
    fn reading_never_panics(text in "[ -~\n\t&*!|>{}\\[\\]:]{0,200}") {
        let _ = parse(&text);
    }
}
