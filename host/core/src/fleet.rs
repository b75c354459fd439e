//! What Berth knows of the member clusters: clusters, node pools, offerings and their stock.
//!
//! A [`Snapshot`] is a numbered value. Cloning it shares all rows; changing a row copies that row alone. The planner works
//! on a clone and takes room away as it decides, so that later decisions of the same plan see what earlier ones took.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, ClusterRow, InstanceType, Millis, OfferingRow, PoolName, ShapeRow};
use crate::resources::Amounts;

mod cache;
mod empty;
mod fit;
mod matching;
mod pool;
mod price;
mod room;
mod room_row;
mod row_set;
mod rows;
mod snapshot;
mod stock;
mod survey;
mod take;

pub use cache::{RoomCache, ShapeRooms};
pub use fit::Need;
pub use matching::{NodeLabels, untolerated};
pub use pool::{InFlight, ObservedNodes, PoolInput};
pub use room::{ClusterRoom, Offer, Room};
pub(crate) use room::{Nodes, Reach};
pub use row_set::RowSet;
pub use rows::Rows;
pub use snapshot::{FleetError, Snapshot};
pub use take::{Draft, NoFit, TakeOptions, Taken};

pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
pub const INSTANCE_TYPE_LABEL: &str = "node.kubernetes.io/instance-type";
pub const CAPACITY_TYPE_LABEL: &str = "berth.dev/capacity-type";
pub const POOL_LABEL: &str = "berth.dev/node-pool";

/// A taint of a cluster or of a pool's nodes, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taint {
    pub key: Arc<str>,
    #[serde(default)]
    pub value: Arc<str>,
    pub effect: TaintEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: ClusterName,
    /// Empty where unknown.
    pub provider: Arc<str>,
    /// Empty where unknown.
    pub region: Arc<str>,
    pub zones: Vec<Arc<str>>,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    /// Whether the cluster's API answers. An unreachable cluster is no candidate, and its replicas count as not ready.
    pub reachable: bool,
    /// Since when `reachable` is what it is.
    pub reachable_since: Millis,
    /// Numbers that an operator attached, such as `carbon`; policies see those that they name.
    pub columns: BTreeMap<Arc<str>, f64>,
    /// A cluster that left the fleet keeps its row.
    pub removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    OnDemand,
    Spot,
    Reserved,
}

impl CapacityType {
    pub fn as_str(self) -> &'static str {
        match self {
            CapacityType::OnDemand => "on-demand",
            CapacityType::Spot => "spot",
            CapacityType::Reserved => "reserved",
        }
    }
}

/// Names an offering for ever: what the store and node providers use, where a snapshot uses an [`OfferingRow`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferingKey {
    pub provider: Arc<str>,
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub instance_type: InstanceType,
    pub capacity_type: CapacityType,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Offering {
    pub key: OfferingKey,
    /// USD per hour and node.
    pub price: f64,
    /// Share of instances that are reclaimed in a month, 0 to 1.
    pub interruption: f64,
    /// What a fresh node of this type offers to pods.
    pub allocatable: Amounts,
    pub stock: Stock,
    /// Nodes ordered but not yet delivered, and nodes reserved by this plan: taken off the stock. A [`Snapshot`] counts
    /// them itself, from its pools.
    pub in_flight: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StockState {
    InStock,
    Limited,
    OutOfStock,
    #[default]
    Unknown,
}

/// What is known of an offering's stock, and how well. Past its time to live a report counts as unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    pub state: StockState,
    /// Nodes that could certainly be had when this was reported.
    pub lower_bound: u32,
    /// 0 to 1.
    pub confidence: f64,
    pub observed_at: Millis,
    /// Milliseconds for which the report holds; 0 for ever.
    pub ttl_ms: u64,
    /// Nodes that may be ordered at once while the stock is unknown or doubtful: one after a failed order, doubled after
    /// each success, halved after each failure.
    pub probe: u32,
    /// No order before this time: an offering that failed is left alone for a while.
    pub retry_at: Millis,
}

/// What is declared of a node pool: nodes of one cluster that are added and removed together.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    pub name: PoolName,
    /// Labels and taints of its nodes.
    pub labels: Labels,
    pub taints: Vec<Taint>,
    /// Offerings that it may use.
    pub offerings: Vec<OfferingRow>,
    /// Nodes.
    pub min: u32,
    pub max: u32,
    /// Seconds from an order until a replica can run on the new node.
    pub lead_seconds: u32,
}

/// A node pool as it is: what is declared, and what nodes it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub spec: Arc<PoolSpec>,
    pub cluster: ClusterRow,
    /// Nodes there are and nodes in flight, grouped by what is free on them. No two groups are equal but for `count`.
    pub groups: Vec<NodeGroup>,
    /// Nodes in `groups`.
    nodes: u32,
    /// Nodes in flight by offering, ascending: what this pool holds of each offering's `in_flight`.
    pub in_flight: Vec<(OfferingRow, u32)>,
    /// Replicas that are booked on nodes in flight, by shape.
    pub waiting: Vec<(ShapeRow, u32)>,
    /// Replicas that were placed here, are not bound and found no room when the pool was last set, by shape.
    pub stranded: Vec<(ShapeRow, u32)>,
    /// Whether room was taken or given back since the pool was last set from observations.
    pub booked: bool,
}

/// Nodes of one pool that are alike: same type, zone, state and free amounts.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeGroup {
    pub instance_type: InstanceType,
    pub zone: Arc<str>,
    /// The offering that the nodes came from, where they were ordered.
    pub offering: Option<OfferingRow>,
    pub state: NodeState,
    pub free: Free,
    /// Nodes; parts of nodes where `part` says so.
    pub count: u32,
    /// The group is no nodes of its own, but room that replicas of this shape left on nodes which other groups count.
    /// On which node it lies is not known, so that it is never joined with other free room.
    pub part: Option<ShapeRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Pods can be bound to it.
    Ready,
    /// Ordered, or reserved by the plan in the making: counts as elastic room.
    InFlight,
}

/// What is free on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Free {
    /// Whole GPUs that nobody shares stand under `nvidia.com/gpu`.
    pub amounts: Amounts,
    /// Free thousandths of each GPU that is shared already, in descending order.
    pub shared: Vec<u16>,
}
