//! Recorded calls decided again by another policy, and what would have changed; and recorded calls as cases.
//!
//! Holds: a call is put as the host would put it, in a session, within the limits that it was recorded with, and the answer is
//! held against the rules; where the policy gives none that holds, the built-in algorithm stands in for it, as it would have.
//! The result does not depend on how many threads there are: calls go in blocks of a fixed size, each with a session of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::policy::Tables;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::call::{Answered, Call, Output, Question};
use crate::case::Trial;
use crate::compare::{Compared, Measure, compare};
use crate::engine::Limits;
use crate::journal::{Recorded, answer_bytes};
use crate::load::{LoadError, Loaded};
use crate::session::Slot;

/// Calls that share a session.
const BLOCK: usize = 256;

/// Configuration and limits with which a call is decided again.
type With = (Arc<str>, Limits);

/// A policy that decides recorded calls again.
#[derive(Debug)]
pub struct Replay<'a> {
    trial: &'a Trial,
    /// For all calls; where there is none, each call brings its own.
    config: Option<Arc<str>>,
    configured: BTreeMap<With, Arc<Loaded>>,
    needs: Vec<Arc<str>>,
}

/// A call that was decided again.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub recorded: Recorded,
    /// What was in force, and what would have been.
    pub before: Answered,
    pub after: Answered,
    /// The answers are the same, bit for bit.
    pub identical: bool,
    pub compared: Compared,
    pub fuel: u64,
    /// Why the call failed.
    pub failed: Option<String>,
    /// The rule that the answer breaks.
    pub refused: Option<String>,
}

/// What all calls come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub calls: u64,
    /// Calls with the same effect, and those with the same bytes.
    pub same: u64,
    pub identical: u64,
    /// Replicas that would be elsewhere.
    pub moved: u64,
    pub before: Measure,
    pub after: Measure,
    /// Calls that a policy gave a problem for.
    pub problems_before: u64,
    pub problems_after: u64,
    /// Answers that break a rule, and calls that fail: the built-in algorithm stands in.
    pub refused: u64,
    pub failed: u64,
    pub fuel_before: u64,
    pub fuel_after: u64,
    /// Calls that lack an input that the policy needs, by input.
    pub lacking: BTreeMap<String, u64>,
}

fn add(sum: &mut Measure, one: &Measure) {
    sum.placed += one.placed;
    sum.waiting += one.waiting;
    sum.usd_per_hour += one.usd_per_hour;
    sum.leaving += one.leaving;
}

impl Totals {
    pub fn add(&mut self, one: &Replayed, needs: &[Arc<str>]) {
        self.calls += 1;
        self.same += u64::from(one.compared.same);
        self.identical += u64::from(one.identical);
        self.moved += one.compared.moved;
        add(&mut self.before, &one.compared.before);
        add(&mut self.after, &one.compared.after);
        self.problems_before += u64::from(one.before.is_err());
        self.problems_after += u64::from(one.after.is_err());
        self.refused += u64::from(one.refused.is_some());
        self.failed += u64::from(one.failed.is_some());
        self.fuel_before += one.recorded.call.fuel;
        self.fuel_after += one.fuel;
        for need in one.recorded.call.question.lacks(needs) {
            *self.lacking.entry(need.to_string()).or_default() += 1;
        }
    }
}

impl<'a> Replay<'a> {
    /// # Errors
    /// If the policy refuses the configuration.
    pub fn new(trial: &'a Trial, config: Option<Map<String, Value>>) -> Result<Self, LoadError> {
        let needs = trial.inspection().description.needs;
        if let Some(config) = &config {
            trial.configure(config)?;
        }
        let config = config.map(|config| Value::Object(config).to_string().into());
        Ok(Self { trial, config, configured: BTreeMap::new(), needs })
    }

    /// Inputs that the policy needs.
    pub fn needs(&self) -> &[Arc<str>] {
        &self.needs
    }

    /// Decides calls again, all of the policy's kind, on all cores. Without a configuration of its own each call is decided
    /// with the one that it was recorded with where the policy takes it, otherwise with the policy's defaults.
    ///
    /// # Errors
    /// If the policy takes neither, or could not be in force within the limits that the call was recorded with.
    pub fn decide(&mut self, calls: Vec<Recorded>) -> Result<Vec<Replayed>, LoadError> {
        for one in &calls {
            self.configure(&one.call)?;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut blocks: Vec<Vec<Recorded>> = Vec::new();
        for (at, one) in calls.into_iter().enumerate() {
            match blocks.last_mut().filter(|_| at % BLOCK != 0) {
                Some(block) => block.push(one),
                None => blocks.push(vec![one]),
            }
        }
        let mut replayed = Vec::new();
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            let round: Vec<Vec<Recorded>> = blocks.by_ref().take(threads).collect();
            let this = &*self;
            std::thread::scope(|scope| {
                let running: Vec<_> = round.into_iter().map(|block| scope.spawn(|| this.block(block))).collect();
                // A thread that panicked has said so itself; its calls are missing from the totals, never made up.
                running.into_iter().filter_map(|thread| thread.join().ok()).for_each(|block| replayed.extend(block));
            });
        }
        Ok(replayed)
    }

