//! Interpreters of workload kinds: what of a manifest is replicas and requests, and what of a status is health.
//!
//! Three operations for each kind: read the components, write their replicas for one member cluster, and read health from a
//! member's status. Kinds without replicas have no components; custom resources that are not known here are distributed as
//! they are, or refused, as the distribution policy says.

mod batch;
mod pod;
mod simple;
mod spark;

use std::sync::Arc;

use berth_core::ids::ClusterName;
use berth_core::placement::{Placement, Share};
use berth_core::workload::{Component, Shape};
use serde_json::Value;

use crate::issue::{Issue, quoted};
use crate::object::Manifest;

pub use pod::{PodFacts, pod_requests};

/// What Berth makes of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Deployment, StatefulSet, ReplicaSet: `spec.replicas` and one pod template.
    Replicated,
    Job,
    PyTorchJob,
    SparkApplication,
    /// Kubernetes' own kinds without replicas that Berth divides: a DaemonSet, a ConfigMap, a Service.
    Plain,
    /// A custom resource.
    Unknown,
}

impl Kind {
    /// The kind of an object; its version does not matter.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") => Self::Replicated,
            ("batch", "Job") => Self::Job,
            ("kubeflow.org", "PyTorchJob") => Self::PyTorchJob,
            ("sparkoperator.k8s.io", "SparkApplication") => Self::SparkApplication,
            _ if !group.contains('.') || (group.ends_with(".k8s.io") && group != "sparkoperator.k8s.io") => Self::Plain,
            _ => Self::Unknown,
        }
    }

    /// Whether it runs whole, in one cluster, unless the distribution policy says otherwise.
    pub fn is_gang(self) -> bool {
        matches!(self, Self::PyTorchJob | Self::SparkApplication)
    }

    /// Whether it ends by itself.
    pub fn ends(self) -> bool {
        matches!(self, Self::Job | Self::PyTorchJob | Self::SparkApplication)
    }
}

impl Manifest {
    pub fn interpreted_as(&self) -> Kind {
        Kind::of(self.api_version(), self.kind())
    }
}

/// What a manifest asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interpreted {
    /// In a fixed order for each kind; empty for kinds without replicas.
    pub components: Vec<Component>,
    /// `activeDeadlineSeconds` in milliseconds.
    pub limit_ms: Option<u64>,
    /// Of the first component's pods.
    pub priority: Option<i32>,
    pub priority_class: Option<String>,
}

/// Reads what a manifest asks for.
///
/// # Errors
/// Every fault in the fields that Berth reads.
pub fn components(manifest: &Manifest) -> Result<Interpreted, Vec<Issue>> {
    let mut issues = Vec::new();
    let mut reader = Reader { issues: &mut issues };
    let value = manifest.value();
    let interpreted = match manifest.interpreted_as() {
        Kind::Replicated => simple::read(value, &mut reader),
        Kind::Job => batch::read_job(value, &mut reader),
        Kind::PyTorchJob => batch::read_pytorch(value, &mut reader),
        Kind::SparkApplication => spark::read(value, &mut reader),
        Kind::Plain | Kind::Unknown => Interpreted::default(),
    };
    if issues.is_empty() { Ok(interpreted) } else { Err(issues) }
}

/// The part of a workload that one member cluster gets, by component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Replicas here.
    pub replicas: Vec<u32>,
    /// Replicas in the clusters that come before this one by name. Work that is counted, such as a Job's completions, is
    /// divided by it, so that the parts add up to the whole.
    pub before: Vec<u32>,
    /// Replicas in all clusters.
    pub total: Vec<u32>,
}

impl Part {
    /// All of it, as every cluster gets where replicas are duplicated.
    pub fn whole(replicas: Vec<u32>) -> Self {
        Self { before: vec![0; replicas.len()], total: replicas.clone(), replicas }
    }

    /// What `placement` gives to `cluster`. `duplicated` is for rules by which every cluster gets all of the work.
    pub fn of(placement: &Placement, cluster: &ClusterName, components: usize, duplicated: bool) -> Self {
        let sum = |component: usize, which: fn(&ClusterName, &ClusterName) -> bool| {
            let mine = |share: &&Share| share.component as usize == component && which(&share.cluster, cluster);
            placement.shares.iter().filter(mine).fold(0u32, |sum, share| sum.saturating_add(share.replicas))
        };
        let list = |which: fn(&ClusterName, &ClusterName) -> bool| (0..components).map(|c| sum(c, which)).collect();
        let replicas: Vec<u32> = list(|at, here| at == here);
        if duplicated {
            return Self::whole(replicas);
        }
        Self { replicas, before: list(|at, here| at < here), total: list(|_, _| true) }
    }

    fn replicas(&self, component: usize) -> u32 {
        self.replicas.get(component).copied().unwrap_or(0)
    }

