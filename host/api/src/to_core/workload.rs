//! A manifest with the policy that applies to it, as a workload.

use std::collections::BTreeMap;

use berth_core::reason::{Code, Reason};
use berth_core::workload::Workload;

use super::fleet::labels;
use super::policy::Matched;
use crate::interpret::{Interpreted, Kind};
use crate::object::Manifest;

/// Values of priority classes by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityClasses {
    values: BTreeMap<String, i32>,
    /// Name and value of the class for pods that name none.
    default: Option<(String, i32)>,
}

impl Default for PriorityClasses {
    /// The two that every cluster has.
    fn default() -> Self {
        let builtin = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
        Self { values: builtin.map(|(name, value)| (name.to_owned(), value)).into(), default: None }
    }
}

impl PriorityClasses {
    /// Takes in a manifest if it is a `PriorityClass`; says whether it is.
    pub fn insert(&mut self, manifest: &Manifest) -> bool {
        if !Self::is_class(manifest) {
            return false;
        }
        let value = manifest.value().get("value").and_then(serde_json::Value::as_i64).unwrap_or(0);
        let value = i32::try_from(value.clamp(i64::from(i32::MIN), i64::from(i32::MAX))).unwrap_or(0);
        self.remove(manifest.name());
        self.values.insert(manifest.name().to_owned(), value);
        if manifest.value().get("globalDefault") == Some(&serde_json::Value::Bool(true)) {
            self.default = Some((manifest.name().to_owned(), value));
        }
        true
    }

    pub fn is_class(manifest: &Manifest) -> bool {
        manifest.group() == "scheduling.k8s.io" && manifest.kind() == "PriorityClass"
    }

    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
        if self.default.as_ref().is_some_and(|(default, _)| default == name) {
            self.default = None;
        }
    }

    /// The value of a class. A class that is not known here, but may be in the member clusters, counts as none.
    pub fn value(&self, name: Option<&str>) -> i32 {
        let default = self.default.as_ref().map_or(0, |(_, value)| *value);
        name.and_then(|name| self.values.get(name)).copied().unwrap_or(default)
    }
}

/// A workload by its manifest, what that asks for, and the policy that applies; see [`super::PolicySet::matching`].
/// `generation` must grow with every change of the manifest or of the policy.
///
/// # Errors
/// `UnknownKind`: why it is not distributed where the policy refuses kinds that Berth cannot interpret.
pub fn workload(
    manifest: &Manifest,
    asked: &Interpreted,
    matched: &Matched,
    classes: &PriorityClasses,
    generation: u64,
) -> Result<Workload, Reason> {
    let kind = manifest.interpreted_as();
    if kind == Kind::Unknown && matched.refuses_unknown_kinds() {
        let message = format!(
            "{} {} is no kind that can be interpreted, and {} refuses unknown kinds",
            manifest.api_version(),
            manifest.kind(),
            matched.policy.metadata.name
        );
        return Err(Reason::new(Code::UnknownKind, message));
    }
    let rules = matched.rules(kind);
    let priority = match matched.priority_class() {
        Some(class) => classes.value(Some(class)),
        None => asked.priority.unwrap_or_else(|| classes.value(asked.priority_class.as_deref())),
    };
    let mut components = asked.components.clone();
    if !rules.gang {
        // Floors belong to gangs; of anything else any number is useful.
        components.iter_mut().for_each(|component| component.floor = 0);
    }
    Ok(Workload {
        key: manifest.key(),
        generation,
        labels: labels(&manifest.strings("labels")),
        priority,
        limit_ms: asked.limit_ms,
        components,
        rules: rules.clone(),
    })
}
