//! YAML and JSON text to values that know their lines, and values back to YAML text.
//!
//! Reading is bounded in size, depth, nodes and aliases, so that a small hostile text cannot become a large value. Types
//! are inferred by YAML 1.2's core schema (`yes` is a string), except that `0644` is octal, as in Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::issue::join;

/// Bytes of one text at the most.
pub const MAX_BYTES: usize = 32 << 20;
const MAX_DEPTH: usize = 30;
/// Brackets within brackets, those in quoted text included, which may be unbalanced.
const MAX_FLOW: usize = 1024;

/// A value in which every node knows its line.
#[derive(Debug)]
pub(crate) struct Node {
    /// From 1; 0 where unknown.
    line: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Text that is no YAML, and no JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// One YAML document, or one JSON text with any number of values, as nodes. A document without content has none.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    if nesting(text) > MAX_FLOW {
        return Err(SyntaxError { line: 0, problem: format!("brackets are nested more than {MAX_FLOW} deep") });
    }
    if text.trim_start().starts_with('{') {
        let json = serde_json::Deserializer::from_str(text).into_iter::<Tree<false>>();
        if let Ok(nodes) = json.map(|tree| tree.map(|tree| tree.0)).collect::<Result<Vec<_>, _>>() {
            return Ok(nodes);
        }
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 2,
            max_nodes: 1_000_000,
            max_events: 3_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: 8 << 20,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 200_000, max_replay_stack_depth: 16 },
        strict_booleans: true,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let trees: Result<Vec<Tree<true>>, _> = serde_saphyr::from_multiple_with_options(text, options);
    trees.map(|trees| trees.into_iter().map(|tree| tree.0).collect()).map_err(|error| {
        let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0));
        let problem = error.to_string();
        SyntaxError { line, problem: problem.lines().next().unwrap_or_default().to_owned() }
    })
}

/// How deep brackets are nested at the most, whatever stands in quotes: an upper bound that costs one pass.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl Node {
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The value of a scalar, or of an entry of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// Takes the entries of the list under `key`; empty if there is no list.
    pub(crate) fn take_list(&mut self, key: &str) -> Vec<Node> {
        let Kind::Map(entries) = &mut self.kind else { return Vec::new() };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, Node { kind: Kind::List(items), .. })) => std::mem::take(items),
            _ => Vec::new(),
        }
    }

    pub(crate) fn value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.value())).collect())
            }
        }
    }

    /// The line of the field at `path`, or of the nearest one above it.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        let mut lines = BTreeMap::new();
        self.collect_lines("", &mut lines);
        let mut path = path;
        loop {
            match (lines.get(path), path.rfind(['.', '['])) {
                (Some(line), _) => return *line,
                (None, Some(end)) => path = &path[..end],
                (None, None) => return self.line,
            }
        }
    }

    fn collect_lines(&self, path: &str, lines: &mut BTreeMap<String, usize>) {
        lines.entry(path.to_owned()).or_insert(self.line);
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.collect_lines(&format!("{path}[{index}]"), lines);
                }
            }
            Kind::Map(entries) => {
                for (key, node) in entries {
                    lines.entry(format!("{path}[{key:?}]")).or_insert(node.line);
                    node.collect_lines(&join(path, key), lines);
                }
            }
        }
    }
}

/// A node as it is deserialised, from YAML with lines, from JSON without.
struct Tree<const LINES: bool>(Node);

struct TreeKind<const LINES: bool>(Kind);

impl<'de, const LINES: bool> Deserialize<'de> for Tree<LINES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !LINES {
            return TreeKind::<LINES>::deserialize(deserializer).map(|kind| Self(Node { line: 0, kind: kind.0 }));
        }
        let spanned: Spanned<TreeKind<LINES>> = Spanned::deserialize(deserializer)?;
        let line = usize::try_from(spanned.referenced.line()).unwrap_or(0);
        Ok(Self(Node { line, kind: spanned.value.0 }))
    }
}

impl<'de, const LINES: bool> Deserialize<'de> for TreeKind<LINES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor::<LINES>).map(Self)
    }
}

struct KindVisitor<const LINES: bool>;

impl<'de, const LINES: bool> Visitor<'de> for KindVisitor<LINES> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        serde_json::Number::from_f64(value)
            .map(|number| Kind::Scalar(number.into()))
            .ok_or_else(|| E::custom("numbers must be finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        TreeKind::<LINES>::deserialize(deserializer).map(|kind| kind.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        TreeKind::<LINES>::deserialize(deserializer).map(|kind| kind.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(Tree(item)) = seq.next_element::<Tree<LINES>>()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let next = if LINES {
                map.next_key::<Spanned<String>>()?
                    .map(|key| (usize::try_from(key.referenced.line()).unwrap_or(0), key.value))
            } else {
                map.next_key::<String>()?.map(|key| (0, key))
            };
            let Some((line, key)) = next else { break };
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands twice in one mapping")));
            }
            let Tree(mut node) = map.next_value::<Tree<LINES>>()?;
            // Where a field starts is where its key stands, not where its value does.
            if line > 0 {
                node.line = line;
            }
            entries.push((key, node));
        }
        Ok(Kind::Map(entries))
    }
}

/// `value` as a YAML document, in the order of its fields. Reading it gives the same value again, under YAML 1.1 too.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0),
        other => {
            write_scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first entry continues the line of the list item that it stands in; see `write_list`.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            let _ = write!(out, "{:indent$}", "");
        }
        write_text(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, indent);
            }
            other => {
                out.push(' ');
                write_scalar(out, other, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            let _ = write!(out, "{:indent$}", "");
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2),
            Value::Array(items) if !items.is_empty() => write_list(out, items, indent + 2),
            other => {
                write_scalar(out, other, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    let _ = write!(out, "{:indent$}{line}", "");
                }
            }
        }
        Value::String(text) => write_text(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Whether a text reads well, and safely, as a block of lines.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !body.is_empty()
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && body.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

fn write_text(out: &mut String, text: &str) {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-:".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
}