    /// This part's share of `count`.
    fn share(&self, component: usize, count: u64) -> u64 {
        let at = |list: &[u32]| u128::from(list.get(component).copied().unwrap_or(0));
        let (here, before, total) = (at(&self.replicas), at(&self.before), at(&self.total));
        if total == 0 {
            return count;
        }
        let up_to = |replicas: u128| u128::from(count) * replicas.min(total) / total;
        u64::try_from(up_to(before + here) - up_to(before)).unwrap_or(count)
    }
}

/// Whether a member's manifest follows from the replicas that it gets alone, whatever others get.
pub fn needs_replicas_alone(kind: Kind) -> bool {
    matches!(kind, Kind::Replicated | Kind::Plain | Kind::Unknown)
}

/// Writes one member's replicas into its manifest. Kinds without replicas stay as they are.
pub fn revise(manifest: &mut Manifest, part: &Part) {
    let kind = manifest.interpreted_as();
    let value = manifest.value_mut();
    match kind {
        Kind::Replicated => set(value, "/spec", "replicas", part.replicas(0).into()),
        Kind::Job => batch::revise_job(value, part),
        Kind::PyTorchJob => batch::revise_pytorch(value, part),
        Kind::SparkApplication => spark::revise(value, part),
        Kind::Plain | Kind::Unknown => {}
    }
}

/// How a workload does at one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Ready replicas by component.
    pub ready: Vec<u32>,
    /// For kinds that end: whether it succeeded.
    pub finished: Option<bool>,
}

/// Reads health from the object as a member's API server has it.
pub fn health(member: &Manifest) -> Health {
    let value = member.value();
    match member.interpreted_as() {
        Kind::Replicated => Health { ready: vec![count(value, "/status/readyReplicas")], finished: None },
        Kind::Job => batch::job_health(value),
        Kind::PyTorchJob => batch::pytorch_health(value),
        Kind::SparkApplication => spark::health(value),
        Kind::Plain | Kind::Unknown => Health::default(),
    }
}

/// JSON pointers to the pod specifications of a manifest, in the order of components.
pub fn pod_specs(manifest: &Manifest) -> Vec<String> {
    match (manifest.interpreted_as(), manifest.kind()) {
        (Kind::Replicated | Kind::Job, _) => vec!["/spec/template/spec".to_owned()],
        (Kind::Plain, "DaemonSet") if manifest.group() == "apps" => vec!["/spec/template/spec".to_owned()],
        (Kind::Plain, "CronJob") => vec!["/spec/jobTemplate/spec/template/spec".to_owned()],
        (Kind::Plain, "Pod") if manifest.group().is_empty() => vec!["/spec".to_owned()],
        (Kind::PyTorchJob, _) => batch::ROLES
            .iter()
            .map(|(role, _)| format!("/spec/pytorchReplicaSpecs/{role}/template/spec"))
            .filter(|pointer| manifest.value().pointer(pointer).is_some())
            .collect(),
        _ => Vec::new(),
    }
}

/// Reads fields and collects what is wrong with them.
struct Reader<'a> {
    issues: &'a mut Vec<Issue>,
}

impl Reader<'_> {
    fn issue(&mut self, field: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) {
        self.issues.push(Issue::new(field, problem, mend));
    }

    /// A count from 0 to 2^31 - 1, as Kubernetes has them; `None` where absent.
    fn count(&mut self, value: &Value, pointer: &str) -> Option<u32> {
        let found = value.pointer(pointer).filter(|value| !value.is_null())?;
        let count =
            found.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count <= i32::MAX as u32);
        if count.is_none() {
            self.issue(
                field(pointer),
                format!("{} is no count", quoted(found)),
                format!("use a whole number from 0 to {}", i32::MAX),
            );
        }
        count
    }

    fn seconds(&mut self, value: &Value, pointer: &str) -> Option<u64> {
        self.count(value, pointer).map(|seconds| u64::from(seconds) * 1_000)
    }

    fn component(&mut self, name: &str, replicas: u32, floor: u32, pod: &Value, at: &str) -> (Component, PodFacts) {
        let (shape, facts) = pod::read(pod, at, self);
        (Component { name: name.into(), replicas, floor, shape: Arc::<Shape>::from(shape) }, facts)
    }
}

/// `/spec/replicas` as `spec.replicas`.
fn field(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn count(value: &Value, pointer: &str) -> u32 {
    value.pointer(pointer).and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

fn set(value: &mut Value, parent: &str, key: &str, new: Value) {
    if let Some(map) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), new);
    }
}

/// Whether `status.conditions` has `kind` with status True.
fn has_condition(value: &Value, kind: &str) -> bool {
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| {
        it.get("type").and_then(Value::as_str) == Some(kind) && it.get("status").and_then(Value::as_str) == Some("True")
    })
}

#[cfg(test)]
mod tests;
