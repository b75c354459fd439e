//! Requests against sums worked out by hand; replicas and health of every kind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Object, load};

fn manifest(value: Value) -> Manifest {
    Manifest::parse(value).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

fn file(text: &str) -> Manifest {
    let loaded = load("x", text).unwrap();
    let first = loaded.objects.into_iter().next().unwrap();
    let Object::Manifest(manifest) = first else { panic!("no manifest") };
    manifest
}

fn read(manifest: &Manifest) -> Interpreted {
    components(manifest).unwrap()
}

fn requests(component: &Component) -> Vec<(String, u64)> {
    component.shape.requests.iter().map(|(name, amount)| (name.to_string(), *amount)).collect()
}

fn sum(pod: Value) -> Vec<(String, u64)> {
    pod_requests(&pod).into_iter().collect()
}

fn of(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
}

fn container(requests: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests}})
}

fn sidecar(requests: Value) -> Value {
    json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": requests}})
}

#[test]
fn containers_add_up_and_init_containers_do_not() {
    let pod = json!({
        "containers": [container(json!({"cpu": "100m", "memory": "1Gi"})), container(json!({"cpu": 1}))],
        "initContainers": [container(json!({"cpu": "1500m"})), container(json!({"cpu": "1", "memory": "3Gi"}))],
    });
    assert_eq!(sum(pod), of(&[("cpu", 1500), ("memory", 3 << 30)]));
}

#[test]
fn sidecars_run_beside_what_starts_after_them() {
    // init 1 alone 2; sidecar 1; init 2 beside the sidecar 1 + 3; containers beside it 1 + 2.
    let pod = json!({
        "containers": [container(json!({"cpu": "2"}))],
        "initContainers": [container(json!({"cpu": "2"})), sidecar(json!({"cpu": "1"})), container(json!({"cpu": "3"}))],
    });
    assert_eq!(sum(pod), of(&[("cpu", 4000)]));
    // Two sidecars before an init container: 1 + 1 + 1 against containers 1 + 1 + 2.
    let pod = json!({
        "containers": [container(json!({"cpu": "2"}))],
        "initContainers": [sidecar(json!({"cpu": "1"})), sidecar(json!({"cpu": "1"})), container(json!({"cpu": "1"}))],
    });
    assert_eq!(sum(pod), of(&[("cpu", 4000)]));
}

#[test]
fn overhead_comes_on_top_and_limits_stand_in_for_requests() {
    let pod = json!({
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "2", "nvidia.com/gpu": 1}, "requests": {"cpu": "500m"}}}],
        "overhead": {"cpu": "250m", "memory": "120Mi"},
    });
    assert_eq!(sum(pod), of(&[("cpu", 750), ("memory", 120 << 20), ("nvidia.com/gpu", 1)]));
}

#[test]
fn pod_level_resources_replace_the_sum() {
    let containers = json!([container(json!({"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 2}))]);
    let pod = json!({"containers": containers, "resources": {"requests": {"cpu": "3", "nvidia.com/gpu": 5}}, "overhead": {"cpu": "1"}});
    assert_eq!(sum(pod), of(&[("cpu", 4000), ("memory", 1 << 30), ("nvidia.com/gpu", 2)]));
    // A limit alone is the request only where no container requests something.
    let pod = json!({"containers": containers, "resources": {"limits": {"cpu": "8", "hugepages-2Mi": "4Mi"}}});
    assert_eq!(sum(pod), of(&[("cpu", 1000), ("hugepages-2Mi", 4 << 20), ("memory", 1 << 30), ("nvidia.com/gpu", 2)]));
}

#[test]
fn sums_are_rounded_once() {
    let pod = json!({"containers": vec![container(json!({"cpu": "0.1m", "x/y": "100m"})); 10]});
    assert_eq!(sum(pod), of(&[("cpu", 1), ("x/y", 1)]));
}

fn deployment(pod: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"spec": pod}}})
}

#[test]
fn a_vllm_deployment_is_read() {
    let manifest = file(include_str!("../../testdata/vllm-qwen3.yaml"));
    let interpreted = read(&manifest);
    let [main] = &interpreted.components[..] else { panic!("one component") };
    assert_eq!((main.name.as_str(), main.replicas, main.floor), ("main", 2, 0));
    assert_eq!(requests(main), of(&[("cpu", 4000), ("memory", 24 << 30), ("nvidia.com/gpu", 1), ("pods", 1)]));
    assert_eq!(main.shape.nodes.len(), 1);
    assert_eq!(&*main.shape.nodes[0][0].key, "berth.dev/node-pool");
    assert_eq!(main.shape.tolerations[0].value, None);
}

#[test]
fn shares_of_a_gpu_are_no_amount() {
    let pod = |requests: Value| deployment(json!({"containers": [container(requests)]}));
    let shape = read(&manifest(pod(json!({"berth.dev/gpu-milli": 460})))).components[0].shape.clone();
    assert_eq!((shape.gpu_share, shape.requests.len()), (460, 1));
    for bad in [json!({"berth.dev/gpu-milli": 1000}), json!({"berth.dev/gpu-milli": 1, "nvidia.com/gpu": 1})] {
        assert_eq!(Manifest::parse(pod(bad)).unwrap_err().len(), 1);
    }
}

#[test]
fn node_selector_and_affinity_multiply() {
    let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    let pod = |terms: Value| {
        deployment(json!({
            "containers": [container(json!({}))],
            "nodeSelector": {"a": "b"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
        }))
    };
    let nodes = |terms: Value| read(&manifest(pod(terms))).components[0].shape.nodes.clone();
    let found = nodes(json!([term("x"), term("y"), {}]));
    let keys: Vec<Vec<&str>> = found.iter().map(|all| all.iter().map(|one| &*one.key).collect()).collect();
    assert_eq!(keys, [["a", "x"], ["a", "y"]]);
    // Terms that select nothing leave no node.
    let never = nodes(json!([{}]));
    assert!(never.len() == 1 && !never[0][0].holds(Some("x")) && !never[0][0].holds(None));
    let bad = json!([{"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Is"}]}]);
    let fields: Vec<String> = Manifest::parse(pod(bad)).unwrap_err().into_iter().map(|issue| issue.field).collect();
    assert!(fields[0].ends_with("nodeSelectorTerms[0].matchExpressions[0].values"), "{fields:?}");
    assert!(fields[1].ends_with("matchExpressions[1].operator"), "{fields:?}");
}

