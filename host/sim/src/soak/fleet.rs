//! Draws a fleet: clusters in regions, their node pools, and what can be had there at which price.

use berth_api::Object;
use serde_json::{Value, json};

use super::dice::Dice;

const API: &str = "berth.dev/v1alpha1";

/// Instance types: name, GPUs, CPUs, GiB, USD per hour.
const TYPES: [(&str, u64, u64, u64, f64); 4] = [
    ("g1.small", 1, 8, 32, 1.0),
    ("g4.large", 4, 32, 128, 3.6),
    ("g8.huge", 8, 96, 768, 9.0),
    ("c1.plain", 0, 16, 64, 0.4),
];

/// What is known of a fleet for drawing what runs and goes wrong in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawn {
    pub(crate) objects: Vec<Object>,
    pub(crate) clusters: Vec<String>,
    pub(crate) regions: Vec<String>,
    /// Names of `Offering` objects.
    pub(crate) offerings: Vec<String>,
    /// Names of pools with the cluster of each.
    pub(crate) pools: Vec<(String, String)>,
}

pub(crate) fn object(value: Value) -> Option<Object> {
    Object::parse(value).ok().map(|parsed| parsed.object)
}

pub(crate) fn draw(seed: u64) -> Drawn {
    let mut dice = Dice::new(seed, "fleet");
    let mut drawn = Drawn::default();
    let regions = dice.between(1, 3);
    for region in 1..=regions {
        add_region(&mut dice, &format!("r{region}"), &mut drawn);
    }
    let clusters = if dice.chance(60) { dice.between(1, 3) } else { dice.between(3, 8) };
    for number in 1..=clusters {
        add_cluster(&mut dice, &format!("c{number}"), &mut drawn);
    }
    drawn
}

fn add_region(dice: &mut Dice, region: &str, drawn: &mut Drawn) {
    drawn.regions.push(region.to_owned());
    let zones = dice.between(1, 2);
    for (kind, gpus, cpus, memory, price) in TYPES {
        for zone in 0..zones {
            for (capacity, factor) in [("on-demand", 1.0), ("spot", 0.4), ("reserved", 0.0)] {
                let wanted = match capacity {
                    "on-demand" => 75,
                    "spot" => 45,
                    _ => 15,
                };
                if !dice.chance(wanted) {
                    continue;
                }
                let zone = format!("{region}{}", ["a", "b"][zone as usize]);
                let name = format!("{}-{capacity}-{zone}", kind.replace('.', "-"));
                let stock = match dice.between(0, 9) {
                    0..=5 => json!({"state": "Limited", "lowerBound": dice.between(1, 6), "confidence": 1.0}),
                    6 => json!({"state": "OutOfStock"}),
                    7 => json!({"state": "Unknown"}),
                    _ => json!({"state": "InStock", "confidence": 0.9}),
                };
                let mut allocatable = json!({"cpu": cpus.to_string(), "memory": format!("{memory}Gi"), "pods": "30"});
                if gpus > 0 {
                    allocatable["nvidia.com/gpu"] = gpus.to_string().into();
                }
                let value = json!({
                    "apiVersion": API, "kind": "Offering", "metadata": {"name": name},
                    "spec": {
                        "provider": "cloud", "region": region, "zone": zone, "instanceType": kind,
                        "capacityType": capacity, "price": price * factor,
                        "interruption": if capacity == "spot" { 0.2 } else { 0.0 },
                        "allocatable": allocatable,
                    },
                    "status": {"stock": stock},
                });
                if let Some(object) = object(value) {
                    drawn.offerings.push(name);
                    drawn.objects.push(object);
                }
            }
        }
    }
}

fn add_cluster(dice: &mut Dice, name: &str, drawn: &mut Drawn) {
    let region = dice.pick(&drawn.regions).clone();
    let tier = dice.pick(&["cloud", "edge"]);
    let tainted = dice.chance(15);
    drawn.objects.extend(object(cluster(name, &region, tier, tainted)));
    drawn.clusters.push(name.to_owned());
    for number in 0..dice.between(1, 3) {
        let pool = format!("{name}-p{number}");
        drawn.objects.extend(object(self::pool(dice, &pool, name)));
        drawn.pools.push((pool, name.to_owned()));
    }
}

pub(crate) fn cluster(name: &str, region: &str, tier: &str, tainted: bool) -> Value {
    let taints = if tainted { json!([{"key": "closed", "effect": "NoSchedule"}]) } else { json!([]) };
    json!({
        "apiVersion": API, "kind": "Cluster", "metadata": {"name": name, "labels": {"tier": tier}},
        "spec": {
            "provider": "cloud", "region": region, "zones": [format!("{region}a"), format!("{region}b")],
            "taints": taints, "columns": {"carbon": 100.0},
        },
    })
}

/// A pool as it might be declared; the same name drawn again gives a changed one.
pub(crate) fn pool(dice: &mut Dice, name: &str, cluster: &str) -> Value {
    let first = dice.pick(&TYPES).0;
    let mut types = vec![first];
    if dice.chance(40) {
        types.push(dice.pick(&TYPES).0);
        types.dedup();
    }
    let mut spec = json!({
        "cluster": cluster,
        "max": dice.between(1, 8),
        "leadSeconds": dice.between(30, 240),
        "scaleDown": {
            "coolDown": format!("{}m", dice.between(1, 6)), "unneeded": format!("{}m", dice.between(1, 6)),
        },
        "labels": {"lane": dice.pick(&["fast", "slow"])},
    });
    if dice.chance(25) {
        spec["offerings"] = json!([{"instanceTypes": types, "capacityType": dice.pick(&["on-demand", "spot"])}]);
    } else {
        spec["instanceTypes"] = json!(types);
    }
    if dice.chance(35) {
        spec["taints"] = json!([{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]);
    }
    if dice.chance(30) {
        let max = spec["max"].as_u64().unwrap_or(1);
        spec["min"] = dice.between(1, 2).min(max).into();
    }
    json!({"apiVersion": API, "kind": "NodePool", "metadata": {"name": name}, "spec": spec})
}

/// Quotas of the two teams, and what both may have.
pub(crate) fn quotas(dice: &mut Dice) -> Value {
    let (all, one) = (dice.between(4, 24), dice.between(1, 12));
    let other = dice.between(1, 12);
    let amounts = |gpus: u64| json!({"nvidia.com/gpu": gpus.to_string(), "cpu": (gpus * 12).to_string()});
    json!({
        "apiVersion": API, "kind": "QuotaTree", "metadata": {"name": "quotas"},
        "spec": {"root": {
            "name": "root", "min": amounts(all), "max": amounts(all),
            "children": [
                {"name": "red", "namespaces": ["red"], "min": amounts((one / 2).min(all / 2)), "max": amounts(one.min(all))},
                {"name": "blue", "namespaces": ["blue"], "min": amounts((other / 2).min(all / 2)), "max": amounts(other.min(all))},
            ],
        }},
    })
}
