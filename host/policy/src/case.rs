//! One decision by itself: a case in, an outcome out, both as JSON. And what can be said of a file without a case.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_core::policy::{Candidates, Kind, MigrationState, Problem, Queue, Request, Tables};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::Question;
use crate::engine::{Limits, Runtime};
use crate::load::{self, Compiled, Description, LoadError, Loaded};
use crate::session::{CallError, Slot};
use crate::stats::Failure;
use crate::trust::{KeyId, Trust};

/// What a policy is asked. `request` and `candidates` go to a placement policy, `queue` to a gang policy and `state` to a
/// migration policy; exactly what its kind needs must be there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// All clusters there are.
    pub fleet: Tables,
    /// Absent: the defaults, or what the policy's project says.
    pub config: Option<Map<String, Value>>,
    pub request: Option<Request>,
    pub candidates: Option<Candidates>,
    pub queue: Option<Queue>,
    pub state: Option<MigrationState>,
}

#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("the case is not valid: {0}")]
    Case(String),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the call failed: {what}")]
    Call { failure: Failure, what: String },
}

/// What came out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseOutcome {
    pub policy: String,
    pub version: Arc<str>,
    pub digest: Arc<str>,
    /// A decision, a verdict or moves; absent where the policy gave a problem instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The rule for which the host would discard the answer; absent where it keeps them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_rule: Option<String>,
    pub fuel: u64,
    pub memory_bytes: u64,
}

/// What is known of a file without asking it anything but what it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    #[serde(flatten)]
    pub description: Description,
    /// Version of the policy interface.
    pub interface: &'static str,
    pub exports: Vec<String>,
    /// Names of what it takes types from; nothing else is imported.
    pub imports: Vec<String>,
    pub digest: Arc<str>,
    pub bytes: u64,
    /// Who signed it, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<KeyId>,
}

/// A policy file that was compiled and described, to be asked as often as one likes.
#[derive(Debug)]
pub struct Trial {
    runtime: Runtime,
    file: PathBuf,
    compiled: Compiled,
    signed_by: Option<KeyId>,
    limits: Limits,
}

impl Trial {
    /// # Errors
    /// Why the file would not be loaded. Configuration and probe come later, see [`Trial::configure`].
    pub fn open(runtime: &Runtime, file: &Path) -> Result<Self, LoadError> {
        Self::open_trusted(runtime, file, None)
    }

    /// As a controller that loads only what is trusted.
    ///
    /// # Errors
    /// As [`Trial::open`], or why it is not trusted.
    pub fn open_trusted(runtime: &Runtime, file: &Path, trust: Option<&Trust>) -> Result<Self, LoadError> {
        let bytes = load::read(file, Limits::default().file_bytes)?;
        let signed_by = trust.map(|trust| trust.check(file, &bytes)).transpose()?.flatten();
        Ok(Self { signed_by, ..Self::of(runtime, file, &bytes)? })
    }

    /// A component that is in memory; `file` says what it is called.
    ///
    /// # Errors
    /// As [`Trial::open`].
    pub fn of(runtime: &Runtime, file: &Path, bytes: &[u8]) -> Result<Self, LoadError> {
        let limits = Limits::default();
        let compiled = load::compile(runtime, bytes, &limits)?;
        Ok(Self { runtime: runtime.clone(), file: file.to_owned(), compiled, signed_by: None, limits })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn inspection(&self) -> Inspection {
        Inspection { signed_by: self.signed_by.clone(), ..self.compiled.inspection() }
    }

    /// Configures the policy and lets it take its first decision, as a controller does before a policy is in force.
    ///
    /// # Errors
    /// If its schema refuses the configuration, or the decision fails.
    pub fn configure(&self, config: &Map<String, Value>) -> Result<Loaded, LoadError> {
        self.configure_within(config, self.limits)
    }

    /// The same within other limits.
    ///
    /// # Errors
    /// As [`Trial::configure`].
    pub(crate) fn configure_within(&self, config: &Map<String, Value>, limits: Limits) -> Result<Loaded, LoadError> {
        let name = self.compiled.description.name.clone();
        let config = Value::Object(config.clone());
        load::load(&self.runtime, &self.compiled, name, self.file.clone(), &config, limits)
    }

    /// Asks one question in a session of its own, exactly as the host would, limits included.
    ///
    /// # Errors
    /// A case that is no case for this kind, a configuration that is refused, or a call that fails.
    pub fn ask(&self, case: &Case) -> Result<CaseOutcome, CaseError> {
        let policy = self.configure(&case.config.clone().unwrap_or_default())?;
        Conversation { runtime: &self.runtime, policy: &policy, slot: Slot::default() }.ask(case)
    }

    pub(crate) fn converse<'a>(&'a self, policy: &'a Loaded) -> Conversation<'a> {
        Conversation { runtime: &self.runtime, policy, slot: Slot::default() }
    }
}

/// Describes a policy file, as a controller sees it that loads only what is trusted, or anything.
///
/// # Errors
/// Why it would not be loaded.
pub fn inspect(runtime: &Runtime, file: &Path, trust: Option<&Trust>) -> Result<Inspection, LoadError> {
    Trial::open_trusted(runtime, file, trust).map(|trial| trial.inspection())
}

/// Asks a policy file one question, exactly as the host would, limits included.
///
/// # Errors
/// A case that is no case for this kind, a file that would not be loaded, or a call that fails.
pub fn run_case(runtime: &Runtime, file: &Path, case: &Case) -> Result<CaseOutcome, CaseError> {
    Trial::open(runtime, file)?.ask(case)
}

/// Questions to one policy, in one session for as long as the fleet only grows and changes.
pub(crate) struct Conversation<'a> {
    runtime: &'a Runtime,
    policy: &'a Loaded,
    slot: Slot,
}

