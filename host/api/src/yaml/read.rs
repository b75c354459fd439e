//! Text to nodes.
//!
//! YAML comes as a stream of events, from which the tree is built without recursion. Depth, and the weight of the tree with
//! all that aliases copy into it, are bounded, so that a small hostile text cannot become a large value. Types are inferred
//! by YAML 1.2's core schema (`yes` is a string), except that `0644` is octal, as in Kubernetes. Merge keys (`<<`) are
//! expanded. JSON is read by its own reader, because YAML's differs in the escapes of some characters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};

use super::{Kind, Node, SyntaxError};

/// Collections within collections.
const MAX_DEPTH: usize = 64;
/// Bytes of text and [`NODE_WEIGHT`] for each node, aliases and anchors counted as the copies that they make; of all
/// documents of a file together.
const MAX_WEIGHT: usize = 64 << 20;
const NODE_WEIGHT: usize = 32;

/// The documents of a YAML text, or the values of a JSON text. `spent` is the weight of what was read of the same file
/// before, and grows by what this text weighs.
pub(crate) fn parse(text: &str, spent: &mut usize) -> Result<Vec<Node>, SyntaxError> {
    let json_weight = spent.saturating_add(json_weight(text));
    if text.trim_start().starts_with('{') && json_weight <= MAX_WEIGHT {
        let json = serde_json::Deserializer::from_str(text).into_iter::<Json>();
        if let Ok(nodes) = json.map(|node| node.map(|node| node.0)).collect::<Result<Vec<_>, _>>() {
            *spent = json_weight;
            return Ok(nodes);
        }
    }
    let mut builder = Builder { weight: *spent, ..Builder::default() };
    let read = builder.read(text);
    // What was refused has cost as much as what was accepted.
    *spent = builder.weight;
    read.map(|()| builder.roots)
}

/// What a JSON text weighs at the most: every value but the first follows one of these.
fn json_weight(text: &str) -> usize {
    let nodes = text.bytes().filter(|byte| matches!(byte, b'[' | b'{' | b',' | b':')).count() + 1;
    text.len().saturating_add(nodes.saturating_mul(NODE_WEIGHT))
}

/// A collection that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    /// Of everything in it.
    weight: usize,
    /// Levels of collections below it.
    height: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(String, Node)>, seen: BTreeSet<String>, key: Option<(String, usize)>, merged: Vec<Node> },
}

/// A finished node with its size.
#[derive(Clone)]
struct Built {
    node: Node,
    weight: usize,
    height: usize,
}

