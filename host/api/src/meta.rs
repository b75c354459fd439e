//! Object metadata, checked as Kubernetes checks it.

use std::collections::BTreeMap;

use berth_core::names::{is_dns_label, is_label_value, is_qualified_name, is_subdomain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::issue::{Issue, quoted};

/// The part of `metadata` that Berth reads; everything else is kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    #[serde(default)]
    pub name: String,
    /// Empty for cluster-wide objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Grows with every change of the specification.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `version`, or `group/version`.
pub fn is_api_version(text: &str) -> bool {
    match text.split_once('/') {
        Some((group, version)) => is_subdomain(group) && is_dns_label(version),
        None => is_dns_label(text),
    }
}

/// A letter, then letters and digits.
pub fn is_kind(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Checks `metadata` of any object. `own` kinds must be named by DNS rules; other kinds may have looser rules, so only what
/// no kind allows is refused.
pub fn check(metadata: &Value, own: bool, namespaced: bool, issues: &mut Vec<Issue>) {
    let Some(metadata) = metadata.as_object() else {
        issues.push(Issue::new("metadata", "must be an object", "give it at least metadata.name"));
        return;
    };
    check_name(metadata.get("name"), own, issues);
    match metadata.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(namespace)) if namespace.is_empty() => {}
        Some(Value::String(_)) if own && !namespaced => {
            issues.push(Issue::new("metadata.namespace", "this kind is cluster-wide", "remove the namespace"));
        }
        Some(Value::String(namespace)) if is_dns_label(namespace) => {}
        Some(other) => issues.push(Issue::new(
            "metadata.namespace",
            format!("{} is no namespace", quoted(other)),
            "use at most 63 lower-case letters, digits and dashes",
        )),
    }
    for (field, labels) in [("labels", true), ("annotations", false)] {
        check_labels(metadata.get(field), &format!("metadata.{field}"), labels, issues);
    }
}

fn check_name(name: Option<&Value>, own: bool, issues: &mut Vec<Issue>) {
    let name = match name {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(Value::String(_)) | None | Some(Value::Null) => {
            issues.push(Issue::new(
                "metadata.name",
                "is missing",
                "give the object a name; generateName is not supported",
            ));
            return;
        }
        Some(other) => {
            let mend = "write it in quotes";
            issues.push(Issue::new("metadata.name", format!("must be a string, not {}", quoted(other)), mend));
            return;
        }
    };
    let segment = name.len() <= 253
        && name != "."
        && name != ".."
        && !name.contains(['/', '%'])
        && !name.contains(char::is_control);
    if own && !is_subdomain(name) {
        let mend = "use at most 253 lower-case letters, digits, dashes and dots, with a letter or digit at both ends";
        issues.push(Issue::new("metadata.name", format!("{name:?} is no valid name"), mend));
    } else if !segment {
        let mend = "use at most 253 characters without / and %";
        issues.push(Issue::new("metadata.name", format!("{name:?} is no valid name"), mend));
    }
}

fn check_labels(value: Option<&Value>, field: &str, labels: bool, issues: &mut Vec<Issue>) {
    let map = match value {
        None | Some(Value::Null) => return,
        Some(Value::Object(map)) => map,
        Some(_) => {
            issues.push(Issue::new(field, "must be a mapping from keys to strings", ""));
            return;
        }
    };
    for (key, value) in map {
        let at = format!("{field}[{key:?}]");
        if !is_qualified_name(key) {
            issues.push(Issue::new(
                &at,
                "is no valid key",
                "use [prefix/]name with at most 63 letters, digits, -, _ and . in the name",
            ));
        }
        match value {
            Value::String(value) if !labels || is_label_value(value) => {}
            Value::String(_) => {
                issues.push(Issue::new(&at, "is no valid label value", "use at most 63 letters, digits, -, _ and ."));
            }
            other => {
                issues.push(Issue::new(&at, format!("must be a string, not {}", quoted(other)), "write it in quotes"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use serde_json::json;

    use super::*;

    #[test]
    fn all_faults_are_found_at_once() {
        let mut issues = Vec::new();
        check(&json!({"name": "A", "namespace": "b_", "labels": {"x": 1, "y z": "v"}}), true, true, &mut issues);
        let fields: Vec<&str> = issues.iter().map(|issue| issue.field.as_str()).collect();
        assert_eq!(
            fields,
            ["metadata.name", "metadata.namespace", "metadata.labels[\"x\"]", "metadata.labels[\"y z\"]"]
        );
    }

    #[test]
    fn what_berth_does_not_read_is_kept() {
        let value = json!({"name": "a", "finalizers": ["x"], "uid": "1"});
        let meta: ObjectMeta = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(meta).unwrap(), value);
    }
}
