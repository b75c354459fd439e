//! Who decides in a run: the native algorithms or real components, with answers that no policy should give in between,
//! reloads in the middle of cycles, and shadows and canaries beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_core::ids::PolicyName;
use berth_core::native::Builtin;
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Admit, Answer, Assignment, Candidates, Decision, How, Kind, MigrationState, Move, Policies, Preempt, Problem,
    ProblemCode, Queue, Request, Subject, Tables, Term, Verdict,
};
use berth_core::workload::Division;
use berth_policy::{CONFIG_FILE, Directory, PolicyHost, Runtime, WentBack};

use super::dice::Dice;
use super::script::Mischief;

/// Fuel of policies that misbehave: enough to decide well, and soon used up by an endless loop.
pub(super) const FUEL: u64 = 20_000_000;
/// Which canaries went back, kept beside the policies.
const WENT_BACK: &str = "canaries.json";

/// Real components in a folder of their own.
#[derive(Debug)]
pub struct Components {
    directory: Directory,
    _folder: tempfile::TempDir,
}

/// Why there are no components to run.
#[derive(Debug, thiserror::Error)]
pub enum ComponentsError {
    #[error("{path} cannot be copied to a temporary folder")]
    Copy { path: PathBuf, source: std::io::Error },
    #[error("{file} is refused: {reason}")]
    Refused { file: String, reason: String },
}

/// What stands beside slots, as `SLOT.shadow` or `SLOT.canary`, with its table.
type Besides = BTreeMap<String, String>;

/// Which policies are bound, one for each turn of a reload.
fn bindings(turn: u64, besides: &Besides) -> String {
    let guests = ["misbehave", "misbehave-gang", "misbehave-migration"];
    let mut limits = guests.map(|name| format!("[policy.{name}]\nlimits = {{ fuel = {FUEL} }}\n")).concat();
    for slot in ["cost", "weighted", "available", "aggregate", "fifo", "ready"] {
        limits.push_str(&format!("[policy.{slot}]\n"));
    }
    besides.iter().for_each(|(name, table)| limits.push_str(&format!("[policy.{name}]\n{table}")));
    let other = "[policy.patient]\nfile = \"cost.wasm\"\nconfig = { leadUsdPerHour = 0.0 }\n";
    match turn % 4 {
        0 => format!("{limits}{other}"),
        1 => format!("[placement]\nFree = \"misbehave\"\nAggregated = \"misbehave\"\n{limits}{other}"),
        2 => format!("[placement]\nFree = \"patient\"\nDuplicated = \"misbehave\"\n{limits}{other}"),
        // A file with a fault changes nothing.
        _ => format!("[placement]\nFree = \"nobody\"\n{limits}{other}"),
    }
}

impl Components {
    /// Takes the components of `policies` and those of `guests` that misbehave. Compiles each once.
    ///
    /// # Errors
    /// A file cannot be read, or is refused.
    pub fn load(policies: &Path, guests: &Path, runtime: &Runtime) -> Result<Self, ComponentsError> {
        let copy = |path: PathBuf, source| ComponentsError::Copy { path, source };
        let folder = tempfile::tempdir().map_err(|error| copy(std::env::temp_dir(), error))?;
        let names = ["weighted", "available", "aggregate", "cost", "fifo", "ready"];
        let files = names.iter().map(|name| policies.join(format!("{name}.wasm")));
        let guests =
            ["misbehave", "misbehave-gang", "misbehave-migration"].map(|name| guests.join(format!("{name}.wasm")));
        for file in files.chain(guests) {
            let to = folder.path().join(file.file_name().unwrap_or_default());
            std::fs::copy(&file, to).map_err(|error| copy(file.clone(), error))?;
        }
        let mut made = Self { directory: Directory::new(folder.path(), runtime.clone()), _folder: folder };
        made.bind(0, &Besides::new());
        match made.directory.set().refused.first() {
            None => Ok(made),
            Some(refusal) => Err(ComponentsError::Refused {
                file: refusal.file.display().to_string(),
                reason: refusal.reason.clone(),
            }),
        }
    }