fn present<'a, T>(value: Option<&'a T>, field: &str, kind: Kind) -> Result<&'a T, CaseError> {
    value.ok_or_else(|| CaseError::Case(format!("a {} policy needs the field `{field}`", kind.as_str())))
}

/// A case may leave out what the replicas that run cost; nothing is known of it then.
fn priced(candidates: &Candidates) -> Candidates {
    let mut candidates = candidates.clone();
    if candidates.current_price.is_empty() {
        candidates.current_price = vec![0.0; candidates.len()];
    }
    candidates
}

/// Columns that do not fit would be the host's own mistake; here they are the author's.
fn check_columns(request: &Request, candidates: &Candidates, clusters: usize) -> Result<(), CaseError> {
    candidates.check(request.components.len()).map_err(|wrong| CaseError::Case(wrong.to_string()))?;
    match candidates.cluster.iter().find(|row| **row as usize >= clusters) {
        Some(row) => {
            Err(CaseError::Case(format!("candidates.cluster names row {row}, and fleet.names has {clusters} entries")))
        }
        None => Ok(()),
    }
}

impl Conversation<'_> {
    pub(crate) fn ask(&mut self, case: &Case) -> Result<CaseOutcome, CaseError> {
        let question = case.question(self.policy.description.kind)?;
        let tables = Arc::new(case.fleet.clone());
        let asked = self.slot.ask(self.runtime, self.policy, &tables, |session| question.put(session));
        let (answered, fuel) = asked.map_err(|CallError { failure, what }| CaseError::Call { failure, what })?;
        let broken_rule = question.check(&tables, &answered).err();
        let (answer, problem) = match answered {
            Ok(answer) => (Some(answer), None),
            Err(problem) => (None, Some(problem)),
        };
        let answer = answer.map(|answer| serde_json::to_value(&answer)).transpose();
        Ok(CaseOutcome {
            policy: self.policy.name.to_string(),
            version: self.policy.by.version.clone(),
            digest: self.policy.by.digest.clone(),
            answer: answer.map_err(|error| CaseError::Case(error.to_string()))?,
            problem,
            broken_rule: broken_rule.map(|rule| rule.to_string()),
            fuel,
            memory_bytes: self.policy.stats().memory,
        })
    }
}

impl Case {
    /// The question to a policy of a kind.
    pub(crate) fn question(&self, kind: Kind) -> Result<Question, CaseError> {
        match kind {
            Kind::Placement => {
                let request = present(self.request.as_ref(), "request", kind)?;
                let candidates = priced(present(self.candidates.as_ref(), "candidates", kind)?);
                check_columns(request, &candidates, self.fleet.names.len())?;
                Ok(Question::Placement { request: request.clone(), candidates })
            }
            Kind::Gang => Ok(Question::Gang(present(self.queue.as_ref(), "queue", kind)?.clone())),
            Kind::Migration => Ok(Question::Migration(present(self.state.as_ref(), "state", kind)?.clone())),
        }
    }
}
