//! Calls as bytes: whatever repeats within a file is a row of a table, texts are numbered within a call, the rest is columns.
//!
//! Holds: what is decoded equals what was encoded, bit for bit; what was not written here is refused, never guessed.

use std::sync::Arc;

use berth_core::columns::{Numbers, Reader, Writer};
use berth_core::ids::PolicyName;
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Admit, Assignment, Component, Decision, Fit, Health, Hold, HoldCode, How, Job, JobComponent, MigrationState,
    MigrationWorkload, Move, Placed, Preempt, Problem, ProblemCode, Queue, QuotaUse, Request, Running, Tables, Term,
    Verdict,
};
use berth_core::workload::Division;

use crate::call::{Call, Output, Question};
use crate::engine::Limits;

const PROBLEMS: [ProblemCode; 3] = [ProblemCode::NoRoom, ProblemCode::NoCandidate, ProblemCode::Unsupported];
const HOLDS: [HoldCode; 4] = [HoldCode::NoRoom, HoldCode::Quota, HoldCode::Behind, HoldCode::TooLarge];
const HOWS: [How; 2] = [How::Gracefully, How::AtOnce];
const PLACEMENT: u64 = 0;
const GANG: u64 = 1;
const MIGRATION: u64 = 2;

/// Who was asked, how it was configured, and who answered: the same for most calls.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Who {
    pub(super) slot: PolicyName,
    pub(super) config: Arc<str>,
    pub(super) by: PolicyRef,
    pub(super) limits: Limits,
}

impl Who {
    pub(super) fn of(call: &Call) -> Self {
        let Call { slot, config, limits, by, .. } = call;
        Self { slot: slot.clone(), config: config.clone(), limits: *limits, by: by.clone() }
    }

    pub(super) fn is_of(&self, call: &Call) -> bool {
        (&self.by, &self.slot, &self.config, self.limits) == (&call.by, &call.slot, &call.config, call.limits)
    }
}

/// A call without what its file has in tables.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) number: u64,
    at_ms: u64,
    pub(super) who: u64,
    pub(super) tables: u64,
    question: Question,
    answer: Result<Output, Problem>,
    fuel: u64,
    failed: Option<(PolicyRef, String)>,
}

impl Bare {
    pub(super) fn with(self, who: &Who, tables: &Arc<Tables>) -> Call {
        let Who { slot, config, limits, by } = who.clone();
        let Self { number, at_ms, question, answer, fuel, failed, .. } = self;
        Call { number, at_ms, slot, config, limits, by, tables: tables.clone(), question, answer, fuel, failed }
    }
}

#[derive(Default)]
struct Out {
    body: Writer,
    names: Numbers<Arc<str>>,
}

struct In<'a> {
    from: Reader<'a>,
    names: Vec<Arc<str>>,
}

impl Out {
    fn number(&mut self, number: u64) {
        self.body.number(number);
    }

    fn text(&mut self, text: &Arc<str>) {
        let number = self.names.of(text);
        self.body.number(u64::from(number));
    }

    fn owned(&mut self, text: &str) {
        self.text(&Arc::from(text));
    }

    fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a Arc<str>>) {
        let numbers: Vec<u32> = texts.map(|text| self.names.of(text)).collect();
        self.body.whole(numbers.into_iter());
    }

    fn whole<T>(&mut self, rows: &[T], of: impl Fn(&T) -> u32) {
        self.body.whole(rows.iter().map(of));
    }

    fn wide(&mut self, values: &[u64]) {
        self.body.wide(values.iter().copied());
    }

    fn lists(&mut self, lists: &[&[u64]]) {
        self.whole(lists, |list| list.len() as u32);
        self.wide(&lists.concat());
    }

    fn policy(&mut self, policy: &PolicyRef) {
        self.owned(policy.name.as_str());
        self.text(&policy.version);
        self.text(&policy.digest);
    }

    /// The texts, and then what refers to them.
    fn finish(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.names.values.len() as u64);
        self.names.values.iter().for_each(|text| out.text(text));
        out.0.extend(self.body.0);
        out.0
    }
}

