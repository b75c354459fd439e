//! The manifest as one member cluster gets it: override policies applied to it.
//!
//! Cluster-wide policies come first, then those of the manifest's namespace; among them the less precise selector first,
//! then by name, so that the more precise one has the last word. Within a rule the overriders apply in the order of
//! [`Overriders`]' fields. Either all of it applies or none.

mod apply;
mod image;

use std::sync::Arc;

use berth_core::fleet::Cluster;
use berth_core::workload::ClusterAffinity;
use serde_json::Value;

use crate::interpret::{self, Part};
use crate::object::Manifest;
use crate::resources::{OverridePolicy, Overriders};
use crate::select::{Precision, precision};
use crate::to_core::affinity;

/// Override policies, indexed for matching.
#[derive(Clone, Debug, Default)]
pub struct OverrideSet {
    /// Ascending by namespace (cluster-wide ones first) and name.
    policies: Vec<Arc<Override>>,
}

#[derive(Debug)]
struct Override {
    policy: OverridePolicy,
    /// By rule; `None` is every cluster.
    targets: Vec<Option<ClusterAffinity>>,
}

/// Why an override cannot be applied. The manifest must not reach the member then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{policy}: spec.overrideRules[{rule}].overriders.{field}: {problem}")]
pub struct OverrideError {
    /// Kind and name of the policy.
    pub policy: String,
    pub rule: usize,
    pub field: String,
    pub problem: String,
}

/// What an API server adds to an object, and what therefore belongs to the hub alone.
const HUB_METADATA: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

impl OverrideSet {
    pub fn new(policies: impl IntoIterator<Item = OverridePolicy>) -> Self {
        let mut set = Self::default();
        for policy in policies {
            set.insert(policy);
        }
        set
    }

    /// Adds a policy, or replaces the one of the same name.
    pub fn insert(&mut self, policy: OverridePolicy) {
        let targets =
            policy.spec.override_rules.iter().map(|rule| rule.target_cluster.as_ref().map(|it| affinity("", it)));
        let entry = Arc::new(Override { targets: targets.collect(), policy });
        match self.policies.binary_search_by(|other| key(other).cmp(&key(&entry))) {
            Ok(at) => self.policies[at] = entry,
            Err(at) => self.policies.insert(at, entry),
        }
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        self.policies.retain(|entry| key(entry) != (namespace, name));
    }

    /// The manifest as `cluster` gets it: its part of the replicas, then overrides, without status and what belongs to the
    /// hub.
    ///
    /// # Errors
    /// If an overrider cannot be applied.
    pub fn for_member(&self, manifest: &Manifest, part: &Part, cluster: &Cluster) -> Result<Manifest, OverrideError> {
        let mut member = manifest.clone();
        if let Some(map) = member.value_mut().as_object_mut() {
            map.shift_remove("status");
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|field, _| !HUB_METADATA.contains(&field.as_str()));
            }
        }
        interpret::revise(&mut member, part);
        self.apply(&mut member, cluster)?;
        Ok(member)
    }

    /// Whether any policy selects `manifest`, for some clusters at least: where none does, members in the same part get the
    /// same.
    pub fn selects(&self, manifest: &Manifest) -> bool {
        self.matching(manifest).next().is_some()
    }

    /// The policies that select a manifest: whether each is of its namespace, and how precisely it selects.
    fn matching<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = (bool, Precision, &'a Override)> {
        self.policies.iter().filter_map(|entry| {
            let (namespace, _) = key(entry);
            let selectors = &entry.policy.spec.resource_selectors;
            let found = if selectors.is_empty() {
                (namespace.is_empty() || namespace == manifest.namespace()).then_some(Precision::Kind)
            } else {
                precision(selectors, namespace, manifest)
            };
            found.map(|precision| (!namespace.is_empty(), precision, &**entry))
        })
    }

    /// Applies what selects `manifest` and `cluster`. Returns the names of the policies that did, in their order.
    ///
    /// # Errors
    /// If an overrider cannot be applied; the manifest is unchanged then.
    pub fn apply(&self, manifest: &mut Manifest, cluster: &Cluster) -> Result<Vec<String>, OverrideError> {
        let mut matching: Vec<(bool, Precision, &Override)> = self.matching(manifest).collect();
        // Most manifests are selected by none, and a copy of one costs more than all of the above.
        if matching.is_empty() {
            return Ok(Vec::new());
        }
        // The sort is stable, and the policies stand in the order of their names.
        matching.sort_by_key(|(namespaced, precision, _)| (*namespaced, *precision));
        let mut changed = manifest.clone();
        let mut names = Vec::new();
        for (namespaced, _, entry) in matching {
            let kind = if namespaced { "OverridePolicy" } else { "ClusterOverridePolicy" };
            let name = format!("{kind} {}", entry.policy.metadata.name);
            let mut applied = false;
            for (rule, target) in entry.targets.iter().enumerate() {
                if target.as_ref().is_none_or(|target| target.selects(cluster)) {
                    let overriders: &Overriders = &entry.policy.spec.override_rules[rule].overriders;
                    apply::overriders(&mut changed, overriders).map_err(|(field, problem)| OverrideError {
                        policy: name.clone(),
                        rule,
                        field,
                        problem,
                    })?;
                    applied = true;
                }
            }
            if applied {
                names.push(name);
            }
        }
        *manifest = changed;
        Ok(names)
    }
}

fn key(entry: &Override) -> (&str, &str) {
    (&entry.policy.metadata.namespace, &entry.policy.metadata.name)
}

#[cfg(test)]
mod tests;
