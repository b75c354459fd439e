//! The Alibaba cluster trace of GPU sharing (gpu-v2023) as a fleet and as workloads.
//!
//! One cluster for each GPU model, and one for the nodes without a GPU. Nodes of one size make a pool whose size is fixed.
//! Each task becomes a Job with its requests, its share of a GPU, the models that it allows, and a priority by its class.

use std::collections::{BTreeMap, BTreeSet};

use berth_api::{Issue, Object};
use berth_core::ids::WorkloadKey;
use serde_json::{Value, json};

use crate::manifest::DURATION_ANNOTATION;
use crate::table::{SeriesError, Source, Table};

const GPU_NODES: &str = "openb_node_list_gpu_node.csv";
const ALL_NODES: &str = "openb_node_list_all_node.csv";
const TASKS: &str = "openb_pod_list_default.csv";

const NAMESPACE: &str = "openb";
const MODEL_LABEL: &str = "openb/gpu-model";
const ALLOWED_LABEL: &str = "openb/allowed";
/// Label value of tasks that no GPU is needed for, and of the cluster without GPUs.
const NO_GPU: &str = "none";
/// Label value of tasks that any GPU will do for.
const ANY_GPU: &str = "any";
/// Pods on one node at the most. The trace knows no limit.
const PODS: u32 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Table(#[from] SeriesError),
    /// A row makes no valid object.
    #[error("{object}: {issue}")]
    Object { object: String, issue: Issue },
}

/// The trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Clusters, pools, offerings and distribution policies.
    pub objects: Vec<Object>,
    /// Ascending by arrival.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub name: String,
    pub cpu_milli: u64,
    pub memory_mib: u64,
    pub gpus: u64,
    /// Thousandths of a GPU for a task that shares one, otherwise 0.
    pub gpu_share: u64,
    /// Allowed GPU models joined by `_`, or [`ANY_GPU`], or [`NO_GPU`].
    allowed: String,
    pub priority: i32,
    /// Seconds.
    pub arrives: u64,
    pub runs: u64,
}

/// Nodes of one size: CPU in thousandths, memory in MiB, GPUs.
type Size = (u64, u64, u64);

impl Trace {
    /// Reads the trace from a folder, the first `limit` tasks if one is given.
    ///
    /// # Errors
    /// A file is missing, or a row is not as it should be.
    pub fn read(source: &Source, limit: Option<usize>) -> Result<Self, TraceError> {
        let mut clusters: BTreeMap<String, BTreeMap<Size, u32>> = BTreeMap::new();
        read_nodes(source, GPU_NODES, |model, size| {
            if size.2 > 0 {
                *clusters.entry(model.to_owned()).or_default().entry(size).or_default() += 1;
            }
        })?;
        read_nodes(source, ALL_NODES, |_, size| {
            if size.2 == 0 {
                *clusters.entry(NO_GPU.to_owned()).or_default().entry(size).or_default() += 1;
            }
        })?;
        let mut tasks = read_tasks(source)?;
        tasks.sort_by(|one, other| one.arrives.cmp(&other.arrives).then_with(|| one.name.cmp(&other.name)));
        tasks.truncate(limit.unwrap_or(usize::MAX));
        let mut values: Vec<Value> = clusters.iter().flat_map(|(model, sizes)| cluster(model, sizes)).collect();
        let allowed: BTreeSet<&str> = tasks.iter().map(|task| task.allowed.as_str()).collect();
        values.extend(allowed.into_iter().map(policy));
        let objects: Result<_, _> = values.into_iter().map(parse).collect();
        Ok(Self { objects: objects?, tasks })
    }
}

fn parse(value: Value) -> Result<Object, TraceError> {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Object::parse(value).map(|parsed| parsed.object).map_err(|issues| TraceError::Object {
        object: name,
        issue: issues.into_iter().next().unwrap_or_else(|| Issue::new("", "is not valid", "")),
    })
}

fn read_nodes(source: &Source, file: &str, mut node: impl FnMut(&str, Size)) -> Result<(), TraceError> {
    let text = source.read(file)?;
    let mut table = Table::open(file, &text)?;
    let columns = [table.column("cpu_milli")?, table.column("memory_mib")?, table.column("gpu")?];
    let model = table.column("model")?;
    while let Some(record) = table.next()? {
        let [cpu, memory, gpus] = [0, 1, 2].map(|at| table.whole(&record, columns[at]));
        node(record.cell(model), (cpu?, memory?, gpus?));
    }
    Ok(())
}