impl<'a> In<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let count = from.number()?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(from.text()?);
        }
        Some(Self { from, names })
    }

    fn number(&mut self) -> Option<u64> {
        self.from.number()
    }

    fn narrow(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        bit(self.narrow()?)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let row = usize::try_from(self.number()?).ok()?;
        self.names.get(row).cloned()
    }

    fn texts(&mut self) -> Option<Vec<Arc<str>>> {
        let rows = self.whole()?;
        rows.into_iter().map(|row| self.names.get(row as usize).cloned()).collect()
    }

    fn whole(&mut self) -> Option<Vec<u32>> {
        self.from.whole()
    }

    fn wide(&mut self) -> Option<Vec<u64>> {
        self.from.wide()
    }

    fn lists(&mut self) -> Option<Vec<Vec<u64>>> {
        let (lengths, values) = (self.whole()?, self.wide()?);
        split(&lengths, values)
    }

    fn policy(&mut self) -> Option<PolicyRef> {
        Some(PolicyRef { name: PolicyName::new(self.text()?), version: self.text()?, digest: self.text()? })
    }

    fn end(&self) -> Option<()> {
        self.from.0.is_empty().then_some(())
    }
}

/// Rows in groups of these lengths.
fn split<T>(lengths: &[u32], rows: Vec<T>) -> Option<Vec<Vec<T>>> {
    let mut rows = rows.into_iter();
    let groups: Vec<Vec<T>> = lengths.iter().map(|length| rows.by_ref().take(*length as usize).collect()).collect();
    let fits = groups.iter().zip(lengths).all(|(group, length)| group.len() == *length as usize);
    (fits && rows.next().is_none()).then_some(groups)
}

fn bit(number: u32) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The place of one of a few values in the list of all.
fn place<T: PartialEq>(all: &[T], value: &T) -> u32 {
    all.iter().position(|one| one == value).unwrap_or(0) as u32
}

pub(super) fn encode_tables(row: u64, tables: &Tables) -> Vec<u8> {
    let mut out = Out::default();
    out.number(row);
    out.texts(tables.names.iter());
    out.texts(tables.providers.iter());
    out.texts(tables.regions.iter());
    out.whole(&tables.labels, |label| label.0);
    out.texts(tables.labels.iter().map(|label| &label.1));
    out.texts(tables.labels.iter().map(|label| &label.2));
    out.texts(tables.resources.iter());
    out.finish()
}

pub(super) fn decode_tables(bytes: &[u8]) -> Option<(u64, Tables)> {
    let from = &mut In::new(bytes)?;
    let row = from.number()?;
    let (names, providers, regions) = (from.texts()?, from.texts()?, from.texts()?);
    let (clusters, keys, values) = (from.whole()?, from.texts()?, from.texts()?);
    let fits = clusters.len() == keys.len() && keys.len() == values.len();
    let labels = clusters.into_iter().zip(keys).zip(values).map(|((cluster, key), value)| (cluster, key, value));
    let tables = Tables { names, providers, regions, labels: labels.collect(), resources: from.texts()? };
    from.end()?;
    fits.then_some((row, tables))
}

pub(super) fn encode_who(row: u64, who: &Who) -> Vec<u8> {
    let mut out = Out::default();
    out.number(row);
    out.owned(who.slot.as_str());
    out.text(&who.config);
    out.policy(&who.by);
    let Limits { fuel, deadline_ms, memory_bytes, file_bytes } = who.limits;
    [fuel, deadline_ms, memory_bytes as u64, file_bytes].into_iter().for_each(|limit| out.number(limit));
    out.finish()
}

pub(super) fn decode_who(bytes: &[u8]) -> Option<(u64, Who)> {
    let from = &mut In::new(bytes)?;
    let row = from.number()?;
    let (slot, config, by) = (PolicyName::new(from.text()?), from.text()?, from.policy()?);
    // Earlier records do not say what the limits were.
    let limits = match from.end() {
        Some(()) => Limits::default(),
        None => Limits {
            fuel: from.number()?,
            deadline_ms: from.number()?,
            memory_bytes: usize::try_from(from.number()?).ok()?,
            file_bytes: from.number()?,
        },
    };
    let who = Who { slot, config, by, limits };
    from.end()?;
    Some((row, who))
}

