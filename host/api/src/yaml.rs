//! YAML and JSON text to values that know their lines, and values back to YAML text.

mod read;
mod write;

use serde_json::Value;

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
    ///
    /// Goes down along the path alone: a large object with many faults must not cost its size for each of them in memory.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        let (mut node, mut rest) = (self, path);
        while let Some((inner, left)) = node.step(rest) {
            (node, rest) = (inner, left);
        }
        node.line
    }

    /// The child that `path` leads to, and what is left of the path there. Keys may have dots; the longest that fits is
    /// meant.
    fn step<'a>(&self, path: &'a str) -> Option<(&Node, &'a str)> {
        let ends = |left: &str| left.is_empty() || left.starts_with(['.', '[']);
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => {
                let (index, left) = path.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, left))
            }
            Kind::Map(entries) if path.starts_with('[') => {
                entries.iter().find_map(|(key, node)| Some((node, path.strip_prefix(&format!("[{key:?}]"))?)))
            }
            Kind::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let fits =
                    |(key, _): &&(String, Node)| !key.is_empty() && path.strip_prefix(key.as_str()).is_some_and(ends);
                let (key, node) = entries.iter().filter(fits).max_by_key(|(key, _)| key.len())?;
                Some((node, &path[key.len()..]))
            }
        }
    }
}

#[cfg(test)]
mod tests;