#[derive(Default)]
struct Builder {
    roots: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Built>,
    weight: usize,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), SyntaxError> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) =
                event.map_err(|error| SyntaxError { line: error.marker().line(), problem: error.info() })?;
            self.event(event, span).map_err(|problem| SyntaxError { line: span.start.line(), problem })?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // The parser writes what is absent as a null.
                let absent = style == ScalarStyle::Plain && span.is_empty();
                let text = if absent { "".into() } else { text };
                let weight = NODE_WEIGHT + text.len();
                self.charge(weight)?;
                if self.key(&text, style, line)? {
                    return if anchor == 0 { Ok(()) } else { Err("keys cannot be anchors".to_owned()) };
                }
                let value = scalar(&text, style, tag.as_deref())?;
                self.add(Built { node: Node { line, kind: Kind::Scalar(value) }, weight, height: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.start(line, anchor, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let (entries, merged) = (Vec::new(), Vec::new());
                self.start(line, anchor, Items::Map { entries, seen: BTreeSet::new(), key: None, merged })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let Some(built) = self.anchors.get(&id).cloned() else {
                    return Err("the alias stands within its own anchor".to_owned());
                };
                self.charge(built.weight)?;
                self.deep(self.open.len() + built.height)?;
                self.add(built, 0)
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn charge(&mut self, weight: usize) -> Result<(), String> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MAX_WEIGHT {
            Err("the file is too large once aliases are expanded".to_owned())
        } else {
            Ok(())
        }
    }

    fn deep(&self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH { Err(format!("the document is nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    /// Takes a scalar as a key if a mapping waits for one.
    fn key(&mut self, text: &str, style: ScalarStyle, line: usize) -> Result<bool, String> {
        let Some(Open { items: Items::Map { seen, key: key @ None, .. }, .. }) = self.open.last_mut() else {
            return Ok(false);
        };
        if text.is_empty() && style == ScalarStyle::Plain {
            return Err("a key is missing".to_owned());
        }
        let merge = text == "<<" && style == ScalarStyle::Plain;
        if !merge && !seen.insert(text.to_owned()) {
            return Err(format!("the key {text:?} stands twice in one mapping"));
        }
        *key = Some((text.to_owned(), if merge { 0 } else { line }));
        Ok(true)
    }

    fn start(&mut self, line: usize, anchor: usize, items: Items) -> Result<(), String> {
        if let Some(Open { items: Items::Map { key: None, .. }, .. }) = self.open.last() {
            return Err("a key must be a scalar".to_owned());
        }
        self.charge(NODE_WEIGHT)?;
        self.open.push(Open { line, anchor, weight: NODE_WEIGHT, height: 0, items });
        self.deep(self.open.len())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(Open { line, anchor, weight, height, items }) = self.open.pop() else { return Ok(()) };
        let kind = match items {
            Items::List(items) => Kind::List(items),
            Items::Map { mut entries, mut seen, merged, .. } => {
                for (key, node) in merged.into_iter().flat_map(merged_entries) {
                    if seen.insert(key.clone()) {
                        entries.push((key, node));
                    }
                }
                Kind::Map(entries)
            }
        };
        self.add(Built { node: Node { line, kind }, weight, height: height + 1 }, anchor)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, built: Built, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.charge(built.weight)?;
            self.anchors.insert(anchor, built.clone());
        }
        let Built { mut node, weight, height } = built;
        let Some(parent) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        parent.weight = parent.weight.saturating_add(weight);
        parent.height = parent.height.max(height);
        match &mut parent.items {
            Items::List(items) => items.push(node),
            Items::Map { entries, key, merged, .. } => match key.take() {
                Some((_, 0)) => {
                    let maps = match &node.kind {
                        Kind::Map(_) => true,
                        Kind::List(items) => items.iter().all(|item| matches!(item.kind, Kind::Map(_))),
                        Kind::Scalar(_) => false,
                    };
                    if !maps {
                        return Err("only mappings can be merged".to_owned());
                    }
                    merged.push(node);
                }
                Some((key, line)) => {
                    // Where a field starts is where its key stands, not where its value does.
                    node.line = line;
                    entries.push((key, node));
                }
                None => return Err("a key must be a scalar".to_owned()),
            },
        }
        Ok(())
    }
}

fn merged_entries(node: Node) -> Vec<(String, Node)> {
    match node.kind {
        Kind::Map(entries) => entries,
        Kind::List(items) => items.into_iter().flat_map(merged_entries).collect(),
        Kind::Scalar(_) => Vec::new(),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let resolved = tag.is_none_or(|tag| {
        tag.handle() == "tag:yaml.org,2002:" && ["null", "bool", "int", "float"].contains(&tag.suffix())
    });
    if (style != ScalarStyle::Plain && tag.is_none()) || !resolved {
        return Ok(text.into());
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => match number(text)? {
            Some(number) => number.into(),
            None => text.into(),
        },
    })
}

/// The number that a plain scalar stands for, if it is one.
fn number(text: &str) -> Result<Option<Number>, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let all = |text: &str, test: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(test);
    let (radix, body) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let whole = match radix {
        16 => all(body, u8::is_ascii_hexdigit),
        8 => all(body, |byte| (b'0'..=b'7').contains(byte)),
        _ => all(body, u8::is_ascii_digit),
    };
    if whole && let Ok(magnitude) = u64::from_str_radix(body, radix) {
        if !negative {
            return Ok(Some(magnitude.into()));
        }
        if let Some(value) = 0i64.checked_sub_unsigned(magnitude) {
            return Ok(Some(value.into()));
        }
    }
    let lower = digits.to_ascii_lowercase();
    if lower == ".inf" || text.eq_ignore_ascii_case(".nan") {
        return Err(format!("{text} is no finite number"));
    }
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digit = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // Several leading zeros are no number of JSON's: an account, a version, a postcode.
    let float = digit(integer) && digit(fraction) && all(exponent, u8::is_ascii_digit);
    if !float || (integer.is_empty() && fraction.is_empty()) || (integer.len() > 1 && integer.starts_with('0')) {
        return Ok(None);
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{text} is no finite number")),
    }
}

/// A node read from JSON, which does not know its line.
struct Json(Node);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(|kind| Self(Node { line: 0, kind }))
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
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
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a key stands twice in one mapping"));
            }
            let Json(node) = map.next_value()?;
            entries.push((key, node));
        }
        Ok(Kind::Map(entries))
    }
}