    fn bind(&mut self, turn: u64, besides: &Besides) {
        let file = self.directory.path().join(CONFIG_FILE);
        // Where the folder is gone, the policies that were loaded go on deciding.
        if std::fs::write(file, bindings(turn, besides)).is_ok() {
            self.directory.scan();
        }
    }

    /// A host as a process has it that starts.
    fn host(&self) -> PolicyHost {
        let mut host = PolicyHost::new(&self.directory);
        host.remember(self.directory.path().join(WENT_BACK));
        host
    }
}

enum Inner {
    Native(Builtin),
    Host(Box<PolicyHost>),
}

impl Inner {
    fn policies(&self) -> &dyn Policies {
        match self {
            Self::Native(built_in) => built_in,
            Self::Host(host) => &**host,
        }
    }

    fn policies_mut(&mut self) -> &mut dyn Policies {
        match self {
            Self::Native(built_in) => built_in,
            Self::Host(host) => &mut **host,
        }
    }
}

/// Decides as a well-behaved set of policies does, unless told otherwise.
pub(crate) struct Deciders<'a> {
    inner: Inner,
    components: Option<&'a mut Components>,
    besides: Besides,
    mischief: Option<(Mischief, u64)>,
    /// Calls between two reloads.
    reload: u64,
    reloads: u64,
    calls: u64,
    dice: Dice,
    pub(crate) broken: u64,
}

impl<'a> Deciders<'a> {
    pub(crate) fn new(seed: u64, components: Option<&'a mut Components>) -> Self {
        let mut components = components;
        let besides = Besides::new();
        let inner = match &mut components {
            None => Inner::Native(Builtin::default()),
            Some(components) => {
                // What a run before left behind. There is nothing to delete at first.
                drop(std::fs::remove_file(components.directory.path().join(WENT_BACK)));
                components.bind(0, &besides);
                Inner::Host(Box::new(components.host()))
            }
        };
        let dice = Dice::new(seed, "mischief");
        Self { inner, components, besides, mischief: None, reload: 0, reloads: 0, calls: 0, dice, broken: 0 }
    }

    /// The process starts anew: sessions and figures are gone, and which canaries went back is not.
    pub(crate) fn restart(&mut self) {
        if let Some(components) = &self.components {
            self.inner = Inner::Host(Box::new(components.host()));
        }
    }

    /// What stands beside a slot from the next cycle on.
    pub(crate) fn stand(&mut self, slot: &str, role: &str, version: Option<&str>) {
        let name = format!("{slot}.{role}");
        match version {
            Some(version) => self.besides.insert(name, version.to_owned()),
            None => self.besides.remove(&name),
        };
        self.bind(self.reloads);
    }

    /// Canaries that went back since this was asked last.
    pub(crate) fn went_back(&mut self) -> Vec<WentBack> {
        match &mut self.inner {
            Inner::Native(_) => Vec::new(),
            Inner::Host(host) => host.went_back(),
        }
    }

    pub(crate) fn misbehave(&mut self, mischief: Option<Mischief>, per_cent: u64) {
        self.mischief = mischief.map(|mischief| (mischief, per_cent));
    }

    pub(crate) fn reload_every(&mut self, calls: u64) {
        self.reload = calls;
        if calls == 0 {
            self.bind(0);
        }
    }

    /// All is well from now on.
    pub(crate) fn calm(&mut self) {
        self.mischief = None;
        self.besides.retain(|name, _| !name.ends_with(".canary"));
        self.reload_every(0);
    }

    fn bind(&mut self, turn: u64) {
        if let Some(components) = &mut self.components {
            components.bind(turn, &self.besides);
        }
    }

    /// Every call comes by here; says what is to go wrong with it.
    fn call(&mut self) -> Option<Mischief> {
        self.calls += 1;
        if self.reload > 0 && self.calls.is_multiple_of(self.reload) {
            self.reloads += 1;
            self.bind(self.reloads);
        }
        let (mischief, per_cent) = self.mischief?;
        let happens = self.dice.chance(per_cent);
        let which = if mischief == Mischief::Any { *self.dice.pick(&Mischief::ALL[..7]) } else { mischief };
        happens.then_some(which)
    }
}

