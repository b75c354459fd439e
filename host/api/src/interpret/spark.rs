//! SparkApplication of the Spark operator: one driver and a number of executors.
//!
//! Spark makes the pods itself, so their requests are computed here as Spark computes them: memory plus an overhead that is
//! given, or a factor of the memory (0.1; 0.4 for Python and R) but at least 384 MiB. A field of the specification goes
//! before the entry of `sparkConf` that it stands for.

use serde_json::{Map, Value, json};

use super::{Health, Interpreted, Part, PodFacts, Reader, count, set};
use crate::quantity::Quantity;

const MIB: u64 = 1 << 20;
const LEAST_OVERHEAD_MIB: u64 = 384;

pub(super) fn read(value: &Value, reader: &mut Reader<'_>) -> Interpreted {
    for role in ["driver", "executor"] {
        if !value.pointer(&format!("/spec/{role}")).is_some_and(Value::is_object) {
            reader.issue(format!("spec.{role}"), "is missing", "say what its pods need, at least cores and memory");
        }
    }
    let driver = pod(value, "driver", reader);
    let executor = pod(value, "executor", reader);
    let (replicas, floor) = executors(value, reader);
    let (driver, facts) = reader.component("driver", 1, 1, &driver, "spec.driver");
    let (executor, _) = reader.component("executor", replicas, floor, &executor, "spec.executor");
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let PodFacts { priority, priority_class } = facts;
    Interpreted {
        components: vec![driver, executor],
        limit_ms: None,
        priority,
        priority_class: text("/spec/driver/priorityClassName")
            .or_else(|| text("/spec/batchSchedulerOptions/priorityClassName"))
            .or(priority_class),
    }
}

/// Executors to begin with, and those below which the application does not start.
fn executors(value: &Value, reader: &mut Reader<'_>) -> (u32, u32) {
    let instances = reader
        .count(value, "/spec/executor/instances")
        .or_else(|| conf(value, "spark.executor.instances").and_then(|text| text.parse().ok()));
    if value.pointer("/spec/dynamicAllocation/enabled") != Some(&Value::Bool(true)) {
        let instances = instances.unwrap_or(1);
        return (instances, instances);
    }
    let least = reader.count(value, "/spec/dynamicAllocation/minExecutors").unwrap_or(0);
    let initial = reader.count(value, "/spec/dynamicAllocation/initialExecutors");
    let most = reader.count(value, "/spec/dynamicAllocation/maxExecutors").unwrap_or(u32::MAX);
    let replicas = initial.unwrap_or(0).max(instances.unwrap_or(0)).max(least).max(1).min(most);
    (replicas, least.max(1).min(replicas))
}

fn conf<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.pointer("/spec/sparkConf")?.get(key)?.as_str()
}

/// A pod as Spark makes it for `role`, with what is needed to sum its requests and choose its nodes.
fn pod(value: &Value, role: &str, reader: &mut Reader<'_>) -> Value {
    let spec = value.pointer(&format!("/spec/{role}")).cloned().unwrap_or_default();
    let at = format!("spec.{role}");
    let mut requests = Map::new();
    requests.insert("cpu".to_owned(), cores(value, &spec, role));
    let memory = memory(value, &spec, role, &at, reader);
    requests.insert("memory".to_owned(), Quantity::whole(memory).as_str().into());
    if let Some(gpu) = spec.get("gpu").filter(|gpu| !gpu.is_null()) {
        match (gpu.get("name").and_then(Value::as_str), gpu.get("quantity").and_then(Value::as_u64)) {
            (Some(name), Some(quantity)) => {
                requests.insert(name.to_owned(), quantity.into());
            }
            _ => reader.issue(format!("{at}.gpu"), "is incomplete", "give name, such as nvidia.com/gpu, and quantity"),
        }
    }
    let mut containers = vec![json!({"name": role, "resources": {"requests": requests}})];
    containers.extend(spec.get("sidecars").and_then(Value::as_array).cloned().unwrap_or_default());
    let mut pod = json!({"containers": containers});
    for field in ["initContainers", "affinity", "tolerations", "nodeSelector", "priorityClassName"] {
        let template = spec.pointer(&format!("/template/spec/{field}"));
        let shared = value.pointer(&format!("/spec/{field}")).filter(|_| field == "nodeSelector");
        if let Some(found) = spec.get(field).or(template).or(shared).filter(|found| !found.is_null()) {
            pod[field] = found.clone();
        }
    }
    pod
}

