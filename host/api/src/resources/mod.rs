//! The resources of group `berth.dev/v1alpha1`, field by field as users write them.
//!
//! These types hold what was written; what it means is in [`crate::to_core`]. Every object here has passed its schema.

mod distribution;
mod fleet;
mod overriding;
mod placement;
mod quota;
mod simulation;

pub use distribution::*;
pub use fleet::*;
pub use overriding::*;
pub use placement::*;
pub use quota::*;
pub use simulation::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;

/// An object of one of Berth's kinds, without `apiVersion` and `kind`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource<Spec, Status = NoStatus> {
    pub metadata: ObjectMeta,
    pub spec: Spec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The status of kinds that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoStatus {}

pub type Cluster = Resource<ClusterSpec>;
pub type NodePool = Resource<NodePoolSpec>;
pub type Offering = Resource<OfferingSpec, OfferingStatus>;
/// Namespaced or, without a namespace, a `ClusterDistributionPolicy`.
pub type DistributionPolicy = Resource<DistributionSpec>;
/// Namespaced or, without a namespace, a `ClusterOverridePolicy`.
pub type OverridePolicy = Resource<OverrideSpec>;
pub type QuotaTree = Resource<QuotaTreeSpec>;
pub type Placement = Resource<PlacementSpec, PlacementStatus>;
pub type Simulation = Resource<SimulationSpec>;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
