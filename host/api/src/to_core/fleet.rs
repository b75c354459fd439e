//! Clusters, node pools, offerings and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::fleet::{self as core, Labels, OfferingKey};
use berth_core::ids::{Millis, OfferingRow, QuotaRow};
use berth_core::quota::{Quota, QuotaTree as CoreQuotaTree};
use berth_core::resources::{Amounts, NamedAmounts, PODS, ResourceNames};

use crate::quantity::{Quantities, amounts};
use crate::resources::{Cluster, NodePool, Offering, OfferingSelector, QuotaNode, QuotaTree, ScaleDown, Taint};

pub(super) fn labels(labels: &BTreeMap<String, String>) -> Labels {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn taints(taints: &[Taint]) -> Vec<core::Taint> {
    let taint = |taint: &Taint| core::Taint {
        key: taint.key.as_str().into(),
        value: taint.value.as_str().into(),
        effect: taint.effect.into(),
    };
    taints.iter().map(taint).collect()
}

/// A cluster of which nothing was observed yet; the caller sets `reachable` from what it observes.
pub fn cluster(cluster: &Cluster) -> core::Cluster {
    let spec = &cluster.spec;
    core::Cluster {
        name: cluster.metadata.name.as_str().into(),
        provider: spec.provider.as_str().into(),
        region: spec.region.as_str().into(),
        zones: spec.zones.iter().map(|zone| zone.as_str().into()).collect(),
        labels: labels(&cluster.metadata.labels),
        taints: taints(&spec.taints),
        reachable: false,
        reachable_since: Millis(0),
        columns: spec.columns.iter().map(|(name, value)| (name.as_str().into(), *value)).collect(),
        removed: false,
    }
}

pub fn offering_key(offering: &Offering) -> OfferingKey {
    let spec = &offering.spec;
    OfferingKey {
        provider: spec.provider.as_str().into(),
        region: spec.region.as_str().into(),
        zone: spec.zone.as_str().into(),
        instance_type: spec.instance_type.as_str().into(),
        capacity_type: spec.capacity_type.into(),
    }
}

/// Pods that a node takes where its offering says nothing: the kubelet's default.
const MAX_PODS: u64 = 110;

/// What a fresh node of an offering has for pods.
pub fn node_allocatable(offering: &Offering) -> NamedAmounts {
    let mut amounts = amounts(&offering.spec.allocatable);
    amounts.entry(PODS.into()).or_insert(MAX_PODS);
    amounts
}

/// An offering with the stock that its status reports; unknown where it reports none.
pub fn offering(offering: &Offering, names: &mut ResourceNames) -> core::Offering {
    let stock = offering.status.as_ref().map(|status| core::Stock::from(&status.stock)).unwrap_or_default();
    core::Offering {
        key: offering_key(offering),
        price: offering.spec.price,
        interruption: offering.spec.interruption,
        allocatable: names.amounts(&node_allocatable(offering)),
        stock,
        in_flight: 0,
    }
}

/// Keys of the offerings that a pool may use, ascending: those of its cluster's provider and region, in the cluster's zones
/// (all where it lists none), that one of its selectors selects.
pub fn pool_offerings<'a>(
    pool: &NodePool,
    cluster: &Cluster,
    offerings: impl IntoIterator<Item = &'a Offering>,
) -> Vec<OfferingKey> {
    let selectors = selectors(pool);
    let here = |offering: &&Offering| {
        let (spec, cluster) = (&offering.spec, &cluster.spec);
        spec.provider == cluster.provider
            && spec.region == cluster.region
            && (cluster.zones.is_empty() || cluster.zones.contains(&spec.zone))
            && selectors.iter().any(|selector| selects(selector, offering))
    };
    let mut keys: Vec<OfferingKey> = offerings.into_iter().filter(here).map(offering_key).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// A pool's selectors, the short form included.
pub(crate) fn selectors(pool: &NodePool) -> Vec<OfferingSelector> {
    let mut selectors = pool.spec.offerings.clone();
    if !pool.spec.instance_types.is_empty() {
        selectors
            .push(OfferingSelector { instance_types: pool.spec.instance_types.clone(), ..OfferingSelector::default() });
    }
    selectors
}

pub(crate) fn selects(selector: &OfferingSelector, offering: &Offering) -> bool {
    let spec = &offering.spec;
    (selector.instance_types.is_empty() || selector.instance_types.contains(&spec.instance_type))
        && (selector.zones.is_empty() || selector.zones.contains(&spec.zone))
        && selector.capacity_type.is_none_or(|capacity| capacity == spec.capacity_type)
}

/// A node pool with what only the loops need of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolDefinition {
    /// Name of its cluster.
    pub cluster: Arc<str>,
    pub spec: core::PoolSpec,
    pub scale_down: ScaleDown,
}

/// A pool whose offerings have these rows; see [`pool_offerings`].
pub fn pool(pool: &NodePool, offerings: Vec<OfferingRow>) -> PoolDefinition {
    PoolDefinition {
        cluster: pool.spec.cluster.as_str().into(),
        spec: core::PoolSpec {
            name: pool.metadata.name.as_str().into(),
            labels: labels(&pool.spec.labels),
            taints: taints(&pool.spec.taints),
            offerings,
            min: pool.spec.min,
            max: pool.spec.max,
            lead_seconds: pool.spec.lead_seconds,
        },
        scale_down: pool.spec.scale_down.clone(),
    }
}

/// The tree as rows, root first, with nothing used.
pub fn quota_tree(tree: &QuotaTree, names: &mut ResourceNames) -> CoreQuotaTree {
    let mut quotas = Vec::new();
    rows(&tree.spec.root, None, names, &mut quotas);
    CoreQuotaTree { used: vec![Amounts::default(); quotas.len()], quotas: quotas.into() }
}

fn rows(node: &QuotaNode, parent: Option<QuotaRow>, names: &mut ResourceNames, quotas: &mut Vec<Quota>) {
    let row = QuotaRow(quotas.len() as u32);
    let max = |quantities: &Quantities, names: &mut ResourceNames| {
        let mut max: Vec<(usize, u64)> =
            amounts(quantities).iter().map(|(name, amount)| (names.intern(name), *amount)).collect();
        max.sort_unstable();
        max
    };
    quotas.push(Quota {
        name: node.name.as_str().into(),
        parent,
        min: names.amounts(&amounts(&node.min)),
        max: max(&node.max, names),
        namespaces: node.namespaces.iter().map(|namespace| namespace.as_str().into()).collect(),
    });
    for child in &node.children {
        rows(child, Some(row), names, quotas);
    }
}