    /// Calls that [`Replay::decide`] spreads evenly.
    pub fn round() -> usize {
        BLOCK * std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn with(&self, call: &Call) -> With {
        (self.config.as_ref().unwrap_or(&call.config).clone(), call.limits)
    }

    fn configure(&mut self, call: &Call) -> Result<(), LoadError> {
        let with = self.with(call);
        if self.configured.contains_key(&with) {
            return Ok(());
        }
        let within = |config: &Map<String, Value>| self.trial.configure_within(config, call.limits);
        let policy = match serde_json::from_str(&with.0).ok().map(|config| within(&config)) {
            Some(Ok(policy)) => policy,
            Some(Err(error)) if self.config.is_some() => return Err(error),
            Some(Err(_)) | None => within(&Map::new())?,
        };
        self.configured.insert(with, Arc::new(policy));
        Ok(())
    }

    fn block(&self, block: Vec<Recorded>) -> Vec<Replayed> {
        let mut slots: BTreeMap<With, Slot> = BTreeMap::new();
        let mut replayed = Vec::with_capacity(block.len());
        for recorded in block {
            let with = self.with(&recorded.call);
            let Some(policy) = self.configured.get(&with) else { continue };
            let slot = slots.entry(with).or_default();
            replayed.push(self.again(policy, slot, recorded));
        }
        replayed
    }

    fn again(&self, policy: &Loaded, slot: &mut Slot, recorded: Recorded) -> Replayed {
        let Call { question, tables, answer, .. } = &recorded.call;
        let before = match &recorded.broke_rule {
            Some(_) => question.built_in(tables),
            None => answer.clone(),
        };
        let put = question.fit(&self.needs);
        let (mut failed, mut refused, mut used) = (None, None, 0);
        let after = match slot.ask(self.trial.runtime(), policy, tables, |session| put.put(session)) {
            Ok((answer, fuel)) => {
                used = fuel;
                match question.check(tables, &answer) {
                    Err(rule) => {
                        refused = Some(rule.to_string());
                        question.built_in(tables)
                    }
                    Ok(()) => answer,
                }
            }
            Err(error) => {
                slot.drop_session();
                failed = Some(error.what);
                question.built_in(tables)
            }
        };
        let identical = answer_bytes(&before) == answer_bytes(&after);
        let compared = compare(question, &before, &after);
        Replayed { before, after, identical, compared, fuel: used, failed, refused, recorded }
    }
}

/// One place or job, before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// A cluster, with the component where there are several; a job; or a workload at a cluster.
    pub at: String,
    pub before: u64,
    pub after: u64,
    /// Numbers that decided, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terms_before: Vec<(Arc<str>, f64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terms_after: Vec<(Arc<str>, f64)>,
}

impl Replayed {
    /// How large the difference is, for finding those worth looking at.
    pub fn weight(&self) -> u64 {
        let Compared { same, moved, running: _, before, after } = &self.compared;
        let trouble = u64::from(self.failed.is_some() || self.refused.is_some());
        moved
            + before.waiting.abs_diff(after.waiting)
            + before.leaving.abs_diff(after.leaving)
            + trouble
            + u64::from(!same)
    }

    /// Everything that gets replicas before or after.
    pub fn seats(&self) -> Vec<Seat> {
        let mut seats: BTreeMap<(u32, u32), Seat> = BTreeMap::new();
        let call = &self.recorded.call;
        for (answer, after) in [(&self.before, false), (&self.after, true)] {
            let Ok(output) = answer else { continue };
            for (key, replicas) in given(output) {
                let seat = seats.entry(key).or_insert_with(|| Seat {
                    at: name(&call.question, &call.tables, key),
                    before: 0,
                    after: 0,
                    terms_before: terms(&self.before, key.1),
                    terms_after: terms(&self.after, key.1),
                });
                *if after { &mut seat.after } else { &mut seat.before } += replicas;
            }
        }
        seats.into_values().filter(|seat| seat.before > 0 || seat.after > 0).collect()
    }
}

