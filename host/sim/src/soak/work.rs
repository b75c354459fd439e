//! Draws what runs: workloads of all kinds, each with a distribution policy of its own.

use berth_api::Object;
use serde_json::{Value, json};

use super::dice::Dice;
use super::fleet::{Drawn, object};
use crate::manifest::DURATION_ANNOTATION;

const API: &str = "berth.dev/v1alpha1";

/// A workload that was drawn: its objects can be drawn again to change it.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) namespace: &'static str,
    pub(crate) kind: AppKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppKind {
    Deployment,
    StatefulSet,
    Job,
    PyTorchJob,
    ConfigMap,
}

impl AppKind {
    pub(crate) fn type_meta(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
            Self::Job => ("batch/v1", "Job"),
            Self::PyTorchJob => ("kubeflow.org/v1", "PyTorchJob"),
            Self::ConfigMap => ("v1", "ConfigMap"),
        }
    }
}

impl App {
    pub(crate) fn draw(dice: &mut Dice, number: usize) -> Self {
        let kind = match dice.between(0, 19) {
            0..=8 => AppKind::Deployment,
            9..=10 => AppKind::StatefulSet,
            11..=13 => AppKind::Job,
            14..=18 => AppKind::PyTorchJob,
            _ => AppKind::ConfigMap,
        };
        Self { name: format!("w{number}"), namespace: if dice.chance(50) { "red" } else { "blue" }, kind }
    }

    /// Whether one number says how many replicas it has.
    pub(crate) fn scales(&self) -> bool {
        matches!(self.kind, AppKind::Deployment | AppKind::StatefulSet | AppKind::Job)
    }

    pub(crate) fn manifest(&self, dice: &mut Dice) -> Option<Object> {
        let (api_version, kind) = self.kind.type_meta();
        let mut labels = json!({"app": self.name});
        if dice.chance(35) {
            // Only a policy that misbehaves looks at it.
            let how =
                dice.pick(&["trap", "loop", "unknown-candidate", "unknown-component", "twice", "over-room", "many"]);
            labels["misbehave"] = (*how).into();
        }
        let mut metadata = json!({"name": self.name, "namespace": self.namespace, "labels": labels});
        let mut replicas = dice.between(0, 6);
        if dice.chance(10) {
            replicas = dice.between(6, 20);
        }
        let minutes = dice.between(2, 40);
        let pod = pod(dice, self.kind == AppKind::PyTorchJob);
        let spec = match self.kind {
            AppKind::Deployment | AppKind::StatefulSet => json!({
                "replicas": replicas, "selector": {"matchLabels": {"app": self.name}},
                "template": {"metadata": {"labels": {"app": self.name}}, "spec": pod},
            }),
            AppKind::Job => {
                metadata["annotations"] = json!({DURATION_ANNOTATION: format!("{minutes}m")});
                json!({"parallelism": replicas.max(1), "completions": replicas.max(1), "template": {"spec": pod}})
            }
            AppKind::PyTorchJob => {
                if dice.chance(80) {
                    metadata["annotations"] = json!({DURATION_ANNOTATION: format!("{minutes}m")});
                }
                let workers = dice.between(1, 5);
                let mut spec = json!({"pytorchReplicaSpecs": {
                    "Master": {"replicas": 1, "template": {"spec": pod}},
                    "Worker": {"replicas": workers, "template": {"spec": self::pod(dice, true)}},
                }});
                if dice.chance(40) {
                    spec["elasticPolicy"] = json!({"minReplicas": 1, "maxReplicas": workers});
                }
                spec
            }
            AppKind::ConfigMap => {
                let value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "data": {"n": replicas.to_string()}});
                return object(value);
            }
        };
        object(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}))
    }

    /// Its distribution policy. One that makes no sense is drawn again, simpler each time.
    pub(crate) fn policy(&self, dice: &mut Dice, fleet: &Drawn) -> Option<Object> {
        let (api_version, kind) = self.kind.type_meta();
        (0..3).find_map(|simpler| {
            let mut spec = rules(dice, fleet, simpler);
            spec["resourceSelectors"] = json!([{"apiVersion": api_version, "kind": kind, "name": self.name}]);
            let metadata = json!({"name": self.name, "namespace": self.namespace});
            object(json!({"apiVersion": API, "kind": "DistributionPolicy", "metadata": metadata, "spec": spec}))
        })
    }
}

