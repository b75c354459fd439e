//! Job and PyTorchJob.

use serde_json::Value;

use super::{Health, Interpreted, Part, Reader, count, has_condition, set};

/// Roles of a PyTorchJob in the order of components, with the component's name.
pub(super) const ROLES: [(&str, &str); 2] = [("Master", "master"), ("Worker", "worker")];

/// As many pods as run at once: `parallelism`, but no more than there are completions. A suspended Job wants none.
pub(super) fn read_job(value: &Value, reader: &mut Reader<'_>) -> Interpreted {
    let Some(pod) = value.pointer("/spec/template/spec") else {
        reader.issue("spec.template.spec", "is missing", "give the Job a pod template");
        return Interpreted::default();
    };
    let parallelism = reader.count(value, "/spec/parallelism").unwrap_or(1);
    let completions = reader.count(value, "/spec/completions");
    let limit_ms = reader.seconds(value, "/spec/activeDeadlineSeconds");
    let suspended = value.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let replicas =
        if suspended { 0 } else { completions.map_or(parallelism, |completions| parallelism.min(completions)) };
    let (component, facts) = reader.component("main", replicas, 0, pod, "spec.template.spec");
    Interpreted {
        components: vec![component],
        limit_ms,
        priority: facts.priority,
        priority_class: facts.priority_class,
    }
}

pub(super) fn revise_job(value: &mut Value, part: &Part) {
    set(value, "/spec", "parallelism", part.replicas(0).into());
    if let Some(completions) = value.pointer("/spec/completions").and_then(Value::as_u64) {
        set(value, "/spec", "completions", part.share(0, completions).into());
    }
}

pub(super) fn job_health(value: &Value) -> Health {
    let finished = match (has_condition(value, "Complete"), has_condition(value, "Failed")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    Health { ready: vec![count(value, "/status/ready")], finished }
}

/// All pods start together. With an `elasticPolicy` the workers' floor is its `minReplicas`.
pub(super) fn read_pytorch(value: &Value, reader: &mut Reader<'_>) -> Interpreted {
    let mut interpreted = Interpreted {
        limit_ms: reader.seconds(value, "/spec/runPolicy/activeDeadlineSeconds"),
        ..Interpreted::default()
    };
    let suspended = value.pointer("/spec/runPolicy/suspend") == Some(&Value::Bool(true));
    let least = reader.count(value, "/spec/elasticPolicy/minReplicas");
    let Some(specs) = value.pointer("/spec/pytorchReplicaSpecs").and_then(Value::as_object) else {
        reader.issue("spec.pytorchReplicaSpecs", "is missing", "give the job a Master or a Worker");
        return interpreted;
    };
    for role in specs.keys().filter(|role| ROLES.iter().all(|(known, _)| known != role)) {
        reader.issue(format!("spec.pytorchReplicaSpecs.{role}"), "is no known role", "use Master and Worker");
    }
    for (role, name) in ROLES {
        let Some(spec) = specs.get(role) else { continue };
        let at = format!("spec.pytorchReplicaSpecs.{role}");
        let Some(pod) = spec.pointer("/template/spec") else {
            reader.issue(format!("{at}.template.spec"), "is missing", "give the role a pod template");
            continue;
        };
        let replicas = reader.count(value, &format!("/spec/pytorchReplicaSpecs/{role}/replicas")).unwrap_or(1);
        let replicas = if suspended { 0 } else { replicas };
        let floor = match least {
            Some(least) if role == "Worker" => least.clamp(1, replicas.max(1)).min(replicas),
            _ => replicas,
        };
        let (component, facts) = reader.component(name, replicas, floor, pod, &format!("{at}.template.spec"));
        interpreted.components.push(component);
        interpreted.priority = interpreted.priority.or(facts.priority);
        interpreted.priority_class = interpreted.priority_class.or(facts.priority_class);
    }
    let policy = value.pointer("/spec/runPolicy/schedulingPolicy/priorityClass").and_then(Value::as_str);
    interpreted.priority_class = policy.map(str::to_owned).or(interpreted.priority_class);
    interpreted
}

pub(super) fn revise_pytorch(value: &mut Value, part: &Part) {
    let present: Vec<&str> = ROLES
        .iter()
        .map(|(role, _)| *role)
        .filter(|role| value.pointer(&format!("/spec/pytorchReplicaSpecs/{role}")).is_some())
        .collect();
    for (component, role) in present.iter().enumerate() {
        set(value, &format!("/spec/pytorchReplicaSpecs/{role}"), "replicas", part.replicas(component).into());
    }
}

pub(super) fn pytorch_health(value: &Value) -> Health {
    let finished = match (has_condition(value, "Succeeded"), has_condition(value, "Failed")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let ready = ROLES
        .iter()
        .filter(|(role, _)| value.pointer(&format!("/spec/pytorchReplicaSpecs/{role}")).is_some())
        .map(|(role, _)| count(value, &format!("/status/replicaStatuses/{role}/active")))
        .collect();
    Health { ready, finished }
}
