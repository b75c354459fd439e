//! The fleet that the program runs, and the objects that clients write: three small regions in which nodes have to be
//! ordered, stock runs out, clusters are lost for a while, one team has a quota, and gangs start whole or not at all.

use std::fmt;

use serde_json::{Value, json};

/// GPUs that namespace `a` may have.
pub(crate) const QUOTA_GPUS: u32 = 4;
pub(crate) const NAMESPACES: [&str; 2] = ["a", "b"];
pub(crate) const CLUSTERS: [&str; 3] = ["asia", "eu", "us"];
const WORKERS: u32 = 2;

/// What clients write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A Deployment.
    Cpu,
    /// A Deployment whose replicas have a GPU each.
    Gpu,
    /// A PyTorchJob: a master and workers with a GPU each.
    Gang,
    ConfigMap,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Cpu, Kind::Gpu, Kind::Gang, Kind::ConfigMap];

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Cpu | Kind::Gpu => "Deployment",
            Kind::Gang => "PyTorchJob",
            Kind::ConfigMap => "ConfigMap",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu-",
            Kind::Gpu => "gpu-",
            Kind::Gang => "gang-",
            Kind::ConfigMap => "map-",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| name.starts_with(kind.prefix()))
    }

    /// Replicas that an object of this kind may ask for.
    pub(crate) fn replicas(self, drawn: u32) -> u32 {
        match self {
            Kind::Cpu => drawn % 6,
            Kind::Gpu => drawn % 4,
            Kind::Gang => 1 + WORKERS,
            Kind::ConfigMap => 0,
        }
    }

    /// GPUs of one replica.
    pub(crate) fn gpus(self) -> u32 {
        u32::from(matches!(self, Kind::Gpu | Kind::Gang))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    /// Object `number` of client `client`.
    pub(crate) fn new(client: usize, number: u64) -> Self {
        let kind = KINDS[(number % 4) as usize];
        let namespace = NAMESPACES[((number / 4) % 2) as usize].to_owned();
        Self { kind, namespace, name: format!("{}{client}-{number}", kind.prefix()) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// What tells one content of an object from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) replicas: u32,
}

const NUMBER: &str = "crash/number";

pub(crate) fn manifest(name: &Name, version: &Version) -> Value {
    let gpus = name.kind.gpus();
    let limits = if gpus > 0 { json!({ "nvidia.com/gpu": gpus }) } else { json!({}) };
    let resources = json!({ "requests": { "cpu": "500m", "memory": "256Mi" }, "limits": limits });
    let pod = |app: &str| {
        json!({ "metadata": { "labels": { "app": app } },
                "spec": { "containers": [{ "name": "main", "image": "image:1", "resources": resources }] } })
    };
    let metadata = json!({
        "name": name.name, "namespace": name.namespace, "annotations": { NUMBER: version.number.to_string() }
    });
    match name.kind {
        Kind::Cpu | Kind::Gpu => json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": { "replicas": version.replicas, "selector": { "matchLabels": { "app": name.name } },
                      "template": pod(&name.name) },
        }),
        Kind::Gang => json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata,
            "spec": { "pytorchReplicaSpecs": {
                "Master": { "replicas": 1, "template": pod("m") },
                "Worker": { "replicas": WORKERS, "template": pod("w") },
            } },
        }),
        Kind::ConfigMap => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": { "number": version.number.to_string(), "fill": "x".repeat((version.number % 3000) as usize) },
        }),
    }
}

/// Reads back what [`manifest`] made; `None` for objects of the fleet file.
pub(crate) fn read(object: &Value) -> Option<(Name, Result<Version, String>)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let number = object.pointer("/metadata/annotations")?.get(NUMBER)?.as_str()?.parse().ok()?;
    let name = text("/metadata/name")?;
    let kind = Kind::of(name)?;
    let name = Name { kind, namespace: text("/metadata/namespace")?.to_owned(), name: name.to_owned() };
    let replicas = match kind {
        Kind::Cpu | Kind::Gpu => object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1) as u32,
        _ => kind.replicas(0),
    };
    let version = Version { number, replicas };
    // All that a client wrote must be there, whatever else the store added.
    let whole = contains(object, &manifest(&name, &version));
    Some((name, if whole { Ok(version) } else { Err(object.to_string()) }))
}

fn contains(has: &Value, wanted: &Value) -> bool {
    match (has, wanted) {
        (Value::Object(has), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| has.get(key).is_some_and(|has| contains(has, wanted)))
        }
        _ => has == wanted,
    }
}

/// The fleet file. Faults come at times that follow from `seed`.
pub(crate) fn fleet(faults: &str) -> String {
    let mut text = String::new();
    for (at, name) in CLUSTERS.iter().enumerate() {
        text.push_str(&format!(
            "apiVersion: berth.dev/v1alpha1
kind: Cluster
metadata: {{name: {name}}}
spec: {{provider: aws, region: {name}-1, zones: [{name}-1a]}}
---
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {{name: cpu-{name}}}
spec: {{cluster: {name}, instanceTypes: [m5.xlarge], min: 1, max: 5, scaleDown: {{coolDown: 1m, unneeded: 1m}}}}
---
apiVersion: berth.dev/v1alpha1
kind: NodePool
metadata: {{name: gpu-{name}}}
spec: {{cluster: {name}, instanceTypes: [g5.xlarge], min: 0, max: 5, scaleDown: {{coolDown: 1m, unneeded: 1m}}}}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {{name: m5-{name}}}
spec: {{provider: aws, region: {name}-1, zone: {name}-1a, instanceType: m5.xlarge, capacityType: on-demand, price: 0.2, allocatable: {{cpu: \"4\", memory: 8Gi, pods: \"30\"}}}}
---
apiVersion: berth.dev/v1alpha1
kind: Offering
metadata: {{name: g5-{name}}}
spec: {{provider: aws, region: {name}-1, zone: {name}-1a, instanceType: g5.xlarge, capacityType: on-demand, price: {price}, allocatable: {{cpu: \"4\", memory: 16Gi, pods: \"30\", nvidia.com/gpu: 1}}}}
status: {{stock: {{state: Limited, lowerBound: {stock}}}}}
---
",
            price = 1.0 + at as f64 / 10.0,
            stock = 2 + at,
        ));
    }
    text + &format!(
        "apiVersion: berth.dev/v1alpha1
kind: ClusterDistributionPolicy
metadata: {{name: apps}}
spec:
  resourceSelectors: [{{apiVersion: apps/v1, kind: Deployment}}, {{apiVersion: v1, kind: ConfigMap}}]
  placement: {{replicaScheduling: {{replicaSchedulingType: Divided}}}}
  elasticity: {{enabled: true}}
---
apiVersion: berth.dev/v1alpha1
kind: ClusterDistributionPolicy
metadata: {{name: gangs}}
spec:
  resourceSelectors: [{{apiVersion: kubeflow.org/v1, kind: PyTorchJob}}]
  placement: {{replicaScheduling: {{replicaSchedulingType: Divided}}}}
  elasticity: {{enabled: true}}
  gang: true
---
apiVersion: berth.dev/v1alpha1
kind: QuotaTree
metadata: {{name: teams}}
spec:
  root:
    name: root
    children:
    - {{name: a, max: {{nvidia.com/gpu: {QUOTA_GPUS}}}, namespaces: [a]}}
    - {{name: b, namespaces: [b]}}
---
apiVersion: berth.dev/v1alpha1
kind: Simulation
metadata: {{name: crash}}
spec:
  podStart: 2s..20s
  nodeStart: 10s..60s
  faults:
{faults}"
    )
}