#[test]
fn a_job_runs_as_many_pods_as_it_can_use() {
    let job = |spec: Value| {
        let mut value = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec});
        value["spec"]["template"] = json!({"spec": {"containers": [container(json!({"cpu": 1}))]}});
        manifest(value)
    };
    let replicas = |spec: Value| read(&job(spec)).components[0].replicas;
    assert_eq!(replicas(json!({})), 1);
    assert_eq!(replicas(json!({"parallelism": 5})), 5);
    assert_eq!(replicas(json!({"parallelism": 5, "completions": 3})), 3);
    assert_eq!(replicas(json!({"parallelism": 5, "suspend": true})), 0);
    assert_eq!(read(&job(json!({"activeDeadlineSeconds": 60}))).limit_ms, Some(60_000));
    // 10 completions over clusters with 3, 2 and 1 pods: parts of 5, 3 and 2.
    let parts: Vec<(u64, u64)> = [(3, 0), (2, 3), (1, 5)]
        .into_iter()
        .map(|(here, before)| {
            let mut job = job(json!({"parallelism": 6, "completions": 10}));
            revise(&mut job, &Part { replicas: vec![here], before: vec![before], total: vec![6] });
            let at = |pointer: &str| job.value().pointer(pointer).and_then(Value::as_u64).unwrap();
            (at("/spec/parallelism"), at("/spec/completions"))
        })
        .collect();
    assert_eq!(parts, [(3, 5), (2, 3), (1, 2)]);
}

#[test]
fn a_pytorch_job_is_a_gang() {
    let mut job = file(include_str!("../../testdata/pytorchjob.yaml"));
    let interpreted = read(&job);
    let found: Vec<(&str, u32, u32)> =
        interpreted.components.iter().map(|one| (one.name.as_str(), one.replicas, one.floor)).collect();
    assert_eq!(found, [("master", 1, 1), ("worker", 3, 3)]);
    assert_eq!(interpreted.limit_ms, Some(3_600_000));
    assert_eq!(
        requests(&interpreted.components[1]),
        of(&[("cpu", 8000), ("memory", 32 << 30), ("nvidia.com/gpu", 2), ("pods", 1)])
    );
    job.value_mut()["spec"]["elasticPolicy"] = json!({"minReplicas": 2, "maxReplicas": 3});
    assert_eq!(read(&job).components[1].floor, 2);
    revise(&mut job, &Part::whole(vec![1, 2]));
    assert_eq!(read(&job).components[1].replicas, 2);
    job.value_mut()["status"] = json!({
        "replicaStatuses": {"Master": {"active": 1}, "Worker": {"active": 2}},
        "conditions": [{"type": "Succeeded", "status": "False"}],
    });
    assert_eq!(health(&job), Health { ready: vec![1, 2], finished: None });
    job.value_mut()["status"]["conditions"] = json!([{"type": "Failed", "status": "True"}]);
    assert_eq!(health(&job).finished, Some(false));
    job.value_mut()["spec"]["pytorchReplicaSpecs"]["Chief"] = json!({});
    assert_eq!(components(&job).unwrap_err()[0].field, "spec.pytorchReplicaSpecs.Chief");
}

