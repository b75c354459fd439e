//! What a schema cannot say about Berth's own kinds: fields that exclude or need each other, and rules across fields.

use std::collections::BTreeSet;

use berth_core::names::{is_dns_label, is_label_value, is_qualified_name};

use crate::issue::Issue;
use crate::object::Object;
use crate::quantity::Quantities;
use crate::resources::{
    ClusterAffinity, ClusterAffinityTerm, ClusterSpec, DistributionSpec, Expression, Fault, FaultKind, FieldSelector,
    LabelSelector, NodePoolSpec, OfferingSpec, Operator, OverrideSpec, Overriders, PlacementRules, QuotaNode,
    ReplicaSchedulingType, ResourceSelector, SelectorOperator, SimulationSpec, Taint, Toleration, TolerationOperator,
};

pub(crate) fn object(object: &Object) -> Vec<Issue> {
    let mut issues = Issues(Vec::new());
    match object {
        Object::Cluster(cluster) => issues.cluster(&cluster.spec),
        Object::NodePool(pool) => issues.pool(&pool.spec),
        Object::Offering(offering) => issues.offering(&offering.spec),
        Object::DistributionPolicy(policy) => issues.distribution(&policy.spec, &policy.metadata.namespace),
        Object::OverridePolicy(policy) => issues.overriding(&policy.spec, &policy.metadata.namespace),
        Object::QuotaTree(tree) => issues.quota(&tree.spec.root),
        Object::Simulation(simulation) => issues.simulation(&simulation.spec),
        Object::Placement(_) | Object::Manifest(_) => {}
    }
    issues.0
}

struct Issues(Vec<Issue>);

