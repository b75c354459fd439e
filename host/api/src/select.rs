//! Which objects a policy selects, and with which precedence.

use berth_core::workload::{Operator, Requirement};

use crate::object::Manifest;
use crate::resources::{Expression, LabelSelector, ResourceSelector, SelectorOperator};

/// How precisely a selector names an object; a more precise one has precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Kind,
    Labels,
    Name,
}

/// The most precise of the selectors that select `manifest`. `namespace` is the policy's own; empty for a cluster-wide one.
pub fn precision(selectors: &[ResourceSelector], namespace: &str, manifest: &Manifest) -> Option<Precision> {
    if !namespace.is_empty() && namespace != manifest.namespace() {
        return None;
    }
    selectors.iter().filter_map(|selector| one(selector, manifest)).max()
}

fn one(selector: &ResourceSelector, manifest: &Manifest) -> Option<Precision> {
    if selector.api_version != manifest.api_version() || selector.kind != manifest.kind() {
        return None;
    }
    if !selector.namespace.is_empty() && selector.namespace != manifest.namespace() {
        return None;
    }
    if !selector.name.is_empty() {
        return (selector.name == manifest.name()).then_some(Precision::Name);
    }
    match &selector.label_selector {
        None => Some(Precision::Kind),
        Some(labels) => requirements(labels)
            .iter()
            .all(|requirement| requirement.holds(manifest.label(&requirement.key)))
            .then_some(Precision::Labels),
    }
}

/// A label selector as requirements that all must hold.
pub fn requirements(selector: &LabelSelector) -> Vec<Requirement> {
    let equal = selector.match_labels.iter().map(|(key, value)| Requirement {
        key: key.as_str().into(),
        operator: Operator::In,
        values: vec![value.as_str().into()],
    });
    equal.chain(selector.match_expressions.iter().map(requirement)).collect()
}

pub(crate) fn requirement(expression: &Expression) -> Requirement {
    Requirement {
        key: expression.key.as_str().into(),
        operator: match expression.operator {
            SelectorOperator::In => Operator::In,
            SelectorOperator::NotIn => Operator::NotIn,
            SelectorOperator::Exists => Operator::Exists,
            SelectorOperator::DoesNotExist => Operator::DoesNotExist,
        },
        values: expression.values.iter().map(|value| value.as_str().into()).collect(),
    }
}
