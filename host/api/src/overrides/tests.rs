//! Overrides on real manifests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use berth_core::fleet::Cluster as CoreCluster;
use serde_json::json;

use super::*;
use crate::meta::ObjectMeta;
use crate::resources::{Cluster, ClusterSpec};
use crate::{Object, load, to_core};

fn cluster(name: &str) -> CoreCluster {
    to_core::cluster(&Cluster {
        metadata: ObjectMeta { name: name.to_owned(), ..ObjectMeta::default() },
        spec: ClusterSpec { region: "r1".to_owned(), ..ClusterSpec::default() },
        status: None,
    })
}

fn vllm() -> (Manifest, OverrideSet) {
    let loaded = load("x", include_str!("../../testdata/vllm-qwen3.yaml")).unwrap();
    let mut manifest = None;
    let mut set = OverrideSet::default();
    for object in loaded.objects {
        match object {
            Object::Manifest(found) => manifest = Some(found),
            Object::OverridePolicy(policy) => set.insert(policy),
            _ => {}
        }
    }
    (manifest.unwrap(), set)
}

fn policy(kind: &str, name: &str, spec: Value) -> OverridePolicy {
    let value = json!({"apiVersion": "berth.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    match Object::parse(value).unwrap_or_else(|issues| panic!("{issues:#?}")).object {
        Object::OverridePolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn rule(overriders: Value) -> Value {
    json!({"overrideRules": [{"overriders": overriders}]})
}

#[test]
fn each_region_reads_its_own_bucket() {
    let (mut manifest, set) = vllm();
    let before = manifest.clone();
    assert_eq!(set.apply(&mut manifest, &cluster("us-west")).unwrap(), Vec::<String>::new());
    assert_eq!(manifest, before);
    assert_eq!(set.apply(&mut manifest, &cluster("us-east")).unwrap(), ["OverridePolicy qwen3-8b"]);
    let pod = &manifest.value()["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "mirror.us-east.example/vllm/vllm-openai:v0.9.1");
    assert_eq!(pod["initContainers"][0]["image"], "mirror.us-east.example/example/fetch:1.2");
    assert_eq!(
        pod["initContainers"][0]["args"],
        json!(["--from", "--to", "/models/qwen3-8b", "oss://models-us-east/qwen3-8b"])
    );
    assert_eq!(pod["containers"][0]["env"], json!([{"name": "MODEL_BUCKET", "value": "models-us-east"}]));
}

#[test]
fn the_more_precise_policy_has_the_last_word() {
    let label = |value: &str| json!({"labelsOverrider": [{"operator": "add", "value": {"by": value}}]});
    let selecting = |value: &str, selector: Value| {
        let mut spec = rule(label(value));
        spec["resourceSelectors"] = json!([selector]);
        spec
    };
    let set = OverrideSet::new([
        policy("OverridePolicy", "b", rule(label("b"))),
        policy(
            "OverridePolicy",
            "a",
            selecting("a", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen3-8b"})),
        ),
        policy(
            "ClusterOverridePolicy",
            "z",
            selecting("z", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen3-8b"})),
        ),
        policy("OverridePolicy", "other", selecting("o", json!({"apiVersion": "v1", "kind": "ConfigMap"}))),
    ]);
    let (mut manifest, _) = vllm();
    let applied = set.apply(&mut manifest, &cluster("a")).unwrap();
    assert_eq!(applied, ["ClusterOverridePolicy z", "OverridePolicy b", "OverridePolicy a"]);
    assert_eq!(manifest.label("by"), Some("a"));
}

#[test]
fn every_overrider_works() {
    let (mut manifest, _) = vllm();
    let set = OverrideSet::new([policy(
        "OverridePolicy",
        "a",
        rule(json!({
            "imageOverrider": [{
                "predicate": {"path": "/spec/template/spec/containers/0/image"},
                "component": "Tag", "operator": "replace", "value": "v0.10",
            }],
            "commandOverrider": [{"containerName": "vllm", "operator": "remove", "value": ["serve"]}],
            "envOverrider": [
                {"containerName": "vllm", "operator": "replace", "value": [{"name": "NONE", "value": "x"}]},
                {"containerName": "vllm", "operator": "remove", "value": [{"name": "MODEL_BUCKET"}]},
                {"containerName": "vllm", "operator": "add", "value": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            ],
            "annotationsOverrider": [{"operator": "add", "value": {"a/b": "c"}}, {"operator": "replace", "value": {"x": "y"}}],
            "plaintext": [{"path": "/spec/template/spec/nodeSelector", "operator": "remove"}],
        })),
    )]);
    set.apply(&mut manifest, &cluster("a")).unwrap();
    let value = manifest.value();
    let container = &value["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "docker.io/vllm/vllm-openai:v0.10");
    assert_eq!(container["command"], json!(["vllm", "/models/qwen3-8b"]));
    assert_eq!(container["env"], json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]));
    assert_eq!(value["metadata"]["annotations"], json!({"a/b": "c"}));
    assert_eq!(value["spec"]["template"]["spec"].get("nodeSelector"), None);
}

#[test]
fn texts_within_a_config_map_are_changed() {
    let mut manifest = Manifest::parse(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
        "data": {"app.yaml": "db:\n  host: a\n", "app.json": "{\"db\":{\"host\":\"a\"}}"},
    }))
    .unwrap();
    let change = json!([{"subPath": "/db/host", "operator": "replace", "value": "b"}, {"subPath": "/db/port", "operator": "add", "value": 5432}]);
    let set = OverrideSet::new([policy(
        "OverridePolicy",
        "a",
        rule(json!({"fieldOverrider": [
            {"fieldPath": "/data/app.yaml", "yaml": change},
            {"fieldPath": "/data/app.json", "json": change},
        ]})),
    )]);
    set.apply(&mut manifest, &cluster("a")).unwrap();
    assert_eq!(manifest.value()["data"]["app.yaml"], "db:\n  host: b\n  port: 5432\n");
    assert_eq!(manifest.value()["data"]["app.json"], "{\"db\":{\"host\":\"b\",\"port\":5432}}");
}

#[test]
fn what_cannot_be_applied_changes_nothing() {
    let (mut manifest, _) = vllm();
    let before = manifest.clone();
    let fault = |overriders: Value, manifest: &mut Manifest| {
        let mut spec = rule(json!({"labelsOverrider": [{"operator": "add", "value": {"x": "y"}}]}));
        spec["overrideRules"].as_array_mut().unwrap().push(json!({"overriders": overriders}));
        OverrideSet::new([policy("OverridePolicy", "a", spec)]).apply(manifest, &cluster("a")).unwrap_err().to_string()
    };
    let args = json!({"argsOverrider": [{"containerName": "none", "operator": "add", "value": ["x"]}]});
    assert_eq!(
        fault(args, &mut manifest),
        "OverridePolicy a: spec.overrideRules[1].overriders.argsOverrider[0]: there is no container \"none\""
    );
    let patch = json!({"plaintext": [{"path": "/spec/none/x", "operator": "replace", "value": 1}]});
    assert!(fault(patch, &mut manifest).contains("plaintext[0]"));
    assert_eq!(manifest, before);
}

#[test]
fn an_override_cannot_make_another_object() {
    let spec = rule(json!({"plaintext": [{"path": "/metadata/name", "operator": "replace", "value": "b"}]}));
    let value =
        json!({"apiVersion": "berth.dev/v1alpha1", "kind": "OverridePolicy", "metadata": {"name": "a"}, "spec": spec});
    let issues = Object::parse(value).unwrap_err();
    assert_eq!(issues[0].field, "spec.overrideRules[0].overriders.plaintext[0].path");
}

#[test]
fn spark_images_and_environment_are_found() {
    let loaded = load("x", include_str!("../../testdata/spark-pi.yaml")).unwrap();
    let Some(Object::Manifest(mut app)) = loaded.objects.into_iter().next() else { panic!("no manifest") };
    let set = OverrideSet::new([policy(
        "OverridePolicy",
        "a",
        rule(json!({
            "imageOverrider": [{"component": "Registry", "operator": "replace", "value": "r.example"}],
            "envOverrider": [{"containerName": "spark-kubernetes-executor", "operator": "add", "value": [{"name": "A", "value": "b"}]}],
        })),
    )]);
    set.apply(&mut app, &cluster("a")).unwrap();
    assert_eq!(app.value()["spec"]["image"], "r.example/library/spark:4.0.0");
    assert_eq!(app.value()["spec"]["executor"]["env"], json!([{"name": "A", "value": "b"}]));
}

#[test]
fn a_member_gets_its_part_without_what_belongs_to_the_hub() {
    let (mut manifest, set) = vllm();
    manifest.value_mut()["status"] = json!({"readyReplicas": 2});
    for field in ["resourceVersion", "uid", "creationTimestamp"] {
        manifest.value_mut()["metadata"][field] = json!("x");
    }
    let member = set.for_member(&manifest, &Part::whole(vec![5]), &cluster("us-east")).unwrap();
    assert_eq!(member.value()["spec"]["replicas"], 5);
    assert_eq!(member.value().get("status"), None);
    let metadata: Vec<&String> = member.value()["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(metadata, ["name", "labels", "namespace"]);
    assert!(
        member.value()["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().starts_with("mirror.")
    );
    assert_eq!(manifest.value()["spec"]["replicas"], 2);
}
