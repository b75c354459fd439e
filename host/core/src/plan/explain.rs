//! A decision in words: for each cluster, what it got or why it got nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::DecisionRecord;
use crate::ids::WorkloadKey;
use crate::placement::PolicyRef;
use crate::policy::{Problem, Tables};
use crate::reason::Code;
use crate::workload::main_component;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub workload: WorkloadKey,
    pub by: PolicyRef,
    /// The policy that should have decided, and why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<(PolicyRef, String)>,
    /// Why nothing was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Clusters that got replicas first, then candidates that got none, then those passed over; each in ascending order of
    /// name.
    pub clusters: Vec<ExplainedCluster>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedCluster {
    pub cluster: Arc<str>,
    /// Replicas by component, in the policy's decision.
    pub replicas: Vec<(Arc<str>, u32)>,
    /// Why it got nothing; `None` where it got something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    pub message: String,
    /// The policy's terms.
    pub terms: Vec<(Arc<str>, f64)>,
}

/// Says for every cluster why. `tables` are those that the record was made with.
pub fn explain(record: &DecisionRecord, tables: &Tables) -> Explanation {
    let decision = record.outcome.as_ref().ok();
    let name = |row: u32| tables.names.get(row as usize).cloned().unwrap_or_else(|| format!("cluster {row}").into());
    let mut clusters: Vec<(u8, ExplainedCluster)> = Vec::new();
    for (candidate, row) in (0..).zip(&record.candidates.cluster) {
        let assigned = decision.iter().flat_map(|decision| &decision.assignments);
        let replicas: Vec<(Arc<str>, u32)> = assigned
            .filter(|assignment| assignment.candidate == candidate && assignment.replicas > 0)
            .filter_map(|one| Some((record.request.components.get(one.component as usize)?.name.clone(), one.replicas)))
            .collect();
        let terms = decision.iter().flat_map(|decision| &decision.terms).filter(|term| term.candidate == candidate);
        let terms = terms.map(|term| (term.name.clone(), term.value)).collect();
        let everywhere = record.request.components.is_empty() && decision.is_some();
        let chosen = everywhere || !replicas.is_empty();
        let (code, message) = match (&record.outcome, chosen) {
            (_, true) => (None, format!("chosen by {}", record.by.name)),
            (Ok(_), false) => {
                (Some(Code::NotChosen), format!("{}; {} chose others", room(record, candidate), record.by.name))
            }
            (Err(problem), false) => {
                let why = format!("{}; {}: {}", room(record, candidate), record.by.name, problem.message);
                (Some(Code::NotChosen), why)
            }
        };
        clusters.push((u8::from(!chosen), ExplainedCluster { cluster: name(*row), replicas, code, message, terms }));
    }
    for passed in record.passed.each() {
        let (cluster, message) = (name(passed.cluster), passed.why());
        let row =
            ExplainedCluster { cluster, replicas: Vec::new(), code: Some(passed.code), message, terms: Vec::new() };
        clusters.push((2, row));
    }
    clusters.sort_by(|one, other| (one.0, &one.1.cluster).cmp(&(other.0, &other.1.cluster)));
    Explanation {
        workload: record.workload.clone(),
        by: record.by.clone(),
        failed: record.failed.clone(),
        problem: record.outcome.as_ref().err().cloned(),
        clusters: clusters.into_iter().map(|(_, row)| row).collect(),
    }
}

/// The room of a candidate, for the main component.
fn room(record: &DecisionRecord, candidate: u32) -> String {
    let (n, components) = (record.candidates.len(), &record.request.components);
    let main = main_component(components.iter().map(|component| component.replicas)).unwrap_or(0);
    let at = |column: &[u32]| column.get(main * n + candidate as usize).copied().unwrap_or(0);
    let (ready, elastic) = (at(&record.candidates.ready), at(&record.candidates.elastic));
    format!("room for {ready} replicas now and {elastic} on new nodes")
}