pub(super) fn encode_broken(number: u64, rule: &str) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(number);
    out.text(rule);
    out.0
}

pub(super) fn decode_broken(bytes: &[u8]) -> Option<(u64, String)> {
    let mut from = Reader(bytes);
    let broken = (from.number()?, from.text()?.to_string());
    from.0.is_empty().then_some(broken)
}

/// `who` and `tables`: rows in the tables of the file.
pub(super) fn encode_call(call: &Call, who: u64, tables: u64) -> Vec<u8> {
    let mut out = Out::default();
    [call.number, call.at_ms, who, tables, call.fuel].into_iter().for_each(|number| out.number(number));
    out.number(u64::from(call.failed.is_some()));
    if let Some((policy, what)) = &call.failed {
        out.policy(policy);
        out.owned(what);
    }
    match &call.question {
        Question::Placement { request, candidates } => {
            out.number(PLACEMENT);
            put_request(&mut out, request);
            out.texts(candidates.extra.iter().map(|column| &column.name));
            out.body.candidates(candidates);
        }
        Question::Gang(queue) => {
            out.number(GANG);
            put_queue(&mut out, queue);
        }
        Question::Migration(state) => {
            out.number(MIGRATION);
            put_state(&mut out, state);
        }
    }
    put_answer(&mut out, &call.answer);
    out.finish()
}

pub(super) fn decode_call(bytes: &[u8]) -> Option<Bare> {
    let from = &mut In::new(bytes)?;
    let (number, at_ms, who, tables, fuel) =
        (from.number()?, from.number()?, from.number()?, from.number()?, from.number()?);
    let failed = if from.flag()? { Some((from.policy()?, from.text()?.to_string())) } else { None };
    let kind = from.number()?;
    let question = match kind {
        PLACEMENT => {
            let request = take_request(from)?;
            let extra = from.texts()?;
            Question::Placement { request, candidates: from.from.candidates(&extra)? }
        }
        GANG => Question::Gang(take_queue(from)?),
        MIGRATION => Question::Migration(take_state(from)?),
        _ => return None,
    };
    let answer = take_answer(from, kind)?;
    from.end()?;
    Some(Bare { number, at_ms, who, tables, question, answer, fuel, failed })
}

/// An answer by itself, for comparing bit for bit.
pub(crate) fn answer_bytes(answer: &Result<Output, Problem>) -> Vec<u8> {
    let mut out = Out::default();
    put_answer(&mut out, answer);
    out.finish()
}

fn put_request(out: &mut Out, request: &Request) {
    let Request { namespace, name, labels, priority, division, together, components, now_ms, seed } = request;
    out.text(namespace);
    out.text(name);
    out.texts(labels.iter().map(|label| &label.0));
    out.texts(labels.iter().map(|label| &label.1));
    out.number(u64::from(*priority as u32));
    out.number(u64::from(place(&Division::ALL, division)));
    out.number(u64::from(*together));
    out.texts(components.iter().map(|component| &component.name));
    out.whole(components, |component| component.replicas);
    out.whole(components, |component| component.floor);
    out.number(*now_ms);
    out.number(*seed);
}

fn take_request(from: &mut In<'_>) -> Option<Request> {
    let (namespace, name, keys, values) = (from.text()?, from.text()?, from.texts()?, from.texts()?);
    let fits = keys.len() == values.len();
    let (priority, division, together) = (from.narrow()?, from.narrow()?, from.flag()?);
    let (names, replicas, floors) = (from.texts()?, from.whole()?, from.whole()?);
    let mut components = Vec::with_capacity(names.len());
    for (at, name) in names.into_iter().enumerate() {
        components.push(Component { name, replicas: *replicas.get(at)?, floor: *floors.get(at)? });
    }
    let request = Request {
        namespace,
        name,
        labels: keys.into_iter().zip(values).collect(),
        priority: priority as i32,
        division: *Division::ALL.get(division as usize)?,
        together,
        components,
        now_ms: from.number()?,
        seed: from.number()?,
    };
    fits.then_some(request)
}

