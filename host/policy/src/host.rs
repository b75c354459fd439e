//! The policies in force, as the planner calls them: synchronously, on its own thread.
//!
//! Holds: the set is chosen at `begin` and stays for the whole cycle; whatever a policy does, there is an answer; a policy
//! that keeps failing is taken out for a while, by the caller's clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::ids::PolicyName;
use berth_core::native::Builtin;
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Answer, Candidates, Decision, Kind, MigrationState, Move, Policies, Problem, Queue, Request, Subject, Tables,
    Verdict,
};
use berth_core::workload::Division;

use crate::call::{Call, Listener, Output, Question};
use crate::directory::{Current, Directory};
use crate::engine::Runtime;
use crate::load::Loaded;
use crate::session::{Called, Slot};
use crate::set::PolicySet;
use crate::stats::Failure;
use crate::version::Session;

/// Failures in a row after which a policy is taken out.
const BREAKS_AFTER: u32 = 5;
/// Milliseconds for which it is out the first time; doubled each time that it fails when tried again.
const FIRST_OUT_MS: u64 = 60_000;
const LONGEST_OUT_MS: u64 = 3_600_000;

/// One policy's session and breaker.
struct Live {
    policy: Arc<Loaded>,
    slot: Slot,
    /// The last call gave an answer that nobody has refused so far.
    answered: bool,
    /// Failures in a row.
    failures: u32,
    /// Taken out until then, by the caller's clock.
    out_until_ms: u64,
    out_for_ms: u64,
    /// The clock of the last call.
    now_ms: u64,
}

pub struct PolicyHost {
    runtime: Runtime,
    current: Current,
    set: Arc<PolicySet>,
    live: BTreeMap<PolicyName, Live>,
    /// Decides where a policy does not.
    built_in: Builtin,
    listeners: Vec<Box<dyn Listener>>,
    /// Calls that listeners were told of.
    told: u64,
}

impl std::fmt::Debug for PolicyHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyHost").field("set", &self.set).finish_non_exhaustive()
    }
}

impl PolicyHost {
    /// Decides with whatever set the directory has at the start of each cycle.
    pub fn new(directory: &Directory) -> Self {
        let set = directory.set();
        Self {
            runtime: directory.runtime().clone(),
            current: directory.current().clone(),
            set,
            live: BTreeMap::new(),
            built_in: Builtin::default(),
            listeners: Vec::new(),
            told: 0,
        }
    }

    /// Tells somebody of every call from now on.
    pub fn listen(&mut self, listener: impl Listener + 'static) {
        self.listeners.push(Box::new(listener));
    }

    /// The newest set, which decides from the next cycle on.
    pub fn set(&self) -> Arc<PolicySet> {
        self.current.get()
    }

    /// Asks the policy that is named or bound; `Err` names it and says why it did not decide.
    fn ask<T>(
        &mut self,
        which: Which<'_>,
        tables: &Arc<Tables>,
        now_ms: u64,
        call: impl FnOnce(&mut dyn Session) -> Called<T>,
    ) -> Asked<T> {
        let found = self.set.find(which.kind, which.named, which.division);
        let unknown = |(name, why): (PolicyName, &str)| {
            Some((PolicyRef { name, version: "".into(), digest: "".into() }, why.to_owned()))
        };
        let policy = found.map_err(unknown)?.ok_or(None)?;
        let live = self.live.entry(policy.name.clone()).or_insert_with(|| Live::new(policy.clone()));
        live.next_call(now_ms);
        if live.out() {
            let seconds = live.out_until_ms.saturating_sub(now_ms).div_ceil(1000);
            let why = format!("it is taken out for {seconds} s more after repeated failures");
            return Err(Some((policy.by.clone(), why)));
        }
        match live.slot.ask(&self.runtime, policy, tables, call) {
            Ok((answer, fuel)) => {
                live.answered = true;
                Ok((answer, policy.by.clone(), fuel))
            }
            Err(error) => {
                let by = policy.by.clone();
                live.failed(error.failure, &error.what);
                Err(Some((by, error.what)))
            }
        }
    }
}

impl PolicyHost {
    /// Tells those who listen of a call. Without any it costs nothing.
    fn tell<T: Clone>(
        &mut self,
        which: Which<'_>,
        tables: &Arc<Tables>,
        question: impl FnOnce() -> Question,
        answer: &Answer<T>,
        output: fn(T) -> Output,
    ) {
        if self.listeners.is_empty() {
            return;
        }
        let question = question();
        self.told += 1;
        let found = self.set.find(which.kind, which.named, which.division).ok().flatten();
        let slot = which.named.unwrap_or_else(|| self.set.bindings.of(which.kind, which.division));
        let call = Arc::new(Call {
            number: self.told,
            at_ms: question.now_ms(),
            slot: slot.clone(),
            config: found.map_or_else(|| "".into(), |policy| policy.config_text.clone()),
            by: answer.by.clone(),
            tables: tables.clone(),
            question,
            answer: answer.result.clone().map(output),
            fuel: answer.fuel,
            failed: answer.failed.clone(),
        });
        self.listeners.iter_mut().for_each(|listener| listener.called(&call));
    }
}

