//! What comparing comes to: figures of each pair, the guard, and which canaries went back, kept in a file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_core::ids::PolicyName;
use serde::{Deserialize, Serialize};

use crate::compare::{Compared, Measure};
use crate::slots::Guard;

/// Differences that are kept of each pair.
const KEPT: usize = 8;
/// Refusals of a canary in a row after which nobody waits for its guard.
const IN_A_ROW: u64 = 5;

/// How a shadow or a canary compares with its slot's own policy, since it came or the program started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Questions that both answered.
    pub pairs: u64,
    /// Of them, those in which both do the same.
    pub same: u64,
    /// Replicas that both place, but elsewhere.
    pub moved: u64,
    /// What could leave where it runs, in the questions that both answered: replicas that a migration policy looks at,
    /// workloads that a gang policy may preempt.
    pub running: u64,
    /// The slot's own policy.
    pub own: Side,
    /// The shadow or the canary.
    pub other: Side,
    /// Questions that nobody had time for.
    pub dropped: u64,
    /// The newest ones last.
    pub differences: VecDeque<Difference>,
    /// Refusals of the other one in a row.
    #[serde(skip)]
    in_a_row: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Side {
    pub calls: u64,
    /// Calls that failed or broke a rule.
    pub refusals: u64,
    /// Replicas with and without a place, and USD per hour, in what both answered.
    pub placed: u64,
    pub waiting: u64,
    pub usd_per_hour: f64,
    /// Of what runs, what is moved away or preempted.
    pub leaving: u64,
    pub fuel: u64,
}

/// Two answers that differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Difference {
    pub at_ms: u64,
    pub about: String,
    pub own: String,
    pub other: String,
}

/// A canary that went back by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WentBack {
    pub policy: PolicyName,
    pub at_ms: u64,
    pub why: String,
    /// Of which file and configuration this was said.
    pub(crate) made_of: Arc<str>,
}

impl Side {
    fn add(&mut self, measure: &Measure) {
        self.placed += measure.placed;
        self.waiting += measure.waiting;
        self.usd_per_hour += measure.usd_per_hour;
        self.leaving += measure.leaving;
    }

    /// Share of the replicas without a place.
    pub fn waiting_share(&self) -> f64 {
        self.waiting as f64 / (self.placed + self.waiting).max(1) as f64
    }

    /// USD of a placed replica and hour.
    pub fn usd_per_replica_hour(&self) -> f64 {
        self.usd_per_hour / self.placed.max(1) as f64
    }
}

impl Figures {
    /// Counts a call of one side.
    pub(super) fn count(side: &mut Side, answer: Result<u64, ()>) {
        side.calls += 1;
        match answer {
            Ok(fuel) => side.fuel = side.fuel.saturating_add(fuel),
            Err(()) => side.refusals += 1,
        }
    }

    pub(super) fn refused_in_a_row(&mut self, refused: bool) {
        self.in_a_row = if refused { self.in_a_row + 1 } else { 0 };
    }

    pub(super) fn compared(&mut self, compared: &Compared, difference: impl FnOnce() -> Difference) {
        self.pairs += 1;
        self.moved += compared.moved;
        self.running += compared.running;
        self.own.add(&compared.before);
        self.other.add(&compared.after);
        if compared.same {
            self.same += 1;
            return;
        }
        if self.differences.len() == KEPT {
            self.differences.pop_front();
        }
        self.differences.push_back(difference());
    }

    /// Share of what runs that leaves with one side; 0 where nothing could.
    pub fn leaving_share(&self, side: &Side) -> f64 {
        if self.running == 0 { 0.0 } else { side.leaving as f64 / self.running as f64 }
    }

    /// Why a canary with this guard has to go back, if it has to. `last` is what its last refusal was.
    pub(super) fn broken(&self, guard: &Guard, last: &str) -> Option<String> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        if self.in_a_row >= IN_A_ROW {
            return Some(format!("{IN_A_ROW} calls in a row failed: {last}"));
        }
        let refusals = self.other.refusals as f64 / self.other.calls.max(1) as f64;
        if self.other.calls >= guard.after && refusals > guard.refusals {
            let (share, most) = (percent(refusals), percent(guard.refusals));
            return Some(format!("refusals: {share} of {} calls, and {most} are allowed: {last}", self.other.calls));
        }
        if self.pairs < guard.after {
            return None;
        }
        let (own, other) = (self.own.waiting_share(), self.other.waiting_share());
        if other - own > guard.waiting {
            let most = percent(guard.waiting);
            let (own, other) = (percent(own), percent(other));
            return Some(format!(
                "waiting: {other} of the replicas, and {own} with the slot's own; {most} more are allowed"
            ));
        }
        let (own, other) = (self.own.usd_per_replica_hour(), self.other.usd_per_replica_hour());
        if other > own * (1.0 + guard.cost) + 1e-9 {
            let most = percent(guard.cost);
            return Some(format!(
                "cost: {other:.4} USD a replica and hour, and {own:.4} with the slot's own; {most} more are allowed"
            ));
        }
        let (own, other) = (self.leaving_share(&self.own), self.leaving_share(&self.other));
        if other - own > guard.leaving {
            let most = percent(guard.leaving);
            let (own, other) = (percent(own), percent(other));
            return Some(format!(
                "leaving: {other} of what runs, and {own} with the slot's own; {most} more are allowed"
            ));
        }
        None
    }
}

/// Everything that is known, shared by who compares and who decides.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) figures: BTreeMap<PolicyName, (Arc<str>, Figures)>,
    pub(super) back: BTreeMap<PolicyName, WentBack>,
    pub(super) news: Vec<WentBack>,
    pub(super) file: Option<PathBuf>,
}

impl Ledger {
    /// Figures of a pair; they start anew where it is another one.
    pub(super) fn of(&mut self, pair: &PolicyName, made_of: &Arc<str>) -> &mut Figures {
        let found = self.figures.entry(pair.clone()).or_default();
        if found.0 != *made_of {
            *found = (made_of.clone(), Figures::default());
        }
        &mut found.1
    }

    pub(super) fn is_back(&self, pair: &PolicyName, made_of: &str) -> bool {
        self.back.get(pair).is_some_and(|back| &*back.made_of == made_of)
    }

    /// From now on the canary does not decide. On disk before anybody is told, so that no restart brings it back.
    pub(super) fn send_back(&mut self, back: WentBack) {
        self.back.insert(back.policy.clone(), back.clone());
        if let Some(file) = &self.file
            && let Err(error) = write(file, &self.back)
        {
            tracing::error!(file = %file.display(), %error, "that a canary went back cannot be kept");
        }
        self.news.push(back);
    }

    pub(super) fn remember(&mut self, file: PathBuf) {
        match fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice::<Vec<WentBack>>(&bytes) {
                Ok(back) => self.back.extend(back.into_iter().map(|back| (back.policy.clone(), back))),
                Err(error) => {
                    tracing::error!(file = %file.display(), %error, "which canaries went back cannot be read; all are tried again");
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "which canaries went back cannot be read; all are tried again");
            }
        }
        self.file = Some(file);
    }
}

/// Whole or not at all.
fn write(file: &Path, back: &BTreeMap<PolicyName, WentBack>) -> std::io::Result<()> {
    let rows: Vec<&WentBack> = back.values().collect();
    let partial = file.with_extension("partial");
    let mut out = File::create(&partial)?;
    out.write_all(&serde_json::to_vec_pretty(&rows)?)?;
    out.sync_all()?;
    fs::rename(&partial, file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