fn put_queue(out: &mut Out, queue: &Queue) {
    let Queue { jobs, fits, quotas, running, now_ms, seed } = queue;
    out.texts(jobs.iter().map(|job| &job.namespace));
    out.texts(jobs.iter().map(|job| &job.name));
    out.whole(jobs, |job| job.quota);
    out.whole(jobs, |job| job.priority as u32);
    out.wide(&jobs.iter().map(|job| job.age_ms).collect::<Vec<_>>());
    out.wide(&jobs.iter().map(|job| job.limit_ms).collect::<Vec<_>>());
    out.whole(jobs, |job| u32::from(job.together));
    out.whole(jobs, |job| job.components.len() as u32);
    let components: Vec<&JobComponent> = jobs.iter().flat_map(|job| &job.components).collect();
    out.texts(components.iter().map(|component| &component.name));
    out.whole(&components, |component| component.replicas);
    out.whole(&components, |component| component.floor);
    out.lists(&components.iter().map(|component| component.request.as_slice()).collect::<Vec<_>>());
    out.whole(fits, |fit| fit.job);
    out.whole(fits, |fit| fit.cluster);
    out.whole(fits, |fit| fit.now);
    out.whole(fits, |fit| fit.empty);
    out.texts(quotas.iter().map(|quota| &quota.name));
    out.whole(quotas, |quota| quota.parent);
    out.lists(&quotas.iter().map(|quota| quota.min.as_slice()).collect::<Vec<_>>());
    out.lists(&quotas.iter().map(|quota| quota.max.as_slice()).collect::<Vec<_>>());
    out.lists(&quotas.iter().map(|quota| quota.used.as_slice()).collect::<Vec<_>>());
    out.texts(running.iter().map(|one| &one.namespace));
    out.texts(running.iter().map(|one| &one.name));
    out.whole(running, |one| one.quota);
    out.whole(running, |one| one.priority as u32);
    out.whole(running, |one| one.cluster);
    out.wide(&running.iter().map(|one| one.age_ms).collect::<Vec<_>>());
    out.lists(&running.iter().map(|one| one.usage.as_slice()).collect::<Vec<_>>());
    out.number(*now_ms);
    out.number(*seed);
}

fn take_queue(from: &mut In<'_>) -> Option<Queue> {
    let jobs = take_jobs(from)?;
    let (job, cluster, now, empty) = (from.whole()?, from.whole()?, from.whole()?, from.whole()?);
    let mut fits = Vec::with_capacity(job.len());
    for (at, job) in job.iter().enumerate() {
        fits.push(Fit { job: *job, cluster: *cluster.get(at)?, now: *now.get(at)?, empty: *empty.get(at)? });
    }
    let (names, parents) = (from.texts()?, from.whole()?);
    let (mut min, mut max, mut used) =
        (from.lists()?.into_iter(), from.lists()?.into_iter(), from.lists()?.into_iter());
    let mut quotas = Vec::with_capacity(names.len());
    for (at, name) in names.into_iter().enumerate() {
        let parent = *parents.get(at)?;
        quotas.push(QuotaUse { name, parent, min: min.next()?, max: max.next()?, used: used.next()? });
    }
    let (namespaces, names, quota) = (from.texts()?, from.texts()?, from.whole()?);
    let (priority, cluster, age) = (from.whole()?, from.whole()?, from.wide()?);
    let mut usage = from.lists()?.into_iter();
    let mut running = Vec::with_capacity(namespaces.len());
    for (at, namespace) in namespaces.into_iter().enumerate() {
        running.push(Running {
            namespace,
            name: names.get(at)?.clone(),
            quota: *quota.get(at)?,
            priority: *priority.get(at)? as i32,
            cluster: *cluster.get(at)?,
            age_ms: *age.get(at)?,
            usage: usage.next()?,
        });
    }
    Some(Queue { jobs, fits, quotas, running, now_ms: from.number()?, seed: from.number()? })
}

