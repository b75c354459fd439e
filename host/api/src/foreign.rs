//! Policies of Karmada and of ACK One, and elastic quota trees, taken as they are and turned into Berth's own kinds.
//!
//! The conversion works on values, before they are checked, so that faults are named in the words of the manifest. It also
//! takes out the fields of Karmada's policies that have no effect here, whoever's kind they stand in, and warns of them.

use serde_json::{Map, Value, json};

use crate::API_VERSION;
use crate::issue::Issue;

const KARMADA: &str = "policy.karmada.io/v1alpha1";
const ACK_ONE: [&str; 2] = ["policy.one.alibabacloud.com/v1alpha1", "one.alibabacloud.com/v1alpha1"];
const QUOTA: &str = "scheduling.sigs.k8s.io/v1beta1";

/// Fields of a distribution policy that are accepted without effect: path below `spec`, the value that means nothing, and
/// what Berth does instead.
const WITHOUT_EFFECT: [(&str, &str, &str); 12] = [
    ("association", "false", "select the objects that a workload needs by resourceSelectors"),
    ("propagateDeps", "false", "select the objects that a workload needs by resourceSelectors"),
    ("preemption", "\"Never\"", "the policy with the highest precedence applies at once"),
    ("dependentOverrides", "[]", "override policies apply as soon as they exist"),
    ("schedulerName", "\"default-scheduler\"", "name a placement policy under policies.placement"),
    ("activationPreference", "\"\"", "changes of a policy apply at once"),
    ("preserveResourcesOnDeletion", "false", "member clusters lose what is deleted here"),
    ("suspension.dispatchingOnClusters", "{}", "exclude the clusters in placement.clusterAffinity"),
    ("placement.workloadAffinity", "{}", "write a placement policy for it"),
    ("failover.application.statePreservation", "{}", "state is not carried over"),
    ("failover.cluster.statePreservation", "{}", "state is not carried over"),
    ("failover.cluster.gracePeriodSeconds", "600", "failover.application.gracePeriodSeconds counts"),
];

/// Converts foreign kinds in place; other objects stay as they are.
///
/// # Errors
/// For kinds of a foreign policy group that have no counterpart.
pub(crate) fn convert(value: &mut Value, warnings: &mut Vec<Issue>) -> Result<(), Vec<Issue>> {
    let Some(map) = value.as_object_mut() else { return Ok(()) };
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ack_one = ACK_ONE.contains(&api_version.as_str());
    if api_version == API_VERSION {
        if kind.ends_with("DistributionPolicy") {
            drop_without_effect(map, warnings);
        }
        return Ok(());
    }
    let own = if api_version == QUOTA && kind == "ElasticQuotaTree" {
        quota_tree(map, warnings);
        "QuotaTree"
    } else if api_version == KARMADA || ack_one {
        match kind.as_str() {
            "PropagationPolicy" => "DistributionPolicy",
            "ClusterPropagationPolicy" => "ClusterDistributionPolicy",
            "OverridePolicy" => "OverridePolicy",
            "ClusterOverridePolicy" => "ClusterOverridePolicy",
            _ => {
                let mend = "supported are PropagationPolicy, ClusterPropagationPolicy, OverridePolicy and ClusterOverridePolicy";
                return Err(vec![Issue::new("kind", format!("{kind:?} of {api_version} is not supported"), mend)]);
            }
        }
    } else {
        return Ok(());
    };
    if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
        if own.ends_with("DistributionPolicy") {
            distribution(spec, ack_one, warnings);
        } else if own.ends_with("OverridePolicy") {
            overriding(spec);
        }
    }
    if own.ends_with("DistributionPolicy") {
        drop_without_effect(map, warnings);
    }
    map.insert("apiVersion".to_owned(), API_VERSION.into());
    map.insert("kind".to_owned(), own.into());
    Ok(())
}

