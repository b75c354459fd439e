//! Policies that decide beside others: shadows, and the slot's own where a canary decided. Compared on the same questions.
//!
//! Holds: nothing here changes an answer or makes a decision wait. With a wall clock a thread compares, and what it has no
//! time for is dropped and counted; without one the questions of a cycle are compared at the beginning of the next, so that
//! nothing depends on how fast the machine is. A canary goes back between two cycles, never within one.

mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use berth_core::ids::PolicyName;
use berth_core::policy::Tables;

use crate::call::{Answered, Call, Output, Question, broke};
use crate::compare::compare;
use crate::engine::{Runtime, WallClock};
use crate::live::Live;
use crate::load::Loaded;
use crate::set::PolicySet;
use crate::slots::Guard;
use crate::stats::{PolicyState, PolicyStatus};

use self::ledger::Ledger;
pub use self::ledger::{Difference, Figures, Side, WentBack};

/// Cycles' questions that may wait for the thread.
const WAITING: usize = 1_024;

type Shared = Arc<Mutex<Ledger>>;

fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One question to be put to another policy too.
struct Job {
    call: Arc<Call>,
    /// The rule that the answer broke.
    broke: Option<String>,
    /// Who is compared: `SLOT/shadow` or `SLOT/canary`.
    pair: PolicyName,
    made_of: Arc<str>,
    /// Who is asked beside.
    other: Arc<Loaded>,
    /// For a canary, which gave the call's answer.
    guard: Option<Guard>,
}

pub(crate) struct Beside {
    runtime: Runtime,
    ledger: Shared,
    /// Questions of the cycle under way.
    pending: Vec<Job>,
    /// Canaries that do not decide in this cycle.
    back: BTreeSet<PolicyName>,
    /// Compares here where there is no wall clock.
    inline: Option<Worker>,
    thread: Option<(SyncSender<Job>, JoinHandle<()>)>,
}

impl Beside {
    pub(crate) fn new(runtime: Runtime) -> Self {
        let ledger = Shared::default();
        let inline = (runtime.wall_clock() == WallClock::Off).then(|| Worker::new(runtime.clone(), ledger.clone()));
        Self { runtime, ledger, pending: Vec::new(), back: BTreeSet::new(), inline, thread: None }
    }

    pub(crate) fn remember(&mut self, file: PathBuf) {
        locked(&self.ledger).remember(file);
    }

    /// Asked between two cycles. The thread, if there is one, gets what was asked; without one nothing happens before the
    /// next cycle.
    pub(crate) fn news(&mut self) -> Vec<WentBack> {
        if self.inline.is_none() {
            let jobs = std::mem::take(&mut self.pending);
            jobs.into_iter().for_each(|job| self.send(job));
        }
        std::mem::take(&mut locked(&self.ledger).news)
    }

    pub(crate) fn is_back(&self, canary: &PolicyName) -> bool {
        self.back.contains(canary)
    }

    /// Between two cycles: what was asked is compared, and canaries that have to, go back.
    pub(crate) fn begin(&mut self, set: &PolicySet) {
        let jobs = std::mem::take(&mut self.pending);
        match &mut self.inline {
            Some(worker) => jobs.into_iter().for_each(|job| worker.compare(&job)),
            None => jobs.into_iter().for_each(|job| self.send(job)),
        }
        if set.besides.is_empty() {
            self.back.clear();
            return;
        }
        let ledger = locked(&self.ledger);
        let canaries = set.besides.values().filter_map(|besides| besides.canary.as_ref());
        let back = canaries.filter(|canary| ledger.is_back(&canary.name, &made_of(set, &canary.name)));
        self.back = back.map(|canary| canary.name.clone()).collect();
    }

