//! Calls of policies as values: what was asked, of whom, and what was answered; and how to ask the same again.
//!
//! Holds: a call is everything that its answer depends on, but for the wall clock. A session of the same component, with the
//! same configuration, limits and tables, answers the same question with the same bytes.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use berth_core::check::{self, Violation};
use berth_core::ids::PolicyName;
use berth_core::native::{self, FifoConfig, ReadyConfig};
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Candidates, Decision, Kind, MigrationState, Move, Offers, Problem, Queue, Request, Tables, Verdict,
};
use serde::Serialize;

use crate::engine::Limits;
use crate::session::Called;
use crate::version::Session;

/// Inputs that are no column by themselves; see `needs` in the policy interface.
const OFFERS: &str = "offers";
const RUNNING: &str = "running";

/// One call of a policy, with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Counts up from 1 for each [`crate::PolicyHost`].
    pub number: u64,
    /// The caller's clock: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The name that was asked: the one that the workload's rules or a binding name.
    pub slot: PolicyName,
    /// Configuration of the policy of that name, as it got it; empty where none is loaded.
    pub config: Arc<str>,
    /// Its limits; the defaults where none is loaded.
    pub limits: Limits,
    /// Who gave the answer: that policy, or the built-in algorithm of the kind.
    pub by: PolicyRef,
    pub tables: Arc<Tables>,
    pub question: Question,
    pub answer: Answered,
    /// Fuel that the answer took; 0 for native algorithms.
    pub fuel: u64,
    /// The policy that should have decided, and why it did not.
    pub failed: Option<(PolicyRef, String)>,
}

/// What a policy is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    Placement { request: Request, candidates: Candidates },
    Gang(Queue),
    Migration(MigrationState),
}

/// What a policy answers, in the types of the interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Placement(Decision),
    Gang(Verdict),
    Migration(Vec<Move>),
}

/// A policy's answer: what is to be done, or why it can say nothing.
pub type Answered = Result<Output, Problem>;

/// Is told of every call, on the thread of the planner: whoever listens must not make it wait.
pub trait Listener: Send {
    fn called(&mut self, call: &Arc<Call>);

    /// The host discards the answer of this call, which is the last one of its kind, and decides with the built-in algorithm.
    fn broke_rule(&mut self, number: u64, rule: &str);
}

impl Question {
    pub fn kind(&self) -> Kind {
        match self {
            Question::Placement { .. } => Kind::Placement,
            Question::Gang(_) => Kind::Gang,
            Question::Migration(_) => Kind::Migration,
        }
    }

    pub fn now_ms(&self) -> u64 {
        match self {
            Question::Placement { request, .. } => request.now_ms,
            Question::Gang(queue) => queue.now_ms,
            Question::Migration(state) => state.now_ms,
        }
    }

    /// Whom it is about, in a few words.
    pub fn about(&self) -> String {
        let counted = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        match self {
            Question::Placement { request, .. } => full(&request.namespace, &request.name),
            Question::Gang(queue) => format!("a queue of {}", counted(queue.jobs.len(), "job")),
            Question::Migration(state) => counted(state.workloads.len(), "placed workload"),
        }
    }