#[test]
fn spark_pods_are_as_spark_makes_them() {
    let mut app = file(include_str!("../../testdata/spark-pi.yaml"));
    let interpreted = read(&app);
    let found: Vec<(&str, u32, u32)> =
        interpreted.components.iter().map(|one| (one.name.as_str(), one.replicas, one.floor)).collect();
    assert_eq!(found, [("driver", 1, 1), ("executor", 2, 2)]);
    // 512 MiB and at least 384 on top; 8 GiB and a tenth on top, truncated to whole MiB.
    assert_eq!(requests(&interpreted.components[0]), of(&[("cpu", 1000), ("memory", (512 + 384) << 20), ("pods", 1)]));
    assert_eq!(requests(&interpreted.components[1]), of(&[("cpu", 1000), ("memory", (8192 + 819) << 20), ("pods", 1)]));

    let executor = |app: &Manifest| requests(&read(app).components[1]);
    app.value_mut()["spec"]["type"] = json!("Python");
    assert_eq!(executor(&app)[1].1, (8192 + 3276) << 20);
    app.value_mut()["spec"]["executor"]["memoryOverhead"] = json!("1g");
    app.value_mut()["spec"]["executor"]["coreRequest"] = json!("500m");
    app.value_mut()["spec"]["executor"]["gpu"] = json!({"name": "nvidia.com/gpu", "quantity": 1});
    assert_eq!(executor(&app), of(&[("cpu", 500), ("memory", 9 << 30), ("nvidia.com/gpu", 1), ("pods", 1)]));

    app.value_mut()["spec"]["dynamicAllocation"] =
        json!({"enabled": true, "minExecutors": 1, "initialExecutors": 3, "maxExecutors": 5});
    let component = &read(&app).components[1];
    assert_eq!((component.replicas, component.floor), (3, 1));
    revise(&mut app, &Part::whole(vec![1, 2]));
    assert_eq!(app.value()["spec"]["dynamicAllocation"]["maxExecutors"], 2);
    app.value_mut()["status"] =
        json!({"applicationState": {"state": "RUNNING"}, "executorState": {"a": "RUNNING", "b": "PENDING"}});
    assert_eq!(health(&app), Health { ready: vec![1, 1], finished: None });
    app.value_mut()["spec"]["executor"]["memory"] = json!("much");
    assert_eq!(components(&app).unwrap_err()[0].field, "spec.executor.memory");
}

#[test]
fn replicated_kinds_are_revised_and_report_health() {
    let mut value = deployment(json!({"containers": [container(json!({}))]}));
    value["status"] = json!({"readyReplicas": 2});
    let mut manifest = manifest(value);
    revise(&mut manifest, &Part::whole(vec![7]));
    assert_eq!(manifest.value()["spec"]["replicas"], 7);
    assert_eq!(health(&manifest), Health { ready: vec![2], finished: None });
}

#[test]
fn parts_come_from_placements() {
    let share = |component, cluster: &str, pool: &str, replicas| Share {
        component,
        cluster: cluster.into(),
        pool: pool.into(),
        replicas,
    };
    let placement = Placement {
        workload: berth_core::ids::WorkloadKey::new("batch/v1/Job", "default", "a"),
        workload_generation: 1,
        plan: berth_core::ids::PlanId(1),
        decided_at: berth_core::ids::Millis(0),
        policy: berth_core::placement::PolicyRef { name: "a".into(), version: "1".into(), digest: "native".into() },
        shares: vec![share(0, "a", "p", 2), share(0, "b", "p", 1), share(0, "b", "q", 3), share(1, "b", "p", 4)],
        clusters: vec!["a".into(), "b".into()],
    };
    let part = Part::of(&placement, &"b".into(), 2, false);
    assert_eq!(part, Part { replicas: vec![4, 4], before: vec![2, 0], total: vec![6, 4] });
    assert_eq!(Part::of(&placement, &"b".into(), 2, true), Part::whole(vec![4, 4]));
    assert_eq!(Part::of(&placement, &"c".into(), 1, false).replicas, [0]);
    let resource = crate::resources::Placement::of(&placement);
    assert_eq!(resource.metadata.name, "a.job.batch");
    assert_eq!(Placement::from(&resource.spec), placement);
    let object = Object::Placement(resource);
    assert_eq!(Object::from_json(&object.to_json()).unwrap(), object);
}

#[test]
fn kinds_are_known_by_their_group() {
    let kinds = [
        ("apps/v1", "StatefulSet", Kind::Replicated),
        ("v1", "ConfigMap", Kind::Plain),
        ("apps/v1", "DaemonSet", Kind::Plain),
        ("networking.k8s.io/v1", "Ingress", Kind::Plain),
        ("example.com/v1", "Deployment", Kind::Unknown),
        ("sparkoperator.k8s.io/v1beta2", "ScheduledSparkApplication", Kind::Unknown),
    ];
    for (api_version, kind, expected) in kinds {
        assert_eq!(Kind::of(api_version, kind), expected, "{api_version} {kind}");
    }
}

proptest! {
    /// The parts of a Job's completions add up to the whole, however its pods are divided.
    #[test]
    fn parts_of_a_count_add_up(replicas in proptest::collection::vec(0u32..50, 1..8), count in 0u64..10_000) {
        let total: u32 = replicas.iter().sum();
        prop_assume!(total > 0);
        let mut before = 0;
        let mut sum = 0;
        for here in replicas {
            let part = Part { replicas: vec![here], before: vec![before], total: vec![total] };
            sum += part.share(0, count);
            before += here;
        }
        prop_assert_eq!(sum, count);
    }
}