impl Issues {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Issue::new(field, problem, mend));
    }

    fn cluster(&mut self, spec: &ClusterSpec) {
        self.taints("spec.taints", &spec.taints);
        self.unique("spec.zones", spec.zones.iter());
        for (index, zone) in spec.zones.iter().enumerate() {
            self.not_empty(&format!("spec.zones[{index}]"), zone);
        }
    }

    fn taints(&mut self, field: &str, taints: &[Taint]) {
        for (index, taint) in taints.iter().enumerate() {
            if !is_qualified_name(&taint.key) {
                self.add(
                    format!("{field}[{index}].key"),
                    format!("{:?} is no valid key", taint.key),
                    "use [prefix/]name",
                );
            }
            if !is_label_value(&taint.value) {
                let problem = format!("{:?} is no valid value", taint.value);
                self.add(format!("{field}[{index}].value"), problem, "use at most 63 letters, digits, -, _ and .");
            }
        }
    }

    fn unique<'a>(&mut self, field: &str, names: impl Iterator<Item = &'a String>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                self.add(format!("{field}[{index}]"), format!("{name:?} stands here twice"), "remove one of them");
            }
        }
    }

    fn not_empty(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.add(field, "is empty", "give it a value");
        }
    }

    fn pool(&mut self, spec: &NodePoolSpec) {
        self.not_empty("spec.cluster", &spec.cluster);
        if spec.instance_types.is_empty() && spec.offerings.is_empty() {
            self.add(
                "spec.instanceTypes",
                "is missing",
                "give instanceTypes or offerings, so that nodes can be ordered",
            );
        }
        if spec.max < spec.min {
            let problem = format!("{} is below spec.min, {}", spec.max, spec.min);
            self.add("spec.max", problem, "raise spec.max or lower spec.min");
        }
        self.taints("spec.taints", &spec.taints);
        for (key, value) in &spec.labels {
            if !is_qualified_name(key) || !is_label_value(value) {
                self.add(
                    format!("spec.labels[{key:?}]"),
                    "is no valid label",
                    "use at most 63 letters, digits, -, _ and .",
                );
            }
        }
    }

    fn offering(&mut self, spec: &OfferingSpec) {
        self.not_empty("spec.zone", &spec.zone);
        if spec.allocatable.values().all(|quantity| quantity.nano() == 0) {
            self.add("spec.allocatable", "is empty", "say what a fresh node offers, at least cpu and memory");
        }
    }

    fn selectors(&mut self, selectors: &[ResourceSelector], namespace: &str) {
        for (index, selector) in selectors.iter().enumerate() {
            let field = format!("spec.resourceSelectors[{index}]");
            if !namespace.is_empty() && !selector.namespace.is_empty() && selector.namespace != namespace {
                let problem = format!("{:?} is not the policy's own, {namespace:?}", selector.namespace);
                let mend = "remove it, or use the cluster-wide kind of policy";
                self.add(format!("{field}.namespace"), problem, mend);
            }
            if let Some(labels) = &selector.label_selector {
                self.label_selector(&format!("{field}.labelSelector"), labels);
            }
        }
    }

    fn label_selector(&mut self, field: &str, selector: &LabelSelector) {
        for (key, value) in &selector.match_labels {
            if !is_qualified_name(key) || !is_label_value(value) {
                let mend = "use at most 63 letters, digits, -, _ and .";
                self.add(format!("{field}.matchLabels[{key:?}]"), "is no valid label", mend);
            }
        }
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            self.expression(&format!("{field}.matchExpressions[{index}]"), expression);
        }
    }

    fn expression(&mut self, field: &str, expression: &Expression) {
        let listed = matches!(expression.operator, SelectorOperator::In | SelectorOperator::NotIn);
        if listed && expression.values.is_empty() {
            self.add(format!("{field}.values"), "is missing", "give at least one value for In and NotIn");
        }
        if !listed && !expression.values.is_empty() {
            self.add(format!("{field}.values"), "has no meaning here", "remove the values for Exists and DoesNotExist");
        }
    }

    fn field_selector(&mut self, field: &str, selector: &FieldSelector) {
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            let field = format!("{field}.matchExpressions[{index}]");
            if !["provider", "region", "zone"].contains(&expression.key.as_str()) {
                self.add(
                    format!("{field}.key"),
                    format!("{:?} is no field", expression.key),
                    "use provider, region or zone",
                );
            }
            if !matches!(expression.operator, SelectorOperator::In | SelectorOperator::NotIn) {
                self.add(format!("{field}.operator"), "is not allowed for fields", "use In or NotIn");
            }
            self.expression(&field, expression);
        }
    }

    fn affinity(&mut self, field: &str, affinity: &ClusterAffinity) {
        if let Some(labels) = &affinity.label_selector {
            self.label_selector(&format!("{field}.labelSelector"), labels);
        }
        if let Some(fields) = &affinity.field_selector {
            self.field_selector(&format!("{field}.fieldSelector"), fields);
        }
    }

    fn distribution(&mut self, spec: &DistributionSpec, namespace: &str) {
        if spec.resource_selectors.is_empty() {
            self.add("spec.resourceSelectors", "is empty", "name at least one kind of object");
        }
        self.selectors(&spec.resource_selectors, namespace);
        self.placement(&spec.placement);
        let scheduling = spec.placement.replica_scheduling.as_ref();
        if spec.gang == Some(true)
            && scheduling.is_some_and(|it| it.replica_scheduling_type == ReplicaSchedulingType::Duplicated)
        {
            let problem = "is Duplicated, but the workload is a gang that runs in one cluster";
            self.add("spec.placement.replicaScheduling.replicaSchedulingType", problem, "use Divided, or gang: false");
        }
        for (field, name) in [
            ("placement", &spec.policies.placement),
            ("gang", &spec.policies.gang),
            ("migration", &spec.policies.migration),
        ] {
            if !name.is_empty() && !is_dns_label(name) {
                let mend = "use at most 63 lower-case letters, digits and dashes";
                self.add(format!("spec.policies.{field}"), format!("{name:?} is no name of a policy"), mend);
            }
        }
    }

    fn placement(&mut self, rules: &PlacementRules) {
        let field = "spec.placement";
        if rules.cluster_affinity.is_some() && !rules.cluster_affinities.is_empty() {
            self.add(format!("{field}.clusterAffinity"), "stands beside clusterAffinities", "use one of them");
        }
        if let Some(affinity) = &rules.cluster_affinity {
            self.affinity(&format!("{field}.clusterAffinity"), affinity);
        }
        let mut names = BTreeSet::new();
        for (index, term) in rules.cluster_affinities.iter().enumerate() {
            let field = format!("{field}.clusterAffinities[{index}]");
            if !names.insert(&term.affinity_name) {
                self.add(
                    format!("{field}.affinityName"),
                    format!("{:?} stands here twice", term.affinity_name),
                    "rename one of them",
                );
            }
            self.affinity(&field, &term.affinity());
        }
        for (index, toleration) in rules.cluster_tolerations.iter().enumerate() {
            self.toleration(&format!("{field}.clusterTolerations[{index}]"), toleration);
        }
        self.spread(rules);
        let weights = rules.replica_scheduling.as_ref().and_then(|it| it.weight_preference.as_ref());
        for (index, weight) in weights.into_iter().flat_map(|it| &it.static_weight_list).enumerate() {
            let field = format!("{field}.replicaScheduling.weightPreference.staticWeightList[{index}].targetCluster");
            self.affinity(&field, &weight.target_cluster);
        }
    }

    fn toleration(&mut self, field: &str, toleration: &Toleration) {
        let exists = toleration.operator == Some(TolerationOperator::Exists);
        if toleration.key.is_empty() && !exists {
            self.add(format!("{field}.key"), "is missing", "give a key, or the operator Exists to tolerate everything");
        }
        if exists && !toleration.value.is_empty() {
            self.add(format!("{field}.value"), "has no meaning with the operator Exists", "remove it, or use Equal");
        }
    }

    fn spread(&mut self, rules: &PlacementRules) {
        for (index, spread) in rules.spread_constraints.iter().enumerate() {
            let field = format!("spec.placement.spreadConstraints[{index}]");
            if spread.spread_by_field.is_some() && !spread.spread_by_label.is_empty() {
                self.add(format!("{field}.spreadByLabel"), "stands beside spreadByField", "use one of them");
            }
            if !spread.spread_by_label.is_empty() && !is_qualified_name(&spread.spread_by_label) {
                self.add(format!("{field}.spreadByLabel"), "is no valid label key", "use [prefix/]name");
            }
            if spread.max_groups > 0 && spread.max_groups < spread.min_groups.max(1) {
                let problem = format!("{} is below minGroups, {}", spread.max_groups, spread.min_groups.max(1));
                self.add(format!("{field}.maxGroups"), problem, "raise maxGroups or lower minGroups");
            }
        }
    }

    fn overriding(&mut self, spec: &OverrideSpec, namespace: &str) {
        self.selectors(&spec.resource_selectors, namespace);
        if spec.override_rules.is_empty() {
            self.add("spec.overrideRules", "is empty", "give at least one rule");
        }
        for (index, rule) in spec.override_rules.iter().enumerate() {
            let field = format!("spec.overrideRules[{index}]");
            if let Some(target) = &rule.target_cluster {
                self.affinity(&format!("{field}.targetCluster"), target);
            }
            self.overriders(&format!("{field}.overriders"), &rule.overriders);
        }
    }

    fn overriders(&mut self, field: &str, overriders: &Overriders) {
        for (index, image) in overriders.image_overrider.iter().enumerate() {
            if image.operator != Operator::Remove && image.value.is_empty() {
                self.add(
                    format!("{field}.imageOverrider[{index}].value"),
                    "is missing",
                    "give what to add, or to replace it by",
                );
            }
            if let Some(predicate) = &image.predicate {
                self.pointer(&format!("{field}.imageOverrider[{index}].predicate.path"), &predicate.path);
            }
        }
        for (index, env) in overriders.env_overrider.iter().enumerate() {
            for (at, variable) in env.value.iter().enumerate() {
                if variable.value.is_some() && variable.value_from.is_some() {
                    let field = format!("{field}.envOverrider[{index}].value[{at}].valueFrom");
                    self.add(field, "stands beside value", "use one of them");
                }
            }
        }
        for (index, over) in overriders.field_overrider.iter().enumerate() {
            let field = format!("{field}.fieldOverrider[{index}]");
            self.pointer(&format!("{field}.fieldPath"), &over.field_path);
            if over.json.is_empty() == over.yaml.is_empty() {
                self.add(&field, "must have either json or yaml", "say which of the two the text is");
            }
            for (list, patches) in [("json", &over.json), ("yaml", &over.yaml)] {
                for (index, patch) in patches.iter().enumerate() {
                    let field = format!("{field}.{list}[{index}]");
                    self.pointer(&format!("{field}.subPath"), &patch.sub_path);
                    self.patch_value(&field, patch.operator, patch.value.is_some());
                }
            }
        }
        for (index, patch) in overriders.plaintext.iter().enumerate() {
            let field = format!("{field}.plaintext[{index}]");
            self.pointer(&format!("{field}.path"), &patch.path);
            self.patch_value(&field, patch.operator, patch.value.is_some());
            if is_identity(&patch.path) {
                let mend = "leave apiVersion, kind, metadata.name and metadata.namespace alone";
                self.add(format!("{field}.path"), "would make it another object", mend);
            }
        }
    }

    fn pointer(&mut self, field: &str, pointer: &str) {
        if !pointer.starts_with('/') {
            self.add(field, format!("{pointer:?} is no JSON pointer"), "begin it with /, as in /spec/replicas");
        }
    }

    fn patch_value(&mut self, field: &str, operator: Operator, given: bool) {
        if operator == Operator::Remove && given {
            self.add(format!("{field}.value"), "has no meaning with the operator remove", "remove it");
        }
        if operator != Operator::Remove && !given {
            self.add(format!("{field}.value"), "is missing", "give the new value");
        }
    }

    fn quota(&mut self, root: &QuotaNode) {
        if root.min != root.max {
            self.add("spec.root.max", "differs from spec.root.min", "give the root the same min and max");
        }
        let mut seen = (BTreeSet::new(), BTreeSet::new());
        self.quota_node("spec.root", root, &mut seen);
    }

    fn quota_node<'a>(&mut self, field: &str, node: &'a QuotaNode, seen: &mut (BTreeSet<&'a str>, BTreeSet<&'a str>)) {
        if !seen.0.insert(&node.name) {
            self.add(
                format!("{field}.name"),
                format!("{:?} stands in the tree twice", node.name),
                "rename one of them",
            );
        }
        for (resource, min) in &node.min {
            if let Some(max) = node.max.get(resource)
                && min.nano() > max.nano()
            {
                self.add(
                    format!("{field}.min.{resource}"),
                    format!("{min} is above max, {max}"),
                    "lower min or raise max",
                );
            }
        }
        if !node.children.is_empty() && !node.namespaces.is_empty() {
            self.add(format!("{field}.namespaces"), "stands at a node with children", "let a leaf own the namespaces");
        }
        for (index, namespace) in node.namespaces.iter().enumerate() {
            let field = format!("{field}.namespaces[{index}]");
            if !is_dns_label(namespace) {
                self.add(&field, format!("{namespace:?} is no namespace"), "use lower-case letters, digits and dashes");
            }
            if !seen.1.insert(namespace) {
                self.add(&field, format!("{namespace:?} has another owner already"), "let one leaf own it");
            }
        }
        self.children(field, node);
        for (index, child) in node.children.iter().enumerate() {
            self.quota_node(&format!("{field}.children[{index}]"), child, seen);
        }
    }

    /// What children are guaranteed must be there to give, and their ceilings must be reachable.
    fn children(&mut self, field: &str, node: &QuotaNode) {
        let mut sums: std::collections::BTreeMap<&str, u128> = std::collections::BTreeMap::new();
        for child in &node.children {
            for (resource, min) in &child.min {
                let sum = sums.entry(resource).or_default();
                *sum = sum.saturating_add(min.nano());
            }
        }
        let of = |amounts: &Quantities, resource: &str| amounts.get(resource).map_or(0, |amount| amount.nano());
        for (resource, sum) in sums {
            if sum > of(&node.min, resource) {
                let mend = "raise it, or lower the children's min";
                self.add(format!("{field}.min.{resource}"), "is below the sum of the children's min", mend);
            }
        }
        for (index, child) in node.children.iter().enumerate() {
            for (resource, max) in &child.max {
                if let Some(limit) = node.max.get(resource)
                    && max.nano() > limit.nano()
                {
                    let problem = format!("{max} is above the parent's max, {limit}");
                    self.add(format!("{field}.children[{index}].max.{resource}"), problem, "lower it");
                }
            }
        }
    }

    fn simulation(&mut self, spec: &SimulationSpec) {
        for (index, load) in spec.load_series.iter().enumerate() {
            let field = format!("spec.loadSeries[{index}]");
            for (name, value) in [("requestsPerSecond", load.requests_per_second), ("speed", load.speed)] {
                if value <= 0.0 {
                    self.add(format!("{field}.{name}"), format!("{value} is too small"), "use a number above 0");
                }
            }
            if load.max < load.min {
                self.add(
                    format!("{field}.max"),
                    format!("{} is below min, {}", load.max, load.min),
                    "raise max or lower min",
                );
            }
            if load.window.millis() == 0 {
                self.add(format!("{field}.window"), "is 0", "use for example 60s");
            }
        }
        for (index, fault) in spec.faults.iter().enumerate() {
            self.fault(&format!("spec.faults[{index}]"), fault);
        }
    }

    fn fault(&mut self, field: &str, fault: &Fault) {
        let (cluster, offering) = match fault.what {
            FaultKind::ClusterLost | FaultKind::NodesLost | FaultKind::SlowStarts => (true, false),
            FaultKind::OutOfStock | FaultKind::OrdersFail => (false, true),
        };
        for (name, value, wanted) in [("cluster", &fault.cluster, cluster), ("offering", &fault.offering, offering)] {
            if wanted && value.is_empty() {
                self.add(format!("{field}.{name}"), "is missing", format!("{:?} needs it", fault.what));
            }
            if !wanted && !value.is_empty() {
                self.add(format!("{field}.{name}"), format!("has no meaning for {:?}", fault.what), "remove it");
            }
        }
    }
}

/// Whether a JSON pointer leads to what makes an object that object.
pub(crate) fn is_identity(pointer: &str) -> bool {
    ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata", "/"].contains(&pointer)
        || pointer.is_empty()
}

impl ClusterAffinityTerm {
    /// The affinity without its name.
    pub fn affinity(&self) -> ClusterAffinity {
        ClusterAffinity {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            cluster_names: self.cluster_names.clone(),
            exclude: self.exclude.clone(),
        }
    }
}
