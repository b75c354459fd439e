//! Clusters, pools, offerings, quotas and policies as they are declared in the store.

use std::collections::{BTreeMap, BTreeSet};

use berth_api::duration::Duration;
use berth_api::quantity::from_value;
use berth_control::ports::ObjectKey;
use serde::Deserialize;
use serde_json::Value;

use super::record::OfferingRef;
use super::work::{Amounts, Work};

const GROUP: &str = "berth.dev/v1alpha1/";
/// Pods of a node where its offering does not say.
const PODS: u64 = 110;

pub(super) fn is_fleet(kind: &str) -> bool {
    let ours = kind.strip_prefix(GROUP);
    ours.is_some_and(|kind| {
        matches!(
            kind,
            "Cluster" | "NodePool" | "Offering" | "QuotaTree" | "DistributionPolicy" | "ClusterDistributionPolicy"
        )
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pool {
    pub(super) cluster: String,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) scale_down: ScaleDown,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScaleDown {
    pub(super) cool_down: Duration,
    pub(super) unneeded: Duration,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self { cool_down: Duration::from_seconds(600), unneeded: Duration::from_seconds(600) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Offering {
    pub(super) key: OfferingRef,
    pub(super) allocatable: Amounts,
    pub(super) stock: Stock,
}

/// What orders taught of an offering.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stock {
    pub(super) state: String,
    pub(super) lower_bound: u64,
    pub(super) observed_at: u64,
    pub(super) ttl: Duration,
    pub(super) probe: u64,
    pub(super) retry_at: u64,
}

/// A distribution policy, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rules {
    pub(super) resource_selectors: Vec<Selector>,
    pub(super) priority: i64,
    pub(super) gang: Option<bool>,
    pub(super) placement: Value,
    pub(super) suspension: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    label_selector: Option<Value>,
}

/// A node of the quota tree.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    pub(super) name: String,
    pub(super) max: Amounts,
    /// All namespaces that are charged to it, those of its children among them.
    pub(super) namespaces: BTreeSet<String>,
}

/// A quota tree as a flat list.
fn quotas(spec: &Value) -> Vec<Quota> {
    fn add(node: &Value, list: &mut Vec<Quota>) -> BTreeSet<String> {
        let texts = |field: &str| node.get(field).and_then(Value::as_array).into_iter().flatten();
        let mut namespaces: BTreeSet<String> =
            texts("namespaces").filter_map(Value::as_str).map(str::to_owned).collect();
        namespaces.extend(texts("children").flat_map(|child| add(child, list)));
        let name = node.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        list.push(Quota { name, max: amounts(node.get("max")), namespaces: namespaces.clone() });
        namespaces
    }
    let mut list = Vec::new();
    spec.get("root").map(|root| add(root, &mut list));
    list
}

fn amounts(value: Option<&Value>) -> Amounts {
    let listed = value.and_then(Value::as_object).into_iter().flatten();
    let read =
        listed.filter_map(|(resource, amount)| Some((resource.clone(), from_value(amount).ok()?.base(resource))));
    read.collect()
}

#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) clusters: BTreeSet<String>,
    pub(super) pools: BTreeMap<String, Pool>,
    /// By name of the object.
    pub(super) offerings: BTreeMap<String, Offering>,
    /// Of all quota trees; there should be one.
    pub(super) quotas: BTreeMap<String, Vec<Quota>>,
    /// By namespace (empty for cluster-wide ones) and name.
    policies: BTreeMap<(String, String), Rules>,
}

impl Fleet {
    pub(super) fn take(&mut self, key: &ObjectKey, value: Option<&[u8]>) -> Result<(), serde_json::Error> {
        let name = key.name.to_string();
        let place = (key.namespace.to_string(), name.clone());
        let Some(bytes) = value else {
            match key.kind.strip_prefix(GROUP).unwrap_or_default() {
                "Cluster" => drop(self.clusters.remove(&name)),
                "NodePool" => drop(self.pools.remove(&name)),
                "Offering" => drop(self.offerings.remove(&name)),
                "QuotaTree" => drop(self.quotas.remove(&name)),
                _ => drop(self.policies.remove(&place)),
            }
            return Ok(());
        };
        let value: Value = serde_json::from_slice(bytes)?;
        let spec = value.get("spec").cloned().unwrap_or_default();
        match key.kind.strip_prefix(GROUP).unwrap_or_default() {
            "Cluster" => drop(self.clusters.insert(name)),
            "NodePool" => drop(self.pools.insert(name, serde_json::from_value(spec)?)),
            "Offering" => {
                let stock =
                    value.pointer("/status/stock").cloned().unwrap_or_else(|| Value::Object(Default::default()));
                let mut allocatable = amounts(spec.get("allocatable"));
                allocatable.entry("pods".to_owned()).or_insert(PODS);
                let offering =
                    Offering { key: serde_json::from_value(spec)?, allocatable, stock: serde_json::from_value(stock)? };
                self.offerings.insert(name, offering);
            }
            "QuotaTree" => drop(self.quotas.insert(name, quotas(&spec))),
            _ => drop(self.policies.insert(place, serde_json::from_value(spec)?)),
        }
        Ok(())
    }

    /// The policy that applies: one of the workload's namespace before a cluster-wide one; then the highest priority, the most
    /// precise selector, the first name.
    pub(super) fn rules(&self, work: &Work) -> Option<&Rules> {
        let best = |namespace: &str| {
            let here = self.policies.iter().filter(|((at, _), _)| at == namespace);
            let mut best: Option<((i64, u8), &Rules)> = None;
            for (_, rules) in here {
                let precision = rules.resource_selectors.iter().filter_map(|one| one.selects(work)).max();
                let Some(rank) = precision.map(|precision| (rules.priority, precision)) else { continue };
                if best.is_none_or(|(highest, _)| rank > highest) {
                    best = Some((rank, rules));
                }
            }
            best.map(|(_, rules)| rules)
        };
        let own = (!work.namespace.is_empty()).then(|| best(&work.namespace)).flatten();
        own.or_else(|| best(""))
    }
}

impl Selector {
    /// How precisely it selects the workload, if it does: 2 by name, 1 by labels, 0 by kind.
    fn selects(&self, work: &Work) -> Option<u8> {
        let kind = self.api_version == work.api_version && self.kind == work.kind;
        let namespace = self.namespace.is_empty() || self.namespace == work.namespace;
        if !(kind && namespace) {
            return None;
        }
        if !self.name.is_empty() {
            return (self.name == work.name).then_some(2);
        }
        let Some(selector) = &self.label_selector else { return Some(0) };
        let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let equal = equal.map(|(key, value)| work.labels.get(key).map(String::as_str) == value.as_str());
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        equal.chain(expressions.map(|one| holds(one, work))).all(|holds| holds).then_some(1)
    }
}

fn holds(expression: &Value, work: &Work) -> bool {
    let label = expression.get("key").and_then(Value::as_str).and_then(|key| work.labels.get(key));
    let mut values = expression.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    match expression.get("operator").and_then(Value::as_str) {
        Some("In") => label.is_some_and(|label| values.any(|value| value == label)),
        Some("NotIn") => label.is_none_or(|label| values.all(|value| value != label)),
        Some("Exists") => label.is_some(),
        Some("DoesNotExist") => label.is_none(),
        _ => false,
    }
}

impl Rules {
    /// Whether a workload runs whole, in one cluster.
    pub(super) fn is_gang(&self, work: &Work) -> bool {
        self.gang.unwrap_or(work.is_gang_kind && self.kind() != Some("Duplicated"))
    }

    /// Whether every cluster gets all of it.
    pub(super) fn is_duplicated(&self, work: &Work) -> bool {
        !self.is_gang(work) && self.kind().unwrap_or("Duplicated") == "Duplicated"
    }

    fn kind(&self) -> Option<&str> {
        let scheduling = self.placement.get("replicaScheduling").filter(|value| !value.is_null())?;
        Some(scheduling.get("replicaSchedulingType").and_then(Value::as_str).unwrap_or("Divided"))
    }

    pub(super) fn is_suspended(&self) -> bool {
        let set = |field: &str| self.suspension.get(field) == Some(&Value::Bool(true));
        set("scheduling") || set("dispatching")
    }
}
