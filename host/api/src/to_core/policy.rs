//! Distribution policies: which one applies to a workload, and its rules in the planner's terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::workload as core;

use crate::interpret::Kind;
use crate::object::Manifest;
use crate::resources::{
    ClusterAffinity, ConflictResolution, DistributionPolicy, DivisionPreference, Failover, GroupUse, PlacementRules,
    PriorityClassSource, PurgeMode, ReplicaScheduling, ReplicaSchedulingType, SpreadField, Toleration,
    TolerationOperator, UnknownKinds, WeightPreference,
};
use crate::select::{Precision, precision, requirement, requirements};

/// Distribution policies, indexed for matching. Rules are made once for each, so that workloads share them.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// By namespace; the empty one holds cluster-wide policies. Each list is ascending by name.
    by_namespace: BTreeMap<String, Vec<Arc<Matched>>>,
}

/// A policy with its rules.
#[derive(Debug)]
pub struct Matched {
    pub policy: DistributionPolicy,
    rules: Arc<core::Rules>,
    gang_rules: Arc<core::Rules>,
}

impl Matched {
    pub fn new(policy: DistributionPolicy) -> Self {
        Self { rules: Arc::new(rules(&policy, false)), gang_rules: Arc::new(rules(&policy, true)), policy }
    }

    /// The rules for workloads of a kind.
    pub fn rules(&self, kind: Kind) -> &Arc<core::Rules> {
        if is_gang(&self.policy, kind) { &self.gang_rules } else { &self.rules }
    }

    pub fn refuses_unknown_kinds(&self) -> bool {
        self.policy.spec.unknown_kinds == UnknownKinds::Refuse
    }

    /// Whether objects of the same name that Berth did not make are taken over.
    pub fn overwrites(&self) -> bool {
        self.policy.spec.conflict_resolution == ConflictResolution::Overwrite
    }

    /// The priority class that replaces the one of the pods.
    pub fn priority_class(&self) -> Option<&str> {
        let priority = self.policy.spec.schedule_priority.as_ref()?;
        (priority.priority_class_source == PriorityClassSource::KubePriorityClass)
            .then_some(priority.priority_class_name.as_str())
    }
}

impl PolicySet {
    pub fn new(policies: impl IntoIterator<Item = DistributionPolicy>) -> Self {
        let mut set = Self::default();
        for policy in policies {
            set.insert(policy);
        }
        set
    }

    /// Adds a policy, or replaces the one of the same name.
    pub fn insert(&mut self, policy: DistributionPolicy) {
        let list = self.by_namespace.entry(policy.metadata.namespace.clone()).or_default();
        match list.binary_search_by(|other| other.policy.metadata.name.cmp(&policy.metadata.name)) {
            Ok(at) => list[at] = Arc::new(Matched::new(policy)),
            Err(at) => list.insert(at, Arc::new(Matched::new(policy))),
        }
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(list) = self.by_namespace.get_mut(namespace) {
            list.retain(|matched| matched.policy.metadata.name != name);
        }
    }

    /// The policy that applies. Those of the workload's namespace go before cluster-wide ones; among them the highest
    /// priority, then the most precise selector (name, labels, kind alone), then the first name.
    pub fn matching(&self, manifest: &Manifest) -> Option<&Arc<Matched>> {
        let namespace = manifest.namespace();
        let own = (!namespace.is_empty()).then(|| self.best(namespace, manifest)).flatten();
        own.or_else(|| self.best("", manifest))
    }

    fn best(&self, namespace: &str, manifest: &Manifest) -> Option<&Arc<Matched>> {
        let mut best: Option<((i32, Precision), &Arc<Matched>)> = None;
        for matched in self.by_namespace.get(namespace)? {
            let spec = &matched.policy.spec;
            let Some(precision) = precision(&spec.resource_selectors, namespace, manifest) else { continue };
            let rank = (spec.priority, precision);
            if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
                best = Some((rank, matched));
            }
        }
        best.map(|(_, matched)| matched)
    }
}

/// Whether workloads of a kind run whole, in one cluster. A kind that does by itself does not where its policy sends all of
/// it to every cluster.
fn is_gang(policy: &DistributionPolicy, kind: Kind) -> bool {
    let scheduling = policy.spec.placement.replica_scheduling.as_ref();
    let duplicated = scheduling.is_some_and(|it| it.replica_scheduling_type == ReplicaSchedulingType::Duplicated);
    policy.spec.gang.unwrap_or(kind.is_gang() && !duplicated)
}

/// The rules of a policy; `gang` for workloads that run whole, in one cluster.
pub fn rules(policy: &DistributionPolicy, gang: bool) -> core::Rules {
    let spec = &policy.spec;
    let placement = &spec.placement;
    let metadata = &policy.metadata;
    let name = if metadata.namespace.is_empty() {
        metadata.name.clone()
    } else {
        format!("{}/{}", metadata.namespace, metadata.name)
    };
    let (division, weights) = division(placement.replica_scheduling.as_ref(), gang);
    let named = |name: &str| (!name.is_empty()).then(|| name.into());
    core::Rules {
        policy: name.into(),
        groups: groups(placement),
        group_use: match placement.cluster_affinities_use {
            GroupUse::FirstThatFits => core::GroupUse::FirstThatFits,
            GroupUse::FillInOrder => core::GroupUse::FillInOrder,
        },
        tolerations: placement.cluster_tolerations.iter().map(toleration).collect(),
        spread: spread(placement),
        division,
        weights,
        elastic: spec.elasticity.enabled,
        max_lead_seconds: spec.elasticity.max_lead_seconds,
        gang,
        budget: spec.budget.as_ref().map(|budget| budget.usd_per_hour),
        placement_policy: named(&spec.policies.placement),
        gang_policy: named(&spec.policies.gang),
        migration_policy: named(&spec.policies.migration),
        suspended: spec.suspension.as_ref().is_some_and(|suspension| suspension.scheduling || suspension.dispatching),
        failover: failover(spec.failover.as_ref()),
    }
}

