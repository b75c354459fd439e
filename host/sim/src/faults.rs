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
    /// A node is lost within an hour.
    pub node_lost_per_hour: f64,
    /// A cluster stops answering within an hour; it is back after one to thirty minutes.
    pub cluster_lost_per_hour: f64,
}

/// What a fault does when it begins, and undoes when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Chances are drawn again each hour.
    Hour(u64),
}
