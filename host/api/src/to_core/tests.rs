//! Policies, workloads and fleets in the planner's terms.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use berth_core::ids::OfferingRow;
use berth_core::quota::QuotaTree as CoreQuotaTree;
use berth_core::reason::{Code, Reason};
use berth_core::resources::ResourceNames;
use berth_core::workload::{Division, GroupUse, Purge, SpreadBy, Workload};
use serde_json::{Value, json};

use super::*;
use crate::interpret::components;
use crate::resources::{Cluster, DistributionPolicy, NodePool, Offering, QuotaTree};
use crate::{Loaded, Manifest, Object, load};

fn loaded(text: &str) -> Loaded {
    load("x", text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn policies(loaded: &Loaded) -> Vec<DistributionPolicy> {
    let policy = |object: &Object| match object {
        Object::DistributionPolicy(policy) => Some(policy.clone()),
        _ => None,
    };
    loaded.objects.iter().filter_map(policy).collect()
}

fn policy(spec: Value) -> DistributionPolicy {
    named("DistributionPolicy", "a", spec)
}

fn named(kind: &str, name: &str, mut spec: Value) -> DistributionPolicy {
    if spec.get("resourceSelectors").is_none() {
        spec["resourceSelectors"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment"}]);
    }
    let value = json!({"apiVersion": "berth.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    match Object::parse(value).unwrap_or_else(|issues| panic!("{issues:#?}")).object {
        Object::DistributionPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn manifest(api_version: &str, kind: &str, name: &str, labels: Value) -> Manifest {
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    let value = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels},
        "spec": {"template": pod, "pytorchReplicaSpecs": {"Worker": {"replicas": 2, "template": pod}}},
    });
    Manifest::parse(value).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

fn workload(
    manifest: &Manifest,
    matched: &Matched,
    classes: &PriorityClasses,
    generation: u64,
) -> Result<Workload, Reason> {
    super::workload(manifest, &components(manifest).unwrap(), matched, classes, generation)
}

fn web() -> Manifest {
    manifest("apps/v1", "Deployment", "web", json!({"app": "web"}))
}

#[test]
fn an_own_policy_is_elastic_and_duplicates_unless_told() {
    let rules = rules(&policy(json!({})), false);
    assert!(rules.elastic && !rules.gang && !rules.suspended);
    assert_eq!(rules.division, Division::Duplicated);
    assert_eq!((rules.groups.len(), rules.groups[0].names.is_none()), (1, true));
    assert_eq!((rules.failover.toleration_ms, rules.failover.purge), (300_000, Purge::Gracefully));
    assert_eq!(&*rules.policy, "default/a");
}

#[test]
fn every_field_of_a_policy_arrives() {
    let found = loaded(include_str!("../../testdata/vllm-qwen3.yaml"));
    let rules = rules(&policies(&found)[0], false);
    let groups: Vec<&str> = rules.groups.iter().map(|group| &*group.name).collect();
    assert_eq!(groups, ["own", "cloud"]);
    assert_eq!(&*rules.groups[1].fields[0].key, "provider");
    assert_eq!(rules.group_use, GroupUse::FillInOrder);
    assert_eq!(rules.division, Division::Free);
    assert_eq!((rules.max_lead_seconds, rules.budget), (300, Some(12.5)));
    assert_eq!(rules.placement_policy.as_ref().map(|name| name.as_str()), Some("cost"));
}

#[test]
fn divisions_are_those_of_karmada() {
    let division =
        |scheduling: Value| rules(&policy(json!({"placement": {"replicaScheduling": scheduling}})), false).division;
    assert_eq!(division(json!({"replicaSchedulingType": "Duplicated"})), Division::Duplicated);
    assert_eq!(division(json!({"replicaDivisionPreference": "Aggregated"})), Division::Aggregated);
    assert_eq!(division(json!({"replicaDivisionPreference": "Weighted"})), Division::StaticWeight);
    let dynamic =
        json!({"replicaDivisionPreference": "Weighted", "weightPreference": {"dynamicWeight": "AvailableReplicas"}});
    assert_eq!(division(dynamic), Division::AvailableReplicas);
}

#[test]
fn karmadas_policies_are_taken_as_they_are() {
    let found = loaded(include_str!("../../testdata/karmada.yaml"));
    let fields: Vec<&str> = found.warnings.iter().map(|warning| warning.issue.field.as_str()).collect();
    assert_eq!(fields, ["spec.propagateDeps", "spec.placement.clusterTolerations[0].tolerationSeconds"]);
    assert_eq!(found.warnings[0].line, 8);
    let policies = policies(&found);
    let first = rules(&policies[0], false);
    assert!(!first.elastic);
    assert_eq!(first.division, Division::StaticWeight);
    assert_eq!(first.weights.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((first.spread[0].by.clone(), first.spread[0].min, first.spread[0].max), (SpreadBy::Region, 2, 2));
    assert_eq!(first.tolerations[0].value.as_deref(), Some("web"));
    assert_eq!((first.failover.toleration_ms, first.failover.grace_ms), (120_000, 300_000));
    assert!(Matched::new(policies[0].clone()).overwrites());
    // Nothing said: duplicated, not elastic, never moved.
    let second = rules(&policies[1], false);
    assert_eq!((second.division, second.elastic, second.failover.purge), (Division::Duplicated, false, Purge::Never));
    assert_eq!((policies[1].metadata.namespace.as_str(), &*second.policy), ("", "everything"));
}

#[test]
fn ack_ones_policies_are_taken_as_they_are() {
    let found = loaded(include_str!("../../testdata/ack-one.yaml"));
    let policies = policies(&found);
    let first = rules(&policies[0], false);
    assert_eq!((first.elastic, first.division), (true, Division::AvailableReplicas));
    let matched = Matched::new(policies[1].clone());
    let job = manifest("kubeflow.org/v1", "PyTorchJob", "job", json!({}));
    let rules = matched.rules(job.interpreted_as());
    assert_eq!((rules.gang, rules.suspended, rules.elastic, rules.division), (true, true, false, Division::Free));
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert_eq!(found.warnings[0].issue.field, "spec.root.children[0].children[0].attributes");
}

#[test]
fn unknown_fields_are_refused_in_foreign_policies_too() {
    let text = "apiVersion: policy.karmada.io/v1alpha1\nkind: PropagationPolicy\nmetadata: {name: a}\nspec:\n  resourceSelectors: [{apiVersion: v1, kind: ConfigMap}]\n  placement:\n    clusterAfinity: {}\n";
    let errors = load("x", text).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "x:7 (document 1): PropagationPolicy a: spec.placement.clusterAfinity: is no known field; did you mean \"clusterAffinity\"?"
    );
    let text = "apiVersion: policy.karmada.io/v1alpha1\nkind: FederatedResourceQuota\nmetadata: {name: a}\n";
    assert!(load("x", text).unwrap_err()[0].to_string().contains("is not supported"));
}

#[test]
fn the_most_precise_policy_of_the_highest_priority_applies() {
    let select = |more: Value| {
        let mut selector = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        for (key, value) in more.as_object().unwrap() {
            selector[key] = value.clone();
        }
        json!([selector])
    };
    let spec = |more: Value, priority: i32| json!({"resourceSelectors": select(more), "priority": priority});
    let all = spec(json!({}), 0);
    let labels = spec(json!({"labelSelector": {"matchLabels": {"app": "web"}}}), 0);
    let name = spec(json!({"name": "web", "labelSelector": {"matchLabels": {"app": "other"}}}), 0);
    let mut set = PolicySet::new([
        named("ClusterDistributionPolicy", "w", spec(json!({"name": "web"}), 9)),
        named("DistributionPolicy", "z-all", all.clone()),
        named("DistributionPolicy", "a-all", all),
    ]);
    let chosen = |set: &PolicySet| set.matching(&web()).map(|matched| matched.policy.metadata.name.clone());
    assert_eq!(chosen(&set).as_deref(), Some("a-all"), "namespaced before cluster-wide, then by name");
    set.insert(named("DistributionPolicy", "labels", labels));
    assert_eq!(chosen(&set).as_deref(), Some("labels"));
    set.insert(named("DistributionPolicy", "name", name));
    assert_eq!(chosen(&set).as_deref(), Some("name"));
    set.insert(named("DistributionPolicy", "z-all", spec(json!({}), 1)));
    assert_eq!(chosen(&set).as_deref(), Some("z-all"));
    for name in ["name", "labels", "z-all", "a-all"] {
        set.remove("default", name);
    }
    assert_eq!(chosen(&set).as_deref(), Some("w"));
    set.remove("", "w");
    assert_eq!(chosen(&set), None);
}

#[test]
fn workloads_share_the_rules_of_their_policy() {
    let matched = Matched::new(policy(json!({})));
    let classes = PriorityClasses::default();
    let one = workload(&web(), &matched, &classes, 3).unwrap();
    let two = workload(&web(), &matched, &classes, 4).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one.rules, &two.rules));
    assert_eq!((one.generation, one.key.to_string().as_str()), (3, "Deployment default/web"));
    assert_eq!(one.labels.get("app").map(|value| &**value), Some("web"));
}

#[test]
fn gangs_are_what_kind_and_policy_make_them() {
    let job = manifest("kubeflow.org/v1", "PyTorchJob", "job", json!({}));
    let of = |manifest: &Manifest, spec: Value| {
        let workload = workload(manifest, &Matched::new(policy(spec)), &PriorityClasses::default(), 1).unwrap();
        (workload.rules.gang, workload.rules.division, workload.components[0].floor)
    };
    assert_eq!(of(&job, json!({})), (true, Division::Free, 2));
    assert_eq!(of(&job, json!({"gang": false})), (false, Division::Duplicated, 0));
    let duplicated = json!({"placement": {"replicaScheduling": {"replicaSchedulingType": "Duplicated"}}});
    assert_eq!(of(&job, duplicated), (false, Division::Duplicated, 0));
    assert_eq!(of(&web(), json!({"gang": true})), (true, Division::Free, 0));
}

#[test]
fn unknown_kinds_go_as_they_are_or_not_at_all() {
    let custom = manifest("example.com/v1", "Widget", "w", json!({}));
    let of = |spec: Value| workload(&custom, &Matched::new(policy(spec)), &PriorityClasses::default(), 1);
    assert_eq!(of(json!({})).unwrap().components.len(), 0);
    assert_eq!(of(json!({"unknownKinds": "Refuse"})).unwrap_err().code, Code::UnknownKind);
}

#[test]
fn priority_comes_from_the_pod_its_class_or_the_policy() {
    let mut classes = PriorityClasses::default();
    let class = |name: &str, value: i32, global: bool| {
        let value = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": global,
        });
        Manifest::parse(value).unwrap()
    };
    assert!(classes.insert(&class("high", 1000, false)) && classes.insert(&class("usual", 10, true)));
    assert!(!classes.insert(&web()));
    let priority = |pod: Value, spec: Value, classes: &PriorityClasses| {
        let mut web = web();
        for (key, value) in pod.as_object().unwrap() {
            web.value_mut()["spec"]["template"]["spec"][key] = value.clone();
        }
        workload(&web, &Matched::new(policy(spec)), classes, 1).unwrap().priority
    };
    let scheduled =
        json!({"schedulePriority": {"priorityClassSource": "KubePriorityClass", "priorityClassName": "high"}});
    assert_eq!(priority(json!({}), json!({}), &classes), 10);
    assert_eq!(priority(json!({"priorityClassName": "high"}), json!({}), &classes), 1000);
    assert_eq!(priority(json!({"priorityClassName": "high", "priority": 7}), json!({}), &classes), 7);
    assert_eq!(priority(json!({"priority": 7}), scheduled, &classes), 1000);
    assert_eq!(priority(json!({"priorityClassName": "system-node-critical"}), json!({}), &classes), 2_000_001_000);
    classes.remove("usual");
    assert_eq!(priority(json!({}), json!({}), &classes), 0);
}

#[test]
fn a_fleet_becomes_definitions() {
    let found = loaded(include_str!("../../testdata/fleet.yaml"));
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut pools: Vec<NodePool> = Vec::new();
    let mut offerings: Vec<Offering> = Vec::new();
    for object in found.objects {
        match object {
            Object::Cluster(cluster) => clusters.push(cluster),
            Object::NodePool(pool) => pools.push(pool),
            Object::Offering(offering) => offerings.push(offering),
            _ => {}
        }
    }
    let east = cluster(&clusters[0]);
    assert_eq!((east.name.as_str(), &*east.provider, east.zones.len()), ("us-east", "aws", 2));
    assert_eq!(east.columns.get("carbon"), Some(&389.5));
    // One is in a zone that the cluster does not have.
    let keys = pool_offerings(&pools[0], &clusters[0], &offerings);
    let prices: Vec<&str> = keys.iter().map(|key| key.capacity_type.as_str()).collect();
    assert_eq!(prices, ["on-demand", "spot"]);
    assert!(pool_offerings(&pools[0], &clusters[1], &offerings).is_empty());
    let definition = pool(&pools[0], vec![OfferingRow(0), OfferingRow(1)]);
    assert_eq!((&*definition.cluster, definition.spec.max, definition.spec.lead_seconds), ("us-east", 8, 90));
    assert_eq!(definition.scale_down.cool_down.seconds(), 300);
    assert_eq!(definition.scale_down.gpu_utilization_threshold, 0.3);
    let mut names = ResourceNames::default();
    let spot = offering(&offerings[0], &mut names);
    assert_eq!(spot.allocatable.as_slice(), [7910, 58 << 30, 110, 1]);
    assert_eq!((spot.stock.lower_bound, spot.stock.ttl_ms, spot.price), (3, 600_000, 0.97));
    assert_eq!(offering(&offerings[1], &mut names).price, 3.06);
}

#[test]
fn a_quota_tree_becomes_rows() {
    let found = loaded(include_str!("../../testdata/ack-one.yaml"));
    let Some(Object::QuotaTree(tree)) = found.objects.last() else { panic!("no tree") };
    let tree: &QuotaTree = tree;
    let mut names = ResourceNames::default();
    let rows: CoreQuotaTree = quota_tree(tree, &mut names);
    let found: Vec<(&str, Option<u32>)> =
        rows.quotas.iter().map(|quota| (quota.name.as_str(), quota.parent.map(|row| row.0))).collect();
    assert_eq!(found, [("root", None), ("root.a", Some(0)), ("root.a.1", Some(1)), ("root.b", Some(0))]);
    assert_eq!(rows.leaf("demo").map(|row| row.0), Some(3));
    assert_eq!(rows.quotas[3].max, [(0, 20_000), (1, 20 << 30), (3, 2)]);
    assert_eq!(rows.used.len(), 4);
}