    /// Notes a call of a policy that others stand beside, or of one that stands beside another.
    pub(crate) fn called(&mut self, set: &PolicySet, call: &Arc<Call>) {
        let (pair, other, guard) = match set.besides.get(&call.slot).and_then(|besides| besides.shadow.as_ref()) {
            Some(shadow) => (shadow, shadow.as_str(), None),
            None => {
                let slot = set.slot_of(&call.slot);
                let canary = set.besides.get(slot).and_then(|besides| besides.canary.as_ref());
                let Some(canary) = canary.filter(|canary| canary.name == call.slot) else { return };
                (&canary.name, slot.as_str(), Some(canary.guard))
            }
        };
        let Some(other) = set.policies.get(other).cloned() else { return };
        let (call, pair, made_of) = (call.clone(), pair.clone(), made_of(set, pair));
        self.add(Job { call, broke: None, pair, made_of, other, guard });
    }

    fn add(&mut self, job: Job) {
        if self.inline.is_none() && self.pending.len() >= WAITING {
            return dropped(&self.ledger, &job);
        }
        self.pending.push(job);
    }

    pub(crate) fn broke_rule(&mut self, number: u64, rule: &str) {
        if let Some(job) = self.pending.last_mut().filter(|job| job.call.number == number) {
            job.broke = Some(broke(rule));
        }
    }

