//! A pod specification as a shape: requests summed as Kubernetes sums them, nodes that it accepts, taints it tolerates.
//!
//! The sum is that of the scheduler: init containers run one after another, sidecars (init containers that are restarted
//! always) run beside everything that starts after them, pod-level resources replace the sum where they are given, and
//! the overhead comes on top. A limit without a request is the request, as the API server sets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::fleet::TaintEffect;
use berth_core::resources::{CPU, GPU, GPU_SHARE, MEMORY, PODS};
use berth_core::workload::{Operator, Requirement, Shape, Toleration};
use serde_json::Value;

use super::Reader;
use crate::issue::quoted;
use crate::quantity;

/// What else a pod says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    pub priority: Option<i32>,
    pub priority_class: Option<String>,
}

/// Amounts in thousand-millionths, so that sums are exact and rounded once.
type Sum = BTreeMap<String, u128>;

pub(super) fn read(pod: &Value, at: &str, reader: &mut Reader<'_>) -> (Shape, PodFacts) {
    let sum = pod_requests_at(pod, at, reader);
    let mut requests: BTreeMap<Arc<str>, u64> = sum
        .iter()
        .map(|(name, nano)| (Arc::from(name.as_str()), quantity::base(*nano, name)))
        .filter(|(_, amount)| *amount > 0)
        .collect();
    requests.insert(PODS.into(), 1);
    let gpu_share = share(&mut requests, at, reader);
    let shape = Shape { requests, gpu_share, nodes: nodes(pod, at, reader), tolerations: tolerations(pod, at, reader) };
    let text = |field: &str| pod.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let priority = pod.get("priority").and_then(Value::as_i64).and_then(|priority| i32::try_from(priority).ok());
    (shape, PodFacts { priority, priority_class: text("priorityClassName") })
}

/// Takes the share of a GPU out of the requests.
fn share(requests: &mut BTreeMap<Arc<str>, u64>, at: &str, reader: &mut Reader<'_>) -> u16 {
    let Some(milli) = requests.remove(GPU_SHARE) else { return 0 };
    if milli > 999 {
        let mend = format!("use 1 to 999 thousandths, or ask for whole GPUs as {GPU}");
        reader.issue(at, format!("requests {milli} of {GPU_SHARE}"), mend);
    } else if requests.contains_key(GPU) {
        reader.issue(at, format!("requests both {GPU} and {GPU_SHARE}"), "ask for whole GPUs or for a share of one");
    }
    u16::try_from(milli.min(999)).unwrap_or(999)
}

/// What one pod requests, in base units, without the one of `pods`. Faults in quantities are left out.
pub fn pod_requests(pod: &Value) -> BTreeMap<String, u64> {
    let mut issues = Vec::new();
    let sum = pod_requests_at(pod, "", &mut Reader { issues: &mut issues });
    sum.into_iter()
        .map(|(name, nano)| {
            let amount = quantity::base(nano, &name);
            (name, amount)
        })
        .collect()
}

fn pod_requests_at(pod: &Value, at: &str, reader: &mut Reader<'_>) -> Sum {
    let mut sum = Sum::new();
    let containers = list(pod, "containers", at, reader);
    if containers.is_empty() {
        reader.issue(crate::issue::join(at, "containers"), "is missing", "a pod needs at least one container");
    }
    for (container, at) in containers {
        add(&mut sum, &container_requests(container, &at, reader));
    }
    let mut sidecars = Sum::new();
    let mut highest = Sum::new();
    for (container, at) in list(pod, "initContainers", at, reader) {
        let mut requests = container_requests(container, &at, reader);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut sum, &requests);
            add(&mut sidecars, &requests);
            requests = sidecars.clone();
        } else {
            add(&mut requests, &sidecars);
        }
        raise(&mut highest, &requests);
    }
    raise(&mut sum, &highest);
    if let Some(resources) = pod.get("resources").filter(|resources| !resources.is_null()) {
        pod_level(&mut sum, resources, &crate::issue::join(at, "resources"), reader);
    }
    if let Some(overhead) = pod.get("overhead") {
        let overhead = amounts(overhead, &crate::issue::join(at, "overhead"), reader);
        add(&mut sum, &overhead);
    }
    sum
}

/// Requests of a whole pod take the place of the sum, for the resources that they may name. Where only a limit is given, it
/// is the request unless a container requests something.
fn pod_level(sum: &mut Sum, resources: &Value, at: &str, reader: &mut Reader<'_>) {
    let supported = |name: &str| name == CPU || name == MEMORY || name.starts_with("hugepages-");
    let mut part = |field: &str| {
        resources.get(field).map(|value| amounts(value, &format!("{at}.{field}"), reader)).unwrap_or_default()
    };
    let (requests, limits) = (part("requests"), part("limits"));
    for (name, limit) in limits.into_iter().filter(|(name, _)| supported(name)) {
        sum.entry(name).or_insert(limit);
    }
    for (name, request) in requests.into_iter().filter(|(name, _)| supported(name)) {
        sum.insert(name, request);
    }
}

fn list<'a>(pod: &'a Value, field: &str, at: &str, reader: &mut Reader<'_>) -> Vec<(&'a Value, String)> {
    let at = crate::issue::join(at, field);
    match pod.get(field) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => {
            items.iter().enumerate().map(|(index, item)| (item, format!("{at}[{index}]"))).collect()
        }
        Some(_) => {
            reader.issue(at, "must be a list", "begin each entry with a dash");
            Vec::new()
        }
    }
}

fn container_requests(container: &Value, at: &str, reader: &mut Reader<'_>) -> Sum {
    let Some(resources) = container.get("resources") else { return Sum::new() };
    let mut part = |field: &str| {
        resources.get(field).map(|value| amounts(value, &format!("{at}.resources.{field}"), reader)).unwrap_or_default()
    };
    let (mut requests, limits) = (part("requests"), part("limits"));
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
    requests
}