fn groups(placement: &PlacementRules) -> Vec<core::ClusterAffinity> {
    if placement.cluster_affinities.is_empty() {
        return vec![placement.cluster_affinity.as_ref().map(|it| affinity("", it)).unwrap_or_default()];
    }
    placement.cluster_affinities.iter().map(|term| affinity(&term.affinity_name, &term.affinity())).collect()
}

/// Which clusters are selected.
pub(crate) fn affinity(name: &str, affinity: &ClusterAffinity) -> core::ClusterAffinity {
    let fields = affinity.field_selector.iter().flat_map(|selector| &selector.match_expressions);
    core::ClusterAffinity {
        name: name.into(),
        names: (!affinity.cluster_names.is_empty())
            .then(|| affinity.cluster_names.iter().map(|name| name.as_str().into()).collect()),
        exclude: affinity.exclude.iter().map(|name| name.as_str().into()).collect(),
        labels: affinity.label_selector.as_ref().map(requirements).unwrap_or_default(),
        fields: fields.map(requirement).collect(),
    }
}

fn toleration(toleration: &Toleration) -> core::Toleration {
    core::Toleration {
        key: toleration.key.as_str().into(),
        value: match toleration.operator {
            Some(TolerationOperator::Exists) => None,
            Some(TolerationOperator::Equal) | None => Some(toleration.value.as_str().into()),
        },
        effect: toleration.effect.map(Into::into),
    }
}

fn spread(placement: &PlacementRules) -> Vec<core::SpreadConstraint> {
    let by = |field: Option<SpreadField>, label: &str| match field {
        _ if !label.is_empty() => core::SpreadBy::Label(label.into()),
        Some(SpreadField::Region) => core::SpreadBy::Region,
        Some(SpreadField::Zone) => core::SpreadBy::Zone,
        Some(SpreadField::Provider) => core::SpreadBy::Provider,
        Some(SpreadField::Cluster) | None => core::SpreadBy::Cluster,
    };
    let constraints = placement.spread_constraints.iter().map(|constraint| core::SpreadConstraint {
        by: by(constraint.spread_by_field, &constraint.spread_by_label),
        max: constraint.max_groups,
        min: constraint.min_groups.max(1),
    });
    constraints.collect()
}

type Weights = Vec<(core::ClusterAffinity, u32)>;

fn division(scheduling: Option<&ReplicaScheduling>, gang: bool) -> (core::Division, Weights) {
    let Some(scheduling) = scheduling else {
        // One cluster gets a gang whole; which one is the policy's to decide.
        return (if gang { core::Division::Free } else { core::Division::Duplicated }, Weights::new());
    };
    if scheduling.replica_scheduling_type == ReplicaSchedulingType::Duplicated {
        return (core::Division::Duplicated, Weights::new());
    }
    match (scheduling.replica_division_preference, &scheduling.weight_preference) {
        (None, _) => (core::Division::Free, Weights::new()),
        (Some(DivisionPreference::Aggregated), _) => (core::Division::Aggregated, Weights::new()),
        (Some(DivisionPreference::Weighted), Some(WeightPreference { dynamic_weight: Some(_), .. })) => {
            (core::Division::AvailableReplicas, Weights::new())
        }
        (Some(DivisionPreference::Weighted), weights) => {
            let list = weights.iter().flat_map(|weights| &weights.static_weight_list);
            (core::Division::StaticWeight, list.map(|one| (affinity("", &one.target_cluster), one.weight)).collect())
        }
    }
}

fn failover(failover: Option<&Failover>) -> core::Failover {
    const TOLERATION_SECONDS: u32 = 300;
    const GRACE_SECONDS: u32 = 600;
    let application = failover.and_then(|failover| failover.application.as_ref());
    let cluster = failover.and_then(|failover| failover.cluster.as_ref());
    let (mode, toleration, grace) = match (application, cluster) {
        (Some(it), _) => (it.purge_mode, it.decision_conditions.toleration_seconds, it.grace_period_seconds),
        (None, Some(it)) => (it.purge_mode, it.toleration_seconds, None),
        (None, None) => (PurgeMode::Gracefully, None, None),
    };
    let millis = |seconds: u32| u64::from(seconds) * 1_000;
    core::Failover {
        toleration_ms: millis(toleration.unwrap_or(TOLERATION_SECONDS)),
        purge: match mode {
            PurgeMode::Directly => core::Purge::Directly,
            PurgeMode::Gracefully => core::Purge::Gracefully,
            PurgeMode::Never => core::Purge::Never,
        },
        grace_ms: millis(grace.unwrap_or(GRACE_SECONDS)),
    }
}