    fn send(&mut self, job: Job) {
        if self.thread.is_none() {
            self.thread = start(Worker::new(self.runtime.clone(), self.ledger.clone()));
        }
        match &self.thread {
            Some((jobs, _)) => match jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => dropped(&self.ledger, &job),
            },
            None => dropped(&self.ledger, &job),
        }
    }

    /// Adds what is known to the rows of shadows and canaries.
    pub(crate) fn complete(&self, set: &PolicySet, rows: &mut [PolicyStatus]) {
        let ledger = locked(&self.ledger);
        for besides in set.besides.values() {
            let canary = besides.canary.as_ref();
            for name in besides.shadow.iter().chain(canary.map(|canary| &canary.name)) {
                let loaded = |row: &&mut PolicyStatus| row.name == name.as_str() && row.kind.is_some();
                let Some(row) = rows.iter_mut().find(loaded) else { continue };
                let canary = canary.filter(|canary| canary.name == *name);
                let made_of = made_of(set, name);
                // Figures of another one that stood here before say nothing of this one.
                let figures = ledger.figures.get(name).filter(|(of, _)| *of == made_of);
                row.compared = Some(figures.map(|(_, figures)| figures.clone()).unwrap_or_default());
                row.state = if canary.is_some() { PolicyState::Canary } else { PolicyState::Shadow };
            }
            if let Some(canary) = canary.filter(|canary| ledger.is_back(&canary.name, &made_of(set, &canary.name)))
                && let Some(row) = rows.iter_mut().find(|row| row.name == canary.name.as_str() && row.kind.is_some())
            {
                row.state = PolicyState::WentBack;
                row.reason = ledger.back.get(&canary.name).map(|back| back.why.clone());
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.thread.take() {
            drop(jobs);
            // It panicked if this fails, and has nothing to say any more.
            let _ = thread.join();
        }
    }
}

fn dropped(ledger: &Shared, job: &Job) {
    locked(ledger).of(&job.pair, &job.made_of).dropped += 1;
}

fn made_of(set: &PolicySet, pair: &PolicyName) -> Arc<str> {
    set.made_of.get(pair).cloned().unwrap_or_default()
}

fn start(mut worker: Worker) -> Option<(SyncSender<Job>, JoinHandle<()>)> {
    let (send, jobs): (SyncSender<Job>, Receiver<Job>) = sync_channel(WAITING);
    let run = move || jobs.into_iter().for_each(|job| worker.compare(&job));
    let thread = std::thread::Builder::new().name("policy-beside".into()).spawn(run);
    match thread {
        Ok(thread) => Some((send, thread)),
        Err(error) => {
            tracing::error!(%error, "shadows and canaries are not compared, no thread can be started");
            None
        }
    }
}

/// An answer that holds with its fuel, or why there is none.
type Judged = Result<(Answered, u64), String>;

/// Asks, compares and counts.
struct Worker {
    runtime: Runtime,
    ledger: Shared,
    /// Who is asked beside for each pair, with counters of its own; and the policy that this is.
    live: BTreeMap<PolicyName, (Arc<Loaded>, Live)>,
}

impl Worker {
    fn new(runtime: Runtime, ledger: Shared) -> Self {
        Self { runtime, ledger, live: BTreeMap::new() }
    }

    fn compare(&mut self, job: &Job) {
        if locked(&self.ledger).is_back(&job.pair, &job.made_of) {
            return;
        }
        let call = &job.call;
        let beside = self.ask(job);
        let decided: Judged = match (&job.broke, &call.failed) {
            (Some(rule), _) => Err(rule.clone()),
            (None, Some((_, what))) => Err(what.clone()),
            (None, None) => Ok((call.answer.clone(), call.fuel)),
        };
        let canary = job.guard.is_some();
        let (own, other) = if canary { (beside, decided) } else { (decided, beside) };
        let mut ledger = locked(&self.ledger);
        let figures = ledger.of(&job.pair, &job.made_of);
        Figures::count(&mut figures.own, own.as_ref().map(|(_, fuel)| *fuel).map_err(|_| ()));
        Figures::count(&mut figures.other, other.as_ref().map(|(_, fuel)| *fuel).map_err(|_| ()));
        figures.refused_in_a_row(other.is_err());
        if let (Ok((own, _)), Ok((other, _))) = (&own, &other) {
            figures.compared(&compare(&call.question, own, other), || Difference {
                at_ms: call.at_ms,
                about: call.question.about(),
                own: said(&call.tables, &call.question, own),
                other: said(&call.tables, &call.question, other),
            });
        }
        let last = other.err().unwrap_or_default();
        let broken = job.guard.as_ref().and_then(|guard| figures.broken(guard, &last));
        if let Some(why) = broken {
            let (policy, made_of) = (job.pair.clone(), job.made_of.clone());
            ledger.send_back(WentBack { policy, at_ms: call.at_ms, why, made_of });
        }
    }

    /// Puts the question to the other policy, and holds its answer against the rules.
    fn ask(&mut self, job: &Job) -> Judged {
        let call = &job.call;
        let is = |(policy, _): &&mut (Arc<Loaded>, Live)| Arc::ptr_eq(policy, &job.other);
        if self.live.get_mut(&job.pair).as_ref().is_none_or(|found| !is(found)) {
            // A shadow's counters are its own; those of a slot's policy count what it decides.
            let policy = if job.guard.is_some() { Arc::new(job.other.apart()) } else { job.other.clone() };
            self.live.insert(job.pair.clone(), (job.other.clone(), Live::new(policy)));
        }
        let Some((_, live)) = self.live.get_mut(&job.pair) else { return Err(String::new()) };
        let question = call.question.fit(&job.other.description.needs);
        let (answer, fuel) = live.ask(&self.runtime, &call.tables, call.at_ms, |session| question.put(session))?;
        if let Err(rule) = call.question.check(&call.tables, &answer) {
            return Err(live.broke_rule(rule));
        }
        Ok((answer, fuel))
    }
}

/// An answer in one line.
pub(crate) fn said(tables: &Tables, question: &Question, answer: &Answered) -> String {
    let output = match answer {
        Ok(output) => output,
        Err(problem) => return format!("no answer: {}", problem.message),
    };
    match (question, output) {
        (Question::Placement { candidates, .. }, Output::Placement(decision)) => {
            let mut clusters: BTreeMap<&str, u64> = BTreeMap::new();
            for one in decision.assignments.iter().filter(|one| one.replicas > 0) {
                let row = candidates.cluster.get(one.candidate as usize);
                let name = row.and_then(|row| tables.names.get(*row as usize)).map_or("?", |name| name);
                *clusters.entry(name).or_default() += u64::from(one.replicas);
            }
            let parts: Vec<String> = clusters.iter().map(|(name, replicas)| format!("{name} {replicas}")).collect();
            if parts.is_empty() { "nowhere".into() } else { parts.join(", ") }
        }
        (_, Output::Gang(verdict)) => {
            format!("starts {}, holds {}, preempts {}", verdict.admit.len(), verdict.hold.len(), verdict.preempt.len())
        }
        (_, Output::Migration(moves)) => {
            let replicas: u64 = moves.iter().map(|one| u64::from(one.replicas)).sum();
            format!("moves {replicas} replicas in {} rows", moves.len())
        }
        _ => String::new(),
    }
}