fn take_jobs(from: &mut In<'_>) -> Option<Vec<Job>> {
    let (namespaces, names, quota, priority) = (from.texts()?, from.texts()?, from.whole()?, from.whole()?);
    let (age, limit, together, lengths) = (from.wide()?, from.wide()?, from.whole()?, from.whole()?);
    let (component, replicas, floors) = (from.texts()?, from.whole()?, from.whole()?);
    let mut requests = from.lists()?.into_iter();
    let mut components = Vec::with_capacity(component.len());
    for (at, name) in component.into_iter().enumerate() {
        let (replicas, floor) = (*replicas.get(at)?, *floors.get(at)?);
        components.push(JobComponent { name, replicas, floor, request: requests.next()? });
    }
    let mut components = split(&lengths, components)?.into_iter();
    let mut jobs = Vec::with_capacity(namespaces.len());
    for (at, namespace) in namespaces.into_iter().enumerate() {
        jobs.push(Job {
            namespace,
            name: names.get(at)?.clone(),
            quota: *quota.get(at)?,
            priority: *priority.get(at)? as i32,
            age_ms: *age.get(at)?,
            limit_ms: *limit.get(at)?,
            together: bit(*together.get(at)?)?,
            components: components.next()?,
        });
    }
    Some(jobs)
}

fn put_state(out: &mut Out, state: &MigrationState) {
    let MigrationState { workloads, placed, health, now_ms, seed } = state;
    out.texts(workloads.iter().map(|one| &one.namespace));
    out.texts(workloads.iter().map(|one| &one.name));
    out.whole(workloads, |one| one.priority as u32);
    out.whole(workloads, |one| u32::from(one.together));
    out.wide(&workloads.iter().map(|one| one.toleration_ms).collect::<Vec<_>>());
    let Placed { workload, component, cluster, desired, ready, unschedulable, provisioning, unready_ms, price, tier } =
        placed;
    for column in [workload, component, cluster, desired, ready, unschedulable, provisioning, tier] {
        out.whole(column, |value| *value);
    }
    out.wide(unready_ms);
    out.body.real(price.iter().copied());
    out.whole(&health.reachable, |reachable| u32::from(*reachable));
    out.wide(&health.since_ms);
    out.number(*now_ms);
    out.number(*seed);
}

fn take_state(from: &mut In<'_>) -> Option<MigrationState> {
    let (namespaces, names, priority) = (from.texts()?, from.texts()?, from.whole()?);
    let (together, toleration) = (from.whole()?, from.wide()?);
    let mut workloads = Vec::with_capacity(namespaces.len());
    for (at, namespace) in namespaces.into_iter().enumerate() {
        workloads.push(MigrationWorkload {
            namespace,
            name: names.get(at)?.clone(),
            priority: *priority.get(at)? as i32,
            together: bit(*together.get(at)?)?,
            toleration_ms: *toleration.get(at)?,
        });
    }
    let placed = Placed {
        workload: from.whole()?,
        component: from.whole()?,
        cluster: from.whole()?,
        desired: from.whole()?,
        ready: from.whole()?,
        unschedulable: from.whole()?,
        provisioning: from.whole()?,
        tier: from.whole()?,
        unready_ms: from.wide()?,
        price: from.from.real()?,
    };
    let reachable = from.whole()?.into_iter().map(bit).collect::<Option<Vec<bool>>>()?;
    let health = Health { reachable, since_ms: from.wide()? };
    Some(MigrationState { workloads, placed, health, now_ms: from.number()?, seed: from.number()? })
}

