//! Label requirements, taints and tolerations, for clusters and for nodes, as Kubernetes evaluates them.

use crate::fleet::{
    CAPACITY_TYPE_LABEL, CapacityType, Cluster, INSTANCE_TYPE_LABEL, POOL_LABEL, PoolSpec, REGION_LABEL, Taint,
    TaintEffect, ZONE_LABEL,
};
use crate::workload::{ClusterAffinity, Operator, Requirement, Shape, Toleration};

impl Requirement {
    /// Whether it holds for a label with this value; `None` is a label that is not there.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|listed| &**listed == value);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => self.compare(value).is_some_and(|(value, bound)| value > bound),
            Operator::Lt => self.compare(value).is_some_and(|(value, bound)| value < bound),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }

    /// The same for a field with any number of values: all of them must be listed for `In`, none for `NotIn`.
    fn holds_for_all(&self, values: &[&str]) -> bool {
        match values {
            [] => self.holds(None),
            values => values.iter().all(|value| self.holds(Some(value))),
        }
    }
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.is_none_or(|effect| effect == taint.effect)
    }
}

/// The first taint that keeps work away and is not tolerated. `PreferNoSchedule` never keeps work away.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule)
        .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

impl ClusterAffinity {
    pub fn selects(&self, cluster: &Cluster) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&cluster.name)) && self.selects_unnamed(cluster)
    }

    /// Whether all conditions but the list of names hold.
    pub(crate) fn selects_unnamed(&self, cluster: &Cluster) -> bool {
        !self.exclude.contains(&cluster.name)
            && self.labels.iter().all(|one| one.holds(cluster.labels.get(&*one.key).map(|value| &**value)))
            && self.fields.iter().all(|one| one.holds_for_all(&field(cluster, &one.key)))
    }
}

/// The values of a field that a cluster affinity may name; an unknown field has none.
fn field<'a>(cluster: &'a Cluster, key: &str) -> Vec<&'a str> {
    match key {
        "provider" => some(&cluster.provider).into_iter().collect(),
        "region" => some(&cluster.region).into_iter().collect(),
        "zone" => cluster.zones.iter().map(|zone| &**zone).collect(),
        _ => Vec::new(),
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The labels of a node, from what is known of its pool and type. Node labels that differ within a pool are not known.
#[derive(Clone, Copy, Debug)]
pub struct NodeLabels<'a> {
    pub pool: &'a PoolSpec,
    pub region: &'a str,
    pub zone: &'a str,
    pub instance_type: &'a str,
    pub capacity_type: Option<CapacityType>,
}

impl NodeLabels<'_> {
    pub fn get(&self, key: &str) -> Option<&str> {
        let known = match key {
            ZONE_LABEL => some(self.zone),
            REGION_LABEL => some(self.region),
            INSTANCE_TYPE_LABEL => some(self.instance_type),
            CAPACITY_TYPE_LABEL => self.capacity_type.map(CapacityType::as_str),
            POOL_LABEL => some(self.pool.name.as_str()),
            _ => None,
        };
        known.or_else(|| self.pool.labels.get(key).map(|value| &**value))
    }
}

impl Shape {
    /// Whether its node selector and required node affinity hold for these labels.
    pub fn selects(&self, labels: &NodeLabels<'_>) -> bool {
        let holds = |alternative: &Vec<Requirement>| alternative.iter().all(|one| one.holds(labels.get(&one.key)));
        self.nodes.is_empty() || self.nodes.iter().any(holds)
    }

    /// Whether it tolerates the taints of a pool's nodes.
    pub fn tolerates(&self, pool: &PoolSpec) -> bool {
        untolerated(&pool.taints, &self.tolerations).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: "k".into(), operator, values: values.iter().map(|value| (*value).into()).collect() }
    }

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        let cases = [
            (Operator::In, &["a", "b"][..], Some("b"), true),
            (Operator::In, &["a"], None, false),
            (Operator::NotIn, &["a"], None, true),
            (Operator::NotIn, &["a"], Some("a"), false),
            (Operator::Exists, &[], Some(""), true),
            (Operator::DoesNotExist, &[], Some(""), false),
            (Operator::Gt, &["4"], Some("10"), true),
            (Operator::Lt, &["4"], Some("10"), false),
            (Operator::Gt, &["4"], Some("ten"), false),
            (Operator::Gt, &[], Some("1"), false),
        ];
        for (operator, values, value, holds) in cases {
            assert_eq!(requirement(operator, values).holds(value), holds, "{operator:?} {values:?} {value:?}");
        }
    }

    #[test]
    fn a_field_with_several_values_must_lie_within_the_list() {
        let within = requirement(Operator::In, &["a", "b"]);
        assert!(within.holds_for_all(&["a", "b"]) && !within.holds_for_all(&["a", "c"]) && !within.holds_for_all(&[]));
        let outside = requirement(Operator::NotIn, &["a"]);
        assert!(outside.holds_for_all(&["b"]) && !outside.holds_for_all(&["b", "a"]) && outside.holds_for_all(&[]));
    }

    #[test]
    fn only_hard_taints_keep_work_away() {
        let taint = |effect| Taint { key: "gpu".into(), value: "yes".into(), effect };
        let toleration =
            |value: Option<&str>| Toleration { key: "gpu".into(), value: value.map(Into::into), effect: None };
        assert!(untolerated(&[taint(TaintEffect::PreferNoSchedule)], &[]).is_none());
        assert!(untolerated(&[taint(TaintEffect::NoExecute)], &[]).is_some());
        assert!(untolerated(&[taint(TaintEffect::NoSchedule)], &[toleration(Some("no"))]).is_some());
        assert!(untolerated(&[taint(TaintEffect::NoSchedule)], &[toleration(Some("yes"))]).is_none());
        assert!(untolerated(&[taint(TaintEffect::NoSchedule)], &[toleration(None)]).is_none());
    }
}
