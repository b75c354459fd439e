//! What users were told is written: it stands in the store as they gave it until they say otherwise.

use std::collections::{BTreeMap, BTreeSet};

use berth_api::Object;
use berth_control::ports::{ObjectKey, Store, StoreError, Stored};
use berth_core::ids::WorkloadKey;
use serde_json::Value;

use super::breach::{Found, Invariant};
use berth_control::ports::Revision;

/// Annotations that Berth writes into objects of users.
const OURS: &str = "berth.dev/last-";

#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// As users gave them.
    objects: BTreeMap<ObjectKey, Value>,
    deleted: BTreeSet<ObjectKey>,
    /// Written since the last look, or to be looked at as a whole.
    check: BTreeSet<ObjectKey>,
    all: bool,
}

/// What a user said: an object without what the store and Berth add to it.
fn said(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.shift_remove("status");
    }
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return value };
    for field in ["generation", "creationTimestamp", "resourceVersion", "uid", "managedFields"] {
        metadata.shift_remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.starts_with(OURS));
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
    value
}

fn key_of(object: &Object) -> ObjectKey {
    let key = object.key();
    ObjectKey { kind: key.kind, namespace: key.namespace, name: key.name }
}

impl Accepted {
    pub(super) fn accept(&mut self, object: &Object) {
        let key = key_of(object);
        self.objects.insert(key.clone(), said(&object.to_value()));
        self.deleted.remove(&key);
        self.check.insert(key);
    }

    pub(super) fn delete(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
        self.deleted.insert(key.clone());
        self.check.insert(key.clone());
    }

    /// Replicas of a kind with one number of them.
    pub(super) fn scale(&mut self, workload: &WorkloadKey, replicas: u32) {
        let WorkloadKey { namespace, name, kind } = workload.clone();
        let key = ObjectKey { kind, namespace, name };
        let Some(value) = self.objects.get_mut(&key) else { return };
        let field = if key.kind.ends_with("/Job") { "parallelism" } else { "replicas" };
        let roles = "/spec/pytorchReplicaSpecs";
        let at = match value.pointer(roles).and_then(Value::as_object).and_then(|roles| roles.keys().next()) {
            Some(role) => format!("{roles}/{role}"),
            None => "/spec".to_owned(),
        };
        if let Some(spec) = value.pointer_mut(&at).and_then(Value::as_object_mut) {
            spec.insert(field.to_owned(), replicas.into());
        }
        self.check.insert(key);
    }

    /// Everything is compared at the next look.
    pub(super) fn recheck(&mut self) {
        self.all = true;
    }

    /// Compares what was accepted or written since the last look; `changes` are what was written.
    pub(super) fn check(&mut self, store: &dyn Store, changes: &[Stored], found: &mut Found) -> Result<(), StoreError> {
        let mut keys = std::mem::take(&mut self.check);
        if std::mem::take(&mut self.all) {
            keys.extend(self.objects.keys().chain(&self.deleted).cloned());
        }
        let written: BTreeMap<&ObjectKey, &Stored> = changes.iter().map(|stored| (&stored.key, stored)).collect();
        keys.extend(written.keys().filter(|key| self.concerns(key)).map(|key| (*key).clone()));
        if keys.is_empty() {
            return Ok(());
        }
        let whole =
            if keys.iter().all(|key| written.contains_key(key)) { Vec::new() } else { store.changes(Revision(0))? };
        let all: BTreeMap<&ObjectKey, &Stored> = whole.iter().map(|stored| (&stored.key, stored)).collect();
        for key in &keys {
            let stored = written.get(key).or_else(|| all.get(key)).and_then(|stored| stored.value.as_deref());
            self.compare(key, stored, found);
        }
        Ok(())
    }

    fn concerns(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key) || self.deleted.contains(key)
    }

    fn compare(&self, key: &ObjectKey, stored: Option<&[u8]>, found: &mut Found) {
        match (self.objects.get(key), stored) {
            (Some(_), None) => found.add(Invariant::ObjectLost, key, "was accepted, and is not in the store"),
            (Some(wanted), Some(bytes)) => match serde_json::from_slice::<Value>(bytes) {
                Ok(value) if said(&value) == *wanted => {}
                Ok(value) => {
                    let what = format!("is {} in the store, and was accepted as {wanted}", said(&value));
                    found.add(Invariant::ObjectChanged, key, what);
                }
                Err(error) => found.add(Invariant::Unreadable, key, error.to_string()),
            },
            (None, Some(_)) if self.deleted.contains(key) => {
                found.add(Invariant::ObjectBack, key, "its deletion was accepted, and it is in the store");
            }
            (None, _) => {}
        }
    }
}
