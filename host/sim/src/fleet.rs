//! What the simulation is made of: clusters with their pools, and offerings with what can be had of them.
//!
//! Read once from the fleet's objects, and again whenever they change. What is there already stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_api::{Object, resources as api, to_core};
use berth_core::fleet::{OfferingKey, PoolSpec, Stock, StockState};
use berth_core::ids::{ClusterName, PoolName};
use berth_core::resources::NamedAmounts;

/// Nodes that can be had where nothing limits them.
pub(crate) const UNLIMITED: u32 = u32::MAX;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fleet {
    pub(crate) clusters: BTreeMap<ClusterName, Member>,
    pub(crate) offerings: BTreeMap<OfferingKey, OfferingConfig>,
    /// Keys of offerings by the names of their objects.
    pub(crate) by_name: BTreeMap<String, OfferingKey>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Member {
    pub(crate) region: Arc<str>,
    pub(crate) pools: BTreeMap<PoolName, PoolConfig>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PoolConfig {
    pub(crate) spec: Arc<PoolSpec>,
    /// Offerings that it may use, cheapest first.
    pub(crate) offerings: Vec<OfferingKey>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OfferingConfig {
    /// USD per hour and node.
    pub(crate) price: f64,
    pub(crate) allocatable: NamedAmounts,
    /// Nodes that can be had in all while nothing else is said.
    pub(crate) capacity: u32,
}

/// GPUs of one node at the most.
const MOST_GPUS: u64 = 1024;
/// Pods of one node at the most: more than any kubelet takes.
const MOST_PODS: u64 = 2500;
/// Nodes of all pools at the most. Each is simulated by itself, and so is each of its pods.
const MOST_NODES: u64 = 1_000_000;

/// Whether the clusters, pools and offerings among `objects` can be simulated.
///
/// # Errors
/// The first that cannot.
pub fn check_fleet(objects: &[Object]) -> Result<(), FleetError> {
    Fleet::from_objects(objects).map(|_| ())
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("Offering {offering}: spec.allocatable: {gpus} GPUs on one node; use at most {MOST_GPUS}")]
    Gpus { offering: String, gpus: u64 },
    #[error("Offering {offering}: spec.allocatable: {pods} pods on one node; use at most {MOST_PODS}")]
    Pods { offering: String, pods: u64 },
    #[error(
        "NodePool {pool}: spec.max: the pools have up to {nodes} nodes with it; lower it, {MOST_NODES} can be simulated"
    )]
    Nodes { pool: String, nodes: u64 },
}

impl Fleet {
    /// Reads the clusters, pools and offerings among `objects`; all others are ignored.
    ///
    /// # Errors
    /// The first that is too large to be simulated.
    pub(crate) fn from_objects(objects: &[Object]) -> Result<Self, FleetError> {
        let mut fleet = Self::default();
        let (mut clusters, mut offerings): (BTreeMap<&str, &api::Cluster>, Vec<&api::Offering>) = Default::default();
        for object in objects {
            match object {
                Object::Cluster(cluster) => {
                    let member = Member { region: cluster.spec.region.as_str().into(), pools: BTreeMap::new() };
                    fleet.clusters.insert(cluster.metadata.name.as_str().into(), member);
                    clusters.insert(&cluster.metadata.name, cluster);
                }
                Object::Offering(offering) => {
                    fleet.add_offering(offering)?;
                    offerings.push(offering);
                }
                _ => {}
            }
        }
        let mut nodes: u64 = 0;
        for object in objects {
            let Object::NodePool(pool) = object else { continue };
            let name = pool.metadata.name.clone();
            nodes = nodes.saturating_add(u64::from(pool.spec.max));
            if nodes > MOST_NODES {
                return Err(FleetError::Nodes { pool: name, nodes });
            }
            // A cluster may be deleted before its pools, and what a pool orders before the pool.
            let Some(cluster) = clusters.get(pool.spec.cluster.as_str()) else { continue };
            let mut usable = to_core::pool_offerings(pool, cluster, offerings.iter().copied());
            let price = |key: &OfferingKey| fleet.offerings.get(key).map_or(f64::MAX, |config| config.price);
            usable.sort_by(|one, other| price(one).total_cmp(&price(other)).then_with(|| one.cmp(other)));
            let spec = Arc::new(to_core::pool(pool, Vec::new()).spec);
            if let Some(member) = fleet.clusters.get_mut(pool.spec.cluster.as_str()) {
                member.pools.insert(spec.name.clone(), PoolConfig { spec, offerings: usable });
            }
        }
        Ok(fleet)
    }

    fn add_offering(&mut self, offering: &api::Offering) -> Result<(), FleetError> {
        let (key, name) = (to_core::offering_key(offering), offering.metadata.name.clone());
        let allocatable = to_core::node_allocatable(offering);
        let gpus = allocatable.get(berth_core::resources::GPU).copied().unwrap_or(0);
        if gpus > MOST_GPUS {
            return Err(FleetError::Gpus { offering: name, gpus });
        }
        let pods = allocatable.get(berth_core::resources::PODS).copied().unwrap_or(0);
        if pods > MOST_PODS {
            return Err(FleetError::Pods { offering: name, pods });
        }
        let stock = offering.status.as_ref().map(|status| Stock::from(&status.stock)).unwrap_or_default();
        let config = OfferingConfig { price: offering.spec.price, allocatable, capacity: capacity(&stock) };
        self.by_name.insert(name, key.clone());
        self.offerings.insert(key, config);
        Ok(())
    }
}

/// Nodes that can be had by what the fleet file reports of an offering's stock.
pub(crate) fn capacity(stock: &Stock) -> u32 {
    match (stock.state, stock.lower_bound) {
        (StockState::OutOfStock, _) => 0,
        (StockState::Limited, nodes) => nodes.max(1),
        (StockState::InStock | StockState::Unknown, 0) => UNLIMITED,
        (StockState::InStock | StockState::Unknown, nodes) => nodes,
    }
}
