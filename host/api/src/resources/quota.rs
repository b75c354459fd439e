//! `QuotaTree`: guaranteed minima that are lent while idle, and ceilings; shaped like ElasticQuotaTree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantities;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaTreeSpec {
    /// Its `max` equals its `min`.
    pub root: QuotaNode,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaNode {
    /// Unique within the tree.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Guaranteed; resources that are not named have no guarantee.
    #[serde(default, skip_serializing_if = "Quantities::is_empty")]
    pub min: Quantities,
    /// Never exceeded; resources that are not named have no limit.
    #[serde(default, skip_serializing_if = "Quantities::is_empty")]
    pub max: Quantities,
    /// Namespaces that are charged to this node; leaves only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<QuotaNode>,
}
