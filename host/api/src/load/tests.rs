//! Loading: real manifests, faults with their places, hostile input.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use proptest::prelude::*;

use super::*;

const FILES: [(&str, &str); 6] = [
    ("vllm-qwen3.yaml", include_str!("../../testdata/vllm-qwen3.yaml")),
    ("pytorchjob.yaml", include_str!("../../testdata/pytorchjob.yaml")),
    ("spark-pi.yaml", include_str!("../../testdata/spark-pi.yaml")),
    ("karmada.yaml", include_str!("../../testdata/karmada.yaml")),
    ("ack-one.yaml", include_str!("../../testdata/ack-one.yaml")),
    ("fleet.yaml", include_str!("../../testdata/fleet.yaml")),
];

fn faults(text: &str) -> Vec<String> {
    load("x.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_file_loads_and_survives_writing() {
    for (name, text) in FILES {
        let loaded = load(name, text).unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
        assert!(!loaded.objects.is_empty());
        for object in &loaded.objects {
            let yaml = object.to_yaml();
            let again = load(name, &yaml).unwrap_or_else(|errors| panic!("{errors:#?}\n{yaml}"));
            assert_eq!(&again.objects[..], std::slice::from_ref(object), "{yaml}");
            assert_eq!(again.objects[0].to_yaml(), yaml);
            assert_eq!(Object::from_json(&object.to_json()).unwrap(), *object);
        }
    }
}

/// What is shown of a cluster or a pool has a status that nobody stores.
#[test]
fn a_status_that_is_only_shown_is_left_out_when_it_is_applied() {
    let cluster = "apiVersion: berth.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec: {provider: aws}\n";
    let status = "status: {nodes: 2, conditions: [{type: Ready, status: 'True'}]}\n";
    let plain = load("x.yaml", cluster).unwrap();
    assert_eq!(load("x.yaml", &format!("{cluster}{status}")).unwrap().objects, plain.objects);
    // An offering's is stored, and checked.
    let offering = FILES[5].1.split("---").find(|part| part.contains("status: {stock")).unwrap();
    assert!(load("x.yaml", offering).unwrap().objects[0].to_yaml().contains("lowerBound: 3"));
    assert!(!faults(&offering.replace("lowerBound", "lower")).is_empty());
}

#[test]
fn objects_know_their_names_and_places() {
    let loaded = load("fleet.yaml", FILES[5].1).unwrap();
    let keys: Vec<String> = loaded.objects.iter().map(|object| object.key().to_string()).collect();
    assert_eq!(
        keys,
        [
            "Cluster us-east",
            "Cluster us-west",
            "NodePool gpu-us-east",
            "Offering v100-spot-a",
            "Offering v100-od-a",
            "Offering v100-spot-f",
            "Deployment default/qwen3-8b",
            "Simulation day",
        ]
    );
    let lines: Vec<usize> = loaded.places.iter().map(|place| place.line).collect();
    assert_eq!(lines, [1, 12, 17, 34, 47, 51, 56, 66]);
    assert_eq!(loaded.places[5].document, 4);
}

#[test]
fn all_faults_of_a_file_are_reported_with_their_places() {
    let text = "\
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {name: gpu}
spec:
  cluster: a
  instanceType: [p3]
  instanceTypes: [p3]
  min: 4
  max: -1
  leadSeconds: \"90\"
  taints:
  - key: a
    effect: NoSchedul
---
kind: Deployment
metadata: {name: web}
---
a: [
---
apiVersion: berth.dev/v1alpha1
kind: Clustr
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: many
  template:
    spec:
      containers:
      - name: a
        resources: {limits: {cpu: 1x, nvidia.com/gpu: -1}}
";
    assert_eq!(
        faults(text),
        [
            "x.yaml:6 (document 1): NodePool gpu: spec.instanceType: is no known field; did you mean \"instanceTypes\"?",
            "x.yaml:9 (document 1): NodePool gpu: spec.max: -1 is out of range; use a whole number from 0 to 4294967295",
            "x.yaml:10 (document 1): NodePool gpu: spec.leadSeconds: must be a whole number, not the string \"90\"",
            "x.yaml:13 (document 1): NodePool gpu: spec.taints[0].effect: \"NoSchedul\" is not allowed; did you mean \"NoSchedule\"? Allowed are: NoSchedule, PreferNoSchedule, NoExecute",
            "x.yaml:15 (document 2): Deployment web: apiVersion: is missing; for example apps/v1",
            "x.yaml:18 (document 3): cannot be read: unclosed bracket '['; check indentation, quotes and brackets there",
            "x.yaml:21 (document 4): Clustr web: kind: \"Clustr\" is no known kind; did you mean \"Cluster\"?",
            "x.yaml:28 (document 5): Deployment shop/web: spec.replicas: \"many\" is no count; use a whole number from 0 to 2147483647",
            "x.yaml:33 (document 5): Deployment shop/web: spec.template.spec.containers[0].resources.limits[\"cpu\"]: \"1x\" is no quantity: write a number with an optional suffix, such as 500m, 2, 1.5Gi or 1e3",
            "x.yaml:33 (document 5): Deployment shop/web: spec.template.spec.containers[0].resources.limits[\"nvidia.com/gpu\"]: -1 is negative: an amount of a resource cannot be below 0",
        ]
    );
}

#[test]
fn nothing_is_accepted_from_a_file_with_a_fault() {
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {}\n";
    assert_eq!(faults(text).len(), 1);
}

#[test]
fn rules_across_fields_are_checked() {
    let fault = |spec: &str| {
        faults(&format!("apiVersion: berth.dev/v1alpha1\nkind: NodePool\nmetadata: {{name: a}}\nspec: {spec}\n"))
    };
    assert!(fault("{cluster: a, instanceTypes: [b], min: 3, max: 2}")[0].contains("spec.max: 2 is below spec.min, 3"));
    assert!(fault("{cluster: a, max: 2}")[0].contains("spec.instanceTypes: is missing"));
    assert!(
        fault("{cluster: a, instanceTypes: [b], max: 1, scaleDown: {utilizationThreshold: 1.5}}")[0]
            .contains("too large")
    );
    assert!(fault("{cluster: a, instanceTypes: [b], max: 1, scaleDown: {coolDown: 5}}")[0].contains("such as 35s"));
}

#[test]
fn the_same_object_twice_is_refused() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n";
    assert!(faults(text)[0].contains("is the same as that of the object at line 1"), "{:?}", faults(text));
}

#[test]
fn empty_parts_and_comments_are_no_documents() {
    let text = "# nothing\n---\n---\n# a\n--- # b\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    y\n...\n---\n";
    let loaded = load("x", text).unwrap();
    assert_eq!(loaded.objects.len(), 1);
    assert_eq!(loaded.places[0].line, 6);
    assert_eq!(load("x", "").unwrap(), Loaded::default());
}

#[test]
fn a_text_that_is_too_large_is_refused() {
    assert!(faults(&" ".repeat(MAX_BYTES + 1))[0].contains("bytes"));
}

#[test]
fn very_many_faults_are_told_in_part_and_cost_little() {
    let labels: String = (0..50_000).map(|number| format!("    k{number}: [not a string]\n")).collect();
    let long = format!("  {}:\n    k: [0]\n", "x".repeat(1000));
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n{long}  labels:\n{labels}");
    let errors = load("x", &text).unwrap_err();
    assert_eq!(errors.len(), MOST_TOLD);
    assert_eq!((errors[0].line, &*errors[0].issue.field), (8, "metadata.labels[\"k0\"]"));
}

#[test]
fn aliases_of_all_documents_count_together() {
    // About a megabyte each once expanded, and far too much together.
    let bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n---\n";
    let errors = faults(&bomb.repeat(1_000));
    assert!(errors.iter().any(|error| error.contains("too large once aliases are expanded")), "{}", errors[0]);
}

#[test]
fn kinds_and_versions_are_names() {
    for (version, kind) in [("v1", "Config Map"), ("v1", "../Secret"), ("a/b/c", "A"), ("/v1", "A"), ("V1", "A")] {
        let text = format!("apiVersion: {version:?}\nkind: {kind:?}\nmetadata: {{name: a}}\n");
        assert!(faults(&text)[0].contains("is no "), "{:?}", faults(&text));
    }
    let long = format!("apiVersion: v1\nkind: \"\\e[2J{}\"\nmetadata: {{name: a}}\n", "A".repeat(100_000));
    let told = &faults(&long)[0];
    assert!(told.len() < 2000 && !told.contains('\u{1b}'), "{told}");
}

proptest! {
    #[test]
    fn loading_random_text_never_panics(text in ".{0,300}") {
        let _ = load("x", &text);
    }

    #[test]
    fn loading_mutated_manifests_never_panics(
        file in 0..FILES.len(), at in 0.0..1.0f64, length in 0usize..40, insert in "[ -~\n]{0,12}",
    ) {
        let text = FILES[file].1;
        let from = (text.len() as f64 * at) as usize;
        let to = (from + length).min(text.len());
        if let (Some(head), Some(tail)) = (text.get(..from), text.get(to..)) {
            let text = format!("{head}{insert}{tail}");
            match load("x", &text) {
                Ok(loaded) => prop_assert_eq!(loaded.objects.len(), loaded.places.len()),
                Err(errors) => prop_assert!(!errors.is_empty() && errors.iter().all(|error| error.line > 0)),
            }
        }
    }
}
