//! Promises 3 and 8: plans follow on each other, every change has its plan, every plan its records, and records agree with
//! what came of them.

use std::collections::{BTreeMap, BTreeSet};

use berth_control::ports::{HistoryEntry, ObjectKey};
use berth_core::ids::WorkloadKey;
use berth_core::reason::Code;

use super::breach::{Found, Invariant};
use super::decision::Decision;
use super::record::{Placed, Plan, PolicyRef, Tables};
use super::store::Change;

const TABLES: &str = "berth.dev/v1alpha1/Tables";
/// Tables that are remembered.
const TABLES_KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Plans {
    newest: Option<u64>,
    /// Names of clusters by row, by the digest of their tables; with the number of the entry that brought them.
    tables: BTreeMap<String, (u64, Vec<String>)>,
    entries: u64,
    /// Decisions since the last plan, whose plan is still to come.
    open: Vec<Decision>,
}

/// The plans of one look, with their decisions by workload.
#[derive(Debug, Default)]
pub(super) struct News {
    plans: BTreeMap<u64, BTreeSet<WorkloadKey>>,
    decisions: BTreeMap<(u64, WorkloadKey), Decision>,
}

impl Plans {
    /// Takes in what was added to the history, oldest first.
    pub(super) fn read(&mut self, entries: &[HistoryEntry], found: &mut Found) -> News {
        let mut news = News::default();
        for entry in entries {
            self.entries += 1;
            match &entry.about {
                Some(about) if &*about.kind == TABLES => self.take_tables(about, entry, found),
                Some(about) => self.take_decision(about, entry, found),
                None => self.take_plan(entry, &mut news, found),
            }
        }
        for left in std::mem::take(&mut self.open) {
            let what = format!("a decision for plan {} was recorded, and no plan follows it", left.plan);
            found.add(Invariant::DecisionLost, &left.workload, what);
        }
        news
    }

    fn take_tables(&mut self, about: &ObjectKey, entry: &HistoryEntry, found: &mut Found) {
        match serde_json::from_slice::<Tables>(&entry.value) {
            Ok(tables) => drop(self.tables.insert(about.name.to_string(), (self.entries, tables.names))),
            Err(error) => found.add(Invariant::Unreadable, about, error.to_string()),
        }
        while self.tables.len() > TABLES_KEPT {
            let oldest = self.tables.iter().min_by_key(|(_, (number, _))| *number).map(|(digest, _)| digest.clone());
            oldest.and_then(|digest| self.tables.remove(&digest));
        }
    }

    fn take_decision(&mut self, about: &ObjectKey, entry: &HistoryEntry, found: &mut Found) {
        let decision = match Decision::read(&entry.value) {
            Ok(decision) => decision,
            Err(why) => return found.add(Invariant::RecordMissing, about, format!("its record cannot be read: {why}")),
        };
        let key = &decision.workload;
        if (&key.kind, &key.namespace, &key.name) != (&about.kind, &about.namespace, &about.name) {
            found.add(Invariant::RecordDiffers, about, format!("its record is about {key}"));
        }
        self.check_decision(&decision, found);
        self.open.push(decision);
    }

    /// What a record must say by itself.
    fn check_decision(&self, decision: &Decision, found: &mut Found) {
        let record = decision;
        let key = &record.workload;
        let named = |policy: &PolicyRef| !policy.name.is_empty() && !policy.digest.is_empty();
        if !named(&record.by) {
            found.add(Invariant::PoliciesMixed, key, format!("plan {}: nobody decided", record.plan));
        }
        // Nothing is asked about a workload that gives way to another.
        let asked = (record.request.namespace.as_str(), record.request.name.as_str());
        if !asked.1.is_empty() && asked != (&*key.namespace, &*key.name) {
            let what = format!("asked was about {}/{}", record.request.namespace, record.request.name);
            found.add(Invariant::RecordDiffers, key, what);
        }
        for code in record.passed.iter().map(|one| &one.code).chain(decision.short.iter().map(|short| &short.code)) {
            if !known_code(code) {
                found.add(Invariant::UnknownCode, key, format!("plan {}: {code:?}", record.plan));
            }
        }
        let Some((_, names)) = self.tables.get(&decision.tables) else {
            let what = format!("plan {}: the history has no tables {}", record.plan, decision.tables);
            return found.add(Invariant::RecordMissing, key, what);
        };
        let mut rows: BTreeMap<u64, u32> = BTreeMap::new();
        let passed = record.passed.iter().map(|one| one.cluster);
        for row in record.candidates.iter().copied().chain(passed) {
            *rows.entry(row).or_default() += 1;
        }
        if let Some((row, _)) = rows.iter().find(|(row, _)| **row as usize >= names.len()) {
            found.add(Invariant::RecordDiffers, key, format!("plan {}: there is no cluster row {row}", record.plan));
        }
        if let Some((row, _)) = rows.iter().find(|(_, times)| **times > 1) {
            let what = format!("plan {}: cluster row {row} was a candidate and passed over at once", record.plan);
            found.add(Invariant::RecordDiffers, key, what);
        }
    }

