//! YAML and JSON text to values that know their lines, and values back to YAML text.

mod read;
mod write;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::issue::join;

pub(crate) use read::parse;
pub use write::write;

/// Bytes of one text at the most.
pub const MAX_BYTES: usize = 16 << 20;

/// A value in which every node knows its line.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// From 1; 0 where unknown.
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
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

#[cfg(test)]
mod tests;