fn read_tasks(source: &Source) -> Result<Vec<Task>, TraceError> {
    let text = source.read(TASKS)?;
    let mut table = Table::open(TASKS, &text)?;
    let [name, spec, qos] = ["name", "gpu_spec", "qos"].map(|heading| table.column(heading));
    let (name, spec, qos) = (name?, spec?, qos?);
    let numbers = ["cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time"];
    let numbers: Result<Vec<usize>, SeriesError> = numbers.iter().map(|heading| table.column(heading)).collect();
    let (numbers, scheduled) = (numbers?, table.column("scheduled_time")?);
    let mut tasks = Vec::new();
    while let Some(record) = table.next()? {
        let values: Result<Vec<u64>, SeriesError> = numbers.iter().map(|at| table.whole(&record, *at)).collect();
        let values = values?;
        // A task that was never scheduled there has no time of scheduling; it would have run from its creation on.
        let begun = if record.cell(scheduled).is_empty() { 0 } else { table.whole(&record, scheduled)? };
        let (gpus, milli, arrives, gone) = (values[2], values[3], values[4], values[5]);
        let shares = gpus == 1 && (1..1000).contains(&milli);
        let allowed: BTreeSet<&str> = record.cell(spec).split('|').filter(|model| !model.is_empty()).collect();
        tasks.push(Task {
            name: record.cell(name).to_owned(),
            cpu_milli: values[0],
            memory_mib: values[1],
            gpus: if shares { 0 } else { gpus },
            gpu_share: if shares { milli } else { 0 },
            allowed: match (gpus, allowed.is_empty()) {
                (0, _) => NO_GPU.to_owned(),
                (_, true) => ANY_GPU.to_owned(),
                _ => allowed.into_iter().collect::<Vec<_>>().join("_"),
            },
            priority: priority(record.cell(qos)),
            arrives,
            runs: gone.saturating_sub(begun.max(arrives)),
        });
    }
    Ok(tasks)
}

/// Latency-sensitive and guaranteed before burstable before best-effort.
fn priority(qos: &str) -> i32 {
    match qos {
        "LS" | "Guaranteed" => 1000,
        "Burstable" => 500,
        _ => 0,
    }
}

/// A cluster with its pools and their offerings.
fn cluster(model: &str, sizes: &BTreeMap<Size, u32>) -> Vec<Value> {
    let name = if model == NO_GPU { "cpu".to_owned() } else { model.to_ascii_lowercase() };
    let own = |kind: &str, name: &str, spec: Value| json!({"apiVersion": berth_api::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut values = vec![json!({
        "apiVersion": berth_api::API_VERSION, "kind": "Cluster",
        "metadata": {"name": name, "labels": {MODEL_LABEL: model}},
        "spec": {"provider": "openb", "region": name, "zones": [name]},
    })];
    for ((cpu, memory, gpus), count) in sizes {
        let size = format!("{name}-{cpu}m-{memory}mi-{gpus}gpu");
        let mut allocatable = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi"), "pods": PODS});
        if *gpus > 0 {
            allocatable["nvidia.com/gpu"] = (*gpus).into();
        }
        values.push(own(
            "Offering",
            &size,
            json!({
                "provider": "openb", "region": name, "zone": name, "instanceType": size,
                "capacityType": "reserved", "price": 0, "allocatable": allocatable,
            }),
        ));
        values.push(own(
            "NodePool",
            &size,
            json!({"cluster": name, "instanceTypes": [size], "min": count, "max": count}),
        ));
    }
    values
}

/// The distribution policy of all tasks that allow the same models. Tasks without a GPU prefer the nodes without one.
fn policy(allowed: &str) -> Value {
    let models = |operator: &str, models: Vec<&str>| json!({"labelSelector": {"matchExpressions": [{"key": MODEL_LABEL, "operator": operator, "values": models}]}});
    let mut placement = match allowed {
        NO_GPU => {
            let mut first = models("In", vec![NO_GPU]);
            first["affinityName"] = "without-gpu".into();
            json!({"clusterAffinities": [first, {"affinityName": "any"}]})
        }
        ANY_GPU => json!({"clusterAffinity": models("NotIn", vec![NO_GPU])}),
        listed => json!({"clusterAffinity": models("In", listed.split('_').collect())}),
    };
    placement["replicaScheduling"] =
        json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"});
    json!({
        "apiVersion": berth_api::API_VERSION, "kind": "DistributionPolicy",
        "metadata": {"name": format!("gpu-{}", allowed.to_ascii_lowercase().replace('_', "-")), "namespace": NAMESPACE},
        "spec": {
            "resourceSelectors": [{
                "apiVersion": "batch/v1", "kind": "Job", "labelSelector": {"matchLabels": {ALLOWED_LABEL: allowed}},
            }],
            "placement": placement,
            "elasticity": {"enabled": false},
        },
    })
}

impl Task {
    pub fn key(&self) -> WorkloadKey {
        WorkloadKey::new("batch/v1/Job", NAMESPACE, &self.name)
    }

    /// The task as a Job.
    ///
    /// # Errors
    /// Its name or an amount is not valid.
    pub fn object(&self) -> Result<Object, TraceError> {
        let mut requests = json!({"cpu": format!("{}m", self.cpu_milli), "memory": format!("{}Mi", self.memory_mib)});
        if self.gpus > 0 {
            requests["nvidia.com/gpu"] = self.gpus.into();
        }
        if self.gpu_share > 0 {
            requests[berth_core::resources::GPU_SHARE] = self.gpu_share.into();
        }
        parse(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": self.name, "namespace": NAMESPACE, "labels": {ALLOWED_LABEL: self.allowed},
                "annotations": {DURATION_ANNOTATION: format!("{}s", self.runs)},
            },
            "spec": {"parallelism": 1, "completions": 1, "template": {"spec": {
                "priority": self.priority, "restartPolicy": "Never",
                "containers": [{"name": "task", "image": "openb/task", "resources": {"requests": requests, "limits": requests}}],
            }}},
        }))
    }
}