    fn take_plan(&mut self, entry: &HistoryEntry, news: &mut News, found: &mut Found) {
        let decisions = std::mem::take(&mut self.open);
        let plan = match serde_json::from_slice::<Plan>(&entry.value) {
            Ok(plan) => plan,
            Err(error) => return found.add(Invariant::Unreadable, "a plan in the history", error.to_string()),
        };
        let about = format!("plan {}", plan.plan);
        let expected = self.newest.map_or(plan.parent, |newest| newest);
        if plan.parent != expected || plan.plan != plan.parent + 1 {
            let what = format!("its parent is {}, and the plan before it is {expected}", plan.parent);
            found.add(Invariant::PlansBroken, &about, what);
        }
        self.newest = Some(plan.plan);
        check_versions(&about, &plan, &decisions, found);
        for decision in decisions {
            let key = decision.workload.clone();
            if decision.plan != plan.plan {
                let what = format!("decided for plan {}, and recorded with plan {}", decision.plan, plan.plan);
                found.add(Invariant::DecisionLost, &key, what);
            }
            news.decisions.insert((plan.plan, key), decision);
        }
        for key in &plan.changes {
            if !news.decisions.contains_key(&(plan.plan, key.clone())) {
                found.add(Invariant::RecordMissing, key, format!("{about} changed it, and has no record of why"));
            }
        }
        news.plans.insert(plan.plan, plan.changes.into_iter().collect());
    }

    /// The number that the store has of the newest plan is that of the newest in the history.
    pub(super) fn check_head(&self, head: Option<u64>, found: &mut Found) {
        if head != self.newest {
            let what = format!("the store says {head:?}, the history {:?}", self.newest);
            found.add(Invariant::PlansBroken, "newest plan", what);
        }
    }

    /// Holds the placements that changed against the plans of this look.
    pub(super) fn check_changes(
        &self,
        changes: &[Change],
        exists: impl Fn(&WorkloadKey) -> bool,
        news: &News,
        found: &mut Found,
    ) {
        for change in changes {
            let Some(now) = &change.now else { continue };
            let before = change.before.as_deref();
            if before.is_some_and(|before| before.plan == now.plan) {
                let same = before.is_some_and(|before| before.shares == now.shares && before.clusters == now.clusters);
                let released = now.shares.is_empty() && now.clusters.is_empty() && !exists(&now.workload);
                let finished = now.shares.is_empty() && now.finished;
                if !(same || released || finished) {
                    let what = format!("its shares changed under plan {}", now.plan);
                    found.add(Invariant::ChangeWithoutPlan, &now.workload, what);
                }
                continue;
            }
            self.check_change(now, exists(&now.workload), news, found);
        }
    }

    fn check_change(&self, now: &Placed, exists: bool, news: &News, found: &mut Found) {
        let key = &now.workload;
        if !news.plans.get(&now.plan).is_some_and(|changes| changes.contains(key)) {
            let what = format!("is placed by plan {}, and no such plan was committed for it", now.plan);
            return found.add(Invariant::ChangeWithoutPlan, key, what);
        }
        // A missing record is told with its plan.
        let Some(decision) = news.decisions.get(&(now.plan, key.clone())) else { return };
        let record = decision;
        let mut differs = |what: String| {
            found.add(Invariant::RecordDiffers, key, format!("plan {}: {what}", now.plan));
        };
        if record.by != now.policy {
            differs(format!("decided by {:?}, placed by {:?}", record.by, now.policy));
        }
        if (record.generation, record.decided_at) != (now.generation, now.decided_at) {
            differs(format!(
                "decided for generation {} at {}, placed for {} at {}",
                record.generation, record.decided_at, now.generation, now.decided_at
            ));
        }
        if !exists || now.finished {
            return;
        }
        let counts = now.by_cluster();
        let told: BTreeMap<&str, u64> =
            decision.clusters.iter().filter(|one| one.after > 0).map(|one| (one.cluster.as_str(), one.after)).collect();
        if told != counts {
            differs(format!("records {told:?}, placed are {counts:?}"));
        }
        // Missing tables are told with the record.
        let Some((_, names)) = self.tables.get(&decision.tables) else { return };
        let mut assigned: BTreeMap<(u64, &str), u64> = BTreeMap::new();
        for one in decision.assignments.iter().filter(|one| one.replicas > 0) {
            let row = record.candidates.get(one.candidate as usize);
            let name = row.and_then(|row| names.get(*row as usize)).map_or("", String::as_str);
            *assigned.entry((one.component, name)).or_default() += one.replicas;
        }
        for share in &now.shares {
            let (component, cluster) = (share.component, share.cluster.as_str());
            let most = assigned.get(&(u64::from(component), cluster)).copied().unwrap_or(0);
            let placed = now.at(component, cluster);
            if placed > most {
                differs(format!("{placed} replicas of component {component} are in {cluster}, decided were {most}"));
            }
        }
    }
}

/// Within one plan every policy has one version.
fn check_versions(about: &str, plan: &Plan, decisions: &[Decision], found: &mut Found) {
    let mut versions: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    let failed = |failed: &'_ Option<(PolicyRef, String)>| failed.as_ref().map(|(policy, _)| policy.clone());
    let records = decisions.iter().flat_map(|one| [Some(one.by.clone()), failed(&one.failed)]);
    let gangs = plan.gangs.iter().flat_map(|one| [Some(one.by.clone()), failed(&one.failed)]);
    let failures = plan.failures.iter().map(|one| Some(one.policy.clone()));
    let policies: Vec<PolicyRef> = records.chain(gangs).chain(failures).flatten().collect();
    for policy in policies.iter().filter(|policy| policy.digest != NATIVE) {
        versions.entry(&policy.name).or_default().insert((&policy.version, &policy.digest));
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let digests: Vec<&str> = versions.iter().map(|(_, digest)| *digest).collect();
        found.add(Invariant::PoliciesMixed, about, format!("policy {name} decided as {}", digests.join(" and ")));
    }
    for gang in plan.gangs.iter().filter(|gang| gang.plan != plan.plan) {
        let what = format!("a gang decision for plan {} stands in it", gang.plan);
        found.add(Invariant::DecisionLost, about, what);
    }
}

/// The digest of algorithms that are compiled into the host: they stand in for components of the same name.
const NATIVE: &str = "native";

pub(super) fn known_code(code: &str) -> bool {
    Code::ALL.iter().any(|known| known.as_str() == code)
}
