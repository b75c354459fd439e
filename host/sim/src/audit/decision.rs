//! A decision as it stands in the history, read by a reader of our own.
//!
//! An entry is a byte that names the form (1), the length of a head in four bytes, the head as JSON, and columns. A column of
//! whole numbers is its length and then differences between neighbours, each with how often it follows on itself; one of
//! real numbers is the list of distinct values and then a column of rows in it. An entry that begins with `{` is JSON.

use berth_core::ids::WorkloadKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::record::{PolicyRef, Reason};

const FORM: u8 = 1;

#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) tables: String,
    pub(super) clusters: Vec<ClusterReplicas>,
    pub(super) short: Option<Reason>,
    pub(super) plan: u64,
    pub(super) workload: WorkloadKey,
    pub(super) generation: u64,
    pub(super) decided_at: u64,
    pub(super) by: PolicyRef,
    pub(super) failed: Option<(PolicyRef, String)>,
    pub(super) request: Request,
    /// Cluster rows of the candidates.
    pub(super) candidates: Vec<u64>,
    pub(super) passed: Vec<Passed>,
    /// Empty where there was a problem.
    pub(super) assignments: Vec<Assignment>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ClusterReplicas {
    pub(super) cluster: String,
    pub(super) after: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Request {
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Passed {
    pub(super) cluster: u64,
    pub(super) code: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Assignment {
    pub(super) component: u64,
    pub(super) candidate: u64,
    pub(super) replicas: u64,
}

/// What is no column.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    tables: String,
    clusters: Vec<ClusterReplicas>,
    #[serde(default)]
    short: Option<Reason>,
    plan: u64,
    workload: WorkloadKey,
    workload_generation: u64,
    decided_at: u64,
    by: PolicyRef,
    #[serde(default)]
    failed: Option<(PolicyRef, String)>,
    request: Request,
    #[serde(default)]
    problem: Option<IgnoredAny>,
    extra: Vec<String>,
    codes: Vec<String>,
    terms: Vec<String>,
}

impl Decision {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            Some((&FORM, rest)) => read_columns(rest),
            Some((b'{', _)) => Err("it is of the old form, which is not written any more".to_owned()),
            other => Err(format!("it is of form {:?}", other.map(|(form, _)| form))),
        }
    }
}

fn read_columns(bytes: &[u8]) -> Result<Decision, String> {
    let early = || "it ends early".to_owned();
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(early)?;
    let (head, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(early)?;
    let head: Head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
    let mut columns = Columns(rest);
    let candidates = columns.candidates(head.extra.len()).ok_or_else(early)?;
    let mut next = || columns.whole().ok_or_else(early);
    let (cluster, code, _have, _need) = (next()?, next()?, next()?, next()?);
    let (component, candidate, replicas) = (next()?, next()?, next()?);
    let (term, name) = (next()?, next()?);
    let values = columns.real().ok_or_else(early)?;
    let alike = cluster.len() == code.len() && component.len() == candidate.len() && candidate.len() == replicas.len();
    let named = name.iter().all(|name| (*name as usize) < head.terms.len());
    if !(alike && named && term.len() == name.len() && name.len() == values && columns.0.is_empty()) {
        return Err("its columns do not fit each other".to_owned());
    }
    if head.problem.is_some() && !component.is_empty() {
        return Err("it has both a problem and an answer".to_owned());
    }
    let mut passed = Vec::with_capacity(cluster.len());
    for (cluster, code) in cluster.into_iter().zip(code) {
        let code = head.codes.get(code as usize).cloned().ok_or("it names a code that it does not list")?;
        passed.push(Passed { cluster, code });
    }
    let assigned = component.into_iter().zip(candidate).zip(replicas);
    let assignments =
        assigned.map(|((component, candidate), replicas)| Assignment { component, candidate, replicas }).collect();
    let Head { tables, clusters, short, plan, workload, workload_generation, decided_at, by, failed, request, .. } =
        head;
    Ok(Decision {
        tables,
        clusters,
        short,
        plan,
        workload,
        generation: workload_generation,
        decided_at,
        by,
        failed,
        request,
        candidates,
        passed,
        assignments,
    })
}

struct Columns<'a>(&'a [u8]);

impl Columns<'_> {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn whole(&mut self) -> Option<Vec<u64>> {
        let length = usize::try_from(self.number()?).ok()?;
        let mut values = Vec::new();
        let mut last = 0_i64;
        while values.len() < length {
            let token = self.number()?;
            let times = if token % 2 == 1 { self.number()?.checked_add(2)? } else { 1 };
            let half = i64::try_from(token / 4).ok()?;
            let step = if (token / 2) % 2 == 1 { -half - 1 } else { half };
            for _ in 0..times.min((length - values.len()) as u64 + 1) {
                last = last.checked_add(step)?;
                values.push(u64::try_from(last).ok()?);
            }
        }
        (values.len() == length).then_some(values)
    }

    /// Says how many there are.
    fn real(&mut self) -> Option<usize> {
        let distinct = usize::try_from(self.number()?).ok()?;
        self.0 = self.0.get(distinct.checked_mul(8)?..)?;
        let rows = self.whole()?;
        rows.iter().all(|row| (*row as usize) < distinct).then_some(rows.len())
    }

    /// Columns about candidates; the first of them is kept. All that belong to clusters are as long as it.
    fn candidates(&mut self, extra: usize) -> Option<Vec<u64>> {
        let cluster = self.whole()?;
        let n = cluster.len();
        let [_ready, _elastic, _current] = [self.whole()?, self.whole()?, self.whole()?];
        let [lead, tier, weight] = [self.whole()?.len(), self.whole()?.len(), self.whole()?.len()];
        let [price, current_price, interruption] = [self.real()?, self.real()?, self.real()?];
        let offers = [self.whole()?.len(), self.whole()?.len(), self.whole()?.len(), self.real()?, self.real()?];
        let mut lengths = vec![lead, tier, weight, price, current_price, interruption];
        for _ in 0..extra {
            lengths.push(self.real()?);
        }
        // Objects without replicas have candidates and nothing else about them.
        let fit = lengths.iter().all(|length| *length == n) || lengths.iter().all(|length| *length == 0);
        (fit && offers.iter().all(|length| *length == offers[0])).then_some(cluster)
    }
}
