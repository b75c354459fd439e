//! The policies in force, as the planner calls them: synchronously, on its own thread.
//!
//! Holds: the set, and which canaries decide, are chosen at `begin` and stay for the whole cycle; whatever a policy does,
//! there is an answer; what stands beside a policy changes no answer of it.

use std::borrow::Cow;
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

use crate::beside::{Beside, WentBack};
use crate::call::{Call, Listener, Output, Question, fit, fit_queue};
use crate::directory::{Current, Directory};
use crate::engine::Runtime;
use crate::live::Live;
use crate::session::Called;
use crate::set::PolicySet;
use crate::stats::PolicyStatus;
use crate::version::Session;

pub struct PolicyHost {
    runtime: Runtime,
    current: Current,
    set: Arc<PolicySet>,
    live: BTreeMap<PolicyName, Live>,
    /// Decides where a policy does not.
    built_in: Builtin,
    listeners: Vec<Box<dyn Listener>>,
    /// Calls so far.
    called: u64,
    beside: Beside,
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
            called: 0,
            beside: Beside::new(directory.runtime().clone()),
        }
    }

    /// Keeps in this file which canaries went back, and takes over what it says. One that cannot be read is as good as none.
    pub fn remember(&mut self, file: std::path::PathBuf) {
        self.beside.remember(file);
    }

    /// Canaries that went back since this was asked last.
    pub fn went_back(&mut self) -> Vec<WentBack> {
        self.beside.news()
    }

    /// All policies and refusals, ascending by name, with what is known of shadows and canaries.
    pub fn status(&self) -> Vec<PolicyStatus> {
        let set = self.set();
        let mut rows = set.status();
        self.beside.complete(&set, &mut rows);
        rows
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
        match live.ask(&self.runtime, tables, now_ms, call) {
            Ok((answer, fuel)) => Ok((answer, policy.by.clone(), fuel)),
            Err(what) => Err(Some((policy.by.clone(), what))),
        }
    }
}

impl PolicyHost {
    /// What the policy that is asked needs, where one beside it may need more: without that its answer is the one that it
    /// gives with none beside it.
    fn own_needs(&self, which: Which<'_>) -> Option<&[Arc<str>]> {
        let slot = self.set.slot(which.kind, which.named, which.division);
        let policy = self.set.needs.get(slot).and(self.set.policies.get(slot))?;
        Some(&policy.description.needs)
    }

    /// Tells those who listen of a call. Without any it costs nothing.
    fn tell<T: Clone>(
        &mut self,
        which: Which<'_>,
        tables: &Arc<Tables>,
        question: impl FnOnce() -> Question,
        answer: &Answer<T>,
        output: fn(T) -> Output,
    ) {
        let slot = self.set.slot(which.kind, which.named, which.division);
        let compared = self.set.needs.contains_key(slot);
        // Counted in any case: a rule that is broken is said of the last call.
        self.called += 1;
        if self.listeners.is_empty() && !compared {
            return;
        }
        let question = question();
        let found = self.set.find(which.kind, which.named, which.division).ok().flatten();
        let call = Arc::new(Call {
            number: self.called,
            at_ms: question.now_ms(),
            slot: slot.clone(),
            config: found.map_or_else(|| "".into(), |policy| policy.config_text.clone()),
            limits: found.map(|policy| policy.limits).unwrap_or_default(),
            by: answer.by.clone(),
            tables: tables.clone(),
            question,
            answer: answer.result.clone().map(output),
            fuel: answer.fuel,
            failed: answer.failed.clone(),
        });
        self.listeners.iter_mut().for_each(|listener| listener.called(&call));
        if compared {
            self.beside.called(&self.set, &call);
        }
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
        self.beside.begin(&self.set);
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        let slot = self.set.choose(kind, named, subject);
        let canary = self.set.besides.get(slot).and_then(|besides| besides.canary.as_ref());
        let canary = canary.filter(|canary| !self.beside.is_back(&canary.name) && canary.takes(subject));
        Some(canary.map_or(slot, |canary| &canary.name).clone())
    }

    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        chosen.map(|chosen| self.set.slot_of(chosen).clone())
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        if let Some(needs) = self.set.needs.get(self.set.slot(kind, named, division)) {
            return needs;
        }
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
        let own = self.own_needs(which).map_or(Cow::Borrowed(candidates), |needs| fit(candidates, needs));
        let asked = self.ask(which, tables, request.now_ms, |session| session.place(request, &own));
        let question = || Question::Placement { request: request.clone(), candidates: candidates.clone() };
        let answer = answered(asked, || self.built_in.place(None, tables, request, candidates));
        self.tell(which, tables, question, &answer, Output::Placement);
        answer
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let which = Which { kind: Kind::Gang, named, division: Division::Free };
        let own = self.own_needs(which).map_or(Cow::Borrowed(queue), |needs| fit_queue(queue, needs));
        let asked = self.ask(which, tables, queue.now_ms, |session| session.admit(&own));
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
        self.listeners.iter_mut().for_each(|listener| listener.broke_rule(self.called, rule));
        self.beside.broke_rule(self.called, rule);
        if let Some(live) = self.live.get_mut(&by.name).filter(|live| live.policy.by == *by) {
            live.broke_rule(rule);
        }
    }
}