fn amounts(value: &Value, at: &str, reader: &mut Reader<'_>) -> Sum {
    let mut sum = Sum::new();
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                match quantity::from_value(value) {
                    Ok(quantity) => {
                        sum.insert(name.clone(), quantity.nano());
                    }
                    Err(error) => reader.issue(format!("{at}[{name:?}]"), format!("{} {error}", quoted(value)), ""),
                }
            }
        }
        _ => reader.issue(at, "must be a mapping from resources to quantities", ""),
    }
    sum
}

fn add(sum: &mut Sum, other: &Sum) {
    for (name, amount) in other {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
}

fn raise(sum: &mut Sum, other: &Sum) {
    for (name, amount) in other {
        let entry = sum.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

/// `nodeSelector` multiplied into the alternatives of the required node affinity.
fn nodes(pod: &Value, at: &str, reader: &mut Reader<'_>) -> Vec<Vec<Requirement>> {
    let mut selector = Vec::new();
    match pod.get("nodeSelector") {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(value) => selector.push(Requirement {
                        key: key.as_str().into(),
                        operator: Operator::In,
                        values: vec![value.into()],
                    }),
                    None => {
                        let problem = format!("must be a string, not {}", quoted(value));
                        reader.issue(format!("{at}.nodeSelector[{key:?}]"), problem, "write it in quotes");
                    }
                }
            }
        }
        Some(_) => reader.issue(format!("{at}.nodeSelector"), "must be a mapping from labels to values", ""),
    }
    let terms = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let at = format!("{at}{}", terms.replace('/', "."));
    let alternatives: Vec<Vec<Requirement>> = match pod.pointer(terms) {
        None | Some(Value::Null) if selector.is_empty() => Vec::new(),
        None | Some(Value::Null) => vec![selector],
        Some(Value::Array(terms)) => {
            let mut alternatives: Vec<Vec<Requirement>> = terms
                .iter()
                .enumerate()
                .map(|(index, term)| term_requirements(term, &format!("{at}[{index}]"), reader))
                .filter(|term| !term.is_empty())
                .map(|term| selector.iter().cloned().chain(term).collect())
                .collect();
            if alternatives.is_empty() {
                // A term without requirements selects no node, and no term is no node either.
                alternatives.push(vec![Requirement { key: "".into(), operator: Operator::In, values: Vec::new() }]);
            }
            alternatives
        }
        Some(_) => {
            reader.issue(at, "must be a list", "begin each entry with a dash");
            Vec::new()
        }
    };
    // In one order, so that shapes which mean the same are the same.
    let sorted = alternatives.into_iter().map(|term| term.into_iter().collect::<BTreeSet<_>>().into_iter().collect());
    sorted.collect::<BTreeSet<Vec<Requirement>>>().into_iter().collect()
}

/// Requirements on labels, and on fields (`metadata.name`), which no pool's nodes have as a label: they hold for no node.
fn term_requirements(term: &Value, at: &str, reader: &mut Reader<'_>) -> Vec<Requirement> {
    let mut requirements = Vec::new();
    for list in ["matchExpressions", "matchFields"] {
        let items = term.get(list).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            let key = item.get("key").and_then(Value::as_str).unwrap_or_default();
            let values = item.get("values").and_then(Value::as_array);
            let values: Vec<Arc<str>> = values.into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect();
            let operator = match item.get("operator").and_then(Value::as_str) {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                Some("Gt") => Operator::Gt,
                Some("Lt") => Operator::Lt,
                _ => {
                    let mend = "use In, NotIn, Exists, DoesNotExist, Gt or Lt";
                    reader.issue(format!("{at}.operator"), "is missing or unknown", mend);
                    continue;
                }
            };
            let wanted = match operator {
                Operator::In | Operator::NotIn => !values.is_empty(),
                Operator::Exists | Operator::DoesNotExist => values.is_empty(),
                Operator::Gt | Operator::Lt => values.len() == 1 && values[0].parse::<i64>().is_ok(),
            };
            if key.is_empty() {
                reader.issue(format!("{at}.key"), "is missing", "name a label");
            }
            if !wanted {
                let mend = "In and NotIn take values, Gt and Lt one whole number, Exists and DoesNotExist none";
                reader.issue(format!("{at}.values"), "do not fit the operator", mend);
            }
            requirements.push(Requirement { key: key.into(), operator, values });
        }
    }
    requirements
}

fn tolerations(pod: &Value, at: &str, reader: &mut Reader<'_>) -> Vec<Toleration> {
    let mut found = BTreeSet::new();
    for (item, at) in list(pod, "tolerations", at, reader) {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        let effect = match text("effect") {
            "" => None,
            "NoSchedule" => Some(TaintEffect::NoSchedule),
            "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
            "NoExecute" => Some(TaintEffect::NoExecute),
            other => {
                let mend = "use NoSchedule, PreferNoSchedule or NoExecute";
                reader.issue(format!("{at}.effect"), format!("{other:?} is no effect"), mend);
                continue;
            }
        };
        let value = match text("operator") {
            "Exists" => None,
            "" | "Equal" => Some(text("value").into()),
            other => {
                reader.issue(format!("{at}.operator"), format!("{other:?} is no operator"), "use Exists or Equal");
                continue;
            }
        };
        if text("key").is_empty() && value.is_some() {
            let mend = "give a key, or the operator Exists to tolerate everything";
            reader.issue(format!("{at}.key"), "is missing", mend);
        }
        found.insert(Toleration { key: text("key").into(), value, effect });
    }
    found.into_iter().collect()
}
