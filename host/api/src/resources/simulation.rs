//! `Simulation`: what the simulator adds to a fleet file. Nothing else reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::duration::{Duration, DurationRange};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SimulationSpec {
    /// From a bound pod to a ready one: image, device plugin, model. Chosen evenly from the range for each pod.
    pub pod_start: DurationRange,
    /// From an order to a node that takes pods. Chosen evenly from the range for each node.
    pub node_start: DurationRange,
    /// Where the simulation ends at the latest; absent: with its series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<Duration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stock_series: Vec<StockSeries>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_series: Vec<LoadSeries>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

impl Default for SimulationSpec {
    fn default() -> Self {
        Self {
            pod_start: DurationRange { min: Duration::from_seconds(30), max: Duration::from_seconds(30) },
            node_start: DurationRange { min: Duration::from_seconds(35), max: Duration::from_seconds(55) },
            length: None,
            stock_series: Vec::new(),
            load_series: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Stock over time: a CSV file whose first column is a time and whose other columns say 1 (available) or 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StockSeries {
    /// Relative to the fleet file.
    #[schemars(length(min = 1))]
    pub file: String,
    #[schemars(length(min = 1))]
    pub columns: Vec<StockColumn>,
    /// Nodes that can be had while a column says 1, unless the column says otherwise.
    #[serde(default = "default_nodes")]
    pub nodes: u32,
    /// Left out from the beginning of the file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offset: Duration,
}

fn default_nodes() -> u32 {
    8
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StockColumn {
    /// Heading of the column, such as `us-east-1a`.
    #[schemars(length(min = 1))]
    pub column: String,
    /// Names of the `Offering` objects whose stock it gives.
    #[schemars(length(min = 1))]
    pub offerings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
}

/// Requests over time, which set a workload's replicas: a CSV file whose first column is a time. Each row is one request, or
/// as many as its column `requests` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadSeries {
    /// Relative to the fleet file.
    #[schemars(length(min = 1))]
    pub file: String,
    pub workload: WorkloadName,
    /// Requests that one replica serves in a second.
    pub requests_per_second: f64,
    /// Replicas.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min: u32,
    pub max: u32,
    /// Over which the load is averaged before replicas are set.
    #[serde(default = "default_window")]
    pub window: Duration,
    /// Time of the file that passes in one second of the simulation; 1 is as recorded.
    #[serde(default = "default_speed")]
    pub speed: f64,
    /// Whether the file starts again at its end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repeat: bool,
}

fn default_window() -> Duration {
    Duration::from_seconds(60)
}

fn default_speed() -> f64 {
    1.0
}

/// A workload of the same fleet file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadName {
    /// Such as `apps/v1`.
    #[serde(default = "default_api_version")]
    pub api_version: String,
    #[serde(default = "default_kind")]
    pub kind: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub name: String,
}

fn default_api_version() -> String {
    "apps/v1".to_owned()
}

fn default_kind() -> String {
    "Deployment".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Something that goes wrong at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// From the start of the simulation.
    pub at: Duration,
    pub what: FaultKind,
    /// For `ClusterLost`, `NodesLost` and `SlowStarts`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// For `NodesLost`; absent: any pool of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// For `OutOfStock` and `OrdersFail`: name of an `Offering`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub offering: String,
    /// For `NodesLost`.
    #[serde(default = "default_lost", skip_serializing_if = "is_one")]
    pub nodes: u32,
    /// How long it lasts; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
}

fn default_lost() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FaultKind {
    /// The cluster's API does not answer.
    ClusterLost,
    /// Nodes vanish with their pods.
    NodesLost,
    /// The offering has no stock, and orders under way fail.
    OutOfStock,
    /// The stock looks well, but orders fail.
    OrdersFail,
    /// Pods and nodes of the cluster take ten times as long to start.
    SlowStarts,
}
