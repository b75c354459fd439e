//! What the API shows: questions to the controller, in the form in which they travel.

use std::collections::BTreeSet;

use berth_control::Settled;
use berth_control::event::{Event, What};
use berth_control::view::{Explanation, WorkloadRow};
use berth_core::ids::{ClusterName, WorkloadKey};

use super::engine::Engine;
use crate::server::error::Refusal;
use crate::server::page::{self, Page};
use crate::wire::{Events, Explained, Items, ObjectRef, PolicyRow, Status, Top};

/// Events about one workload that are shown with its explanation.
const STORY: usize = 20;

/// Clusters where it is or was lately.
fn clusters_of(explanation: &Explanation) -> BTreeSet<ClusterName> {
    let decisions = explanation.decision.iter().chain(&explanation.history);
    decisions.flat_map(|decision| &decision.clusters).map(|at| at.cluster.clone()).collect()
}

/// What tells the workload's story beside its decisions, which are shown anyway: what became of it, and of the nodes in its
/// clusters.
fn concerns(what: &What, workload: &WorkloadKey, clusters: &BTreeSet<ClusterName>) -> bool {
    match what {
        What::Placed { .. } => false,
        What::NodesReady { cluster, .. }
        | What::OrderFailed { cluster, .. }
        | What::NodesRemoved { cluster, .. }
        | What::ClusterLost { cluster }
        | What::ClusterBack { cluster } => clusters.contains(cluster),
        other => other.workload() == Some(workload),
    }
}

const TABLES: [&str; 3] = ["clusters", "pools", "stock"];

/// Where a page of [`Engine::top`] begins: the table, and how many of its rows came before.
fn top_place(after: &str) -> Option<(usize, usize)> {
    if after.is_empty() {
        return Some((0, 0));
    }
    let (name, rows) = after.split_once('/')?;
    Some((TABLES.iter().position(|table| *table == name)?, rows.parse().ok()?))
}

/// Moves at most `room` of the rows found; returns how many were found.
fn cut_to<T>(room: usize, into: &mut Vec<T>, mut rows: Vec<T>) -> usize {
    let found = rows.len();
    rows.truncate(room);
    *into = rows;
    found
}

impl Engine {
    /// Rows of the workloads in `namespace`; of all namespaces if it is empty.
    pub(crate) fn workloads(&self, namespace: &str, page: &Page) -> Result<Items<WorkloadRow>, Refusal> {
        let after = page.after_object()?.map(|key| WorkloadKey::new(&key.kind, &key.namespace, &key.name));
        let keys = self.controller.state().workloads().map(|(key, _)| key);
        let keys = keys
            .filter(|key| namespace.is_empty() || *key.namespace == *namespace)
            .filter(|key| after.as_ref().is_none_or(|after| *key > after));
        let place = |key: &&WorkloadKey| page::place(&key.namespace, &key.name, &key.kind);
        let (items, next) = page.fill(keys, |key| self.controller.workload(key), place);
        Ok(Items { items, next })
    }

    pub(crate) fn explain(&self, reference: &ObjectRef) -> Result<Explained, Refusal> {
        let workload = self.workload(reference)?;
        let explanation = self.controller.explain(&workload).map_err(|error| Refusal::internal(&error))?;
        let explanation = explanation.ok_or_else(|| Refusal::not_found(format!("{workload} is not known")))?;
        let clusters = clusters_of(&explanation);
        let mut events: Vec<Event> = self.story.since(0, usize::MAX).into_iter().map(|event| event.event).collect();
        events.retain(|event| concerns(&event.what, &workload, &clusters));
        let events = events.split_off(events.len().saturating_sub(STORY));
        Ok(Explained { explanation, events, now: self.simulation.now() })
    }

    /// The workload that is meant: by name alone where that is enough.
    fn workload(&self, reference: &ObjectRef) -> Result<WorkloadKey, Refusal> {
        let kind = match reference.kind.as_str() {
            "" => None,
            word => Some(self.kind(word)?),
        };
        let last = |key: &WorkloadKey| key.kind.rsplit('/').next().map(str::to_owned);
        let fits = |key: &WorkloadKey| {
            *key.name == *reference.name
                && *key.namespace == *reference.namespace
                && kind.as_ref().is_none_or(|kind| last(key).as_ref() == Some(kind))
        };
        let found: Vec<WorkloadKey> =
            self.controller.state().workloads().map(|(key, _)| key.clone()).filter(|key| fits(key)).collect();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                let message = format!("workload {:?} not found in namespace {}", reference.name, reference.namespace);
                Err(Refusal::not_found(message).hint("`berth get workloads -A` lists what there is"))
            }
            // A ConfigMap of the same name is rarely what is meant.
            several => {
                let kinds: Vec<String> = several.iter().filter_map(last).collect();
                let message = format!("{} may be meant: {}", reference.name, kinds.join(", "));
                Err(Refusal::new(axum::http::StatusCode::CONFLICT, "Ambiguous", message).hint("write KIND/NAME"))
            }
        }
    }

    /// Clusters, then pools, then stock, as far as the page goes. It goes on at `TABLE/ROWS`: after so many rows of a table.
    pub(crate) fn top(&self, page: &Page) -> Result<Top, Refusal> {
        let (table, skip) = top_place(&page.after).ok_or_else(|| page.unknown())?;
        let mut top = Top { now: self.simulation.now(), ..Top::default() };
        let mut room = page.limit;
        for (index, name) in TABLES.iter().enumerate().skip(table) {
            let skip = if index == table { skip } else { 0 };
            // One more than there is room for tells whether the table goes on.
            let rows = skip..skip.saturating_add(room).saturating_add(1);
            let found = match index {
                0 => cut_to(room, &mut top.clusters, self.controller.clusters_in(rows)),
                1 => cut_to(room, &mut top.pools, self.controller.pools_in(rows)),
                _ => cut_to(room, &mut top.stock, self.controller.stock_in(rows)),
            };
            if found > room {
                top.next = Some(format!("{name}/{}", skip + room));
                break;
            }
            room -= found;
        }
        Ok(top)
    }

    pub(crate) fn policies(&self) -> Vec<PolicyRow> {
        self.policies.status().into_iter().map(PolicyRow::from).collect()
    }

    pub(crate) fn events(&self, after: u64, limit: usize) -> Events {
        Events { items: self.story.since(after, limit) }
    }

    pub(crate) fn decisions(&self, reference: &ObjectRef, limit: usize) -> Result<Vec<serde_json::Value>, Refusal> {
        let workload = self.workload(reference)?;
        self.controller.decisions(&workload, limit).map(page::cut).map_err(|error| Refusal::internal(&error))
    }

    pub(crate) fn status(&self) -> Status {
        let (settled, reasons) = match self.controller.settled() {
            Settled::Done => ("settled", Vec::new()),
            Settled::Working => ("working", Vec::new()),
            Settled::Stuck(reasons) => ("stuck", reasons.iter().map(ToString::to_string).collect()),
        };
        let now = self.simulation.now();
        let rows = self.controller.workloads();
        Status {
            now,
            elapsed_ms: now.since(self.start),
            speed: self.speed,
            settled: settled.to_owned(),
            reasons,
            workloads: rows.len(),
            waiting: rows.iter().filter(|row| row.waiting.is_some()).count(),
            decisions: self.counts.decisions,
        }
    }
}