fn put_answer(out: &mut Out, answer: &Result<Output, Problem>) {
    out.number(u64::from(answer.is_ok()));
    match answer {
        Err(problem) => {
            out.number(u64::from(place(&PROBLEMS, &problem.code)));
            out.owned(&problem.message);
        }
        Ok(Output::Placement(Decision { assignments, terms })) => {
            out.whole(assignments, |one| one.component);
            out.whole(assignments, |one| one.candidate);
            out.whole(assignments, |one| one.replicas);
            out.whole(terms, |term| term.candidate);
            out.texts(terms.iter().map(|term| &term.name));
            out.body.real(terms.iter().map(|term| term.value));
        }
        Ok(Output::Gang(Verdict { admit, hold, preempt })) => {
            out.whole(admit, |one| one.job);
            for lists in [
                admit.iter().map(|one| one.sizes.as_slice()).collect::<Vec<_>>(),
                admit.iter().map(|one| one.except.as_slice()).collect(),
            ] {
                out.whole(&lists, |list| list.len() as u32);
                out.whole(&lists.concat(), |value| *value);
            }
            out.whole(hold, |one| one.job);
            out.whole(hold, |one| place(&HOLDS, &one.code));
            hold.iter().for_each(|one| out.owned(&one.reason));
            out.whole(preempt, |one| one.victim);
            out.whole(preempt, |one| one.beneficiary);
            preempt.iter().for_each(|one| out.owned(&one.reason));
        }
        Ok(Output::Migration(moves)) => {
            out.whole(moves, |one| one.row);
            out.whole(moves, |one| one.replicas);
            out.whole(moves, |one| place(&HOWS, &one.how));
            moves.iter().for_each(|one| out.owned(&one.reason));
        }
    }
}

fn take_answer(from: &mut In<'_>, kind: u64) -> Option<Result<Output, Problem>> {
    if !from.flag()? {
        let code = *PROBLEMS.get(from.narrow()? as usize)?;
        return Some(Err(Problem { code, message: from.text()?.to_string() }));
    }
    Some(Ok(match kind {
        PLACEMENT => Output::Placement(take_decision(from)?),
        GANG => Output::Gang(take_verdict(from)?),
        _ => {
            let (rows, replicas, hows) = (from.whole()?, from.whole()?, from.whole()?);
            let mut moves = Vec::with_capacity(rows.len());
            for (at, row) in rows.into_iter().enumerate() {
                let how = *HOWS.get(*hows.get(at)? as usize)?;
                moves.push(Move { row, replicas: *replicas.get(at)?, how, reason: from.text()?.to_string() });
            }
            Output::Migration(moves)
        }
    }))
}

fn take_decision(from: &mut In<'_>) -> Option<Decision> {
    let (components, candidates, replicas) = (from.whole()?, from.whole()?, from.whole()?);
    let mut decision = Decision::default();
    for (at, component) in components.into_iter().enumerate() {
        let (candidate, replicas) = (*candidates.get(at)?, *replicas.get(at)?);
        decision.assignments.push(Assignment { component, candidate, replicas });
    }
    let (candidates, names, values) = (from.whole()?, from.texts()?, from.from.real()?);
    for (at, candidate) in candidates.into_iter().enumerate() {
        decision.terms.push(Term { candidate, name: names.get(at)?.clone(), value: *values.get(at)? });
    }
    Some(decision)
}

fn take_verdict(from: &mut In<'_>) -> Option<Verdict> {
    let jobs = from.whole()?;
    let mut lists = Vec::new();
    for _ in 0..2 {
        let (lengths, values) = (from.whole()?, from.whole()?);
        lists.push(split(&lengths, values)?.into_iter());
    }
    let [sizes, excepts] = lists.as_mut_slice() else { return None };
    let mut verdict = Verdict::default();
    for job in jobs {
        verdict.admit.push(Admit { job, sizes: sizes.next()?, except: excepts.next()? });
    }
    let (jobs, codes) = (from.whole()?, from.whole()?);
    for (at, job) in jobs.into_iter().enumerate() {
        let code = *HOLDS.get(*codes.get(at)? as usize)?;
        verdict.hold.push(Hold { job, code, reason: from.text()?.to_string() });
    }
    let (victims, beneficiaries) = (from.whole()?, from.whole()?);
    for (at, victim) in victims.into_iter().enumerate() {
        let (beneficiary, reason) = (*beneficiaries.get(at)?, from.text()?.to_string());
        verdict.preempt.push(Preempt { victim, beneficiary, reason });
    }
    Some(verdict)
}
