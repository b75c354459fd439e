//! What goes wrong: at given times, or by chance. Nothing does unless it is asked for.

use std::sync::Arc;

use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, PoolName};
use serde::{Deserialize, Serialize};

/// Probabilities of faults, 0 to 1. All are 0 by default. The same seed gives the same faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Chances {
    /// An order never reaches the provider; sending it again may succeed.
    pub order_lost: f64,
    /// An order is carried out, but the provider never says more than that it is pending.
    pub order_silent: f64,
    /// An order takes ten times as long.
    pub order_late: f64,
    /// An order reaches the provider twice.
    pub order_twice: f64,
    /// An order gets some of its nodes, and fails for the rest.
    pub order_partial: f64,
    /// An order is refused as a whole, for another cause than stock.
    pub order_refused: f64,
    /// A request to cancel an order, to remove a node, or to apply or delete a manifest gets lost.
    pub request_lost: f64,
    /// A node is lost within an hour.
    pub node_lost_per_hour: f64,
    /// A cluster stops answering within an hour; it is back after one to thirty minutes.
    pub cluster_lost_per_hour: f64,
}

/// What a fault does when it begins, and undoes when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Effect {
    Reachable(ClusterName, bool),
    LoseNodes {
        cluster: ClusterName,
        pool: Option<PoolName>,
        nodes: u32,
    },
    LoseNode(ClusterName, Arc<str>),
    /// Nodes that can be had from now on.
    Capacity(OfferingKey, u32),
    Empty(OfferingKey, bool),
    Failing(OfferingKey, bool),
    Slow(ClusterName, bool),
    /// Keeps what is applied and seen, for a fault that brings it back.
    Remember(ClusterName),
    /// What is applied is what was remembered: the cluster's own store was restored from a copy.
    Restore(ClusterName),
    /// What was remembered is seen, or what is seen now where nothing was, until this ends: a cache that lags behind.
    Stale(ClusterName, bool),
    /// Somebody deletes a workload by hand: the one whose place among all is given, counted around.
    Tamper(ClusterName, u64),
    /// Chances from now on.
    Chances(Chances),
    /// Chances are drawn again each hour.
    Hour(u64),
}