fn distribution(spec: &mut Map<String, Value>, ack_one: bool, warnings: &mut Vec<Issue>) {
    if !spec.contains_key("elasticity") {
        let provision =
            spec.get_mut("autoScaling").and_then(Value::as_object_mut).and_then(|it| it.shift_remove("ecsProvision"));
        spec.insert("elasticity".to_owned(), json!({"enabled": provision.unwrap_or(Value::Bool(false))}));
    }
    if spec.get("autoScaling").and_then(Value::as_object).is_some_and(Map::is_empty) {
        spec.shift_remove("autoScaling");
    }
    let mut gang = spec.shift_remove("customSchedulingType").map(|value| ("spec.customSchedulingType", value));
    if let Some(Value::Object(scheduling)) =
        spec.get_mut("placement").and_then(|placement| placement.get_mut("replicaScheduling"))
    {
        if let Some(value) = scheduling.shift_remove("customSchedulingType") {
            gang = Some(("spec.placement.replicaScheduling.customSchedulingType", value));
        }
        // Their webhook sets this where nothing is said.
        let divided = scheduling.get("replicaSchedulingType").is_none_or(|kind| kind == "Divided");
        if divided && gang.is_none() && scheduling.get("replicaDivisionPreference").is_none_or(Value::is_null) {
            scheduling.insert("replicaDivisionPreference".to_owned(), "Weighted".into());
        }
    }
    match gang {
        Some((_, value)) if value == "Gang" => {
            spec.insert("gang".to_owned(), true.into());
        }
        Some((field, value)) if !value.is_null() => {
            warnings.push(Issue::new(field, format!("{value} has no effect"), "only Gang is supported"));
        }
        _ => {}
    }
    rename_purge_modes(spec);
    // Karmada moves nothing unless told to; ACK One moves replicas that cannot run.
    if !ack_one && spec.get("failover").is_none_or(Value::is_null) {
        spec.insert("failover".to_owned(), json!({"application": {"purgeMode": "Never"}}));
    }
}

fn rename_purge_modes(spec: &mut Map<String, Value>) {
    for part in ["application", "cluster"] {
        let mode = spec.get_mut("failover").and_then(|it| it.get_mut(part)).and_then(|it| it.get_mut("purgeMode"));
        if let Some(mode) = mode {
            match mode.as_str() {
                Some("Immediately") => *mode = "Directly".into(),
                Some("Graciously") => *mode = "Gracefully".into(),
                _ => {}
            }
        }
    }
}

/// The form before `overrideRules`: one rule at the top.
fn overriding(spec: &mut Map<String, Value>) {
    let target = spec.shift_remove("targetCluster").filter(|target| !target.is_null());
    let overriders = spec.shift_remove("overriders").filter(|it| it.as_object().is_none_or(|it| !it.is_empty()));
    if let Some(overriders) = overriders {
        let mut rule = json!({"overriders": overriders});
        if let Some(target) = target {
            rule["targetCluster"] = target;
        }
        if let Value::Array(rules) = spec.entry("overrideRules").or_insert_with(|| json!([])) {
            rules.push(rule);
        }
    }
}

/// `metadata.namespace` says nothing there, and `attributes` belongs to a queue that Berth does not have.
fn quota_tree(map: &mut Map<String, Value>, warnings: &mut Vec<Issue>) {
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("namespace");
    }
    fn node(value: &mut Value, field: &str, depth: usize, warnings: &mut Vec<Issue>) {
        let Some(map) = value.as_object_mut() else { return };
        if map.shift_remove("attributes").is_some() {
            let field = format!("{field}.attributes");
            warnings.push(Issue::new(field, "has no effect", "bind a gang policy to the namespaces instead"));
        }
        if let Some(Value::Array(children)) = map.get_mut("children")
            && depth < 64
        {
            for (index, child) in children.iter_mut().enumerate() {
                node(child, &format!("{field}.children[{index}]"), depth + 1, warnings);
            }
        }
    }
    if let Some(root) = map.get_mut("spec").and_then(|spec| spec.get_mut("root")) {
        node(root, "spec.root", 0, warnings);
    }
}

fn drop_without_effect(map: &mut Map<String, Value>, warnings: &mut Vec<Issue>) {
    let Some(spec) = map.get_mut("spec") else { return };
    for (path, nothing, mend) in WITHOUT_EFFECT {
        let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
        let mut parents = parent.split('.').filter(|part| !part.is_empty());
        let Some(parent) = parents.try_fold(&mut *spec, |value, part| value.get_mut(part)) else { continue };
        let Some(value) = parent.as_object_mut().and_then(|parent| parent.shift_remove(field)) else { continue };
        let written = value.to_string();
        if !value.is_null() && written != nothing {
            warnings.push(Issue::new(format!("spec.{path}"), "has no effect", mend));
        }
    }
    let tolerations =
        spec.get_mut("placement").and_then(|it| it.get_mut("clusterTolerations")).and_then(Value::as_array_mut);
    for (index, toleration) in tolerations.into_iter().flatten().enumerate() {
        if toleration.as_object_mut().is_some_and(|it| it.shift_remove("tolerationSeconds").is_some()) {
            let field = format!("spec.placement.clusterTolerations[{index}].tolerationSeconds");
            warnings.push(Issue::new(
                field,
                "has no effect",
                "failover.application.decisionConditions.tolerationSeconds counts",
            ));
        }
    }
}