    /// The question as a policy with these needs would have got it: without what it did not ask for.
    pub fn fit(&self, needs: &[Arc<str>]) -> Cow<'_, Question> {
        match self {
            Question::Placement { request, candidates } => match fit(candidates, needs) {
                Cow::Borrowed(_) => Cow::Borrowed(self),
                Cow::Owned(candidates) => Cow::Owned(Question::Placement { request: request.clone(), candidates }),
            },
            Question::Gang(queue) => match fit_queue(queue, needs) {
                Cow::Borrowed(_) => Cow::Borrowed(self),
                Cow::Owned(queue) => Cow::Owned(Question::Gang(queue)),
            },
            Question::Migration(_) => Cow::Borrowed(self),
        }
    }

    /// Puts it to a session of a policy of its kind.
    pub(crate) fn put(&self, session: &mut dyn Session) -> Called<Output> {
        match self {
            Question::Placement { request, candidates } => {
                Ok(session.place(request, candidates)?.map(Output::Placement))
            }
            Question::Gang(queue) => Ok(session.admit(queue)?.map(Output::Gang)),
            Question::Migration(state) => Ok(session.migrate(state)?.map(Output::Migration)),
        }
    }

    /// Inputs that a policy needs and this question may lack, because the policy that was asked did not need them.
    pub fn lacks<'a>(&self, needs: &'a [Arc<str>]) -> impl Iterator<Item = &'a Arc<str>> {
        needs.iter().filter(|need| match self {
            Question::Placement { candidates, .. } if &***need == OFFERS => {
                candidates.offers.candidate.is_empty() && candidates.elastic.iter().any(|room| *room > 0)
            }
            Question::Placement { candidates, .. } => candidates.extra.iter().all(|column| column.name != **need),
            Question::Gang(queue) => &***need == RUNNING && queue.running.is_empty(),
            Question::Migration(_) => false,
        })
    }

    /// Holds an answer against the rules of the interface. A problem breaks none, nor does an answer of another kind, which
    /// no call gives.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, tables: &Tables, answer: &Answered) -> Result<(), Violation> {
        match (self, answer) {
            (Question::Placement { request, candidates }, Ok(Output::Placement(decision))) => {
                check::check_decision(request, candidates, decision)
            }
            (Question::Gang(queue), Ok(Output::Gang(verdict))) => {
                check::check_verdict(tables.names.len(), queue, verdict)
            }
            (Question::Migration(state), Ok(Output::Migration(moves))) => check::check_moves(state, moves),
            _ => Ok(()),
        }
    }

    /// What the host decides with where a policy does not: the built-in algorithm of the kind.
    ///
    /// # Errors
    /// Its problem.
    pub fn built_in(&self, tables: &Tables) -> Answered {
        match self {
            Question::Placement { request, candidates } => {
                native::place(native::for_division(request.division), request, candidates).map(Output::Placement)
            }
            Question::Gang(queue) => native::fifo(&FifoConfig::default(), tables, queue).map(Output::Gang),
            Question::Migration(state) => native::ready(&ReadyConfig::default(), tables, state).map(Output::Migration),
        }
    }
}

/// How it is told that an answer broke a rule.
pub(crate) fn broke(rule: impl Display) -> String {
    format!("its answer broke a rule: {rule}")
}

/// `NAMESPACE/NAME`, or the name alone where there is no namespace.
pub(crate) fn full(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Candidates as a policy with these needs gets them: without what it did not ask for.
pub(crate) fn fit<'a>(candidates: &'a Candidates, needs: &[Arc<str>]) -> Cow<'a, Candidates> {
    let offers = needs.iter().any(|need| &**need == OFFERS);
    let columns = |need: &Arc<str>| candidates.extra.iter().find(|column| column.name == *need);
    let extra = || needs.iter().filter_map(columns);
    if (offers || candidates.offers == Offers::default())
        && extra().map(|column| &column.name).eq(candidates.extra.iter().map(|column| &column.name))
    {
        return Cow::Borrowed(candidates);
    }
    let extra = extra().cloned().collect();
    let offers = if offers { candidates.offers.clone() } else { Offers::default() };
    Cow::Owned(Candidates { offers, extra, ..candidates.clone() })
}

/// A queue as a policy with these needs gets it: without what runs, if it did not ask for that.
pub(crate) fn fit_queue<'a>(queue: &'a Queue, needs: &[Arc<str>]) -> Cow<'a, Queue> {
    if queue.running.is_empty() || needs.iter().any(|need| &**need == RUNNING) {
        return Cow::Borrowed(queue);
    }
    Cow::Owned(Queue { running: Vec::new(), ..queue.clone() })
}