fn pod(dice: &mut Dice, gang: bool) -> Value {
    let mut requests = json!({"cpu": format!("{}", dice.between(1, 4)), "memory": format!("{}Gi", dice.between(1, 8))});
    let mut limits = json!({});
    match dice.between(0, 9) {
        0..=5 => limits["nvidia.com/gpu"] = (*dice.pick(&[1, 1, 1, 2, 4])).into(),
        6..=7 if !gang => requests[berth_core::resources::GPU_SHARE] = (*dice.pick(&["200", "300", "500"])).into(),
        _ => {}
    }
    let mut pod = json!({"containers": [{"name": "main", "image": "main:1", "resources": {"requests": requests, "limits": limits}}]});
    if dice.chance(70) {
        pod["tolerations"] = json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]);
    }
    if dice.chance(10) {
        pod["nodeSelector"] = json!({"lane": dice.pick(&["fast", "slow"])});
    }
    pod
}

fn affinity(dice: &mut Dice, fleet: &Drawn) -> Value {
    let names: Vec<&String> = fleet.clusters.iter().filter(|_| dice.chance(50)).collect();
    match dice.between(0, 4) {
        0 => json!({"labelSelector": {"matchLabels": {"tier": dice.pick(&["cloud", "edge"])}}}),
        1 if !names.is_empty() => json!({"clusterNames": names}),
        2 => json!({"exclude": [dice.pick(&fleet.clusters)]}),
        3 => json!({"fieldSelector": {"matchExpressions": [{
            "key": "region", "operator": dice.pick(&["In", "NotIn"]), "values": [dice.pick(&fleet.regions)],
        }]}}),
        _ => json!({}),
    }
}

fn rules(dice: &mut Dice, fleet: &Drawn, simpler: u32) -> Value {
    let mut placement = json!({});
    match dice.between(0, 9) {
        0..=3 => placement["clusterAffinity"] = affinity(dice, fleet),
        4..=5 => {
            let groups = ["first", "second"].map(|name| {
                let mut group = affinity(dice, fleet);
                group["affinityName"] = name.into();
                group
            });
            placement["clusterAffinities"] = json!(groups);
            placement["clusterAffinitiesUse"] = (*dice.pick(&["FirstThatFits", "FillInOrder"])).into();
        }
        _ => {}
    }
    if dice.chance(40) {
        placement["clusterTolerations"] = json!([{"key": "closed", "operator": "Exists"}]);
    }
    let scheduling = match dice.between(0, 9) {
        0..=4 => json!({"replicaSchedulingType": "Divided"}),
        5 => json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}),
        6 => json!({
            "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
            "weightPreference": {"dynamicWeight": "AvailableReplicas"},
        }),
        7 => {
            let weights: Vec<Value> = fleet
                .clusters
                .iter()
                .map(|name| json!({"targetCluster": {"clusterNames": [name]}, "weight": dice.between(1, 3)}))
                .collect();
            json!({
                "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
                "weightPreference": {"staticWeightList": weights},
            })
        }
        8 => json!({"replicaSchedulingType": "Duplicated"}),
        _ => Value::Null,
    };
    if !scheduling.is_null() {
        placement["replicaScheduling"] = scheduling;
    }
    if simpler == 0 && dice.chance(25) {
        let field = dice.pick(&["cluster", "region", "zone", "provider"]);
        let mut spread = json!({"spreadByField": field, "maxGroups": dice.between(1, 3)});
        if dice.chance(40) {
            spread["minGroups"] = dice.between(1, 2).into();
        }
        placement["spreadConstraints"] = json!([spread]);
    }
    let mut spec = json!({"placement": placement});
    if simpler < 2 {
        extras(dice, &mut spec);
    }
    spec
}

fn extras(dice: &mut Dice, spec: &mut Value) {
    if dice.chance(15) {
        spec["gang"] = dice.chance(60).into();
    }
    if dice.chance(20) {
        spec["elasticity"] = json!({"enabled": dice.chance(50), "maxLeadSeconds": dice.between(0, 200)});
    }
    if dice.chance(15) {
        spec["budget"] = json!({"usdPerHour": dice.between(1, 12) as f64});
    }
    if dice.chance(40) {
        let mode = dice.pick(&["Directly", "Gracefully", "Never"]);
        spec["failover"] = json!({"application": {
            "decisionConditions": {"tolerationSeconds": dice.between(30, 300)},
            "purgeMode": mode, "gracePeriodSeconds": dice.between(30, 600),
        }});
    }
    if dice.chance(15) {
        spec["policies"] = match dice.between(0, 3) {
            0 => json!({"placement": "weighted"}),
            1 => json!({"placement": "not-there"}),
            2 => json!({"migration": "not-there", "gang": "not-there"}),
            _ => json!({"placement": "cost", "gang": "fifo", "migration": "ready"}),
        };
    }
    if dice.chance(4) {
        spec["suspension"] = json!({"scheduling": true});
    }
}
