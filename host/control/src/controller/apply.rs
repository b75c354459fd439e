//! Objects as users give them: checked as a whole before anything changes, then written as one batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use berth_api::interpret::{self, Part};
use berth_api::issue::did_you_mean;
use berth_api::load::MOST_TOLD;
use berth_api::{Issue, Object, to_core};
use berth_core::fleet::OfferingKey;
use berth_core::ids::{Millis, WorkloadKey};
use serde::Serialize;
use serde_json::Value;

use super::Controller;
use crate::event::{Event, What};
use crate::ports::{Batch, Expected, ObjectKey, StoreError, Write};
use crate::state::Kept;
use crate::time::rfc3339;

/// Times that a write is tried again when somebody else wrote first.
const TRIES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyOutcome {
    Created,
    Configured,
    Unchanged,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    pub key: ObjectKey,
    pub outcome: ApplyOutcome,
    /// What about it has no effect, or not the one that was meant.
    pub warnings: Vec<Issue>,
}

/// A fault of one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// Kind, namespace and name.
    pub object: String,
    #[serde(flatten)]
    pub issue: Issue,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.issue)
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Refusal>),
    #[error("nothing was changed, since the store refused")]
    Store(#[from] StoreError),
}

fn refuse(key: &ObjectKey, issue: Issue) -> Refused {
    Refused::Invalid(vec![Refusal { object: key.to_string(), issue }])
}

