//! One fault each, and the breach that must be heard.

use berth_control::ports::{Batch, Write};
use serde_json::Value;

use super::healthy::{WEB, web};
use super::*;
use crate::audit::Invariant;

const PLACEMENT: &str = "berth.dev/v1alpha1/Placement";

/// Changes the JSON of written objects of a kind.
fn alter(batch: &mut Batch, kind: &str, change: impl Fn(&mut Value)) {
    for write in batch.writes.iter_mut().filter(|write| &*write.key.kind == kind) {
        let Write { value: Some(bytes), .. } = write else { continue };
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = serde_json::to_vec(&value).unwrap().into();
    }
}

fn heard(rig: &Rig) -> Vec<Invariant> {
    let mut heard: Vec<Invariant> = rig.breaches.iter().map(|breach| breach.invariant).collect();
    heard.sort();
    heard.dedup();
    heard
}

#[test]
fn a_record_that_is_not_written_is_missed() {
    let mut rig = Rig::new();
    rig.tamper(|batch| batch.history.retain(|entry| entry.about.is_none()));
    rig.apply(WEB);
    rig.run(60);
    assert_eq!(heard(&rig), [Invariant::RecordMissing], "{:?}", rig.found());
}

#[test]
fn replicas_that_nobody_decided_are_seen() {
    let mut rig = Rig::new();
    let more = |value: &mut Value| {
        if let Some(replicas) = value.pointer_mut("/spec/shares/0/replicas") {
            *replicas = (replicas.as_u64().unwrap() - 1).into();
        }
    };
    rig.tamper(move |batch| alter(batch, PLACEMENT, more));
    rig.apply(WEB);
    rig.step_at_most(1);
    assert_eq!(heard(&rig), [Invariant::RecordDiffers, Invariant::ReasonMissing], "{:?}", rig.found());
}

#[test]
fn an_accepted_object_that_is_not_written_is_missed() {
    let mut rig = Rig::new();
    rig.tamper(|batch| batch.writes.retain(|write| &*write.key.name != "web"));
    rig.apply(WEB);
    assert_eq!(heard(&rig), [Invariant::ObjectLost], "{:?}", rig.found());
}

#[test]
fn an_object_that_is_written_otherwise_is_seen() {
    let mut rig = Rig::new();
    rig.apply(WEB);
    rig.run(60);
    rig.tamper(|batch| alter(batch, "apps/v1/Deployment", |value| value["spec"]["replicas"] = 99.into()));
    rig.scale(&web(), 7);
    assert_eq!(heard(&rig), [Invariant::ObjectChanged], "{:?}", rig.found());
}
