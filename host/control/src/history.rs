//! Decisions as they stand in the history: what is small as JSON, columns about clusters as bytes.
//!
//! A decision in a large fleet has some tens of thousands of numbers about its candidates and passed clusters, most of them
//! like their neighbours. An entry is a byte that names the form, the length of a head, the head as JSON, and the columns in
//! the order of [`columns`]. Nothing is lost: what is decoded equals what was encoded, bit for bit. Entries that begin with
//! `{` are JSON as a whole, as earlier versions wrote them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use berth_core::columns::{Numbers, Reader, Writer};
use berth_core::ids::{Generation, Millis, PlanId, WorkloadKey};
use berth_core::placement::PolicyRef;
use berth_core::plan::{DecisionRecord, Passed, PassedOver};
use berth_core::policy::{Assignment, Decision, Problem, Request, Tables, Term};
use berth_core::reason::{Code, Reason};
use serde::{Deserialize, Serialize};

use crate::event::ClusterReplicas;
use crate::ports::ObjectKey;

/// The form that [`encode`] writes.
const FORM: u8 = 1;

/// A decision in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionEntry {
    /// Digest of the tables that it was made with; they are in the history under [`tables_key`].
    pub tables: Arc<str>,
    pub clusters: Vec<ClusterReplicas>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<Reason>,
    /// Its `tables` are not filled in.
    pub record: Arc<DecisionRecord>,
}

/// An entry that is not what [`encode`] wrote.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("it is of form {0}, and this version knows form {FORM} alone")]
    Form(u8),
    #[error("it ends early, or its columns make no sense")]
    Columns,
    #[error("its head cannot be read")]
    Head(#[from] serde_json::Error),
}

/// What an entry is about that holds the tables of decisions.
pub fn tables_key(digest: &str) -> ObjectKey {
    ObjectKey { kind: "berth.dev/v1alpha1/Tables".into(), namespace: "".into(), name: digest.into() }
}

/// Everything about a decision that is no column.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    tables: Arc<str>,
    clusters: Vec<ClusterReplicas>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    short: Option<Reason>,
    plan: PlanId,
    generation: Generation,
    workload: WorkloadKey,
    workload_generation: u64,
    decided_at: Millis,
    by: PolicyRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<(PolicyRef, String)>,
    fuel: u64,
    request: Request,
    /// Why there is no decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// Names of the extra columns.
    extra: Vec<Arc<str>>,
    /// What the numbers in the column of codes stand for.
    codes: Vec<Code>,
    /// What the numbers in the column of terms' names stand for.
    terms: Vec<Arc<str>>,
}

/// An entry as bytes.
pub fn encode(entry: &DecisionEntry) -> Vec<u8> {
    let record = &*entry.record;
    let empty = Decision::default();
    let decision = record.outcome.as_ref().unwrap_or(&empty);
    let (mut codes, mut terms) = (Numbers::default(), Numbers::default());
    let passed = record.passed.each();
    let code: Vec<u32> = passed.iter().map(|passed| codes.of(&passed.code)).collect();
    let term: Vec<u32> = decision.terms.iter().map(|term| terms.of(&term.name)).collect();
    let head = Head {
        tables: entry.tables.clone(),
        clusters: entry.clusters.clone(),
        short: entry.short.clone(),
        plan: record.plan,
        generation: record.generation,
        workload: record.workload.clone(),
        workload_generation: record.workload_generation,
        decided_at: record.decided_at,
        by: record.by.clone(),
        failed: record.failed.clone(),
        fuel: record.fuel,
        request: record.request.clone(),
        problem: record.outcome.as_ref().err().cloned(),
        extra: record.candidates.extra.iter().map(|column| column.name.clone()).collect(),
        codes: codes.values,
        terms: terms.values,
    };
    let mut bytes = vec![FORM, 0, 0, 0, 0];
    // These types have string keys and nothing that JSON cannot say.
    bytes.extend(serde_json::to_vec(&head).unwrap_or_default());
    let length = (bytes.len() - 5) as u32;
    bytes[1..5].copy_from_slice(&length.to_le_bytes());
    let mut out = Writer(bytes);
    out.candidates(&record.candidates);
    out.whole(passed.iter().map(|passed| passed.cluster));
    out.whole(code.into_iter());
    out.whole(passed.iter().map(|passed| passed.have));
    out.whole(passed.iter().map(|passed| passed.need));
    out.whole(decision.assignments.iter().map(|one| one.component));
    out.whole(decision.assignments.iter().map(|one| one.candidate));
    out.whole(decision.assignments.iter().map(|one| one.replicas));
    out.whole(decision.terms.iter().map(|term| term.candidate));
    out.whole(term.into_iter());
    out.real(decision.terms.iter().map(|term| term.value));
    out.0
}

/// Reads back what [`encode`] wrote.
///
/// # Errors
/// If it is something else.
pub fn decode(bytes: &[u8]) -> Result<DecisionEntry, DecodeError> {
    let (form, rest) = bytes.split_first().ok_or(DecodeError::Columns)?;
    match *form {
        b'{' => return Ok(serde_json::from_slice(bytes)?),
        FORM => {}
        other => return Err(DecodeError::Form(other)),
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Columns)?;
    let (head, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(DecodeError::Columns)?;
    let head: Head = serde_json::from_slice(head)?;
    columns(head, Reader(rest)).ok_or(DecodeError::Columns)
}

/// The columns, in the order in which they were written.
fn columns(head: Head, mut from: Reader<'_>) -> Option<DecisionEntry> {
    let candidates = from.candidates(&head.extra)?;
    let (cluster, code, have, need) = (from.whole()?, from.whole()?, from.whole()?, from.whole()?);
    let mut passed = Vec::with_capacity(cluster.len());
    for (at, cluster) in cluster.iter().enumerate() {
        let code = *head.codes.get(*code.get(at)? as usize)?;
        passed.push(Passed { cluster: *cluster, code, have: *have.get(at)?, need: *need.get(at)? });
    }
    let (component, candidate, replicas) = (from.whole()?, from.whole()?, from.whole()?);
    let mut decision = Decision::default();
    for (at, component) in component.iter().enumerate() {
        let (candidate, replicas) = (*candidate.get(at)?, *replicas.get(at)?);
        decision.assignments.push(Assignment { component: *component, candidate, replicas });
    }
    let (candidate, name, value) = (from.whole()?, from.whole()?, from.real()?);
    for (at, candidate) in candidate.iter().enumerate() {
        let name = head.terms.get(*name.get(at)? as usize)?.clone();
        decision.terms.push(Term { candidate: *candidate, name, value: *value.get(at)? });
    }
    let record = DecisionRecord {
        plan: head.plan,
        generation: head.generation,
        workload: head.workload,
        workload_generation: head.workload_generation,
        decided_at: head.decided_at,
        by: head.by,
        failed: head.failed,
        fuel: head.fuel,
        tables: Arc::<Tables>::default(),
        request: head.request,
        candidates,
        passed: PassedOver::of(passed)?,
        outcome: match head.problem {
            Some(problem) => Err(problem),
            None => Ok(decision),
        },
    };
    let entry =
        DecisionEntry { tables: head.tables, clusters: head.clusters, short: head.short, record: Arc::new(record) };
    from.0.is_empty().then_some(entry)
}
