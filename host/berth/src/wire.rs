//! What travels between the API and its clients, beside the rows that the controller's own queries give.

use std::collections::BTreeMap;
use std::fmt;

use berth_control::event::Event;
use berth_control::view::{ClusterRow, Explanation, PoolRow, StockRow};
use berth_core::ids::Millis;
use berth_policy::{Figures, PolicyStatus};
use serde::{Deserialize, Serialize};

/// Every answer that is no success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiError {
    /// Stable, in CamelCase.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What to do about it; empty where there is nothing to add.
    #[serde(default)]
    pub(crate) hint: String,
    /// One line a fault.
    #[serde(default)]
    pub(crate) details: Vec<String>,
}

/// Manifests to apply or to delete: all of them or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sources {
    pub(crate) sources: Vec<Source>,
}

/// A file as it was read: YAML or JSON, any number of documents. What is in it is not shown in messages.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// Name of the file, for messages.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("bytes", &self.text.len()).finish()
    }
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `created`, `configured`, `unchanged`, `deleted` or `not found`.
    pub(crate) outcome: String,
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Items<T> {
    pub(crate) items: Vec<T>,
    /// Where the list goes on, for the next request; absent at its end.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Items<T> {
    /// A list that is whole.
    pub(crate) fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// An object as a person names it: the kind in any spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectRef {
    pub(crate) kind: String,
    /// Not used for cluster-wide kinds.
    #[serde(default)]
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct References {
    pub(crate) objects: Vec<ObjectRef>,
}

/// Objects of one kind, as Kubernetes writes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Objects {
    /// In its proper spelling.
    pub(crate) kind: String,
    pub(crate) items: Vec<serde_json::Value>,
    /// Where the list goes on, for the next request; absent at its end.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Top {
    pub(crate) clusters: Vec<ClusterRow>,
    pub(crate) pools: Vec<PoolRow>,
    pub(crate) stock: Vec<StockRow>,
    /// Time of the controller's clock, to which ages refer.
    pub(crate) now: Millis,
    /// Where the rows go on, for the next request; absent at their end.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Explained {
    #[serde(flatten)]
    pub(crate) explanation: Explanation,
    /// Recent events about the workload, oldest first.
    pub(crate) events: Vec<Event>,
    pub(crate) now: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NumberedEvent {
    /// Grows by one with each event of this run.
    pub(crate) number: u64,
    /// For a person.
    pub(crate) line: String,
    #[serde(flatten)]
    pub(crate) event: Event,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Events {
    pub(crate) items: Vec<NumberedEvent>,
}

/// A policy, or a file that was refused, as an operator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyRow {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) version: String,
    pub(crate) digest: String,
    /// Id of the key that signed it, where only signed policies are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_by: Option<String>,
    pub(crate) file: String,
    /// `active`, `taken-out`, `shadow`, `canary`, `went-back` or `refused`.
    pub(crate) state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) calls: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) fuel_per_call: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) doc: String,
    /// For a shadow or a canary: how it compares with its slot's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compared: Option<Figures>,
}

/// What the controller is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) now: Millis,
    /// Since the run began, on the controller's clock.
    pub(crate) elapsed_ms: u64,
    pub(crate) speed: f64,
    /// `settled`, `working` or `stuck`.
    pub(crate) settled: String,
    /// Why it is stuck.
    pub(crate) reasons: Vec<String>,
    pub(crate) workloads: usize,
    pub(crate) waiting: usize,
    pub(crate) decisions: u64,
}

impl From<PolicyStatus> for PolicyRow {
    fn from(status: PolicyStatus) -> Self {
        Self {
            name: status.name,
            kind: status.kind.map(|kind| kind.as_str().to_owned()),
            version: status.version,
            digest: status.digest,
            signed_by: status.signed_by,
            file: status.file,
            state: status.state.as_str().to_owned(),
            reason: status.reason,
            calls: status.calls,
            failures: status.failures.iter().map(|(what, count)| (what.as_str().to_owned(), *count)).collect(),
            fuel_per_call: status.fuel_per_call,
            p50_us: status.p50_us,
            p99_us: status.p99_us,
            memory_bytes: status.memory_bytes,
            doc: status.doc,
            compared: status.compared,
        }
    }
}

/// Lists that come in pages.
pub(crate) trait Pages {
    /// Where it goes on.
    fn next(&mut self) -> &mut Option<String>;
    /// Adds the rows of the page that follows.
    fn append(&mut self, page: Self);
}

impl<T> Pages for Items<T> {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, page: Self) {
        self.items.extend(page.items);
    }
}

impl Pages for Objects {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, page: Self) {
        self.items.extend(page.items);
    }
}

impl Pages for Top {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, page: Self) {
        self.clusters.extend(page.clusters);
        self.pools.extend(page.pools);
        self.stock.extend(page.stock);
    }
}
