//! An immutable set of policies: what decides for the whole of one planning cycle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use berth_core::ids::PolicyName;
use berth_core::policy::{Kind, Subject};
use berth_core::workload::Division;

use crate::bind::Rule;
use crate::load::Loaded;
use crate::slots::Besides;
use crate::stats::{PolicyState, PolicyStatus};

/// Which policy decides where a distribution policy names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings {
    pub duplicated: PolicyName,
    pub static_weight: PolicyName,
    pub available_replicas: PolicyName,
    pub aggregated: PolicyName,
    pub free: PolicyName,
    pub gang: PolicyName,
    pub migration: PolicyName,
}

impl Default for Bindings {
    fn default() -> Self {
        let placement = |division| PolicyName::new(berth_core::native::for_division(division));
        Self {
            duplicated: placement(Division::Duplicated),
            static_weight: placement(Division::StaticWeight),
            available_replicas: placement(Division::AvailableReplicas),
            aggregated: placement(Division::Aggregated),
            free: placement(Division::Free),
            gang: PolicyName::new("fifo"),
            migration: PolicyName::new("ready"),
        }
    }
}

impl Bindings {
    pub fn of(&self, kind: Kind, division: Division) -> &PolicyName {
        match (kind, division) {
            (Kind::Gang, _) => &self.gang,
            (Kind::Migration, _) => &self.migration,
            (Kind::Placement, Division::Duplicated) => &self.duplicated,
            (Kind::Placement, Division::StaticWeight) => &self.static_weight,
            (Kind::Placement, Division::AvailableReplicas) => &self.available_replicas,
            (Kind::Placement, Division::Aggregated) => &self.aggregated,
            (Kind::Placement, Division::Free) => &self.free,
        }
    }

    /// Each binding with the kind that it needs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Kind, &PolicyName)> {
        [
            ("placement.Duplicated", Kind::Placement, &self.duplicated),
            ("placement.StaticWeight", Kind::Placement, &self.static_weight),
            ("placement.AvailableReplicas", Kind::Placement, &self.available_replicas),
            ("placement.Aggregated", Kind::Placement, &self.aggregated),
            ("placement.Free", Kind::Placement, &self.free),
            ("gang.default", Kind::Gang, &self.gang),
            ("migration.default", Kind::Migration, &self.migration),
        ]
        .into_iter()
    }
}

/// A file, or a name in `policies.toml`, that was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name in `policies.toml`, or the file's stem.
    pub name: String,
    pub file: PathBuf,
    /// Empty where it could not be read.
    pub digest: Arc<str>,
    pub reason: String,
}

#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    pub policies: BTreeMap<PolicyName, Arc<Loaded>>,
    /// What stands beside the policies of these names; all of it is in `policies` too.
    pub besides: BTreeMap<PolicyName, Besides>,
    /// What each of them is made of: two that say the same are the same one.
    pub(crate) made_of: BTreeMap<PolicyName, Arc<str>>,
    /// Inputs that are wanted of a question, for policies that others stand beside.
    pub(crate) needs: BTreeMap<PolicyName, Vec<Arc<str>>>,
    /// In order: the first that fits decides, and the bindings where none does.
    pub rules: Vec<Rule>,
    pub bindings: Bindings,
    pub refused: Vec<Refusal>,
}

impl PolicySet {
    /// The name of the policy that decides about a workload: the one that is named, or of the first rule that fits, or that
    /// is bound.
    pub fn choose<'a>(&'a self, kind: Kind, named: Option<&'a PolicyName>, subject: &Subject<'_>) -> &'a PolicyName {
        let rule = || self.rules.iter().find(|rule| rule.fits(kind, subject)).map(|rule| &rule.policy);
        named.or_else(rule).unwrap_or_else(|| self.bindings.of(kind, subject.division))
    }

    /// The name that is asked: the one given, or the one that is bound.
    pub(crate) fn slot<'a>(&'a self, kind: Kind, named: Option<&'a PolicyName>, division: Division) -> &'a PolicyName {
        named.unwrap_or_else(|| self.bindings.of(kind, division))
    }

    /// The policy that one decides for some of the workloads of; for any other itself.
    pub(crate) fn slot_of<'a>(&'a self, chosen: &'a PolicyName) -> &'a PolicyName {
        let slot = chosen.as_str().strip_suffix("/canary").and_then(|slot| self.besides.get_key_value(slot));
        slot.map_or(chosen, |(slot, _)| slot)
    }

    /// The policy of a kind that is named, or bound where none is named. `None` where that is the built-in algorithm, which
    /// needs no component.
    ///
    /// # Errors
    /// The name, and why it cannot decide.
    pub fn find(
        &self,
        kind: Kind,
        named: Option<&PolicyName>,
        division: Division,
    ) -> Result<Option<&Arc<Loaded>>, (PolicyName, &'static str)> {
        let name = self.slot(kind, named, division);
        match self.policies.get(name) {
            Some(policy) if policy.description.kind == kind => Ok(Some(policy)),
            Some(_) => Err((name.clone(), "it is a policy of another kind")),
            None if name == Bindings::default().of(kind, division) => Ok(None),
            None => Err((name.clone(), "no policy of that name is loaded")),
        }
    }

    /// All policies and refusals, ascending by name.
    pub fn status(&self) -> Vec<PolicyStatus> {
        let mut rows: Vec<PolicyStatus> = self.policies.values().map(|policy| status(policy)).collect();
        rows.extend(self.refused.iter().map(refused));
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows
    }
}

fn status(policy: &Loaded) -> PolicyStatus {
    let stats = policy.stats();
    PolicyStatus {
        name: policy.name.to_string(),
        kind: Some(policy.description.kind),
        version: policy.description.version.to_string(),
        digest: policy.by.digest.to_string(),
        signed_by: policy.signed_by.as_ref().map(ToString::to_string),
        file: policy.file.display().to_string(),
        state: if stats.taken_out { PolicyState::TakenOut } else { PolicyState::Active },
        reason: stats.last_failure.clone().filter(|_| stats.taken_out),
        calls: stats.calls,
        failures: stats.failures.clone(),
        fuel_per_call: stats.fuel_per_call(),
        p50_us: stats.quantile_us(0.5),
        p99_us: stats.quantile_us(0.99),
        memory_bytes: stats.memory,
        doc: policy.description.doc.clone(),
        compared: None,
    }
}

fn refused(refusal: &Refusal) -> PolicyStatus {
    PolicyStatus {
        name: refusal.name.clone(),
        kind: None,
        version: String::new(),
        digest: refusal.digest.to_string(),
        signed_by: None,
        file: refusal.file.display().to_string(),
        state: PolicyState::Refused,
        reason: Some(refusal.reason.clone()),
        calls: 0,
        failures: BTreeMap::new(),
        fuel_per_call: 0,
        p50_us: 0,
        p99_us: 0,
        memory_bytes: 0,
        doc: String::new(),
        compared: None,
    }
}