/// The one who gives such answers.
fn by() -> PolicyRef {
    PolicyRef { name: PolicyName::new("unruly"), version: "1".into(), digest: "unruly".into() }
}

fn given<T>(result: Result<T, Problem>) -> Answer<T> {
    Answer { result, by: by(), fuel: 1, failed: None }
}

fn problem(dice: &mut Dice) -> Problem {
    let code = *dice.pick(&[ProblemCode::NoRoom, ProblemCode::NoCandidate, ProblemCode::Unsupported]);
    Problem { code, message: "no, for no reason".into() }
}

fn unruly_decision(dice: &mut Dice, mischief: Mischief, request: &Request, candidates: &Candidates) -> Decision {
    let rows = candidates.len() as u32;
    let parts = request.components.len() as u32;
    let row = |dice: &mut Dice| dice.between(0, u64::from(rows.max(1) - 1)) as u32;
    let part = |dice: &mut Dice| dice.between(0, u64::from(parts.max(1) - 1)) as u32;
    let one = |component, candidate, replicas| Assignment { component, candidate, replicas };
    let assignments = match mischief {
        Mischief::OverRoom => vec![one(part(dice), row(dice), *dice.pick(&[1_000, 100_000, u32::MAX]))],
        Mischief::UnknownRows => vec![match dice.between(0, 2) {
            0 => one(0, rows, 1),
            1 => one(parts, 0, 1),
            _ => one(u32::MAX, u32::MAX, u32::MAX),
        }],
        Mischief::Twice => vec![one(0, 0, 1), one(0, 0, 1)],
        Mischief::WrongSizes => {
            let component = part(dice);
            let wanted = request.components.get(component as usize).map_or(1, |component| component.replicas);
            vec![one(component, row(dice), if dice.chance(50) { wanted.saturating_add(1) } else { wanted / 2 })]
        }
        _ => fickle(dice, request, candidates),
    };
    let value = *dice.pick(&[f64::NAN, f64::INFINITY, -1.0, 0.5]);
    let terms = vec![Term { candidate: if dice.chance(50) { rows } else { 0 }, name: "whim".into(), value }];
    Decision { assignments, terms: if dice.chance(50) { terms } else { Vec::new() } }
}

/// Some of the candidates get some of what fits: within the rules, and never the same.
fn fickle(dice: &mut Dice, request: &Request, candidates: &Candidates) -> Vec<Assignment> {
    let rows = candidates.len();
    let mut assignments = Vec::new();
    let only = request.together.then(|| dice.between(0, rows.max(1) as u64 - 1) as usize);
    for (component, wanted) in request.components.iter().enumerate() {
        let mut left = wanted.replicas;
        for candidate in 0..rows {
            let at = component * rows + candidate;
            let column = |column: &[u32]| column.get(at).copied().unwrap_or(0);
            let holds = column(&candidates.ready)
                .saturating_add(column(&candidates.elastic))
                .saturating_add(column(&candidates.current));
            if only.is_some_and(|only| only != candidate) || holds == 0 || (only.is_none() && dice.chance(40)) {
                continue;
            }
            let most = if request.division == Division::Duplicated { wanted.replicas } else { left };
            let replicas = match only {
                Some(_) => most.min(holds),
                None => dice.between(0, u64::from(most.min(holds))) as u32,
            };
            left = left.saturating_sub(replicas);
            if replicas > 0 {
                let (component, candidate) = (component as u32, candidate as u32);
                assignments.push(Assignment { component, candidate, replicas });
            }
        }
    }
    assignments
}

