//! The ports: all that the loops know of the world outside.
//!
//! Every port is synchronous and returns at once. Reads give what was last observed; requests are handed over, and whether
//! they succeeded shows in later observations. So a port over a network keeps a cache that its own tasks fill, and a
//! simulation answers from memory; the loops cannot tell them apart. Every request may be repeated: it names what it is
//! about (an order's id, an object's key and digest), and carrying it out twice is the same as once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use berth_core::fleet::{CapacityType, OfferingKey, Stock};
use berth_core::ids::{ClusterName, InstanceType, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::placement::NodeOrder;
use berth_core::resources::NamedAmounts;
use serde::{Deserialize, Serialize};

/// Number of a committed batch; grows by one with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Key of a stored object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Group, version and kind, such as `berth.dev/v1alpha1/Cluster` or `apps/v1/Deployment`.
    pub kind: Arc<str>,
    /// Empty for cluster-wide kinds.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.rsplit('/').next().unwrap_or(&self.kind);
        if self.namespace.is_empty() {
            write!(f, "{kind} {}", self.name)
        } else {
            write!(f, "{kind} {}/{}", self.namespace, self.name)
        }
    }
}

/// An object as the store has it. `value` is its Kubernetes JSON; `None` means deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: ObjectKey,
    pub revision: Revision,
    pub value: Option<Arc<[u8]>>,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    /// Last written in this batch.
    At(Revision),
    Anything,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: ObjectKey,
    pub expected: Expected,
    /// `None` deletes.
    pub value: Option<Arc<[u8]>>,
}

/// An entry of the history: a plan or a decision record, by time and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    pub at: Millis,
    /// What it is about: an object's key, or empty for a plan as a whole.
    pub about: Option<ObjectKey>,
    pub value: Arc<[u8]>,
}

/// Writes that commit together or not at all, with the history that belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub writes: Vec<Write>,
    pub history: Vec<HistoryEntry>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first; read again and decide again.
    #[error("{key} was changed by another writer: expected {expected:?}, found revision {found:?}")]
    Conflict { key: ObjectKey, expected: Expected, found: Option<Revision> },
    /// Nothing was written. The program must stop: it cannot record what it decides.
    #[error("the store {path} cannot be written")]
    Write { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The program must stop, and must not serve what it read.
    #[error("the store {path} is damaged: {what}; put back a sound copy of its folder, or start with an empty one")]
    Corrupt { path: String, what: String },
    #[error("the store {path} cannot be opened")]
    Open { path: String, source: Box<dyn std::error::Error + Send + Sync> },
}

/// A transactional store of objects and history.
pub trait Store: Send {
    /// Applies the batch if every expectation holds. When this returns, the batch survives a crash.
    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError>;

    /// Objects written after `since`, each once in its newest form, ascending by revision, then key.
    /// `Revision(0)` gives all objects there are.
    fn changes(&self, since: Revision) -> Result<Vec<Stored>, StoreError>;

    /// The newest `limit` history entries about `about` (all if `None`), newest first.
    fn history(&self, about: Option<&ObjectKey>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError>;
}

/// What was last seen of one member cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterObservation {
    pub reachable: bool,
    /// Since when `reachable` is what it is.
    pub since: Millis,
    /// Ascending by name. A node that did not change is the same value behind the same `Arc` as before, where the port can
    /// have it so: then whatever compares it does not look inside.
    pub nodes: Vec<Arc<NodeObservation>>,
    /// What was applied through the port, and nothing else: a workload of which nothing is stored is deleted. Shared as nodes
    /// are.
    pub workloads: BTreeMap<WorkloadKey, Arc<WorkloadObservation>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObservation {
    pub name: Arc<str>,
    pub pool: PoolName,
    pub instance_type: InstanceType,
    pub zone: Arc<str>,
    /// `None` where the member does not say.
    pub capacity_type: Option<CapacityType>,
    /// The order that brought it, if one did.
    pub order: Option<OrderId>,
    /// Whether pods can be bound to it. A node that is not ready has no room.
    pub ready: bool,
    pub allocatable: NamedAmounts,
    /// `allocatable` less what bound pods request.
    pub free: NamedAmounts,
    /// Free thousandths of each GPU that is shared, descending. See [`berth_core::fleet::Free`].
    pub shared: Vec<u16>,
    /// Since when no pod of a workload has been bound to it; `None` while one is.
    pub idle_since: Option<Millis>,
}

/// A workload at one member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadObservation {
    /// Digest of the manifest that is applied there.
    pub digest: Arc<str>,
    /// By component number.
    pub components: Vec<ComponentObservation>,
    /// A Job that ran to its end.
    pub finished: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// Pods of one component at one member. `starting` pods are bound and not ready yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentObservation {
    pub desired: u32,
    pub ready: u32,
    pub starting: u32,
    /// Pods for which the member's scheduler finds no node.
    pub unschedulable: u32,
    /// Pods bound to nodes, by pool.
    pub bound: BTreeMap<PoolName, u32>,
    /// Since when fewer are ready than desired; `None` while all are ready.
    pub unready_since: Option<Millis>,
}

impl ComponentObservation {
    /// Pods bound to nodes, in all pools.
    pub fn bound_anywhere(&self) -> u32 {
        self.bound.values().sum()
    }
}

/// The member clusters.
pub trait Members: Send {
    /// Clusters of which something changed since this was last called, ascending. The first call gives all.
    fn changed(&mut self) -> Vec<ClusterName>;

    /// `None` for a cluster that was never seen.
    fn observe(&self, cluster: &ClusterName) -> Option<&ClusterObservation>;

    /// Applies `manifest` (Kubernetes JSON, replicas and overrides for this member already in it). `digest` is what the
    /// observation shows once it is applied.
    fn apply(&mut self, cluster: &ClusterName, workload: &WorkloadKey, manifest: &Arc<[u8]>, digest: &Arc<str>);

    fn delete(&mut self, cluster: &ClusterName, workload: &WorkloadKey);
}

/// Why an order failed. Different causes need different answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderFailure {
    NoStock,
    /// The account's quota at the provider.
    NoQuota,
    NoAddresses,
    NoPermission,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderState {
    /// Nodes are being started.
    Pending,
    /// All its nodes have joined.
    Delivered,
    /// `delivered` nodes joined, or will; the rest never come.
    Failed {
        cause: OrderFailure,
        delivered: u32,
    },
    Cancelled,
}

/// Whoever makes nodes.
pub trait NodeProvider: Send {
    /// Orders nodes. An id that is known already changes nothing.
    fn order(&mut self, order: &NodeOrder);

    /// Cancels what has not been delivered yet.
    fn cancel(&mut self, order: &OrderId);

    /// Drains and removes a node.
    fn remove(&mut self, cluster: &ClusterName, pool: &PoolName, node: &Arc<str>);

    /// `None` for an order that the provider does not know: it was never received, or was forgotten long after its end.
    fn order_state(&self, order: &OrderId) -> Option<OrderState>;

    /// What the provider says of stock now, ascending by offering; offerings that it says nothing about are absent.
    fn stock(&mut self) -> Vec<(OfferingKey, Stock)>;
}

pub trait Clock: Send {
    fn now(&self) -> Millis;
}

/// Where events for people go.
pub trait Events: Send {
    fn emit(&mut self, event: crate::event::Event);
}
