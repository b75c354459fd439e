//! What policies are asked and what they answer, in the host's own types.
//!
//! The types mirror the policy interface field by field, and say what is said there. They are the only
//! form that the planner knows: whether a policy is Wasm or native is behind [`Policies`].

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::fleet::Labels;
use crate::ids::PolicyName;
use crate::placement::PolicyRef;
use crate::workload::{Division, Workload};

/// `u32::MAX`: no row.
pub const NO_ROW: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Placement,
    Gang,
    Migration,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Placement, Kind::Gang, Kind::Migration];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Placement => "placement",
            Kind::Gang => "gang",
            Kind::Migration => "migration",
        }
    }
}

/// The fleet's tables as columns; entry i belongs to cluster row i. Immutable: a change of the fleet's topology makes a new
/// value behind a new `Arc`, so that a session sees by the pointer whether it is up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tables {
    pub names: Vec<Arc<str>>,
    pub providers: Vec<Arc<str>>,
    pub regions: Vec<Arc<str>>,
    /// Ascending by cluster row, then key.
    pub labels: Vec<(u32, Arc<str>, Arc<str>)>,
    pub resources: Vec<Arc<str>>,
}

/// Why a policy gives no answer; a decision, not a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: ProblemCode,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    NoRoom,
    NoCandidate,
    Unsupported,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    pub priority: i32,
    pub division: Division,
    pub together: bool,
    pub components: Vec<Component>,
    pub now_ms: u64,
    pub seed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub name: Arc<str>,
    pub replicas: u32,
    #[serde(default)]
    pub floor: u32,
}

/// Candidates as columns: row i is candidate i; columns by component hold candidate i of component c at `c * n + i`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidates {
    pub cluster: Vec<u32>,
    pub ready: Vec<u32>,
    pub elastic: Vec<u32>,
    pub current: Vec<u32>,
    pub price: Vec<f64>,
    pub current_price: Vec<f64>,
    pub lead_seconds: Vec<u32>,
    pub interruption: Vec<f64>,
    pub tier: Vec<u32>,
    pub weight: Vec<u32>,
    pub offers: Offers,
    pub extra: Vec<Column>,
}

impl Candidates {
    pub fn len(&self) -> usize {
        self.cluster.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty()
    }

    /// Holds the length of every column against what the interface states for a workload of so many components.
    ///
    /// # Errors
    /// The first column that is too long or too short.
    pub fn check(&self, components: usize) -> Result<(), WrongLength> {
        let (n, offers) = (self.len(), &self.offers);
        let (by_component, steps) = (n * components, offers.candidate.len());
        let columns = [
            ("ready", self.ready.len(), by_component),
            ("elastic", self.elastic.len(), by_component),
            ("current", self.current.len(), by_component),
            ("price", self.price.len(), n),
            ("currentPrice", self.current_price.len(), n),
            ("leadSeconds", self.lead_seconds.len(), n),
            ("interruption", self.interruption.len(), n),
            ("tier", self.tier.len(), n),
            ("weight", self.weight.len(), n),
            ("offers.replicas", offers.replicas.len(), steps),
            ("offers.price", offers.price.len(), steps),
            ("offers.leadSeconds", offers.lead_seconds.len(), steps),
            ("offers.interruption", offers.interruption.len(), steps),
        ];
        let extra = self.extra.iter().map(|column| (&*column.name, column.values.len(), n));
        match columns.into_iter().chain(extra).find(|(_, has, needs)| has != needs) {
            Some((column, has, needs)) => Err(WrongLength { column: column.into(), has, needs }),
            None => Ok(()),
        }
    }
}

/// A column with too many or too few entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("candidates.{column} has {has} values, and {needs} are needed")]
pub struct WrongLength {
    /// As it is named in a case's JSON.
    pub column: Arc<str>,
    pub has: usize,
    pub needs: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Offers {
    pub candidate: Vec<u32>,
    pub replicas: Vec<u32>,
    pub price: Vec<f64>,
    pub lead_seconds: Vec<u32>,
    pub interruption: Vec<f64>,
}

/// A named numeric column; a missing value is NaN, which JSON writes as null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: Arc<str>,
    #[serde(deserialize_with = "null_is_nan")]
    pub values: Vec<f64>,
}

fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = Vec::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assignment {
    pub component: u32,
    pub candidate: u32,
    pub replicas: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    pub candidate: u32,
    pub name: Arc<str>,
    pub value: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub assignments: Vec<Assignment>,
    #[serde(default)]
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Queue {
    pub jobs: Vec<Job>,
    pub fits: Vec<Fit>,
    pub quotas: Vec<QuotaUse>,
    pub running: Vec<Running>,
    pub now_ms: u64,
    pub seed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Job {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Row in `quotas`, or [`NO_ROW`].
    pub quota: u32,
    pub priority: i32,
    pub age_ms: u64,
    pub limit_ms: u64,
    pub together: bool,
    pub components: Vec<JobComponent>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobComponent {
    pub name: Arc<str>,
    pub replicas: u32,
    pub floor: u32,
    pub request: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    pub job: u32,
    pub cluster: u32,
    pub now: u32,
    pub empty: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    pub name: Arc<str>,
    /// Row of the parent, or [`NO_ROW`] at the root.
    pub parent: u32,
    pub min: Vec<u64>,
    pub max: Vec<u64>,
    pub used: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub quota: u32,
    pub priority: i32,
    pub cluster: u32,
    pub age_ms: u64,
    pub usage: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub admit: Vec<Admit>,
    #[serde(default)]
    pub hold: Vec<Hold>,
    #[serde(default)]
    pub preempt: Vec<Preempt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    pub job: u32,
    pub sizes: Vec<u32>,
    #[serde(default)]
    pub except: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldCode {
    NoRoom,
    Quota,
    Behind,
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub job: u32,
    pub code: HoldCode,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempt {
    pub victim: u32,
    pub beneficiary: u32,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrationState {
    pub workloads: Vec<MigrationWorkload>,
    pub placed: Placed,
    pub health: Health,
    pub now_ms: u64,
    pub seed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrationWorkload {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub priority: i32,
    pub together: bool,
    pub toleration_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placed {
    pub workload: Vec<u32>,
    pub component: Vec<u32>,
    pub cluster: Vec<u32>,
    pub desired: Vec<u32>,
    pub ready: Vec<u32>,
    pub unschedulable: Vec<u32>,
    pub provisioning: Vec<u32>,
    pub unready_ms: Vec<u64>,
    pub price: Vec<f64>,
    pub tier: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    pub reachable: Vec<bool>,
    pub since_ms: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Gracefully,
    AtOnce,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub row: u32,
    pub replicas: u32,
    pub how: How,
    pub reason: String,
}

/// An answer with who gave it. If the policy that should have decided failed, the built-in one of that kind did, and
/// `failed` says what happened to the first.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    pub result: Result<T, Problem>,
    pub by: PolicyRef,
    /// Fuel that the deciding call used; 0 for native algorithms.
    pub fuel: u64,
    pub failed: Option<(PolicyRef, String)>,
}

/// Where the planner is within a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Entries in the order of the queue, and what a gang policy is told of them.
    Queue,
    /// The gang policy's verdict, with its check.
    Gang,
    /// Sizes within quota, and the clusters that may run a workload.
    Feasible,
    /// Candidates as the placement policy sees them.
    Columns,
    /// The placement policy's decision.
    Place,
    /// Its check.
    Answer,
    /// Budget, booking, and the change with its record.
    Book,
}

impl Stage {
    pub const ALL: [Stage; 7] =
        [Stage::Queue, Stage::Gang, Stage::Feasible, Stage::Columns, Stage::Place, Stage::Answer, Stage::Book];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Gang => "gang",
            Stage::Feasible => "feasible",
            Stage::Columns => "columns",
            Stage::Place => "place",
            Stage::Answer => "answer",
            Stage::Book => "book",
        }
    }
}

/// A workload, as the rules look at it that say which policy decides.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub labels: &'a Labels,
    pub division: Division,
}

impl<'a> Subject<'a> {
    pub fn of(workload: &'a Workload) -> Self {
        Self {
            namespace: &workload.key.namespace,
            name: &workload.key.name,
            labels: &workload.labels,
            division: workload.division(),
        }
    }
}

/// The policies in force, as the planner calls them.
///
/// An implementation never fails: where a policy does, it answers with the built-in algorithm of that kind. `named` is what
/// [`Policies::choose`] gave for the workload; `None` leaves the choice to the binding. One set of policies decides for the
/// whole of one planning cycle: [`Policies::begin`] marks its start, and only there may a new set come in.
pub trait Policies {
    fn begin(&mut self);

    /// The policy that decides about a workload, of which its rules name `named`: the same one for the whole cycle.
    fn choose(&self, _kind: Kind, named: Option<&PolicyName>, _subject: &Subject<'_>) -> Option<PolicyName> {
        named.cloned()
    }

    /// The name whose workloads `chosen` is shown. Another name than its own where it decides for some of another's
    /// workloads: then both see the same queue, or the same state, and each is followed for its own workloads alone.
    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        chosen.cloned()
    }

    /// Told when a stage begins, for those who measure. Decides nothing.
    fn stage(&mut self, _stage: Stage) {}

    /// Inputs that the policy for this request wants, as its `describe` names them.
    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>];

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision>;

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict>;

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>>;

    /// Reports that an answer of `by` broke a rule. The caller discards it and decides with [`crate::native`] instead.
    fn broke_rule(&mut self, kind: Kind, by: &PolicyRef, rule: &str);
}
