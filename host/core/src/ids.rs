//! Identifiers as types of their own, so that none is passed for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! row {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u32);

        impl $type {
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

name!(
    /// Name of a member cluster; unique in the fleet.
    ClusterName
);
name!(
    /// Name of a node pool; unique within its cluster.
    PoolName
);
name!(
    /// Name of a component within its workload, such as `worker`.
    ComponentName
);
name!(
    /// Name of a policy, such as `weighted`.
    PolicyName
);
name!(
    /// Name of a node of the quota tree; unique in the tree.
    QuotaName
);
name!(
    /// Name of an instance type, such as `p3.2xlarge`.
    InstanceType
);
name!(
    /// Name of a node order: made from the placement it serves, unique for ever, and the same when an order is sent again.
    OrderId
);

row!(
    /// Row of a cluster in a snapshot and in the tables that policies hold. Rows are never reused.
    ClusterRow
);
row!(
    /// Row of a node pool in a snapshot. Rows are never reused.
    PoolRow
);
row!(
    /// Row of an offering in a snapshot. Rows are never reused.
    OfferingRow
);
row!(
    /// Row of a node of the quota tree.
    QuotaRow
);
row!(
    /// An interned request shape: everything that decides whether, and how often, a replica fits.
    ShapeRow
);

/// A workload's key: kind, namespace and name, ordered by namespace, name and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Group, version and kind as `apps/v1/Deployment` or `v1/ConfigMap`.
    pub kind: Arc<str>,
}

impl WorkloadKey {
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), kind: kind.into() }
    }
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.rsplit('/').next().unwrap_or(&self.kind);
        if self.namespace.is_empty() {
            return write!(f, "{kind} {}", self.name);
        }
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// Number of a snapshot: grows with every change of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// Number of a plan: one more than its parent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub u64);

/// Milliseconds since the Unix epoch, on whatever clock the process runs by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub fn plus(self, millis: u64) -> Millis {
        Millis(self.0.saturating_add(millis))
    }
}
