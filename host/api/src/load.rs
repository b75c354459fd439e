//! Text with any number of YAML or JSON documents to objects, all or none.
//!
//! Each document is read by itself, so that a fault in one does not hide those in others. `List` objects are opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::ids::WorkloadKey;

use crate::issue::{Issue, LoadError};
use crate::object::{Object, Parsed};
use crate::yaml::{self, MAX_BYTES, Node};

/// What one text holds, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    pub objects: Vec<Object>,
    /// Where each object stands; entry i belongs to `objects[i]`.
    pub places: Vec<Place>,
    /// Accepted fields that have no effect.
    pub warnings: Vec<LoadError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    /// From 1.
    pub document: usize,
    /// From 1; 0 where unknown.
    pub line: usize,
}

impl Place {
    /// `issue` of `object` at this place.
    pub fn error(&self, object: &Object, issue: Issue) -> LoadError {
        LoadError {
            file: self.file.clone(),
            document: self.document,
            line: self.line,
            object: object.key().to_string(),
            issue,
        }
    }
}

/// Reads all objects of `text`; `file` is what messages call it.
///
/// # Errors
/// Every fault of every document. Nothing is accepted from a text with a fault.
pub fn load(file: &str, text: &str) -> Result<Loaded, Vec<LoadError>> {
    let file: Arc<str> = file.into();
    if text.len() > MAX_BYTES {
        let problem = format!("has {} bytes", text.len());
        let issue = Issue::new("", problem, format!("split it into files of at most {MAX_BYTES} bytes"));
        return Err(vec![LoadError { file, document: 1, line: 0, object: String::new(), issue }]);
    }
    let mut loader = Loader { file, loaded: Loaded::default(), errors: Vec::new(), spent: 0, seen: BTreeMap::new() };
    for (index, (offset, text)) in documents(text).into_iter().enumerate() {
        loader.document(index + 1, offset, text);
    }
    if loader.errors.is_empty() { Ok(loader.loaded) } else { Err(loader.errors) }
}

/// Adds what is told of one object, as far as there is room.
fn tell(all: &mut Vec<LoadError>, one: impl Iterator<Item = LoadError>) {
    let room = MOST_TOLD.saturating_sub(all.len());
    all.extend(one.take(room));
}

/// Splits at document markers, which stand at the beginning of a line and nowhere else. Gives the lines before each part.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
            && position > 0
        {
            parts.push((start_line, &text[start..position]));
            (start, start_line) = (position, number);
        }
        position += line.len();
    }
    parts.push((start_line, &text[start..]));
    let is_content = |line: &str| {
        let line = line.trim_start_matches("---").trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "..."
    };
    parts.retain(|(_, part)| part.lines().any(is_content));
    parts
}

/// Faults and warnings of one text that are told. Each costs a look into its object, and nobody reads more of them.
pub const MOST_TOLD: usize = 200;

struct Loader {
    file: Arc<str>,
    loaded: Loaded,
    errors: Vec<LoadError>,
    /// Weight of what was read so far.
    spent: usize,
    /// Line of each object so far.
    seen: BTreeMap<WorkloadKey, usize>,
}

impl Loader {
    fn document(&mut self, document: usize, offset: usize, text: &str) {
        match yaml::parse(text, &mut self.spent) {
            Ok(nodes) => nodes.into_iter().for_each(|node| self.node(document, offset, node)),
            Err(error) => {
                let line = if error.line > 0 { error.line + offset } else { offset + 1 };
                let mend = "check indentation, quotes and brackets there";
                let issue = Issue::new("", format!("cannot be read: {}", error.problem), mend);
                let file = self.file.clone();
                tell(
                    &mut self.errors,
                    std::iter::once(LoadError { file, document, line, object: String::new(), issue }),
                );
            }
        }
    }

    fn node(&mut self, document: usize, offset: usize, mut node: Node) {
        let kind = node.get("kind").and_then(Node::as_str).unwrap_or_default();
        if kind.ends_with("List") && node.get("items").is_some() && node.get("spec").is_none() {
            // A list has no list in it, so this ends.
            for item in node.take_list("items") {
                self.object(document, offset, &item);
            }
        } else if !node.value().is_null() {
            self.object(document, offset, &node);
        }
    }

    fn object(&mut self, document: usize, offset: usize, node: &Node) {
        let line = |field: &str| {
            let line = if field.is_empty() { node.line() } else { node.line_of(field) };
            offset + line.max(1)
        };
        let place = Place { file: self.file.clone(), document, line: line("") };
        match Object::parse(node.value()) {
            Ok(Parsed { object, warnings, .. }) => {
                let warnings = warnings.into_iter().map(|issue| {
                    let line = line(&issue.field);
                    LoadError { line, ..place.error(&object, issue) }
                });
                tell(&mut self.loaded.warnings, warnings);
                if let Some(first) = self.seen.insert(object.key(), place.line) {
                    let issue = Issue::new(
                        "metadata.name",
                        format!("is the same as that of the object at line {first}"),
                        "rename or remove one of them",
                    );
                    tell(&mut self.errors, std::iter::once(place.error(&object, issue)));
                }
                self.loaded.objects.push(object);
                self.loaded.places.push(place);
            }
            Err(issues) => {
                let errors = issues.into_iter().map(|issue| LoadError {
                    file: place.file.clone(),
                    document,
                    line: line(&issue.field),
                    object: name_of(node),
                    issue,
                });
                tell(&mut self.errors, errors);
            }
        }
    }
}

/// Kind, namespace and name as far as they can be read from a faulty object.
fn name_of(node: &Node) -> String {
    let text = |node: Option<&Node>| node.and_then(Node::as_str).unwrap_or_default().to_owned();
    let metadata = node.get("metadata");
    let kind = text(node.get("kind"));
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
    let name = text(metadata.and_then(|metadata| metadata.get("name")));
    match (namespace.is_empty(), name.is_empty()) {
        (_, true) => kind,
        (true, _) => format!("{kind} {name}"),
        _ => format!("{kind} {namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests;
