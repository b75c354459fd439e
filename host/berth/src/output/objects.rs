//! Tables of stored objects: for each kind the fields that people look for.

use serde_json::Value;

use super::Table;
use super::text::{dash, number};

/// Columns of a kind: heading and JSON pointer. All tables start with the name, after the namespace where there is one.
const COLUMNS: &[(&str, &[(&str, &str)])] = &[
    (
        "Cluster",
        &[
            ("PROVIDER", "/spec/provider"),
            ("REGION", "/spec/region"),
            ("ZONES", "/spec/zones"),
            ("TAINTS", "/spec/taints"),
        ],
    ),
    (
        "NodePool",
        &[
            ("CLUSTER", "/spec/cluster"),
            ("TYPES", "/spec/instanceTypes"),
            ("OFFERINGS", "/spec/offerings"),
            ("MIN", "/spec/min"),
            ("MAX", "/spec/max"),
        ],
    ),
    (
        "Offering",
        &[
            ("TYPE", "/spec/instanceType"),
            ("ZONE", "/spec/zone"),
            ("CAPACITY", "/spec/capacityType"),
            ("USD/H", "/spec/price"),
            ("STOCK", "/status/stock/state"),
        ],
    ),
    (
        "Placement",
        &[
            ("KIND", "/spec/workload/kind"),
            ("WORKLOAD", "/spec/workload/name"),
            ("PLAN", "/spec/plan"),
            ("SHARES", "/spec/shares"),
            ("POLICY", "/spec/policy/name"),
        ],
    ),
    ("DistributionPolicy", DISTRIBUTION),
    ("ClusterDistributionPolicy", DISTRIBUTION),
    ("OverridePolicy", &[("SELECTS", "/spec/resourceSelectors")]),
    ("ClusterOverridePolicy", &[("SELECTS", "/spec/resourceSelectors")]),
];

const DISTRIBUTION: &[(&str, &str)] = &[
    ("SELECTS", "/spec/resourceSelectors"),
    ("DIVISION", "/spec/placement/replicaScheduling/replicaSchedulingType"),
    ("POLICY", "/spec/policies/placement"),
];

/// Columns of every other kind: most workloads have some of these.
const OTHERS: &[(&str, &str)] = &[("REPLICAS", "/spec/replicas"), ("GENERATION", "/metadata/generation")];

pub(crate) fn table(kind: &str, items: &[Value]) -> String {
    let columns = COLUMNS.iter().find(|(known, _)| *known == kind).map_or(OTHERS, |(_, columns)| columns);
    let namespaced = items.iter().any(|item| !text(item, "/metadata/namespace").is_empty());
    let mut headings: Vec<&str> = if namespaced { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    headings.extend(columns.iter().map(|(heading, _)| *heading));
    let mut table = Table::new(&headings);
    for item in items {
        let namespace = namespaced.then(|| dash(&text(item, "/metadata/namespace")));
        let cells = columns.iter().map(|(_, pointer)| dash(&text(item, pointer)));
        table.row(namespace.into_iter().chain([text(item, "/metadata/name")]).chain(cells));
    }
    table.render()
}

fn text(item: &Value, pointer: &str) -> String {
    item.pointer(pointer).map(cell).unwrap_or_default()
}

/// Lists with commas between; of an object in a list the values that name it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(amount) => amount.as_f64().map_or_else(|| amount.to_string(), number),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            let named =
                ["kind", "name", "key", "effect", "cluster", "pool", "instanceTypes", "capacityType", "replicas"];
            let parts = named.iter().filter_map(|name| map.get(*name)).map(cell).filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join("/")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_shows_its_fields() {
        let pool =
            json!({"metadata": {"name": "gpu"}, "spec": {"cluster": "eu", "instanceTypes": ["a", "b"], "max": 4}});
        assert_eq!(
            table("NodePool", &[pool]),
            "NAME  CLUSTER  TYPES  OFFERINGS  MIN  MAX\ngpu   eu       a,b    -          -      4\n"
        );
        let app = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 3}});
        assert_eq!(
            table("Deployment", &[app]),
            "NAMESPACE  NAME  REPLICAS  GENERATION\nshop       web          3  -\n"
        );
    }
}
