//! What loops want done. The controller carries actions out one by one, in order; a crash may come between any two, so each
//! is idempotent, and each durable step stands before the requests that follow from it.

use std::sync::Arc;

use berth_core::ids::{ClusterName, OrderId, PoolName, WorkloadKey};
use berth_core::placement::NodeOrder;

use crate::event::Event;
use crate::ports::Batch;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Writes to the store; the events are told if it succeeds. On a conflict the state is read again, and the loops decide
    /// again.
    Commit {
        batch: Batch,
        events: Vec<Event>,
    },
    Order {
        order: NodeOrder,
        workload: WorkloadKey,
    },
    Cancel(OrderId),
    RemoveNode {
        cluster: ClusterName,
        pool: PoolName,
        node: Arc<str>,
        why: String,
    },
    Apply {
        cluster: ClusterName,
        workload: WorkloadKey,
        manifest: Arc<[u8]>,
        digest: Arc<str>,
    },
    Delete {
        cluster: ClusterName,
        workload: WorkloadKey,
    },
    Emit(Event),
}
