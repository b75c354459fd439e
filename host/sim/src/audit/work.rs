//! What a manifest asks for, read straight from its JSON: how many replicas of which size, and from when on it may start.

use std::collections::BTreeMap;

use berth_api::quantity::{base, from_value};
use berth_control::ports::{ObjectKey, Revision};
use serde_json::Value;

/// Amounts by resource, in the base units of the project.
pub(super) type Amounts = BTreeMap<String, u64>;

const SHARE: &str = "berth.dev/gpu-milli";
/// Replicas of these run whole, in one cluster, unless a policy says otherwise.
const GANGS: [&str; 2] = ["PyTorchJob", "SparkApplication"];

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Component {
    pub(super) replicas: u64,
    /// Below which the workload does not start.
    pub(super) floor: u64,
    /// Of one replica, one of `pods` among them, without shares of GPUs. `None` where it is not known how to read it.
    pub(super) requests: Option<Amounts>,
    /// Thousandths of one GPU, or 0.
    pub(super) share: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Of the manifest.
    pub(super) revision: Revision,
    /// When the size of any replica changed last.
    pub(super) resized: Revision,
    pub(super) components: Vec<Component>,
    pub(super) is_gang_kind: bool,
}

impl Work {
    /// `known` is what it was before.
    pub(super) fn read(
        key: &ObjectKey,
        revision: Revision,
        bytes: &[u8],
        known: Option<&Work>,
    ) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(bytes)?;
        let (api_version, kind) = key.kind.rsplit_once('/').unwrap_or(("", &key.kind));
        let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
        let labels =
            labels.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.into())));
        let components = components(kind, &value);
        let sizes = |list: &[Component]| -> Vec<(Option<Amounts>, u64)> {
            list.iter().map(|one| (one.requests.clone(), one.share)).collect()
        };
        let same = known.filter(|known| sizes(&known.components) == sizes(&components));
        Ok(Self {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            labels: labels.collect(),
            revision,
            resized: same.map_or(revision, |known| known.resized),
            components,
            is_gang_kind: GANGS.contains(&kind),
        })
    }
}

/// Replicas by component as a member runs them, whatever is to be completed.
pub(super) fn replicas(kind: &str, value: &Value) -> Vec<u64> {
    match kind {
        "Job" => vec![count(value, "/spec/parallelism").unwrap_or(1)],
        _ => components(kind, value).iter().map(|component| component.replicas).collect(),
    }
}

/// Replicas and sizes of a manifest, in the order in which the project numbers components.
pub(super) fn components(kind: &str, value: &Value) -> Vec<Component> {
    match kind {
        "Deployment" | "StatefulSet" | "ReplicaSet" => {
            let replicas = count(value, "/spec/replicas").unwrap_or(1);
            vec![component(replicas, 0, value.pointer("/spec/template/spec"))]
        }
        "Job" => {
            let parallel = count(value, "/spec/parallelism").unwrap_or(1);
            let most = count(value, "/spec/completions").unwrap_or(u64::MAX);
            let suspended = value.pointer("/spec/suspend") == Some(&Value::Bool(true));
            let replicas = if suspended { 0 } else { parallel.min(most) };
            vec![component(replicas, 0, value.pointer("/spec/template/spec"))]
        }
        "PyTorchJob" => pytorch(value),
        "SparkApplication" => {
            let executors = count(value, "/spec/executor/instances").unwrap_or(1);
            let elastic = value.pointer("/spec/dynamicAllocation/enabled") == Some(&Value::Bool(true));
            let floor = if elastic { 1 } else { executors };
            // Their sizes are computed by Spark; they are left to whoever knows how.
            vec![
                Component { replicas: 1, floor: 1, requests: None, share: 0 },
                Component { replicas: executors, floor, requests: None, share: 0 },
            ]
        }
        _ => Vec::new(),
    }
}

fn pytorch(value: &Value) -> Vec<Component> {
    let suspended = value.pointer("/spec/runPolicy/suspend") == Some(&Value::Bool(true));
    let least = count(value, "/spec/elasticPolicy/minReplicas");
    let mut components = Vec::new();
    for role in ["Master", "Worker"] {
        let Some(spec) = value.pointer(&format!("/spec/pytorchReplicaSpecs/{role}")) else { continue };
        let replicas = if suspended { 0 } else { count(spec, "/replicas").unwrap_or(1) };
        let floor = match least {
            Some(least) if role == "Worker" => least.max(1).min(replicas),
            _ => replicas,
        };
        components.push(component(replicas, floor, spec.pointer("/template/spec")));
    }
    components
}

fn count(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

fn component(replicas: u64, floor: u64, pod: Option<&Value>) -> Component {
    let (requests, share) = pod.and_then(size).map_or((None, 0), |(requests, share)| (Some(requests), share));
    Component { replicas, floor, requests, share }
}

/// What one pod asks for; `None` where something in it is not read here (init containers, pod-level resources, overhead).
fn size(pod: &Value) -> Option<(Amounts, u64)> {
    let given = |field: &str| pod.get(field).is_some_and(|value| !value.is_null());
    if ["initContainers", "resources", "overhead"].iter().any(|field| given(field)) {
        return None;
    }
    let mut nanos: BTreeMap<String, u128> = BTreeMap::new();
    for container in pod.get("containers").and_then(Value::as_array)? {
        let mut asks: BTreeMap<&String, &Value> = BTreeMap::new();
        // A limit without a request is the request.
        for field in ["limits", "requests"] {
            let listed = container.pointer(&format!("/resources/{field}")).and_then(Value::as_object);
            asks.extend(listed.into_iter().flatten());
        }
        for (name, amount) in asks {
            *nanos.entry(name.clone()).or_default() += from_value(amount).ok()?.nano();
        }
    }
    let mut amounts: Amounts = nanos.iter().map(|(name, nano)| (name.clone(), base(*nano, name))).collect();
    let share = amounts.remove(SHARE).unwrap_or(0);
    amounts.insert("pods".to_owned(), 1);
    amounts.retain(|_, amount| *amount > 0);
    Some((amounts, share))
}