/// Replicas by component and candidate, by job, or by row.
fn given(output: &Output) -> Vec<((u32, u32), u64)> {
    match output {
        Output::Placement(decision) => {
            let each = decision.assignments.iter();
            each.map(|one| ((one.component, one.candidate), one.replicas.into())).collect()
        }
        Output::Gang(verdict) => {
            let sum = |sizes: &[u32]| sizes.iter().map(|size| u64::from(*size)).sum();
            verdict.admit.iter().map(|one| ((0, one.job), sum(&one.sizes))).collect()
        }
        Output::Migration(moves) => moves.iter().map(|one| ((0, one.row), one.replicas.into())).collect(),
    }
}

fn terms(answer: &Answered, candidate: u32) -> Vec<(Arc<str>, f64)> {
    let Ok(Output::Placement(decision)) = answer else { return Vec::new() };
    let here = decision.terms.iter().filter(|term| term.candidate == candidate);
    here.map(|term| (term.name.clone(), term.value)).collect()
}

fn name(question: &Question, tables: &Tables, (component, row): (u32, u32)) -> String {
    let row = row as usize;
    let cluster = |at: Option<&u32>| {
        let name = at.and_then(|at| tables.names.get(*at as usize));
        name.map_or_else(|| "?".to_owned(), ToString::to_string)
    };
    match question {
        Question::Placement { request, candidates } => {
            let cluster = cluster(candidates.cluster.get(row));
            match request.components.get(component as usize).filter(|_| request.components.len() > 1) {
                Some(component) => format!("{cluster} ({})", component.name),
                None => cluster,
            }
        }
        Question::Gang(queue) => {
            queue.jobs.get(row).map_or_else(String::new, |job| format!("{}/{}", job.namespace, job.name))
        }
        Question::Migration(state) => {
            let workload = state.placed.workload.get(row).and_then(|at| state.workloads.get(*at as usize));
            let workload = workload.map_or_else(String::new, |one| format!("{}/{}", one.namespace, one.name));
            format!("{workload} at {}", cluster(state.placed.cluster.get(row)))
        }
    }
}

impl Recorded {
    /// Whether it is about a workload.
    pub fn is_about(&self, namespace: &str, name: &str) -> bool {
        let here = |one: &Arc<str>, other: &Arc<str>| &**one == namespace && &**other == name;
        match &self.call.question {
            Question::Placement { request, .. } => here(&request.namespace, &request.name),
            Question::Gang(queue) => queue.jobs.iter().any(|job| here(&job.namespace, &job.name)),
            Question::Migration(state) => state.workloads.iter().any(|one| here(&one.namespace, &one.name)),
        }
    }

    /// What makes one call unlike another: two with the same mark show a policy's author the same.
    pub fn mark(&self) -> String {
        let seats = self.call.answer.as_ref().map(|output| given(output).len());
        let shape = match &self.call.question {
            Question::Placement { request, candidates } => {
                let runs = candidates.current.iter().any(|current| *current > 0);
                let replicas: Vec<u32> = request.components.iter().map(|component| component.replicas).collect();
                format!("{:?} {} {runs} {} {replicas:?}", request.division, request.together, candidates.len())
            }
            Question::Gang(queue) => format!("{} {}", queue.jobs.len(), queue.running.len()),
            Question::Migration(state) => format!("{} {}", state.workloads.len(), state.placed.workload.len()),
        };
        format!("{} {shape} {seats:?}", self.call.slot)
    }

    /// The call as a case, for the policy that decided it; `None` where no component did.
    ///
    /// # Errors
    /// If it has a number that JSON cannot say.
    pub fn case(&self) -> Result<Option<Value>, serde_json::Error> {
        let call = &self.call;
        if &*call.by.digest == "native" || self.broke_rule.is_some() {
            return Ok(None);
        }
        let config: Value = serde_json::from_str(&call.config)?;
        let mut given = json!({ "fleet": serde_json::to_value(&*call.tables)?, "config": config });
        let question = match &call.question {
            Question::Placement { request, candidates } => {
                vec![("request", serde_json::to_value(request)?), ("candidates", serde_json::to_value(candidates)?)]
            }
            Question::Gang(queue) => vec![("queue", serde_json::to_value(queue)?)],
            Question::Migration(state) => vec![("state", serde_json::to_value(state)?)],
        };
        question.into_iter().for_each(|(field, value)| given[field] = value);
        let expect = match &call.answer {
            Ok(answer) => json!({ "answer": serde_json::to_value(answer)? }),
            Err(problem) => json!({ "problem": serde_json::to_value(problem)? }),
        };
        let about = format!("call {} of {} at {}: {}", call.number, call.slot, call.at_ms, call.question.about());
        Ok(Some(json!({ "about": about, "given": given, "expect": expect })))
    }
}