fn unruly_verdict(dice: &mut Dice, mischief: Mischief, queue: &Queue) -> Verdict {
    let jobs = queue.jobs.len() as u32;
    let sizes = |job: u32, more: u32| -> Vec<u32> {
        let components = queue.jobs.get(job as usize).map(|job| job.components.as_slice()).unwrap_or_default();
        components.iter().map(|component| component.replicas.saturating_add(more)).collect()
    };
    let job = dice.between(0, u64::from(jobs.max(1) - 1)) as u32;
    let admit = |job, sizes| Admit { job, sizes, except: Vec::new() };
    let mut verdict = Verdict::default();
    match mischief {
        Mischief::OverRoom => verdict.admit.push(admit(job, sizes(job, 1_000))),
        Mischief::UnknownRows => verdict.admit.push(admit(jobs, vec![1])),
        Mischief::Twice => verdict.admit.extend([admit(job, sizes(job, 0)), admit(job, sizes(job, 0))]),
        Mischief::WrongSizes => verdict.admit.push(admit(job, vec![1; 9])),
        // Everybody, the last first, and somebody who runs must go for it.
        _ => {
            verdict.admit.extend((0..jobs).rev().map(|job| admit(job, sizes(job, 0))));
            if let Some(victim) = queue.running.len().checked_sub(1) {
                let (victim, reason) = (victim as u32, "on a whim".to_owned());
                verdict.preempt.push(Preempt { victim, beneficiary: job, reason });
            }
        }
    }
    verdict
}

fn unruly_moves(dice: &mut Dice, mischief: Mischief, state: &MigrationState) -> Vec<Move> {
    let rows = state.placed.workload.len() as u32;
    let one = |row, replicas, how| Move { row, replicas, how, reason: "on a whim".into() };
    let row = dice.between(0, u64::from(rows.max(1) - 1)) as u32;
    let desired = state.placed.desired.get(row as usize).copied().unwrap_or(0);
    match mischief {
        Mischief::OverRoom => vec![one(row, u32::MAX, How::AtOnce)],
        Mischief::UnknownRows => vec![one(rows, 1, How::AtOnce)],
        Mischief::Twice => vec![one(row, 1, How::Gracefully), one(row, 1, How::AtOnce)],
        Mischief::WrongSizes => vec![one(row, desired.saturating_add(1), How::Gracefully)],
        _ => vec![one(row, desired, *dice.pick(&[How::Gracefully, How::AtOnce]))],
    }
}

/// The answer of somebody who fails: the built-in algorithm's, with what happened.
fn failed<T>(answer: Answer<T>) -> Answer<T> {
    Answer { failed: Some((by(), "it trapped".to_owned())), ..answer }
}

impl Policies for Deciders<'_> {
    fn begin(&mut self) {
        self.inner.policies_mut().begin();
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        self.inner.policies().choose(kind, named, subject)
    }

    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        self.inner.policies().slot(chosen)
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        self.inner.policies().needs(kind, named, division)
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        match self.call() {
            None => self.inner.policies_mut().place(named, tables, request, candidates),
            Some(Mischief::Fails) => failed(Builtin::default().place(None, tables, request, candidates)),
            Some(Mischief::Refuses) => given(Err(problem(&mut self.dice))),
            Some(mischief) => given(Ok(unruly_decision(&mut self.dice, mischief, request, candidates))),
        }
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        match self.call() {
            None => self.inner.policies_mut().admit(named, tables, queue),
            Some(Mischief::Fails) => failed(Builtin::default().admit(None, tables, queue)),
            Some(Mischief::Refuses) => given(Err(problem(&mut self.dice))),
            Some(mischief) => given(Ok(unruly_verdict(&mut self.dice, mischief, queue))),
        }
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        match self.call() {
            None => self.inner.policies_mut().migrate(named, tables, state),
            Some(Mischief::Fails) => failed(Builtin::default().migrate(None, tables, state)),
            Some(Mischief::Refuses) => given(Err(problem(&mut self.dice))),
            Some(mischief) => given(Ok(unruly_moves(&mut self.dice, mischief, state))),
        }
    }

    fn broke_rule(&mut self, kind: Kind, by: &PolicyRef, rule: &str) {
        self.broken += 1;
        // Of answers that are given here nobody else knows.
        if *by != self::by() {
            self.inner.policies_mut().broke_rule(kind, by, rule);
        }
    }
}
