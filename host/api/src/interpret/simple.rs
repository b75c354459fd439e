//! Deployment, StatefulSet and ReplicaSet.

use serde_json::Value;

use super::{Interpreted, Reader};

const POD: &str = "/spec/template/spec";

pub(super) fn read(value: &Value, reader: &mut Reader<'_>) -> Interpreted {
    let Some(pod) = value.pointer(POD) else {
        reader.issue("spec.template.spec", "is missing", "give the workload a pod template");
        return Interpreted::default();
    };
    let replicas = reader.count(value, "/spec/replicas").unwrap_or(1);
    let (component, facts) = reader.component("main", replicas, 0, pod, "spec.template.spec");
    Interpreted {
        components: vec![component],
        limit_ms: None,
        priority: facts.priority,
        priority_class: facts.priority_class,
    }
}
