//! Resources in the planner's terms.

mod fleet;
mod policy;
mod workload;

pub use fleet::{PoolDefinition, cluster, node_allocatable, offering, offering_key, pool, pool_offerings, quota_tree};
pub(crate) use policy::affinity;
pub use policy::{Matched, PolicySet, rules};
pub use workload::{PriorityClasses, workload};

#[cfg(test)]
mod tests;