/// `coreRequest` where it is given, otherwise `cores`, otherwise 1.
fn cores(value: &Value, spec: &Value, role: &str) -> Value {
    let given = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    given(spec.get("coreRequest"))
        .or_else(|| conf(value, &format!("spark.kubernetes.{role}.request.cores")).map(Value::from))
        .or_else(|| given(spec.get("cores")))
        .or_else(|| conf(value, &format!("spark.{role}.cores")).map(Value::from))
        .unwrap_or_else(|| 1.into())
}

/// Bytes of memory that the pod requests.
fn memory(value: &Value, spec: &Value, role: &str, at: &str, reader: &mut Reader<'_>) -> u64 {
    let mut size = |field: &str, key: &str| -> Option<u64> {
        let (text, field) = match spec.get(field).filter(|value| !value.is_null()) {
            Some(found) => (found.as_str().map_or_else(|| found.to_string(), str::to_owned), format!("{at}.{field}")),
            None => (conf(value, key)?.to_owned(), format!("spec.sparkConf[{key:?}]")),
        };
        let mib = java_mib(&text);
        if mib.is_none() {
            reader.issue(field, format!("{text:?} is no size"), "write a whole number with k, m, g or t, such as 512m");
        }
        mib
    };
    let memory = size("memory", &format!("spark.{role}.memory")).unwrap_or(1024);
    let overhead = size("memoryOverhead", &format!("spark.{role}.memoryOverhead"));
    let python = if role == "executor" { size("", "spark.executor.pyspark.memory").unwrap_or(0) } else { 0 };
    let overhead = overhead.unwrap_or_else(|| default_overhead(value, memory));
    memory.saturating_add(overhead).saturating_add(python).saturating_mul(MIB).min(i64::MAX as u64)
}

fn default_overhead(value: &Value, memory: u64) -> u64 {
    let native = matches!(value.pointer("/spec/type").and_then(Value::as_str), Some("Python" | "R"));
    let given = value.pointer("/spec/memoryOverheadFactor").and_then(Value::as_str);
    let given = given.or_else(|| conf(value, "spark.kubernetes.memoryOverheadFactor"));
    let factor = given.and_then(|text| text.parse::<f64>().ok()).filter(|factor| (0.0..=100.0).contains(factor));
    let factor = factor.unwrap_or(if native { 0.4 } else { 0.1 });
    // Spark truncates.
    ((memory as f64 * factor) as u64).max(LEAST_OVERHEAD_MIB)
}

/// A size as the JVM writes it, in MiB: `512m`, `4g`; a number without a unit is MiB.
fn java_mib(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    match unit {
        "b" => Some(number.div_ceil(MIB)),
        "k" | "kb" | "ki" | "kib" => Some(number.div_ceil(1024)),
        "" | "m" | "mb" | "mi" | "mib" => Some(number),
        "g" | "gb" | "gi" | "gib" => number.checked_mul(1024),
        "t" | "tb" | "ti" | "tib" => number.checked_mul(1024 * 1024),
        _ => None,
    }
}

pub(super) fn revise(value: &mut Value, part: &Part) {
    let executors = part.replicas(1);
    set(value, "/spec/executor", "instances", executors.into());
    if value.pointer("/spec/dynamicAllocation/enabled") == Some(&Value::Bool(true)) {
        for field in ["initialExecutors", "maxExecutors"] {
            set(value, "/spec/dynamicAllocation", field, executors.into());
        }
        let least = count(value, "/spec/dynamicAllocation/minExecutors").min(executors);
        set(value, "/spec/dynamicAllocation", "minExecutors", least.into());
    }
}

pub(super) fn health(value: &Value) -> Health {
    let state = value.pointer("/status/applicationState/state").and_then(Value::as_str).unwrap_or_default();
    let executors = value.pointer("/status/executorState").and_then(Value::as_object);
    let running = executors.into_iter().flatten().filter(|(_, state)| state.as_str() == Some("RUNNING")).count();
    let finished = match state {
        "COMPLETED" => Some(true),
        "FAILED" | "SUBMISSION_FAILED" => Some(false),
        _ => None,
    };
    Health { ready: vec![u32::from(state == "RUNNING"), u32::try_from(running).unwrap_or(u32::MAX)], finished }
}
