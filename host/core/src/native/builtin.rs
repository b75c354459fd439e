//! All policies by native algorithms: for tests, as the fallback, and as the yardstick of benchmarks.

use std::sync::Arc;

use super::{COST_NEEDS, aggregate, available, cost, fifo, ready, weighted};
use super::{CostConfig, FifoConfig, ReadyConfig};
use crate::ids::PolicyName;
use crate::placement::PolicyRef;
use crate::policy::{
    Answer, Candidates, Decision, Kind, MigrationState, Move, Policies, Problem, ProblemCode, Queue, Request, Tables,
    Verdict,
};
use crate::workload::Division;

/// The built-in placement policy that decides a division where nothing else is said.
pub fn for_division(division: Division) -> &'static str {
    match division {
        Division::Duplicated | Division::StaticWeight => "weighted",
        Division::AvailableReplicas => "available",
        Division::Aggregated => "aggregate",
        Division::Free => "cost",
    }
}

/// Decides with the built-in placement policy of a name.
///
/// # Errors
/// What the policy answers; `unsupported` for a name that is not built in.
pub fn place(name: &str, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
    match name {
        "weighted" => weighted(request, candidates),
        "available" => available(request, candidates),
        "aggregate" => aggregate(request, candidates),
        "cost" => cost(&CostConfig::default(), request, candidates),
        _ => Err(Problem { code: ProblemCode::Unsupported, message: format!("no policy {name} is built in") }),
    }
}

/// Stands where no policy was asked: for what has no replicas, and where no candidate was left to ask about.
pub const NO_POLICY: &str = "none";

/// Names a native algorithm as the one that decided.
pub fn policy_ref(name: &str) -> PolicyRef {
    PolicyRef { name: PolicyName::new(name), version: env!("CARGO_PKG_VERSION").into(), digest: "native".into() }
}

/// Answers with native algorithms alone, in their default configuration. A policy that is named and not built in counts as
/// failed, and the one of the division decides.
#[derive(Clone, Debug)]
pub struct Builtin {
    offers: [Arc<str>; 1],
}

impl Default for Builtin {
    fn default() -> Self {
        Self { offers: [COST_NEEDS[0].into()] }
    }
}

const PLACEMENT: [&str; 4] = ["weighted", "available", "aggregate", "cost"];

fn answer<T>(by: &str, named: Option<&PolicyName>, known: bool, result: Result<T, Problem>) -> Answer<T> {
    let unknown = named.filter(|_| !known);
    let failed = unknown.map(|name| (policy_ref(name.as_str()), "it is not built in".to_owned()));
    Answer { result, by: policy_ref(by), fuel: 0, failed }
}

impl Builtin {
    fn placement(named: Option<&PolicyName>, division: Division) -> (&'static str, bool) {
        let Some(named) = named else { return (for_division(division), true) };
        let known = PLACEMENT.into_iter().find(|name| *name == named.as_str());
        (known.unwrap_or_else(|| for_division(division)), known.is_some())
    }
}

impl Policies for Builtin {
    fn begin(&mut self) {}

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        let offers = kind == Kind::Placement && Self::placement(named, division).0 == "cost";
        if offers { &self.offers } else { &[] }
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        _tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let (by, known) = Self::placement(named, request.division);
        answer(by, named, known, place(by, request, candidates))
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let known = named.is_none_or(|name| name.as_str() == "fifo");
        answer("fifo", named, known, fifo(&FifoConfig::default(), tables, queue))
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        let known = named.is_none_or(|name| name.as_str() == "ready");
        answer("ready", named, known, ready(&ReadyConfig::default(), tables, state))
    }

    fn broke_rule(&mut self, _kind: Kind, _by: &PolicyRef, _rule: &str) {}
}