impl Controller {
    /// Writes objects, all or none. An object's status stays what it is: it is Berth's to write.
    ///
    /// # Errors
    /// Every fault of every object; or that the store cannot be written, and then the process must stop.
    pub fn apply(&mut self, objects: Vec<Object>, now: Millis) -> Result<Vec<Applied>, Refused> {
        let refusals = self.faults(&objects);
        if !refusals.is_empty() {
            return Err(Refused::Invalid(refusals));
        }
        for _ in 1..TRIES {
            match self.try_apply(&objects, now) {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Ok(self.try_apply(&objects, now)?)
    }

    /// What [`Controller::apply`] would do, without doing it.
    ///
    /// # Errors
    /// Every fault of every object.
    pub fn preview(&self, objects: &[Object], now: Millis) -> Result<Vec<Applied>, Refused> {
        let refusals = self.faults(objects);
        if !refusals.is_empty() {
            return Err(Refused::Invalid(refusals));
        }
        let preview = |object: &Object| {
            let key = ObjectKey::from(&object.key());
            let (outcome, _) = next_version(&key, object, self.state.objects.get(&key), now);
            Applied { key, outcome, warnings: Vec::new() }
        };
        Ok(objects.iter().map(preview).collect())
    }

    fn try_apply(&mut self, objects: &[Object], now: Millis) -> Result<Vec<Applied>, StoreError> {
        let mut batch = Batch::default();
        let mut applied = Vec::new();
        for object in objects {
            let key = ObjectKey::from(&object.key());
            let old = self.state.objects.get(&key);
            let (outcome, write) = next_version(&key, object, old, now);
            batch.writes.extend(write);
            applied.push(Applied { key, outcome, warnings: Vec::new() });
        }
        if !batch.writes.is_empty() {
            self.commit(&batch, now)?;
            self.state.settle(now);
        }
        for (one, object) in applied.iter_mut().zip(objects) {
            one.warnings = self.warnings(object);
        }
        Ok(applied)
    }

    /// Deletes an object; false if there is none. A workload's placement is given up by the loops afterwards.
    ///
    /// # Errors
    /// As [`Controller::delete_all`].
    pub fn delete(&mut self, key: &ObjectKey, now: Millis) -> Result<bool, Refused> {
        let deleted = self.delete_all(std::slice::from_ref(key), now)?;
        Ok(deleted == [true])
    }

    /// Deletes objects, all or none, and says for each whether it was there. Placements of workloads are given up by the
    /// loops afterwards. What was deleted is told with the next step.
    ///
    /// # Errors
    /// For kinds that Berth writes itself; or that the store cannot be written, and then the process must stop.
    pub fn delete_all(&mut self, keys: &[ObjectKey], now: Millis) -> Result<Vec<bool>, Refused> {
        if let Some(key) = keys.iter().find(|key| is_internal(&key.kind)) {
            let mend = "delete the workload instead";
            return Err(refuse(key, Issue::new("kind", "is written by Berth alone", mend)));
        }
        for _ in 1..TRIES {
            match self.try_delete(keys, now) {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Ok(self.try_delete(keys, now)?)
    }

    fn try_delete(&mut self, keys: &[ObjectKey], now: Millis) -> Result<Vec<bool>, StoreError> {
        let mut batch = Batch::default();
        let mut seen = BTreeSet::new();
        let mut deleted = Vec::with_capacity(keys.len());
        for key in keys {
            let kept = self.state.objects.get(key).filter(|_| seen.insert(key));
            deleted.push(kept.is_some());
            batch.writes.extend(kept.map(|kept| Write {
                key: key.clone(),
                expected: Expected::At(kept.revision),
                value: None,
            }));
        }
        if !batch.writes.is_empty() {
            self.commit(&batch, now)?;
            self.state.settle(now);
            let gone = batch.writes.iter().map(|write| What::Deleted { object: WorkloadKey::from(&write.key) });
            self.news.extend(gone.map(|what| Event { at: now, what }));
        }
        Ok(deleted)
    }

    /// Sets a workload's replicas as an autoscaler would, in its manifest.
    ///
    /// # Errors
    /// If there is no such workload, or it is of a kind without one number of replicas; or that the store cannot be
    /// written, and then the process must stop.
    pub fn scale(&mut self, workload: &WorkloadKey, replicas: u32, now: Millis) -> Result<ApplyOutcome, Refused> {
        let key = ObjectKey::from(workload);
        let Some(Object::Manifest(mut manifest)) = self.state.object(&key) else {
            return Err(refuse(&key, Issue::new("", "there is no such workload", "apply its manifest first")));
        };
        let components = interpret::components(&manifest).map(|it| it.components.len()).unwrap_or(0);
        if components != 1 {
            let problem =
                format!("has {components} components with replicas, and only one can be scaled by one number");
            return Err(refuse(&key, Issue::new("spec", problem, "change its manifest instead")));
        }
        interpret::revise(&mut manifest, &Part::whole(vec![replicas]));
        let applied = self.apply(vec![Object::Manifest(manifest)], now)?;
        Ok(applied.first().map_or(ApplyOutcome::Unchanged, |one| one.outcome))
    }

    /// Every reference to what is not there, and whatever else would not make sense beside what is there already; of very
    /// many the first.
    fn faults(&self, objects: &[Object]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut seen = BTreeSet::new();
        // Offerings that are given, by what must be theirs alone; and clusters that are given.
        let mut offerings: BTreeMap<OfferingKey, Arc<str>> = BTreeMap::new();
        let clusters: BTreeSet<&str> =
            objects.iter().filter(|object| matches!(object, Object::Cluster(_))).map(Object::name).collect();
        let declared = |name: &str| self.state.clusters.get(name).is_some_and(|member| member.object.is_some());
        let mut trees: BTreeSet<Arc<str>> = self.state.quotas.keys().cloned().collect();
        for object in objects {
            if refusals.len() >= MOST_TOLD {
                break;
            }
            let key = ObjectKey::from(&object.key());
            let mut issues = Vec::new();
            if !seen.insert(key.clone()) {
                issues.push(Issue::new("metadata.name", "is given twice", "give each object once"));
            }
            match object {
                Object::Placement(_) => {
                    issues.push(Issue::new("kind", "is written by Berth alone", "apply the workload instead"));
                }
                Object::NodePool(pool)
                    if !clusters.contains(pool.spec.cluster.as_str()) && !declared(&pool.spec.cluster) =>
                {
                    let there = self.state.clusters().filter(|(_, member)| member.object.is_some());
                    let there = there.map(|(name, _)| name.as_str()).chain(clusters.iter().copied());
                    let near = did_you_mean(&pool.spec.cluster, there.collect::<BTreeSet<_>>());
                    let mend =
                        near.map_or_else(|| "apply the Cluster first".into(), |name| format!("did you mean {name:?}?"));
                    issues.push(Issue::new(
                        "spec.cluster",
                        format!("there is no Cluster {:?}", pool.spec.cluster),
                        mend,
                    ));
                }
                Object::Offering(offering) => {
                    let row = to_core::offering_key(offering);
                    let name: Arc<str> = key.name.clone();
                    let known = self.state.offerings.get(&row).map(|known| known.object.metadata.name.as_str().into());
                    let other = offerings.insert(row, name.clone()).or(known);
                    if let Some(other) = other.filter(|other: &Arc<str>| *other != name) {
                        let problem =
                            format!("Offering {other} has the same provider, region, zone, type and capacity");
                        issues.push(Issue::new("spec", problem, "change that one, or delete it first"));
                    }
                }
                Object::QuotaTree(_) => {
                    trees.insert(key.name.clone());
                    if trees.len() > 1 {
                        let mend = "put all quotas under one root";
                        issues.push(Issue::new("metadata.name", "there is another QuotaTree already", mend));
                    }
                }
                _ => {}
            }
            refusals.extend(issues.into_iter().map(|issue| Refusal { object: key.to_string(), issue }));
        }
        refusals
    }

    fn warnings(&self, object: &Object) -> Vec<Issue> {
        let mut warnings = Vec::new();
        match object {
            Object::Manifest(manifest) => {
                let state = self.state.workloads.get(&manifest.key());
                if let Some(Err(reason)) = state.map(|state| &state.workload)
                    && !state.is_some_and(|state| state.plain)
                {
                    warnings.push(Issue::new("", reason.message.clone(), "it waits until that changes"));
                }
            }
            Object::NodePool(pool) => {
                let member = self.state.clusters.get(pool.spec.cluster.as_str());
                let cluster = member.and_then(|member| member.object.as_ref());
                let known = self.state.offerings.values().map(|known| &known.object);
                if cluster.is_some_and(|cluster| to_core::pool_offerings(pool, cluster, known).is_empty()) {
                    let mend = "without one the pool cannot grow";
                    warnings.push(Issue::new("spec.offerings", "selects no Offering that there is", mend));
                }
            }
            _ => {}
        }
        warnings
    }
}

fn is_internal(kind: &str) -> bool {
    matches!(kind, crate::record::PLACEMENT_KIND | crate::state::PLAN_KIND)
}

/// What to write of an object: nothing if its specification is what it was.
fn next_version(key: &ObjectKey, object: &Object, old: Option<&Kept>, now: Millis) -> (ApplyOutcome, Option<Write>) {
    let old_object = old.and_then(|kept| Object::from_json(&kept.bytes).ok());
    let mut next = object.clone();
    if let (Object::Offering(next), Some(Object::Offering(old))) = (&mut next, &old_object)
        && old.status.is_some()
    {
        next.status.clone_from(&old.status);
        // What orders taught stands in an annotation besides.
        let taught = old.metadata.annotations.iter().filter(|(key, _)| key.starts_with("berth.dev/last-"));
        next.metadata.annotations.extend(taught.map(|(key, value)| (key.clone(), value.clone())));
    }
    if let Some(old) = &old_object
        && said(&next) == said(old)
    {
        return (ApplyOutcome::Unchanged, None);
    }
    next.set_generation(old_object.as_ref().map_or(0, Object::generation) + 1);
    if let Object::Manifest(manifest) = &mut next {
        let created = match &old_object {
            Some(Object::Manifest(old)) => old.value().pointer("/metadata/creationTimestamp").cloned(),
            _ => None,
        };
        let created = created.unwrap_or_else(|| Value::String(rfc3339(now)));
        if let Some(metadata) = manifest.value_mut().get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("creationTimestamp".to_owned(), created);
        }
    }
    let expected = old.map_or(Expected::Absent, |kept| Expected::At(kept.revision));
    let outcome = if old.is_some() { ApplyOutcome::Configured } else { ApplyOutcome::Created };
    (outcome, Some(Write { key: key.clone(), expected, value: Some(Arc::from(next.to_json())) }))
}

/// What a user said: the object without what the store adds.
fn said(object: &Object) -> Value {
    let mut value = object.to_value();
    if let Some(map) = value.as_object_mut() {
        map.shift_remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["generation", "creationTimestamp", "resourceVersion", "uid", "managedFields"] {
            metadata.shift_remove(field);
        }
    }
    value
}