/// Which policy is asked.
#[derive(Clone, Copy)]
struct Which<'a> {
    kind: Kind,
    named: Option<&'a PolicyName>,
    division: Division,
}

/// The answer with who gave it and the fuel; or who did not, and why. `None` where the built-in algorithm is to decide.
type Asked<T> = Result<(Result<T, Problem>, PolicyRef, u64), Option<(PolicyRef, String)>>;

impl Live {
    fn new(policy: Arc<Loaded>) -> Self {
        Self {
            policy,
            slot: Slot::default(),
            answered: false,
            failures: 0,
            out_until_ms: 0,
            out_for_ms: FIRST_OUT_MS,
            now_ms: 0,
        }
    }

    /// The last answer stood if nobody has said by now that it broke a rule.
    fn next_call(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if std::mem::take(&mut self.answered) && self.failures > 0 {
            self.failures = 0;
            self.out_for_ms = FIRST_OUT_MS;
            self.policy.stats().taken_out = false;
        }
    }

    fn out(&self) -> bool {
        self.failures >= BREAKS_AFTER && self.now_ms < self.out_until_ms
    }

    fn failed(&mut self, failure: Failure, what: &str) {
        self.slot.drop_session();
        self.answered = false;
        self.failures = self.failures.saturating_add(1);
        let mut stats = self.policy.stats();
        stats.failed(failure, what);
        if self.failures >= BREAKS_AFTER {
            self.out_until_ms = self.now_ms.saturating_add(self.out_for_ms);
            self.out_for_ms = self.out_for_ms.saturating_mul(2).min(LONGEST_OUT_MS);
            stats.taken_out = true;
        }
    }
}

/// The answer of the policy, or of the built-in algorithm with what became of the policy.
fn answered<T>(asked: Asked<T>, built_in: impl FnOnce() -> Answer<T>) -> Answer<T> {
    match asked {
        Ok((result, by, fuel)) => Answer { result, by, fuel, failed: None },
        Err(failed) => Answer { failed, ..built_in() },
    }
}

impl Policies for PolicyHost {
    fn begin(&mut self) {
        let set = self.current.get();
        if !Arc::ptr_eq(&set, &self.set) {
            self.live
                .retain(|name, live| set.policies.get(name).is_some_and(|policy| Arc::ptr_eq(policy, &live.policy)));
            self.set = set;
        }
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        Some(self.set.choose(kind, named, subject).clone())
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        match self.set.find(kind, named, division) {
            Ok(Some(policy)) => policy.description.needs.as_slice(),
            Ok(None) | Err(_) => self.built_in.needs(kind, None, division),
        }
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let which = Which { kind: Kind::Placement, named, division: request.division };
        let asked = self.ask(which, tables, request.now_ms, |session| session.place(request, candidates));
        let answer = answered(asked, || self.built_in.place(None, tables, request, candidates));
        let question = || Question::Placement { request: request.clone(), candidates: candidates.clone() };
        self.tell(which, tables, question, &answer, Output::Placement);
        answer
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let which = Which { kind: Kind::Gang, named, division: Division::Free };
        let asked = self.ask(which, tables, queue.now_ms, |session| session.admit(queue));
        let answer = answered(asked, || self.built_in.admit(None, tables, queue));
        self.tell(which, tables, || Question::Gang(queue.clone()), &answer, Output::Gang);
        answer
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        let which = Which { kind: Kind::Migration, named, division: Division::Free };
        let asked = self.ask(which, tables, state.now_ms, |session| session.migrate(state));
        let answer = answered(asked, || self.built_in.migrate(None, tables, state));
        self.tell(which, tables, || Question::Migration(state.clone()), &answer, Output::Migration);
        answer
    }

    /// The planner says so before it makes another call.
    fn broke_rule(&mut self, _kind: Kind, by: &PolicyRef, rule: &str) {
        self.listeners.iter_mut().for_each(|listener| listener.broke_rule(self.told, rule));
        if let Some(live) = self.live.get_mut(&by.name).filter(|live| live.policy.by == *by) {
            live.failed(Failure::BrokeRule, &format!("its answer broke a rule: {rule}"));
        }
    }
}
